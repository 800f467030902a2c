"""Attention recomputed from a recording: queries, keys, values, scores and patterns of one layer.

Patterns and values are what the layer's own module is heard to do (:mod:`.listen`), where it reproduces the recorded
z; else, and for scores, the layer's own projections are called on the recorded stream and the anatomy says what
follows, whatever attention implementation the model was loaded with. Everything returned is float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ...words.errors import AnatomyError, AttribError, GranularityError
from ..anatomy.anatomy import QKV, bias_of, weight_in_out
from ..anatomy.norms import FrozenNorm, no_norm
from ..anatomy.rounding import half_ulp, projection_error, refuse_above, worst
from ..listen import heard
from ..memory import require

if TYPE_CHECKING:
    from ..model import Model
    from ..tracing.record import Recording

# Allowed miss of pattern @ v against the recorded z, relative to what the pattern takes from the values' magnitudes.
LIMITS = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 4e-2}
_GONE = "the attention of layer {}, recomputed, is not what its heads wrote"


@dataclass
class Projected:
    """One of q, k, v of a layer: before and after its norm and rotation, per query head."""

    raw: Float[Tensor, "position width"]
    final: Float[Tensor, "head position d_head"]
    norm: FrozenNorm | None


@dataclass
class Attended:
    """The attention of one layer on one prompt.

    ``pattern`` rows are as the model has them: where it has sinks they sum to 1 minus ``sink``. ``v`` are the values
    of every query head.
    """

    pattern: Float[Tensor, "head destination source"]
    v: Float[Tensor, "head position d_head"]
    sink: Float[Tensor, "head destination"] | None


@dataclass
class Scored(Attended):
    """The same with its scores.

    ``scores`` are before the soft cap and the mask, the position penalty ``alibi`` included; ``blocked`` is where the
    mask (a sliding window, say) lets nothing through.
    """

    q: Projected
    k: Projected
    scores: Float[Tensor, "head destination source"]
    alibi: Float[Tensor, "head destination source"] | None
    blocked: Bool[Tensor, "heads_or_1 destination source"]
    scaling: float
    cap: float | None


def _qkv(model: Model) -> QKV:
    if model.anatomy.qkv is None:
        raise AnatomyError(f"the attention of {model.name} is not known")
    return model.anatomy.qkv


def _module(model: Model, layer: int) -> nn.Module:
    return model.module(model.anatomy.attn or "", layer)


def _named(model: Model, layer: int, name: str | None) -> Any:
    """An attribute of the attention module, or of the config (``"config.name"``); None where there is none."""
    if name is None:
        return None
    owner: Any = model.config if name.startswith("config.") else _module(model, layer)
    return getattr(owner, name.removeprefix("config."), None)


def normed_input(model: Model, rec: Recording, layer: int) -> Float[Tensor, "position d_model"]:
    """What the attention of ``layer`` reads, in the model's dtype."""
    return normed(model, layer, rec.streams[layer])


def normed(model: Model, layer: int, stream: Float[Tensor, "position d_model"]) -> Float[Tensor, "position d_model"]:
    """A stream as the attention of ``layer`` reads it, in the model's dtype."""
    path = model.anatomy.attn_norm
    if path is None:
        return stream
    with model.quiet():
        return model.call(model.module(path, layer), stream[None])[0]


def input_norm(model: Model, layer: int) -> FrozenNorm:
    """The norm that the attention of ``layer`` reads through."""
    path = model.anatomy.attn_norm
    return no_norm(model.d_model, model.home) if path is None else model.norm(path, layer)


@dataclass(frozen=True)
class Rotation:
    """Rotary embedding of one layer on one prompt: a cosine and a sine for every pair of numbers of a head.

    The first ``2 * pairs`` numbers of a head are turned; ``interleaved`` pairs neighbours, else halves are paired.
    """

    cos: Float[Tensor, "position pairs"]
    sin: Float[Tensor, "position pairs"]
    interleaved: bool

    def at(self, position: int) -> Rotation:
        """The rotation at one position, in float32."""
        return Rotation(self.cos[position].float(), self.sin[position].float(), self.interleaved)

    def __call__(self, x: Float[Tensor, "*shape d_head"], back: bool = False) -> Float[Tensor, "*shape d_head"]:
        """``x`` turned; ``back`` applies the transpose."""
        pairs = self.cos.shape[-1]
        part, rest = x[..., : 2 * pairs], x[..., 2 * pairs :]
        shaped = part.unflatten(-1, (pairs, 2) if self.interleaved else (2, pairs))
        axis = -1 if self.interleaved else -2
        a, b = shaped.unbind(axis)
        sin = -self.sin if back else self.sin
        turned = torch.stack([a * self.cos - b * sin, b * self.cos + a * sin], axis).flatten(-2)
        return torch.cat([turned, rest], -1)


