"""Where features fire in the texts of their cards beside the strongest place, in as few bytes as will do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ...words.errors import AttribError
from ..sae import NOT_FINITE, is_finite

#: Names in the file of firings of what is not one row a feature.
PER_FIRING = ("weaker_positions", "weaker_shares", "weaker_read")
#: A firing is kept as so many parts of the strongest one in its text, and at least as one part.
STEPS = 255
#: Tokens of a text that are kept around a firing, and those of them that stand behind it where there are more.
WINDOW, BEHIND = 64, 15


class Weaker(NamedTuple):
    """Where else a feature fires in its contexts: ``counts[feature, rank]`` firings beside the strongest one.

    They stand one behind the other, by feature and rank, with their ``positions`` and how strong they are beside the
    strongest of their context, in parts of :data:`STEPS` (``shares``). Of a text the first ``read`` tokens were looked
    at: what the feature does behind them is not known.
    """

    counts: Int[Tensor, "feature rank"]
    positions: Int[Tensor, "firing"]
    shares: Int[Tensor, "firing"]
    read: int

    @staticmethod
    def around(
        window: Int[Tensor, "feature rank token"],
        position: Int[Tensor, "feature rank"],
        start: Int[Tensor, "feature rank"],
        filled: Bool[Tensor, "feature rank"],
        read: int,
    ) -> Weaker:
        """From how strongly a feature fires on the tokens around its firings (in parts of :data:`STEPS`): all but the
        firings themselves."""
        tokens = torch.arange(window.shape[-1])
        fires = (window > 0) & filled[..., None] & (tokens != (position - start)[..., None])
        where = (start[..., None] + tokens)[fires]
        return Weaker(fires.sum(-1), where, window[fires].long(), read)

    def packed(self) -> dict[str, Tensor]:
        """By their names in a file, in as few bytes as will hold them."""
        integers = (torch.uint8, torch.int16, torch.int32, torch.int64)
        numbers = self._replace(read=torch.tensor([self.read]))  # type: ignore[arg-type]
        return {f"weaker_{name}": smallest(values, *integers) for name, values in numbers._asdict().items()}

    @staticmethod
    def unpacked(found: Mapping[str, Tensor]) -> Weaker | None:
        """Those of a file; None of an older one, which has none.

        Raises:
            ValueError: numbers that do not belong together.
        """
        if "weaker_counts" not in found:
            return None
        counts, positions, shares, read = (found[f"weaker_{name}"].long() for name in Weaker._fields)
        weaker = Weaker(counts, positions, shares, int(read))
        if not int(weaker.counts.sum()) == len(weaker.positions) == len(weaker.shares):
            raise ValueError(f"they count {int(weaker.counts.sum())} weaker firings and have {len(weaker.positions)}")
        return weaker

    def row(self, feature: int, rank: int) -> tuple[list[int], list[float]]:
        """(positions, shares of the strongest) in one context of a feature."""
        number = feature * self.counts.shape[1] + rank
        start = int(self.counts.flatten()[:number].sum())
        end = start + int(self.counts[feature, rank])
        return self.positions[start:end].tolist(), (self.shares[start:end] / STEPS).tolist()


def start_of(position: Int[Tensor, "*shape"], length: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Where what is kept of a text of so many tokens begins, around a firing."""
    most = (length - WINDOW).clamp_min(0)
    return torch.minimum((position - (WINDOW - 1 - BEHIND)).clamp_min(0), most)


def smallest(values: Tensor, *dtypes: torch.dtype) -> Tensor:
    """Values in the first of these types that holds them: none overflows, and none that fires is stored as 0.

    Raises:
        AttribError: numbers that are not finite.
    """
    if not is_finite(values):
        raise AttribError("Cards hold numbers that are not finite.", NOT_FINITE)
    for dtype in dtypes:
        kept = values.to(dtype)
        if dtype.is_floating_point:
            same = bool(kept.isfinite().all()) and torch.equal(kept != 0, values != 0)
        else:
            same = torch.equal(kept.to(values.dtype), values)
        if same:
            break
    return kept
