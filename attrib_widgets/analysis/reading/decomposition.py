"""The one decomposition: what every part of the model wrote along given directions of the stream.

A direction w of the normalised stream at a read point is pulled back once to a direction of the raw stream,
``u = pull(w) * scale(x)``; a part that wrote c contributed ``c . u``. Where a sublayer has a norm of its own
after it, u is pulled back through that norm too, with its own frozen scale. No ``[component, position, d_model]``
tensor exists at any time: u goes back through W_O and meets z.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.anatomy.norms import FrozenNorm
from ...model.anatomy.rounding import refuse_above
from ...model.parts.outlet import outlet_of
from ...words.components import Component, head, mlp
from .point import Reading, ReadPoint
from .ways import Arriving, dotted, refuse_unclosed, way_of

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.run import Run


@dataclass
class Rows:
    """Contributions of the parts below a read point, for K directions at P positions.

    ``values`` follow ``components``. ``stream`` and ``heads`` are the measured roundings of the additions to the
    stream and of the head splits; ``direct`` is the recorded stream read in the same direction, ``constant`` the
    norm's bias. ``values.sum(-1) + stream + heads`` equals ``direct`` up to float32 arithmetic.
    """

    components: list[Component]
    values: Float[Tensor, "direction position component"]
    stream: Float[Tensor, "direction position"]
    heads: Float[Tensor, "direction position"]
    direct: Float[Tensor, "direction position"]
    constant: Float[Tensor, "direction"]


def parts_below(model: Model, point: ReadPoint) -> list[Component]:
    """The parts that write before ``point``, in model order, each layer as far as it splits exactly."""
    parts = [Component("embed")] + ([Component("pos")] if model.anatomy.pos else [])
    for layer in range(point.attentions):
        level = model.level(layer)
        if not level.sublayers:
            parts.append(Component("layer", layer))
            continue
        others = besides(model, layer, point)
        parts += [Component(site, layer) for site in others if first(model, site)]
        if level.heads:
            parts += [head(layer, h) for h in range(model.heads_of(layer))]
            if has_attention_bias(model, layer):
                parts.append(Component("attn.bias", layer))
        else:
            parts.append(Component("attn", layer))
        if layer < point.mlps:
            parts.append(mlp(layer))
        parts += [Component(site, layer) for site in others if not first(model, site)]
    return parts


def first(model: Model, site: str) -> bool:
    """Whether what a layer adds beside attention and MLP, by its site, is added with its attention."""
    return model.anatomy.besides[site].first


def besides(model: Model, layer: int, point: ReadPoint) -> list[str]:
    """The sites of what ``layer`` adds beside attention and MLP before ``point``."""
    return [site for site in model.anatomy.besides if layer < point.mlps or first(model, site)]


def absent_heads(
    model: Model, table: Float[Tensor, "layer head *more"], value: float = torch.nan
) -> Float[Tensor, "layer head *more"]:
    """``table`` with ``value`` where a layer has no such head."""
    for layer in range(len(table)):
        table[layer, model.heads_of(layer) :] = value
    return table


def has_attention_bias(model: Model, layer: int) -> bool:
    """Whether the attention of ``layer`` writes a constant of its own."""
    return outlet_of(model, "attn", layer).bias is not None or model.out(layer).bias is not None


@torch.no_grad()
def decompose(
    run: Run,
    point: ReadPoint,
    norm: FrozenNorm,
    directions: Float[Tensor, "direction d_model"],
    positions: Sequence[int],
    paired: bool = False,
) -> Rows:
    """Split what ``norm`` reads at ``point`` among the parts that wrote it.

    Args:
        point: the place in the stream.
        directions: directions of the normalised stream, float32.
        positions: where they are read.
        paired: each direction is read at its own position only, so that the result has one direction per position
            (``direction`` is 1 in its shapes, ``constant`` is [position]).

    Raises:
        GranularityError: on this very prompt the recorded tensors miss their sums by more than rounding.
    """
    run.check_fresh()
    model, rec, index = run.model, run.record, list(positions)
    x = point.stream(rec)[index]
    scale = norm.scale(x)
    v = norm.pull(directions)

    way = way_of(run, point, v, index, paired)
    columns, stream = way.embedded()
    heads = torch.zeros_like(stream)
    for layer in range(point.attentions):
        level = model.level(layer)
        if not level.sublayers:
            columns.append(way.whole(layer))
            continue
        stream = stream + way.rounded(layer)
        written = {site: getattr(rec, f"{site}_write")[layer][index] for site in besides(model, layer, point)}
        columns += [way.part(layer, site, written[site]) for site in written if first(model, site)]
        if level.heads:
            split, rounded = head_columns(run, layer, way, index, paired)
            columns += split
            heads = heads + rounded
        else:
            columns.append(way.part(layer, "attn", rec.attn_write[layer][index]))
        if layer < point.mlps:
            columns.append(way.part(layer, "mlp", rec.mlp_write[layer][index]))
        columns += [way.part(layer, site, written[site]) for site in written if not first(model, site)]
    stream = stream + way.read()
    return Rows(
        parts_below(model, point),
        torch.stack(columns, -1) * scale[None, :, None],
        stream * scale,
        heads * scale,
        dotted(v, x, paired).float() * scale,
        directions @ norm.bias,
    )


def head_columns(
    run: Run, layer: int, way: Arriving, index: list[int], paired: bool
) -> tuple[list[Tensor], Float[Tensor, "direction position"]]:
    """Columns of one layer's heads and attention bias, and the rounding of their sum, all [direction, position]."""
    model, rec = run.model, run.record
    write, v = outlet_of(model, "attn", layer), way.arriving(layer, "attn")
    given, written = rec.attn_out[layer][index], rec.attn_write[layer][index]
    directions, scale = write.pull(v), write.scale(given)
    out, z = model.out(layer), rec.z[layer][index].float()
    product, pulled = out.read(z, directions)
    missed, bound = out.missed(z, given, product)
    z, through = (t.view(len(t), model.heads_of(layer), -1) for t in (z, pulled))
    heads = (z * through.view(-1, *z.shape)).sum(-1) if paired else torch.einsum("phd,khd->kph", z, through)
    columns = list(way.gathered(layer, "attn", heads * scale[None, :, None]).unbind(-1))
    refuse_unclosed(model, layer, missed, bound, f"the heads of layer {layer} do not add up to their output projection")
    rounded = dotted(directions, missed, paired).float() * scale
    if not write.plain:
        missed, bound = write.error(given, written)
        refuse_above(missed, bound, f"what the attention of layer {layer} adds is not what was recorded")
        rounded = rounded + dotted(v, missed, paired).float()
    if has_attention_bias(model, layer):
        constant = write.constant(v)
        inside = directions @ out.bias if out.bias is not None else torch.zeros_like(constant)
        # [direction] stands for every position, or it is paired with them
        inside, constant = ((t.view(-1, len(index)) if paired else t[:, None]) for t in (inside, constant))
        columns.append(way.gathered(layer, "attn", inside * scale + constant))
    return columns, way.gathered(layer, "attn", rounded)


