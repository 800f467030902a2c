"""What every result shares: a ten-line table, the same table as static HTML, a DataFrame, and a view.

A result knows nothing of widgets or plots. It finds both through :data:`slots`, which the package's ``__init__``
fills: the ``widgets`` package registers a view for each result type in :func:`view_of`, ``plots`` a figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING, Any

from ..words.errors import AttribError, renamed
from ..words.kinds import Kinds
from ..words.text import digits_of, kind_of, number, others_label, power, signed
from . import still
from .table import Table, render_html, render_text, with_kinds

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@singledispatch
def view_of(result: Any) -> Any:
    """The widget that shows ``result``. ``attrib_widgets.widgets`` registers one per result type.

    Raises:
        AttribError: no view is registered for this type.
    """
    raise AttribError(f"{kind_of(result, start=True)} has no widget view.", "Display it as a table, or use .plot().")


def _no_figures() -> Any:
    raise TypeError("Nothing here draws results.")


def _no_explorer() -> Any:
    raise TypeError("Nothing here opens an Explorer.")


def _no_dictionaries() -> Any:
    raise TypeError("Nothing here knows dictionaries.")


def _no_lens() -> Any:
    raise TypeError("Nothing here knows tuned lenses.")


def _no_circuits() -> Any:
    raise TypeError("Nothing here was built by hand.")


@dataclass
class Slots:
    """Where the floors above leave word: ``view`` and ``figure`` return a function of a result, dispatched by its type.

    ``view`` is asked for the one that makes widgets, ``figure`` for the one that draws, ``explorer`` for what opens an
    Explorer, ``dictionaries`` for what makes the dictionaries of a model, ``lens`` for what finds its tuned lens,
    ``circuits`` for the models that were built by hand.
    """

    view: Callable[[], Any] = lambda: view_of
    figure: Callable[[], Any] = _no_figures
    explorer: Callable[[], Any] = _no_explorer
    dictionaries: Callable[[], Any] = _no_dictionaries
    lens: Callable[[], Any] = _no_lens
    circuits: Callable[[], Any] = _no_circuits


slots = Slots()


#: Where a result keeps what it is about: a model, or what has one.
_ABOUT = ("model", "run", "runs", "clean", "attribution", "attributions", "a", "survey")


def studied(result: Any) -> Any:
    """The model that a result is about; None where it has none."""
    if not isinstance(result, Result) and hasattr(result, "part_kinds"):
        return result
    for name in _ABOUT:
        held = getattr(result, name, None)
        found = held[0] if isinstance(held, (list, tuple)) and held else held
        if found is not None and found is not result and (model := studied(found)) is not None:
            return model
    return None


def tabled(result: Result) -> Table:
    """The summary of a result as every surface shows it: it says which of its parts are no attention."""
    return with_kinds(result.summary(), result.part_kinds)


class Result:
    """Base of every result: subclasses implement :meth:`summary` and :meth:`to_dataframe`."""

    _view: Any = None
    _part_kinds: Kinds | None = None  # of a result that keeps no model

    def summary(self) -> Table:
        """The result as a table of about ten rows."""
        raise TypeError(f"{type(self).__name__} has no summary")

    @property
    def part_kinds(self) -> Kinds:
        """By label, what those of its parts are whose labels alone would mislead: see :attr:`.Model.part_kinds`."""
        found: Kinds = self._part_kinds or getattr(studied(self), "part_kinds", {})
        return found

    def to_dataframe(self) -> pd.DataFrame:
        """All rows as a pandas DataFrame (needs pandas: ``pip install pandas``)."""
        raise TypeError(f"{type(self).__name__} has no table of rows")

    def plot(self, **options: Any) -> Figure:
        """A matplotlib figure of the result (see :mod:`attrib_widgets.plots`)."""
        figure: Figure = slots.figure()(self, **options)
        return figure

    def __repr__(self) -> str:
        return render_text(tabled(self))

    def view(self) -> Any:
        """The widget of this result: made on first use, kept, and shown again afterwards."""
        if self._view is None:
            object.__setattr__(self, "_view", slots.view()(self))
        return self._view

    def _ipython_display_(self, **kwargs: Any) -> None:
        try:
            live = self.view()._ipython_display_
        except Exception:  # no view: the bundle says why
            still.show(self._repr_mimebundle_(), "")
        else:
            live(**kwargs)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        table = tabled(self)
        data: dict[str, Any] = {"text/plain": render_text(table)}
        static = render_html(table)
        if static:
            data["text/html"] = static
        metadata: dict[str, Any] = {}
        try:
            views = slots.view()
            if views.dispatch(type(self)) is views.dispatch(object):  # this result is its table
                return data
            bundle = self.view()._repr_mimebundle_(include=include, exclude=exclude)
        except Exception as reason:  # a notebook without a widget front end still shows the table
            data["text/plain"] += f"\n(no interactive view: {reason})"
            return data
        if isinstance(bundle, tuple):
            bundle, metadata = bundle
        data = {**(bundle or {}), **data}
        return data, metadata


class Sum(Result):
    """Rows that sum to one number of the model. The sum and the number are computed apart, and their mismatch is
    shown.

    Subclasses have the rows as the tensor ``values`` (or give :meth:`terms`) and say what number they explain.
    """

    values: Any

    @property
    def explained(self) -> float:
        """The number that the rows sum to, from the model itself."""
        raise TypeError(f"{type(self).__name__} does not say what it explains")

    def terms(self) -> Any:
        """Everything that is summed, as one tensor."""
        return self.values

    @property
    def total(self) -> float:
        """Sum of all rows."""
        return float(self.terms().double().sum())

    @property
    def mismatch(self) -> float:
        """The explained number minus the sum of the rows: float32 arithmetic only."""
        return self.explained - self.total

    @property
    def gap(self) -> float:
        """:attr:`mismatch`, as it was called before: a gap is now only what tells two prompts apart."""
        renamed("gap", "mismatch")
        return self.mismatch

    @property
    def exact(self) -> bool:
        """Whether the mismatch is float32 arithmetic: at most 1e-5 of 1 plus the sum of magnitudes."""
        return abs(self.mismatch) <= 1e-5 * (1 + float(self.terms().double().abs().sum()))

    def checks(self) -> list[str]:
        """The check that stands under every table: the sum, the model's number, and their mismatch."""
        state = "ok" if self.exact else "NOT EXACT"
        off = f"mismatch {power(self.mismatch)} {state}"
        return [f"sum {number(self.total, 4)}", f"model {number(self.explained, 4)}", off]


