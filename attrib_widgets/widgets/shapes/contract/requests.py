"""The tables of what has a name on both sides: views, operations with their arguments and answers, traits, messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from .experiments import (
    Ablated,
    EffectsHeader,
    EstimatesHeader,
    PatchingHeader,
    Replaced,
    Tested,
    Verdicts,
    VerdictsHeader,
    Without,
)
from .explorer import ExplorerHeader, Pin
from .opened import (
    CardHeader,
    FeatureCard,
    Features,
    HeadHeader,
    Neurons,
    PatternsHeader,
    TotalsHeader,
    Trace,
    TraceHeader,
    WhyHeader,
    Writes,
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
from .surveys import OpenedPrompt, Reads, SurveyedHeader, SurveyHeader

if TYPE_CHECKING:
    from typing import NotRequired

# views -----------------------------------------------------------------------------------------------------------

#: Names the root component of a view.
Kind = Literal[
    "explorer",
    "attribution",
    "attention",
    "bars",
    "card",
    "comparison",
    "effects",
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


class Options(TypedDict):
    """How a view is shown."""

    hidden: list[Part]
    #: pixels that the bars may take before they scroll
    height: NotRequired[int]
    #: what marks the static picture that the view stands for, and hides while it lives
    still: NotRequired[str]
    #: no kernel: an offline page
    static: NotRequired[bool]
    #: of an offline page: what can be saved without Python, by form
    saved: NotRequired[dict[str, Saved]]
    #: of an offline page: the glossary
    words: NotRequired[Meanings]


class Nothing(TypedDict):
    """An empty object."""


#: How contributions are shown.
Mode = Literal["size", "order", "heads", "trace", "sides"]

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
    #: questions that were pinned
    pinned: NotRequired[list[Pin]]


# requests --------------------------------------------------------------------------------------------------------

#: What a view may be asked, beside `cancel` and `poll`.
Op = Literal[
    "hello",
    "explain",
    "head",
    "patterns",
    "through",
    "why",
    "neurons",
    "features",
    "feature",
    "writes",
    "worked",
    "trace",
    "carried",
    "totals",
    "lens",
    "verify",
    "ablate",
    "replaced",
    "effects",
    "without",
    "circuit",
    "beside",
    "surveyed",
    "reads",
    "open",
    "save",
    "words",
    "reveal",
]

#: What a view is saved as: picture, table, a paragraph, offline page.
Form = Literal["svg", "csv", "txt", "html"]

#: The part of a question that an error is about.
Field = Literal["prompt", "target", "against", "corrupted"]


class WritingArgs(TypedDict):
    """What the model shall write behind the prompt."""

    #: tokens; 0 takes away what it wrote
    n: int
    #: to sample; null takes the likeliest
    seed: int | None


class ExplainArgs(TypedDict):
    """The next question. null keeps what is there; "" means none."""

    prompt: str | None
    #: exact text, or an id
    target: str | int | None
    against: str | int | None
    position: int | None
    corrupted: str | None
    #: a neuron to explain at this place
    neuron: NotRequired[str]
    #: the number of an earlier question, instead of all these
    restore: NotRequired[int]
    #: a question as a line, instead of all these
    line: NotRequired[str]
    #: the position of a word of the text: why this one?
    word: NotRequired[int]
    #: to let the model go on first
    write: NotRequired[WritingArgs]


class RowArgs(TypedDict):
    """A row, or a feature of one: L2.mlp/29."""

    id: str


class ThroughArgs(RowArgs):
    """A head, and the token that it read."""

    source: int


class WhyArgs(RowArgs):
    """A head, and from where to where it looked."""

    query: int
    key: int


class TraceArgs(TypedDict):
    """How MLPs are treated."""

    mlps: Literal["stop", "frozen"]


class VerifyArgs(TypedDict):
    """Components by name, or how many of the largest."""

    components: NotRequired[list[str]]
    top: NotRequired[int]


class BesideArgs(TypedDict):
    """What is set beside the question, and whether the question is then B."""

    beside: str
    swapped: bool


class ReadsArgs(RowArgs):
    """A head, and numbers of prompts."""

    prompts: list[int]


class OpenArgs(TypedDict):
    """A prompt by its number."""

    prompt: int


class SaveArgs(TypedDict):
    """How a view is saved."""

    form: Form


class Saved(TypedDict):
    """A file to keep."""

    name: str
    text: str


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


class WithoutArgs(TypedDict):
    """Components by name, which are taken out together."""

    components: list[str]


class RevealArgs(TypedDict):
    """What is uncovered."""

    parts: list[Part]


class Arguments(TypedDict):
    """What each operation takes."""

    hello: Nothing
    explain: ExplainArgs
    head: RowArgs
    patterns: Nothing
    through: ThroughArgs
    why: WhyArgs
    neurons: RowArgs
    features: RowArgs
    feature: RowArgs
    writes: RowArgs
    worked: RowArgs
    trace: TraceArgs
    carried: Nothing
    totals: Nothing
    lens: Nothing
    verify: VerifyArgs
    ablate: RowArgs
    replaced: Nothing
    effects: Nothing
    without: WithoutArgs
    circuit: WithoutArgs
    beside: BesideArgs
    surveyed: RowArgs
    reads: ReadsArgs
    open: OpenArgs
    save: SaveArgs
    words: Nothing
    reveal: RevealArgs


class Answers(TypedDict):
    """The data that each operation answers. `explain` has set the state before, `without` the trait of that name."""

    hello: Nothing
    explain: Nothing
    head: Nothing
    patterns: Nothing
    through: Nothing
    why: Nothing
    neurons: Neurons
    features: Features
    feature: FeatureCard
    writes: Writes
    worked: TableHeader
    trace: Trace
    carried: Nothing
    totals: Nothing
    lens: Nothing
    verify: Tested
    ablate: Ablated
    replaced: Replaced
    effects: Nothing
    without: Nothing
    circuit: TableHeader
    beside: Nothing
    surveyed: Nothing
    reads: Reads
    open: OpenedPrompt
    save: Saved
    words: Meanings
    reveal: Nothing


class Containers(TypedDict):
    """The header of the container that comes with the answer to these."""

    head: HeadHeader
    patterns: PatternsHeader
    through: BarsHeader
    why: WhyHeader
    carried: TotalsHeader
    totals: TotalsHeader
    lens: LensHeader
    effects: EstimatesHeader
    beside: ComparisonHeader
    surveyed: SurveyedHeader


#: The answers to a request, in this order: one ack, any progress, one of the others; of no request: traits changed.
Said = Literal["ack", "progress", "result", "error", "cancelled", "traits"]


class Message(TypedDict):
    """One answer."""

    v: int
    id: str | int | None
    kind: Said
    #: of what came from a worker thread, and may have to be sent again
    n: NotRequired[int]
    #: of a result
    data: NotRequired[dict[str, Any]]
    #: of an error
    message: NotRequired[str]
    hint: NotRequired[str]
    field: NotRequired[Field]
    #: of progress
    done: NotRequired[int]
    total: NotRequired[int]
    note: NotRequired[str]
