"""What every result shares: a ten-line table, the same table as static HTML, a DataFrame, and a view.

A result knows nothing of widgets: the ``widgets`` package registers a view for each result type in
:func:`view_of`, and a result that is displayed in a notebook asks for it there.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from functools import singledispatch
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MAX_STATIC_BYTES = 20_000


def signed(value: float, digits: int = 2) -> str:
    """A number with a printed sign: ``+2.71``, ``−0.90`` (a true minus); what reads 0.00 has none."""
    text = f"{abs(value):.{digits}f}"
    if not text.strip("0."):
        return text
    return ("\u2212" if value < 0 else "+") + text


def number(value: float, digits: int = 2) -> str:
    """A number without a plus sign: ``2.71``, ``−0.90`` (a true minus)."""
    return signed(value, digits).removeprefix("+")


def power(value: float) -> str:
    """A number as one digit and a power of ten: ``−4e-07`` (a true minus), for gaps."""
    return ("\u2212" if value < 0 else "") + f"{abs(value):.0e}"


def others_label(count: int) -> str:
    """The name of the row that stands for ``count`` rows left out."""
    return "1 other" if count == 1 else f"{count} others"


def visible(text: str) -> str:
    """A token as people see it: a leading space becomes ``·``, a line break ``⏎``, a tab ``⇥``."""
    body = text.replace("\n", "\u23ce").replace("\t", "\u21e5").replace("\r", "\u240d")
    return "\u00b7" + body[1:] if body.startswith(" ") else body


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
        TypeError: no view is registered for this type.
    """
    raise TypeError(f"there is no widget view for {type(result).__name__}")


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
        from .plots import experiments  # noqa: F401  (registers the figures of experiments)
        from .plots.results import figure_of

        figure: Figure = figure_of(self, **options)
        return figure

    def __repr__(self) -> str:
        return render_text(self.summary())

    def view(self) -> Any:
        """The widget of this result: made on first use, kept, and shown again afterwards."""
        if self._view is None:
            from . import widgets  # noqa: F401  (registers the views)

            object.__setattr__(self, "_view", view_of(self))
        return self._view

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        table = self.summary()
        data: dict[str, Any] = {"text/plain": render_text(table)}
        static = render_html(table)
        if static:
            data["text/html"] = static
        metadata: dict[str, Any] = {}
        try:
            from . import widgets  # noqa: F401  (registers the views)

            if view_of.dispatch(type(self)) is view_of.dispatch(object):  # this result is its table
                return data
            bundle = self.view()._repr_mimebundle_(include=include, exclude=exclude)
        except Exception as reason:  # a notebook without a widget front end still shows the table
            data["text/plain"] += f"\n(no interactive view: {reason})"
            return data
        if isinstance(bundle, tuple):
            bundle, metadata = bundle
        data = {**(bundle or {}), **data}
        return data, metadata
