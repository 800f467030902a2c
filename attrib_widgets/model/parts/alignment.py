"""Whose pattern is whose, where what the heads wrote is not pattern times values: a gate, a norm between them, say.

Blocks of z add up to the output however many they are, so the number of heads has to be shown by what the layer does:
its module is called once more with the attention of every head scaled by a number of its own, and every block of z must
follow its own head's number (and, where a norm of all heads follows, a factor that all blocks share).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..identity.belonging import LIMITS
from .listen import FUSED, Attended, Listener, arriving, call, heard
from .projections import normed_input

if TYPE_CHECKING:
    from ..model import Model
    from ..tracing.recording import Recording


class _Scaled(Listener):
    """Lets the module go on with every head's attention times a factor."""

    def __init__(self, count: int, factors: Tensor) -> None:
        super().__init__(count)
        self.factors = factors

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        had = self.taken
        out = super().__torch_function__(func, types, args, kwargs)
        if func is not FUSED and self.taken is had:
            return out
        heads = out.reshape(-1, *out.shape[-2:])
        if len(heads) != len(self.factors):
            return out
        return (heads * self.factors[:, None, None].to(heads)).reshape(out.shape)


@torch.no_grad()
def own_patterns(model: Model, rec: Recording, layer: int) -> Attended | None:
    """The patterns that the layer's softmax gives on its recorded input, once it is known whose each of them is.

    ``v`` is what they met; pattern times values need not be z. None where the module does not let them be heard, or
    where a block of z does not belong to the head of its number.
    """
    x = normed_input(model, rec, layer)
    found = heard(model, rec, layer, x)
    if found is None:
        return None
    count, n = len(found.pattern), len(x)
    factors = 0.5 + 1.5 * torch.rand(count, generator=torch.Generator().manual_seed(0))
    factors = factors.to(model.home)
    with arriving(model, layer, n) as given:
        done = call(model, rec, layer, x, _Scaled(n, factors))
    if not done or len(given) != 1:
        return None
    blocks, own = (z.float().reshape(n, count, -1) for z in (given[0], rec.z[layer]))
    expected = own * factors[None, :, None]
    shared = (blocks * expected).sum((1, 2)) / expected.square().sum((1, 2)).clamp_min(1e-30)
    missed = blocks - shared[:, None, None] * expected
    size = expected.abs().amax((1, 2)).clamp_min(1e-30) * shared.abs()
    limit = LIMITS.get(model.dtype, LIMITS[torch.bfloat16])
    return found if float((missed.abs().amax((1, 2)) / size.clamp_min(1e-30)).max()) <= limit else None
