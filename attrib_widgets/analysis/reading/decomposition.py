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
from ...model.parts.closing import stream_error
from ...model.parts.outlet import outlet_of
from ...model.selfcheck.causes import within
from ...words.components import Component, head, mlp
from ...words.errors import GranularityError
from .point import Reading, ReadPoint

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
        parts += [Component("beside", layer)] if _first(model) else []
        if level.heads:
            parts += [head(layer, h) for h in range(model.heads_of(layer))]
            if has_attention_bias(model, layer):
                parts.append(Component("attn.bias", layer))
        else:
            parts.append(Component("attn", layer))
        if layer < point.mlps:
            parts.append(mlp(layer))
            parts += [Component("beside", layer)] if model.anatomy.beside and not _first(model) else []
    return parts


def _first(model: Model) -> bool:
    """Whether a third part of every layer is added with its attention."""
    return model.anatomy.beside is not None and model.anatomy.beside.first


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

    def read(tensor: Tensor, layer: int | None = None, part: str = "pre") -> Tensor:
        """[direction, position] of a tensor [position, d_model] written by a part of ``layer`` (None: as it is at the
        point): in float64, so that nothing but the model rounds."""
        factor = 1.0 if layer is None else model.carried(layer, point.layer, part, point.mid)
        if isinstance(factor, Tensor):
            return _read(v.double() * factor.double(), tensor, paired).float()
        return _read(v, tensor, paired).float() * factor

    columns: list[Tensor] = []
    stream = heads = torch.zeros(1 if paired else len(v), len(index), device=v.device)
    if model.anatomy.pos:
        assert rec.embed is not None and rec.pos is not None
        embed, pos = rec.embed[index].double(), rec.pos[index].double()
        columns += [read(embed, 0), read(pos, 0)]
        stream = stream + read(rec.streams[0][index].double() - embed - pos, 0)
    else:
        columns.append(read(rec.streams[0][index], 0))
    for layer in range(point.attentions):
        level = model.level(layer)
        if not level.sublayers:
            columns.append(read(rec.wrote(layer)[index], layer + 1))
            continue
        if layer < point.mlps:
            how = rec.streams[layer].dtype, model.parallel, index, model.carry(layer)
            missed, bound = stream_error(rec, layer, *how)
            what = f"the sublayers of layer {layer} do not add up to what it writes"
            _refuse_above(model, layer, missed, bound, what)
        else:  # between attention and MLP: the sum of two recorded tensors, as the model rounds it
            before, attn = rec.streams[layer][index].double(), rec.attn_write[layer][index].double()
            missed = x.double() - rec.passed(layer, before) - attn
            missed = missed - rec.beside_write[layer][index].double() if _first(model) else missed
        columns += [read(rec.beside_write[layer][index], layer)] if _first(model) else []
        stream = stream + (read(missed, layer + 1) if layer < point.mlps else read(missed))
        if level.heads:
            arriving = v * model.carried(layer, point.layer, "attn", point.mid)
            split, rounded = head_columns(run, layer, arriving, index, paired)
            columns += split
            heads = heads + rounded
        else:
            columns.append(read(rec.attn_write[layer][index], layer, "attn"))
        if layer < point.mlps:
            columns.append(read(rec.mlp_write[layer][index], layer, "mlp"))
            behind = model.anatomy.beside and not _first(model)
            columns += [read(rec.beside_write[layer][index], layer)] if behind else []
    return Rows(
        parts_below(model, point),
        torch.stack(columns, -1) * scale[None, :, None],
        stream * scale,
        heads * scale,
        read(x) * scale,
        directions @ norm.bias,
    )


def _refuse_above(model: Model, layer: int, missed: Tensor, bound: Tensor, where: str) -> None:
    """:func:`refuse_above`, with the hook or the adapter that came after the model was loaded."""
    try:
        refuse_above(missed, bound, where)
    except GranularityError as reason:
        if not (cause := within(model, layer)):
            raise
        said = f"{reason.message.rstrip('.')}{cause}."
        hint = "Load the model again, aw.load(model.hf, model.tokenizer): that layer is then one part, the others stay."
        raise GranularityError(said, hint) from None


def _read(v: Tensor, tensor: Float[Tensor, "position d_model"], paired: bool) -> Float[Tensor, "direction position"]:
    """Dot products in float64: of every direction with every position, or of each with its own."""
    v, tensor = v.double(), tensor.double()
    return (v * tensor).sum(-1)[None] if paired else v @ tensor.T


def head_columns(
    run: Run, layer: int, v: Tensor, index: list[int], paired: bool
) -> tuple[list[Tensor], Float[Tensor, "direction position"]]:
    """Columns of one layer's heads and attention bias, and the rounding of their sum, all [direction, position]."""
    model, rec = run.model, run.record
    write = outlet_of(model, "attn", layer)
    given, written = rec.attn_out[layer][index], rec.attn_write[layer][index]
    directions, scale = write.pull(v), write.scale(given)
    out, z = model.out(layer), rec.z[layer][index].float()
    product, pulled = out.read(z, directions)
    missed, bound = out.missed(z, given, product, model.out_lengths(layer))
    z, through = (t.view(len(t), model.heads_of(layer), -1) for t in (z, pulled))
    heads = (z * through).sum(-1)[None] if paired else torch.einsum("phd,khd->kph", z, through)
    per_head = heads * scale[None, :, None]
    columns = list(per_head.unbind(-1))
    _refuse_above(model, layer, missed, bound, f"the heads of layer {layer} do not add up to their output projection")
    rounded = _read(directions, missed, paired).float() * scale
    if not write.plain:
        missed, bound = write.error(given, written)
        refuse_above(missed, bound, f"what the attention of layer {layer} adds is not what was recorded")
        rounded = rounded + _read(v, missed, paired).float()
    if has_attention_bias(model, layer):
        constant = write.constant(v)
        inside = directions @ out.bias if out.bias is not None else torch.zeros_like(constant)
        # [direction] stands for every position, or it is paired with them
        columns.append((inside * scale + constant)[None] if paired else inside[:, None] * scale + constant[:, None])
    return columns, rounded


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
