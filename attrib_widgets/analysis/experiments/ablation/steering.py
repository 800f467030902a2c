"""Steering: what the model answers as parts of it, features of dictionaries above all, write more or less strongly.

A dial of experiments, not of observations: at every strength the model runs with it. What a dictionary misses, and its
other features, stay as they were (see :mod:`..cells.features`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.identity.steady import steady
from ....model.model import load
from ....result import Result, Table
from ....words.errors import AttribError, ComponentError
from ....words.several import listed, named
from ....words.targets import TokenSet, rather_than
from ....words.text import percent, visible
from ...inputs import as_run
from ..cells.cells import Cell, joint, positions_of
from ..cells.features import finite, silent
from ..measuring.answers import Answer, answers, asked_token
from ..measuring.common import quoted
from ..measuring.metrics import MetricLike, metric_of
from ..measuring.pairs import Cost, run_writes
from .donors import SAID, FixedDonor, ScaleDonor, clamp_donor

if TYPE_CHECKING:
    import pandas as pd

    from ....model.model import Model
    from ....model.run import Run
    from ....model.running.worker import Job

#: What the dial is set to where nothing is said: without it, as it is, and beyond.
DIAL = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)


@dataclass(eq=False, repr=False)
class Steering(Result):
    """What the model answers with a cell at every strength.

    ``values`` are the metric at each of ``strengths``, ``base`` the metric of the run as it is; ``answers`` what the
    model says there, with the probability of the token that is asked about, and ``before`` the same of the run as it
    is. ``method`` is ``"scale"`` (strengths are factors) or ``"clamp"`` (activations).
    """

    run: Run
    cell: Cell
    method: Literal["scale", "clamp"]
    strengths: list[float]
    metric: str
    unit: str
    position: int
    values: Float[Tensor, "strength"]
    base: float
    answers: list[Answer]
    before: Answer
    done: Tensor
    cost: Cost

    @property
    def complete(self) -> bool:
        """Whether every strength was computed (it was not cancelled)."""
        return bool(self.done.all())

    @property
    def probabilities(self) -> Float[Tensor, "strength"]:
        """Probability of the token that is asked about, 0 to 1; NaN where it was not computed."""
        found = torch.tensor([a.asked_probability for a in self.answers])
        return torch.where(self.done, found, torch.nan)

    def title(self) -> str:
        """The finding in one line: the strength that moves the answer most."""
        known = (self.probabilities - self.before.asked_probability).nan_to_num(0.0)
        if not bool(self.done.any()):
            return "Cancelled before the first strength was tried"
        best = int(known.abs().argmax())
        token, start = visible(self.before.asked), percent(self.before.asked_probability)
        if not float(known[best]):
            return f"No strength of {self.cell.short} that was tried changes {token}: {start}"
        end = percent(self.answers[best].asked_probability)
        return f"With {self.cell.short} {SAID[self.method](self.strengths[best])} {token} goes from {start} to {end}"

    def summary(self) -> Table:
        rows, bars = [["as it is", percent(self.before.asked_probability), str(self.before)]], [None]
        for strength, answer, done in zip(self.strengths, self.answers, self.done.tolist(), strict=True):
            if done:
                rows.append([SAID[self.method](strength), percent(answer.asked_probability), str(answer)])
        shown: list[float | None] = [*bars, *(p for p in self.probabilities.tolist() if p == p)]
        token = visible(self.before.asked)
        notes = [f"the model runs at every strength: {quoted(self.run)}"]
        notes += [] if self.complete else ["cancelled"]
        columns = [self.cell.short, token, "the model then says"]
        return Table(self.title(), columns, rows, shown, "\n".join([*notes, *self.cost.notes]), str(self.cost))

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``strength``, ``probability`` (of the token asked about), ``value`` (of the metric), ``says``,
        ``says_probability``."""
        import pandas as pd

        return pd.DataFrame(
            {
                "strength": self.strengths,
                "probability": self.probabilities.numpy(),
                "value": self.values.numpy(),
                "says": [a.token for a in self.answers],
                "says_probability": [a.probability for a in self.answers],
            }
        )


