"""What the answer becomes without a part, in one prompt or over several: the result of :func:`.ablate.ablate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ....result import Result, Table, strongest
from ....words.errors import ComponentError
from ....words.places import PlaceLike
from ....words.text import digits_of, number, others_label, signed
from ..cells.cells import Cell, found_in
from ..measuring.answers import Answer, mean_answer
from ..measuring.common import quoted
from ..measuring.pairs import Cost
from ..measuring.statistics import between, interval_of
from .donors import SAID, Method

if TYPE_CHECKING:
    import pandas as pd

    from ....model.run import Run


@dataclass(eq=False, repr=False)
class Ablation(Result):
    """How the metric changed without each part, of one prompt or in the mean over several.

    ``ablated[prompt, draw, cell]`` is the metric without the part (one draw, except when resampling; only the finished
    draws where it was cancelled; NaN where a prompt has fewer), ``base`` that of the runs as they are. ``values`` are
    the mean changes: negative where the part helped. ``streams[prompt][draw]`` is what the final norm read, where these
    were few enough to be kept; ``asked`` the token that was asked about, a prompt each; ``source`` says what a part was
    set to; ``strength`` is what it was scaled by, or held at.
    """

    runs: list[Run]
    cells: list[Cell]
    method: Method
    metric: str
    unit: str
    position: int
    ablated: Float[Tensor, "prompt draw cell"]
    base: Float[Tensor, "prompt"]
    done: Tensor
    cost: Cost
    streams: tuple[tuple[Float[Tensor, "cell d_model"], ...], ...] = ()
    asked: tuple[int, ...] = ()
    source: str = "zero"
    strength: float | None = None

    @property
    def complete(self) -> bool:
        """Whether every part was taken out of every prompt (it was not cancelled)."""
        return bool(self.done.all()) and len(self.runs) == len(self.asked)

    @property
    def notes(self) -> list[str]:
        """Remarks for the reader."""
        count = len(self.asked)
        cut = "cancelled" if len(self.runs) == count else f"cancelled: {len(self.runs)} of {count} prompts"
        return [*([] if self.complete else [cut]), *self.cost.notes]

    @property
    def run(self) -> Run:
        """The run, the first of several."""
        return self.runs[0]

    @property
    def changes(self) -> Float[Tensor, "prompt cell"]:
        """Change of the metric in every prompt, the mean over draws."""
        return self.ablated.nanmean(1) - self.base[:, None]

    @property
    def values(self) -> Float[Tensor, "cell"]:
        """Mean change of the metric; NaN where it was not computed."""
        return torch.where(self.done, self.changes.mean(0), torch.nan).float()

    @property
    def spread(self) -> Float[Tensor, "cell"] | None:
        """Standard deviation of the change over draws; None for one draw, and for several prompts."""
        return self.ablated[0].std(0).float() if len(self.runs) == 1 and self.ablated.shape[1] > 1 else None

    @property
    def interval(self) -> Float[Tensor, "cell 2"] | None:
        """95 % interval of :attr:`values` over prompts; None for fewer than eight, NaN where too few show it."""
        return interval_of(self.changes, torch.ones(len(self.runs)))

    @property
    def labels(self) -> list[str]:
        """Names of the cells."""
        return [str(c) for c in self.cells]

    def __getitem__(self, which: PlaceLike | Sequence[PlaceLike] | Cell) -> float:
        return float(self.values[found_in(self.cells, self.run.model, which, "ablation")])

    def answer_of(self, which: PlaceLike | Sequence[PlaceLike] | Cell, prompt: int = 0) -> Answer:
        """What the model says without that cell (the probabilities of several draws averaged).

        Raises:
            ComponentError: no such cell, or too many cells for their streams to be kept.
        """
        return self._answer(found_in(self.cells, self.run.model, which, "ablation"), prompt)

    def _answer(self, index: int, prompt: int) -> Answer:
        if not self.streams:
            raise ComponentError("The answers of these cells were not kept.", "Ablate fewer of them, with components=.")
        return mean_answer(self.run.model, [s[index] for s in self.streams[prompt]], self.asked[prompt])

    def top(self, k: int = 10) -> list[tuple[Cell, float]]:
        """The ``k`` largest changes by magnitude, with their signs."""
        values = self.values
        order = strongest(values, k)
        return [(self.cells[i], float(values[i])) for i in order]

    def title(self) -> str:
        """The finding in one line."""
        if not bool(self.done.any()):
            return "Cancelled before the first part was taken out"
        cell = self.top(1)[0][0]
        over = "" if len(self.runs) == 1 else f" (mean of {len(self.runs)} prompts)"
        return f"{self.without(cell.short)} {self.moved(cell)}{over}"

    def without(self, cell: str) -> str:
        """What was done to a cell, as the beginning of a sentence: ``"Without L0H0"``, ``"With L2/40 × 3"``."""
        return f"Without {cell}" if self.strength is None else f"With {cell} {SAID[self.method](self.strength)}"

    def moved(self, which: PlaceLike | Sequence[PlaceLike] | Cell) -> str:
        """From where to where the metric goes without that cell, in words."""
        base = float(self.base.mean())
        return f"the {self.metric} goes from {number(base)} to {number(base + self[which])}"

    def summary(self) -> Table:
        shown = [(c, v) for c, v in self.top(10) if v == v]  # what was not computed has no row
        rows = [[c.short, signed(v, digits_of(v for _, v in shown))] for c, v in shown]
        interval = self.interval
        if interval is not None:
            for row, (cell, _) in zip(rows, shown, strict=True):
                row.insert(1, between(*interval[self.cells.index(cell)].tolist()))
        words = f"set to {self.source}" if self.strength is None else SAID[self.method](self.strength)
        more = "" if len(self.runs) == 1 else f" and {len(self.runs) - 1} more"
        note = f"each part {words}, in {quoted(self.run)}{more}"
        rest = int((~self.values.isnan()).sum()) - len(shown)
        footer = f"{others_label(rest)} smaller; {self.cost}" if rest > 0 else str(self.cost)
        columns = ["ablated", *(["95 % interval"] if interval is not None else []), f"change, {self.unit}"]
        if self.streams and len(self.runs) == 1:
            columns.append("the model then says")
            for row, (c, _) in zip(rows, shown, strict=True):
                row.append(str(self._answer(self.cells.index(c), 0)))
        return Table(self.title(), columns, rows, [v for _, v in shown], "\n".join([note, *self.notes]), footer)

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``cell``, ``change`` and ``ablated`` (mean over prompts and draws), and the interval's ends."""
        import pandas as pd

        ablated = self.ablated.nanmean(1).mean(0).numpy()
        frame = pd.DataFrame({"cell": self.labels, "change": self.values.numpy(), "ablated": ablated})
        interval = self.interval
        if interval is not None:
            frame["low"], frame["high"] = interval[:, 0].numpy(), interval[:, 1].numpy()
        return frame
