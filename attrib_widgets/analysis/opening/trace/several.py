"""The backward pass of :mod:`.backwards` through several streams beside each other: a direction for each of them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.anatomy.rounding import refuse_above
from ....model.parts.streams import merged, merging, mix_of, read_error, state_error
from ....words.components import Component
from ...reading.features import Inside
from .backwards import Ends, Walk
from .step import RecordedMLP


class SeveralWalk(Walk):
    """``every`` is the direction that each stream before the layer that comes next is read along, at each position;
    ``at`` is that of one tensor: of what is read, or of what a part writes."""

    every: Float[Tensor, "position stream d_model"] | None = None

    def back(self) -> Ends:
        if self.inside is None and not self.point.mid:
            self._enter(self.point.layer)
        return super().back()

    def _inside(self, reading: Inside, opened: RecordedMLP | None) -> None:
        super()._inside(reading, opened)
        if self.every is None:
            self._enter(reading.layer)

    def _enter(self, layer: int) -> None:
        """From what is read before ``layer``, or by the final norm, to all streams there."""
        model, rec, at = self.model, self.rec, self.at.double()
        self._misread(layer, False, self.at)
        if layer < model.n_layers:
            self.every = mix_of(model, rec, layer).enter[..., None] * at[:, None]
            return
        counts = merged(model, rec.states[-1])[1]
        directions = [self.at if p is None else p.pull(self.at) for p in merging(model)]
        self.every = counts[..., None] * torch.stack(directions, 1).double()

    def _misread(self, layer: int, mid: bool, directions: Tensor) -> None:
        missed, bound = read_error(self.model, self.rec, layer, mid)
        refuse_above(missed, bound, f"what is read in layer {layer} is not what the streams come to")
        self._rounded(missed, directions)

    def _layer(self, layer: int, opened: RecordedMLP | None) -> None:
        model, rec = self.model, self.rec
        if layer >= self.point.mlps and self.inside is None:
            self._before(layer, torch.zeros_like(self.at), self.at, False)
            return
        assert self.every is not None
        missed, bound = state_error(model, rec, layer)
        refuse_above(missed, bound, f"the parts of layer {layer} do not add up to what it writes")
        self._rounded(missed, self.every)
        gains, through = mix_of(model, rec, layer).gains, torch.zeros_like(self.at)
        self.at = self._met(gains["beside"])
        self._stop(Component("beside", layer), rec.beside_write[layer])
        self.at = self._met(gains["mlp"])
        if opened is None:
            self._stop(Component("mlp", layer), rec.mlp_write[layer])
        else:
            through = self._mlp(layer, opened)
        self._before(layer, self.at, through, True)

    def _met(self, gains: Float[Tensor, "position stream"]) -> Float[Tensor, "position d_model"]:
        """What meets a part that adds to every stream by these numbers."""
        assert self.every is not None
        return (gains[..., None] * self.every).sum(1).to(self.at)

    def _before(self, layer: int, beside: Tensor, through_mlp: Tensor, has_mlp: bool) -> None:
        """Past the attention: along all streams behind the layer, and ``through_mlp``, what the MLP reads."""
        model, rec, mix = self.model, self.rec, mix_of(self.model, self.rec, layer)
        self._misread(layer, True, through_mlp)
        written, kept = mix.shrink * through_mlp, mix.mid[..., None] * through_mlp.double()[:, None]
        if self.every is not None:
            written = written + self._met(mix.gains["attn"])
            kept = kept + mix.keep.transpose(1, 2) @ self.every
        self.at = written
        self._stop(Component("laurel", layer), rec.laurel_write[layer])
        if model.level(layer).values:
            read = self._attention(layer)
            self._misread(layer, False, read)
            kept = kept + mix.enter[..., None] * read.double()[:, None]
        else:
            self._stop(Component("attn", layer), rec.attn_write[layer])
        self.every = kept

    def _whole(self, layer: int) -> None:
        wrote = self.rec.states[layer + 1].double() - self.rec.states[layer].double()
        self._end(Component("layer", layer), wrote)

    def _embedding(self) -> None:
        self._end(Component("embed"), self.rec.states[0])

    def _end(self, part: Component, written: Float[Tensor, "position stream d_model"]) -> None:
        assert self.every is not None
        self.ends.append((part, self._along(written, self.every).sum(-1)))
