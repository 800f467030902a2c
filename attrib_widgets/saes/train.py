"""Training a dictionary: TopK with an auxiliary loss that wakes dead features (Gao et al. 2024, arXiv 2406.04093)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding, embedding_bag, normalize
from tqdm.auto import tqdm

from ..words.errors import AttribError
from ..words.places import PlaceLike, dictionary_place
from .sae import SAE

Samples = Float[Tensor, "sample d_in"]

# A feature fires on few samples: where squared gradients are remembered for a thousand steps, as is usual, the rare
# samples on which it is wrong hardly move it.
_BETAS = (0.9, 0.97)
# The learning rate rises over the first steps, stays, and falls in a straight line over the last share of them.
_WARM_UP, _DECAY = 200, 0.8
# The share of the steps, at the end, in which the active features are chosen in float32 on every machine.
_EXACT = 0.1
# The length of the encoders of new features beside trained ones.
_ASLEEP = 0.1
#: What a dictionary to go on from may make of its pre-activations.
STARTS = ("standard", "topk", "jumprelu")


@dataclass(frozen=True)
class SAESettings:
    """What decides a dictionary, with its activations.

    ``k`` features are active at a time; reconstructions from the ``narrow`` and the ``wide`` strongest are asked for
    too, so that the strongest feature alone says what a token is and the dictionary stays sensible at other numbers.
    A feature that was silent for ``patience`` samples is dead: the ``revive`` strongest dead ones have to explain what
    the living ones leave over.
    """

    features: int = 1024
    k: int = 8
    steps: int = 10_000
    batch: int = 1024
    learning_rate: float = 4e-3
    narrow: int = 1
    narrow_weight: float = 0.5
    wide: int = 16
    wide_weight: float = 0.125
    revive: int = 64
    revive_weight: float = 0.125
    patience: int = 50_000
    pool: int = 60_000
    rounds: int = 6
    seed: int = 0


def train_sae(x: Samples, site: PlaceLike, settings: SAESettings | None = None, start: SAE | None = None) -> SAE:
    """The dictionary for activations of one site; a bar shows the share of the variance that it misses so far.

    ``x`` may be in half precision: it is computed with in float32, a batch at a time. The same activations, settings
    and start give the same dictionary on one machine. ``start`` is a dictionary to go on from, for example that of the
    same model before it was trained further: its features that matter most here, and new ones for what it misses.

    Raises:
        AttribError: ``start`` reads activations of another width, or has another form than what is trained.
    """
    chosen = settings or SAESettings()
    if start is not None and start.w_dec.shape[1] != x.shape[1]:
        raise AttribError(
            f"The dictionary to go on from reads {start.w_dec.shape[1]} numbers, the activations have {x.shape[1]}.",
            "Go on from one of the same place and model, or from none.",
        )
    if start is not None and not (start.plain and start.architecture in STARTS):
        raise AttribError(
            f"{start!r} is no dictionary to go on from: what is trained is topk, without a norm or another place.",
            f"Go on from one of {', '.join(STARTS)}, or from none.",
        )
    generator = torch.Generator().manual_seed(chosen.seed)
    pool = x[torch.randperm(len(x), generator=generator)[: chosen.pool]].float()
    mean = pool.mean(0)
    # One scale for all, so that one learning rate suits every place; undone at the end.
    scale = float((pool - mean).square().mean().sqrt()) or 1.0
    pool = (pool - mean) / scale
    weights = _start(pool, chosen, generator) if start is None else _on(start, pool, mean, scale, chosen, generator)
    optimiser = torch.optim.Adam(weights, lr=chosen.learning_rate, betas=_BETAS, fused=True)
    silent = torch.zeros(chosen.features)
    loss = math.nan
    quick = torch.bfloat16 if _has_bfloat16() else torch.float32
    bar = tqdm(range(chosen.steps), desc=f"dictionary of {site}", mininterval=5)
    for step in bar:
        rate = min(1.0, (step + 1) / min(_WARM_UP, chosen.steps), (1 - step / chosen.steps) / _DECAY)
        for group in optimiser.param_groups:
            group["lr"] = chosen.learning_rate * rate
        rows = (x[torch.randint(len(x), (chosen.batch,), generator=generator)].float() - mean) / scale
        dtype = quick if step < (1 - _EXACT) * chosen.steps else torch.float32
        error, missed, silent = _step(rows, weights, silent, chosen, dtype)
        optimiser.zero_grad(set_to_none=True)
        error.backward()
        with torch.no_grad():
            _keep_unit(weights[2])
            optimiser.step()
            weights[2].copy_(normalize(weights[2], dim=1))
        loss = missed if math.isnan(loss) else 0.99 * loss + 0.01 * missed
        bar.set_postfix(missed=f"{loss:.4f}", refresh=False)
    w_enc, b_enc, w_dec, b_dec = (w.detach() for w in weights)
    # In the units of x: activations grow by the scale, decoder rows keep length 1.
    return SAE(
        dictionary_place(site), "topk", w_enc.T.contiguous(), b_enc * scale, w_dec, mean + b_dec * scale, k=chosen.k
    )


def _has_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16; where it does not, that takes seven times as long as float32."""
    known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def _start(pool: Samples, chosen: SAESettings, generator: torch.Generator) -> list[Tensor]:
    """(w_enc, b_enc, w_dec, b_dec), both matrices [feature, d_in]: features start as directions of clusters.

    The seeds are drawn by what is left of a sample when the nearest seed so far is taken away (k-means++; Arthur and
    Vassilvitskii 2007), so that rare samples get a row too, and moved to the middle of their clusters a few times.
    """
    rows = _seeds(pool, chosen.features, generator)
    for _ in range(chosen.rounds):
        nearest = torch.cat([(part @ rows.T).argmax(1) for part in pool.split(8192)])
        rows = normalize(torch.zeros_like(rows).index_add(0, nearest, pool) + 1e-6 * rows, dim=1)
    return _trainable(rows.clone(), torch.zeros(chosen.features), rows, torch.zeros(pool.shape[1]))


