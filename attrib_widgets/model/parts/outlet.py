"""What happens to a sublayer's output before it is added to the stream: a norm of its own, a multiplier, a join that
scales every number for itself and adds constants (:mod:`.joins`), or nothing.

All are linear once the norm's scale is frozen, so a direction of the stream is pulled back through them like
through the final norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..anatomy.norms import FrozenNorm
from ..anatomy.rounding import half_ulp
from .joins import Join

if TYPE_CHECKING:
    from ..network import Network

Sublayer = Literal["attn", "mlp"]


@dataclass(frozen=True)
class Outlet:
    """How the output of one sublayer enters the stream: ``multiplier * norm(output)``, or by way of its ``join``, whose
    gain holds the multiplier."""

    norm: FrozenNorm | None
    multiplier: float
    join: Join | None = None

    @property
    def plain(self) -> bool:
        """The output is added as it is."""
        return self.norm is None and self.multiplier == 1 and self.join is None

    def pull(self, v: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_model"]:
        """A direction of the stream as a direction of the sublayer's output, before :meth:`scale`."""
        v = self.scaled(v)
        return v if self.norm is None else self.norm.pull(v)

    def scale(self, given: Float[Tensor, "position d_model"]) -> Float[Tensor, "position"]:
        """The frozen scale of the norm at what the sublayer gave; 1 without a norm."""
        return torch.ones(len(given), device=given.device) if self.norm is None else self.norm.scale(given)

    def constant(self, v: Float[Tensor, "direction d_model"]) -> Float[Tensor, "direction"]:
        """What the norm's bias and the join's constant write along directions of the stream."""
        bias = self.bias
        return v.new_zeros(len(v)) if bias is None else v @ bias

    def push(self, part: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_model"]:
        """What a part of the output becomes in the stream, before :meth:`scale`; the transpose of :meth:`pull`."""
        return self.scaled(part if self.norm is None else self.norm.push(part))

    def scaled(self, part: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_model"]:
        """What becomes of a part of the output behind the norm, and of a direction of the stream in front of it."""
        part = part if self.join is None else self.join.gained(part)
        return part if self.multiplier == 1 else part * self.multiplier

    @property
    def bias(self) -> Float[Tensor, "d_model"] | None:
        """What the norm and the join add by themselves, or None."""
        own = None if self.norm is None or not bool(self.norm.bias.any()) else self.scaled(self.norm.bias)
        shift = None if self.join is None else self.join.shift
        return own if shift is None else shift if own is None else own + shift

    def error(
        self, given: Float[Tensor, "position d_model"], written: Float[Tensor, "position d_model"]
    ) -> tuple[Float[Tensor, "position d_model"], Float[Tensor, "position d_model"]]:
        """(what was added to the stream - this reading of the sublayer's output, its rounding bound), in float64."""
        expected = given.double() if self.norm is None else self.norm(given).double()
        bound = torch.zeros_like(expected)
        if self.norm is not None:  # norms round at most three times on the way (normalised, gained, biased)
            # Rounding may have brought the one across a power of two, and not the other.
            size = torch.maximum(written.double().abs() / abs(self.multiplier or 1), expected.abs())
            bound = 3 * half_ulp(size, written.dtype) + 1e-5 * size.amax(-1, keepdim=True)
        if self.join is not None:
            size = self.join.size(given if self.norm is None else self.norm(given))
            expected, bound = self.join.added(expected.float()).double(), self.join.gained(bound).abs()
            bound = bound + half_ulp(expected, written.dtype) + 2e-7 * size
        if self.multiplier != 1:
            expected = expected * self.multiplier
            # The multiplier itself is a float32 number in the product.
            bound = bound * abs(self.multiplier) + half_ulp(expected, written.dtype) + 6e-8 * expected.abs()
        return written.double() - expected, bound


def outlet_of(model: Network, sublayer: Sublayer, layer: int) -> Outlet:
    """The :class:`Outlet` of the attention or the MLP of ``layer``."""
    path = getattr(model.anatomy, f"{sublayer}_post_norm")
    norm = None if path is None else model.norm(path, layer)
    join = model.join(sublayer, layer)
    return Outlet(norm, model.multiplier_of(sublayer) if join is None else 1.0, join)
