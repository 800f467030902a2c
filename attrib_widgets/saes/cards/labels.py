"""Labels that are counted: what the strongest firings of a feature share and other positions rarely have.

A label says nothing of weaker firings, and is never written by hand. Where the strongest share nothing, it says which
tokens are commonest and how common they are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

#: A property is named when at least this share of the strongest firings have it.
SHARE = 0.7
#: A feature that fires less often has no label: what a few firings share may be chance.
FEWEST = 5

#: What can be said of every token of a text, the kind of statement first ("on ·is"), and which token it is before all.
Say: TypeAlias = Callable[[Sequence[str]], Sequence[Sequence[str]]]


def neighbours(tokens: Sequence[str]) -> list[list[str]]:
    """What can be said of tokens of any text: which one it is, and what stands before and behind it."""
    rows = [[f"on {token}"] for token in tokens]
    for p, row in enumerate(rows):
        row += [f"after {tokens[p - 1]}"] * (p > 1) + [f"before {token}" for token in tokens[p + 1 : p + 2]]
    return rows


def label_of(firings: Sequence[Sequence[str]], base: Counter[str], total: int) -> str:
    """Up to two properties that nearly all of these firings share and that are rare elsewhere.

    Ranked by share x log(share / share of all positions); of one kind ("on", "before") only one is named. "mostly"
    names up to three tokens that make up most of the firings between them, "mixed" one that does not.
    """
    if len(firings) < FEWEST:
        return ""
    counts = Counter(said for properties in firings for said in set(properties))
    scored = [
        (share * math.log(share * total / base[said]), said)
        for said, count in counts.items()
        if (share := count / len(firings)) >= SHARE and share * total > base[said]
    ]
    named: list[str] = []
    for _, said in sorted(scored, key=lambda entry: (-entry[0], entry[1])):
        kind, what = said.split(" ", 1)
        if all(kind != other.split(" ", 1)[0] and what.strip("·") not in other for other in named):
            named.append(said)
        if len(named) == 2:
            break
    return ", ".join(named) or _commonest(firings)


def _commonest(firings: Sequence[Sequence[str]]) -> str:
    """Which tokens firings without a common property stand on."""
    ranked = Counter(properties[0] for properties in firings if properties).most_common(3)
    covered = 0
    for number, (_, count) in enumerate(ranked, 1):
        covered += count
        if covered >= SHARE * len(firings):
            return "mostly " + ", ".join(said for said, _ in ranked[:number])
    return f"mixed: {ranked[0][0]} in {ranked[0][1]} of {len(firings)}" if ranked else ""
