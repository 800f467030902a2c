"""Whether what holds a projection's weight is a tensor of numbers that can be read, and how wide the projection is.

A module of a class that is known to be a weight and a bias is one (:func:`exact_weight`); one of another class has to
give what its weight says (:func:`shown_weight`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .rounding import accumulation, half_ulp

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_WIDTHS = (("in_features", "out_features"), ("infeatures", "outfeatures"), ("input_size", "output_size"), ("nx", "nf"))


def bias_of(module: nn.Module) -> Tensor | None:
    """The bias that a projection holds, or None."""
    bias = getattr(module, "bias", None)
    return bias.detach() if isinstance(bias, Tensor) else None


def device_of(module: nn.Module) -> torch.device | None:
    """Where a module's numbers are, packed ones too; None where it has none."""
    own = next((t for t in module._parameters.values() if t is not None), None)  # what parameters() begins with
    if own is not None:
        return own.device
    return next((t.device for held in (module.parameters(), module.buffers()) for t in held), None)


def widths(module: nn.Module | None) -> tuple[int, int] | None:
    """(numbers that a projection reads, numbers that it gives); None where that is not known (see :func:`watched`)."""
    if module is None:
        return None
    weight = exact_weight(module)
    if weight is not None:
        return weight.shape[0], weight.shape[1]
    for one, other in _WIDTHS:
        d_in, d_out = getattr(module, one, None), getattr(module, other, None)
        if isinstance(d_in, int) and isinstance(d_out, int):
            return d_in, d_out
    return _SEEN.get(module)


#: What modules that do not say it were seen to read and give.
_SEEN: WeakKeyDictionary[nn.Module, tuple[int, int]] = WeakKeyDictionary()


@contextmanager
def watched(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Inside the block a forward pass tells the :func:`widths` of ``modules``."""

    def look(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], out: Any) -> None:
        read = next((x for x in (*given, *named.values()) if isinstance(x, Tensor)), None)
        if read is not None and isinstance(out, Tensor):
            _SEEN[module] = read.shape[-1], out.shape[-1]

    handles = [module.register_forward_hook(look, with_kwargs=True) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _numbers(weight: Tensor) -> bool:
    """Whether a tensor is its numbers, and no packing of them."""
    return (
        weight.dtype in _FLOATS
        and weight.layout is torch.strided
        and type(weight).__torch_dispatch__ == Tensor.__torch_dispatch__
    )


def _in_out(module: Any, weight: Tensor) -> Tensor:
    """A weight as [in, out]: Conv1D keeps it so, Linear the other way round."""
    return weight if type(module).__name__ == "Conv1D" else weight.T


def exact_weight(module: nn.Module) -> Float[Tensor, "d_in d_out"] | None:
    """The weight of a module whose class is known to be a weight and a bias and nothing else; else None."""
    weight, kind = getattr(module, "weight", None), type(module)
    if not isinstance(weight, Tensor) or weight.dim() != 2 or not _numbers(weight):
        return None
    known = kind.forward is nn.Linear.forward or kind.__name__ == "Conv1D"
    if isinstance(module, nn.Linear) and weight.shape != (module.out_features, module.in_features):
        return None  # whole rows of bytes, stored as numbers of another kind
    return _in_out(module, weight.detach()) if known and _runs_its_class(module) else None


def _runs_its_class(module: nn.Module) -> bool:
    """Whether nobody put another ``forward`` in the place of the class's, also not before the model was traced."""
    held, own = vars(module), type(module).forward
    forward = held.get("forward", own)
    if type(forward).__module__.startswith("nnsight"):  # the tracer's, which runs what it found
        forward = getattr(held.get("__nnsight__"), "original", own)
    return getattr(forward, "__func__", forward) is own and "_hf_hook" not in held


def shown_weight(module: nn.Module, dtype: torch.dtype) -> Float[Tensor, "d_in d_out"] | None:
    """The weight of a module of another class that does what its ``weight`` says, on numbers of ``dtype``, or None."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.dim() != 2 or not _numbers(weight):
        return None
    weight = weight.detach()
    return next((found for found in (weight.T, weight) if _says(module, found, dtype)), None)


def _says(module: nn.Module, weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether a module gives the product with ``weight`` and its bias: to the bit, or it holds nothing else."""
    x = torch.randn(3, weight.shape[0], generator=torch.Generator().manual_seed(0)).to(weight.device, dtype)
    bias = bias_of(module)
    try:
        found, expected = module(x[None])[0], F.linear(x, weight.T, bias)
    except (RuntimeError, TypeError, ValueError):
        return False
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        return False
    if torch.equal(found, expected):
        return True
    held = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    if any(True for _ in module.children()) or held - {"weight", "bias"}:
        return False
    size = (x.double().square() @ weight.double().square()).sqrt()
    product = expected.double() - (0 if bias is None else bias.double())
    bound = half_ulp(found, dtype) + half_ulp(expected, dtype) + half_ulp(product, dtype)
    return bool(((found.double() - expected.double()).abs() <= bound + accumulation(x.shape[1]) * size).all())


def column_lengths(weight: Float[Tensor, "d_in d_out"]) -> Float[Tensor, "d_out"]:
    """Length of every column, in float32."""
    fine = weight.float() if weight.dtype is torch.float64 else weight  # a shorter one is not copied whole
    lengths: Tensor = torch.linalg.vector_norm(fine, dim=0, dtype=torch.float32)
    return lengths
