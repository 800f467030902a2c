"""The first steps with nothing but torch: what the parts added to the stream, by hooks, and what one head added.

Short enough to be read in class (``aw.teach.written_by_parts??`` shows it), and a twin of what the library does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..words.errors import AttribError

if TYPE_CHECKING:
    from ..model.run import Run


def written_by_parts(run: Run) -> dict[str, Float[Tensor, "width"]]:
    """What the embedding, each attention and each MLP added to the stream behind the last token, by hooks.

    Raises:
        AttribError: a model that is not built like GPT-2.
    """
    hf, wrote = _gpt2(run), {}

    def keep(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            output = output[0] if isinstance(output, tuple) else output
            wrote[name] = output[0, -1].detach()

        return hook

    hooks = [hf.transformer.drop.register_forward_hook(keep("embed + pos"))]
    for layer, block in enumerate(hf.transformer.h):
        hooks.append(block.attn.register_forward_hook(keep(f"L{layer}.attn")))
        hooks.append(block.mlp.register_forward_hook(keep(f"L{layer}.mlp")))
    try:
        with torch.no_grad():
            hf(torch.tensor([run.ids]))
    finally:
        for hook in hooks:
            hook.remove()
    return wrote


def written_by_head(run: Run, layer: int, head: int) -> Float[Tensor, "width"]:
    """What one head added to the stream behind the last token: its own few numbers, times its rows of the matrix.

    Raises:
        AttribError: a model that is not built like GPT-2.
    """
    hf = _gpt2(run)
    size = hf.config.n_embd // hf.config.n_head
    rows = slice(head * size, (head + 1) * size)
    own = run.record.z[layer][-1, rows]  # what the head gathered
    matrix: Tensor = hf.transformer.h[layer].attn.c_proj.weight
    return own @ matrix[rows].detach()


def _gpt2(run: Run) -> Any:
    hf = run.model.hf
    if getattr(hf.config, "model_type", "") != "gpt2":
        raise AttribError(
            f"By hand this is written down for models built like GPT-2, and this is {type(hf).__name__}.",
            'Use aw.attribute, which knows others, or load "demo" or "gpt2".',
        )
    return hf
