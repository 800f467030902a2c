"""What the attention of a layer did, heard while the layer's own module is called on its recorded input.

A model computes its attention with torch's fused function, or with a softmax and a product with the values. While the
module runs, a :class:`torch.overrides.TorchFunctionMode` hears these calls and keeps their arguments: whatever a
family does to its queries, keys and values before, nothing of it is written down here. Nothing is patched; a mode is
seen by the thread that entered it only. What is heard counts when it reproduces the recorded z, which is for
:mod:`.attention` to see.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ...words.errors import AttribError
from ..anatomy.weights import device_of

if TYPE_CHECKING:
    from ..model import Model
    from ..tracing.record import Recording

#: Stands in what an attention module was given for the stream itself, which the recording has already.
STREAM = "the stream"

FUSED = F.scaled_dot_product_attention
_FUSED_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
_SOFTMAX = {F.softmax, torch.softmax, Tensor.softmax}
_PRODUCTS = {torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm}


@dataclass
class Attended:
    """The attention of one layer on one prompt, per query head, in float32.

    ``pattern`` rows are as the model has them: where it has sinks they sum to 1 minus ``sink``.
    """

    pattern: Float[Tensor, "head destination source"]
    v: Float[Tensor, "head position d_head"]
    sink: Float[Tensor, "head destination"] | None


class Listener(TorchFunctionMode):
    """Keeps what the attention over ``count`` positions is computed from; ``told`` is how often it was heard."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.told = count, 0
        self.fused: dict[str, Any] = {}
        self.taken: tuple[Tensor, Tensor] | None = None
        self.sink: Tensor | None = None
        self._open = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        out = func(*args, **given)
        if func is FUSED:
            self.told += 1
            self.fused = {**dict(zip(_FUSED_NAMES, args, strict=False)), **given}
        elif func in _SOFTMAX and out.shape[-1] in (self.count, self.count + 1) and self.count in out.shape[-2:-1]:
            self.told, self._open = self.told + 1, True
            if out.shape[-1] > self.count:  # a sink is one more column
                self.sink = out[..., -1].clone()
        elif self._open and func in _PRODUCTS and len(args) == 2 and args[0].shape[-1] == self.count:
            self._open, self.taken = False, (args[0], args[1])
        return out


def given_to(module: nn.Module, inputs: tuple[Any, Any], width: int) -> dict[str, Any]:
    """What ``module`` was given beside the stream, by name; the stream again (a residual, say) as :data:`STREAM`.

    Objects that a call could change, such as a cache, are left out.
    """
    args, kwargs = inputs
    names = _names(module)
    named = {**dict(zip(names, args, strict=False)), **kwargs}
    named.pop(names[0], None)
    return {name: _kept(value, width) for name, value in named.items() if _plain(value)}


def _names(module: nn.Module) -> list[str]:
    """The arguments of a module's call; the first is what it reads."""
    return list(inspect.signature(type(module).forward).parameters)[1:] or ["hidden_states"]


def _plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_plain(v) for v in value)
    return value is None or isinstance(value, (Tensor, bool, int, float, str))


def _kept(value: Any, width: int) -> Any:
    wide = isinstance(value, Tensor) and value.dim() == 3 and value.shape[-1] == width and value.shape[-2] > 1
    return STREAM if wide and value.is_floating_point() else value


def heard(model: Model, rec: Recording, layer: int, x: Float[Tensor, "position d_model"]) -> Attended | None:
    """The attention of ``layer`` on its normalised input ``x``, or None where its module does not let it be heard."""
    listener = Listener(len(x))
    if not call(model, rec, layer, x, listener):
        return None
    if listener.told != 1:
        return None
    found = _of_fused(listener.fused) if listener.fused else _of_softmax(listener)
    if found is None or not _fits(model, rec, layer, found):
        return None
    sink = None if found.sink is None else found.sink.to(model.home)
    return Attended(found.pattern.to(model.home), found.v.to(model.home), sink)


def call(model: Model, rec: Recording, layer: int, x: Float[Tensor, "position d_model"], listener: Listener) -> bool:
    """Call the attention of ``layer`` on its normalised input while ``listener`` hears; False where it cannot be."""
    module = model.module(model.anatomy.attn, layer)
    device = device_of(module) or model.home
    given = {name: _moved(value, rec.streams[layer][None], device) for name, value in rec.attn_inputs[layer].items()}
    try:
        with model.quiet(), listener:
            module(**{_names(module)[0]: x[None].to(device)}, **given)
    except (AttribError, RuntimeError, TypeError, ValueError, AttributeError, KeyError, IndexError):
        return False  # it wants something that was not kept
    return True


def _moved(value: Any, stream: Tensor, device: torch.device) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(_moved(v, stream, device) for v in value)
    if isinstance(value, str) and value == STREAM:
        return stream.to(device)
    return value.to(device) if isinstance(value, Tensor) else value


def _of_fused(given: Mapping[str, Any]) -> Attended | None:
    """What torch's fused attention computes, in float32."""
    q, k, v = (_heads(given[name]) for name in ("query", "key", "value"))
    if len(q) % len(k) or len(q) % len(v):
        return None
    k, v = (t.repeat_interleave(len(q) // len(t), 0) for t in (k, v))
    scale, mask = given.get("scale"), given.get("attn_mask")
    scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        mask = mask[0] if mask.dim() == 4 else mask
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask.float()
    if given.get("is_causal"):
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    return Attended(scores.softmax(-1), v, None)


def _of_softmax(listener: Listener) -> Attended | None:
    """What a softmax gave, as it met the values."""
    if listener.taken is None:
        return None
    pattern, v = (_heads(t) for t in listener.taken)
    if len(pattern) % len(v):
        return None
    sink = None if listener.sink is None else listener.sink.float().reshape(len(pattern), -1)
    return Attended(pattern, v.repeat_interleave(len(pattern) // len(v), 0), sink)


def _heads(tensor: Tensor) -> Float[Tensor, "head row column"]:
    return tensor.float().reshape(-1, *tensor.shape[-2:])


def _fits(model: Model, rec: Recording, layer: int, found: Attended) -> bool:
    """Whether what was heard has the shape of this layer's heads."""
    n, z = len(rec.streams[layer]), rec.z[layer]
    heads = model.geometry[layer].n_heads
    return found.pattern.shape == (heads, n, n) and found.v.shape == (heads, n, z.shape[-1] // heads)
