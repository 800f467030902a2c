"""What the neurons of one MLP held, from its recorded input: one layer costs one layer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
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
    from ..tracing.recording import Recording

#: Largest difference of an MLP called anew from what was recorded, relative to its size; sums in another order.
SAME = 1e-5


def neurons_at(run: Run, layers: Sequence[int], position: int) -> dict[int, Float[Tensor, "neuron"]]:
    """What the down-projections of ``layers`` read at one position of ``run``.

    In full precision every MLP is called on its recorded input; one that does not give what was recorded (it reads
    something else, or the model rounds by the shape of what it is given) is recorded in a forward pass.
    """
    model, found = run.model, {}
    if model.precision in (torch.float32, torch.float64):
        made = {layer: called(model, run.record, layer, slice(position, position + 1)) for layer in layers}
        found = {layer: heard[0][0] for layer, heard in made.items() if heard is not None}
    if missing := [layer for layer in layers if layer not in found]:
        passed = record_neurons(model, run.ids, missing, [position])
        found |= {layer: rows[0] for layer, rows in passed.items()}
    return found


def called(
    model: Model, rec: Recording, layer: int, rows: slice, entry: str | None = None
) -> tuple[Float[Tensor, "position neuron"], Float[Tensor, "position out"] | None] | None:
    """(what the down-projection of ``layer`` reads, what its input projection ``entry`` gives) where its MLP is called
    on what was recorded at some positions; None where that does not give what was recorded."""
    anatomy, heard, entered = model.anatomy, list[Tensor](), list[Tensor]()
    if anatomy.mlp is None or anatomy.mlp_down is None or anatomy.mlp_output is not None:
        return None
    x = (rec.streams[layer] if model.parallel else rec.mid(layer))[rows][None]

    def listen(_module: Any, given: tuple[Any, ...]) -> None:
        heard.append(given[0].detach())

    def enter(_module: Any, _given: Any, out: Any) -> None:
        entered.append(out.detach())

    with model.quiet(), ExitStack() as hooks:  # held from before the hooks: they hear no forward of another thread
        hook = model.module(anatomy.mlp_down, layer).register_forward_pre_hook(listen)
        hooks.callback(hook.remove)
        if entry is not None:
            hooks.callback(model.module(entry, layer).register_forward_hook(enter).remove)
        try:
            normed = x if anatomy.mlp_norm is None else model.call(model.module(anatomy.mlp_norm, layer), x)
            out = model.call(model.module(anatomy.mlp, layer), normed)
        except (AttribError, RuntimeError, TypeError, ValueError, AttributeError, KeyError, IndexError):
            return None  # it wants more than the stream
    recorded = rec.mlp_out[layer][rows]
    own = out.reshape(-1, out.shape[-1])
    same = len(heard) == 1 and len(entered) == (entry is not None) and own.shape == recorded.shape
    if not same or not bool(((own - recorded).abs() <= SAME * rms(recorded)).all()):
        return None
    acts, *outs = (t.to(model.home).reshape(len(recorded), -1) for t in (*heard, *entered))
    return acts, outs[0] if outs else None
