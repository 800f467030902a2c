"""Which layers have the parts of the anatomy, and run them in its order: the others are read as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .ports import Port, table
from .recording import READ_ALWAYS

if TYPE_CHECKING:
    from ..model import Model


def _needed(model: Model, layer: int) -> list[Port]:
    """The ports that a recording reads inside of ``layer``."""
    rows = table(model.anatomy, model.parallel, model.mixer(layer))
    return [row for row in rows if row.site in READ_ALWAYS and row.path]


def absent_parts(model: Model) -> dict[int, str]:
    """The layers that lack a part of the anatomy, with the reason."""
    found: dict[int, str] = {}
    for layer in range(model.n_layers):
        missing = [row.path for row in _needed(model, layer) if not row.exists(model.layer(layer))]
        if missing:
            found[layer] = f"there is no {missing[0]}"
    return found


@torch.no_grad()
def unordered_parts(model: Model, ids: Sequence[int]) -> dict[int, str]:
    """The same, and those whose parts do not run once each, in the order of the anatomy, on ``ids``.

    Raises:
        Exception: whatever the model's own code says, where it does not run.
    """
    found = absent_parts(model)
    events: list[tuple[int, Port]] = []
    handles = []

    def told(layer: int, row: Port, module: nn.Module) -> None:
        def note(*_: Any) -> None:
            events.append((layer, row))

        before = row.end == "input"
        handles.append(module.register_forward_pre_hook(note) if before else module.register_forward_hook(note))

    with model.quiet():  # held from before the hooks: they hear no forward of another thread
        for layer in range(model.n_layers):
            for row in _needed(model, layer) if layer not in found else ():
                told(layer, row, row.of(model.layer(layer)))
        try:
            model.hf(input_ids=torch.tensor([list(ids)], device=model.device), use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
    for layer in range(model.n_layers):
        if layer in found:
            continue
        ran, rows = [row for at, row in events if at == layer], _needed(model, layer)
        wrong = next((row for row in rows if ran.count(row) != 1), None)
        if wrong is not None:
            times = ran.count(wrong)
            found[layer] = f"{wrong.path} runs {times} times" if times else f"{wrong.path} does not run"
        elif ran != rows:
            late = next(row for row, other in zip(ran, rows, strict=True) if row is not other)
            found[layer] = f"{late.path} does not run in the order of the anatomy"
    return found
