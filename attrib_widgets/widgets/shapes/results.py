"""Small results as the browser reads them: bars, patterns, neurons, and what a component writes."""

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
from ...words.errors import AttribError, GranularityError
from ...words.text import digits_of, signed, visible
from ..transport import wire
from . import contract

if TYPE_CHECKING:
    from ...analysis.attribution.attribution import Attribution
    from ...analysis.comparing.aligned import AlignedTokens
    from ...analysis.comparing.compare import Comparison
    from ...analysis.heads.all_heads import HeadTable
    from ...analysis.heads.attention import Attention, Weighting
    from ...analysis.lens.logit_lens import LogitLens
    from ...analysis.opening.dictionaries.searching import FoundFeatures
    from ...analysis.opening.results import Contributions, Writes
    from ...analysis.opening.trace.totals import TokenTotals
    from ...analysis.opening.trace.trace import Trace
    from ...result import Table
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
#: Below this many bytes patterns travel as float16, above it as one byte per weight.
FINE_PATTERNS = 1_000_000
#: The same for patterns as they were computed.
FULL_PATTERNS = 200_000
_PRECISIONS: tuple[tuple[int, wire.DType], ...] = ((4, "f4"), (2, "f2"), (1, "u1"))
#: Most bytes that a view of attention alone may send.
LARGEST = 5_000_000


def bars(c: Contributions) -> bytes:
    """Kind ``bars``: the rows of a result that sums to its parent; features bring their computed labels."""
    concepts = c.told if isinstance(c, Concepts) else c.concepts if isinstance(c, Features) else [""] * len(c)
    header: contract.BarsHeader = {
        "kind": "bars",
        "title": c.title,
        "note": c.note,
        "unit": c.unit,
        "rows": [
            {"label": label, "kind": kind, "token": kind == "token", "concept": concept}
            for label, kind, concept in zip(c.labels, c.kinds, concepts, strict=True)
        ],
        "total": float(c.total),
        "parent": c.parent,
        "parent_value": float(c.parent_value),
        "gap": float(c.mismatch),
    }
    return wire.pack(header, {"values": wire.store(c.values)})


def patterns(values: Any, budget: int | None = None) -> wire.Stored | None:
    """Patterns [..., destination, source], triangles where none looks ahead; None when they exceed ``budget`` bytes."""
    shape, tril = np.shape(values), triangular(values)
    weights = int(np.prod(shape, dtype=np.int64))
    weights = weights * (shape[-1] + 1) // (2 * shape[-1]) if tril else weights
    # In full where that is small: rounded to two bytes, 99.9 % would be printed as >99.9 %.
    size, kind = _PRECISIONS[0 if 4 * weights <= FULL_PATTERNS else 1 if 2 * weights <= FINE_PATTERNS else 2]
    if budget is not None and weights * size > budget:
        return None
    # Softmax may print a last bit above 1.
    return wire.store(np.clip(np.asarray(values), 0, 1), kind, tril=tril)


def triangular(values: Any) -> bool:
    """Whether nothing stands above the diagonal of the last two axes, so that it need not travel."""
    return not np.triu(np.asarray(values), 1).any()


