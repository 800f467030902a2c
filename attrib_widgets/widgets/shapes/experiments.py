"""Experiments as the browser reads them: verdicts, grids of patches, and the total effects of prompt tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...analysis.experiments.cells.cells import every_part
from ...analysis.experiments.estimates.effects import estimated_effects
from ...analysis.experiments.estimates.estimate import Estimate
from ...analysis.experiments.patching.token_effects import TokenEffects, replacements
from ...analysis.verdicts.findings import OTHERS
from ...analysis.verdicts.reach import borders
from ...analysis.verdicts.rules import Measured, Thresholds
from ...analysis.verdicts.table import SHORT, verdict
from ...analysis.verdicts.verify import planned
from ...words.components import BESIDES
from ...words.errors import AttribError
from ...words.places import stream_place
from ...words.targets import Target
from ...words.text import digits_of, how_many, number
from ..transport import wire
from . import contract

if TYPE_CHECKING:
    from ...analysis.attribution.attribution import Attribution
    from ...analysis.experiments.cells.cells import Cell
    from ...analysis.experiments.measuring.answers import Answer
    from ...analysis.experiments.patching.patching import Patching
    from ...analysis.verdicts.findings import Finding, Group, Verification
    from ...model.run import Run

#: Components that "test the top ten" tests.
TOP = 10
#: Most cells of patching that a notebook should carry.
MOST_CELLS = 300_000
MARGIN = 0.12  # around the points of a scatter, as a share of its span
# Where the regions' names fit is read off a grid of points. A letter takes this share of a step, and a name is this
# many times as long as it is high.
_SAMPLES, _LETTER, _SLIM = 30, 0.17, 4

Segment = tuple[tuple[float, float], tuple[float, float]]


def _then(who: str, answers: Sequence[Answer], said: str) -> str:
    """What the model says once a part is out; and that it is the answer that was asked about, where it stays."""
    return f"{who} {'still says' if all(a.stays for a in answers) else 'says'} {said}" if said else ""


def finding(f: Finding) -> contract.Finding:
    """One verdict, with its numbers and what may be said of them."""
    return {
        "id": str(f.component),
        "d": f.direct,
        "damage": f.necessity,
        "recovery": f.sufficiency,
        "back": f.direct_back,
        "word": f.word,
        "chip": SHORT.get(f.word, f.word),
        "told": f"{f.word}: {f.sentence}",
        "remarks": f.remarks,
        "then": _then("Without it, as in the other prompt, the model", f.answers, f.then),
        "decided": f.decided,
        "borderline": f.borderline,
        "named": f.named,
        "lists": list(f.lists),
    }


def _counted(v: Verification, g: Group) -> str:
    """How many parts a group has, and of the others which: the rows that a picture adds up are other ones."""
    if v.label(g) != OTHERS:
        return str(len(g.parts))
    little = len({f.component for f in v.findings}.intersection(g.parts))
    return f"{how_many(len(g.parts), 'part')}: {little} that do little alone, {len(g.parts) - little} not tested alone"


def verdicts(v: Verification) -> contract.Verdicts:
    """All verdicts, with what they rest on: pairs, thresholds, gap and cost."""
    return {
        "title": v.title(),
        "pairs": v.of_pairs,
        "rule": v.rule,
        "gap": v.gap,
        "shared": v.shared,
        "cost": str(v.cost),
        "notes": v.notes,
        "together": [
            {
                "name": f"{v.label(g)} ({_counted(v, g)})",
                "told": v.together(g)["together"],
                "then": _then("Then the model", g.answers, g.then),
            }
            for g in v.groups
        ],
        "findings": [finding(f) for f in v.findings],
    }


def scatter(v: Verification) -> bytes:
    """Kind ``verdicts``: direct damage against damage, in a window that holds every point, with the words' borders."""
    points = [(f.direct, f.necessity) for f in v.findings] or [(0.0, 0.0)]
    low, high = min(0.0, *map(min, points)), max(4 * v.thresholds.tau, *map(max, points))
    room = MARGIN * (high - low)
    window = (low - room, high + room)
    inside = [(name, _clipped(line, *window)) for name, line in borders(v.thresholds)]
    header: contract.VerdictsHeader = {
        "kind": "verdicts",
        **verdicts(v),
        "window": window,
        "lines": [{"name": name, "at": line} for name, line in inside if line],
        "regions": regions(window[0], window[1], v.thresholds),
    }
    return wire.pack(header, {})


