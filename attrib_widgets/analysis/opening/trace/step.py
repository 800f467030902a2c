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

from ....model.parts.attention import Attended, attend, value_scale
from ....model.parts.experts import mlp_input
from ....model.parts.mlp import InputProjection, check_projection, gated, input_projection, mlp_norm
from ....model.parts.neurons import called
from ....model.parts.projections import input_norm, value_factor, value_norm
from ....model.tracing.record import record_inside
from ....words.components import Component
from ....words.errors import GranularityError
from ...reading.decomposition import decompose
from ...reading.neurons import mlp_point
from ...reading.point import ReadPoint
from ...reading.ways import PARTS, Meeting, meets
from ..heads import carried_along, head_direction, output_direction, shares
from ..mlps import Pulled, missed_by_neurons, pulled_back

if TYPE_CHECKING:
    from ....model.run import Run

#: Numbers that one call of the decomposition may make at once.
CHUNK = 4_000_000


@dataclass(frozen=True)
class Written:
    """What ``part`` wrote at position ``at`` along ``direction`` (of the raw stream there): ``value``.

    With ``z`` it is a head, and what it handed on is read where it stands: ``z`` is the direction there.
    """

    part: Component
    at: int
    direction: Float[Tensor, "d_model"]
    value: float
    z: Float[Tensor, "d_head"] | None = None


@dataclass(frozen=True)
class Expanded:
    """Rows ``values[position, component]`` and ``constants`` that sum to what a part wrote along a direction.

    Row (p, c) is what ``components[c]`` wrote at ``positions[p]`` along ``weights[p] * pulled`` of the stream that was
    split, as that meets what it wrote there (``meets``). With ``z`` the rows are heads, each read in what it hands on.
    """

    components: list[Component]
    positions: list[int]
    values: Float[Tensor, "position component"]
    weights: Float[Tensor, "position"]
    pulled: Float[Tensor, "d_model"]
    constants: list[tuple[Component, float]]
    meets: Meeting
    z: Sequence[Float[Tensor, "d_head"]] = ()

    def written(self, position: int, component: int) -> Written:
        """One row, as something to split in turn; both arguments number the rows."""
        value = float(self.values[position, component])
        part, at = self.components[component], self.positions[position]
        direction = self.meets(self.weights[position] * self.pulled, position, component)
        return Written(part, at, direction, value, self.z[component] if self.z else None)


def meeting(run: Run, components: Sequence[Component], point: ReadPoint, positions: Sequence[int]) -> Meeting:
    """How directions of the raw stream at ``point`` meet what each of ``components`` wrote at ``positions``."""
    starts = [(c.layer or 0) + (c.kind == "layer") for c in components]
    parts = [PARTS.get(c.kind, "pre") for c in components]
    return meets(run, point, list(zip(starts, parts, strict=True)), positions)


def _present(constants: list[tuple[Component, float]]) -> list[tuple[Component, float]]:
    """The constants that are there; rounding always is."""
    return [(name, value) for name, value in constants if value or name.kind == "rounding"]


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
            z = w.z
            if z is None:
                z = head_direction(run, w.part, output_direction(run, layer, w.at, w.direction))
            taken.append(carried_along(run, w.part, w.at, z, w.value, found, w.part.index or 0, w.at))
        directions = torch.stack([t.direction for t in taken if t.direction is not None])
        rows = decompose(run, ReadPoint(layer), norm, directions, everywhere)
        meet = meeting(run, rows.components, ReadPoint(layer), everywhere)
        for number, (w, carried) in enumerate(zip(some, taken, strict=True)):
            parts, constant, rounded = shares(run, w.part, carried, rows, number)
            constants = [
                (Component("value.bias"), carried.value_bias),
                (Component("norm.bias"), float(constant.double().sum())),
                (Component("rounding"), float(rounded.double().sum()) + carried.rounding),
            ]
            weights = carried.weights * scale
            pulled = norm.pull(directions[number])
            yield Expanded(rows.components, everywhere, parts, weights, pulled, _present(constants), meet)


