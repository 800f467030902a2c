"""What the attention of a layer did, heard while the layer's own module is called on its recorded input.

A model computes its attention with torch's fused function, or with a softmax and a product with the values. While the
module runs, a :class:`torch.overrides.TorchFunctionMode` hears these calls and keeps their arguments: whatever a
family does to its queries, keys and values before, nothing of it is written down here. Nothing is patched; a mode is
seen by the thread that entered it only. What is heard counts when it reproduces the recorded z, which is for
:mod:`.attention` to see.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
    from ..tracing.recording import Recording

#: Stand in what an attention module was given for the stream itself, which the recording has already, and for what the
#: module reads, given to it once more under another name.
STREAM, READ = "the stream", "what it reads"

#: Scores that are held at once, and destinations where all of them are meant.
BLOCK, ROWS = 2**20, slice(None)
FUSED = F.scaled_dot_product_attention
_FUSED_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
_SOFTMAX = {F.softmax, torch.softmax, Tensor.softmax}
_PRODUCTS = {torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm}


@dataclass
class Attended:
    """The attention of one layer on one prompt, per query head, in float32.

    ``pattern`` rows are as the model has them: where it has sinks they sum to 1 minus ``sink``. ``gate`` is what the
    module multiplies what heads gathered by, number by number, before its output projection; None where it does not.
    """

    pattern: Float[Tensor, "head destination source"]
    v: Float[Tensor, "head position d_head"]
    sink: Float[Tensor, "head destination"] | None
    gate: Float[Tensor, "head destination d_head"] | None = field(default=None, kw_only=True)

    @property
    def z(self) -> Float[Tensor, "head destination d_head"]:
        """What the heads gathered, as the output projection reads it: gate times pattern times values."""
        return self.gated(self.pattern @ self.v)

    def gated(self, gathered: Float[Tensor, "head destination d_head"]) -> Float[Tensor, "head destination d_head"]:
        """Pattern times values, or a direction of z, times the gate."""
        return gathered if self.gate is None else gathered * self.gate

    def gate_at(self, head: int, row: int) -> Float[Tensor, "d_head"] | None:
        """The gate of one head in one row of its pattern."""
        return None if self.gate is None else self.gate[head, row]


class Listener(TorchFunctionMode):
    """Keeps what the attention over ``count`` positions is computed from; ``told`` is how often it was heard.

    ``aside``: ones go on in place of what the heads gathered, and the fused function itself is not run: what arrives
    at the output projection is then what the module multiplies them by.
    """

    def __init__(self, count: int, aside: bool = False) -> None:
        super().__init__()
        self.count, self.told, self.aside = count, 0, aside
        self.fused: dict[str, Any] = {}
        self.taken: tuple[Tensor, Tensor] | None = None
        self.sink: Tensor | None = None
        self._open = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func is FUSED:
            self.told += 1
            self.fused = {**dict(zip(_FUSED_NAMES, args, strict=False)), **given}
            if self.aside:
                query, value = self.fused["query"], self.fused["value"]
                return query.new_ones(*query.shape[:-1], value.shape[-1])
        out = func(*args, **given)
        if func is FUSED:
            return out
        if func in _SOFTMAX and out.shape[-1] in (self.count, self.count + 1) and self.count in out.shape[-2:-1]:
            self.told, self._open = self.told + 1, True
            if out.shape[-1] > self.count:  # a sink is one more column
                self.sink = out[..., -1].clone()
        elif self._open and func in _PRODUCTS and len(args) == 2 and args[0].shape[-1] == self.count:
            self._open, self.taken = False, (args[0], args[1])
            if self.aside:
                return torch.ones_like(out)
        return out


def given_to(module: nn.Module, inputs: tuple[Any, Any], width: int) -> dict[str, Any]:
    """What ``module`` was given beside the stream, by name; the stream again (a residual, say) as :data:`STREAM`, what
    it reads again (queries, keys and values apart) as :data:`READ`.

    Objects that a call could change, such as a cache, are left out; of keys and values by name, which layers share,
    the names and tensors of this moment are kept.
    """
    args, kwargs = inputs
    names = _names(module)
    named = {**dict(zip(names, args, strict=False)), **kwargs}
    read = named.pop(names[0], None)
    return {name: _kept(value, width, read) for name, value in named.items() if _plain(value)}


def _names(module: nn.Module) -> list[str]:
    """The arguments of a module's call; the first is what it reads."""
    return list(inspect.signature(type(module).forward).parameters)[1:] or ["hidden_states"]


