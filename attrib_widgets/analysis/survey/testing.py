"""Experiments on the prompts of a survey: a part is replaced on each of them, and all behind it is computed again.

Where a prompt has a comparison prompt, by what the part writes there (Wang et al. 2022, arXiv 2211.00593); else by its
mean over the other prompts of the group with as many tokens. Each prompt is run by itself, as :mod:`..experiments` do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.identity.stamp import fingerprint
from ...model.identity.steady import steady
from ...model.running.worker import Cancelled
from ...words.errors import AttribError, ComponentError, ModelError
from ...words.places import Place
from ...words.several import listed, named
from ..experiments.ablation.donors import FixedDonor
from ..experiments.cells.cells import Cell, cell
from ..experiments.cells.donors import Donor, RunDonor, held
from ..experiments.measuring.metrics import metric_of
from ..experiments.measuring.pairs import Cost, run_cells
from .tested import CANCELLED, Method, PartTest, SurveyTest

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.run import Run
    from ...model.running.worker import Job
    from .result import Survey

#: Why a prompt cannot be tested in one of the ways.
NO_PAIR, NO_OTHER = "no comparison prompt", "no other prompt of the group has as many tokens"
#: What is found of one prompt: the effect of every cell, and the gap of its pair.
Found = tuple[Float[Tensor, "cell"], float]


def planned(s: Survey, group: str, method: Method | None = None) -> tuple[Method, list[int], dict[str, list[int]]]:
    """(how parts are replaced in a group, the prompts where that can be done, those where it cannot by the reason)."""
    numbers = s.groups[group].numbers
    paired = [n for n in numbers if s.corrupted and s.corrupted[n]]
    how: Method = method or ("pair" if paired else "mean")
    if how == "pair":
        able, why = paired, NO_PAIR
    else:
        lengths = [len(s.ids[n]) for n in numbers]
        able, why = [n for n in numbers if lengths.count(len(s.ids[n])) > 1], NO_OTHER
    rest = [n for n in numbers if n not in set(able)]
    return how, able, {why: rest} if rest else {}


@torch.no_grad()
@steady()
def test_parts(
    s: Survey,
    parts: Any,
    group: str | Sequence[str] | None,
    method: Method | None,
    job: Job | None,
    budget: int | None,
) -> SurveyTest:
    """What :meth:`.result.Survey.test` does."""
    model = _model(s)
    if method is not None and method not in get_args(Method):
        raise AttribError(f"{method!r} is no way to replace a part.", 'Use "pair" or "mean", or leave it out.')
    names = list(s.groups) if group is None else [s.group(name).name for name in cast("list[str]", listed(group))]
    if not names:
        raise AttribError("There are no groups to test.", "Leave out group=, or name one.")
    parts_named, cells, bars = _cells(s, model, parts)
    plans = {name: planned(s, name, method) for name in names}
    if not any(able for _, able, _ in plans.values()):
        reason = next(iter(next(iter(plans.values()))[2]))
        raise AttribError(
            f"No prompt can be tested: {reason}.",
            'Give comparison prompts, aw.survey(..., corrupted=[...]), or use method="mean".',
        )
    total, done = sum(len(able) for _, able, _ in plans.values()), 0
    tests: list[PartTest] = []
    for name, (how, able, left_out) in plans.items():
        found: dict[int, Found] = {}
        try:
            for number, effects in _replaced(s, model, cells, how, able, job, budget):
                found[number] = effects
                done += 1
                if job is not None:
                    job.progress(done, total, f"replacing {len(cells)} parts in {name}" if len(cells) > 1 else name)
        except Cancelled:
            pass  # what is done is kept
        missing = [n for n in able if n not in found]
        tests += _tests(parts_named, bars, name, how, found, {**left_out, **({CANCELLED: missing} if missing else {})})
    tests.sort(key=lambda test: parts_named.index(test.part))  # stable: the groups as they come
    for test in tests:
        before = s.tests.get((test.part, test.group))
        if test.complete or (len(test) and (before is None or before.method != test.method)):
            s.tests[test.part, test.group] = test
    return SurveyTest(s, tests)


def _model(s: Survey) -> Model:
    if s.model is None:
        raise AttribError(
            "This survey was read from a file, without its model.", "Give it: aw.Survey.load(path, model)."
        )
    if fingerprint(s.model.hf) != s.mark:
        raise ModelError("The model has other weights than the survey was made with.", "Make it anew: aw.survey(...).")
    return s.model


def _cells(s: Survey, model: Model, parts: Any) -> tuple[list[str], list[Cell], list[Float[Tensor, "prompt"]]]:
    """What is replaced, each once, by the names of its rows, with what it writes to every prompt.

    Raises:
        ComponentError: no part, or one that is no row of the survey.
    """
    given = list(s.parts) if parts is None else named(parts)
    found: dict[str, tuple[Cell, Float[Tensor, "prompt"]]] = {}
    for one in given:
        together = named(one.split(" + ") if isinstance(one, str) else one)
        rows = {row.component: row for row in (s[part] for part in together)}
        if not rows:
            break
        values = torch.stack([row.values for row in rows.values()]).sum(0)
        found.setdefault(" + ".join(map(str, rows)), (cell(model, list(rows)), values))
    else:
        if found:
            return list(found), *map(list, zip(*found.values(), strict=True))  # type: ignore[return-value]
    raise ComponentError("There is nothing to test.", 'Name a part: s.test("L3H5").')


def _tests(
    parts: Sequence[str],
    bars: Sequence[Tensor],
    group: str,
    how: Method,
    found: dict[int, Found],
    left_out: dict[str, list[int]],
) -> list[PartTest]:
    """The results of one group, a part each."""
    numbers = list(found)
    gaps = torch.tensor([gap for _, gap in found.values()], dtype=torch.float64)
    effects = [e for e, _ in found.values()]
    table = torch.stack(effects) if effects else torch.zeros(0, len(parts), dtype=torch.float64)
    return [
        PartTest(part, group, how, numbers, bars[i][numbers].double(), table[:, i], gaps, dict(left_out))
        for i, part in enumerate(parts)
    ]


def _replaced(
    s: Survey,
    model: Model,
    cells: Sequence[Cell],
    how: Method,
    able: Sequence[int],
    job: Job | None,
    budget: int | None,
) -> Iterator[tuple[int, Found]]:
    """(number, what is found), prompt by prompt. It ends early where the job was cancelled."""
    if how == "pair":
        for number in able:
            if job is not None and job.cancelled:
                return
            run, other = model.run(s.ids[number]), model.run(s.corrupted[number])
            yield number, _effects(s, number, run, RunDonor(run, other), cells, other, budget)
        return
    for length in dict.fromkeys(len(s.ids[n]) for n in able):
        alike = [n for n in able if len(s.ids[n]) == length]
        sums: dict[tuple[str, int], Tensor] = {}
        for number in alike:
            if job is not None and job.cancelled:
                return
            _gathered(model.run(s.ids[number]), cells, sums)
        for number in alike:
            if job is not None and job.cancelled:
                return
            run = model.run(s.ids[number])
            yield number, _effects(s, number, run, _mean_of_others(run, sums, len(alike)), cells, None, budget)


def _gathered(run: Run, cells: Sequence[Cell], sums: dict[tuple[str, int], Tensor]) -> None:
    """Add what the cells write in this run; each place once."""
    seen: set[tuple[str, int]] = set()

    def value(part: Place, at: tuple[int, ...]) -> Tensor:
        own = held(run, part)
        if part.slot not in seen:
            seen.add(part.slot)
            sums[part.slot] = own.double() + sums.get(part.slot, 0)
        return own[list(at)]

    donor = FixedDonor(run, value)
    for one in cells:
        donor.writes(one)


def _mean_of_others(run: Run, sums: dict[tuple[str, int], Tensor], count: int) -> Donor:
    """The mean over the prompts that were gathered, all but this one."""

    def value(part: Place, at: tuple[int, ...]) -> Tensor:
        own = held(run, part)
        mean = (sums[part.slot] - own.double()) / (count - 1)
        return mean.to(own.dtype)[list(at)]

    return FixedDonor(run, value)


def _effects(
    s: Survey, number: int, run: Run, donor: Donor, cells: Sequence[Cell], other: Run | None, budget: int | None
) -> Found:
    """How much lower the number asked for is with each cell replaced, and by how much it differs in the pair."""
    at = run.position(s.position)
    metric = metric_of(s.targets[number], run, at)
    values, _, _ = run_cells(run, donor, cells, metric, s.position, Cost(), None, budget)
    start = metric.of(run.record.streams[-1][at][None]).double()
    gap = float("nan")
    if other is not None:
        gap = float(start - metric.of(other.record.streams[-1][other.position(s.position)][None]).double())
    return (start - values.double()).cpu(), gap
