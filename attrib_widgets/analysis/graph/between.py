"""One edge opened: which heads carried it, where they looked, and what its source did to where heads look.

A pattern is held in a graph: what a source did to it is no edge. It stands here beside the edge, as what the source
wrote into the attention scores of the heads that carry most to the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from ...result import Result, Table
from ...words.components import Component
from ...words.errors import AttribError
from ...words.places import Place
from ...words.targets import score
from ...words.text import number, signed, visible
from ..reading.readers import read
from .heads import Carried, Ways, Written

if TYPE_CHECKING:
    import pandas as pd

    from .result import Graph

#: What a graph leaves out, said wherever one is shown.
NOT_IN_HERE = (
    "Where heads look is not in here: patterns are held as they were. graph.between(source, target) tells what a "
    "source did to them, graph.why(source, target) why a head looked there."
)
#: What no head read of the source itself.
_REST = "along the stream, or through an MLP that is passed first"
#: Heads whose looks are asked about.
ASKED = 8


class Look(NamedTuple):
    """What a source wrote into the score of a head from ``query`` to ``key``, on the ``side`` that it stands at."""

    layer: int
    head: int
    query: int
    key: int
    side: str
    value: float
    score: float


@dataclass(eq=False, repr=False)
class Between(Result):
    """One edge. Made by :meth:`.Graph.between`.

    Attributes:
        value: what the source put into the target, 0 where it put in nothing.
        carried: the heads that carried it, the strongest first; the rest went along the stream.
        looks: what the source wrote into the scores of heads that carry most to the target, the most first.
    """

    source: str
    target: str
    value: float
    unit: str
    carried: list[Carried]
    looks: list[Look]
    tokens: list[str]

    def title(self) -> str:
        """The edge, and where there is none, why that may be."""
        into = self.target if self.unit == "pre-activation" else f"the {self.target}"
        if self.value:
            return f"{self.source} put {signed(self.value)} into {into}"
        why = "it wrote nothing that is read along held patterns"
        if self.looks:
            one = self.looks[0]
            why = (
                f"what it did is to where L{one.layer}H{one.head} looks, which is held: it wrote "
                f"{signed(one.value)} of the score {number(one.score)} from {self._at(one.query)} to "
                f"{self._at(one.key)}"
            )
        return f"{self.source} put nothing into {into}: {why}"

    def _at(self, position: int) -> str:
        return f"{visible(self.tokens[position])} {position}"

    def summary(self) -> Table:
        rows: list[list[str]] = []
        bars: list[float | None] = []
        for c in self.carried[:5]:
            rows.append([f"L{c.layer}H{c.head}", f"carried it to {self._at(c.to)}", signed(c.value)])
            bars.append(c.value)
        crossed = sum(c.value for c in self.carried)
        if len(self.carried) > 5:
            rows.append([f"{len(self.carried) - 5} other heads", "", signed(sum(c.value for c in self.carried[5:]))])
            bars.append(None)
        if self.value:
            rows.append(["the rest", _REST, signed(self.value - crossed)])
            bars.append(self.value - crossed)
        for one in self.looks[:5]:
            what = f"score from {self._at(one.query)} to {self._at(one.key)}, by the {one.side}"
            rows.append([f"L{one.layer}H{one.head}", what, f"{signed(one.value)} of {number(one.score)}"])
            bars.append(None)
        note = f"Scores are no part of the edge. {NOT_IN_HERE}" if self.looks else NOT_IN_HERE
        return Table(self.title(), ["head", "what it did", self.unit], rows, bars, f"{note} Observed, not yet tested.")

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``head``, ``what`` (``"carried"`` or ``"score"``), ``query``, ``key``, ``side``, ``value``."""
        import pandas as pd

        rows = [(f"L{c.layer}H{c.head}", "carried", c.to, c.source, "", c.value) for c in self.carried]
        rows += [(f"L{s.layer}H{s.head}", "score", s.query, s.key, s.side, s.value) for s in self.looks]
        return pd.DataFrame(rows, columns=["head", "what", "query", "key", "side", "value"])


@torch.no_grad()
def carried(graph: Graph, sources: Sequence[int], row: int) -> list[list[Carried]]:
    """For each source the heads that carried what it put into the target of a row, the strongest first."""
    written = [graph.written(source) for source in sources]
    ways = Ways(graph.walk, int(graph.rows[row]), [one for each in written for one in each])
    ways.edges()
    heard, found = iter(ways.carried), []
    for each in written:
        total: dict[tuple[int, int], Carried] = {}
        for one in (c for _ in each for c in next(heard)):
            known = total.get((one.layer, one.head))
            best = one if known is None or abs(one.value) > abs(known.value) else known
            value = one.value + (0.0 if known is None else known.value)
            total[one.layer, one.head] = best._replace(value=value)
        found.append(sorted(total.values(), key=lambda c: -abs(c.value)))
    return found


@torch.no_grad()
def between(graph: Graph, sources: Sequence[int], row: int) -> list[Between]:
    """The edges from some sources into the target of a row, see :meth:`.Graph.between`: one walk for all of them."""
    others = graph.weights.edges[row].abs().topk(min(24, graph.weights.edges.shape[1])).indices.tolist()
    asked = list(dict.fromkeys([*sources, *others]))
    known = dict(zip(asked, carried(graph, asked, row), strict=True))
    return [
        _between(graph, source, row, [known[source], *(known[i] for i in others if i != source)]) for source in sources
    ]


def _between(graph: Graph, source: int, row: int, every: Sequence[Sequence[Carried]]) -> Between:
    """One of them; ``every`` is what heads carried of it, then of the strongest others."""
    target, node = graph.target_of(row), graph.node(source)
    asked = sorted({c[:4]: c for each in every for c in each}.values(), key=lambda c: -abs(c.value))
    own = [c for c in every[0] if c.value]
    looks = []
    for one in list(dict.fromkeys([*(c[:4] for c in own[:3]), *(c[:4] for c in asked)]))[: ASKED + 3]:
        looks += _looks(graph, graph.written(source), Carried(*one, value=0.0))
    looks.sort(key=lambda look: -abs(look.value))
    value = float(graph.weights.edges[row, source])
    unit = graph.unit if row == 0 else "pre-activation"
    tokens = list(graph.attribution.run.tokens)
    return Between(node.name, target.name, value, unit, own, [k for k in looks if k.value], tokens)


def _looks(graph: Graph, written: Sequence[Written], head: Carried) -> list[Look]:
    """What was written into one score, on the sides where it stands."""
    run, found = graph.attribution.run, []
    part = Component("head", head.layer, head.head)
    for side, at in (("query", head.to), ("key", head.source)):
        here = [one for one in written if one.position == at and _start(one.place) <= head.layer]
        if not here:
            continue
        try:
            reading = read(run, score(part, head.to, head.source, side), head.to)
        except AttribError:  # scores of this layer are not exact
            continue
        x = reading.point.stream(run.record)[at]
        u = reading.norm.pull(reading.direction.double()) * float(reading.norm.scale(x))
        total = sum(float(graph.in_stream(one, head.layer) @ u) for one in here)
        found.append(Look(head.layer, head.head, head.to, head.source, side, total, reading.actual))
    return found


def _start(place: Place) -> int:
    """The first layer whose heads read what is written at a place."""
    return 0 if place == Place("pre", 0) else (place.layer or 0) + 1
