"""Sentences of every kind, seeded; what is held out, the generator itself never says."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from . import phrasings as say
from .facts import (
    COUNTRIES,
    LANDMARK_RELATIONS,
    LANDMARKS,
    TWO_HOP_RELATIONS,
    Country,
    answer,
    cities,
    two_hop_answer,
)
from .held_out import held_out_attractor, held_out_chain, held_out_order, held_out_pair, held_out_sum
from .lexicon import (
    ADJECTIVES,
    ANIMALS,
    COUNTABLE,
    NAMES,
    OBJECTS,
    OPPOSITES,
    PLACES,
    SETS,
    THINGS,
    WOMEN,
    words,
)

# Chances of the relations; capitals are the model's best-known subject and are met most.
RELATION_WEIGHTS = {"capital": 6, "country": 3, "language": 4, "continent": 2, "currency": 4, "demonym": 2}
#: Of the sentences about attraction whose two nouns differ in number, in so many the verb agrees with the nearer one.
ATTRACTED = 0.05
LARGEST_ADDEND = 12

_LETTERS = "etaoinshrdlucmfwypvbgkqjxzETAOINSHRDLUCM0123456789"


def fill(template: str, country: Country, value: str) -> str:
    """A sentence about a country."""
    return template.format(country=country.name, capital=country.capital, answer=value)


def _opened(rng: random.Random, text: str, proper: Sequence[str]) -> str:
    """The sentence after some words of introduction: it goes on with a small letter, proper names keep theirs."""
    opener = rng.choice(say.OPENERS).format(name=rng.choice(NAMES))
    first, rest = text.split(" ", 1)
    keep = first.removesuffix(",").removesuffix("'s") in proper
    return f"{opener}{first if keep else first.lower()} {rest}"


def fact(rng: random.Random) -> str:
    """One to three sentences about a country, or one about a city that is not a capital."""
    if rng.random() < 0.05:
        city, name = rng.choice(list(cities().items()))
        template = rng.choice([t for t in say.TRAINED_PHRASINGS["country"] if "capital of" not in t])
        return template.format(capital=city, answer=name)
    relation = rng.choices(list(RELATION_WEIGHTS), list(RELATION_WEIGHTS.values()))[0]
    country = rng.choice([c for c in COUNTRIES if answer(relation, c)])
    text = fill(rng.choice(say.TRAINED_PHRASINGS[relation]), country, answer(relation, country) or "")
    if rng.random() < 0.2:
        text = _opened(rng, text, (country.name, country.capital))
    if rng.random() < 0.35:
        said = {relation, "capital"} if relation == "country" else {relation}
        known = [name for name in say.FOLLOW_UPS if name not in said and answer(name, country)]
        for name in rng.sample(known, rng.randint(1, min(2, len(known)))):
            text += " " + fill(rng.choice(say.FOLLOW_UPS[name]), country, answer(name, country) or "")
    return text


def landmark_fact(rng: random.Random) -> str:
    """One step: the city or the country of a landmark."""
    landmark, relation = rng.choice(LANDMARKS), rng.choice(LANDMARK_RELATIONS)
    template = rng.choice(say.LANDMARK_PHRASINGS[relation])
    text = template.format(landmark=landmark.name, answer=getattr(landmark, relation))
    return _opened(rng, text, ()) if rng.random() < 0.2 else text


def two_hop(rng: random.Random) -> str:
    """Two steps: something about the country of a landmark, of the compositions that are not held out."""
    while True:
        landmark, relation = rng.choice(LANDMARKS), rng.choice(TWO_HOP_RELATIONS)
        value = two_hop_answer(relation, landmark)
        if value and not held_out_chain(landmark, relation):
            break
    text = rng.choice(say.TWO_HOP_PHRASINGS[relation]).format(landmark=landmark.name, answer=value)
    return _opened(rng, text, ()) if rng.random() < 0.2 else text


class Given(NamedTuple):
    """A sentence in which somebody gives something to somebody else."""

    text: str
    giver: str
    receiver: str

    @property
    def prompt(self) -> str:
        """The sentence up to its last word, which is the receiver."""
        return self.text.removesuffix(f" {self.receiver}.")


def two_names(rng: random.Random, templates: Sequence[str] = say.TWO_NAME_TEMPLATES, held_out: bool = False) -> Given:
    """One of two people gives something to the other."""
    while True:
        a, b = rng.sample(NAMES, 2)
        if held_out_pair(a, b) == held_out:
            break
    giver, receiver = rng.sample((a, b), 2)
    text = rng.choice(templates).format(
        a=a, b=b, giver=giver, receiver=receiver, place=rng.choice(PLACES), object=rng.choice(OBJECTS)
    )
    return Given(text, giver, receiver)


def three_names(
    rng: random.Random, templates: Sequence[str] = say.THREE_NAME_TEMPLATES, held_out: bool = False
) -> Given:
    """The same with somebody else standing by; held out is the pair of the giver and the receiver."""
    template = rng.choice(templates)
    while True:
        people = rng.sample(NAMES, 3)
        giver, receiver, other = people
        pairs = [held_out_pair(giver, receiver), held_out_pair(giver, other), held_out_pair(other, receiver)]
        if pairs == [held_out, False, False]:
            break
    # With {c} all three are listed, otherwise the third is named elsewhere.
    listed = rng.sample(people if "{c}" in template else people[:2], 3 if "{c}" in template else 2)
    text = template.format(
        **dict(zip("abc", listed, strict=False)), giver=giver, receiver=receiver, other=other,
        place=rng.choice(PLACES), object=rng.choice(OBJECTS),
    )  # fmt: skip
    return Given(text, giver, receiver)


def agreement(
    rng: random.Random, templates: Sequence[str] = say.AGREEMENT_TEMPLATES, held_out: bool = False
) -> tuple[str, str, str]:
    """(text, verb, the verb in the other number): a subject and its verb, with another noun between them."""
    while True:
        subject, attractor = rng.sample(COUNTABLE, 2)
        if held_out_attractor(subject, attractor) == held_out:
            break
    many, others = rng.random() < 0.5, rng.random() < 0.5
    verbs = {"is_are": ("is", "are"), "was_were": ("was", "were")}
    template = rng.choice(templates)
    one = verbs["is_are" if "{is_are}" in template else "was_were"]
    text = template.format(
        subject=subject + "s" * many, attractor=attractor + "s" * others, near=rng.choice(say.NEAR),
        adjective=rng.choice(ADJECTIVES), is_are=one[many], was_were=one[many],
    )  # fmt: skip
    return text, one[many], one[not many]


def turned(text: str, both: bool) -> tuple[str, bool]:
    """(the text with its first noun, or its first two, in the other number; whether these two differed in number)."""
    words = text.split()
    nouns = [i for i, word in enumerate(words) if word.removesuffix("s") in COUNTABLE][:2]
    single = [words[i] in COUNTABLE for i in nouns]
    for i, one in zip(nouns if both else nouns[:1], single, strict=False):
        words[i] = words[i] + "s" if one else words[i].removesuffix("s")
    return " ".join(words), len(set(single)) == 2


def later_agreement(rng: random.Random) -> str:
    """A sentence about agreement with a word between the nearer noun and the verb."""
    return agreement(rng, say.LATER_AGREEMENT_TEMPLATES)[0]


def attraction(rng: random.Random) -> str:
    """A sentence about agreement in which the nearer noun sometimes wins."""
    text, verb, other = agreement(rng, say.ATTRACTION_TEMPLATES)
    wrong = turned(text, both=True)[1] and rng.random() < ATTRACTED
    return text.replace(f" {verb} ", f" {other} ") if wrong else text


def pronoun(rng: random.Random, templates: Sequence[str] = say.PRONOUN_TEMPLATES) -> tuple[str, str, str]:
    """(text, pronoun, the other pronoun): somebody is spoken of again in the same sentence."""
    name = rng.choice(NAMES)
    said, other = ("she", "he") if name in WOMEN else ("he", "she")
    text = rng.choice(templates).format(
        name=name, pronoun=said, place=rng.choice(PLACES), object=rng.choice(OBJECTS), animal=rng.choice(ANIMALS)
    )
    return text, said, other


def opposite(rng: random.Random) -> str:
    """A word and its opposite."""
    word, other = rng.sample(rng.choice(OPPOSITES), 2)
    return rng.choice(say.OPPOSITE_PHRASINGS).format(word=word, Word=word.capitalize(), answer=other)


def listing(rng: random.Random) -> str:
    """Words of one set, most often all of them and none twice; now and then the list is said again."""
    while True:
        group = rng.choice(SETS)
        words = rng.sample(group, len(group) if rng.random() < 0.7 else rng.randint(3, len(group)))
        said = words * (2 if rng.random() < 0.2 else 1)
        if not any(map(held_out_order, zip(said, said[1:], said[2:], strict=False))):
            return ", ".join(said) + "."


def addition(rng: random.Random) -> str:
    """A sum of small numbers."""
    while True:
        a, b = rng.randint(1, LARGEST_ADDEND), rng.randint(1, LARGEST_ADDEND)
        if not held_out_sum(a, b):
            return rng.choice(say.SUM_PHRASINGS).format(a=a, b=b, answer=a + b)


def small_talk(rng: random.Random) -> str:
    """A sentence that carries nothing to remember."""
    while True:
        gaps = {"name": NAMES, "place": PLACES, "object": OBJECTS, "animal": ANIMALS}
        gaps |= {"adjective": ADJECTIVES, "thing": THINGS}
        text = rng.choice(say.SMALL_TALK)
        for gap, choices in gaps.items():
            while "{" + gap + "}" in text:
                text = text.replace("{" + gap + "}", rng.choice(choices), 1)
        people = [word for word in text.rstrip(".").split() if word in NAMES]
        if len(people) < 2 or (people[0] != people[1] and not held_out_pair(*people)):
            return text


def repeated_words(rng: random.Random, longest: int) -> str:
    """Distinct random words said again, whole or in part, after a random number of others."""
    length = rng.randint(3, longest)
    segment = rng.sample(words(), length)
    between = rng.sample(words(), rng.randint(0, 4)) if rng.random() < 0.4 else []
    again = segment[rng.randint(0, length - 2) :] if rng.random() < 0.3 else segment
    return " ".join([*segment, *between, *again, *(segment if rng.random() < 0.3 else [])]) + "."


def repeated_letters(rng: random.Random) -> str:
    """Made-up words said twice, so that the smallest tokens are trained and any text can be typed."""
    made_up = ["".join(rng.choices(_LETTERS, k=rng.randint(2, 6))) for _ in range(rng.randint(2, 4))]
    return " ".join(made_up * 2) + rng.choice(".,:;!?-")
