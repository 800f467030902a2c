"""A graph as the JSON that circuit-tracer's and Neuronpedia's graph viewers read.

The format is that of their public code: a feature's id is its layer, its number and its position, an error's number is
-1, a token's id begins with E, and the explained number stands one layer above the last. Of dictionaries that are no
transcoders the viewers know nothing: such features stand in their layer, and say in their label which place they are
of. Where a layer has several dictionaries, numbers are counted on from one to the next, so that none is shared. Groups
are written as supernodes, each its name and the ids of its members, and what they put in is summed there as here.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...words.errors import AttribError
from ...words.targets import Target
from .scores import Kept

if TYPE_CHECKING:
    from .result import Graph
    from .sources import Node


def exported(graph: Graph, path: Path, slug: str, kept: Kept, share: float) -> Path:
    """See :meth:`.Graph.export`.

    Raises:
        AttribError: the file cannot be written.
    """
    file = path / f"{slug or slug_of(graph)}.json" if path.is_dir() or not path.suffix else path
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            json.dumps(as_json(graph, slug, kept, share), ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )
    except OSError as reason:
        raise AttribError(f"{file} cannot be written: {reason.strerror or reason}.", "Give another path.") from reason
    return file


def slug_of(graph: Graph) -> str:
    """A name for a graph, made of its prompt: letters, digits and hyphens."""
    words = re.findall(r"[a-z0-9]+", graph.attribution.run.text.lower())
    return "-".join(words[:8]) or "graph"


def as_json(graph: Graph, slug: str, kept: Kept, share: float) -> dict[str, Any]:
    """The graph as the viewers read it; ``share`` is that of the influence whose nodes are kept."""
    a, names = graph.attribution, _Names(graph)
    numbers = kept.sources.nonzero()[:, 0].tolist()
    nodes = [names.source(graph.node(i), float(kept.ranks[i])) for i in numbers]
    drawn = {
        name: [names.of(graph.node(i)) for i in one.numbers if kept.sources[i]] for name, one in graph.groups.items()
    }
    supernodes = [[name, *members] for name, members in drawn.items() if members]
    # the viewers draw what is pinned, and groups of that alone
    pinned = [
        *dict.fromkeys(i for _, *members in supernodes for i in members),
        *([names.target["node_id"]] if supernodes else []),
    ]
    links = []
    for row, source in kept.edges.nonzero().tolist():
        target = names.target["node_id"] if row == 0 else names.of(graph.target_of(row))
        weight = float(graph.weights.edges[row, source])
        links.append({"source": names.of(graph.node(source)), "target": target, "weight": weight})
    return {
        "metadata": {
            "slug": slug or slug_of(graph),
            "scan": a.model.name,
            "transcoder_list": [str(reader.site) for reader in graph.walk.readers],
            "prompt_tokens": list(a.run.tokens),
            "prompt": a.run.text,
            "node_threshold": share,
            "schema_version": 1,
        },
        "qParams": {"pinnedIds": pinned, "supernodes": supernodes, "linkType": "both", "clickedId": "", "sg_pos": ""},
        "nodes": [*nodes, names.target],
        "links": links,
    }


def cantor(layer: int, feature: int) -> int:
    """One number for a layer and a feature, as the viewers take it apart again."""
    return (layer + feature) * (layer + feature + 1) // 2 + feature


class _Names:
    """The ids of a graph's nodes, and the nodes themselves."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.shift: dict[str, int] = {}
        counted: dict[int, int] = {}
        for reader in graph.walk.readers:
            layer = reader.site.layer or 0
            self.shift[str(reader.site)] = counted.get(layer, 0)
            counted[layer] = counted.get(layer, 0) + reader.sae.n_features
        #: The number of what a layer's dictionaries leave, and of parts that are not opened: -1, and so on.
        self.errors: dict[str, int] = {}
        places: dict[int, int] = {}
        named = [(str(w.place), w.place.layer or 0) for w in graph.walk.writers]
        named += [(str(part), part.layer or 0) for part in graph.walk.stops]
        for name, layer in named:
            self.errors[name] = places[layer] = places.get(layer, 0) - 1

    def of(self, node: Node) -> str:
        """The id of a source."""
        if node.kind == "feature":
            return f"{node.layer}_{node.feature + self.shift[node.place]}_{node.position}"
        if node.kind == "token":
            return f"E_{self.graph.attribution.run.ids[node.position]}_{node.position}"
        return f"{node.layer}_{self.errors[node.place]}_{node.position}"

    def source(self, node: Node, rank: float) -> dict[str, Any]:
        """A source as a node of the viewers; ``influence`` is cumulative there."""
        feature, layer, kind, short = -1, str(node.layer), "mlp reconstruction error", ""
        label = "" if node.kind == "token" else node.name.partition("@")[0]
        if node.kind == "feature":
            shifted = node.feature + self.shift[node.place]
            feature, kind, short = cantor(node.layer, shifted), "cross layer transcoder", f"{layer}_{shifted}-0"
            label = f"{label} {node.concept}".strip()
        elif node.kind == "token":
            layer, kind, feature = "E", "embedding", node.position
            short = f"E_{self.graph.attribution.run.ids[node.position]}-{node.position}"
        else:
            short = f"{layer}_{self.errors[node.place]}-{node.position}"
        found = _node(self.of(node), feature, layer, node.position, kind, short, label, rank)
        return {**found, "activation": node.value if node.kind == "feature" else None}

    @cached_property
    def target(self) -> dict[str, Any]:
        """The explained number as a node of the viewers."""
        a, node = self.graph.attribution, self.graph.target
        token = a.model.single_token(a.target.tokens[0]) if isinstance(a.target, Target) else 0
        p = float(a.run.probabilities(node.position)[token]) if isinstance(a.target, Target) else 0.0
        layer = str(a.model.n_layers + 1)
        label = f'Output "{a.model.token(token)}" (p={p:.3f})' if isinstance(a.target, Target) else node.name
        name = f"{layer}_{token}_{node.position}"
        found = _node(name, token, layer, node.position, "logit", f"L_{token}-{node.position}", label, None)
        return {**found, "token_prob": p, "is_target_logit": True, "activation": None}


def _node(
    name: str, feature: int, layer: str, position: int, kind: str, short: str, label: str, rank: float | None
) -> dict[str, Any]:
    return {
        "node_id": name,
        "feature": feature,
        "layer": layer,
        "ctx_idx": position,
        "feature_type": kind,
        "token_prob": 0.0,
        "is_target_logit": False,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "jsNodeId": short,
        "clerp": label,
        "influence": rank,
    }
