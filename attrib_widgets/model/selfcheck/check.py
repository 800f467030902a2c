"""Does this model add up? Run once at load, on a short prompt of ordinary tokens.

Five questions, each answered with the worst element in units of its own rounding bound:
stream (before + attention + MLP = after), heads (their writes and the bias = the recorded sublayer output),
attention (recomputed from q, k, v, or heard in the layer's own module, = the recorded z), read-out (norm and
unembedding = the printed logits), causality (later tokens change nothing before them). What fails of the first three
is shown coarsely with the reason; a model whose read-out fails is refused; on one that looks ahead, nothing relies on
causality.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...result import Table, render_text
from ...words.errors import AnatomyError, AttribError, GranularityError
from ..anatomy.anatomy import Anatomy, resolved
from ..anatomy.discovery import candidates
from ..anatomy.geometry import Geometry, geometry, projections
from ..anatomy.linear import watched, widths
from ..anatomy.rounding import accumulation, half_ulp, require_float32, worst
from ..parts.attention import heard_error, scores_error
from ..parts.closing import head_error, stream_error
from ..parts.experts import mixture, mlp_input
from ..parts.outlet import outlet_of
from ..parts.scores import score_cap
from ..tracing.causality import AHEAD, causality_error
from ..tracing.ports import port
from ..tracing.record import Recording, record

if TYPE_CHECKING:
    from ..model import Model

PROBE_TOKENS = 9
GRANULARITIES = ("heads", "sublayers", "layers")


@dataclass(frozen=True)
class SelfCheck:
    """What was found exact on the loaded model.

    ``granularity`` is ``"heads"``, ``"sublayers"`` or ``"layers"``; ``reason`` says in words why it is not finer, and
    ``remark`` something to know about a model that is exact all the same; ``scores_reason`` and ``mlp_reason`` say why
    scores and the inside of the MLPs are not exact where the rest is. ``numbers`` maps each question to its worst
    element in units of the rounding bound (at most 1 passes).
    """

    granularity: str
    attention_ok: bool
    reason: str = ""
    numbers: dict[str, float] = field(default_factory=dict)
    remark: str = ""
    mlp_reason: str = ""
    scores_reason: str = ""

    @property
    def scores_ok(self) -> bool:
        """Queries, keys and scores are known exactly, not patterns and values alone."""
        return self.attention_ok and not self.scores_reason

    @property
    def no_scores(self) -> str:
        """Why scores are not known, in words."""
        return self.scores_reason or self.reason

    @property
    def mlp_ok(self) -> bool:
        """What the MLPs read is known exactly, and experts add up to them."""
        return not self.mlp_reason

    @property
    def causal(self) -> bool:
        """Later tokens change nothing before them."""
        return self.numbers.get("causality", 0.0) <= 1

    @property
    def rank(self) -> tuple[int, int, float]:
        """Smaller is better: granularity, how much of the inside is not exact, and how far the rest is off.

        Attention that could not be recomputed at all is further off than any number: the reason is then that of the
        likeliest anatomy, not of one that does not fit.
        """
        inside = (self.attention_ok, self.scores_ok, self.mlp_ok)
        finest = GRANULARITIES.index(self.granularity), sum(not ok for ok in inside)
        if finest == (0, 0):
            return *finest, 0.0
        untold = self.granularity == "sublayers" and "attention" not in self.numbers
        untold |= bool(self.scores_reason) and "scores" not in self.numbers
        return *finest, math.inf if untold else max(self.numbers.values(), default=0.0)

    @property
    def ok(self) -> bool:
        """Everything is exact, per head."""
        return self.granularity == "heads" and self.scores_ok

    def __repr__(self) -> str:
        rows = [[name, f"{value:.2f}", "passes" if value <= 1 else "FAILS"] for name, value in self.numbers.items()]
        table = Table(
            f"Self-check: exact per {self.granularity.rstrip('s')}",
            ["question", "worst element, in its rounding bound", ""],
            rows,
            footer=self.reason or self.scores_reason or self.remark,
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

    Raises:
        AnatomyError: no anatomy explains the printed logits.
        NumberError: a setting of torch takes float32 away.
    """
    require_float32()
    best: tuple[Anatomy, Geometry, SelfCheck] | None = None
    refusals: list[str] = []
    recordings: dict[Any, Recording] = {}
    tried = candidates(model.hf, override)
    model.anatomy = tried[0]  # until one was looked at
    _watch(model, tried)
    for anatomy in tried:
        try:
            anatomy = resolved(anatomy, model.hf)
            model.anatomy, model.geometry = anatomy, geometry(anatomy, model.hf)
            model.forget()
            found = _check(model, recordings)
        except AttribError as reason:
            refusals.append(reason.message)
            continue
        except (
            RuntimeError,
            IndexError,
            AttributeError,
            TypeError,
            ValueError,
        ) as reason:  # parts of the wrong kind or shape
            refusals.append(f"a part named by the anatomy has the wrong shape or kind ({_first(reason)})")
            continue
        if best is None or found.rank < best[2].rank:
            best = (anatomy, model.geometry, found)
        if found.ok and found.mlp_ok:
            break
    if best is None:
        model.forget()
        refuse_broken(model)
        raise AnatomyError(
            f"{type(model.hf).__name__} does not add up: {refusals[0].rstrip(chr(46))}.",
            "Nothing is shown rather than something wrong. Pass anatomy= if its parts are elsewhere.",
        )
    if best[0].attn is None and refusals:  # whole layers: say what stood in the way of more
        best = (*best[:2], replace(best[2], reason=f"{refusals[0].rstrip(chr(46))}, so only whole layers are shown"))
    model.anatomy, model.geometry = best[:2]
    model.forget()
    found = causal_check(model, best[2])
    model.forget()
    return (*best[:2], found)


