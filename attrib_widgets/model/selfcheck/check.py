"""Does this model add up? Run once at load, on a short prompt of ordinary tokens.

Five questions, each answered with the worst element in units of its own rounding bound:
stream (before + attention + MLP = after), heads (their writes and the bias = the recorded sublayer output),
attention (recomputed from q, k, v, or heard in the layer's own module, = the recorded z), read-out (norm and
unembedding = the printed logits), causality (later tokens change nothing before them). The first three are asked layer
by layer (:mod:`.layers`): a layer that fails one is shown coarsely with the reason, the others as they are. A model
whose read-out fails is refused; on one that looks ahead, nothing relies on causality.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from ...words.errors import AnatomyError, AttribError, clause
from ...words.text import power
from ..anatomy.anatomy import Anatomy
from ..anatomy.discovery import candidates, own_family
from ..anatomy.geometry import Geometry, geometry, projections
from ..anatomy.lookup import resolved
from ..anatomy.rounding import half_ulp, require_float32, worst
from ..anatomy.weights import watched, widths
from ..identity.belonging import LIMITS
from ..identity.stamp import interventions
from ..parts.between import Between, read_between, streams_beside
from ..parts.closing import cap_error, readout_error
from ..parts.scores import score_cap
from ..parts.streams import read_error
from ..tracing.causality import AHEAD, causality_error
from .causes import unable
from .layers import MISFITS, Checked
from .levels import whole
from .outcome import SelfCheck
from .probe import probe_ids, probed

if TYPE_CHECKING:
    from ..model import Model

KNOWN_AS_A_WHOLE = "only its layers, its norm and its unembedding are known"


@torch.no_grad()
def check_model(model: Model, override: Anatomy | Mapping[str, Any] | None) -> tuple[Anatomy, Geometry, SelfCheck]:
    """Try the anatomies that fit ``model`` and keep the one that is exact at the finest granularity.

    Of two that are exact equally far, the family's own is kept, then the one that misses least: the reasons are its.

    Raises:
        AnatomyError: no anatomy explains the printed logits, or the model does not run.
        NumberError: a setting of torch takes float32 away.
    """
    require_float32()
    best: _Found | None = None
    as_whole: _Found | None = None
    refusals: list[str] = []
    known: dict[Any, Any] = {}
    own, tried = own_family(model.hf), candidates(model.hf, override)
    for given in tried:
        model.anatomy, model.unread, model.joining = given, {}, frozenset()
        _watch(model, known)
        try:
            model.anatomy = anatomy = resolved(given, model.hf)
            model.geometry = geometry(anatomy, model.hf)
            model.between = _between(model, known)
            _refuse_many_streams(model, known)
            if abs(model.logit_scale - model.between.factor**2) <= 1e-5 * abs(model.logit_scale):
                # The config's entry is applied in front of the unembedding, where it was found: not behind it as well.
                model.anatomy = anatomy = replace(anatomy, logit_scale=None)
            model.forget()
            found = _check(model, known)
        except AttribError as reason:
            refusals.append(reason.message)
            continue
        except MISFITS as reason:  # parts of the wrong kind or shape
            refusals.append(f"a part named by the anatomy has the wrong shape or kind ({clause(reason)})")
            continue
        rank = (found.missed, override is None and given not in own, found.furthest)
        this = _Found(rank, anatomy, model.geometry, found, model.unread, model.between, model.joining)
        best = this if best is None or rank < best.rank else best
        as_whole = this if anatomy.attn is None else as_whole
        if found.ok and found.mlp_ok:
            break
    if best is None:
        model.forget()
        raise _refusal(model, refusals)
    found = best.check
    if best.anatomy.attn is None and refusals:  # whole layers: say what stood in the way of more
        coarse = whole(f"{refusals[0].rstrip('.')}, so only whole layers are shown")
        found = replace(found, levels=(coarse,) * len(found.levels))
    elif as_whole is not None and best.rank[1] and found.granularity == "layers":
        best, found = as_whole, replace(as_whole.check, levels=found.levels)  # nothing inside is worth recording
    model.anatomy, model.geometry, model.unread = best.anatomy, best.geometry, best.unread
    model.between, model.joining = best.between, best.joining
    model.forget()
    found = causal_check(model, found)
    model.forget()
    return model.anatomy, model.geometry, found


class _Found(NamedTuple):
    """What one anatomy came to. The smallest ``rank`` is kept: (how much is not exact, is it a stranger's, how far off
    it is)."""

    rank: tuple[int, bool, float]
    anatomy: Anatomy
    geometry: Geometry
    check: SelfCheck
    unread: Mapping[int, str]
    between: Between
    joining: frozenset[int]


def _between(model: Model, known: dict[Any, Any]) -> Between:
    key = ("between", model.anatomy.final_norm, model.anatomy.unembed)
    if key not in known:
        known[key] = read_between(model, probe_ids(model)[:2])
    found: Between = known[key]
    return found


def _refuse_many_streams(model: Model, known: dict[Any, Any]) -> None:
    """A part of a sum has one place to be written to.

    Raises:
        AnatomyError: the layers give several streams.
    """
    key = ("streams", model.anatomy.layers)
    if key not in known:
        known[key] = streams_beside(model, probe_ids(model)[:2])
    if known[key] > 1 and (model.anatomy.altup is None or known[key] != model.n_streams):
        raise AnatomyError(
            f"its layers give {known[key]} streams beside each other for every position, and what a part writes "
            "is in no single one of them"
        )


def _refusal(model: Model, refusals: list[str]) -> AnatomyError:
    """The error of a model that no anatomy explains: often it cannot run at all."""
    if (cause := unable(model, probe_ids(model))) is not None:
        return AnatomyError(cause.message, cause.hint)
    return AnatomyError(
        f"{type(model.hf).__name__} does not add up: {refusals[0].rstrip(chr(46))}.",
        "Nothing is shown rather than something wrong. Pass anatomy= if its parts are elsewhere.",
    )


def _watch(model: Model, known: dict[Any, Any]) -> None:
    """Let projections that do not say how wide they are be seen at work, once: packed ones have no shape."""
    seen: set[nn.Module] = known.setdefault("watched", set())
    named = {module for module in projections(model.anatomy, model.hf) if widths(module) is None} - seen
    if named:
        seen |= named
        tokens = torch.tensor([probe_ids(model)], device=model.device)
        with model.quiet(), watched(named), contextlib.suppress(Exception):  # what does not run is found out later
            model.hf(tokens, use_cache=False)


def causal_check(model: Model, found: SelfCheck) -> SelfCheck:
    """``found`` with one number and, where it fails, one remark more.

    Raises:
        AnatomyError: a hook on the whole model changes its logits.
    """
    _refuse_changed_logits(model)
    numbers = {**found.numbers, "causality": causality_error(model, probe_ids(model))}
    others = [r for r in found.remark.split("; ") if r and r != AHEAD]
    looked = replace(found, numbers=numbers)
    return replace(looked, remark="; ".join(others if looked.causal else [*others, AHEAD]))


def _refuse_changed_logits(model: Model) -> None:
    """A hook on the whole model runs behind whatever traces it: it has to give back what the unembedding gave."""
    if not any(path == "" for path, _ in interventions(model.hf)):
        return
    seen: list[Tensor] = []
    handle = model.module(model.anatomy.unembed).register_forward_hook(lambda _, given, out: seen.append(out))
    try:
        with model.quiet():
            tokens = torch.tensor([probe_ids(model)], device=model.device)
            given: Any = getattr(model.hf(input_ids=tokens, use_cache=False), "logits", None)
    finally:
        handle.remove()
    own, cap = model.scaled(seen[-1]).double().flatten(0, -2), model.softcap
    recorded = own if cap is None else cap * torch.tanh(own / cap)
    same = isinstance(given, Tensor) and given.numel() == recorded.numel()
    if same:
        missed = (given.double().to(recorded.device).reshape(recorded.shape) - recorded).abs()
        size = recorded.abs().mean(-1, keepdim=True) + recorded.abs()
        same = bool((missed <= LIMITS.get(model.precision, 1e-1) * size).all())
    if not same:
        raise AnatomyError(
            f"A hook on the whole {type(model.hf).__name__} changes the logits that its unembedding gave.",
            "Remove it: what it does is no part of any sum here.",
        )


def _check(model: Model, known: dict[Any, Any]) -> SelfCheck:
    anatomy = model.anatomy
    rec = probed(model, known)
    if not bool(torch.isfinite(rec.logits).all()):
        raise AnatomyError("its logits on a probe prompt are NaN or infinite")
    found = Checked(model, rec, known)
    if not found.note("read-out", max(worst(*readout_error(model, rec)), worst(*cap_error(model, rec)))):
        raise AnatomyError(
            f"the printed logits are not the unembedding ({anatomy.unembed}) of the final norm "
            f"({anatomy.final_norm}) of the stream (off by {power(found.numbers['read-out'])} times its rounding)"
        )
    model.norm(anatomy.final_norm)
    if anatomy.altup and not found.note("streams", worst(*read_error(model, rec, model.n_layers))):
        raise AnatomyError(f"its {model.n_streams} streams do not come to what {anatomy.final_norm} reads")
    if anatomy.pos:
        assert rec.embed is not None and rec.pos is not None
        total = rec.embed.double() + rec.pos.double()
        missed = worst(rec.streams[0].double() - total, half_ulp(total, rec.streams[0].dtype))
        if not found.note("embedding", missed):
            raise AnatomyError(f"{anatomy.embed} and {anatomy.pos} do not add up to what layer 0 reads")
    if anatomy.attn is None:
        return SelfCheck((whole(KNOWN_AS_A_WHOLE),) * model.n_layers, found.numbers)
    levels = tuple(found.level(layer) for layer in range(model.n_layers))
    known_scores = next((i for i, level in enumerate(levels) if level.scores), None)
    return SelfCheck(levels, found.numbers, "" if known_scores is None else _ignored_cap(model, known_scores))


def _ignored_cap(model: Model, layer: int) -> str:
    qkv, attn = model.anatomy.qkv, model.anatomy.attn
    capped = qkv and attn and qkv.softcap and getattr(model.module(attn, layer), qkv.softcap, None)
    if not capped or score_cap(model, layer) is not None:
        return ""
    return (
        f"{model.name} was trained with its attention scores capped at {capped:g} and runs here without the cap, "
        "because torch's fused attention has none: load it with attn_implementation='eager' to have it back"
    )
