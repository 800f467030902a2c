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
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from ...result import Table, render_text
from ...words.errors import AnatomyError, AttribError, clause
from ...words.text import power
from ..anatomy.anatomy import Anatomy
from ..anatomy.discovery import candidates, own_family
from ..anatomy.geometry import Geometry, geometry, projections
from ..anatomy.lookup import resolved
from ..anatomy.rounding import accumulation, half_ulp, require_float32, worst
from ..anatomy.weights import watched, widths
from ..identity.belonging import LIMITS
from ..identity.stamp import interventions
from ..parts.between import Between, read_between, streams_beside
from ..parts.closing import stream_error
from ..parts.scores import score_cap
from ..parts.streams import read_error
from ..tracing.causality import AHEAD, causality_error
from ..tracing.joining import read_joins
from ..tracing.order import absent_parts, unordered_parts
from ..tracing.record import Recording, record
from .causes import unable
from .layers import MISFITS, Checked
from .levels import Level, granularity_of, reasons_of, whole, why, words_of

if TYPE_CHECKING:
    from ..model import Model

PROBE_TOKENS = 9
KNOWN_AS_A_WHOLE = "only its layers, its norm and its unembedding are known"


@dataclass(frozen=True)
class SelfCheck:
    """What was found exact on the loaded model.

    ``levels`` has one :class:`.levels.Level` for every layer: what it splits into, and why not further. ``remark`` is
    something to know about a model that is exact all the same. ``numbers`` maps each question to its worst element over
    the layers in units of the rounding bound (at most 1 passes). The other attributes sum the levels up.
    """

    levels: tuple[Level, ...]
    numbers: dict[str, float] = field(default_factory=dict)
    remark: str = ""

    @property
    def granularity(self) -> str:
        """``"heads"``, ``"sublayers"`` or ``"layers"`` where all layers split alike, else ``"mixed"``."""
        return granularity_of(self.levels)

    @property
    def words(self) -> str:
        """How far the model splits: ``"per head"``, ``"per head in 3 of 4 layers, L1 as a whole layer"``."""
        return words_of(self.levels)

    @property
    def reason(self) -> str:
        """Why a layer is not split as far as what its heads carried from whom; each kind of reason once."""
        return why(self.levels, "values")

    @property
    def attention_ok(self) -> bool:
        """Patterns, values and where they come from are exact in every layer."""
        return all(level.sources and level.values for level in self.levels)

    @property
    def values_reason(self) -> str:
        """Why it is not known where values come from, though they are known."""
        return self._reason_of("values", "sources")

    @property
    def scores_ok(self) -> bool:
        """Queries, keys and scores are known exactly in every layer, not patterns and values alone."""
        return all(level.scores for level in self.levels)

    @property
    def scores_reason(self) -> str:
        """Why scores are not known where sources are."""
        return self._reason_of("scores", "sources")

    @property
    def no_scores(self) -> str:
        """Why scores are not known, in words."""
        return why(self.levels, "scores")

    @property
    def mlp_ok(self) -> bool:
        """What the MLPs read is known exactly, and experts add up to them, wherever there is an MLP to be shown."""
        return not self.mlp_reason

    @property
    def mlp_reason(self) -> str:
        """Why the inside of an MLP is not known where the MLP is."""
        return self._reason_of("inside", "sublayers")

    def _reason_of(self, split: str, given: str) -> str:
        """Why ``split`` is not exact in layers where ``given`` is."""
        found = {i: getattr(level, split).reason for i, level in enumerate(self.levels) if getattr(level, given)}
        return reasons_of(found, len(self.levels))

    @property
    def causal(self) -> bool:
        """Later tokens change nothing before them."""
        return self.numbers.get("causality", 0.0) <= 1

    @property
    def missed(self) -> int:
        """How many splits are not exact, over all layers, the coarse ones counting most."""
        weights = {"sublayers": 10_000, "heads": 1_000, "sources": 3, "values": 1, "scores": 2, "inside": 2}
        return sum(w for level in self.levels for split, w in weights.items() if not getattr(level, split))

    @property
    def furthest(self) -> float:
        """How far off it is: the worst of its numbers.

        Attention that could not be recomputed at all is further off than any number: the reason is then that of the
        likeliest anatomy, not of one that does not fit.
        """
        if self.ok and self.mlp_ok:
            return 0.0
        coarse = any(level.sublayers and not level.heads for level in self.levels)
        untold = coarse and "attention" not in self.numbers
        untold |= bool(self.scores_reason) and "scores" not in self.numbers
        untold |= "stream" not in self.numbers
        return math.inf if untold else max(self.numbers.values(), default=0.0)

    @property
    def ok(self) -> bool:
        """Everything is exact, per head, in every layer."""
        return self.scores_ok and not self.values_reason

    def __repr__(self) -> str:
        rows = [[name, f"{value:.2f}", "passes" if value <= 1 else "FAILS"] for name, value in self.numbers.items()]
        table = Table(
            f"Self-check: exact {self.words}",
            ["question", "worst element, in its rounding bound", ""],
            rows,
            footer=self.reason or self.values_reason or self.scores_reason or self.remark,
        )
        return render_text(table)


