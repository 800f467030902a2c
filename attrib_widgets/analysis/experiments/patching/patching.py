"""What patched cells recover of the gap between two runs, or cost: the result of :func:`.patch.patch`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.selfcheck.levels import NEEDED
from ....result import Result, Table, strongest
from ....words.errors import ComponentError
from ....words.places import PlaceLike
from ....words.text import gap_said, number, others_label, share, signed
from ..cells.cells import Cell, found_in
from ..measuring.answers import Answer, answers
from ..measuring.common import quoted
from ..measuring.pairs import SHARES, Cost, Direction
from ..measuring.statistics import between, counted, interval_of, ratio_of_means, said_of

if TYPE_CHECKING:
    import pandas as pd

    from ....model.model import Model
    from ....model.run import Run


@dataclass(eq=False, repr=False)
class Patching(Result):
    """Recovery (denoise) or damage (noise) of every cell: 0 where nothing changes, 1 where everything does.

    Attributes:
        pairs: (clean, corrupted) runs; cells: the experiments; position: where the metric is read.
        patched: the metric of every cell; clean, corrupted: that of the two runs.
        done: which cells were computed (all, unless it was cancelled).
        left_out: numbers of the pairs that were given and left out (``skip=``).
        streams: what the final norm read in every cell, a pair each, where they were few enough to be kept.
        asked: the token that was asked about, a pair each.
    """

    pairs: list[tuple[Run, Run]]
    cells: list[Cell]
    direction: Direction
    metric: str
    unit: str
    position: int
    patched: Float[Tensor, "pair cell"]
    clean: Float[Tensor, "pair"]
    corrupted: Float[Tensor, "pair"]
    done: Tensor
    cost: Cost
    left_out: tuple[int, ...] = ()
    streams: tuple[Float[Tensor, "cell d_model"], ...] = ()
    asked: tuple[int, ...] = ()

    @property
    def model(self) -> Model:
        """The model that ran."""
        return self.pairs[0][0].model

    @property
    def share(self) -> str:
        """``"recovery"`` or ``"damage"``."""
        return SHARES[self.direction]

    @property
    def verb(self) -> str:
        """What a cell is said to do to the gap."""
        return "recovers" if self.direction == "denoise" else "costs"

    @property
    def gap(self) -> Float[Tensor, "pair"]:
        """Clean minus corrupted metric."""
        return self.clean - self.corrupted

    @property
    def changes(self) -> Float[Tensor, "pair cell"]:
        """How far each cell moved the metric towards the other run, in the metric's unit."""
        start = (self.corrupted if self.direction == "denoise" else self.clean)[:, None]
        change = self.patched - start
        return change if self.direction == "denoise" else -change

    @property
    def values(self) -> Float[Tensor, "cell"]:
        """Recovery or damage of every cell; NaN where the pairs have no gap, or the cell was not computed."""
        values = ratio_of_means(self.changes, self.gap)
        return torch.where(self.done, values, torch.nan).float()

    @property
    def interval(self) -> Float[Tensor, "cell 2"] | None:
        """95 % interval of :attr:`values` over pairs; None for fewer than eight, NaN where too few of them show it."""
        found = interval_of(self.changes, self.gap)
        return None if found is None else torch.where(self.done[:, None], found, torch.nan)

    @property
    def complete(self) -> bool:
        """Whether every cell was computed (it was not cancelled)."""
        return bool(self.done.all())

    @property
    def labels(self) -> list[str]:
        """Names of the cells."""
        return [str(c) for c in self.cells]

    @property
    def counted(self) -> str:
        """How many pairs: ``"one pair of prompts"``, ``"38 of 40 pairs"``."""
        return counted(len(self.pairs), self.left_out)

    @property
    def notes(self) -> list[str]:
        """Remarks for the reader."""
        notes = [f"n = {len(self.pairs)}: {self.counted}", *said_of(self.gap, self.left_out)]
        if not self.complete:
            notes.append(f"cancelled: {int(self.done.sum())} of {len(self.cells)} cells computed")
        return notes + self.cost.notes

    def __getitem__(self, which: PlaceLike | Sequence[PlaceLike] | Cell) -> float:
        return float(self.values[found_in(self.cells, self.model, which, "patching")])

    def answer_of(self, which: PlaceLike | Sequence[PlaceLike] | Cell, pair: int = 0) -> Answer:
        """What the model says with that cell patched: its likeliest token, and the one that was asked about.

        Raises:
            ComponentError: no such cell; too many cells for their streams to be kept, or none were.
        """
        return self._answers([found_in(self.cells, self.model, which, "patching")], pair)[0]

    def answers(self, k: int = 10, pair: int = 0) -> list[tuple[Cell, Answer]]:
        """:meth:`answer_of` the ``k`` largest cells."""
        chosen = strongest(self.values, k)
        return list(zip([self.cells[i] for i in chosen], self._answers(chosen, pair), strict=True))

    def _answers(self, chosen: list[int], pair: int) -> list[Answer]:
        if not self.streams:
            raise ComponentError("The answers of these cells were not kept.", "Patch fewer of them, with components=.")
        return answers(self.model, self.streams[pair][chosen], self.asked[pair])

    def grid(self, site: str | None = None) -> Tensor:
        """Values of one site as an array: [layer], [layer, head], [layer, position] or [layer, head, position].

        NaN where a layer has no such head. The layers are those with cells; all of them, NaN where the site is not
        exact, once every layer where it is has cells.

        Raises:
            ComponentError: cells of several sites, and no ``site``; or joint cells, which have no place in an array.
        """
        chosen = self._single(site)
        layers = self._layers({c.parts[0].row for _, c in chosen}, chosen[0][1].parts[0].site)
        heads = sorted({c.parts[0].head for _, c in chosen if c.parts[0].head is not None})
        places = sorted({c.positions for _, c in chosen if c.positions is not None})
        out = torch.full((len(layers), max(1, len(heads)), max(1, len(places))), torch.nan)
        values = self.values
        for i, c in chosen:
            head = heads.index(c.parts[0].head) if c.parts[0].head is not None else 0
            place = places.index(c.positions) if c.positions is not None else 0
            out[layers.index(c.parts[0].row), head, place] = values[i]
        if len(places) < 2:
            out = out[..., 0]
        return out if heads else out[:, 0]

    def _layers(self, rows: set[int], site: str) -> list[int]:
        """The layers of a grid with cells in ``rows``: all, where only those are left out that have no such cells."""
        split = NEEDED.get(site)
        if split is None:
            return sorted(rows)
        levels = self.model.check.levels
        known = {i for i, level in enumerate(levels) if getattr(level, split)}
        return list(range(len(levels))) if rows == known else sorted(rows)

    def _single(self, site: str | None) -> list[tuple[int, Cell]]:
        single = [(i, c) for i, c in enumerate(self.cells) if len(c.parts) == 1]
        sites = list(dict.fromkeys(c.parts[0].grid for _, c in single))
        if site is None and len(sites) != 1:
            raise ComponentError("Which site?", f"Name one of {', '.join(sites) or 'none: all cells are joint'}.")
        chosen = [
            (i, c) for i, c in single if (site or sites[0]) in (c.parts[0].grid, c.parts[0].slot[0], c.parts[0].site)
        ]
        if not chosen:
            raise ComponentError(f"No cell is at {site!r}.", f"The sites are {', '.join(sites)}.")
        return chosen

    @property
    def heads(self) -> Tensor:
        """Values of the heads: [layer, head], or with a position axis."""
        return self.grid("z")

    def top(self, k: int = 10) -> list[tuple[Cell, float]]:
        """The ``k`` largest cells by magnitude, with their signs."""
        values = self.values
        order = strongest(values, k)
        return [(self.cells[i], float(values[i])) for i in order]

    def title(self) -> str:
        """The finding in one line."""
        if not bool(self.done.any()):
            return "Cancelled before the first cell was computed"
        if bool(self.values.isnan().all()):
            why = "The gaps of the pairs cancel" if bool(self.gap.any()) else "Clean and corrupted answer alike"
            return f"{why}: {self.metric} has no gap to explain"
        cell, value = self.top(1)[0]
        over = f" ({self.counted})" if len(self.pairs) + len(self.left_out) > 1 else ""
        most = " most:" if len(self.cells) > 1 else ""  # of one, nothing is compared
        return f"{cell.short} {self.verb}{most} {share(value)} of {gap_said(float(self.gap.mean()), self.unit)}{over}"

    def summary(self) -> Table:
        shown = [(c, v) for c, v in self.top(10) if v == v]  # what was not computed, or has no gap, has no row
        rows = [[c.short, signed(v)] for c, v in shown]
        bars: list[float | None] = [v for _, v in shown]
        interval = self.interval
        if interval is not None:
            for row, (cell, _) in zip(rows, shown, strict=True):
                row.insert(1, between(*interval[self.cells.index(cell)].tolist()))
        columns = ["patched", *(["95 % interval"] if interval is not None else []), self.share]
        if self.streams and len(self.pairs) == 1:
            columns.append("the model then says")
            for row, (_, said) in zip(rows, self.answers(len(shown)), strict=True):
                row.append(str(said))
        rest = int((~self.values.isnan()).sum()) - len(shown)
        clean, corrupted = float(self.clean.mean()), float(self.corrupted.mean())
        footer = f"{self.metric}: clean {number(clean, 3)}, corrupted {number(corrupted, 3)}, the gap is their "
        footer += f"difference; {self.cost}"
        footer = f"{others_label(rest)} smaller; {footer}" if rest > 0 else footer
        return Table(self.title(), columns, rows, bars, "\n".join([self.words(), *self.notes]), footer)

    def words(self) -> str:
        """What was put where."""
        of, into = ("clean", "corrupted") if self.direction == "denoise" else ("corrupted", "clean")
        clean, corrupted = map(quoted, self.pairs[0])
        first = "" if len(self.pairs) == 1 else "the first pair, "
        return f"{of} parts put into the {into} run ({first}clean: {clean}, corrupted: {corrupted})"

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``cell``, ``site``, ``layer``, ``head``, ``positions``, the share, ``change`` and the interval.

        Streams are at site ``pre`` of the layer that reads them, the last one at ``post`` of the last layer.
        """
        import pandas as pd

        single = [c.parts[0] if len(c.parts) == 1 else None for c in self.cells]
        interval = self.interval
        frame = pd.DataFrame(
            {
                "cell": self.labels,
                "site": [p.site if p else None for p in single],
                "layer": pd.array([(p.of or p).layer if p else None for p in single], dtype="Int64"),
                "head": pd.array([p.head if p else None for p in single], dtype="Int64"),
                "positions": [c.positions for c in self.cells],
                self.share: self.values.numpy(),
                "change": self.changes.mean(0).numpy(),
            }
        )
        if interval is not None:
            frame["low"], frame["high"] = interval[:, 0].numpy(), interval[:, 1].numpy()
        return frame
