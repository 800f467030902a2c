"""All heads of an attribution at once, layer by layer: what a view of the whole model draws."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...model.anatomy.rounding import refuse_above
from ...model.identity.steady import steady
from ...model.parts.attention import attend, scored
from ...model.parts.attention import patterns as patterns_of
from ...model.parts.projections import input_norm
from ...model.selfcheck.levels import need
from ...words.components import head
from ..opening.heads import carried, shares
from ..reading.decomposition import absent_heads, decompose, parts_below
from ..reading.features import Inside
from ..reading.point import ReadPoint
from ..reading.scores import read_side, strongest_other
from .attention import UnitWrites, unit_writes

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.selfcheck.levels import Split
    from ..attribution.attribution import Attribution


#: Rows and columns of a small picture.
SMALL = 64


@dataclass
class HeadTable:
    """All heads of an attribution at once: what the Explorer draws. See :func:`head_table`.

    ``contribution of source s to destination t = pattern[t, s] * carry[s] * dest[t]``; at the attribution's own
    position these, ``value_bias`` and ``rounding`` sum to the head's bar. Weighted by the norm of what is written:
    ``pattern[t, s] * norms[s] * post[t]``. NaN where a layer has no such head.
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


@steady(end=False)
def head_table(a: Attribution, patterns: bool = True) -> HeadTable | None:
    """One pass over the layers below the read point; None where heads are exact in none of them.

    NaN where a layer's heads are not exact; where they are and only what they carried is not known, ``rows`` and
    ``patterns`` alone are there, as the model returns them.

    Args:
        patterns: False keeps only the pattern row of the attribution's position.

    Raises:
        AttribError: ``a`` is no attribution.
    """
    from ..attribution.attribution import refuse_other

    refuse_other(a)
    model, at = a.model, a.reading.position
    own = {c.layer for c in a.components if c.kind == "head"}  # of a feature inside a sublayer that of its layer alone
    if not any(map(model.heads_of, range(a.reading.point.attentions))) or (isinstance(a.reading, Inside) and not own):
        return None
    n = a.run.n_positions
    units: list[UnitWrites | None] = []
    rows: list[Tensor] = []
    full: list[Tensor] = []
    sinks: list[Tensor | None] = []
    for layer in range(a.reading.point.attentions):
        writes = model.level(layer).sources and (layer in own or not isinstance(a.reading, Inside))
        unit = unit_writes(a, layer, patterns) if writes else None
        units.append(unit)
        if unit is not None:
            row, pattern, sink = unit.row, unit.pattern, unit.sink
            unit.pattern = None  # not for longer than it is stacked
        else:
            found = patterns_of(model, a.run.record, layer)[0] if model.heads_of(layer) else None
            row = torch.zeros(0, n) if found is None else found.pattern[:, at].cpu()
            pattern = torch.zeros(0, n, n) if found is None else found.pattern.cpu()
            sink = None if found is None or found.sink is None else found.sink.cpu()
        rows.append(row)
        full += [pattern] if patterns and pattern is not None else []
        sinks.append(sink)
    wide, flat, empty = torch.zeros(0, n), torch.zeros(n), torch.zeros(0)
    none = UnitWrites(wide, flat, wide, flat, empty, empty, wide, None)
    told = [none if u is None else u for u in units]
    return HeadTable(
        _stacked(model, [u.carry for u in told]),
        torch.stack([u.dest for u in told]),
        _stacked(model, [u.norms for u in told]),
        torch.stack([u.post for u in told]),
        _stacked(model, [u.value_bias for u in told]),
        _stacked(model, [u.rounding for u in told]),
        _stacked(model, rows),
        _stacked(model, full) if full else None,
        None if all(s is None for s in sinks) else _stacked(model, [wide if s is None else s for s in sinks]),
    )


@torch.no_grad()
def small_patterns(a: Attribution, size: int = SMALL) -> Float[Tensor, "layer head row column"]:
    """Small pictures of all patterns: the largest probability of every block of readers and sources.

    Position p belongs to block ``p * size // n``; a prompt of at most ``size`` tokens comes as it is. NaN where a layer
    has no such head, or its heads are not exact.
    """
    model, n = a.model, a.run.n_positions
    m = min(n, size)
    block = torch.arange(n) * m // n
    layers = []
    for layer in range(a.reading.point.attentions):
        if not model.heads_of(layer):
            layers.append(torch.zeros(0, m, m))
            continue
        pattern = patterns_of(model, a.run.record, layer)[0].pattern.float().cpu()
        for axis in (1, 2):
            shape = [*pattern.shape[:axis], m, *pattern.shape[axis + 1 :]]
            index = block.view(-1, *[1] * (2 - axis)).expand_as(pattern)
            pattern = pattern.new_zeros(shape).scatter_reduce(axis, index, pattern, "amax")
        layers.append(pattern)
    return _stacked(model, layers)


def _stacked(model: Model, layers: Sequence[Float[Tensor, "head *more"]]) -> Float[Tensor, "layer head *more"]:
    """One table of all layers, NaN where a layer has no such head."""
    most = model.n_heads
    return torch.stack([torch.cat([t, t.new_full((most - len(t), *t.shape[1:]), torch.nan)]) for t in layers])


def _known(model: Model, table: Tensor, split: Split) -> Float[Tensor, "layer head *more"]:
    """``table`` with NaN where a layer has no such head, or ``split`` is not exact."""
    for layer in range(len(table)):
        if not getattr(model.level(layer), split):
            table[layer] = torch.nan
    return absent_heads(model, table)


