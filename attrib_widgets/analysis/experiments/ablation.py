"""Ablation: what the answer becomes without a part, its output replaced by zero, by its mean, or by other outputs.

Zero takes the model furthest from what it has seen; the mean over reference prompts keeps what the part always says;
resampling puts in what it said elsewhere (Chan et al. 2022, "Causal Scrubbing"; Wang et al. 2022, arXiv 2211.00593).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.identity.steady import steady
from ...model.model import load
from ...model.tracing.edits import Edit
from ...result import Result, Table, strongest
from ...words.components import whole
from ...words.errors import AttribError, ComponentError
from ...words.places import Place, PlaceLike
from ...words.several import prompts
from ...words.targets import TokenSet, rather_than
from ...words.text import number, others_label, signed, visible
from ..inputs import as_run
from .cells import MIXED_SITES, Cell, cells_from, cells_of, found_in, held, plain_writes, positions_of
from .metrics import MetricLike, metric_of
from .pairs import Cost, run_cells

if TYPE_CHECKING:
    import pandas as pd

    from ...model.model import Model
    from ...model.run import Run
    from ...model.running.worker import Job

Method = Literal["zero", "mean", "resample"]
DRAWS = 8


@dataclass(eq=False, repr=False)
class Ablation(Result):
    """How the metric changed without each part.

    ``ablated[draw, cell]`` is the metric without the part (one draw, except when resampling; only the finished draws
    where it was cancelled), ``base`` that of the run as it is. ``values`` are the mean changes:
    negative where the part helped.
    """

    run: Run
    cells: list[Cell]
    method: Method
    metric: str
    unit: str
    position: int
    ablated: Float[Tensor, "draw cell"]
    base: float
    done: Tensor
    cost: Cost

    @property
    def values(self) -> Float[Tensor, "cell"]:
        """Mean change of the metric; NaN where it was not computed."""
        return torch.where(self.done, (self.ablated - self.base).mean(0), torch.nan).float()

    @property
    def spread(self) -> Float[Tensor, "cell"] | None:
        """Standard deviation of the change over draws; None for one draw."""
        return self.ablated.std(0).float() if len(self.ablated) > 1 else None

    @property
    def labels(self) -> list[str]:
        """Names of the cells."""
        return [str(c) for c in self.cells]

    def __getitem__(self, which: PlaceLike | Sequence[PlaceLike] | Cell) -> float:
        return float(self.values[found_in(self.cells, self.run.model, which, "ablation")])

    def top(self, k: int = 10) -> list[tuple[Cell, float]]:
        """The ``k`` largest changes by magnitude, with their signs."""
        values = self.values
        order = strongest(values, k)
        return [(self.cells[i], float(values[i])) for i in order]

    def title(self) -> str:
        """The finding in one line."""
        cell, value = self.top(1)[0]
        return f"Without {cell} the {self.metric} goes from {number(self.base)} to {number(self.base + value)}"

    def summary(self) -> Table:
        shown = self.top(10)
        rows = [[str(c), signed(v, 3)] for c, v in shown]
        words = {"zero": "set to zero", "mean": "set to its mean", "resample": "taken from other prompts"}[self.method]
        note = f"each part {words}, in {' '.join(map(visible, self.run.tokens[-12:]))}"
        rest = len(self.cells) - len(shown)
        footer = f"{others_label(rest)} smaller; {self.cost}" if rest > 0 else str(self.cost)
        return Table(
            self.title(),
            ["ablated", f"change, {self.unit}"],
            rows,
            [v for _, v in shown],
            "\n".join([note, *self.cost.notes]),
            footer,
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``cell``, ``change`` and ``ablated`` (mean over draws)."""
        import pandas as pd

        return pd.DataFrame(
            {"cell": self.labels, "change": self.values.numpy(), "ablated": self.ablated.mean(0).numpy()}
        )


class FixedDonor:
    """Replaces what a part writes by ``value(part, positions)``, whatever the run."""

    def __init__(
        self, base: Run, value: Callable[[Place, tuple[int, ...]], Float[Tensor, "position width"]], first: int = 0
    ) -> None:
        self.base, self.value, self.first = base, value, first

    def writes(self, cell: Cell) -> list[Edit]:
        """The writes of one ablation.

        Raises:
            ComponentError: what a head reads cannot be ablated, only what it writes.
        """
        listed = range(self.base.n_positions) if cell.positions is None else cell.positions
        at = tuple(p for p in listed if p >= self.first)
        found: list[Edit] = []
        for part in cell.parts:
            if part.site in MIXED_SITES or part.is_stream:
                raise ComponentError(f"{part} cannot be ablated.", "Ablate what a part writes: a head or a sublayer.")
            if part.site == "attn" and self.base.model.granularity == "heads":
                part = Place("z", part.layer)  # all of its heads, so that its output bias stays here too
            found += plain_writes(self.base.model, part, at, self.value(part, at))
        return found


def zero_donor(base: Run) -> FixedDonor:
    """Zero z (the bias of the output projection stays) or a zero MLP output."""

    def value(part: Place, at: tuple[int, ...]) -> Tensor:
        return torch.zeros_like(held(base.record, part)[list(at)])

    return FixedDonor(base, value)


