"""Experiments: what can be tested, what was found, and their own views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from typing import NotRequired


class Finding(TypedDict):
    """The verdict on one component: a word, sentences as the table of verdicts has them, and shares of the gap."""

    id: str
    #: direct damage, damage, recovery, direct recovery
    d: float
    damage: float
    recovery: float
    back: float | None
    word: str
    #: the word as it fits beside a bar
    chip: str
    #: the word and its sentence
    told: str
    #: what else may be said
    remarks: list[str]
    #: what the model says without it
    then: str
    #: the rule behind the word, with its numbers
    decided: str
    #: another word is within reach
    borderline: bool
    #: its word says that it does something
    named: bool
    lists: list[str]


class Together(TypedDict):
    """Parts that were out at once."""

    name: str
    told: str
    then: str


class Verdicts(TypedDict):
    """All verdicts on a question."""

    #: the number of the question that they answer
    question: NotRequired[int]
    title: str
    #: how many pairs of prompts, in words
    pairs: str
    #: what the shares are of, and from where a word is used
    rule: str
    gap: float
    #: how much the direct effects add up to
    shared: str
    cost: str
    notes: list[str]
    together: list[Together]
    findings: list[Finding]


class Testable(TypedDict):
    """What can be tested here, and at most how many plain forwards that stands for."""

    kinds: list[str]
    #: why nothing can be tested, and what the comparison lacks
    never: str
    missing: str
    top: int
    one: int
    all: int
    #: of replacing every word
    words: NotRequired[int]
    #: a comparison prompt for a known task
    suggested: str


class Tested(TypedDict):
    """An experiment is over; the verdicts themselves come with the trait `tested`."""

    title: str


class Ablated(TypedDict):
    """The answer without one part, which needs no second prompt, and what that is worth."""

    told: str
    note: str


class Without(TypedDict):
    """What the model says without all of some components, and of which question."""

    question: int
    components: list[str]
    told: str
    #: at most so many forwards test them as a circuit; 0 where they cannot be
    whole: NotRequired[int]


class EstimatesHeader(TypedDict):
    """Estimated total effect of every row, between the two runs, in the array `values`, and last the completeness error
    of the estimate, as a share of the gap."""

    kind: Literal["estimates"]


class Line(TypedDict):
    """A border between two verdicts."""

    name: str
    at: tuple[tuple[float, float], tuple[float, float]]


class Region(TypedDict):
    """Where the name of a verdict has room, across or upwards."""

    word: str
    d: float
    n: float
    up: bool


class VerdictsHeader(Verdicts):
    """Verdicts standing alone, as a scatter."""

    kind: Literal["verdicts"]
    #: low and high of both axes
    window: tuple[float, float]
    lines: list[Line]
    regions: list[Region]


class PatchGrid(TypedDict):
    """The cells of one site."""

    site: str
    rows: list[str]
    layers: list[int]
    columns: list[str]
    #: of the columns, where they are positions
    positions: list[int] | None
    cells: list[str]


class PatchingHeader(TypedDict):
    """Grids, one after the other in the arrays `values` and `known`."""

    kind: Literal["patching"]
    title: str
    #: recovery or damage
    share: str
    words: str
    #: by gradients, not by experiment
    estimated: bool
    notes: list[str]
    cost: str
    gap: float
    unit: str
    position: int
    #: attention and MLP of a layer read the same stream
    parallel: bool
    grids: list[PatchGrid]


class Replaced(TypedDict):
    """What replacing each token of a prompt does to a number; null at those that stay."""

    #: how it was tested, and how it is read; not in states of 0.1
    told: NotRequired[str]
    unit: str
    cost: str
    values: list[float | None]
    spread: list[float | None]


class EffectsHeader(Replaced):
    """The same standing alone."""

    kind: Literal["effects"]
    title: str
    tokens: list[str]
    special: list[int]