def refuse_broken(model: Model) -> None:
    """A model that does not run at all is no matter of anatomy.

    Raises:
        AnatomyError: it does not.
    """
    if getattr(model.hf.config, "return_dict", True) is False:
        raise AnatomyError(
            f"This {model.family} returns a tuple, without logits by name.",
            "model.config.return_dict = True, and load it again.",
        )
    tokens = torch.tensor([probe_ids(model)], device=model.device)
    try:
        with model.quiet():
            model.hf(tokens, use_cache=False)
    except Exception as reason:  # whatever it says
        held = sorted({str(p.dtype).removeprefix("torch.") for p in model.hf.parameters() if p.is_floating_point()})
        raise AnatomyError(
            f"This {model.family} does not run on a prompt, with this library or without: {_first(reason)}.",
            f"Its parts are {' and '.join(held)}: model.to(torch.float32) makes them one."
            if len(held) > 1
            else "It has to print model(torch.tensor([[1, 2, 3]])).logits before they can be explained.",
        ) from reason


def _first(reason: Exception) -> str:
    return (str(reason).strip().splitlines() or [type(reason).__name__])[0].rstrip(".")


def _watch(model: Model, anatomies: Sequence[Anatomy]) -> None:
    """Let projections that do not say how wide they are be seen at work: packed weights have no shape to go by."""
    named = {module for anatomy in anatomies for module in projections(anatomy, model.hf) if widths(module) is None}
    if named:
        tokens = torch.tensor([probe_ids(model)], device=model.device)
        with model.quiet(), watched(named), contextlib.suppress(Exception):  # what does not run is found out later
            model.hf(tokens, use_cache=False)


def causal_check(model: Model, found: SelfCheck) -> SelfCheck:
    """``found`` with one number and, where it fails, one remark more."""
    numbers = {**found.numbers, "causality": causality_error(model, probe_ids(model))}
    others = [r for r in found.remark.split("; ") if r and r != AHEAD]
    looked = replace(found, numbers=numbers)
    return replace(looked, remark="; ".join(others if looked.causal else [*others, AHEAD]))


