"""Does this model add up? Run once at load, on a short prompt of ordinary tokens.

Four questions, each answered with the worst element in units of its own rounding bound:
stream (before + attention + MLP = after), heads (their writes and the bias = the recorded sublayer output),
attention (recomputed from q, k, v = the recorded z), read-out (norm and unembedding = the printed logits).
What fails is shown coarsely with the reason; a model whose read-out fails is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import AnatomyError, AttribError
from ..result import Table, render_text
from .anatomy import Anatomy, Geometry, candidates, geometry
from .attend import attention_error, score_cap
from .capture import Recording, record
from .rounding import accumulation, half_ulp, projection_error, worst

if TYPE_CHECKING:
    from .model import Model

PROBE_TOKENS = 9
GRANULARITIES = ("heads", "sublayers", "layers")


@dataclass(frozen=True)
class SelfCheck:
    """What was found exact on the loaded model.

    ``granularity`` is ``"heads"``, ``"sublayers"`` or ``"layers"``; ``reason`` says in words why it is not finer, and
    ``remark`` something to know about a model that is exact all the same. ``numbers`` maps each question to its worst
    element in units of the rounding bound (at most 1 passes).
    """

    granularity: str
    attention_ok: bool
    reason: str = ""
    numbers: dict[str, float] = field(default_factory=dict)
    remark: str = ""

    @property
    def ok(self) -> bool:
        """Everything is exact, per head."""
        return self.granularity == "heads" and self.attention_ok

    def __repr__(self) -> str:
        rows = [[name, f"{value:.2f}", "passes" if value <= 1 else "FAILS"] for name, value in self.numbers.items()]
        table = Table(
            f"Self-check: exact per {self.granularity.rstrip('s')}",
            ["question", "worst element, in its rounding bound", ""],
            rows,
            footer=self.reason or self.remark,
        )
        return render_text(table)


def stream_error(
    record: Recording, layer: int, dtype: torch.dtype, parallel: bool, positions: Any = slice(None)
) -> tuple[Float[Tensor, "position d_model"], Float[Tensor, "position d_model"]]:
    """(after - before - attention - MLP, its rounding bound) of one layer, in float64."""
    before = record.streams[layer][positions].double()
    attn, mlp = record.attn_write[layer][positions].double(), record.mlp_write[layer][positions].double()
    after = record.streams[layer + 1][positions].double()
    total = before + attn + mlp
    if parallel:  # the three are added in an order that differs between families
        partial = torch.stack(
            [half_ulp(attn + mlp, dtype), half_ulp(before + attn, dtype), half_ulp(before + mlp, dtype)]
        )
        first = partial.amax(0)
    else:
        first = half_ulp(before + attn, dtype)
    return after - total, first + torch.maximum(half_ulp(after, dtype), half_ulp(total, dtype))


def head_error(
    model: Model, record: Recording, layer: int, positions: Any = slice(None)
) -> tuple[Float[Tensor, "position d_model"], Float[Tensor, "position d_model"]]:
    """(recorded output projection - heads - bias, its rounding bound) of one layer, in float64."""
    weight, bias = model.out_weight(layer)
    z, out = record.z[layer][positions], record.attn_out[layer][positions]
    return projection_error(z, weight, bias, out, model.out_lengths(layer))


def post_norm_error(
    model: Model, path: str, layer: int, given: Tensor, written: Tensor
) -> tuple[Float[Tensor, "position d_model"], Float[Tensor, "position d_model"]]:
    """(recorded output of a post-norm - its affine reading, its rounding bound), in float64."""
    norm = model.norm(path, layer)
    return written.double() - norm(given).double(), _norm_bound(written)


def _norm_bound(y: Tensor) -> Tensor:
    # Norms round at most three times on the way (normalised, gained, biased).
    size = y.double().abs()
    return 3 * half_ulp(size, y.dtype) + 1e-5 * size.amax(-1, keepdim=True)


def readout_error(model: Model, record: Recording) -> tuple[Tensor, Tensor]:
    """(unembedding's own output - float32 product with the model's normalised stream, bound), kept positions."""
    x = record.streams[-1][record.kept]
    with model.quiet():
        y = model.module(model.anatomy.final_norm)(x).float()
    weight = model.unembed_weight.float()
    bias = model.unembed_bias
    total = (y @ weight).double() + (0 if bias is None else bias.double())
    spread = (y.square() @ weight.square()).sqrt().double()
    out = record.precap.double()
    bound = 2 * half_ulp(torch.maximum(out.abs(), spread), record.precap.dtype) + accumulation(y.shape[-1]) * spread
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
    """
    best: tuple[Anatomy, Geometry, SelfCheck] | None = None
    refusals: list[str] = []
    for anatomy in candidates(model.hf, override):
        try:
            model.anatomy, model.geometry = anatomy, geometry(anatomy, model.hf)
            model.forget()
            found = _check(model)
        except AttribError as reason:
            refusals.append(reason.message)
            continue
        except (RuntimeError, IndexError, AttributeError, TypeError) as reason:  # parts of the wrong kind or shape
            first = (str(reason).strip().splitlines() or [type(reason).__name__])[0]
            refusals.append(f"a part named by the anatomy has the wrong shape or kind ({first})")
            continue
        if best is None or GRANULARITIES.index(found.granularity) < GRANULARITIES.index(best[2].granularity):
            best = (anatomy, model.geometry, found)
        if found.ok:
            break
    model.forget()
    if best is None:
        raise AnatomyError(
            f"{type(model.hf).__name__} does not add up: {refusals[0].rstrip(chr(46))}.",
            "Nothing is shown rather than something wrong. Pass anatomy= if its parts are elsewhere.",
        )
    return best


