"""The view of an attribution graph: nodes by layer and position, edges between them, and every node opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..words.errors import ComponentError
from .shapes import graphs
from .transport import assets
from .transport.view import View

if TYPE_CHECKING:
    from ..analysis.graph.result import Graph
    from ..analysis.opening.results import Contributions


class GraphView(View):
    """A graph to click through. ``selected`` is the node that is open, by name; ``""`` is the explained number."""

    bundle = assets.GRAPH
    _esm = assets.script(assets.GRAPH)
    _css = assets.style(assets.GRAPH)

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        super().__init__("graph", graphs.graph(graph), graph)

    def label_of(self, value: Any) -> str:
        """``value`` as a node that is kept; ``""`` is the explained number.

        Raises:
            ComponentError: no such node, or pruning left it out.
        """
        if value is None or value == "":
            return ""
        number = self.graph.number(str(value))
        if not bool(self.graph.kept.sources[number]):
            raise ComponentError(
                f"{value} is not among the nodes that are kept.",
                'graph.to_dataframe("nodes") has them; graph.into(name) opens any feature that is opened.',
            )
        return self.graph.node(number).name

    def selected_result(self) -> Contributions:
        """What was put into the selected node, what pruning left out as one row."""
        return self.graph.into(self.selected or None, self.graph.kept)
