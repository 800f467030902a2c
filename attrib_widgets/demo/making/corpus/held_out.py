"""What training never shows, so that the evaluation can ask for it."""

from __future__ import annotations

from collections.abc import Sequence

from .facts import LANDMARKS, TWO_HOP_RELATIONS, Landmark
from .lexicon import COUNTABLE, NAMES, SETS


def held_out_pair(first: str, second: str) -> bool:
    """Whether these two names never share a sentence in training. The order does not matter."""
    return (NAMES.index(first) + NAMES.index(second)) % 9 == 5


def held_out_chain(landmark: Landmark, relation: str) -> bool:
    """Whether this relation is never told of this landmark in training, in whatever words."""
    return (LANDMARKS.index(landmark) + TWO_HOP_RELATIONS.index(relation)) % 5 == 1


def held_out_attractor(subject: str, attractor: str) -> bool:
    """Whether these two nouns never stand before one verb in training, each in whatever number."""
    return (COUNTABLE.index(subject) + 2 * COUNTABLE.index(attractor)) % 7 == 3


def held_out_order(words: Sequence[str]) -> bool:
    """Whether no list in training has these three words of a set one behind the other, in this order."""
    known = next(group for group in SETS if words[0] in group)
    first, second, third = (known.index(word) for word in words)
    return (first + 2 * second + 4 * third) % 5 == 2


def held_out_sum(a: int, b: int) -> bool:
    """Whether this sum is never told in training, in either order."""
    return (min(a, b) * 5 + max(a, b) * 3) % 8 == 1
