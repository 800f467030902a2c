"""Path patching: what a part does through given readers, and through nothing else.

Wang et al. 2022 (arXiv 2211.00593), Goldowsky-Dill et al. 2023 (arXiv 2304.05969). First pass: the sender's write is
replaced and all attention after it is held as it was, so that the readers receive the change directly (through the MLPs
in between as well, with ``mlps="recompute"``). Second pass: the readers alone take what they then read, their norms
live, and everything after them is recomputed: a later reader's other sides, too. What a head writes with one side
replaced needs the stream that it reads by then, so every further layer of readers takes one more pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.identity.steady import steady
from ....model.parts.attention import scored
from ....model.parts.listen import heard
from ....model.parts.projections import normed, project
from ....model.parts.scores import looks
from ....model.selfcheck.levels import need
from ....model.tracing.edits import Edit
from ....model.tracing.sweep import Swept, sweep
from ....words.components import BESIDES
from ....words.errors import ComponentError, GranularityError, TargetError
from ....words.places import Place, PlaceLike, is_place, place
from ....words.several import named
from ....words.targets import TokenSet
from ..cells.cells import MIXED_SITES, Cell, cells_from, every_part, exists
from ..cells.donors import RunDonor, z_changed
from ..measuring.metrics import MetricLike
from ..measuring.pairs import Cost, Direction, Question, as_pairs, direction_of, measured, settled, skipped, targets_of
from .patch import Rows, over_pairs
from .patching import Patching

if TYPE_CHECKING:
    from ....model.model import Model
    from ....model.run import Run
    from ....model.running.worker import Job


@dataclass(frozen=True)
class Receiver:
    """A reader of the stream: queries, keys or values of some query ``heads``, an MLP, or the logits. ``layer`` is the
    number of the stream that it reads."""

    place: Place
    layer: int
    heads: tuple[int, ...] = ()

    def __str__(self) -> str:
        return str(self.place)

    @property
    def side(self) -> str:
        """``"q"``, ``"k"``, ``"v"``, ``"mlp"`` or ``"logits"``."""
        return self.place.site

    def read(self, model: Model) -> tuple[Any, int]:
        """What the first pass has to read for it."""
        return ("mlp", self.layer) if self.side == "mlp" else _stream(model, self.layer)


def _stream(model: Model, layer: int) -> tuple[Any, int]:
    """The stream that attention in ``layer`` (or behind the last layer the final norm) reads."""
    return ("pre" if model.n_streams == 1 or layer == model.n_layers else "active"), layer


def receiver(model: Model, spec: PlaceLike) -> Receiver:
    """Read ``"L9H9.q"`` (for that query head), ``"L9KV2.k"`` (for all query heads of it), ``"L5.mlp"`` or ``"logits"``.

    Raises:
        ComponentError: it is none of these, or the model does not have it.
    """
    which = place(spec) if is_place(spec) else None
    if which is None or which.site not in ("q", "k", "v", "mlp", "mlp_in", "logits"):
        raise ComponentError(f"{spec!r} is no receiver.", 'Write "L9H9.q", "L9H9.k", "L9H9.v", "L5.mlp" or "logits".')
    if which.layer is None:
        return Receiver(which, model.n_layers)
    exists(model, which)
    if which.site in ("mlp", "mlp_in"):
        return Receiver(Place("mlp", which.layer), which.layer)
    need(model, "scores", which.layer)  # whichever side it is: a pattern is made of the others
    group = model.geometry[which.layer].group if which.grouped else 1
    first, last = (
        (0, model.heads_of(which.layer)) if which.head is None else (which.head * group, (which.head + 1) * group)
    )
    return Receiver(which, which.layer, tuple(range(first, last)))


@dataclass(eq=False, repr=False)
class Paths(Patching):
    """Recovery or damage of every sender through ``receivers`` (all of them together)."""

    receivers: tuple[str, ...] = ()

    def words(self) -> str:
        """What was put where, and for whom."""
        return f"{super().words()}, as read by {', '.join(self.receivers)} only"


@steady()
def path_patch(
    model: Model | str,
    clean: Any,
    corrupted: Any,
    target: MetricLike | Sequence[MetricLike] | None = None,
    *,
    against: TokenSet | Sequence[TokenSet] | None = None,
    receivers: PlaceLike | Sequence[PlaceLike] = "logits",
    senders: Any = None,
    mlps: Literal["recompute", "freeze"] = "recompute",
    direction: Direction = "noise",
    position: int = -1,
    skip: int | Sequence[int] = (),
    job: Job | None = None,
    budget: int | None = None,
) -> Paths:
    """Patch the paths from each sender to the receivers.

    Args:
        clean, corrupted, target, against, skip: as in :func:`attrib_widgets.patch`.
        receivers: one or several of ``"L9H9.q"``, ``"L9KV2.k"``, ``"L5.mlp"``, ``"logits"``: patched together.
        senders: one or several, each a part or a list of parts that send together; None is every part (heads and MLPs,
            or what is exact instead) that comes before a receiver.
        mlps: ``"recompute"`` lets the change pass through MLPs on its way to the receivers, ``"freeze"`` does not.
        direction: ``"noise"`` puts the corrupted sender into the clean run, ``"denoise"`` the other way round.

    Raises:
        ComponentError: an unknown receiver; an MLP together with the logits, which read it already
            (``mlps="recompute"``); a sender that writes in several layers or is no part that writes, or none at all.
        GranularityError: a sender or receiver in a layer that does not split so far exactly; with
            ``mlps="recompute"`` a layer on the way that is exact as a whole only.
        TargetError: no such direction, or nothing that MLPs can do.
    """
    direction_of(direction)
    if mlps not in ("recompute", "freeze"):
        raise TargetError(f"{mlps!r} is nothing that MLPs can do here.", 'Use "recompute" or "freeze".')
    left_out = skipped(skip, clean)
    pairs = as_pairs(model, clean, corrupted, position, left_out)
    found = pairs[0][0].model
    readers = [receiver(found, r) for r in named(receivers)]
    if not readers:
        raise ComponentError("There is no receiver.", 'Write "L9H9.q", "L9H9.k", "L9H9.v", "L5.mlp" or "logits".')
    given = targets_of(target, against, clean, left_out, found.single_token)
    targets, remarks = settled(pairs, given, position, left_out)
    twice = [r for r in readers if r.side == "mlp"]
    if twice and mlps == "recompute" and any(r.side == "logits" for r in readers):
        raise ComponentError(
            f'{twice[0]} and the logits cannot receive together: with mlps="recompute" the logits read what it '
            "answers, which would count twice.",
            'Use mlps="freeze", or patch each by itself.',
        )
    if senders is None:
        every = every_part(found, [None])
        cells = [c for c in every if any(_comes_before(found, c.parts[0], r) for r in readers)]
        if not cells:
            raise ComponentError(f"No part comes before {', '.join(map(str, readers))}.")
    else:
        cells = cells_from(found, senders, [None])
    if not cells:
        raise ComponentError("There is no sender.", "Name senders=, or leave it out: every part.")
    for c in cells:
        _check_sender(c)
    if mlps == "recompute":
        _check_between(found, cells, readers)
    cost = Cost(notes=remarks)

    def run(q: Question, donor: RunDonor) -> Rows:
        streams, finished = _paths(donor, cells, readers, mlps == "freeze", position, cost, job, budget)
        return measured(q.metric, donor.base, position, streams), finished, streams

    names = tuple(map(str, readers))
    return over_pairs(Paths, pairs, cells, targets, direction, position, cost, run, left_out=left_out, receivers=names)


def _comes_before(model: Model, sender: Place, reader: Receiver) -> bool:
    """Whether ``reader`` can read what ``sender``, a part that writes, writes."""
    if sender.row < reader.layer:
        return True
    within = reader.side == "mlp" and not model.parallel  # behind the attention of its own layer
    first = {site for site, part in model.anatomy.besides.items() if part.first}
    return within and sender.row == reader.layer and sender.site in {"z", "attn", *first}


def _check_sender(cell: Cell) -> None:
    """Refuse what cannot send, whether or not the runs of a pair differ there.

    Raises:
        ComponentError: it is in several layers, or no part that writes.
    """
    sites = {"z", "attn", "mlp", *BESIDES, "layer", *MIXED_SITES}
    if len({p.row for p in cell.parts}) > 1 or {p.site for p in cell.parts} - sites:
        raise ComponentError(f"{cell} is no sender.", "A sender is a head, an MLP, or several of one layer.")


def _check_between(model: Model, cells: Sequence[Cell], readers: Sequence[Receiver]) -> None:
    """In a layer between a sender and a receiver the attention is held while the MLP answers.

    Raises:
        GranularityError: one of them is exact as a whole only.
    """
    first, last = min((c.parts[0].row for c in cells if c.parts), default=0), max(r.layer for r in readers)
    whole = next((i for i in range(first + 1, last) if not model.level(i).experiments), None)
    if whole is not None:
        reason = model.level(whole).experiments.reason
        raise GranularityError(
            f"L{whole} of {model.name}, on the way to the receivers, is exact as a whole only: {reason}. "
            "Its attention cannot be held while its MLP answers.",
            'Use mlps="freeze", which holds all that it writes, or choose senders behind it.',
        )


def _paths(
    donor: RunDonor,
    cells: Sequence[Cell],
    readers: Sequence[Receiver],
    freeze: bool,
    position: int,
    cost: Cost,
    job: Job | None,
    budget: int | None,
) -> tuple[Float[Tensor, "sender d_model"], Tensor]:
    """(what the final norm reads once each sender's paths are patched, which senders were computed)."""
    base, target = donor.base, donor.base.position(position)
    reads = list(dict.fromkeys(r.read(base.model) for r in readers))
    held = [_held(base, donor.writes(c), freeze) for c in cells]
    first = sweep(base, held, position, job=job, budget=budget, reads=reads)
    cost.add(first, len(cells))
    done = first.done
    taken: list[list[Edit]] = [[] for _ in cells]
    for layer in sorted({r.layer for r in readers if r.side != "logits"}):
        here = [r for r in readers if r.layer == layer]
        live = None  # what the layer reads in the second pass, where a reader before it has changed that
        if any(taken) and any(r.heads for r in here):
            so_far = sweep(base, taken, position, job=job, budget=budget, reads=[_stream(base.model, layer)])
            cost.add(so_far, 0)
            done = done & so_far.done
            live = so_far.reads[_stream(base.model, layer)]
        for i, writes in enumerate(taken):
            writes += _taken(base, here, layer, first, i, None if live is None else live[i], bool(writes))
    second = sweep(base, taken, position, job=job, budget=budget)
    cost.add(second, len(cells))
    streams = second.streams
    if any(r.side == "logits" for r in readers):
        final = base.record.streams[-1][target]
        arrived = first.reads["pre", base.model.n_layers][:, target]
        streams = streams + (arrived.to(streams.dtype) - final)
    return streams, done & second.done


def _held(base: Run, writes: list[Edit], freeze: bool) -> list[Edit]:
    """The sender's writes, and everything after it that is kept as it was."""
    if not writes:
        return writes
    model, rec = base.model, base.record
    layer, at = writes[0].layer, tuple(range(base.n_positions))
    taken, sites = {(w.site, w.layer) for w in writes}, {w.site for w in writes}
    split = [i for i in range(model.n_layers) if model.level(i).experiments]
    kept = [Edit("attn", i, at, rec.attn_out[i]) for i in split if i > layer and ("z", i) not in taken]
    for site, part in model.anatomy.besides.items():
        if freeze or part.first:
            own = not part.first and not sites & {site, "layer"}  # it reads what is written in its own layer
            kept += [Edit(site, i, at, rec.at(site, i)) for i in split if i >= layer + (not own)]
    if model.n_streams > 1:  # how streams are mixed is held with all else that stands on the way
        kept += [Edit("predict", i, at, rec.predicted[i]) for i in range(layer + 1, model.n_layers)]
        kept += [Edit("correct", i, at, rec.corrected[i]) for i in range(layer, model.n_layers)]
    if freeze:
        start = layer + bool(sites & {"mlp", "layer"})  # the MLP of its own layer reads whatever else is written there
        kept += [Edit("mlp", i, at, rec.mlp_out[i]) for i in split if i >= start]
        whole = [i for i in range(layer + 1, model.n_layers) if i not in split]
        kept += [Edit("layer", i, at, rec.wrote(i)) for i in whole]
    return [*writes, *kept]


def _taken(
    base: Run,
    readers: Sequence[Receiver],
    layer: int,
    first: Swept,
    row: int,
    stream: Float[Tensor, "position d_model"] | None,
    moved: bool,
) -> list[Edit]:
    """What the receivers of ``layer`` make of the streams that arrived in ``row`` of the first pass.

    ``stream`` is what the layer reads in the second pass, where that is no longer the base's; ``moved``: readers of
    earlier layers have changed the second pass.
    """
    heads = [r for r in readers if r.heads]
    found = _heads_taken(base, heads, layer, first.reads[_stream(base.model, layer)][row], stream) if heads else []
    if any(r.side == "mlp" for r in readers):
        value = first.reads["mlp", layer][row]
        # Also where it answers as before, once what it would read in the second pass is another.
        everywhere, own = moved or bool(found), base.record.mlp_out[layer]
        at = [p for p in range(len(value)) if everywhere or not torch.equal(value[p], own[p])]
        if at:
            found.append(Edit("mlp", layer, tuple(at), value[at]))
    return found


@torch.no_grad()
def _heads_taken(
    base: Run,
    readers: Sequence[Receiver],
    layer: int,
    arrived: Float[Tensor, "position d_model"],
    live: Float[Tensor, "position d_model"] | None,
) -> list[Edit]:
    model, rec = base.model, base.record
    recorded = rec.streams[layer]
    count = len(arrived)  # up to the target position, or all of them
    changed = [p for p in range(count) if not torch.equal(arrived[p], recorded[p])]
    moved = [] if live is None else [p for p in range(count) if not torch.equal(live[p], recorded[p])]
    both = sorted({*changed, *moved})
    if not both:
        return []
    own = scored(model, rec, layer)

    def whole_prompt(stream: Tensor) -> Tensor:
        return normed(model, layer, torch.cat([stream.to(recorded.dtype), recorded[count:]]))

    sides = {"q": own.q.final.clone(), "k": own.k.final.clone(), "v": own.v.clone()}
    if live is not None and moved:  # readers in earlier layers changed what all sides read
        x = whole_prompt(live)
        for side, values in sides.items():
            values[:, moved] = project(model, rec, layer, side, x).final[:, moved]
    x = whole_prompt(arrived)
    for r in readers:
        new = project(model, rec, layer, r.side, x).final
        for h in r.heads:
            sides[r.side][h, both] = new[h, both]  # the first pass's throughout, whatever the second made of it
    pattern = looks(model, rec, layer, sides["q"], sides["k"])[2]
    gate = None
    if own.gate is not None and live is not None and moved:
        again = heard(model, rec, layer, whole_prompt(live))
        gate = None if again is None else again.gate
    z = z_changed(base, layer, own, pattern @ sides["v"], gate)
    start = both[0] if model.check.causal else 0
    d, at = model.geometry[layer].d_head, tuple(range(start, count))
    heads = sorted({h for r in readers for h in r.heads})
    return [Edit("z", layer, at, z[start:count, h * d : (h + 1) * d], h) for h in heads]
