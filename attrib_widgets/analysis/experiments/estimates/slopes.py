"""The gradients that an estimate multiplies, by method: at one run, between the two, or of a network that is held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.parts.mlp import gated
from ....model.tracing.causality import tokens_beside
from ....model.tracing.gradient import Gradients, differentiate
from ....words.components import whole
from ....words.errors import PositionError, TargetError
from ....words.text import number, share
from ..cells.donors import RunDonor
from ..measuring.metrics import Metric
from ..measuring.pairs import Cost, Direction, direction_of
from .relevance import relevances

if TYPE_CHECKING:
    from ....model.run import Run

Method = Literal["atp", "atp*", "eap-ig", "partway", "relp"]
Points = Literal["mid", "left"]
#: Where along a step the gradient is taken.
_WITHIN: dict[Points, float] = {"mid": 0.5, "left": 0.0}
#: The completeness error from which a reason is given.
LARGE = 0.1
#: What an estimate between the runs is called: it has no direction.
BETWEEN = "between the runs"


@dataclass(frozen=True)
class Way:
    """How an estimate is made. ``steps`` and ``points`` are read by ``"eap-ig"``, which is the same for both
    directions, and by ``"partway"``; ``direction`` says which of the two runs is the clean one."""

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
        return self.steps + 1 if self.method in ("eap-ig", "partway") else 1

    @property
    def along(self) -> Float[Tensor, "step"]:
        """How far the points are on the way from the corrupted (0) to the clean run (1)."""
        return (torch.arange(self.steps) + _WITHIN[self.points]) / self.steps

    def ends(self, donor: RunDonor) -> tuple[Run, Run]:
        """(corrupted, clean)."""
        found = donor.base, donor.source
        return found if self.direction == "denoise" else found[::-1]

    def inputs(self, donor: RunDonor, gradients: Gradients) -> float:
        """By how much the inputs alone move the metric from the corrupted to the clean run, as it is estimated: the
        gap, were the estimate complete. ``gradients`` have one row."""
        start, end = (run.record.at("pre", 0).double() for run in self.ends(donor))
        return float((gradients.at["pre", 0][0].double() * (end - start)).sum())

    def words(self) -> str:
        """What is done, for a note."""
        if self.method == "relp":
            return "relevance patching: scales of norms, patterns, ratios of activations held"
        if self.method in ("atp", "atp*"):
            return "AtP*" if self.method == "atp*" else "attribution patching"
        points = "midpoints" if self.points == "mid" else "points at the start of each step"
        said = f"gradients at {self.steps} {points} of the inputs' straight way {BETWEEN}"
        return f"{said} (EAP-IG)" if self.between else f"{said}, as far as the part goes itself"


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
    ``"eap-ig"``, and ``"partway"``, whose last is the run that is patched, and as many as are ``stopped`` for
    ``"atp*"``); what is to ``keep`` held there. Booked in ``cost``."""
    base = donor.base
    if way.method == "relp":
        passes = 2 + gated(base.model)  # one more hears the other factor of the neurons
        cost.include(Cost(passes, passes * base.n_positions))
        found = relevances(base, metric, places, position)
    elif way.rows > 1:
        rows = _between(donor, way)
        cost.include(Cost(2, 2 * way.rows * base.n_positions))
        starts = {("pre", 0): rows}
        own = not way.between
        return differentiate(base, metric.differentiable, places, position, starts=starts, keep=keep, own=own)
    else:
        cost.include(Cost(2, 2 * len(stopped) * base.n_positions))
        found = differentiate(base, metric.differentiable, places, position, stopped=stopped)
    return replace(found, held={where: base.record.at(*where)[None] for where in keep})


def _between(donor: RunDonor, way: Way) -> Float[Tensor, "row position d_model"]:
    """What enters layer 0 at the points of the straight way from the corrupted to the clean run."""
    start, end = (run.record.at("pre", 0).float() for run in way.ends(donor))
    return start + way.along.to(start.device)[:, None, None] * (end - start)


#: Points of the way at which :func:`partway` looks, and how often it goes there and back.
_GRID, _ROUNDS = 401, 20


def partway(
    products: Float[Tensor, "row cell"], values: Float[Tensor, "row"], way: Way, gap: float
) -> Float[Tensor, "cell"]:
    """The estimated changes of cells by gradients on the way from the run that is patched, as far as each goes itself.

    A patch of a small part leaves the run nearly where it is, one of everything takes it all the way; in between, the
    gradients that count for a part are those up to where the metric, on the way, has changed as much as the part
    changes it: a number that is looked for until it is its own. Of a part that does nothing that is the gradient in the
    run (AtP), of one that is everything the mean over the way (EAP-IG).

    Args:
        products: (donor's - own) times the gradient at the points of ``way``, and last in the run that is patched.
        values: the metric there.
        gap: by how much the donor's run has more of it than the run that is patched.
    """
    along, order = way.along, list(range(way.steps))
    if way.direction == "noise":  # away from the run that is patched
        along, order = (1 - along).flip(0), order[::-1]
    knots = torch.cat([torch.zeros(1), along, torch.ones(1)]).double()
    heights = products.cpu()[[way.steps, *order, order[-1]]]
    moved = torch.cat([(values[order] - values[way.steps]) / gap if gap else along.double(), torch.ones(1).double()])
    moved = torch.cat([torch.zeros(1).double(), moved]).cummax(0).values
    grid = torch.linspace(0, 1, _GRID).double()
    right = torch.searchsorted(knots, grid).clamp(1, len(knots) - 1)
    part = (grid - knots[right - 1]) / (knots[right] - knots[right - 1]).clamp_min(1e-12)  # "left" has one at an end
    height = torch.lerp(heights[right - 1], heights[right], part[:, None])
    sums = torch.cat([height[:1] * 0, ((height[1:] + height[:-1]) / 2).cumsum(0)])
    reached = torch.lerp(moved[right - 1], moved[right], part)
    found = heights[1:-1].mean(0)
    for _ in range(_ROUNDS):
        share = (found / gap).abs().clamp(0, 1) if gap else torch.ones_like(found)
        end = torch.searchsorted(reached, share).clamp(1, _GRID - 1)
        found = (found + sums.gather(0, end[None])[0] / end) / 2
    return found


def averaged(gradients: Gradients, way: Way) -> Gradients:
    """The mean over the points of the way, as one row; the run itself is none of them, where there are others."""
    points = slice(way.steps if way.rows > 1 else 1)
    return replace(gradients, at={w: g[points].double().mean(0, keepdim=True) for w, g in gradients.at.items()})


def completeness(moved: float, gap: float, error: float, why: str) -> str:
    """How far what the inputs account for misses the gap, in words, and ``why``: see :func:`reason`."""
    said = f"check: of the gap, {number(gap)}, it finds {number(moved)} where all input words are changed at once: "
    said += f"completeness error {share(error, 1)}"
    return f"{said}; {why}" if why else said


def reason(way: Way, error: float | None, run: Run) -> str:
    """Why an estimate between the runs misses much of the gap; "" where it does not."""
    if way.rows == 1 or error is None or not abs(error) > LARGE:
        return ""
    if tokens_beside(run.model, run.ids):
        return "layers know their tokens beside the stream, so that no way of inputs ends in the other run"
    return "it jumps on the way: more steps= may find where"