def attention(a: Attention) -> bytes:
    """Kind ``attention``: one or more heads, with any weighting.

    Raises:
        AttribError: more than a notebook should carry.
    """
    plain = a.weighting == "probability"
    n, count = a.run.n_positions, len(a.heads)
    header: contract.AttentionHeader = {
        "kind": "attention",
        "title": a.title,
        "note": f"Each row is a token that reads, each column a token that is read. {a.returned_as}".strip(),
        "tokens": a.run.tokens,
        "special": a.run.special,
        "heads": [str(c) for c in a.heads],
        "weighting": cast("Weighting", a.weighting),
        "unit": a.unit,
    }
    size = count * (n * n if a.ahead else n * (n + 1) // 2) * (1 if plain else 4)
    if size > LARGEST:
        raise AttribError(
            f"{count} heads on {n} tokens take {size / 1e6:.0f} MB, too much to draw.",
            f'Choose one: aw.attention(run, "{a.heads[0]}").',
        )
    stored = patterns(a.patterns) if plain else wire.store(a.patterns, tril=not a.ahead)
    assert stored is not None
    arrays = {"patterns": stored}
    if a.sink is not None and plain:
        arrays["sink"] = wire.store(a.sink)
    return wire.pack(header, arrays)


def lens(found: LogitLens, position: int | None = None) -> bytes:
    """Kind ``lens``: what every layer would print at every position; the title is about ``position``.

    ``numbers`` holds probability and rank of the target, and entropy and KL unless they were left out, in this order.
    What the other lens reads there (``found.beside()``) stands in arrays of the same names behind ``other_``.

    Raises:
        AttribError: more than a notebook should carry.
    """
    size = lens_bytes(found.top_ids.numel(), found.probability.numel())
    if size > LARGEST:
        raise AttribError(
            f"{len(found.layers)} layers on {len(found.positions)} tokens are too much to draw.",
            "Choose positions: aw.logit_lens(run, positions=range(100)).",
        )
    model, notes = found.model, list(found.notes)
    mid = position is None  # in the Explorer those rows come on request
    try:
        other = found.beside() if 2 * size <= LARGEST else None
    except AttribError as reason:  # said, and shown without it
        other, notes = None, [*notes, str(reason)]
    both = [found] if other is None else [found, other]
    ids = torch.cat([one.top_ids.flatten() for one in both]).unique().tolist()
    header: contract.LensHeader = {
        "kind": "lens",
        "title": found.title(position, mid),
        "tokens": [found.run.tokens[p] for p in found.positions],
        "positions": found.positions,
        "layers": found.layers,
        "target": {"text": found.token, "id": found.target},
        "words": {i: model.token(i) for i in ids},
        "notes": notes,
        "tuned": found.lens is not None,
    }
    arrays = lens_arrays(found)
    if other is not None:
        header["other"] = other.title(position, mid)
        arrays |= {f"other_{name}": stored for name, stored in lens_arrays(other).items()}
    tuned = next((one.lens for one in both if one.lens), None)
    if tuned is not None and any(map(tuned.kl_of, found.layers)):
        header["held_out"] = [tuned.kl_of(name) for name in found.layers]
    return wire.pack(header, arrays)


def lens_arrays(found: LogitLens) -> dict[str, wire.Stored]:
    """Predictions and numbers of one lens."""
    numbers = [found.probability, found.rank.float(), *(t for t in (found.entropy, found.kl) if t is not None)]
    return {
        "ids": wire.store(found.top_ids, "i4"),
        "probabilities": wire.store(found.top_probabilities),
        "numbers": wire.store(torch.stack(numbers)),
    }


def lens_bytes(predictions: int, cells: int) -> int:
    """About how many bytes :func:`lens` makes at most: id, probability and word of every prediction, four numbers."""
    return 32 * predictions + 16 * cells


def table(t: Table) -> bytes:
    """Kind ``table``: a result as its table prints it."""
    return wire.pack(printed(t), {})


def printed(t: Table) -> contract.TableHeader:
    """A table as the page draws it."""
    bars = [None if b is None or b != b else float(b) for b in t.row_bars]
    return {
        "kind": "table",
        "last": t.last,
        "title": t.title,
        "notes": t.note.splitlines(),
        "columns": t.columns,
        "rows": t.rows,
        "bars": bars if t.bars else [],
        "footer": t.footer.splitlines(),
    }


def comparison(c: Comparison, lines: list[str] | None = None, beside: str = "") -> bytes:
    """Kind ``comparison``: two attributions by part, and their prompts word under word.

    Args:
        lines: the two questions, where they stand in an Explorer, and what was asked for there.
    """
    words, arrays = _words(c.tokens())
    header: contract.ComparisonHeader = {
        "kind": "comparison",
        "title": c.title(),
        "notes": c.notes(),
        "unit": c.unit,
        "labels": c.labels,
        "checks": c.checks(),
        "ends": [{"total": x.total, "actual": x.actual, "gap": x.mismatch, "exact": bool(x.exact)} for x in (c.a, c.b)],
        "names": list(c.names()),
        "words": words,
    }
    if lines is not None:
        header["lines"], header["beside"] = lines, beside
    return wire.pack(header, {"values": wire.store(torch.cat([c.values, c.difference[None]]), missing=True), **arrays})


def _words(t: AlignedTokens) -> tuple[contract.AlignedWords, dict[str, wire.Stored]]:
    one, other = t.texts
    words: contract.AlignedWords = {"a": one, "b": other, "same": t.same}
    if t.values is None or t.rest is None or t.difference is None:
        return words, {}
    words["rest"] = [*t.rest.tolist(), float(t.rest[1] - t.rest[0])]
    return words, {"carried": wire.store(torch.cat([t.values, t.difference[None]]), missing=True)}


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


def _largest(values: Any, own: Any, count: int) -> tuple[Any, Any]:
    """Of the rows in the mask ``own``: (the ``count`` largest by magnitude, the others)."""
    rows = np.flatnonzero(own)
    order = rows[np.argsort(-np.abs(values[rows]), kind="stable")]
    return order[:count], order[count:]


def _short(value: float) -> float:
    """A number that is printed and never summed, in few characters."""
    return float(f"{value:.4g}")


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


def writes(w: Writes) -> contract.Writes:
    """The tokens whose logits a component raises and lowers most."""

    def pairs(rows: Sequence[tuple[str, int, float]]) -> list[tuple[str, float]]:
        return [(text, float(logits)) for text, _, logits in rows[:WRITES]]

    return {"up": pairs(w.promoted), "down": pairs(w.suppressed)}


def small_patterns(values: Any) -> bytes:
    """Kind ``patterns``: small pictures of the patterns of all heads, a byte for each weight."""
    header: contract.PatternsHeader = {"kind": "patterns"}
    small = np.nan_to_num(np.asarray(values))
    return wire.pack(header, {"patterns": wire.store(np.clip(small, 0, 1), "u1", tril=triangular(small))})


def head(label: str, pattern: Any) -> bytes:
    """Kind ``head``: the pattern of one head, in half precision."""
    header: contract.HeadHeader = {"kind": "head", "id": label}
    return wire.pack(header, {"pattern": wire.store(pattern, "f2", tril=triangular(pattern))})
