"""How what a sublayer gives joins the stream, where the sum of both is not plain: number by number, each is multiplied,
and constants are added.

``stream := keep * stream + gain * given + shift``: a residual with gains of its own (Doge), one that depends on the
depth (Beam), gains and biases of both (Zaya), a bias that the layer adds (GPT-NeoX Japanese). What it is in a model is
found by trying (:mod:`..tracing.joining`): no family's formula is written down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

#: What becomes of what was written on its way through the stream: one number, or one for every number of the stream.
Factor: TypeAlias = "float | Float[Tensor, 'd_model']"


@dataclass(frozen=True)
class Join:
    """``stream := keep * stream + gain * given + shift``, [d_model] each, float32; None where it changes nothing.

    ``given`` is what the sublayer gives behind its post-norm; ``gain`` holds the model's multiplier, where it has one.
    """

    keep: Float[Tensor, "d_model"] | None
    gain: Float[Tensor, "d_model"] | None
    shift: Float[Tensor, "d_model"] | None

    @property
    def adds_as_given(self) -> bool:
        """What is added is what the sublayer gives."""
        return self.gain is None and self.shift is None

    def kept(self, stream: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_model"]:
        """What is left of the stream; of a direction of what is behind it, what it is in front of it."""
        return stream if self.keep is None else stream * self.keep.to(stream.dtype)

    def gained(self, given: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_model"]:
        """What is added of ``given``; of a direction of the stream, what it is at ``given``."""
        return given if self.gain is None else given * self.gain.to(given.dtype)

    def added(self, given: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_model"]:
        """All that is added, in float32."""
        total = self.gained(given.float())
        return total if self.shift is None else total + self.shift

    def removed(
        self, written: Float[Tensor, "*shape d_model"], given: Float[Tensor, "*shape d_model"]
    ) -> Float[Tensor, "*shape d_model"]:
        """The opposite of :meth:`added`, in float32; where a gain of 0 adds nothing, what was ``given``."""
        own = written if self.shift is None else written - self.shift
        return own if self.gain is None else torch.where(self.gain == 0, given.float(), own / self.gain)

    def size(self, given: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_model"]:
        """The sizes of the terms of :meth:`added`, in float64: what they are rounded by.

        The constants of a number may cancel where their roundings do not, so the largest is taken for all.
        """
        total = self.gained(given.double()).abs()
        return total if self.shift is None else total + self.shift.double().abs().max()


#: Of the attention and of the MLP of one layer.
Joins: TypeAlias = "tuple[Join, Join]"
