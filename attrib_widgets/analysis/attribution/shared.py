"""What the parts write for both answers alike: it is in neither's favour, however long its bar for one of them is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...words.components import Component
from ...words.kinds import Kind
from ...words.text import signed

#: A difference below this share of what is written for both, and of the whole difference, does not choose.
LITTLE_OF_BOTH, LITTLE_OF_ALL = 0.1, 0.05
#: What prints as 0.00 is not written for both.
WORTH = 0.005


@dataclass(frozen=True)
class Shared:
    """What a part writes for the answer and for its rival, in the target's unit, and of all parts the difference."""

    component: Component
    own: float
    rival: float
    total: float
    #: what a part is whose label alone would mislead
    kind: Kind | None = None

    @property
    def both(self) -> float:
        """The smaller of the two, with its sign; 0 where the signs differ."""
        return float(shared(torch.tensor([self.own]), torch.tensor([self.rival]))[0])

    @property
    def difference(self) -> float:
        """What the part writes for the answer rather than for the rival: its bar."""
        return self.own - self.rival

    @property
    def chooses(self) -> bool:
        """Whether the difference is worth a word, beside what is common and beside the whole."""
        size = abs(self.difference)
        return size >= LITTLE_OF_BOTH * abs(self.both) or size >= LITTLE_OF_ALL * abs(self.total)

    def __str__(self) -> str:
        name = f"{self.component} ({self.kind.short})" if self.kind else str(self.component)
        said = f"{name} {signed(self.both)}"
        if not self.chooses:
            return f"{said}: it does not choose"
        # Of the two one is what is written for both, and the other that and more.
        more, whose = (self.own, "the answer") if abs(self.own) > abs(self.rival) else (self.rival, "the rival")
        return f"{said}, and {signed(more - self.both)} more for {whose}"


def shared(own: Float[Tensor, "component"], rival: Float[Tensor, "component"]) -> Float[Tensor, "component"]:
    """min(|own|, |rival|) with the sign of both, 0 where the two have different ones."""
    alike = own.sign() * (own.sign() == rival.sign())
    return alike * torch.minimum(own.abs(), rival.abs())
