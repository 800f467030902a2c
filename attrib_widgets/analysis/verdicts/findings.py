"""What the experiments of a verification found: of one part, of several together, and all of it in a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ...result import Result, Table
from ...words.components import Component, ComponentLike, component
from ...words.errors import AttribError, ComponentError
from ...words.kinds import with_kind
from ...words.text import enumerated, gap_said, share, signed
from ..attribution.attribution import Attribution
from ..experiments.measuring.answers import Answer
from ..experiments.measuring.common import quoted
from ..experiments.measuring.pairs import Cost, Direction
from ..experiments.patching.patching import Patching
from .rules import Measured, Thresholds, Verdict
from .table import LITTLE, ORDER, VERDICTS, remarks, titles, verdict

if TYPE_CHECKING:
    import pandas as pd

PHRASES = 2  # so many words are said in a title, the first of their order
ROWS = 12  # of the table; parts that were asked for always have one
OTHERS, SPARED = "all others together", "all that are not missed alone, together"


def answered(said: Sequence[Answer]) -> str:
    """What the model says afterwards: of one pair the answer itself, of several in how many it is another."""
    if len(said) == 1:
        return str(said[0])
    return f"another answer in {sum(not a.stays for a in said)} of {len(said)}" if said else ""


@dataclass
class Finding:
    """One tested component: what was measured of it (shares of the gap), and what may be said of that.

    ``bar`` is its contribution in the clean run, in the target's unit: observed, and no measurement of an effect.
    ``lists`` says where it came from: ``"bar"``, ``"direct"``, ``"total"``, ``"asked"``. ``answers`` is what the model
    says without it, a pair each. ``risers`` are the parts that write more when it is out, with how much (a share of the
    gap), ``erasers`` those of them that work against it while it is there.
    """

    component: Component
    bar: float
    measured: Measured
    thresholds: Thresholds
    lists: tuple[str, ...]
    answers: list[Answer] = field(default_factory=list)
    risers: list[tuple[Component, float]] = field(default_factory=list)
    erasers: list[Component] = field(default_factory=list)
    _said: tuple[Measured, Thresholds, Verdict] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def necessity(self) -> float:
        """Damage: what goes when its write of the corrupted run takes its place in the clean run."""
        return float(self.measured.values["n"])

    @property
    def direct(self) -> float:
        """Direct damage: the same write, read by the logits alone."""
        return float(self.measured.values["d_n"])

    @property
    def sufficiency(self) -> float:
        """Recovery: what comes back when its write of the clean run is put into the corrupted run."""
        return float(self.measured.values["s"])

    @property
    def direct_back(self) -> float:
        """Direct recovery: the same write, read by the logits alone."""
        return float(self.measured.values["d_s"])

    @property
    def size(self) -> float:
        """The largest of the four effects."""
        return max(map(abs, (self.necessity, self.direct, self.sufficiency, self.direct_back)))

    @property
    def verdict(self) -> Verdict:
        """The row of the table that is said of it."""
        known = self._said
        if known is None or known[0] is not self.measured or known[1] is not self.thresholds:
            self._said = known = (self.measured, self.thresholds, verdict(self.measured, self.thresholds))
        return known[2]

    @property
    def word(self) -> str:
        """For example ``"needed"``."""
        return self.verdict.word

    @property
    def sentence(self) -> str:
        """The sentence of its verdict, with its numbers."""
        return self.verdict.said(self.measured)

    @property
    def remarks(self) -> list[str]:
        """What else may be said of it."""
        return [row.said(self.measured) for row in remarks(self.measured, self.thresholds)]

    @property
    def named(self) -> bool:
        """Whether it has a word that says that it does something, or could."""
        return self.verdict.parts is not None or self.verdict.key == "carries"

    @property
    def alternatives(self) -> tuple[str, ...]:
        """The other words within reach: for another tau, or of the intervals over pairs."""
        return tuple(self.measured.names.get("words", ()))

    @property
    def borderline(self) -> bool:
        """Whether another word is within reach."""
        return bool(self.alternatives)

    @property
    def then(self) -> str:
        """What the model says without it."""
        return answered(self.answers)

    @property
    def decided(self) -> str:
        """The rule behind its word, with its numbers."""
        row = self.verdict
        book = f" In the chapter “Attribution” (table 15.10.3) it is the row “{row.book}”." if row.book else ""
        return row.decided(self.measured, self.thresholds) + book

    def learn(self, names: dict[str, tuple[str, ...]] | None = None, **values: float) -> None:
        """Add what was measured."""
        before = self.measured
        self.measured = Measured({**before.values, **values}, {**before.names, **(names or {})})

    def __str__(self) -> str:
        return f"{self.component}: {self.word}{' (borderline)' if self.borderline else ''}: {self.sentence}"


@dataclass
class Group:
    """Several parts that were patched together: what goes without them, what they bring back, what the model then
    says. ``kind`` is ``OTHERS`` (every part without a word of its own) or ``SPARED``."""

    kind: str
    parts: list[Component]
    necessity: float
    sufficiency: float
    answers: list[Answer] = field(default_factory=list)

    @property
    def then(self) -> str:
        """What the model says without them."""
        return answered(self.answers)

    def measured(self, largest: float, before: Sequence[str] = ()) -> Measured:
        """For the table; ``largest`` is the largest damage of a part with a word of its own, ``before`` are the parts
        that were named before these."""
        values = {"set_n": self.necessity, "set_s": self.sufficiency, "largest": largest}
        return Measured(values, {"set": tuple(map(str, self.parts)), "before": tuple(before)})


@dataclass(eq=False, repr=False)
class Verification(Result):
    """The verdicts, the largest effects first.

    ``effects`` are all total effects that were computed on the way, ``direct`` all direct ones, ``groups`` the parts
    that were patched together. ``live`` is the sum of all direct damages (None where not all were computed), ``said``
    what the model answers to the clean and to the corrupted prompt. ``searched``: candidates were looked for.
    """

    attributions: list[Attribution]
    findings: list[Finding]
    thresholds: Thresholds
    effects: dict[Direction, Patching]
    direct: dict[Direction, Patching]
    groups: list[Group]
    gap: float
    pairs: int
    cost: Cost
    complete: bool
    notes: list[str]
    live: float | None = None
    said: tuple[list[Answer], list[Answer]] = ((), ())  # type: ignore[assignment]
    searched: bool = True

    def __getitem__(self, which: ComponentLike) -> Finding:
        wanted = component(which)
        for found in self.findings:
            if found.component == wanted:
                return found
        raise ComponentError(f"{wanted} was not among the candidates.", "Raise top=, or name it in components=.")

    @property
    def labels(self) -> list[str]:
        """Names of the tested components."""
        return [str(f.component) for f in self.findings]

    def joined(self, earlier: Verification) -> Verification:
        """These verdicts, and those of an ``earlier`` verification of the same question on other components.

        What was patched together stays with the one that searched, or tested more.

        Raises:
            AttribError: other thresholds, another question or other pairs.
        """
        both = zip(self.attributions, earlier.attributions, strict=False)
        same = [(a.run, a.target, a.position) == (b.run, b.target, b.position) for a, b in both]
        if not all(same) or (self.pairs, self.thresholds, self.gap) != (earlier.pairs, earlier.thresholds, earlier.gap):
            raise AttribError("These verdicts answer different questions.", "Join those of one attribution and pair.")
        cost = Cost()
        for one in (earlier, self):
            cost.include(one.cost)
        kept = [f for f in earlier.findings if f.component not in {g.component for g in self.findings}]
        findings = sorted([*self.findings, *kept], key=lambda f: -f.size)
        notes = list(dict.fromkeys([*earlier.notes, *self.notes]))
        widest = max((earlier, self), key=lambda v: (v.searched, len(v.effects["noise"].cells)))
        complete = self.complete and earlier.complete
        return replace(widest, findings=findings, cost=cost, complete=complete, notes=notes)

    def label(self, group: Group) -> str:
        """The name of a group: its kind, or which parts it leaves out where these are not those with a word."""
        if group.kind != OTHERS:
            return group.kind
        left = [f for f in self.findings if f.component not in group.parts]
        if all(f.named for f in left) and not any(f.named for f in self.findings if f not in left):
            return OTHERS
        return f"all but {enumerated([str(f.component) for f in left], 3)} together"

    def together(self, group: Group, before: Sequence[str] = ()) -> dict[str, str]:
        """What may be said of a group, by the key of its row in the table; ``before`` are parts named before it."""
        rivals = [f for f in self.findings if group.kind == OTHERS or f.component in group.parts]
        largest = max((abs(f.necessity) for f in rivals if f.verdict.parts is not None), default=0.0)
        found = titles(group.measured(largest, before), self.thresholds)
        mine = ("not together", "more together") if group.kind == SPARED else ("no part alone", "outweighed")
        apart = self.label(group) == group.kind and self.searched
        return {key: text for key, text in found.items() if key == "together" or (apart and key in mine)}

    def title(self) -> str:
        """The verdict in one line: the first words that were found, and what the others do together; of parts that are
        not missed alone, and are together, only that."""
        return self._finding(3)

    def _finding(self, most: int) -> str:
        """:meth:`title`, with at most so many names for each word."""
        if not self.findings:
            return "Nothing was tested"
        said: list[str] = []
        named: list[str] = []
        phrases = {row.word: row.parts for row in VERDICTS if row.parts}
        jointly = {c for g in self.groups if g.kind == SPARED and self._title(g) for c in g.parts}
        for word in ORDER:
            found = [str(f.component) for f in self.findings if f.word == word and f.component not in jointly]
            if found and len(said) < PHRASES:
                names = [with_kind(name, self.part_kinds) for name in found]
                said.append(f"{enumerated(names, most)} {phrases[word][len(found) > 1]}")
                named += found
        groups = [g for kind in (SPARED, OTHERS) for g in self.groups if g.kind == kind]
        others = [text for g in groups for text in self._title(g, named)]
        first = self.findings[0]
        return "; ".join([*said, *others]) or f"{first.component}: {first.word}"

    def _title(self, group: Group, before: Sequence[str] = ()) -> list[str]:
        return [text for key, text in self.together(group, before).items() if key != "together"]

    def in_words(self) -> list[str]:
        """The finding with its number of pairs and the names of all parts, what the model says without the one that it
        misses most, and how the words are used."""
        told = [f"Tested ({self.of_pairs}): {self._finding(99)}."]
        if heaviest := max((f for f in self.findings if f.verdict.parts), key=lambda f: f.necessity, default=None):
            told.append(f"Without {heaviest.component} the model says {heaviest.then}.")
        return [*told, f"{self.rule[:1].upper()}{self.rule[1:]}."]

    @property
    def of_pairs(self) -> str:
        """How many pairs of prompts it rests on."""
        return f"n = {self.pairs}" + (" pair of prompts" if self.pairs == 1 else " pairs of prompts")

    @property
    def rule(self) -> str:
        """What the shares are of, and from where a word is used."""
        measure = self.effects["noise"]
        return f"effects are shares of {gap_said(self.gap, measure.unit)} in the {measure.metric}; {self.thresholds}"

    @property
    def shared(self) -> str:
        """How much of the gap the direct effects of all parts add up to."""
        if self.live is None:
            return ""
        kind = self.attributions[0].target.kind
        said = f"the direct effects of all parts, one at a time, add up to {share(self.live)} of the gap"
        if share(self.live) == share(1):  # as printed: nothing is left, and nothing is too much
            return said
        if not 0 <= self.live <= 1:
            return f"{said}: what they do together is another number"
        return f"{said}; the rest is shared between parts and the {'softmax' if kind == 'log_prob' else 'final norm'}"

    def summary(self) -> Table:
        shown = [f for i, f in enumerate(self.findings) if i < ROWS or "asked" in f.lists]
        smaller = [str(f.component) for f in self.findings if f not in shown]
        rows, bars = [], []
        for f in shown:
            word = f.word + (" (borderline)" if f.borderline else "")
            numbers = [signed(v) for v in (f.bar, f.necessity, f.direct, f.sufficiency, f.direct_back)]
            rows.append([str(f.component), *numbers, word, f.then])
            bars.append(f.necessity)
        for g in self.groups:
            label = f"{self.label(g)} ({len(g.parts)})"
            rows.append([label, "", signed(g.necessity), "", signed(g.sufficiency), "", "", g.then])
            bars.append(g.necessity)
        note = [self.of_pairs]
        if self.pairs == 1 and self.said[0]:
            clean, other = map(quoted, self.effects["noise"].pairs[0])
            note[0] += (
                f": after {clean} the model says {self.said[0][0]}; after the other one, {other}, {self.said[1][0]}"
            )
        note += [self.rule, *self.notes]
        told = ["; ".join([str(f), *f.remarks]) for f in shown if f.named or f.borderline]
        if same := [f for f in shown if f.verdict.key == "same"]:
            names, write = enumerated([str(f.component) for f in same]), "writes" if len(same) == 1 else "write"
            told.append(f"{same[0].word}: {names}, which {write} the same in both prompts")
        if smaller:
            told.append(f"tested, with smaller effects: {enumerated(smaller, ROWS)}")
        also = f" ({LITTLE}, too)"
        told += [f"{self.label(g)}{also * (g.kind == OTHERS)}: {self.together(g)['together']}" for g in self.groups]
        footer = "\n".join([*told, *([self.shared] if self.shared else []), str(self.cost)])
        columns = [
            "component",
            f"bar, {self.effects['noise'].unit}",
            "damage",
            "direct damage",
            "recovery",
            "direct recovery",
            "verdict",
            "without it the model says",
        ]
        return Table(self.title(), columns, rows, list(bars), "\n".join(note), footer)

    def to_dataframe(self) -> pd.DataFrame:
        """One row per tested component."""
        import pandas as pd

        return pd.DataFrame(
            {
                "component": self.labels,
                "bar": [f.bar for f in self.findings],
                "damage": [f.necessity for f in self.findings],
                "direct_damage": [f.direct for f in self.findings],
                "recovery": [f.sufficiency for f in self.findings],
                "direct_recovery": [f.direct_back for f in self.findings],
                "verdict": [f.word for f in self.findings],
                "sentence": [f.sentence for f in self.findings],
                "remarks": ["; ".join(f.remarks) for f in self.findings],
                "borderline": [f.borderline for f in self.findings],
                "from": [" and ".join(f.lists) for f in self.findings],
                "answer": [f.then for f in self.findings],
            }
        )
