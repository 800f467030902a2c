"""What all experiments of one verification share: the pairs, the metric, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import torch

from ...model.running.worker import Cancelled
from ...model.tracing.edits import Edit
from ...words.components import Component
from ...words.places import Place
from ...words.targets import Target
from ..attribution.attribution import Attribution
from ..experiments.ablation.donors import mean_donor
from ..experiments.cells.cells import Cell, parts_of
from ..experiments.cells.donors import RunDonor, held
from ..experiments.measuring.answers import Answer, answers
from ..experiments.measuring.pairs import Cost, Direction, Question, questions, run_writes
from ..experiments.measuring.statistics import ratio_of_means
from ..experiments.patching.direct import direct_cells
from ..experiments.patching.patch import patch_cells
from ..experiments.patching.patching import Patching

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.run import Run
    from ...model.running.worker import Job

Key = TypeVar("Key", bound=Hashable)
Row: TypeAlias = Callable[[RunDonor], "list[Edit]"]


@dataclass
class Effect:
    """What one experiment did: a share of the gap, and what the model said then, a pair each."""

    share: float
    answers: list[Answer] = field(default_factory=list)


@dataclass
class Experiment:
    """The pairs of one verification, and how they are measured."""

    pairs: list[tuple[Run, Run]]
    targets: list[Target]
    first: Attribution
    position: int
    where: tuple[int, ...] | None
    cost: Cost
    job: Job | None
    budget: int | None

    @property
    def model(self) -> Model:
        """The model that ran."""
        return self.first.model

    @property
    def cancelled(self) -> bool:
        """Whether nothing more is to be begun."""
        return self.job is not None and self.job.cancelled

    @cached_property
    def asked(self) -> list[Question]:
        """What is asked of every pair."""
        return questions(self.pairs, self.targets, self.position)

    def progress(self, done: int, total: int, note: str) -> None:
        """Tell the job, if there is one."""
        if self.job is not None:
            with suppress(Cancelled):
                self.job.progress(done, total, note)

    def patch(self, cells: Sequence[Cell], direction: Direction, job: Job | None) -> Patching:
        """Total effects, all pairs, one direction."""
        return patch_cells(self.pairs, cells, self.targets, direction, self.position, job=job, budget=self.budget)

    def direct(self, cells: Sequence[Cell], direction: Direction) -> Patching:
        """Direct effects, all pairs, one direction."""
        return direct_cells(self.pairs, cells, self.targets, direction, self.position)

    def cell(self, parts: Sequence[Component]) -> Cell:
        """These parts together, where the verification patches."""
        return Cell(tuple(p for c in parts for p in parts_of(self.model, c)), self.where)

    def swap(self, parts: Sequence[Component], at: tuple[int, ...] | None = None) -> Row:
        """Their writes of the other run."""
        cell = self.cell(parts)
        return lambda donor: donor.writes(cell if at is None else Cell(cell.parts, at))

    def mean(self, part: Component) -> Row:
        """Its mean over the words (all positions but the first) of both prompts, at all of these. Position by position
        it would be the very write where a part writes the same in both, which is what this is asked about."""
        cell = self.cell([part])
        return lambda donor: mean_donor(donor.base, [donor.base, donor.source], pooled=True).writes(cell)

    def measure(self, direction: Direction, rows: Mapping[Key, Row], note: str) -> dict[Key, Effect]:
        """Damage or recovery of every row, and what the model says then: a sweep per pair. Rows that were not computed
        because the job was cancelled are missing."""
        if not rows or self.cancelled:
            return {}
        patched, said, done = [], [], torch.ones(len(rows), dtype=torch.bool)
        job = self.job and self.job.stage(0, len(rows), f"evidence: {note}")
        for q in self.asked:
            donor = RunDonor(*q.between(direction))
            writes = [row(donor) for row in rows.values()]
            found = run_writes(donor.base, writes, q.metric, self.position, self.cost, job, self.budget)
            start = q.ends[1 if direction == "denoise" else 0]
            patched.append(found[0] - start if direction == "denoise" else start - found[0])
            done &= found[1]
            said.append(answers(self.model, found[2], q.asked))
        gap = torch.stack([q.ends[0] - q.ends[1] for q in self.asked])
        shares = ratio_of_means(torch.stack(patched), gap).tolist()
        return {key: Effect(shares[i], [one[i] for one in said]) for i, key in enumerate(rows) if bool(done[i])}

    def said(self) -> tuple[list[Answer], list[Answer]]:
        """What the model answers to the clean and to the corrupted prompts."""
        found: tuple[list[Answer], list[Answer]] = ([], [])
        for q in self.asked:
            where = q.clean.position(self.position)
            for r, told in zip((q.clean, q.corrupted), found, strict=True):
                told += answers(self.model, r.record.streams[-1][where][None], q.asked)
        return found

    def changed(self) -> tuple[int, ...] | None:
        """Where the prompts differ, if that is the same in all pairs; None where it is not, or parts are patched
        elsewhere."""
        places = {
            tuple(i for i, (a, b) in enumerate(zip(clean.ids, corrupted.ids, strict=True)) if a != b)
            for clean, corrupted in self.pairs
        }
        found = places.pop()
        return found if not places and (self.where is None or set(found) <= set(self.where)) else None

    def differs(self, part: Component) -> float:
        """How far its writes in the two runs differ, in shares of their size: 0 where they are the same everywhere."""
        most = 0.0
        for clean, corrupted in self.pairs:
            donor = RunDonor(clean, corrupted)
            for place in parts_of(self.model, part):
                at = list(donor.positions(Cell((place,), self.where)))
                own, other = (_of(place, r)[at].float() for r in (clean, corrupted))
                if at:
                    size = float(torch.maximum(own.abs(), other.abs()).max())
                    most = max(most, float((own - other).abs().max()) / size if size else 0.0)
        return most


def _of(place: Place, run: Run) -> torch.Tensor:
    """What a place held, of its own head alone."""
    value = held(run, place)
    if place.head is None:
        return value
    width = run.model.geometry[place.row].d_head
    return value[:, place.head * width : (place.head + 1) * width]