@steady()
def steer(
    model: Model | str,
    prompt: Any,
    components: Any,
    target: MetricLike | None = None,
    *,
    against: TokenSet | None = None,
    scale: float | Sequence[float] | None = None,
    clamp: float | Sequence[float] | None = None,
    positions: Any = None,
    position: int = -1,
    job: Job | None = None,
    budget: int | None = None,
) -> Steering:
    """Turn a feature, or another part, up and down, and see what the model answers.

    Args:
        prompt: text, ids or a Run.
        components: a feature (``"L3.mlp/12"``), any other part that can be ablated, or several that are turned
            together.
        target, against: as in :func:`attrib_widgets.patch`; None is the model's own answer.
        scale: one or several factors of what it writes: 0 is without it. None, where there is no ``clamp`` either, is
            a dial from 0 to 4.
        clamp: one or several activations at which features are held, at every position.
        positions: where; None is everywhere, a number or a list these.
        position: where the answer is read.

    Raises:
        AttribError: both ``scale`` and ``clamp``, or no numbers; one that is more than the model can compute with.
        ComponentError: nothing to steer; a part that this model does not have; features that are silent where they
            would be scaled; a part that is no feature, where it would be held.
        GranularityError: a part of a layer that does not split so far exactly.
    """
    if scale is not None and clamp is not None:
        raise AttribError("scale= and clamp= were both given.", "Give one of the two.")
    run = as_run(prompt, load(model), position)
    where = run.position(position)
    places = positions_of(run, positions)
    parts = joint(run.model, named(components))
    if not parts or len(places) != 1:
        raise ComponentError("There is nothing to steer.", 'Name a feature: "L3.mlp/12"; positions= are a list.')
    cell = Cell(parts, places[0])
    method: Literal["scale", "clamp"] = "scale" if clamp is None else "clamp"
    strengths = [finite(s) for s in listed(clamp if clamp is not None else DIAL if scale is None else scale)]
    if not strengths:
        raise AttribError("There are no strengths.", "Give one or several: scale=[0, 2].")
    if method == "scale":
        _refuse_silent(run, cell)
    make = ScaleDonor if method == "scale" else clamp_donor
    donors: list[FixedDonor] = [make(run, strength) for strength in strengths]
    aim = rather_than(target, against, run.model.single_token)
    metric, cost = metric_of(aim, run, where), Cost()
    writes = [donor.writes(cell) for donor in donors]
    values, done, streams = run_writes(run, writes, metric, where, cost, job, budget)
    ran = done.cpu() & ~(streams.isfinite().all(-1).cpu() & values.isfinite().cpu())
    if bool(ran.any()):
        wild = strengths[int(ran.nonzero()[0])]
        raise AttribError(
            f"With {cell} {SAID[method](wild)} the model gives numbers that are not finite.", "Give a smaller one."
        )
    start = run.record.streams[-1][where][None]
    asked = asked_token(aim, run, where)
    (before,) = answers(run.model, start, asked)
    said = [before if bool((s == start[0]).all()) else answers(run.model, s[None], asked)[0] for s in streams]
    base = float(metric.of(start)[0])
    return Steering(
        run, cell, method, strengths, metric.name, metric.unit, where, values, base, said, before, done, cost
    )


def _refuse_silent(run: Run, cell: Cell) -> None:
    """Raises ComponentError where all of a cell is 0 wherever it would be scaled."""
    if silent(run, cell.parts, cell.positions):
        where = "in this prompt" if cell.positions is None else "there"
        raise ComponentError(
            f"{replace(cell, positions=None)} is silent {where}: no factor changes that.",
            "Hold it at an activation: clamp=8.",
        )
