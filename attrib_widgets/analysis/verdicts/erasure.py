"""What became of what a part wrote: how much of it is still in the stream later, and who removed it.

A large direct contribution that a later part erases is the known failure of direct logit attribution (Dao et al. 2023,
arXiv 2310.07325, "An Adversarial Example for Direct Logit Attribution"). What remains is measured causally, against the
run without the writer, along the writer's own direction; a part that happens to write the opposite is no eraser: one
is named only if its own projection collapses once the writer is ablated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.anatomy.norms import no_norm
from ...result import Result, Table
from ...words.components import Component, ComponentLike
from ...words.errors import ComponentError
from ...words.targets import TokenSet
from ...words.text import enumerated, number, share, signed
from ..attribution.attribution import Attribution, rather
from ..experiments.ablation.donors import zero_donor
from ..experiments.cells.cells import Cell, parts_of
from ..opening.vectors import written_vector
from ..reading.decomposition import decompose
from ..reading.point import ReadPoint

if TYPE_CHECKING:
    import pandas as pd

    from ...model.run import Run

COLLAPSE = 0.5  # an eraser's projection shrinks at least by this share when the writer is ablated
LEAST = 0.05  # of what was written: smaller erasures are not named
SMALL = 0.02  # of the largest bar: a smaller one misleads nobody, and later parts answer it with many times its size
MANY = 2.0  # from here on shares are said as times
FLAGGED = 0.5  # what is gone at the end, from which a contribution is flagged as erased


@dataclass(frozen=True)
class Eraser:
    """A part that removes what the writer wrote, as shares of it: what it writes along the same direction, with the
    writer in place and without it."""

    component: Component
    projection: float
    without: float

    @property
    def erased(self) -> float:
        """The share that it removes because the writer wrote it."""
        return self.without - self.projection


@dataclass(eq=False, repr=False)
class Erasure(Result):
    """What became of one part's write at one position.

    ``remaining[i]`` is the share of it in what layer ``first + i`` reads (the last: the final norm); 1 where nothing
    was removed, above 1 where it was amplified, below 0 where later parts wrote more against it than it was.
    ``opposed`` are parts that write against it whether it is there or not; ``share`` is its bar over the largest.
    """

    writer: Component
    first: int
    remaining: Float[Tensor, "layer"]
    erasers: list[Eraser]
    opposed: list[Eraser]
    contribution: float
    unit: str
    share: float = 1.0

    @property
    def small(self) -> bool:
        """Whether its direct contribution is too small to mislead anybody."""
        return self.share < SMALL

    @property
    def flagged(self) -> bool:
        """Whether most of it is gone at the end: then its direct contribution is no guide to its effect."""
        return not self.small and float(self.remaining[-1]) <= 1 - FLAGGED

    def title(self) -> str:
        """The finding in one line."""
        left = self._left()
        if not self.erasers:
            return left
        # Who takes a little has erased nothing: the word is for a write that is mostly gone.
        verb, (first, *more) = "erased" if self.flagged else "took", self.erasers[:3]
        rest = "".join(f", {e.component} {_amount(e.erased)}" for e in more)
        much = _amount(first.erased) + (" its size" if first.erased >= MANY else " of it")
        return f"{left}: {first.component} {verb} {much}{rest}"

    def _left(self) -> str:
        """What is left of it at the end, in words that a share below 0 or far above 1 does not break."""
        left, end = float(self.remaining[-1]), "reaches the final norm"
        if left < 0:
            more = f"later parts wrote {number(1 - left, 1)} times as much against it"
            return f"nothing of what {self.writer} wrote {end}, {more}"
        if left >= MANY:
            return f"what {self.writer} wrote {end} grown to {_amount(left)} its size"
        return f"{_amount(left)} of what {self.writer} wrote {end}"

    def summary(self) -> Table:
        shown = self.erasers[:8]
        rows = [[str(e.component), *map(_signed, (e.projection, e.without, -e.erased))] for e in shown]
        left = [f"L{self.first + i} {share(float(r))}" for i, r in enumerate(self.remaining[:-1])]
        left.append(f"final norm {share(float(self.remaining[-1]))}")
        more = " (above 100\u00a0%: other parts wrote the same way)" if float(self.remaining.max()) >= 1.005 else ""
        note = f"shares of what {self.writer} wrote, along its own direction; 100\u00a0% is all of it\n"
        note += f"still there in what each layer reads: {', '.join(left)}{more}"
        marks = f"Its direct contribution is {signed(self.contribution)} {self.unit}"
        if self.small:
            marks += f", {share(self.share, 1)} of the largest: too small to mislead"
        if self.flagged:
            marks += ", most of which was erased later: test it before believing it"
        if self.opposed:
            names = enumerated([str(e.component) for e in self.opposed[:3]])
            many = len(self.opposed[:3]) > 1
            marks += f". {names} {'write' if many else 'writes'} against it, too, and would without it"
        columns = ["eraser", "writes", "without the writer", "removed"]
        return Table(self.title(), columns, rows, [-e.erased for e in shown], note, f"{marks}.")

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``component``, ``projection``, ``without``, ``removed`` (the first minus the second, as printed) and
        ``named`` (as an eraser)."""
        import pandas as pd

        every = [*((e, True) for e in self.erasers), *((e, False) for e in self.opposed)]
        return pd.DataFrame(
            {
                "component": [str(e.component) for e, _ in every],
                "projection": [e.projection for e, _ in every],
                "without": [e.without for e, _ in every],
                "removed": [-e.erased for e, _ in every],
                "named": [named for _, named in every],
            }
        )


