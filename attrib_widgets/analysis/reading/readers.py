"""How each kind of target is read: one row per kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from ...words.errors import TargetError
from ...words.targets import AnyTarget, FeatureTarget, NeuronTarget, ScoreTarget, Target
from ...words.text import kind_of
from .features import features_at, read_feature
from .logits import printed_at, read_target
from .neurons import pre_activation, read_neuron
from .point import Reading
from .scores import read_score

if TYPE_CHECKING:
    from ...model.run import Run


class Numbers(NamedTuple):
    """A target's own numbers at several positions: as printed, before a soft cap, and how far rounding moved them."""

    actual: Float[Tensor, "position"]
    precap: Float[Tensor, "position"]
    bound: Float[Tensor, "position"]


@dataclass(frozen=True)
class Reader:
    """How one kind of target is read.

    ``at`` gives its reading at a position; ``everywhere`` the numbers of the same direction at several positions, or
    None for a number that belongs to one position, ``alone`` saying so.
    """

    at: Callable[[Run, Any, int], Reading]
    everywhere: Callable[[Run, Any, Sequence[int]], tuple[Tensor, Tensor, Tensor]] | None = None
    alone: str = ""


def _neuron_everywhere(run: Run, target: NeuronTarget, positions: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    actual, bound = pre_activation(run, target, positions)
    return actual, actual, bound


#: A new kind of target is one row here.
READERS: dict[type[AnyTarget], Reader] = {
    Target: Reader(read_target, printed_at),
    ScoreTarget: Reader(lambda run, target, _: read_score(run, target), alone="A score belongs to one query position."),
    NeuronTarget: Reader(lambda run, target, _: read_neuron(run, target), _neuron_everywhere),
    FeatureTarget: Reader(lambda run, target, _: read_feature(run, target), features_at),
}


def reader_of(target: AnyTarget) -> Reader:
    """The row of ``target``'s kind.

    Raises:
        TargetError: a kind that the table does not have.
    """
    if type(target) not in READERS:
        raise TargetError(
            f"Nothing says how {kind_of(target)} is read.",
            "Add its row to READERS in analysis/reading/readers.py.",
        )
    return READERS[type(target)]


def read(run: Run, target: AnyTarget, position: int) -> Reading:
    """``target`` at ``position`` as a direction of the normalised stream at a read point.

    Raises:
        AttribError: what the kind's own reader raises.
    """
    return reader_of(target).at(run, target, position)


def numbers(run: Run, target: AnyTarget, positions: Sequence[int]) -> Numbers:
    """The model's own numbers of ``target`` at ``positions``, with its direction as it is.

    Raises:
        TargetError: it belongs to one position.
    """
    row = reader_of(target)
    if row.everywhere is None:
        raise TargetError(row.alone, "Explain a token to see every position.")
    return Numbers(*(t.cpu() for t in row.everywhere(run, target, positions)))
