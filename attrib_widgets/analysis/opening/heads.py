"""What a head carried: its contribution by source token, and by who wrote that token's stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.anatomy.rounding import dot_bound, refuse_above
from ...model.parts.attention import attend, value_scale, z_direction
from ...model.parts.outlet import outlet_of
from ...model.parts.projections import input_norm, kv_head, normed_input, qkv_projection
from ...model.selfcheck.levels import need
from ...words.components import Component
from ...words.errors import ComponentError
from ...words.text import percent, signed, visible
from ..reading.decomposition import Rows, decompose
from ..reading.features import Inside
from ..reading.point import ReadPoint
from ..reading.ways import direction_at
from .results import Contributions, Through

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.parts.attention import Attended
    from ...model.run import Run
    from ..attribution.attribution import Attribution


def stream_direction(a: Attribution) -> Float[Tensor, "d_model"]:
    """The explained direction of the raw stream at the attribution's position, its norm frozen."""
    a.run.check_fresh()
    reading = a.reading
    x = reading.point.stream(a.run.record)[reading.position]
    return reading.norm.pull(reading.direction) * reading.norm.scale(x)


def direction_behind(a: Attribution, layer: int, part: str) -> Float[Tensor, "d_model"]:
    """The explained direction of the raw stream as what a part of ``layer`` writes meets it (``"attn"``, ``"mlp"``;
    ``"pre"``: what stands before the layer)."""
    return direction_at(a.run, a.reading.point, stream_direction(a), a.reading.position, layer, part)


def attention_direction(a: Attribution, layer: int) -> Float[Tensor, "d_model"]:
    """The same direction at the output projection of ``layer``: pulled back through what follows it."""
    return output_direction(a.run, layer, a.reading.position, direction_behind(a, layer, "attn"))


def output_direction(run: Run, layer: int, at: int, u: Float[Tensor, "d_model"]) -> Float[Tensor, "d_model"]:
    """``u``, a direction of the raw stream at position ``at``, seen from the output projection of ``layer``."""
    write = outlet_of(run.model, "attn", layer)
    return write.pull(u) * write.scale(run.record.attn_out[layer][at : at + 1])[0]


def head_rows(model: Model, head: Component) -> slice:
    """The numbers of a head among what all heads of its layer hand on."""
    d, number = model.geometry[head.layer or 0].d_head, head.index or 0
    return slice(number * d, (number + 1) * d)


def head_direction(run: Run, head: Component, u: Float[Tensor, "d_model"]) -> Float[Tensor, "d_head"]:
    """``u``, a direction at the output projection of a head's layer, seen from what the head hands to it."""
    rows = head_rows(run.model, head)
    return run.model.out(head.layer or 0).rows(rows.start, rows.stop) @ u


def explained_z(a: Attribution, head: Component) -> Float[Tensor, "d_head"]:
    """The explained direction at what ``head`` hands to the output projection."""
    a.run.check_fresh()
    reading, layer = a.reading, head.layer or 0
    if not isinstance(reading, Inside):
        return head_direction(a.run, head, attention_direction(a, layer))
    if reading.z is not None:
        return reading.z[head_rows(a.model, head)]
    assert reading.along is not None and reading.sublayer == "attn"  # the others have no rows that are heads
    return head_direction(a.run, head, output_direction(a.run, layer, reading.position, reading.along))


@dataclass
class Carried:
    """What one head took from each source: pattern row, value part and value bias of the contribution.

    ``direction`` is the explained one, seen from the normalised stream that the head's values read (None where they are
    no projection of it); ``through`` the same among the values; ``weights`` what one unit of it counts for: the
    pattern, times the frozen scale of the values where they are normed.
    """

    pattern: Float[Tensor, "source"]
    weights: Float[Tensor, "source"]
    values: Float[Tensor, "source"]
    value_bias: float
    rounding: float
    direction: Float[Tensor, "d_model"] | None
    through: Float[Tensor, "d_head"]


def carried(a: Attribution, head: Component, found: Attended | None = None) -> Carried:
    """The contribution of ``head`` taken apart by source position; ``found`` is its layer's attention, if at hand."""
    layer = head.layer or 0
    u = explained_z(a, head)  # first of all: refuses a stale run
    index, at = head.index or 0, a.reading.position
    if found is None:  # its row alone
        found = attend(a.model, a.run.record, layer, [index], slice(at, at + 1))
        return carried_along(a.run, head, at, u, a[head], found, 0, 0)
    return carried_along(a.run, head, at, u, a[head], found, index, at)


