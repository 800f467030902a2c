"""What the self-check found: how far every layer splits, and how far every sum was off."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ...result import Table, render_text
from .levels import Level, granularity_of, reasons_of, why, words_of


@dataclass(frozen=True)
class SelfCheck:
    """What was found exact on the loaded model.

    ``levels`` has one :class:`.levels.Level` for every layer: what it splits into, and why not further. ``remark`` is
    something to know about a model that is exact all the same. ``numbers`` maps each question to its worst element over
    the layers in units of the rounding bound (at most 1 passes). The other attributes sum the levels up.
    """

    levels: tuple[Level, ...]
    numbers: dict[str, float] = field(default_factory=dict)
    remark: str = ""

    @property
    def granularity(self) -> str:
        """``"heads"``, ``"sublayers"`` or ``"layers"`` where all layers split alike, else ``"mixed"``."""
        return granularity_of(self.levels)

    @property
    def words(self) -> str:
        """How far the model splits: ``"per head"``, ``"per head in 3 of 4 layers, L1 as a whole layer"``."""
        return words_of(self.levels)

    @property
    def reason(self) -> str:
        """Why a layer is not split as far as what its heads carried from whom; each kind of reason once."""
        return why(self.levels, "values")

    @property
    def attention_ok(self) -> bool:
        """Patterns, values and where they come from are exact in every layer."""
        return all(level.sources and level.values for level in self.levels)

    @property
    def values_reason(self) -> str:
        """Why it is not known where values come from, though they are known."""
        return self._reason_of("values", "sources")

    @property
    def scores_ok(self) -> bool:
        """Queries, keys and scores are known exactly in every layer, not patterns and values alone."""
        return all(level.scores for level in self.levels)

    @property
    def scores_reason(self) -> str:
        """Why scores are not known where sources are."""
        return self._reason_of("scores", "sources")

    @property
    def no_scores(self) -> str:
        """Why scores are not known, in words."""
        return why(self.levels, "scores")

    @property
    def mlp_ok(self) -> bool:
        """What the MLPs read is known exactly, and experts add up to them, wherever there is an MLP to be shown."""
        return not self.mlp_reason

    @property
    def mlp_reason(self) -> str:
        """Why the inside of an MLP is not known where the MLP is."""
        return self._reason_of("inside", "sublayers")

    def _reason_of(self, split: str, given: str) -> str:
        """Why ``split`` is not exact in layers where ``given`` is."""
        found = {i: getattr(level, split).reason for i, level in enumerate(self.levels) if getattr(level, given)}
        return reasons_of(found, len(self.levels))

    @property
    def causal(self) -> bool:
        """Later tokens change nothing before them."""
        return self.numbers.get("causality", 0.0) <= 1

    @property
    def missed(self) -> int:
        """How many splits are not exact, over all layers, the coarse ones counting most."""
        weights = {"sublayers": 10_000, "heads": 1_000, "sources": 3, "values": 1, "scores": 2, "inside": 2}
        return sum(w for level in self.levels for split, w in weights.items() if not getattr(level, split))

    @property
    def furthest(self) -> float:
        """How far off it is: the worst of its numbers.

        Attention that could not be recomputed at all is further off than any number: the reason is then that of the
        likeliest anatomy, not of one that does not fit.
        """
        if self.ok and self.mlp_ok:
            return 0.0
        coarse = any(level.sublayers and not level.heads for level in self.levels)
        untold = coarse and "attention" not in self.numbers
        untold |= bool(self.scores_reason) and "scores" not in self.numbers
        untold |= "stream" not in self.numbers
        return math.inf if untold else max(self.numbers.values(), default=0.0)

    @property
    def ok(self) -> bool:
        """Everything is exact, per head, in every layer."""
        return self.scores_ok and not self.values_reason

    def __repr__(self) -> str:
        rows = [[name, f"{value:.2f}", "passes" if value <= 1 else "FAILS"] for name, value in self.numbers.items()]
        table = Table(
            f"Self-check: exact {self.words}",
            ["question", "worst element, in its rounding bound", ""],
            rows,
            footer=self.reason or self.values_reason or self.scores_reason or self.remark,
        )
        return render_text(table)
