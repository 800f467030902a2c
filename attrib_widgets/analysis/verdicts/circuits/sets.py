"""What a set of parts does alone, and what is left without it: the result of :func:`.circuit.circuit`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ....result import Result, Table
from ....words.places import Place
from ....words.text import gap_said, number, share, signed
from ...experiments.cells.cells import Cell
from ...experiments.measuring.answers import Answer
from ...experiments.measuring.pairs import Cost, Direction
from ...experiments.measuring.statistics import between, counted, interval_of, ratio_of_means, said_of

if TYPE_CHECKING:
    import pandas as pd

    from ....model.model import Model
    from ....model.run import Run

EMBEDDING = Place("pre", 0)
#: Whose run the kept parts stay in: everything else is patched from the other one.
RUNS = {"noise": "clean", "denoise": "corrupted"}


@dataclass(frozen=True)
class Kept:
    """What stays in its own run: some parts of the circuit, by number, and, with ``others``, all that is outside it."""

    parts: frozenset[int]
    others: bool = False

    def without(self, *parts: int) -> Kept:
        """The same less some parts."""
        return Kept(self.parts - frozenset(parts), self.others)

    def and_others(self) -> Kept:
        """The same with everything outside the circuit."""
        return Kept(self.parts, True)


@dataclass(frozen=True)
class Completeness:
    """Without ``dropped`` (numbers of parts): f of the rest of the circuit, and f of the rest of the whole model."""

    dropped: tuple[int, ...]
    circuit: float
    model: float

    @property
    def gap(self) -> float:
        """How far the two are apart: 0 where the circuit holds all that matters beside what was dropped."""
        return abs(self.circuit - self.model)


@dataclass
class Side:
    """All sets of one direction: ``patched[pair, set]`` is the metric, ``own`` that of the run in which the kept parts
    stay, ``other`` that of the run everything else comes from. ``order`` is the one of the curve over size."""

    direction: Direction
    count: int
    sets: list[Kept]
    patched: Float[Tensor, "pair set"]
    own: Float[Tensor, "pair"]
    other: Float[Tensor, "pair"]
    done: Tensor
    order: list[int]
    sizes: list[int]
    drops: list[tuple[int, ...]]
    tau: float
    answers: dict[Kept, list[Answer]] = field(default_factory=dict)

    @property
    def all(self) -> Kept:
        """The whole circuit, alone."""
        return Kept(frozenset(range(self.count)))

    @property
    def values(self) -> Float[Tensor, "set"]:
        """f of every set, over the pairs the mean change over the mean gap; NaN where it was not computed."""
        f = ratio_of_means(self.patched - self.other[:, None], self.own - self.other)
        return torch.where(self.done, f, torch.nan)

    def interval(self, kept: Kept) -> tuple[float, float] | None:
        """95 % interval of f of one set over pairs: None for fewer than eight, and where it was not computed; NaN where
        too few of them show it."""
        at = self.sets.index(kept)
        if not self.done[at]:
            return None
        found = interval_of((self.patched - self.other[:, None])[:, [at]], self.own - self.other)
        return None if found is None else (float(found[0, 0]), float(found[0, 1]))

    def each_pair(self, kept: Kept) -> Float[Tensor, "pair"]:
        """f of one set in every pair."""
        return (self.patched[:, self.sets.index(kept)] - self.other) / (self.own - self.other)

    def f(self, kept: Kept) -> float:
        """f of one set: 0 where the metric is the other run's, 1 where it is the own run's."""
        return float(self.values[self.sets.index(kept)])

    @property
    def faithfulness(self) -> float:
        """f of the circuit: everything outside it comes from the other run."""
        return self.f(self.all)

    @property
    def without(self) -> float:
        """f of everything but the circuit."""
        return self.f(Kept(frozenset(), True))

    @property
    def completeness(self) -> list[Completeness]:
        """For every K that was tried, f(C without K) and f(all without K): K = C, each part, and random halves."""
        found = []
        for dropped in self.drops:
            rest = self.all.without(*dropped)
            found.append(Completeness(dropped, self.f(rest), self.f(rest.and_others())))
        return found

    @property
    def worst(self) -> Completeness:
        """The K at which the two are furthest apart."""
        return max(self.completeness, key=lambda c: -1.0 if math.isnan(c.gap) else c.gap)

    @property
    def minimality(self) -> list[float]:
        """f(C) - f(C without the part), for each part."""
        return [self.faithfulness - self.f(self.all.without(i)) for i in range(self.count)]

    @property
    def idle(self) -> list[int]:
        """The parts whose drop changes f by less than tau; none where there is no such f to change."""
        if not abs(self.faithfulness) >= self.tau:
            return []
        return [i for i, change in enumerate(self.minimality) if abs(change) < self.tau]

    @property
    def trimmed(self) -> float | None:
        """f without all idle parts together; None where fewer than two are."""
        return self.f(self.all.without(*self.idle)) if len(self.idle) > 1 else None

    @property
    def curve(self) -> list[tuple[int, float]]:
        """(size, f of the first so many parts of ``order``)."""
        return [(n, self.f(Kept(frozenset(self.order[:n])))) for n in self.sizes]

    @property
    def cpr(self) -> float:
        """Area below the curve, size as a share of the circuit's parts."""
        return self._area([f for _, f in self.curve])

    @property
    def cmd(self) -> float:
        """Area between the curve and 1."""
        return self._area([abs(1 - f) for _, f in self.curve])

    def _area(self, heights: Sequence[float]) -> float:
        sizes = torch.tensor(self.sizes, dtype=torch.float64)
        return float(torch.trapezoid(torch.tensor(heights, dtype=torch.float64), sizes)) / self.count


