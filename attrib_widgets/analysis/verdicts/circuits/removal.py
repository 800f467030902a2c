"""Which parts must go until another answer wins: greedy removal, each step tested by experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ....model.identity.steady import steady
from ....model.tracing.sweep import sweep
from ....result import Result, Table
from ....words.components import Component, ComponentLike, component, whole
from ....words.errors import AttribError, ComponentError, TargetError
from ....words.several import named, prompts
from ....words.targets import Target, TokenSet
from ....words.text import digits_of, number, signed, visible
from ...attribution.attribution import Attribution, rather
from ...experiments.ablation.donors import SAID, Method, donors_of
from ...experiments.cells.cells import Cell, parts_of
from ...experiments.cells.donors import Donor, RunDonor
from ...experiments.measuring.pairs import Cost, as_pairs
from ...inputs import as_run
from ...reading.decomposition import decompose

if TYPE_CHECKING:
    import pandas as pd

    from ....model.running.worker import Job


NOTICED = 0.01  # a removal that lowers the margin by less of what it was at first does not count as lowering it


@dataclass(frozen=True)
class Step:
    """One removal: what went, the margin that was left (logit of the answer minus the best other's, or the rival's),
    and who leads."""

    component: Component
    margin: float
    leader: str


@dataclass(frozen=True)
class _Answer:
    """The token that is to lose, and the one that has to win (None: any)."""

    token: int
    rival: int | None = None


@dataclass(eq=False, repr=False)
class Removal(Result):
    """The order in which parts were removed. ``won``: whether another answer (``rival``, where one was named) won in
    the end."""

    attribution: Attribution
    start: float
    steps: list[Step]
    won: bool
    how: str
    cost: Cost
    rival: str = ""

    @property
    def removed(self) -> list[Component]:
        """What had to go, in order."""
        return [s.component for s in self.steps]

    def title(self) -> str:
        """The finding in one line."""
        names = ", ".join(map(str, self.removed))
        if not self.steps and self.won:
            return f"{visible(self.rival) or 'Another answer'} leads already"
        if not self.won:
            return f"The answer survives the removal of {names or 'nothing'}"
        if self.rival:
            return f"Without {names} {visible(self.rival)} comes before the answer"
        return f"Without {names} the answer is {visible(self.steps[-1].leader)}"

    def summary(self) -> Table:
        digits = digits_of([self.start, *(s.margin for s in self.steps)])
        rows = [[str(s.component), visible(s.leader), signed(s.margin, digits)] for s in self.steps]
        first = number(self.start, digits)
        note = f"greedy: each time the part whose removal costs most; {self.how}; margin {first} at first"
        margins: list[float | None] = [s.margin for s in self.steps]
        return Table(self.title(), ["removed", "then leads", "margin"], rows, margins, note, str(self.cost))

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``component``, ``margin``, ``leader``, in order of removal."""
        import pandas as pd

        return pd.DataFrame(
            {
                "component": [str(s.component) for s in self.steps],
                "margin": [s.margin for s in self.steps],
                "leader": [s.leader for s in self.steps],
            }
        )