def readout_error(model: Model, record: Recording) -> tuple[Tensor, Tensor]:
    """(logits before the soft cap - float32 product with the model's normalised stream, bound), kept positions."""
    x = record.streams[-1][record.kept]
    with model.quiet():
        y = model.call(model.module(model.anatomy.final_norm), x).float()
    unembed, scale = model.unembedding, model.logit_scale
    unembed.show(record.streams[-1])
    bias = unembed.bias
    total = (unembed.product(y).double() + (0 if bias is None else bias.double())) * scale
    spread = unembed.sizes(y).double() * abs(scale)
    out = record.precap.double()
    rounded = half_ulp(torch.maximum(out.abs(), spread), record.precap.dtype)
    bound = (2 if scale == 1 else 3) * rounded + (accumulation(y.shape[-1]) + 8 * unembed.noise) * spread
    return out - total, bound


def cap_error(model: Model, record: Recording) -> tuple[Tensor, Tensor]:
    """(printed - soft cap of the unembedding's output, bound), kept positions."""
    pre, cap = record.precap.double(), model.softcap
    expected = pre if cap is None else cap * torch.tanh(pre / cap)
    return record.logits.double() - expected, 8 * half_ulp(expected, record.logits.dtype)


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


def probe_ids(model: Model) -> list[int]:
    """A short prompt of ordinary tokens spread over the vocabulary."""
    special, size = set(model.special_ids), model.n_embeddings
    spread = (1 + (7919 * (k + 1)) % max(size - 1, 1) for k in range(4 * PROBE_TOKENS))
    ids = [i for i in dict.fromkeys(spread) if i not in special and i < size][:PROBE_TOKENS]
    return ids or [0]


def _check(model: Model, known: dict[Any, Any]) -> SelfCheck:
    anatomy = model.anatomy
    rec = _record(model, known)
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


def _record(model: Model, known: dict[Any, Any]) -> Recording:
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
            known[key] = _joined(model, *_recorded(model))
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
    again, unread = _recorded(model)
    model.joining = frozenset(i for i in model.joining if i in again.joins and closes(again, i))
    return (_recorded(model)[0] if model.joining != set(again.joins) else again), unread, model.joining


def _recorded(model: Model) -> tuple[Recording, dict[int, str]]:
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


def _ignored_cap(model: Model, layer: int) -> str:
    qkv, attn = model.anatomy.qkv, model.anatomy.attn
    capped = qkv and attn and qkv.softcap and getattr(model.module(attn, layer), qkv.softcap, None)
    if not capped or score_cap(model, layer) is not None:
        return ""
    return (
        f"{model.name} was trained with its attention scores capped at {capped:g} and runs here without the cap, "
        "because torch's fused attention has none: load it with attn_implementation='eager' to have it back"
    )
