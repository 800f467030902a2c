"""What is measured over the prompts of a group, and two nulls over the best of all parts.

*Specific*: the answers are permuted among the prompts of a group. What a part writes toward its prompt's own answer,
minus the mean of what it writes toward all answers that are exchanged (its own among them), is as likely under every
order of the answers where the part does not know which answer is whose: a constant that raises all of them comes out
at 0. *Between groups*: the labels of the groups are permuted among the prompts that have one answer.

Both take the largest of all parts in every permutation (maxT: Westfall and Young 1993; Nichols and Holmes 2002), in
logits and not in units of each part's own spread: p is then the chance that the best of all parts comes out so large,
and a small number does not pass because it is steady. p = (count + 1) / (permutations + 1) (Phipson and Smyth 2010).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .decomposed import Crossed

#: How often a group is split in halves.
HALVES = 200
#: Below so many prompts a half is no sample.
FEWEST = 4
#: Numbers that a batch of permutations may take.
AT_ONCE = 2**22
#: How much larger counts as larger: sums of the same numbers in another order differ by less.
TIE = 1e-9


@dataclass
class Null:
    """A statistic of every part, held against the best of all parts under permutations.

    Attributes:
        statistic: [*group, part], in logits, 0 where labels do not matter; p: the same shape.
        best: [permutation], the largest magnitude of all.
        orders: how many orders there are that differ (1e304 where there are more): 1 / orders is the smallest p.
    """

    statistic: Float[Tensor, "*group part"]
    p: Float[Tensor, "*group part"]
    best: Float[Tensor, "permutation"]
    orders: float

    def threshold(self, level: float) -> float:
        """Beyond which magnitude a part passes at ``level``; infinite where there are too few permutations for that."""
        most = math.floor(level * (len(self.best) + 1) * (1 + TIE))
        return float(self.best.sort(descending=True).values[most - 1]) if most else math.inf


def held_against(statistic: Tensor, best: Float[Tensor, "permutation"], orders: float) -> Null:
    """The null of a statistic, with the p-value of each part over the best of all."""
    count = (best >= statistic.abs()[..., None] * (1 - TIE)).sum(-1)
    return Null(statistic, (count + 1).double() / (len(best) + 1), best, orders)


def specific(crossed: Crossed, permutations: int, draw: torch.Generator) -> Null | None:
    """What every part writes toward the prompts' own answers, over what it writes toward those of the others.

    None where no two prompts that exchange their answers have different ones.
    """
    own, block = crossed.own, crossed.block
    table = crossed.values.movedim(-1, 1).contiguous().double().nan_to_num_(0)  # [prompt, answer, part]
    answers = table.shape[1]
    # The mean over all orders: every prompt with each answer of its block, as often as that has it.
    counts = [torch.bincount(own[block == b], minlength=answers).double() for b in range(int(block.max()) + 1)]
    if all(int((c > 0).sum()) < 2 for c in counts):
        return None
    shares = torch.stack([c / c.sum() for c in counts])[block]
    table -= torch.einsum("iap,ia->ip", table, shares)[:, None]
    flat, first = table.flatten(0, 1), torch.arange(len(own)) * answers
    base = block.argsort(stable=True)
    best = []
    each = max(1, AT_ONCE // len(own))
    for start in range(0, permutations, each):
        keys = block + torch.rand(min(each, permutations - start), len(own), generator=draw, dtype=torch.float64)
        given = torch.empty_like(keys, dtype=torch.long)
        given[:, base] = own[keys.argsort(-1)]
        best.append(_means(flat, first + given).abs().amax(-1))
    orders = math.exp(min(700.0, sum(map(_log_orders, (own[block == b].tolist() for b in range(len(counts)))))))
    return held_against(_means(flat, (first + own)[None])[0], torch.cat(best), orders)


def _means(
    table: Float[Tensor, "row part"], rows: Int[Tensor, "permutation prompt"]
) -> Float[Tensor, "permutation part"]:
    """The mean of some rows of a table, for every permutation."""
    found: Tensor = torch.nn.functional.embedding_bag(rows, table, mode="mean")
    return found


def _log_orders(answers: Sequence[int]) -> float:
    """The logarithm of how many orders of these answers differ."""
    return math.lgamma(len(answers) + 1) - sum(math.lgamma(n + 1) for n in Counter(answers).values())


def between(
    values: Float[Tensor, "prompt part"],
    group: Int[Tensor, "prompt"],
    answer: Int[Tensor, "prompt"],
    permutations: int,
    draw: torch.Generator,
) -> Null:
    """The mean of every group over the mean of the others, the groups' labels permuted among the prompts of one answer.

    Subtracted is what the answers alone make of it, where a group has more of one answer than another has.
    """
    values = values.double()
    labels = torch.nn.functional.one_hot(group).double()  # [prompt, group]
    sizes = labels.sum(0)

    def contrast(given: Tensor) -> Float[Tensor, "*permutation group part"]:
        return over_others((given / sizes).mT @ values)

    same = torch.nn.functional.one_hot(answer).double()
    expected = contrast((same / same.sum(0)) @ (same.T @ labels))
    base = answer.argsort(stable=True)
    best = []
    each = max(1, AT_ONCE // (labels.numel() + len(sizes) * values.shape[1]))
    for start in range(0, permutations, each):
        keys = answer + torch.rand(min(each, permutations - start), len(answer), generator=draw, dtype=torch.float64)
        given = torch.empty(*keys.shape, len(sizes), dtype=torch.float64)
        given[:, base] = labels[keys.argsort(-1)]
        best.append((contrast(given) - expected).abs().flatten(1).amax(-1))
    orders = math.exp(min(700.0, sum(_log_orders(group[answer == a].tolist()) for a in answer.unique().tolist())))
    return held_against(contrast(labels) - expected, torch.cat(best), orders)


def over_others(means: Float[Tensor, "*more group part"]) -> Float[Tensor, "*more group part"]:
    """The mean of every group minus the mean of the other groups' means; NaN where there is one."""
    count = means.shape[-2]
    total = means.sum(-2, keepdim=True)
    return means - (total - means) / (count - 1) if count > 1 else torch.full_like(means, torch.nan)


