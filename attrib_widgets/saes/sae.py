"""A sparse autoencoder: activations of one place as few features, what they decode to, and what is left over."""

from __future__ import annotations

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
ARCHITECTURES = ("standard", "topk", "jumprelu")
#: Pre-activations that are held at once where all of them have to be looked at.
PIECE = 2**22
#: Positions that are looked at together.
ROWS = 512
ALL = slice(None)
_SHAPES = "W_enc is [d_in, feature], W_dec [feature, d_in], b_enc and threshold [feature], b_dec [d_in]."


@dataclass(frozen=True, eq=False, repr=False)
class SAE:
    """A dictionary of features for the activations at one place of a model, float32.

    ``x = decode(encode(x)) + error(x)``, where ``decode(f) = f @ w_dec + b_dec``.

    Attributes:
        site: the place, or its name: ``L2.post`` (or ``L2``) is the stream behind layer 2, ``L2.mlp`` what its MLP
            adds, ``L2.z`` the outputs of its heads side by side (before the output projection).
        architecture: ``"standard"`` (relu), ``"topk"`` (the ``k`` largest of relu; Gao et al. 2024) or
            ``"jumprelu"`` (those above their ``threshold``; Rajamanoharan et al. 2024, and how BatchTopK is kept).
        subtract: whether ``b_dec`` is subtracted before encoding.
        metadata: whatever else its file said.

    Raises:
        AttribError: shapes that do not fit together, numbers that are not finite, or a ``k`` or a threshold that the
            architecture lacks or has no use for.
    """

    site: Place
    architecture: str
    w_enc: Float[Tensor, "d_in feature"]
    b_enc: Float[Tensor, "feature"]
    w_dec: Float[Tensor, "feature d_in"]
    b_dec: Float[Tensor, "d_in"]
    k: int | None = None
    threshold: Float[Tensor, "feature"] | None = None
    subtract: bool = True
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "site", dictionary_place(self.site))
        if self.architecture not in ARCHITECTURES:
            raise AttribError(f"{self.architecture!r} is no architecture known here.", f"Use one of {ARCHITECTURES}.")
        whose = f"of the dictionary for {self.site}"
        for name in ("w_enc", "b_enc", "w_dec", "b_dec", "threshold"):
            object.__setattr__(self, name, _numbers(getattr(self, name), f"{name} {whose}"))
        if self.w_enc.ndim != 2 or not self.w_enc.numel():
            raise AttribError(f"w_enc {whose} is {list(self.w_enc.shape)}.", _SHAPES)
        d, features = self.w_enc.shape
        if self.threshold is not None and self.threshold.numel() == 1:  # one for all features
            object.__setattr__(self, "threshold", self.threshold.reshape(1).expand(features))
        shapes = {"w_dec": (features, d), "b_enc": (features,), "b_dec": (d,), "threshold": (features,)}
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                raise AttribError(f"{name} {whose} is {list(value.shape)}, not {list(shape)}.", _SHAPES)
        if self.architecture == "topk":
            said = "needs its k" if self.k is None else f"cannot have k = {self.k!r}"
            if type(self.k) is not int or not 0 < self.k <= features:
                raise AttribError(f"A topk dictionary of {features} features {said}.", "Give k=8, for example.")
        if (self.architecture == "jumprelu") != (self.threshold is not None):
            raise AttribError(
                f"{indefinite(self.architecture, start=True)} dictionary "
                f"{'needs a' if self.threshold is None else 'has no use for a'} "
                "threshold.",
                "One per feature, or one for all, is what makes it jumprelu.",
            )

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        return int(self.w_enc.shape[0])

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self.w_enc.shape[1])

    def only(self, kept: Bool[Tensor, "feature"]) -> SAE:
        """The dictionary of these features alone; left out are such as never fire."""
        threshold = None if self.threshold is None else self.threshold[kept]
        w_enc, b_enc, w_dec = self.w_enc[:, kept].contiguous(), self.b_enc[kept], self.w_dec[kept]
        return replace(self, w_enc=w_enc, b_enc=b_enc, w_dec=w_dec, threshold=threshold)

    def check(self, feature: int) -> None:
        """Raises ComponentError where there is no such feature."""
        if not 0 <= feature < self.n_features:
            raise ComponentError(f"{self!r} has no feature {feature}.", f"Its features are 0 to {self.n_features - 1}.")

    def pre_activations(self, x: Float[Tensor, "*shape d_in"], some: slice = ALL) -> Float[Tensor, "*shape feature"]:
        """What the activation function is applied to, of all features or some."""
        x = x.float()
        found = (x - self.b_dec if self.subtract else x) @ self.w_enc[:, some]
        found += self.b_enc[some]
        return found

    def encode(self, x: Float[Tensor, "*shape d_in"]) -> Float[Tensor, "*shape feature"]:
        """Feature activations, none negative."""
        pre = self.pre_activations(x)
        if self.architecture == "topk":
            return keep_largest(pre, self.k or 0)
        active = pre.relu()
        return active if self.threshold is None else active * (pre > self.threshold)

    def largest(self, x: Float[Tensor, "*shape d_in"]) -> tuple[Float[Tensor, "*shape k"], Int[Tensor, "*shape k"]]:
        """(activations, features) of the ``k`` that a topk dictionary keeps, some features at a time."""
        rows = x.reshape(-1, self.d_in).split(ROWS)
        values, where = (
            torch.cat(parts).unflatten(0, x.shape[:-1]) for parts in zip(*map(self._best, rows), strict=True)
        )
        return values.relu(), where

    def _best(self, x: Float[Tensor, "row d_in"]) -> tuple[Float[Tensor, "row k"], Int[Tensor, "row k"]]:
        """(pre-activations, features) of the ``k`` largest; every number of the encoder is read once."""
        assert self.k is not None
        at_once = max(self.k, PIECE // max(1, len(x)))
        values, where = x.new_empty(len(x), 0), torch.empty(len(x), 0, dtype=torch.long, device=x.device)
        for start in range(0, self.n_features, at_once):
            pre = self.pre_activations(x, slice(start, start + at_once))
            found = pre.topk(min(self.k, pre.shape[-1]), sorted=False)
            values, where = torch.cat([values, found.values], -1), torch.cat([where, found.indices + start], -1)
            if values.shape[-1] > self.k:
                values, kept = values.topk(self.k, sorted=False)
                where = where.gather(-1, kept)
        return values, where

    def column(self, x: Float[Tensor, "*shape d_in"], feature: int) -> Float[Tensor, "*shape"]:
        """The activations of one feature. Only a topk dictionary has to look at the others for them."""
        return Fired(self, x)(feature)

    def decode(self, features: Float[Tensor, "*shape feature"]) -> Float[Tensor, "*shape d_in"]:
        """What these activations stand for. Where few features fire, no others are read."""
        firing = features.reshape(-1, self.n_features).any(0).nonzero()[:, 0]
        if 4 * len(firing) < self.n_features:
            return features[..., firing] @ self.w_dec[firing] + self.b_dec
        return features @ self.w_dec + self.b_dec

    def error(self, x: Float[Tensor, "*shape d_in"]) -> Float[Tensor, "*shape d_in"]:
        """What the dictionary misses of ``x``."""
        return x.float() - self.decode(self.encode(x))

    def __repr__(self) -> str:
        few = f", k = {self.k}" if self.architecture == "topk" else ""
        return f"SAE of {self.site}: {self.n_features} features of {self.d_in} numbers ({self.architecture}{few})"


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

    def __call__(self, feature: int) -> Float[Tensor, "*shape"]:
        """The activations of one feature."""
        sae = self.sae
        if sae.architecture == "topk":
            values, where = self._largest
            return (values * (where == feature)).sum(-1)
        x = self.x.float()
        pre = (x - sae.b_dec if sae.subtract else x) @ sae.w_enc[:, feature] + sae.b_enc[feature]
        return pre.relu() if sae.threshold is None else pre.relu() * (pre > sae.threshold[feature])


def _numbers(found: Any, name: str) -> Tensor | None:
    """A tensor of weights as float32, all of them finite; None where there is none.

    Raises:
        AttribError: it is no tensor of floating point numbers, or some are not finite.
    """
    if found is None and name.startswith("threshold"):
        return None
    if not isinstance(found, Tensor) or not found.is_floating_point():
        kind = str(found.dtype) if isinstance(found, Tensor) else type(found).__name__
        raise AttribError(f"{name} is {kind}, no tensor of floating point numbers.", "Give it as torch.float32.")
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
