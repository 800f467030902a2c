"""What an answer may be, and what is said of a wrong one: a number, a part, or one of a few words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..words.components import component
from ..words.errors import AttribError
from ..words.text import how_many, signed, visible

#: How far a number may be off: tables and bars are read to two decimal places.
WITHIN = 0.01
#: How a number is given in its unit, where "in" and the unit do not say it.
GIVEN = {"of the gap": "as a share of the gap: 25 % is 0.25"}
#: Letters of an answer that is quoted.
SHORT = 40
UNANSWERED = "Not answered yet: put your answer in the place of the three dots, and run the cell again."
#: How the parts of a kind are called.
CALLED = {
    "head": "“L3H1” (layer 3, head 1)",
    "feature": "“L3.mlp/12” (feature 12 of a dictionary of layer 3's MLP)",
    "part": "“L3H1” (a head) or “L1.mlp” (an MLP)",
}


@dataclass(frozen=True)
class Checked:
    """What is said of an answer. True where it is right, so that ``assert lesson["1.1"].check(x)`` is a test.

    Attributes:
        right: None where nothing was answered.
        said: the sentence.
    """

    right: bool | None
    said: str

    def __bool__(self) -> bool:
        return self.right is True

    def __repr__(self) -> str:
        return self.said


class Answer(Protocol):
    """A right answer, which says what is wrong with another."""

    def judge(self, given: Any) -> Checked:
        """What is to be said of ``given``."""

    def told(self) -> str:
        """The answer in words."""

    @property
    def value(self) -> Any:
        """What a person would give."""


@dataclass(frozen=True)
class Number:
    """A number with a unit.

    Attributes:
        value, unit: what is right.
        slips: what usual mistakes give, by the sentence that says which.
    """

    value: float
    unit: str = "logits"
    slips: Mapping[str, float] = field(default_factory=dict)

    def judge(self, given: Any) -> Checked:
        """Within 0.01 it is right; else form, sign, slip or distance are named."""
        if isinstance(given, str):
            return Checked(False, f"{shown(given)} is text. Write the number {self._asked}, without quotation marks.")
        number = math.nan
        if not isinstance(given, bool):
            try:
                number = float(given)
            except (TypeError, ValueError, RuntimeError):
                if (many := _several(given)) is not None:
                    return Checked(
                        False, f"{shown(given)} holds {how_many(many, 'value')}. Give one number alone, {self._asked}."
                    )
        if not math.isfinite(number):
            return Checked(False, f"{shown(given)} is no number. Give one, {self._asked}.")
        off = number - self.value
        if abs(off) <= WITHIN:
            return Checked(True, f"Right: {self.told()}.")
        if abs(number + self.value) <= WITHIN:
            return Checked(False, "The size is right, and the sign is not: does it help the answer, or hinder it?")
        if self.unit in GIVEN and abs(number / 100 - self.value) <= WITHIN:
            return Checked(False, f"That is in per cent. Give it {self._asked}.")
        for said, slip in self.slips.items():
            if abs(number - slip) <= WITHIN:
                return Checked(False, said)
        return Checked(False, f"Not yet: {abs(off):.2f} {self.unit} too {'high' if off > 0 else 'low'}.")

    @property
    def _asked(self) -> str:
        return GIVEN.get(self.unit, f"in {self.unit}")

    def told(self) -> str:
        """The number with its sign and unit."""
        return f"{signed(self.value)} {self.unit}"


@dataclass(frozen=True)
class Part:
    """One part of the model: the first by a score.

    Attributes:
        scores: of every part that could be meant, by label; the largest is right.
        measure: what the score is, such as "of its attention"; ``{}`` stands for the number.
        kind: what is asked for, "head", "feature" or "part".
    """

    scores: Mapping[str, float]
    measure: str = "{}"
    kind: str = "part"

    @property
    def value(self) -> str:
        """The label of the first."""
        return max(self.scores, key=lambda label: self.scores[label])

    def judge(self, given: Any) -> Checked:
        """Right, or no part, another kind, the wrong sign, or its place among all."""
        try:
            said = component(given)
        except (AttribError, TypeError):
            return Checked(False, f"{shown(given)} names no part. {self._asked(given)}")
        label = str(said)
        if self.kind != "part" and said.kind != self.kind:
            return Checked(
                False, f"{label} is no {self.kind}. {self.kind.capitalize()}s are called {CALLED[self.kind]}."
            )
        if label not in self.scores:
            why = "does not fire here" if self.kind == "feature" else "is in no layer of this model, or writes nothing"
            return Checked(False, f"{label} is not among the {self.kind}s that are asked about: it {why}.")
        if label == self.value:
            return Checked(True, f"Right: {self.told()}.")
        score, best = self.scores[label], self.scores[self.value]
        if score < 0 and abs(score) >= 0.5 * best:
            return Checked(False, f"{label} is large, and of the wrong sign: {self._measured(label)}.")
        place = sorted(self.scores.values(), reverse=True).index(score) + 1
        return Checked(False, f"Not {label}: {self._measured(label)}, which is number {place}. Another one has more.")

    def _asked(self, given: Any) -> str:
        alone = "Give one, and it alone. " if (_several(given) or 0) > 0 else ""
        return f"{alone}{self.kind.capitalize()}s are called {CALLED[self.kind]}."

    def told(self) -> str:
        """The part and its score."""
        return f"{self.value} ({self._measured(self.value)})"

    def _measured(self, label: str) -> str:
        return self.measure.format(signed(self.scores[label]))


@dataclass(frozen=True)
class Word:
    """One of a few words.

    Attributes:
        value: the right one.
        among: all, each with what is said where it is given: of the right one its number, of another what speaks
            against it ("" says no more).
    """

    value: str
    among: Mapping[str, str]

    def judge(self, given: Any) -> Checked:
        """Right, no such word, or what speaks against it."""
        given = getattr(given, "word", given)  # a verdict, or its word
        said = str(given).strip(" \"'\u201c\u201d")
        match = next((word for word in self.among if word.strip().lower() == said.lower()), None)
        if match is None:
            choices = ", ".join(f"“{visible(word)}”" for word in self.among)
            return Checked(False, f"{shown(given)} is not a choice here. Choose one of {choices}.")
        if match == self.value:
            return Checked(True, f"Right: {self.told()}. {self.among[match]}".strip())
        return Checked(False, f"Not “{visible(match)}”. {self.among[match]}".strip())

    def told(self) -> str:
        """The word."""
        return visible(self.value)


def unanswered(given: Any) -> Checked | None:
    """What is said where nothing was answered: three dots, an empty text, or nothing at all; else None."""
    empty = given is None or given is ... or (isinstance(given, str) and not given.strip())
    return Checked(None, UNANSWERED) if empty else None


def shown(given: Any) -> str:
    """An answer in one short line: what it is, where it is long."""
    text = repr(given)
    if len(text) <= SHORT and "\n" not in text and isinstance(given, (str, int, float, complex, list, tuple)):
        return text
    kind = type(given).__name__
    return f"{'An' if kind[0] in 'AEIOUaeiou' else 'A'} {kind}"


def _several(given: Any) -> int | None:
    """How many values it holds; None where it is no collection."""
    try:
        return None if isinstance(given, str) else len(given)
    except TypeError:
        return None
