"""Experiments: what can be tested, what was found, and their own views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from typing import NotRequired


class Finding(TypedDict):
    """The verdict on one component: shares of the gap, a word, and what stands behind it."""

    id: str
    d: float
    damage: float
    recovery: float
    word: str
    plain: str
    borderline: list[str]
    lists: list[str]
    evidence: str


class Verdicts(TypedDict):
    """All verdicts on a question."""

    #: the number of the question that they answer
    question: NotRequired[int]
    title: str
    #: pairs of prompts
    n: int
    rule: str
    tau: float
    gap: float
    unit: str
    cost: str
    notes: list[str]
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
    #: a comparison prompt for a known task
    suggested: str


class Tested(TypedDict):
    """An experiment is over; the verdicts themselves come with the trait `tested`."""

    title: str


class Ablated(TypedDict):
    """The answer without one part, which needs no second prompt."""

    base: float
    change: float
    unit: str


class EstimatesHeader(TypedDict):
    """Estimated total effect of every row, in the array `values`."""

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


class EffectsHeader(TypedDict):
    """The tokens of a prompt, each with what replacing it does; null at those that stay."""

    kind: Literal["effects"]
    title: str
    tokens: list[str]
    special: list[int]
    metric: str
    unit: str
    base: float
    draws: int
    cost: str
    values: list[float | None]
    spread: list[float | None]
