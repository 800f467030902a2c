"""A recorded run as a linear machine: directions of many targets pulled down through its layers at once.

Attention patterns, the scales of norms and the gates of MLPs are held as they were in the run, so that whatever is
asked of a place is a direction of what stands before it, plus constants. Directions are rows: one of ``V`` is asked at
the position ``at`` of the same number. Everything is float64. What a recording misses of this arithmetic (rounding, of
the model and of float32) is measured once a layer as a vector and told beside the constants, so that sums close
whatever the dtype of the model; where it is more than rounding, the layer is refused, as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...model.anatomy.norms import FrozenNorm
from ...model.anatomy.rounding import refuse_above
from ...model.parts.attention import attend, value_scale
from ...model.parts.closing import head_error
from ...model.parts.experts import mlp_input
from ...model.parts.mlp import check_projection, mlp_norm
from ...model.parts.outlet import Sublayer, outlet_of
from ...model.parts.projections import input_norm, qkv_projection, value_factor, value_norm
from ..opening.mlps import missed_by_neurons
from ..opening.trace.step import RecordedMLP
from ..reading.neurons import mlp_point

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.run import Run
    from ...model.tracing.recording import Recording

#: Directions, one a row, each asked at a position.
Rows = Float[Tensor, "row width"]
At = Int[Tensor, "row"]


class Pulled(NamedTuple):
    """Directions further down, and what was left on the way: per row, what biases put in, and rounding."""

    rows: Rows
    constant: Float[Tensor, "row"]
    rounding: Float[Tensor, "row"]


def _along(written: Float[Tensor, "position width"], rows: Rows, at: At) -> Float[Tensor, "row"]:
    """What ``written`` at its own position is along every row."""
    return (written[at] * rows).sum(-1)


@dataclass(frozen=True)
class HeldNorm:
    """A norm with the scale that it had at every position."""

    norm: FrozenNorm
    scale: Float[Tensor, "position"]

    @staticmethod
    def at(norm: FrozenNorm, x: Float[Tensor, "position width"]) -> HeldNorm:
        """``norm`` where it read ``x``."""
        return HeldNorm(norm, norm.scale(x).double())

    def pull(self, rows: Rows, at: At) -> tuple[Rows, Float[Tensor, "row"]]:
        """(directions of what it reads, what its bias puts in)."""
        return self.norm.pull(rows) * self.scale[at][:, None], rows @ self.norm.bias.double()

    def __call__(self, x: Float[Tensor, "position width"]) -> Float[Tensor, "position width"]:
        """What it makes of ``x`` with the scale held."""
        return self.norm.push(x.double()) * self.scale[:, None] + self.norm.bias.double()


class HeldOutlet:
    """From what a sublayer gives to what it adds to the stream: a norm of its own, a multiplier, or nothing."""

    def __init__(self, run: Run, sublayer: Sublayer, layer: int) -> None:
        rec, mlp = run.record, sublayer == "mlp"
        given, added = (rec.mlp_out, rec.mlp_write) if mlp else (rec.attn_out, rec.attn_write)
        self._outlet = outlet_of(run.model, sublayer, layer)
        self._scale = self._outlet.scale(given[layer]).double()
        if not self._outlet.plain:
            missed, bound = self._outlet.error(given[layer], added[layer])
            name = "MLP" if mlp else "attention"
            refuse_above(missed, bound, f"what the {name} of layer {layer} adds is not what was recorded")

    def pull(self, rows: Rows, at: At) -> tuple[Rows, Float[Tensor, "row"]]:
        """(directions of what the sublayer gives, what the norm's bias puts in)."""
        bias = self._outlet.bias
        constant = rows.new_zeros(len(rows)) if bias is None else rows @ bias.double()
        if self._outlet.plain:
            return rows, constant
        return self._outlet.pull(rows) * self._scale[at][:, None], constant

    def part(self, given: Float[Tensor, "d_model"], position: int) -> Float[Tensor, "d_model"]:
        """What is added of a part of what it gives, before a multiplier."""
        return self._outlet.push(given) * self._scale[position] / self._outlet.multiplier

    def __call__(self, given: Float[Tensor, "position d_model"]) -> Float[Tensor, "position d_model"]:
        """What is added of ``given``."""
        out = self._outlet.push(given) * self._scale[:, None]
        return out if self._outlet.bias is None else out + self._outlet.bias.double()


class HeldMLP:
    """The MLP of one layer with its gates held: what it adds to the stream, along directions of what it reads."""

    def __init__(self, run: Run, layer: int, made: RecordedMLP) -> None:
        model, rec, linear, down = run.model, run.record, made.projection.linear, run.model.down(layer)
        check_projection(model, layer, made.projection, mlp_input(model, rec, layer), made.entered)
        self._norm = HeldNorm.at(mlp_norm(model, layer), mlp_point(model, layer).stream(rec))
        self._outlet = HeldOutlet(run, "mlp", layer)
        acts, before = made.activations.double(), made.entered.double()
        self._gate = torch.where(before == 0, 0.0, acts / before)
        self._w_in, self._w_out = linear.rows(0, linear.d_in).double(), down.rows(0, down.d_in).double()
        product = acts @ self._w_out
        missed_by_neurons(run, layer, range(run.n_positions), made.activations.float(), product)
        x = mlp_point(model, layer).stream(rec)
        # What is given whatever it reads. An activation of exactly 0 before the gate leaves nothing to hold.
        fixed = acts * (before == 0)
        fixed = fixed if linear.bias is None else fixed + self._gate * linear.bias.double()
        self._constant = fixed @ self._w_out
        self._constant = self._constant if down.bias is None else self._constant + down.bias.double()
        out = (self._gate * (self._norm(x) @ self._w_in)) @ self._w_out + self._constant
        self._missed = rec.mlp_write[layer].double() - self._outlet(out)

    def pull(self, rows: Rows, at: At) -> Pulled:
        """Directions of what it adds to the stream, as directions of the stream that it reads."""
        given, constant = self._outlet.pull(rows, at)
        constant = constant + _along(self._constant, given, at)
        held = (given @ self._w_out.T).mul_(self._gate[at])
        below, biased = self._norm.pull(held @ self._w_in.T, at)
        return Pulled(below, constant + biased, _along(self._missed, rows, at))


class HeldAttention:
    """The attention of one layer with its pattern held, in two steps: what it adds to z, and z to the stream before."""

    def __init__(self, run: Run, layer: int) -> None:
        # Not the run itself, which this is kept with.
        model, rec = self._model, self._rec = run.model, run.record
        self._layer = layer
        missed, bound = head_error(model, rec, layer)
        refuse_above(missed, bound, f"the heads of layer {layer} do not add up to their output projection")
        self._out = model.out(layer)
        self._w_out = self._out.rows(0, self._out.d_in).double()
        self._outlet = HeldOutlet(run, "attn", layer)
        self.heads = model.heads_of(layer)
        given = rec.z[layer].double() @ self._w_out
        given = given if self._out.bias is None else given + self._out.bias.double()
        self._missed = rec.attn_write[layer].double() - self._outlet(given)

    def to_z(self, rows: Rows, at: At) -> Pulled:
        """Directions of what it adds to the stream, as directions of its heads' outputs side by side."""
        given, constant = self._outlet.pull(rows, at)
        if self._out.bias is not None:
            constant = constant + given @ self._out.bias.double()
        return Pulled(given @ self._w_out.T, constant, _along(self._missed, rows, at))

    def written(self, z: Float[Tensor, "heads_times_d_head"], position: int) -> Float[Tensor, "d_model"]:
        """What some outputs of its heads add to the stream, before a multiplier."""
        return self._outlet.part(z @ self._w_out, position)

    @cached_property
    def values(self) -> HeldValues:
        """How its heads gather what the stream before it gives them."""
        return HeldValues(self._model, self._rec, self._layer)

    @property
    def opens(self) -> bool:
        """Whether the values are a linear map of the stream before it."""
        return bool(self._model.level(self._layer).values)

    def from_z(self, rows: Rows, of: Int[Tensor, "row"], at: At, last: Int[Tensor, "target"]) -> Gathered:
        """Directions of z, as directions of the stream before the layer, at every position up to the ``last`` that can
        put something into a target; ``of`` says of which target a row is, ``at`` its position."""
        n, values = len(self._rec.streams[0]), self.values
        spread = values.spread(rows, of, at, len(last), n)
        owners, places = (torch.arange(n, device=rows.device)[None] <= last[:, None]).nonzero().unbind(-1)
        below, biased = values.below(spread.permute(1, 2, 0, 3)[places, owners], places)
        return Gathered(below, owners, places, biased, _along(values.missed, rows, at))


class Gathered(NamedTuple):
    """Directions of the stream before a layer, of which target and at which position; what biases put in, a row; and
    rounding, a row of what was given."""

    rows: Rows
    of: Int[Tensor, "row"]
    at: At
    constant: Float[Tensor, "row"]
    rounding: Float[Tensor, "given"]


class HeldValues:
    """How one layer's heads gather what the stream before it gives them, in float64."""

    def __init__(self, model: Model, rec: Recording, layer: int) -> None:
        found = attend(model, rec, layer)
        self.pattern, self._gate = found.pattern.double(), found.gate
        self.heads, self._group = model.heads_of(layer), model.geometry[layer].group
        self._factor, self._headed = value_factor(model, layer), value_norm(model, layer)
        self._scales: Tensor | None = None
        if self._headed is not None:  # of the heads that hold them, once
            some = [value_scale(model, rec, layer, h) for h in range(0, self.heads, self._group)]
            self._scales = torch.stack([s for s in some if s is not None]).double()
        projection = qkv_projection(model, layer, "v")
        self._w = projection.rows(0, projection.d_in).double()
        self._bias = None if projection.bias is None else projection.bias.double()
        self._norm = HeldNorm.at(input_norm(model, layer), rec.streams[layer])
        # Through the norm once for all directions of the values, which are fewer than what is asked along them.
        self._pulled = self._norm.norm.pull(self._w.T)
        biased = self._w.T @ self._norm.norm.bias.double()
        self._fixed = biased if self._bias is None else biased + self._bias
        v = self._made(self._norm(rec.streams[layer]))
        z = found.gated(self.pattern @ v).transpose(0, 1).flatten(1)
        self.missed = rec.z[layer].double() - z

    def part(self, written: Float[Tensor, "d_model"], position: int) -> Float[Tensor, "head d_head"]:
        """What the values of every query head hold of something written in the stream before the layer."""
        raw = self._norm.norm.push(written) * self._norm.scale[position] @ self._w
        own = raw.unflatten(-1, (self.heads // self._group, -1))
        if self._headed is not None and self._scales is not None:
            own = self._headed.push(own) * self._scales[:, position][:, None]
        out: Tensor = (own * self._factor).repeat_interleave(self._group, 0)
        return out

    def _made(self, normed: Float[Tensor, "position d_model"]) -> Float[Tensor, "head position d_head"]:
        """Values of every query head, of what the layer reads."""
        raw = normed @ self._w
        raw = raw if self._bias is None else raw + self._bias
        own = raw.unflatten(-1, (self.heads // self._group, -1)).transpose(0, 1)
        if self._headed is not None and self._scales is not None:
            own = self._headed.push(own) * self._scales[..., None]
        out: Tensor = (own * self._factor).repeat_interleave(self._group, 0)
        return out

    def gated(self, rows: Rows, at: At) -> Float[Tensor, "row head d_head"]:
        """Directions of z by head, through what the module multiplies them by."""
        split: Tensor = rows.unflatten(-1, (self.heads, -1))
        return split if self._gate is None else split * self._gate.transpose(0, 1)[at].double()

    def spread(
        self, rows: Rows, of: Tensor, at: At, targets: int, n: int
    ) -> Float[Tensor, "head position target d_head"]:
        """Directions of z carried to the sources by the pattern."""
        split = self.gated(rows, at).transpose(0, 1)
        dense = rows.new_zeros(len(split), n, targets, split.shape[-1])
        dense[:, at, of] = split
        return (self.pattern.transpose(1, 2) @ dense.flatten(2)).view_as(dense)

    def below(self, spread: Float[Tensor, "row head d_head"], at: At) -> tuple[Rows, Float[Tensor, "row"]]:
        """(directions of the stream before the layer, what biases put in), of directions of the values by head."""
        shared = spread if self._group == 1 else spread.unflatten(1, (-1, self._group)).sum(2)
        shared = shared if self._factor == 1 else shared * self._factor
        if self._headed is not None and self._scales is not None:
            shared = self._headed.pull(shared) * self._scales.transpose(0, 1)[at][..., None]
        flat = shared.flatten(1)
        return (flat @ self._pulled).mul_(self._norm.scale[at][:, None]), flat @ self._fixed
