"""Which interventions share a pass, and how many rows fit: the arithmetic of a sweep, without a model.

A pass recomputes the positions from ``start`` to the target for all its rows, so rows that start late should not
travel with rows that start early; but every pass reads all weights once, so few passes are better than many.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ..network import Network

PASS_COST = 32  # one more pass over the weights costs about as much as this many more tokens in an existing one
PACK_ROWS = 256  # rows of one packed sequence: its mask grows with their square
CPU_BUDGET = 2**30


@dataclass(frozen=True)
class Extent:
    """Where an intervention begins to matter: the first layer it touches and its first position."""

    layer: int
    position: int


@dataclass(frozen=True)
class Batch:
    """Rows (numbers of interventions, in order of their first layer) that recompute the positions from ``start``."""

    start: int
    rows: tuple[int, ...]


def grouped(extents: Sequence[Extent], target: int) -> list[Batch]:
    """Rows grouped by first position, neighbours merged where one pass is cheaper than two (exact, by dynamic
    programming over the sorted positions)."""
    by_start: dict[int, list[int]] = {}
    for row, extent in enumerate(extents):
        by_start.setdefault(extent.position, []).append(row)
    starts = sorted(by_start)
    best: list[tuple[float, int]] = [(0.0, 0)]  # (cost of the first i groups, where their last pass begins)
    for end in range(1, len(starts) + 1):
        choices = []
        count = 0
        for begin in range(end - 1, -1, -1):
            count += len(by_start[starts[begin]])
            choices.append((best[begin][0] + PASS_COST + count * (target - starts[begin] + 1), begin))
        best.append(min(choices))
    passes: list[Batch] = []
    end = len(starts)
    while end:
        begin = best[end][1]
        rows = [r for s in starts[begin:end] for r in by_start[s]]
        passes.append(Batch(starts[begin], tuple(sorted(rows, key=lambda r: (extents[r].layer, r)))))
        end = begin
    return passes[::-1]


def bytes_per_token(model: Network, keys: int) -> int:
    """Memory that one more token of one more row takes: activations, keys and values, scores."""
    size = torch.finfo(model.dtype).bits // 8
    geo = model.geometry
    most = max(layer.n_heads * layer.d_head for layer in geo.layers)
    hidden = getattr(model.config, "intermediate_size", None) or getattr(model.config, "n_inner", None)
    if isinstance(hidden, (list, tuple)):  # of every layer
        hidden = max(hidden)
    wide = 3 * int(hidden or 4 * geo.d_model) + (7 + model.n_streams) * geo.d_model + 4 * most
    cached = 2 * _cached(model) * 2
    return size * (wide + cached) + 3 * 4 * geo.n_heads * keys


def _cached(model: Network) -> int:
    """Numbers that one layer's keys take per token, in the layer that has most."""
    return max(layer.n_kv_heads * layer.d_head for layer in model.geometry.layers)


def budget_of(model: Network) -> int:
    """Bytes that a sweep may take: half of what is free on an accelerator, a quarter of it (at most 1 GiB) on a CPU."""
    if model.device.type == "cuda":
        return int(torch.cuda.mem_get_info(model.device)[0] // 2)
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not on every system
        return CPU_BUDGET
    return min(CPU_BUDGET, max(free // 4, 2**26))


def rows_that_fit(model: Network, start: int, target: int, budget: int) -> int:
    """How many rows a pass from ``start`` to ``target`` can hold within ``budget`` bytes (at least one)."""
    tokens = target - start + 1
    prefix = 2 * 2 * _cached(model) * start * (torch.finfo(model.dtype).bits // 8)
    each = tokens * bytes_per_token(model, target + 1) + (0 if tokens == 1 else prefix)
    fits = max(1, budget // max(each, 1))
    return min(fits, PACK_ROWS) if tokens == 1 and start else fits


def out_of_memory(reason: BaseException) -> bool:
    """Whether ``reason`` says that memory ran out, on whatever device."""
    text = str(reason).lower()
    return isinstance(reason, (torch.OutOfMemoryError, MemoryError)) or any(
        words in text for words in ("out of memory", "not enough memory", "can't allocate memory")
    )
