"""Many interventions in few forward passes, exact (the tracing itself is in :mod:`.sweep_pass`).

All rows of a pass begin as the recorded run and join at the first layer that they change, so no layer below is
computed twice; positions before the first write are never recomputed (their recorded keys and values are handed
in); nothing after the target position, nor the unembedding, is computed at all. Rows that change the target position
only are packed along the sequence of one row, under a mask that lets each see the prompt and itself. Row 0 of every
pass changes nothing and must come out as it was recorded: where it does not after a full recomputation, the model is no
longer what was recorded, and the sweep is refused. Where a family does not allow a shortcut, a comparison with
the full recomputation at first use finds out, and it is not taken: unpacked rows, or full recomputation, do the work
(see :attr:`Swept.notes`). On a model that looks ahead the whole prompt is recomputed, behind the target position, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from ...words.text import enumerated, power
from ..identity.belonging import LIMITS, moved, refuse_moved
from ..running.worker import Cancelled
from ..selfcheck.levels import named_layers
from .edits import Edit, Intervention, Site, refuse_narrow, relevant
from .ports import ports, refuse_flex, require
from .schedule import Extent, budget_of, grouped, out_of_memory, rows_that_fit
from .sweep_pass import Pass, Reads, has_prefix, last_needed, recorded_rows

if TYPE_CHECKING:
    from ..model import Model
    from ..run import Run
    from ..running.worker import Job


@dataclass
class Swept:
    """What the interventions of a sweep led to, in the order in which they were given.

    ``streams`` is what the final norm reads at the target position (the recorded stream where an intervention was not
    computed: see ``done``). ``reads`` holds what was asked for, per (site, layer). ``forwards`` counts passes through
    the model, ``tokens`` (row, position) pairs they computed. ``notes`` say which shortcut was not taken, and why.
    """

    streams: Float[Tensor, "row d_model"]
    done: Tensor
    reads: dict[tuple[str, int], Float[Tensor, "row position d_model"]] = field(default_factory=dict)
    forwards: int = 0
    tokens: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every intervention was computed (it was not cancelled)."""
        return bool(self.done.all())


@dataclass
class _Known:
    """What was found out about a model.

    ``narrow``: in the last layer the MLP may be given the target position alone.
    ``records_keys``: what its cache holds has to be recorded rather than projected from the recorded streams.
    ``shown``: (kind of pass, rows, target) that were compared with full recomputation; a mask or a buffer that is not
    what it seems shows when rows or positions are many, so a larger pass is compared again. ``refused``: kinds of
    passes that were not exact, with the reason.
    """

    narrow: bool = True
    records_keys: bool = False
    shown: set[tuple[str, int, int]] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)

    def covers(self, kind: str, rows: int, target: int) -> bool:
        """Whether a pass at least as large was shown to be exact."""
        return any(k == kind and r >= rows and t >= target for k, r, t in self.shown)

    def steps(self) -> list[tuple[bool, bool]]:
        """(narrow, records_keys) to be tried, from what is in use now."""
        now = (self.narrow, self.records_keys)
        return [now, *(e for e in ((True, False), (False, False), (False, True)) if e != now)]


def sweep(
    base: Run,
    interventions: Sequence[Intervention],
    position: int = -1,
    *,
    job: Job | None = None,
    budget: int | None = None,
    reads: Sequence[tuple[Site, int]] = (),
) -> Swept:
    """Run every intervention on ``base``.

    Args:
        position: the target position: what the final norm reads there is returned.
        job: told of the progress after every pass; when it is cancelled, what is done so far is returned.
        budget: bytes that the rows of a pass may take; None asks the device. Halved when memory runs out all the same.
        reads: (site, layer), sites as in :mod:`.ports` but for q, k, v and neurons: also return what these held in
            every row (as it was before this intervention's own write there).

    Raises:
        AttribError: the model runs with flex attention.
    """
    base.check_fresh()
    refuse_flex(base.model)
    model, target = base.model, base.position(position)
    shared, end = not (_unshared(model) or _stateful(model)), last_needed(base, target)
    require(model, {(w.site, w.layer) for writes in interventions for w in writes}, written=True)
    refuse_narrow(model, (w for writes in interventions for w in writes))
    rows = [relevant(model, writes, target) for writes in interventions]
    busy = [i for i, writes in enumerate(rows) if writes]
    rec = base.record
    swept = Swept(
        rec.streams[-1][target].expand(len(rows), -1).clone(),
        torch.tensor([not writes for writes in rows], dtype=torch.bool),
        {asked: recorded_rows(base, *asked, end, len(rows)) for asked in reads},
    )
    extents = [
        Extent(
            min(w.layer for w in rows[i]), 0 if reads or not shared else min(p for w in rows[i] for p in w.positions)
        )
        for i in busy
    ]
    try:
        for part in grouped(extents, target):
            todo = [busy[r] for r in part.rows]
            _work(base, rows, todo, part.start, target, swept, job, budget or budget_of(model))
    except Cancelled:
        pass
    return swept