def rotation(model: Model, rec: Recording, layer: int) -> Rotation | None:
    """What turns the queries and keys of ``layer``, or None where nothing does."""
    qkv, attn = _qkv(model), _module(model, layer)
    still = qkv.rotary_if and not getattr(attn, qkv.rotary_if, None)
    if still or rec.attn_inputs[layer].get("alibi") is not None:
        return None
    interleaved = qkv.rotary == "interleaved"
    own = getattr(attn, qkv.rotary_table, None)
    if isinstance(own, Tensor):
        sin, cos = own[: len(rec.streams[layer])].to(rec.streams[layer]).chunk(2, -1)
        return Rotation(cos, sin, interleaved)
    given = rec.attn_inputs[layer].get("position_embeddings")
    if given is None:
        return None
    cos, sin = (t.reshape(-1, t.shape[-1]) for t in given)
    if qkv.rotary_table == "sines_first":
        return Rotation(sin, cos, interleaved)
    if qkv.rotary_table == "interleaved":
        cos, sin = cos[:, ::2], sin[:, ::2]
    elif qkv.rotary_table != "single":
        cos, sin = cos[:, : cos.shape[-1] // 2], sin[:, : sin.shape[-1] // 2]
    return Rotation(cos, sin, interleaved)


def project(model: Model, rec: Recording, layer: int, which: str, x: Tensor) -> Projected:
    """``which`` is ``"q"``, ``"k"`` or ``"v"``; ``x`` is :func:`normed_input`."""
    geo, qkv = model.geometry[layer], _qkv(model)
    rows = geo.rows[which]
    with model.quiet():
        out = model.call(model.module(f"{model.anatomy.attn}.{getattr(qkv, which)}", layer), x)
        if int(rows.max()) >= out.shape[-1] or (qkv.layout == "split" and rows.numel() != out.shape[-1]):
            raise AnatomyError(f"the {which} projection has {out.shape[-1]} outputs, not {rows.numel()}")
        raw = out[:, rows.flatten().to(out.device)]
        final, norm = raw, None
        limit = getattr(model.config, qkv.clip, None) if qkv.clip else None
        if limit and bool((raw.abs() > limit).any()):
            raise GranularityError(
                f"On this prompt the {which} projection of layer {layer} exceeds {limit:g}, where {model.name} cuts it "
                "off: what remains is no sum of what was read."
            )
        path = getattr(qkv, f"{which}_norm", None)
        if path:
            module = model.module(f"{model.anatomy.attn}.{path}", layer)
            norm = _head_norm(model, layer, path, module)
            wide = norm.gain.numel() != geo.d_head
            shaped = raw if wide else raw.view(len(raw), -1, geo.d_head)
            final = model.call(module, shaped).reshape(len(raw), -1)
    heads = final.view(len(raw), -1, geo.d_head).transpose(0, 1)
    turn = rotation(model, rec, layer)
    if turn is not None and which != "v":
        heads = turn(heads.float() if qkv.float_rotary else heads).to(heads.dtype)
    if heads.shape[0] != geo.n_heads:
        heads = heads.repeat_interleave(geo.group, 0)
    return Projected(raw.float(), heads.float(), norm)


def _head_norm(model: Model, layer: int, path: str, module: nn.Module) -> FrozenNorm:
    weight = getattr(module, "weight", None)
    width = weight.numel() if isinstance(weight, Tensor) else model.geometry[layer].d_head
    return model.read_norm(module, width, f"{model.anatomy.attn}.{path}", layer)


def _mask(
    model: Model, rec: Recording, layer: int, shape: tuple[int, int], device: Any
) -> tuple[Bool[Tensor, "heads_or_1 destination source"], Float[Tensor, "heads_or_1 destination source"] | None]:
    """(where attention may not look, what the mask adds elsewhere or None)."""
    qkv = _qkv(model)
    given = rec.attn_inputs[layer].get("attention_mask")
    t, s = shape
    added: Tensor | None = None
    if isinstance(given, Tensor) and given.dim() == 4:
        mask = given[0, :, -t:, :s]
        if mask.dtype == torch.bool:
            blocked = ~mask
        else:
            blocked = mask <= torch.finfo(mask.dtype).min / 2
            added = mask.float().masked_fill(blocked, 0)
            added = added if bool(added.any()) else None
    else:
        distance = torch.arange(t, device=device)[:, None] - torch.arange(s, device=device)[None, :]
        # Only flash attention is told of the window beside the mask; the others get no mask where none is needed.
        window = _named(model, layer, qkv.window) if "flash" in _implementation(model) else None
        blocked = ((distance < 0) | (distance >= (window or t)))[None]
    own = _named(model, layer, qkv.causal)
    if isinstance(own, Tensor):
        blocked = blocked | ~own[0, :, s - t : s, :s].to(blocked.device).bool()
    return blocked, added


def allowed_keys(model: Model, rec: Recording, layer: int) -> Float[Tensor, "heads_or_1 destination source"]:
    """What the mask of ``layer`` adds to its scores on this prompt: -inf where attention may not look."""
    count = len(rec.streams[layer])
    blocked, added = _mask(model, rec, layer, (count, count), rec.streams[layer].device)
    found = torch.zeros(blocked.shape, device=blocked.device) if added is None else added
    return found.masked_fill(blocked, -torch.inf)


def attend(model: Model, rec: Recording, layer: int) -> Attended:
    """The patterns and values of ``layer``, recomputed and compared with the recorded z.

    Raises:
        GranularityError: they are not what the heads wrote on this prompt (weights changed since the run, say), or
            were not shown to be exact at all.
        PositionError: the scores and patterns of all its heads exceed the free memory.
    """
    if not model.check.attention_ok:
        raise GranularityError(f"Attention of {model.name} was not shown to be exact: {model.check.reason}.")
    _fits(model, rec, layer)
    found = _heard(model, rec, layer)
    if found is None or not worst(*_miss(model, rec, layer, found)) <= 1:
        if model.check.scores_ok or found is None:
            return scored(model, rec, layer)
        refuse_above(*_miss(model, rec, layer, found), _GONE.format(layer))
    _refuse_adapter(model, rec, layer, "v", normed_input(model, rec, layer), key_heads(model, layer, found.v))
    return found


def scored(model: Model, rec: Recording, layer: int) -> Scored:
    """The same with queries, keys and scores, from the layer's projections and what the anatomy says of them.

    Raises:
        GranularityError: it is not what the heads wrote on this prompt, or was not known from the start.
        PositionError: the scores and patterns of all its heads exceed the free memory.
    """
    if not model.check.scores_ok:
        raise GranularityError(f"Scores of {model.name} were not shown to be exact: {model.check.no_scores}.")
    _fits(model, rec, layer)
    found = _recompute(model, rec, layer)
    refuse_above(*_miss(model, rec, layer, found), _GONE.format(layer))
    return found


def _fits(model: Model, rec: Recording, layer: int) -> None:
    n = len(rec.streams[layer])
    held = 4 * 4 * model.heads_of(layer) * n * n  # scores, logits, pattern, and the softmax between them, in float32
    require(model, held, f"The attention of layer {layer} over {n:,} tokens", "for its scores and patterns")


def _heard(model: Model, rec: Recording, layer: int) -> Attended | None:
    found = heard(model, rec, layer, normed_input(model, rec, layer))
    return None if found is None else Attended(found.pattern, found.v, found.sink)


def key_heads(
    model: Model, layer: int, values: Float[Tensor, "head position d_head"]
) -> Float[Tensor, "position key_heads_times_d_head"]:
    """Values of every query head as their projection gives them."""
    return values[:: model.geometry[layer].group].transpose(0, 1).flatten(1)


def scores_error(model: Model, rec: Recording, layer: int) -> float:
    """Largest miss of the anatomy's pattern times values against the recorded z, in units of what rounding explains.

    Raises:
        AnatomyError: the projections are not where the anatomy says.
    """
    return worst(*_miss(model, rec, layer, _recompute(model, rec, layer)))


def heard_error(model: Model, rec: Recording, layer: int) -> tuple[float, float]:
    """(miss of the patterns and values that were heard, miss of the value projection) of ``layer``, in that unit.

    The first is infinite where nothing was heard, the second where the values are no projection of what is read.
    """
    found = _heard(model, rec, layer)
    if found is None:
        return math.inf, math.inf
    missed = worst(*_miss(model, rec, layer, found))
    alone = key_heads(model, layer, found.v)
    group = model.geometry[layer].group
    same = found.v[::group].repeat_interleave(group, 0)
    try:
        x = normed_input(model, rec, layer)
        values = worst(*_projected_miss(model, rec, layer, "v", x, alone))
    except (AttribError, RuntimeError, AttributeError, TypeError, IndexError):
        return missed, math.inf
    return missed, values if torch.equal(same, found.v) else math.inf


def _miss(model: Model, rec: Recording, layer: int, found: Attended) -> tuple[Tensor, Tensor]:
    """(recorded z - pattern @ v, bound) per position, head and number."""
    z = rec.z[layer].float().view(-1, model.heads_of(layer), model.geometry[layer].d_head).transpose(0, 1)
    size = found.pattern @ found.v.abs()
    limit = LIMITS.get(model.dtype, LIMITS[torch.bfloat16])
    if _eager(model):  # recomputed in the model's own arithmetic, up to the order of its sums
        limit = min(limit, max(1e-4, 2 * torch.finfo(model.dtype).eps))
    return z - found.pattern @ found.v, limit * size.double() + half_ulp(z, rec.z[layer].dtype)


def score_cap(model: Model, layer: int) -> float | None:
    """The cap of the scores that this model applies: torch's fused attention (sdpa) leaves it out."""
    value = _named(model, layer, _qkv(model).softcap)
    return float(value) if value and not _fused(model) else None


def _implementation(model: Model) -> str:
    return str(getattr(model.config, "_attn_implementation", None) or "")


def _fused(model: Model) -> bool:
    return _implementation(model) == "sdpa"


def _eager(model: Model) -> bool:
    return _implementation(model) == "eager"


def _recompute(model: Model, rec: Recording, layer: int) -> Scored:
    x = normed_input(model, rec, layer)
    q, k, v = (project(model, rec, layer, which, x) for which in "qkv")
    for which, part in zip("qkv", (q, k, v), strict=True):
        _refuse_adapter(model, rec, layer, which, x, part.raw)
    scores, alibi, pattern, sink, blocked, scaling, cap = looks(model, rec, layer, q.final, k.final)
    return Scored(pattern, v.final, sink, q, k, scores, alibi, blocked, scaling, cap)


def _refuse_adapter(model: Model, rec: Recording, layer: int, which: str, x: Tensor, out: Tensor) -> None:
    """An adapter adds what the weight does not show."""
    missed, bound = _projected_miss(model, rec, layer, which, x, out)
    where = f"the {which} projection of layer {layer} does more than its weight says"
    refuse_above(missed, bound, where, "Merge adapters into the weights first (PEFT: merge_and_unload).")


def _projected_miss(
    model: Model, rec: Recording, layer: int, which: str, x: Tensor, out: Tensor
) -> tuple[Tensor, Tensor]:
    """(``out`` - its projection by weight and bias, bound)."""
    weight, bias = projection_weight(model, layer, which)
    lengths = torch.linalg.vector_norm(weight, dim=1)
    return projection_error(x, weight.T, bias, out.to(rec.z[layer].dtype), lengths)


def looks(
    model: Model,
    rec: Recording,
    layer: int,
    q: Float[Tensor, "head position d_head"],
    k: Float[Tensor, "head position d_head"],
) -> tuple[Tensor, Tensor | None, Tensor, Tensor | None, Tensor, float, float | None]:
    """Where heads look with queries ``q`` and keys ``k``: the scores, position penalty, pattern, sink, mask, scaling
    and cap of :class:`Scored`.

    They need not be those of the recording, which gives the mask and the position penalty.
    """
    qkv = _qkv(model)
    scaling = _scaling(model, layer)
    # An eager model in half precision rounds its scores and its pattern: so does this, to show what it did.
    dtype = model.dtype if _eager(model) else torch.float32
    fine = torch.float32 if qkv.float_scores else dtype
    scores, alibi = _scores(model, rec, layer, q, k, scaling, fine)
    cap = score_cap(model, layer)
    logits = scores if not cap else torch.tanh(scores / cap) * cap
    blocked, added = _mask(model, rec, layer, (scores.shape[-2], scores.shape[-1]), scores.device)
    if added is not None:
        logits, alibi = logits.float() + added, added if alibi is None else alibi + added
        scores = scores.float() + added
    logits = logits.to(fine).float().masked_fill(blocked, -torch.inf)
    sinks = _named(model, layer, qkv.sinks)
    if isinstance(sinks, Tensor):
        column = sinks.detach().to(model.home).float().reshape(-1, 1, 1).expand(-1, scores.shape[-2], 1)
        full = torch.cat([logits, column], -1).to(dtype)
        full = (full - full.amax(-1, keepdim=True)).softmax(-1).float()  # rounded where the model rounds
        pattern, sink = full[..., :-1], full[..., -1]
    else:
        pattern, sink = logits.softmax(-1), None
    return scores.float(), alibi, pattern.to(dtype).float(), sink, blocked, scaling, cap


def _scaling(model: Model, layer: int) -> float:
    """What multiplies the scores of ``layer``."""
    name = _qkv(model).scaling
    if not isinstance(name, str):
        return float(name)
    value = _named(model, layer, name.strip("/"))
    if value is None:
        return float(model.geometry[layer].d_head ** -0.5)
    return 1 / float(value) if name.startswith("/") else float(value)


def _scores(
    model: Model, rec: Recording, layer: int, q: Tensor, k: Tensor, scaling: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    """(scores [head, destination, source] in ``dtype``, the position penalty in them or None)."""
    queries, keys = q.to(dtype), k.to(dtype).transpose(-1, -2)
    alibi = rec.attn_inputs[layer].get("alibi")
    if isinstance(alibi, Tensor) and not _fused(model):  # fused attention knows no penalty but the mask's
        alibi = alibi.to(dtype).reshape(model.heads_of(layer), 1, -1).expand(-1, queries.shape[1], -1)
        if _qkv(model).alibi == "scaled":
            return ((queries @ keys).float() + alibi.float()) * scaling, alibi.float() * scaling
        return torch.baddbmm(alibi, queries, keys, alpha=scaling), alibi.float()
    if _qkv(model).early_scaling:
        return (queries * scaling) @ keys, None
    return queries @ keys * scaling, None


# -- the linear maps between a head and the normalised stream it reads ------------------------------------
def projection_weight(model: Model, layer: int, which: str) -> tuple[Float[Tensor, "width d_model"], Tensor | None]:
    """(weight, bias) of the q, k or v projection in float32, rows head by head."""
    module = model.module(f"{model.anatomy.attn}.{getattr(_qkv(model), which)}", layer)
    weight = weight_in_out(module).to(model.home)
    rows = model.geometry[layer].rows[which].flatten().to(weight.device)
    bias = bias_of(module)
    return weight[:, rows].T.float(), None if bias is None else bias.to(model.home)[rows].float()


def kv_head(model: Model, layer: int, head: int) -> int:
    """The key and value head that query head ``head`` of ``layer`` uses."""
    return head // model.geometry[layer].group


def value_direction(
    model: Model, layer: int, head: int, u: Float[Tensor, "d_model"]
) -> tuple[Float[Tensor, "d_model"], Float[Tensor, "d_head"], float]:
    """A direction ``u`` of what the layer writes, seen from the stream its values read.

    Returns (direction in the normalised stream, direction among the head's values, value bias . direction).
    """
    d = model.geometry[layer].d_head
    through = model.out_weight(layer)[0][head * d : (head + 1) * d] @ u
    weight, bias = projection_weight(model, layer, "v")
    rows = slice(kv_head(model, layer, head) * d, (kv_head(model, layer, head) + 1) * d)
    constant = 0.0 if bias is None else float(bias[rows] @ through)
    return weight[rows].T @ through, through, constant


def score_direction(
    model: Model, rec: Recording, found: Scored, layer: int, head: int, side: str, position: int, other: int
) -> tuple[Float[Tensor, "d_model"], float]:
    """One side of the score of ``head`` between a query and a key, the other side held fixed.

    ``position`` is where this side reads, ``other`` the position of the held side. A query or key norm keeps the
    scale it had. Returns (direction in the normalised stream at ``position``, constant from the biases).
    """
    this, held = (found.q, found.k) if side == "query" else (found.k, found.q)
    which = "q" if side == "query" else "k"
    index = head if side == "query" else kv_head(model, layer, head)
    direction = held.final[head, other] * found.scaling
    turn = rotation(model, rec, layer)
    if turn is not None:
        direction = turn.at(position)(direction, back=True)
    d = model.geometry[layer].d_head
    rows = slice(index * d, (index + 1) * d)
    weight, bias = projection_weight(model, layer, which)
    full = torch.zeros(weight.shape[0], device=weight.device)
    constant = 0.0
    if this.norm is None:
        full[rows] = direction
    elif this.norm.gain.numel() == d:  # one norm per head
        raw = this.raw[position, rows]
        full[rows] = this.norm.pull(direction) * this.norm.scale(raw)
        constant += float(this.norm.bias @ direction)
    else:  # one norm over the whole projection
        full[rows] = direction
        constant += float(this.norm.bias @ full)
        full = this.norm.pull(full) * this.norm.scale(this.raw[position])
    if bias is not None:
        constant += float(bias @ full)
    return weight.T @ full, constant