def probe_ids(model: Model) -> list[int]:
    """A short prompt of ordinary tokens spread over the vocabulary."""
    special, size = set(model.special_ids), model.n_embeddings
    spread = (1 + (7919 * (k + 1)) % max(size - 1, 1) for k in range(4 * PROBE_TOKENS))
    ids = [i for i in dict.fromkeys(spread) if i not in special and i < size][:PROBE_TOKENS]
    return ids or [0]


def _check(model: Model, recordings: dict[Any, Recording]) -> SelfCheck:
    anatomy, numbers = model.anatomy, {}
    rec = _record(model, recordings)
    if not bool(torch.isfinite(rec.logits).all()):
        raise AnatomyError("its logits on a probe prompt are NaN or infinite")
    numbers["read-out"] = max(worst(*readout_error(model, rec)), worst(*cap_error(model, rec)))
    if not numbers["read-out"] <= 1:
        raise AnatomyError(
            f"the printed logits are not the unembedding ({anatomy.unembed}) of the final norm "
            f"({anatomy.final_norm}) of the stream (off by {numbers['read-out']:.0e} times its rounding)"
        )
    model.norm(anatomy.final_norm)
    if anatomy.pos:
        assert rec.embed is not None and rec.pos is not None
        total = rec.embed.double() + rec.pos.double()
        numbers["embedding"] = worst(rec.streams[0].double() - total, half_ulp(total, rec.streams[0].dtype))
        if not numbers["embedding"] <= 1:
            raise AnatomyError(f"{anatomy.embed} and {anatomy.pos} do not add up to what layer 0 reads")
    if anatomy.attn is None:
        return SelfCheck("layers", False, "only its layers, its norm and its unembedding are known", numbers)
    stream = [worst(*stream_error(rec, i, rec.streams[i].dtype, model.parallel)) for i in range(model.n_layers)]
    numbers["stream"] = max(stream)
    if not numbers["stream"] <= 1:
        layer = next(i for i, v in enumerate(stream) if not v <= 1)
        reason = (
            f"{port(model, 'attn_added').path} and {port(model, 'mlp_added').path} of layer {layer} "
            "do not add up to what the layer writes, so only whole layers are shown"
        )
        return SelfCheck("layers", False, reason, numbers)
    mlp_reason = _mlp_check(model, rec, numbers)
    coarse = SelfCheck("sublayers", False, numbers=numbers, mlp_reason=mlp_reason)
    try:
        numbers["heads"] = max(_head_check(model, rec, i) for i in range(model.n_layers))
    except (AttribError, RuntimeError) as refused:
        return replace(coarse, reason=_words(refused))
    if not numbers["heads"] <= 1:
        reason = f"the heads of {anatomy.attn_out} and its bias do not add up to its output, so heads are not shown"
        return replace(coarse, reason=reason)
    more = ""
    try:
        numbers["attention"] = max(scores_error(model, rec, i) for i in range(model.n_layers))
        reason = "attention recomputed from queries, keys and values is not what the heads wrote"
    except (AttribError, RuntimeError, AttributeError, TypeError) as refused:
        reason, more = f"attention could not be recomputed ({_words(refused)})", "; pass anatomy= to say where it is"
    if numbers.get("attention", math.inf) <= 1:
        return SelfCheck("heads", True, "", numbers, _ignored_cap(model), mlp_reason)
    return _heard_check(model, rec, replace(coarse, reason=f"{reason}, so heads are not shown{more}"), reason + more)


def _heard_check(model: Model, rec: Recording, coarse: SelfCheck, reason: str) -> SelfCheck:
    """What is exact where the anatomy's ``q``, ``k`` and what follows them are not: what the layers themselves do."""
    found = [heard_error(model, rec, i) for i in range(model.n_layers)]
    missed, values = (max(numbers) for numbers in zip(*found, strict=True))
    if not missed <= 1:
        return coarse
    numbers = {name: value for name, value in coarse.numbers.items() if name != "attention"}
    numbers["attention"] = missed
    if "attention" in coarse.numbers:
        numbers["scores"] = coarse.numbers["attention"]
    if not values <= 1:
        why = f"its heads' values are no projection of what its layers read ({reason})"
        return replace(coarse, granularity="heads", numbers=numbers, reason=why)
    numbers["values"] = values
    return SelfCheck("heads", True, "", numbers, "", coarse.mlp_reason, reason)


