"""The headers of results standing alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from typing import NotRequired


class Bar(TypedDict):
    """A row of bars; `concept` is the computed label of a feature, "" for none."""

    label: str
    kind: str
    token: bool
    concept: str


class BarsHeader(TypedDict):
    """Rows, in the array `values`, that sum to their parent."""

    kind: Literal["bars"]
    title: str
    note: str
    unit: str
    rows: list[Bar]
    total: float
    #: "" for an array of one's own without a total: there is then no gap
    parent: str
    parent_value: float
    gap: float | None
    #: an array of one's own: nothing was observed
    own: NotRequired[bool]


class TokensHeader(TypedDict):
    """Tokens with a number each, in the array `values`."""

    kind: Literal["tokens"]
    title: str
    unit: str
    tokens: list[str]


class GridHeader(TypedDict):
    """A map of numbers, in the array `values`, with named rows and columns."""

    kind: Literal["grid"]
    title: str
    unit: str
    rows: list[str]
    columns: list[str]


class TableHeader(TypedDict):
    """Any result as its table: the cells as they are printed, and a bar for each row that has one."""

    kind: Literal["table"]
    title: str
    notes: list[str]
    columns: list[str]
    rows: list[list[str]]
    #: [] where no row has one
    bars: list[float | None]
    footer: list[str]
    #: so many rows at the end are others in one, or a sum: they stay there however one sorts
    last: NotRequired[int]


class Ends(TypedDict):
    """What a column sums to, the model's own number, and their difference."""

    total: float
    actual: float
    gap: float
    exact: bool


class AlignedWords(TypedDict):
    """Two prompts word under word, null for a gap. Where `rest` is there (of A, B and B − A), the array `carried` has
    what all heads together carried from each word, and both sum to what all heads contributed."""

    a: list[str | None]
    b: list[str | None]
    same: list[bool]
    rest: NotRequired[list[float]]


class ComparisonHeader(TypedDict):
    """Two attributions; the array `values` has A, B and B − A for every part, NaN where one has no such part."""

    kind: Literal["comparison"]
    title: str
    notes: list[str]
    unit: str
    labels: list[str]
    #: sum, the model's number and their difference, of each
    checks: list[str]
    #: the same of A and B as numbers
    ends: NotRequired[list[Ends]]
    #: what tells the two apart
    names: NotRequired[list[str]]
    words: NotRequired[AlignedWords]
    #: beside an explanation: the two questions as lines
    lines: NotRequired[list[str]]
    beside: NotRequired[str]


class AttentionHeader(TypedDict):
    """Heads with their `patterns`, and the weight that a `sink` takes."""

    kind: Literal["attention"]
    title: str
    note: str
    tokens: list[str]
    special: list[int]
    heads: list[str]
    #: "own" of numbers that are no probabilities and came from outside
    weighting: Literal["probability", "value", "contribution", "own"]
    unit: str


class Followed(TypedDict):
    """The token that a lens follows."""

    text: str
    id: int


class LensHeader(TypedDict):
    """What every layer would print: `ids` and `probabilities` of its predictions, and two or four `numbers` a cell; the
    same of another lens in arrays that begin with `other_`."""

    kind: Literal["lens"]
    title: str
    #: the tokens that were read, and their positions in the prompt
    tokens: list[str]
    positions: list[int]
    #: "embed", then every layer, after its attention too ("L0.mid") or only behind it
    layers: list[str]
    target: Followed
    #: texts of the predicted ids
    words: dict[int, str]
    notes: list[str]
    #: whether it was read through a tuned lens
    tuned: NotRequired[bool]
    #: the title of the other lens
    other: NotRequired[str]
    #: mean KL to the output in nats of every row, by the logit lens and by the tuned one, on texts held out
    held_out: NotRequired[list[tuple[float, float] | None]]


class GivenToken(TypedDict):
    """A token of the prompt before a phrase, with its odds where they are known: nothing predicts the first one."""

    text: str
    special: bool
    prob: float | None
    entropy: float | None
    rank: int | None


class PhraseToken(TypedDict):
    """A token of a phrase, with its odds."""

    text: str
    prob: float
    entropy: float
    #: its place among all tokens; 1 is the likeliest
    rank: NotRequired[int]
    likeliest: list[tuple[str, float]]
    actual: float
    gap: float


class PhraseHeader(TypedDict):
    """A phrase: `values` of every token and row, and their `sums`."""

    kind: Literal["phrase"]
    title: str
    note: str
    unit: str
    #: position of the first token
    start: int
    labels: list[str]
    #: in an Explorer, the prompt
    given: NotRequired[list[GivenToken]]
    tokens: list[PhraseToken]
    actual: float
    gap: float


class Roles(TypedDict):
    """What the heads are called for: of each that is called something, the letters of its roles; and the table of all
    roles, a row each, its letter and its name before the rest."""

    heads: dict[str, str]
    table: TableHeader
