"""The tensors that replace a part, and the writes of the sweep engine that they become.

Queries, keys, values and patterns of a head need no surgery in the softmax: they are recomputed from the two
recordings, and z' = softmax(q'k'^T) v' is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.parts.attention import Attended, Scored, attend, scored
from ....model.parts.scores import looks
from ....model.tracing.edits import Edit
from ....words.places import Place
from .cells import MIXED_SITES, Cell
from .features import alone, rewritten, summed, written_by

if TYPE_CHECKING:
    from ....model.model import Model
    from ....model.run import Run


class Donor(Protocol):
    """Where the replacing tensors come from."""

    def writes(self, cell: Cell) -> list[Edit]:
        """The writes of one experiment."""
        ...


def held(run: Run, part: Place) -> Float[Tensor, "position width"]:
    """What a place that needs no recomputation held in a run (z: of all heads of the layer; a feature: how strongly it
    wrote)."""
    return run.record.at(*part.slot) if part.of is None else written_by(run, part)


def head_writes(
    model: Model, part: Place, positions: tuple[int, ...], value: Float[Tensor, "position width"]
) -> list[Edit]:
    """``value`` [position, all heads] written to z of the heads of ``part`` (its group, for keys and values)."""
    geo = model.geometry[part.row]
    heads = range(geo.n_heads)
    if part.head is not None:
        group = geo.group
        heads = (
            range(part.head * group, (part.head + 1) * group)
            if part.site in ("k", "v")
            else range(part.head, part.head + 1)
        )
    d = geo.d_head
    return [Edit("z", part.row, positions, value[:, h * d : (h + 1) * d], h) for h in heads]


def plain_writes(
    run: Run, part: Place, positions: tuple[int, ...], value: Float[Tensor, "position width"]
) -> list[Edit]:
    """``value`` written to a site of ``run`` that needs no recomputation; z of one or all heads from the width of all.

    What a dictionary splits off is written as the difference that it makes, added to what is there: the other features
    and what it misses stay.
    """
    if part.of is not None:
        return rewritten(run, part, positions, value)
    if part.site == "z":
        return head_writes(run.model, part, positions, value)
    site, layer = part.slot
    return [Edit(site, layer, positions, value)]


class RunDonor:
    """Tensors of ``source`` put into ``base``: two runs of one length on one model.

    Positions before the first token that differs are left out: there the two runs are the same, unless the model looks
    ahead.
    """

    def __init__(self, base: Run, source: Run) -> None:
        self.base, self.source, self.model = base, source, base.model
        pairs = zip(base.ids, source.ids, strict=True)
        differ = next((i for i, (a, b) in enumerate(pairs) if a != b), base.n_positions)
        self.first = differ if differ == base.n_positions or self.model.check.causal else 0
        self._kept: dict[int, tuple[Attended, Attended]] = {}
        self._mixes: dict[tuple[str, int, tuple[int, ...]], Tensor] = {}

    def positions(self, cell: Cell) -> tuple[int, ...]:
        """The positions of ``cell`` where the runs can differ."""
        listed = range(self.base.n_positions) if cell.positions is None else cell.positions
        return tuple(p for p in listed if p >= self.first)

    def writes(self, cell: Cell) -> list[Edit]:
        """The writes that put the source's value into the base."""
        at = self.positions(cell)
        found: list[Edit] = []
        if not at:
            return found
        for part in alone(self.model, cell.parts):
            if part.site in MIXED_SITES:
                begin = at[0] if self.model.check.causal else 0
                reach = at if part.site in ("q", "pattern") else tuple(range(begin, self.base.n_positions))
                found += head_writes(self.model, part, reach, self.mixed(part.site, part.row, at)[list(reach)])
            else:
                found += plain_writes(self.base, part, at, held(self.source, part)[list(at)])
        return summed(found)

    def attended(self, layer: int) -> tuple[Attended, Attended]:
        """The attention of ``layer`` in (base, source), recomputed once."""
        if layer not in self._kept:
            found = [attend(self.model, run.record, layer) for run in (self.base, self.source)]
            self._kept[layer] = found[0], found[1]
        return self._kept[layer]

    def scored(self, layer: int) -> tuple[Scored, Scored]:
        """The same with queries and keys."""
        own, other = self._kept.get(layer, (None, None))
        if not (isinstance(own, Scored) and isinstance(other, Scored)):
            own, other = (scored(self.model, run.record, layer) for run in (self.base, self.source))
            self._kept[layer] = own, other
        return own, other

    @torch.no_grad()
    def mixed(self, site: str, layer: int, at: tuple[int, ...]) -> Float[Tensor, "position heads_times_d_head"]:
        """z of all heads of ``layer`` when ``site`` of each takes the source's value at ``at``."""
        key = (site, layer, at)
        if key not in self._mixes:
            own, other = self.attended(layer) if site in ("v", "pattern") else self.scored(layer)
            index = list(at)

            def swapped(a: Tensor, b: Tensor) -> Tensor:
                out = a.clone()
                out[:, index] = b[:, index]
                return out

            values, pattern = own.v, own.pattern
            if site == "v":
                values = swapped(values, other.v)
            elif site == "pattern":
                pattern = swapped(pattern, other.pattern)
            elif isinstance(own, Scored) and isinstance(other, Scored):
                q = swapped(own.q.final, other.q.final) if site == "q" else own.q.final
                k = swapped(own.k.final, other.k.final) if site == "k" else own.k.final
                pattern = looks(self.model, self.base.record, layer, q, k)[2]
            self._mixes[key] = z_changed(self.base, layer, own, pattern @ values)
        return self._mixes[key]


def z_changed(
    run: Run,
    layer: int,
    own: Attended,
    mixed: Float[Tensor, "head position d_head"],
    gate: Float[Tensor, "head position d_head"] | None = None,
) -> Float[Tensor, "position heads_times_d_head"]:
    """The recorded z of ``layer`` plus what ``mixed``, another pattern times values, changes (with ``gate`` in place of
    its own gate): what is not changed stays bit by bit as it was."""
    change = (own.gated(mixed) if gate is None else mixed * gate) - own.z
    flat = change.transpose(0, 1).reshape(run.n_positions, -1)
    z = run.record.z[layer]
    out: Tensor = torch.where(flat == 0, z, (z.float() + flat).to(z.dtype))
    return out
