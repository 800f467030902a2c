"""matplotlib figures of experiments: grids of patches, verdicts in their regions, edges, integrated gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..analysis.experiments.ablation.ablation import Ablation
from ..analysis.experiments.estimates.edges import EdgeEstimate
from ..analysis.experiments.estimates.integrated import Integrated
from ..analysis.experiments.patching.patching import Patching
from ..analysis.experiments.patching.token_effects import TokenEffects
from ..analysis.verdicts.circuits.removal import Removal
from ..analysis.verdicts.circuits.sets import RUNS, Circuit
from ..analysis.verdicts.erasure import Erasure
from ..analysis.verdicts.findings import Verification
from ..analysis.verdicts.reach import borders
from ..words.text import share, visible
from .drawing import MINUS, PLUS, bars, canvas, figure_of, heat, largest, named

MARGIN = 0.15  # around the points of a scatter, as a share of its span


@figure_of.register
def _(result: Patching, site: str | None = None, k: int = 15) -> Figure:
    """A grid where the cells of one site form one, else bars of the largest cells."""
    single = [c.parts[0].grid for c in result.cells if len(c.parts) == 1]
    if site is None and (len(set(single)) != 1 or len(single) != len(result.cells)):
        labels, values = largest(named(result, result.labels), result.values.nan_to_num(0).tolist(), k)
        return bars(result.title(), labels, values, result.share, cumulative=False)
    grid = result.grid(site).numpy()
    flat = grid.ndim == 1  # one number per layer
    grid = grid[:, None] if flat else grid
    cells = [c for _, c in result._single(site)]
    if grid.ndim == 3:  # layer, head, position: heads of all layers above one another
        layers = sorted({c.parts[0].row for c in cells})
        there = {(c.parts[0].row, c.parts[0].head) for c in cells}
        heads = sorted({h for _, h in there if h is not None})
        spots = [(i, j) for i, layer in enumerate(layers) for j, h in enumerate(heads) if (layer, h) in there]
        names = [f"L{layers[i]}H{heads[j]}" for i, j in spots]
        grid = np.stack([grid[i, j] for i, j in spots])
    else:
        rows = {c.parts[0].row: c.parts[0] for c in cells}
        names = [str(rows[row]) if rows[row].is_stream else f"L{row}" for row in sorted(rows)]
        kinds = [result.part_kinds.get(str(rows[row])) for row in sorted(rows)]
        names = [name if kind is None else f"{name} ({kind.short})" for name, kind in zip(names, kinds, strict=True)]
    places = {c.positions for c in cells}
    figure, axes = canvas(1.8 + 0.36 * grid.shape[1], 1.2 + 0.22 * grid.shape[0])
    image = heat(axes, grid, True, upwards=True)
    axes.set_yticks(range(len(names)), names, fontsize=7 if len(names) > 40 else 9)
    if len(places) > 1:
        tokens = result.pairs[0][0].tokens
        at = sorted(p for p in places if p is not None)
        axes.set_xticks(range(len(at)), [visible(tokens[p[0]]) for p in at], rotation=90)
    else:
        axes.set_xticks(range(grid.shape[1]), [""] if flat else [str(i) for i in range(grid.shape[1])])
        axes.set_xlabel(site or single[0] if flat else "head")
    axes.set_title(f"{result.title()} ({result.share})", loc="left", fontsize=10, wrap=True)
    figure.colorbar(image, ax=axes)
    return figure


@figure_of.register
def _(result: Verification) -> Figure:
    """Direct damage against damage, each point with its word, and the borders between words."""
    figure, axes = canvas(6.5, 6)
    d = np.array([f.direct for f in result.findings])
    n = np.array([f.necessity for f in result.findings])
    low, high = (float(end(np.concatenate([[0.0], d, n]))) for end in (np.min, np.max))  # also of no findings
    room = MARGIN * (high - low or 1.0)
    for _, line in borders(result.thresholds):
        axes.plot(*zip(*line, strict=True), color="0.8", linewidth=0.8, zorder=0)
    axes.axline((0, 0), slope=1, color="0.6", linewidth=0.8, linestyle=":")
    axes.scatter(d, n, c=[MINUS if f.direct < 0 else PLUS for f in result.findings], s=28, zorder=2)
    for f in result.findings:
        if f.named:
            text = f"{f.component} {f.word}"
            axes.annotate(text, (f.direct, f.necessity), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set_xlim(low - room, high + 2 * room)
    axes.set_ylim(low - room, high + room)
    axes.set_xlabel("direct damage (its write replaced for the logits alone)")
    axes.set_ylabel("damage (its write replaced for all)")
    axes.set_title(f"{result.title()}\n{result.thresholds}", loc="left", fontsize=9, wrap=True)
    return figure


@figure_of.register
def _(result: EdgeEstimate, k: int = 20) -> Figure:
    rows = result.values.abs().sum(1).argsort(descending=True)[:k].sort().values.tolist()
    columns = result.values.abs().sum(0).argsort(descending=True)[:k].sort().values.tolist()
    figure, axes = canvas(2 + 0.34 * len(columns), 1.4 + 0.28 * len(rows))
    image = heat(axes, result.values[rows][:, columns].numpy(), True, upwards=True)
    axes.set_xticks(range(len(columns)), [str(result.readers[i]) for i in columns], rotation=90)
    axes.set_yticks(range(len(rows)), [str(result.senders[i]) for i in rows])
    axes.set_title(f"{result.title()} (estimated)", loc="left", fontsize=10, wrap=True)
    figure.colorbar(image, ax=axes)
    return figure


@figure_of.register
def _(result: Integrated) -> Figure:
    labels = [f"{visible(t)} ({p})" for p, t in enumerate(result.clean.tokens)]
    title = f"{result.title()}; completeness error {share(result.error, 1)}"
    return bars(title, labels, result.values.tolist(), result.unit, cumulative=False)


@figure_of.register
def _(result: Ablation, k: int = 15) -> Figure:
    labels, values = largest(named(result, result.labels), result.values.nan_to_num(0).tolist(), k)
    return bars(result.title(), labels[:k], values[:k], f"change, {result.unit}", cumulative=False)


@figure_of.register
def _(result: Erasure) -> Figure:
    figure, axes = canvas(6, 3)
    names: list[Any] = [f"L{result.first + i}" for i in range(len(result.remaining) - 1)] + ["final norm"]
    axes.plot(range(len(names)), result.remaining.numpy(), color=PLUS, marker="o")
    axes.set_xticks(range(len(names)), names)
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set_ylabel(f"share of {result.writer}'s write\nin what is read")
    axes.set_title(result.title(), loc="left", fontsize=10, wrap=True)
    return figure


@figure_of.register
def _(result: Removal) -> Figure:
    labels = ["nothing removed", *(f"then {s.component}" for s in result.steps)]
    margins = [result.start, *(s.margin for s in result.steps)]
    return bars(result.title(), labels, margins, "logit of the answer minus the best other", cumulative=False)


@figure_of.register
def _(result: Circuit) -> Figure:
    """The curve over size in both directions, and the whole set's f."""
    figure, axes = canvas(6.5, 4)
    for side, colour in zip(result.sides.values(), (PLUS, MINUS), strict=True):
        sizes, f = zip(*side.curve, strict=True)
        name = f"kept in the {RUNS[side.direction]} run: CPR {side.cpr:.2f}, CMD {side.cmd:.2f}"
        axes.plot(sizes, f, color=colour, marker="o", markersize=4, label=name)
    for height in (0, 1):
        axes.axhline(height, color="0.6", linewidth=0.8)
    axes.set_xlabel(f"parts kept, in order {result.order}; the model has {result.total}")
    axes.set_ylabel("f: 0 nothing, 1 everything")
    axes.legend(frameon=False, fontsize=8)
    axes.set_title(result.title(), loc="left", fontsize=10, wrap=True)
    return figure


@figure_of.register
def _(result: TokenEffects) -> Figure:
    labels = [f"{visible(t)} ({p})" for p, t in enumerate(result.run.tokens)]
    return bars(
        result.title(), labels, result.values.nan_to_num(0).tolist(), f"change, {result.unit}", cumulative=False
    )
