"""Which heads carried an edge: what a source put into a target, split by the head that read it first.

What a source writes is read further up along the stream itself, and by every head above it whose pattern reaches its
position. With the patterns held these ways sum to the edge. Why a head looked where it did is not in them: that is what
its attention score is made of, which :meth:`.Graph.why` opens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ...words.places import Place
from .held import At, HeldAttention, Rows
from .walk import _Down

if TYPE_CHECKING:
    from .walk import Walk


class Carried(NamedTuple):
    """What one head carried of an edge, from the source's position to the position ``to`` where it wrote most of it."""

    layer: int
    head: int
    to: int
    value: float


class Written(NamedTuple):
    """What a source writes: a vector at a place (tokens: in the stream before layer 0) and a position."""

    place: Place
    position: int
    vector: Float[Tensor, "width"]


class Ways(_Down):
    """One walk for one target that listens to the heads: what each of them reads of what some sources wrote."""

    def __init__(self, walk: Walk, target: int, sources: Sequence[Written]) -> None:
        super().__init__(walk, torch.tensor([target]))
        self.sources = list(sources)
        self.carried: list[list[Carried]] = [[] for _ in self.sources]

    def _heard(self, layer: int, held: HeldAttention, rows: Rows, of: Tensor, at: At) -> None:
        gated = held.values.gated(rows, at) if held.opens else None
        for (place, position, vector), into in zip(self.sources, self.carried, strict=True):
            if place.layer is None or place.layer >= layer or gated is None:
                continue
            model, stream = self.w.model, vector
            if place.site in ("mlp", "attn_out"):
                stream = vector * model.multiplier_of("mlp" if place.site == "mlp" else "attn")
            start = place.layer + (place.site == "post")
            read = held.values.part(stream * model.carried(max(start, 0), layer), position)
            each = torch.einsum("rhd,hd->hr", gated, read) * held.values.pattern[:, at, position]
            into += _carried(layer, at, each)

    def _answered(self, place: Place, rows: Rows, at: At) -> None:
        """Whatever was asked higher up goes no further; of heads' outputs every head has its own numbers."""
        for source, into in zip(self.sources, self.carried, strict=True):
            if place.is_stream and source.place != place:
                into.clear()
            if place.site != "z" or source.place != place:
                continue
            here = at == source.position
            heads = self.w.model.heads_of(place.layer or 0)
            each = (rows[here] * source.vector).unflatten(-1, (heads, -1)).sum(-1).T
            into += _carried(place.layer or 0, at[here], each)


def _carried(layer: int, at: At, each: Float[Tensor, "head row"]) -> list[Carried]:
    if not each.shape[1]:
        return []
    total, best = each.sum(-1).tolist(), at[each.abs().argmax(-1)].tolist()
    return [Carried(layer, head, best[head], total[head]) for head in range(len(total)) if total[head]]
