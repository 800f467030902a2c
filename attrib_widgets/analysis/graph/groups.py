"""Several nodes of a graph as one: what was put into them, and what they put into others, are sums over the members.

Edges keep their signs in these sums, so that one member may cancel what another does. A group changes nothing in the
graph: every node keeps its own edges, and a target its sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakMethod

import torch
from jaxtyping import Float
from torch import Tensor

from ...result import Result, Table
from ...words.errors import AttribError, ComponentError
from ...words.several import listed
from ...words.text import how_many, kind_of, signed
from ..opening.results import Contributions
from .edges import CONSTANTS
from .scores import Kept
from .sources import Sources

if TYPE_CHECKING:
    import pandas as pd

#: How many rows of either side are printed, and letters of a name.
PRINTED, LONGEST = 8, 60
#: What is said wherever the numbers of a group are.
SUMMED = "Edges of a group are the signed sums of its members' edges: what one puts in, another may take away."
#: What members put into one another, as a row.
INSIDE = "inside the group"


class Out(NamedTuple):
    """What a group put into a target: its name, and the sum over the members."""

    target: str
    value: float


@dataclass(eq=False, repr=False)
class Group(Result):
    """Some nodes of a graph taken as one. Made by :meth:`.Graph.group`.

    Attributes:
        graph: which; name: what the group is called; members: its nodes by name, in the order given.
    """

    graph: Grouping
    name: str
    members: list[str]

    @property
    def numbers(self) -> list[int]:
        """The members as numbers of sources."""
        return [self.graph.number(name) for name in self.members]

    @property
    def rows(self) -> list[int]:
        """The rows of the members that are opened; the others are known by what they put in alone."""
        own = set(self.numbers)
        return [row for row, feature in enumerate(self.graph.rows.tolist()) if row and feature - 1 in own]

    @property
    def total(self) -> float:
        """The pre-activations of the members that are opened, summed."""
        features = self.graph.rows[self.rows] - 1
        return float(self.graph.pre[features.to(self.graph.pre.device)].sum())

    def into(self, kept: Kept | None = None) -> Contributions:
        """Everything that was put into the members, summed over them: rows that sum to :attr:`total`.

        With ``kept`` what pruning left out is one row.

        Raises:
            ComponentError: no member is opened.
        """
        if not self.rows:
            raise ComponentError(
                f"No member of {self.name} is opened: nothing is known of what was put into them.",
                "Group features that are opened; a graph ends at errors and tokens.",
            )
        edges = self.graph.weights.edges[self.rows]
        shown = torch.ones_like(edges, dtype=torch.bool) if kept is None else kept.edges[self.rows]
        values, left = (edges * shown).sum(0), (edges * ~shown).sum()
        own = values[self.numbers].sum()
        values[self.numbers] = 0
        some = values.nonzero()[:, 0]
        nodes = [self.graph.node(i) for i in some.tolist()]
        beside = [(INSIDE, own)] if bool(own) else []
        beside += [] if kept is None else [("left out", left)]
        fixed = self.graph.edges.constants[self.rows].sum(0)
        found = torch.cat([values[some], *(value[None] for _, value in beside), fixed])
        return Contributions(
            f"{self.name}, {how_many(len(self.members), 'node')} as one, by what was put into them",
            [*(node.name for node in nodes), *(said for said, _ in beside), *CONSTANTS],
            [*(str(n.kind) for n in nodes), *["others"] * len(beside), *["bias"] * (len(CONSTANTS) - 1), "rounding"],
            found.cpu(),
            self.name,
            self.total,
            "summed pre-activations",
            axis="put in by",
            note=f"{SUMMED} Observed, not yet tested.",
        )

    def out(self, kept: Kept | None = None) -> list[Out]:
        """What the members put into every target that is none of them, the largest first; with ``kept`` what pruning
        left of it."""
        w, graph = self.graph.weights, self.graph
        edges = w.edges[:, self.numbers] if kept is None else (w.edges * kept.edges)[:, self.numbers]
        values: Float[Tensor, "target"] = edges.sum(1)
        values[self.rows] = 0
        order = values.abs().argsort(descending=True, stable=True).tolist()
        return [Out(graph.target_of(row).name, float(values[row])) for row in order if float(values[row])]

    def summary(self) -> Table:
        rows: list[list[str]] = []
        bars: list[float | None] = []
        for side, named in (("put in by", self._sources()), ("puts into", self.out())):
            for name, value in named[:PRINTED]:
                rows.append([side, name, signed(value)])
                bars.append(value)
            if rest := named[PRINTED:]:
                rows.append([side, f"{len(rest)} others", signed(sum(value for _, value in rest))])
                bars.append(None)
        title = f"{self.name}: {how_many(len(self.members), 'node')} as one"
        return Table(title, ["", "node", "sum"], rows, bars, f"{', '.join(self.members)}. {SUMMED}")

    def _sources(self) -> list[tuple[str, float]]:
        if not self.rows:
            return []
        found = self.into()
        return [(found.labels[i], v) for i in _order(found.values) if (v := float(found.values[i]))]

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``source``, ``target``, ``value``: what was put into the group, and what it put into others."""
        import pandas as pd

        rows = [(source, self.name, value) for source, value in self._sources()]
        rows += [(self.name, target, value) for target, value in self.out()]
        return pd.DataFrame(rows, columns=["source", "target", "value"])