def probe_ids(model: Model) -> list[int]:
    """A short prompt of ordinary tokens spread over the vocabulary."""
    special, size = set(model.special_ids), model.n_embeddings
    spread = (1 + (7919 * (k + 1)) % max(size - 1, 1) for k in range(4 * PROBE_TOKENS))
    ids = [i for i in dict.fromkeys(spread) if i not in special and i < size][:PROBE_TOKENS]
    return ids or [0]


def _check(model: Model) -> SelfCheck:
    anatomy, numbers = model.anatomy, {}
    rec = _record(model)
    if not bool(torch.isfinite(rec.logits).all()):
        raise AnatomyError("its logits on a probe prompt are NaN or infinite")
    numbers["read-out"] = max(worst(*readout_error(model, rec)), worst(*cap_error(model, rec)))
    if not numbers["read-out"] <= 1:
        raise AnatomyError(
            f"the printed logits are not the unembedding ({anatomy.unembed}) of the final norm "
            f"({anatomy.final_norm}) of the stream (off by {numbers['read-out']:.0f} times its rounding)"
        )
    model.norm(anatomy.final_norm)
    if anatomy.pos:
        assert rec.embed is not None and rec.pos is not None
        total = rec.embed.double() + rec.pos.double()
        numbers["embedding"] = worst(rec.streams[0].double() - total, half_ulp(total, rec.streams[0].dtype))
        if not numbers["embedding"] <= 1:
            raise AnatomyError(f"{anatomy.embed} and {anatomy.pos} do not add up to what layer 0 reads")
    stream = [worst(*stream_error(rec, i, rec.streams[i].dtype, parallel(model))) for i in range(model.n_layers)]
    numbers["stream"] = max(stream)
    if not numbers["stream"] <= 1:
        layer = next(i for i, v in enumerate(stream) if not v <= 1)
        reason = (
            f"{anatomy.attn_post_norm or anatomy.attn_out} and "
            f"{anatomy.mlp_post_norm or anatomy.mlp_output or anatomy.mlp} of layer {layer} "
            "do not add up to what the layer writes, so only whole layers are shown"
        )
        return SelfCheck("layers", False, reason, numbers)
    try:
        numbers["heads"] = max(_head_check(model, rec, i) for i in range(model.n_layers))
    except AnatomyError as refused:
        return SelfCheck("sublayers", False, refused.message, numbers)
    if not numbers["heads"] <= 1:
        reason = f"the heads of {anatomy.attn_out} and its bias do not add up to its output, so heads are not shown"
        return SelfCheck("sublayers", False, reason, numbers)
    try:
        numbers["attention"] = max(attention_error(model, rec, i) for i in range(model.n_layers))
    except (AttribError, RuntimeError) as refused:
        why = (refused.message if isinstance(refused, AttribError) else str(refused)).rstrip(".")
        reason = f"attention could not be recomputed ({why}), so heads are not shown; pass anatomy= to say where it is"
        return SelfCheck("sublayers", False, reason, numbers)
    if not numbers["attention"] <= 1:
        reason = (
            "attention recomputed from queries, keys and values is not what the heads wrote, so heads are not shown"
        )
        return SelfCheck("sublayers", False, reason, numbers)
    return SelfCheck("heads", True, "", numbers, _ignored_cap(model))


def _record(model: Model) -> Recording:
    try:
        return record(model, probe_ids(model))
    except Exception as reason:  # whatever the tracer says of a path it cannot read there
        first = (str(reason).strip().splitlines() or [type(reason).__name__])[-1]
        raise AnatomyError(f"its parts could not be read in the order of the anatomy ({first})") from reason


def _ignored_cap(model: Model) -> str:
    name = model.anatomy.qkv.softcap
    capped = name and getattr(model.module(model.anatomy.attn, 0), name, None)
    if not capped or score_cap(model, 0) is not None:
        return ""
    return (
        f"{model.name} was trained with its attention scores capped at {capped:g} and runs here without the cap, "
        "because torch's fused attention has none: load it with attn_implementation='eager' to have it back"
    )


def _head_check(model: Model, rec: Recording, layer: int) -> float:
    found = worst(*head_error(model, rec, layer))
    path = model.anatomy.attn_post_norm
    if path:
        found = max(found, worst(*post_norm_error(model, path, layer, rec.attn_out[layer], rec.attn_write[layer])))
    path = model.anatomy.mlp_post_norm
    if path:
        found = max(found, worst(*post_norm_error(model, path, layer, rec.mlp_out[layer], rec.mlp_write[layer])))
    return found


def parallel(model: Model) -> bool:
    """Whether attention and MLP read the same stream."""
    flag = model.anatomy.parallel
    return bool(getattr(model.config, flag, False)) if isinstance(flag, str) else flag
