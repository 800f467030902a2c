"""Where a number is read: a place in the stream, the norm it is read through, and a direction.

Every question of the form "what wrote this number?" is one :class:`Reading`: a logit at the final norm, an attention
score at the norm of queries and keys, a neuron at the norm of its MLP. Whatever else is a direction of the
(normalised) stream at a :class:`ReadPoint` (the encoder row of a dictionary's feature, say, with
:func:`...model.anatomy.norms.no_norm` where it reads the raw stream) needs only a function that returns its
Reading: rows, sources, neurons and the trace follow from that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from ...model.anatomy.norms import FrozenNorm
from ...words.components import Component

if TYPE_CHECKING:
    from ...model.tracing.recording import Recording


@dataclass(frozen=True)
class ReadPoint:
    """A place in the stream.

    ``ReadPoint(layer)`` is what ``layer`` reads (``n_layers``: what the final norm reads). With ``mid`` it is the
    stream between the attention and the MLP of ``layer``, so that the heads of that layer are upstream and its MLP
    is not.
    """

    layer: int
    mid: bool = False

    @property
    def attentions(self) -> int:
        """How many layers' attention has written by then."""
        return self.layer + self.mid

    @property
    def mlps(self) -> int:
        """How many layers' MLPs have written by then."""
        return self.layer

    def stream(self, record: Recording) -> Float[Tensor, "position d_model"]:
        """The stream there, in the model's dtype."""
        return record.mid(self.layer) if self.mid else record.streams[self.layer]


@dataclass
class Reading:
    """A direction of the normalised stream at a read point, and the constants that go with it.

    ``bound`` is the largest difference between the printed number and the float32 read-out of the recorded stream
    that rounding can explain: beyond it nothing is shown.
    """

    point: ReadPoint
    norm: FrozenNorm
    direction: Float[Tensor, "d_model"]
    position: int
    constants: list[tuple[Component, float]]
    actual: float
    precap: float | None
    bound: float
    notes: list[str] = field(default_factory=list)

    @property
    def before_cap(self) -> float:
        """The explained value before a soft cap, constants included."""
        return self.actual if self.precap is None else self.precap
