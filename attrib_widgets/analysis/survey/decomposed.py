"""Prompts of a survey, decomposed in batches: each toward its own answer, and toward the answers of its group.

Prompts of one length share a pass and nothing is padded, as in :mod:`..attribution.batched`. What a part writes toward
the answers of the other prompts comes from the same recording and costs no further pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...model.identity.steady import steady
from ...model.run import Run, counted
from ...model.running.batch import together
from ...model.tracing.record import record_at
from ...words.components import Component
from ...words.errors import said_of
from ...words.targets import Target
from ..attribution.batched import weights_of
from ..attribution.many import readings_of, weighted
from ..reading.decomposition import Rows, closed, decompose, parts_below
from ..reading.logits import directions_of
from ..reading.point import ReadPoint
from ..reading.resolve import remarks
from .groups import Case

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.running.worker import Job
    from ..reading.decomposition import Closed
    from ..reading.point import Reading

#: So many prompts exchange their answers with one another: of more, each with those of its own block.
BLOCK = 128
#: So many remarks about tokens are told one by one.
TOLD = 3


@dataclass
class Crossed:
    """What every part writes toward every answer of a group, prompt by prompt, in float32 on the CPU.

    Attributes:
        values: [prompt, part, answer]; an answer that a block of prompts does not have is NaN.
        own: which of the answers is the prompt's own; block: the prompts that its answer is exchanged with.
    """

    values: Float[Tensor, "prompt part answer"]
    own: Int[Tensor, "prompt"]
    block: Int[Tensor, "prompt"]


@dataclass
class Decomposed:
    """Closed rows of every prompt, and the crossed ones by group."""

    components: list[Component]
    values: Float[Tensor, "prompt component"]
    actual: Float[Tensor, "prompt"]
    crossed: dict[str, Crossed]
    notes: list[str]


def own_answers(model: Model, cases: Sequence[Case], position: int, budget: int, job: Job | None) -> None:
    """Where nothing is asked for, a case asks for what the model itself says: one more pass over these prompts."""
    waiting = [(i, case.ids) for i, case in enumerate(cases) if case.target is None and case.against is None]
    done = 0
    for chunk in together(model, waiting, budget):
        if job is not None:
            job.progress(done, len(waiting), "what the model answers")
        ids = [i for _, i in chunk]
        logits = record_at(model, ids, counted(position, len(ids[0]))).logits
        for (number, _), best in zip(chunk, logits.float().argmax(-1).tolist(), strict=True):
            cases[number].target = best
        done += len(chunk)


def blocks_of(cases: Sequence[Case], seed: int) -> list[list[int]]:
    """The numbers of the cases in blocks of one group, of at most :data:`BLOCK` and nearly equal sizes; those of a
    larger group are spread over its blocks at random."""
    groups: dict[str, list[int]] = {}
    for number, case in enumerate(cases):
        groups.setdefault(case.group, []).append(number)
    found = []
    for numbers in groups.values():
        count = -(-len(numbers) // BLOCK)
        order = list(range(len(numbers)))
        if count > 1:
            order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(seed)).tolist()
        found += [sorted(numbers[i] for i in order[start::count]) for start in range(count)]
    return found


def decomposed(
    model: Model,
    cases: Sequence[Case],
    targets: Sequence[Target],
    position: int,
    blocks: Sequence[Sequence[int]],
    budget: int,
    job: Job | None,
) -> Decomposed:
    """Run the cases and split what is asked of each.

    Raises:
        GranularityError: the recorded tensors of a prompt do not add up.
        NumberError: the model prints NaN or infinite logits.
        Cancelled: ``job`` was cancelled.
    """
    plan = _plan(model, targets, blocks)
    done: dict[int, tuple[Reading, Closed]] = {}
    notes: dict[str, None] = {}
    for chunk in together(model, [(i, case.ids) for i, case in enumerate(cases)], budget):
        if job is not None:
            job.progress(len(done), len(cases), f"{len(chunk[0][1])} tokens each")
        with steady():  # of each pass by itself: nothing of it is kept
            notes |= dict.fromkeys(_pass(model, cases, chunk, position, plan, done))
    if job is not None:
        job.progress(len(cases), len(cases))
    order = [done[number] for number in range(len(cases))]
    return Decomposed(
        order[0][1].components,
        torch.stack([rows.values for _, rows in order]),
        torch.tensor([reading.actual for reading, _ in order], dtype=torch.float64),
        _by_group(cases, blocks, plan.crossed, plan.own),
        _told(list(notes)),
    )


@dataclass
class _Plan:
    """What is asked: weighted tokens of every prompt; by block the directions of its answers, whose is which, and what
    is found; the block and the place in it of every prompt; which rows are held against one another."""

    kind: str
    centre: bool
    tokens: Int[Tensor, "prompt k"]
    weights: Float[Tensor, "k"]
    ways: list[Float[Tensor, "answer d_model"]]
    own: list[list[int]]
    crossed: list[Float[Tensor, "prompt part answer"]]
    home: dict[int, tuple[int, int]]
    parts: list[int]


def _plan(model: Model, targets: Sequence[Target], blocks: Sequence[Sequence[int]]) -> _Plan:
    tokens, weights = weights_of(model, targets)
    centre = targets[0].centre
    slots, own = zip(*(_answers(tokens, block) for block in blocks), strict=True)
    size = model.vocab_size if centre else 0
    ways = [directions_of(model, weighted(tokens[which], weights, size)) for which in slots]
    parts = [i for i, c in enumerate(parts_below(model, ReadPoint(model.n_layers))) if c.is_replaceable]
    crossed = [torch.full((len(b), len(parts), len(w)), torch.nan) for b, w in zip(blocks, ways, strict=True)]
    home = {number: (b, i) for b, block in enumerate(blocks) for i, number in enumerate(block)}
    return _Plan(targets[0].kind, centre, tokens, weights, ways, list(own), crossed, home, parts)


def _pass(
    model: Model,
    cases: Sequence[Case],
    chunk: Sequence[tuple[int, list[int]]],
    position: int,
    plan: _Plan,
    done: dict[int, tuple[Reading, Closed]],
) -> list[str]:
    """Prompts of one length in one pass: fills in what is ``done`` and crossed, and returns remarks."""
    numbers, ids = [n for n, _ in chunk], [i for _, i in chunk]
    at = counted(position, len(ids[0]))
    # One run whose positions are the prompts, each by its token there.
    run = Run(model, [i[at] for i in ids], "", recording=record_at(model, ids, at))
    each = range(len(numbers))
    readings = list(readings_of(run, plan.kind, plan.tokens[numbers], plan.weights, each, plan.centre))
    for b in sorted({plan.home[n][0] for n in numbers}):
        here = [i for i in each if plan.home[numbers[i]][0] == b]
        rows = decompose(run, readings[0].point, readings[0].norm, plan.ways[b], here)
        places = [plan.home[numbers[i]][1] for i in here]
        plan.crossed[b][places] = rows.values[:, :, plan.parts].permute(1, 2, 0).cpu()
        for row, (i, place) in enumerate(zip(here, places, strict=True)):
            with said_of(cases[numbers[i]].named):
                done[numbers[i]] = readings[i], closed(readings[i], _one(rows, plan.own[b][place], row))
    return [note for i, n in enumerate(numbers) for note in remarks(cases[n].given, run, i)]


def _answers(tokens: Int[Tensor, "prompt k"], block: Sequence[int]) -> tuple[list[int], list[int]]:
    """(a prompt for each different answer of a block, which of these is whose)."""
    first: dict[tuple[int, ...], int] = {}
    own = [first.setdefault(tuple(tokens[n].tolist()), len(first)) for n in block]
    return [block[own.index(slot)] for slot in range(len(first))], own


def _one(rows: Rows, direction: int, position: int) -> Rows:
    """One direction at one position."""
    way, at = slice(direction, direction + 1), slice(position, position + 1)
    stream, heads, direct = (table[way, at] for table in (rows.stream, rows.heads, rows.direct))
    return Rows(rows.components, rows.values[way, at], stream, heads, direct, rows.constant[way])


def _by_group(
    cases: Sequence[Case], blocks: Sequence[Sequence[int]], crossed: Sequence[Tensor], own: Sequence[Sequence[int]]
) -> dict[str, Crossed]:
    """The blocks of each group together, in the order of its prompts."""
    found = {}
    for name in dict.fromkeys(case.group for case in cases):
        mine = [b for b, block in enumerate(blocks) if cases[block[0]].group == name]
        numbers = [n for b in mine for n in blocks[b]]
        order = sorted(range(len(numbers)), key=numbers.__getitem__)
        most = max(crossed[b].shape[-1] for b in mine)
        wide = [torch.nn.functional.pad(crossed[b], (0, most - crossed[b].shape[-1]), value=torch.nan) for b in mine]
        found[name] = Crossed(
            torch.cat(wide)[order],
            torch.tensor([slot for b in mine for slot in own[b]])[order],
            torch.tensor([i for i, b in enumerate(mine) for _ in blocks[b]])[order],
        )
    return found


def _told(notes: list[str]) -> list[str]:
    """The first remarks, and how many there are more."""
    rest = len(notes) - TOLD
    return notes if rest <= 0 else [*notes[:TOLD], f"{rest} more remarks of this kind"]
