#!/usr/bin/env python3
"""Writes js/tests/states.json, what the tests of the browser half draw: ``python tests/states.py`` (with torch).

The embedded model on one prompt, one state of every kind of view, as the package sends them now; a test compares the
committed file. Headers are written as they are and arrays as base64, so that a change can be read.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import attrib_widgets as aw
from attrib_widgets.demo import CORRUPTED, PROMPT, TARGET
from attrib_widgets.result import view_of
from attrib_widgets.widgets.shapes import budget, contract
from attrib_widgets.widgets.transport import wire

STATES = Path(__file__).resolve().parent.parent / "js" / "tests" / "states.json"
#: Rows of the Explorer whose features are kept, each with the card of the largest: the file stays small.
KEPT = ("L3.mlp", "L3H1")


def results(model: Any) -> dict[contract.Kind, Any]:
    """A result for every kind of view that stands alone."""
    run = model.run(PROMPT)
    a = aw.attribute(run, TARGET)
    features = a.features("L2.mlp")
    return {
        "attribution": a,
        "attention": aw.attention(run, [aw.component("L1H2"), aw.component("L3H5")]),
        "bars": features,
        "card": features.card(features.numbers[0]),
        "comparison": aw.compare(a, aw.attribute(run, " Berlin")),
        "effects": aw.token_effects(model, run, TARGET),
        "graph": a.graph(),
        "grid": aw.show.grid(
            a.heads, [f"L{i}" for i in range(5)], [f"H{i}" for i in range(8)], title="Heads", unit="logits"
        ),
        "lens": aw.logit_lens(run),
        "patching": aw.patch(model, run, CORRUPTED, TARGET, sites="mlp"),
        "phrase": aw.attribute(run, aw.phrase(TARGET)),
        "survey": aw.survey(model, {task: aw.demo.pairs(task, 4) for task in ("capitals", "agreement")}),
        "table": a.buildup(),
        "tokens": aw.show.tokens(run.tokens, aw.attention(run, "L3H1").patterns[0, -1], title="Read by L3H1"),
        "trace": a.trace(),
        "verdicts": aw.verify(a, CORRUPTED, components=["L3.mlp"]),
    }


def states() -> dict[str, dict[str, Any]]:
    """By kind, header and arrays; the Explorer's as an offline page has them, most features left out."""
    model = aw.load("demo")
    made = {"explorer": _read(_explored(model))}
    for kind, result in results(model).items():
        if kind != "attribution":  # the Explorer's again
            view = view_of(result)
            made[kind] = _read(view.container)
            view.close()
    return made


def _explored(model: Any) -> bytes:
    explorer = aw.explore(model)
    header, arrays = budget.whole(explorer._now)
    leading = {row: f"{row}/{header['features'][row]['numbers'][0]}" for row in KEPT}
    header = {
        **header,
        "features": {row: header["features"][row] for row in KEPT},
        "cards": {name: header["cards"][name] for name in leading.values()},
        "worked": {row: header["worked"][row] for row in KEPT},
    }
    shown: contract.ExplorerHeader = {
        **header,
        "kind": "explorer",
        "version": 1,
        "question": 0,
        "origin": [],
        "address": explorer.state,
        "pin": explorer.pins_of([explorer])[0],
        "besides": explorer.besides(),
    }
    explorer.close()
    return wire.pack(shown, arrays)


def _read(container: bytes) -> dict[str, Any]:
    """A container in two parts; the arrays stay as they are packed."""
    start = 8 + int.from_bytes(container[4:8], "little")
    header = json.loads(container[8:start])
    header.pop("v")
    arrays = {}
    for name, entry in header.pop("arrays").items():
        at = start + entry.pop("offset")
        data = base64.b64encode(container[at : at + entry.pop("bytes")]).decode("ascii")
        arrays[name] = {**entry, "data": data}
    return {"header": header, "arrays": arrays}


def written(made: dict[str, dict[str, Any]]) -> str:
    """The text of states.json: a line for every part of a header and for every array."""

    def block(part: dict[str, Any]) -> str:
        lines = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=True)}" for name, value in part.items()]
        return "{\n" + ",\n".join(lines) + "\n}"

    kinds = [
        f'"{kind}": {{"header": {block(s["header"])}, "arrays": {block(s["arrays"])}}}' for kind, s in made.items()
    ]
    return "{\n" + ",\n".join(kinds) + "\n}\n"


if __name__ == "__main__":
    STATES.write_text(written(states()), encoding="utf-8", newline="\n")
