"""matplotlib figures of surveys: a map of every group on one scale, and one part on every prompt."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..analysis.survey.group import LEVEL, Group
from ..analysis.survey.parts import ByGroup, SurveyedPart, column_of, columns_of
from ..analysis.survey.result import Survey
from ..words.components import Component
from .drawing import MINUS, PLUS, Plot, canvas, figure_of, heat, named

#: Area of the largest mark of a map, in square points, and how opaque a part is whose sign is a matter of chance.
LARGEST, FAINT = 260.0, 0.2


@figure_of.register
def _(result: Survey) -> Figure:
    """A map per group on one scale: size is the mean, colour its sign, opacity its consistency; ringed is specific."""
    columns = columns_of(result.parts)
    layers = 1 + max(part.layer or 0 for part in result.parts)
    count = len(result.groups)
    figure = Plot(figsize=(1.0 + (0.6 + 0.34 * len(columns)) * count, 1.7 + 0.34 * layers), layout="constrained")
    most = max(float(group.mean.abs().max()) for group in result.groups.values()) or 1.0
    for axes, group in zip(figure.subplots(1, count, squeeze=False)[0], result.groups.values(), strict=True):
        _marks(axes, result.parts, columns, group, most)
        axes.set_xticks(range(len(columns)), columns, fontsize=8)
        axes.set_yticks(range(layers), [f"L{layer}" for layer in range(layers)], fontsize=8)
        axes.set_xlim(-0.6, len(columns) - 0.4)
        axes.set_ylim(-0.6, layers - 0.4)
        axes.set_title(f"{group.name}, {len(group)} prompts", fontsize=9)
    figure.suptitle(result.title(), fontsize=10, wrap=True)
    figure.supxlabel(
        f"area: mean in logits, the largest {most:.2f}; opacity: share of prompts with its sign; "
        f"ring: specific, p \u2264 {LEVEL:g}",
        fontsize=8,
    )
    return figure


def _marks(axes: Any, parts: list[Component], columns: list[str], group: Group, most: float) -> None:
    """The parts of one group as squares."""
    mean, alike = group.mean.numpy(), group.same_sign.numpy()
    x = [columns.index(column_of(part)) for part in parts]
    y = [part.layer or 0 for part in parts]
    colours = [MINUS if value < 0 else PLUS for value in mean]
    opacity = FAINT + (1 - FAINT) * np.clip(2 * alike - 1, 0, 1)
    axes.scatter(x, y, s=LARGEST * np.abs(mean) / most, c=colours, alpha=opacity, marker="s", linewidths=0)
    ringed = group.passing()
    rings = [x[i] for i in ringed], [y[i] for i in ringed]
    axes.scatter(*rings, s=1.4 * LARGEST, marker="s", facecolors="none", edgecolors="0.25", linewidths=0.9)


@figure_of.register
def _(result: SurveyedPart) -> Figure:
    """A dot a prompt, a line of dots a group; the stroke is the mean."""
    names = list(result.survey.groups)
    figure, axes = canvas(7, 1.3 + 0.6 * len(names))
    for row, name in enumerate(names):
        values = np.sort(result.of(name).numpy())
        beside = 0.5 * ((np.arange(len(values)) * 0.6180339887) % 1 - 0.5)  # spread evenly, and the same every time
        axes.scatter(values, row + beside, s=14, c=[MINUS if v < 0 else PLUS for v in values], alpha=0.6, linewidths=0)
        axes.plot([values.mean()] * 2, [row - 0.35, row + 0.35], color="0.2", linewidth=1.5)
    axes.set_yticks(range(len(names)), [f"{name}, {len(result.of(name))} prompts" for name in names])
    axes.invert_yaxis()
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.set_xlabel(f"contribution of {result.component} to each prompt, in logits")
    axes.set_title(result.title(), loc="left", fontsize=10, wrap=True)
    return figure


@figure_of.register
def _(result: ByGroup) -> Figure:
    names = list(result.top)
    figure, axes = canvas(2.6 + 0.9 * len(names), 1.4 + 0.3 * len(result.components))
    image = heat(axes, result.values.numpy(), True)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(result.components)), named(result, [str(c) for c in result.components]))
    axes.set_title(result.title(), loc="left", fontsize=10, wrap=True)
    figure.colorbar(image, ax=axes, label="mean, logits")
    return figure
