"""What the neurons of one MLP held, from its recorded input: one layer costs one layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...words.errors import AttribError
from ..anatomy.linearity import rms
from ..tracing.record import record_neurons

if TYPE_CHECKING:
    from ..model import Model
    from ..run import Run
    from ..tracing.record import Recording

#: Largest difference of an MLP called anew from what was recorded, relative to its size; sums in another order.
SAME = 1e-5


def neurons_at(run: Run, layers: Sequence[int], position: int) -> dict[int, Float[Tensor, "neuron"]]:
    """What the down-projections of ``layers`` read at one position of ``run``.

    In full precision every MLP is called on its recorded input; one that does not give what was recorded (it reads
    something else, or the model rounds by the shape of what it is given) is recorded in a forward pass.
    """
    model, found = run.model, {}
    if model.precision in (torch.float32, torch.float64):
        made = {layer: _called(model, run.record, layer, position) for layer in layers}
        found = {layer: acts for layer, acts in made.items() if acts is not None}
    if missing := [layer for layer in layers if layer not in found]:
        passed = record_neurons(model, run.ids, missing, [position])
        found |= {layer: rows[0] for layer, rows in passed.items()}
    return found


def _called(model: Model, rec: Recording, layer: int, position: int) -> Float[Tensor, "neuron"] | None:
    anatomy, heard = model.anatomy, list[Tensor]()
    if anatomy.mlp is None or anatomy.mlp_down is None or anatomy.mlp_output is not None:
        return None
    x = (rec.streams[layer] if model.parallel else rec.mid(layer))[position][None, None]

    def listen(_module: Any, given: tuple[Any, ...]) -> None:
        heard.append(given[0].detach())

    with model.quiet():  # held from before the hook: it hears no forward of another thread
        hook = model.module(anatomy.mlp_down, layer).register_forward_pre_hook(listen)
        try:
            normed = x if anatomy.mlp_norm is None else model.call(model.module(anatomy.mlp_norm, layer), x)
            out = model.call(model.module(anatomy.mlp, layer), normed)
        except (AttribError, RuntimeError, TypeError, ValueError, AttributeError, KeyError, IndexError):
            return None  # it wants more than the stream
        finally:
            hook.remove()
    own, recorded = out.flatten(), rec.mlp_out[layer][position]
    same = len(heard) == 1 and own.shape == recorded.shape
    if not same or not bool((own - recorded).abs().amax() <= SAME * rms(recorded).amax()):
        return None
    acts: Tensor = heard[0].to(model.home).flatten()
    return acts
