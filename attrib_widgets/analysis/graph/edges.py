"""What was put into the targets of a graph, by who put it in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .scores import Weights

#: What nothing in the prompt wrote, as it is told: columns of :attr:`Edges.constants`.
CONSTANTS = ("biases of the model", "biases of dictionaries", "beside the target", "rounding")
MODEL, DICTIONARIES, BESIDE, ROUNDING = range(len(CONSTANTS))


@dataclass
class Edges:
    """What was put into some targets, float64: along each row everything sums to the target's own number.

    ``tokens`` are the embeddings (learned positions included) at every position; ``stopped`` what parts wrote that are
    not opened (:attr:`.Walk.stops`).
    """

    features: Float[Tensor, "target feature"]
    errors: Float[Tensor, "target writer position"]
    tokens: Float[Tensor, "target position"]
    stopped: Float[Tensor, "target stop position"]
    constants: Float[Tensor, "target constant"]

    def joined(self, other: Edges) -> Edges:
        """The edges into these targets, then into others."""
        both = zip(self._tables(), other._tables(), strict=True)
        return Edges(*(torch.cat(pair) for pair in both))

    def _tables(self) -> tuple[Tensor, ...]:
        return self.features, self.errors, self.tokens, self.stopped, self.constants

    def at(self, rows: Int[Tensor, "row"]) -> Edges:
        """The edges into some of them, in that order."""
        return Edges(*(table[rows] for table in self._tables()))

    def weights(self, rows: Int[Tensor, "row"]) -> Weights:
        """The edges as one table; ``rows`` are the targets, the explained number first."""
        flat = [self.features, self.errors.flatten(1), self.tokens, self.stopped.flatten(1)]
        counts = [table.shape[1] for table in flat[:3]]
        return Weights(torch.cat(flat, 1), rows[1:].to(self.tokens.device) - 1, *counts)
