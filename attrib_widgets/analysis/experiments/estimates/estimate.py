"""What patching would find, estimated by gradients: the result of :func:`.attribution_patch.attribution_patch`."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ....words.errors import ComponentError
from ....words.text import number, signed
from ..cells.cells import Cell
from ..measuring.common import quoted
from ..patching.patching import Patching
from .slopes import BETWEEN, Method, Way, completeness


@dataclass(eq=False, repr=False)
class Estimate(Patching):
    """Recovery or damage of every cell, estimated by gradients: a list of candidates, not a result.

    Under ``method="atp*"`` sizes are GradDrop's averages, signs those of the plain estimate. Under ``"eap-ig"`` the
    values are neither recovery nor damage, but the part's share of the way between the two runs, the same for both
    directions: one path cannot tell a part that is needed from one that is enough.

    Attributes:
        way: the method, its steps and points.
        inputs: of every pair, by how much the inputs alone move the metric from corrupted to clean by this estimate;
            empty for ``"atp*"``.
        why: why they miss much of the gap, in words; "" where they do not.
    """

    way: Way = field(default_factory=lambda: Way("atp"))
    inputs: list[float] = field(default_factory=list)
    why: str = ""

    @property
    def method(self) -> Method:
        """``"atp"``, ``"atp*"``, ``"eap-ig"``, ``"partway"`` or ``"relp"``."""
        return self.way.method

    @property
    def share(self) -> str:
        """``"recovery"``, ``"damage"`` or ``"between the runs"``."""
        return BETWEEN if self.way.between else super().share

    @property
    def verb(self) -> str:
        """What a cell is said to do to the gap."""
        return "accounts for" if self.way.between else super().verb

    @property
    def error(self) -> float | None:
        """Completeness error: what the inputs account for, over all pairs, against the gap: (sum - gap) / gap.

        Edges out of the inputs sum to the same. None for ``"atp*"``, and where the pairs have no gap."""
        gap = float(self.gap.double().sum())
        return (sum(self.inputs) - gap) / gap if self.inputs and gap else None

    @property
    def notes(self) -> list[str]:
        """Remarks for the reader."""
        if self.error is None:
            return super().notes
        gap = float(self.gap.double().mean())
        moved = sum(self.inputs) / len(self.inputs)
        return [*super().notes, completeness(moved, gap, self.error, self.why)]

    def title(self) -> str:
        """The finding in one line."""
        between = f", {BETWEEN}" if self.way.between else ""
        return f"Estimated by gradients{between}: {super().title()}"

    def words(self) -> str:
        """What would be put where: nothing was."""
        if self.way.between:
            clean, corrupted = map(quoted, self.pairs[0])
            return f"estimated from gradients, not tested, {BETWEEN} {corrupted} and {clean}: {self.way.words()}"
        return f"estimated from gradients, not tested, for {super().words()}"

    def against(self, exact: Patching) -> Agreement:
        """How well the estimate agrees with exact patching, over the cells that both have."""
        shared = [i for i, c in enumerate(self.cells) if c in exact.cells]
        if len(shared) < 2:
            raise ComponentError("The two have fewer than two cells in common.", "Patch the same sites and positions.")
        index = [exact.cells.index(self.cells[i]) for i in shared]
        mine, true = self.values[shared].double(), exact.values[index].double()
        worst = int((mine - true).abs().argmax())
        both = torch.stack([mine, true])
        correlation = float(torch.corrcoef(both)[0, 1])
        return Agreement(correlation, self.cells[shared[worst]], float(mine[worst]), float(true[worst]), len(shared))


@dataclass(frozen=True)
class Agreement:
    """Pearson's correlation of estimates with exact effects, and the cell where they differ most."""

    correlation: float
    worst: Cell
    estimated: float
    exact: float
    cells: int

    def __str__(self) -> str:
        return (
            f"correlation {number(self.correlation, 3)} over {self.cells} cells; furthest at {self.worst}: "
            f"estimated {signed(self.estimated, 3)}, exactly {signed(self.exact, 3)}"
        )
