"""The headers of a survey: many prompts at once."""

from __future__ import annotations

from typing import Literal, TypedDict


class Replaceable(TypedDict):
    """How parts are replaced in a group, in how many of its prompts that can be done, and why not in the others."""

    how: str
    able: int
    unable: str


class SurveyedGroup(Replaceable):
    """A group of prompts, by their numbers; which parts are specific, by their places in `parts`."""

    name: str
    prompts: list[int]
    specific: list[int]
    #: why specific is not asked, "" where it is
    why: str


class Place(TypedDict):
    """A part and where a map has it: its layer, and its column by number."""

    id: str
    layer: int
    column: int


class Measure(TypedDict):
    """What was measured of every part in every group, and in few words."""

    name: str
    words: str


class SurveyHeader(TypedDict):
    """Parts over many prompts: the array `measures` has [group, measure, part], NaN where one was not asked; `values`
    has [part, prompt], left out where that is large, and then each part is asked for."""

    kind: Literal["survey"]
    title: str
    #: what was asked, and how
    notes: list[str]
    checks: list[str]
    unit: str
    #: p at which a part is called specific
    level: float
    columns: list[str]
    parts: list[Place]
    groups: list[SurveyedGroup]
    measures: list[Measure]
    prompts: list[str]
    answers: list[str]
    #: why no prompt can be opened, "" where the model is there
    closed: str


class PartTested(TypedDict):
    """A part that was replaced in a group (by its number): by what, what was shown, and in how many prompts."""

    part: str
    group: int
    how: str
    said: str
    n: int


class SurveyTestsHeader(TypedDict):
    """Experiments on the prompts: the array `effects` has [test, prompt], NaN where it was not tested."""

    kind: Literal["survey_tests"]
    tests: list[PartTested]


class SurveyedHeader(TypedDict):
    """One part on every prompt, in the array `values`."""

    kind: Literal["surveyed"]


class MostRead(TypedDict):
    """A prompt in three: the word that a head reads most, with its share of the attention, and what is around it."""

    prompt: int
    before: str
    word: str
    after: str
    share: float


class Reads(TypedDict):
    """What a head reads most, in each prompt that was asked about."""

    reads: list[MostRead]


class OpenedPrompt(TypedDict):
    """The Explorer on a prompt: the id of its widget."""

    model: str
