"""What the model says after an experiment: read from the stream that the final norm reads, in the same pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ....words.targets import Target, as_target
from ....words.text import percent, visible
from .metrics import FULL_ROWS, Measure, MetricLike

if TYPE_CHECKING:
    from ....model.model import Model
    from ....model.run import Run

#: Bytes of patched streams that a result keeps for :meth:`answer_of`; beyond, it keeps none.
KEPT = 64 * 2**20


@dataclass(frozen=True)
class Answer:
    """The likeliest token and its probability (0 to 1), and those of the token that was asked about."""

    token: str
    probability: float
    asked: str
    asked_probability: float
    stays: bool  # whether the two are one

    def __str__(self) -> str:
        said = [(self.token, self.probability)]
        if not self.stays:
            said.append((self.asked, self.asked_probability))
        return ", ".join(f"{visible(t)} {percent(p)}" for t, p in said)


def asked_token(target: MetricLike | None, clean: Run, position: int) -> int:
    """The token whose probability is told: the target's first, or the clean run's own answer."""
    token: Any = target.token if isinstance(target, Measure) else None
    if target is not None and not callable(target) and not isinstance(target, Measure):
        found = as_target(target)
        token = found.tokens[0] if isinstance(found, Target) and found.tokens else None
    return clean.top(1, position)[0].id if token is None else clean.model.single_token(token)


@torch.no_grad()
def answers(model: Model, streams: Float[Tensor, "row d_model"], asked: int) -> list[Answer]:
    """What the model says where the final norm reads ``streams``, a few rows at a time."""
    found: list[Answer] = []
    for part in streams.split(FULL_ROWS):
        found += _told(model, model.read_out(part)[1].float().softmax(-1), asked)
    return found


@torch.no_grad()
def mean_answer(model: Model, streams: Sequence[Float[Tensor, "d_model"]], asked: int) -> Answer:
    """The same where the probabilities of several draws are averaged."""
    parts = torch.stack(list(streams)).split(FULL_ROWS)
    probabilities = torch.cat([model.read_out(part)[1].float().softmax(-1) for part in parts])
    return _told(model, probabilities.mean(0, keepdim=True), asked)[0]


def _told(model: Model, probabilities: Float[Tensor, "row vocab"], asked: int) -> list[Answer]:
    best = probabilities.max(-1)
    rows = zip(best.indices.tolist(), best.values.tolist(), probabilities[:, asked].tolist(), strict=True)
    return [Answer(model.token(i), p, model.token(asked), q, i == asked) for i, p, q in rows]
