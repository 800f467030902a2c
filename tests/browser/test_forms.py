"""Every class of results on its page: the rows of the table that static HTML, drawings and CSV have, read back.

The page holds more rows than a table of ten, or draws them; what the table prints is there with the same sign and the
same digits, in the same order. A picture as pixels is the drawing of Python, twice as fine.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import torch
from playwright.sync_api import expect

from attrib_widgets import show
from attrib_widgets.words.text import percent, visible
from browser.chromium import Watched
from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen
from fixtures import forms
from fixtures.results import RESULTS, Given

Show = Callable[..., Screen]

#: How a view lists rows: what is one, and the parts of it that are read.
LISTS = {
    "table": (".aw-table tbody tr", "td:not(.aw-tbar)"),
    "comparison": (".aw-table tbody tr", "td:not(.aw-tbar)"),
    "bars": (".aw-bars li", ".aw-name, .aw-val"),
    "attribution": ('[data-part="waterfall"] [data-id]', ".aw-name, .aw-rival, .aw-val"),
    "trace": ('[role="treeitem"]', ".aw-name, .aw-val"),
    "effects": ('[role="option"]', ".aw-token, .aw-under, .aw-num"),
    "tokens": ('[role="option"]', ".aw-token, .aw-under, .aw-num"),
}
READ = "(rows, parts) => rows.map(r => [...r.querySelectorAll(parts)].map(e => e.textContent))"


# All but whether a prompt can be opened here: a page has no kernel for it.
SAID = """e => {
  const card = e.cloneNode(true);
  // what says that there is nobody to ask
  const nobody = card.querySelectorAll('[data-part="opens"], [data-part="test"] > .aw-quiet:not([data-part])');
  nobody.forEach(told => told.remove());
  return card.textContent;
}"""
SPOKEN = "e => [e, ...e.querySelectorAll('[aria-label]')].map(o => o.ariaLabel ?? o.textContent).join(' ')"


@pytest.fixture(scope="module")
def made(demo: Any) -> Callable[[str], Any]:
    """``made(name)`` is a result, made once."""
    given, kept = Given(demo), {}
    return lambda name: kept[name] if name in kept else kept.setdefault(name, RESULTS[name](given))


#: Columns of tables that the page tells by place (the position of a token), or on a click (the spread of its draws).
ELSEWHERE = ("position", "spread")


def rows_on(screen: Screen, kind: str) -> list[str]:
    """The rows of a list, each as one text; a tree with everything opened."""
    row, parts = LISTS[kind]
    if kind == "trace":
        screen.root.locator('[data-form="table"]').click()
        while (closed := screen.root.locator('[role="treeitem"][aria-expanded="false"]')).count():
            closed.first.focus()
            screen.root.page.keyboard.press("ArrowRight")
    found = screen.root.locator(row).evaluate_all(READ, parts)
    return [" ".join(forms.plain(" ".join(c.split()) for c in cells if c.strip())) for cells in found]


def wanted_in(table: Any) -> list[list[str]]:
    """The cells that a page must have, row by row; the sum of the others is of fewer rows there."""
    rows = [row for row in table.rows if "others" not in row[0]]
    told = [[c for c, name in zip(row, table.columns, strict=True) if name not in ELSEWHERE] for row in rows]
    return [forms.plain(" ".join(c.split()) for c in row if c.strip()) for row in told]


def has(text: str, cells: list[str]) -> bool:
    return all(f" {cell} " in f" {text} " for cell in cells)


def said_of(kind: str, result: Any, row: list[str]) -> str:
    """What is read aloud of the cell or point that a row of the table is about."""
    if kind == "patching":
        label, _, at = row[0].partition(" @")
        where = f" at {visible(result.pairs[0][0].tokens[int(at)])} (position {at})" if at else ""
        return f"{label}{where}: {result.share} {row[1]}"
    if kind == "lens":
        read = f"{row[0]} after {visible(result.run.tokens[-1])}: {row[1]} {row[2]}"
        return f"{read}; {visible(result.token)} {row[3]}, rank {row[4]}"
    if kind == "survey":
        told = dict(zip(result.summary().columns, row, strict=True))
        where = f" in {told['group']}" if "group" in told else ""
        alike = told["same sign (permuted)"].partition(" (")[0]
        mean = f"mean {told['mean, logits']} logits, spread {told['spread']}"
        return f"{told['component']}{where}: {mean}; same sign in {alike} of"
    if kind == "graph":  # the name says where, and the label stands beside it
        name, at, label, value = row
        where = f"{name}@{at.split()[-1]}" if at else name
        return " ".join(f"{where} {label} {value}".split())
    if kind == "grid":
        return f"{row[0]}, {row[1]}: {row[2]}"
    if kind == "attention":  # of the head that is open: what the last token reads most
        weights = torch.as_tensor(result.patterns if hasattr(result, "patterns") else result.weights)[0, -1]
        tokens, most = getattr(result, "run", result).tokens, int(weights.argmax())
        told = f"{visible(tokens[most])} {percent(float(weights[most]))}"
        assert " ".join(row[1:]).startswith(told)
        return f"reads {visible(tokens[most])} (position {most}): {percent(float(weights[most]))}"
    return row[0]


@pytest.mark.parametrize("name", RESULTS)
def test_the_page_has_the_rows_of_the_table(made: Any, offline: Show, name: str) -> None:
    result = made(name)
    view, table = result.view(), result.summary()
    screen = offline(view)
    if view.kind in LISTS:
        shown = rows_on(screen, view.kind)
        at = -1
        for row in wanted_in(table):
            at = next((i for i, text in enumerate(shown) if i > at and has(text, row)), -1)
            assert at >= 0, f"{row} is not there, or comes elsewhere: {shown}"
        return
    # What is drawn as cells and points has the name and the number of each row in what is read aloud.
    said = forms.plain([screen.root.locator(".aw-card").evaluate(SPOKEN)])[0]
    rows = table.rows[:1] if view.kind == "attention" else [] if view.kind == "card" else table.rows
    for row in rows:
        if row[0].startswith("all others") or (view.kind == "graph" and row[0].endswith(" others")):
            continue
        wanted = forms.plain([said_of(view.kind, result, row)])[0]
        assert wanted in said, f"{wanted!r} is not in {said!r}"
    assert forms.plain([table.title])[0] in said or view.kind in ("attention", "card")


def test_a_picture_as_pixels_is_the_drawing(made: Any, offline: Show, watched: Watched, tmp_path: Path) -> None:
    """What is drawn is the text of Python's drawing, and nothing else; the picture is twice its size."""
    view = made("erasure").view()
    screen = offline(view)
    watched.page.evaluate(
        """() => {
          const drawImage = CanvasRenderingContext2D.prototype.drawImage;
          window.awDrawn = [];
          CanvasRenderingContext2D.prototype.drawImage = function (image, ...at) {
            awDrawn.push([image.src, image.width, image.height]);
            return drawImage.call(this, image, ...at);
          };
        }"""
    )
    screen.part("save").click()
    with watched.page.expect_download() as coming:
        screen.root.locator('[data-save="png"]').click()
    coming.value.save_as(tmp_path / "kept.png")
    ((source, width, height),) = watched.page.evaluate("awDrawn")
    assert unquote(source).partition(",")[2] == view.saved("svg")["text"]
    assert struct.unpack(">II", (tmp_path / "kept.png").read_bytes()[16:24]) == (2 * width, 2 * height)


