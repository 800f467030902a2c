"""The total effect of every part on what an attribution explains, estimated, to stand beside direct contributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ....model.identity.steady import steady
from ....model.tracing.gradient import differentiate
from ....words.components import Component
from ....words.errors import TargetError
from ....words.targets import Target, TokenSet
from ...attribution.attribution import Attribution, rather
from ...inputs import as_run
from ..cells.cells import every_part
from ..cells.donors import RunDonor
from ..measuring.metrics import metric_of
from ..measuring.pairs import Cost, Direction, check_as_long, direction_of
from .products import against_zero, estimates, slot_of
from .slopes import BETWEEN, Method, completeness, reason, way_of


class Effects(dict[Component, float]):
    """Estimated effects by part.

    Attributes:
        error: the completeness error: what the inputs alone account for by this estimate, less the gap, as a share of
            it; None where nothing says (no other run, no gap, ``"atp*"``).
        notes: the same in words, with what to do about a large one.
    """

    def __init__(self, found: dict[Component, float], error: float | None = None, notes: Sequence[str] = ()) -> None:
        super().__init__(found)
        self.error, self.notes = error, list(notes)


@steady()
def estimated_effects(
    a: Attribution,
    corrupted: Any = None,
    direction: Direction | None = None,
    *,
    against: TokenSet | None = None,
    method: Method = "partway",
    steps: int = 5,
) -> Effects:
    """The estimated total effect of every part on what ``a`` explains, from one forward and one backward pass.

    Parts are heads and MLPs, or the sublayers and whole layers that are exact instead. Values are in the target's unit,
    to stand beside the direct contributions; a part whose direct contribution is small and whose total effect is large
    is perhaps a mediator. ``.error`` of what comes back is the completeness error, and ``.notes`` say it: where the
    answer jumps on the way between the runs, the points may miss the jump, and the values are not to be trusted.

    Args:
        corrupted: a prompt of as many tokens, or its run. None: gradient times output in this run, what setting the
            part to zero would take away; there is no other run to go to, and no ``method`` or ``direction`` to choose.
        direction: ``"denoise"``, as None is: what putting the part's output into the corrupted run would bring back.
            ``"noise"``: what replacing it by its output there would take away.
        against: a token (or several) whose logit is subtracted from what is explained.
        method: as in :func:`attrib_widgets.attribution_patch`; ``"eap-ig"`` is *between the runs*: what the part
            accounts for while the inputs go from ``corrupted`` to here, and has no direction.
        steps: of ``"eap-ig"`` and ``"partway"``.

    Raises:
        PositionError: a prompt of another number of tokens, or no steps.
        TargetError: an attribution of a number inside the model, or one that has no difference from ``against``; no
            such direction or method, or a direction of an estimate between the runs.
    """
    if direction is not None:
        direction_of(direction)
    way = way_of(method, steps, "mid", direction or "denoise")
    if way.between and direction is not None:
        raise TargetError(
            f"One path {BETWEEN} cannot tell what would come back from what would go.",
            "Leave out direction=, or method=.",
        )
    a = rather(a, against)
    if not isinstance(a.target, Target):
        raise TargetError(f"The {a.target.words(a.model, a.run)} has no total effects.", "Attribute a token.")
    model, run = a.model, a.run
    metric = metric_of(a.target, run, a.position)
    cells, error, notes = every_part(model, [None]), None, list[str]()
    if corrupted is not None:
        other = as_run(corrupted, model)
        check_as_long(run, other)
        noise = way.direction == "noise"
        donor = RunDonor(run, other) if noise else RunDonor(other, run)
        values, moved = estimates(donor, cells, metric, a.position, way, Cost())
        values = values * (-1 if noise else 1)
        clean, far = (metric.of(r.record.streams[-1][r.position(a.position)][None]) for r in (run, other))
        if moved is not None and (gap := float(clean - far)):
            error = (moved - gap) / gap
            notes = [completeness(moved, gap, error, reason(way, error, run))]
    else:
        places = sorted({slot_of(c.parts[0], False) for c in cells})
        gradients = differentiate(run, metric.differentiable, places, a.position)
        values = torch.stack([against_zero(run, c.parts[0], gradients) for c in cells]).cpu()
    named = ((c.parts[0].component, float(v)) for c, v in zip(cells, values, strict=True))
    return Effects({c: v for c, v in named if c is not None}, error, notes)
