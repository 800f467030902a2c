"""The header of an attribution graph."""

from __future__ import annotations

from typing import Literal, TypedDict


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
