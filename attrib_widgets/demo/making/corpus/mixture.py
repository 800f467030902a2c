"""Contexts: sentences of mixed kinds, seeded."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from itertools import permutations

from . import phrasings as say
from .facts import LANDMARKS, TWO_HOP_RELATIONS
from .held_out import held_out_attractor, held_out_chain, held_out_order, held_out_pair, held_out_sum
from .lexicon import COUNTABLE, NAMES, SETS
from .sentences import (
    LARGEST_ADDEND,
    addition,
    agreement,
    attraction,
    fact,
    landmark_fact,
    later_agreement,
    listing,
    opposite,
    pronoun,
    repeated_letters,
    repeated_words,
    small_talk,
    three_names,
    two_hop,
    two_names,
)

# Chances of the kinds of sentences. A kind is chosen again and again until a context is long enough.
KIND_WEIGHTS = {
    "fact": 36, "landmark": 9, "two hop": 10, "two names": 14, "three names": 4, "small talk": 5, "words": 11,
    "letters": 2, "agreement": 4, "pronoun": 2, "opposite": 2, "sum": 1, "list": 0, "attraction": 0,
    "later agreement": 0,
}  # fmt: skip
# What changes in the second course (see `second`): new kinds come, and what is learned last is met more often.
LATER_WEIGHTS = {
    "list": 5, "attraction": 6, "later agreement": 2, "two hop": 12, "three names": 7, "opposite": 3, "sum": 2,
}  # fmt: skip


def sentence(rng: random.Random, kind: str, longest: int) -> str:
    """A sentence, or a few that belong together, of a kind of `KIND_WEIGHTS`."""
    if kind == "words":
        return repeated_words(rng, longest)
    if kind in ("two names", "three names"):
        return (two_names if kind == "two names" else three_names)(rng).text
    if kind in ("agreement", "pronoun"):
        return (agreement if kind == "agreement" else pronoun)(rng)[0]
    plain = {
        "fact": fact, "landmark": landmark_fact, "two hop": two_hop, "small talk": small_talk,
        "letters": repeated_letters, "opposite": opposite, "sum": addition, "list": listing,
        "attraction": attraction, "later agreement": later_agreement,
    }  # fmt: skip
    return plain[kind](rng)


def context(rng: random.Random, size: int, letters: bool = True, later: bool = True) -> str:
    """Sentences of mixed kinds, `size` words or a little more; as in the first course, where not `later`."""
    weights = KIND_WEIGHTS | (LATER_WEIGHTS if later else {}) | ({} if letters else {"letters": 0})
    parts: list[str] = []
    count = 0
    while count < size:
        kind = rng.choices(list(weights), list(weights.values()))[0]
        part = sentence(rng, kind, longest=max(6, size // 4))
        parts.append(part)
        count += part.count(" ") + 1
    return " ".join(parts)


def contexts(seed: int, size: int = 64, letters: bool = True, later: bool = True) -> Iterator[str]:
    """An endless stream of contexts; one in five stops early, so that ends are learned too."""
    rng = random.Random(seed)
    while True:
        yield context(rng, size if rng.random() < 0.8 else rng.randint(4, size), letters, later)


def fingerprint(seed: int = 0, count: int = 2000) -> str:
    """SHA-256 of the first contexts of a seed and of all that is held out: changes when the corpus does."""
    digest = hashlib.sha256()
    stream = contexts(seed)
    for _ in range(count):
        digest.update(next(stream).encode() + b"\n")
    pairs = [(a, b) for a in NAMES for b in NAMES if held_out_pair(a, b)]
    chains = [(m.name, r) for m in LANDMARKS for r in TWO_HOP_RELATIONS if held_out_chain(m, r)]
    nouns = [(a, b) for a in COUNTABLE for b in COUNTABLE if held_out_attractor(a, b)]
    numbers = range(1, LARGEST_ADDEND + 1)
    sums = [(a, b) for a in numbers for b in numbers if held_out_sum(a, b)]
    orders = [(a, b, c) for group in SETS for a, b, c in permutations(group, 3) if held_out_order((a, b, c))]
    templates = (say.HELD_OUT_PHRASINGS, say.HELD_OUT_TWO_NAME_TEMPLATES, say.HELD_OUT_THREE_NAME_TEMPLATES)
    others = (say.HELD_OUT_AGREEMENT_TEMPLATES, say.HELD_OUT_PRONOUN_TEMPLATES, say.HELD_OUT_OPPOSITE_PHRASINGS)
    digest.update(repr((templates, others, pairs, chains, nouns, sums, orders)).encode())
    return digest.hexdigest()
