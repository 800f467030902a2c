"""Attention recomputed from a recording: queries, keys, values, scores and patterns of one layer.

Patterns and values are what the layer's own module is heard to do (:mod:`.listen`), where it reproduces the recorded
z; else, and for scores, the layer's own projections are called on the recorded stream and the anatomy says what
follows, whatever attention implementation the model was loaded with. Everything returned is float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...words.errors import AttribError, GranularityError
from ..anatomy.linear import Projection
from ..anatomy.lookup import below, find
from ..anatomy.norms import FrozenNorm
from ..anatomy.rounding import half_ulp, refuse_above, worst
from ..identity.steady import during
from ..running.memory import require
from ..selfcheck.levels import need
from .listen import ROWS, heard
from .listen import Attended as Attended
from .projections import (
    Projected,
    factor_of,
    kv_head,
    normed_input,
    project,
    qkv_projection,
    rotation,
    temperatures,
    value_factor,
    value_norm,
)
from .scores import eager, looks

if TYPE_CHECKING:
    from ..model import Model
    from ..network import Network
    from ..tracing.recording import Recording

# Allowed miss of pattern @ v against the recorded z, relative to what the pattern takes from the values' magnitudes.
LIMITS = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 4e-2}
#: Bytes of whole layers that one operation remembers, which may come back to them.
DURING = 256_000_000
_GONE = "the attention of layer {}, recomputed, is not what its heads wrote"


@dataclass
class Scored(Attended):
    """The same with its scores.

    ``scores`` are before the soft cap and the mask, the position penalty ``alibi`` included; ``blocked`` is where the
    mask (a sliding window, say) lets nothing through. Queries and keys are those of all heads and positions, the rest
    that of ``heads`` (None: of all) from the destinations behind ``first``: :meth:`at` says where a score is.
    """

    q: Projected
    k: Projected
    scores: Float[Tensor, "head destination source"]
    alibi: Float[Tensor, "head destination source"] | None
    blocked: Bool[Tensor, "heads_or_1 destination source"]
    scaling: float
    cap: float | None
    heads: Sequence[int] | None = None
    first: int = 0

    def at(self, head: int, query: int) -> tuple[int, int]:
        """Where the row of ``head`` from the position ``query`` stands in ``scores`` and ``pattern``."""
        return (head if self.heads is None else list(self.heads).index(head)), query - self.first


def attend(
    model: Model, rec: Recording, layer: int, heads: Sequence[int] | None = None, rows: slice = ROWS
) -> Attended:
    """The patterns and values of ``layer``, recomputed and compared with the recorded z.

    Of ``heads`` alone (None: of all, in order), and their patterns at the destinations ``rows``: one head costs one.

    Raises:
        GranularityError: they are not what the heads wrote on this prompt (weights changed since the run, say), or
            were not shown to be exact at all.
        PositionError: the patterns exceed the free memory.
    """
    need(model, "sources", layer)
    if heads is not None or rows != ROWS:
        return _attend(model, rec, layer, heads, rows)
    known: dict[int, Attended] = during(rec, "attended", dict)
    if (found := known.get(layer)) is None:
        found = known[layer] = _attend(model, rec, layer, None, ROWS)
        while sum(each.pattern.nbytes + each.v.nbytes for each in known.values()) > DURING:
            del known[next(iter(known))]
    return found


def _attend(model: Model, rec: Recording, layer: int, heads: Sequence[int] | None, rows: slice) -> Attended:
    _fits(model, rec, layer, heads, rows)
    x = normed_input(model, rec, layer)
    found = heard(model, rec, layer, x, heads, rows)
    if found is None or not worst(*_miss(model, rec, layer, found, heads, rows)) <= 1:
        if model.level(layer).scores or found is None:
            return scored(model, rec, layer, heads, rows)
        refuse_above(*_miss(model, rec, layer, found, heads, rows), _GONE.format(layer))
    if not model.level(layer).values:
        return found
    if not _plain_values(model, layer):
        _refuse_adapter(model, rec, layer, "v", x, project(model, rec, layer, "v", x).raw)
    elif heads is None:
        _refuse_adapter(model, rec, layer, "v", x, key_heads(model, layer, found.v))
    else:
        for number, head in enumerate(heads):
            _refuse_adapter(model, rec, layer, "v", x, found.v[number], kv_head(model, layer, head))
    return found


def _plain_values(model: Model, layer: int) -> bool:
    """Whether values are what their projection gives, neither normed nor multiplied."""
    return value_norm(model, layer) is None and value_factor(model, layer) == 1


def patterns(model: Model, rec: Recording, layer: int, heads: Sequence[int] | None = None) -> tuple[Attended, str]:
    """The patterns of ``layer`` (of some heads), and "" where pattern times values is what its heads wrote; else why
    that is not known.

    They are then what the layer's own softmax gives on its recorded input: the patterns that the model returns.

    Raises:
        GranularityError: its heads are not exact, or what it does cannot be heard any more.
        PositionError: the patterns exceed the free memory.
    """
    level = model.level(layer)
    if level.sources:
        return attend(model, rec, layer, heads), ""
    need(model, "heads", layer)
    _fits(model, rec, layer, heads)
    found = _heard(model, rec, layer, heads)
    if found is None:
        raise GranularityError(f"The attention of layer {layer} of {model.name} cannot be heard on this prompt.")
    return found, level.sources.reason


def scored(model: Model, rec: Recording, layer: int, heads: Sequence[int] | None = None, rows: slice = ROWS) -> Scored:
    """The same with queries, keys and scores, from the layer's projections and what the anatomy says of them.

    Of ``heads`` alone (None: of all), and their scores and patterns at the destinations ``rows``: one head costs one.

    Raises:
        GranularityError: it is not what the heads wrote on this prompt, or was not known from the start.
        PositionError: the scores and patterns of all its heads exceed the free memory.
    """
    need(model, "scores", layer)
    _fits(model, rec, layer, heads, rows)
    found = _recompute(model, rec, layer, heads, rows)
    refuse_above(*_miss(model, rec, layer, found, heads, rows), _GONE.format(layer))
    return found


def _fits(model: Model, rec: Recording, layer: int, heads: Sequence[int] | None = None, rows: slice = ROWS) -> None:
    n, count = len(rec.streams[layer]), model.geometry[layer].n_heads if heads is None else len(heads)
    held = 4 * 4 * count * n * len(range(n)[rows])  # scores, logits, pattern, and the softmax, in float32
    require(model, held, f"The attention of layer {layer} over {n:,} tokens", "for its scores and patterns")


def _heard(
    model: Model, rec: Recording, layer: int, heads: Sequence[int] | None = None, rows: slice = ROWS
) -> Attended | None:
    return heard(model, rec, layer, normed_input(model, rec, layer), heads, rows)


def key_heads(
    model: Model, layer: int, values: Float[Tensor, "head position d_head"]
) -> Float[Tensor, "position key_heads_times_d_head"]:
    """Values of every query head side by side, those that several share once."""
    return values[:: model.geometry[layer].group].transpose(0, 1).flatten(1)


def scores_error(model: Model, rec: Recording, layer: int) -> float:
    """Largest miss of the anatomy's gate times pattern times values against the recorded z, in units of what rounding
    explains.

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
    group = model.geometry[layer].group
    same = found.v[::group].repeat_interleave(group, 0)
    try:
        x = normed_input(model, rec, layer)
        values = worst(*_projected_miss(model, rec, layer, "v", x, raw_values(model, rec, layer, found.v)))
    except (AttribError, RuntimeError, AttributeError, TypeError, IndexError):
        return missed, math.inf
    return missed, values if torch.equal(same, found.v) else math.inf