def _clipped(line: Sequence[tuple[float, float]], low: float, high: float) -> Segment | None:
    """The part of a line inside the square from ``low`` to ``high``; None where it misses it."""
    (x, y), (u, v) = line
    start, end = 0.0, 1.0
    for at, way in ((x, u - x), (y, v - y)):
        if way:
            near, far = sorted(((low - at) / way, (high - at) / way))
            start, end = max(start, near), min(end, far)
        elif not low <= at <= high:
            return None
    if start >= end:
        return None
    return (x + start * (u - x), y + start * (v - y)), (x + end * (u - x), y + end * (v - y))


def regions(low: float, high: float, at: Thresholds) -> list[contract.Region]:
    """Where in a square of the (d, n) plane the name of each verdict has room: across, else upwards, else nowhere.

    Recovery is taken as 0, and nothing more as measured: what is in the middle does little alone only while that is
    below tau, too.
    """
    ticks = np.linspace(low, high, _SAMPLES)
    words = np.array([[verdict(_point(float(d), float(n)), at).word for d in ticks] for n in ticks])
    found: list[contract.Region] = []
    for word in dict.fromkeys(words.flat):
        inside = words == word
        out, mine = np.argwhere(~np.pad(inside, 1)) - 1, np.argwhere(inside)
        for up, shape in ((False, (_SLIM, 1)), (True, (1, _SLIM))):
            room = (((mine[:, None] - out) * shape) ** 2).sum(-1).min(1)
            row, column = mine[int(room.argmax())]
            if room.max() ** 0.5 > _LETTER * len(word) + 1:
                found.append({"word": str(word), "d": float(ticks[column]), "n": float(ticks[row]), "up": up})
                break
    return found


def _point(d: float, n: float) -> Measured:
    return Measured({"n": n, "d_n": d, "s": 0.0, "d_s": 0.0, "differs": 1.0})


def testable(a: Attribution, corrupted: Run | None) -> contract.Testable:
    """What can be tested on the screen of ``a``, what it costs at most, and what is in the way.

    ``suggested`` is a comparison prompt for a prompt that the model suggests.
    """
    model = a.model
    parts = (cell.parts[0].component for cell in every_part(model, [None]))
    split = list(dict.fromkeys(c.kind for c in parts if c is not None))
    never, missing = "", ""
    if not isinstance(a.target, Target):
        never = "A number inside the model has no experiment here: go back to a token."
    elif corrupted is not None and corrupted.n_positions != a.run.n_positions:
        missing = (
            f"The comparison has {corrupted.n_positions} tokens and this prompt {a.run.n_positions}: "
            "an experiment needs as many."
        )
    return {
        "kinds": split,
        "never": never,
        "missing": missing,
        "top": TOP,
        "one": planned(a, 0, 1),
        "all": planned(a, TOP),
        "words": replacements(a.run, a.position),
        "suggested": _suggested(a),
    }


def _suggested(a: Attribution) -> str:
    return next((s.corrupted for s in a.model.suggestions if s.prompt == a.run.text), "")


def effects(a: Attribution, corrupted: Run) -> wire.Stored:
    """What putting each row's part into the comparison run would bring back, estimated by one backward pass over points
    of the way between the runs; 0 for rows that are no parts. Last the completeness error, NaN where there is none."""
    found = estimated_effects(a, corrupted)
    error = float("nan") if found.error is None else found.error
    return wire.store([*(found.get(c, 0.0) for c in a.components), error], missing=True)


def estimates(a: Attribution, corrupted: Run) -> bytes:
    """Kind ``estimates``: :func:`effects` asked for."""
    header: contract.EstimatesHeader = {"kind": "estimates"}
    return wire.pack(header, {"values": effects(a, corrupted)})


