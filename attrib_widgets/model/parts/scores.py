"""Scores of attention from queries and keys: masks, penalties, caps, and the softmax that makes a pattern of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .listen import ROWS
from .projections import qkv_of, setting

if TYPE_CHECKING:
    from ..network import Network
    from ..tracing.recording import Recording


def _mask(
    model: Network, rec: Recording, layer: int, count: int, device: Any, heads: Any = ROWS, rows: slice = ROWS
) -> tuple[Bool[Tensor, "heads_or_1 destination source"], Float[Tensor, "heads_or_1 destination source"] | None]:
    """(where attention over ``count`` positions may not look, what the mask adds elsewhere or None)."""
    qkv = qkv_of(model)
    given = rec.attn_inputs[layer].get(qkv_of(model).mask)

    def asked(table: Tensor) -> Tensor:
        return (table if len(table) == 1 else table[heads])[:, rows]

    added: Tensor | None = None
    if isinstance(given, Tensor) and given.dim() == 4:
        mask = asked(given[0, :, -count:, :count])
        if mask.dtype == torch.bool:
            blocked = mask if qkv.mask_true == "hidden" else ~mask
        else:
            blocked = mask <= torch.finfo(mask.dtype).min / 2
            added = mask.float().masked_fill(blocked, 0)
            added = added if bool(added.any()) else None
    else:
        distance = torch.arange(count, device=device)[rows, None] - torch.arange(count, device=device)[None, :]
        # Only flash attention is told of the window beside the mask; the others get no mask where none is needed.
        window = setting(model, layer, qkv.window) if "flash" in _implementation(model) else None
        blocked = ((distance < 0) | (distance >= (window or count)))[None]
    own = setting(model, layer, qkv.causal)
    if isinstance(own, Tensor):
        blocked = blocked | ~asked(own[0, :, :count, :count]).to(blocked.device).bool()
    return blocked, added


def allowed_keys(model: Network, rec: Recording, layer: int) -> Float[Tensor, "heads_or_1 destination source"]:
    """What the mask of ``layer`` adds to its scores on this prompt: -inf where attention may not look."""
    count = len(rec.streams[layer])
    blocked, added = _mask(model, rec, layer, count, rec.streams[layer].device)
    found = torch.zeros(blocked.shape, device=blocked.device) if added is None else added
    return found.masked_fill(blocked, -torch.inf)


def position_penalty(model: Network, rec: Recording, layer: int, keys: int) -> Float[Tensor, "head 1 key"] | None:
    """The position penalty that ``layer`` was given, for the first ``keys`` positions; None where it has none."""
    given = rec.attn_inputs[layer].get(qkv_of(model).penalty)
    if not isinstance(given, Tensor):
        return None
    given = given.reshape(model.geometry[layer].n_heads, 1, -1)
    return given[..., -keys:] if qkv_of(model).penalty_of == "all" else given[..., :keys]


def score_cap(model: Network, layer: int) -> float | None:
    """The cap of the scores that this model applies: torch's fused attention (sdpa) leaves it out."""
    value = setting(model, layer, qkv_of(model).softcap)
    return float(value) if value and not _fused(model) else None


def _implementation(model: Network) -> str:
    return str(getattr(model.config, "_attn_implementation", None) or "")


def _fused(model: Network) -> bool:
    return _implementation(model) == "sdpa"


def eager(model: Network) -> bool:
    return _implementation(model) == "eager"


def looks(
    model: Network,
    rec: Recording,
    layer: int,
    q: Float[Tensor, "head position d_head"],
    k: Float[Tensor, "head position d_head"],
    heads: Sequence[int] | None = None,
    rows: slice = ROWS,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None, Tensor, float, float | None]:
    """Where heads look with queries ``q`` and keys ``k``: the scores, position penalty, pattern, sink, mask, scaling
    and cap of :class:`.attention.Scored`.

    They need not be those of the recording, which gives the mask and the position penalty. Of ``heads`` alone (None:
    all), from the destinations ``rows``.
    """
    qkv, which = qkv_of(model), ROWS if heads is None else list(heads)
    q, k = q[which][:, rows], k[which]
    scaling = _scaling(model, layer)
    # An eager model in half precision rounds its scores and its pattern: so does this, to show what it did.
    dtype = model.dtype if eager(model) else torch.float32
    fine = torch.float32 if qkv.float_scores else dtype
    scores, alibi = _scores(model, rec, layer, q, k, scaling, fine, which)
    fine = fine if qkv.alibi == "scaled" else scores.dtype
    cap = score_cap(model, layer)
    logits = scores if not cap else torch.tanh(scores / cap) * cap
    blocked, added = _mask(model, rec, layer, k.shape[-2], scores.device, which, rows)
    if added is not None:
        logits, alibi = logits.float() + added, added if alibi is None else alibi + added
        scores = scores.float() + added
    logits = logits.to(fine).float().masked_fill(blocked, -torch.inf)
    sinks = setting(model, layer, qkv.sinks)
    if isinstance(sinks, Tensor):
        column = sinks.detach().to(model.home).float().reshape(-1, 1, 1)[which].expand(-1, scores.shape[-2], 1)
        full = torch.cat([logits, column], -1).to(dtype)
        full = (full - full.amax(-1, keepdim=True)).softmax(-1).float()  # rounded where the model rounds
        pattern, sink = full[..., :-1], full[..., -1]
    else:
        pattern, sink = logits.softmax(-1), None
    return scores.float(), alibi, pattern.to(dtype).float(), sink, blocked, scaling, cap


def _scaling(model: Network, layer: int) -> float:
    """What multiplies the scores of ``layer``."""
    name = qkv_of(model).scaling
    if not isinstance(name, str):
        return float(name)
    value = setting(model, layer, name.strip("/"))
    if value is None:
        return float(model.geometry[layer].d_head ** -0.5)
    return 1 / float(value) if name.startswith("/") else float(value)


def _scores(
    model: Network, rec: Recording, layer: int, q: Tensor, k: Tensor, scaling: float, dtype: torch.dtype, heads: Any
) -> tuple[Tensor, Tensor | None]:
    """(scores [head, destination, source] in ``dtype``, the position penalty in them or None)."""
    queries, keys = q.to(dtype), k.to(dtype).transpose(-1, -2)
    alibi = position_penalty(model, rec, layer, keys.shape[-1])
    if alibi is not None and not _fused(model):  # fused attention knows no penalty but the mask's
        alibi = alibi[heads]
        if torch.promote_types(alibi.dtype, dtype) != dtype:  # a finer penalty makes the scores as fine
            return queries @ keys * scaling + alibi, alibi.expand(-1, queries.shape[1], -1).float()
        alibi = alibi.to(dtype).expand(-1, queries.shape[1], -1)
        if qkv_of(model).alibi == "scaled":
            return ((queries @ keys).float() + alibi.float()) * scaling, alibi.float() * scaling
        return torch.baddbmm(alibi, queries, keys, alpha=scaling), alibi.float()
    if qkv_of(model).early_scaling:
        return (queries * scaling) @ keys, None
    return queries @ keys * scaling, None
