"""Heads as the browser reads them: where they look, what they carried from whom, and why they looked there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ...analysis.attribution.attribute import attribute
from ...analysis.opening.choice import choice_at
from ...analysis.reading.features import Inside
from ...words.components import BESIDES, component
from ...words.errors import AttribError, PositionError, TargetError
from ...words.targets import score
from ..transport import wire
from ..transport.wire import Stored
from . import contract

if TYPE_CHECKING:
    from ...analysis.attribution.attribution import Attribution
    from ...analysis.heads.all_heads import HeadTable, ThroughTable, WhyTable
    from .explorer import Arrays

# Rows that a part below can share with the explorer; constants of the read point are summed apart.
SHARED = ("embed", "pos", "head", "mlp", "attn", *BESIDES, "layer", "attn.bias", "mlp.bias")
#: Below this many bytes patterns travel as float16, above it as one byte per weight.
FINE_PATTERNS = 1_000_000
#: The same for patterns as they were computed.
FULL_PATTERNS = 200_000
_PRECISIONS: tuple[tuple[int, wire.DType], ...] = ((4, "f4"), (2, "f2"), (1, "u1"))


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


def small_patterns(values: Any) -> bytes:
    """Kind ``patterns``: small pictures of the patterns of all heads, a byte for each weight."""
    header: contract.PatternsHeader = {"kind": "patterns"}
    small = np.nan_to_num(np.asarray(values))
    return wire.pack(header, {"patterns": wire.store(np.clip(small, 0, 1), "u1", tril=triangular(small))})


def head(label: str, pattern: Any) -> bytes:
    """Kind ``head``: the pattern of one head, in half precision."""
    header: contract.HeadHeader = {"kind": "head", "id": label}
    return wire.pack(header, {"pattern": wire.store(pattern, "f2", tril=triangular(pattern))})


def why_key(t: HeadTable) -> list[list[int]]:
    """By layer and head, the key that it looks at most from the explained position."""
    found: list[list[int]] = np.asarray(drawn(t.rows)).argmax(-1).tolist()
    return found


def head_arrays(a: Attribution, t: HeadTable) -> Arrays:
    """Of all heads what multiplies their patterns, and what each token brought to the explained position."""
    found: Arrays = {
        "carry": wire.store(drawn(t.carry)),
        "dest": wire.store(drawn(t.dest)),  # 0 where it is not known: the page shows no contribution there
        "norms": wire.store(drawn(t.norms)),
        "post": wire.store(drawn(t.post)),
        "value_bias": wire.store(drawn(t.value_bias)),
    }
    if t.sink is not None:
        found["sink"] = wire.store(drawn(t.sink))
    found["tokens"] = wire.store(drawn(t.rows * t.carry))  # the printed digits: packed patterns would not add up
    if a.model.precision not in (torch.float32, torch.float64):
        found["head_rounding"] = wire.store(drawn(t.rounding))
    return found


def through_bytes(a: Attribution) -> int:
    """Size of :func:`through`."""
    return 4 * a.reading.point.attentions * a.model.n_heads * a.run.n_positions * len(a.components)


def through(a: Attribution, t: ThroughTable) -> Stored:
    """Who wrote what each head carried, [layer, head, source, row]."""
    found = _widened(drawn(t.values), len(a.components))
    for name, column in (("norm.bias", t.norm_bias), ("rounding", t.rounding)):
        if name in a.labels:
            found[..., a.labels.index(name)] = drawn(column).numpy()
    return wire.store(found)


def why_parts(a: Attribution, head: str, query: int, key: int) -> tuple[NDArray[np.float32], list[float], float]:
    """(values [side, row], bias [side], score) of one attention score: query side first, then key side."""
    values = np.zeros((2, len(a.components)), dtype=np.float32)
    bias = [0.0, 0.0]
    actual = 0.0
    for side, name in enumerate(("query", "key")):
        s = attribute(a.run, score(head, query=query, key=key, side=name))
        at = _spread(a, s.labels)
        parts = np.asarray(s.values)
        values[side, at[at >= 0]] = parts[at >= 0]
        bias[side], actual = float(parts[at < 0].sum(dtype=np.float64)), float(s.actual)
    return values, bias, actual


def why_arrays(a: Attribution, t: WhyTable) -> Arrays:
    """What made every head look from the explained position to one key: [layer, head, side, row], and what made it
    prefer that key to its strongest rival."""
    arrays: Arrays = {
        "why": wire.store(_widened(drawn(t.values), len(a.components))),
        "why_bias": wire.store(drawn(t.constant)),
        "why_score": wire.store(drawn(t.score)),
        "why_rival": wire.store(t.rival, "i4"),
        "why_rival_score": wire.store(drawn(t.rival_score)),
        "why_choice": wire.store(_widened(drawn(t.choice), len(a.components))),
        "why_choice_bias": wire.store(drawn(t.choice_constant)),
    }
    return arrays


def choice_parts(
    a: Attribution, head: str, query: int, key: int
) -> tuple[contract.RivalKey | None, NDArray[np.float32]]:
    """(the strongest other key of ``head`` from ``query``, what made it prefer ``key`` to that one [row])."""
    values = np.zeros(len(a.components), dtype=np.float32)
    try:
        found = choice_at(a.run, component(head), query, key)
    except PositionError:  # it sees no other key
        return None, values
    at, parts = _spread(a, found.labels), np.asarray(found.values)
    values[at[at >= 0]] = parts[at >= 0]
    bias = float(parts[at < 0].sum(dtype=np.float64))
    return {"key": found.against, "score": found.scores[1], "bias": bias}, values


def why(a: Attribution, head: str, query: int, key: int) -> bytes:
    """Kind ``why``: what made ``head`` look from ``query`` to ``key``, and rather there than at its strongest rival."""
    if isinstance(a.reading, Inside):
        raise TargetError(
            f"What made {head} look there was written below these rows, which are inside its layer.",
            f'From Python: aw.attribute(ex.run, aw.score("{head}", query={query}, key={key})).',
        )
    n, causal = a.run.n_positions, a.model.check.causal
    if not (0 <= key < n and 0 <= query < n and (key <= query or not causal)):
        raise AttribError(f"No head looks from position {query} to position {key}.", "A key is at or before its query.")
    values, bias, actual = why_parts(a, head, query, key)
    rival, preferred = choice_parts(a, head, query, key)
    header: contract.WhyHeader = {
        "kind": "why",
        "id": head,
        "query": query,
        "key": key,
        "score": actual,
        "rival": rival,
    }
    return wire.pack(header, {"values": wire.store(values), "bias": wire.store(bias), "choice": wire.store(preferred)})


def _spread(a: Attribution, labels: Sequence[str]) -> NDArray[np.intp]:
    """For every label of a part below, its row in the explorer; -1 for the constants of that read point."""
    rows = {str(c): i for i, c in enumerate(a.components) if c.kind in SHARED}
    return np.array([rows.get(label, -1) for label in labels], dtype=np.intp)


def _widened(values: torch.Tensor, rows: int) -> NDArray[np.float32]:
    """The parts' columns, and zeros for the explorer's other rows, which come after them."""
    found = np.zeros((*values.shape[:-1], rows), dtype=np.float32)
    found[..., : values.shape[-1]] = values.numpy()
    return found


Tables = TypeVar("Tables", torch.Tensor, "torch.Tensor | None")


def drawn(values: Tables) -> Tables:
    """A table [layer, head, ...] without its NaNs of heads that are not there or not split: nothing reads there."""
    return None if values is None else values.nan_to_num(0.0)
