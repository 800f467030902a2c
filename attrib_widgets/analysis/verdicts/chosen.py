"""What the model says without parts that somebody chose, all of them out at once: one pass, and one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from ...words.components import ComponentLike
from ...words.errors import AttribError, ComponentError
from ...words.targets import Target
from ..attribution.attribution import Attribution
from ..experiments.ablation.ablate import ablate
from ..experiments.ablation.ablation import Ablation
from ..experiments.patching.patch import patch
from ..experiments.patching.patching import Patching
from .rules import Measured
from .table import chosen

if TYPE_CHECKING:
    from ...model.run import Run
    from ...model.running.worker import Job

Without: TypeAlias = "Patching | Ablation"
NO_PROMPT, OTHER_LENGTH = "there is no prompt to compare with", "the prompt to compare with has another length"
ALIKE = "after the prompt to compare with they write the same"


def without(
    a: Attribution, parts: Sequence[ComponentLike], corrupted: Run | None = None, job: Job | None = None
) -> Without:
    """Take parts out of the run together, as one cell of an experiment on what ``a`` explains.

    They are patched from ``corrupted`` where it has as many tokens and they write something else there; where not, or
    where there is none, they are set to zero.

    Raises:
        ComponentError: no parts, or one that cannot be taken out.
        AttribError: a number inside the model is explained, and no token.
    """
    if not isinstance(a.target, Target):
        raise AttribError("A number inside the model has no experiment here.", "Go back to a token.")
    if not parts:
        raise ComponentError("No parts were chosen.", 'Name some: ["L3H1", "L2.mlp"].')
    cell, target = [list(parts)], a.target
    if corrupted is not None and corrupted.n_positions == a.run.n_positions:
        found = patch(
            a.model, a.run, corrupted, target, components=cell, direction="noise", position=a.position, job=job
        )
        if found.cost.forwards or not found.complete:  # else nothing of this run would be another: they are not out
            return found
    return ablate(a.model, a.run, target, components=cell, position=a.position, job=job)


def said(found: Without, parts: Sequence[ComponentLike], corrupted: Run | None = None) -> str:
    """The sentence of :func:`without`, from the table of verdicts; the other arguments as they were given there."""
    cell = found.cells[0]
    names = {"set": tuple(map(str, parts)), "answer": (str(found.answer_of(cell)),)}
    if isinstance(found, Patching):
        share = float(found.values[0])
        return chosen(Measured({"set_n": share} if share == share else {}, names))
    reason = NO_PROMPT
    if corrupted is not None:
        reason = ALIKE if corrupted.n_positions == found.run.n_positions else OTHER_LENGTH
    names |= {
        "reason": (reason,),
        "change": (found.moved(cell),),
    }
    return chosen(Measured({}, names))
