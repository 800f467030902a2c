"""Relevance patching: gradients of a network that is held where it is not linear, by rules that lose nothing.

Jafari et al. 2025 (arXiv 2508.21258). A norm keeps its scale, attention its pattern (nothing goes to queries and keys),
an activation its ratio of output to input, and a product of gate and activation gives half to each factor. So what
every cut of the stream holds, times its coefficient, and the biases behind it sum to the number that is explained. The
coefficients stand where attribution patching has gradients, and are walked back through the recorded run, layer by
layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.parts.mlp import gated, mlp_norm
from ....model.parts.projections import input_norm, qkv_of, qkv_projection
from ....model.selfcheck.levels import need
from ....model.tracing.gradient import Gradients
from ....words.errors import GranularityError
from ...opening.mlps import pulled_back
from ...opening.trace.step import RecordedMLP, held_heads, held_mlps, recorded_mlps
from ...reading.neurons import mlp_point
from ..measuring.metrics import Metric

if TYPE_CHECKING:
    from ....model.model import Model
    from ....model.run import Run


@torch.no_grad()
def relevances(base: Run, metric: Metric, places: Sequence[tuple[str, int]], position: int = -1) -> Gradients:
    """Coefficients of ``metric`` in ``base`` at ``places``, in one row: sites as in
    :func:`....model.tracing.gradient.differentiate` (``"q"`` and ``"k"`` have none: 0).

    Costs a forward pass that hears the MLPs (two where they are gated) and a walk back.

    Raises:
        GranularityError: a layer for which a rule is not to be had; the message says which, and why.
    """
    base.check_fresh()
    model, found = base.model, dict[tuple[str, int], Tensor]()
    need(model, "sublayers", everywhere=True)
    need(model, "values", everywhere=True)
    _refuse_others(model)
    sides = [_recorded(base, side) for side in (("gate", "up") if gated(model) else ("gate",))]
    target = base.position(position)
    stream = base.record.streams[-1][target]
    at = torch.zeros(base.n_positions, model.d_model, device=model.home)
    at[target] = metric.held_gradient(stream).to(model.home)
    found["pre", model.n_layers] = at
    for layer in reversed(range(model.n_layers)):
        found["mlp", layer] = pulled_back(base, "mlp", layer, range(base.n_positions), at).directions
        found["mlp_in", layer], through = _mlp(base, layer, at, [side[layer] for side in sides])
        passed = at + through
        at = passed + _attention(base, layer, at if model.parallel else passed, found)
        found["pre", layer] = at
    for site, layer in places:
        if site in ("q", "k"):
            found[site, layer] = _projected(base, layer, site)
    values = metric.of(stream[None])
    return Gradients(values, {place: found[place][None] for place in places})


def _refuse_others(model: Model) -> None:
    """The rules know attention and MLPs whose writes stay in the stream as they are."""
    layers = range(model.n_layers)
    reason = (
        "it multiplies its stream inside or behind its layers"
        if model.joining or any(model.carry(i) != 1 for i in layers)
        else f"a layer adds {model.anatomy.beside.name} beside attention and MLP"
        if model.anatomy.beside
        else f"it carries {model.n_streams} streams beside each other"
        if model.n_streams > 1
        else ""
    )
    if reason:
        raise GranularityError(
            f"Relevance patching has no rule for {model.name}: {reason}.", 'Use method="eap-ig" or "partway".'
        )


def _recorded(base: Run, side: str) -> dict[int, RecordedMLP]:
    made, missing = recorded_mlps(base, range(base.model.n_layers), side)
    if missing:
        raise GranularityError(
            f"Relevance patching has no rule for {base.model.name}: {next(iter(missing.values()))}",
            'Use method="eap-ig".',
        )
    return made


def _mlp(
    base: Run, layer: int, at: Float[Tensor, "position d_model"], sides: Sequence[RecordedMLP]
) -> tuple[Float[Tensor, "position d_model"], Float[Tensor, "position d_model"]]:
    """Coefficients of what the MLP reads behind its norm, and of the stream through it: each factor of its neurons has
    an equal share."""
    everywhere = range(base.n_positions)
    back = sum(held_mlps(base, layer, everywhere, at, side).directions for side in sides) / len(sides)
    assert isinstance(back, Tensor)
    norm = mlp_norm(base.model, layer)
    return back, norm.pull(back) * norm.scale(mlp_point(base.model, layer).stream(base.record))[:, None]


def _attention(
    base: Run, layer: int, at: Float[Tensor, "position d_model"], found: dict[tuple[str, int], Tensor]
) -> Float[Tensor, "position d_model"]:
    """Coefficients of the stream through the values; those of the attention, its heads and values go into ``found``."""
    held = held_heads(base, layer, at)
    found["attn", layer], found["z", layer] = held.here.directions, held.z
    wide = _projected(base, layer, "v")
    wide[:, base.model.geometry[layer].rows["v"].flatten().to(wide.device)] = held.values
    found["v", layer] = wide
    norm = input_norm(base.model, layer)
    back = qkv_projection(base.model, layer, "v").pull(held.values)
    return norm.pull(back) * norm.scale(base.record.streams[layer])[:, None]


def _projected(base: Run, layer: int, side: str) -> Float[Tensor, "position width"]:
    """Zeros for all that the projection of queries, keys or values gives, in the order of its module."""
    model = base.model
    path = f"{model.anatomy.attn}.{getattr(qkv_of(model), side)}"
    return torch.zeros(base.n_positions, model.projection(path, layer).d_out, device=model.home)
