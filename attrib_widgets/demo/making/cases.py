"""The questions that the embedded model is examined with: prompts, each with the one token that should follow."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from . import corpus
from .corpus import phrasings as say
from .corpus.facts import COUNTRIES, LANDMARK_RELATIONS, LANDMARKS, TWO_HOP_RELATIONS, answer, two_hop_answer


class Case(NamedTuple):
    """A prompt with the one token that should follow (its leading space included), and a label."""

    prompt: str
    target: str
    label: str


def _prompt(template: str) -> str:
    return template.split(" {answer}")[0]


def fact_cases(phrasings: dict[str, tuple[str, ...]]) -> list[Case]:
    """Every phrasing of every fact whose answer is one word, labelled by relation."""
    return [
        Case(corpus.fill(_prompt(template), country, ""), f" {value}", relation)
        for relation, templates in phrasings.items()
        for country in COUNTRIES
        for template in templates
        if (value := answer(relation, country)) and " " not in value
    ]


def landmark_cases() -> list[Case]:
    """One step from every landmark, in every phrasing, labelled by relation."""
    return [
        Case(_prompt(template).format(landmark=landmark.name), f" {getattr(landmark, relation)}", relation)
        for relation in LANDMARK_RELATIONS
        for landmark in LANDMARKS
        for template in say.LANDMARK_PHRASINGS[relation]
    ]


def two_hop_cases(held_out: bool) -> list[Case]:
    """Two steps from a landmark, the compositions of training or the held-out ones, labelled by relation."""
    return [
        Case(_prompt(template).format(landmark=landmark.name), f" {value}", relation)
        for relation in TWO_HOP_RELATIONS
        for landmark in LANDMARKS
        for template in say.TWO_HOP_PHRASINGS[relation]
        if (value := two_hop_answer(relation, landmark)) and corpus.held_out_chain(landmark, relation) == held_out
    ]


def two_hop_baselines() -> dict[str, float]:
    """How often two answers that need no second step are right on the held-out compositions.

    "majority": the answer that training gives most often for the relation. "one-hop shortcut": the city of the
    landmark, whatever is asked (right where the capital is asked and the landmark stands in it).
    """
    cases, city = two_hop_cases(True), {landmark.name: landmark.city for landmark in LANDMARKS}
    common = {
        relation: Counter(c.target for c in two_hop_cases(False) if c.label == relation).most_common(1)[0][0]
        for relation in TWO_HOP_RELATIONS
    }
    shortcut = [
        next(f" {place}" for name, place in city.items() if f"the {name}" in case.prompt.replace("The ", "the "))
        for case in cases
    ]
    return {
        "majority": sum(case.target == common[case.label] for case in cases) / len(cases),
        "one-hop shortcut": sum(c.target == guess for c, guess in zip(cases, shortcut, strict=True)) / len(cases),
    }


def two_name_cases(seed: int, count: int, templates: Sequence[str], held_out: bool = True) -> list[Case]:
    """Two-name prompts cut before the receiver, labelled with the giver (the tempting wrong answer)."""
    rng = random.Random(seed)
    drawn = [corpus.two_names(rng, templates, held_out) for _ in range(count)]
    return [Case(given.prompt, f" {given.receiver}", f" {given.giver}") for given in drawn]


def three_name_cases(seed: int, count: int, templates: Sequence[str]) -> list[Case]:
    """The same with a third person standing by; giver and receiver are a held-out pair."""
    rng = random.Random(seed)
    drawn = [corpus.three_names(rng, templates, held_out=True) for _ in range(count)]
    return [Case(given.prompt, f" {given.receiver}", f" {given.giver}") for given in drawn]


def agreement_cases(seed: int, count: int, templates: Sequence[str]) -> list[Case]:
    """Cut before the verb, with held-out pairs of nouns, labelled with the verb in the other number."""
    rng = random.Random(seed)
    between = [template for template in templates if "{attractor}" in template]
    drawn = [corpus.agreement(rng, between, held_out=True) for _ in range(count)]
    return [Case(text.split(f" {verb} ")[0], f" {verb}", f" {other}") for text, verb, other in drawn]


def pronoun_cases(seed: int, count: int, templates: Sequence[str]) -> list[Case]:
    """Cut before the pronoun, labelled with the other pronoun."""
    rng = random.Random(seed)
    drawn = [corpus.pronoun(rng, templates) for _ in range(count)]
    return [Case(text.split(f" {said} ")[0], f" {said}", f" {other}") for text, said, other in drawn]


def opposite_cases(phrasings: Sequence[str]) -> list[Case]:
    """Every phrasing of every opposite, in both directions, labelled with the word itself."""
    return [
        Case(_prompt(template).format(word=word, Word=word.capitalize()), f" {other}", f" {word}")
        for pair in corpus.OPPOSITES
        for word, other in (pair, pair[::-1])
        for template in phrasings
    ]


def sum_cases(held_out: bool) -> list[Case]:
    """Every sum, of training or held out."""
    numbers = range(1, corpus.LARGEST_ADDEND + 1)
    return [
        Case(_prompt(template).format(a=a, b=b), f" {a + b}", "sum")
        for a in numbers
        for b in numbers
        for template in say.SUM_PHRASINGS
        if corpus.held_out_sum(a, b) == held_out
    ]


def list_cases(seed: int, count: int) -> list[Case]:
    """All words of a set but the last, whose last three have a held-out order; labelled with the word said last."""
    rng = random.Random(seed)
    found: dict[str, Case] = {}
    while len(found) < count:
        *said, before, missing = words = rng.sample(group := rng.choice(corpus.SETS), len(group))
        if corpus.held_out_order(words[-3:]):
            prompt = ", ".join([*said, before]) + ","
            found[prompt] = Case(prompt, f" {missing}", f" {before}")
    return list(found.values())


def in_context(seed: int, cases: Sequence[Case], size: int = 24) -> list[Case]:
    """The same cases after some other sentences."""
    rng = random.Random(seed)
    return [case._replace(prompt=f"{corpus.context(rng, size)} {case.prompt}") for case in cases]


def repeat_cases(seed: int, count: int) -> list[str]:
    """Lists of 5 to 20 distinct words, each said twice; the second saying is to be copied."""
    rng = random.Random(seed)
    segments = (rng.sample(corpus.words(), rng.randint(5, 20)) for _ in range(count))
    return [" ".join(segment * 2) for segment in segments]
