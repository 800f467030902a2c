"""Why a head looked there: its attention score split among the parts that wrote its query, or its key.

The score q . k is linear in either side once the other is held, so it is one more direction at one more read
point: the norm that the head reads through (Elhage et al. 2021; the two-sided split follows from bilinearity).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.anatomy.rounding import dot_bound
from ...model.parts.attention import score_direction, scored
from ...model.parts.projections import input_norm, normed_input
from ...model.selfcheck.levels import need
from ...words.components import Component
from ...words.errors import PositionError
from ...words.targets import ScoreTarget
from ..inputs import absent
from .point import Reading, ReadPoint

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.parts.attention import Scored
    from ...model.run import Run


def read_score(run: Run, target: ScoreTarget) -> Reading:
    """A score, or the difference of two, as a direction of what the head's queries (or keys) read.

    Raises:
        ComponentError: no such head. GranularityError: attention is not exact on this model.
        PositionError: a position outside the prompt, or a key after its query (unless the model looks ahead).
    """
    model = run.model
    layer, head = target.head.layer or 0, target.head.index or 0
    if layer >= model.n_layers or head >= (model.heads_of(layer) or head + 1):
        raise absent(model, target.head)
    need(model, "scores", layer)
    query = run.position(target.query)
    keys = [run.position(key) for key in (target.key, target.against) if key is not None]
    if len(set(keys)) < len(keys):
        raise PositionError("Both keys are the same position.", "Compare two different ones.")
    if max(keys) > query and model.check.causal:
        raise PositionError(
            f"Position {query} cannot look at {max(keys)}: attention reads backwards.", "Swap query= and key=."
        )
    found = scored(model, run.record, layer, [head], slice(query, query + 1))
    side, *other = [read_side(run, found, layer, head, target.side, query, key) for key in keys]
    for second in other:
        side = side - second
    return side.reading(model, layer)


def strongest_other(run: Run, found: Scored, head: int, query: int, key: int) -> int | None:
    """The key other than ``key`` that ``head`` scores highest from ``query``; None where it sees no other."""
    at = found.at(head, query)
    scores = found.scores[at].clone()
    scores[found.blocked.expand_as(found.scores)[at]] = -torch.inf
    scores[key] = -torch.inf
    if run.model.check.causal:
        scores[query + 1 :] = -torch.inf
    best = int(scores.argmax())
    return best if bool(scores[best].isfinite()) else None


@dataclass
class Side:
    """One side of a score: its direction where it reads, the constants beside it, and the score itself."""

    direction: Float[Tensor, "d_model"]
    position: int
    constants: list[tuple[Component, float]]
    actual: float
    precap: float | None
    bound: float

    def reading(self, model: Model, layer: int) -> Reading:
        """It as what the norm of ``layer`` reads."""
        norm, where = input_norm(model, layer), ReadPoint(layer)
        return Reading(where, norm, self.direction, self.position, self.constants, self.actual, self.precap, self.bound)

    def __sub__(self, other: Side) -> Side:
        """The difference of two scores that are read at one position."""
        mine, others = dict(self.constants), dict(other.constants)
        constants = [(name, mine.get(name, 0.0) - others.get(name, 0.0)) for name in {**mine, **others}]
        before = None if self.precap is None or other.precap is None else self.precap - other.precap
        return Side(
            self.direction - other.direction,
            self.position,
            constants,
            self.actual - other.actual,
            before,
            self.bound + other.bound,
        )


def read_side(run: Run, found: Scored, layer: int, head: int, side: str, query: int, key: int) -> Side:
    """The score of ``head`` between ``query`` and ``key``, read on one side.

    Raises:
        PositionError: the head's mask lets nothing through there.
    """
    model, at = run.model, (*found.at(head, query), key)
    if bool(found.blocked.expand_as(found.scores)[at]):
        raise PositionError(f"L{layer}H{head} cannot see position {key} from {query}: its window is shorter.")
    here, other = (query, key) if side == "query" else (key, query)
    this, held = (found.q, found.k) if side == "query" else (found.k, found.q)
    direction, bias, slack = score_direction(model, run.record, found, layer, head, side, here, other)
    constants: list[tuple[Component, float]] = [(Component(f"{side}.bias"), bias)] if bias else []
    if found.alibi is not None:
        constants.append((Component("alibi"), float(found.alibi[at])))
    score = float(found.scores[at])
    actual = score if found.cap is None else float((found.scores[at] / found.cap).tanh() * found.cap)
    bound = slack + dot_bound(model.precision, normed_input(model, run.record, layer)[here].float(), direction)
    bound = bound + dot_bound(model.precision, this.final[head, here], held.final[head, other] * found.scaling)
    bound = bound + 2 * torch.finfo(model.precision).eps * sum(abs(v) for _, v in constants)
    return Side(direction, here, constants, actual, None if found.cap is None else score, float(bound))
