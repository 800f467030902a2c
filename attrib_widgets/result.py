"""What every result shares: a ten-line table, the same table as static HTML, a DataFrame, and a view.

A result knows nothing of widgets or plots. It finds both through :data:`slots`, which the package's ``__init__``
fills: the ``widgets`` package registers a view for each result type in :func:`view_of`, ``plots`` a figure.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import TYPE_CHECKING, Any

from .words.errors import AttribError
from .words.text import kind_of, number, others_label, power, signed

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MAX_STATIC_BYTES = 20_000


@dataclass(frozen=True)
class Table:
    """A small table: what ``repr`` prints and the static HTML shows.

    ``bars`` holds one number per row (drawn as a signed bar in HTML) or None for rows without one.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    bars: list[float | None] = field(default_factory=list)
    note: str = ""
    footer: str = ""


def render_text(table: Table) -> str:
    """The table as aligned plain text; the last column is right-aligned."""
    lines = [table.title]
    if table.note:
        lines.append(table.note)
    cells = [table.columns, *table.rows] if any(table.columns) else table.rows
    if cells:
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        last = len(widths) - 1
        for row in cells:
            parts = [c.rjust(w) if i == last else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
            lines.append("  " + "  ".join(parts).rstrip())
    if table.footer:
        lines.append(table.footer)
    return "\n".join(lines)


_STYLE = (
    "<style>.aw-static{--p:#0067A5;--m:#B84E00;font:14px/1.5 system-ui,sans-serif;color:inherit;max-width:46em}"
    ".aw-static table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    ".aw-static caption{text-align:left;font-weight:600}"
    ".aw-static td,.aw-static th{padding:1px 10px 1px 0;text-align:left;font-weight:400;border:0}"
    ".aw-static td:nth-last-child(2),.aw-static th:nth-last-child(2){text-align:right}"
    ".aw-static i{display:inline-block;height:10px;border-radius:2px;vertical-align:middle}"
    ".aw-static p{margin:2px 0}"
    "@media(prefers-color-scheme:dark){.aw-static{--p:#56B4E9;--m:#E69F00}}</style>"
)


def render_html(table: Table) -> str:
    """The table as script-free, themed HTML of at most 20 kB. Every text is escaped."""
    top = max((abs(b) for b in table.bars if b is not None), default=0.0) or 1.0
    head = "".join(f"<th scope='col'>{html.escape(c)}</th>" for c in table.columns)
    body: list[str] = []
    for i, row in enumerate(table.rows):
        bar = table.bars[i] if i < len(table.bars) else None
        cell = ""
        if bar is not None:
            colour = "m" if bar < 0 else "p"
            cell = f"<i style='width:{max(1.0, 120 * abs(bar) / top):.0f}px;background:var(--{colour})'></i>"
        body.append("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + f"<td>{cell}</td></tr>")
    caption = f"<caption>{html.escape(table.title)}</caption>"
    thead = f"<thead><tr>{head}<td></td></tr></thead>" if any(table.columns) else ""

    def page(rows: list[str], cut: str = "") -> str:
        return (
            f"<div class='aw-static'>{_STYLE}"
            + (f"<p>{html.escape(table.note)}</p>" if table.note else "")
            + f"<table>{caption}{thead}<tbody>{''.join(rows)}</tbody></table>"
            + (f"<p>{html.escape(table.footer)}</p>" if table.footer else "")
            + cut
            + "</div>"
        )

    text = page(body)
    while len(text.encode()) > MAX_STATIC_BYTES and body:
        body = body[: len(body) * 3 // 4]
        text = page(body, f"<p>first {len(body)} of {len(table.rows)} rows</p>")
    return text if len(text.encode()) <= MAX_STATIC_BYTES else ""


@singledispatch
def view_of(result: Any) -> Any:
    """The widget that shows ``result``. ``attrib_widgets.widgets`` registers one per result type.

    Raises:
        AttribError: no view is registered for this type.
    """
    raise AttribError(f"{kind_of(result, start=True)} has no widget view.", "Display it as a table, or use .plot().")


def _no_figures() -> Any:
    raise TypeError("Nothing here draws results.")


def _no_dictionaries() -> Any:
    raise TypeError("Nothing here knows dictionaries.")


def _no_circuits() -> Any:
    raise TypeError("Nothing here was built by hand.")


@dataclass
class Slots:
    """Where the floors above leave word: ``view`` and ``figure`` return a function of a result, dispatched by its type.

    ``view`` is asked for the one that makes widgets, ``figure`` for the one that draws, ``dictionaries`` for what makes
    the dictionaries of a model, ``circuits`` for the models that were built by hand.
    """

    view: Callable[[], Any] = lambda: view_of
    figure: Callable[[], Any] = _no_figures
    dictionaries: Callable[[], Any] = _no_dictionaries
    circuits: Callable[[], Any] = _no_circuits


slots = Slots()


class Result:
    """Base of every result: subclasses implement :meth:`summary` and :meth:`to_dataframe`."""

    _view: Any = None

    def summary(self) -> Table:
        """The result as a table of about ten rows."""
        raise TypeError(f"{type(self).__name__} has no summary")

    def to_dataframe(self) -> pd.DataFrame:
        """All rows as a pandas DataFrame (needs pandas: ``pip install pandas``)."""
        raise TypeError(f"{type(self).__name__} has no table of rows")

    def plot(self, **options: Any) -> Figure:
        """A matplotlib figure of the result (see :mod:`attrib_widgets.plots`)."""
        figure: Figure = slots.figure()(self, **options)
        return figure

    def __repr__(self) -> str:
        return render_text(self.summary())

    def view(self) -> Any:
        """The widget of this result: made on first use, kept, and shown again afterwards."""
        if self._view is None:
            object.__setattr__(self, "_view", slots.view()(self))
        return self._view

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        table = self.summary()
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
    """Rows that sum to one number of the model. The sum and the number are computed apart, and their gap is shown.

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
    def gap(self) -> float:
        """The explained number minus the sum of the rows: float32 arithmetic only."""
        return self.explained - self.total

    @property
    def exact(self) -> bool:
        """Whether the gap is float32 arithmetic: at most 1e-5 of 1 plus the sum of magnitudes."""
        return abs(self.gap) <= 1e-5 * (1 + float(self.terms().double().abs().sum()))

    def checks(self) -> list[str]:
        """The check that stands under every table: the sum, the model's number, and their gap."""
        state = "ok" if self.exact else "NOT EXACT"
        return [f"sum {number(self.total, 4)}", f"model {number(self.explained, 4)}", f"gap {power(self.gap)} {state}"]


def strongest(values: Any, k: int | None = None) -> list[int]:
    """Numbers of the rows of a tensor with the largest magnitudes, largest first; of equal ones the earlier first.

    What was not computed (NaN) comes last.
    """
    order: list[int] = values.abs().nan_to_num(-1).argsort(descending=True, stable=True)[:k].tolist()
    return order


def with_others(
    values: Any, order: Sequence[int], cells: Callable[[int], list[str]], digits: int = 3
) -> tuple[list[list[str]], list[float | None]]:
    """Rows and bars of a table: the rows in ``order`` with what ``cells`` says of each, and one for all others."""
    rows = [[*cells(i), signed(float(values[i]), digits)] for i in order]
    bars: list[float | None] = [float(values[i]) for i in order]
    rest = sorted(set(range(len(values))) - set(order))
    if rest and rows:
        others = float(values[rest].double().sum())
        rows.append([others_label(len(rest)), *[""] * (len(rows[0]) - 2), signed(others, digits)])
        bars.append(others)
    return rows, bars
