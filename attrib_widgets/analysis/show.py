"""Arrays of one's own in the views of this package, without a model: ``aw.show.attention(tokens, weights)``.

Numbers are numpy arrays, torch tensors of any precision, or lists; they are shown as given (in float32), never
normalised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from ..result import Result, Table, strongest, with_others
from ..words.errors import AttribError
from ..words.text import digits_of, kind_of, number, percent, power, signed, visible

if TYPE_CHECKING:
    import pandas as pd

#: Rows of the table that a result prints.
ROWS = 12


@dataclass(eq=False, repr=False)
class ShownBars(Result):
    """Signed bars about one zero line, and their sum beside ``total``, where one was given."""

    title: str
    names: list[str]
    values: Float[np.ndarray, "row"]
    total: float | None = None
    unit: str = ""

    @property
    def sum(self) -> float:
        """Sum of all bars."""
        return float(self.values.sum(dtype=np.float64))

    @property
    def mismatch(self) -> float | None:
        """The total minus the sum; None where no total was given."""
        return None if self.total is None else self.total - self.sum

    def summary(self) -> Table:
        values, digits = torch.from_numpy(self.values), _digits(self.values)
        order = strongest(values, ROWS)
        rows, bars = with_others(values, order, lambda i: [self.names[i]], digits)
        digits = max(4, digits + 1)
        footer = f"sum {number(self.sum, digits)}"
        if self.total is not None and self.mismatch is not None:
            footer += f" · total {number(self.total, digits)} · mismatch {power(self.mismatch)}"
        return Table(self.title, ["", self.unit or "value"], rows, bars, footer=footer, last=len(rows) - len(order))

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``name`` and ``value``, in the order given."""
        import pandas as pd

        return pd.DataFrame({"name": self.names, "value": self.values})


