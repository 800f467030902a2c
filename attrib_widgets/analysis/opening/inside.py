"""Rows of a feature that is read inside a sublayer: its layer's heads, or its MLP's neurons, as they were.

Nothing is held for them. What a head handed on, or what fired a neuron, is opened like any other part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...model.anatomy.rounding import refuse_above
from ...model.parts.neurons import neurons_at
from ...words.components import Component, head, mlp
from ...words.errors import GranularityError
from ..reading.decomposition import Closed, has_attention_bias, head_columns
from ..reading.features import Inside
from ..reading.ways import AtOnce
from .heads import head_rows
from .mlps import neuron_rows

if TYPE_CHECKING:
    from ...model.run import Run


@torch.no_grad()
def inside_rows(run: Run, reading: Inside) -> Closed:
    """The rows of a reading inside a sublayer, closed up to the printed number.

    Raises:
        GranularityError: on this prompt they miss their sum by more than rounding.
    """
    run.check_fresh()
    components, values, heads = _heads(run, reading) if reading.sublayer == "attn" else _neurons(run, reading)
    for name, value in reading.constants:
        components.append(name)
        values.append(value)
    readout = reading.actual - sum(values) - heads
    refuse_above(
        torch.tensor(readout),
        torch.tensor(reading.bound),
        f"the printed number is not the read-out of {reading.site}",
    )
    components.append(Component("rounding"))
    values.append(heads + readout)
    return Closed(components, torch.tensor(values).float(), {"stream": 0.0, "heads": heads, "readout": readout})


def _heads(run: Run, reading: Inside) -> tuple[list[Component], list[float], float]:
    """(heads of the layer and what is added behind them, their values, measured rounding)."""
    model, layer, at = run.model, reading.layer, reading.position
    parts = [head(layer, h) for h in range(model.heads_of(layer))]
    if reading.z is not None:
        product = run.record.z[layer][at].double() * reading.z.double()
        return parts, [float(product[head_rows(model, part)].sum()) for part in parts], 0.0
    assert reading.along is not None
    columns, rounded = head_columns(run, layer, AtOnce(reading.along[None]), [at], False)
    parts += [Component("attn.bias", layer)] if has_attention_bias(model, layer) else []
    return parts, [float(column) for column in columns], float(rounded)


def _neurons(run: Run, reading: Inside) -> tuple[list[Component], list[float], float]:
    """(neurons of the MLP and its bias, their values, measured rounding); the MLP in one row where it has none."""
    layer, at, along = reading.layer, reading.position, reading.along
    assert along is not None
    try:
        run.model.down(layer)
        acts = neurons_at(run, [layer], at)[layer].float()
        found = neuron_rows(run, layer, at, along, acts)
    except GranularityError as reason:
        reading.notes.append(f"In one row: {reason.message}")
        return [mlp(layer)], [float(run.record.mlp_write[layer][at].double() @ along.double())], 0.0
    parts, values = [Component("neuron", layer, n) for n in range(len(acts))], found.values.double().tolist()
    if found.fixed is not None:
        parts.append(Component("mlp.bias", layer))
        values.append(found.fixed)
    return parts, values, found.rounding