def same_sign(values: Float[Tensor, "prompt part"]) -> Float[Tensor, "part"]:
    """The share of the prompts in which a part has the sign of its mean."""
    found: Tensor = (values.sign() == values.double().mean(0).sign()).double().mean(0)
    return found


def same_sign_permuted(crossed: Crossed) -> Float[Tensor, "part"]:
    """What :func:`same_sign` is with the answers permuted, the sign that of the mean as it was: exactly, the mean over
    all orders."""
    rows = torch.arange(len(crossed.own))
    sign = crossed.values[rows, :, crossed.own].double().mean(0).sign()
    total = torch.zeros(crossed.values.shape[1], dtype=torch.float64)
    for b in range(int(crossed.block.max()) + 1):
        mine = crossed.block == b
        table = (crossed.values[mine].sign() == sign[:, None]).double()  # NaN is no sign
        total += table[:, :, crossed.own[mine]].mean(-1).sum(0)
    return total / len(crossed.own)


def ranks(values: Float[Tensor, "*row part"]) -> Float[Tensor, "*row part"]:
    """Ranks from 1, the smallest first; equal numbers share the mean of their ranks."""
    values = values.double().contiguous()
    order = values.sort(-1).values
    first, last = (torch.searchsorted(order, values, right=right) for right in (False, True))
    return (first + last + 1).double() / 2


def halves(values: Float[Tensor, "prompt part"], draw: torch.Generator) -> Float[Tensor, "split half part"] | None:
    """The means of random halves, :data:`HALVES` times; None of fewer than :data:`FEWEST` prompts."""
    count = len(values)
    if count < FEWEST:
        return None
    order = torch.rand(HALVES, count, generator=draw, dtype=torch.float64).argsort(-1)
    half = count // 2
    return torch.stack([values.double()[order[:, part]].mean(1) for part in (slice(half), slice(half, None))], 1)


def stability(means: Float[Tensor, "split half part"]) -> float:
    """Spearman's correlation between the parts' means in two random halves, in the mean of all splits; NaN where all
    parts are alike."""
    return float(spearman(*means.unbind(1)).mean())


def spearman(a: Float[Tensor, "*row part"], b: Float[Tensor, "*row part"]) -> Float[Tensor, "*row"]:
    """Spearman's correlation: that of the ranks; NaN where one of the two is all alike."""
    a, b = (r - r.mean(-1, keepdim=True) for r in (ranks(a), ranks(b)))
    found: Tensor = (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))
    return found


def rank_range(means: Float[Tensor, "split half part"]) -> Float[Tensor, "2 part"]:
    """Between which ranks by magnitude (1 is the largest) a part is in 90 of 100 random halves."""
    placed = ranks(-means.abs()).flatten(0, 1)
    return placed.quantile(torch.tensor([0.05, 0.95], dtype=torch.float64), 0)
