"""Ablation: what the answer becomes without a part, its output replaced by zero, by its mean, or by other outputs; or
scaled, or (of a feature) held at an activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ....model.identity.steady import steady
from ....model.model import load
from ....words.errors import ComponentError, PositionError
from ....words.several import prompts
from ....words.targets import TokenSet
from ...inputs import as_run
from ..cells.cells import cells_from, every_part, positions_of
from ..cells.features import silent
from ..measuring.answers import KEPT, asked_token
from ..measuring.common import change_said
from ..measuring.metrics import MetricLike, metric_of
from ..measuring.pairs import Cost, check_one_length, name_of, run_cells, targets_of, unit_of
from .ablation import Ablation
from .donors import DRAWS, Method, donors_of, source_of

if TYPE_CHECKING:
    from ....model.model import Model
    from ....model.running.worker import Job


@steady()
def ablate(
    model: Model | str,
    prompt: Any,
    target: MetricLike | Sequence[MetricLike] | None = None,
    *,
    against: TokenSet | Sequence[TokenSet] | None = None,
    components: Any = None,
    method: Method = "zero",
    reference: Any = (),
    positions: Any = None,
    position: int = -1,
    draws: int = DRAWS,
    seed: int = 0,
    strength: float | None = None,
    job: Job | None = None,
    budget: int | None = None,
) -> Ablation:
    """Take parts out of a run, one experiment per cell.

    Args:
        prompt: text, ids or a Run, or a list of prompts, over which changes are averaged.
        target, against: as in :func:`attrib_widgets.patch`, one for all prompts or a list of one for each.
        components: cells, one or several: each a component (a layer is its two writes, or one that is exact as a whole
            only what it adds to the stream), a feature of a dictionary (``"L3.mlp/12"``; the other features and the
            error of its place stay as they were), or a list of these ablated together; None is every part that the
            model splits into: heads and MLPs, or what is exact instead.
        method: ``"zero"`` (z or the MLP's output becomes 0, and the output bias of the attention stays; a whole
            sublayer or layer adds nothing), ``"mean"`` or
            ``"resample"`` over ``reference``, a list of prompts. Where all of these have the length of ``prompt``, the
            mean is taken (and drawn from) position by position; otherwise over all of their positions but the first,
            and the first position of ``prompt`` is left alone. The table says which. ``"scale"`` makes what it writes
            ``strength`` times as strong (a sublayer behind a norm of its own, which would undo it; a head what it
            hands to its layer, in front of one), ``"clamp"`` holds a feature at the activation ``strength`` everywhere.
        positions: None ablates every position together, ``"each"`` makes one cell per position, a list these together.
        draws, seed: of resampling from prompts of other lengths.

    Raises:
        AttribError: an unknown method, no reference prompts, no draws, or no strength.
        ComponentError: nothing to take out, a part that this model does not have, or that writes nothing.
        PositionError: no prompts; prompts of several lengths, where positions are chosen.
        GranularityError: a part of a layer that does not split so far exactly.
    """
    bases = [as_run(p, load(model), position) for p in prompts(prompt)]
    if not bases:
        raise PositionError("There are no prompts.", "Give at least one.")
    if positions is not None:
        check_one_length(bases)
    base = bases[0]
    places = positions_of(base, positions)
    if components is None:
        cells = every_part(base.model, places)
    else:
        cells = cells_from(base.model, components, places)
    if not cells:
        raise ComponentError(
            "There is nothing to take out.", "Name components=, or leave it out: every part of the model."
        )
    runs = [as_run(r, base.model) for r in prompts(reference)]
    targets = targets_of(target, against, prompt, (), base.model.single_token)
    cost, done = Cost(), torch.ones(len(cells), dtype=torch.bool)
    metrics = [metric_of(aim, run, run.position(position)) for run, aim in zip(bases, targets, strict=True)]
    name, unit, where = name_of(metrics), unit_of(metrics), base.position(position)
    starts: list[Tensor] = []
    drawn: list[Tensor] = []
    streams: list[tuple[Tensor, ...]] = []
    for run, metric in zip(bases, metrics, strict=True):
        rows: list[Tensor] = []
        read: list[Tensor] = []
        for donor in donors_of(run, method, runs, draws, seed, strength):
            found, finished, final = run_cells(run, donor, cells, metric, position, cost, job, budget)
            if (rows or drawn) and not bool(finished.all()):
                break  # cancelled: the draws, and the prompts, before this one are whole
            rows.append(found)
            read.append(final)
            done = finished
        if not rows:
            break
        if method in ("zero", "scale") and run is base:
            quiet = [str(c) for c in cells if silent(run, c.parts, c.positions)]
            cost.note([f"silent in this prompt: {', '.join(quiet[:6])}{' …' if quiet[6:] else ''}"] if quiet else [])
        starts.append(metric.of(run.record.streams[-1][run.position(position)][None]))
        drawn.append(torch.stack(rows))
        streams.append(tuple(read))
    ablated = pad_sequence(drawn, batch_first=True, padding_value=torch.nan)  # resampling: a reference run is a draw
    fits = sum(s.nbytes for read in streams for s in read) <= KEPT
    asked = tuple(asked_token(aim, r, r.position(position)) for r, aim in zip(bases, targets, strict=True))
    args = (bases[: len(drawn)], cells, method, name, unit, where, ablated, torch.cat(starts), done, cost)
    found_all = Ablation(*args, tuple(streams) if fits else (), asked, source_of(bases, method, runs, draws), strength)
    if streams and len(bases) == 1 and bool(done.any()):  # of the change that the title names
        best = cells.index(found_all.top(1)[0][0])
        read_then = torch.stack([draw[best] for draw in streams[0]])
        cost.note(change_said(base, targets[0], where, read_then, str(cells[best])))
    return found_all
