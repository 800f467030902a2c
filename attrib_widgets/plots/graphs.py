"""The matplotlib figure of a graph: layers upwards, positions across, what is kept of it."""

from __future__ import annotations

from collections import Counter

from matplotlib.figure import Figure

from ..analysis.graph.live import LiveTwin
from ..analysis.graph.result import Graph
from ..words.text import signed, visible
from .drawing import MINUS, PLUS, canvas, figure_of

#: Marks by the kind of a node.
MARKS = {"feature": "o", "error": "D", "token": "s", "part": "h", "target": "*"}
#: How many nodes are named, and how wide the strongest edge is, in points.
NAMED, WIDEST = 12, 4.0


@figure_of.register
def _(result: Graph, names: int = NAMED) -> Figure:
    """Nodes that are kept stand at their layer and position, and the strongest are named; an edge is as wide as its
    share of influence."""
    kept, run = result.kept, result.attribution.run
    numbers = kept.sources.nonzero()[:, 0].tolist()
    nodes = {source: result.node(source) for source in numbers}
    target, top = result.target, result.attribution.model.n_layers
    beside: Counter[tuple[float, int]] = Counter()
    places: dict[int, tuple[float, float]] = {}
    for source in sorted(numbers, key=lambda s: float(kept.ranks[s])):
        node = nodes[source]
        height = float(node.layer) + (0.35 if node.place.endswith(".mlp") or node.place.endswith(".post") else 0.0)
        side = beside[height, node.position]
        beside[height, node.position] += 1
        places[source] = (node.position + 0.16 * ((side + 1) // 2) * (-1) ** side, height)
    end = (float(target.position), float(top))
    figure, axes = canvas(2.0 + 1.3 * run.n_positions, 2.0 + 0.8 * (top + 2))
    most = float(kept.strength.max()) or 1.0
    features = [-1, *(result.rows[1:] - 1).tolist()]
    for row, source in kept.edges.nonzero().tolist():
        x, y = zip(places[source], end if row == 0 else places[features[row]], strict=True)
        share = float(kept.strength[row, source]) / most
        colour = PLUS if float(result.weights.edges[row, source]) > 0 else MINUS
        axes.plot(x, y, color=colour, linewidth=0.3 + WIDEST * share, alpha=0.25 + 0.6 * share, zorder=1)
    for kind, mark in MARKS.items():
        some = [places[s] for s in numbers if nodes[s].kind == kind] if kind != "target" else [end]
        if some:
            xs, ys = ([place[axis] for place in some] for axis in (0, 1))
            axes.scatter(xs, ys, marker=mark, s=46, c="white", edgecolors="0.25", zorder=2, label=kind)
    strength = (kept.strength * kept.edges).sum(0)
    ranked = sorted((s for s in numbers if nodes[s].kind == "feature"), key=lambda s: -float(strength[s]))
    named: set[tuple[int, float]] = set()  # one name a place, that of the strongest there
    for source in ranked:
        node, place = nodes[source], (nodes[source].position, places[source][1])
        if place in named or len(named) >= names:
            continue
        named.add(place)
        text = node.concept or node.name.partition("@")[0]
        axes.annotate(text[:32], places[source], (4, 4), textcoords="offset points", fontsize=7, parse_math=False)
    axes.annotate(
        f"{target.name} {signed(result.explained)}",
        end,
        (4, 6),
        textcoords="offset points",
        fontsize=8,
        parse_math=False,
    )
    axes.set_xticks(range(run.n_positions), [visible(t) for t in run.tokens])
    axes.set_yticks(range(-1, top + 1), ["tokens", *(f"L{i}" for i in range(top)), ""])
    axes.set_xlim(-0.6, run.n_positions - 0.2)
    axes.set_ylim(-1.5, top + 0.7)
    axes.legend(loc="lower left", fontsize=7, frameon=False)
    axes.set_title(result.title(), loc="left", fontsize=10, wrap=True, parse_math=False)
    figure.supxlabel("Width: share of influence. Where heads look is not in here: patterns are held.", fontsize=8)
    return figure


@figure_of.register
def _(result: LiveTwin) -> Figure:
    """Every edge as a dot: what it says, and what the live model did; on the line both are one."""
    figure, axes = canvas(5, 4.4)
    edges, live = [t.edge for t in result.tested], [t.live for t in result.tested]
    ends = [min([0.0, *edges, *live]), max([0.0, *edges, *live])]
    axes.plot(ends, ends, color="0.6", linewidth=0.8)
    axes.scatter(edges, live, s=22, c=[PLUS if e * v > 0 else MINUS for e, v in zip(edges, live, strict=True)])
    axes.axhline(0, color="0.8", linewidth=0.6)
    axes.axvline(0, color="0.8", linewidth=0.6)
    axes.set_xlabel("edge: what the source put into its target")
    axes.set_ylabel("live: what the target has less without the source")
    axes.set_title(result.summary().title, loc="left", fontsize=10, wrap=True)
    return figure
