"""What can be said of a token of the corpus: which word it is, what kind of word, and which country it is about.

From this, labels of dictionary features are computed, and the truth that detectors are judged by.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

from ...words.text import visible
from . import corpus
from .corpus.facts import COUNTRIES, LANDMARKS, RELATIONS, answer

#: Contexts are numbered; training streams are seeded with other things than this.
_SEED = "cards"
SIZE = 64

# A sentence that begins so goes on about the country of the sentence before.
_FOLLOW_UPS = ("Its", "There ,", "People there", "People who live there", "The country lies")


def context(number: int) -> str:
    """One context of the corpus, by its number alone."""
    return corpus.context(random.Random(f"{_SEED} {number}"), SIZE)


@cache
def kinds() -> dict[str, str]:
    """Word to kind of word, where a word has only one."""
    groups = {
        "a country": [c.name for c in COUNTRIES],
        "a capital": [c.capital for c in COUNTRIES],
        "another city": list({m.city for m in LANDMARKS} - {c.capital for c in COUNTRIES}),
        "a currency": [c.currency for c in COUNTRIES if c.currency],
        "a language or people": [w for c in COUNTRIES for w in (c.language, c.demonym) if w],
        "a continent": [c.continent for c in COUNTRIES if c.continent and " " not in c.continent],
        "a landmark": [word for m in LANDMARKS for word in m.name.split()],
        "a woman": list(corpus.WOMEN),
        "a man": list(corpus.MEN),
        "a place": list(corpus.PLACES),
        "an object": list(corpus.OBJECTS),
        "an animal": list(corpus.ANIMALS),
        "a quality": [*corpus.ADJECTIVES, *(word for pair in corpus.OPPOSITES for word in pair)],
        "several things": [noun + "s" for noun in corpus.COUNTABLE],
    }
    found: dict[str, str] = {}
    twice: set[str] = set()
    for kind, words in groups.items():
        for word in set(words):
            if word in found:
                twice.add(word)
            found[word] = kind
    return {word: kind for word, kind in found.items() if word not in twice}


@cache
def _countries_of() -> dict[tuple[str, ...], str]:
    """Words that name one country: itself, its capital, a landmark or another city in it."""
    named: dict[tuple[str, ...], str] = {(m.city,): m.country for m in LANDMARKS}
    for country in COUNTRIES:
        named[country.capital,] = named[country.name,] = country.name
    return named | {tuple(m.name.split()): m.country for m in LANDMARKS}


@cache
def _told() -> dict[str, set[str]]:
    """Country to everything that can be answered about it."""
    return {c.name: {value for r in RELATIONS if (value := answer(r, c))} for c in COUNTRIES}


def meant(tokens: Sequence[str]) -> list[str]:
    """For every token the country that it names, by whatever word of `_countries_of`; "" where it names none."""
    named, words = _countries_of(), [token.strip() for token in tokens]
    return [named.get(tuple(words[max(0, p - 1) : p + 1])) or named.get((word,), "") for p, word in enumerate(words)]


def about(tokens: Sequence[str]) -> list[str]:
    """For every token the country that its sentence is about so far; "" where there is none."""
    found, now, before, start = [], "", "", 0
    words, named = [token.strip() for token in tokens], meant(tokens)
    for p, word in enumerate(words):
        found.append(now)
        if named[p]:
            found[p] = now = named[p]
        if p > start and not now and before and " ".join(words[start : p + 1]).startswith(_FOLLOW_UPS):
            found[p] = now = before
        if word.startswith(".") or word.endswith("."):
            now, before, start = "", now, p + 1
    return found


def properties(tokens: Sequence[str]) -> list[list[str]]:
    """For every token what can be said of it, the kind of statement first: on, after, before, about, seen.

    The token behind the last is not known, so nothing is said of what the last one stands before.
    """
    country, named, rows, seen = about(tokens), meant(tokens), [], set[str]()
    for p, token in enumerate(tokens):
        word = token.strip()
        said = [f"on {visible(token)}"]
        if named[p]:
            said.append(f"on a word for {named[p]}")
        if word in kinds():
            said.append(f"on {kinds()[word]}")
        if p > 1:
            said.append(f"after {visible(tokens[p - 1])}")
        if p + 1 < len(tokens):
            said.append(f"before {visible(tokens[p + 1])}")
            if (then := tokens[p + 1].strip()) in kinds():
                said.append(f"before {kinds()[then]}")
        if country[p]:
            said.append(f"about {country[p]}")
        if word in corpus.words():
            said.append("seen before" if word in seen else "seen first")
            if word in corpus.NAMES:
                said.append(f"on a name, {'again' if word in seen else 'first'}")
            seen.add(word)
        rows.append(said)
    return rows


def truths(tokens: Sequence[str]) -> list[list[str]]:
    """For every token the concepts that detectors are judged on: country, continent, role.

    A country is named by its name, meant by that or a city or landmark in it, and asked about where an answer
    about it comes next.
    """
    country, named, rows, seen = about(tokens), meant(tokens), [], set[str]()
    continent = {c.name: c.continent for c in COUNTRIES}
    for p, token in enumerate(tokens):
        word = token.strip()
        said = []
        if named[p]:
            said.append(f"means {named[p]}")
        if word in continent:
            said.append(f"names {word}")
            if continent[word]:
                said.append(f"names a country of {continent[word]}")
        if country[p] and p + 1 < len(tokens) and tokens[p + 1].strip() in _told()[country[p]] and word != country[p]:
            said.append(f"asks about {country[p]}")
        if word in corpus.NAMES:
            said.append("a name said again" if word in seen else "a name said first")
        if word in corpus.words():
            said.append("second mention" if word in seen else "first mention")
            seen.add(word)
        rows.append(said)
    return rows
