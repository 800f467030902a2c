"""Why a neuron fired: its pre-activation split among the parts that wrote what its MLP reads.

A pre-activation is linear in the normalised stream, so it is one more direction at one more read point: the
neuron's row of the input projection, read between the attention and the MLP of its layer (before both in parallel
blocks). The explained number is the projection's own output, recorded in one more forward pass up to that layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.anatomy.rounding import dot_bound
from ...model.parts.experts import mlp_input
from ...model.parts.mlp import InputProjection, check_projection, input_projection, mlp_norm
from ...model.selfcheck.levels import need
from ...model.tracing.record import record_inside
from ...words.components import Component
from ...words.errors import ComponentError
from ...words.targets import NeuronTarget
from .point import Reading, ReadPoint

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.run import Run


def mlp_point(model: Model, layer: int) -> ReadPoint:
    """Where the MLP of ``layer`` reads."""
    return ReadPoint(layer, mid=not model.parallel)


def read_neuron(run: Run, target: NeuronTarget) -> Reading:
    """A pre-activation as a direction of what the neuron's MLP reads.

    Raises:
        ComponentError: no such neuron. PositionError: outside the prompt.
        GranularityError: a mixture of experts, an MLP without that side, or a layer that is exact as a whole only.
    """
    model, layer, position = run.model, target.neuron.layer or 0, run.position(target.position)
    found, index = _projection(run, target)
    actual, bound = pre_activation(run, target, [position])
    constants = [] if found.linear.bias is None else [(Component("neuron.bias"), float(found.linear.bias[index]))]
    point, norm = mlp_point(model, layer), mlp_norm(model, layer)
    direction = found.linear.outputs(index)
    return Reading(point, norm, direction, position, constants, float(actual[0]), None, float(bound[0]))


def pre_activation(
    run: Run, target: NeuronTarget, positions: Sequence[int]
) -> tuple[Float[Tensor, "position"], Float[Tensor, "position"]]:
    """(the model's own numbers, how far rounding may have moved them) of a neuron at some positions."""
    run.check_fresh()
    model, layer, index = run.model, target.neuron.layer or 0, list(positions)
    found, number = _projection(run, target)
    (out,) = record_inside(model, run.ids, [layer], index, [(found.path, "output")])[layer]
    out, x = out[:, found.columns], mlp_input(model, run.record, layer)[index]
    check_projection(model, layer, found, x, out)
    actual, fixed = out[:, number].double(), 0.0 if found.linear.bias is None else abs(float(found.linear.bias[number]))
    direction = found.linear.outputs(number)
    bound = dot_bound(model.precision, x.float(), direction.expand(len(x), -1))
    bound = bound + found.linear.select([number]).slack(x.float(), torch.ones(1, device=x.device))
    return actual, bound + 2 * torch.finfo(model.precision).eps * (actual.abs() + fixed) + 1e-12


def _projection(run: Run, target: NeuronTarget) -> tuple[InputProjection, int]:
    """The projection that the neuron is an output of, and its number there."""
    model, layer, index = run.model, target.neuron.layer or 0, target.neuron.index or 0
    if layer >= model.n_layers:
        raise ComponentError(f"{model.name} has no {target.neuron}.", f"It has {model.n_layers} layers, from 0.")
    need(model, "sublayers", layer)
    found = input_projection(model, layer, target.side)
    count = found.linear.d_out
    if index >= count:
        raise ComponentError(f"{model.name} has no {target.neuron}.", f"Its MLPs have {count} neurons, from 0.")
    return found, index
