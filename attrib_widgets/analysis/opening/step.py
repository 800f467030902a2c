"""One step upstream: what a part wrote along a direction, split over the parts that wrote what it had read.

A head with its pattern and its norms held is linear in the streams of its source tokens. An MLP is not linear; it is
with its gates held as well (:func:`expand_mlps`). Each split sums to the part's own number, biases and measured
rounding included, and every row comes with its own direction, so that it can be split in turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.parts.attention import attend
from ...model.parts.experts import mlp_input
from ...model.parts.mlp import InputProjection, check_projection, gated, input_projection, mlp_norm
from ...model.parts.projections import input_norm
from ...model.tracing.record import record_inside
from ...words.components import Component
from ...words.errors import GranularityError
from ..reading.decomposition import decompose
from ..reading.neurons import mlp_point
from ..reading.point import ReadPoint
from .heads import carried_along, output_direction, shares
from .mlps import missed_by_neurons, pulled_back

if TYPE_CHECKING:
    from ...model.run import Run

#: Numbers that one call of the decomposition may make at once.
CHUNK = 4_000_000


@dataclass(frozen=True)
class Written:
    """What ``part`` wrote at position ``at`` along ``direction`` (of the raw stream there): ``value``."""

    part: Component
    at: int
    direction: Float[Tensor, "d_model"]
    value: float


@dataclass(frozen=True)
class Expanded:
    """Rows ``values[position, component]`` and ``constants`` that sum to what a part wrote along a direction.

    Row (p, c) is what ``components[c]`` wrote at ``positions[p]`` along ``weights[p] * pulled``.
    """

    components: list[Component]
    positions: list[int]
    values: Float[Tensor, "position component"]
    weights: Float[Tensor, "position"]
    pulled: Float[Tensor, "d_model"]
    constants: list[tuple[Component, float]]

    def written(self, position: int, component: int) -> Written:
        """One row, as something to split in turn; both arguments number the rows."""
        value = float(self.values[position, component])
        part, at = self.components[component], self.positions[position]
        return Written(part, at, self.weights[position] * self.pulled, value)


def _named(constants: dict[str, float]) -> list[tuple[Component, float]]:
    """The constants that are there; rounding always is."""
    return [(Component(name), value) for name, value in constants.items() if value or name == "rounding"]


@torch.no_grad()
def expand_heads(run: Run, layer: int, written: Sequence[Written]) -> Iterator[Expanded]:
    """Heads of one layer, pattern and norms held: rows over (source token, upstream part).

    Raises:
        GranularityError: attention was not shown to be exact, or does not add up on this prompt.
    """
    model, norm = run.model, input_norm(run.model, layer)
    found, x = attend(model, run.record, layer), run.record.streams[layer]
    scale, everywhere = norm.scale(x), list(range(run.n_positions))
    size = max(1, CHUNK // (run.n_positions * model.heads_of(layer) * (layer + 1)))
    for start in range(0, len(written), size):
        some = written[start : start + size]
        taken = []
        for w in some:
            u = output_direction(run, layer, w.at, w.direction)
            taken.append(carried_along(run, w.part, w.at, u, w.value, found))
        rows = decompose(run, ReadPoint(layer), norm, torch.stack([t.direction for t in taken]), everywhere)
        for number, (w, carried) in enumerate(zip(some, taken, strict=True)):
            parts, constant, rounded = shares(run, w.part, carried, rows, number)
            constants = {
                "value.bias": carried.value_bias,
                "norm.bias": float(constant.double().sum()),
                "rounding": float(rounded.double().sum()) + carried.rounding,
            }
            weights = carried.pattern * scale
            pulled = norm.pull(carried.direction)
            yield Expanded(rows.components, everywhere, parts, weights, pulled, _named(constants))


@dataclass(frozen=True)
class RecordedMLP:
    """An input projection, its outputs and the neurons' activations at ``positions``, in the model's dtype."""

    projection: InputProjection
    positions: list[int]
    entered: Float[Tensor, "position neuron"]
    activations: Float[Tensor, "position neuron"]


def recorded_mlps(
    run: Run, layers: Sequence[int], positions: list[int]
) -> tuple[dict[int, RecordedMLP], dict[int, str]]:
    """The MLPs of some layers from one forward pass, and why those are missing that have no plain neurons."""
    model, side = run.model, "up" if gated(run.model) else "gate"
    found: dict[int, InputProjection] = {}
    missing: dict[int, str] = {}
    for layer in layers:
        try:
            found[layer] = input_projection(model, layer, side)
        except GranularityError as reason:
            missing[layer] = reason.message
    if not found:
        return {}, missing
    places = [(next(iter(found.values())).path, "output"), (model.anatomy.mlp_down, "input")]
    made = record_inside(model, run.ids, list(found), positions, places)
    return {
        layer: RecordedMLP(p, positions, made[layer][0][:, p.columns], made[layer][1]) for layer, p in found.items()
    }, missing


def held_gates(
    activations: Float[Tensor, "position neuron"], entered: Float[Tensor, "position neuron"]
) -> Float[Tensor, "position neuron"]:
    """Each neuron's activation over the side of it that stays linear: ``act(gate)`` in a gated MLP, ``act(x) / x`` in a
    plain one; 0 where nothing entered."""
    return torch.where(entered == 0, 0.0, activations / entered)


@torch.no_grad()
def expand_mlps(run: Run, layer: int, written: Sequence[Written], made: RecordedMLP) -> list[Expanded]:
    """MLPs of one layer with their gates held: rows over the parts upstream at the same position.

    A neuron's activation is a gate times something linear in the stream: in gated MLPs ``act(gate) * up``, with
    ``act(gate)`` held; in plain ones ``(act(x) / x) * x``, with the ratio held (a ReLU's 0 or 1). What the MLP
    wrote is then linear in what it read, exactly at this prompt. How the gates came about is not part of the split.

    Raises:
        GranularityError: the neurons do not add up on this prompt.
    """
    model, rec = run.model, run.record
    projection, positions = made.projection, made.positions
    down = model.down(layer)
    norm, point = mlp_norm(model, layer), mlp_point(model, layer)
    acts = made.activations.float()
    check_projection(model, layer, projection, mlp_input(model, rec, layer)[positions], made.entered)
    before = made.entered.float()
    gates = held_gates(acts, before)
    scale = norm.scale(point.stream(rec)[positions])
    index = [positions.index(w.at) for w in written]
    through = [pulled_back(run, layer, w.at, w.direction) for w in written]
    product, backs = down.read(acts, torch.stack([here.direction for here in through]))
    missed = missed_by_neurons(run, layer, positions, acts, product)
    held = [gates[row] * back for back, row in zip(backs, index, strict=True)]
    directions = projection.linear.pull(torch.stack(held))
    rows = decompose(run, point, norm, directions, [w.at for w in written], paired=True)
    expanded = []
    for number, (w, row) in enumerate(zip(written, index, strict=True)):
        here, gate = through[number], held[number]
        entered = 0.0 if projection.linear.bias is None else float(projection.linear.bias @ gate)
        read = float(rows.direct[0, number] + rows.constant[number]) + entered
        entry = float(before[row].double() @ gate.double()) - read  # what the input projection rounded
        rounding = here.rounding(missed[row]) + entry
        constants = {
            "neuron.bias": entered,
            "norm.bias": float(rows.constant[number]),
            "mlp.bias": here.constant + (0.0 if down.bias is None else float(down.bias @ here.direction)),
            "rounding": rounding + float(rows.stream[0, number] + rows.heads[0, number]),
        }
        # An activation of exactly 0 before the gate leaves nothing to hold: what it gives is a constant.
        constants["neuron.bias"] += float((acts[row] * (before[row] == 0)) @ backs[number])
        values, pulled = rows.values[:, number], norm.pull(directions[number])
        named = _constants(constants, layer)
        expanded.append(Expanded(rows.components, [w.at], values, scale[row : row + 1], pulled, named))
    return expanded


def _constants(constants: dict[str, float], layer: int) -> list[tuple[Component, float]]:
    return [
        (Component("mlp.bias", layer) if name.kind == "mlp.bias" else name, value) for name, value in _named(constants)
    ]