def mean_donor(base: Run, reference: Sequence[Run]) -> FixedDonor:
    """The mean over reference runs: position by position where all have the length of ``base``; otherwise over all
    positions except the first, put everywhere but there."""
    aligned = all(r.n_positions == base.n_positions for r in reference)
    kept: dict[tuple[str, int], Tensor] = {}

    def value(part: Place, at: tuple[int, ...]) -> Tensor:
        key = part.slot
        if key not in kept:
            tensors = [held(r.record, part).float() for r in reference]
            if aligned:
                kept[key] = torch.stack(tensors).mean(0)
            else:
                kept[key] = torch.cat([t[1:] for t in tensors]).mean(0).expand(base.n_positions, -1)
        return kept[key][list(at)]

    return FixedDonor(base, value, first=0 if aligned else 1)


def resample_donors(base: Run, reference: Sequence[Run], draws: int, seed: int) -> list[FixedDonor]:
    """What the part wrote elsewhere: in each reference run of the same length, or at ``draws`` times random positions
    (the first excepted) of all of them."""

    def from_run(run: Run) -> FixedDonor:
        return FixedDonor(base, lambda part, at: held(run.record, part)[list(at)])

    if all(r.n_positions == base.n_positions for r in reference):
        return [from_run(r) for r in reference]
    generator = torch.Generator().manual_seed(seed)
    total = sum(r.n_positions - 1 for r in reference)

    def from_places(index: Tensor) -> FixedDonor:
        def value(part: Place, at: tuple[int, ...]) -> Tensor:
            pool = torch.cat([held(r.record, part)[1:] for r in reference])
            return pool[index[list(at)].to(pool.device)]

        return FixedDonor(base, value, first=1)

    return [from_places(torch.randint(total, (base.n_positions,), generator=generator)) for _ in range(draws)]


def donors_of(
    base: Run, method: Method, reference: Sequence[Run], draws: int = DRAWS, seed: int = 0
) -> list[FixedDonor]:
    """The donors of an ablation, one per draw.

    Raises:
        AttribError: an unknown method, or a mean or resampling without reference prompts.
    """
    if method == "zero":
        return [zero_donor(base)]
    if method not in ("mean", "resample"):
        raise AttribError(f"{method!r} is no ablation.", 'Use "zero", "mean" or "resample".')
    if (whole(draws) or 0) < 1:
        raise AttribError(f"{draws!r} is not a number of draws.", "Use 1 or more.")
    if not reference or all(r.n_positions == 1 for r in reference):
        raise AttribError(f"A {method} needs prompts to take it from.", "Pass reference=[...], prompts like this one.")
    return [mean_donor(base, reference)] if method == "mean" else resample_donors(base, reference, draws, seed)


@steady()
def ablate(
    model: Model | str,
    prompt: Any,
    target: MetricLike | None = None,
    *,
    against: TokenSet | None = None,
    components: Any = None,
    method: Method = "zero",
    reference: Any = (),
    positions: Any = None,
    position: int = -1,
    draws: int = DRAWS,
    seed: int = 0,
    job: Job | None = None,
    budget: int | None = None,
) -> Ablation:
    """Take parts out of a run, one experiment per cell.

    Args:
        prompt: text, ids or a Run; target, against: as in :func:`attrib_widgets.patch`.
        components: cells, one or several: each a component (a layer is its two writes), or a list of components
            ablated together; None is every head and MLP.
        method: ``"zero"`` (z or the MLP's output becomes 0; the output bias of the attention stays), ``"mean"`` or
            ``"resample"`` over ``reference``, a list of prompts. Where these have not all the length of ``prompt``,
            positions are not matched, and the first position is left alone.
        positions: None ablates every position together, ``"each"`` makes one cell per position, a list these together.
        draws, seed: of resampling from prompts of other lengths.

    Raises:
        AttribError: an unknown method, no reference prompts, or no draws.
        ComponentError: nothing to take out, a part that this model does not have, or that writes nothing.
    """
    base = as_run(prompt, load(model), position)
    places = positions_of(base, positions)
    if components is None:
        sites = ["z", "mlp"] if base.model.granularity == "heads" else ["attn", "mlp"]
        cells = cells_of(base.model, sites, None, "each", places)
    else:
        cells = cells_from(base.model, components, places)
    if not cells:
        raise ComponentError("There is nothing to take out.", "Name components=, or leave it out: every head and MLP.")
    runs = [as_run(r, base.model) for r in prompts(reference)]
    metric = metric_of(rather_than(target, against, base.model.single_token), base, base.position(position))
    cost, done = Cost(), torch.ones(len(cells), dtype=torch.bool)
    rows: list[Tensor] = []
    for donor in donors_of(base, method, runs, draws, seed):
        found, finished = run_cells(base, donor, cells, metric, position, cost, job, budget)
        if rows and not bool(finished.all()):
            break  # cancelled: the draws before this one are whole
        rows.append(found)
        done = finished
    where = base.position(position)
    start = float(metric.of(base.record.streams[-1][where][None])[0])
    return Ablation(base, cells, method, metric.name, metric.unit, where, torch.stack(rows), start, done, cost)