@torch.no_grad()
def erasure(a: Attribution, writer: ComponentLike, *, against: TokenSet | None = None) -> Erasure:
    """Follow what ``writer`` wrote at the attribution's position to the end. Costs one forward pass.

    Args:
        against: a token (or several) whose logit is subtracted from what is explained.

    Raises:
        ComponentError: ``writer`` is no head and no sublayer, or it wrote nothing.
    """
    a = rather(a, against)
    run, model, at = a.run, a.model, a.position
    part = a.components[a._row(writer)]
    if not part.is_replaceable:
        raise ComponentError(f"{part} is not a part that can be ablated.", 'Name a head ("L7H4") or an MLP ("L8.mlp").')
    layer, direction = part.layer or 0, written_vector(run, part, at)
    size = float(direction @ direction)
    if size == 0:
        raise ComponentError(f"{part} writes nothing at position {at}.")
    gone = run.edited(zero_donor(run).writes(Cell(parts_of(model, part), None)))
    unit, flat = direction / size, no_norm(model.d_model, direction.device)

    def along(which: Run) -> tuple[list[Component], list[float]]:
        rows = decompose(which, ReadPoint(model.n_layers), flat, unit[None], [at])
        return rows.components, rows.values[0, 0].tolist()

    components, before = along(run)
    _, after = along(gone)
    streams = zip(run.record.streams[layer + 1 :], gone.record.streams[layer + 1 :], strict=True)
    arriving = [model.carried(i, model.n_layers) for i in range(layer + 1, model.n_layers + 1)]
    left = [((x[at].float() - y[at].float()) * c) @ unit for (x, y), c in zip(streams, arriving, strict=True)]
    remaining = torch.stack(left).cpu()
    largest = max(abs(v) for c, v in zip(a.components, a.values.tolist(), strict=True) if c.is_replaceable)
    later = [
        Eraser(c, p, q)
        for c, p, q in zip(components, before, after, strict=True)
        if _writes_later(c, part) and p < 0 and c.is_replaceable
    ]
    opposed = [e for e in later if -e.projection >= LEAST]
    named = [e for e in opposed if e.erased >= LEAST and e.erased >= COLLAPSE * -e.projection]
    return Erasure(
        part,
        layer + 1,
        remaining,
        sorted(named, key=lambda e: -e.erased),
        sorted((e for e in opposed if e not in named), key=lambda e: e.projection),
        a[part],
        a.unit,
        abs(a[part]) / largest if largest else 0.0,
    )


def _amount(kept: float) -> str:
    """``"71 %"``, or ``"3.4 times"`` where a percentage would be read wrongly."""
    return f"{number(kept, 1)} times" if kept >= MANY else share(kept)


def _signed(kept: float) -> str:
    """A share with its sign, ``"+3 %"``; what reads 0 has none."""
    said = share(kept)
    return f"+{said}" if kept > 0 and said != share(0.0) else said


def _writes_later(c: Component, writer: Component) -> bool:
    if c.layer is None or writer.layer is None:
        return False
    order = {"mlp": 1, "beside": 2}
    within = order.get(c.kind, 0) > order.get(writer.kind, 0)
    return c.layer > writer.layer or (c.layer == writer.layer and within)
