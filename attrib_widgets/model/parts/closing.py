"""Sums that must close: what a layer writes, what its heads do and what is printed, against what was recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..anatomy.rounding import accumulation, half_ulp

if TYPE_CHECKING:
    from ..network import Network
    from ..tracing.recording import Recording


def stream_error(
    record: Recording, layer: int, dtype: torch.dtype, parallel: bool, positions: Any = slice(None), carry: float = 1.0
) -> tuple[Float[Tensor, "position d_model"], Float[Tensor, "position d_model"]]:
    """(after - carry (before + attention + MLP + third part), its rounding bound) of one layer, in float64.

    Where parts join the stream otherwise (:mod:`.joins`), what is left of it before each is summed.
    """
    before = record.streams[layer][positions].double()
    attn, mlp = record.attn_write[layer][positions].double(), record.mlp_write[layer][positions].double()
    after = record.streams[layer + 1][positions].double()
    if layer in record.joins:
        return _joined_error(record, layer, dtype, positions)
    total = before + attn + mlp
    if parallel:  # the three are added in an order that differs between families
        partial = torch.stack(
            [half_ulp(attn + mlp, dtype), half_ulp(before + attn, dtype), half_ulp(before + mlp, dtype)]
        )
        first = partial.amax(0)
    else:
        first = half_ulp(before + attn, dtype)
    if record.beside_write:
        own = record.beside_write[layer][positions].double()
        other = attn if record.beside_first else mlp
        with_own = half_ulp(own + other, dtype)
        if record.beside_out is not record.beside_write:  # scaled one by one here, perhaps after their sum in the model
            with_own = 2 * with_own + half_ulp(own, dtype) + half_ulp(other, dtype)
        first = first + torch.maximum(half_ulp(total, dtype), half_ulp(before + attn + own, dtype)) + with_own
        total = total + own
    bound = first + torch.maximum(half_ulp(after / (carry or 1), dtype), half_ulp(total, dtype))
    if carry != 1:
        total, bound = total * carry, bound * abs(carry)
        bound = bound + torch.maximum(half_ulp(after, dtype), half_ulp(total, dtype)) + 6e-8 * total.abs()
    return after - total, bound


def _joined_error(
    record: Recording, layer: int, dtype: torch.dtype, positions: Any
) -> tuple[Float[Tensor, "position d_model"], Float[Tensor, "position d_model"]]:
    """:func:`stream_error` of a layer whose sublayers join the stream otherwise than by a plain sum."""
    first, second = record.joins[layer]
    before, after = record.streams[layer][positions].double(), record.streams[layer + 1][positions].double()
    attn, mlp = record.attn_write[layer][positions].double(), record.mlp_write[layer][positions].double()
    middle = first.kept(before) + attn
    # The terms may cancel, and so may the constants of a channel that are told as one: their roundings do not.
    shifts = [0.0 if join.shift is None else float(join.shift.abs().max()) for join in (first, second)]
    size = first.kept(before).abs() + attn.abs() + shifts[0]
    # Each is rounded up to four times by the model, and as often here; what is given in half precision is rounded to
    # that twice on its way, by up to two units each.
    inside = 8 * half_ulp(size, dtype) + 4 * half_ulp(attn.abs() + shifts[0], record.attn_out[layer].dtype)
    whole = second.kept(size).abs() + mlp.abs() + shifts[1]
    last = 8 * half_ulp(whole, dtype) + 4 * half_ulp(mlp.abs() + shifts[1], record.mlp_out[layer].dtype)
    read = half_ulp(after, record.streams[layer + 1].dtype)  # the final norm may read it rounded
    return after - second.kept(middle) - mlp, second.kept(inside).abs() + last + read


def head_error(
    model: Network, record: Recording, layer: int, positions: Any = slice(None)
) -> tuple[Float[Tensor, "position d_model"], Float[Tensor, "position d_model"]]:
    """(recorded output projection - heads - bias, its rounding bound) of one layer, in float64.

    Raises:
        GranularityError: the projection is no linear map.
    """
    z, out = record.z[layer][positions], record.attn_out[layer][positions]
    return model.out(layer).missed(z, out)


def readout_error(model: Network, record: Recording) -> tuple[Tensor, Tensor]:
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


def cap_error(model: Network, record: Recording) -> tuple[Tensor, Tensor]:
    """(printed - soft cap of the unembedding's output, bound), kept positions."""
    pre, cap = record.precap.double(), model.softcap
    expected = pre if cap is None else cap * torch.tanh(pre / cap)
    return record.logits.double() - expected, 8 * half_ulp(expected, record.logits.dtype)