def _work(
    base: Run,
    rows: Sequence[list[Edit]],
    todo: list[int],
    start: int,
    target: int,
    swept: Swept,
    job: Job | None,
    budget: int,
) -> None:
    """The interventions ``todo``, pass by pass: halved when memory runs out, recomputed in full where need be."""
    size = rows_that_fit(base.model, start, last_needed(base, target), budget)
    while todo:
        part = todo[:size]
        try:
            found, read = _computed(base, [rows[i] for i in part], start, target, swept)
        except RuntimeError as trouble:
            if not out_of_memory(trouble) or len(part) == 1:
                raise
            size = max(1, len(part) // 2)
            continue
        swept.streams[part], swept.done[part] = found[1:], True
        for place, (joined, value) in read.items():
            swept.reads[place][torch.tensor(part)[joined]] = value
        todo = todo[size:]
        if job is not None:
            job.progress(int(swept.done.sum()), len(rows), f"{int(swept.done.sum())} of {len(rows)}")


_Found: TypeAlias = "tuple[Float[Tensor, 'row d_model'], Reads]"


def _computed(base: Run, rows: list[list[Edit]], start: int, target: int, swept: Swept) -> _Found:
    """One pass, in the fastest way that is exact on this model.

    Raises:
        ModelError: recomputed in full, the run no longer comes out as it was recorded.
    """
    model, reads = base.model, tuple(swept.reads)
    known = _known(model)
    last = start == target and start > 0
    reasons = [why] if (why := _unshared(model)) else []
    states = _stateful(model)
    refused = {}
    for kind in () if reasons else ("packed", "suffix") if last else ("suffix",):
        if kind in known.refused:
            reasons.append(known.refused[kind])
            continue
        before, reason = (known.narrow, known.records_keys), ""
        for narrow, records_keys in known.steps():
            known.narrow, known.records_keys = narrow, records_keys
            found, failed = _tried(base, rows, start, target, swept, known, kind)
            if found is not None:
                _noted(swept, [*reasons, *states])
                return found
            reason = reason or failed
        known.narrow, known.records_keys = before
        refused[kind] = f"{kind} rows are not used: they were not exact on this family ({reason})."
        reasons.append(refused[kind])
    found = _in_full(base, rows, target, swept, reads)
    known.refused |= refused  # the model is as recorded: it is the shortcut that is not exact
    _noted(swept, [*reasons, *states, "Recomputed in full."])
    return found


def _unshared(model: Model) -> str:
    """Why rows cannot share what stands before the first position that they change; "" where they can be tried."""
    if not model.check.causal:
        return f"{model.name} looks ahead."
    unknown = [i for i in range(model.n_layers) if all(row.site != "attn_in" for row in ports(model, i))]
    if not unknown:
        return ""
    return f"It is not known what {named_layers(unknown)} of {model.name} read at earlier positions."


def _stateful(model: Model) -> list[str]:
    """Why rows are neither packed nor begun behind what was recorded: mixers that carry a state along the sequence."""
    kinds: dict[str, list[int]] = {}
    for i in range(model.n_layers):
        if i not in model.unread and (mixer := model.mixer(i)) is not None:
            kinds.setdefault(mixer.name, []).append(i)
    if model.anatomy.beside is not None and model.anatomy.beside.state:
        own = [i for i in range(model.n_layers) if i not in model.unread]
        kinds.setdefault(model.anatomy.beside.name, []).extend(own)
    named = [f"{named_layers(layers)} ({name})" for name, layers in kinds.items()]
    if not named:
        return []
    return [
        f"A state runs along the sequence in {enumerated(named)}: every row is computed by itself, from position 0."
    ]


def _in_full(base: Run, rows: list[list[Edit]], target: int, swept: Swept, reads: Any = ()) -> _Found:
    """One pass without any shortcut."""
    found = _run(Pass(base, rows, 0, target, plain=True, reads=reads), swept)
    refuse_moved(base, found[0][0], target)
    return found


def _known(model: Model) -> _Known:
    """What was found out with the attention code that ``model`` runs now."""
    code = getattr(model.config, "_attn_implementation", None)
    return model.kept(("sweep", code), lambda: _Known(records_keys=not model.check.scores_ok))


def _noted(swept: Swept, reasons: Sequence[str]) -> None:
    swept.notes += [r for r in reasons if r not in swept.notes]


def _run(one: Pass, swept: Swept) -> _Found:
    swept.forwards, swept.tokens = swept.forwards + 1, swept.tokens + one.tokens
    return one.run()


def _tried(
    base: Run, rows: list[list[Edit]], start: int, target: int, swept: Swept, known: _Known, kind: str
) -> tuple[_Found | None, str]:
    """(what a fast pass found, "") when it is exact; else (None, why not)."""
    model = base.model
    if known.records_keys and start and not has_prefix(base, True):
        swept.forwards, swept.tokens = swept.forwards + 1, swept.tokens + base.n_positions
    how: dict[str, bool] = dict(narrow=known.narrow, packs=kind == "packed", records_keys=known.records_keys)
    one = Pass(base, rows, start, target, reads=tuple(swept.reads), **how)
    try:
        found = _run(one, swept)
    except Exception as trouble:  # whatever a family's own code says of inputs that it does not expect
        if isinstance(trouble, RuntimeError) and out_of_memory(trouble):
            raise
        return None, f"{model.name} does not run on them"
    if missed := moved(base, found[0][0], target):
        return None, f"a row that changes nothing came out changed: {missed}"
    if not known.covers(kind, len(rows), target):
        # The first, the middle and the last row of the pass, each of which sees the others differently.
        order = one.order.tolist()
        spread = list(dict.fromkeys(order[i] for i in (0, len(rows) // 2, len(rows) - 1)))
        expected, _ = _in_full(base, [rows[i] for i in spread], target, swept)
        if missed := _missed(model, found[0][[0, *(i + 1 for i in spread)]], expected):
            return None, missed
        known.shown.add((kind, len(rows), target))
    return found, ""


def _missed(model: Model, found: Tensor, expected: Tensor) -> str:
    """Empty, or by how much ``found`` misses ``expected``."""
    size = expected.float().abs().max()
    error = float((found.float() - expected.float()).abs().max() / size.clamp_min(1e-30))
    return "" if error <= LIMITS.get(model.precision, 1e-1) else f"off by {power(error)} of its size"
