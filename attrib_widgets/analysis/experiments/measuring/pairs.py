"""What every experiment shares: pairs of runs, a donor's tensors swept through the model, and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.model import load
from ....model.tracing.edits import Intervention
from ....model.tracing.sweep import Swept, sweep
from ....words.components import whole
from ....words.errors import NumberError, PositionError, TargetError
from ....words.several import listed, prompts
from ....words.targets import TokenLike, TokenSet, rather_than
from ....words.text import visible
from ...inputs import as_run
from ..cells.cells import Cell
from ..cells.donors import Donor
from .answers import asked_token
from .common import common_said
from .metrics import Metric, MetricLike, frozen_metric, metric_of

if TYPE_CHECKING:
    from ....model.model import Model
    from ....model.run import Run
    from ....model.running.worker import Job

Direction = Literal["denoise", "noise"]
SHARES = {"denoise": "recovery", "noise": "damage"}


@dataclass
class Cost:
    """What an experiment cost: passes through the model, and what one plain forward per cell would have been."""

    forwards: int = 0
    tokens: int = 0
    naive: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, swept: Swept, naive: int) -> None:
        """Book one sweep."""
        self.include(Cost(swept.forwards, swept.tokens, naive, swept.notes))

    def include(self, other: Cost) -> None:
        """Book what another experiment cost."""
        self.forwards, self.tokens = self.forwards + other.forwards, self.tokens + other.tokens
        self.naive += other.naive
        self.note(other.notes)

    def note(self, notes: Sequence[str]) -> None:
        """Keep remarks for the reader, each once."""
        self.notes += [n for n in notes if n not in self.notes]

    def __str__(self) -> str:
        passes = "1 pass" if self.forwards == 1 else f"{self.forwards} passes"
        return f"{self.naive} forwards in {passes}" if self.forwards < self.naive else passes


def direction_of(given: Direction) -> Direction:
    """``given``, where it is one of the two.

    Raises:
        TargetError: it is not: one that is misspelt would be taken for the other.
    """
    if given not in SHARES:
        raise TargetError(f"{given!r} is not a direction.", 'Use "denoise" or "noise".')
    return given


def as_pairs(
    model: Model | str, clean: Any, corrupted: Any, position: int, skip: Sequence[int] = ()
) -> list[tuple[Run, Run]]:
    """Pairs of runs from two prompts or two lists of prompts, those of the numbers ``skip`` left out.

    Raises:
        PositionError: lists, or prompts of a pair, of different lengths; no pair is left.
    """
    sets = [prompts(given) for given in (clean, corrupted)]
    if len(sets[0]) != len(sets[1]):
        raise PositionError(f"{len(sets[0])} clean and {len(sets[1])} corrupted prompts make no pairs.")
    if not sets[0]:
        raise PositionError("There are no prompts.", "Give at least one pair.")
    kept = [both for i, both in enumerate(zip(*sets, strict=True)) if i not in skip]
    if not kept:
        raise PositionError("Every pair is left out.", "Leave out fewer in skip=.")
    model = load(model)
    pairs = [(as_run(a, model, position), as_run(b, model, position)) for a, b in kept]
    for a, b in pairs:
        check_as_long(a, b)
    return pairs


def check_as_long(clean: Run, corrupted: Run) -> None:
    """Nothing where both have as many tokens.

    Raises:
        PositionError: they have not.
    """
    if clean.n_positions != corrupted.n_positions:
        raise PositionError(
            f"The clean prompt has {clean.n_positions} tokens and the corrupted one {corrupted.n_positions}: "
            f"{'|'.join(map(visible, clean.tokens))} and {'|'.join(map(visible, corrupted.tokens))}.",
            "Patching puts a position into the same position: choose words of as many tokens.",
        )


def as_pair(model: Model | str, clean: Any, corrupted: Any, position: int) -> tuple[Run, Run]:
    """The runs of one pair of prompts.

    Raises:
        PositionError: several pairs, or prompts of different lengths.
    """
    pairs = as_pairs(model, clean, corrupted, position)
    if len(pairs) > 1:
        raise PositionError(f"This takes one pair of prompts, and these are {len(pairs)}.", "Call it once for each.")
    return pairs[0]


def skipped(given: int | Sequence[int], clean: Any) -> tuple[int, ...]:
    """The numbers of the pairs to leave out, of as many as there are clean prompts.

    Raises:
        PositionError: there is no pair of that number.
    """
    numbers, count = listed(given), len(prompts(clean))
    wrong = next((n for n in numbers if (number := whole(n)) is None or not 0 <= number < count), None)
    if wrong is not None:
        raise PositionError(f"There is no pair {wrong!r} to leave out.", f"The pairs are 0 to {count - 1}.")
    return tuple(sorted({int(n) for n in numbers}))


def targets_of(
    target: MetricLike | Sequence[MetricLike] | None,
    against: TokenSet | Sequence[TokenSet] | None,
    clean: Any,
    skip: Sequence[int] = (),
    number: Callable[[TokenLike], int] | None = None,
) -> list[MetricLike | None]:
    """The metric of every pair: one for all of them, or a list of one per pair, ``against`` alike.

    A list that is held against *one* target is a set of tokens, as everywhere.

    Raises:
        TargetError: lists that are not one per pair.
    """
    count = len(prompts(clean))
    several = isinstance(target, (list, tuple))
    aims = list(target) if isinstance(target, (list, tuple)) else [target] * count
    rivals: list[Any] = list(against) if several and isinstance(against, (list, tuple)) else [against] * len(aims)
    for what, found in (("targets", aims), ("rivals", rivals)):
        if len(found) != count:
            raise TargetError(
                f"{len(found)} {what} for {count} {'pair' if count == 1 else 'pairs'} of prompts.",
                "Give one for all of them, or a list of one per pair; aw.logit([...]) is a set of tokens.",
            )
    both = enumerate(zip(aims, rivals, strict=True))
    return [rather_than(aim, rival, number) for i, (aim, rival) in both if i not in skip]


def rivals_of(
    pairs: Sequence[tuple[Run, Run]], position: int, answers: Sequence[Collection[int]], skip: Sequence[int] = ()
) -> tuple[list[int] | None, str]:
    """What is held against the answer of every pair where nothing is named: the likeliest token other than it after the
    corrupted prompt. None, and why, where a pair is answered alike: no contrast is made up."""
    found = []
    given = [n for n in range(len(pairs) + len(skip)) if n not in skip]
    for number, (clean, corrupted), own in zip(given, pairs, answers, strict=True):
        best = corrupted.top(len(own) + 1, position)
        if clean.top(1, position)[0].id == best[0].id:
            where, others = ("", "") if len(pairs) == 1 else (f" of pair {number}", " in any pair")
            text = visible(best[0].text)
            return None, f"the other prompt{where} is answered alike, {text}: no rival is taken{others}"
        found.append(next(t.id for t in best if t.id not in own))
    return found, ""


def settled(
    pairs: Sequence[tuple[Run, Run]], targets: Sequence[MetricLike | None], position: int, skip: Sequence[int] = ()
) -> tuple[list[MetricLike], list[str]]:
    """The metrics of the pairs, where None asks the usual question: the clean run's answer rather than its rival
    (:func:`rivals_of`); and what is to be said of that, and of a question about single logits."""
    if not any(target is None for target in targets):
        return [target for target in targets if target is not None], common_said(pairs, targets, position)
    answers = [clean.top(1, position)[0].id for clean, _ in pairs]
    rivals, said = rivals_of(pairs, position, [{answer} for answer in answers], skip)
    usual = answers if rivals is None else [rather_than(a, r) for a, r in zip(answers, rivals, strict=True)]
    found = [u if target is None else target for u, target in zip(usual, targets, strict=True)]
    return found, [*([said] if said else []), *common_said(pairs, found, position)]


@dataclass(frozen=True)
class Question:
    """What is asked of one pair of runs: the metric, what it is in the (clean, corrupted) run, and the token whose
    probability is told."""

    clean: Run
    corrupted: Run
    metric: Metric
    ends: Float[Tensor, "2"]
    asked: int

    def between(self, direction: Direction) -> tuple[Run, Run]:
        """(the run that is patched, the run whose tensors are put into it)."""
        return (self.corrupted, self.clean) if direction == "denoise" else (self.clean, self.corrupted)


def questions(
    pairs: Sequence[tuple[Run, Run]],
    targets: Sequence[MetricLike | None],
    position: int,
    frozen: Direction | None = None,
) -> list[Question]:
    """What is asked of every pair. ``frozen``: the final norm keeps the scale that it has in the run that is patched in
    that direction.

    Raises:
        NumberError: a metric is NaN or infinite.
    """
    found = []
    for (clean, corrupted), target in zip(pairs, targets, strict=True):
        where = clean.position(position)
        metric = metric_of(target, clean, where)
        if frozen is not None:
            metric = frozen_metric(target, corrupted if frozen == "denoise" else clean, where)
        ends = ends_of(metric, clean, corrupted, position)
        found.append(Question(clean, corrupted, metric, ends, asked_token(target, clean, where)))
    return found


def name_of(metrics: Sequence[Metric]) -> str:
    """What the pairs measure, in words: one name, or those of the first pairs."""
    names = list(dict.fromkeys(m.name for m in metrics))
    if len(names) == 1:
        return names[0]
    return f"target of its own in each pair: {', '.join(names[:2])}" + (" …" if len(names) > 2 else "")


def unit_of(metrics: Sequence[Metric]) -> str:
    """The unit that all pairs share.

    Raises:
        TargetError: there are several: their mean would be of nothing.
    """
    units = list(dict.fromkeys(m.unit for m in metrics))
    if len(units) > 1:
        raise TargetError(
            f"The pairs measure in {' and in '.join(u or 'units of their own' for u in units)}.",
            "Ask all of them for logits, or all for log-probabilities.",
        )
    return units[0]


def check_one_length(runs: Sequence[Run]) -> None:
    """Positions mean the same place in every prompt only where all have one length.

    Raises:
        PositionError: prompts of different lengths.
    """
    lengths = sorted({run.n_positions for run in runs})
    if len(lengths) > 1:
        raise PositionError(
            f"The prompts have {', '.join(map(str, lengths[:-1]))} and {lengths[-1]} tokens: "
            "a position is not the same place in all of them.",
            "Leave positions=None, or give prompts of one length.",
        )


def ends_of(metric: Metric, clean: Run, corrupted: Run, position: int) -> Float[Tensor, "2"]:
    """The metric of the clean and of the corrupted run, read like every patched one.

    Raises:
        NumberError: it is NaN or infinite.
    """
    where = clean.position(position)
    ends = torch.cat([metric.of(r.record.streams[-1][where][None]) for r in (clean, corrupted)])
    if not bool(ends.isfinite().all()):
        which = "clean" if not bool(ends[0].isfinite()) else "corrupted"
        raise NumberError(
            f"The {metric.name or 'metric'} of the {which} run is NaN or infinite.",
            "Load the model in float32 or bfloat16, or check its weights.",
        )
    return ends


def run_cells(
    base: Run,
    donor: Donor,
    cells: Sequence[Cell],
    metric: Metric,
    position: int,
    cost: Cost,
    job: Job | None = None,
    budget: int | None = None,
) -> tuple[Float[Tensor, "cell"], Tensor, Float[Tensor, "cell d_model"]]:
    """(metric of every cell, which cells were computed, what the final norm reads): one sweep, booked in ``cost``."""
    return run_writes(base, [donor.writes(c) for c in cells], metric, position, cost, job, budget)


def run_writes(
    base: Run,
    writes: Sequence[Intervention],
    metric: Metric,
    position: int,
    cost: Cost,
    job: Job | None = None,
    budget: int | None = None,
) -> tuple[Float[Tensor, "row"], Tensor, Float[Tensor, "row d_model"]]:
    """:func:`run_cells` once it is known what every row writes."""
    cost.note(metric.notes)
    if job is not None and job.cancelled:
        nothing = base.record.streams[-1][base.position(position)].expand(len(writes), -1)
        missing = torch.full((len(writes),), torch.nan, dtype=torch.float64)
        return missing, torch.zeros(len(writes), dtype=torch.bool), nothing
    swept = sweep(base, writes, position, job=job, budget=budget)
    cost.add(swept, len(writes))
    return measured(metric, base, position, swept.streams), swept.done, swept.streams


def measured(metric: Metric, base: Run, position: int, streams: Float[Tensor, "row d_model"]) -> Float[Tensor, "row"]:
    """The metric of every stream. What changed nothing reads exactly as the base, not as one more row of a product of
    another shape."""
    start = base.record.streams[-1][base.position(position)]
    same = (streams == start).all(-1).cpu()
    return torch.where(same, metric.of(start[None]), metric.of(streams))
