"""Arrays of one's own as the browser reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...words.errors import AttribError
from ..transport import wire
from . import contract
from .heads import patterns, triangular
from .results import LARGEST

if TYPE_CHECKING:
    from ...analysis.show import ShownAttention, ShownBars, ShownGrid, ShownTokens


def bars(shown: ShownBars) -> bytes:
    """Kind ``bars``."""
    header: contract.BarsHeader = {
        "kind": "bars",
        "title": shown.title,
        "note": "",
        "unit": shown.unit,
        "rows": [{"label": name, "kind": "own", "token": False, "concept": ""} for name in shown.names],
        "total": shown.sum,
        "parent": "" if shown.total is None else "total",
        "parent_value": 0.0 if shown.total is None else shown.total,
        "gap": shown.mismatch,
        "own": True,
    }
    return wire.pack(header, {"values": wire.store(shown.values)})


def tokens(shown: ShownTokens) -> bytes:
    """Kind ``tokens``."""
    header: contract.TokensHeader = {
        "kind": "tokens",
        "title": shown.title,
        "unit": shown.unit,
        "tokens": shown.tokens,
    }
    return wire.pack(header, {"values": wire.store(shown.values)})


def attention(shown: ShownAttention) -> bytes:
    """Kind ``attention``.

    Raises:
        AttribError: more than a notebook should carry.
    """
    plain = shown.probabilities
    header: contract.AttentionHeader = {
        "kind": "attention",
        "title": shown.title,
        "note": "",
        "tokens": shown.tokens,
        "special": [],
        "heads": shown.heads,
        "weighting": "probability" if plain else "own",
        "unit": shown.unit,
    }
    if plain:
        stored = patterns(shown.weights, LARGEST)
    else:
        stored = wire.store(shown.weights, tril=triangular(shown.weights)) if shown.weights.nbytes <= LARGEST else None
    if stored is None:
        raise AttribError(
            f"{len(shown.heads)} heads on {len(shown.tokens)} tokens are too much to draw.",
            "Give fewer heads, or fewer tokens.",
        )
    return wire.pack(header, {"patterns": stored})


def grid(shown: ShownGrid) -> bytes:
    """Kind ``grid``.

    Raises:
        AttribError: more than a page can draw.
    """
    if shown.values.size > MOST_CELLS:
        raise AttribError(
            f"{shown.values.size:,} cells are too many to draw.", f"Give at most {MOST_CELLS:,}, or use .plot()."
        )
    header: contract.GridHeader = {
        "kind": "grid",
        "title": shown.title,
        "unit": shown.unit,
        "rows": shown.rows,
        "columns": shown.columns,
    }
    return wire.pack(header, {"values": wire.store(np.ascontiguousarray(shown.values))})


#: Each is an element of the page.
MOST_CELLS = 20_000
