"""The gradients that an estimate multiplies, by method: at one run, between the two, or of a network that is held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.parts.mlp import gated
from ...model.tracing.gradient import Gradients, differentiate
from ...words.components import whole
from ...words.errors import PositionError, TargetError
from ...words.text import number, share
from .cells import RunDonor
from .metrics import Metric
from .pairs import Cost, Direction, direction_of
from .relevance import relevances

if TYPE_CHECKING:
    from ...model.run import Run

Method = Literal["atp", "atp*", "eap-ig", "relp"]
Points = Literal["mid", "left"]
#: Where along a step the gradient is taken.
_WITHIN: dict[Points, float] = {"mid": 0.5, "left": 0.0}
#: What an estimate between the runs is called: it has no direction.
BETWEEN = "between the runs"


@dataclass(frozen=True)
class Way:
    """How an estimate is made; ``steps`` and ``points`` are read by ``"eap-ig"`` alone, which is the same for both
    directions. ``direction`` says which of the two runs is the clean one."""

    method: Method = "eap-ig"
    steps: int = 5
    points: Points = "mid"
    direction: Direction = "denoise"

    @property
    def between(self) -> bool:
        """Whether it is the same for both directions."""
        return self.method == "eap-ig"

    @property
    def rows(self) -> int:
        """Rows of one pass: the points of the way, and the run itself, held against its recording."""
        return self.steps + 1 if self.between else 1

    def ends(self, donor: RunDonor) -> tuple[Run, Run]:
        """(corrupted, clean)."""
        found = donor.base, donor.source
        return found if self.direction == "denoise" else found[::-1]

    def inputs(self, donor: RunDonor, gradients: Gradients) -> float:
        """By how much the inputs alone move the metric from the corrupted to the clean run, as it is estimated: the
        gap, were the estimate complete. ``gradients`` have one row."""
        start, end = (run.record.streams[0].double() for run in self.ends(donor))
        return float((gradients.at["pre", 0][0].double() * (end - start)).sum())

    def words(self) -> str:
        """What is done, for a note."""
        if self.method == "relp":
            return "relevance patching: scales of norms, patterns, ratios of activations held"
        if not self.between:
            return "AtP*" if self.method == "atp*" else "attribution patching"
        points = "midpoints" if self.points == "mid" else "points at the start of each step"
        return f"gradients at {self.steps} {points} of the inputs' straight way {BETWEEN} (EAP-IG)"


def way_of(method: Any, steps: Any, points: Any, direction: Direction) -> Way:
    """How an estimate is made, once it is known that there is such a way.

    Raises:
        TargetError: no such method, points or direction. PositionError: no steps.
    """
    direction_of(direction)
    if method not in get_args(Method):
        *others, last = (f'"{m}"' for m in get_args(Method))
        raise TargetError(f"{method!r} is no estimate.", f"Use {', '.join(others)} or {last}.")
    if points not in get_args(Points):
        raise TargetError(f"{points!r} are no points of a step.", 'Use "mid", or "left" as published code does.')
    if (number := whole(steps) or 0) < 1:
        raise PositionError(f"{steps!r} is not a number of steps.", "Use 5, or more for a smaller error.")
    return Way(method, number, points, direction)


def slopes(
    donor: RunDonor,
    metric: Metric,
    places: Sequence[tuple[str, int]],
    position: int,
    way: Way,
    cost: Cost,
    *,
    stopped: Sequence[int | None] = (None,),
    keep: Sequence[tuple[str, int]] = (),
) -> Gradients:
    """The gradients of ``metric`` at ``places``, a row each of the points where they are taken (one, except for
    ``"eap-ig"``, and as many as are ``stopped`` for ``"atp*"``); what is to ``keep`` held there. Booked in ``cost``."""
    base = donor.base
    if way.method == "relp":
        passes = 2 + gated(base.model)  # one more hears the other factor of the neurons
        cost.include(Cost(passes, passes * base.n_positions))
        found = relevances(base, metric, places, position)
    elif way.between:
        rows = _between(donor, way)
        cost.include(Cost(2, 2 * way.rows * base.n_positions))
        starts = {("pre", 0): rows}
        return differentiate(base, metric.differentiable, places, position, starts=starts, keep=keep)
    else:
        cost.include(Cost(2, 2 * len(stopped) * base.n_positions))
        found = differentiate(base, metric.differentiable, places, position, stopped=stopped)
    return replace(found, held={where: base.record.at(*where)[None] for where in keep})


def _between(donor: RunDonor, way: Way) -> Float[Tensor, "row position d_model"]:
    """What enters layer 0 at the points of the straight way from the corrupted to the clean run."""
    start, end = (run.record.streams[0].float() for run in way.ends(donor))
    along = (torch.arange(way.steps, device=start.device) + _WITHIN[way.points]) / way.steps
    return start + along[:, None, None] * (end - start)


def averaged(gradients: Gradients) -> Gradients:
    """The mean over the rows, as one."""
    return replace(gradients, at={place: g.double().mean(0, keepdim=True) for place, g in gradients.at.items()})


def completeness(moved: float, gap: float, error: float) -> str:
    """How far what the inputs account for misses the gap, in words."""
    return f"the inputs account for {number(moved)} of {number(gap)}: completeness error {share(error, 1)}"
