"""What stands in a graph: the features that fire, what a place was rebuilt as, and the errors that are left.

A **reader** is a dictionary where it reads: its features are nodes, each with the direction that it asks of what stands
below. A **writer** is a place that dictionaries rebuild: whatever is asked of it is answered by features, an error and
a bias. For a plain dictionary the two are one place, for a transcoder they are the two ends of an MLP, and what a
cross-layer transcoder reads is written to several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...model.anatomy.norms import FrozenNorm
from ...saes.crosslayer import CrossLayer
from ...saes.reading import activations, of_dictionary, source, value_bias
from ...saes.sae import EPS, SAE
from ...words.errors import AttribError
from ...words.places import Place
from .held import At, HeldNorm, Rows

if TYPE_CHECKING:
    from ...model.run import Run


class Asked(NamedTuple):
    """Directions of what the model has at a place, and what is put in beside them, a row each."""

    rows: Rows
    constant: Float[Tensor, "row"]


class Reader:
    """The features of one dictionary that fire on a prompt, in the order of their positions.

    Attributes:
        site: where it reads, and how its features are called; source: where the model has what that is made from.
        positions, features: of every node; pre: its pre-activation, which is its activation where it fires.
        opens: whether pre-activations are known, so that what was put into them can be told.
        x: what it reads, in its own coordinates, float64.
    """

    def __init__(self, run: Run, sae: SAE) -> None:
        model = run.model
        self.model, self.sae, self.site, self.source = model, sae, sae.site, source(model, sae)
        held = activations(model, run.record, sae)
        self.x: Float[Tensor, "position d_in"] = held.x.double().to(model.home)
        self.y: Float[Tensor, "position d_out"] = held.y.double().to(model.home)
        active = sae.encode(held.x.float())
        self.positions, self.features = (t.to(model.home) for t in active.nonzero(as_tuple=True))
        self.opens = sae.encoder is None
        self._scale = None if sae.norm == "none" else (1 / _divisor(sae, self.x))[:, 0].to(model.home)
        self._norm: HeldNorm | None = None
        layer = sae.site.layer or 0
        if self.source != sae.site:  # behind a norm, before its gain
            norm = model.norm(model.anatomy.mlp_norm or "", layer)
            plain = FrozenNorm(norm.module, torch.ones_like(norm.gain), torch.zeros_like(norm.bias), norm.centred)
            self._norm = HeldNorm(plain, norm.scale(_stream(run, self.source)).double())
        self.bias = value_bias(model, layer) if sae.coordinates == "without value bias" else None
        self.pre = self._pre() if self.opens else active[active != 0].double().to(model.home)

    def __len__(self) -> int:
        return len(self.positions)

    def _pre(self) -> Float[Tensor, "node"]:
        """The pre-activations of its nodes, as :meth:`.SAE.pre_activations` has them, in float64."""
        sae, seen = self.sae, self.x
        if sae.norm != "none":
            seen = (seen - seen.mean(-1, keepdim=True) if sae.norm == "layer_norm" else seen) / _divisor(sae, seen)
        home = seen.device
        seen = seen - sae.b_dec.double().to(home) if sae.subtract else seen
        out = torch.empty(len(self), dtype=torch.float64, device=home)
        for position, nodes in by_position(self.positions):
            some = self.features[nodes].to(sae.w_enc.device)
            pre = seen[position] @ sae.w_enc[:, some].double().to(home)
            out[nodes] = pre + sae.b_enc[some].double().to(home)
        return out

    # -- what its features ask ---------------------------------------------------------------------------------------
    def ask(self, nodes: Int[Tensor, "row"]) -> Asked:
        """The pre-activations of some of its nodes, as directions of what the model has at :attr:`source`."""
        sae, at = self.sae, self.positions[nodes]
        which = self.features[nodes].to(sae.w_enc.device)
        w, home = sae.w_enc[:, which].T.double(), at.device
        constant = sae.b_enc[which].double() - (w @ sae.b_dec.double() if sae.subtract else 0)
        w, constant = w.to(home), constant.to(home)
        if self._scale is not None:
            w = w - w.mean(-1, keepdim=True) if sae.norm == "layer_norm" else w
            w = w * self._scale[at][:, None]
        asked = self.from_coordinates(w, at)
        return Asked(asked.rows, constant + asked.constant)

    def live(self, x: Float[Tensor, "row width"], feature: int) -> Float[Tensor, "row"]:
        """The pre-activation of a feature where the model has ``x`` at :attr:`source`: nothing is held."""
        sae = self.sae
        seen = sae.seen(of_dictionary(self.model, sae, x).to(sae.b_dec.device)).double()
        seen = seen - sae.b_dec.double() if sae.subtract else seen
        return (seen @ sae.w_enc[:, feature].double() + float(sae.b_enc[feature])).cpu()

    def from_coordinates(self, rows: Rows, at: At) -> Asked:
        """Directions of its input in its own coordinates, as directions of what the model has."""
        if self.sae.coordinates == "centred":
            return Asked(rows - rows.mean(-1, keepdim=True), rows.new_zeros(len(rows)))
        if self.bias is not None:
            return Asked(rows, -(rows @ self.bias.double()))
        if self._norm is not None:
            return Asked(*self._norm.pull(rows, at))
        return Asked(rows, rows.new_zeros(len(rows)))


def _divisor(sae: SAE, x: Float[Tensor, "position d_in"]) -> Float[Tensor, "position 1"]:
    """What a norm divides by at each position, in float64."""
    if sae.norm == "layer_norm":
        return x.std(-1, keepdim=True) + EPS
    return x.square().mean(-1, keepdim=True).sqrt().clamp_min(torch.finfo(torch.float32).tiny)


def _stream(run: Run, place: Place) -> Tensor:
    return run.record.at(*place.slot)


@dataclass(frozen=True)
class Answer:
    """What the nodes of one reader write to a place: a decoder row each, ``part`` of ``decoder`` [feature, d_out]."""

    reader: int
    decoder: Float[Tensor, "feature d_out"]


class Writer:
    """A place that dictionaries rebuild.

    Attributes:
        place: which; answers: whose features write to it; error: what they all leave, float64.
    """

    def __init__(self, readers: Sequence[Reader], own: int, answers: Sequence[Answer]) -> None:
        self._own, self.answers = readers[own], list(answers)
        sae, y = self._own.sae, self._own.y
        self.place, home = sae.target, self._own.positions.device
        self._unit = None
        if sae.norm != "none" and sae.writes is None:
            divisor = _divisor(sae, self._own.x)
            self._unit = (divisor - EPS if sae.norm == "layer_norm" else divisor)[:, 0].to(home)
        self._b_dec = sae.b_dec.double().to(home)
        self._skip = None if sae.w_skip is None else sae.w_skip.double().to(home)
        n = len(y)
        rebuilt = self._b_dec.expand(n, -1).clone()
        for answer in self.answers:
            reader = readers[answer.reader]
            for position, nodes in by_position(reader.positions):
                rebuilt[position] += reader.pre[nodes] @ self.rows(readers, answer, nodes)
        rebuilt = rebuilt if self._unit is None else rebuilt * self._unit[:, None]
        self.error: Float[Tensor, "position d_out"] = y.to(home) - rebuilt - self._resting()

    def rows(self, readers: Sequence[Reader], answer: Answer, nodes: Int[Tensor, "row"]) -> Float[Tensor, "row d_out"]:
        """What some nodes of a reader write here for one unit of their activation, float64."""
        which = readers[answer.reader].features[nodes].to(answer.decoder.device)
        return answer.decoder[which].double().to(nodes.device)

    def _resting(self) -> Tensor | float:
        """What passes beside the features: the mean that a norm puts back, a skip connection, what its coordinates
        leave out. It is asked further down."""
        own, x = self._own, self._own.x
        out: Tensor | float = 0.0
        if own.sae.norm == "layer_norm" and own.sae.writes is None:
            out = out + x.mean(-1, keepdim=True)
        if self._skip is not None:
            out = out + x @ self._skip
        if own.sae.writes is None and own.sae.coordinates != "raw":
            out = out + (own.y - x)
        return out

    def unit(self, at: At) -> Float[Tensor, "row"] | None:
        """What everything that is decoded is multiplied by at some positions; None for 1."""
        return None if self._unit is None else self._unit[at]

    def constant(self, rows: Rows, at: At) -> Float[Tensor, "row"]:
        """What the decoder's bias puts in."""
        out = rows @ self._b_dec
        return out if self._unit is None else out * self._unit[at]

    @property
    def source(self) -> Place:
        """Where :meth:`passed` directions are asked."""
        return self._own.source

    def passed(self, rows: Rows, at: At) -> Asked | None:
        """What passes beside the features, as directions of what the model has at :attr:`source`; None where nothing
        does."""
        own, sae = self._own, self._own.sae
        centre = rows.mean(-1, keepdim=True).expand_as(rows)
        found: Asked | None = None
        if sae.norm == "layer_norm" and sae.writes is None:
            found = own.from_coordinates(centre.contiguous(), at)
        if self._skip is not None:
            skipped = own.from_coordinates(rows @ self._skip.T, at)
            found = skipped if found is None else Asked(found.rows + skipped.rows, found.constant + skipped.constant)
        if sae.writes is not None or sae.coordinates == "raw":
            return found
        beside = rows.new_zeros(len(rows)) if found is None else found.constant
        if own.bias is not None:  # the bias of the values alone: a constant
            beside = beside + rows @ own.bias.double()
            return Asked(torch.zeros_like(rows) if found is None else found.rows, beside)
        if sae.coordinates == "centred":
            return Asked(centre if found is None else found.rows + centre, beside)
        return found

    def beside(self, x: Float[Tensor, "d_in"]) -> Float[Tensor, "d_out"] | None:
        """What of something in the stream passes the features of a dictionary: the transpose of :meth:`passed`."""
        sae, centre = self._own.sae, x.mean().expand_as(x)
        centred = sae.coordinates == "centred"
        found = centre if centred or sae.norm == "layer_norm" else None
        if self._skip is not None:
            skipped = (x - centre if centred else x) @ self._skip
            found = skipped if found is None else found + skipped
        return found


