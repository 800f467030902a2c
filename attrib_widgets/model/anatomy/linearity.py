"""Whether a module is a linear map, as shown on recorded inputs, how far it rounds inside, and its gradient."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...words.text import share
from .weights import device_of

#: Prompts' worth of recorded inputs on which linearity is shown.
PAIRS = 8
#: A module whose parts add up worse than this, relative to its outputs, does not add up (or 1.5 units in the last place
#: of its outputs): multiplied in bfloat16 inside they do to 0.004.
LEAST = 0.006
#: Numbers that stand beside one that is this many times larger must not vanish (quantised inputs round them to zero).
SPIKE = 512
#: A gradient that is further off than this, relative to itself, is not that of the module: rounding moves it less.
STRAY = 0.1


@torch.no_grad()
def linearity(
    x: Float[Tensor, "position d_in"], call: Callable[[Tensor], Tensor], eps: float = 0.0
) -> tuple[float, str]:
    """(rounding of a module relative to what it gives, why it is no linear map or "").

    Halves of recorded inputs are put together: the output for two parts is the sum of their outputs, beside the output
    for zero, up to what is rounded inside (``eps`` is that of its outputs), which the same inputs times 1.5, an exact
    product, show as well. And what stands beside one large number is not lost: a module that rounds its inputs to whole
    steps of the largest one loses it.
    """
    x = x[: PAIRS + 1].float()
    x = x[x.abs().amax(-1) > 0]
    if not len(x):
        return 0.0, ""
    short = _shortened(x)
    even = torch.arange(x.shape[1], device=x.device) % 2 == 0
    a, b = short * even, short.roll(1, 0) * ~even
    zero = call(torch.zeros_like(x[:1]))

    def of(rows: Tensor) -> Tensor:
        return call(rows) - zero

    both = of(a + b)
    size = rms(both + zero).clamp_min(1e-30)  # its constant is rounded with the rest
    parts = rms(both - of(a) - of(b)) / size
    rounded = max(rms(of(1.5 * (a + b)) / 1.5 - both), rms(of(1.5 * x) / 1.5 - of(x))) / size
    noise = float(max(parts, rounded))
    if not noise <= max(LEAST, 1.5 * eps):
        return noise, f"the outputs for two inputs miss the output for their sum by {share(noise, 1)}"
    typical = float(rms(both) / rms((a + b).norm(dim=-1)))  # of a weight
    raised = power(float(zero.abs().max()) / max(typical, 1e-30))  # a large constant rounds small outputs away
    for largest in dict.fromkeys((raised, raised * power(float(x.abs().max()) / 2))):
        spike = torch.zeros_like(x)
        spike[torch.arange(len(x), device=x.device), x.abs().argmax(-1)] = largest
        small = largest / SPIKE
        beside = torch.where(spike == 0, torch.sign(x), 0.0)
        alone, found = of(beside) * small, of(spike + beside * small) - of(spike)
        kept = float((found * alone).sum() / alone.square().sum().clamp_min(1e-30))  # what is rounded averages out
        if not abs(kept - 1) <= 0.3:
            return noise, f"beside one large input {share(abs(kept - 1))} of what small ones give is lost"
    return noise, ""


def gradient(
    module: nn.Module, of: Callable[[Tensor], Tensor], d_in: int, d_out: int, dtype: torch.dtype
) -> tuple[Float[Tensor, "row"], Float[Tensor, "row"]]:
    """(slopes of random sums of a module's outputs along random inputs, by its gradient; the same by what it gives).

    ``of`` maps inputs to outputs beside the output for zero. A module that no gradient passes has slopes of 0.
    """
    source = torch.Generator().manual_seed(0)
    x, along = (torch.randn(PAIRS, d_in, generator=source) for _ in range(2))
    sums = torch.randn(PAIRS, d_out, generator=source)
    device = device_of(module) or x.device
    with torch.enable_grad():
        given = x.to(device, dtype).requires_grad_()
        out = module(given[None])[0]
        weighted = (out.float() * sums.to(out.device)).sum()
        found = torch.autograd.grad(weighted, given, allow_unused=True)[0] if out.requires_grad else None
    written = of(along)
    expected = (written * sums.to(written.device)).sum(-1)
    if found is None:
        return torch.zeros_like(expected), expected
    return (found.float().to(expected.device) * along.to(expected.device)).sum(-1), expected


def power(size: float) -> float:
    """The power of two at or above ``size``: at least 1, at most 1024."""
    return 2.0 ** min(max(math.ceil(math.log2(size)), 0), 10) if size > 0 else 1.0


def rms(values: Tensor) -> Tensor:
    """Root of the mean square."""
    return values.square().mean().sqrt()


def _shortened(x: Tensor) -> Tensor:
    """Numbers of six binary digits: they and half as much again are exact in every format."""
    mantissa, exponent = torch.frexp(x)
    return torch.ldexp((mantissa * 64).round() / 64, exponent)
