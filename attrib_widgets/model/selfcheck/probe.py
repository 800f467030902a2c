"""The prompt that the self-check runs, recorded once for all anatomies that look in the same places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...words.errors import AnatomyError
from ..anatomy.rounding import worst
from ..identity.stamp import interventions
from ..parts.closing import stream_error
from ..tracing.joining import read_joins
from ..tracing.order import absent_parts, unordered_parts
from ..tracing.record import record
from ..tracing.recording import Recording

if TYPE_CHECKING:
    from ..model import Model

PROBE_TOKENS = 9


def probe_ids(model: Model) -> list[int]:
    """A short prompt of ordinary tokens spread over the vocabulary."""
    special, size = set(model.special_ids), model.n_embeddings
    spread = (1 + (7919 * (k + 1)) % max(size - 1, 1) for k in range(4 * PROBE_TOKENS))
    ids = [i for i in dict.fromkeys(spread) if i not in special and i < size][:PROBE_TOKENS]
    return ids or [0]


def probed(model: Model, known: dict[Any, Any]) -> Recording:
    """The probe prompt, recorded once for all anatomies that look in the same places.

    Layers whose parts are missing, or do not run as the anatomy says, are left out (``model.unread``).
    """
    a = model.anatomy
    inside: tuple[Any, ...] = (
        a.attn,
        a.attn_out,
        a.attn_post_norm,
        a.mlp,
        a.mlp_in,
        a.mlp_output,
        a.mlp_post_norm,
        a.multiplier,
        a.attn_multiplier,
        a.beside,
        a.altup,
        a.mixers,
    )
    given = () if a.qkv is None else (*a.qkv.arguments.values(), a.qkv.penalty_of)
    key = ("record", a.layers, a.final_norm, a.unembed, a.embed, a.pos, *inside, *given, a.logit_scale, a.softcap)
    if key not in known:
        try:
            known[key] = _joined(model, *_in_order(model))
        except Exception as reason:  # whatever the tracer says of a path it cannot read there
            first = (str(reason).strip().splitlines() or [type(reason).__name__])[-1]
            known[key] = AnatomyError(f"its parts could not be read in the order of the anatomy ({first})")
    if isinstance(known[key], AnatomyError):
        raise known[key]
    rec: Recording
    rec, model.unread, model.joining = known[key]
    return rec


def _joined(
    model: Model, rec: Recording, unread: Mapping[int, str]
) -> tuple[Recording, Mapping[int, str], frozenset[int]]:
    """What was recorded, once more where layers join what their sublayers give otherwise than by a plain sum."""
    a = model.anatomy
    if a.attn is None or a.beside is not None or a.altup is not None or a.carry is not None or model.parallel:
        return rec, unread, frozenset()

    def closes(record: Recording, layer: int) -> bool:
        return worst(*stream_error(record, layer, record.streams[layer].dtype, False)) <= 1

    # What a hook or a replaced forward does to the stream is no part of the model: such a layer is shown as a whole.
    own = (i for i in range(model.n_layers) if i not in unread and not interventions(model.layer(i)))
    open_ones = [i for i in own if not closes(rec, i)]
    model.joining = frozenset(read_joins(model, open_ones)) if open_ones else frozenset()
    if not model.joining:
        return rec, unread, frozenset()
    again, unread = _in_order(model)
    model.joining = frozenset(i for i in model.joining if i in again.joins and closes(again, i))
    return (_in_order(model)[0] if model.joining != set(again.joins) else again), unread, model.joining


def _in_order(model: Model) -> tuple[Recording, dict[int, str]]:
    ids = probe_ids(model)
    model.unread = absent_parts(model)
    try:
        return record(model, ids, inside=True), model.unread
    except Exception:  # the MLP's input projection is not where the anatomy says, or a layer runs otherwise
        pass
    try:
        return record(model, ids), model.unread
    except Exception:
        model.unread = unordered_parts(model, ids)
        if len(model.unread) == model.n_layers:
            raise
    return record(model, ids), model.unread
