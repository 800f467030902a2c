"""The ways of what parts write to a read point: of one stream, and of several beside each other.

A direction of the raw stream at the point is met by what each part wrote as it arrives there. In one stream that is the
direction itself, times what the stream is multiplied by in between; where several are mixed, position by position, a
write arrives as several tensors, and is met by several directions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.anatomy.rounding import refuse_above
from ...model.parts.closing import stream_error
from ...model.parts.streams import Passage, one_stream, read_error, state_error
from ...model.selfcheck.causes import within
from ...words.components import BESIDES
from ...words.errors import GranularityError
from .point import ReadPoint

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.run import Run

#: Which sublayer a part belongs to; the others stand before their layer.
PARTS = {"head": "attn", "attn": "attn", "attn.bias": "attn", "mlp": "mlp"}
PARTS |= {site: site for site in BESIDES}


class Arriving(Protocol):
    """Directions of what one part writes, and what meets them."""

    def arriving(self, layer: int, part: str) -> Float[Tensor, "base_times_direction d_model"]:
        """The directions of what a part of ``layer`` writes, before :meth:`gathered`."""

    def gathered(self, layer: int, part: str, met: Float[Tensor, "base_times_direction position *more"]) -> Tensor:
        """What was met along :meth:`arriving`, together: [direction, position, ...]."""


class Way(Arriving, Protocol):
    """How directions ``v`` [direction, d_model] of the raw stream at a point meet what is written before it.

    All that is returned is [direction, position]: of every direction at every position, or, ``paired``, of each
    direction at its own ([1, position]).
    """

    def embedded(self) -> tuple[list[Tensor], Tensor]:
        """What the embedding wrote (and learned positions), and the rounding of their sum."""

    def whole(self, layer: int) -> Tensor:
        """What ``layer`` as a whole wrote."""

    def part(self, layer: int, part: str, written: Float[Tensor, "position d_model"]) -> Tensor:
        """What a part of ``layer`` (``"attn"``, ``"mlp"``, ...) wrote."""

    def rounded(self, layer: int) -> Tensor:
        """The measured rounding of what is added in ``layer``.

        Raises:
            GranularityError: it is more than rounding.
        """

    def read(self) -> Tensor:
        """The measured rounding of what is read at the point, of several streams."""


def way_of(
    run: Run,
    point: ReadPoint,
    v: Float[Tensor, "direction d_model"],
    positions: Sequence[int],
    paired: bool = False,
) -> Way:
    """The ways to ``point`` at ``positions``, met by the directions ``v``."""
    kind = Plain if run.model.n_streams == 1 else Several
    return kind(run, point, v, list(positions), paired)


def direction_at(
    run: Run, point: ReadPoint, v: Float[Tensor, "d_model"], at: int, layer: int, part: str
) -> Float[Tensor, "d_model"]:
    """``v``, a direction of the raw stream at ``point``, as what a part of ``layer`` writes at position ``at`` meets
    it.

    Raises:
        GranularityError: several streams are what stands before a layer.
    """
    if part == "pre":
        one_stream(run.model, "what stands before a layer is met by no one direction")
    way = way_of(run, point, v[None], [at])
    if isinstance(way, Several):
        return (way.passage.of(layer, part)[0, :, None].to(v) * way.arriving(layer, part)).sum(0)
    return v * run.model.carried(layer, point.layer, part, point.mid)


#: (a direction at a point, number of a position, number of a part) -> as it meets what the part wrote there.
Meeting: TypeAlias = Callable[[Float[Tensor, "d_model"], int, int], Float[Tensor, "d_model"]]


def meets(run: Run, point: ReadPoint, parts: Sequence[tuple[int, str]], positions: Sequence[int]) -> Meeting:
    """How directions of the raw stream at ``point`` meet what ``parts``, (layer, site) each, wrote at ``positions``.

    What stands before a layer is met by no one direction where it is several streams: it is not a number then.
    """
    model, every = run.model, list(dict.fromkeys(parts))
    if model.n_streams == 1:
        factors = {each: model.carried(each[0], point.layer, each[1], point.mid) for each in every}
        return lambda v, _, i: v * factors[parts[i]]
    passage = passage_to(run, point, positions)
    worth = {each: passage.of(*each) for each in every if each[1] != "pre"}

    def meet(v: Float[Tensor, "d_model"], row: int, i: int) -> Float[Tensor, "d_model"]:
        if parts[i] not in worth:
            return torch.full_like(v, torch.nan)
        return (worth[parts[i]][row, :, None].to(v) * passage.directions(v[None])[:, 0]).sum(0)

    return meet


def passage_to(run: Run, point: ReadPoint, positions: Sequence[int], apart: bool = False) -> Passage:
    """The :class:`...model.parts.streams.Passage` to ``point`` at ``positions`` of a model with several streams."""
    whole = [i for i, level in enumerate(run.model.check.levels) if not level.sublayers]
    return Passage(run.model, run.record, point.layer, point.mid, list(positions), whole, apart)


def dotted(v: Tensor, tensor: Float[Tensor, "position d_model"], paired: bool) -> Float[Tensor, "direction position"]:
    """Dot products in float64: of every direction with every position, or of each with its own."""
    v, tensor = v.double(), tensor.double()
    return (v.view(-1, *tensor.shape) * tensor).sum(-1) if paired else v @ tensor.T


class AtOnce:
    """Directions of the very write: nothing stands in between."""

    def __init__(self, v: Float[Tensor, "direction d_model"]) -> None:
        self.v = v

    def arriving(self, layer: int, part: str) -> Float[Tensor, "base_times_direction d_model"]:
        return self.v

    def gathered(self, layer: int, part: str, met: Float[Tensor, "base_times_direction position *more"]) -> Tensor:
        return met


class _Asked(AtOnce):
    """Directions of the raw stream at a point of a run."""

    def __init__(self, run: Run, point: ReadPoint, v: Tensor, index: list[int], paired: bool) -> None:
        super().__init__(v)
        self.model, self.rec, self.point = run.model, run.record, point
        self.index, self.paired = index, paired


class Plain(_Asked):
    """The ways in one stream: everything is met by the direction itself, times what the stream was multiplied by."""

    def part(self, layer: int, part: str, written: Float[Tensor, "position d_model"]) -> Tensor:
        factor = self.model.carried(layer, self.point.layer, part, self.point.mid)
        if isinstance(factor, Tensor):
            return dotted(self.v.double() * factor.double(), written, self.paired).float()
        return dotted(self.v, written, self.paired).float() * factor

    def embedded(self) -> tuple[list[Tensor], Tensor]:
        rec, index = self.rec, self.index
        if not self.model.anatomy.pos:
            return [self.part(0, "pre", rec.streams[0][index])], self._nothing()
        assert rec.embed is not None and rec.pos is not None
        embed, pos = rec.embed[index].double(), rec.pos[index].double()
        missed = rec.streams[0][index].double() - embed - pos
        return [self.part(0, "pre", embed), self.part(0, "pre", pos)], self.part(0, "pre", missed)

    def whole(self, layer: int) -> Tensor:
        return self.part(layer + 1, "pre", self.rec.wrote(layer)[self.index])

    def rounded(self, layer: int) -> Tensor:
        model, rec, index = self.model, self.rec, self.index
        if layer < self.point.mlps:
            missed, bound = stream_error(
                rec, layer, rec.streams[layer].dtype, model.parallel, index, model.carry(layer)
            )
            refuse_unclosed(model, layer, missed, bound, f"the sublayers of layer {layer} {UNCLOSED}")
            return self.part(layer + 1, "pre", missed)
        # Between attention and MLP: the sum of two recorded tensors, as the model rounds it.
        before, attn = rec.streams[layer][index].double(), rec.attn_write[layer][index].double()
        missed = self.point.stream(rec)[index].double() - rec.passed(layer, before) - attn
        missed = missed - rec.beside_write[layer][index].double() if rec.beside_first else missed
        return dotted(self.v, missed, self.paired).float()

    def read(self) -> Tensor:
        return self._nothing()

    def _nothing(self) -> Tensor:
        return torch.zeros(1 if self.paired else len(self.v), len(self.index), device=self.v.device)

    def arriving(self, layer: int, part: str) -> Float[Tensor, "base_times_direction d_model"]:
        return self.v * self.model.carried(layer, self.point.layer, part, self.point.mid)


class Several(_Asked):
    """The ways where layers mix several streams: see :class:`...model.parts.streams.Passage`."""

    def __init__(self, run: Run, point: ReadPoint, v: Tensor, index: list[int], paired: bool) -> None:
        super().__init__(run, point, v, index, paired)
        self.passage = passage_to(run, point, index)
        self.bases = self.passage.directions(v).flatten(0, 1)

    def part(self, layer: int, part: str, written: Float[Tensor, "position d_model"]) -> Tensor:
        return self.gathered(layer, part, dotted(self.bases, written, self.paired)).float()

    def _streams(self, layer: int, state: Float[Tensor, "position stream d_model"]) -> Tensor:
        """What stands in all streams before ``layer``."""
        together = (self.passage.before(layer) @ state.double()).transpose(0, 1)  # [base, position, d_model]
        directions = self.bases.double().view(len(together), -1, self.v.shape[-1])
        if self.paired:
            return (directions * together).sum((0, -1))[None].float()
        return torch.einsum("bkd,bpd->kp", directions, together).float()

    def embedded(self) -> tuple[list[Tensor], Tensor]:
        found = self._streams(0, self.rec.states[0][self.index])
        return [found], torch.zeros_like(found)

    def whole(self, layer: int) -> Tensor:
        before, after = (self.rec.states[i][self.index].double() for i in (layer, layer + 1))
        return self._streams(layer + 1, after - before)

    def rounded(self, layer: int) -> Tensor:
        if layer >= self.point.mlps:
            return self.v.new_zeros(())  # of what is read there: see :meth:`read`
        missed, bound = state_error(self.model, self.rec, layer, self.index)
        refuse_unclosed(self.model, layer, missed, bound, f"the parts of layer {layer} {UNCLOSED}")
        return self._streams(layer + 1, missed)

    def read(self) -> Tensor:
        layer, mid = self.point.layer, self.point.mid
        missed, bound = read_error(self.model, self.rec, layer, mid, self.index)
        refuse_unclosed(self.model, layer, missed, bound, "what is read is not what the streams come to")
        return dotted(self.v, missed, self.paired).float()

    def arriving(self, layer: int, part: str) -> Float[Tensor, "base_times_direction d_model"]:
        return self.bases

    def gathered(self, layer: int, part: str, met: Float[Tensor, "base_times_direction position *more"]) -> Tensor:
        worth = self.passage.of(layer, part).T  # [base, position]
        each = met.double().view(len(worth), -1, *met.shape[1:])
        return (each * worth[:, None].view(*worth.shape[:1], 1, -1, *[1] * (met.dim() - 2))).sum(0).to(met.dtype)


UNCLOSED = "do not add up to what it writes"


def refuse_unclosed(model: Model, layer: int, missed: Tensor, bound: Tensor, where: str) -> None:
    """:func:`refuse_above`, with the hook or the adapter that came after the model was loaded."""
    try:
        refuse_above(missed, bound, where)
    except GranularityError as reason:
        if layer >= model.n_layers or not (cause := within(model, layer)):
            raise
        said = f"{reason.message.rstrip('.')}{cause}."
        hint = "Load the model again, aw.load(model.hf, model.tokenizer): that layer is then one part, the others stay."
        raise GranularityError(said, hint) from None
