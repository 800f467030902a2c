"""Writes the pages that follow from the code: one for each room with public names, and one of the words.

``python pages.py FOLDER``, where the package can be imported.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from importlib import import_module
from pathlib import Path

import attrib_widgets as aw
from attrib_widgets.words.glossary import TERMS

NAMED = ("show", "demo")  # modules that are used by name: aw.show.bars(...)


def api(out: Path) -> None:
    """A page for every room that public names live in, and one that lists them."""
    rooms: dict[str, list[str]] = defaultdict(list)
    for name, home in aw._HOMES.items():
        parts = home.split(".")
        rooms[".".join(parts[:2]) if parts[0] == "analysis" else parts[0]].append(name)
    pages = {room: _room(room, names) for room, names in rooms.items()}
    pages |= {name: [f"# {name}", "", *_directive("automodule", getattr(aw, name).__name__)] for name in NAMED}
    (out / "api").mkdir()
    for name, lines in pages.items():
        _write(out / "api" / f"{name}.md", lines)
    listed = ["```{toctree}", *(f"api/{name}" for name in pages), "```"]
    _write(out / "api.md", ["# Python", "", "Every public name, by the room it lives in.", "", *listed])


def _room(room: str, names: list[str]) -> list[str]:
    said = (import_module(f"attrib_widgets.{room}").__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
    lines = [f"# {room}", "", said, ""]
    for name in sorted(names, key=str.lower):
        kind = "autoclass" if isinstance(getattr(aw, name), type) else "autofunction"
        lines += _directive(kind, f"attrib_widgets.{name}")
    return lines


def _directive(kind: str, name: str) -> list[str]:
    return ["```{eval-rst}", f".. {kind}:: {name}", "```", ""]


def words(out: Path) -> None:
    """The glossary, from its one table."""
    lines = ["# Words", "", "What the words on the screen mean, and how to read a number of each.", ""]
    for term in TERMS:
        also = f" *Also: {', '.join(term.also)}.*" if term.also else ""
        lines += [f"## {term.name}", "", f"{term.means}{also}", "", f"> {term.read}", ""]
    _write(out / "words.md", lines)


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for make in (api, words):
        make(Path(sys.argv[1]))