@steady()
def greedy_removal(
    a: Attribution,
    *,
    against: TokenSet | None = None,
    corrupted: Any = None,
    method: Method = "zero",
    reference: Any = (),
    candidates: int | ComponentLike | Sequence[ComponentLike] = 12,
    limit: int = 8,
    job: Job | None = None,
) -> Removal:
    """Remove parts one by one until another token has the largest logit.

    Each time the part goes whose removal leaves the smallest margin. Where none lowers it, because others would take
    over, the part goes that leads in the attribution of the run as ablated so far. What proves needless is put back.

    Args:
        against: the token that has to win; None is any other (unless the attribution is a difference from one).
        corrupted: a prompt whose parts replace the removed ones; None ablates by ``method`` (see ``aw.ablate``).
        candidates: how many of the largest direct contributions to try at each step, or one or several parts.
        limit: at most so many steps.

    Raises:
        TargetError: what is explained is not one token's logit or log-probability, or its difference from another's.
        PositionError: a corrupted prompt of another length. AttribError: a method that removes nothing.
    """
    a = rather(a, against)
    target = a.target
    if not isinstance(target, Target) or len(target.tokens) != 1 or len(target.against) > 1:
        raise TargetError("An answer is one token.", 'Attribute for example " Paris".')
    model, run = a.model, a.run
    answer = _Answer(model.single_token(target.tokens[0]), *(model.single_token(t) for t in target.against))
    count = whole(candidates)
    if count is None:
        pool = [component(c) for c in named(candidates)]
    else:
        pool = [c for c, _ in a.top(len(a.components)) if c.is_replaceable][: max(0, count)]
    if not pool:
        raise ComponentError("There is nothing to remove.", "Name candidates=.")
    donor: Donor
    if corrupted is not None:
        donor, how = (
            RunDonor(*as_pairs(model, run, corrupted, a.position)[0]),
            "each replaced by its output in the corrupted run",
        )
    else:
        if method in SAID:
            raise AttribError(f"method={method!r} removes nothing.", 'Use "zero", "mean" or "resample".')
        runs = [as_run(r, model) for r in prompts(reference)]
        donor, how = donors_of(run, method, runs)[0], f"{method} ablation"
    start, _ = _margins(model.read_out(run.record.streams[-1][a.position][None])[1], answer)
    cost = Cost()
    steps: list[Step] = []
    removed: list[Component] = []
    margin = float(start[0])
    while margin > 0 and len(steps) < limit:
        rest = [c for c in pool if c not in removed]
        margins, leaders = _tested(a, donor, [[*removed, c] for c in rest], answer, cost, job)
        if job is not None and job.cancelled:
            break
        best = int(margins.argmin()) if rest else -1
        if not rest or float(margins[best]) > margin - NOTICED * float(start[0]):
            # Nothing lowers the margin by itself, others would take over: remove what leads in the ablated run.
            leads = _leads_now(a, donor, removed, cost)
            if leads is None:
                break
            rest, best = [leads], 0
            pool = list(dict.fromkeys([*pool, leads]))
            margins, leaders = _tested(a, donor, [[*removed, leads]], answer, cost, job)
        margin = float(margins[best])
        removed.append(rest[best])
        steps.append(Step(rest[best], margin, model.token(int(leaders[best]))))
    if margin <= 0:
        steps = _pruned(a, donor, steps, answer, cost, job)
    return Removal(
        a, float(start[0]), steps, margin <= 0, how, cost, "" if answer.rival is None else model.token(answer.rival)
    )


def _tested(
    a: Attribution, donor: Donor, sets: Sequence[Sequence[Component]], answer: _Answer, cost: Cost, job: Job | None
) -> tuple[Tensor, Tensor]:
    """(margin, leader) once each set of parts is out."""
    model = a.model
    cells = [Cell(tuple(p for c in out for p in parts_of(model, c))) for out in sets]
    swept = sweep(a.run, [donor.writes(c) for c in cells], a.position, job=job)
    cost.add(swept, len(cells))
    return _margins(model.read_out(swept.streams)[1], answer)


def _leads_now(a: Attribution, donor: Donor, removed: Sequence[Component], cost: Cost) -> Component | None:
    """The part that contributes most to the explained direction once ``removed`` are out."""
    out = Cell(tuple(p for c in removed for p in parts_of(a.model, c)))
    ablated = a.run.edited(donor.writes(out)) if removed else a.run
    cost.include(Cost(1, 2 * a.run.n_positions, 1))
    reading = a.reading
    rows = decompose(ablated, reading.point, reading.norm, reading.direction[None], [reading.position])
    values = zip(rows.components, rows.values[0, 0].tolist(), strict=True)
    usable = [(v, c) for c, v in values if c.is_replaceable and c not in removed and v > 0]
    return max(usable, key=lambda x: x[0])[1] if usable else None


def _pruned(
    a: Attribution, donor: Donor, steps: list[Step], answer: _Answer, cost: Cost, job: Job | None
) -> list[Step]:
    """Without the steps that turn out not to be needed, the margins measured again."""
    kept = [s.component for s in steps]
    for part in [s.component for s in steps]:
        fewer = [c for c in kept if c != part]
        if fewer and float(_tested(a, donor, [fewer], answer, cost, job)[0][0]) <= 0:
            kept = fewer
    if len(kept) == len(steps):
        return steps
    margins, leaders = _tested(a, donor, [kept[: i + 1] for i in range(len(kept))], answer, cost, job)
    return [Step(c, float(m), a.model.token(int(t))) for c, m, t in zip(kept, margins, leaders, strict=True)]


def _margins(logits: Tensor, answer: _Answer) -> tuple[Tensor, Tensor]:
    """(logit of the answer minus its rival's or the best other, the token that leads), per row."""
    own, leads = logits[:, answer.token].float(), logits.argmax(-1)
    if answer.rival is not None:
        return own - logits[:, answer.rival].float(), leads
    others = logits.float().clone()
    others[:, answer.token] = -torch.inf
    return own - others.amax(-1), leads
