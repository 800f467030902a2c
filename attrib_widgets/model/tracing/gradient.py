"""The only tracing that differentiates: one forward pass with gradients, in as many rows as are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nnsight
import torch
from jaxtyping import Float
from torch import Tensor

from .record import forward_options

if TYPE_CHECKING:
    from ..run import Run

PLACES = ("stream", "q", "k", "v", "z", "attn", "mlp_in", "mlp")  # in the order of execution


@dataclass
class Gradients:
    """What :func:`differentiate` found: the metric of every row, and its gradient at every place asked for."""

    values: Float[Tensor, "row"]
    at: dict[tuple[str, int], Float[Tensor, "row position width"]]


def differentiate(
    base: Run,
    metric: Callable[[Float[Tensor, "row d_model"]], Float[Tensor, "row"]],
    places: Sequence[tuple[str, int]],
    position: int = -1,
    *,
    starts: Mapping[tuple[str, int], Float[Tensor, "row position d_model"]] | None = None,
    stopped: Sequence[int | None] = (None,),
) -> Gradients:
    """Run ``base`` with gradients and differentiate ``metric`` of what the final norm reads at ``position``.

    Args:
        places: (site, layer): ``"stream"``, ``"z"``, ``"attn"``, ``"mlp"`` as in a recording; ``"q"``, ``"k"``, ``"v"``
            the outputs of their projections (before a norm and the rotation; a fused one's output is the same tensor
            three times); ``"mlp_in"`` what the MLP reads, after its norm.
        starts: streams put in before a layer, one row each: ``{("stream", 2): [row, position, d_model]}``.
        stopped: one entry per row where there are no ``starts``: the layer through whose sublayers no gradient
            flows in that row (GradDrop), or None.

    Weights get no gradient and are left as they are.
    """
    model, root = base.model, base.model.traced
    anatomy, starts = model.anatomy, dict(starts or {})
    rows = next((len(t) for t in starts.values()), len(stopped))
    count, target = base.n_positions, base.position(position)
    tokens = torch.tensor([base.ids], device=model.device).expand(rows, -1)
    wanted, blocks = set(places), root.get(anatomy.layers)
    cut = {layer: [r for r, at in enumerate(stopped) if at == layer] for layer in stopped if layer is not None}
    final = root.get(anatomy.final_norm)
    # A family without a module for the whole MLP names its last projection: it reads at its first.
    mlp = anatomy.mlp_in if anatomy.mlp == anatomy.mlp_down else anatomy.mlp
    with model.quiet(), torch.enable_grad():
        with root.trace(input_ids=tokens, **forward_options(model, None)) as tracer:
            kept = nnsight.save({})
            for i, block in enumerate(blocks):
                if i == 0 or ("stream", i) in starts:
                    # A leaf: the weights of the embedding need no gradient, frozen ones give none.
                    given = starts.get(("stream", i), block.input)
                    block.input = given.detach().to(model.dtype).clone().requires_grad_(True)
                _keep(kept, wanted, ("stream", i), block.input)
                for which in "qkv":
                    if (which, i) in wanted:
                        kept[which, i] = block.get(f"{anatomy.attn}.{getattr(anatomy.qkv, which)}").output
                out = block.get(anatomy.attn_out)
                _keep(kept, wanted, ("z", i), out.input)
                if i in cut:
                    out.output = _stopped(out.output, cut[i], rows)
                _keep(kept, wanted, ("attn", i), out.output)
                if ("mlp_in", i) in wanted:
                    # Where no norm comes before, the MLP reads the very tensor that goes on as the stream.
                    given = block.get(mlp).input
                    kept["mlp_in", i] = block.get(mlp).input = given.view_as(given)
                writer = block.get(anatomy.mlp_output or anatomy.mlp)
                if i in cut:
                    writer.output = _stopped(writer.output, cut[i], rows)
                _keep(kept, wanted, ("mlp", i), writer.output)
            if ("stream", model.n_layers) in starts:
                final.input = starts["stream", model.n_layers].detach().to(model.dtype).clone().requires_grad_(True)
            _keep(kept, wanted, ("stream", model.n_layers), final.input)
            kept["final"] = final.input
            tracer.stop()
        values = metric(kept["final"].reshape(rows, count, -1)[:, target])
        held = [kept[place] for place in places]
        found = torch.autograd.grad(values.sum(), held, allow_unused=True)
    shaped = [
        torch.zeros_like(h) if g is None else g for h, g in zip(held, found, strict=True)
    ]  # nothing of it reaches the target
    return Gradients(
        values.detach().double().cpu(),
        {place: g.detach().reshape(rows, count, -1) for place, g in zip(places, shaped, strict=True)},
    )


def _keep(kept: dict[Any, Tensor], wanted: set[tuple[str, int]], place: tuple[str, int], value: Any) -> None:
    if place in wanted:
        kept[place] = value[0] if isinstance(value, tuple) else value


def _stopped(value: Any, rows: list[int], count: int) -> Any:
    """``value`` without a gradient in some of its ``count`` rows."""
    tensor = value[0] if isinstance(value, tuple) else value
    shaped = tensor.reshape(count, -1, tensor.shape[-1])
    mask = torch.zeros(count, 1, 1, dtype=torch.bool, device=tensor.device)
    mask[rows] = True
    out = torch.where(mask, shaped.detach(), shaped).reshape(tensor.shape)
    return (out, *value[1:]) if isinstance(value, tuple) else out
