"""What a row of the Explorer opens into, embedded in its state or asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from typing import NotRequired


class Neurons(TypedDict):
    """What an MLP splits into: its neurons, or the experts of a mixture with their router weights."""

    labels: list[str]
    values: list[float]
    weights: NotRequired[list[float | None]]
    rest: float
    rest_count: int
    bias: float
    rounding: float | None


class Writes(TypedDict):
    """The tokens whose logits a part raises and lowers most."""

    up: list[tuple[str, float]]
    down: list[tuple[str, float]]


class Features(TypedDict):
    """The largest features of a row, the sum of the others, the decoder's bias and what the dictionary misses."""

    #: the dictionary's place: for a head the outputs of all heads of its layer
    site: str
    note: str
    numbers: list[int]
    values: list[float]
    activations: list[float]
    #: labels computed from the strongest contexts; "" for none
    concepts: list[str]
    rest: float
    rest_count: int
    bias: float
    #: what else it returns without a feature, by name: a mean that a norm puts back, a skip connection
    more: NotRequired[list[tuple[str, float]]]
    error: float
    gap: float


class Concept(TypedDict):
    """A feature of one dictionary, all that it wrote; or a part that has none."""

    #: the feature, or the part
    id: str
    #: computed from its strongest contexts; "" for none
    label: str
    value: float
    #: of a feature the parts that wrote most of it, the largest first
    parts: NotRequired[list[tuple[str, float]]]
    #: what other parts wrote of it, together, and how many there are
    rest: NotRequired[tuple[float, int]]


class Concepts(TypedDict):
    """Every part that has a dictionary split into features, the largest first; all rows sum to the number."""

    title: str
    note: str
    rows: list[Concept]
    rest: float
    rest_count: int
    #: what no feature says, by part
    unsaid: list[tuple[str, float]]


class FoundFeature(TypedDict):
    """A feature that a word was found for."""

    id: str
    #: computed; "" for none
    label: str
    value: float
    #: whether and how strongly it fires on the prompt
    said: str
    #: the row that it is opened through; "" for none
    row: str


class FoundFeatures(TypedDict):
    """Features by a word, those that fire here first."""

    title: str
    note: str
    rows: list[FoundFeature]


class Context(TypedDict):
    """Tokens around a strong firing."""

    tokens: list[str]
    values: list[float]
    #: whether something was left out before and behind
    cut: list[bool]
    #: of one that was drawn at random: from firings of what strength
    drawn: NotRequired[str]


class Arithmetic(TypedDict):
    """What a feature adds here, as printed numbers whose product is the bar's."""

    fires: str
    #: what one unit adds
    unit: str
    #: the same before the norms divide it, and by how much they do; "" where none does
    before: str
    norm: str
    value: str
    #: what it is read through
    reads: str
    #: what it adds to, of a card standing alone
    target: NotRequired[str]


class FeatureCard(Writes):
    """One feature: what it fires on, what it writes, and its activation on every token of the prompt."""

    label: str
    #: the share of tokens that it fires on; null where nobody counted
    density: float | None
    contexts: list[Context]
    here: list[float]
    #: the head, or the heads, that what it writes is read through; "" where it writes by itself
    through: str
    #: where something is explained to which it adds
    arithmetic: NotRequired[Arithmetic]
    #: where there are no contexts: why, and how to give some
    missing: NotRequired[str]
    #: what else is known, by name: how strong firings are, what others say, units
    more: NotRequired[list[tuple[str, str]]]
    #: other features of the dictionary, and how they are related
    related: NotRequired[list[tuple[int, str]]]


class CardHeader(FeatureCard):
    """A feature standing alone."""

    kind: Literal["card"]
    name: str
    tokens: list[str]


class Trace(TypedDict):
    """Rows of a tree, parents first, each with its depth from 1."""

    title: str
    balance: str
    notes: list[str]
    labels: list[str]
    #: part, constant or pruned
    kinds: list[str]
    #: where the part wrote; -1 for none
    at: list[int]
    depth: list[int]
    values: list[float]
    #: what is explained, where space is short; saved before 0.3 without it and what follows
    target: NotRequired[str]
    #: of the model
    layers: NotRequired[int]
    #: by how much the magnitudes of all that was pruned exceed those of the rows that sum it
    cancelled: NotRequired[float]


class TraceHeader(Trace):
    """A trace standing alone."""

    kind: Literal["trace"]
    tokens: list[str]
    unit: str
    #: what is held while the answer is followed; saved by 0.1 without it
    held: NotRequired[str]


class PatternsHeader(TypedDict):
    """Small pictures of the patterns of all heads, in the array `patterns`: the strongest weight of every block."""

    kind: Literal["patterns"]


class HeadHeader(TypedDict):
    """A head's pattern, in the array `pattern`."""

    kind: Literal["head"]
    id: str


class TotalsHeader(TypedDict):
    """What came from every position, in the array `values`: carried by all heads, or by all paths."""

    kind: Literal["totals"]
    #: what it is, and what it sums to
    told: str


class RivalKey(TypedDict):
    """The strongest other key of a head: its score, and what in the difference no row wrote."""

    key: int
    score: float
    bias: float


class WhyHeader(TypedDict):
    """What made a head look from a query to a key: arrays `values` and `bias`, the query's side first; and rather there
    than at its rival: the array `choice`, which with the rival's bias sums to the difference of the two scores."""

    kind: Literal["why"]
    id: str
    query: int
    key: int
    score: float
    rival: RivalKey | None