@dataclass
class Closed:
    """The rows of one reading with what closes their sum: constants, the soft cap, and the measured rounding.

    ``rounding`` has its three parts: ``stream``, ``heads``, ``readout``.
    """

    components: list[Component]
    values: Float[Tensor, "component"]
    rounding: dict[str, float]


def closed(reading: Reading, rows: Rows, row: int = 0, direction: int = 0) -> Closed:
    """The sum of a reading's rows (the ``row``-th of paired ones), closed up to the printed number.

    ``direction`` is which of the directions of ``rows`` is the reading's, where they are not paired.

    Raises:
        GranularityError: the printed number is further from the sum than rounding explains.
    """
    components, values = list(rows.components), rows.values[direction, row].double().tolist()
    constant = float(rows.constant[direction + row])  # of a direction, or of the one that is paired with a position
    if bool(reading.norm.bias.any()):
        components.append(Component("norm.bias"))
        values.append(constant)
    for name, value in reading.constants:
        components.append(name)
        values.append(value)
    read = float(rows.direct[direction, row]) + constant + sum(v for _, v in reading.constants)
    if reading.precap is not None:
        components.append(Component("softcap"))
        values.append(reading.actual - reading.precap)
    refuse_above(
        torch.tensor(reading.before_cap - read),
        torch.tensor(reading.bound),
        "the printed number is not the read-out of the recorded stream",
    )
    rounding = {
        "stream": float(rows.stream[direction, row]),
        "heads": float(rows.heads[direction, row]),
        "readout": reading.before_cap - read,
    }
    components.append(Component("rounding"))
    values.append(sum(rounding.values()))
    return Closed(components, torch.tensor(values).float(), rounding)
