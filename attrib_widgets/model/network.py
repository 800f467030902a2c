"""The network of a model: its modules, their weights in float32, and its norms.

It knows where its parts are (its anatomy) and no tokens; what helpers below :class:`.model.Model` take is a network.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..words.errors import AnatomyError, GranularityError
from .anatomy.anatomy import Anatomy, Mixer
from .anatomy.geometry import Geometry
from .anatomy.linear import Projection
from .anatomy.lookup import find, mixer_of, parallel, text_config
from .anatomy.norms import FrozenNorm, read_norm
from .anatomy.weights import bias_of, column_lengths, device_of, exact_weight, shown_weight, widths
from .identity.stamp import mark_of, stamp_of
from .identity.steady import during
from .identity.studied import Studied
from .parts.between import Between
from .parts.joins import Join, Joins


class Network(Studied):
    """The modules of a causal language model, and access to its parts.

    Attributes:
        traced: the transformers model as nnsight runs it.
        anatomy: where its parts are; geometry: their numbers and widths; between: what is done between the last layer
            and the unembedding; unread: the layers that can be read as a whole only, because parts of the anatomy are
            missing there or run otherwise, with the reasons; joining: the layers whose sublayers join the stream
            otherwise than by a plain sum (:meth:`join`).
    """

    traced: Any
    anatomy: Anatomy
    geometry: Geometry
    unread: Mapping[int, str]
    joining: frozenset[int]
    between: Between

    def __init__(self, hf: nn.Module, name: str | None = None) -> None:
        super().__init__(hf, name)
        self.unread, self.joining = {}, frozenset()
        self.between = Between()
        self._through: dict[Any, tuple[Any, Projection]] = {}  # projections that may be more than a weight
        declared = next((p.dtype for p in hf.parameters() if p.is_floating_point()), torch.float32)
        self._dtypes = dict.fromkeys(("stream", "inside", "logits"), declared)  # until something is recorded

    # -- what it is ----------------------------------------------------------------------------------------
    @property
    def config(self) -> Any:
        """The language model's own config."""
        return text_config(self.hf)

    @property
    def family(self) -> str:
        """Class of the transformers model."""
        return type(self.hf).__name__

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return self.geometry.n_layers

    @property
    def n_heads(self) -> int:
        """Number of query heads per layer; of the layer that has most, where they differ."""
        return self.geometry.n_heads

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.geometry.d_model

    @property
    def dtype(self) -> torch.dtype:
        """The coarsest dtype of what was recorded last: streams, sublayers, printed logits."""
        return _coarsest(self._dtypes.values())

    @property
    def stream_dtype(self) -> torch.dtype:
        """Dtype of the streams that were recorded last."""
        return self._dtypes["stream"]

    @property
    def logit_dtype(self) -> torch.dtype:
        """Dtype of the printed logits that were recorded last."""
        return self._dtypes["logits"]

    @property
    def precision(self) -> torch.dtype:
        """The dtype whose rounding explains what the model computes: :attr:`dtype`, or a coarser one to which
        projections round that are read through their modules (packed weights often meet bfloat16 in a float32 stream).
        """
        noise = max((found.noise for *_, found in self.through_modules), default=0.0)
        inside = torch.float32 if noise <= 4e-6 else torch.float16 if noise <= 1e-3 else torch.bfloat16
        return self.dtype if inside is torch.float32 else _coarsest((self.dtype, inside))

    def saw(self, streams: Sequence[Tensor], inside: Sequence[Tensor], logits: Tensor) -> None:
        """The dtypes of a recording: of the streams, of what sublayers read and give, of what was printed."""
        found = {"stream": streams[0].dtype, "inside": _coarsest(t.dtype for t in inside or streams)}
        self._dtypes = {**found, "logits": logits.dtype}

    @property
    def device(self) -> torch.device:
        """Where the embedding lives: prompts are sent there."""
        return next(self.hf.parameters()).device

    @property
    def home(self) -> torch.device:
        """Where the unembedding lives: a recording is brought there, and so are weights that meet it."""
        return device_of(self.module(self.anatomy.unembed)) or self.device

    def call(self, module: nn.Module, x: Float[Tensor, "*shape d_in"]) -> Float[Tensor, "*shape d_out"]:
        """A part of the model called on its own device, the result brought :attr:`home`.

        A stream of more digits than the part's weights is rounded for it: models that keep theirs in float32 do so.
        """
        x = x.to(device_of(module) or self.home)
        held = next((p.dtype for p in module.parameters(recurse=False) if p.is_floating_point()), x.dtype)
        out: Tensor = module(x.to(held) if x.dtype == torch.float32 and held.itemsize == 2 else x)
        return out.to(self.home)

    @property
    def n_streams(self) -> int:
        """How many streams its layers hand on beside each other for every position; 1 in most families."""
        altup = self.anatomy.altup
        return 1 if altup is None else int(getattr(self.config, altup.streams))

    @property
    def parallel(self) -> bool:
        """Whether attention and MLP read the same stream."""
        return parallel(self.anatomy, self.config)

    @property
    def vocab_size(self) -> int:
        """Number of rows of the unembedding."""
        unembed = find(self.hf, self.anatomy.unembed)
        assert unembed is not None
        found = widths(unembed)
        assert found is not None  # the geometry was read from it
        return found[1]

    @property
    def n_embeddings(self) -> int:
        """Rows of the token embedding."""
        table = find(self.hf, self.anatomy.embed)
        size = getattr(table, "num_embeddings", None)
        return self.vocab_size if size is None else int(size)

    @property
    def max_positions(self) -> int | None:
        """Length of the learned position table; None where positions are not learned."""
        table = find(self.hf, self.anatomy.pos)
        if not isinstance(table, nn.Embedding):
            return None
        return int(table.num_embeddings) - int(getattr(table, "offset", 0))  # OPT leaves the first rows unused

    # -- its parts, in float32 -----------------------------------------------------------------------------
    def module(self, path: str | None, layer: int | None = None) -> nn.Module:
        """The module at ``path``, inside ``layer`` when one is given."""
        found = find(self.hf if layer is None else self.layer(layer), path)
        if found is None:
            raise AnatomyError(f"{self.family} has no module {path!r}.")
        return found

    def layer(self, number: int) -> nn.Module:
        """The module of one layer."""
        layers = find(self.hf, self.anatomy.layers)
        assert isinstance(layers, nn.ModuleList)
        return layers[number]

    def mixer(self, layer: int) -> Mixer | None:
        """What ``layer`` has in place of attention, or None."""
        return mixer_of(self.anatomy, self.layer(layer))

    def norm(self, path: str, layer: int | None = None) -> FrozenNorm:
        """The norm at ``path`` as gain, bias, centring and frozen scale (probed once, kept)."""
        return self.read_norm(self.module(path, layer), self.geometry.d_model, path, layer)

    def read_norm(self, module: nn.Module, width: int, path: str, layer: int | None) -> FrozenNorm:
        """:func:`.anatomy.norms.read_norm`, kept for as long as nothing of the norm changes."""
        return self._kept((path, layer), stamp_of(module), lambda: read_norm(module, width, path, self.home))

    # -- its projections -----------------------------------------------------------------------------------
    def projection(self, path: str | None, layer: int | None = None) -> Projection:
        """The projection at ``path`` (inside ``layer``), read as its weight or through its module.

        Raises:
            AnatomyError: no module there that says how wide it is.
        """
        return during(self, ("projection", path, layer), lambda: self._read_projection(path, layer))

    def _read_projection(self, path: str | None, layer: int | None) -> Projection:
        module = self.module(path, layer)
        weight = exact_weight(module)
        if weight is not None:
            return self._projection(module, path, layer, len(weight), weight)
        sizes = widths(module)
        if sizes is None:
            raise AnatomyError(f"{path} ({type(module).__name__}) does not say how many numbers it reads and gives.")
        dtype = self.dtype if layer is None else self._dtypes["inside"]
        stamp = (stamp_of(module), dtype, self.home)
        kept = self._through.get((path, layer))
        if kept is None or kept[0] != stamp or kept[1].module is not module:
            with self.quiet():
                weight = shown_weight(module, dtype)
            kept = stamp, self._projection(module, path, layer, sizes[0], weight, dtype)
            self._through[path, layer] = kept
        return kept[1]

    def _projection(
        self,
        module: nn.Module,
        path: str | None,
        layer: int | None,
        d_in: int,
        weight: Tensor | None,
        dtype: torch.dtype = torch.float32,
    ) -> Projection:
        def call(rows: Tensor) -> Tensor:
            with self.quiet():
                return self.call(module, rows.to(dtype)[None])[0]

        name, home = f"{path}" if layer is None else f"{path} of layer {layer}", self.home
        bias = bias_of(module)
        if weight is not None:
            own = None if bias is None else bias.to(home).float()
            return Projection(name, module, d_in, home, weight, own, call, measured=self._lengths(path, layer, weight))
        zero = call(torch.zeros(1, d_in, device=home))[0].float()
        own = zero if bias is not None or bool(zero.any()) else None
        block = max((heads.d_head for heads in self.geometry.layers), default=0) or 64
        return Projection(name, module, d_in, home, None, own, call, zero, dtype, block)

    @property
    def through_modules(self) -> list[tuple[str, int | None, Projection]]:
        """(path, layer, projection) of those that are read through their modules, as far as they were met."""
        return [(path, layer, p) for (path, layer), (_, p) in self._through.items() if not p.plain]

    @property
    def unembedding(self) -> Projection:
        """The unembedding."""
        return self.projection(self.anatomy.unembed)

    @property
    def unembed_weight(self) -> Float[Tensor, "d_model vocab"]:
        """All of the unembedding, in the model's dtype where it is a tensor (:attr:`unembedding` reads parts)."""
        found = self.unembedding
        return found.rows(0, found.d_in) if found.weight is None else found.weight

    @property
    def unembed_lengths(self) -> Float[Tensor, "vocab"]:
        """Length of every token's row of the unembedding (kept)."""
        return self.unembedding.lengths()

    @property
    def unembed_mean(self) -> Float[Tensor, "d_model"]:
        """The mean over the vocabulary of all tokens' rows of an unembedding that is a tensor (kept)."""
        found = self.unembedding
        assert found.weight is not None
        every = torch.full((1, found.d_out), 1 / found.d_out, device=self.home)
        return self._kept(("mean", self.anatomy.unembed), mark_of(found.weight), lambda: found.pull(every)[0])

    @property
    def unembed_bias(self) -> Float[Tensor, "vocab"] | None:
        """The unembedding's bias, where it has one."""
        return self.unembedding.bias

    def out(self, layer: int) -> Projection:
        """The attention's output projection of ``layer``, W_O and b_O."""
        return self.projection(self.anatomy.attn_out, layer)

    def out_weight(
        self, layer: int
    ) -> tuple[Float[Tensor, "heads_times_d_head d_model"], Float[Tensor, "d_model"] | None]:
        """(W_O, b_O) of ``layer`` in float32, all of it: :meth:`out` reads what is needed."""
        found = self.out(layer)
        return found.rows(0, found.d_in), found.bias

    def _lengths(self, path: str | None, layer: int | None, weight: Tensor) -> Callable[[], Float[Tensor, "d_out"]]:
        key = "lengths", path, layer

        def found() -> Tensor:
            return column_lengths(weight).to(self.home)

        def known() -> Tensor:
            often = path in (self.anatomy.attn_out, self.anatomy.unembed)  # of every draw
            return self._kept(key, mark_of(weight), found) if often else found()

        return lambda: during(self, key, known)

    def down(self, layer: int) -> Projection:
        """The down-projection of the MLP of ``layer``.

        Raises:
            GranularityError: it has none.
        """
        module = find(self.layer(layer), self.anatomy.mlp_down)
        if widths(module) is None:
            if self.has_experts(layer):
                raise GranularityError(
                    f"The MLP of layer {layer} is a mixture of experts: it has no neurons of its own.",
                    f"a.experts({layer}) splits it by expert.",
                )
            raise GranularityError(
                f"The MLP of layer {layer} has no down-projection {self.anatomy.mlp_down!r}: it has no plain neurons.",
                "Pass anatomy={'mlp_down': ...} with its down-projection.",
            )
        return self.projection(self.anatomy.mlp_down, layer)

    def has_experts(self, layer: int) -> bool:
        """Whether the MLP of ``layer`` is a mixture of experts whose parts are known."""
        experts = self.anatomy.experts
        return experts is not None and find(self.layer(layer), experts.experts) is not None

    @property
    def softcap(self) -> float | None:
        """The cap of the final logits: printed = cap * tanh(before / cap)."""
        value = getattr(self.config, self.anatomy.softcap, None) if self.anatomy.softcap else None
        return float(value) if value else None

    @property
    def multiplier(self) -> float:
        """What an MLP's output is multiplied by before it is added to the stream; 1 in most families."""
        return self.factor(self.anatomy.multiplier)

    def multiplier_of(self, part: str) -> float:
        """The same of ``"attn"``, ``"mlp"``, or what a layer adds beside them, by its site."""
        if part == "attn" and self.anatomy.attn_multiplier:
            return self.factor(self.anatomy.attn_multiplier)
        if part in ("beside", "laurel"):
            found = self.anatomy.besides.get(part)
            return 1.0 if found is None else self.factor(found.multiplier)
        return self.multiplier

    def factor(self, name: str | None) -> float:
        """A number by the name that an anatomy has for it: of a config entry, or of an attribute of all layers."""
        if name is None:
            return 1.0
        if not name.startswith("."):
            value = getattr(self.config, name, None)
            return 1.0 if value is None else float(value)
        try:
            found = {float(operator.attrgetter(name[1:])(self.layer(i))) for i in range(self.n_layers)}
        except AttributeError:
            return 1.0
        return found.pop() if len(found) == 1 else 1.0  # then the layers do not add up, which the self-check says

    def join(self, sublayer: str, layer: int) -> Join | None:
        """How what ``"attn"`` or ``"mlp"`` of ``layer`` gives joins the stream; None where it is added as it is."""
        return self.joins()[layer][sublayer == "mlp"] if layer in self.joining else None

    def joins(self) -> Mapping[int, Joins]:
        """Those of the layers in :attr:`joining`, with the weights as they are now."""
        return {}

    def read_carry(self, layer: int) -> float:
        """What the stream behind ``layer`` is multiplied by once all is added to it; 1 in most families."""
        value = getattr(self.layer(layer), self.anatomy.carry, None) if self.anatomy.carry else None
        return 1.0 if value is None else float(value)

    @property
    def logit_scale(self) -> float:
        """What the unembedding's product with the normalised stream is multiplied by; 1 in most families."""
        name = self.anatomy.logit_scale
        value = getattr(self.config, name.strip("/"), None) if name else None
        if name is None or value is None:
            return self.between.factor
        return self.between.factor * (1 / float(value) if name.startswith("/") else float(value))

    def scaled(self, out: Float[Tensor, "*shape vocab"]) -> Float[Tensor, "*shape vocab"]:
        """The unembedding's output as the model scales it (dividing rounds otherwise than multiplying)."""
        name = self.anatomy.logit_scale
        value = getattr(self.config, name.strip("/"), None) if name else None
        if name is None or value is None:
            return out
        scaled: Tensor = out / value if name.startswith("/") else out * value
        return scaled

    def read_out(
        self, x: Float[Tensor, "*shape d_model"]
    ) -> tuple[Float[Tensor, "*shape vocab"], Float[Tensor, "*shape vocab"]]:
        """(logits before the soft cap, printed logits) of a final stream, by the model's own modules."""
        with self.quiet():
            normed = self.call(self.module(self.anatomy.final_norm), x)
            precap = self.scaled(self.call(self.module(self.anatomy.unembed), self.between.applied(normed)))
        cap = self.softcap
        return precap, precap if cap is None else torch.tanh(precap / cap) * cap


def _coarsest(dtypes: Iterable[torch.dtype]) -> torch.dtype:
    return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)
