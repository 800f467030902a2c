"""Text that the model writes by itself, by its own ``generate``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ...words.components import whole
from ...words.errors import AttribError, PositionError

if TYPE_CHECKING:
    from ..model import Model


def generated_ids(
    model: Model, ids: Sequence[int], n: int, temperature: float = 0.0, seed: int | None = None
) -> list[int]:
    """Up to ``n`` token ids that follow ``ids``, the end-of-sequence token included when the model prints it.

    Greedy at temperature 0. The logits are taken as the model prints them: penalties and cut-offs that a
    checkpoint sets for chatting (repetition penalty, top-k) do not apply, so that what is generated is what the
    explained logits say. A model that looks ahead reads its whole text anew for every token, as a run does. Sampling
    leaves the random state as it was.

    Raises:
        AttribError: ``n`` or the temperature is no such number, or the model has no ``generate``.
        PositionError: more tokens than the model has positions for.
    """
    if (whole(n) or 0) < 1:
        raise AttribError(f"{n!r} is not a number of tokens.", "Give 1 or more.")
    if not hasattr(temperature, "__float__") or not 0 <= temperature < math.inf:
        raise AttribError(f"{temperature!r} is not a temperature.", "Give 0 for the likeliest token, 1 to sample.")
    limit = model.max_positions
    if limit is not None and len(ids) + n > limit:
        raise PositionError(
            f"{len(ids)} tokens and {n} more do not fit the {limit} positions of {model.name}.",
            f"Generate at most {max(0, limit - len(ids))}.",
        )
    hf: Any = model.hf
    tokens = torch.tensor([list(ids)], device=model.device)
    options: dict[str, Any] = {"do_sample": False, "max_new_tokens": n}
    if not model.check.causal:
        options["use_cache"] = False
    if temperature:
        options |= {"do_sample": True, "temperature": float(temperature), "top_k": 0, "top_p": 1.0}
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with model.quiet(), model.passing(), _plain(hf), torch.random.fork_rng(devices, enabled=bool(temperature)):
        if temperature and seed is not None:
            torch.manual_seed(seed)
        out = hf.generate(tokens, attention_mask=torch.ones_like(tokens), **options)
    return [int(i) for i in out[0, len(ids) :]]


@contextmanager
def _plain(hf: Any) -> Iterator[None]:
    """The model's generation settings reduced to where a text ends, and put back afterwards."""
    from transformers import GenerationConfig

    kept = getattr(hf, "generation_config", None)
    if kept is None:
        raise AttribError(f"{type(hf).__name__} cannot generate text.", "Give the continuation: aw.phrase(...).")
    end = kept.eos_token_id
    pad = kept.pad_token_id if kept.pad_token_id is not None else end[0] if isinstance(end, list) else end
    hf.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=0 if pad is None else pad)
    try:
        yield
    finally:
        hf.generation_config = kept
