"""The state of the Explorer: an explanation, and the question that it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

from .experiments import Replaced, Testable
from .opened import FeatureCard, Features, Neurons, Trace, Writes
from .results import TableHeader

if TYPE_CHECKING:
    from typing import NotRequired

#: The arrays of its container; `values` is always there.
ExplorerArray = Literal[
    "values",
    "rival",
    "carry",
    "dest",
    "norms",
    "post",
    "value_bias",
    "sink",
    "tokens",
    "head_rounding",
    "effects",
    "patterns",
    "lens",
    "why",
    "why_bias",
    "why_score",
    "why_rival",
    "why_rival_score",
    "why_choice",
    "why_choice_bias",
    "through",
    "sides",
    "phrase",
    "carried",
    "totals",
]


#: What the first screen adds to the first draw: the arrays of all heads, their patterns, estimated effects.
Coming = Literal["heads", "patterns", "effects"]
#: Parts of a header that may come after the first screen.
FurtherText = Literal["neurons", "writes", "features", "worked", "cards", "trace"]


class Row(TypedDict):
    """A bar."""

    id: str
    kind: str
    layer: int | None
    head: int | None
    #: an MLP that splits into experts, not neurons
    mixture: NotRequired[bool]


class Named(TypedDict):
    """A token, or a set of them one by one."""

    text: str
    texts: NotRequired[list[str]]


class Against(Named):
    """What the target is held against."""

    id: int


class Target(Named):
    """The number that is explained; one inside the model has no token id, and is called by its text alone."""

    kind: str
    id: int | None
    against: Against | None
    unit: str
    phrase: str
    #: of one token: its probability where it is read, and its place among all tokens
    prob: NotRequired[float]
    rank: NotRequired[int]


class Candidate(TypedDict):
    """What the model may say next."""

    text: str
    id: int
    prob: float
    logit: float


class Unseen(TypedDict):
    """Words of a prompt that the model never saw in training."""

    #: positions of their tokens
    at: list[int]
    #: a sentence
    said: str
    #: the line of Python that asks a model that reads any text
    code: str


class Corrupted(TypedDict):
    """The prompt to compare with."""

    text: str
    tokens: list[str]
    special: list[int]
    #: as many tokens as the prompt has; only then the places where they differ are known
    aligned: bool
    differs: list[int]
    gap: float
    unseen: NotRequired[Unseen]


class Contrast(TypedDict):
    """What the comparison offers to hold against a single logit."""

    #: its likeliest token other than what is explained
    rival: Against | None
    #: whether it is held against it, for want of another
    taken: bool
    #: a sentence: which rival was taken, why there is none, or how much of the gap is common to all tokens
    told: str
    #: a prompt like this one that is answered otherwise; "" where none is asked for, or known
    matched: str


class Shared(TypedDict):
    """A part that writes much for both answers alike."""

    id: str
    told: str


class Leading(TypedDict):
    """Who leads, and with how much of what."""

    names: list[str]
    text: str


class Level(TypedDict):
    """How far one layer splits."""

    #: heads, sublayers or layers
    granularity: str
    #: why it does not split as far as what its heads carried from each token; empty where it does
    reason: str
    #: why it is not known what its heads looked for; empty where it is
    unscored: str


class Built(TypedDict):
    """A model that was built by hand: what it is called, and how it works."""

    called: str
    story: str


class About(TypedDict):
    """The model under study."""

    name: str
    layers: int
    heads: int
    #: heads, sublayers, layers, or mixed where layers differ; coarser ones with the reason
    granularity: str
    reason: str
    dtype: str
    #: where a layer is not split as far as can be: the same in words, and of every layer
    words: NotRequired[str]
    levels: NotRequired[list[Level]]
    #: of one whose layers differ in kind: how far it splits, and which layer has which mixer
    mixers: NotRequired[str]
    #: only of one that was built by hand
    built: NotRequired[Built]


class Prompt(TypedDict):
    """The prompt, token by token, and the position that is explained."""

    text: str
    tokens: list[str]
    special: list[int]
    position: int
    unseen: NotRequired[Unseen]


class Better(TypedDict):
    """A token to take in the place of the one that was given, with the remark that says why."""

    field: Literal["target", "against"]
    text: str
    note: str


class Word(TypedDict):
    """A word of the text that is explained where it stands."""

    #: its position
    at: int
    #: a sentence: how likely the model found it, and what it found likelier
    told: str


class Passage(TypedDict):
    """What follows the prompt, and is explained word by word: the array `phrase` is the state of a phrase's view."""

    #: the prompt that was given, as it is edited
    prompt: str
    #: the same of the prompt compared with; "" without one
    compared: str
    #: position of the first word that follows
    start: int
    #: how many tokens the model was asked to write; null where the words were given
    n: int | None
    #: of what was sampled; null for the likeliest tokens
    seed: int | None
    #: lines of Python that make the attribution of all words, `p`
    code: str


