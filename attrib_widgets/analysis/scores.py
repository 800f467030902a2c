"""Why a head looked there: its attention score split among the parts that wrote its query, or its key.

The score q . k is linear in either side once the other is held, so it is one more direction at one more read
point: the norm that the head reads through (Elhage et al. 2021; the two-sided split follows from bilinearity).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..components import Component
from ..errors import ComponentError, GranularityError, PositionError
from ..model.attend import attend, input_norm, normed_input, score_direction
from ..model.rounding import dot_bound
from ..targets import ScoreTarget

if TYPE_CHECKING:
    from ..model.run import Run
    from .attribution import Reading


def read_score(run: Run, target: ScoreTarget) -> Reading:
    """A score as a direction of what the head's queries (or keys) read.

    Raises:
        ComponentError: no such head. GranularityError: attention is not exact on this model.
        PositionError: a position outside the prompt, or a key after its query.
    """
    from .attribution import Reading

    model = run.model
    layer, head = target.head.layer or 0, target.head.index or 0
    if layer >= model.n_layers or head >= model.n_heads:
        raise ComponentError(
            f"{model.name} has no {target.head}.", f"It has {model.n_layers} layers of {model.n_heads} heads, from 0."
        )
    if not model.check.attention_ok:
        raise GranularityError(f"Attention of {model.name} was not shown to be exact: {model.check.reason}.")
    query, key = run.position(target.query), run.position(target.key)
    if key > query:
        raise PositionError(
            f"Position {query} cannot look at {key}: attention reads backwards.", "Swap query= and key=."
        )
    found = attend(model, run.record, layer)
    if bool(found.blocked.expand_as(found.scores)[head, query, key]):
        raise PositionError(f"{target.head} cannot see position {key} from {query}: its window is shorter.")
    here, other = (query, key) if target.side == "query" else (key, query)
    direction, bias = score_direction(model, run.record, found, layer, head, target.side, here, other)
    constants: list[tuple[Component, float]] = []
    if bias:
        constants.append((Component(f"{target.side}.bias"), bias))
    score = float(found.scores[head, query, key])
    if found.alibi is not None:
        constants.append((Component("alibi"), float(found.alibi[head, query, key])))
    actual, precap = score, None
    if found.cap is not None:
        precap = score
        actual = float((found.scores[head, query, key] / found.cap).tanh() * found.cap)
    side = found.q if target.side == "query" else found.k
    held = found.k if target.side == "query" else found.q
    read = normed_input(model, run.record, layer)[here].float()
    bound = dot_bound(model.dtype, read, direction)
    bound = bound + dot_bound(model.dtype, side.final[head, here], held.final[head, other] * found.scaling)
    bound = bound + 2 * torch.finfo(model.dtype).eps * sum(abs(v) for _, v in constants)
    return Reading(layer, input_norm(model, layer), direction, here, constants, actual, precap, float(bound))
