"""The card of one feature: what it fires on, what it writes, what is like it, and where it fires in this prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch

from ...result import Result, Table
from ...words.components import Component
from ...words.text import bracketed, number, safe, signed, significant, visible
from ..arithmetic import Arithmetic
from ..reading import collected
from ..sae import SAE, Fired
from .kept import BANDS, Cards, Firing, Text, bounds
from .related import Related, related
from .written import written_logits

if TYPE_CHECKING:
    import pandas as pd

    from ...model.model import Model
    from .neuronpedia import Descriptions

#: How many of the strongest contexts are printed, and into how many bars firings are counted at most.
PRINTED, MOST_BARS = 5, 24


class Band(NamedTuple):
    """Firings drawn at random, those of one range of strengths: as many of all firings as of any other band."""

    low: float
    high: float
    firings: list[Firing]

    @property
    def middle(self) -> Firing:
        """The one that is shown where there is room for one."""
        return self.firings[len(self.firings) // 2]

    @property
    def said(self) -> str:
        """Its range, as printed."""
        return f"{significant(self.low, 2)} to {significant(self.high, 2)}"


class Bar(NamedTuple):
    """How many firings are at least ``low`` and less than ``high`` strong."""

    low: float
    high: float
    firings: int


@dataclass(eq=False, repr=False)
class Card(Result):
    """One feature: what it fires on, what it writes, and where it fires in the prompt at hand.

    ``label`` is computed from the strongest contexts ("" where it fires too rarely), and ``density`` is the share of
    tokens that it fires on; without cards they are "" and NaN. ``promoted`` and ``suppressed`` list (token text, id,
    logits per unit of activation that it adds directly, before the final norm's scale; empty where that depends on the
    prompt, of several streams); for a feature of the heads'
    outputs ``through`` names the head that this is read through. ``here`` has the activation on each of ``tokens``,
    those of the prompt. ``missing`` says why there are no contexts, and how to give some. ``arithmetic`` is what it
    adds to what is explained; None where it does not fire.

    Attributes:
        bands: firings drawn at random, in groups of equal size, the strongest first.
        histogram: how many firings there are by strength, in bins of equal width on a logarithmic scale.
        related: features that write alike or fire together.
        described: what others say of it, each with who says so.
        notes: what has to be known of these numbers: their units, of how many tokens they are.
        sources: of a feature of heads, what each token of the prompt adds to it where it fires most: (that token's
            position, the parts before its biases and the activation function); None where that cannot be told.
    """

    feature: Component
    label: str
    density: float
    contexts: list[Firing]
    promoted: list[tuple[str, int, float]]
    suppressed: list[tuple[str, int, float]]
    tokens: list[str]
    here: list[float]
    through: str = ""
    missing: str = ""
    arithmetic: Arithmetic | None = None
    bands: list[Band] = field(default_factory=list)
    histogram: list[Bar] = field(default_factory=list)
    related: list[Related] = field(default_factory=list)
    described: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sources: tuple[int, list[float]] | None = None

    def summary(self) -> Table:
        rows = [
            [f"fires at {significant(c.activations[c.position])}", _shaded(c.tokens, c.activations, c.position)]
            for c in self.contexts[:PRINTED]
        ]
        for band in self.bands:
            middle = band.middle
            rows.append([f"drawn, {band.said}", _shaded(middle.tokens, middle.activations, middle.position)])
        rows.append(["in this prompt", _shaded(self.tokens, self.here, len(self.tokens) - 1)])
        rows += [[name, safe(text)] for name, text in self.facts()]
        through = f" through {self.through}" if self.through else ""
        for name, entries in (("promotes", self.promoted), ("suppresses", self.suppressed)):
            if not entries:
                continue
            rows.append(
                [name + through, "  ".join(f"{visible(text)} {signed(value)}" for text, _, value in entries[:5])]
            )
        rows += [[f"writes like {self.feature.site}/{one.feature}", said_of(one)] for one in self.related]
        without = "no label was computed" if math.isnan(self.density) else "it fires too rarely for a label"
        often = "" if math.isnan(self.density) else f" fires on {100 * self.density:.2g}\u00a0% of tokens"
        name = f"computed label of {self.feature}" if self.label else f"{self.feature}: {without}"
        said = [f"{name};{often}" if often else name, *([] if self.arithmetic is None else [self.arithmetic.line()])]
        note = " ".join([*self.notes, *([self.missing] if self.missing else [])])
        return Table(self.label or str(self.feature), ["", ""], rows, [], "\n".join(said), note)

    def facts(self) -> list[tuple[str, str]]:
        """What else is known, each in a line with its name: what others say, how strong firings are, what was read."""
        found = [(f"described ({who})" if who else "described", text) for text, who in self.described]
        if self.histogram:
            found.append(("firings by strength", f"{_bars(self.histogram)} ({said_range(self.histogram)})"))
        if self.sources is not None:
            at, parts = self.sources
            best = sorted(range(len(parts)), key=lambda i: -abs(parts[i]))[:PRINTED]
            fixed = self.here[at] - math.fsum(parts)
            rest = math.fsum(parts) - math.fsum(parts[i] for i in best)
            told = [(visible(self.tokens[i]), parts[i]) for i in best]
            told += [("other tokens", rest)] if len(parts) > len(best) else []
            read = "  ".join(f"{name} {signed(value)}" for name, value in [*told, ("its biases", fixed)])
            found.append((f"{significant(self.here[at])} on {visible(self.tokens[at])} comes from", read))
        return found

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``context``, ``position``, ``token``, ``activation``: every token of the strongest contexts."""
        import pandas as pd

        rows = [
            (number, position, token, value)
            for number, firing in enumerate(self.contexts)
            for position, (token, value) in enumerate(zip(firing.tokens, firing.activations, strict=True))
        ]
        return pd.DataFrame(rows, columns=["context", "position", "token", "activation"])