def carried_along(
    run: Run,
    head: Component,
    at: int,
    out: Float[Tensor, "d_head"],
    value: float,
    found: Attended,
    index: int,
    row: int,
) -> Carried:
    """What ``head`` handed on at position ``at`` along ``out`` (see :func:`head_direction`), by source: ``value``.

    ``found`` has its values at ``index``, and its pattern there in ``row``.

    Raises:
        GranularityError: the head no longer writes ``value``.
    """
    model, layer, number = run.model, head.layer or 0, head.index or 0
    pattern, v, gate, d = found.pattern[index, row], found.v[index], found.gate_at(index, row), found.v.shape[-1]
    z = run.record.z[layer][at, number * d : (number + 1) * d].float()
    gathered = pattern @ v
    missed = z - (gathered if gate is None else gathered * gate)
    bar, parent = torch.tensor(value), z @ out
    slack = 1e-4 * (z.norm() * out.norm()) + 1e-12
    direction, through, bias, scale = None, out if gate is None else out * gate, 0.0, None
    if model.level(layer).values:
        direction, through, bias = z_direction(model, layer, number, out, gate)
        scale = value_scale(model, run.record, layer, number)
    values = pattern * (v @ through - bias)
    weights = pattern if scale is None else pattern * scale
    refuse_above(bar - parent.cpu(), slack.cpu(), f"{head} no longer writes what its bar says")
    return Carried(pattern, weights, values, float(pattern.sum()) * bias, float(missed @ out), direction, through)


def _half(a: Attribution) -> bool:
    return a.model.precision not in (torch.float32, torch.float64)


@torch.no_grad()
def sources(a: Attribution, head: Component) -> Contributions:
    """See :meth:`Attribution.sources`."""
    found = carried(a, head)
    labels, kinds = list(a.run.tokens), ["token"] * a.run.n_positions
    values = found.values.tolist()
    layer = head.layer or 0
    if a.model.level(layer).values and qkv_projection(a.model, layer, "v").bias is not None:
        labels.append("value bias")
        kinds.append("bias")
        values.append(found.value_bias)
    if _half(a):
        labels.append("rounding")
        kinds.append("rounding")
        values.append(found.rounding)
    best = int(found.values.abs().argmax())
    token, part = visible(a.run.tokens[best]), float(found.values[best])
    reads = percent(float(found.pattern[best]))
    title = f"{head} by source token: reads {reads} from {token}, which carries {signed(part)}"
    return Contributions(
        title,
        labels,
        kinds,
        torch.tensor(values).float(),
        str(head),
        a[head],
        a.unit,
        axis="source",
    )


@torch.no_grad()
def through(a: Attribution, head: Component | None) -> Through:
    """See :meth:`Attribution.through`.

    Raises:
        ComponentError: no head, where not all heads of one layer are what is read.
    """
    reading = a.reading
    if head is not None:
        return _through(a, [head], head)
    if not isinstance(reading, Inside) or reading.sublayer != "attn":
        raise ComponentError(
            "The heads of one layer together are what is read only of a feature of their outputs.",
            'Name a head: a.through("L7H4").',
        )
    heads = [c for c in a.components if c.kind == "head"]
    return _through(a, heads, Component("attn", reading.layer))


def _through(a: Attribution, heads: list[Component], name: Component) -> Through:
    """Some heads of one layer together."""
    need(a.model, "values", name.layer)
    model, layer, everywhere = a.model, name.layer or 0, range(a.run.n_positions)
    whole = attend(model, a.run.record, layer) if len(heads) > 1 else None
    taken = [carried(a, head, whole) for head in heads]
    directions = torch.stack([found.direction for found in taken if found.direction is not None])
    rows = decompose(a.run, ReadPoint(layer), input_norm(model, layer), directions, everywhere)
    each = [shares(a.run, head, found, rows, i) for i, (head, found) in enumerate(zip(heads, taken, strict=True))]
    parts, constant, rounded = (torch.stack(tables).sum(0) for tables in zip(*each, strict=True))
    return Through(
        name,
        list(a.run.tokens),
        [*rows.components, Component("norm.bias"), Component("rounding")],
        torch.cat([parts, constant[:, None], rounded[:, None]], -1).cpu(),
        sum(found.value_bias for found in taken),
        sum(found.rounding for found in taken) if _half(a) else 0.0,
        sum(a[head] for head in heads),
        torch.stack([found.values for found in taken]).sum(0).cpu(),
        a.unit,
    )


def shares(
    run: Run, head: Component, taken: Carried, rows: Rows, number: int
) -> tuple[Float[Tensor, "source part"], Float[Tensor, "source"], Float[Tensor, "source"]]:
    """What a head took from every source, by part: (parts, the input norm's bias, rounding), which sum to it.

    ``rows`` split the stream along the direction of ``taken``, their direction ``number``.

    Raises:
        GranularityError: the recorded values are not the linear map of the stream they read.
    """
    weight = taken.weights
    constant = rows.constant[number] * weight
    # What the value projection rounded, and the measured rounding of the stream it read.
    missed = taken.values - (rows.direct[number] + rows.constant[number]) * weight
    read = normed_input(run.model, run.record, head.layer or 0)
    assert taken.direction is not None  # the layer's values are exact
    own = qkv_projection(run.model, head.layer or 0, "v", kv_head(run.model, head.layer or 0, head.index or 0))
    bound = dot_bound(run.model.precision, read, taken.direction.expand_as(read)) + own.slack(read, taken.through)
    bound = weight.abs().double() * bound + 1e-12
    refuse_above(missed, bound, f"the values of {head} are not the linear map of the stream they read")
    rounded = missed + (rows.stream[number] + rows.heads[number]) * weight
    return rows.values[number] * weight[:, None], constant, rounded