def strongest(values: Any, k: int | None = None) -> list[int]:
    """Numbers of the rows of a tensor with the largest magnitudes, largest first; of equal ones the earlier first.

    What was not computed (NaN) comes last.
    """
    order: list[int] = values.abs().nan_to_num(-1).argsort(descending=True, stable=True)[:k].tolist()
    return order


def shown(values: Any, k: int) -> list[int]:
    """The ``k`` strongest rows, for a table; all of them where one would be left out, which takes a row itself."""
    return strongest(values, k + (len(values) == k + 1))


def with_others(
    values: Any, order: Sequence[int], cells: Callable[[int], list[str]], digits: int = 0, beside: Sequence[Any] = ()
) -> tuple[list[list[str]], list[float | None]]:
    """Rows and bars of a table: the rows in ``order`` with what ``cells`` says of each, and one for all others.

    ``beside`` are further tensors of a number a row, told before its own; NaN is blank, and nothing in a sum. What is
    one row more than ``order`` has is the table's ``last``: it stays under the others.
    ``digits`` after the point, 0 for as many as the largest number asks for.
    """
    columns = [*beside, values]
    digits = digits or digits_of(v for c in columns for v in c.flatten().tolist())

    def told(sums: Sequence[Any]) -> list[str]:
        return ["" if v != v else signed(v, digits) for v in map(float, sums)]

    rows = [[*cells(i), *told([c[i] for c in columns])] for i in order]
    bars: list[float | None] = [float(values[i]) for i in order]
    rest = sorted(set(range(len(values))) - set(order))
    if rest and rows:
        sums = told([c[rest].double().nan_to_num(0).sum() for c in beside] + [values[rest].double().sum()])
        rows.append([others_label(len(rest)), *[""] * (len(rows[0]) - 1 - len(sums)), *sums])
        bars.append(float(values[rest].double().sum()))
    return rows, bars
