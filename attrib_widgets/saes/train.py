"""Training a dictionary: TopK with an auxiliary loss that wakes dead features (Gao et al. 2024, arXiv 2406.04093)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from ..components import Component
from .sae import SAE

Samples = Float[Tensor, "sample d_in"]


@dataclass(frozen=True)
class SAESettings:
    """What decides a dictionary, with its activations.

    ``k`` features are active at a time; a second reconstruction with ``wide * k`` of them is asked for too, so
    that the dictionary stays sensible at other numbers. A feature that was silent for ``patience`` samples is
    dead: the ``revive`` strongest dead ones have to explain what the living ones leave over.
    """

    features: int = 1024
    k: int = 8
    steps: int = 1500
    batch: int = 512
    learning_rate: float = 2e-3
    wide: int = 2
    wide_weight: float = 0.125
    revive: int = 64
    revive_weight: float = 1 / 32
    patience: int = 100_000
    pool: int = 60_000
    rounds: int = 6
    seed: int = 0


def train_sae(x: Samples, site: Component, settings: SAESettings | None = None) -> tuple[SAE, float]:
    """(the dictionary, its loss at the end as a share of the variance) for activations of one site.

    The same activations and settings give the same dictionary on one machine.
    """
    chosen = settings or SAESettings()
    generator = torch.Generator().manual_seed(chosen.seed)
    mean = x.mean(0)
    # One scale for all, so that one learning rate suits every place; undone at the end.
    scale = float((x - mean).square().mean().sqrt()) or 1.0
    data = (x - mean) / scale
    weights = _start(data, chosen, generator)
    optimiser = torch.optim.Adam(weights, lr=chosen.learning_rate, betas=(0.9, 0.999), fused=True)
    silent = torch.zeros(chosen.features)
    loss = math.nan
    for step in range(chosen.steps):
        rate = min(1.0, (step + 1) / 100, 4 * (1 - step / chosen.steps))
        for group in optimiser.param_groups:
            group["lr"] = chosen.learning_rate * rate
        rows = data[torch.randint(len(data), (chosen.batch,), generator=generator)]
        error, silent = _step(rows, weights, silent, chosen)
        optimiser.zero_grad(set_to_none=True)
        error.backward()
        with torch.no_grad():
            _keep_unit(weights[2])
            optimiser.step()
            weights[2].copy_(normalize(weights[2], dim=1))
        now = float(error.detach())
        loss = now if math.isnan(loss) else 0.99 * loss + 0.01 * now
    w_enc, b_enc, w_dec, b_dec = (w.detach() for w in weights)
    # In the units of x: activations grow by the scale, decoder rows keep length 1.
    sae = SAE(site, "topk", w_enc, b_enc * scale, w_dec, mean + b_dec * scale, k=chosen.k)
    return sae, loss


def _start(data: Samples, chosen: SAESettings, generator: torch.Generator) -> list[Tensor]:
    """(w_enc, b_enc, w_dec, b_dec): features start as the directions of clusters of samples.

    The seeds are drawn by what is left of a sample when the nearest seed so far is taken away (k-means++; Arthur and
    Vassilvitskii 2007), so that rare samples get a row too, and moved to the middle of their clusters a few times.
    """
    pool = data[torch.randperm(len(data), generator=generator)[: chosen.pool]]
    size = pool.square().sum(1)
    left, rows = size.clone(), torch.empty(0, data.shape[1])
    while len(rows) < chosen.features:
        count = min(64, chosen.features - len(rows))
        drawn = torch.multinomial(left.clamp_min(1e-9), count, generator=generator, replacement=len(pool) < count)
        fresh = normalize(pool[drawn], dim=1)
        left = torch.minimum(left, size - (pool @ fresh.T).relu().max(1).values.square())
        rows = torch.cat([rows, fresh])
    for _ in range(chosen.rounds):
        nearest = torch.cat([(part @ rows.T).argmax(1) for part in pool.split(8192)])
        rows = normalize(torch.zeros_like(rows).index_add(0, nearest, pool) + 1e-6 * rows, dim=1)
    started = [rows.T.clone(), torch.zeros(chosen.features), rows, torch.zeros(data.shape[1])]
    return [w.contiguous().requires_grad_() for w in started]


def _keep_unit(w_dec: Tensor) -> None:
    """Take from the gradient what would only change the rows' lengths."""
    assert w_dec.grad is not None
    along = (w_dec.grad * w_dec).sum(1, keepdim=True)
    w_dec.grad.sub_(along * w_dec)


def _step(x: Samples, weights: list[Tensor], silent: Tensor, chosen: SAESettings) -> tuple[Tensor, Tensor]:
    """(loss, for how many samples each feature has been silent)."""
    w_enc, b_enc, w_dec, b_dec = weights
    pre = (x - b_dec) @ w_enc + b_enc
    # Sorted, so that the few are the first of the many. Only rows that are active are decoded.
    values, where = pre.topk(min(chosen.k * chosen.wide, pre.shape[1]), dim=-1)
    values = values.relu()
    few, active = values[:, : chosen.k], where[:, : chosen.k]
    size = x.square().mean()
    left = x - _decode(few, active, w_dec) - b_dec
    loss = left.square().mean() / size
    many = x - _decode(values, where, w_dec) - b_dec
    loss = loss + chosen.wide_weight * many.square().mean() / size
    with torch.no_grad():
        silent = silent + len(x)
        silent[active[few > 0]] = 0
        dead = (silent > chosen.patience).nonzero()[:, 0]
    if len(dead):
        asleep, which = pre[:, dead].topk(min(chosen.revive, len(dead)), dim=-1)
        target = left.detach()
        missed = target - _decode(asleep.relu(), dead[which], w_dec)
        missed = missed.square().mean() / target.square().mean().clamp_min(1e-12)
        loss = loss + chosen.revive_weight * missed
    return loss, silent


def _decode(
    values: Float[Tensor, "sample k"], where: Int[Tensor, "sample k"], w_dec: Float[Tensor, "feature d_in"]
) -> Samples:
    return torch.nn.functional.embedding_bag(where, w_dec, per_sample_weights=values, mode="sum")


def settings_of(chosen: SAESettings) -> dict[str, int | float]:
    """The settings as they are written to a dictionary's file."""
    return asdict(chosen)
