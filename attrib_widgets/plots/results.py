"""matplotlib figures of results: the same finding as the view, for papers and slides."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from ..analysis.attribution.attribution import Attribution
from ..analysis.attribution.buildup import Buildup
from ..analysis.attribution.phrases import PhraseAttribution
from ..analysis.attribution.positions import PositionAttribution
from ..analysis.comparing.compare import Comparison
from ..analysis.heads.attention import Attention
from ..analysis.lens.logit_lens import LogitLens
from ..analysis.opening.dictionaries.concepts import Concepts
from ..analysis.opening.results import Contributions, Through, Worked, Writes
from ..analysis.opening.trace.totals import TokenTotals
from ..analysis.opening.trace.trace import Trace
from ..analysis.show import ShownAttention, ShownBars, ShownGrid, ShownTokens
from ..model.run import Predictions
from ..words.components import Component
from ..words.text import percent, signed, visible
from .drawing import MINUS, PLUS, Plot, bars, canvas, figure_of, heat, largest, named

_LABEL = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "0.7", "linewidth": 0.5}


@figure_of.register
def _(result: Attribution, k: int = 12) -> Figure:
    labels, values = largest(named(result, result.labels), result.values.tolist(), k)
    return bars(result.title(), labels, values, f"{result.unit}, adding up to {result.actual:.2f}", cumulative=True)


@figure_of.register
def _(result: Comparison, k: int = 15) -> Figure:
    labels, values = largest(named(result, result.labels), result.difference.tolist(), k)
    return bars(result.title(), labels, values, f"B − A, in {result.unit}", cumulative=False)


@figure_of.register
def _(result: Buildup) -> Figure:
    unit = f"{result.unit} so far, ending at {result.attribution.actual:.2f}"
    return bars(result.title(), named(result, result.steps), result.added.tolist(), unit, cumulative=True)


@figure_of.register
def _(result: Concepts, k: int = 12) -> Figure:
    names = [*map(result.called, range(len(result) - 1))]
    labels, values = largest(names, result.values[:-1].tolist(), k)
    unit = f"{result.unit}, adding up to {result.explained:.2f}"
    return bars(result.title, [*labels, result.labels[-1]], [*values, float(result.values[-1])], unit, cumulative=True)


@figure_of.register
def _(result: Contributions, k: int = 20) -> Figure:
    names = named(result, result.labels)
    labels = [visible(t) if kind == "token" else t for t, kind in zip(names, result.kinds, strict=True)]
    values = result.values.tolist()
    if result.axis != "source" or len(labels) > 60:
        labels, values = largest(labels, values, k)
    return bars(result.title, labels, values, result.unit, cumulative=False)


@figure_of.register
def _(result: Writes) -> Figure:
    entries = [*result.promoted, *reversed(result.suppressed)]
    labels, values = [visible(e[0]) for e in entries], [e[2] for e in entries]
    return bars(f"What {result.component} writes", labels, values, "logits of the next token", cumulative=False)


@figure_of.register
def _(result: Worked, k: int = 20) -> Figure:
    labels, values = largest([str(i) for i in range(len(result.products))], result.products.tolist(), k)
    return bars(
        f"{result.component} worked out, by number of the stream",
        labels,
        values,
        result.unit,
        False,
    )


@figure_of.register
def _(result: Predictions) -> Figure:
    labels = [visible(p.text) for p in result]
    return bars(result.summary().title, labels, [p.probability for p in result], "probability", cumulative=False)


@figure_of.register
def _(result: Attention) -> Figure:
    patterns = result.patterns.numpy()
    hidden = np.triu(np.full(patterns.shape[1:], not result.ahead), 1)
    signs = result.weighting == "contribution"
    names = [str(head) for head in result.heads]
    return _patterns(
        f"{result.title} ({result.unit})", result.run.tokens, names, np.where(hidden, np.nan, patterns), signs
    )


@figure_of.register
def _(result: ShownAttention) -> Figure:
    w = result.weights
    hidden = np.triu(np.full(w.shape[1:], not np.triu(w, 1).any()), 1)
    title = f"{result.title} ({result.unit})" if result.unit else result.title
    return _patterns(title, result.tokens, result.heads, np.where(hidden, np.nan, w), bool((w < 0).any()))


def _patterns(title: str, texts: list[str], heads: list[str], values: np.ndarray[Any, Any], signs: bool) -> Figure:
    """One map a head, [head, destination, source]; NaN is left white."""
    count = len(heads)
    columns = min(count, 8)
    lines = -(-count // columns)
    tokens = [visible(t) for t in texts]
    size = 1.5 if count > 1 else max(3.5, 0.32 * len(tokens))
    figure = Plot(figsize=(size * columns + 1.2, size * lines + 0.8), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for i, axes in enumerate(grid.flat):
        if i >= count:
            axes.set_visible(False)
            continue
        heat(axes, values[i], signs)
        axes.set_title(heads[i], fontsize=8)
        if count == 1 and len(tokens) <= 60:
            axes.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=8)
            axes.set_yticks(range(len(tokens)), tokens, fontsize=8)
        else:
            axes.set_xticks([])
            axes.set_yticks([])
    figure.suptitle(title, fontsize=10)
    return figure


@figure_of.register
def _(result: ShownBars, k: int = 20) -> Figure:
    labels, values = largest(result.names, result.values.tolist(), k)
    return bars(result.title, labels, values, result.unit, cumulative=False)


@figure_of.register
def _(result: ShownTokens) -> Figure:
    return bars(
        result.title, [visible(t) for t in result.tokens], result.values.tolist(), result.unit, cumulative=False
    )


@figure_of.register
def _(result: ShownGrid) -> Figure:
    figure, axes = canvas(1.8 + 0.34 * len(result.columns), 1.2 + 0.3 * len(result.rows))
    image = heat(axes, result.values, bool((result.values < 0).any()))
    axes.set_xticks(range(len(result.columns)), [visible(c) for c in result.columns], rotation=90)
    axes.set_yticks(range(len(result.rows)), [visible(r) for r in result.rows])
    axes.set_title(result.title, loc="left", fontsize=10, wrap=True)
    figure.colorbar(image, ax=axes, label=result.unit)
    return figure


@figure_of.register
def _(result: Through, k: int = 15) -> Figure:
    strongest = result.values.abs().sum(0).argsort(descending=True)[:k].tolist()
    figure, axes = canvas(1.8 + 0.5 * len(strongest), 1.4 + 0.3 * len(result.tokens))
    image = heat(axes, result.values[:, strongest].numpy(), True)
    labels = named(result, [str(result.components[i]) for i in strongest])
    axes.set_xticks(range(len(strongest)), labels, rotation=90)
    axes.set_yticks(range(len(result.tokens)), [visible(t) for t in result.tokens])
    axes.set_title(f"Through {result.head}: source token and who wrote it ({result.unit})", loc="left", fontsize=10)
    figure.colorbar(image, ax=axes)
    return figure


@figure_of.register
def _(result: TokenTotals) -> Figure:
    labels = [f"{visible(t)} ({p})" for p, t in enumerate(result.attribution.run.tokens)]
    fixed = sum(v for _, v in result.constants)
    return bars(
        result.title(), [*labels, "constants"], [*result.positions.tolist(), fixed], result.unit, cumulative=True
    )


@figure_of.register
def _(result: Trace, k: int = 12) -> Figure:
    """The ``k`` largest paths as lines from where a part wrote to who read it: tokens across, layers upwards.

    Widths are proportional to what a line carries, over all paths that run along it.
    """
    run, paths = result.attribution.run, result.paths(k)
    steps = list({id(n): (above, n) for path in paths for above, n in pairwise([result.root, *path])}.values())
    parts = {(n.label, n.position): n.component for path in paths for n in path if n.component is not None}
    height, ticks = _levels(list(parts.values()), result.attribution.model.n_layers)
    # a part has a lane of its own, in which what it wrote goes up: the highest part of a word in the first
    places: dict[tuple[str, int | None], tuple[float, float]] = {}
    edges = [0.0]
    for p in range(run.n_positions):
        lanes = sorted((key for key in parts if key[1] == p), key=lambda key: -height[parts[key]])
        places |= {key: (edges[-1] + lane + 0.5, height[parts[key]]) for lane, key in enumerate(lanes)}
        edges.append(edges[-1] + max(1.5, len(lanes)))
    figure, axes = canvas(1.6 + 0.5 * edges[-1], 2.2 + 0.5 * len(ticks))
    top, most = float(len(ticks)), max((abs(n.value) for _, n in steps), default=0.0) or 1.0
    for reader, writer in sorted(steps, key=lambda step: -abs(step[1].value)):
        x, y = places[writer.label, writer.position]
        end, level = (x, top) if reader is result.root else places[reader.label, reader.position]
        colour, width = MINUS if writer.value < 0 else PLUS, 6 * abs(writer.value) / most
        bend = max(y, level - 0.7)  # up at its own word, then across to where it was read
        axes.plot(
            [x, x, end, end],
            [y, bend, level - 0.3, level],
            color=colour,
            linewidth=width,
            alpha=0.6,
            solid_capstyle="butt",
        )
    for (label, _), (x, y) in places.items():
        axes.text(x, y, label, fontsize=6, ha="center", va="center", bbox=_LABEL)
    middles = [(left + right) / 2 for left, right in pairwise(edges)]
    axes.text(
        middles[result.root.position or 0],
        top,
        f"{result.actual:.2f}",
        fontsize=8,
        ha="center",
        va="center",
        bbox=_LABEL,
    )
    axes.vlines(edges[1:-1], -0.5, top, color="0.9", linewidth=0.5)
    axes.set_xticks(middles, [visible(t) for t in run.tokens])
    axes.set_yticks(range(len(ticks)), ticks)
    axes.set_xlim(0, edges[-1])
    axes.set_title(result.title(), loc="left", fontsize=10, wrap=True)
    shares = result.shares(k)
    told = ", ".join(
        f"{name} {signed(value)} ({percent(size / result.size)} of all sizes)" for name, (value, size) in shares.items()
    )
    axes.set_xlabel(
        f"Attribution, not a test: {len(paths)} of {len(result.paths())} paths; in sum {told}\n{result.balance()}",
        fontsize=7,
    )
    return figure


def _levels(parts: list[Component], layers: int) -> tuple[dict[Component, float], list[str]]:
    """How high each part is drawn, and a name for every height: runs of layers without a part are one."""

    def order(c: Component) -> tuple[int, bool]:
        return (-1 if c.layer is None else c.layer), c.kind not in ("head", "attn", "attn.bias")

    heights: dict[tuple[int, bool], float] = {}
    ticks: list[str] = []
    following = 0
    for level in [*sorted({order(c) for c in parts}), (layers, False)]:
        layer = level[0]
        if layer > following:
            ticks.append(f"L{following}" + (f"\u2013L{layer - 1}" if layer > following + 1 else "") + ": nothing shown")
        if layer < layers:
            heights[level] = float(len(ticks))
            ticks.append("tokens" if layer < 0 else f"L{layer}" if layer >= following else "")
        following = layer + 1
    return {c: heights[order(c)] for c in parts}, ticks


@figure_of.register
def _(result: PositionAttribution, k: int = 25) -> Figure:
    title = f"Contributions at every position ({result.unit})"
    return _by_token(title, result.run.tokens, named(result, result.labels), result.values, k)


@figure_of.register
def _(result: PhraseAttribution, k: int = 25) -> Figure:
    labels = [f"{visible(t)} {percent(p)}" for t, p in zip(result.tokens, result.log_probs.exp().tolist(), strict=True)]
    return _by_token(f"{result.title()} ({result.unit})", labels, named(result, result.labels), result.values, k)


def _by_token(title: str, tokens: list[str], labels: list[str], values: Tensor, k: int) -> Figure:
    """A map of ``values`` [token, component], for the ``k`` components with the largest numbers."""
    strongest = sorted(values.abs().amax(0).argsort(descending=True)[:k].tolist())
    figure, axes = canvas(1.8 + 0.34 * len(strongest), 1.4 + 0.3 * len(tokens))
    image = heat(axes, values[:, strongest].numpy(), True)
    axes.set_xticks(range(len(strongest)), [labels[i] for i in strongest], rotation=90)
    axes.set_yticks(range(len(tokens)), [visible(t) for t in tokens])
    axes.set_title(title, loc="left", fontsize=10, wrap=True)
    figure.colorbar(image, ax=axes)
    return figure


LENS = {
    "top": "probability of the top prediction",
    "probability": "probability of {}",
    "rank": "rank of {} (1 is the top)",
    "entropy": "entropy, in nats",
    "kl": "KL(output || row), in nats",
}


@figure_of.register
def _(result: LogitLens, show: str = "top") -> Figure:
    """Layers upwards from the tokens. ``show`` is one of top, probability, rank, entropy, kl."""
    if show not in LENS:
        raise TypeError(f"There is no lens figure of {show!r}: use one of {', '.join(LENS)}.")
    tops = result.top_probabilities[..., 0] if show == "top" else getattr(result, show)
    if tops is None:
        raise TypeError(f"This lens has no {show}: it was made with entropy=False.")
    values = tops.float().numpy()
    rows, columns = values.shape
    figure, axes = canvas(1.6 + 0.62 * columns, 1.5 + 0.3 * rows)
    # a rank is a count: its inverse runs from 1 (the top prediction) down to 0 like a probability
    shade = np.sqrt(
        1 / values if show == "rank" else values / (values.max() or 1) if show in ("entropy", "kl") else values
    )
    axes.imshow(shade, cmap="Blues", vmin=0, vmax=1, aspect="auto", origin="lower")
    for row in range(rows):
        for column in range(columns):
            value = float(values[row, column])
            top = visible(result.model.token(int(result.top_ids[row, column, 0])))[:10]
            text = top if show == "top" else f"{value:.0f}" if show == "rank" else f"{value:.2f}"
            ink = "white" if shade[row, column] > 0.6 else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=ink, parse_math=False)
    axes.set_xticks(range(columns), [visible(result.run.tokens[p]) for p in result.positions], rotation=90)
    axes.set_yticks(range(rows), result.layers)
    axes.set_xlabel(f"what comes after each token; colour: {LENS[show].format(visible(result.token))}")
    axes.set_title(result.title(), loc="left", fontsize=10, wrap=True)
    return figure
