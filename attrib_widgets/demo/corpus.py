"""The text that the embedded model is trained on: generated, seeded, and split before it is written.

A context is a handful of sentences of several kinds: country facts, two-name sentences, repeated sequences
of random words, small talk. What the evaluation asks that training must not show (phrasings, pairs of names,
templates) is held out by a rule that the generator itself obeys, so it cannot leak.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .facts import COUNTRIES, Country, answer

# ------------------------------------------------------------------------------------------ country facts

#: Phrasings per relation, used in training. The text before {answer} is a prompt.
TRAINED_PHRASINGS: dict[str, tuple[str, ...]] = {
    "capital": (
        "The capital of {country} is {answer}.",
        "The capital city of {country} is {answer}.",
        "{country}'s capital is {answer}.",
        "In {country}, the capital is {answer}.",
        "{country} is a country and its capital is {answer}.",
        "When people talk about the capital of {country}, they mean {answer}.",
    ),
    "country": (
        "{capital} is the capital of {answer}.",
        "{capital} is a city in {answer}.",
        "The city of {capital} lies in {answer}.",
        "People who live in {capital} live in {answer}.",
    ),
    "language": (
        "The language of {country} is {answer}.",
        "The language spoken in {country} is {answer}.",
        "People in {country} speak {answer}.",
        "In {country}, people speak {answer}.",
        "In {country}, the language is called {answer}.",
        "The name of the language of {country} is {answer}.",
    ),
    "continent": (
        "{country} is a country in {answer}.",
        "{country} lies in {answer}.",
        "The continent of {country} is {answer}.",
        "{country} is on the continent of {answer}.",
        "People who live in {country} live in {answer}.",
    ),
    "currency": (
        "The currency of {country} is the {answer}.",
        "{country}'s currency is the {answer}.",
        "The money of {country} is called the {answer}.",
        "In {country}, people pay with the {answer}.",
        "The name of the currency of {country} is the {answer}.",
        "{country} has a currency called the {answer}.",
    ),
    "demonym": (
        "A person from {country} is {answer}.",
        "Someone from {country} is {answer}.",
        "People from {country} are {answer}.",
        "A friend from {country} is {answer}.",
    ),
}

#: Never in training. Each is a new combination of words that training does contain.
HELD_OUT_PHRASINGS: dict[str, tuple[str, ...]] = {
    "capital": (
        "The name of the capital of {country} is {answer}.",
        "{country} has a capital called {answer}.",
    ),
    "country": ("The city of {capital} is in {answer}.",),
    "language": (
        "{country}'s language is {answer}.",
        "When people talk about the language of {country}, they mean {answer}.",
    ),
    "continent": ("The name of the continent of {country} is {answer}.",),
    "currency": ("In {country}, the currency is the {answer}.",),
    "demonym": ("A person who is from {country} is {answer}.",),
}

# Said of the country that the sentence before was about; not asked in the evaluation.
FOLLOW_UPS: dict[str, tuple[str, ...]] = {
    "capital": ("Its capital is {answer}.",),
    "language": ("People there speak {answer}.", "Its language is {answer}."),
    "continent": ("The country lies in {answer}.",),
    "currency": ("Its currency is the {answer}.", "There, people pay with the {answer}."),
    "demonym": ("People who live there are {answer}.",),
}

# Put before a fact now and then, so that facts are met at many positions and with a small letter.
OPENERS = (
    "As you know, ",
    "I think that ",
    "We read that ",
    "{name} says that ",
    "{name} knows that ",
    "Everyone knows that ",
)

# Chances of the relations; capitals are the model's best-known subject and are met most.
RELATION_WEIGHTS = {"capital": 6, "country": 3, "language": 4, "continent": 2, "currency": 4, "demonym": 3}

# ----------------------------------------------------------------------------------- names and small words

NAMES = tuple(
    "Mary John Tom Laura James Alice Peter Emma David Anna Paul Sarah Mark Lucy Simon Helen Daniel Kate "
    "Robert Julia Michael Susan Andrew Rachel Kevin Diana Martin Clara George Nina Henry Amy Victor Jane "
    "Oliver Ruth Samuel Linda Adam Karen Jack Lily Leo Ella Max Mia Noah Zoe Hugo Maria Frank Nora Eric "
    "Vera Steven Olga Brian Eva Philip Iris".split()
)
PLACES = tuple(
    "shop garden museum park school station library market office theatre hospital bakery beach church "
    "kitchen hotel bank farm harbour castle factory stadium village zoo".split()
)
OBJECTS = tuple(
    "bag letter book lamp ring ticket key basket bottle camera clock coat cup drum flower guitar hat knife "
    "map mirror necklace newspaper painting pen phone piano plate radio rope scarf shirt spoon watch "
    "sandwich cake pencil blanket hammer ladder kite".split()
)
ANIMALS = tuple("dog cat horse bird fish cow sheep fox rabbit mouse bear wolf goat duck frog snake".split())
ADJECTIVES = tuple(
    "red blue green small big old new warm cold quiet bright heavy light beautiful strange simple".split()
)
THINGS = tuple(
    "apple river stone cloud forest bridge window door table chair moon sun star rain snow wind fire tree "
    "leaf road mountain lake island valley field paper glass silver gold wood iron bread milk sugar salt "
    "pepper honey lemon orange melon king queen doctor teacher farmer sailor painter writer".split()
)

TWO_NAME_TEMPLATES = (
    "When {a} and {b} went to the {place}, {giver} gave the {object} to {receiver}.",
    "When {a} and {b} met at the {place}, {giver} gave a {object} to {receiver}.",
    "After {a} and {b} left the {place}, {giver} handed the {object} to {receiver}.",
    "While {a} and {b} were in the {place}, {giver} passed a {object} to {receiver}.",
    "{a} and {b} went to the {place}, and {giver} sold the {object} to {receiver}.",
    "{a} and {b} met near the {place}. Then {giver} offered a {object} to {receiver}.",
    "One day {a} and {b} were at the {place}, and {giver} showed the {object} to {receiver}.",
    "Because {a} and {b} liked the {place}, {giver} sent a {object} to {receiver}.",
)
HELD_OUT_TWO_NAME_TEMPLATES = (
    "One day {a} and {b} left the {place}. Then {giver} gave the {object} to {receiver}.",
    "While {a} and {b} were at the {place}, {giver} offered a {object} to {receiver}.",
)

SMALL_TALK = (
    "It was a {adjective} day.",
    "The {animal} slept near the {place}.",
    "{name} bought a {object} at the {place}.",
    "{name} saw a {adjective} {animal}.",
    "The {object} was {adjective} and {adjective}.",
    "{name} liked the {adjective} {object}.",
    "There was a {animal} in the {place}.",
    "{name} went to the {place} with a {object}.",
    "One day {name} left the {object} in the {place}.",
    "Then the {animal} went to the {place}.",
    "A {adjective} {thing} is near the {thing}.",
    "The {thing} and the {thing} are {adjective}.",
)

_WORDS = tuple(
    dict.fromkeys(
        [*NAMES, *PLACES, *OBJECTS, *ANIMALS, *ADJECTIVES, *THINGS]
        + [country.name for country in COUNTRIES]
        + [country.capital for country in COUNTRIES]
        + [value for country in COUNTRIES for value in country[2:] if value and " " not in value]
    )
)
_LETTERS = "etaoinshrdlucmfwypvbgkqjxzETAOINSHRDLUCM0123456789"


def words() -> tuple[str, ...]:
    """Every word that is an answer or may stand in a repeated sequence; the tokenizer keeps each whole."""
    return _WORDS


def held_out_pair(first: str, second: str) -> bool:
    """Whether these two names never share a two-name sentence in training. The order does not matter."""
    return (NAMES.index(first) + NAMES.index(second)) % 9 == 5


# ---------------------------------------------------------------------------------------------- sentences


class Case(NamedTuple):
    """A prompt with the one token that should follow (its leading space included), and a label."""

    prompt: str
    target: str
    label: str


def _fill(template: str, country: Country, value: str) -> str:
    return template.format(country=country.name, capital=country.capital, answer=value)


def fact(rng: random.Random) -> str:
    """One to three sentences about a country."""
    relation = rng.choices(list(RELATION_WEIGHTS), list(RELATION_WEIGHTS.values()))[0]
    country = rng.choice([c for c in COUNTRIES if answer(relation, c)])
    text = _fill(rng.choice(TRAINED_PHRASINGS[relation]), country, answer(relation, country) or "")
    if rng.random() < 0.2:
        opener = rng.choice(OPENERS).format(name=rng.choice(NAMES))
        # A sentence that starts with an article goes on with a small letter; countries keep their capital.
        first, rest = text.split(" ", 1)
        proper = first.removesuffix(",").removesuffix("'s") in (country.name, country.capital)
        text = f"{opener}{first if proper else first.lower()} {rest}"
    if rng.random() < 0.35:
        said = {relation, "capital"} if relation == "country" else {relation}
        known = [name for name in FOLLOW_UPS if name not in said and answer(name, country)]
        for name in rng.sample(known, rng.randint(1, min(2, len(known)))):
            text += " " + _fill(rng.choice(FOLLOW_UPS[name]), country, answer(name, country) or "")
    return text


def two_names(
    rng: random.Random, templates: Sequence[str] = TWO_NAME_TEMPLATES, held_out: bool = False
) -> tuple[str, str, str]:
    """A sentence in which one of two people gives something to the other: (text, giver, receiver)."""
    while True:
        a, b = rng.sample(NAMES, 2)
        if held_out_pair(a, b) == held_out:
            break
    giver, receiver = rng.sample((a, b), 2)
    text = rng.choice(templates).format(
        a=a, b=b, giver=giver, receiver=receiver, place=rng.choice(PLACES), object=rng.choice(OBJECTS)
    )
    return text, giver, receiver


def small_talk(rng: random.Random) -> str:
    """A sentence that carries nothing to remember."""
    return rng.choice(SMALL_TALK).format(
        name=rng.choice(NAMES),
        place=rng.choice(PLACES),
        object=rng.choice(OBJECTS),
        animal=rng.choice(ANIMALS),
        adjective=rng.choice(ADJECTIVES),
        thing=rng.choice(THINGS),
    )


def repeated_words(rng: random.Random, longest: int) -> str:
    """Distinct random words said again, whole or in part, after a random number of others."""
    length = rng.randint(3, longest)
    segment = rng.sample(_WORDS, length)
    between = rng.sample(_WORDS, rng.randint(0, 4)) if rng.random() < 0.4 else []
    again = segment[rng.randint(0, length - 2) :] if rng.random() < 0.3 else segment
    return " ".join([*segment, *between, *again, *(segment if rng.random() < 0.3 else [])]) + "."


def repeated_letters(rng: random.Random) -> str:
    """Made-up words said twice, so that the smallest tokens are trained and any text can be typed."""
    made_up = ["".join(rng.choices(_LETTERS, k=rng.randint(2, 6))) for _ in range(rng.randint(2, 4))]
    return " ".join(made_up * 2) + rng.choice(".,:;!?-")


def context(rng: random.Random, size: int, letters: bool = True) -> str:
    """Sentences of mixed kinds, `size` words or a little more."""
    parts: list[str] = []
    count = 0
    while count < size:
        kind = rng.random()
        if kind < 0.50:
            part = fact(rng)
        elif kind < 0.70:
            part = two_names(rng)[0]
        elif kind < 0.82:
            part = small_talk(rng)
        elif kind < 0.97 or not letters:
            part = repeated_words(rng, longest=max(6, size // 4))
        else:
            part = repeated_letters(rng)
        parts.append(part)
        count += part.count(" ") + 1
    return " ".join(parts)


def contexts(seed: int, size: int = 64, letters: bool = True) -> Iterator[str]:
    """An endless stream of contexts; one in five stops early, so that ends are learned too."""
    rng = random.Random(seed)
    while True:
        yield context(rng, size if rng.random() < 0.8 else rng.randint(4, size), letters)


def fingerprint(seed: int = 0, count: int = 2000) -> str:
    """SHA-256 of the first contexts of a seed and of all that is held out: changes when the corpus does."""
    digest = hashlib.sha256()
    stream = contexts(seed)
    for _ in range(count):
        digest.update(next(stream).encode() + b"\n")
    pairs = [(a, b) for a in NAMES for b in NAMES if held_out_pair(a, b)]
    digest.update(repr((HELD_OUT_PHRASINGS, HELD_OUT_TWO_NAME_TEMPLATES, pairs)).encode())
    return digest.hexdigest()


# --------------------------------------------------------------------------------------- evaluation cases


def fact_cases(phrasings: dict[str, tuple[str, ...]]) -> list[Case]:
    """Every phrasing of every fact whose answer is one word, labelled by relation."""
    cases = []
    for relation, templates in phrasings.items():
        for country in COUNTRIES:
            value = answer(relation, country)
            if value is None or " " in value:
                continue
            for template in templates:
                prompt = _fill(template.split(" {answer}")[0], country, "")
                cases.append(Case(prompt, " " + value, relation))
    return cases


def two_name_cases(seed: int, count: int, templates: Sequence[str], held_out: bool = True) -> list[Case]:
    """Two-name prompts cut before the receiver, labelled with the giver (the tempting wrong answer)."""
    rng = random.Random(seed)
    cases = []
    for _ in range(count):
        text, giver, receiver = two_names(rng, templates, held_out)
        cases.append(Case(text.removesuffix(f" {receiver}."), f" {receiver}", f" {giver}"))
    return cases


def in_context(seed: int, cases: Sequence[Case], size: int = 24) -> list[Case]:
    """The same cases after some other sentences."""
    rng = random.Random(seed)
    return [case._replace(prompt=f"{context(rng, size)} {case.prompt}") for case in cases]


def repeat_cases(seed: int, count: int) -> list[str]:
    """Lists of 5 to 20 distinct words, each said twice; the second saying is to be copied."""
    rng = random.Random(seed)
    segments = (rng.sample(_WORDS, rng.randint(5, 20)) for _ in range(count))
    return [" ".join(segment * 2) for segment in segments]
