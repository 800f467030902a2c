"""The walk back from a number to the embedding, all paths at once: what :mod:`.totals` sums up."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.anatomy.rounding import refuse_above
from ....model.parts.closing import stream_error
from ....model.parts.mlp import mlp_norm
from ....model.parts.projections import input_norm, qkv_projection
from ....words.components import Component
from ...reading.features import Inside
from ...reading.neurons import mlp_point
from ..heads import stream_direction
from .step import RecordedMLP, held_heads, held_mlps, held_z

if TYPE_CHECKING:
    from ....model.anatomy.norms import FrozenNorm
    from ....model.parts.attention import Attended
    from ...attribution.attribution import Attribution

#: Recorded MLPs by layer, and why others are not opened.
Opened: TypeAlias = tuple[dict[int, RecordedMLP], dict[int, str]]


class Ends(NamedTuple):
    """Where a walk ends: parts, what each position of theirs put into the number, and the constants beside them."""

    parts: list[Component]
    values: Float[Tensor, "position part"]
    constants: list[tuple[Component, float]]


class Walk:
    """The backward pass: ``at`` is the direction of the stream that each position is read along, layer by layer."""

    def __init__(self, a: Attribution, opened: Opened) -> None:
        self.opened = opened
        self.run, self.model, self.rec = a.run, a.model, a.run.record
        self.point, self.everywhere = a.reading.point, list(range(a.run.n_positions))
        self.inside = a.reading if isinstance(a.reading, Inside) else None
        u = stream_direction(a) if self.inside is None else self.inside.along
        self.at = torch.zeros(a.run.n_positions, a.model.d_model, device=a.model.home)
        if u is not None:
            self.at[a.position] = u
        self.constants: dict[Component, float] = defaultdict(float)
        self.ends: list[tuple[Component, Tensor]] = []
        rows = list(zip(a.components, a.values.double().tolist(), strict=True))
        # What is inside a sublayer is walked through with it, its biases too.
        for c, v in rows if self.inside is None else self.inside.constants:
            if not c.writes:
                self.constants[c] += v
        # The roundings of the stream and the heads are measured on the way.
        self.constants[Component("rounding")] = a.rounding["readout"]

    def back(self) -> Ends:
        """From the read point to the embedding."""
        recorded = self.opened[0]
        if self.inside is not None:
            self._inside(self.inside, recorded.get(self.inside.layer))
        for layer in reversed(range(self.point.attentions if self.inside is None else self.inside.layer)):
            if not self.model.level(layer).sublayers:
                self._whole(layer)
            else:
                self._layer(layer, recorded.get(layer))
        self._embedding()
        self.ends.reverse()
        values = torch.stack([v for _, v in self.ends], -1).float().cpu()
        fixed = [(c, v) for c, v in self.constants.items() if v or c.kind == "rounding"]
        return Ends([c for c, _ in self.ends], values, fixed)

    # -- bookkeeping: everything along the directions of all positions, in float64 ----------------------------------
    def _along(self, tensor: Tensor, directions: Tensor) -> Float[Tensor, "position"]:
        return (tensor.double() * directions.double()).sum(-1)

    def _stop(self, part: Component, written: Tensor) -> None:
        self.ends.append((part, self._along(written, self.at)))

    def _fixed(self, name: str | Component, value: Tensor | float) -> None:
        self.constants[name if isinstance(name, Component) else Component(name)] += float(value)

    def _rounded(self, missed: Tensor, directions: Tensor) -> None:
        self._fixed("rounding", self._along(missed, directions).sum())

    def _whole(self, layer: int) -> None:
        self._stop(Component("layer", layer), self.rec.wrote(layer))

    # -- one layer ---------------------------------------------------------------------------------------------------
    def _layer(self, layer: int, opened: RecordedMLP | None) -> None:
        rec, model = self.rec, self.model
        has_mlp, through_mlp = layer < self.point.mlps, torch.zeros_like(self.at)
        if has_mlp:
            how = rec.streams[layer].dtype, model.parallel, slice(None), model.carry(layer)
            missed, bound = stream_error(rec, layer, *how)
            refuse_above(missed, bound, f"the sublayers of layer {layer} do not add up to what it writes")
            self._rounded(missed, self.at)
            self.at = self.at * model.carry(layer)
            if model.anatomy.beside and not rec.beside_first:
                self._stop(Component("beside", layer), rec.beside_write[layer])
            if opened is None:
                self._stop(Component("mlp", layer), rec.mlp_write[layer])
            else:
                through_mlp = self._mlp(layer, opened)
        self._before(layer, self.at, through_mlp, has_mlp)

    def _before(self, layer: int, beside: Tensor, through_mlp: Tensor, has_mlp: bool) -> None:
        """Past the attention: along ``beside``, what the MLP is added to, and ``through_mlp``, what that reads."""
        rec, model = self.rec, self.model
        joins = rec.joins.get(layer) if has_mlp else None
        passed = (beside if joins is None else joins[1].kept(beside)) + through_mlp
        if has_mlp and model.parallel:
            written = beside
        else:
            written = passed
            # What is read between attention and MLP is the sum of two recorded tensors, as the model rounds it.
            before = rec.passed(layer, rec.streams[layer].double())
            missed = rec.mid(layer).double() - before - rec.attn_write[layer].double()
            missed = missed - rec.beside_write[layer].double() if rec.beside_first else missed
            self._rounded(missed, through_mlp if has_mlp else beside)
        self.at = written
        if rec.beside_first:
            self._stop(Component("beside", layer), rec.beside_write[layer])
        passed = rec.passed(layer, passed)
        if model.level(layer).values:
            passed = passed + self._attention(layer)
        else:
            self._stop(Component("attn", layer), rec.attn_write[layer])
        self.at = passed

    def _normed(self, norm: FrozenNorm, x: Tensor, directions: Tensor, read: Tensor) -> Tensor:
        """Directions of a normed stream as directions of ``x``; ``read`` is what was read along them, less biases."""
        back = norm.pull(directions) * norm.scale(x)[:, None]
        biased = (directions @ norm.bias).double()
        self._fixed("norm.bias", biased.sum())
        self._fixed("rounding", (read.double() - self._along(x, back) - biased).sum())
        return back

    def _mlp(self, layer: int, made: RecordedMLP) -> Float[Tensor, "position d_model"]:
        held = held_mlps(self.run, layer, self.everywhere, self.at, made)
        self._fixed("neuron.bias", held.neuron_bias.sum())
        self._fixed(Component("mlp.bias", layer), held.mlp_bias.sum())
        self._fixed("rounding", held.rounding.sum())
        x = mlp_point(self.model, layer).stream(self.rec)
        return self._normed(mlp_norm(self.model, layer), x, held.directions, held.read)

    def _inside(self, reading: Inside, opened: RecordedMLP | None) -> None:
        """From inside a sublayer to the stream that its layer reads, nothing passing beside it."""
        layer, nothing = reading.layer, torch.zeros_like(self.at)
        if reading.sublayer == "mlp":
            if opened is None:
                self._stop(Component("mlp", layer), self.rec.mlp_write[layer])
                self.at = nothing
                return
            self._before(layer, nothing, self._mlp(layer, opened), True)
            return
        z = None
        if reading.z is not None:
            z = torch.zeros_like(self.rec.z[layer], dtype=torch.float32)
            z[reading.position] = reading.z
        if self.model.level(layer).values:
            self.at = self._attention(layer) if z is None else self._values(layer, z, *held_z(self.run, layer, z))
            return
        written = self._along(*((self.rec.attn_write[layer], self.at) if z is None else (self.rec.z[layer], z)))
        self.ends.append((Component("attn", layer), written))
        self.at = nothing

    def _attention(self, layer: int) -> Float[Tensor, "position d_model"]:
        rec, projection = self.rec, self.model.out(layer)
        held = held_heads(self.run, layer, self.at)
        here = held.here
        out, fixed = here.directions, here.constant.double().sum()
        missed, bound = projection.missed(rec.z[layer].float(), rec.attn_out[layer], held.product)
        refuse_above(missed, bound, f"the heads of layer {layer} do not add up to their output projection")
        self._fixed("rounding", here.rounding(missed).sum())
        own = fixed + (0.0 if projection.bias is None else (out @ projection.bias).double().sum())
        self._fixed(Component("attn.bias", layer), own)
        return self._values(layer, held.z, held.carried, held.values, held.attended)

    def _values(
        self,
        layer: int,
        z: Float[Tensor, "position heads_times_d_head"],
        carried: Float[Tensor, "head position d_head"],
        shared: Float[Tensor, "position key_heads_times_d_head"],
        found: Attended,
    ) -> Float[Tensor, "position d_model"]:
        """From what the heads hand on, along ``z``, to the stream that their values read (see :func:`held_z`)."""
        rec, model = self.rec, self.model
        recorded, through = (
            x.view(len(z), model.heads_of(layer), -1).transpose(0, 1) for x in (rec.z[layer].float(), z)
        )
        self._rounded(recorded - found.z, through)
        read = self._along(found.v, carried).sum(0)
        values = qkv_projection(model, layer, "v")
        if values.bias is not None:
            given = (shared @ values.bias).double()
            self._fixed("value.bias", given.sum())
            read = read - given
        return self._normed(input_norm(model, layer), rec.streams[layer], values.pull(shared), read)

    def _embedding(self) -> None:
        rec = self.rec
        if not self.model.anatomy.pos:
            self._stop(Component("embed"), rec.streams[0])
            return
        assert rec.embed is not None and rec.pos is not None
        self._stop(Component("pos"), rec.pos.expand_as(rec.embed))
        self._stop(Component("embed"), rec.embed)
        self._rounded(rec.streams[0].double() - rec.embed.double() - rec.pos.double(), self.at)
