"""What a neuron writes: the tokens whose logits it raises and lowers, straight from its row of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...model.identity.steady import steady
from ...model.model import load
from ...model.parts.outlet import outlet_of
from ...model.selfcheck.levels import need
from ...result import Result, Table
from ...saes.cards import unembedded
from ...words.components import Component, ComponentLike, component
from ...words.errors import ComponentError
from ...words.text import signed, visible
from ..inputs import how_many_of
from .ov import Written

if TYPE_CHECKING:
    import pandas as pd

    from ...model.model import Model


@dataclass(eq=False, repr=False)
class NeuronTokens(Result):
    """The tokens that one unit of a neuron promotes and suppresses directly, before the scales of the norms behind it.

    ``promoted`` and ``suppressed`` list (text, id, logits); logits are less their mean over the vocabulary, which moves
    no probability.
    """

    neuron: Component
    promoted: list[Written]
    suppressed: list[Written]

    def summary(self) -> Table:
        rows = [
            [visible(up[0]), signed(up[2], 3), visible(down[0]), signed(down[2], 3)]
            for up, down in zip(self.promoted, self.suppressed, strict=True)
        ]
        note = "logits per unit of what the down-projection reads, before the scales of the norms behind it"
        return Table(f"What {self.neuron} writes", ["promotes", "logits", "suppresses", "logits"], rows, note=note)

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``token``, ``id`` and ``logits``: the promoted ones first."""
        import pandas as pd

        return pd.DataFrame([*self.promoted, *self.suppressed], columns=["token", "id", "logits"])


@steady()
@torch.no_grad()
def neuron_tokens(model: Model | str, which: ComponentLike, k: int = 8) -> NeuronTokens:
    """The ``k`` tokens that a neuron (``"L3N12"``) promotes most, and those that it suppresses most.

    Raises:
        ComponentError: no such neuron; GranularityError: the MLP of its layer has no neurons of its own; AttribError:
            a ``k`` below 1.
    """
    found, part = load(model), component(which)
    layer, index = part.layer or 0, part.index or 0
    if part.kind != "neuron" or not 0 <= layer < found.n_layers:
        raise ComponentError(f"{part} is not a neuron of {found.name}.", 'Name one: "L0N0".')
    need(found, "sublayers", layer)
    down = found.down(layer)
    if index >= down.d_in:
        raise ComponentError(f"{part} is not a neuron of {found.name}.", f"Layer {layer} has {down.d_in}, from 0.")
    written = outlet_of(found, "mlp", layer).push(down.rows(index, index + 1)[0])
    written = written * found.carried(layer, found.n_layers, "mlp")
    logits = unembedded(found, found.norm(found.anatomy.final_norm).push(written))
    logits = logits - logits.mean()
    k = min(how_many_of(k, "tokens"), len(logits))

    def named(order: list[int]) -> list[Written]:
        return [(found.token(i), i, float(logits[i])) for i in order]

    return NeuronTokens(part, named(logits.topk(k).indices.tolist()), named((-logits).topk(k).indices.tolist()))
