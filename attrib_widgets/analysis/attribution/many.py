"""Many tokens of one run at once, each with the direction of its own position: one pass over the record.

The sums are those of :func:`.attribution.attribute_resolved`, position by position. What is saved is reading the
unembedding once per position (it is read once per chunk of positions) and walking the layers once per position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..reading.decomposition import Closed, closed, decompose
from ..reading.logits import CHUNK, read_resolved
from ..reading.point import Reading
from ..reading.resolve import Resolved, log_prob_parts, refuse_capped

if TYPE_CHECKING:
    from ...model.run import Run


@torch.no_grad()
def closed_each(
    run: Run, tokens: Sequence[int], positions: Sequence[int], kind: Literal["logit", "log_prob"]
) -> list[tuple[Reading, Closed]]:
    """A reading and its closed sum per token id, each at its own position.

    Raises:
        TargetError: a log-probability under a soft cap.
        GranularityError: the recorded tensors do not add up on this prompt.
    """
    run.check_fresh()
    ids = torch.tensor(tokens, device=run.model.home)[:, None]
    return closed_rows(run, kind, ids, torch.ones(1, device=ids.device), positions)


def closed_rows(
    run: Run,
    kind: str,
    ids: Int[Tensor, "row k"],
    weights: Float[Tensor, "k"],
    positions: Sequence[int],
    centre: bool = False,
) -> list[tuple[Reading, Closed]]:
    """The same of weighted tokens: each row of ``ids`` at its own position.

    Raises:
        TargetError: a log-probability under a soft cap.
        GranularityError: the recorded tensors do not add up on this prompt.
    """
    readings = list(readings_of(run, kind, ids, weights, positions, centre))
    directions = torch.stack([r.direction for r in readings])
    rows = decompose(run, readings[0].point, readings[0].norm, directions, positions, paired=True)
    return [(reading, closed(reading, rows, i)) for i, reading in enumerate(readings)]


def readings_of(
    run: Run, kind: str, ids: Tensor, weights: Tensor, positions: Sequence[int], centre: bool
) -> Iterator[Reading]:
    """:func:`..reading.logits.read_target` for every row, a chunk of positions at a time."""
    if kind == "log_prob":
        refuse_capped(run.model)
    for start in range(0, len(ids), CHUNK):
        index = list(positions[start : start + CHUNK])
        rows = run.logit_rows(index)
        printed = rows[1]
        found = weighted(ids[start : start + CHUNK], weights, printed.shape[-1] if centre else 0)
        if kind == "log_prob":
            found.dense, found.constant = log_prob_parts(printed)
        yield from read_resolved(run, kind, found, index, rows)


def weighted(ids: Int[Tensor, "row k"], weights: Float[Tensor, "k"], centre: int = 0) -> Resolved:
    """Weighted tokens, with the mean logit subtracted where ``centre`` is the size of the vocabulary."""
    dense = weights.new_full((centre,), -1.0 / centre, dtype=torch.float32) if centre else None
    return Resolved(ids, weights, dense)