def _plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_plain(v) for v in value)
    if isinstance(value, Mapping):
        return all(_plain(v) for v in value.values())
    return value is None or isinstance(value, (Tensor, bool, int, float, str))


def _kept(value: Any, width: int, read: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if value is read and isinstance(value, Tensor):
        return READ
    wide = isinstance(value, Tensor) and value.dim() == 3 and value.shape[-1] == width and value.shape[-2] > 1
    return STREAM if wide and value.is_floating_point() else value


def heard(
    model: Model,
    rec: Recording,
    layer: int,
    x: Float[Tensor, "position d_model"],
    heads: Sequence[int] | None = None,
    rows: slice = ROWS,
) -> Attended | None:
    """The attention of ``layer`` on its normalised input ``x``, or None where its module does not let it be heard.

    Of ``heads`` alone (None: all of them, in order), and of the destinations ``rows``.
    """
    listener = Listener(len(x), aside=True)
    with arriving(model, layer, len(x)) as ones:
        if not call(model, rec, layer, x, listener):
            return None
    if listener.told != 1:
        return None
    z, count = rec.z[layer], model.geometry[layer].n_heads
    taken = _Asked(count, len(x), z.shape[-1] // count, range(count) if heads is None else heads, rows)
    found = _of_fused(listener.fused, taken) if listener.fused else _of_softmax(listener, taken)
    if found is None:
        return None
    sink = None if found.sink is None else found.sink.to(model.home)
    return Attended(found.pattern.to(model.home), found.v.to(model.home), sink, gate=_gate(ones, taken))


@contextmanager
def arriving(model: Model, layer: int, count: int) -> Iterator[list[Float[Tensor, "position heads_times_d_head"]]]:
    """Inside the block, what the output projection of ``layer`` reads at the last ``count`` positions.

    The lock is held from before the hook: it hears no forward of another thread.
    """
    given: list[Tensor] = []

    def keep(_: Any, args: tuple[Any, ...]) -> None:
        given.append(args[0].detach().reshape(-1, args[0].shape[-1])[-count:].to(model.home))

    with model.quiet():
        handle = model.module(model.anatomy.attn_out, layer).register_forward_pre_hook(keep)
        try:
            yield given
        finally:
            handle.remove()


def _gate(ones: list[Tensor], asked: _Asked) -> Float[Tensor, "head destination d_head"] | None:
    """What became of ones on their way to the output projection; None where they came as they were."""
    if len(ones) != 1 or ones[0].shape != (asked.n, asked.count * asked.d_head) or bool((ones[0] == 1).all()):
        return None
    heads = ones[0].float().view(asked.n, asked.count, asked.d_head).transpose(0, 1)
    return heads[list(asked.heads)][:, asked.rows]


@dataclass(frozen=True)
class _Asked:
    """Of ``count`` heads over ``n`` positions, of width ``d_head``: those that are asked for, and for what rows."""

    count: int
    n: int
    d_head: int
    heads: Sequence[int]
    rows: slice

    def of(self, tensor: Float[Tensor, "some row column"]) -> Float[Tensor, "head row column"] | None:
        """The asked heads of a tensor over all heads, or over groups of them that share one; None where it has others.

        What lies in one piece is not copied.
        """
        if self.count % len(tensor):
            return None
        group = self.count // len(tensor)
        at = [h // group for h in self.heads]
        if at == list(range(at[0], at[0] + len(at))):
            return tensor[at[0] : at[0] + len(at)]
        return tensor[at]


def call(model: Model, rec: Recording, layer: int, x: Float[Tensor, "position d_model"], listener: Listener) -> bool:
    """Call the attention of ``layer`` on its normalised input while ``listener`` hears; False where it cannot be."""
    module = model.module(model.anatomy.attn, layer)
    device = device_of(module) or model.home
    kept = {STREAM: rec.streams[layer][None], READ: x[None]}
    given = {name: _moved(value, kept, device) for name, value in rec.attn_inputs[layer].items()}
    try:
        with model.quiet(), listener:
            module(**{_names(module)[0]: x[None].to(device)}, **given)
    except (AttribError, RuntimeError, TypeError, ValueError, AttributeError, KeyError, IndexError):
        return False  # it wants something that was not kept
    return True


def _moved(value: Any, kept: Mapping[str, Tensor], device: torch.device) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(_moved(v, kept, device) for v in value)
    if isinstance(value, dict):  # another for every call: the module may put its own there
        return {name: _moved(v, kept, device) for name, v in value.items()}
    if isinstance(value, str) and value in kept:
        return kept[value].to(device)
    return value.to(device) if isinstance(value, Tensor) else value


def _of_fused(given: Mapping[str, Any], asked: _Asked) -> Attended | None:
    """What torch's fused attention computes, in float32, a block of destinations at a time."""
    q, k, v = (_heads(given[name]) for name in ("query", "key", "value"))
    scale, mask = given.get("scale"), given.get("attn_mask")
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if q.shape[:2] != (asked.count, asked.n) or v.shape[1:] != (asked.n, asked.d_head) or k.shape[1] != asked.n:
        return None
    taken = [t for each in (q, k, v) if (t := asked.of(each)) is not None]
    if len(taken) < 3:
        return None
    q, k, v = taken
    if mask is not None:
        mask = mask[0] if mask.dim() == 4 else mask
        mask = asked.of(mask) if mask.dim() == 3 and len(mask) > 1 else mask
    start, stop, _ = asked.rows.indices(asked.n)
    pattern = q.new_zeros(len(q), stop - start, asked.n)
    step = max(1, BLOCK // (len(q) * asked.n))
    for low in range(start, stop, step):
        here = slice(low, min(low + step, stop))
        seen = here.stop if given.get("is_causal") else asked.n  # nobody looks further
        scores = q[:, here] @ k[:, :seen].transpose(-1, -2) * scale
        if mask is not None:
            part = mask[..., here, :] if mask.shape[-2] > 1 else mask
            scores = scores.masked_fill(~part, -torch.inf) if part.dtype == torch.bool else scores + part.float()
        if given.get("is_causal"):
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1 + low)
            scores = scores.masked_fill(later, -torch.inf)
        pattern[:, low - start : here.stop - start, :seen] = scores.softmax(-1)
    return Attended(pattern, v, None)


def _of_softmax(listener: Listener, asked: _Asked) -> Attended | None:
    """What a softmax gave, as it met the values."""
    if listener.taken is None:
        return None
    pattern, v = (t.reshape(-1, *t.shape[-2:]) for t in listener.taken)
    if pattern.shape != (asked.count, asked.n, asked.n) or v.shape[1:] != (asked.n, asked.d_head):
        return None
    found, values = asked.of(pattern), asked.of(v)
    if found is None or values is None:
        return None
    sink = None if listener.sink is None else listener.sink.float().reshape(asked.count, -1)[list(asked.heads)]
    return Attended(found[:, asked.rows].float(), values.float(), sink if sink is None else sink[:, asked.rows])


def _heads(tensor: Tensor) -> Float[Tensor, "head row column"]:
    return tensor.float().reshape(-1, *tensor.shape[-2:])
