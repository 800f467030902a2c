"""A norm read as what it does: gain, bias, whether it centres, and a frozen scale.

No formula of any family is written here. The module is copied in float32 (probing in bfloat16 misreads
LayerNorm as not centring) and probed: ``norm(x) = gain * (x - mean if it centres) * scale(x) + bias``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...words.errors import AnatomyError
from ...words.text import power
from .weights import device_of

PROBE_SIZE = 1e4  # large enough that no epsilon matters
FIT_TOLERANCE = 1e-4


@dataclass(frozen=True)
class FrozenNorm:
    """A norm module as an affine map with a frozen scale.

    ``gain`` and ``bias`` are float32 vectors [d]; ``centred`` tells whether the mean over d is removed first.
    """

    module: nn.Module
    gain: Float[Tensor, "d"]
    bias: Float[Tensor, "d"]
    centred: bool

    def __call__(self, x: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
        """The norm itself, in float32."""
        with torch.no_grad():
            out: Tensor = self.module(x.float())
        return out

    def scale(self, x: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape"]:
        """The factor by which ``x`` is divided, inverted: found by least squares, so no epsilon is assumed."""
        x = x.float()
        shape = self.push(x)
        power = (shape * shape).sum(-1)
        fit = ((self(x) - self.bias) * shape).sum(-1) / power.clamp_min(1e-30)
        return torch.where(power > 0, fit, torch.zeros_like(fit))

    @property
    def nothing(self) -> bool:
        """Whether there is no norm: see :func:`no_norm`."""
        return isinstance(self.module, _NoNorm)

    def times(self, factor: float) -> FrozenNorm:
        """The same norm, what it gives multiplied by ``factor``."""
        return FrozenNorm(_Times(self.module, factor), self.gain * factor, self.bias * factor, self.centred)

    def push(self, c: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
        """What the norm makes of a part of its input, before the scale: the transpose of :meth:`pull`."""
        return self.gain * (c - c.mean(-1, keepdim=True) if self.centred else c)

    def pull(self, w: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape d"]:
        """A direction of the normalised stream as a direction of the raw stream, before the scale.

        ``norm(x) . w == scale(x) * (x . pull(w)) + bias . w`` for every x.
        """
        out = self.gain * w
        return out - out.mean(-1, keepdim=True) if self.centred else out


def read_norm(module: nn.Module, width: int, name: str = "norm", device: torch.device | None = None) -> FrozenNorm:
    """Probe ``module``, a norm over ``width`` numbers; the reading lives on ``device`` (None: where the module is).

    Raises:
        AnatomyError: the module is not a gain, a bias and one scale per position.
    """
    twin = copy.deepcopy(module)
    twin.__dict__.pop("forward", None)  # a traced module carries its tracer's wrapper; the copy needs none
    device = device or device_of(module) or torch.device("cpu")
    twin = twin.to(device).float().eval().requires_grad_(False)
    if width % 2:
        raise AnatomyError(f"{name} has an odd width ({width}), which the probe cannot read.")
    # Pairs (+1, -1): zero mean, so LayerNorm and RMSNorm answer alike.
    signs = torch.ones(width, device=device)
    signs[1::2] = -1
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, width, generator=generator).to(device)
    with torch.no_grad():
        plus, minus = twin(signs * PROBE_SIZE), twin(-signs * PROBE_SIZE)
        shifted = twin(x + 3.0)
        plain = twin(x)
    if plain.shape != x.shape:
        raise AnatomyError(f"{name} changes the shape of its input: it is not a norm over {width} numbers.")
    bias = (plus + minus) / 2
    gain = (plus - minus) / 2 * signs
    spread = float(gain.abs().max()) or 1.0
    centred = bool((shifted - plain).abs().max() <= 1e-4 * spread)
    reading = FrozenNorm(twin, gain, bias, centred)
    error = (plain - bias - reading.push(x) * reading.scale(x)[..., None]).abs().max()
    error = error / plain.abs().max().clamp_min(1e-30)
    if not float(error) <= FIT_TOLERANCE:
        raise AnatomyError(
            f"{name} ({type(module).__name__}) is not a gain, a bias and one scale per position "
            f"(it misses by {power(float(error))}).",
            "Contributions through it cannot be exact, so they are not shown.",
        )
    return reading


class _Times(nn.Module):
    def __init__(self, module: nn.Module, factor: float) -> None:
        super().__init__()
        self.module, self.factor = module, factor

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.module(x) * self.factor
        return out


class _NoNorm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def no_norm(width: int, device: torch.device) -> FrozenNorm:
    """The reading of a place without a norm (a sublayer that reads the raw stream): gain 1, bias 0, scale 1."""
    return FrozenNorm(_NoNorm(), torch.ones(width, device=device), torch.zeros(width, device=device), False)
