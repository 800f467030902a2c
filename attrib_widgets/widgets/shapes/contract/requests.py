"""The tables of requests: operations with their arguments and answers, and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from .experiments import (
    Ablated,
    EstimatesHeader,
    PatchingHeader,
    Replaced,
    Tested,
)
from .graphs import OpenedEdge
from .opened import (
    Concepts,
    FeatureCard,
    Features,
    FoundFeatures,
    HeadHeader,
    Neurons,
    PatternsHeader,
    TotalsHeader,
    Trace,
    WhyHeader,
    Writes,
)
from .results import (
    BarsHeader,
    ComparisonHeader,
    LensHeader,
    Roles,
    TableHeader,
)
from .surveys import OpenedPrompt, Reads, SurveyedHeader
from .views import Nothing, Part
from .words import Meanings

if TYPE_CHECKING:
    from typing import NotRequired

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
    "concepts",
    "search",
    "writes",
    "worked",
    "trace",
    "carried",
    "totals",
    "lens",
    "streams",
    "roles",
    "beyond",
    "verify",
    "ablate",
    "replaced",
    "effects",
    "without",
    "circuit",
    "beside",
    "between",
    "looked",
    "surveyed",
    "reads",
    "test",
    "open",
    "opened",
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


class SearchArgs(TypedDict):
    """A word, or several."""

    query: str


class AblateArgs(RowArgs):
    """A row that is taken out, or a feature; with ``strength`` it writes so many times as strongly."""

    strength: NotRequired[float]


#: What can be said of a head beyond this prompt: what it reads over a corpus, what it would write if it read a token,
#: which tokens it would look for, and which earlier heads it could read.
Beyond = Literal["contexts", "ov", "qk", "composition"]


class BeyondArgs(RowArgs):
    """A head, and what is asked about it."""

    what: Beyond


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


class EdgeArgs(RowArgs):
    """A node of a graph, and the one that it puts something into; "" is the explained number."""

    into: str


class LookedArgs(EdgeArgs):
    """An edge, and a head that carried it."""

    head: str


class ReadsArgs(RowArgs):
    """A head, and numbers of prompts."""

    prompts: list[int]


class TestArgs(TypedDict):
    """Parts by name, each replaced by itself (null is all of them), and groups by name."""

    ids: list[str] | None
    groups: list[str]


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
    concepts: Nothing
    search: SearchArgs
    writes: RowArgs
    worked: RowArgs
    trace: TraceArgs
    carried: Nothing
    totals: Nothing
    lens: Nothing
    streams: Nothing
    roles: Nothing
    beyond: BeyondArgs
    verify: VerifyArgs
    ablate: AblateArgs
    replaced: Nothing
    effects: Nothing
    without: WithoutArgs
    circuit: WithoutArgs
    beside: BesideArgs
    between: EdgeArgs
    looked: LookedArgs
    surveyed: RowArgs
    reads: ReadsArgs
    test: TestArgs
    open: OpenArgs
    opened: OpenArgs
    save: SaveArgs
    words: Nothing
    reveal: RevealArgs


class Answers(TypedDict):
    """The data that each operation answers. `explain` has set the state before, `without` and `test` a trait;
    `opened` opens what `open` has computed."""

    hello: Nothing
    explain: Nothing
    head: Nothing
    patterns: Nothing
    through: Nothing
    why: Nothing
    neurons: Neurons
    features: Features
    feature: FeatureCard
    concepts: Concepts
    search: FoundFeatures
    writes: Writes
    worked: TableHeader
    trace: Trace
    carried: Nothing
    totals: Nothing
    lens: Nothing
    streams: Nothing
    roles: Roles
    beyond: TableHeader
    verify: Tested
    ablate: Ablated
    replaced: Replaced
    effects: Nothing
    without: Nothing
    circuit: TableHeader
    beside: Nothing
    between: OpenedEdge
    looked: TableHeader
    surveyed: Nothing
    reads: Reads
    test: Nothing
    open: Nothing
    opened: OpenedPrompt
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
    streams: PatchingHeader
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