def owner_of_values(model: Model, rec: Recording, layer: int) -> int | None:
    """The earlier layer whose very values the heads of ``layer`` gather, as far as both can be heard; None if none."""
    found, a = _heard(model, rec, layer), model.anatomy
    if found is None or a.qkv is None or a.attn is None:
        return None
    path = below(a.attn, a.qkv.v)
    owners = [other for other in range(layer) if find(model.layer(other), path) is not None]
    for other in reversed(owners):
        theirs = _heard(model, rec, other)
        if theirs is not None and torch.equal(theirs.v, found.v):
            return other
    return None


def raw_values(
    model: Model, rec: Recording, layer: int, v: Float[Tensor, "head position d_head"]
) -> Float[Tensor, "position key_heads_times_d_head"]:
    """What the value projection gave for ``v``: ``v`` itself, or where it is normed what the norm read.

    Raises:
        GranularityError: ``v`` is not what the norm of the anatomy makes of that.
    """
    norm = value_norm(model, layer)
    if _plain_values(model, layer):
        return key_heads(model, layer, v)
    made = project(model, rec, layer, "v", normed_input(model, rec, layer))
    if norm is not None:
        _refuse_biased(model, layer, norm, qkv_projection(model, layer, "v"))
    limit = LIMITS.get(model.precision, LIMITS[torch.bfloat16])
    refuse_above(v - made.final, limit * v.abs().double() + 1e-30 + half_ulp(v, rec.z[layer].dtype), "values differ")
    return made.raw


