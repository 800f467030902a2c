"""The tables of views: their kinds, what each is sent, the traits that are synced, and what stands in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

from .experiments import (
    EffectsHeader,
    PatchingHeader,
    Verdicts,
    VerdictsHeader,
    Without,
)
from .explorer import ExplorerHeader, Pin
from .graphs import GraphHeader, NodeGroup
from .opened import (
    CardHeader,
    TraceHeader,
)
from .results import (
    AttentionHeader,
    BarsHeader,
    ComparisonHeader,
    GridHeader,
    LensHeader,
    PhraseHeader,
    TableHeader,
    TokensHeader,
)
from .surveys import SurveyHeader

if TYPE_CHECKING:
    from typing import NotRequired

    from .requests import Saved
    from .words import Meanings

#: Names the root component of a view.
Kind = Literal[
    "explorer",
    "attribution",
    "attention",
    "bars",
    "card",
    "comparison",
    "effects",
    "graph",
    "grid",
    "lens",
    "patching",
    "phrase",
    "survey",
    "table",
    "tokens",
    "trace",
    "verdicts",
]


class Views(TypedDict):
    """What each kind of view draws: the header of its state."""

    explorer: ExplorerHeader
    attribution: ExplorerHeader
    attention: AttentionHeader
    bars: BarsHeader
    card: CardHeader
    comparison: ComparisonHeader
    effects: EffectsHeader
    graph: GraphHeader
    grid: GridHeader
    lens: LensHeader
    patching: PatchingHeader
    phrase: PhraseHeader
    survey: SurveyHeader
    table: TableHeader
    tokens: TokensHeader
    trace: TraceHeader
    verdicts: VerdictsHeader


#: What can be covered until it is revealed.
Part = Literal["candidates", "values", "detail", "heads", "corrupted", "sum"]


class PartKind(TypedDict):
    """What parts are whose names alone would mislead."""

    #: beside the name
    short: str
    #: as an explanation
    words: str
    #: their labels
    parts: list[str]


class Options(TypedDict):
    """How a view is shown."""

    hidden: list[Part]
    #: nothing is uncovered before a guess is marked
    locked: NotRequired[bool]
    #: pixels that the bars may take before they scroll
    height: NotRequired[int]
    #: what marks the static picture that the view stands for, and hides while it lives
    still: NotRequired[str]
    #: no kernel: an offline page
    static: NotRequired[bool]
    #: of an offline page: what can be saved without Python, by form
    saved: NotRequired[dict[str, Saved]]
    #: of a model that mixes layers: its mixers, and what is split less than elsewhere
    kinds: NotRequired[list[PartKind]]
    #: of an offline page: the glossary
    words: NotRequired[Meanings]


class Nothing(TypedDict):
    """An empty object."""


#: How contributions are shown.
Mode = Literal["size", "order", "heads", "concepts", "trace", "sides"]

#: The numbers under the words of the prompt: what all heads carried from there, what came by all paths (both observed),
#: and what another word does (tested).
Under = Literal["carried", "totals", "replaced"]

#: What the detail of a part shows; "" is the first that it has.
Tab = Literal["", "tokens", "pattern", "why", "neurons", "features", "writes", "lens"]


class Showing(TypedDict):
    """Where one looks beside the selection: the open tab and the mode."""

    tab: Tab
    mode: Mode
    #: what stands side by side with the question: "compared", or the line of another
    beside: NotRequired[str]
    #: the question itself is B
    swapped: NotRequired[bool]
    #: all words of what follows the prompt together, not one of them
    all: NotRequired[bool]
    #: the numbers under the words
    under: NotRequired[Under]


class ReadBy(TypedDict):
    """The word, by its position, that a head is said to read."""

    of: str
    at: int


class Guessed(TypedDict):
    """What a person says is behind the blanks: the part that leads, the next token, the word that a head reads."""

    part: NotRequired[str]
    token: NotRequired[str]
    word: NotRequired[ReadBy]


class Traits(TypedDict):
    """What is synced. `selected`, `source` and `chosen` are written from both sides, the others by Python."""

    kind: Kind
    #: all numbers in one, see wire.ts
    container: bytes
    #: what came after it, in the order of a person's looks; "" until then
    screen: NotRequired[bytes]
    rest: NotRequired[bytes]
    #: a component's label; "" for none
    selected: str
    #: a token inside the selected part; -1 for none
    source: int
    options: Options
    #: the Explorer's tab and mode, written from both sides
    showing: NotRequired[Showing]
    #: the Explorer's guesses, written from both sides
    guessed: NotRequired[Guessed]
    #: the Explorer's verdicts
    tested: NotRequired[Verdicts | Nothing]
    #: components that are taken out together, and what the model says then
    chosen: NotRequired[list[str]]
    without: NotRequired[Without | Nothing]
    #: experiments of a survey, a container: SurveyTestsHeader; empty where there were none
    tests: NotRequired[bytes]
    #: questions that were pinned
    pinned: NotRequired[list[Pin]]
    #: of a graph, written from both sides: nodes that are taken as one
    groups: NotRequired[list[NodeGroup]]
