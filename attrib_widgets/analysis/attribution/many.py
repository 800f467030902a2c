"""Many tokens of one run at once, each with the direction of its own position: one pass over the record.

The results are those of :func:`.attribution.attribute_resolved`, position by position. What is saved is reading the
unembedding once per position (it is read once per chunk of positions) and walking the layers once per position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import torch

from ...words.targets import Resolved, Target, log_prob_parts, refuse_capped
from ..reading.decomposition import decompose
from ..reading.logits import read_resolved
from ..reading.point import Reading
from .attribution import Attribution, assembled

if TYPE_CHECKING:
    from ...model.run import Run

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
    rows = decompose(run, readings[0].point, readings[0].norm, directions, positions, paired=True)
    targets = [Target(kind, (token,)) for token in tokens]
    return [assembled(run, t, r, rows, i) for i, (t, r) in enumerate(zip(targets, readings, strict=True))]


def _readings(run: Run, tokens: Sequence[int], positions: Sequence[int], kind: str) -> Iterator[Reading]:
    """:func:`..reading.logits.read_target` for every pair, a chunk of positions at a time."""
    if kind == "log_prob":
        refuse_capped(run.model)
    for start in range(0, len(tokens), CHUNK):
        index = list(positions[start : start + CHUNK])
        rows = run.logit_rows(index)
        printed = rows[1]
        ids = torch.tensor(tokens[start : start + CHUNK], device=printed.device)[:, None]
        found = Resolved(ids, torch.ones(1, device=printed.device))
        if kind == "log_prob":
            found.dense, found.constant = log_prob_parts(printed)
        yield from read_resolved(run, kind, found, index, rows)