def _miss(
    model: Model,
    rec: Recording,
    layer: int,
    found: Attended,
    heads: Sequence[int] | None = None,
    rows: slice = ROWS,
) -> tuple[Tensor, Tensor]:
    """(recorded z - gate * pattern @ v, bound) per head, position and number."""
    geo = model.geometry[layer]
    z = rec.z[layer][rows].view(-1, geo.n_heads, geo.d_head).transpose(0, 1)
    z = (z if heads is None else z[list(heads)]).float()
    size = found.gated(found.pattern @ found.v.abs()).abs()
    limit = LIMITS.get(model.precision, LIMITS[torch.bfloat16])
    if eager(model):  # recomputed in the model's own arithmetic, up to the order of its sums
        limit = min(limit, max(1e-4, 2 * torch.finfo(model.precision).eps))
    return z - found.z, limit * size.double() + half_ulp(z, rec.z[layer].dtype)


def _recompute(
    model: Model, rec: Recording, layer: int, heads: Sequence[int] | None = None, rows: slice = ROWS
) -> Scored:
    x = normed_input(model, rec, layer)
    made: dict[str, Tensor] = {}
    q, k, v = (project(model, rec, layer, which, x, made) for which in "qkv")
    for which, part in zip("qkv", (q, k, v), strict=True):
        if heads is None:
            _refuse_adapter(model, rec, layer, which, x, part.raw)
        for own in () if heads is None else {head if which == "q" else kv_head(model, layer, head) for head in heads}:
            d = model.geometry[layer].rows[which].shape[1]
            _refuse_adapter(model, rec, layer, which, x, part.raw[:, own * d : (own + 1) * d], own)
    scores, alibi, pattern, sink, blocked, scaling, cap = looks(model, rec, layer, q.final, k.final, heads, rows)
    values, first = v.final if heads is None else v.final[list(heads)], rows.indices(len(x))[0]
    gate = _gate(model, rec, layer, x, heads, rows)
    return Scored(pattern, values, sink, q, k, scores, alibi, blocked, scaling, cap, heads, first, gate=gate)


def _gate(
    model: Model, rec: Recording, layer: int, x: Tensor, heads: Sequence[int] | None, rows: slice
) -> Float[Tensor, "head destination d_head"] | None:
    """The gate of ``layer`` on its input ``x``; whether it has one is found out once."""
    if model.keeps(("ungated", layer)):
        return None
    found = heard(model, rec, layer, x, heads, rows)
    if found is None or found.gate is None:
        model.kept(("ungated", layer), lambda: True)
    return None if found is None else found.gate


def _refuse_adapter(
    model: Model, rec: Recording, layer: int, which: str, x: Tensor, out: Tensor, head: int | None = None
) -> None:
    """An adapter adds what the weight does not show."""
    missed, bound = _projected_miss(model, rec, layer, which, x, out, head)
    where = f"the {which} projection of layer {layer} does more than its weight says"
    refuse_above(missed, bound, where, "Merge adapters into the weights first (PEFT: merge_and_unload).")


def _projected_miss(
    model: Model, rec: Recording, layer: int, which: str, x: Tensor, out: Tensor, head: int | None = None
) -> tuple[Tensor, Tensor]:
    """(``out`` - its projection by weight and bias, bound); through its module where that is how it is read."""
    return qkv_projection(model, layer, which, head).called(x, out.to(rec.z[layer].dtype))


