"""Why a head looked at one token rather than another: the difference of two scores, by who wrote the two keys.

The softmax sees only differences, so a single score explains nothing by itself. With the query held, the score of each
key is linear in the stream at that key, and what a part wrote at the one minus what it wrote at the other is its share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...model.parts.attention import scored
from ...model.selfcheck.levels import need
from ...words.components import Component
from ...words.errors import PositionError
from ...words.text import number, share, signed, visible
from ..reading.decomposition import closed, decompose
from ..reading.scores import read_side, strongest_other
from .results import Contributions

if TYPE_CHECKING:
    from ...model.run import Run
    from ..attribution.attribution import Attribution


@dataclass(eq=False, repr=False)
class Choice(Contributions):
    """Rows that sum to the score of ``key`` minus that of ``against``, both from position ``query``.

    ``scores`` are the two scores; their difference is the logarithm of how many times the attention ``key`` got.
    """

    query: int = -1
    key: int = 0
    against: int = 0
    scores: tuple[float, float] = (0.0, 0.0)

    @property
    def ratio(self) -> float:
        """Attention to ``key`` over attention to ``against``."""
        return math.exp(min(self.scores[0] - self.scores[1], 700))


def choice(a: Attribution, head: Component, key: int | None = None, against: int | None = None) -> Choice:
    """See :meth:`Attribution.choice`."""
    return choice_at(a.run, head, a.position, key, against)


@torch.no_grad()
def choice_at(run: Run, head: Component, query: int, key: int | None = None, against: int | None = None) -> Choice:
    """The same from any position ``query``, which counts from 0."""
    run.check_fresh()
    model = run.model
    need(model, "scores", head.layer or 0)
    layer, index = head.layer or 0, head.index or 0
    found = scored(model, run.record, layer, [index], slice(query, query + 1))
    chosen = int(found.pattern[found.at(index, query)].argmax()) if key is None else run.position(key)
    rival = strongest_other(run, found, index, query, chosen) if against is None else run.position(against)
    if rival is None:
        raise PositionError(f"From position {query} {head} sees no other key.", "Explain a later position.")
    if rival == chosen:
        raise PositionError("Both keys are the same position.", "Compare two different ones.")
    if max(chosen, rival) > query and model.check.causal:
        raise PositionError(
            f"Position {query} cannot look at {max(chosen, rival)}: attention reads backwards.", "Name earlier keys."
        )
    sides = [read_side(run, found, layer, index, "key", query, k) for k in (chosen, rival)]
    one, other = (side.reading(model, layer) for side in sides)
    directions = torch.stack([one.direction, other.direction])
    rows = decompose(run, one.point, one.norm, directions, [chosen, rival], paired=True)
    difference: dict[Component, float] = {}
    for sign, reading, row in ((1, one, 0), (-1, other, 1)):
        sums = closed(reading, rows, row)
        for c, v in zip(sums.components, sums.values.double().tolist(), strict=True):
            difference[c] = difference.get(c, 0.0) + sign * v
    tokens = [visible(run.tokens[p]) for p in (query, chosen, rival)]
    apart = one.actual - other.actual
    return Choice(
        _title(head, tokens, apart, against is None),
        [str(c) for c in difference],
        ["component" if c.writes else "rounding" if c.kind == "rounding" else "bias" for c in difference],
        torch.tensor(list(difference.values())).float(),
        f"score of {tokens[1]} minus that of {tokens[2]}",
        apart,
        "nats",
        note=f"What was written at {tokens[1]} ({chosen}) minus what was written at {tokens[2]} ({rival}), for one "
        f"query; before the softmax {signed(one.actual)} minus {signed(other.actual)}: observed, not yet tested.",
        query=query,
        key=chosen,
        against=rival,
        scores=(one.actual, other.actual),
    )


def _title(head: Component, tokens: list[str], apart: float, strongest: bool) -> str:
    query, key, rival = tokens
    other = f"{rival}, the strongest other token" if strongest else rival
    if abs(apart) < 0.005:
        return f"{head}: {query} scores {key} and {other} alike"
    side = f"{number(abs(apart))} {'above' if apart > 0 else 'below'} {other}"
    return f"{head}: {query} scores {key} {side}: {times(apart)} its attention"


def times(apart: float) -> str:
    """What a difference of two scores is as a ratio of attention, in words."""
    ratio = math.exp(max(-700.0, min(700.0, apart)))
    if ratio >= 10_000 or ratio < 0.001:
        return "more than 10,000 times" if ratio > 1 else "less than a thousandth of"
    if ratio >= 10:
        return f"{ratio:,.0f} times"
    return f"{number(ratio, 1)} times" if ratio >= 1 else f"{share(ratio, 1)} of"
