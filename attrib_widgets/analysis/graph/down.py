"""The edges into some nodes: one walk down the layers with what all of them ask, answered wherever nodes stand.

What a target asks of the stream is a direction at every position. Going down, a layer adds what its attention and its
MLP ask of the stream before it; where a place is rebuilt by dictionaries, its question is answered there and goes no
further. Targets that stand lower join on the way. What is left at the bottom is asked of the tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...model.anatomy.rounding import refuse_above
from ...model.parts.closing import stream_error
from ...model.parts.experts import mlp_input
from ...model.parts.mlp import mlp_norm
from ...words.components import Component
from ...words.places import Place
from ..opening.heads import stream_direction
from ..reading.neurons import mlp_point
from .edges import BESIDE, CONSTANTS, DICTIONARIES, MODEL, ROUNDING, Edges
from .held import At, HeldAttention, HeldNorm, Rows
from .nodes import by_position

if TYPE_CHECKING:
    from .walk import Walk


def stream_place_of(number: int) -> Place:
    """The place of stream ``number`` as dictionaries call it."""
    return Place("post", number - 1) if number else Place("pre", 0)


class Down:
    """One walk. Rows of ``asked`` are laid out target by target, positions from 0 to the target's own; ``live`` are
    those that may hold something at the current depth."""

    def __init__(self, walk: Walk, targets: Int[Tensor, "target"]) -> None:
        self.w = walk
        order = walk.ranks[targets.cpu()].argsort(stable=True).to(walk.home)
        self.back = order.argsort()
        self.targets = targets.to(walk.home)[order]
        self.ranks = walk.ranks[self.targets.cpu()].tolist()
        own = walk.positions[self.targets]
        self.own = own
        self.last = own if walk.model.check.causal else torch.full_like(own, walk.n - 1)
        sizes = self.last + 1
        self.starts = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        self.of = torch.repeat_interleave(torch.arange(len(sizes), device=walk.home), sizes)
        self.at = torch.arange(len(self.of), device=walk.home) - self.starts[self.of]
        self.asked = torch.zeros(len(self.of), walk.model.d_model, dtype=torch.float64, device=walk.home)
        self.live = self.of.new_empty(0)
        self._lit = torch.zeros(len(self.of), dtype=torch.bool, device=walk.home)
        self.joined = 0
        k, n = len(targets), walk.n
        shapes = ((walk.count - 1,), (len(walk.writers), n), (n,), (len(walk.stops), n), (len(CONSTANTS),))
        tables = [torch.zeros(k, *shape, dtype=torch.float64, device=walk.home) for shape in shapes]
        self.found = Edges(*tables)

    # -- bookkeeping -------------------------------------------------------------------------------------------------
    def _constant(self, column: int, of: Tensor, values: Tensor) -> None:
        self.found.constants[:, column].index_add_(0, of, values)

    def _rounded(self, missed: Float[Tensor, "position width"], rows: Rows, of: Tensor, at: At) -> None:
        self._constant(ROUNDING, of, (missed[at] * rows).sum(-1))

    def _stop(self, part: Component, written: Tensor, rows: Rows, of: Tensor, at: At) -> None:
        values = (written.double()[at] * rows).sum(-1)
        self.found.stopped[:, self.w.stops.index(part)].index_put_((of, at), values, accumulate=True)

    def _answer(self, place: Place, rows: Rows, of: Tensor, at: At) -> Rows | None:
        """What is asked of a place that dictionaries rebuild is put down; None where none does. Returned is what passes
        them by, as directions of the writer's source: empty where nothing does."""
        number = self.w._written.get(place)
        if number is None:
            return None
        writer = self.w.writers[number]
        self._answered(place, rows, at)
        self.found.errors[:, number].index_put_((of, at), (writer.error[at] * rows).sum(-1), accumulate=True)
        self._constant(DICTIONARIES, of, writer.constant(rows, at))
        unit = writer.unit(at)
        scaled = rows if unit is None else rows * unit[:, None]
        where = at.argsort(stable=True).split(at.bincount(minlength=self.w.n).tolist())
        for answer in writer.answers:
            reader, first = self.w.readers[answer.reader], self.w.firsts[answer.reader] - 1
            for position, nodes in by_position(reader.positions):
                here = where[position]
                if len(here):
                    written = scaled[here] @ writer.rows(self.w.readers, answer, nodes).T
                    columns = slice(first + int(nodes[0]), first + int(nodes[-1]) + 1)
                    self.found.features[of[here], columns] += written * reader.pre[nodes]
        passed = writer.passed(rows, at)
        if passed is None:
            return rows[:0]
        self._constant(MODEL, of, passed.constant)
        return passed.rows

    def _answered(self, place: Place, rows: Rows, at: At) -> None:
        """Told whenever a question is answered."""

    def _heard(self, layer: int, held: HeldAttention, rows: Rows, of: Tensor, at: At) -> None:
        """Told of what is asked of the outputs of a layer's heads before they are opened."""

    def _joining(self, place: Place) -> tuple[slice, Tensor]:
        """Targets that join at a place: which rows of the walk, and their own numbers."""
        rank = 2 * self.w._steps.index(place) + 1
        stop = self.joined
        while stop < len(self.ranks) and self.ranks[stop] == rank:
            stop += 1
        some = slice(self.joined, stop)
        self.joined = stop
        return some, self.targets[some]

    def _asks(self, place: Place) -> tuple[Rows, Tensor, At, Place] | None:
        """What joins at a place, other than the explained number: rows, owners, positions, and of what it is asked."""
        some, targets = self._joining(place)
        if not len(targets):
            return None
        owners = torch.arange(some.start, some.stop, device=self.w.home)
        found, source = [], place
        for number in self.w._by_site.get(place, ()):
            reader, first = self.w.readers[number], self.w.firsts[number]
            mine = (targets >= first) & (targets < first + len(reader))
            if not bool(mine.any()):
                continue
            asked = reader.ask(targets[mine] - first)
            self._constant(DICTIONARIES, owners[mine], asked.constant)
            found.append((asked.rows, owners[mine]))
            source = reader.source
        rows, of = (torch.cat(parts) for parts in zip(*found, strict=True))
        return rows, of, self.own[of], source

    def _add(self, rows: Rows, of: Tensor, at: At) -> None:
        """Ask the stream at the current depth for ``rows``, too."""
        index = self.starts[of] + at
        self.asked.index_add_(0, index, rows)
        self._lit[index] = True
        self.live = self._lit.nonzero()[:, 0]

    def _now(self) -> tuple[Rows, Tensor, At]:
        return self.asked[self.live], self.of[self.live], self.at[self.live]

    def _clear(self) -> None:
        self.asked[self.live] = 0
        self._lit[self.live] = False
        self.live = self.live[:0]

    # -- down --------------------------------------------------------------------------------------------------------
    def edges(self) -> Edges:
        """From the explained number to the tokens."""
        w = self.w
        for layer in reversed(range(w._top)):
            self._past(stream_place_of(layer + 1))
            if w.model.level(layer).sublayers:
                self._layer(layer)
            elif len(self.live):
                rows, of, at = self._now()
                self._stop(Component("layer", layer), w.rec.wrote(layer), rows, of, at)
        self._past(stream_place_of(0))
        rows, of, at = self._now()
        values = (w.rec.streams[0].double()[at] * rows).sum(-1)
        self.found.tokens.index_put_((of, at), values, accumulate=True)
        return self.found.at(self.back)

    def _begin(self, place: Place, beneath: bool) -> None:
        """The explained number, where it is read: what it reads of the stream, and what stands beside that.

        What a feature reads of its own dictionary's place is asked further down.
        """
        a, of = self.w.a, self.targets.new_zeros(1)
        if place != self.w.start or beneath != self.w.beneath or int(self.targets[0]) != 0:
            return
        self.joined = 1
        self._add(stream_direction(a).double()[None].to(self.w.home), of, self.own[:1])
        for c, value in zip(a.components, a.values.double().tolist(), strict=True):
            if not c.writes and c.kind != "rounding":
                column = BESIDE if c.kind in ("softcap", "entropy") else MODEL
                self.found.constants[0, column] += value
        self.found.constants[0, ROUNDING] += a.rounding["readout"]

    def _past(self, place: Place) -> None:
        """Past a place in the stream: what was asked so far is answered where it is rebuilt, and what joins there, the
        explained number or a feature, asks below that."""
        self._begin(place, False)
        if len(self.live):
            passed = self._answer(place, *self._now())
            if passed is not None:
                kept = self.live
                self._clear()
                if len(passed):
                    self.asked[kept], self.live = passed, kept
                    self._lit[kept] = True
        self._begin(place, True)
        if (asked := self._asks(place)) is not None:
            self._add(*asked[:3])

    def _layer(self, layer: int) -> None:
        w, rec, model = self.w, self.w.rec, self.w.model
        mlp_here = layer < w.a.reading.point.mlps
        through: list[tuple[Rows, Tensor, At]] = []
        missed = rec.mid(layer).double() - rec.streams[layer].double() - rec.attn_write[layer].double()
        missed = missed - rec.beside_write[layer].double() if rec.beside_first else missed
        if mlp_here:
            through = self._sum_and_mlp(layer, missed)
        if model.parallel:
            self._attention(layer)
        for one in through:
            self._add(*one)
        if model.parallel:
            return
        self._mid(layer, missed)
        if rec.beside_first and len(self.live):
            self._stop(Component("beside", layer), rec.beside_write[layer], *self._now())
        self._attention(layer)

    def _sum_and_mlp(self, layer: int, between: Float[Tensor, "position d_model"]) -> list[tuple[Rows, Tensor, At]]:
        """The sum at the end of a layer, then its MLP; returned is what is asked of the stream that the MLP reads."""
        rec, model = self.w.rec, self.w.model
        through: list[tuple[Rows, Tensor, At]] = []
        if len(self.live):
            carry = model.carry(layer)
            missed, bound = stream_error(rec, layer, rec.streams[layer].dtype, model.parallel, slice(None), carry)
            refuse_above(missed, bound, f"the sublayers of layer {layer} do not add up to what it writes")
            missed = missed if model.parallel else missed - carry * between
            rows, of, at = self._now()
            self._rounded(missed, rows, of, at)
            if carry != 1:
                rows = self.asked[self.live] = rows * carry
            if model.anatomy.beside is not None and not rec.beside_first:
                self._stop(Component("beside", layer), rec.beside_write[layer], rows, of, at)
            through += self._mlp(layer, rows, of, at)
        place, factor = Place("mlp", layer), model.multiplier_of("mlp")
        if (asked := self._asks(place)) is not None:
            rows, of, at, _ = asked
            through += self._held_mlp(layer, rows / factor, of, at)
        if (asked := self._asks(Place("mlp_in", layer))) is not None:
            through.append(self._mlp_in(layer, *asked))
        return through

    def _mlp(self, layer: int, rows: Rows, of: Tensor, at: At) -> list[tuple[Rows, Tensor, At]]:
        place, factor = Place("mlp", layer), self.w.model.multiplier_of("mlp")
        passed = self._answer(place, rows * factor, of, at)
        if passed is None:
            return self._held_mlp(layer, rows, of, at)
        if not len(passed):
            return []
        source = self.w.writers[self.w._written[place]].source
        if source == place:
            return self._held_mlp(layer, passed / factor, of, at)
        return [self._mlp_in(layer, passed, of, at, source)]

    def _held_mlp(self, layer: int, rows: Rows, of: Tensor, at: At) -> list[tuple[Rows, Tensor, At]]:
        """Directions of what the MLP adds, through its held gates; where it is not opened, what it wrote."""
        if layer not in self.w._mlps:
            self._stop(Component("mlp", layer), self.w.rec.mlp_write[layer], rows, of, at)
            return []
        pulled = self.w.held_mlp(layer).pull(rows, at)
        self._constant(MODEL, of, pulled.constant)
        self._constant(ROUNDING, of, pulled.rounding)
        return [(pulled.rows, of, at)]

    def _mlp_in(self, layer: int, rows: Rows, of: Tensor, at: At, source: Place) -> tuple[Rows, Tensor, At]:
        """Directions of what the MLP reads, behind its norm, as directions of the stream."""
        if source.site != "mlp_in":  # it was read before the norm's gain: of the stream already
            return rows, of, at
        x = mlp_point(self.w.model, layer).stream(self.w.rec)
        norm = HeldNorm.at(mlp_norm(self.w.model, layer), x)
        self._rounded(mlp_input(self.w.model, self.w.rec, layer).double() - norm(x), rows, of, at)
        below, biased = norm.pull(rows, at)
        self._constant(MODEL, of, biased)
        return below, of, at

    def _mid(self, layer: int, missed: Float[Tensor, "position d_model"]) -> None:
        self._past(Place("mid", layer))
        if len(self.live):
            self._rounded(missed, *self._now())

    def _attention(self, layer: int) -> None:
        w, model = self.w, self.w.model
        rows, of, at = self._now()
        held = w.held_attention(layer) if model.level(layer).heads else None
        parts: list[tuple[Rows, Tensor, At]] = []
        out, z, factor = Place("attn_out", layer), Place("z", layer), model.multiplier_of("attn")
        given: list[tuple[Rows, Tensor, At]] = []
        if len(rows):
            passed = self._answer(out, rows * factor, of, at)
            if passed is None:
                given.append((rows, of, at))
            elif len(passed):
                given.append((passed / factor, of, at))
        if (asked := self._asks(out)) is not None:
            given.append((asked[0] / factor, *asked[1:3]))
        for rows, of, at in given:
            if held is None or (not held.opens and z not in w._written):
                self._stop(Component("attn", layer), w.rec.attn_write[layer], rows, of, at)
                continue
            pulled = held.to_z(rows, at)
            self._constant(MODEL, of, pulled.constant)
            self._constant(ROUNDING, of, pulled.rounding)
            passed = self._answer(z, pulled.rows, of, at)
            if passed is None:
                parts.append((pulled.rows, of, at))
            elif len(passed):
                parts.append((passed, of, at))
        if (asked := self._asks(z)) is not None:
            parts.append(asked[:3])
        for rows, of, at in parts:
            if held is None or not held.opens:
                self._stop(Component("attn", layer), w.rec.z[layer], rows, of, at)
                continue
            self._heard(layer, held, rows, of, at)
            low, high = int(of.min()), int(of.max()) + 1
            gathered = held.from_z(rows, of - low, at, self.last[low:high])
            self._constant(ROUNDING, of, gathered.rounding)
            owners = gathered.of + low
            self._constant(MODEL, owners, gathered.constant)
            self._add(gathered.rows, owners, gathered.at)
