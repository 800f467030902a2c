"""What a model is at this moment, read without a forward: whether a recording still belongs to it.

A recording is read together with the weights that made it, and experiments run the model once more: both need the very
function that was recorded. A stamp holds what can change it: which tensors the parameters and buffers are, how often
autograd saw them written to, some of their numbers (an edit through ``.data`` leaves no version), hooks, replaced
forwards, plain attributes of modules (scales, flags, active adapters) and the config. Training flags do not matter:
the library always runs in eval mode.

What it cannot see: an edit through ``.data`` of numbers that are not among the sampled ones, tensors inside of lists
and of objects that are no modules, what a hook or a function keeps outside of the modules, and a patched library.
Experiments compare their unchanged row with the recording for those (see :mod:`..tracing.sweep`). What it sees and need
not: a long text of the user's own that makes a model write to its tables (rotary ones of a dynamic length).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

#: Numbers of every tensor that are compared, spread over it; a tensor of at most ``WHOLE`` is compared whole.
SAMPLES, WHOLE = 64, 4096
#: Attributes of every module that are no part of what it computes in eval mode, or are read on their own.
_OWN = {*vars(nn.Module()), "training", "forward", "__nnsight__"}
_OWN |= {"gradient_checkpointing", "_gradient_checkpointing_func", "_require_grads_hook", "_require_grads_hooks"}
# Hooks that only look: transformers puts them in when hidden states or attentions are asked for, and leaves them.
_OWN |= {"_output_capturing_hooks_installed"}
_LOOKING = "transformers.utils.output_capturing"
_OWN |= {"name_or_path", "_previous_max_cache_length", "_compiled_call_impl", "_is_torch_compile"}
# Fields of a config that say what is returned, saved or generated, not what is computed.
_OF_CONFIG = {"use_cache", "name_or_path", "_name_or_path", "transformers_version", "dtype", "torch_dtype"}
_OF_CONFIG |= {"architectures", "pad_token_id", "bos_token_id", "eos_token_id", "output_hidden_states"}
_OF_CONFIG |= {"output_attentions", "_output_attentions", "num_labels", "id2label", "label2id", "problem_type"}
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_WORDS = {"hook": "a hook on", "forward": "the forward of", "type": "the class of"}
_SKIPPED = object()  # the mark of what says nothing about the function

Key: TypeAlias = "tuple[str, str]"
Stamp: TypeAlias = "Mapping[Key, Any]"


def stamp_of(hf: nn.Module) -> dict[Key, Any]:
    """Everything that is compared, by (path of the module, what)."""
    from transformers import PretrainedConfig

    found: dict[Key, Any] = {("", "global hook"): tuple(_alien(_global_hooks()))}
    weights: list[tuple[Key, Tensor]] = []
    others: list[tuple[Key, Tensor]] = []
    configs: set[int] = set()  # most modules hold the config of the whole
    for path, module in modules_of(hf):
        kind, held = type(module), vars(module)
        found[path, "type"] = (kind, kind.forward)
        found |= {(path, what): value for what, value in _beside(module)}
        for name, value in held["_parameters"].items():
            weights += [] if value is None else _inner((path, name), value)
        for name, value in held["_buffers"].items():
            others += [] if value is None else _inner((path, name), value)
        for name, value in held.items():
            if name in _OWN:
                continue
            if isinstance(value, Tensor):
                others += _inner((path, name), value)
            elif isinstance(value, PretrainedConfig):
                if id(value) not in configs:
                    configs.add(id(value))
                    found |= {(path, f"{name}.{k}"): v for k, v in _of_config(value)}
            elif (mark := _plain(value)) is not _SKIPPED:
                found[path, name] = mark
    numbers = samples([*weights, *others])
    for key, value in weights:
        found[key] = (_memory(value), numbers.get(key))
    for key, value in others:  # a small one may be made anew by every forward: its numbers count, where they are read
        told = value.numel() <= WHOLE and key in numbers
        found[key] = (value.dtype if told else _memory(value), numbers.get(key))
    return found


def modules_of(root: nn.Module) -> list[tuple[str, nn.Module]]:
    """``root.named_modules()`` as a list: without a generator for every level that each of them passes through."""
    found: list[tuple[str, nn.Module]] = []
    seen: set[int] = set()
    waiting: list[tuple[str, nn.Module]] = [("", root)]
    while waiting:
        path, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        found.append((path, module))
        below = f"{path}." if path else ""
        children = [(below + name, child) for name, child in vars(module)["_modules"].items() if child is not None]
        waiting += reversed(children)
    return found


def mark_of(tensor: Tensor) -> Any:
    """What a stamp says of one tensor, without the rest of its module."""
    return _memory(tensor), samples([("", tensor)])


def fingerprint(hf: nn.Module) -> str:
    """By what weights are known again, in another process and on another device: SHA-256 of the names, shapes and types
    of all parameters, and of some numbers of each. Another precision is another fingerprint."""
    parameters = sorted(hf.named_parameters(remove_duplicate=False), key=lambda both: both[0])
    numbers = samples(parameters)
    found = hashlib.sha256()
    for name, tensor in parameters:
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode() + numbers.get(name, b""))
    return found.hexdigest()


def interventions(root: nn.Module) -> list[Key]:
    """Hooks that are neither nnsight's nor this library's, and replaced forwards, by (path below ``root``, what)."""
    found = []
    for path, module in root.named_modules():
        wrapped = getattr(vars(module).get("__nnsight__"), "original", None)  # the forward that nnsight found there
        own = ["forward"] if wrapped not in (None, type(module).forward) else []
        found += [(path, what) for what in dict.fromkeys([*own, *(what for what, _ in _beside(module))])]
    return found


def _beside(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """What a module does beside its class: ("forward", another one), ("hook", the numbers of foreign hooks)."""
    held = vars(module)
    own = held.get("forward")
    if own is not None and not type(own).__module__.startswith("nnsight"):
        yield "forward", own
    if alien := tuple(number for name in _HOOKS if held[name] for number in _alien(held[name].items())):
        yield "hook", alien


def weight_keys(hf: nn.Module) -> set[Key]:
    """Where the parameters of a model stand in its stamp (see :func:`is_of`)."""
    found = (path.rpartition(".") for path, _ in hf.named_parameters(remove_duplicate=False))
    return {(path, name) for path, _, name in found}


def is_of(key: Key, keys: set[Key]) -> bool:
    """Whether ``key`` is one of ``keys``, or of a tensor inside one of them."""
    return (key[0], key[1].partition(".")[0]) in keys


def changes(before: Stamp, now: Stamp, but: Iterable[Key] = ()) -> list[Key]:
    """What differs between two stamps, ``but`` left out."""
    if before is now or before == now:
        return []
    skipped = set(but)
    keys = [k for k in before if k not in now or before[k] != now[k]] + [k for k in now if k not in before]
    return [k for k in keys if k not in skipped]


def writable(keys: Iterable[Key]) -> list[Key]:
    """Those of ``keys`` that a forward may write to: buffers and attributes, but no hook and no class."""
    return [k for k in keys if k[1] not in _WORDS and k[1] != "global hook"]


def named(key: Key) -> str:
    """A place of a stamp in words: ``a hook on model.layers.1``."""
    path, what = key
    if what in _WORDS:
        return f"{_WORDS[what]} {path or 'the model'}"
    return f"{path}.{what}" if path else what


def samples(tensors: Iterable[tuple[Any, Tensor]]) -> dict[Any, bytes]:
    """Some fixed numbers of every tensor, as bytes; a kind of tensor that cannot be indexed has none."""
    groups: dict[tuple[torch.device, torch.dtype], list[tuple[Any, Tensor]]] = {}
    with torch.no_grad():
        for key, tensor in tensors:
            try:
                taken = _sampled(tensor)
            except (RuntimeError, TypeError):  # not indexed; its memory and version are compared all the same
                continue
            if taken.is_meta:
                continue
            groups.setdefault((taken.device, taken.dtype), []).append((key, taken))
        found: dict[Any, bytes] = {}
        for rows in groups.values():
            flat = torch.cat([taken for _, taken in rows])
            data, size = flat.cpu().view(torch.uint8).numpy().tobytes(), flat.element_size()
            start = 0
            for key, taken in rows:
                stop = start + taken.numel() * size
                found[key] = data[start:stop]
                start = stop
    return found


def _sampled(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    if tensor.itemsize == 1 and tensor.dtype is not torch.uint8:
        tensor = tensor.view(torch.uint8)
    if tensor.numel() <= WHOLE:
        return tensor.reshape(-1)
    return torch.take(tensor, _places(tensor.numel(), tensor.device))


@functools.lru_cache(maxsize=1024)
def _places(count: int, device: torch.device) -> Tensor:
    """Where a tensor of ``count`` numbers is read: steps of the golden section meet every row and column alike."""
    steps = torch.arange(SAMPLES, dtype=torch.float64) * 0.6180339887498949
    return ((steps % 1) * count).long().to(device)


def _inner(key: Key, tensor: Tensor) -> list[tuple[Key, Tensor]]:
    """A tensor; or those that one of another kind, a quantized one say, is made of."""
    parts = getattr(tensor, "__tensor_flatten__", None)
    if parts is None:
        return [(key, tensor)]
    path, name = key
    return [each for part in parts()[0] for each in _inner((path, f"{name}.{part}"), getattr(tensor, part))]


def _memory(tensor: Tensor) -> tuple[int | None, int, torch.dtype]:
    """(where it begins, how often autograd saw it written to, dtype); a sparse tensor begins nowhere."""
    try:
        place = tensor.data_ptr()
    except RuntimeError:  # sparse, or a kind of tensor without memory of its own
        place = None
    return place, -1 if tensor.is_inference() else tensor._version, tensor.dtype


def _global_hooks() -> Iterator[tuple[Any, Any]]:
    from torch.nn.modules import module

    for name in _HOOKS:
        yield from getattr(module, f"_global{name}", {}).items()


def _alien(hooks: Iterable[tuple[Any, Any]]) -> Iterator[Any]:
    """The numbers of hooks that are not nnsight's or this library's, and do more than look or ask for gradients."""
    for number, hook in hooks:
        if "enable_input_require_grads" in getattr(hook, "__qualname__", ""):
            continue
        made = getattr(getattr(hook, "func", hook), "__module__", None) or type(hook).__module__
        if made != _LOOKING and made.partition(".")[0] not in ("nnsight", __package__.partition(".")[0]):
            yield number


def _of_config(config: Any) -> Iterator[tuple[str, Any]]:
    """The plain fields of a config and of those inside it."""
    for name, value in vars(config).items():
        if name in _OF_CONFIG:
            continue
        if hasattr(value, "to_dict"):
            yield from ((f"{name}.{k}", v) for k, v in _of_config(value))
        elif (mark := _plain(value)) is not _SKIPPED:
            yield name, mark


def _plain(value: Any, depth: int = 4) -> Any:
    """Numbers, words and functions, also in containers, as something that can be compared."""
    if value is None or isinstance(value, (bool, int, str, torch.dtype, torch.device, Enum)):
        return value
    if isinstance(value, float):
        return value if value == value else "nan"
    if isinstance(value, (FunctionType, BuiltinFunctionType, MethodType, functools.partial)):
        return value  # itself: its number would be another one's once it is gone
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        ordered = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
        return tuple(v for v in (_plain(each, depth - 1) for each in ordered) if v is not _SKIPPED)
    if depth and isinstance(value, Mapping):
        pairs = [(k, _plain(v, depth - 1)) for k, v in value.items()]
        return tuple((k, v) for k, v in pairs if v is not _SKIPPED)
    return _SKIPPED