def value_direction(
    model: Network, layer: int, head: int, u: Float[Tensor, "d_model"], gate: Float[Tensor, "d_head"] | None = None
) -> tuple[Float[Tensor, "d_model"], Float[Tensor, "d_head"], float]:
    """A direction ``u`` of what the layer writes, seen from the stream its values read (through ``gate``).

    Returns (direction in the normalised stream, direction among the head's values, value bias . direction). Where
    values are normed, the first is before the norm's scale (:func:`value_scale`).
    """
    d = model.geometry[layer].d_head
    return z_direction(model, layer, head, model.out(layer).rows(head * d, (head + 1) * d) @ u, gate)


def z_direction(
    model: Network, layer: int, head: int, z: Float[Tensor, "d_head"], gate: Float[Tensor, "d_head"] | None = None
) -> tuple[Float[Tensor, "d_model"], Float[Tensor, "d_head"], float]:
    """:func:`value_direction` of a direction ``z`` of what the head hands to the output projection."""
    through = z if gate is None else z * gate
    values, norm = qkv_projection(model, layer, "v", kv_head(model, layer, head)), value_norm(model, layer)
    if norm is not None:
        _refuse_biased(model, layer, norm, values)
        return values.pull(norm.pull(through)), through, 0.0
    factor = value_factor(model, layer)
    constant = 0.0 if values.bias is None else float(values.bias @ through) * factor
    return values.pull(through) * factor, through, constant


def _refuse_biased(model: Network, layer: int, norm: FrozenNorm, values: Projection) -> None:
    """Raises:
    GranularityError: the norm over the values has a bias, or reads one, which no source carries alone.
    """
    if values.bias is not None or bool(norm.bias.any()):
        raise GranularityError(f"The values of layer {layer} of {model.name} are normed, and biased.")


def value_scale(model: Model, rec: Recording, layer: int, head: int) -> Float[Tensor, "source"] | None:
    """The frozen scale of the norm over the values of ``head``, at every position; None where there is none.

    One unit of a direction of :func:`value_direction` counts for as much there.
    """
    norm = value_norm(model, layer)
    if norm is None:
        return None
    values = qkv_projection(model, layer, "v", kv_head(model, layer, head))
    raw = values.product(normed_input(model, rec, layer).float())
    return norm.scale(raw if values.bias is None else raw + values.bias)


def score_direction(
    model: Model, rec: Recording, found: Scored, layer: int, head: int, side: str, position: int, other: int
) -> tuple[Float[Tensor, "d_model"], float, float]:
    """One side of the score of ``head`` between a query and a key, the other side held fixed.

    ``position`` is where this side reads, ``other`` the position of the held side. A query or key norm keeps the
    scale it had. Returns (direction in the normalised stream at ``position``, constant from the biases, how far the
    projection's own rounding may move the score).
    """
    assert model.anatomy.qkv is not None
    this, held = (found.q, found.k) if side == "query" else (found.k, found.q)
    which = "q" if side == "query" else "k"
    index = head if side == "query" else kv_head(model, layer, head)
    direction = held.final[head, other] * found.scaling
    turn, d, first = rotation(model, rec, layer), found.q.final.shape[-1], model.anatomy.qkv.rotary_first
    turn = None if turn is None else turn.at(position)
    warmth = temperatures(model, rec, layer) if side == "query" else None
    direction = direction if warmth is None else direction * warmth[position]
    direction = direction * factor_of(model, layer, which)
    if turn is not None and not first:
        direction = turn(direction, back=True)
    rows = slice(index * d, (index + 1) * d)
    projection = qkv_projection(model, layer, which)
    full = torch.zeros(projection.d_out, device=direction.device)
    constant = 0.0
    full[rows] = direction
    if this.norm is not None:
        raw = this.raw[position]
        if turn is not None and first:  # the norm reads what was turned
            raw = turn(raw.view(-1, d)).flatten()
        alone = this.norm.gain.numel() == d  # one norm per head, or one over the whole projection
        part = rows if alone else slice(None)
        constant += float(this.norm.bias @ full[part])
        full[part] = this.norm.pull(full[part]) * this.norm.scale(raw[part])
    if turn is not None and first:
        full = turn(full.view(-1, d), back=True).flatten()
    if projection.bias is not None:
        constant += float(projection.bias @ full)
    slack = projection.slack(normed_input(model, rec, layer)[position].float(), full)
    return projection.pull(full), constant, float(slack)
