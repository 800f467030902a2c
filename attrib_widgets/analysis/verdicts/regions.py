"""The verdict on one component from three numbers: direct share d, necessity n (damage), sufficiency s (recovery).

The regions partition the plane: every (d, n, s) has exactly one verdict. Thresholds are arguments and printed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """A word, and five plain words for it."""

    NO_EFFECT = ("no effect", "it does not matter here")
    MEDIATOR = ("mediator", "it works through other parts")
    SOLE_PATH = ("sole path", "what it writes is needed")
    SOLE_PATH_AND_MEDIATES = ("sole path, and mediates", "needed directly and through others")
    PARTLY_REPLACED = ("partly replaced", "part of its loss is made up")
    REDUNDANT = ("redundant", "the answer stands without it")
    SUPPRESSION = ("suppression", "it holds the answer back")
    COMPENSATED = ("suppression, compensated", "it holds back; others adjust")
    OPPOSED = ("opposed", "direct and total effect disagree")

    @property
    def word(self) -> str:
        """For example ``"redundant"``."""
        return self.value[0]

    @property
    def plain(self) -> str:
        """For example ``"the answer stands without it"``."""
        return self.value[1]


@dataclass(frozen=True)
class Thresholds:
    """``tau`` is the share of the gap below which nothing is read; the others are ratios of n to d."""

    tau: float = 0.05
    sole: float = 0.8
    mediates: float = 1.25
    redundant: float = 0.3
    suppression: float = 0.3

    def __str__(self) -> str:
        return (
            f"tau {self.tau:g}; n/d: sole path from {self.sole:g}, and mediates above {self.mediates:g}, "
            f"redundant below {self.redundant:g}; suppression from {self.suppression:g}"
        )


def verdict(d: float, n: float, s: float, at: Thresholds | None = None) -> Verdict:
    """The one region in which (d, n, s) lies."""
    at = at or Thresholds()
    if abs(d) < at.tau:
        return Verdict.NO_EFFECT if abs(n) < at.tau and abs(s) < at.tau else Verdict.MEDIATOR
    if d > 0:
        if n <= -at.tau:
            return Verdict.OPPOSED
        if n < at.redundant * d:
            return Verdict.REDUNDANT
        if n < at.sole * d:
            return Verdict.PARTLY_REPLACED
        return Verdict.SOLE_PATH if n <= at.mediates * d else Verdict.SOLE_PATH_AND_MEDIATES
    if n >= at.tau:
        return Verdict.OPPOSED
    return Verdict.SUPPRESSION if n <= at.suppression * d else Verdict.COMPENSATED


def within(
    d: Sequence[float], n: Sequence[float], s: Sequence[float], at: Thresholds | None = None
) -> tuple[Verdict, ...]:
    """The verdicts anywhere in a box of intervals: more than one means borderline.

    Every region is bounded by lines of a constant d, n or s, or of a constant n/d. Between the places where these cross
    the sides of the box no two of them cross, so points on the crossings and between them tell.
    """
    at = at or Thresholds()
    ratios = (at.redundant, at.sole, at.mediates, at.suppression)
    crossings = [y / r for y in (*n, -at.tau, at.tau) for r in ratios if r]
    ds = _cuts(d, [-at.tau, at.tau, *crossings])
    ss = _cuts(s, [-at.tau, at.tau])
    found: dict[Verdict, None] = {}
    for x in ds:
        borders = [-at.tau, at.tau, *(r * x for r in ratios)]
        for y, z in itertools.product(_cuts(n, borders), ss):
            found[verdict(x, y, z, at)] = None
    return tuple(found)


def _cuts(ends: Sequence[float], borders: Sequence[float]) -> list[float]:
    """The two ends of an interval, and a point on each side of every border inside it."""
    low, high = min(ends), max(ends)
    inside = sorted({b for b in borders if low < b < high})
    points = [low, *inside, high]
    middles = [(a + b) / 2 for a, b in itertools.pairwise(points)]
    return sorted({*points, *middles})


def borders(at: Thresholds | None = None) -> list[tuple[str, list[tuple[float, float]]]]:
    """The border lines of the (d, n) plane, for drawing: (name, [(d, n), (d, n)])."""
    at = at or Thresholds()
    far = 10.0
    lines = [("tau", [(side * at.tau, -far), (side * at.tau, far)]) for side in (-1, 1)]
    lines += [("tau", [(-at.tau, side * at.tau), (at.tau, side * at.tau)]) for side in (-1, 1)]
    lines += [("opposed", [(at.tau, -at.tau), (far, -at.tau)]), ("opposed", [(-far, at.tau), (-at.tau, at.tau)])]
    for name, ratio in (("redundant", at.redundant), ("sole path", at.sole), ("and mediates", at.mediates)):
        lines.append((name, [(at.tau, ratio * at.tau), (far, ratio * far)]))
    lines.append(("suppression", [(-at.tau, -at.suppression * at.tau), (-far, -at.suppression * far)]))
    return lines
