"""Which parts must go until another answer wins: greedy removal, each step tested by experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...model.tracing.sweep import sweep
from ...result import Result, Table, number, signed, visible
from ...words.components import Component, ComponentLike, component
from ...words.errors import ComponentError, TargetError
from ...words.targets import Target
from ..experiments.ablation import Method, donors_of
from ..experiments.cells import Cell, Donor, RunDonor, parts_of
from ..experiments.pairs import Cost, as_pairs, prompts_of
from ..inputs import as_run
from ..reading.decomposition import decompose

if TYPE_CHECKING:
    import pandas as pd

    from ...model.worker import Job
    from ..attribution.attribution import Attribution


NOTICED = 0.01  # a removal that lowers the margin by less of what it was at first does not count as lowering it


@dataclass(frozen=True)
class Step:
    """One removal: what went, the margin that was left (logit of the answer minus the best other), and who leads."""

    component: Component
    margin: float
    leader: str


@dataclass(eq=False, repr=False)
class Removal(Result):
    """The order in which parts were removed. ``won``: whether another answer won in the end."""

    attribution: Attribution
    start: float
    steps: list[Step]
    won: bool
    how: str
    cost: Cost

    @property
    def removed(self) -> list[Component]:
        """What had to go, in order."""
        return [s.component for s in self.steps]

    def title(self) -> str:
        """The finding in one line."""
        names = ", ".join(map(str, self.removed))
        if not self.steps and self.won:
            return "Another answer leads already"
        if not self.won:
            return f"The answer survives the removal of {names or 'nothing'}"
        return f"Without {names} the answer is {visible(self.steps[-1].leader)}"

    def summary(self) -> Table:
        rows = [[str(s.component), visible(s.leader), signed(s.margin, 3)] for s in self.steps]
        note = (
            f"greedy: each time the part whose removal costs most; {self.how}; margin {number(self.start, 3)} at first"
        )
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


def greedy_removal(
    a: Attribution,
    *,
    corrupted: Any = None,
    method: Method = "zero",
    reference: Any = (),
    candidates: int | Sequence[ComponentLike] = 12,
    limit: int = 8,
    job: Job | None = None,
) -> Removal:
    """Remove parts one by one until another token has the largest logit.

    Each time the part goes whose removal leaves the smallest margin. Where none lowers it, because others would take
    over, the part goes that leads in the attribution of the run as ablated so far. What proves needless is put back.

    Args:
        corrupted: a prompt whose parts replace the removed ones; None ablates by ``method`` (see ``aw.ablate``).
        candidates: how many of the largest direct contributions to try at each step, or the parts themselves.
        limit: at most so many steps.

    Raises:
        TargetError: what is explained is not one token's logit or log-probability.
        PositionError: a corrupted prompt of another length.
    """
    target = a.target
    if not isinstance(target, Target) or len(target.tokens) != 1 or target.kind == "logit_diff":
        raise TargetError("An answer is one token.", 'Attribute for example " Paris".')
    model, run = a.model, a.run
    token = model.single_token(target.tokens[0])
    if isinstance(candidates, int):
        pool = [c for c, _ in a.top(len(a.components)) if c.kind in ("head", "mlp", "attn")][:candidates]
    else:
        pool = [component(c) for c in candidates]
    if not pool:
        raise ComponentError("There is nothing to remove.", "Name candidates=.")
    donor: Donor
    if corrupted is not None:
        donor, how = (
            RunDonor(*as_pairs(model, run, corrupted, a.position)[0]),
            "each replaced by its output in the corrupted run",
        )
    else:
        runs = [as_run(r, model) for r in prompts_of(reference)] if len(reference) else []
        donor, how = donors_of(run, method, runs)[0], f"{method} ablation"
    start, _ = _margins(model.read_out(run.record.streams[-1][a.position][None])[1], token)
    cost = Cost()
    steps: list[Step] = []
    removed: list[Component] = []
    margin = float(start[0])
    while margin > 0 and len(steps) < limit:
        rest = [c for c in pool if c not in removed]
        margins, leaders = _tested(a, donor, [[*removed, c] for c in rest], token, cost, job)
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
            margins, leaders = _tested(a, donor, [[*removed, leads]], token, cost, job)
        margin = float(margins[best])
        removed.append(rest[best])
        steps.append(Step(rest[best], margin, model.token(int(leaders[best]))))
    if margin <= 0:
        steps = _pruned(a, donor, steps, token, cost, job)
    return Removal(a, float(start[0]), steps, margin <= 0, how, cost)


def _tested(
    a: Attribution, donor: Donor, sets: Sequence[Sequence[Component]], token: int, cost: Cost, job: Job | None
) -> tuple[Tensor, Tensor]:
    """(margin, leader) once each set of parts is out."""
    model = a.model
    cells = [Cell(tuple(p for c in out for p in parts_of(model, c))) for out in sets]
    swept = sweep(a.run, [donor.writes(c) for c in cells], a.position, job=job)
    cost.add(swept, len(cells))
    return _margins(model.read_out(swept.streams)[1], token)


def _leads_now(a: Attribution, donor: Donor, removed: Sequence[Component], cost: Cost) -> Component | None:
    """The part that contributes most to the explained direction once ``removed`` are out."""
    out = Cell(tuple(p for c in removed for p in parts_of(a.model, c)))
    ablated = a.run.edited(donor.writes(out)) if removed else a.run
    cost.include(Cost(1, a.run.n_positions, 1))
    reading = a.reading
    rows = decompose(ablated, reading.point, reading.norm, reading.direction[None], [reading.position])
    values = zip(rows.components, rows.values[0, 0].tolist(), strict=True)
    usable = [(v, c) for c, v in values if c.kind in ("head", "mlp", "attn") and c not in removed and v > 0]
    return max(usable, key=lambda x: x[0])[1] if usable else None


def _pruned(a: Attribution, donor: Donor, steps: list[Step], token: int, cost: Cost, job: Job | None) -> list[Step]:
    """Without the steps that turn out not to be needed, the margins measured again."""
    kept = [s.component for s in steps]
    for part in [s.component for s in steps]:
        fewer = [c for c in kept if c != part]
        if fewer and float(_tested(a, donor, [fewer], token, cost, job)[0][0]) <= 0:
            kept = fewer
    if len(kept) == len(steps):
        return steps
    margins, leaders = _tested(a, donor, [kept[: i + 1] for i in range(len(kept))], token, cost, job)
    return [Step(c, float(m), a.model.token(int(t))) for c, m, t in zip(kept, margins, leaders, strict=True)]


def _margins(logits: Tensor, token: int) -> tuple[Tensor, Tensor]:
    """(logit of ``token`` minus the best other, the token that leads), per row."""
    others = logits.float().clone()
    others[:, token] = -torch.inf
    return logits[:, token].float() - others.amax(-1), logits.argmax(-1)