@dataclass(frozen=True)
class RecordedMLP:
    """An input projection, its outputs and the neurons' activations at all positions, in the model's dtype."""

    projection: InputProjection
    entered: Float[Tensor, "position neuron"]
    activations: Float[Tensor, "position neuron"]


def recorded_mlps(
    run: Run, layers: Sequence[int], side: str | None = None
) -> tuple[dict[int, RecordedMLP], dict[int, str]]:
    """The MLPs of some layers, and why those are missing that have no plain neurons.

    In full precision each is called on its recorded input; those that do not give what was recorded then are recorded
    in one forward pass.

    ``side`` of their input projections, ``"gate"`` or ``"up"``: None is the one that a held gate leaves linear.
    """
    model, side = run.model, side or ("up" if gated(run.model) else "gate")
    found: dict[int, InputProjection] = {}
    missing: dict[int, str] = {}
    for layer in layers:
        try:
            found[layer] = input_projection(model, layer, side)
        except GranularityError as reason:
            missing[layer] = reason.message
    made: dict[int, RecordedMLP] = {}
    if model.precision in (torch.float32, torch.float64):
        for layer, p in found.items():
            heard = called(model, run.record, layer, slice(None), p.path)
            if heard is not None and heard[1] is not None:
                made[layer] = RecordedMLP(p, heard[1][:, p.columns], heard[0])
    if left := [layer for layer in found if layer not in made]:
        places = [(found[left[0]].path, "output"), (model.anatomy.mlp_down, "input")]
        passed = record_inside(model, run.ids, left, range(run.n_positions), places)
        made |= {i: RecordedMLP(found[i], passed[i][0][:, found[i].columns], passed[i][1]) for i in left}
    return made, missing


@dataclass(frozen=True)
class HeldMLP:
    """MLPs of one layer with their gates held, each along a direction of the stream at its own position.

    ``read`` is what came out of the stream along ``directions``, which are of what the MLP reads (its norm applied);
    with ``neuron_bias``, ``mlp_bias`` and ``rounding`` it sums to what the MLP wrote along the direction given.
    """

    directions: Float[Tensor, "row d_model"]
    read: Float[Tensor, "row"]
    neuron_bias: Float[Tensor, "row"]
    mlp_bias: Float[Tensor, "row"]
    rounding: Float[Tensor, "row"]


def held_mlps(run: Run, layer: int, at: Sequence[int], v: Float[Tensor, "row d_model"], made: RecordedMLP) -> HeldMLP:
    """The MLPs of ``layer`` at the positions ``at``, along ``v``, directions of the stream there.

    A neuron's activation is a gate times something linear in the stream: in gated MLPs ``act(gate) * up``, with
    ``act(gate)`` held; in plain ones ``(act(x) / x) * x``, with the ratio held (a ReLU's 0 or 1). What the MLP
    wrote is then linear in what it read, exactly at this prompt. How the gates came about is not part of the split.

    Raises:
        GranularityError: the neurons do not add up on this prompt.
    """
    model, down, linear = run.model, run.model.down(layer), made.projection.linear
    places = sorted(set(at))
    row = [places.index(p) for p in at]
    entered, acts = made.entered[places], made.activations[places].float()
    check_projection(model, layer, made.projection, mlp_input(model, run.record, layer)[places], entered)
    here = pulled_back(run, "mlp", layer, at, v)
    product, neurons = down.read(acts, here.directions)
    missed = missed_by_neurons(run, layer, places, acts, product)[row]
    acts, before = acts[row], entered.float()[row]
    held = torch.where(before == 0, 0.0, acts / before) * neurons
    own = here.after.new_zeros(len(v)) if linear.bias is None else (held @ linear.bias).double()
    fixed = here.constant.double()
    return HeldMLP(
        linear.pull(held),
        (before.double() * held.double()).sum(-1) - own,
        # An activation of exactly 0 before the gate leaves nothing to hold: what it gives is a constant.
        own + (acts * (before == 0) * neurons).double().sum(-1),
        fixed if down.bias is None else fixed + (here.directions @ down.bias).double(),
        here.rounding(missed),
    )


