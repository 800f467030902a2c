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
from .down import Down
from .held import At, HeldAttention, Rows

if TYPE_CHECKING:
    from .walk import Walk


class Carried(NamedTuple):
    """What one head carried of an edge: from where the source stands (of a feature of heads: where the head looked
    most) to the position ``to`` where it wrote most of it."""

    layer: int
    head: int
    to: int
    source: int
    value: float


class Written(NamedTuple):
    """What a source writes: a vector at a place (tokens: in the stream before layer 0) and a position."""

    place: Place
    position: int
    vector: Float[Tensor, "width"]


class Ways(Down):
    """One walk for one target that listens to the heads: what each of them reads of what some sources wrote."""

    def __init__(self, walk: Walk, target: int, sources: Sequence[Written]) -> None:
        super().__init__(walk, torch.tensor([target]))
        self.sources = list(sources)
        self.carried: list[list[Carried]] = [[] for _ in self.sources]

    def _heard(self, layer: int, held: HeldAttention, rows: Rows, of: Tensor, at: At) -> None:
        gated = held.values.gated(rows, at) if held.opens else None
        for one, into in zip(self.sources, self.carried, strict=True):
            passed = one.place == Place("pre", 0) or (one.place.layer or 0) < layer
            if gated is None or not passed or one.place.site == "z":  # a feature of heads is first read by its own
                continue
            arriving = self.w.arriving(one.place, one.vector, layer)
            if arriving is None:
                continue
            read = held.values.part(arriving, one.position)
            each = torch.einsum("rhd,hd->hr", gated, read) * held.values.pattern[:, at, one.position]
            into += _carried(layer, at, each, [one.position] * len(each))

    def _answered(self, place: Place, rows: Rows, at: At) -> None:
        """Of heads' outputs every head has its own numbers."""
        for source, into in zip(self.sources, self.carried, strict=True):
            if place.site != "z" or source.place != place:
                continue
            here, layer = at == source.position, place.layer or 0
            each = (rows[here] * source.vector).unflatten(-1, (self.w.model.heads_of(layer), -1)).sum(-1).T
            looked = HeldAttention(self.w.run, layer).values.pattern[:, source.position].argmax(-1)
            into += _carried(layer, at[here], each, looked.tolist())


def _carried(layer: int, at: At, each: Float[Tensor, "head row"], sources: Sequence[int]) -> list[Carried]:
    if not each.shape[1]:
        return []
    total, best = each.sum(-1).tolist(), at[each.abs().argmax(-1)].tolist()
    return [Carried(layer, head, best[head], sources[head], total[head]) for head in range(len(total)) if total[head]]
