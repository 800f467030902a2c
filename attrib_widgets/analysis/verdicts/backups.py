"""Who takes over when a part is taken out: read off the attribution of the ablated run, then confirmed.

Self-repair (McGrath et al. 2023, arXiv 2307.15771; Rushing and Nanda 2024, arXiv 2402.15390): the change of the answer
splits exactly into what the part itself no longer writes, the rescaling of the final norm, and what the others write
more or less. Who rises is a candidate; the joint ablation tells whether the part matters once its backups are out too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.tracing.edits import Edit
from ...words.components import Component
from ..reading.decomposition import decompose

if TYPE_CHECKING:
    from ...model.run import Run
    from ..attribution.attribution import Attribution


@dataclass
class Repair:
    """How the answer changed when one part was ablated; ``direct + rescaling + sum(risen) = total``, exactly.

    ``risen[j]`` is what component ``components[j]`` writes more along the explained direction, at the clean run's norm
    (0 for the ablated part itself, whose change is ``direct``). ``total`` is the change of the pre-norm read-out
    along that direction, biases excluded because they do not change.
    """

    part: Component
    components: list[Component]
    risen: Float[Tensor, "component"]
    direct: float
    rescaling: float
    total: float

    def top(self, k: int = 3) -> list[tuple[Component, float]]:
        """The parts that made up most for the loss (in the direction opposite to it)."""
        sign = -1.0 if self.direct > 0 else 1.0
        order = (self.risen * sign).argsort(descending=True, stable=True)[:k].tolist()
        return [(self.components[i], float(self.risen[i])) for i in order if float(self.risen[i]) * sign > 0]


@torch.no_grad()
def repair(a: Attribution, part: Component, writes: list[Edit]) -> Repair:
    """Attribute the run of ``a`` with ``writes`` in it (the ablation of ``part``), along the same direction."""
    reading = a.reading
    ablated = a.run.edited(writes)

    def rows(run: Run) -> tuple[list[Component], Tensor, Tensor, float]:
        found = decompose(run, reading.point, reading.norm, reading.direction[None], [reading.position])
        x = reading.point.stream(run.record)[reading.position]
        rounding = (found.stream + found.heads)[0, 0].double()
        return found.components, found.values[0, 0].double(), rounding, float(reading.norm.scale(x))

    components, before, rounded, scale = rows(a.run)
    _, after, rounded_after, other = rows(ablated)
    at_clean = after * (scale / other)
    change = at_clean - before
    own = components.index(part)
    direct = float(change[own])
    change[own] = 0.0
    missed = float(rounded_after * (scale / other) - rounded)
    rescaling = float(after.sum() + rounded_after) * (1 - scale / other)
    total = direct + float(change.sum()) + rescaling + missed
    return Repair(part, components, change.float().cpu(), direct, rescaling, total)
