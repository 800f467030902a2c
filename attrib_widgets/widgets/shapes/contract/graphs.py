"""The header of an attribution graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

from .opened import FeatureCard
from .results import TableHeader

if TYPE_CHECKING:
    from typing import NotRequired


class GraphNode(TypedDict):
    """A node: what it is called, where it stands (tokens: layer -1), and what fires (the target: its own number)."""

    kind: Literal["target", "feature", "error", "token", "part"]
    name: str
    #: computed label, "" for none
    label: str
    #: which place of its layer, as L3.mlp; "" of the target
    place: str
    layer: int
    position: int
    value: float | None
    #: share of the target's influence that goes through it
    influence: float


class GraphTarget(TypedDict):
    """A node that is opened, by its number: what all sums to, what pruning left out, and its constants."""

    node: int
    total: float
    left: float
    constants: list[float]


class NodeGroup(TypedDict):
    """Nodes that are taken as one, by their names."""

    name: str
    members: list[str]


class OpenedEdge(TypedDict):
    """Which heads carried an edge, and what its source did to where heads look."""

    table: TableHeader
    #: those that carried it, the strongest first
    heads: list[str]
    #: of an offline page: why one of them looked there
    looked: NotRequired[dict[str, TableHeader]]


class GraphHeader(TypedDict):
    """What is kept of a graph. The array `ends` has [edge, (source, target)] by number; `edges` has [edge, (value,
    share of influence, live)], live NaN where an edge was not tested."""

    kind: Literal["graph"]
    title: str
    #: what is not in here
    held: str
    #: what the experiment was, "" where there was none
    tested: str
    notes: list[str]
    checks: list[str]
    unit: str
    tokens: list[str]
    layers: int
    constants: list[str]
    #: the target first
    nodes: list[GraphNode]
    targets: list[GraphTarget]
    #: of an offline page: cards, by feature without its position, and edges, by "source target" (the number is "")
    cards: NotRequired[dict[str, FeatureCard]]
    between: NotRequired[dict[str, OpenedEdge]]