@dataclass
class WhyTable:
    """Why every head looked from the attribution's position to one key each: both sides of the score.

    ``values`` run over the parts below the read point (zero at and above the head's layer); with ``constant`` (biases
    of the norm and the projections, position penalty, soft cap, rounding) each side sums to ``score``.

    ``rival`` is the strongest other key of each head (-1 where it sees none). ``choice`` is the key's side less that of
    the rival, and with ``choice_constant`` it sums to the difference of the two scores: :meth:`Attribution.choice`.
    """

    values: Float[Tensor, "layer head side part"]
    constant: Float[Tensor, "layer head side"]
    score: Float[Tensor, "layer head"]
    rival: Int[Tensor, "layer head"]
    rival_score: Float[Tensor, "layer head"]
    choice: Float[Tensor, "layer head part"]
    choice_constant: Float[Tensor, "layer head"]


@torch.no_grad()
def why_table(a: Attribution, keys: Sequence[Sequence[int]], layers: Iterable[int] | None = None) -> WhyTable:
    """The scores from the attribution's position to ``keys[layer][head]``, split on the query and on the key side.

    Of ``layers`` alone, where they are given: the other rows are empty, and :func:`joined` puts several together.

    Raises:
        GranularityError: scores are exact in no layer.
    """
    need(a.model, "scores")
    model, run, query = a.model, a.run, a.reading.position
    shape = (a.reading.point.attentions, model.n_heads)
    # The query's side, the key's, and the rival's.
    values = torch.zeros(*shape, 3, len(parts_below(model, a.reading.point)))
    constant, score, rival = torch.zeros(*shape, 3), torch.zeros(*shape, 3), torch.full(shape, -1)
    for layer in range(a.reading.point.attentions) if layers is None else layers:
        heads = range(model.heads_of(layer))
        if not model.level(layer).scores:
            continue
        found, norm = scored(model, run.record, layer, None, slice(query, query + 1)), input_norm(model, layer)
        strongest = [strongest_other(run, found, h, query, keys[layer][h]) for h in heads]
        rival[layer, : len(heads)] = torch.tensor([-1 if r is None else r for r in strongest])
        # A head that sees no other key is compared with itself, which leaves nothing.
        others = [keys[layer][h] if r is None else r for h, r in zip(heads, strongest, strict=True)]
        for number, (name, at) in enumerate((("query", keys[layer]), ("key", keys[layer]), ("key", others))):
            sides = [read_side(run, found, layer, h, name, query, at[h]) for h in heads]
            places = sorted({s.position for s in sides})
            rows = decompose(run, ReadPoint(layer), norm, torch.stack([s.direction for s in sides]), places)
            for h, s in enumerate(sides):
                place = places.index(s.position)
                values[layer, h, number, : rows.values.shape[-1]] = rows.values[h, place].cpu()
                before = s.actual if s.precap is None else s.precap
                read = float(rows.direct[h, place] + rows.constant[h]) + sum(v for _, v in s.constants)
                what = f"the score of {head(layer, h)} is not the product of its query and key"
                refuse_above(torch.tensor(before - read), torch.tensor(s.bound), what)
                constant[layer, h, number] = s.actual - float(
                    rows.direct[h, place] - rows.stream[h, place] - rows.heads[h, place]
                )
                score[layer, h, number] = s.actual
    values, constant, score = (_known(model, t, "scores") for t in (values, constant, score))
    return WhyTable(
        values[:, :, :2],
        constant[:, :, :2],
        score[:, :, 1],
        rival,
        score[:, :, 2],
        values[:, :, 1] - values[:, :, 2],
        constant[:, :, 1] - constant[:, :, 2],
    )


@dataclass
class ThroughTable:
    """What every head carried from every source, by who had written it there; all three sum to what it carried.

    ``values`` run over the parts below the read point (zero at and above the head's layer); ``norm_bias`` is what the
    head's input norm adds by itself, ``rounding`` that of what was read.
    """

    values: Float[Tensor, "layer head source part"]
    norm_bias: Float[Tensor, "layer head source"]
    rounding: Float[Tensor, "layer head source"]


@torch.no_grad()
def through_table(a: Attribution, layers: Iterable[int] | None = None) -> ThroughTable:
    """:meth:`Attribution.through` for all heads; of ``layers`` alone as in :func:`why_table`.

    Raises:
        GranularityError: what heads carried is exact in no layer.
    """
    need(a.model, "values")
    model, run = a.model, a.run
    shape = (a.reading.point.attentions, model.n_heads, run.n_positions)
    out = ThroughTable(
        torch.zeros(*shape, len(parts_below(model, a.reading.point))), torch.zeros(shape), torch.zeros(shape)
    )
    own = {c.layer for c in a.components if c.kind == "head"}
    for layer in range(a.reading.point.attentions) if layers is None else layers:
        if not model.level(layer).values or layer not in own:
            continue
        found = attend(model, run.record, layer)
        taken = [carried(a, head(layer, h), found) for h in range(model.heads_of(layer))]
        directions = torch.stack([t.direction for t in taken if t.direction is not None])
        rows = decompose(run, ReadPoint(layer), input_norm(model, layer), directions, range(run.n_positions))
        for h in range(model.heads_of(layer)):
            parts, constant, rounded = shares(run, head(layer, h), taken[h], rows, h)
            out.values[layer, h, :, : parts.shape[-1]] = parts.cpu()
            out.norm_bias[layer, h], out.rounding[layer, h] = constant.cpu(), rounded.cpu()
    for part in (out.values, out.norm_bias, out.rounding):
        _known(model, part, "values")
    return out


ByLayer = TypeVar("ByLayer", WhyTable, ThroughTable)


def joined(tables: Sequence[ByLayer]) -> ByLayer:
    """One table from the tables of every layer by itself, in order."""
    kind = type(tables[0])
    rows = {f.name: torch.stack([getattr(t, f.name)[i] for i, t in enumerate(tables)]) for f in fields(kind)}
    return kind(**rows)
