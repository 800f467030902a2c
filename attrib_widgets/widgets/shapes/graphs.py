"""An attribution graph as the browser reads it: what is kept, and what every opened node sums to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from ...analysis.graph.between import NOT_IN_HERE
from ...analysis.graph.edges import CONSTANTS
from ...analysis.graph.scores import influence
from ...model.identity.steady import steady
from ...result import tabled
from ...words.errors import AttribError
from ..transport import wire
from . import contract, opened, results

if TYPE_CHECKING:
    from ...analysis.graph.between import Between
    from ...analysis.graph.result import Graph
    from ...analysis.graph.sources import Node

#: How the edges that were tested were.
LIVE = (
    "{count} edges, one by one: “live” is what the target has less, by all paths, once the source is taken out of the "
    "model."
)
#: What an offline page brings along, the most influential first: cards of so many features, so many edges opened, in so
#: many bytes.
CARDS, EDGES, STORED = 60, 16, 400_000
#: Heads of an edge whose looks are offered.
HEADS = 4


def graph(g: Graph, page: bool = False) -> bytes:
    """Kind ``graph``: nodes and edges that are kept, the number itself first; for a ``page`` without a kernel with what
    is likely to be clicked."""
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
    if page:
        _store(g, header)
    arrays = {
        "ends": wire.store(np.array(ends, dtype=np.int32).reshape(-1, 2), "i4"),
        "edges": wire.store(np.array(edges, dtype=np.float32).reshape(-1, 3), missing=True),
    }
    return wire.pack(header, arrays)


def edge(b: Between) -> contract.OpenedEdge:
    """One edge: the heads that carried it as their table, and those whose looks can be asked about."""
    heads = [f"L{one.layer}H{one.head}" for one in b.carried[:HEADS]]
    return {"table": results.printed(b.summary()), "heads": heads}


def looked(g: Graph, source: str, target: str, head: str) -> contract.TableHeader:
    """Why a head that carried an edge looked where it did; the target is "" for the explained number."""
    return results.printed(tabled(g.why(source, target or None, head=head)))


def card_name(node: str) -> str:
    """A feature without its position: it has one card wherever it fires."""
    return node.partition("@")[0]


@steady()
def _store(g: Graph, header: contract.GraphHeader) -> None:
    """Cards and opened edges, as far as there is room."""
    left, cards, between = STORED, dict[str, contract.FeatureCard](), dict[str, contract.OpenedEdge]()
    for key, made in _opened_edges(g):
        left -= len(wire.said(made))
        if left > 0:
            between[key] = made
    ranked = sorted((n for n in header["nodes"] if n["kind"] == "feature"), key=lambda n: -n["influence"])
    for name in [*dict.fromkeys(node["name"] for node in ranked)][:CARDS]:
        if left > 0 and card_name(name) not in cards:
            try:
                card = opened.card(g.card(name))
            except AttribError:  # texts that belong to other cards, say: it is told where a kernel is asked
                continue
            left -= len(wire.said(card))
            if left > 0:
                cards[card_name(name)] = card
    header["cards"], header["between"] = cards, between


def _opened_edges(g: Graph) -> Iterator[tuple[str, contract.OpenedEdge]]:
    """The edges along which most influence goes, each with why the head that carried most of it looked there."""
    strength = g.kept.strength * g.kept.edges
    best = strength.flatten().topk(min(EDGES, int((strength > 0).sum()))).indices.tolist()
    by_row: dict[int, list[int]] = {}
    for row, source in (divmod(i, strength.shape[1]) for i in best):
        by_row.setdefault(row, []).append(source)
    for row, sources in by_row.items():
        into = g.target_of(row).name if row else ""
        try:
            split = g.betweens([g.node(source).name for source in sources], into or None)
        except AttribError:  # it is said where it is asked
            continue
        for one in split:
            made = edge(one)
            with suppress(AttribError):  # scores of this layer are not exact: told where a kernel is asked
                made["looked"] = {head: looked(g, one.source, into, head) for head in made["heads"][:1]}
            yield f"{one.source} {into}", made


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