@dataclass(frozen=True)
class HeldHeads:
    """All heads of one layer with their patterns held, along a direction of the stream at every position.

    ``here`` are these directions at the output of the attention, ``z`` at what the heads write (and ``product`` what
    they wrote), ``carried`` at the values of every head, ``values`` at what the value projection gives.
    """

    here: Pulled
    product: Float[Tensor, "position d_model"]
    z: Float[Tensor, "position heads_times_d_head"]
    carried: Float[Tensor, "head position d_head"]
    values: Float[Tensor, "position key_heads_times_d_head"]
    attended: Attended


def held_heads(run: Run, layer: int, v: Float[Tensor, "position d_model"]) -> HeldHeads:
    """The heads of ``layer`` along ``v``, directions of the stream behind it at every position.

    Raises:
        GranularityError: attention was not shown to be exact, or does not add up on this prompt.
    """
    rec, projection = run.record, run.model.out(layer)
    here = pulled_back(run, "attn", layer, range(run.n_positions), v)
    product, pulled = projection.read(rec.z[layer].float(), here.directions)
    return HeldHeads(here, product, pulled, *held_z(run, layer, pulled))


def held_z(
    run: Run, layer: int, z: Float[Tensor, "position heads_times_d_head"]
) -> tuple[Float[Tensor, "head position d_head"], Float[Tensor, "position key_heads_times_d_head"], Attended]:
    """(at the values of every head, at what the value projection gives, the attention) along ``z``, directions of what
    the heads of ``layer`` hand on at every position, their patterns held.

    Raises:
        GranularityError: attention was not shown to be exact, or does not add up on this prompt.
    """
    model, rec = run.model, run.record
    heads = model.heads_of(layer)
    through = z.view(len(z), heads, -1).transpose(0, 1)  # [head, destination, d_head]
    found = attend(model, rec, layer)
    carried = found.pattern.transpose(1, 2) @ found.gated(through)  # [head, source, d_head]
    group, norm = model.geometry[layer].group, value_norm(model, layer)
    shared = carried.unflatten(0, (-1, group)).sum(1) * value_factor(model, layer)
    if norm is not None:  # of the heads that hold them, once
        scales = [s for h in range(0, heads, group) if (s := value_scale(model, rec, layer, h)) is not None]
        shared = norm.pull(shared) * torch.stack(scales)[..., None]
    return carried, shared.transpose(0, 1).flatten(1), found


@torch.no_grad()
def expand_mlps(run: Run, layer: int, written: Sequence[Written], made: RecordedMLP) -> list[Expanded]:
    """MLPs of one layer, gates held (see :func:`held_mlps`): rows over the parts upstream at the same position.

    Raises:
        GranularityError: the neurons do not add up on this prompt.
    """
    norm, point, at = mlp_norm(run.model, layer), mlp_point(run.model, layer), [w.at for w in written]
    held = held_mlps(run, layer, at, torch.stack([w.direction for w in written]), made)
    scale, pulled = norm.scale(point.stream(run.record)[at]), norm.pull(held.directions)
    rows = decompose(run, point, norm, held.directions, at, paired=True)
    # What the input projection rounded, and the measured rounding of the stream it read.
    entry = held.read - rows.direct[0].double() - rows.constant.double()
    rounding = held.rounding + entry + rows.stream[0] + rows.heads[0]
    named = [
        (Component("neuron.bias"), held.neuron_bias),
        (Component("norm.bias"), rows.constant),
        (Component("mlp.bias", layer), held.mlp_bias),
        (Component("rounding"), rounding),
    ]
    return [
        Expanded(
            rows.components,
            [w.at],
            rows.values[:, i],
            scale[i : i + 1],
            pulled[i],
            _present([(name, float(value[i])) for name, value in named]),
            meeting(run, rows.components, point, [w.at]),
        )
        for i, w in enumerate(written)
    ]
