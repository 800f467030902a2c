"""A feature of what an MLP adds, drawn: its neurons in one row, which opens into them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ...words.components import mlp
from ..reading.features import Inside

if TYPE_CHECKING:
    from .attribution import Attribution


def folded(a: Attribution) -> Attribution:
    """``a``; where its rows are the neurons of an MLP, which may be thousands, the same with that MLP as one row."""
    if not isinstance(a.reading, Inside) or not any(c.kind == "neuron" for c in a.components):
        return a
    rows = list(zip(a.components, a.values.double().tolist(), strict=True))
    inside = [v for c, v in rows if c.kind in ("neuron", "mlp.bias")]
    rows = [
        (mlp(a.reading.layer), math.fsum(inside)),
        *((c, v) for c, v in rows if c.kind not in ("neuron", "mlp.bias")),
    ]
    return replace(a, components=[c for c, _ in rows], values=torch.tensor([v for _, v in rows]).float())
