"""Ratios over pairs of prompts, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import torch
from jaxtyping import Float
from torch import Tensor

from ....words.text import signed

LEVEL = 0.95
#: From so many pairs on an interval is printed: of fewer, none covers what it promises.
FEWEST = 8
#: An effect that sits in less than this share of the pairs has no interval: the next pair may show it or not.
LEAST_SHARE = 0.25
SMALL_GAP = 0.1  # a pair whose gap is below this share of the mean gap is listed


def ratio_of_means(change: Float[Tensor, "pair cell"], gap: Float[Tensor, "pair"]) -> Float[Tensor, "cell"]:
    """Mean change over mean gap: pairs with a large gap weigh more, and none divides by its own small one."""
    total = gap.double().sum()
    out: Tensor = change.double().sum(0) / torch.where(total == 0, torch.nan, total)
    return out


def interval_of(change: Float[Tensor, "pair cell"], gap: Float[Tensor, "pair"]) -> Float[Tensor, "cell 2"] | None:
    """The 95 % interval of :func:`ratio_of_means`: Student's t of the linearised ratio (Cochran 1977, chapter 6).

    None for fewer than :data:`FEWEST` pairs; NaN where too few of them show the effect (:func:`shown_by`).
    """
    n = len(gap)
    if n < FEWEST:
        return None
    change, gap = change.double(), gap.double()
    ratio = ratio_of_means(change, gap)
    residual = change - ratio * gap[:, None]
    error = (residual.square().sum(0) / (n * (n - 1))).sqrt() / gap.mean().abs()
    half = torch.where(shown_by(change) < LEAST_SHARE, torch.nan, student(LEVEL, n - 1) * error)
    return torch.stack([ratio - half, ratio + half], -1)


def shown_by(change: Float[Tensor, "pair cell"]) -> Float[Tensor, "cell"]:
    """The share of the pairs in which an effect sits: 1 where all show it alike, 1/n where one pair alone does.

    It is (sum of sizes)^2 over n times the sum of squares, which is k/n where k pairs show the same and the others
    nothing. 1 where nothing changes at all.
    """
    size = change.double().abs()
    squares = len(size) * size.square().sum(0)
    return torch.where(squares == 0, 1.0, size.sum(0).square() / squares.clamp_min(1e-300))


def student(level: float, degrees: int) -> float:
    """The two-sided quantile of Student's t: Cornish and Fisher's expansion (Abramowitz and Stegun, 26.7.5), right to
    0.001 from seven degrees of freedom on."""
    z, v = NormalDist().inv_cdf((1 + level) / 2), degrees
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / v**power for power, term in enumerate(terms, 1)))


def between(low: float, high: float, digits: int = 2) -> str:
    """An interval in words."""
    return f"{signed(low, digits)} to {signed(high, digits)}" if low == low else "too few pairs show it"


def small_gaps(gap: Float[Tensor, "pair"]) -> list[int]:
    """Pairs whose answers hardly differ: listed, never dropped."""
    mean = float(gap.abs().mean())
    return [i for i, g in enumerate(gap.tolist()) if abs(g) < SMALL_GAP * mean or g == 0]


def opposite_gaps(gap: Float[Tensor, "pair"]) -> list[int]:
    """Pairs whose gap has the other sign than the mean gap: the comparison prompt says the answer more than the clean
    one does, so that recovery and damage change places."""
    total = float(gap.sum()) or float(gap[0])  # where they cancel, the first tells
    return [i for i, g in enumerate(gap.tolist()) if g * total < 0]


def counted(pairs: int, left_out: Sequence[int]) -> str:
    """How many pairs: ``"one pair of prompts"``, ``"38 of 40 pairs"``."""
    given = pairs + len(left_out)
    if given == 1:
        return "one pair of prompts"
    return f"{pairs} pairs" if pairs == given else f"{pairs} of {given} pairs"


def said_of(gap: Float[Tensor, "pair"], left_out: Sequence[int]) -> list[str]:
    """Remarks on the pairs, by the numbers that they were given with; those of ``left_out`` are not among them."""
    given = [n for n in range(len(gap) + len(left_out)) if n not in left_out]
    small, opposite = ([given[i] for i in find(gap)] for find in (small_gaps, opposite_gaps))
    notes = []
    if small:
        notes.append(f"pairs with hardly any gap: {', '.join(map(str, small))}")
    if opposite:
        leave = ", ".join(map(str, sorted({*left_out, *opposite})))
        notes.append(
            f"the gap of {'pair' if len(opposite) == 1 else 'pairs'} {', '.join(map(str, opposite))} has the other "
            f"sign: skip=[{leave}] leaves {'it' if len(opposite) == 1 else 'them'} out"
        )
    if 1 < len(gap) < FEWEST:
        notes.append(f"no intervals: fewer than {FEWEST} pairs")
    return notes
