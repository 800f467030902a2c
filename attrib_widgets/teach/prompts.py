"""The prompts of the lessons, one by one and in groups: the embedded model's, and others that large models know."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from ..analysis.attribution.attribute import attribute
from ..analysis.attribution.attribution import Attribution
from ..demo import Pairs, pairs

if TYPE_CHECKING:
    from ..model.model import Model


class Example(NamedTuple):
    """A prompt with its answer, a rival, and another prompt of as many tokens after which the rival is said."""

    prompt: str
    answer: str
    rival: str
    other: str

    def fits(self, model: Model) -> bool:
        """Whether both prompts have as many tokens in a model, so that what parts wrote can be exchanged."""
        return len(model.encode(self.prompt)) == len(model.encode(self.other))

    def attribution(self, model: Model) -> Attribution:
        """Why the answer rather than the rival."""
        return attribute(model.run(self.prompt), self.answer, against=self.rival)


class Examples(NamedTuple):
    """The example of a lesson, and the one of its exercise."""

    first: Example
    second: Example


FRANCE = Example("The capital of France is", " Paris", " Berlin", "The capital of Germany is")
EIFFEL = Example("The Eiffel Tower is in the city of", " Paris", " Rome", "The Colosseum is in the city of")
COLOSSEUM = Example(
    "The language spoken in the city of the Colosseum is",
    " Italian",
    " Russian",
    "The language spoken in the city of the Kremlin is",
)
ROME = Example(
    "The Colosseum is located in the city of", " Rome", " Paris", "The Eiffel Tower is located in the city of"
)
LIST = Example(
    "apple river lamp garden horse apple river lamp garden",
    " horse",
    " piano",
    "apple river lamp garden piano apple river lamp garden",
)
NAMES = Example(
    "When Mary and John went to the shop, John gave the bag to",
    " Mary",
    " John",
    "When Mary and John went to the shop, Mary gave the bag to",
)
JAPAN = Example("The capital of Japan is", " Tokyo", " Nairobi", "The capital of Kenya is")
NORWAY = Example("In Norway, people speak", " Norwegian", " Greek", "In Greece, people speak")
TOWER = Example(
    "In the city of the Tower Bridge, people pay with the",
    " pound",
    " euro",
    "In the city of the Eiffel Tower, people pay with the",
)
KEYS = Example("Today the keys near the table", " are", " is", "Today the key near the table")

TASKS = ("capitals", "two names", "agreement")
COUNT = 40
CAPITALS = (
    "France Paris, Germany Berlin, Italy Rome, Japan Tokyo, Spain Madrid, Russia Moscow, China Beijing, Egypt Cairo, "
    "England London, Greece Athens, Austria Vienna, Ireland Dublin"
)
PEOPLE = "Mary John Tom James Anna Peter Sarah Paul Lisa Mark Alice David".split()
NOUNS = (("keys", "key"), ("dogs", "dog"), ("cars", "car"), ("boys", "boy"), ("books", "book"))
PLACES = ("table", "house")


def embedded(model: Model) -> bool:
    """Whether a model says of itself that it can be asked for capitals, as the embedded one does."""
    return any(s.ability == "capitals" for s in model.suggestions)


def groups(model: Model) -> dict[str, Pairs]:
    """Pairs of prompts by task: capitals, two names and agreement; of other models those that their tokenizer cuts into
    as many tokens."""
    if embedded(model):
        return {task: pairs(task, COUNT) for task in TASKS}
    known = [tuple(pair.split()) for pair in CAPITALS.split(", ")]
    rows: dict[str, list[tuple[str, str, str, str]]] = {task: [] for task in TASKS}
    for (land, town), (other, rival) in pairwise([*known, known[0]]):
        rows["capitals"].append((_capital(land), f" {town}", f" {rival}", _capital(other)))
    for one, two in pairwise([*PEOPLE, PEOPLE[0]]):
        rows["two names"].append((_names(one, two, two), f" {one}", f" {two}", _names(one, two, one)))
    for many, single in NOUNS:
        for place in PLACES:
            rows["agreement"].append((_noun(many, place), " are", " is", _noun(single, place)))
    fitting = {task: [row for row in found if Example(*row).fits(model)] for task, found in rows.items()}
    return {task: Pairs(*map(list, zip(*found, strict=True))) for task, found in fitting.items() if found}


def _capital(land: str) -> str:
    return f"The capital of {land} is"


def _names(one: str, two: str, gives: str) -> str:
    return f"When {one} and {two} went to the shop, {gives} gave the bag to"


def _noun(noun: str, place: str) -> str:
    return f"Today the {noun} near the {place}"
