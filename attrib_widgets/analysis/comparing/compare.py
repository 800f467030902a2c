"""Two attributions side by side: A, B and B − A by part, on one scale, each with its own check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...result import Result, Table, strongest, with_others
from ...words.errors import AttribError
from ...words.text import digits_of, safe, signed, visible
from ..attribution.attribution import Attribution, refuse_other
from .aligned import AlignedTokens, aligned

if TYPE_CHECKING:
    import pandas as pd

#: Rows of the table that it prints.
ROWS = 12


@dataclass(eq=False, repr=False)
class Comparison(Result):
    """Two attributions of one unit. Made by :func:`compare`.

    Attributes:
        a, b: the two.
        labels: the parts of either, those of A first.
        values: what each part contributes; NaN where one of the two has no such part.
    """

    a: Attribution
    b: Attribution
    labels: list[str]
    values: Float[Tensor, "side part"]
    _tokens: AlignedTokens | None = None

    @property
    def unit(self) -> str:
        """The unit of both."""
        return self.a.unit

    @property
    def difference(self) -> Float[Tensor, "part"]:
        """B − A; a part that one of the two lacks counts as 0 there."""
        filled = self.values.nan_to_num(0)
        return filled[1] - filled[0]

    def names(self) -> tuple[str, str]:
        """What tells the two apart: model, precision, prompt, target, and where they are read; of two that are alike in
        all of these, the prompt."""
        one, other = (_told(x) for x in (self.a, self.b))
        apart = [name for name in one if one[name] != other[name]]
        if "target" in apart:  # the longer words for it say no more
            apart = [name for name in apart if name != "words"]
        ends = {x.position - x.run.n_positions for x in (self.a, self.b)}
        if "words" in apart or (len(ends) == 1 and apart != ["place"]):
            apart = [name for name in apart if name != "place"]
        first, second = (" \u2192 ".join(side[name] for name in apart or ["prompt"]) for side in (one, other))
        return first, second

    def title(self) -> str:
        """The finding in one line."""
        difference = self.difference
        whole = f"{signed(self.b.actual - self.a.actual)} {self.unit} in all"
        order = [i for i in strongest(difference, 2) if float(difference[i]) != 0]
        if not order:
            return f"No part differs: {whole}"
        told = " and ".join(f"{self.labels[i]} ({signed(float(difference[i]))})" for i in order)
        return f"{told} differ{'s' if len(order) == 1 else ''} most between A and B: {whole}"

    def notes(self) -> list[str]:
        """What the two are, and that nothing was tested."""
        return [*(f"{x}: {name}" for x, name in zip("AB", self.names(), strict=True)), "Observed, not tested."]

    def tokens(self) -> AlignedTokens:
        """The words of both prompts under each other, and what all heads together carried from each in A, in B, and
        B − A: exact, where the heads of both and what they carried are."""
        if self._tokens is None:
            self._tokens = aligned(self.a, self.b)
        return self._tokens

    def checks(self) -> list[str]:
        """The check line of each."""
        return [f"{x}: {'   '.join(a.checks())}" for x, a in zip("AB", (self.a, self.b), strict=True)]

    def summary(self) -> Table:
        difference = self.difference
        order, sides = strongest(difference, ROWS), list(self.values)
        rows, bars = with_others(difference, order, lambda i: [self.labels[i]], beside=sides)
        total = (self.a.total, self.b.total, self.b.total - self.a.total)
        rows.append(["sum", *(signed(v, digits_of(self.values.flatten().tolist())) for v in total)])
        headings = ["component", f"A, {self.unit}", "B", "B − A"]
        last = len(rows) - len(order)
        return Table(
            self.title(), headings, rows, [*bars, None], "\n".join(self.notes()), "\n".join(self.checks()), last=last
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``component``, ``a``, ``b`` and ``difference``; NaN where one has no such part."""
        import pandas as pd

        one, other = self.values.tolist()
        columns = {"component": self.labels, "a": one, "b": other, "difference": self.difference.tolist()}
        return pd.DataFrame(columns)


def compare(a: Any, b: Any) -> Comparison:
    """Set two attributions side by side: two prompts, two answers, or two models of one shape (base and tuned).

    Args:
        a: an attribution, or an Explorer, whose attribution is taken.
        b: another of the same unit.

    Raises:
        AttribError: something else, other units, or no part in common.
    """
    sides = [_attribution(x) for x in (a, b)]
    units = [x.unit for x in sides]
    if units[0] != units[1]:
        raise AttribError(
            f"One is in {units[0]}, the other in {units[1]}.", "Compare logits with logits: aw.attribute(run, target)."
        )
    labels = list(dict.fromkeys([*sides[0].labels, *sides[1].labels]))
    if not {c for c in sides[0].components if c.layer is not None} & {*sides[1].components}:
        names = [x.model.name for x in sides]
        if sides[0].model is not sides[1].model:
            raise AttribError(f"{names[0]} and {names[1]} have no part in common.", "Compare models of one shape.")
        said = " and ".join(f"the {x.target.words(x.model, x.run)}" for x in sides)
        raise AttribError(f"No part is a row of both: {said}.", "Compare two numbers that are read at one place.")
    values = torch.full((2, len(labels)), torch.nan)
    for row, x in zip(values, sides, strict=True):
        row[[labels.index(label) for label in x.labels]] = x.values.float()
    return Comparison(sides[0], sides[1], labels, values)


def _told(x: Attribution) -> dict[str, str]:
    """What may tell an attribution from another, in the order in which it is said."""
    return {
        "model": x.model.name,
        "dtype": str(x.model.dtype).removeprefix("torch."),
        "prompt": f"\u201c{safe(x.run.text)}\u201d",
        "target": visible(x.target.short(x.model)),
        "words": x.target.words(x.model, x.run),
        "place": f"position {x.position}",
    }


def _attribution(given: Any) -> Attribution:
    found = given if isinstance(given, Attribution) else getattr(given, "attribution", given)
    refuse_other(found)
    attribution: Attribution = found
    return attribution
