"""Path patching: what a part does through given readers, and through nothing else.

Wang et al. 2022 (arXiv 2211.00593), Goldowsky-Dill et al. 2023 (arXiv 2304.05969). First pass: the sender's write is
replaced and all attention after it is held as it was, so that the readers receive the change directly (through the MLPs
in between as well, with ``mlps="recompute"``). Second pass: the readers alone take what they then read, their norms
live, and everything after them is recomputed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.parts.attention import looks, normed, project, scored
from ...model.tracing.edits import Edit
from ...model.tracing.sweep import Swept, sweep
from ...words.components import ComponentLike, component
from ...words.errors import ComponentError, GranularityError, TargetError
from .cells import Cell, RunDonor, cells_of, parts_of, z_changed
from .metrics import MetricLike, metric_of
from .pairs import SHARES, Cost, Direction, as_pairs, ends_of, joint, measured
from .patching import Patching

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.run import Run
    from ...model.worker import Job

_HEAD = re.compile(r"l(\d+)(h|kv)(\d+)\.([qkv])", re.IGNORECASE)


@dataclass(frozen=True)
class Receiver:
    """A reader of the stream: ``side`` ``"q"``, ``"k"``, ``"v"`` of some query ``heads``, ``"mlp"`` or ``"logits"``."""

    side: str
    layer: int
    heads: tuple[int, ...] = ()
    name: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def read(self) -> tuple[Any, int]:
        """What the first pass has to read for it."""
        return ("mlp", self.layer) if self.side == "mlp" else ("stream", self.layer)


def receiver(model: Model, spec: str) -> Receiver:
    """Read ``"L9H9.q"`` (for that query head), ``"L9KV2.k"`` (for all query heads of it), ``"L5.mlp"`` or ``"logits"``.

    Raises:
        ComponentError: it is none of these, or the model does not have it.
    """
    text = str(spec).strip()
    if text.lower() == "logits":
        return Receiver("logits", model.n_layers, name="logits")
    match = _HEAD.fullmatch(text)
    if match:
        layer, number, side = int(match[1]), int(match[3]), match[4].lower()
        known = layer < model.n_layers
        group = model.geometry[layer].group if known and match[2].lower() == "kv" else 1
        heads = tuple(range(number * group, (number + 1) * group))
        if heads and heads[-1] < model.heads_of(layer):
            return Receiver(side, layer, heads, text)
        raise ComponentError(f"{model.name} has no {text}.", model.geometry.remedy(layer))
    try:
        found = component(text)
    except ComponentError:
        found = None
    if found is None or found.kind != "mlp" or (found.layer or 0) >= model.n_layers:
        raise ComponentError(f"{spec!r} is no receiver.", 'Write "L9H9.q", "L9H9.k", "L9H9.v", "L5.mlp" or "logits".')
    return Receiver("mlp", found.layer or 0, name=str(found))


@dataclass(eq=False, repr=False)
class Paths(Patching):
    """Recovery or damage of every sender through ``receivers`` (all of them together)."""

    receivers: tuple[str, ...] = ()

    def words(self) -> str:
        """What was put where, and for whom."""
        return f"{super().words()}, as read by {', '.join(self.receivers)} only"


def path_patch(
    model: Model | str,
    clean: Any,
    corrupted: Any,
    target: MetricLike | None = None,
    *,
    receivers: str | Sequence[str] = "logits",
    senders: Sequence[ComponentLike] | None = None,
    mlps: Literal["recompute", "freeze"] = "recompute",
    direction: Direction = "noise",
    position: int = -1,
    job: Job | None = None,
    budget: int | None = None,
) -> Paths:
    """Patch the paths from each sender to the receivers.

    Args:
        receivers: one or several of ``"L9H9.q"``, ``"L9KV2.k"``, ``"L5.mlp"``, ``"logits"``: patched together.
        senders: None is every head and MLP that comes before a receiver; a list of parts is one sender.
        mlps: ``"recompute"`` lets the change pass through MLPs on its way to the receivers, ``"freeze"`` does not.
        direction: ``"noise"`` puts the corrupted sender into the clean run, ``"denoise"`` the other way round.

    Raises:
        ComponentError: an unknown receiver.
        GranularityError: heads of this model are not exact.
    """
    pairs = as_pairs(model, clean, corrupted, position)
    found = pairs[0][0].model
    if found.granularity != "heads" or not found.check.scores_ok:
        raise GranularityError(f"Paths through {found.name} need exact heads: {found.check.no_scores}.")
    if direction not in SHARES or mlps not in ("recompute", "freeze"):
        raise TargetError(f"{direction!r} and {mlps!r} are not a choice.", 'Use "noise" and "recompute", say.')
    names = [receivers] if isinstance(receivers, str) else list(receivers)
    readers = [receiver(found, r) for r in names]
    last = max(r.layer for r in readers)
    if senders is None:
        cells = [c for c in cells_of(found, ["z", "mlp"], None, "each", [None]) if c.parts[0].layer <= last]
    else:
        cells = [Cell(joint(found, s) if not isinstance(s, str) else parts_of(found, s)) for s in senders]
    cost, done = Cost(), torch.ones(len(cells), dtype=torch.bool)
    patched = torch.zeros(len(pairs), len(cells), dtype=torch.float64)
    ends = torch.zeros(2, len(pairs), dtype=torch.float64)
    metric = None
    for i, (a, b) in enumerate(pairs):
        metric = metric_of(target, a, a.position(position))
        base, source = (b, a) if direction == "denoise" else (a, b)
        ends[:, i] = ends_of(metric, a, b, position)
        streams, finished = _paths(base, source, cells, readers, mlps == "freeze", position, cost, job, budget)
        patched[i], done = measured(metric, base, position, streams), done & finished
    assert metric is not None
    where = pairs[0][0].position(position)
    args = (pairs, cells, direction, metric.name, metric.unit, where, patched, ends[0], ends[1], done, cost)
    return Paths(*args, receivers=tuple(map(str, readers)))


def _paths(
    base: Run,
    source: Run,
    cells: Sequence[Cell],
    readers: Sequence[Receiver],
    freeze: bool,
    position: int,
    cost: Cost,
    job: Job | None,
    budget: int | None,
) -> tuple[Float[Tensor, "sender d_model"], Tensor]:
    """(what the final norm reads once each sender's paths are patched, which senders were computed)."""
    donor, target = RunDonor(base, source), base.position(position)
    reads = list(dict.fromkeys(r.read for r in readers))
    held = [_held(base, c, donor.writes(c), freeze) for c in cells]
    first = sweep(base, held, position, job=job, budget=budget, reads=reads)
    second = sweep(base, [_taken(base, readers, first, i) for i in range(len(cells))], position, job=job, budget=budget)
    cost.add(first, len(cells))
    cost.add(second, len(cells))
    streams = second.streams
    if any(r.side == "logits" for r in readers):
        final = base.record.streams[-1][target]
        arrived = first.reads["stream", base.model.n_layers][:, target]
        streams = streams + (arrived.to(streams.dtype) - final)
    return streams, first.done & second.done


def _held(base: Run, cell: Cell, writes: list[Edit], freeze: bool) -> list[Edit]:
    """The sender's writes, and everything after it that is kept as it was."""
    if not writes:
        return writes
    model, rec = base.model, base.record
    layer, at = min(w.layer for w in writes), tuple(range(base.n_positions))
    taken = {(w.site, w.layer) for w in writes}
    kept = [Edit("attn", i, at, rec.attn_out[i]) for i in range(layer + 1, model.n_layers) if ("z", i) not in taken]
    if any(w.layer != layer for w in writes) or {w.site for w in writes} - {"z", "mlp"}:
        raise ComponentError(f"{cell} is no sender.", "A sender is a head, an MLP, or several of one layer.")
    if freeze:
        start = layer if all(w.site == "z" for w in writes) else layer + 1
        kept += [Edit("mlp", i, at, rec.mlp_out[i]) for i in range(start, model.n_layers)]
    return [*writes, *kept]


def _taken(base: Run, readers: Sequence[Receiver], first: Swept, row: int) -> list[Edit]:
    """What the receivers make of the streams that arrived in ``row`` of the first pass."""
    at = tuple(range(base.n_positions))
    found: list[Edit] = []
    for layer in sorted({r.layer for r in readers if r.heads}):
        found += _heads_taken(base, [r for r in readers if r.heads and r.layer == layer], layer, first, row)
    for r in readers:
        if r.side == "mlp":
            value = first.reads["mlp", r.layer][row]
            changed = [p for p in range(len(value)) if not torch.equal(value[p], base.record.mlp_out[r.layer][p])]
            if changed:
                found.append(Edit("mlp", r.layer, tuple(at[p] for p in changed), value[changed]))
    return found


@torch.no_grad()
def _heads_taken(base: Run, readers: Sequence[Receiver], layer: int, first: Swept, row: int) -> list[Edit]:
    model, rec = base.model, base.record
    arrived = first.reads["stream", layer][row]
    count = len(arrived)  # up to the target position
    changed = [p for p in range(count) if not torch.equal(arrived[p], rec.streams[layer][p])]
    if not changed:
        return []
    stream = torch.cat([arrived.to(rec.streams[layer].dtype), rec.streams[layer][count:]])
    own = scored(model, rec, layer)
    x = normed(model, layer, stream)
    sides = {"q": own.q.final.clone(), "k": own.k.final.clone(), "v": own.v.clone()}
    for r in readers:
        new = project(model, rec, layer, r.side, x).final
        for h in r.heads:
            sides[r.side][h, changed] = new[h, changed]
    pattern = looks(model, rec, layer, sides["q"], sides["k"])[2]
    z = z_changed(base, layer, own, pattern @ sides["v"])
    d, at = model.geometry[layer].d_head, tuple(range(changed[0], count))
    heads = sorted({h for r in readers for h in r.heads})
    return [Edit("z", layer, at, z[changed[0] : count, h * d : (h + 1) * d], h) for h in heads]
