"""The view of an attribution graph: nodes by layer and position, edges between them, and every node and edge opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import traitlets as t

from ..words.errors import AttribError, ComponentError
from .shapes import contract, graphs, opened
from .transport import assets
from .transport.requests import Operation, Reply
from .transport.traits import Locked
from .transport.view import View

if TYPE_CHECKING:
    from ..analysis.graph.groups import Group
    from ..analysis.graph.result import Graph
    from ..analysis.opening.results import Contributions
    from ..model.running.worker import Job


class Groups(Locked, t.List):  # type: ignore[type-arg]
    """Groups of nodes, each with its name and its members."""

    def validate(self, obj: Any, value: Any) -> Any:
        """The groups as the graph spells their nodes."""
        return super().validate(obj, obj.groups_of(value))


class GraphView(View):
    """A graph to click through. ``selected`` is the node or group that is open, by name; ``""`` is the explained
    number. ``groups`` are those of the graph, written by clicks and by :meth:`.Graph.group` alike."""

    bundle = assets.GRAPH
    _esm = assets.script(assets.GRAPH)
    _css = assets.style(assets.GRAPH)
    groups = Groups().tag(sync=True)
    checked = ("selected", "source", "groups")

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        super().__init__(
            "graph", graphs.graph(graph), graph, worker=graph.attribution.model.worker, groups=_told(graph.groups)
        )
        graph.on_groups(self._regrouped)

    def operations(self) -> Mapping[contract.Op, Operation]:
        """What the page may ask."""
        return {"feature": self._op_feature, "between": self._op_between, "looked": self._op_looked}

    def page_traits(self) -> dict[str, Any]:
        """With the groups, and what is likely to be clicked where no kernel answers."""
        return {**super().page_traits(), "groups": self.groups, "container": graphs.graph(self.graph, page=True)}

    def label_of(self, value: Any) -> str:
        """``value`` as a node that is kept, or a group; ``""`` is the explained number.

        Raises:
            ComponentError: no such node, or pruning left it out.
        """
        if value is None or value == "":
            return ""
        if value in self.graph.groups:
            return str(value)
        number = self.graph.number(str(value))
        if not bool(self.graph.kept.sources[number]):
            raise ComponentError(
                f"{value} is not among the nodes that are kept.",
                'graph.to_dataframe("nodes") has them; graph.into(name) opens any feature that is opened.',
            )
        return self.graph.node(number).name

    def selected_result(self) -> Contributions:
        """What was put into the selected node or group, what pruning left out as one row."""
        return self.graph.into(self.selected or None, self.graph.kept)

    # groups -----------------------------------------------------------------------------------------------------
    def groups_of(self, given: Any) -> list[Any]:
        """``given`` as groups of the graph, members by the names that are printed.

        Raises:
            AttribError: they are none.
        """
        return _told(self.graph.as_groups(_by_name(given)))

    @t.observe("groups")
    def _take_groups(self, change: Any) -> None:
        self.graph.regroup(_by_name(change["new"]))

    def _regrouped(self) -> None:
        """The graph has other groups."""
        with self.writing:
            self.groups = _told(self.graph.groups)
            try:
                self.label_of(self.selected)
            except AttribError:  # it was a group
                self.selected = ""

    # requests ---------------------------------------------------------------------------------------------------
    def _op_feature(self, job: Job, args: Mapping[str, Any]) -> Reply:
        return Reply(opened.card(self.graph.card(self._node(args))))

    def _op_between(self, job: Job, args: Mapping[str, Any]) -> Reply:
        return Reply(graphs.edge(self.graph.between(self._node(args), self._node(args, "into") or None)))

    def _op_looked(self, job: Job, args: Mapping[str, Any]) -> Reply:
        ends = self._node(args), self._node(args, "into")
        return Reply(graphs.looked(self.graph, *ends, head=str(args.get("head"))))

    def _node(self, args: Mapping[str, Any], name: str = "id") -> str:
        found = self.label_of(args.get(name))
        if not found and name == "id":
            raise ComponentError("The request names no node.", "Click one.")
        return found


def _told(groups: Mapping[str, Group]) -> list[Any]:
    found: list[contract.NodeGroup] = [{"name": name, "members": one.members} for name, one in groups.items()]
    return found


def _by_name(given: Any) -> dict[str, Any]:
    """Groups as the page sends them.

    Raises:
        AttribError: they are none, or two have one name.
    """
    keys = {"name", "members"}
    known = isinstance(given, list) and all(isinstance(g, dict) and set(g) == keys for g in given)
    known = known and all(isinstance(g["name"], str) for g in given)
    found = {one["name"]: one["members"] for one in given} if known else {}
    if not known or len(found) < len(given):
        example = '{"name": "about France", "members": ["L3.z/7@4"]}'
        raise AttribError("A group has a name of its own and members.", f"Write [{example}].")
    return found
