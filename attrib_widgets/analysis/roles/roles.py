"""What the heads of a model do, in the words of the field: ``aw.head_roles``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ...model.identity.steady import steady
from ...model.model import load
from ...words.components import whole
from ...words.errors import AttribError
from ...words.several import named
from .circuits import eigenvalue_scores, own_keys, own_tokens
from .definitions import ROLES, TASK
from .effective import OPEN, effective, gates_heads
from .patterns import Score, pattern_scores, unmeasured
from .probes import probes
from .result import Roles, role_of
from .tasks import task_scores

if TYPE_CHECKING:
    from ...model.model import Model, Prompt
    from ...model.running.worker import Job

#: Draws of every null: enough for its 99th percentile.
DRAWS = 200


@steady()
def head_roles(
    model: Model | str,
    prompts: Sequence[Prompt] | Prompt | None = None,
    *,
    roles: str | Sequence[str] | None = None,
    tasks: bool = True,
    draws: int = DRAWS,
    seed: int = 0,
    job: Job | None = None,
) -> Roles:
    """Which heads look at the previous token, at a duplicate, for induction; which copy, and which suppress copies.

    Pattern roles are the mean attention to the position that a role looks for, on random tokens said twice
    (``result.probes``: words of the model's own training text where a list of them lies beside its weights), and on
    ``prompts``. Circuit roles are read off the weights, with the gains of the norms: the eigenvalues of the OV circuit
    (Elhage et al. 2021), and whether the token that is read is itself promoted or suppressed (Wang et al. 2022), by
    way of effective embeddings (McDougall et al. 2023). Roles in the task of two names (name mover, S-inhibition) are
    measured by path patching where the model does the task. Definitions, thresholds and sources are in
    :mod:`.definitions`.

    A head is called a role above the threshold and above the 99th percentile of the best of all heads by chance:
    attention at a random earlier position for pattern roles (for a sink, to another position that is one from
    everywhere), permuted rows of the unembedding for circuits, permuted keys for the query of a prediction, random
    signs of the pairs' effects in the task.

    Args:
        prompts: one's own, on which the pattern roles are measured as well; names come from the probes alone.
        roles: the names (or letters) of those to measure; None for all. The null of copying takes as many eigenvalue
            problems as heads times draws, which of large models are minutes.
        tasks: False leaves out the roles in a task, which take a path patch of every head.
        draws: of every null, at least 100.
        seed: what draws the probes and the nulls.
        job: told how far it is, and asked whether to stop.

    Raises:
        AttribError: too few draws, an unknown role or none, or no prompts.
        PositionError: the model has too few positions or tokens for the probes.
        GranularityError: a prompt on which the recorded tensors do not add up.
        Cancelled: ``job`` was cancelled.
    """
    found = load(model)
    count, start = whole(draws), whole(seed)
    if count is None or count < 100 or start is None or start < 0:
        raise AttribError(
            f"draws={draws!r} and seed={seed!r} are no numbers to draw by.",
            "A 99th percentile takes at least 100 draws: use 200 and 0, for example.",
        )
    asked_for = list(ROLES) if roles is None else [role_of(name) for name in named(roles)]
    asked_for = [role for role in asked_for if tasks or role not in TASK]
    if not asked_for:
        raise AttribError(
            "No role is left to measure.",
            "Name one, or leave out roles=; name mover and S-inhibition need tasks=True.",
        )
    keys = {measure.key for role in asked_for for measure in role.measures}
    mine = None if prompts is None else found.run_many([prompts] if isinstance(prompts, str) else prompts, job=job)
    if mine == []:
        raise AttribError("There are no prompts.", "Give one or several, or leave out prompts=.")
    for run in mine or ():
        run.check_fresh()
    pinned = probes(found, start)
    chance = torch.Generator().manual_seed(start)
    runs = found.run_many([list(ids) for ids in pinned.prompts], job=job)
    scores = pattern_scores(found, runs, count, chance, job)
    read = effective(found, pinned.tokens)
    if "eigenvalues" in keys:
        scores["eigenvalues"] = eigenvalue_scores(found, read, count, chance, job)
    if keys & {"direct copying", "negative copying"}:
        scores["direct copying"], scores["negative copying"] = own_tokens(found, read, count, chance, job)
    if "own key" in keys:
        scores["own key"] = own_keys(found, read, max(runs, key=len), count, chance, job)
    asked = ""
    if keys & {measure.key for role in TASK for measure in role.measures}:
        further, asked = task_scores(found, count, start, chance, job)
        scores |= further
    own: dict[str, Score] = {}
    said: list[str] = []
    if mine is not None:
        own, said = pattern_scores(found, mine, count, chance, job), [run.text for run in mine]
        own = {name: _known(found, score) for name, score in own.items() if name in keys}
    scores = {key: _known(found, score) for key, score in scores.items()}
    why = f" ({read.why})" if read.why else ""
    also = " and what the first MLP writes for it" if read.further is not None else ""
    read_as = f"each token as its embedding{also}{why}"
    read_as += f"; {OPEN}" if gates_heads(found) else ""
    measured = tuple(role for role in ROLES if role in asked_for)
    return Roles(found, found.name, measured, scores, own, pinned, read_as, asked, count, start, said)


def _known(model: Model, score: Score) -> Score:
    """A score, or why no head has it: nothing is known of a head that could not be looked at."""
    if score.missing or bool(score.values.isfinite().any()):
        return score
    reasons = [level.values.reason for level in model.check.levels if not level.values]
    return unmeasured(model, f"no head is exact enough{': ' + reasons[0] if reasons else ''}")
