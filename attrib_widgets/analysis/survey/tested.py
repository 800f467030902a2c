"""What experiments on the prompts of a survey found: one part replaced in one group, and several of these side by side.

A bar (contribution) is observed; an effect is how much lower the number that is asked for is once the part is replaced.
Both are in logits, so that an effect as large as its bar says that all of it counts, and none of it comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from ...result import Result, Table
from ...words.errors import ComponentError
from ...words.text import digits_of, enumerated, number, share, signed
from ..experiments.measuring.statistics import between, interval_of, ratio_of_means
from .measures import FEWEST, spearman

if TYPE_CHECKING:
    import pandas as pd

    from .result import Survey

Method: TypeAlias = Literal["pair", "mean"]
#: What replaces what a part writes.
METHODS: Mapping[str, str] = {
    "pair": "what it writes in each prompt\u2019s comparison prompt",
    "mean": "its mean over the other prompts of the group with as many tokens, position by position",
}
SHORT = {"pair": "from the comparison prompt", "mean": "at its mean over the other prompts"}
#: A change of fewer logits is none: it may be float arithmetic.
NONE = 1e-4
#: Why a prompt has no number.
CANCELLED = "cancelled before them"
OBSERVED = "Bars are observed. Effects are an experiment: how much lower the answer is with the part replaced."
TWICE = "In a comparison prompt a part may write for the rival, so that its effect can be larger than its bar."
#: Rows of the table.
ROWS = 12


@dataclass(eq=False)
class PartTest:
    """One part replaced in the prompts of one group.

    Attributes:
        part, group: their names; method: what replaced it, see :data:`METHODS`.
        numbers: the prompts that were tested, by their numbers in the survey.
        bars: what it writes to the answer of each, in logits: observed.
        effects: how much lower the number asked for is with the part replaced, in logits: the experiment.
        gaps: how much larger that number is in the prompt than in its comparison prompt; NaN where there is none.
        left_out: numbers of prompts that were not tested, by the reason.
    """

    part: str
    group: str
    method: Method
    numbers: list[int]
    bars: Float[Tensor, "prompt"]
    effects: Float[Tensor, "prompt"]
    gaps: Float[Tensor, "prompt"]
    left_out: dict[str, list[int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def complete(self) -> bool:
        """Whether it was not cancelled."""
        return CANCELLED not in self.left_out

    @property
    def mean(self) -> float:
        """The mean effect; NaN where no prompt was tested."""
        return float(self.effects.mean())

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean over prompts; None of fewer than eight, NaN where too few of them show it."""
        found = interval_of(self.effects[:, None], torch.ones(len(self)))
        return None if found is None else (float(found[0, 0]), float(found[0, 1]))

    @property
    def damage(self) -> float:
        """The mean effect as a share of the mean gap of the pairs; NaN where there are none."""
        return float(ratio_of_means(self.effects[:, None], self.gaps))

    @property
    def correlation(self) -> float:
        """Spearman's, between bars and effects of the prompts; NaN of fewer than four, or where one is all alike."""
        return float(spearman(self.bars, self.effects)) if len(self) >= FEWEST else float("nan")

    @property
    def sign(self) -> int:
        """1 where the number falls in the mean, -1 where it rises, 0 where nothing changes."""
        return 0 if not bool((self.effects.abs() > NONE).any()) else 1 if self.mean >= 0 else -1

    @property
    def count(self) -> int:
        """In how many of the prompts it changes that way."""
        return int((self.effects * self.sign > NONE).sum())

    def finding(self) -> str:
        """What was shown."""
        if not len(self):
            return "cancelled before the first prompt"
        if not self.sign:
            return f"nothing changes in any of {len(self)} prompts"
        verb, by = ("falls" if self.sign > 0 else "rises"), number(abs(self.mean), digits_of([self.mean]))
        return f"the answer {verb} in {self.count} of {len(self)} prompts, by {by} logits in the mean"

    def said(self) -> str:
        """The same with interval, share of the gap, correlation, and what was left out."""
        found, digits = [self.finding()], digits_of([self.mean])
        if len(self) and (ends := self.interval) is not None:
            low, high = (self.sign * end for end in (ends if self.sign >= 0 else ends[::-1]))
            found[0] += f" (95 %: {between(low, high, digits)})"
        if self.damage == self.damage:
            found.append(f"damage {share(self.damage)} of the difference between the prompts")
        if self.correlation == self.correlation:
            found.append(f"bar and effect over prompts, Spearman: {signed(self.correlation)}")
        found += [f"not tested, {why}: {len(numbers)}" for why, numbers in self.left_out.items()]
        return "; ".join(found)


