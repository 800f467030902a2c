"""Who takes over when a part is taken out: read off the attribution of the ablated run, then confirmed.

Self-repair (McGrath et al. 2023, arXiv 2307.15771; Rushing and Nanda 2024, arXiv 2402.15390): the change of the answer
splits exactly into what the part itself no longer writes, the rescaling of the final norm, and what the others write
more or less. Who rises is a candidate; the joint ablation tells whether the part matters once its backups are out too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.tracing.edits import Edit
from ...words.components import Component, component
from ...words.text import share
from ..experiments.cells.donors import RunDonor
from ..reading.decomposition import decompose

if TYPE_CHECKING:
    from ...model.run import Run
    from ..attribution.attribution import Attribution
    from .experiment import Experiment
    from .findings import Finding

NAMED = 3  # at most so many parts back another up
FURTHER = 3  # at most so many runs more, to see who rises once the first backups are out


@dataclass
class Repair:
    """How the answer changed when one part was ablated; ``direct + rescaling + sum(risen) = total``, exactly.

    ``risen[j]`` is what component ``components[j]`` writes more along the explained direction, at the clean run's norm
    (0 for the ablated part itself, whose change is ``direct``). ``total`` is the change of the pre-norm read-out
    along that direction, biases excluded because they do not change.
    """

    part: Component
    components: list[Component]
    risen: Float[Tensor, "component"]
    direct: float
    rescaling: float
    total: float

    def top(self, k: int = 3) -> list[tuple[Component, float]]:
        """The parts that made up most for the loss (in the direction opposite to it)."""
        sign = -1.0 if self.direct > 0 else 1.0
        order = (self.risen * sign).argsort(descending=True, stable=True)[:k].tolist()
        return [(self.components[i], float(self.risen[i])) for i in order if float(self.risen[i]) * sign > 0]

    def erases(self, other: Component, risen: float, a: Attribution) -> bool:
        """Whether half of the rise of ``other`` or more is that it works against the part as before: it took away a
        share of the part's write, and takes away that share of the write in its place. So it did not take over.

        ``a`` is the attribution of the run before.
        """
        own, against = float(a[self.part]), float(a[other])
        return own * against < 0 and abs(against * self.direct) >= abs(own * risen) / 2


@torch.no_grad()
def repair(a: Attribution, part: Component, writes: list[Edit]) -> Repair:
    """Attribute the run of ``a`` with ``writes`` in it (the ablation of ``part``), along the same direction."""
    reading = a.reading
    ablated = a.run.edited(writes)

    def rows(run: Run) -> tuple[list[Component], Tensor, Tensor, float]:
        found = decompose(run, reading.point, reading.norm, reading.direction[None], [reading.position])
        x = reading.point.stream(run.record)[reading.position]
        rounding = (found.stream + found.heads)[0, 0].double()
        return found.components, found.values[0, 0].double(), rounding, float(reading.norm.scale(x))

    components, before, rounded, scale = rows(a.run)
    _, after, rounded_after, other = rows(ablated)
    at_clean = after * (scale / other)
    change = at_clean - before
    own = components.index(part)
    direct = float(change[own])
    change[own] = 0.0
    missed = float(rounded_after * (scale / other) - rounded)
    rescaling = float(after.sum() + rounded_after) * (1 - scale / other)
    total = direct + float(change.sum()) + rescaling + missed
    return Repair(part, components, change.float().cpu(), direct, rescaling, total)


def search(findings: Sequence[Finding], run: Experiment, gap: float, known: Mapping[Component, float]) -> None:
    """Of every part that is not missed as much as its write is worth: who rises without it, and whether that is why.

    Those that rise are taken out, too: together (at most :data:`NAMED` of them, those that rise once the first are out
    among them), and one by one. ``known`` are damages that were measured already.
    """
    a, donor = run.first, RunDonor(*run.pairs[0])
    asked = [f for f in findings if f.verdict.key in ("spared", "erased", "partly replaced", "suppresses, made up")]
    open_: dict[Component, list[Component]] = {}
    tried: dict[Component, set[tuple[Component, ...]]] = {}
    for i, f in enumerate(asked):
        if run.cancelled:
            return
        run.progress(i, len(asked), f"evidence on {f.component}")
        found = repair(a, f.component, donor.writes(run.cell([f.component])))
        rising = _risers(run, found, [f.component], f.thresholds.tau * abs(gap))
        f.risers = [(c, v / abs(gap)) for c, v in rising[:NAMED]]
        f.erasers = [c for c, v in rising[:NAMED] if found.erases(c, v, a)]
        if f.risers:
            place = " in the first pair" if len(run.pairs) > 1 else ""
            told = tuple(f"{c} (by {share(v)}{place})" for c, v in f.risers)
            f.learn({"risers": told}, risen=max(abs(v) for _, v in f.risers))
            if f.verdict.key in ("spared", "erased"):
                open_[f.component] = [c for c, _ in f.risers if c not in f.erasers]
    more = FURTHER
    while open_ and not run.cancelled:
        sets = {(c, b) for c, rise in open_.items() for b in _sets(rise) if b not in tried.setdefault(c, set())}
        erased = {(f.component, tuple(f.erasers)) for f in asked if f.component in open_ and f.erasers}
        _confirm(run, asked, sets, erased, known)
        for c, b in sets:
            tried[c].add(b)
        left: dict[Component, list[Component]] = {}
        for f in asked:
            rise = open_.get(f.component, [])
            if not rise or len(rise) >= NAMED or f.verdict.key != "spared" or not more or run.cancelled:
                continue
            more -= 1
            out = [f.component, *rise]
            fresh = [
                c
                for c, _ in _risers(
                    run, repair(a, f.component, donor.writes(run.cell(out))), out, f.thresholds.tau * abs(gap)
                )
                if c not in out and c not in f.erasers
            ]
            if fresh:
                left[f.component] = [*rise, *fresh][:NAMED]
        open_ = left


def _risers(run: Experiment, found: Repair, out: Sequence[Component], least: float) -> list[tuple[Component, float]]:
    """What rises by at least ``least`` when ``out`` is out."""
    run.cost.forwards, run.cost.naive = run.cost.forwards + 1, run.cost.naive + 1
    return [(c, v) for c, v in found.top(NAMED + len(out)) if abs(v) >= least and c.is_replaceable and c not in out]


def _sets(rise: Sequence[Component]) -> list[tuple[Component, ...]]:
    """Each of them, and all of them together."""
    return list(dict.fromkeys([*((c,) for c in rise), *([tuple(rise)] if rise else [])]))


def _confirm(
    run: Experiment,
    findings: Sequence[Finding],
    sets: Iterable[tuple[Component, tuple[Component, ...]]],
    erased: Iterable[tuple[Component, tuple[Component, ...]]],
    known: Mapping[Component, float],
) -> None:
    """What a part is worth once others are out: D(others and part) − D(others)."""
    wanted = {out for c, b in [*sets, *erased] for out in ((*b, c), b)}
    rows = {out: run.swap(out) for out in sorted(wanted, key=str) if len(out) > 1 or out[0] not in known}
    damage = {out: e.share for out, e in run.measure("noise", rows, "without the backups").items()}
    damage |= {(c,): v for c, v in known.items()}
    for f in findings:
        found = {b: damage[(*b, c)] - damage[b] for c, b in sets if c == f.component and (*b, c) in damage}
        confirmed(f, found)
        for c, b in erased:
            if c == f.component and (*b, c) in damage:
                f.learn({"erasers": tuple(map(str, b))}, unerased=damage[(*b, c)] - damage[b])


def confirmed(f: Finding, joint: Mapping[tuple[Component, ...], float]) -> None:
    """Keep the fewest backups with which the part is worth what it writes, or else those that come nearest."""
    if f.measured.has("joint"):
        joint = {tuple(map(component, f.measured.names["backups"])): float(f.measured.values["joint"]), **joint}
    if not joint:
        return
    enough = f.thresholds.needed * f.direct
    best = min(joint, key=lambda b: (joint[b] < enough, len(b) if joint[b] >= enough else 0, -joint[b]))
    f.learn({"backups": tuple(map(str, best))}, joint=joint[best])
