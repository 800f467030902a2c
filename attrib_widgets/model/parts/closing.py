"""Sums that must close: what a layer writes, and what its heads do, against what was recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..anatomy.rounding import half_ulp

if TYPE_CHECKING:
    from ..network import Network
    from ..tracing.record import Recording


def stream_error(
    record: Recording, layer: int, dtype: torch.dtype, parallel: bool, positions: Any = slice(None), carry: float = 1.0
) -> tuple[Float[Tensor, "position d_model"], Float[Tensor, "position d_model"]]:
    """(after - carry (before + attention + MLP + third part), its rounding bound) of one layer, in float64."""
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


def head_error(
    model: Network, record: Recording, layer: int, positions: Any = slice(None)
) -> tuple[Float[Tensor, "position d_model"], Float[Tensor, "position d_model"]]:
    """(recorded output projection - heads - bias, its rounding bound) of one layer, in float64.

    Raises:
        GranularityError: the projection is no linear map.
    """
    z, out = record.z[layer][positions], record.attn_out[layer][positions]
    return model.out(layer).missed(z, out, lengths=model.out_lengths(layer))
