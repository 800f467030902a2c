"""Every head at once: a row for each layer, no scroll, previews in the next frame, drawn as fast as blank canvases."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any, Literal

import pytest
import torch
import transformers as tf
from playwright.sync_api import Page, expect

import attrib_widgets as aw
from attrib_widgets.widgets.shapes import budget
from browser.audit import accessibility, layout
from browser.chromium import Watched
from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen

Scheme = Literal["light", "dark"]
NAMES = "When Mary and John went to the shop, John gave the bag to"
LONG = 256

# From here to the frame that shows it.
FRAME = "new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)))"
#: Milliseconds until a grid of blank canvases of the size of the patterns is drawn.
BLANK = f"""async ([rows, columns, size]) => {{
  const from = performance.now(), grid = document.createElement("div");
  grid.style.cssText = `display: grid; grid-template-columns: repeat(${{columns}}, 40px); gap: 4px`;
  for (let i = 0; i < rows * columns; i++) {{
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = size;
    canvas.style.cssText = "width: 40px; height: 40px";
    canvas.getContext("2d").fillRect(0, 0, size, size);
    grid.append(canvas);
  }}
  document.body.append(grid);
  await {FRAME};
  grid.remove();
  return performance.now() - from;
}}"""
#: The same until all heads are.
OPEN = f"""async () => {{
  const from = performance.now();
  document.querySelector('[data-order="heads"]').click();
  await {FRAME};
  return performance.now() - from;
}}"""
# After so many frames, whether the large picture is of the head that was pointed at.
POINT = """async ([id, frames]) => {
  const cell = document.querySelector(`[data-part="heads"] [data-id="${id}"]`);
  cell.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
  for (let i = 0; i < frames; i++) await new Promise(requestAnimationFrame);
  return document.querySelector('[data-part="head-picture"]').dataset.of === id;
}"""
# What stands there once the frame after a click is over.
PAINTED = "c => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(c.toDataURL()))))"
#: What a canvas shows: its pixels that are not blank, and their colours.
PIXELS = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const colours = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3]) colours.add(`${data[i]} ${data[i + 1]} ${data[i + 2]}`);
  return colours.size;
}"""