@dataclass(eq=False, repr=False)
class ShownTokens(Result):
    """Tokens, each shaded by its number."""

    title: str
    tokens: list[str]
    values: Float[np.ndarray, "token"]
    unit: str = ""

    def summary(self) -> Table:
        values = torch.from_numpy(self.values)
        order = sorted(strongest(values, ROWS))
        rows, bars = with_others(values, order, lambda i: [str(i), visible(self.tokens[i])], _digits(self.values))
        return Table(self.title, ["position", "token", self.unit or "value"], rows, bars, last=len(rows) - len(order))

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``position``, ``token`` and ``value``."""
        import pandas as pd

        return pd.DataFrame({"position": range(len(self.tokens)), "token": self.tokens, "value": self.values})


@dataclass(eq=False, repr=False)
class ShownAttention(Result):
    """Patterns of one or more heads: row t is a token that reads, column s a token that is read."""

    title: str
    tokens: list[str]
    weights: Float[np.ndarray, "head destination source"]
    heads: list[str]
    unit: str = ""

    @property
    def probabilities(self) -> bool:
        """Whether every weight is from 0 to 1 and no row sums to more than 1: they then print as percentages."""
        w = self.weights
        return bool((w >= 0).all() and (w <= 1 + 1e-3).all() and (w.sum(-1) <= 1 + 1e-2).all())

    def _said(self, weight: float) -> str:
        return percent(weight) if self.probabilities else signed(weight, _digits(self.weights))

    def summary(self) -> Table:
        last = self.weights[:, -1]
        best = np.abs(last).argmax(1)
        rows = [
            [head, visible(self.tokens[s]), self._said(float(last[h, s]))]
            for h, (head, s) in enumerate(zip(self.heads[:ROWS], best[:ROWS], strict=True))
        ]
        more = len(self.heads) - len(rows)
        note = f"What {visible(self.tokens[-1])} (position {len(self.tokens) - 1}) reads most."
        return Table(self.title, ["head", "token", self.unit or "weight"], rows, note=note, footer=_more(more))

    def to_dataframe(self) -> pd.DataFrame:
        """One row a head and pair of tokens: ``head``, ``destination``, ``source``, ``weight``."""
        import pandas as pd

        heads, n = len(self.heads), len(self.tokens)
        h, t, s = (axis.reshape(-1) for axis in np.indices((heads, n, n)))
        columns = {"head": np.array(self.heads, dtype=object)[h], "destination": t, "source": s}
        return pd.DataFrame({**columns, "weight": self.weights.reshape(-1)})


@dataclass(eq=False, repr=False)
class ShownGrid(Result):
    """A map of numbers with named rows and columns; blue is above zero, orange below."""

    title: str
    rows: list[str]
    columns: list[str]
    values: Float[np.ndarray, "row column"]
    unit: str = ""

    def summary(self) -> Table:
        flat = torch.from_numpy(self.values.reshape(-1))
        width = len(self.columns)
        order = strongest(flat, ROWS)

        def cells(i: int) -> list[str]:
            return [self.rows[i // width], visible(self.columns[i % width])]

        rows, bars = with_others(flat, order, cells, _digits(self.values))
        return Table(self.title, ["row", "column", self.unit or "value"], rows, bars, last=len(rows) - len(order))

    def to_dataframe(self) -> pd.DataFrame:
        """The map itself: an index of rows, a column for each column."""
        import pandas as pd

        return pd.DataFrame(self.values, index=self.rows, columns=self.columns)


def attention(
    tokens: Sequence[str],
    weights: Any,
    *,
    heads: Sequence[str] | None = None,
    title: str = "",
    unit: str = "",
) -> ShownAttention:
    """Attention patterns, or any numbers between pairs of tokens.

    Args:
        tokens: one text a position; a leading space is drawn as ``·``.
        weights: [destination, source] or [head, destination, source]. What is above the diagonal is drawn where any of
            it is not 0.
        heads: a name for each head; None numbers them.
        title: None of one's own says how many heads there are.
        unit: what the numbers are, where they are no probabilities.

    Raises:
        AttribError: another shape, numbers that are not finite, or more names than heads.
    """
    names = _texts(tokens, "tokens")
    found = _array(weights, "weights", (2, 3), "[destination, source] or [head, destination, source]")
    found = found[None] if found.ndim == 2 else found
    count, n = len(found), len(names)
    if found.shape[1:] != (n, n):
        raise AttribError(
            f"weights has shape {_shape(weights)}, and there are {n} tokens.", f"Give [{n}, {n}] for every head."
        )
    labels = [f"head {i}" for i in range(count)] if heads is None else _texts(heads, "heads", count, "weights")
    of = labels[0] if count == 1 else f"{count} heads"
    return ShownAttention(title or f"Attention of {of}", names, found, labels, unit)


def tokens(tokens: Sequence[str], values: Any, *, title: str = "", unit: str = "") -> ShownTokens:
    """Tokens shaded by one number each: blue above zero, orange below.

    Args:
        tokens: one text a position; a leading space is drawn as ``·``.
        values: [token].
        title: what is shown.
        unit: of the numbers.

    Raises:
        AttribError: another shape, or numbers that are not finite.
    """
    found = _array(values, "values", (1,), "[token]")
    names = _texts(tokens, "tokens", len(found), "values")
    return ShownTokens(title or "Numbers by token", names, found, unit)


def bars(
    names: Sequence[str], values: Any, total: float | None = None, *, title: str = "", unit: str = ""
) -> ShownBars:
    """Signed bars, largest first, and their sum.

    Args:
        names: one for each bar.
        values: [bar].
        total: the number that they should sum to; the mismatch is then shown.
        title: what is shown.
        unit: of the numbers.

    Raises:
        AttribError: another shape, or numbers that are not finite.
    """
    found = _array(values, "values", (1,), "[bar]")
    labels = _texts(names, "names", len(found), "values")
    whole = None if total is None else float(_array(total, "total", (0,), "one number"))
    return ShownBars(title or f"{len(labels)} numbers", labels, found, whole, unit)


def grid(
    values: Any,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    *,
    title: str = "",
    unit: str = "",
) -> ShownGrid:
    """A map of numbers, for example of heads by layer, or of tokens by layer.

    Args:
        values: [row, column].
        rows: a name for each row; None numbers them.
        columns: a name for each column; None numbers them.
        title: what is shown.
        unit: of the numbers.

    Raises:
        AttribError: another shape, or numbers that are not finite.
    """
    found = _array(values, "values", (2,), "[row, column]")
    sides = [
        [str(i) for i in range(size)] if given is None else _texts(given, name, size, "values")
        for given, name, size in ((rows, "rows", len(found)), (columns, "columns", found.shape[1]))
    ]
    return ShownGrid(title or f"{len(sides[0])} × {len(sides[1])} numbers", sides[0], sides[1], found, unit)


def _array(given: Any, name: str, axes: tuple[int, ...], wanted: str) -> Float[np.ndarray, "..."]:
    """``given`` in float32, with a number of axes that is wanted and numbers that can be drawn."""
    remedy = f"Give {wanted}." if axes == (0,) else f"Give an array {wanted}."
    try:
        found = given.detach().resolve_conj().cpu() if isinstance(given, torch.Tensor) else given
        if isinstance(found, torch.Tensor):
            found = found.numpy() if found.is_complex() or not found.is_floating_point() else found.double().numpy()
        found = np.asarray(found)
        if found.dtype.kind not in "biufO":
            raise TypeError(f"their type is {found.dtype}")
        found = np.ascontiguousarray(found, dtype=np.float64).reshape(np.shape(found))
    except (TypeError, ValueError, RuntimeError) as reason:  # NotImplementedError of a meta tensor among them
        raise AttribError(f"{name} are no numbers: {str(reason).rstrip('.!')}.", remedy) from None
    if found.ndim not in axes or not found.size:
        more = "" if axes == (0,) else ", with at least one number"
        raise AttribError(f"{name} has shape {_shape(found)}.", f"Give {wanted}{more}.")
    wrong = int((~np.isfinite(found)).sum())
    if wrong:
        raise AttribError(f"{wrong} of {name} are NaN or infinite.", f"Try np.nan_to_num({name}), or leave them out.")
    if np.abs(found).max() > np.finfo(np.float32).max:
        raise AttribError(f"{name} has numbers beyond float32.", "Give them in another unit.")
    return found.astype(np.float32)


def _texts(given: Any, name: str, count: int | None = None, of: str = "") -> list[str]:
    """``given`` as a list of texts, as many as ``count``; half a surrogate pair, which nothing can write, is U+FFFD."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise AttribError(f"{name} is {kind_of(given)}, not a list of texts.", f'Write {name}=["a", "b"].')
    found = [str(text).encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in given]
    if not found:
        raise AttribError(f"{name} is empty.", "Give at least one.")
    if count is not None and len(found) != count:
        raise AttribError(f"{name} and {of} differ in length: {len(found)} and {count}.", "Give one for each.")
    return found


def _digits(values: Float[np.ndarray, "..."]) -> int:
    return digits_of(values.flatten().tolist())


def _shape(given: Any) -> str:
    return str(list(np.shape(given)))


def _more(count: int) -> str:
    return f"and {count} more" if count > 0 else ""