@dataclass(eq=False, repr=False)
class SurveyTest(Result):
    """Parts replaced on every prompt: ``survey.test("L3H5")``.

    Attributes:
        tests: a :class:`PartTest` for every part and group, part by part.
    """

    survey: Survey
    tests: list[PartTest]

    @property
    def parts(self) -> list[str]:
        """Names of what was replaced."""
        return list(dict.fromkeys(test.part for test in self.tests))

    @property
    def complete(self) -> bool:
        """Whether it was not cancelled."""
        return all(test.complete for test in self.tests)

    def __getitem__(self, which: tuple[str, str]) -> PartTest:
        """The test of a part in a group.

        Raises:
            ComponentError: there is none.
        """
        found = next((test for test in self.tests if (test.part, test.group) == which), None)
        if found is None:
            have = ", ".join(repr((test.part, test.group)) for test in self.tests[:4])
            raise ComponentError(f"There is no test of {which!r}.", f"Name part and group: {have}.")
        return found

    def title(self) -> str:
        """What was shown, in how many prompts."""
        cut = "" if self.complete else " (cancelled)"
        mixed = len({test.method for test in self.tests}) > 1
        if len(self.tests) == 1:
            test = self.tests[0]
            return f"{test.part} {SHORT[test.method]}: {test.finding()}{cut}"
        if len(self.parts) == 1:
            digits = digits_of(test.mean for test in self.tests if len(test))
            how = [f", {SHORT[test.method]}" if mixed else "" for test in self.tests]
            moved = [_moved(test, digits) + more for test, more in zip(self.tests, how, strict=True)]
            return f"{self.parts[0]} replaced: the answer {'; '.join(moved)}{cut}"
        found = []
        for group in dict.fromkeys(test.group for test in self.tests):
            mine = [test for test in self.tests if test.group == group and len(test)]
            if mine:
                most = max(mine, key=lambda test: abs(test.mean))
                if not any(test.sign for test in mine):
                    found.append(f"in {group} none of them changes the answer")
                    continue
                where = f"{group}, {SHORT[most.method]}," if mixed else group
                found.append(
                    f"in {where} {most.part} counts most, the answer {_moved(most, digits_of([most.mean]), '')}"
                )
        said = f"{len(self.parts)} parts replaced one by one"
        return f"{said}: {'; '.join(found)}{cut}" if found else f"{said}: none was reached{cut}"

    def summary(self) -> Table:
        order = sorted(self.tests, key=lambda test: -abs(test.mean) if len(test) else 1.0)
        shown = order if len(self.parts) == 1 else order[:ROWS]
        digits = digits_of(v for test in shown if len(test) for v in (test.mean, float(test.bars.mean())))
        rows: list[list[str]] = []
        for test in shown:
            ends = test.interval if len(test) else None
            rows.append(
                [
                    test.part,
                    test.group,
                    str(len(test)),
                    f"{test.count} {'rise' if test.sign < 0 else 'fall'}" if test.sign else "none",
                    _or_blank(float(test.bars.mean()), digits),
                    share(test.damage) if test.damage == test.damage else "",
                    _or_blank(test.correlation, 2),
                    "" if ends is None else between(*ends),
                    _or_blank(test.mean, digits),
                ]
            )
        columns = [
            "part",
            "group",
            "prompts",
            "answer",
            "bar (observed)",
            "damage",
            "Spearman of bar and effect",
            "95 % interval",
        ]
        groups: dict[str, list[str]] = {}
        for test in self.tests:
            groups.setdefault(test.method, []).append(test.group)
        note = [
            f"{enumerated(list(dict.fromkeys(names)))}: each part replaced by {METHODS[method]}."
            for method, names in groups.items()
        ]
        note += [OBSERVED, *([TWICE] if "pair" in groups else [])]
        why = dict.fromkeys((t.group, w, len(n)) for t in self.tests for w, n in t.left_out.items())
        rest = len(order) - len(shown)
        footer = [f"{group}, not tested, {reason}: {_counted(count, 'prompt')}" for group, reason, count in why]
        footer += [f"{_counted(rest, 'more row')}, with smaller effects or none"] if rest else []
        bars: list[float | None] = [test.mean if len(test) else None for test in shown]
        return Table(self.title(), [*columns, "effect, logits"], rows, bars, "\n".join(note), "\n".join(footer))

    def to_dataframe(self) -> pd.DataFrame:
        """One row per part and tested prompt: ``part``, ``group``, ``prompt`` (its number), ``text``, ``answer``,
        ``method``, ``contribution`` (observed), ``effect`` (the experiment) and ``gap``, in logits."""
        import pandas as pd

        rows = [
            (t.part, t.group, p, self.survey.texts[p], self.survey.answers[p], t.method, bar, effect, gap)
            for t in self.tests
            for p, bar, effect, gap in zip(t.numbers, t.bars.tolist(), t.effects.tolist(), t.gaps.tolist(), strict=True)
        ]
        columns = ["part", "group", "prompt", "text", "answer", "method", "contribution", "effect", "gap"]
        return pd.DataFrame(rows, columns=columns)


def _moved(test: PartTest, digits: int, where: str | None = None) -> str:
    """How the answer moves in the mean, and in how many prompts."""
    inside = f" in {test.group}" if where is None else where
    if not len(test):
        return f"is not reached{inside}"
    if not test.sign:
        return f"is what it was{inside}"
    verb = "rises" if test.sign < 0 else "falls"
    return f"{verb} by {number(abs(test.mean), digits)} logits{inside} (in {test.count} of {len(test)} prompts)"


def _or_blank(value: float, digits: int) -> str:
    return signed(value, digits) if value == value else ""


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