def _words(refused: Exception) -> str:
    """An error as part of a sentence."""
    text = refused.message if isinstance(refused, AttribError) else (str(refused).splitlines() or ["unknown"])[0]
    return text.rstrip(".")


def _mlp_check(model: Model, rec: Recording, numbers: dict[str, float]) -> str:
    """Why neurons' inputs or experts are not exact; "" when they are. Adds the worst errors to ``numbers``."""
    reasons = []
    for layer in range(model.n_layers):
        try:
            if model.has_experts(layer):
                where = f"the experts of layer {layer} do not add up to its MLP"
                name, found = "experts", worst(*mixture(model, rec, layer).error(rec.mlp_out[layer]))
            else:
                where = f"the MLP of layer {layer} does not read {model.anatomy.mlp_norm or 'the stream'}"
                name, found = "MLP input", _mlp_input_error(model, rec, layer)
        except (AttribError, RuntimeError, AttributeError, TypeError, ValueError) as refused:
            reasons.append(_words(refused))
            continue
        numbers[name] = max(numbers.get(name, 0.0), found)
        if not found <= 1:
            reasons.append(where)
    return reasons[0] if reasons else ""


def _mlp_input_error(model: Model, rec: Recording, layer: int) -> float:
    """The recorded output of the MLP's input projection against its product with what the anatomy says it reads."""
    path = model.anatomy.mlp_in
    if path is None or not rec.mlp_entered or rec.mlp_entered[layer] is None:
        raise GranularityError(f"the MLP of layer {layer} has no input projection {path!r}")
    given = rec.mlp_entered[layer]
    assert given is not None
    return worst(*model.projection(path, layer).called(mlp_input(model, rec, layer), given))


def _record(model: Model, known: dict[Any, Recording]) -> Recording:
    """The probe prompt, recorded once for all anatomies that look in the same places."""
    a = model.anatomy
    inside = (a.attn, a.attn_out, a.attn_post_norm, a.mlp, a.mlp_in, a.mlp_output, a.mlp_post_norm, a.multiplier)
    given = () if a.qkv is None else (*a.qkv.arguments.values(), a.qkv.penalty_of)
    key = (a.layers, a.final_norm, a.unembed, a.embed, a.pos, *inside, *given, a.logit_scale, a.softcap)
    try:
        if key not in known:
            try:
                known[key] = record(model, probe_ids(model), inside=True)
            except Exception:  # the MLP's input projection is not where the anatomy says: the rest may be
                known[key] = record(model, probe_ids(model))
        return known[key]
    except Exception as reason:  # whatever the tracer says of a path it cannot read there
        first = (str(reason).strip().splitlines() or [type(reason).__name__])[-1]
        raise AnatomyError(f"its parts could not be read in the order of the anatomy ({first})") from reason


def _ignored_cap(model: Model) -> str:
    qkv, attn = model.anatomy.qkv, model.anatomy.attn
    capped = qkv and attn and qkv.softcap and getattr(model.module(attn, 0), qkv.softcap, None)
    if not capped or score_cap(model, 0) is not None:
        return ""
    return (
        f"{model.name} was trained with its attention scores capped at {capped:g} and runs here without the cap, "
        "because torch's fused attention has none: load it with attn_implementation='eager' to have it back"
    )


def _head_check(model: Model, rec: Recording, layer: int) -> float:
    attn, mlp = outlet_of(model, "attn", layer), outlet_of(model, "mlp", layer)
    return max(
        worst(*head_error(model, rec, layer)),
        worst(*attn.error(rec.attn_out[layer], rec.attn_write[layer])),
        worst(*mlp.error(rec.mlp_out[layer], rec.mlp_write[layer])),
    )
