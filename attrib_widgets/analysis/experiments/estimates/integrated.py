"""Integrated gradients between two prompts, along the inputs or along the stream at one cut, with its error reported.

Sundararajan et al. 2017 (arXiv 1703.01365); along activations Hanna et al. 2024 (arXiv 2403.17806). The path runs
straight from the corrupted to the clean stream before one layer, through which everything earlier must pass. Gradients
are taken at the midpoints of the steps (error of second order), all steps as rows of one forward and backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.identity.steady import steady
from ....model.tracing.causality import tokens_beside
from ....model.tracing.gradient import differentiate
from ....result import Result, Table, strongest
from ....words.components import whole
from ....words.errors import GranularityError, PositionError
from ....words.targets import TokenSet, rather_than
from ....words.text import digits_of, gap_said, number, power, signed, visible
from ..measuring.metrics import MetricLike
from ..measuring.pairs import as_pair, questions, settled

if TYPE_CHECKING:
    import pandas as pd

    from ....model.model import Model
    from ....model.run import Run


@dataclass(eq=False, repr=False)
class Integrated(Result):
    """How much of the gap each position of the stream accounts for at one cut.

    ``values[position]`` sum to ``total``; ``gap`` is what the two runs really differ by; ``error`` their relative
    difference, which more steps make smaller (ten times as many: a hundredth).
    """

    clean: Run
    corrupted: Run
    cut: int
    steps: int
    metric: str
    unit: str
    values: Float[Tensor, "position"]
    gap: float
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> float:
        """Sum over positions."""
        return float(self.values.double().sum())

    @property
    def error(self) -> float:
        """Completeness error: (sum - gap) / gap."""
        return (self.total - self.gap) / self.gap if self.gap else float("nan")

    def title(self) -> str:
        """The finding in one line."""
        best = int(self.values.abs().argmax())
        token, value = visible(self.clean.tokens[best]), float(self.values[best])
        return f"Position {best} ({token}) accounts for {signed(value)} of {gap_said(self.gap, self.unit)}"

    def summary(self) -> Table:
        order, digits = strongest(self.values, 10), digits_of(self.values.tolist())
        rows = [
            [
                str(p),
                f"{visible(self.corrupted.tokens[p])} to {visible(self.clean.tokens[p])}",
                signed(float(v), digits),
            ]
            for p, v in ((p, self.values[p]) for p in sorted(order))
        ]
        place = "the inputs" if self.cut == 0 else f"the stream before layer {self.cut}"
        note = f"gradients along {place}, {self.steps} midpoint steps, of the {self.metric}"
        note = "\n".join([note, *self.notes])
        footer = f"sum {number(self.total, 4)}   gap {number(self.gap, 4)}   error {power(self.error)}"
        bars: list[float | None] = [float(self.values[p]) for p in sorted(order)]
        return Table(self.title(), ["position", "token", self.unit], rows, bars, note, footer)

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``position``, ``clean``, ``corrupted`` (tokens) and ``value``."""
        import pandas as pd

        n = range(len(self.values))
        tokens = {"clean": self.clean.tokens, "corrupted": self.corrupted.tokens}
        return pd.DataFrame({"position": list(n), **tokens, "value": self.values.numpy()})


@steady()
def integrated_gradients(
    model: Model | str,
    clean: Any,
    corrupted: Any,
    target: MetricLike | None = None,
    *,
    against: TokenSet | None = None,
    cut: int = 0,
    steps: int = 5,
    position: int = -1,
) -> Integrated:
    """Split the gap between two prompts over the positions of the stream before layer ``cut``.

    A mixture of experts jumps along the path wherever a token changes its experts, and a jump has no gradient: there
    the error stays, however many steps.

    Args:
        target, against: as in :func:`attrib_widgets.patch`.
        cut: 0 is the inputs (embeddings, learned positions included), ``n_layers`` what the final norm reads.
        steps: midpoint steps: more of them where ``error`` is too large (sharp attention at the inputs, say).

    Raises:
        PositionError: prompts of different lengths, no such cut, or no steps.
        GranularityError: layers know their tokens beside the stream (per-layer embeddings).
    """
    a, b = pair = as_pair(model, clean, corrupted, position)
    layers = a.model.n_layers
    if (number_of := whole(cut)) is None or not 0 <= number_of <= layers:
        raise PositionError(f"{cut!r} is no place to cut.", f"Use 0 (the inputs) to {layers} (the final norm).")
    if (whole(steps) or 0) < 1:
        raise PositionError(f"{steps!r} is not a number of steps.", "Use 5, or more for a smaller error.")
    if tokens_beside(a.model, a.ids):
        raise GranularityError(
            f"The layers of {a.model.name} know their tokens beside the stream, so no path of streams leads from one "
            "prompt to the other.",
            "aw.patch and aw.attribution_patch take its parts one by one.",
        )
    targets, remarks = settled([pair], [rather_than(target, against, a.model.single_token)], position)
    (asked,) = questions([pair], targets, position)
    metric = asked.metric
    start, end = (run.record.streams[cut].float() for run in (b, a))
    along = (torch.arange(steps, device=start.device) + 0.5) / steps
    rows = start + along[:, None, None] * (end - start)
    found = differentiate(b, metric.differentiable, [("pre", cut)], position, starts={("pre", cut): rows})
    mean = found.at["pre", cut].double().mean(0)
    values = (mean * (end - start).double()).sum(-1)
    gap, notes = float(asked.ends[0] - asked.ends[1]), [*remarks, *metric.notes]
    return Integrated(a, b, cut, steps, metric.name, metric.unit, values.float().cpu(), gap, notes)
