"""What stands between the last layer and the unembedding, found by trying: how often the final norm is called, and the
factor between its output and what the unembedding reads (MiniCPM 3 divides there).

Plain hooks on one pass over a few tokens: the final norm gives numbers of ours, and the unembedding is watched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..anatomy.rounding import half_ulp
from ..anatomy.weights import bias_of, device_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..network import Network


@dataclass(frozen=True)
class Between:
    """``calls``: how often the final norm runs in one pass; the last call is the read-out. ``factor`` multiplies what
    it gives on its way to the unembedding; with ``divides`` the model divides by ``1 / factor``, which rounds
    otherwise."""

    calls: int = 1
    factor: float = 1.0
    divides: bool = False

    def applied(self, normed: Tensor) -> Tensor:
        """What the unembedding reads."""
        if self.factor == 1:
            return normed
        return normed / (1 / self.factor) if self.divides else normed * self.factor


@torch.no_grad()
def read_between(model: Network, ids: Sequence[int]) -> Between:
    """Let the final norm of ``model`` give random numbers and see what arrives at the unembedding.

    A map that is no factor is left out (factor 1): then the printed logits are not the read-out, which the self-check
    finds. So is one in front of an unembedding with a bias of its own.
    """
    norm, unembed = model.module(model.anatomy.final_norm), model.module(model.anatomy.unembed)
    given: list[Tensor] = []
    arrived: list[Tensor] = []
    generator = torch.Generator().manual_seed(0)

    def put(_: Any, args: Any, out: Tensor) -> Tensor:
        given.append(torch.randn(out.shape, generator=generator).to(out))
        return given[-1]

    def keep(_: Any, args: tuple[Any, ...]) -> None:
        arrived.append(args[0].detach())

    with model.quiet():  # held from before the hooks: they change no forward of another thread
        handles = [norm.register_forward_hook(put), unembed.register_forward_pre_hook(keep)]
        try:
            model.hf(torch.tensor([list(ids)], device=model.device), use_cache=False)
        except Exception:  # whatever the model's own code says: what does not run is found out where it is recorded
            return Between()
        finally:
            for handle in handles:
                handle.remove()
    calls = max(len(given), 1)
    if not given or len(arrived) != 1 or bias_of(unembed) is not None or not isinstance(given[-1], Tensor):
        return Between(calls)
    device = device_of(unembed) or arrived[0].device
    x, y = (t.reshape(-1, t.shape[-1]).to(device) for t in (given[-1], arrived[0]))
    if x.shape[-1] != y.shape[-1] or len(y) > len(x):
        return Between(calls)
    return _factor(calls, x[-len(y) :], y)


@torch.no_grad()
def streams_beside(model: Network, ids: Sequence[int]) -> int:
    """How many streams the layers of ``model`` hand on side by side for every position.

    1 in most families; 0 where that could not be seen.
    """
    seen: list[int] = []

    def keep(_: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = next((x for x in (*args, *named.values()) if isinstance(x, Tensor) and x.is_floating_point()), None)
        seen.append(0 if given is None else given.numel() // (len(ids) * model.geometry.d_model))

    with model.quiet():  # held from before the hook: it hears no forward of another thread
        handle = model.layer(0).register_forward_pre_hook(keep, with_kwargs=True)
        try:
            model.hf(torch.tensor([list(ids)], device=model.device), use_cache=False)
        except Exception:  # whatever the model's own code says: what does not run is found out where it is recorded
            return 0
        finally:
            handle.remove()
    return seen[0] if seen else 0


def _factor(calls: int, x: Tensor, y: Tensor) -> Between:
    """The factor that makes ``y`` of ``x``: a whole number or one over it where that gives the same."""
    size = x.double().square().sum()
    fitted = float((x.double() * y.double()).sum() / size.clamp_min(1e-30))
    if torch.equal(x, y) or not fitted:
        return Between(calls)
    tries = [Between(calls, 1 / round(1 / fitted), True)] if round(1 / fitted) else []
    tries += [Between(calls, float(round(fitted)))] if round(fitted) else []
    tries += [Between(calls, fitted), Between(calls, fitted, True)]
    for found in tries:
        missed = (found.applied(x).double() - y.double()).abs()
        if bool((missed <= 2 * half_ulp(y.double(), y.dtype)).all()):
            return found
    return Between(calls)