def said_of(one: Related) -> str:
    """How a feature is related, in words."""
    often = f"; fires with it at {one.together} of {one.of} firings drawn" if one.of else ""
    return f"cosine {number(one.cosine)}{often}{f'; {one.label}' if one.label else ''}"


def said_range(histogram: Sequence[Bar]) -> str:
    """Between which strengths a histogram counts, and how many firings."""
    total = sum(bar.firings for bar in histogram)
    return f"{significant(histogram[0].low, 2)} to {significant(histogram[-1].high, 2)}, {total:,} firings"


def _bars(histogram: Sequence[Bar]) -> str:
    """A histogram in one line: the highest bar is full, and none that counts a firing is empty."""
    most = max(bar.firings for bar in histogram)
    return "".join(" " if not bar.firings else "▁▂▃▄▅▆▇█"[min(7, 8 * bar.firings // most)] for bar in histogram)


def _shaded(tokens: Sequence[str], activations: Sequence[float], end: int, width: int = 12) -> str:
    """The last tokens up to ``end``; those that fire stand in brackets."""
    start = max(0, end - width + 1)
    shown = zip(tokens[start : end + 1], activations[start : end + 1], strict=True)
    text = "".join(bracketed(token) if value > 0 else token for token, value in shown)
    return ("…" if start else "") + safe(text)


def card_of(
    model: Model,
    sae: SAE,
    cards: Cards | None,
    feature: int,
    prompt: tuple[Sequence[str], Fired],
    text: Text | None,
    head: int | None = None,
    k: int = 8,
    without: str = "",
    others: Descriptions | None = None,
) -> Card:
    """The card of one feature; contexts that were not stored are run through the model to find where it fires.

    Args:
        prompt: the tokens at hand and what the dictionary makes of its site on them.
        text: the text of a context by its number, or its token ids; without it no contexts are shown, unless the cards
            have their own.
        head: what a feature of the heads' outputs writes is read through this head alone; None: through all.
        without: what to say, and to type, where there are no texts.
        others: what others say of the features, with contexts that are shown where there are no others.

    Raises:
        ComponentError: the dictionary has no such feature.
    """
    sae.check(feature)
    if cards is not None and cards.texts is not None:
        text = cards.texts.__getitem__
    known = cards is not None and text is not None
    contexts, drawn = _contexts(model, sae, cards, feature, text) if known else ([], [])  # type: ignore[arg-type]
    notes, described = _notes(sae, cards), [] if others is None else others.said.get(feature, [])
    if not contexts and others is not None and (contexts := others.contexts.get(feature, [])):
        notes.append(
            f"Contexts are those of {others.source}; activations there are in units of decoder rows of length 1: "
            f"{significant(float(sae.w_dec[feature].norm()))} there is 1 here."
        )
    if cards is None and others is not None and feature in others.density:
        notes.append(
            f"It fires on {100 * others.density[feature]:.2g}\u00a0% of tokens by the count of {others.source}."
        )
    most, least = [], []
    if model.n_streams == 1:
        logits = written_logits(model, sae, feature, head)
        most, least = (logits.topk(k, largest=way).indices.tolist() for way in (True, False))
    else:
        notes.append(
            f"What it adds to the logits depends on the prompt and the position: layers mix {model.n_streams} streams."
        )
    here, fired = prompt
    through = "" if sae.site.site != "z" else f"all heads of L{sae.site.layer}"
    none = without if cards is None or text is None else "It fires in none of the texts."
    return Card(
        Component("feature", index=feature, site=str(sae.site)),
        cards.labels[feature] if cards else "",
        float(cards.density[feature]) if cards else math.nan,
        contexts,
        [(model.token(i), i, float(logits[i])) for i in most],
        [(model.token(i), i, float(logits[i])) for i in least],
        list(here),
        fired(feature).tolist(),
        through if head is None else str(Component("head", sae.site.layer, head)),
        "" if contexts else none,
        bands=_bands(drawn),
        histogram=_histogram(cards, feature),
        related=related(sae, cards, feature),
        described=list(described),
        notes=notes,
    )


def _contexts(model: Model, sae: SAE, cards: Cards, feature: int, text: Text) -> tuple[list[Firing], list[Firing]]:
    """(the strongest contexts of a feature, firings drawn at random): as they were stored, or else in one forward pass
    (what stands behind a context changes nothing in it)."""
    kept = cards.firings.setdefault(model, {})
    if feature in kept:
        return kept[feature]
    filled = (cards.activations[feature] > 0).nonzero()[:, 0].tolist()
    if not filled:
        return [], []
    ids = [model.encode(text(int(cards.contexts[feature, rank]))) for rank in filled]
    if cards.weaker is not None:
        found = [_stored(model, cards, feature, rank, row) for rank, row in zip(filled, ids, strict=True)]
    else:
        rows = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
        active = sae.column(collected(model, rows, sae, list(map(len, ids))), feature)
        active[:, 0] = 0
        positions = cards.positions[feature].tolist()
        found = [
            Firing([model.token(i) for i in row], active[at, : len(row)].tolist(), positions[rank])
            for at, (rank, row) in enumerate(zip(filled, ids, strict=True))
        ]
    best = sum(rank < cards.ranks for rank in filled)
    kept[feature] = found[:best], found[best:]
    return kept[feature]


def _stored(model: Model, cards: Cards, feature: int, rank: int, ids: list[int]) -> Firing:
    assert cards.weaker is not None
    ids = ids[: cards.weaker.read]
    near = cards.window(feature, rank, len(ids))
    activations, position = cards.stored(feature, rank, len(ids))
    return Firing([model.token(i) for i in ids[near]], activations[near], position - near.start)


def _bands(drawn: Sequence[Firing]) -> list[Band]:
    """Firings drawn at random in groups of one size, the strongest first; none where there are fewer than groups."""
    if len(drawn) < BANDS:
        return []
    ranked = sorted(drawn, key=lambda firing: -firing.activations[firing.position])
    size = len(ranked) / BANDS
    groups = [ranked[round(i * size) : round((i + 1) * size)] for i in range(BANDS)]
    return [
        Band(group[-1].activations[group[-1].position], group[0].activations[group[0].position], group)
        for group in groups
    ]


def _histogram(cards: Cards | None, feature: int) -> list[Bar]:
    """Counts from the first to the last bin that has any, in pairs where there are many."""
    if cards is None or cards.histogram is None:
        return []
    row = cards.histogram[feature].tolist()
    used = [i for i, count in enumerate(row) if count]
    if not used:
        return []
    step = 1
    while (used[-1] // step) - (used[0] // step) >= MOST_BARS:
        step *= 2
    first, last = used[0] // step, used[-1] // step
    return [
        Bar(bounds(i * step)[0], bounds(i * step + step - 1)[1], sum(row[i * step : (i + 1) * step]))
        for i in range(first, last + 1)
    ]


def _notes(sae: SAE, cards: Cards | None) -> list[str]:
    if cards is None or not cards.tokens:
        return []
    part = "" if cards.finished else " so far: more are being read, or it was stopped"
    found = [f"Counted on {cards.tokens:,} tokens{part}."]
    if sae.signed or sae.architecture == "abstopk":
        found.append("It can also fire below 0; that is not counted.")
    return found
