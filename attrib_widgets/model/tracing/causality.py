"""Does what stands later change what stands before it? Asked of the model as it runs here: at load, and again
once a setting, a hook or its attention changed.

A decoder is causal by its mask, and a mask can be missing: a setting that makes attention look both ways, an attention
function of one's own that is given none. What an experiment may leave out depends on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nnsight
import torch
from jaxtyping import Float
from torch import Tensor

from ..anatomy.rounding import half_ulp, worst
from ..identity.belonging import LIMITS
from .ports import PRE, ending
from .record import forward_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..model import Model

AHEAD = (
    "later tokens change what stands before them: experiments recompute the whole prompt, and phrases are not explained"
)


@torch.no_grad()
def causality_error(model: Model, ids: Sequence[int]) -> float:
    """The largest change of a stream in front of the last token of ``ids``, in units of what rounding explains.

    The last token is changed, beside an unchanged copy that shows the rounding, and left out altogether. Infinite where
    the model does not run on several prompts, or on fewer tokens, at all.
    """
    if len(ids) < 2:
        return 0.0
    changed = [*ids[:-1], ids[0]]
    try:
        rows = _streams(model, [list(ids), changed, list(ids)])
        shorter = _streams(model, [list(ids[:-1])])
    except Exception:  # whatever a family's own code says of inputs that it does not expect
        return torch.inf
    limit, found = LIMITS.get(model.precision, LIMITS[torch.bfloat16]), 0.0
    for depth, (x, part) in enumerate(zip(rows, shorter, strict=True), 1):
        before = x[:, :-1].double()
        noise = (before[0] - before[2]).abs().max()
        size = before[0].abs().max()
        bound = 8 * noise + 4 * depth * half_ulp(size, x.dtype)
        found = max(found, worst((before[0] - before[1]).abs().max(), bound))
        left_out = (before[0] - part[0].double()).abs().max()
        found = max(found, worst(left_out, (limit * size).clamp_min(1e-30)))
        if not found <= 1:
            break
    return found


@torch.no_grad()
def tokens_beside(model: Model, ids: Sequence[int]) -> bool:
    """Whether layers know their tokens otherwise than by the stream before layer 0 (Gemma's per-layer embeddings do).

    Other tokens are run with the stream of ``ids`` put in front of layer 0, and have to come out as ``ids`` do. Found
    out once.
    """
    own = list(ids)
    other = [own[-1], *own[:-1]] if len(set(own)) > 1 else [(own[0] + 1) % model.n_embeddings] * len(own)

    def look() -> bool:
        entered = _streams(model, [own])
        put = _streams(model, [other], entered[0])
        size = entered[-1].double().abs().max().clamp_min(1e-30)
        limit = LIMITS.get(model.precision, LIMITS[torch.bfloat16])
        return not float((put[-1].double() - entered[-1].double()).abs().max() / size) <= limit

    found: bool = model.kept("tokens beside", look)
    return found


def _streams(
    model: Model, prompts: Sequence[Sequence[int]], entering: Tensor | None = None
) -> list[Float[Tensor, "prompt position d_model"]]:
    """What every layer and the final norm read, of prompts of one length; ``entering`` is put in front of layer 0."""
    root, rows, each = model.traced, len(prompts), len(prompts[0])

    def shaped(given: Any) -> Tensor:
        x: Tensor = given[0] if isinstance(given, tuple) else given
        if x.dim() > 3 and x.shape[1:3] == (rows, each):  # several streams, before the prompts
            x = x.movedim(0, 2)
        return x.detach().reshape(rows, each, -1).clone()

    blocks, (final, end) = root.get(model.anatomy.layers), ending(model)
    tokens = torch.tensor([list(ids) for ids in prompts], device=model.device)
    with model.quiet(), root.trace(input_ids=tokens, **forward_options(model, None)) as tracer:
        kept = nnsight.save([])
        for i, block in enumerate(blocks):
            if i == 0 and entering is not None:
                PRE.put(block, entering.to(PRE.get(block)).reshape(PRE.get(block).shape))
            kept.append(shaped(block.input))
        kept.append(shaped(end.get(final)))
        tracer.stop()
    return [x.to(model.home) for x in kept]
