"""Which other words are within reach of what was measured: for another tau, or anywhere in the intervals over pairs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .rules import FOUR, Measured, Thresholds
from .table import VERDICTS, verdict

Interval = Sequence[float]


def over_tau(m: Measured, at: Thresholds) -> tuple[str, ...]:
    """The words on a part for any tau of ``at.around``, the largest taus last.

    A word changes only where tau passes an effect or a difference of two, so points on these and between them tell.
    """
    low, high = at.around
    four = [float(m.values[name]) for name in FOUR]
    sizes = [abs(x) for x in (*four, four[0] - four[1], four[2] - four[3])]
    if m.has("changed_n"):
        sizes += [abs(1 - float(m.values[name])) for name in ("changed_n", "changed_s")]
    edges = sorted({low, at.tau, high, *(x for x in sizes if low < x < high)})
    taus = sorted({*edges, *((a + b) / 2 for a, b in itertools.pairwise(edges))})
    return tuple(dict.fromkeys(verdict(m, replace(at, tau=tau)).word for tau in taus))


def over_intervals(m: Measured, limits: Mapping[str, Interval], at: Thresholds) -> tuple[str, ...]:
    """The words anywhere in a box of intervals of the four effects.

    Every row is bounded by lines of one effect, or of the two of one direction. Each of the two planes is tried on the
    crossings of these with the sides of the box and between them, in all pairs.
    """
    planes = [
        _points(limits["d_n"], limits["n"], (at.needed, at.spared), at),
        _points(limits["d_s"], limits["s"], (), at),
    ]
    (d_n, n), (d_s, s) = (np.array(points).T for points in planes)
    grid = np.meshgrid(np.arange(len(n)), np.arange(len(s)), indexing="ij")
    one, other = (g.ravel() for g in grid)
    values: dict[str, Any] = {k: v for k, v in m.values.items() if k not in FOUR}
    values |= {"n": n[one], "d_n": d_n[one], "s": s[other], "d_s": d_s[other]}
    return tuple(dict.fromkeys(VERDICTS[i].word for i in np.unique(_rows(Measured(values, m.names), at))))


def _rows(m: Measured, at: Thresholds) -> np.ndarray:
    """The number of the row that holds for every entry of arrays of values."""
    found = np.full(np.shape(m.values["n"]), len(VERDICTS))
    for i, row in enumerate(VERDICTS):
        held = np.broadcast_to(row.may_be_said(m, at), found.shape)
        found = np.where(held & (found == len(VERDICTS)), i, found)
    return found


def _points(direct: Interval, total: Interval, ratios: Sequence[float], at: Thresholds) -> list[tuple[float, float]]:
    """Points of a box in the plane of one direction, on both sides of every line that crosses it."""
    tau, lines = at.tau, (at.needed, at.spared)
    crossings = [y / r for y in (*total, -tau, tau) for r in ratios if r]
    crossings += [y + k for y in (*total, -tau, tau, *lines) for k in (-tau, tau)]
    found = []
    for x in _cuts(direct, [-tau, tau, *crossings]):
        levels = [-tau, tau, *lines, x - tau, x + tau, *(r * x for r in ratios)]
        found += [(x, y) for y in _cuts(total, levels)]
    return found


def _cuts(ends: Interval, borders: Sequence[float]) -> list[float]:
    """The two ends of an interval, every border inside it, and a point between each two of these."""
    low, high = min(ends), max(ends)
    points = [low, *sorted({b for b in borders if low < b < high}), high]
    return sorted({*points, *((a + b) / 2 for a, b in itertools.pairwise(points))})


def borders(at: Thresholds | None = None) -> list[tuple[str, list[tuple[float, float]]]]:
    """The border lines of the plane of direct damage and damage, for drawing: (name, [(d_n, n), (d_n, n)])."""
    at = at or Thresholds()
    tau, far = at.tau, 10.0
    lines = [("tau", [(side * tau, -far), (side * tau, far)]) for side in (-1, 1)]
    lines += [("tau", [(-tau, side * tau), (tau, side * tau)]) for side in (-1, 1)]
    lines += [("turned", [(tau, -tau), (far, -tau)]), ("turned", [(-far, tau), (-tau, tau)])]
    lines += [(name, [(tau, r * tau), (far, r * far)]) for name, r in (("spared", at.spared), ("needed", at.needed))]
    return lines
