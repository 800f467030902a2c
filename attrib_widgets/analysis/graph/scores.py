"""What hangs on what in a graph: influence, the part of it that is kept, two scores, and its leaves.

Influence is unsigned: the magnitudes of the edges into a node, as shares of their sum, say how the node's own influence
is passed on to its sources, from the explained number down (Ameisen et al. 2025, "Circuit Tracing"; the definitions are
those of circuit-tracer: constants take no part in it). Edges themselves keep their signs, and sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Weights:
    """The edges of a graph as one table.

    Sources are features first, then errors (dictionary by dictionary, each at every position), tokens, and parts that
    are not opened. Row 0 is the explained number; every other row is of a feature, ``rows`` of them.

    Attributes:
        edges: what each source put into each target.
        rows: the feature of every row but the first.
        features, errors, tokens: how many sources of each kind there are; the rest are parts.
    """

    edges: Float[Tensor, "target source"]
    rows: Int[Tensor, "row"]
    features: int
    errors: int
    tokens: int

    @property
    def of_errors(self) -> slice:
        """The sources that are errors, and parts are not among them."""
        return slice(self.features, self.features + self.errors)

    @property
    def of_tokens(self) -> slice:
        """The sources that are tokens."""
        return slice(self.features + self.errors, self.features + self.errors + self.tokens)


def _shares(edges: Float[Tensor, "target source"]) -> Float[Tensor, "target source"]:
    sizes = edges.abs()
    return sizes / sizes.sum(1, keepdim=True).clamp_min(1e-10)


def _passed(w: Weights, shares: Float[Tensor, "target source"]) -> Float[Tensor, "source"]:
    """The influence of every source by all ways, that of the explained number being 1."""
    now = shares[0]
    total = now.clone()
    for _ in range(len(shares)):  # no way is longer: the graph has no circles
        now = now[w.rows] @ shares[1:]
        if not bool(now.any()):
            break
        total += now
    return total


def influence(w: Weights) -> Float[Tensor, "source"]:
    """The influence of every source on the explained number."""
    return _passed(w, _shares(w.edges))


class Scores(NamedTuple):
    """circuit-tracer's two scores of a graph, 0 to 1.

    ``replacement``: of the influence that ends at tokens or errors, the share that ends at tokens. ``completeness``:
    the share of the edges into all nodes, weighted by these nodes' influence, that does not come from errors.
    """

    replacement: float
    completeness: float


def scores(w: Weights) -> Scores:
    """See :class:`Scores`; parts that are not opened count as errors do."""
    shares = _shares(w.edges)
    passed = _passed(w, shares)
    lost = torch.ones(shares.shape[1], dtype=torch.bool, device=shares.device)
    lost[: w.features] = lost[w.of_tokens] = False
    tokens, errors = float(passed[w.of_tokens].sum()), float(passed[lost].sum())
    out = torch.cat([passed.new_ones(1), passed])
    # What is no target passes nothing on: none of it comes from an error.
    whole = out.new_ones(len(out))
    whole[0] = 1 - shares[0, lost].sum()
    whole[1 + w.rows] = 1 - shares[1:, lost].sum(1)
    return Scores(tokens / max(tokens + errors, 1e-30), float((whole * out).sum() / out.sum()))


class Kept(NamedTuple):
    """What is left of a graph: which sources and which edges, how much of the explained number's influence goes along
    each edge, and every source's rank as cumulative influence (0 to 1)."""

    sources: Bool[Tensor, "source"]
    edges: Bool[Tensor, "target source"]
    strength: Float[Tensor, "target source"]
    ranks: Float[Tensor, "source"]


def _least(values: Float[Tensor, "value"], share: float) -> Tensor:
    """The smallest of the largest values that together have ``share`` of the sum."""
    ordered = values.sort(descending=True).values
    summed = ordered.cumsum(0) / ordered.sum().clamp_min(1e-30)
    number = min(int(torch.searchsorted(summed, share)), max(int((ordered > 0).sum()) - 1, 0))
    return ordered[number]


def prune(w: Weights, nodes: float, edges: float) -> Kept:
    """The sources with a share ``nodes`` of all influence, and of the edges between them those with a share ``edges``.

    Tokens always stay. A feature stays while something goes into it and out of it, an error while something goes out.
    """
    passed = influence(w)
    kept = passed >= _least(passed, nodes)
    kept &= passed > 0
    kept[w.of_tokens] = True
    opened = torch.zeros_like(kept)
    opened[w.rows] = True
    left = w.edges * kept
    left[1:] *= kept[w.rows][:, None]
    shares = _shares(left)
    own = _passed(w, shares)
    strength = shares * torch.cat([own.new_ones(1), own[w.rows]])[:, None]
    held = (strength >= _least(strength.flatten(), edges)) & (strength > 0)
    while True:
        held[1:] &= kept[w.rows][:, None]
        held &= kept
        out = held.any(0)
        into = ~opened
        into[w.rows] = held[1:].any(1)
        now = kept & out & into
        now[w.of_tokens] = True
        if bool((now == kept).all()):
            break
        kept = now
    ordered, order = passed.sort(descending=True)
    ranks = torch.empty_like(passed)
    ranks[order] = ordered.cumsum(0) / ordered.sum().clamp_min(1e-30)
    return Kept(kept, held, strength, ranks)


def leaves(
    w: Weights, own: Float[Tensor, "row"], constants: Float[Tensor, "target constant"], order: Int[Tensor, "row"]
) -> tuple[Float[Tensor, "source"], Float[Tensor, "constant"]]:
    """The explained number taken apart down to what is not opened: (sources, constants), which sum to it.

    A feature that fires puts out what was put in, so that one unit of it can be replaced by its own sources. Sources
    that are opened come out as zero. In ``order`` every row comes before those that put something into it.

    Args:
        own: what was put into the feature of every row (its pre-activation).
    """
    values, fixed = w.edges[0].clone(), constants[0].clone()
    for row in order.tolist():
        feature = int(w.rows[row])
        share = values[feature] / own[row]
        values[feature] = 0
        values += share * w.edges[row + 1]
        fixed += share * constants[row + 1]
    return values, fixed
