"""Pairs of prompts for experiments on the embedded model: each with its answer, its rival and the comparison prompt.

`python -m attrib_widgets.demo.making.pairs` writes `pairs.json` beside the weights, which `aw.demo.pairs` reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

from .. import path
from . import cases, corpus
from .corpus import phrasings as say
from .corpus.facts import COUNTRIES


class Pair(NamedTuple):
    """A prompt, the token that should follow, the token that follows the comparison prompt instead, and that prompt."""

    clean: str
    target: str
    against: str
    corrupted: str


def capitals(count: int) -> list[Pair]:
    """ "The capital of X is", against the capital of another country; no country twice."""
    both = [*zip(COUNTRIES[::3], COUNTRIES[1::3], strict=False), *zip(COUNTRIES[2::6], COUNTRIES[5::6], strict=False)]
    return [
        Pair(f"The capital of {a.name} is", f" {a.capital}", f" {b.capital}", f"The capital of {b.name} is")
        for a, b in both[:count]
    ]


def two_names(count: int) -> list[Pair]:
    """Held-out pairs of names; in the comparison the other person gives."""
    asked = cases.two_name_cases(77, count, [say.TWO_NAME_TEMPLATES[0]])
    return [Pair(c.prompt, c.target, c.label, _swap_last(c.prompt, c.label, c.target)) for c in asked]


def induction(count: int) -> list[Pair]:
    """Eight words and again seven of them, against a word that stood there instead."""
    rows: list[Pair] = []
    for words in (text.split() for text in cases.repeat_cases(78, 10 * count)):
        if len(words) >= 18 and len(rows) < count:
            first, other = words[:8], words[8]
            clean, corrupted = " ".join(first + first[:7]), " ".join([*first[:7], other, *first[:7]])
            rows.append(Pair(clean, f" {first[7]}", f" {other}", corrupted))
    return rows


def agreement(count: int) -> list[Pair]:
    """A held-out pair of nouns in a held-out template; in the comparison the subject has the other number."""
    return _nouns(count, say.HELD_OUT_AGREEMENT_TEMPLATES[0], both=False)


def attraction(count: int) -> list[Pair]:
    """The same with nouns of two numbers, where the verb sometimes agrees with the nearer one: in the comparison
    both nouns have the other number."""
    return _nouns(count, say.ATTRACTION_TEMPLATES[0], both=True)


def _nouns(count: int, template: str, both: bool) -> list[Pair]:
    found: dict[str, Pair] = {}
    for c in cases.agreement_cases(81, 20 * count, [template]):
        turned, differ = corpus.turned(c.prompt, both)
        if differ or not both:
            found.setdefault(c.prompt, Pair(c.prompt, c.target, c.label, turned))
    return list(found.values())[:count]


def _swap_last(prompt: str, giver: str, receiver: str) -> str:
    before, after = prompt.rsplit(giver, 1)
    return before + receiver + after


#: Task -> what makes its pairs, and how many are kept.
TASKS: dict[str, tuple[Callable[[int], list[Pair]], int]] = {
    "capitals": (capitals, 63),
    "two names": (two_names, 80),
    "induction": (induction, 40),
    "agreement": (agreement, 80),
    "attraction": (attraction, 80),
}


def first_of(task: str, count: int) -> list[Pair]:
    """The first pairs of a task; all where there are fewer."""
    make, most = TASKS[task]
    return make(min(count, most))


def kept() -> dict[str, list[list[str]]]:
    """All pairs that are kept, by task."""
    return {task: [list(row) for row in make(count)] for task, (make, count) in TASKS.items()}


def main() -> None:
    """Write them."""
    rows = ",\n".join(
        f" {json.dumps(task)}: [\n" + ",\n".join(f"  {json.dumps(row)}" for row in found) + "\n ]"
        for task, found in kept().items()
    )
    (path() / "pairs.json").write_text(f"{{\n{rows}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