def _trainable(*weights: Tensor) -> list[Tensor]:
    return [w.contiguous().requires_grad_() for w in weights]


def _seeds(pool: Samples, wanted: int, generator: torch.Generator) -> Float[Tensor, "feature d_in"]:
    """Directions of samples, each drawn by how much of its square is left when the nearest one so far is taken away."""
    size = pool.square().sum(1)
    left, rows = size.clone(), torch.empty(0, pool.shape[1])
    while len(rows) < wanted:
        count = min(64, wanted - len(rows))
        drawn = torch.multinomial(left.clamp_min(1e-9), count, generator=generator, replacement=len(pool) < count)
        fresh = normalize(pool[drawn], dim=1)
        left = torch.minimum(left, size - (pool @ fresh.T).relu().max(1).values.square())
        rows = torch.cat([rows, fresh])
    return rows


def _on(
    start: SAE,
    pool: Samples,
    mean: Float[Tensor, "d_in"],
    scale: float,
    chosen: SAESettings,
    generator: torch.Generator,
) -> list[Tensor]:
    """The weights of ``start`` for samples on this scale, as many features as are wanted.

    Too many: those stay whose activations have the largest squares. Too few: new ones are directions of what is missed,
    with encoders so small that they are silent until the loss for dead features wakes them.
    """
    # As what is trained reads: without b_dec, and along rows of length 1.
    length = start.w_dec.norm(dim=1)
    w_enc, w_dec, b_dec = start.w_enc * length, normalize(start.w_dec, dim=1), (start.b_dec - mean) / scale
    b_enc = (start.b_enc if start.subtract else start.b_enc + start.b_dec @ start.w_enc) * length / scale
    threshold = None if start.threshold is None else start.threshold * length / scale
    mine = replace(start, w_enc=w_enc, b_enc=b_enc, w_dec=w_dec, b_dec=b_dec, threshold=threshold, subtract=True)
    energy, missed = torch.zeros(start.n_features), torch.empty_like(pool)
    for part, to in zip(pool.split(8192), missed.split(8192), strict=True):
        active = mine.encode(part)
        energy += active.square().sum(0)
        to.copy_(part - mine.decode(active))
    kept = energy.argsort(descending=True)[: chosen.features]
    fresh = _seeds(missed, chosen.features - len(kept), generator)
    return _trainable(
        torch.cat([w_enc.T[kept], _ASLEEP * fresh]),
        torch.cat([b_enc[kept], torch.zeros(len(fresh))]),
        torch.cat([w_dec[kept], fresh]),
        b_dec,
    )


def _keep_unit(w_dec: Tensor) -> None:
    """Take from the gradient what would only change the rows' lengths."""
    assert w_dec.grad is not None
    along = (w_dec.grad * w_dec).sum(1, keepdim=True)
    w_dec.grad.sub_(along * w_dec)


def _step(
    x: Samples, weights: list[Tensor], silent: Tensor, chosen: SAESettings, dtype: torch.dtype
) -> tuple[Tensor, float, Tensor]:
    """(loss, share of the variance missed, for how many samples each feature has been silent).

    ``dtype`` is what the active features are chosen in.
    """
    w_enc, b_enc, w_dec, b_dec = weights
    centred = x - b_dec
    with torch.no_grad():
        # Which features are active has no gradient; their activations are computed below, for them alone.
        pre = torch.addmm(b_enc.to(dtype), centred.to(dtype), w_enc.T.to(dtype))
        # Sorted, so that the few are the first of the many.
        where = pre.topk(min(chosen.wide, pre.shape[1]), dim=-1).indices
    values = (torch.einsum("sd,skd->sk", centred, embedding(where, w_enc)) + b_enc[where]).relu()
    size = x.square().mean()
    left = centred - _decode(values, where, w_dec, chosen.k)
    loss = left.square().mean() / size
    share = float(loss.detach())
    for count, weight in ((chosen.narrow, chosen.narrow_weight), (chosen.wide, chosen.wide_weight)):
        missed = centred - _decode(values, where, w_dec, count)
        loss = loss + weight * missed.square().mean() / size
    with torch.no_grad():
        silent = silent + len(x)
        silent[where[:, : chosen.k][values[:, : chosen.k] > 0]] = 0
        dead = (silent > chosen.patience).nonzero()[:, 0]
    if len(dead):
        asleep, which = (centred @ w_enc[dead].T + b_enc[dead]).topk(min(chosen.revive, len(dead)), dim=-1)
        target = left.detach()
        missed = target - _decode(asleep.relu(), dead[which], w_dec, chosen.revive)
        missed = missed.square().mean() / target.square().mean().clamp_min(1e-12)
        loss = loss + chosen.revive_weight * missed
    return loss, share, silent


def _decode(
    values: Float[Tensor, "sample k"], where: Int[Tensor, "sample k"], w_dec: Float[Tensor, "feature d_in"], count: int
) -> Samples:
    """What the first ``count`` of the active features stand for."""
    few, active = values[:, :count].contiguous(), where[:, :count].contiguous()
    return embedding_bag(active, w_dec, per_sample_weights=few, mode="sum")
