"""Ratios over pairs of prompts, with their intervals."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

DRAWS = 2000
LEVEL = 0.95
SMALL_GAP = 0.1  # a pair whose gap is below this share of the mean gap is listed


def ratio_of_means(change: Float[Tensor, "pair cell"], gap: Float[Tensor, "pair"]) -> Float[Tensor, "cell"]:
    """Mean change over mean gap: pairs with a large gap weigh more, and none divides by its own small one."""
    total = gap.double().sum()
    out: Tensor = change.double().sum(0) / torch.where(total == 0, torch.nan, total)
    return out


def bootstrap(
    change: Float[Tensor, "pair cell"], gap: Float[Tensor, "pair"], draws: int = DRAWS, seed: int = 0
) -> Float[Tensor, "cell 2"] | None:
    """The 95 % interval of :func:`ratio_of_means`, pairs drawn together (paired bootstrap); None for one pair."""
    n = len(gap)
    if n < 2:
        return None
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(n, (draws, n), generator=generator)
    counts = torch.zeros(draws, n, dtype=torch.float64).scatter_add_(
        1, drawn, torch.ones(draws, n, dtype=torch.float64)
    )
    ratios = (counts @ change.double()) / (counts @ gap.double())[:, None]
    tail = (1 - LEVEL) / 2
    ends = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    return ratios.nanquantile(ends, dim=0).T


def small_gaps(gap: Float[Tensor, "pair"]) -> list[int]:
    """Pairs whose answers hardly differ: listed, never dropped."""
    mean = float(gap.abs().mean())
    return [i for i, g in enumerate(gap.tolist()) if abs(g) < SMALL_GAP * mean or g == 0]
