"""What a page explains of itself: the words of the glossary, and what every panel is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from typing import NotRequired


class Meaning(TypedDict):
    """A word of the glossary, other words that are printed for it, what it means, and how to read a number of it."""

    name: str
    also: list[str]
    means: str
    read: str


#: What a person can ask about: parts of the Explorer, tabs of its detail, results standing alone.
PanelName = Literal[
    "contributions",
    "heads",
    "concepts",
    "trace",
    "detail",
    "tokens",
    "pattern",
    "why",
    "neurons",
    "experts",
    "features",
    "feature",
    "writes",
    "lens",
    "attention",
    "bars",
    "comparison",
    "effects",
    "graph",
    "grid",
    "patching",
    "phrase",
    "survey",
    "table",
    "values",
    "verdicts",
    "words",
]


class PanelHelp(TypedDict):
    """A panel: what it shows, how to read it, what it cannot show, what to look at next."""

    shows: str
    #: {part}, {value}, {total} stand for what is on the screen
    read: str
    cannot: str
    next: str


class Meanings(TypedDict):
    """The glossary, and what every panel is."""

    terms: list[Meaning]
    #: of pages saved by 0.1 without it
    panels: NotRequired[dict[PanelName, PanelHelp]]
