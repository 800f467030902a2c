"""Direct effects, measured: what the answer becomes when a part's write is replaced on its way to the read-out alone.

Everything else is held as it was recorded; the write passes its own post-norm and multiplier, the final norm, the cap
and the softmax, all of them live, and is read by the same metric as every other experiment. This is
``path_patch(receivers="logits", mlps="freeze")`` without a forward pass: the final stream of the run is recorded, so a
part costs one read-out. (The additive contribution of an attribution holds the norm's scale, and stops before a cap.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.identity.steady import steady
from ....model.parts.outlet import outlet_of
from ....model.parts.streams import merged, one_stream
from ....model.tracing.edits import Edit, refuse_narrow
from ....words.components import BESIDES
from ....words.errors import ComponentError
from ...reading.point import ReadPoint
from ...reading.ways import passage_to
from ..cells.cells import MIXED_SITES, Cell
from ..cells.donors import RunDonor
from ..measuring.metrics import MetricLike
from ..measuring.pairs import Cost, Direction, Question, measured
from .patch import Rows, over_pairs
from .patching import Patching

if TYPE_CHECKING:
    from ....model.model import Model
    from ....model.run import Run

#: What writes to the stream, by the site of an edit; the stream that enters layer 0 is the embedding's own write.
_WRITERS: dict[str, Literal["attn", "mlp"]] = {
    "z": "attn",
    "attn": "attn",
    "attn_added": "attn",
    "mlp": "mlp",
    "mlp_added": "mlp",
}


@steady()
def direct_cells(
    pairs: Sequence[tuple[Run, Run]],
    cells: Sequence[Cell],
    targets: Sequence[MetricLike | None],
    direction: Direction,
    position: int,
) -> Patching:
    """The direct effect of every cell, as :func:`.patch.patch_cells` gives the total one.

    ``values`` are shares of the gap: what is lost in the clean run (``"noise"``) or comes back in the corrupted one
    (``"denoise"``). A cell that is not patched at the position of the metric has none.

    Raises:
        ComponentError: a cell that is a stream inside the model: what it holds was written by others.
        TargetError: no such direction, a target that is several tokens here, or metrics of several units.
    """
    done = torch.ones(len(cells), dtype=torch.bool)

    def run(q: Question, donor: RunDonor) -> Rows:
        where = donor.base.position(position)
        arrived = reached(donor.base, [_at_target(donor, c, where) for c in cells], where)
        return measured(q.metric, donor.base, where, arrived), done, None

    return over_pairs(Patching, pairs, cells, targets, direction, position, Cost(), run)


def _at_target(donor: RunDonor, cell: Cell, target: int) -> list[Edit]:
    """The writes of ``cell`` at the target position. Queries, keys and patterns elsewhere move them, too."""
    if any(p.site in MIXED_SITES for p in cell.parts):
        return donor.writes(cell)
    return donor.writes(Cell(cell.parts, (target,))) if target in donor.positions(cell) else []


@torch.no_grad()
def reached(base: Run, rows: Sequence[Sequence[Edit]], target: int) -> Float[Tensor, "row d_model"]:
    """What the final norm of ``base`` reads at ``target`` where each row's writes reach it and nothing else.

    Raises:
        ComponentError: a write that is no part's own.
    """
    rec, model = base.record, base.model
    written = [w for writes in rows for w in writes]
    refuse_narrow(model, written)
    if any(w.site == "mid" for w in written):
        one_stream(model, "between attention and MLP one of them is added to, which is no write of a part")
    arrived = _Arrived(base, target, len(rows))
    given: dict[tuple[Literal["attn", "mlp"], int], dict[int, Tensor]] = {}
    mixed: dict[int, dict[int, Tensor]] = {}
    for row, writes in enumerate(rows):
        for w in writes:
            if target not in w.positions:
                continue
            value = w.value[w.positions.index(target)].to(model.home)
            if w.adds and w.site in ("pre", "mid", *_WRITERS) and w.site != "z":  # no norm of its own stands behind it
                added, part = value.float(), "attn" if w.site == "mid" else "pre"
                if w.site in _WRITERS:
                    part = _WRITERS[w.site]
                    added = outlet_of(model, _WRITERS[w.site], w.layer).scaled(added)
                arrived.add(row, added, w.layer, part)
            elif (w.site, w.layer) == ("pre", 0):
                arrived.add(row, value.float() - rec.at("pre", 0)[target].float(), 0, "pre")
            elif w.site == "z":
                z = mixed.setdefault(w.layer, {}).setdefault(row, rec.z[w.layer][target].float().clone())
                start = (w.head or 0) * len(value)
                own = slice(start, start + len(value))
                z[own] = z[own] + value.float() if w.adds else value.float()
            elif w.site == "layer":
                arrived.add(row, value.float() - rec.wrote(w.layer)[target].float(), w.layer + 1, "pre")
            elif w.site in BESIDES:
                moved = value.float() - rec.at(w.site, w.layer)[target].float()
                arrived.add(row, moved * model.multiplier_of(w.site), w.layer, w.site)
            elif w.site in _WRITERS:
                given.setdefault((_WRITERS[w.site], w.layer), {})[row] = value.float()
            else:
                raise ComponentError(f"{w.site} of layer {w.layer} writes nothing of its own to the logits.")
    for layer, found in mixed.items():
        linear, out = model.out(layer), rec.attn_out[layer][target].float()
        here = given.setdefault(("attn", layer), {})
        for row, z in found.items():  # a whole layer that is written as well stands behind its heads
            here.setdefault(row, out + linear.product(z - rec.z[layer][target].float()))
    for (sublayer, layer), values in given.items():
        recorded = (rec.attn_out if sublayer == "attn" else rec.mlp_out)[layer][target]
        moved = _let_out(model, sublayer, layer, recorded, torch.stack(list(values.values())))
        arrived.add(list(values), moved, layer, sublayer)
    return arrived.read()


class _Arrived:
    """What of other writes has come to the end at one position, a row each: in the stream, or in several."""

    def __init__(self, base: Run, target: int, rows: int) -> None:
        self.model, rec = base.model, base.record
        self.final, several = rec.streams[-1][target], self.model.n_streams > 1
        self.passage = None
        self.end = self.final
        if several:
            point = ReadPoint(self.model.n_layers)
            self.passage, self.end = passage_to(base, point, [target], apart=True), rec.states[-1][target]
        self.change = self.end.new_zeros(rows, *self.end.shape, dtype=torch.float32)

    def add(self, rows: int | list[int], moved: Float[Tensor, "*row d_model"], layer: int, part: str) -> None:
        """What a part of ``layer`` writes is ``moved`` more than it was."""
        if self.passage is None:
            self.change[rows] += moved * self.model.carried(layer, self.model.n_layers, part)
            return
        if part == "pre":  # all streams side by side
            streams = moved.unflatten(-1, (self.model.n_streams, -1))
            self.change[rows] += self.passage.before(layer)[0].to(moved) @ streams
            return
        self.change[rows] += self.passage.of(layer, part)[0].to(moved)[:, None] * moved[..., None, :]

    def read(self) -> Float[Tensor, "row d_model"]:
        """What the final norm reads then."""
        live = (self.end.float() + self.change).to(self.end.dtype)
        same = (self.change == 0).flatten(1).all(-1, keepdim=True)
        return torch.where(same, self.final, live if self.passage is None else merged(self.model, live)[0])


def _let_out(
    model: Model,
    sublayer: Literal["attn", "mlp"],
    layer: int,
    recorded: Float[Tensor, "d_model"],
    values: Float[Tensor, "row d_model"],
) -> Float[Tensor, "row d_model"]:
    """What replacing the sublayer's output by ``values`` adds to the stream: its post-norm live, and its multiplier."""
    path = getattr(model.anatomy, f"{sublayer}_post_norm")
    before = recorded.float()
    if path is not None:
        with model.quiet():
            norm = model.module(path, layer)
            values, before = (model.call(norm, x.to(recorded.dtype)).float() for x in (values, recorded[None]))
    return outlet_of(model, sublayer, layer).scaled(values - before)
