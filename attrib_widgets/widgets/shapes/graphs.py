"""An attribution graph as the browser reads it: what is kept, and what every opened node sums to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ...analysis.graph.between import NOT_IN_HERE
from ...analysis.graph.edges import CONSTANTS
from ...analysis.graph.scores import influence
from ..transport import wire
from . import contract

if TYPE_CHECKING:
    from ...analysis.graph.result import Graph
    from ...analysis.graph.sources import Node

#: How the edges that were tested were.
LIVE = (
    "{count} edges, one by one: “live” is what the target has less, by all paths, once the source is taken out of the "
    "model."
)


def graph(g: Graph) -> bytes:
    """Kind ``graph``: nodes and edges that are kept, the number itself first."""
    kept, w, table = g.kept, g.weights, g.summary()
    passed, left = influence(w), g.dropped(kept)
    sources = kept.sources.nonzero()[:, 0].tolist()
    places = {source: i + 1 for i, source in enumerate(sources)}
    live = {(t.target, t.source): t.live for t in g.twin.tested} if g.twin is not None else {}
    ends, edges = [], []
    targets: list[contract.GraphTarget] = []
    for row, name in g.shown(kept):
        node = places[int(g.rows[row]) - 1] if row else 0
        for source in kept.edges[row].nonzero()[:, 0].tolist():
            ends.append((places[source], node))
            known = live.get((name, g.node(source).name), math.nan)
            edges.append((float(w.edges[row, source]), float(kept.strength[row, source]), known))
        targets.append(
            {
                "node": node,
                "total": float(g.pre[int(g.rows[row]) - 1]) if row else g.explained,
                "left": float(left[row]),
                "constants": g.edges.constants[row].tolist(),
            }
        )
    header: contract.GraphHeader = {
        "kind": "graph",
        "title": table.title,
        "held": NOT_IN_HERE,
        "tested": LIVE.format(count=len(g.twin.tested)) if g.twin is not None and g.twin.tested else "",
        "notes": [line for line in table.note.splitlines() if line != NOT_IN_HERE],
        "checks": table.footer.splitlines(),
        "unit": g.unit,
        "tokens": list(g.attribution.run.tokens),
        "layers": g.attribution.model.n_layers,
        "constants": list(CONSTANTS),
        "nodes": [_node(g.target, 1.0), *(_node(g.node(source), float(passed[source])) for source in sources)],
        "targets": targets,
    }
    arrays = {
        "ends": wire.store(np.array(ends, dtype=np.int32).reshape(-1, 2), "i4"),
        "edges": wire.store(np.array(edges, dtype=np.float32).reshape(-1, 3), missing=True),
    }
    return wire.pack(header, arrays)


def _node(node: Node, share: float) -> contract.GraphNode:
    return {
        "kind": node.kind,
        "name": node.name,
        "label": node.concept,
        "place": node.place,
        "layer": node.layer,
        "position": node.position,
        "value": None if math.isnan(node.value) else node.value,
        "influence": share,
    }
