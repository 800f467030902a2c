"""A sparse autoencoder: activations of one place as few features, what they decode to, and what is left over."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..words.errors import AttribError, ComponentError
from ..words.places import Place, dictionary_place
from ..words.text import indefinite

#: What becomes of the pre-activations.
ARCHITECTURES = ("standard", "topk", "jumprelu", "abstopk", "groupmax", "given")
#: Those that keep ``k``, after a look at all features.
CHOOSING = ("topk", "abstopk", "groupmax")
#: What is done to each activation by itself before it is encoded.
NORMS = ("none", "layer_norm", "rms_norm")
#: Which of a model's activations are meant: as they are; without their mean over the width; what heads hand on without
#: the bias of their values; behind a norm but before its gain and bias, or so where the norm does not centre; as
#: TransformerLens calls it, where it is not known by which version: up to 2 it is before the gain of a norm that does
#: not centre, and behind that of one that does, from 3 on before both.
COORDINATES = ("raw", "centred", "without value bias", "before gain", "before RMS gain", "hook_normalized")
#: Added to the standard deviation that a layer norm divides by, and not to the one that it is undone with.
EPS = 1e-5
#: Pre-activations that are held at once where all of them have to be looked at.
PIECE = 2**22
#: Positions that are looked at together.
ROWS = 512
ALL = slice(None)
_SHAPES = "W_enc is [d_in, feature], W_dec [feature, d_out], b_enc, threshold and units [feature], b_dec [d_out]."


@dataclass(frozen=True, eq=False, repr=False)
class SAE:
    """A dictionary of features for the activations at one place of a model, float32.

    One form holds for every format. Of an activation ``x``::

        seen  = x, layer_norm(x) or rms_norm(x)                    # norm
        pre   = (seen - b_dec if subtract else seen) @ w_enc + b_enc
        acts  = those of relu(pre) that the architecture keeps, chosen by pre * units
        out   = acts @ w_dec + b_dec, the norm undone, + x @ w_skip

    and ``y = out + error``, where ``y`` is ``x`` itself, or for a transcoder what the model has at ``writes``. A scale
    that is the same for all activations is folded into the weights.

    Attributes:
        site: the place that it reads, or its name: ``L2.post`` (or ``L2``) is the stream behind layer 2, ``L2.mlp``
            what its MLP adds, ``L2.z`` the outputs of its heads side by side (before the output projection).
        architecture: ``"standard"`` (relu), ``"topk"`` (the ``k`` largest of relu; Gao et al. 2024), ``"jumprelu"``
            (those above their ``threshold``; Rajamanoharan et al. 2024, how BatchTopK is kept, and what a gated
            dictionary comes to), ``"abstopk"`` (the ``k`` largest of either sign), ``"groupmax"`` (the largest of each
            of ``k`` groups of neighbours) or ``"given"`` (``encoder``).
        subtract: whether ``b_dec`` is subtracted before encoding.
        metadata: whatever else its file said.
        writes: of a transcoder, the place that it rebuilds from what it reads; None is the place that it reads.
        norm: ``"layer_norm"`` takes the mean and the unbiased standard deviation off each activation, ``"rms_norm"``
            its root mean square; undone behind the decoder, except in a transcoder.
        w_skip: added to the output, of the input as it is.
        units: what pre-activations are multiplied by before it is chosen among them.
        signed: whether what is kept stays as it is, below zero too; always so of ``"abstopk"``.
        coordinates: one of :data:`COORDINATES`: what of the model's activations it was trained on.
        encoder: a function that encodes, where no weights are known to.

    Raises:
        AttribError: shapes that do not fit together, numbers that are not finite, or a ``k`` or a threshold that the
            architecture lacks or has no use for.
    """

    site: Place
    architecture: str
    w_enc: Float[Tensor, "d_in feature"]
    b_enc: Float[Tensor, "feature"]
    w_dec: Float[Tensor, "feature d_out"]
    b_dec: Float[Tensor, "d_out"]
    k: int | None = None
    threshold: Float[Tensor, "feature"] | None = None
    subtract: bool = True
    metadata: dict[str, Any] = field(default_factory=dict)
    writes: Place | None = None
    norm: str = "none"
    w_skip: Float[Tensor, "d_in d_out"] | None = None
    units: Float[Tensor, "feature"] | None = None
    coordinates: str = "raw"
    signed: bool = False
    encoder: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "site", dictionary_place(self.site))
        if self.writes is not None:
            object.__setattr__(self, "writes", dictionary_place(self.writes))
        for name, known in (("architecture", ARCHITECTURES), ("norm", NORMS), ("coordinates", COORDINATES)):
            if (value := getattr(self, name)) not in known:
                raise AttribError(f"{value!r} is no {_SAID.get(name, name)} known here.", f"Use one of {known}.")
        whose = f"of the dictionary for {self.site}"
        for name in ("w_enc", "b_enc", "w_dec", "b_dec", *_OPTIONAL):
            object.__setattr__(self, name, _numbers(getattr(self, name), name, whose))
        if self.w_enc.ndim != 2 or not self.w_enc.numel():
            raise AttribError(f"w_enc {whose} is {list(self.w_enc.shape)}.", _SHAPES)
        d, features = self.w_enc.shape
        out = d if self.writes is None else self.d_out
        if self.threshold is not None and self.threshold.numel() == 1:  # one for all features
            object.__setattr__(self, "threshold", self.threshold.reshape(1).expand(features))
        shapes = {"w_dec": (features, out), "b_enc": (features,), "b_dec": (out,), "w_skip": (d, out)}
        if self.b_enc.shape == (d,) != (features,) and tuple(self.w_dec.shape) == (features, d):
            raise AttribError(
                f"w_enc {whose} is {[d, features]} and w_dec {[features, d]}, and b_enc has {d} numbers: encoder and "
                "decoder are swapped, or turned.",
                _SHAPES,
            )
        for name, shape in {**shapes, "threshold": (features,), "units": (features,)}.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                raise AttribError(f"{name} {whose} is {list(value.shape)}, not {list(shape)}.", _SHAPES)
        if out != d and self.subtract:
            raise AttribError(f"b_dec {whose} has {out} numbers, and what it reads {d}.", "Give subtract=False.")
        self._check_choice(features)

    def _check_choice(self, features: int) -> None:
        """Raises AttribError where what an architecture chooses by is missing, or given in vain."""
        if self.architecture in CHOOSING:
            said = "needs its k" if self.k is None else f"cannot have k = {self.k!r}"
            if type(self.k) is not int or not 0 < self.k <= features:
                name = f"A{'n' if self.architecture == 'abstopk' else ''} {self.architecture}"
                raise AttribError(f"{name} dictionary of {features} features {said}.", "Give k=8, for example.")
            if self.architecture == "groupmax" and features % self.k:
                raise AttribError(f"{features} features are no {self.k} groups of one size.", "k counts the groups.")
        if (self.architecture == "jumprelu") != (self.threshold is not None):
            raise AttribError(
                f"{indefinite(self.architecture, start=True)} dictionary "
                f"{'needs a' if self.threshold is None else 'has no use for a'} "
                "threshold.",
                "One per feature, or one for all, is what makes it jumprelu.",
            )
        if self.units is not None and self.architecture not in ("topk", "abstopk"):
            raise AttribError(f"{indefinite(self.architecture, start=True)} dictionary has no use for units.")
        if (self.architecture == "given") != (self.encoder is not None):
            raise AttribError("An encoder and the architecture 'given' go together.", "Give both, or neither.")

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        return int(self.w_enc.shape[0])

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self.w_enc.shape[1])

    @property
    def d_out(self) -> int:
        """Width of what it returns."""
        return int(self.w_dec.shape[-1]) if self.w_dec.ndim else 0

    @property
    def target(self) -> Place:
        """The place that it rebuilds: the one that it reads, unless it is a transcoder."""
        return self.writes or self.site

    @property
    def plain(self) -> bool:
        """Whether it is an encoder, a choice and a decoder of one place, and nothing else."""
        odd = self.norm != "none" or self.w_skip is not None or self.units is not None or self.signed
        return not odd and self.writes is None and self.coordinates == "raw" and self.encoder is None

    def only(self, kept: Bool[Tensor, "feature"]) -> SAE:
        """The dictionary of these features alone; left out are such as never fire."""
        if self.architecture in ("groupmax", "given"):
            raise AttribError(f"{self!r} looks at all its features together.", "Keep them all.")
        some: dict[str, Any] = {n: None if (t := getattr(self, n)) is None else t[kept] for n in ("threshold", "units")}
        w_enc, b_enc, w_dec = self.w_enc[:, kept].contiguous(), self.b_enc[kept], self.w_dec[kept]
        return replace(self, w_enc=w_enc, b_enc=b_enc, w_dec=w_dec, **some)

    def check(self, feature: int) -> None:
        """Raises ComponentError where there is no such feature."""
        if not 0 <= feature < self.n_features:
            raise ComponentError(f"{self!r} has no feature {feature}.", f"Its features are 0 to {self.n_features - 1}.")

    def seen(self, x: Float[Tensor, "*shape d_in"]) -> Float[Tensor, "*shape d_in"]:
        """What of an activation is encoded: itself in float32, or normed as the dictionary asks."""
        x = x.float()
        if self.norm == "none":
            return x
        scale, mean = self.undoing(x)
        return (x - mean) / (scale + (EPS if self.norm == "layer_norm" else 0))

    def undoing(self, x: Float[Tensor, "*shape d_in"]) -> tuple[Float[Tensor, "*shape 1"], Float[Tensor, "*shape 1"]]:
        """(scale, mean): what a norm's output is multiplied by, and what is then added to it, to undo it."""
        x = x.float()
        if self.norm == "layer_norm":
            mean = x.mean(-1, keepdim=True)
            return (x - mean).std(-1, keepdim=True), mean
        size = x.norm(dim=-1, keepdim=True)
        if self.norm == "none":
            return torch.ones_like(size), torch.zeros_like(size)
        return (size / math.sqrt(x.shape[-1])).clamp_min(torch.finfo(x.dtype).tiny), torch.zeros_like(size)

    def pre_activations(self, x: Float[Tensor, "*shape d_in"], some: slice = ALL) -> Float[Tensor, "*shape feature"]:
        """What the activation function is applied to, of all features or some."""
        if self.encoder is not None:
            raise AttribError(f"Of {self!r} only the activations are known.", "Use sae.encode(x).")
        seen = self.seen(x)
        found = (seen - self.b_dec if self.subtract else seen) @ self.w_enc[:, some]
        found += self.b_enc[some]
        return found

    def encode(self, x: Float[Tensor, "*shape d_in"]) -> Float[Tensor, "*shape feature"]:
        """Feature activations; only of an abstopk or ``signed`` dictionary, or of a given encoder, are any negative."""
        if self.encoder is not None:
            return self._given(self.seen(x))
        return self.active(self.pre_activations(x))

    def active(self, pre: Float[Tensor, "*shape feature"]) -> Float[Tensor, "*shape feature"]:
        """Feature activations of pre-activations."""
        if self.architecture == "groupmax":
            return _largest_of_groups(pre, self.k or 1)
        if self.architecture in CHOOSING:
            return self._kept(pre, self._ranked(pre).topk(self.k or 0, dim=-1).indices)
        shown = self._shown(pre)
        return shown if self.threshold is None else shown * (pre > self.threshold)

    def _given(self, x: Float[Tensor, "*shape d_in"]) -> Float[Tensor, "*shape feature"]:
        """What the encoder gives.

        Raises:
            AttribError: something else than an activation for every feature.
        """
        assert self.encoder is not None
        active = self.encoder(x)
        expected = [*x.shape[:-1], self.n_features]
        if not isinstance(active, Tensor) or list(active.shape) != expected or not is_finite(active):
            wrong = indefinite(type(active).__name__)
            if isinstance(active, Tensor):
                wrong = str(list(active.shape)) if list(active.shape) != expected else "numbers that are not finite"
            raise AttribError(f"The encoder of {self!r} gave {wrong}.", f"Activations are {expected}, one a feature.")
        return active.float()

    def _shown(self, pre: Tensor) -> Tensor:
        return pre if self.signed or self.architecture == "abstopk" else pre.relu()

    def _ranked(self, pre: Float[Tensor, "*shape feature"], some: slice = ALL) -> Float[Tensor, "*shape feature"]:
        """By what features are chosen."""
        rank = pre if self.units is None else pre * self.units[some]
        return rank.abs() if self.architecture == "abstopk" else rank

    def _kept(self, pre: Tensor, where: Tensor) -> Tensor:
        return torch.zeros_like(pre).scatter_(-1, where, self._shown(pre.gather(-1, where)))

    def largest(self, x: Float[Tensor, "*shape d_in"]) -> tuple[Float[Tensor, "*shape k"], Int[Tensor, "*shape k"]]:
        """(activations, features) of the ``k`` that a topk dictionary keeps, some features at a time."""
        rows = x.reshape(-1, self.d_in).split(ROWS)
        values, where = (
            torch.cat(parts).unflatten(0, x.shape[:-1]) for parts in zip(*map(self._best, rows), strict=True)
        )
        return self._shown(values), where

    def _best(self, x: Float[Tensor, "row d_in"]) -> tuple[Float[Tensor, "row k"], Int[Tensor, "row k"]]:
        """(pre-activations, features) of the ``k`` that are kept; every number of the encoder is read once."""
        assert self.k is not None
        at_once = max(self.k, PIECE // max(1, len(x)))
        values, where = x.new_empty(len(x), 0), torch.empty(len(x), 0, dtype=torch.long, device=x.device)
        rank = values
        for start in range(0, self.n_features, at_once):
            pre = self.pre_activations(x, slice(start, start + at_once))
            found = self._ranked(pre, slice(start, start + at_once)).topk(min(self.k, pre.shape[-1]), sorted=False)
            rank, where = torch.cat([rank, found.values], -1), torch.cat([where, found.indices + start], -1)
            values = torch.cat([values, pre.gather(-1, found.indices)], -1)
            if values.shape[-1] > self.k:
                rank, kept = rank.topk(self.k, sorted=False)
                values, where = values.gather(-1, kept), where.gather(-1, kept)
        return values, where

    def column(self, x: Float[Tensor, "*shape d_in"], feature: int) -> Float[Tensor, "*shape"]:
        """The activations of one feature. Only a topk dictionary has to look at the others for them."""
        return Fired(self, x)(feature)

    @property
    def alone(self) -> bool:
        """Whether what activations stand for can be told without the activation that they were encoded from."""
        return self.w_skip is None and (self.norm == "none" or self.writes is not None)

    def decode(
        self, features: Float[Tensor, "*shape feature"], x: Float[Tensor, "*shape d_in"] | None = None
    ) -> Float[Tensor, "*shape d_out"]:
        """What these activations stand for. Where few features fire, no others are read.

        Args:
            features: activations.
            x: what they were encoded from. Only a dictionary that norms, or has a skip connection, asks for it.

        Raises:
            AttribError: it asks for ``x``, and there is none.
        """
        firing = features.reshape(-1, self.n_features).any(0).nonzero()[:, 0]
        few = 4 * len(firing) < self.n_features
        out = features[..., firing] @ self.w_dec[firing] if few else features @ self.w_dec
        if self.alone:
            return out + self.b_dec
        if x is None:
            raise AttribError(
                f"{self!r} {'norms' if self.w_skip is None else 'adds'} what it reads, which its activations do not "
                "tell.",
                "Give it too: sae.decode(sae.encode(x), x).",
            )
        return out * self.undone_by(x) + self.resting(x)

    def undone_by(self, x: Float[Tensor, "*shape d_in"]) -> Float[Tensor, "*shape 1"]:
        """What everything that a dictionary writes is multiplied by at ``x``; 1 unless it undoes a norm."""
        if self.norm == "none" or self.writes is not None:
            return x.new_ones(*x.shape[:-1], 1, dtype=torch.float32)
        return self.undoing(x)[0]

    def resting(self, x: Float[Tensor, "*shape d_in"]) -> Float[Tensor, "*shape d_out"]:
        """What it returns at ``x`` where no feature fires."""
        out = self.b_dec.expand(*x.shape[:-1], self.d_out)
        if self.norm != "none" and self.writes is None:
            scale, mean = self.undoing(x)
            out = out * scale + mean
        return out if self.w_skip is None else out + x.float() @ self.w_skip

    def rebuild(self, x: Float[Tensor, "*shape d_in"]) -> Float[Tensor, "*shape d_out"]:
        """What a dictionary makes of an activation."""
        return self.decode(self.encode(x), x)

    def error(
        self, x: Float[Tensor, "*shape d_in"], y: Float[Tensor, "*shape d_out"] | None = None
    ) -> Float[Tensor, "*shape d_out"]:
        """What the dictionary misses of ``x``, a transcoder of ``y``: what the model has where that writes.

        Raises:
            AttribError: it is a transcoder, and there is no ``y``.
        """
        if y is None and self.writes is not None:
            raise AttribError(f"{self!r} misses something of {self.writes}.", "Give it: sae.error(x, y).")
        return (x if y is None else y).float() - self.rebuild(x)

    def __repr__(self) -> str:
        few = f", k = {self.k}" if self.architecture in CHOOSING else ""
        kind = "SAE of" if self.writes is None else "Transcoder of"
        where = str(self.site) if self.writes is None else f"{self.site} to {self.writes}"
        how = str(self.metadata.get("architecture", "given")) if self.encoder is not None else self.architecture
        return f"{kind} {where}: {self.n_features} features of {self.d_in} numbers ({how}{few})"


class Fired:
    """The activations of a dictionary's features at some positions, one feature at a time.

    Of a topk dictionary all features have to be looked at; that is done once, and what it keeps of every position is
    remembered: 12 bytes x k a position.
    """

    def __init__(self, sae: SAE, x: Float[Tensor, "*shape d_in"]) -> None:
        self.sae, self.x = sae, x

    @cached_property
    def _largest(self) -> tuple[Tensor, Tensor]:
        return self.sae.largest(self.x)

    @cached_property
    def _all(self) -> Tensor:
        return self.sae.encode(self.x)

    def __call__(self, feature: int) -> Float[Tensor, "*shape"]:
        """The activations of one feature."""
        sae = self.sae
        if sae.architecture == "given":
            return self._all[..., feature]
        if sae.architecture == "groupmax":
            size = sae.n_features // (sae.k or 1)
            block = slice(feature // size * size, (feature // size + 1) * size)
            return _largest_of_groups(sae.pre_activations(self.x, block), 1)[..., feature - block.start]
        if sae.architecture in CHOOSING:
            values, where = self._largest
            return (values * (where == feature)).sum(-1)
        x = sae.seen(self.x)
        pre = (x - sae.b_dec if sae.subtract else x) @ sae.w_enc[:, feature] + sae.b_enc[feature]
        active = sae._shown(pre)
        return active if sae.threshold is None else active * (pre > sae.threshold[feature])


def unknown_encoder(features: int, width: int) -> tuple[Float[Tensor, "d_in feature"], Float[Tensor, "feature"]]:
    """What stands for (w_enc, b_enc) where an encoder is given as a function: zeros that take no memory."""
    zero = torch.zeros(1)
    return zero.expand(width, features), zero.expand(features)


#: Tensors that a dictionary may do without.
_OPTIONAL = ("threshold", "w_skip", "units")
_SAID = {"coordinates": "kind of coordinates"}


def _largest_of_groups(pre: Float[Tensor, "*shape feature"], groups: int) -> Float[Tensor, "*shape feature"]:
    """The largest of each group of neighbours, where it is positive; zero elsewhere."""
    values, where = pre.relu().unflatten(-1, (groups, -1)).max(-1, keepdim=True)
    kept: Tensor = torch.zeros_like(pre).unflatten(-1, (groups, -1)).scatter_(-1, where, values)
    return kept.flatten(-2)


def _numbers(found: Any, name: str, whose: str) -> Tensor | None:
    """A tensor of weights as float32, all of them finite; None where there is none.

    Raises:
        AttribError: it is no tensor of floating point numbers, or some are not finite.
    """
    if found is None and name in _OPTIONAL:
        return None
    name = f"{name} {whose}"
    if not isinstance(found, Tensor) or not found.is_floating_point():
        kind = str(found.dtype) if isinstance(found, Tensor) else type(found).__name__
        raise AttribError(f"{name} is {kind}, no tensor of floating point numbers.", "Give it as torch.float32.")
    if found.is_meta:
        raise AttribError(f"{name} is on the meta device, where there are no numbers.", "Load the weights first.")
    if not is_finite(found):
        raise AttribError(f"{name} holds numbers that are not finite.", NOT_FINITE)
    return found.float()


#: What to do about weights that are not numbers.
NOT_FINITE = "Nothing can be computed with them: fetch or train the dictionary again."


def is_finite(t: Tensor) -> bool:
    """Whether every number of a tensor is one, without a copy of it."""
    if t.dtype.itemsize == 1:  # eight-bit floats know no order
        t = t.float()
    return not t.numel() or all(bool(end.isfinite()) for end in torch.aminmax(t))


def keep_largest(pre: Float[Tensor, "*shape feature"], k: int) -> Float[Tensor, "*shape feature"]:
    """The ``k`` largest, those that are positive; zero elsewhere."""
    values, where = pre.topk(k, dim=-1)
    return torch.zeros_like(pre).scatter_(-1, where, values.relu())