def random_page(demo: Any, folder: Path, layers: int, heads: int, tokens: int) -> Path:
    """The page of a random model, with its patterns however large they are."""
    torch.manual_seed(0)
    vocabulary = len(demo.tokenizer)
    config = tf.GPT2Config(
        n_layer=layers,
        n_head=heads,
        n_embd=4 * heads,
        vocab_size=vocabulary,
        n_positions=tokens,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = aw.load(tf.GPT2LMHeadModel(config).eval(), tokenizer=demo.tokenizer)
    words = NAMES.replace(",", "").split()
    text = " ".join(words[i % len(words)] for i in range(tokens - 1))  # a token each, after the first
    explorer = aw.explore(model, text)
    assert explorer.run.n_positions == tokens
    return explorer.to_html(folder / f"{layers}x{heads}.html")


@pytest.fixture(scope="module")
def pages(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Offline pages by model."""
    folder = tmp_path_factory.mktemp("heads")
    names = aw.explore(demo, NAMES, corrupted=NAMES.replace("Mary", "Anna"))
    tested = aw.explore(demo, NAMES, corrupted=NAMES.replace("Mary", "Anna"))
    tested.verify()
    tested.chosen = ["L3H1", "L3H7"]
    found = {"names": names.to_html(folder / "names.html"), "tested": tested.to_html(folder / "tested.html")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "BUDGET", 6_000_000)
        found["12x12"] = random_page(demo, folder, 12, 12, LONG)
    found["32x32"] = random_page(demo, folder, 32, 32, 12)
    return found


def opened(page: Page, path: Path, width: int = 1100, scheme: Scheme = "light") -> Screen:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 1000})
    page.goto(path.as_uri())
    screen = Screen(page.locator(".aw"))
    screen.show("heads")
    expect(screen.part("heads").get_by_role("grid")).to_be_visible()
    return screen


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [700, 1100, 1500])
@pytest.mark.parametrize("name", ["names", "tested", "12x12", "32x32"])
def test_one_row_a_layer_and_no_scroll(
    pages: dict[str, Path], watched: Watched, name: str, width: int, scheme: Scheme
) -> None:
    screen = opened(watched.page, pages[name], width, scheme)
    grid = screen.part("heads").get_by_role("grid")
    inside = grid.evaluate("e => e.getBoundingClientRect().right - e.parentElement.getBoundingClientRect().right")
    assert inside <= 0, "it ends inside its column"
    assert grid.evaluate(
        "e => [...e.querySelectorAll('*')].every(c => c.scrollWidth <= c.clientWidth || c.tagName !== 'DIV')"
    )
    tops = grid.locator('[role="row"]').evaluate_all(
        "rows => rows.map(r => new Set([...r.children].map(c => Math.round(c.getBoundingClientRect().top))).size)"
    )
    assert set(tops[1:]) <= {1, 2}, "the name of a layer may stand lower than its cells"
    least = grid.locator(".aw-head").evaluate_all(
        "cells => Math.min(...cells.map(c => c.getBoundingClientRect().width))"
    )
    assert least >= 12
    assert grid.locator("canvas").evaluate(PIXELS) > 10
    # the picture and the cells are in one place
    canvas, first = grid.locator("canvas").bounding_box(), grid.locator(".aw-head").first.bounding_box()
    assert canvas and first and abs(canvas["y"] - first["y"]) < 1 and abs(canvas["x"] - first["x"]) < 1
    assert layout(screen.root) == []


def test_pointing_previews_clicking_locks(pages: dict[str, Path], watched: Watched) -> None:
    screen = opened(watched.page, pages["names"])
    cells = screen.part("heads")
    picture = screen.part("head-picture")
    cells.locator('[data-id="L2H3"]').hover()
    expect(picture).to_have_attribute("data-of", "L2H3")
    expect(cells.locator(".aw-readout")).to_contain_text("L2H3")
    before = picture.bounding_box()
    cells.locator('[data-id="L1H5"]').hover()
    expect(picture).to_have_attribute("data-of", "L1H5")
    assert picture.bounding_box() == before, "nothing moves"
    cells.locator('[data-id="L3H7"]').click()
    screen.expect_open("L3H7")
    cells.locator('[data-id="L1H5"]').hover()
    expect(picture).to_have_attribute("data-of", "L3H7")
    expect(cells.locator(".aw-readout")).to_contain_text("L1H5")
    watched.page.keyboard.press("Escape")
    expect(picture).to_have_attribute("data-of", "L1H5")


def test_forms(pages: dict[str, Path], watched: Watched) -> None:
    screen = opened(watched.page, pages["tested"])
    canvas = screen.part("heads").locator("canvas")
    seen = {canvas.evaluate(PAINTED)}
    for form in ("contribution", "effect", "row", "attention"):
        screen.part("heads").locator(f'[data-form="{form}"]').click()
        seen.add(canvas.evaluate(PAINTED))
    screen.token(4, "reader").click()
    seen.add(canvas.evaluate(PAINTED))
    screen.part("heads").locator('[data-form="hide"]').click()
    seen.add(canvas.evaluate(PAINTED))
    assert len(seen) == 7, "each shows something else"
    picture = screen.part("head-picture")
    expect(picture).to_contain_text("Mean of 2 heads")
    picture.locator('[data-form="lines"]').click()
    assert screen.part("lines").locator("canvas").evaluate(PIXELS) > 0
    assert layout(screen.root) == []


@pytest.mark.parametrize(("name", "frames"), [("12x12", 1), ("32x32", 2)])
def test_what_is_pointed_at_is_there_in_the_next_frames(
    pages: dict[str, Path], watched: Watched, name: str, frames: int
) -> None:
    screen = opened(watched.page, pages[name])
    for head in ("L3H7", "L11H0", "L0H11"):
        assert screen.root.page.evaluate(POINT, [head, frames]), f"{head} after {frames}"


def test_the_first_paint_takes_at_most_twice_that_of_blank_canvases(pages: dict[str, Path], watched: Watched) -> None:
    page = watched.page
    blank, ours = [], []
    for _ in range(3):
        page.goto(pages["12x12"].as_uri())
        page.locator(".aw[data-ready]").wait_for()
        blank.append(page.evaluate(BLANK, [12, 12, LONG]))
        ours.append(page.evaluate(OPEN))
        assert page.locator(".aw-heads canvas").evaluate(PIXELS) > 10
    assert median(ours) <= 2 * median(blank), (ours, blank)


@lab_only
def test_a_set_is_collected_and_measured(notebook: Notebook, explored: Screen) -> None:
    explored.show("heads")
    cells = explored.part("heads")
    for head in ("L3H1", "L3H4"):
        cells.locator(f'[data-id="{head}"]').click(modifiers=["Shift"])
    notebook.expect("ex.chosen", ["L3H1", "L3H4"])
    expect(explored.part("head-picture")).to_contain_text("Mean of 2 heads")
    expect(explored.part("without")).to_contain_text("2 parts")
    cells.locator('[data-id="L1H0"]').click()
    notebook.expect("ex.selected", "L1H0")
    explored.root.page.keyboard.press("Escape")
    notebook.expect("ex.selected", "")


@lab_only
def test_letters_of_roles_are_asked_for_with_a_click(notebook: Notebook, explored: Screen) -> None:
    explored.root.locator('[data-order="heads"]').click()
    cell = explored.part("heads").locator('[data-id="L2H4"]')
    expect(cell.locator(".aw-letters")).to_have_count(0)
    explored.root.locator('[data-form="roles"]').click()
    expect(explored.part("roles")).to_be_visible(timeout=60_000)
    notebook.expect('aw.head_roles(model, tasks=False).letters()["L2H4"]', cell.locator(".aw-letters").inner_text())
    expect(explored.part("heads").locator(".aw-letters")).to_have_count(40)  # of every head, MLPs have none
    cell.click()
    assert "induction" in explored.part("heads").locator(".aw-readout").inner_text()
    told = {
        "contexts": "What L2H4 reads, from most to least active",
        "ov": "What L2H4 would write",
        "qk": "What L2H4 would look for from",
        "composition": "Which earlier heads L2H4 could read",
    }
    for what, title in told.items():
        explored.part("roles").locator(f'[data-form="{what}"]').click()
        expect(explored.part("roles")).to_contain_text(title, timeout=60_000)
        expect(explored.part("roles").locator("table")).to_have_count(2)
        assert [layout(explored.root), accessibility(explored.root)["violations"]] == [[], []]