def patching(p: Patching) -> bytes:
    """Kind ``patching``: one grid per site, rows upwards through the layers, columns positions or heads.

    ``values`` and ``known`` hold the cells of all grids one after the other; ``known`` is 0 where there is no cell, or
    none was computed.

    Raises:
        AttribError: more than a notebook should carry.
    """
    if len(p.cells) > MOST_CELLS:
        raise AttribError(f"{len(p.cells)} cells are too much to draw.", "Choose layers=, or read .to_dataframe().")
    shares = p.values
    grids: list[contract.PatchGrid] = []
    values = []
    for name, cells in _panels(p).items():
        rows = list(dict.fromkeys(_row(p, c) for _, c in cells))
        rows.sort(key=lambda r: (r[0], -1 if r[1] is None else r[1]))
        columns = list(dict.fromkeys(_column(c) for _, c in cells))
        columns.sort(key=lambda c: (isinstance(c, str), c))
        at: dict[tuple[Any, Any], tuple[int, Cell]] = {(_row(p, c), _column(c)): (i, c) for i, c in cells}
        table = np.full((len(rows), len(columns)), np.nan)
        labels = []
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                index, cell = at.get((row, column), (-1, None))
                if cell is not None:
                    table[i, j] = shares[index]
                labels.append("" if cell is None else str(cell))
        tokens = all(isinstance(c, tuple) for c in columns)
        grids.append(
            {
                "site": name,
                "rows": [_row_name(p, name, *r) for r in rows],
                "layers": [r[0] for r in rows],
                "columns": [_column_name(p, c) for c in columns],
                "positions": [c[0] for c in columns] if tokens else None,
                "cells": labels,
            }
        )
        values.append(table.flatten())
    flat = np.concatenate(values) if values else np.zeros(0)
    known = ~np.isnan(flat)
    header: contract.PatchingHeader = {
        "kind": "patching",
        "title": p.title(),
        "share": p.share,
        "words": p.words(),
        "estimated": isinstance(p, Estimate),
        "notes": p.notes,
        "cost": str(p.cost),
        "gap": float(p.gap.mean()),
        "unit": p.unit,
        "position": p.position,
        "parallel": p.model.parallel,
        "grids": grids,
    }
    return wire.pack(header, {"values": wire.store(np.where(known, flat, 0)), "known": wire.store(known, "i4")})


def _panels(p: Patching) -> dict[str, list[tuple[int, Cell]]]:
    """The cells of each grid. Heads and whole sublayers without positions share one, as in the Explorer's map."""
    panels: dict[str, list[tuple[int, Cell]]] = {}
    for i, c in enumerate(p.cells):
        one = c.parts[0] if len(c.parts) == 1 else None
        if one is None:
            name = "joint"
        elif c.positions is None and one.site in ("z", "mlp", "attn", *BESIDES, "layer"):
            name = "parts"
        else:
            name = one.grid
        panels.setdefault(name, []).append((i, c))
    return panels


def _row(p: Patching, c: Cell) -> tuple[int, Any]:
    """(layer, head or None): a head has a row of its own where the columns are positions."""
    if len(c.parts) != 1:
        return p.model.n_layers, str(c)
    return c.parts[0].row, c.parts[0].head if c.positions is not None else None


def _column(c: Cell) -> Any:
    """Positions as a tuple, a head as its number, anything else as a word."""
    if len(c.parts) != 1:
        return "all"
    if c.positions is not None:
        return c.positions
    one = c.parts[0]
    return one.head if one.head is not None else "MLP" if one.site == "mlp" else one.site


def _row_name(p: Patching, site: str, layer: int, head: Any) -> str:
    if isinstance(head, str):
        return head
    if site == "stream":
        return str(stream_place(layer, p.model.n_layers))
    return f"L{layer}" if head is None else f"L{layer}H{head}"


def _column_name(p: Patching, column: Any) -> str:
    if isinstance(column, tuple):
        return " ".join(p.pairs[0][0].tokens[i] for i in column) if len(column) < 4 else f"{len(column)} positions"
    return f"H{column}" if isinstance(column, int) else str(column)


def token_effects(t: TokenEffects) -> bytes:
    """Kind ``effects``: the tokens of a prompt, each with what replacing it does; null at those that stay."""
    header: contract.EffectsHeader = {
        "kind": "effects",
        "title": t.title(),
        "tokens": t.run.tokens,
        "special": t.run.special,
        **replaced(t),
    }
    return wire.pack(header, {})


def replaced(t: TokenEffects) -> contract.Replaced:
    """What replacing each token does."""
    return {
        "told": f"each replaced by {len(t.changed)} others, the rest of the prompt as it is. The {t.metric} is "
        f"{number(t.base, digits_of(t.values.nan_to_num(0).tolist()))} as it stands; a minus (orange) means that the "
        "token holds it up",
        "unit": t.unit,
        "cost": str(t.cost),
        "values": _plain(t.values),
        "spread": _plain(t.spread),
    }


def _plain(values: torch.Tensor) -> list[float | None]:
    return [float(v) for v in values]