@dataclass(eq=False, repr=False)
class Circuit(Result):
    """A set C of parts tested as a whole, in both directions.

    For a set, f = (m(set) - m(nothing)) / (m(everything) - m(nothing)): the parts of the set stay in one run, all else
    is patched from the other. ``sides["noise"]`` keeps the set in the clean run (the corrupted run's tensors are
    put in everywhere else), ``sides["denoise"]`` in the corrupted run.

    Attributes:
        pairs: (clean, corrupted) runs; parts: the circuit, one cell a part; position: where the metric is read.
        total: how many parts (heads, MLPs, embedding) the model has.
        left_out: numbers of the pairs that were given and left out (``skip=``).
        order: how the curve over size orders the parts, ``"given"`` or ``"effect"``.
    """

    pairs: list[tuple[Run, Run]]
    parts: list[Cell]
    labels: list[str]
    sides: dict[Direction, Side]
    metric: str
    unit: str
    position: int
    total: int
    order: str
    seed: int
    cost: Cost
    remarks: list[str] = field(default_factory=list)
    left_out: tuple[int, ...] = ()

    @property
    def model(self) -> Model:
        """The model that ran."""
        return self.pairs[0][0].model

    @property
    def faithfulness(self) -> float:
        """f(C) with the circuit kept in the clean run."""
        return self.sides["noise"].faithfulness

    @property
    def without(self) -> float:
        """f of everything but C, kept in the clean run."""
        return self.sides["noise"].without

    @property
    def gap(self) -> Float[Tensor, "pair"]:
        """Clean minus corrupted metric."""
        return self.sides["noise"].own - self.sides["noise"].other

    @property
    def blind(self) -> bool:
        """Whether the set has the embedding at no token that differs: then it reads, alone, the other prompt."""
        places = [c.positions for c in self.parts if EMBEDDING in c.parts]
        differ = [{i for i, (x, y) in enumerate(zip(a.ids, b.ids, strict=True)) if x != y} for a, b in self.pairs]
        return not any(at is None or any(d & set(at) for d in differ) for at in places)

    @property
    def complete(self) -> bool:
        """Whether every set was computed (it was not cancelled)."""
        return all(bool(side.done.all()) for side in self.sides.values())

    def names(self, which: Sequence[int]) -> str:
        """Parts by number, in words."""
        if len(which) == self.sides["noise"].count > 3:
            return f"all {len(which)} parts"
        shown = [self.labels[i] for i in which]
        return ", ".join(shown) if len(shown) < 5 else f"{', '.join(shown[:3])} and {len(shown) - 3} more"

    def title(self) -> str:
        """The finding in one line."""
        gap = float(self.gap.mean())
        if gap == 0:
            return f"Clean and corrupted answer alike: {self.metric} has no gap to explain"
        if math.isnan(self.faithfulness) or math.isnan(self.without):
            return "Cancelled before the set was computed"
        one = len(self.parts) == 1
        who, it = (self.labels[0], "it") if one else (f"These {len(self.parts)} parts", "them")
        keep, left = share(self.faithfulness), share(self.without)
        of = f"of {gap_said(gap, self.unit)}"
        if self.blind:
            return f"Without {self.labels[0] if one else f'these {len(self.parts)} parts'} {left} {of} is left"
        return f"{who} alone {'keeps' if one else 'keep'} {keep} {of}; without {it} {left} is left"

    @property
    def notes(self) -> list[str]:
        """Remarks for the reader."""
        notes = [f"n = {len(self.pairs)}: {counted(len(self.pairs), self.left_out)}", *said_of(self.gap, self.left_out)]
        if self.blind:
            notes.append(
                "the set has no embedding where the prompts differ: alone it reads the other prompt, so f(C) is 0; "
                'add "embed" to it'
            )
        if not self.complete:
            notes.append("cancelled: what was not computed is NaN")
        return [*notes, *self.remarks, *self.cost.notes]

    def said(self, side: Side) -> str:
        """One direction in words: the model's answers, the worst gap, what can be dropped, and the two areas."""
        worst, alone, rest = side.worst, side.answers.get(side.all), side.answers.get(Kept(frozenset(), True))
        words = []
        if alone and rest and len(self.pairs) == 1:
            words.append(f"the set alone says {alone[0]}, all but it {rest[0]}")
        if (spread := side.interval(side.all)) is not None:
            words.append(f"f(C) {between(*spread)} (95 % interval)")
        if self.blind:
            return f"kept in the {RUNS[side.direction]} run: {'; '.join(words)}" if words else ""
        words.append(
            f"largest gap of completeness {number(worst.gap)}, without {self.names(worst.dropped)} "
            f"(the set {number(worst.circuit)}, the model {number(worst.model)})"
        )
        if side.idle:
            dropped = f"dropping {self.names(side.idle)} changes f(C) by less than {number(side.tau)}"
            if side.trimmed is not None:
                dropped += f" each, all of them by {number(abs(side.faithfulness - side.trimmed))}"
            words.append(dropped)
        words.append(f"CPR {number(side.cpr)}, CMD {number(side.cmd)}")
        return f"kept in the {RUNS[side.direction]} run: {'; '.join(words)}"

    def summary(self) -> Table:
        sides = list(self.sides.values())
        main = sides[0]

        def row(name: str, values: Sequence[float]) -> list[str]:
            return [name, *(signed(v) for v in values)]

        rows = [
            row("the set alone: f(C)", [s.faithfulness for s in sides]),
            row("all but the set", [s.without for s in sides]),
        ]
        bars: list[float | None] = [main.faithfulness, main.without]
        changes = [s.minimality for s in sides]
        for i in [] if self.blind else sorted(range(main.count), key=lambda i: -abs(changes[0][i]))[:10]:
            rows.append(row(f"f(C) loses without {self.labels[i]}", [c[i] for c in changes]))
            bars.append(changes[0][i])
        notes = [
            "f is 0 with nothing kept and 1 with everything; all that is outside comes from the other run",
            *self.notes,
        ]
        areas = (
            f"CPR and CMD (arXiv 2504.13151): areas of f over the size of the set, in order {self.order}; parts are "
            f"counted, not edges, and only those of the set: {main.count} of {self.total} of the model"
        )
        said = [*map(self.said, sides), "" if self.blind else areas, f"{self.metric}; {self.cost}"]
        footer = "\n".join(line for line in said if line)
        columns = ["", *(f"{RUNS[s.direction]} kept" for s in sides)]
        return Table(self.title(), columns, rows, bars, "\n".join(notes), footer)

    def to_dataframe(self) -> pd.DataFrame:
        """One row per direction and set: ``kept`` (the run in which it stays), ``parts``, ``size``, ``others`` (whether
        everything outside the circuit stays too), ``f`` and ``metric``."""
        import pandas as pd

        rows = []
        for side in self.sides.values():
            values, metric = side.values, side.patched.mean(0)
            for i, kept in enumerate(side.sets):
                names = [self.labels[j] for j in sorted(kept.parts)]
                shown = (RUNS[side.direction], names, len(names), kept.others, float(values[i]), float(metric[i]))
                rows.append(shown)
        return pd.DataFrame(rows, columns=["kept", "parts", "size", "others", "f", "metric"])
