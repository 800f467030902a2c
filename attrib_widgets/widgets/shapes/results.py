"""Results that stand alone as the browser reads them: bars, patterns, lenses, tables, two attributions compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from ...analysis.opening.dictionaries.concepts import Concepts
from ...analysis.opening.dictionaries.features import Features
from ...words.errors import AttribError
from ..transport import wire
from . import contract
from .heads import patterns

if TYPE_CHECKING:
    from ...analysis.comparing.aligned import AlignedTokens
    from ...analysis.comparing.compare import Comparison
    from ...analysis.heads.attention import Attention, Weighting
    from ...analysis.lens.logit_lens import LogitLens
    from ...analysis.opening.results import Contributions
    from ...result import Table


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
