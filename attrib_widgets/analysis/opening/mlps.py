"""A mixture of experts opened: what each expert that the router chose contributed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.anatomy.rounding import refuse_above
from ...model.parts.experts import mixture
from ...model.parts.outlet import outlet_of
from ...result import signed
from ...words.components import Component
from .heads import stream_direction
from .results import Contributions

if TYPE_CHECKING:
    import pandas as pd

    from ..attribution.attribution import Attribution


@dataclass(eq=False, repr=False)
class ExpertContributions(Contributions):
    """Contributions of the chosen experts; ``weights`` is the router's weight of every row (NaN for other rows)."""

    weights: Float[Tensor, "row"] = field(default_factory=lambda: torch.empty(0))

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``row``, ``label``, ``kind``, ``value``, ``weight``."""
        return super().to_dataframe().assign(weight=self.weights.numpy())


@torch.no_grad()
def experts(a: Attribution, layer: int) -> ExpertContributions:
    """See :meth:`Attribution.experts`."""
    model, rec, at = a.model, a.run.record, a.reading.position
    found = mixture(model, rec, layer, slice(at, at + 1))
    out = rec.mlp_out[layer][at : at + 1]
    missed, bound = found.error(out)
    refuse_above(missed, bound, f"the experts of layer {layer} do not add up to its MLP")
    write, v = outlet_of(model, "mlp", layer), stream_direction(a)
    u = write.pull(v) * write.scale(out)[0]
    rounding = float(missed[0] @ u.double())
    if not write.plain:
        missed, bound = write.error(out, rec.mlp_write[layer][at : at + 1])
        refuse_above(missed, bound, f"what the MLP of layer {layer} adds is not what was recorded")
        rounding += float(missed[0] @ v.double())

    site = str(Component("mlp", layer))
    indices, weights = found.indices[0].tolist(), found.weights[0].tolist()
    rows = [(str(Component("expert", layer, i)), "component", w) for i, w in zip(indices, weights, strict=True)]
    values = (found.parts[0].float() @ u).tolist()
    if found.shared is not None:
        rows.append((f"{site}/shared", "component", float("nan")))
        values.append(float(found.shared[0].float() @ u))
    if write.bias is not None:
        rows.append((f"{site}.bias", "bias", float("nan")))
        values.append(float(write.constant(v[None])[0]))
    rows.append(("rounding", "rounding", float("nan")))
    values.append(rounding)

    part = torch.tensor(values).float()
    best = int(part[: len(indices)].abs().argmax())
    chosen = ", ".join(f"E{i} {w:.2f}" for i, w in zip(indices, weights, strict=True))
    return ExpertContributions(
        f"{site} by expert: E{indices[best]} leads with {signed(float(part[best]))}",
        [label for label, _, _ in rows],
        [kind for _, kind, _ in rows],
        part,
        site,
        a[Component("mlp", layer)],
        a.unit,
        note=f"The router chose {chosen} (its weights).",
        weights=torch.tensor([weight for _, _, weight in rows]),
    )
