"""How the table of verdicts is read: numbers that were measured, inequalities between them, and sentences with them.

A row is said only where everything that it rests on was measured and each of its inequalities holds. All numbers are
shares of the gap between the two prompts. The four experiments on a part:

* ``n``, damage: the part's write of the corrupted run in the clean run; ``d_n`` the same, read by the logits alone.
* ``s``, recovery: the part's write of the clean run in the corrupted run; ``d_s`` the same, read by the logits alone.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np

from ...words.errors import AttribError
from ...words.text import enumerated, number, power, share

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Thresholds:
    """``tau`` is the share of the gap below which nothing is read; ``needed`` and ``spared`` are shares of the direct
    effect, or, of a part that works through others, of the gap. A single pair's verdict is borderline where another
    holds for a tau between 0.6 and 1.6 times as large.

    Raises:
        AttribError: a threshold that is not above 0, or no number; ``spared`` above ``needed``.
    """

    tau: float = 0.05
    needed: float = 0.8
    spared: float = 0.3

    def __post_init__(self) -> None:
        numbers = all(isinstance(x, Real) for x in (self.tau, self.needed, self.spared))
        if not (numbers and 0 < self.tau < math.inf and 0 < self.spared <= self.needed < math.inf):
            raise AttribError(
                f"tau={self.tau!r}, needed={self.needed!r} and spared={self.spared!r} are no thresholds.",
                "Give a tau above 0, and needed at least as large as spared, which is above 0.",
            )

    def __str__(self) -> str:
        return (
            f"nothing is read below {share(self.tau)} of the gap (tau); needed: the damage is at least "
            f"{share(self.needed)} of the direct damage, and spared: less than {share(self.spared)}"
        )

    @property
    def around(self) -> tuple[float, float]:
        """The taus between which the verdict on a single pair has to stay the same."""
        return 0.6 * self.tau, 1.6 * self.tau


@dataclass(frozen=True)
class Measured:
    """What was measured of a part: numbers by name (see :data:`QUANTITIES`), and lists of parts or words by name."""

    values: Values
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def has(self, what: str) -> bool:
        """Whether it was measured."""
        return what in self.values or what in self.names


@dataclass(frozen=True)
class Quantity:
    """A number of the table: what it is called, what has to be measured for it, and how it is had from that."""

    words: str
    needs: tuple[str, ...]
    of: Callable[[Values], Any]


def _plain(name: str, words: str) -> Quantity:
    return Quantity(words, (name,), lambda v: v[name])


FOUR = ("n", "d_n", "s", "d_s")
QUANTITIES: dict[str, Quantity] = {
    "n": _plain("n", "damage"),
    "d_n": _plain("d_n", "direct damage"),
    "s": _plain("s", "recovery"),
    "d_s": _plain("d_s", "direct recovery"),
    "-n": Quantity("minus the damage", ("n",), lambda v: -v["n"]),
    "-d_n": Quantity("minus the direct damage", ("d_n",), lambda v: -v["d_n"]),
    "|n|": Quantity("the size of the damage", ("n",), lambda v: np.abs(v["n"])),
    "|d_n|": Quantity("the size of the direct damage", ("d_n",), lambda v: np.abs(v["d_n"])),
    "|d_s|": Quantity("the size of the direct recovery", ("d_s",), lambda v: np.abs(v["d_s"])),
    "n-d_n": Quantity("damage minus direct damage", ("n", "d_n"), lambda v: v["n"] - v["d_n"]),
    "d_n-n": Quantity("direct damage minus damage", ("n", "d_n"), lambda v: v["d_n"] - v["n"]),
    "|s-d_s|": Quantity(
        "the difference of recovery and direct recovery", ("s", "d_s"), lambda v: np.abs(v["s"] - v["d_s"])
    ),
    "later": Quantity(
        "the larger difference of a total and a direct effect",
        FOUR,
        lambda v: np.maximum(np.abs(v["n"] - v["d_n"]), np.abs(v["s"] - v["d_s"])),
    ),
    "there": Quantity(
        "the larger of recovery and direct recovery", ("s", "d_s"), lambda v: np.maximum(v["s"], v["d_s"])
    ),
    "against": Quantity(
        "the smaller of recovery and direct recovery", ("s", "d_s"), lambda v: np.minimum(v["s"], v["d_s"])
    ),
    "most": Quantity(
        "the largest of the four effects", FOUR, lambda v: np.max([np.abs(v[name]) for name in FOUR], axis=0)
    ),
    "differs": _plain("differs", "how far the part's writes in the two prompts differ"),
    "changed_n": _plain("changed_n", "damage of the part at the changed words alone"),
    "changed_s": _plain("changed_s", "recovery of the part at the changed words alone"),
    "short": Quantity(
        "how far the part's effects at the changed words are from those of the words themselves",
        ("changed_n", "changed_s"),
        lambda v: np.maximum(np.abs(1 - v["changed_n"]), np.abs(1 - v["changed_s"])),
    ),
    "joint": _plain("joint", "damage once the backups are out, too"),
    "unerased": _plain("unerased", "damage once those that erase it are out, too"),
    "set_n": _plain("set_n", "damage of all of them together"),
    "set_s": _plain("set_s", "recovery by all of them together"),
    "most_n": _plain("most_n", "the largest damage of one of them"),
    "least_n": _plain("least_n", "the smallest damage of one of them"),
    "most_s": _plain("most_s", "the largest recovery by one of them"),
    "least_s": _plain("least_s", "the smallest recovery by one of them"),
    "mean": _plain("mean", "damage once it is set to its mean"),
    "|mean|": Quantity("the size of the damage once it is set to its mean", ("mean",), lambda v: np.abs(v["mean"])),
    "largest": _plain("largest", "the largest damage of a part with a word of its own, or of one of these"),
    "|set_n|": Quantity("the size of the damage of all of them together", ("set_n",), lambda v: np.abs(v["set_n"])),
    "set_most": Quantity(
        "the larger effect of all of them together",
        ("set_n", "set_s"),
        lambda v: np.maximum(np.abs(v["set_n"]), np.abs(v["set_s"])),
    ),
    "risen": _plain("risen", "what the part that rises most adds"),
    "other words": _plain("other words", "the number of other verdicts within reach"),
    "common": _plain("common", "the share of the gap by which the mean of all logits changes"),
    "-common": Quantity("minus that share", ("common",), lambda v: -v["common"]),
    "intervals": _plain("intervals", "the number of intervals over pairs that it has"),
}

_SIGNS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    ">=": ("at least", lambda a, b: a >= b),
    "<": ("below", lambda a, b: a < b),
    ">": ("above", lambda a, b: a > b),
    "<=": ("at most", lambda a, b: a <= b),
}


@dataclass(frozen=True)
class Bound:
    """``quantity sign factor x unit``: a number or the name of a threshold, times a quantity or the gap."""

    quantity: str
    sign: str
    factor: float | str
    unit: str = ""

    @property
    def needs(self) -> tuple[str, ...]:
        """What has to be measured."""
        return (*QUANTITIES[self.quantity].needs, *(QUANTITIES[self.unit].needs if self.unit else ()))

    def limit(self, values: Values, at: Thresholds) -> Any:
        """What the quantity is held against."""
        factor = self.factor
        if isinstance(factor, str):
            factor = (-1 if factor.startswith("-") else 1) * float(getattr(at, factor.removeprefix("-")))
        return factor * QUANTITIES[self.unit].of(values) if self.unit else factor

    def holds(self, values: Values, at: Thresholds) -> Any:
        """Whether it does; entry by entry where the values are arrays."""
        return _SIGNS[self.sign][1](QUANTITIES[self.quantity].of(values), self.limit(values, at))

    def told(self, values: Values, at: Thresholds) -> str:
        """In words, with the numbers."""
        what = QUANTITIES[self.quantity]
        told = f"{what.words} ({_exactly(float(what.of(values)))}) is {_SIGNS[self.sign][0]} "
        told += _exactly(float(self.limit(values, at)))
        if self.unit and isinstance(self.factor, str):
            told += f" ({getattr(at, self.factor):g} times the {QUANTITIES[self.unit].words})"
        return told


@dataclass(frozen=True)
class Verdict:
    """A row of the table: the word, its sentence, when it may be said, and the row of the book that it answers to.

    Fields of the sentence are quantities, printed as shares of the gap, or lists of names. ``book`` is the row of
    section 15.10.3 that it answers to. ``parts`` is what a title says of one part and of several; a row without it
    heads no title.
    """

    key: str
    word: str
    sentence: str
    when: tuple[Bound, ...]
    book: str = ""
    parts: tuple[str, str] | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """What the sentence names."""
        return tuple(name for _, name, _, _ in string.Formatter().parse(self.sentence) if name)

    @cached_property
    def needs(self) -> frozenset[str]:
        """The measurements that must have been made."""
        named = [n for f in self.fields for n in (QUANTITIES[f].needs if f in QUANTITIES else (_LISTS[f],))]
        return frozenset([*(n for b in self.when for n in b.needs), *named])

    def may_be_said(self, m: Measured, at: Thresholds) -> Any:
        """Whether everything it needs was measured and every inequality holds."""
        if not all(m.has(need) for need in self.needs):
            return False
        held: Any = True
        for bound in self.when:
            held = held & bound.holds(m.values, at)
        return held

    def said(self, m: Measured) -> str:
        """The sentence with its numbers."""
        return self.sentence.format_map(_Told(m))

    def decided(self, m: Measured, at: Thresholds) -> str:
        """The rule in words, with the numbers of the part."""
        because = "; ".join(b.told(m.values, at) for b in self.when)
        return f"“{self.word}”: {because}." if because else ""


def _exactly(value: float) -> str:
    """A number, as a power of ten where it would read as 0."""
    return power(value) if 0 < abs(value) < 0.005 else number(value)


#: Lists of names that a sentence may name, and what is measured by that name.
_LISTS = {
    "backups": "backups",
    "either": "set",
    "both": "set",
    "count": "set",
    "others": "set",
    "answer": "answer",
    "reason": "reason",
    "change": "change",
    "these": "set",
    "names": "set",
    "erasers": "erasers",
    "risers": "risers",
    "words": "words",
}


class _Told(dict[str, str]):
    def __init__(self, m: Measured) -> None:
        self.m = m

    def __missing__(self, name: str) -> str:
        if name in QUANTITIES:
            return share(float(QUANTITIES[name].of(self.m.values)))
        names = self.m.names[_LISTS[name]]
        one, all_of = ("either", "both") if len(names) == 2 else ("any one", "all")
        said = {
            "either": f"{one} of {enumerated(names)}",
            "both": f"{all_of} of {enumerated(names)}",
            "count": str(len(names)),
            "others": f"{len(names)} {'others' if self.m.names.get('before') else 'parts'}",
            "these": "this part" if len(names) == 1 else f"these {len(names)} parts",
        }
        return said.get(name) or enumerated(names, 3 if name == "names" else 99)
