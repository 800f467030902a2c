"""What figures are drawn with: canvas, colours, bars, maps; and the registry that finds the figure of a result."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from ..result import Result
from ..words.errors import AttribError
from ..words.kinds import with_kind
from ..words.text import kind_of, others_label, signed

PLUS, MINUS = "#0067A5", "#B84E00"
#: Maps say the sign as bars do: with the colours of the bars, over white at zero.
SIGNED = LinearSegmentedColormap.from_list("signed", [MINUS, "white", PLUS])


class Plot(Figure):
    """A matplotlib figure that a notebook shows whatever backend is set, and that nothing keeps open."""

    def _repr_png_(self) -> bytes:
        out = BytesIO()
        self.savefig(out, format="png", dpi=110)
        return out.getvalue()


@singledispatch
def figure_of(result: Any, **options: Any) -> Figure:
    """A figure of ``result``.

    Raises:
        AttribError: this type of result has no figure: it is words, or a table of them.
    """
    raise AttribError(f"{kind_of(result, start=True)} has no figure.", "Display it, or read .to_dataframe().")


def named(result: Result, labels: Sequence[str]) -> list[str]:
    """Names of parts; of those whose names alone would mislead with what they are."""
    return [with_kind(label, result.part_kinds) for label in labels]


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure, in inches, and its axes."""
    figure = Plot(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def bars(title: str, labels: list[str], values: list[float], unit: str, cumulative: bool) -> Figure:
    """Signed horizontal bars, each starting where the last one ended when ``cumulative``."""
    figure, axes = canvas(7, 0.9 + 0.28 * len(labels))
    ends = np.cumsum(values)
    starts = np.concatenate([[0.0], ends[:-1]]) if cumulative else np.zeros(len(values))
    rows = np.arange(len(labels))
    axes.barh(rows, values, left=starts, color=[MINUS if v < 0 else PLUS for v in values], height=0.7)
    span = float(np.ptp(np.concatenate([[0.0], starts + values, starts]))) or 1.0
    for row, (start, value) in enumerate(zip(starts, values, strict=True)):
        axes.text(max(start, start + value) + 0.01 * span, row, signed(value), va="center", fontsize=8)
    axes.set_yticks(rows, labels)
    axes.invert_yaxis()
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.set_xlabel(unit)
    axes.set_title(title, loc="left", fontsize=10, wrap=True)
    return figure


def heat(axes: Axes, values: np.ndarray[Any, Any], signs: bool, upwards: bool = False) -> Any:
    """A map in colour; ``upwards``: the first row at the bottom, as everywhere where rows are layers."""
    top = float(np.nanmax(np.abs(values))) or 1.0
    low = -top if signs else 0.0
    image = axes.imshow(values, cmap=SIGNED if signs else "Blues", vmin=low, vmax=top, aspect="auto")
    if upwards:
        axes.invert_yaxis()
    return image


def largest(labels: list[str], values: list[float], k: int) -> tuple[list[str], list[float]]:
    """The ``k`` largest rows by magnitude, and one row for the rest."""
    order = sorted(range(len(values)), key=lambda i: -abs(values[i]))
    shown, rest = order[:k], order[k:]
    names, numbers = [labels[i] for i in shown], [values[i] for i in shown]
    if rest:
        names.append(others_label(len(rest)))
        numbers.append(sum(values[i] for i in rest))
    return names, numbers
