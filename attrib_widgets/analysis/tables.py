"""All heads of an attribution at once, layer by layer: what a view of the whole model draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ..components import head
from ..model.attend import attend, input_norm, normed_input, value_direction
from ..model.rounding import dot_bound, refuse_above
from .attention import unit_writes
from .rows import decompose, parts_below
from .scores import read_side
from .sources import attention_direction, carried

if TYPE_CHECKING:
    from .attribution import Attribution


@dataclass
class HeadTable:
    """All heads of an attribution at once: what the Explorer draws. See :func:`head_table`.

    ``contribution of source s to destination t = pattern[t, s] * carry[s] * dest[t]``; at the attribution's own
    position these, ``value_bias`` and ``rounding`` sum to the head's bar. Weighted by the norm of what is written:
    ``pattern[t, s] * norms[s] * post[t]``.
    """

    carry: Float[Tensor, "layer head source"]
    dest: Float[Tensor, "layer destination"]
    norms: Float[Tensor, "layer head source"]
    post: Float[Tensor, "layer destination"]
    value_bias: Float[Tensor, "layer head"]
    rounding: Float[Tensor, "layer head"]
    rows: Float[Tensor, "layer head source"]
    patterns: Float[Tensor, "layer head destination source"] | None
    sink: Float[Tensor, "layer head destination"] | None


def head_table(a: Attribution, patterns: bool = True) -> HeadTable | None:
    """One pass over all layers; None where attention was not shown to be exact.

    Args:
        patterns: False keeps only the pattern row of the attribution's position.
    """
    model = a.model
    if not model.check.attention_ok or a.reading.stage < model.n_layers:
        return None
    units, rows, full, sinks = [], [], [], []
    for layer in range(model.n_layers):
        unit = unit_writes(a, layer)
        units.append(unit)
        rows.append(unit.attended.pattern[:, a.reading.position].cpu())
        if patterns:
            full.append(unit.attended.pattern.cpu())
        if unit.attended.sink is not None:
            sinks.append(unit.attended.sink.cpu())
        del unit.attended
    return HeadTable(
        torch.stack([u.carry for u in units]),
        torch.stack([u.dest for u in units]),
        torch.stack([u.norms for u in units]),
        torch.stack([u.post for u in units]),
        torch.stack([u.value_bias for u in units]),
        torch.stack([u.rounding for u in units]),
        torch.stack(rows),
        torch.stack(full) if full else None,
        torch.stack(sinks) if sinks else None,
    )


@dataclass
class WhyTable:
    """Why every head looked from the attribution's position to one key each: both sides of the score.

    ``values`` run over the parts below the final norm (zero at and above the head's layer); with ``constant`` (biases
    of the norm and the projections, position penalty, soft cap, rounding) each side sums to ``score``.
    """

    values: Float[Tensor, "layer head side part"]
    constant: Float[Tensor, "layer head side"]
    score: Float[Tensor, "layer head"]


@torch.no_grad()
def why_table(a: Attribution, keys: Sequence[Sequence[int]]) -> WhyTable:
    """The scores from the attribution's position to ``keys[layer][head]``, split on the query and on the key side."""
    model, run, query = a.model, a.run, a.reading.position
    shape = (model.n_layers, model.n_heads, 2)
    values = torch.zeros(*shape, len(parts_below(model, model.n_layers)))
    constant, score = torch.zeros(shape), torch.zeros(shape[:2])
    for layer in range(model.n_layers):
        found, norm = attend(model, run.record, layer), input_norm(model, layer)
        for number, name in enumerate(("query", "key")):
            sides = [read_side(run, found, layer, h, name, query, keys[layer][h]) for h in range(model.n_heads)]
            places = sorted({s.position for s in sides})
            rows = decompose(run, layer, norm, torch.stack([s.direction for s in sides]), places)
            for h, s in enumerate(sides):
                at = places.index(s.position)
                values[layer, h, number, : rows.values.shape[-1]] = rows.values[h, at].cpu()
                before = s.actual if s.precap is None else s.precap
                read = float(rows.direct[h, at] + rows.constant[h]) + sum(v for _, v in s.constants)
                what = f"the score of {head(layer, h)} is not the product of its query and key"
                refuse_above(torch.tensor(before - read), torch.tensor(s.bound), what)
                constant[layer, h, number] = s.actual - float(
                    rows.direct[h, at] - rows.stream[h, at] - rows.heads[h, at]
                )
                score[layer, h] = s.actual
    return WhyTable(values, constant, score)


@torch.no_grad()
def through_table(a: Attribution) -> Float[Tensor, "layer head source part"]:
    """What every head carried from every source, by the part below the final norm that had written it there.

    The parts' share only: the norm's bias, the value bias and the rounding of a head are left out
    (:meth:`Attribution.through` has them).
    """
    model, run = a.model, a.run
    parts = len(parts_below(model, model.n_layers))
    out = torch.zeros(model.n_layers, model.n_heads, run.n_positions, parts)
    for layer in range(model.n_layers):
        u, norm = attention_direction(a, layer), input_norm(model, layer)
        directions = torch.stack([value_direction(model, layer, h, u)[0] for h in range(model.n_heads)])
        rows = decompose(run, layer, norm, directions, range(run.n_positions))
        read = normed_input(model, run.record, layer)
        found = attend(model, run.record, layer)
        for h in range(model.n_heads):
            taken = carried(a, head(layer, h), found)
            missed = taken.values - (rows.direct[h] + rows.constant[h]) * taken.pattern
            bound = taken.pattern.double() * dot_bound(model.dtype, read, directions[h].expand_as(read)) + 1e-12
            refuse_above(
                missed, bound, f"the values of {head(layer, h)} are not the linear map of the stream they read"
            )
            out[layer, h, :, : rows.values.shape[-1]] = (rows.values[h] * taken.pattern[:, None]).cpu()
    return out
