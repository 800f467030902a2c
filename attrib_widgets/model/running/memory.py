"""What a run takes in memory, said before it runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from ...words.errors import PositionError, warn

if TYPE_CHECKING:
    from ..network import Network

#: Below this nobody asks the machine how much it has left.
SMALL = 64 * 2**20
#: Share of the free memory above which a run is announced.
LARGE = 0.5


def readable(size: float) -> str:
    """Bytes for people: ``1.2 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.2g} {unit}"
        size /= 1000
    raise AssertionError


def estimate(model: Network, n_tokens: int, kept: int = 1) -> int:
    """Bytes of the tensors that a run of ``n_tokens`` keeps, with the logits of ``kept`` positions.

    The streams before and after every layer, z, what attention and MLP give and (where a norm or a multiplier
    follows) write, what a third part does, the embeddings where positions are learned, and the logits, before
    a soft cap too where there is one. What the forward pass needs besides, such as an eager model's [head, n, n]
    patterns of one layer, comes on top while it runs.
    """
    anatomy, geo = model.anatomy, model.geometry
    inside = sum(_kept(model, part) for part in ("attn", "mlp", *anatomy.besides)) if anatomy.attn else 0
    streams = geo.n_layers * (1 + inside) + 1 + (2 if anatomy.pos else 0) + _joins(model)
    if anatomy.altup is not None:  # all of them, and what attention, MLP and the final norm read of them
        streams += (geo.n_layers + 1) * model.n_streams + 2 * geo.n_layers
    heads = sum(layer.n_heads * layer.d_head for layer in geo.layers) if anatomy.attn else 0
    per_token = streams * geo.d_model + heads
    size = model.stream_dtype.itemsize  # a cap may be computed in more digits than what comes before it
    logits = kept * model.vocab_size * (size if model.softcap is None else size + model.logit_dtype.itemsize)
    return n_tokens * per_token * size + logits


def _kept(model: Network, part: str) -> int:
    """Tensors of one part of a layer: what it gives and, where a norm or a multiplier follows, writes."""
    return 1 + bool(getattr(model.anatomy, f"{part}_post_norm", None) or model.multiplier_of(part) != 1)


def _joins(model: Network) -> int:
    """Tensors that layers keep beside that because their sublayers join the stream otherwise than by a plain sum."""
    inside = 0
    for layer in model.joining:
        inside += 1  # the stream between attention and MLP
        for part, join in zip(("attn", "mlp"), model.joins()[layer], strict=True):
            inside += _kept(model, part) == 1 and not join.adds_as_given
    return inside


def available(device: torch.device) -> int | None:
    """Free bytes on ``device``; None where the machine does not say."""
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    if device.type != "cpu":
        return None
    try:  # what the kernel could give, caches included
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError, IndexError):
        pass
    try:  # elsewhere only the size of the machine is known
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def require(model: Network, size: int, what: str, use: str = "for its record") -> None:
    """Refuse what does not fit, and announce what takes more than half of what is free.

    Raises:
        PositionError: ``size`` bytes exceed the free memory.
    """
    if size < SMALL:
        return
    free = available(model.device)
    if free is None or size <= LARGE * free:
        return
    said = f"{what} takes {readable(size)} {use}, and {readable(free)} are free."
    hint = "Shorten it, load the model in bfloat16, or free memory."
    if size > free:
        raise PositionError(said, hint)
    warn(said)
