"""Many tokens of one run at once, each with the direction of its own position: one pass over the record.

The results are those of :func:`.attribution.attribute_resolved`, position by position. What is saved is reading the
unembedding once per position (it is read once per chunk of positions) and walking the layers once per position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ..components import Component
from ..targets import Resolved, Target, refuse_capped
from .attribution import Attribution, Reading, assembled, readout_bound
from .rows import decompose

if TYPE_CHECKING:
    from ..model.run import Run

# Positions whose rows of the vocabulary are held at the same time.
CHUNK = 32


@torch.no_grad()
def attribute_each(
    run: Run, tokens: Sequence[int], positions: Sequence[int], kind: Literal["logit", "log_prob"]
) -> list[Attribution]:
    """One attribution per token id, each read at its own position.

    Raises:
        TargetError: a log-probability under a soft cap.
        GranularityError: the recorded tensors do not add up on this prompt.
    """
    run.check_fresh()
    readings = list(_readings(run, tokens, positions, kind))
    directions = torch.stack([r.direction for r in readings])
    rows = decompose(run, readings[0].stage, readings[0].norm, directions, positions, paired=True)
    targets = [Target(kind, (token,)) for token in tokens]
    return [assembled(run, t, r, rows, i) for i, (t, r) in enumerate(zip(targets, readings, strict=True))]


def _readings(run: Run, tokens: Sequence[int], positions: Sequence[int], kind: str) -> Iterator[Reading]:
    """:func:`.attribution.read_target` for every pair, a chunk of positions at a time."""
    model = run.model
    if kind == "log_prob":
        refuse_capped(model)
    norm, bias, weight = model.norm(model.anatomy.final_norm), model.unembed_bias, model.unembed_weight
    for start in range(0, len(tokens), CHUNK):
        index = list(positions[start : start + CHUNK])
        precap, printed = run.logit_rows(index)
        ids = torch.tensor(tokens[start : start + CHUNK], device=printed.device)[:, None]
        found = Resolved(ids, torch.ones(1, device=printed.device))
        constants: list[tuple[Component, Tensor]] = []
        actual = found.of_rows(printed)
        if kind == "log_prob":
            found.dense = -printed.float().softmax(-1)
            logs = printed.double().log_softmax(-1)
            constants.append((Component("entropy"), -(found.dense.double() * logs).sum(-1)))
            actual = logs.gather(1, ids)[:, 0]
        if bias is not None:
            constants.insert(0, (Component("unembed.bias"), found.of_rows(bias.expand(len(ids), -1))))
        before = None if model.softcap is None else found.of_rows(precap)
        bound = readout_bound(model, found, run.record.streams[-1][index], printed)
        directions = found.direction(weight)
        for i, position in enumerate(index):
            yield Reading(
                model.n_layers,
                norm,
                directions[i],
                position,
                [(name, float(values[i])) for name, values in constants],
                float(actual[i]),
                None if before is None else float(before[i]),
                float(bound[i]),
            )