def _order(values: Float[Tensor, "row"]) -> list[int]:
    found: list[int] = values.abs().argsort(descending=True, stable=True).tolist()
    return found


@dataclass(eq=False, repr=False)
class Grouping(Sources):
    """A graph whose nodes can be put together.

    Attributes:
        groups: by name, in the order in which they were made. Views show them, and exports carry them.
    """

    groups: dict[str, Group] = field(default_factory=dict, init=False)
    _watching: list[WeakMethod[Callable[[], object]]] = field(default_factory=list, init=False)

    def group(self, name: str, members: Sequence[str]) -> Group:
        """Take some nodes as one: its edges are the signed sums of theirs, and its members' own stay as they are.

        A view of the graph shows it in the place of its strongest member, and exports write it as a supernode.

        Args:
            name: what it is called.
            members: nodes by name, as in :meth:`.Graph.into`; any but the explained number.

        Raises:
            AttribError: no name, or one that a node or another group has; no members, one of them twice or in another
                group. ComponentError: no such node.
        """
        if self.called(name) in self.groups:
            raise AttribError(f"There is a group {name!r} already.", f"Undo it first: graph.ungroup({name!r}).")
        self.regroup({**{known: one.members for known, one in self.groups.items()}, name: members})
        return self.groups[self.called(name)]

    def ungroup(self, name: str) -> None:
        """Take a group apart again.

        Raises:
            ComponentError: there is no such group.
        """
        if name not in self.groups:
            there = ", ".join(map(repr, self.groups)) or "none"
            raise ComponentError(f"There is no group {name!r}.", f"Groups are: {there}.")
        self.regroup({known: one.members for known, one in self.groups.items() if known != name})

    def regroup(self, groups: Mapping[str, Sequence[str]]) -> None:
        """These groups and no others, by name; where one of them is refused all stays as it was.

        Raises:
            AttribError, ComponentError: as :meth:`group`.
        """
        found, before = self.as_groups(groups), self.groups
        if [(n, g.members) for n, g in found.items()] == [(n, g.members) for n, g in before.items()]:
            return
        self.groups = found
        self._watching = [known for known in self._watching if known() is not None]
        for known in self._watching:
            if (listener := known()) is not None:
                listener()

    def as_groups(self, groups: Mapping[str, Sequence[str]]) -> dict[str, Group]:
        """Groups by name, with the names of their members as they are printed; the graph is not changed.

        Raises:
            AttribError, ComponentError: as :meth:`group`.
        """
        found: dict[str, Group] = {}
        taken: dict[str, str] = {}
        for given, members in groups.items():
            name = self.called(given)
            if name in found:
                raise AttribError(f"Two groups are called {name!r}.", "Give each a name of its own.")
            nodes = [self.node(self.number(str(one))).name for one in listed(members)]
            if not nodes:
                raise AttribError(f"The group {name!r} has no members.", 'Name nodes: ["L3.z/7@4", "L3.mlp/9@5"].')
            for node in nodes:
                if node in taken:
                    where = "twice in" if taken[node] == name else f"in {taken[node]!r} and in"
                    raise AttribError(f"{node} is {where} the group {name!r}.", "A node is in one group at most.")
                taken[node] = name
            found[name] = Group(self, name, nodes)
        return found

    def called(self, name: object) -> str:
        """The name of a group, spaces around it taken away.

        Raises:
            AttribError: none, a long one, or that of a node.
        """
        if not isinstance(name, str) or not (said := " ".join(name.split())):
            raise AttribError(f"{kind_of(name, start=True)} is no name for a group.", 'Give one: "about France".')
        if len(said) > LONGEST:
            raise AttribError(f"The name of a group has at most {LONGEST} letters, not {len(said)}.")
        try:
            self.number(said)
        except AttribError:
            if said != self.target.name:
                return said
        raise AttribError(f"{said} is a node of this graph.", "Give the group another name.")

    def on_groups(self, listener: Callable[[], object]) -> None:
        """Call a method whenever groups come or go, for as long as its object lives."""
        self._watching.append(WeakMethod(listener))
