"""Targets over the vocabulary as directions of the final norm's output, and how far their read-out may round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.anatomy.rounding import accumulation, dot_bound
from ...words.components import Component
from ...words.targets import Target
from .point import Reading, ReadPoint
from .resolve import Resolved, resolve

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.run import Run

CHUNK = 32  # positions whose logits are held at once


def read_target(run: Run, target: Target, position: int) -> Reading:
    """A target over the vocabulary as a direction of the final norm's output."""
    found = resolve(target, run, position)
    return read_resolved(run, target.kind, found, [position], run.logit_rows([position]))[0]


def printed_at(run: Run, target: Target, positions: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """(printed, before the soft cap, rounding bound) of a target whose direction is one everywhere, at ``positions``.

    Logits are held for a few positions at a time.
    """
    found, listed = resolve(target, run, positions[-1]), list(positions)
    printed, precap, bound = [], [], []
    for start in range(0, len(listed), CHUNK):
        here = listed[start : start + CHUNK]
        pre, out = run.logit_rows(here)
        printed.append(found.of_rows(out))
        precap.append(found.of_rows(pre))
        bound.append(readout_bound(run.model, found, run.record.streams[-1][here], out))
    return torch.cat(printed), torch.cat(precap), torch.cat(bound)


def read_resolved(
    run: Run,
    kind: str,
    found: Resolved,
    positions: Sequence[int],
    rows: tuple[Float[Tensor, "row vocab"], Float[Tensor, "row vocab"]],
) -> list[Reading]:
    """:func:`read_target` at some positions, whose logits ``rows`` are (see :meth:`...model.run.Run.logit_rows`)."""
    model, count = run.model, len(positions)
    precap, printed = rows
    constants: list[tuple[Component, Tensor]] = []
    bias = model.unembed_bias
    if bias is not None:
        constants.append((Component("unembed.bias"), found.of_rows(bias.expand(count, -1)) * model.logit_scale))
    if kind == "log_prob":
        constants.append((Component("entropy"), torch.as_tensor(found.constant).expand(count)))
        actual = printed.double().log_softmax(-1).gather(1, found.ids.expand(count, -1)[:, :1])[:, 0]
    else:
        actual = found.of_rows(printed)
    norm = model.norm(model.anatomy.final_norm)
    directions = directions_of(model, found).expand(count, -1)
    before = found.of_rows(precap) if model.softcap is not None else None
    bound = readout_bound(model, found, run.record.streams[-1][list(positions)], printed)
    return [
        Reading(
            ReadPoint(model.n_layers),
            norm,
            directions[i],
            position,
            [(name, float(values[i])) for name, values in constants],
            float(actual[i]),
            None if before is None else float(before[i]),
            float(bound[i]),
            found.notes,
        )
        for i, position in enumerate(positions)
    ]


def directions_of(model: Model, found: Resolved) -> Float[Tensor, "*rows d_model"]:
    """What the final norm's output is multiplied with, float32."""
    return found.direction(model.unembedding) * model.logit_scale


def readout_bound(
    model: Model, found: Resolved, x: Float[Tensor, "row d_model"], printed: Float[Tensor, "row vocab"]
) -> Float[Tensor, "row"]:
    """Rounding of the final norm and of the unembedding, for the tokens that the target weighs, at some positions."""
    normed = model.norm(model.anatomy.final_norm)(x)
    eps = torch.finfo(model.precision).eps
    size = printed.float().abs()
    scale = abs(model.logit_scale)
    ids = found.ids.expand(len(x), -1)
    rows = model.unembedding.outputs(ids) * scale
    each = dot_bound(model.precision, normed[:, None].expand(rows.shape), rows)
    total = (each + eps * size.gather(1, ids)) @ found.weights.abs().double()
    if found.dense is not None:
        total = total + (logit_bound(model, x, printed) * found.dense.abs()).sum(-1)
    return total + 1e-6 * found.of_rows(printed).abs()


def logit_bound(
    model: Model, x: Float[Tensor, "row d_model"], printed: Float[Tensor, "row vocab"]
) -> Float[Tensor, "row vocab"]:
    """Rounding of every logit, by the length of its token's row of the unembedding: no products are formed."""
    eps = torch.finfo(model.precision).eps
    normed = model.norm(model.anatomy.final_norm)(x)
    spread = normed.norm(dim=-1, keepdim=True) * model.unembed_lengths * abs(model.logit_scale) / model.d_model**0.5
    bound: Tensor = 16 * eps * spread + 5 * eps * printed.float().abs() + accumulation(model.d_model) * spread
    return bound
