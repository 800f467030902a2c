"""The few largest of many, of every feature at once, while they pass by."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

#: What belongs to each row that is kept: a dtype, and the shape of one entry.
Columns = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]


class Leaders:
    """Of every feature the ``ranks`` firings with the largest keys, largest first; of equal ones those that came first.

    Whatever the order of blocks, and however they are cut, the same firings are kept: equal keys are told apart by
    which came first alone.
    """

    def __init__(self, features: int, ranks: int, columns: Columns) -> None:
        self.key = torch.full((features, ranks), -math.inf)
        # What belongs to a firing stays where it was written: only where that is moves with its rank.
        self._slot = torch.arange(ranks).repeat(features, 1)
        self._columns = {
            name: torch.zeros(features, ranks, *shape, dtype=dtype) for name, (dtype, shape) in columns.items()
        }

    @property
    def filled(self) -> Tensor:
        """Where there is a firing: [feature, rank]."""
        return self.key > -math.inf

    def column(self, name: str) -> Tensor:
        """What belongs to the firings, by rank: [feature, rank, ...]."""
        values = self._columns[name]
        return values[torch.arange(len(values))[:, None], self._slot]

    def add(
        self, feature: Int[Tensor, "row"], key: Float[Tensor, "row"], values: Callable[[Tensor], dict[str, Tensor]]
    ) -> None:
        """Take in firings in the order in which they come; ``values`` is asked for the columns of few of them."""
        ranks = self.key.shape[1]
        if not ranks:
            return
        worth = (key > self.key[feature, -1]).nonzero()[:, 0]
        order = worth[key[worth].argsort(descending=True, stable=True)]
        order = order[feature[order].argsort(stable=True)]
        some, which, counts = feature[order].unique_consecutive(return_inverse=True, return_counts=True)
        rank = torch.arange(len(order)) - (counts.cumsum(0) - counts)[which]
        order, which, rank = order[rank < ranks], which[rank < ranks], rank[rank < ranks]
        fresh, row = torch.full((len(some), ranks), -math.inf), torch.zeros(len(some), ranks, dtype=torch.long)
        fresh[which, rank], row[which, rank] = key[order], order
        both = torch.cat([self.key[some], fresh], 1)
        ranked = both.argsort(dim=1, descending=True, stable=True)
        kept, left = ranked[:, :ranks], ranked[:, ranks:]
        slot = self._slot[some]
        new = kept >= ranks
        after = slot.gather(1, kept.clamp_max(ranks - 1))
        # As many of the old go as new ones come: these take their places.
        after[new] = slot.gather(1, left.clamp_max(ranks - 1))[left < ranks]
        self.key[some], self._slot[some] = both.gather(1, kept), after
        new &= both.gather(1, kept) > -math.inf
        where = some[:, None].expand(-1, ranks)[new], after[new]
        for name, found in values(row.gather(1, (kept - ranks).clamp_min(0))[new]).items():
            column = self._columns[name]
            column[where] = found.to(column.dtype)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Everything that is kept, by name."""
        columns = {f"{name}.{column}": t for column, t in self._columns.items()}
        return {f"{name}.key": self.key, f"{name}.slot": self._slot, **columns}

    def restore(self, name: str, found: Mapping[str, Tensor]) -> None:
        """Take what :meth:`tensors` gave."""
        for key, tensor in self.tensors(name).items():
            tensor.copy_(found[key])
