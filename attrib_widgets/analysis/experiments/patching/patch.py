"""Activation patching: what the answer becomes when one part of a run is replaced by the same part of another run.

Denoising puts the clean part into the corrupted run (is it sufficient?), noising the corrupted part into the clean run
(is it necessary?): Meng et al. 2022 (arXiv 2202.05262), Wang et al. 2022 (arXiv 2211.00593), and Heimersheim and Nanda
2024 (arXiv 2404.15255) for why both are needed. Every cell is exact; :mod:`....model.tracing.sweep` runs many at
the price of a few forward passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, get_args

import torch
from torch import Tensor

from ....model.identity.steady import steady
from ....words.errors import ComponentError, TargetError
from ....words.targets import TokenSet
from ..cells.cells import Cell, cells_from, cells_of, positions_of, unsplit
from ..cells.donors import RunDonor
from ..measuring.answers import KEPT
from ..measuring.metrics import MetricLike
from ..measuring.pairs import (
    Cost,
    Direction,
    Question,
    as_pairs,
    check_one_length,
    direction_of,
    name_of,
    questions,
    run_cells,
    settled,
    skipped,
    targets_of,
    unit_of,
)
from .patching import Patching

if TYPE_CHECKING:
    from ....model.model import Model
    from ....model.run import Run
    from ....model.running.worker import Job

FinalNorm: TypeAlias = Literal["live", "frozen"]
#: Of one pair: the metric of every cell, which were computed, and what the final norm read (None where it is not kept).
Rows: TypeAlias = "tuple[Tensor, Tensor, Tensor | None]"


def patch(
    model: Model | str,
    clean: Any,
    corrupted: Any,
    target: MetricLike | Sequence[MetricLike] | None = None,
    *,
    against: TokenSet | Sequence[TokenSet] | None = None,
    sites: str | Sequence[str] = "z",
    components: Any = None,
    positions: Any = None,
    layers: int | Sequence[int] | None = None,
    heads: Literal["each", "all"] = "each",
    direction: Direction = "denoise",
    position: int = -1,
    skip: int | Sequence[int] = (),
    final_norm: FinalNorm = "live",
    job: Job | None = None,
    budget: int | None = None,
) -> Patching:
    """Replace parts of one run by the same parts of another, one experiment per cell.

    Args:
        clean, corrupted: prompts (texts, ids or Runs) of one length, or two lists of prompts: the pairs of a set.
        target: a token, ``aw.logit_diff(...)``, ``aw.log_prob(...)``, ``aw.prob(...)``, ``aw.kl()``, or a function from
            logits [row, vocab] to [row]; None is the clean run's answer minus the likeliest other one of the corrupted
            run, or the answer alone where both runs give the same. A list is one for each pair.
        against: a token (or several) whose logit is subtracted from the target's; where the targets are a list, a list
            is one for each pair.
        sites: one or several of ``"stream"`` (before every layer, ``L0.pre`` and so on, and behind the last one;
            ``"pre"`` or ``"post"`` is one side of every layer), ``"attn"``, ``"mlp"``, ``"z"`` (what a head writes),
            ``"q"``, ``"k"``, ``"v"`` (of a key and value head: all query heads of its group), ``"pattern"``, and
            ``"layer"`` (all that a layer writes).
        components: cells instead of ``sites``, one or several: each a component (a layer is its two writes, or one that
            is exact as a whole only what it adds to the stream), a place such as ``"L2.pre"``, or a list of them
            patched together.
        positions: None patches every position together, ``"each"`` makes one cell per position, a list these together.
        layers: only these; None is every layer where the sites are exact (``notes`` say which are not, and why).
        heads: ``"each"`` makes one cell per head, ``"all"`` patches a layer's heads together.
        direction: ``"denoise"`` (clean into corrupted: recovery) or ``"noise"`` (corrupted into clean: damage).
        position: where the metric is read.
        skip: numbers of pairs to leave out, counted from 0: those whose gap has the other sign are named in the notes.
        final_norm: ``"frozen"`` reads a logit with the final norm's scale of the run that is patched.
        job: a worker's job: told of the progress, and asked between passes whether to stop.
        budget: bytes that a pass may take; None asks the device.

    Raises:
        PositionError: prompts of a pair that differ in length; pairs that do, where positions are chosen.
        ComponentError: a part that this model does not have, or no part at all.
        GranularityError: a site, or a part, of a layer that does not split so far; the message says which, why, and
            what can be patched instead.
        TargetError: a target that is several tokens here; a list that is not one per pair; no such direction or way to
            read the final norm.
    """
    direction_of(direction)
    frozen = final_norm_of(final_norm) == "frozen"
    left_out = skipped(skip, clean)
    pairs = as_pairs(model, clean, corrupted, position, left_out)
    if positions is not None:
        check_one_length([run for run, _ in pairs])
    places = positions_of(pairs[0][0], positions)
    if components is None:
        cells = cells_of(pairs[0][0].model, sites, layers, heads, places)
    else:
        cells = cells_from(pairs[0][0].model, components, places)
    if not cells:
        raise ComponentError("There is nothing to patch.", "Name at least one site and layer, or components=.")
    given = targets_of(target, against, clean, left_out, pairs[0][0].model.single_token)
    targets, remarks = settled(pairs, given, position, left_out)
    found = patch_cells(pairs, cells, targets, direction, position, frozen=frozen, job=job, budget=budget)
    found.cost.notes[:0] = [*remarks, *(unsplit(found.model, sites, layers) if components is None else [])]
    return replace(found, left_out=left_out)


def final_norm_of(given: FinalNorm) -> FinalNorm:
    """``given``, where it is one of the two.

    Raises:
        TargetError: it is not.
    """
    if given not in get_args(FinalNorm):
        raise TargetError(f"{given!r} is no way to read the final norm.", 'Use "live" or "frozen".')
    return given


P = TypeVar("P", bound=Patching)


@steady()
def patch_cells(
    pairs: Sequence[tuple[Run, Run]],
    cells: Sequence[Cell],
    targets: Sequence[MetricLike | None],
    direction: Direction,
    position: int,
    *,
    frozen: bool = False,
    job: Job | None = None,
    budget: int | None = None,
) -> Patching:
    """:func:`patch` once runs, cells and the metric of every pair are settled.

    Raises:
        TargetError: metrics of several units.
    """
    cost = Cost()

    def run(q: Question, donor: RunDonor) -> Rows:
        return run_cells(donor.base, donor, cells, q.metric, position, cost, job, budget)

    return over_pairs(Patching, pairs, cells, targets, direction, position, cost, run, frozen=frozen)


def over_pairs(
    kind: Callable[..., P],
    pairs: Sequence[tuple[Run, Run]],
    cells: Sequence[Cell],
    targets: Sequence[MetricLike | None],
    direction: Direction,
    position: int,
    cost: Cost,
    run: Callable[[Question, RunDonor], Rows],
    *,
    frozen: bool = False,
    **more: Any,
) -> P:
    """The result, a ``kind`` of :class:`Patching`, of what ``run`` finds in each pair; ``more`` are fields of its own.

    Raises:
        TargetError: no such direction; metrics of several units.
    """
    direction_of(direction)
    asked = questions(pairs, targets, position, direction if frozen else None)
    metrics = [q.metric for q in asked]
    name, unit = name_of(metrics), unit_of(metrics)
    stream = pairs[0][0].record.streams[-1]
    keeps = len(pairs) * len(cells) * stream.shape[-1] * stream.element_size() <= KEPT
    patched, streams, done = [], [], torch.ones(len(cells), dtype=torch.bool)
    for q in asked:
        cost.note(q.metric.notes)
        values, finished, read = run(q, RunDonor(*q.between(direction)))
        patched.append(values)
        done &= finished
        streams += [read] if keeps and read is not None else []
    return kind(
        pairs=list(pairs),
        cells=list(cells),
        direction=direction,
        metric=name,
        unit=unit,
        position=pairs[0][0].position(position),
        patched=torch.stack(patched),
        clean=torch.stack([q.ends[0] for q in asked]),
        corrupted=torch.stack([q.ends[1] for q in asked]),
        done=done,
        cost=cost,
        streams=tuple(streams),
        asked=tuple(q.asked for q in asked),
        **more,
    )
