"""What stands in the way of a sum that does not close: hooks, adapters, or a model that does not run at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from ...words.errors import AttribError, clause
from ...words.text import kind_of
from ..identity.stamp import interventions

if TYPE_CHECKING:
    from ..model import Model


def within(model: Model, layer: int) -> str:
    """What acts inside ``layer`` beside its modules, as the end of a sentence; ``""`` where nothing is seen."""
    root, inside = model.layer(layer), f"{model.anatomy.layers}.{layer}"
    found = [f"there is {what}" for what in _adapters(root, inside)]
    for path, what in interventions(root):
        name = f"{inside}.{path}" if path else inside
        found.append(f"there is a hook on {name}" if what == "hook" else f"the forward of {name} was replaced")
    return "" if not found else f" ({', '.join(found[:2])}{' and more' if len(found) > 2 else ''})"


def _adapters(root: nn.Module, inside: str) -> list[str]:
    """The adapters of PEFT that are switched on and not merged into the weights."""
    for path, module in root.named_modules():
        if not hasattr(module, "active_adapters") or not type(module).__module__.startswith("peft."):
            continue
        if getattr(module, "merged", False) or getattr(module, "disable_adapters", False):
            continue
        return [f"an adapter on {inside}.{path}: merge_and_unload() merges it"]
    return []


def unable(model: Model, ids: list[int]) -> AttribError | None:
    """The error that says why the model itself does not run as it has to; None where it does."""
    family, plain = type(model.hf).__name__, getattr(model.config, "return_dict", None) is False
    if plain:
        return AttribError(
            f"{family} returns tuples, because its config says return_dict=False, and so its logits are not found.",
            "Set model.config.return_dict = True.",
        )
    try:
        with model.quiet():
            out = model.hf(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
    except Exception as trouble:  # whatever the model's own code says
        held = sorted({str(p.dtype).removeprefix("torch.") for p in model.hf.parameters() if p.is_floating_point()})
        return AttribError(
            f"{family} does not run by itself on {len(ids)} tokens: {clause(trouble)}.",
            f"Its parts are {' and '.join(held)}: model.to(torch.float32) makes them one."
            if len(held) > 1
            else "Make hf_model(input_ids=...) work first: often parts of it are on different devices.",
        )
    if not isinstance(getattr(out, "logits", None), torch.Tensor):
        return AttribError(
            f"{family} returns {kind_of(out)} without .logits.", "Give a model whose output has .logits."
        )
    if not bool(torch.isfinite(out.logits).all()):
        return AttribError(
            f"The logits of {family} on a probe prompt are NaN or infinite.",
            "Load it in float32 or bfloat16 (aw.load(..., dtype='float32')) or check its weights.",
        )
    return None