def by_position(positions: Int[Tensor, "node"]) -> list[tuple[int, Int[Tensor, "some"]]]:
    """(position, nodes there), for nodes that come in the order of their positions."""
    if not len(positions):
        return []
    found, counts = positions.unique_consecutive(return_counts=True)
    every = torch.arange(len(positions), device=positions.device)
    return list(zip(found.tolist(), every.split(counts.tolist()), strict=True))


def standing(run: Run, given: Sequence[SAE | CrossLayer]) -> tuple[list[Reader], list[Writer]]:
    """Readers, and the places that they write to, of the dictionaries of a graph.

    Raises:
        AttribError: two are for one place.
    """
    readers: list[Reader] = []
    writers: list[Writer] = []
    for one in given:
        first = len(readers)
        if isinstance(one, SAE):
            readers.append(Reader(run, one))
            writers.append(Writer(readers, first, [Answer(first, one.w_dec)]))
            continue
        readers += [Reader(run, sae) for sae in one.layers]
        for to in range(len(one.layers)):
            answers = [
                Answer(first + number, decoder[:, to - begin])
                for number, (decoder, begin) in enumerate(zip(one.decoders, one.first, strict=True))
                if 0 <= to - begin < decoder.shape[1]
            ]
            writers.append(Writer(readers, first + to, answers))
    places = [writer.place for writer in writers]
    for place in places:
        if places.count(place) > 1:
            raise AttribError(
                f"{places.count(place)} dictionaries rebuild {place}, and a graph can hold one.",
                'Give those that are meant: a.graph(saes=[...]), or a kind: a.graph("mlp").',
            )
    return readers, writers
