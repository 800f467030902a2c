"""Which parts write to the answers of many prompts, and which of them know which answer is whose: ``aw.survey``.

Every prompt is attributed exactly (see :mod:`..attribution.attribution`), and the contributions of each head and MLP
are looked at over the prompts of a group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from ...model.identity.stamp import fingerprint
from ...model.model import load
from ...words.components import whole
from ...words.errors import AttribError
from ...words.targets import Target, TargetLike, TokenSet, logit
from ...words.text import visible
from . import measures
from .decomposed import blocks_of, decomposed, own_answers
from .group import Group, measured
from .groups import asked, cases_of, check_one_kind, encode
from .result import Survey
from .templates import comparable, template_of

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.running.worker import Job


@torch.no_grad()
def survey(
    model: Model | str,
    prompts: Any,
    targets: TargetLike | list[TargetLike] | Mapping[str, Any] | None = None,
    *,
    against: TokenSet | list[TokenSet] | Mapping[str, Any] | None = None,
    corrupted: Any = None,
    position: int = -1,
    permutations: int = 999,
    seed: int = 0,
    budget: int = 512 * 2**20,
    job: Job | None = None,
) -> Survey:
    """Attribute one number of each of many prompts, and say over each group what every head and MLP does there.

    Prompts of one length share a forward pass, and nothing is padded; each prompt's rows sum to the model's own number.
    Where the model's own answer is asked for (``targets=None``) there is one more pass over the prompts.

    Per part and group: mean and standard deviation; the share of the prompts in which it has the sign of its mean, and
    that share with the answers permuted; its rank in random halves; its mean over that of the other groups. A part is
    *specific* where it writes more (or less) toward its prompt's own answer than toward those of the group: against
    answers permuted among the prompts of the group, over the best of all parts (needs no forward pass; of more than 128
    prompts each exchanges with those of its own block). Where groups share template and answers, their labels are
    permuted likewise. The methods and their sources are in :mod:`.measures`. This is attribution: observed, no
    experiment. :meth:`.result.Survey.test` replaces a part on every prompt, and is one.

    Where the answer itself stands in the prompt (the task of two names), hold it against a rival that stands there too:
    with tied embeddings a part of random weights writes a little of what it reads, and over many prompts that shows.

    Args:
        prompts: a list, or groups as a dict of lists. In place of a list there may be pairs, as ``aw.demo.pairs``
            returns them (``clean``, ``target``, ``against`` and ``corrupted``), or rows ``(prompt, answer)``, or
            ``(prompt, answer, rival)``.
        targets: a token, a logit or a difference of two; a list with one for each prompt; a dict by group. None is the
            model's own top prediction of each. A token without a rival is asked for its centred logit (minus the mean
            of the vocabulary); a target object is taken as it is.
        against: the rival, whose logit is subtracted; one, a list, or a dict by group.
        corrupted: a comparison prompt of each, as long as it, for :meth:`.result.Survey.test`; a list (None where a
            prompt has none) or a dict by group.
        position: the position that is explained, of each prompt.
        permutations: how often answers and labels are permuted; p is at least 1 / (permutations + 1).
        seed: where random draws begin; each group draws anew from it.
        budget: bytes that the recordings of one pass may take.
        job: told how many prompts are done after every pass, and asked whether to stop.

    Raises:
        AttribError: no prompts, one in a group, one that is there twice; targets or rivals that are not one for each.
        TargetError: something else than logits, several tokens or none of this model (the prompt is named).
        PositionError: a prompt that cannot be run, or without that position; a comparison prompt of another length.
        GranularityError: the recorded tensors of a prompt do not add up.
        Cancelled: ``job`` was cancelled.
    """
    model = load(model)
    draws, start = whole(permutations), whole(seed)
    if draws is None or draws < 1 or start is None or start < 0:
        raise AttribError(
            f"permutations={permutations!r} and seed={seed!r} are no numbers to draw by.", "Use 999 and 0, for example."
        )
    cases = cases_of(prompts, targets, against, corrupted)
    encode(model, cases, position)
    own_answers(model, cases, position, budget, job)
    aims = [asked(model, case) for case in cases]
    check_one_kind(cases, aims)
    found = decomposed(model, cases, aims, position, blocks_of(cases, start), budget, job)
    tested = [i for i, c in enumerate(found.components) if c.is_replaceable]
    groups: dict[str, Group] = {}
    for name, crossed in found.crossed.items():
        if job is not None:
            job.progress(len(cases), len(cases), f"permuting the answers of {name}")
        numbers = [i for i, case in enumerate(cases) if case.group == name]
        groups[name] = measured(name, numbers, found.values[numbers][:, tested], crossed, draws, start)
    made = Survey(
        model,
        model.name,
        str(model.precision).removeprefix("torch."),
        fingerprint(model.hf),
        [model.text_of(getattr(case.prompt, "run", case.prompt), case.ids) for case in cases],
        [case.ids for case in cases],
        aims,
        [_answer(model, aim) for aim in aims],
        int(position),
        found.components,
        found.values,
        found.actual,
        groups,
        draws,
        start,
        found.notes,
        [case.other for case in cases],
    )
    _hold_apart(made)
    return made


def _hold_apart(made: Survey) -> None:
    """What compares groups: selectivity, and the null of those that share template and answers."""
    groups = made.groups
    means = measures.over_others(torch.stack([g.mean for g in groups.values()]))
    for group, selectivity in zip(groups.values(), means, strict=True):
        group.selectivity = selectivity
    templates = {
        name: template_of([made.ids[i] for i in g.numbers], [made.targets[i] for i in g.numbers])
        for name, g in groups.items()
    }
    together, why = comparable(templates)
    for name, reason in why.items():
        groups[name].between_why = reason
    for names in together:
        numbers = [i for name in names for i in groups[name].numbers]
        label = torch.tensor([g for g, name in enumerate(names) for _ in groups[name].numbers])
        first: dict[Target, int] = {}
        answer = torch.tensor([first.setdefault(made.targets[i], len(first)) for i in numbers])
        draw = torch.Generator().manual_seed(made.seed)
        null = measures.between(made.values[numbers][:, made.tested], label, answer, made.permutations, draw)
        for g, name in enumerate(names):
            groups[name].between = measures.Null(null.statistic[g], null.p[g], null.best, null.orders)
            groups[name].beside = tuple(other for other in names if other != name)


def _answer(model: Model, target: Target) -> str:
    """The answer as it is printed, over its rival where there is one."""
    over = f" over {visible(logit(target.against).short(model))}" if target.against else ""
    return f"{visible(target.short(model))}{over}"
