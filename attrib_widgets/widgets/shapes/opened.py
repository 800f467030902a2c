"""What opens below a bar, as the browser reads it: neurons, features, concepts, paths, and what a part writes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from ...analysis.comparing.aligned import carried as carried_by
from ...analysis.opening.dictionaries.concepts import Concepts
from ...analysis.opening.dictionaries.features import Features
from ...analysis.opening.mlps import ExpertContributions
from ...analysis.opening.trace.totals import HELD
from ...saes.cards.card import said_of
from ...words.errors import GranularityError
from ...words.text import digits_of, signed, visible
from ..transport import wire
from . import contract

if TYPE_CHECKING:
    from ...analysis.attribution.attribution import Attribution
    from ...analysis.heads.all_heads import HeadTable
    from ...analysis.opening.dictionaries.searching import FoundFeatures
    from ...analysis.opening.results import Contributions, Writes
    from ...analysis.opening.trace.totals import TokenTotals
    from ...analysis.opening.trace.trace import Trace
    from ...saes.cards import Card, Firing

NEURONS = 12
FEATURES = 12
#: Features of all dictionaries, and parts of each of them, that travel.
CONCEPTS, PARTS = 40, 8
#: Features that a search lists.
FOUND = 20
#: Tokens of a context that travel: before the strongest firing, and behind it.
BEFORE, BEHIND = 24, 6
#: The strongest contexts that travel.
CONTEXTS = 5
WRITES = 8


def neurons(c: Contributions) -> contract.Neurons:
    """The largest neurons of an MLP by magnitude and the sum of the others; of a mixture its experts, with weights."""
    values = np.asarray(c.values, dtype=np.float64)
    kinds = np.asarray(c.kinds)
    top, rest = _largest(values, np.isin(kinds, ("neuron", "component")), NEURONS)
    rounding = values[kinds == "rounding"]
    found: contract.Neurons = {
        "labels": [c.labels[i] for i in top],
        "values": values[top].tolist(),
        "rest": float(values[rest].sum()),
        "rest_count": len(rest),
        "bias": float(values[kinds == "bias"].sum()),
        "rounding": float(rounding.sum()) if len(rounding) else None,
    }
    if isinstance(c, ExpertContributions):
        found["weights"] = c.weights[top].tolist()
    return found


def features(f: Features) -> contract.Features:
    """The largest features of a row by magnitude, the sum of the others, and what no feature says."""
    values = np.asarray(f.values, dtype=np.float64)
    kinds = np.asarray(f.kinds)
    top, rest = _largest(values, kinds == "feature", FEATURES)
    more = [(f.labels[i], float(values[i])) for i, kind in enumerate(f.kinds) if kind in ("mean", "skip", "aside")]
    found: contract.Features = {
        "site": f.site,
        "note": f.note,
        "numbers": [f.numbers[i] for i in top],
        "values": values[top].tolist(),
        "activations": [_short(float(f.activations[i])) for i in top],
        "concepts": [f.concepts[i] for i in top],
        "rest": float(values[rest].sum()),
        "rest_count": len(rest),
        "bias": float(values[kinds == "bias"].sum()),
        "error": float(values[kinds == "error"].sum()),
        "gap": float(f.mismatch),
    }
    if more:
        found["more"] = more
    return found


def concepts(c: Concepts) -> contract.Concepts:
    """The largest features of all dictionaries and parts without one, and what no feature says by part."""
    values = np.asarray(c.values, dtype=np.float64)
    top, rest = _largest(values, np.asarray(c.kinds) != "error", CONCEPTS)
    unsaid = c.unsaid()
    return {
        "title": c.title,
        "note": c.note,
        "rows": [_concept(c, row) for row in top.tolist()],
        "rest": float(values[rest].sum()),
        "rest_count": len(rest),
        "unsaid": list(zip(unsaid.labels, unsaid.values.tolist(), strict=True)),
    }


def _concept(c: Concepts, row: int) -> contract.Concept:
    found: contract.Concept = {"id": c.labels[row], "label": c.concepts[row], "value": float(c.values[row])}
    if row < c.firing:
        shares = sorted(c.shares(row), key=lambda share: -abs(share[1]))
        found["parts"] = shares[:PARTS]
        if len(shares) > PARTS:
            found["rest"] = math.fsum(value for _, value in shares[PARTS:]), len(shares) - PARTS
    return found


def found_features(f: FoundFeatures, rows: Sequence[str]) -> contract.FoundFeatures:
    """What a search found, the first of it; ``rows`` are those that open."""
    return {
        "title": f.title(),
        "note": f.summary().note,
        "rows": [
            {
                "id": one.feature,
                "label": one.label,
                "value": one.value,
                "said": f.said(one),
                "row": one.through if one.through in rows else "",
            }
            for one in f.found[:FOUND]
        ],
    }


def card(c: Card, alone: bool = False) -> contract.FeatureCard:
    """What a feature fires on, around each strongest firing; what it writes; its activation on every prompt token.

    ``alone`` names what is explained, which the Explorer knows (and may hide).
    """
    shown: contract.FeatureCard = {
        "label": c.label,
        "density": c.density,
        "contexts": [_context(firing) for firing in c.contexts[:CONTEXTS]],
        "up": [(text, _short(value)) for text, _, value in c.promoted[:WRITES]],
        "down": [(text, _short(value)) for text, _, value in c.suppressed[:WRITES]],
        "here": [_short(value) for value in c.here],
        "through": c.through,
    }
    for band in c.bands:
        shown["contexts"].append({**_context(band.middle), "drawn": band.said})
    if c.missing:
        shown["missing"] = c.missing
    if more := [*c.facts(), *(("", note) for note in c.notes)]:
        shown["more"] = more
    if c.related:
        shown["related"] = [(one.feature, said_of(one)) for one in c.related]
    if c.arithmetic is not None:
        told = {name: text for name, text in c.arithmetic._asdict().items() if alone or name != "target"}
        shown["arithmetic"] = cast("contract.Arithmetic", told)
    return shown


def carded(c: Card) -> bytes:
    """Kind ``card``: a feature standing alone."""
    header: contract.CardHeader = {"kind": "card", "name": str(c.feature), "tokens": c.tokens, **card(c, alone=True)}
    return wire.pack(header, {})


def _context(f: Firing) -> contract.Context:
    start = max(0, f.position - BEFORE)
    near = slice(start, f.position + BEHIND + 1)
    cut = [start > 0, near.stop < len(f.tokens)]
    return {"tokens": f.tokens[near], "values": [_short(value) for value in f.activations[near]], "cut": cut}


def trace(t: Trace) -> contract.Trace:
    """A trace as rows, parents first, each with its depth; the explained number itself is left out."""
    rows = [(n, depth) for n, depth in t.root.walk() if depth]
    a = t.attribution
    return {
        "title": t.title(),
        "balance": t.balance(),
        "notes": t.notes,
        "labels": [n.label for n, _ in rows],
        "kinds": [n.kind for n, _ in rows],
        "at": [-1 if n.position is None else n.position for n, _ in rows],
        "depth": [depth for _, depth in rows],
        "values": [float(f"{n.value:.7g}") for n, _ in rows],
        "target": visible(a.target.short(a.model)) + (f" over {a.rival_name}" if a.rival_name else ""),
        "layers": a.model.n_layers,
        "cancelled": math.fsum(n.size - abs(n.value) for n in t.leaves("pruned")),
    }


def traced(t: Trace) -> bytes:
    """Kind ``trace``: a trace standing alone."""
    header: contract.TraceHeader = {
        "kind": "trace",
        "tokens": t.attribution.run.tokens,
        "unit": t.unit,
        "held": HELD[t.mlps],
        **trace(t),
    }
    return wire.pack(header, {})


def totals(t: TokenTotals) -> bytes:
    """Kind ``totals``: what every position put in by all paths, and the sentence that closes the sum."""
    return _under(t.positions, t.closing())


def carried(a: Attribution, table: HeadTable | None = None) -> bytes:
    """Kind ``totals``: what all heads together carried from every position to the number that is explained.

    Raises:
        GranularityError: that is not exact of all heads.
    """
    found = carried_by(a, table)
    if found is None:
        reason = a.model.check.reason
        raise GranularityError(
            "What all heads carried is not known here" + (f": {reason.rstrip('.')}." if reason else "."),
            "Rows that are heads open one by one.",
        )
    values, rest = found
    heads = [float(v) for c, v in zip(a.components, a.values, strict=True) if c.kind == "head"]
    total, digits = float(values.double().sum()), digits_of(values.tolist())
    unit = f", in {a.unit}" if a.unit in ("logits", "nats") else ""
    return _under(
        values,
        f"Observed{unit}: what all heads carried from these positions ({signed(total, digits)}) and what they write "
        f"whatever they read ({signed(rest, digits)}: value biases, rounding) sum to {signed(total + rest, digits)}; "
        f"the bars of all heads sum to {signed(sum(heads), digits)}.",
    )


def _under(values: torch.Tensor, told: str) -> bytes:
    header: contract.TotalsHeader = {"kind": "totals", "told": told}
    return wire.pack(header, {"values": wire.store(values)})


def writes(w: Writes) -> contract.Writes:
    """The tokens whose logits a component raises and lowers most."""

    def pairs(rows: Sequence[tuple[str, int, float]]) -> list[tuple[str, float]]:
        return [(text, float(logits)) for text, _, logits in rows[:WRITES]]

    return {"up": pairs(w.promoted), "down": pairs(w.suppressed)}


def _largest(values: Any, own: Any, count: int) -> tuple[Any, Any]:
    """Of the rows in the mask ``own``: (the ``count`` largest by magnitude, the others)."""
    rows = np.flatnonzero(own)
    order = rows[np.argsort(-np.abs(values[rows]), kind="stable")]
    return order[:count], order[count:]


def _short(value: float) -> float:
    """A number that is printed and never summed, in few characters."""
    return float(f"{value:.4g}")