@lab_only
def test_a_live_view_says_what_its_page_says(notebook: Notebook) -> None:
    """One of every kind of view, and its offline page in a frame below it: the same rows, read from both."""
    root = Path(__file__).parents[1]
    notebook.cell(
        f"import sys; sys.path.append({str(root)!r})\n"
        "from fixtures.results import RESULTS, Given\n"
        "given, kinds = Given(model), {}\n"
        "for name, make in RESULTS.items():\n"
        "    if name != 'experts':\n"
        "        view = make(given).view()\n"
        "        kinds.setdefault(view.kind, view)"
    )
    kinds = notebook.value("list(kinds)")
    assert set(kinds) >= {*LISTS, "lens", "patching", "verdicts", "attention", "grid"}
    for kind in kinds:
        i = notebook.cell(f"kinds[{kind!r}]")
        j = notebook.cell(f"kinds[{kind!r}].freeze()")
        live = Screen(notebook.widget(i))
        frame = Screen.on(notebook.output(j).frame_locator("iframe"))
        if kind in LISTS:
            assert rows_on(live, kind) == rows_on(frame, kind) != []
        else:
            notebook.page.mouse.move(0, 0)  # no cell is pointed at
            texts = [s.root.locator(".aw-card").evaluate(SAID) for s in (live, frame)]
            assert kind == "phrase" or texts[0] == texts[1], kind


def test_arrows_walk_a_long_list_that_was_scrolled_away(offline: Show, watched: Watched) -> None:
    many = [f" w{i}" for i in range(500)]
    screen = offline(show.tokens(many, torch.linspace(-1, 1, 500)).view())
    first = screen.root.locator('[data-i="38"]')
    first.focus()
    first.evaluate("e => { e.closest('[role=listbox]').scrollTop = 1e5 }")
    expect(screen.root.locator('[data-i="499"]')).to_be_visible()
    for _ in range(3):
        watched.page.keyboard.press("ArrowRight")
    expect(screen.root.locator('[data-i="41"]')).to_be_focused()
