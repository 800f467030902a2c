"""What one forward pass leaves: the tensors of a :class:`Recording`, and which place fills which of its lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...words.errors import ComponentError
from ..parts.joins import Joins
from .ports import PRE, WRITE

# Where the list of a recording is filled from.
KEPT = {
    "pre": "streams",
    "z": "z",
    "attn": "attn_out",
    "attn_added": "attn_write",
    "mlp": "mlp_out",
    "mlp_added": "mlp_write",
    "laurel": "laurel_out",
    "beside": "beside_out",
}
#: How several streams are mixed, of models that have them.
MIXED = {"active": "streams", "predict": "predicted", "correct": "corrected"}
#: What a recording reads in every layer that has the parts of the anatomy.
READ_ALWAYS = {"attn_in", *KEPT, *MIXED}
#: The lists of a recording that hold a tensor of every layer.
LISTS = (
    *("streams", "z", "attn_out", "attn_write", "mlp_out", "mlp_write", "beside_out", "beside_write"),
    *("laurel_out", "laurel_write", "states", "predicted", "corrected"),
)


@dataclass
class Recording:
    """Tensors of one forward pass, in the model's dtype and on its device. Lists run over layers.

    ``streams`` has one entry more than there are layers: the last is what the final norm reads.
    ``attn_write`` and ``mlp_write`` are what was added to the stream; ``attn_out`` and ``mlp_out`` the sublayer
    outputs before a post-norm and a multiplier (the same tensors where there is neither); ``beside_out`` and
    ``beside_write`` are the same of a third part (``beside_first``: added with the attention), empty where there is
    none. Of a model with several streams ``streams`` are what attention and the final norm read, ``states`` all streams
    before every layer and behind the last, ``predicted`` and ``corrected`` the coefficients of their mixing, and
    ``laurel_out`` and ``laurel_write`` what is added with the attention. ``logits`` are as printed, ``precap`` the same
    before the soft cap, both for ``kept`` positions only. ``attn_inputs`` is what the attention modules were given
    beside the stream, by name. ``mlp_entered`` is filled on request only. ``joins`` and ``mids`` are of the layers
    whose sublayers join the stream otherwise than by a plain sum: how, and what stood between the two. Of a layer that
    can be read as a whole only, the tensors of its parts are empty ([position, 0]), and z of one that mixes without
    heads.
    """

    streams: list[Float[Tensor, "position d_model"]] = field(default_factory=list)
    z: list[Float[Tensor, "position heads_times_d_head"]] = field(default_factory=list)
    attn_out: list[Float[Tensor, "position d_model"]] = field(default_factory=list)
    attn_write: list[Float[Tensor, "position d_model"]] = field(default_factory=list)
    mlp_out: list[Float[Tensor, "position d_model"]] = field(default_factory=list)
    mlp_write: list[Float[Tensor, "position d_model"]] = field(default_factory=list)
    beside_out: list[Float[Tensor, "position d_model"]] = field(default_factory=list)
    beside_write: list[Float[Tensor, "position d_model"]] = field(default_factory=list)
    beside_first: bool = False
    laurel_out: list[Float[Tensor, "position d_model"]] = field(default_factory=list)
    laurel_write: list[Float[Tensor, "position d_model"]] = field(default_factory=list)
    states: list[Float[Tensor, "position stream d_model"]] = field(default_factory=list)
    predicted: list[Float[Tensor, "position coefficient"]] = field(default_factory=list)
    corrected: list[Float[Tensor, "position stream"]] = field(default_factory=list)
    joins: dict[int, Joins] = field(default_factory=dict)
    mids: dict[int, Float[Tensor, "position d_model"]] = field(default_factory=dict)
    attn_inputs: list[dict[str, Any]] = field(default_factory=list)
    mlp_entered: list[Float[Tensor, "position neuron"] | None] = field(default_factory=list)
    embed: Float[Tensor, "position d_model"] | None = None
    pos: Float[Tensor, "position d_model"] | None = None
    logits: Float[Tensor, "kept vocab"] = field(default_factory=lambda: torch.empty(0))
    precap: Float[Tensor, "kept vocab"] = field(default_factory=lambda: torch.empty(0))
    kept: list[int] = field(default_factory=list)

    def part(self, own: Callable[[Tensor], Tensor], kept: list[int]) -> Recording:
        """``own`` of every tensor, once of each; without logits, the inside of MLPs and what attention was given."""
        made: dict[int, Tensor] = {}  # what is added may be the very tensor that a sublayer gives

        def once(tensor: Tensor) -> Tensor:
            if id(tensor) not in made:
                made[id(tensor)] = own(tensor)
            return made[id(tensor)]

        found = Recording(kept=kept, beside_first=self.beside_first, joins=self.joins)
        found.mids = {layer: once(t) for layer, t in self.mids.items()}
        for name in LISTS:
            setattr(found, name, [once(t) for t in getattr(self, name)])
        found.embed, found.pos = (None if t is None else once(t) for t in (self.embed, self.pos))
        return found

    def mid(self, layer: int) -> Float[Tensor, "position d_model"]:
        """The stream between attention and MLP of a sequential ``layer``, rounded as the model rounds it."""
        if layer in self.mids:
            return self.mids[layer]
        if self.beside_first:
            return self.streams[layer] + (self.beside_write[layer] + self.attn_write[layer])
        return self.streams[layer] + self.attn_write[layer]

    def passed(self, layer: int, stream: Float[Tensor, "position d_model"]) -> Float[Tensor, "position d_model"]:
        """What is left of the stream before ``layer`` when its attention is added."""
        return self.joins[layer][0].kept(stream) if layer in self.joins else stream

    def wrote(self, layer: int) -> Float[Tensor, "position d_model"]:
        """What ``layer`` as a whole added to the stream, in float64, the streams' own rounding included.

        Raises:
            ComponentError: it adds to several.
        """
        if self.states:
            raise ComponentError(
                f"L{layer} as a whole writes to {self.states[0].shape[1]} streams, and what it adds is no one tensor.",
                f'Patch all streams behind it: "L{layer}.post".',
            )
        return self.streams[layer + 1].double() - self.streams[layer].double()

    def at(self, site: str, layer: int) -> Float[Tensor, "position width"]:
        """What a site of ``layer`` held (see :mod:`.ports`), where it is recorded or the sum of what is.

        Raises:
            ComponentError: no recording holds it.
        """
        if site == "mid":
            return self.mid(layer)
        if site == WRITE:
            return self.wrote(layer)
        if site == PRE.site and self.states and layer < len(self.states) - 1:
            return self.states[layer].flatten(1)
        if self.states and site in MIXED:
            own: Float[Tensor, "position width"] = getattr(self, MIXED[site])[layer]
            return own
        if site not in KEPT:
            raise ComponentError(f"A recording holds no {site!r}.", f"It holds {', '.join(KEPT)}, mid and {WRITE}.")
        found: Float[Tensor, "position width"] = getattr(self, KEPT[site])[layer]
        return found

    def bytes(self) -> int:
        """Memory held by the recorded tensors (shared ones counted once)."""
        tensors = [t for name in LISTS for t in getattr(self, name)] + [self.logits, self.precap, *self.mids.values()]
        tensors += [t for t in (self.embed, self.pos) if t is not None]
        return sum(size for size in {t.data_ptr(): t.numel() * t.element_size() for t in tensors}.values())
