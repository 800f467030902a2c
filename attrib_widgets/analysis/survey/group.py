"""What was measured over one group of prompts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from . import measures
from .decomposed import Crossed
from .measures import Null

#: The level at which tables and titles say that a part passes.
LEVEL = 0.05


@dataclass(eq=False)
class Group:
    """One group of prompts: what was measured of each part (heads and MLPs), over its prompts.

    Attributes:
        name: its name; numbers: the numbers of its prompts in the survey.
        crossed: what every part writes toward every answer of the group, prompt by prompt.
        mean, spread: of a part's contributions to the prompts' own answers; the spread is the standard deviation.
        same_sign: the share of the prompts in which a part has the sign of its mean; same_sign_permuted: the same with
            the answers permuted, exactly.
        specific: held against permuted answers, over the best of all parts; None, with the reason in ``specific_why``,
            where there is nothing to permute.
        stability: Spearman's correlation between the parts' means in random halves; NaN of fewer than four prompts.
        rank_range: between which ranks by magnitude a part is in 90 of 100 random halves.
        selectivity: the mean minus the mean of the other groups' means; NaN where there is one group.
        between: held against permuted labels of ``beside``, the groups with its template and answers; None, with the
            reason in ``between_why``, where there is none.
    """

    name: str
    numbers: list[int]
    crossed: Crossed
    mean: Float[Tensor, "part"]
    spread: Float[Tensor, "part"]
    same_sign: Float[Tensor, "part"]
    same_sign_permuted: Float[Tensor, "part"]
    specific: Null | None
    specific_why: str
    stability: float
    rank_range: Float[Tensor, "2 part"]
    selectivity: Float[Tensor, "part"]
    between: Null | None = None
    between_why: str = ""
    beside: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def p(self) -> Float[Tensor, "part"]:
        """p of being specific, over the best of all parts; NaN where that is not offered."""
        return torch.full_like(self.mean, torch.nan) if self.specific is None else self.specific.p

    @property
    def beyond(self) -> Float[Tensor, "part"]:
        """What a part writes toward the prompts' own answers over the mean of all answers of the group, in logits; NaN
        likewise."""
        return torch.full_like(self.mean, torch.nan) if self.specific is None else self.specific.statistic

    @property
    def rank(self) -> Float[Tensor, "part"]:
        """Ranks by magnitude of the mean, 1 the largest."""
        return measures.ranks(-self.mean.abs())

    def passing(self, level: float = LEVEL) -> list[int]:
        """Which parts are specific at this level, the largest first."""
        order = self.beyond.abs().nan_to_num(0).argsort(descending=True, stable=True).tolist()
        return [i for i in order if float(self.p[i]) <= level]


def measured(
    name: str, numbers: list[int], values: Float[Tensor, "prompt part"], crossed: Crossed, permutations: int, seed: int
) -> Group:
    """Everything but what needs the other groups. Each null begins its draws anew, so that it is the same with fewer or
    more groups beside it."""
    found = measures.specific(crossed, permutations, torch.Generator().manual_seed(seed))
    split = measures.halves(values, torch.Generator().manual_seed(seed))
    none = torch.full((values.shape[1],), torch.nan, dtype=torch.float64)
    return Group(
        name,
        numbers,
        crossed,
        values.double().mean(0),
        values.double().std(0),
        measures.same_sign(values),
        none if found is None else measures.same_sign_permuted(crossed),
        found,
        "" if found is not None else "all prompts have one answer",
        float("nan") if split is None else measures.stability(split),
        none.expand(2, -1) if split is None else measures.rank_range(split),
        none,
    )
