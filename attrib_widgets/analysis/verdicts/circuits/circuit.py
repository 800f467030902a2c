"""Sets of parts tested as a whole: is a circuit faithful, complete and minimal?

The three questions are those of Wang et al. 2022 (arXiv 2211.00593): does the set alone do what the model does, is
nothing outside it missed (what a part's loss costs the set, it costs the model), and is nothing in it idle? The curve
over size and its two areas are those of the Mechanistic Interpretability Benchmark (Mueller et al. 2025, arXiv
2504.13151), which counts edges where parts are counted here. Every number is exact: what is outside a set is patched
together, one row of the sweep per set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch

from ....model.identity.steady import steady
from ....model.tracing.edits import Edit
from ....model.tracing.sweep import sweep
from ....words.components import component, whole
from ....words.errors import AttribError, ComponentError
from ....words.places import Place
from ....words.several import named
from ....words.targets import TokenSet
from ...experiments.cells.cells import Cell, cell, every_part
from ...experiments.cells.donors import RunDonor
from ...experiments.measuring.answers import answers
from ...experiments.measuring.metrics import MetricLike
from ...experiments.measuring.pairs import (
    Cost,
    Direction,
    Question,
    as_pairs,
    check_one_length,
    measured,
    name_of,
    questions,
    settled,
    skipped,
    targets_of,
    unit_of,
)
from ...inputs import positions_in
from .sets import EMBEDDING, Circuit, Kept, Side

if TYPE_CHECKING:
    from ....model.model import Model
    from ....model.run import Run
    from ....model.running.worker import Job

HALVES = 10
TAU = 0.05  # a part whose drop changes f by less is called idle
NAMED = 'Name what writes: "embed", "L1H2", "L1.mlp", "L1H2 @3".'
EVERY = 12  # up to so many parts the curve has every size
#: Sizes of the curve beyond that, as shares of the set.
SHARES = (0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1)
Order = Literal["given", "effect"]


@steady()
def circuit(
    model: Model | str,
    clean: Any,
    corrupted: Any,
    parts: Any,
    target: MetricLike | Sequence[MetricLike] | None = None,
    *,
    against: TokenSet | Sequence[TokenSet] | None = None,
    order: Order = "given",
    halves: int = HALVES,
    tau: float = TAU,
    position: int = -1,
    skip: int | Sequence[int] = (),
    seed: int = 0,
    job: Job | None = None,
    budget: int | None = None,
) -> Circuit:
    """Test a set of parts as a whole, in both directions.

    For a set S, ``f(S) = (m(S) - m(nothing)) / (m(everything) - m(nothing))``: the parts in S run as they do in their
    own run, everything outside S is held at what it was in the other run. Faithfulness is f(C). Completeness compares
    f(C without K) with f(everything without K), for K = C, each part, and random halves of C. Minimality drops each
    part of C. The curve is f of the first 0, 1, 2, ... parts. :func:`planned` says beforehand what it costs.

    Args:
        clean, corrupted: prompts (texts, ids or Runs) of one length, or two lists of prompts: the pairs of a set.
        parts: the set: heads, MLPs, attention layers, layers, and ``"embed"`` (the stream before layer 0, positions
            included), each everywhere or at some positions (``"L1H2 @3"``). A list among them is one part. Without
            ``"embed"`` the set reads the other prompt's tokens.
        target, against: what is measured, as in :func:`attrib_widgets.patch`.
        order: how the curve grows: ``"given"``, or ``"effect"``, largest first by what the part alone costs.
        halves: how many random halves of C are dropped for completeness (those of ``seed``).
        tau: a part is idle where dropping it changes f(C) by less.
        position: where the metric is read.
        skip: numbers of pairs to leave out, counted from 0.
        job: a worker's job: told of the progress, and asked between passes whether to stop.
        budget: bytes that a pass may take; None asks the device.

    Raises:
        ComponentError: no parts, one named twice, or one that writes nothing.
        PositionError: prompts of a pair that differ in length; pairs that do, where a part names positions.
        AttribError: an order that is none, or a number of halves or a tau out of range.
    """
    if order not in ("given", "effect"):
        raise AttribError(f"{order!r} is no order of the parts.", 'Use "given" or "effect".')
    count = whole(halves)
    if count is None or count < 0 or not tau > 0:
        raise AttribError(f"halves={halves!r} and tau={tau!r} are out of range.", "Give 0 or more, and above 0.")
    left_out = skipped(skip, clean)
    pairs = as_pairs(model, clean, corrupted, position, left_out)
    first = pairs[0][0]
    chosen = [_part(first, spec) for spec in named(parts)]
    if not chosen:
        raise ComponentError("There are no parts.", NAMED)
    if any(c.positions is not None for c in chosen):
        check_one_length([run for run, _ in pairs])
    given = targets_of(target, against, clean, left_out, first.model.single_token)
    targets, remarks = settled(pairs, given, position, left_out)
    asked = questions(pairs, targets, position)
    metrics = [q.metric for q in asked]
    name, unit, drops = name_of(metrics), unit_of(metrics), _drops(len(chosen), count, seed)
    cost, sides = Cost(), {}
    directions: tuple[Direction, Direction] = ("noise", "denoise")
    for direction in directions:
        sides[direction] = _side(asked, chosen, direction, drops, order, tau, position, cost, job, budget)
    every, where = len(universe(first.model)), first.position(position)
    labels = [_label(first.model, spec, c) for spec, c in zip(named(parts), chosen, strict=True)]
    args = (pairs, chosen, labels, sides, name, unit, where, every, order, seed, cost)
    return Circuit(*args, remarks=remarks, left_out=left_out)


def planned(parts: int, pairs: int = 1, halves: int = HALVES) -> int:
    """At most how many plain forwards :func:`circuit` stands for on a set of ``parts`` parts: both directions, every
    set one row. They take far fewer passes."""
    drops = len(_drops(parts, halves, 0))
    curve = len(_sizes(parts))
    return 2 * pairs * (2 * (drops + 1) + curve + 1)


def universe(model: Model) -> list[Place]:
    """The parts that a circuit is chosen from: the embedding, and every part that the model is split into."""
    order = {"laurel": -1, "z": 0, "attn": 0, "mlp": 1, "beside": 2, "layer": 3}
    found = [p for c in every_part(model, [None]) for p in c.parts]
    return [EMBEDDING, *sorted(found, key=lambda p: (p.layer or 0, order[p.site], p.head or 0))]


def _part(run: Run, spec: Any) -> Cell:
    """One part of a circuit as places of :func:`universe`."""
    model, given = run.model, cell(run.model, spec)
    known, found = universe(model), []
    for p in given.parts:
        whole_layer = p.site in ("attn", "z") and p.head is None and bool(model.level(p.layer or 0).heads)
        each = [Place("z", p.layer, h) for h in range(model.heads_of(p.layer or 0))] if whole_layer else [p]
        if any(e not in known for e in each):
            raise ComponentError(f"{p} is no part of a circuit.", NAMED)
        found += each
    if not found:
        raise ComponentError(f"{spec!r} names no part.", NAMED)
    at = None if given.positions is None else tuple(sorted(set(positions_in(run, given.positions))))
    return Cell(tuple(found), at)


def _label(model: Model, spec: Any, part: Cell) -> str:
    """``part`` as it was named: "L1" or "L1.attn", and not all of its heads."""
    shown: list[str] = []
    for one in spec.partition("@")[0].split(" + ") if isinstance(spec, str) else named(spec):
        try:
            shown.append(str(component(one)))
        except ComponentError:  # a place, or a cell
            shown += [_name(p) for p in cell(model, one).parts]
    return " + ".join(shown) + ("" if part.positions is None else f" @{','.join(map(str, part.positions))}")


def _name(part: Place) -> str:
    return "embed" if part == EMBEDDING else str(part)


def _others(run: Run, parts: Sequence[Cell]) -> list[Cell]:
    """Everything outside the parts: whole places, and the other positions of those that are named at some.

    Raises:
        ComponentError: a part is named twice.
    """
    taken: dict[Place, set[int]] = {}
    for part in parts:
        at = set(range(run.n_positions) if part.positions is None else part.positions)
        for p in part.parts:
            if taken.setdefault(p, set()) & at:
                raise ComponentError(f"{_name(p)} is in the set twice.", "Name each part once.")
            taken[p] |= at
    cells: dict[tuple[int, ...] | None, list[Place]] = {}
    for p in universe(run.model):
        left = tuple(i for i in range(run.n_positions) if i not in taken.get(p, ()))
        if left:
            cells.setdefault(left if p in taken else None, []).append(p)
    return [Cell(tuple(places), at) for at, places in cells.items()]


def _drops(count: int, halves: int, seed: int) -> list[tuple[int, ...]]:
    """The sets K of completeness: the whole circuit, each part, and random halves; none twice."""
    found = [tuple(range(count)), *((i,) for i in range(count))]
    generator = torch.Generator().manual_seed(seed)
    for _ in range(halves if count > 3 else 0):  # of fewer parts a half is one part
        found.append(tuple(sorted(torch.randperm(count, generator=generator)[: count // 2].tolist())))
    return list(dict.fromkeys(found))


def _sizes(count: int) -> list[int]:
    return list(range(count + 1)) if count <= EVERY else sorted({round(count * s) for s in SHARES})


class _Outside:
    """Puts everything outside a set into the run in which the set stays."""

    def __init__(self, base: Run, source: Run, parts: Sequence[Cell]) -> None:
        self.donor, self.parts, self.others = RunDonor(base, source), parts, _others(base, parts)

    def writes(self, kept: Kept) -> list[Edit]:
        """The writes that leave ``kept`` alone."""
        out = [c for i, c in enumerate(self.parts) if i not in kept.parts] + ([] if kept.others else self.others)
        return [edit for c in out for edit in self.donor.writes(c)]


def _side(
    asked: Sequence[Question],
    parts: Sequence[Cell],
    direction: Direction,
    drops: list[tuple[int, ...]],
    order: Order,
    tau: float,
    position: int,
    cost: Cost,
    job: Job | None,
    budget: int | None,
) -> Side:
    """All sets of one direction: first those that are known from the start, then those that these choose."""
    n = len(parts)
    every, nothing = Kept(frozenset(range(n))), Kept(frozenset())
    sizes = _sizes(n)
    ends = torch.stack([q.ends for q in asked], 1)
    own, other = ends if direction == "noise" else ends.flip(0)
    empty = torch.zeros(len(asked), 0, dtype=torch.float64)
    side = Side(
        direction, n, [], empty, own, other, torch.zeros(0, dtype=torch.bool), list(range(n)), sizes, drops, tau
    )

    def run(sets: Sequence[Kept]) -> None:
        """Compute the sets that are not known yet."""
        new = [s for s in dict.fromkeys(sets) if s not in side.sets]
        patched, done = torch.zeros(len(asked), len(new), dtype=torch.float64), torch.ones(len(new), dtype=torch.bool)
        for i, q in enumerate(asked):
            base, source = q.between(direction)
            if job is not None and job.cancelled:
                done[:] = False
                break
            outside = _Outside(base, source, parts)
            swept = sweep(base, [outside.writes(s) for s in new], position, job=job, budget=budget)
            cost.add(swept, len(new))
            patched[i] = measured(q.metric, base, position, swept.streams)
            done &= swept.done
            for s in {every, nothing.and_others()} & {s for s, ok in zip(new, swept.done.tolist(), strict=True) if ok}:
                told = answers(base.model, swept.streams[new.index(s)][None], q.asked)
                side.answers.setdefault(s, []).extend(told)
        side.sets += new
        side.patched, side.done = torch.cat([side.patched, patched], 1), torch.cat([side.done, done])

    dropped = [every.without(*k) for k in drops]
    given = [] if order == "effect" else [Kept(frozenset(range(size))) for size in sizes]
    run([every, nothing, every.and_others(), *dropped, *(s.and_others() for s in dropped), *given])
    if order == "effect":
        alone = [1 - side.f(every.and_others().without(i)) for i in range(n)]
        side.order = sorted(range(n), key=lambda i: -alone[i])
    chosen = [Kept(frozenset(side.order[:size])) for size in sizes]
    run([*chosen, *([every.without(*side.idle)] if len(side.idle) > 1 else [])])
    return side