class Rounding(TypedDict):
    """The measured rounding, by where it arose."""

    stream: float
    heads: float
    readout: float


class Code(TypedDict):
    """Lines of Python that make the same again."""

    setup: str
    lens: str
    verify: str


class Example(TypedDict):
    """A task to try."""

    label: str
    prompt: str
    target: str
    corrupted: str | None


class Crumb(TypedDict):
    """A question through which this one was opened."""

    question: int
    target: Target


class Opened(TypedDict):
    """What opens a row, by row; what is missing is asked for, or cannot be had."""

    neurons: NotRequired[dict[str, Neurons]]
    writes: NotRequired[dict[str, Writes]]
    features: NotRequired[dict[str, Features]]
    #: of an offline page: the dot product
    worked: NotRequired[dict[str, TableHeader]]
    #: by row and number: L2.mlp/29, L3H5/29
    cards: NotRequired[dict[str, FeatureCard]]
    #: by how MLPs are treated: stop, frozen
    trace: NotRequired[dict[str, Trace]]
    #: by layer and head: the key that `why` is about
    why_key: NotRequired[list[list[int]]]
    #: what this model cannot give at all, and why, by operation; also "neurons L0.mlp"
    absent: dict[str, str]


class FurtherHeader(Opened):
    """What comes after the first draw, for the state with the same version."""

    kind: Literal["further"]
    version: int


class Explained(Opened):
    """An explanation."""

    model: About
    prompt: Prompt
    candidates: list[Candidate]
    target: Target
    corrupted: Corrupted | None
    test: Testable
    rows: list[Row]
    finding: Leading
    total: float
    actual: float
    gap: float
    exact: bool
    precap: float | None
    rounding: Rounding
    notes: list[str]
    better: NotRequired[list[Better]]
    contrast: NotRequired[Contrast]
    #: where something is held against the target, whose own part of every row is the array `rival`
    shared: NotRequired[list[Shared]]
    examples: list[Example]
    python: Code
    #: where a word of the text itself is explained
    word: NotRequired[Word]
    #: what follows the prompt, if anything does
    passage: NotRequired[Passage]
    #: what replacing its words does, once that was tested
    replaced: NotRequired[Replaced]
    #: what is on its way, where it is not here yet
    coming: NotRequired[list[Coming]]


class Pin(TypedDict):
    """A question: as a line, which may leave out what is as on the screen, and in words."""

    line: str
    name: str


class ExplorerHeader(Explained):
    """An explanation on the screen."""

    kind: Literal["explorer", "attribution"]
    version: int
    #: the number of the question, by which Python goes back to it
    question: int
    #: the questions through which this one was opened, the first one first
    origin: NotRequired[list[Crumb]]
    #: the question as a line that `aw.explore(state=...)` opens
    address: NotRequired[str]
    #: the same as it is pinned
    pin: NotRequired[Pin]
    #: what may be set beside it: the comparison, other answers
    besides: NotRequired[list[Pin]]
