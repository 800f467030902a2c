"""The lens: by pointer and by keys, in the Explorer's tab and alone, with the numbers that Python has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

import attrib_widgets as aw
from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen, agree, printed

Show = Callable[..., Screen]


@pytest.fixture(scope="module")
def explorer(demo: Any) -> Any:
    """The Explorer on its first task."""
    return aw.explore(demo)


@pytest.fixture(scope="module")
def lens(explorer: Any) -> Any:
    """What Python says."""
    return aw.logit_lens(explorer.run, " Paris")


def cell(screen: Screen, lens: Any, layer: str, position: int) -> Locator:
    """One cell of a lens whose columns are all in sight; rows are drawn upwards."""
    row = len(lens.layers) - 1 - lens.layers.index(layer)
    return screen.part("lens").get_by_role("row").nth(row).get_by_role("gridcell").nth(position)


def told(lens: Any, layer: str, position: int) -> str:
    """How the read-out begins for a cell."""
    best = lens.top(layer, position)[0]
    return f"{layer} after {printed(lens.run.tokens[position])}: {printed(best.text)}"


def test_the_tab_by_pointer(explorer: Any, lens: Any, offline: Show) -> None:
    screen = offline(explorer)
    panel = screen.tab("lens")
    expect(panel.locator(".aw-subtitle")).to_have_text(lens.title())
    readout = panel.locator(".aw-told")
    expect(panel.get_by_role("rowheader")).to_have_count(len(lens.layers))
    for layer in lens.layers:
        for position in range(lens.run.n_positions):
            best = lens.top(layer, position)[0].text
            expect(cell(screen, lens, layer, position).locator(".aw-celltext")).to_have_text(printed(best))
    cell(screen, lens, "L1.post", 3).hover()
    expect(readout).to_contain_text(told(lens, "L1.post", 3))
    for candidate in lens.top("L1.post", 3):
        expect(readout).to_contain_text(printed(candidate.text))
    cell(screen, lens, "L2.post", 5).click()
    screen.part("crumbs").hover()
    expect(readout).to_contain_text(told(lens, "L2.post", 5))  # what was clicked stays
    panel.get_by_role("button", name="rank").click()
    ranks = [int(cell(screen, lens, name, 5).locator(".aw-celltext").inner_text()) for name in lens.layers]
    assert ranks == lens.rank[:, 5].tolist()
    expect(screen.part("ask")).to_have_count(0)  # nobody would answer


def test_the_build_up_is_that_of_python(explorer: Any, offline: Show) -> None:
    screen = offline(explorer)
    panel = screen.tab("lens")
    shown = panel.locator(".aw-build .aw-val").all_inner_texts()
    expected = explorer.attribution.buildup().layers.tolist()
    assert len(shown) == len(expected)
    assert all(agree(text, value) for text, value in zip(reversed(shown), expected, strict=True))
    screen.part("copy").click()
    expect(screen.part("code")).to_contain_text('aw.logit_lens(a.run, " Paris", mid=True)')
    expect(screen.part("code")).to_contain_text("a.buildup()")


def test_the_tab_by_keys(explorer: Any, lens: Any, offline: Show, watched: Any) -> None:
    screen = offline(explorer)
    keys = watched.page.keyboard
    screen.detail.locator('[role="tab"][aria-selected="true"]').focus()
    for _ in range(10):
        if screen.detail.locator('[role="tab"][data-tab="lens"]').get_attribute("aria-selected") == "true":
            break
        keys.press("ArrowRight")
    panel = screen.detail.locator('.aw-panel[data-tab="lens"]')
    readout = panel.locator(".aw-told")
    keys.press("Tab")
    expect(screen.detail.locator('[data-help="lens"]')).to_be_focused()
    keys.press("Tab")
    expect(panel.locator('[data-form="logit"]')).to_be_focused()
    panel.locator('[data-show="kl"]').focus()
    keys.press("Tab")
    here = panel.locator('[role="gridcell"]:focus')
    expect(here).to_have_count(1)
    last = lens.run.n_positions - 1
    expect(readout).to_contain_text(told(lens, lens.layers[-1], last))
    keys.press("ArrowDown")
    keys.press("ArrowLeft")
    expect(readout).to_contain_text(told(lens, lens.layers[-2], last - 1))
    expect(cell(screen, lens, lens.layers[-2], last - 1)).to_be_focused()
    keys.press("Enter")
    keys.press("Control+End")
    expect(readout).to_contain_text(told(lens, "embed", last))
    keys.press("Home")
    expect(readout).to_contain_text(told(lens, "embed", 0))
    keys.press("Shift+Tab")
    expect(panel.locator('[data-show="kl"]')).to_be_focused()
    expect(readout).to_contain_text(told(lens, "embed", 0))


def test_the_tuned_lens_in_the_tab(explorer: Any, offline: Show) -> None:
    """Both lenses with Python's numbers, the rows after attention, and the lines of both through depth."""
    screen = offline(explorer)
    panel = screen.tab("lens")
    tuned = aw.logit_lens(explorer.run, " Paris", lens=explorer.model.lens, mid=True)
    panel.get_by_role("button", name="tuned lens").click()
    panel.get_by_role("button", name="after attention too").click()
    expect(panel.locator(".aw-subtitle")).to_have_text(tuned.title(mid=False))
    expect(panel.get_by_role("rowheader")).to_have_count(len(tuned.layers))
    for layer in tuned.layers:
        best = tuned.top(layer, 5)[0].text
        expect(cell(screen, tuned, layer, 5).locator(".aw-celltext")).to_have_text(printed(best))
    held = panel.locator('[role="rowheader"] + .aw-vhead').all_inner_texts()
    for text, name in zip(reversed(held[1:]), tuned.layers, strict=False):
        assert agree(text, tuned.lens.kl_of(name)[1])
    depth = screen.part("depth")
    expect(depth.locator("circle")).to_have_count(2 * len(tuned.layers))
    shares = [float(c.get_attribute("cy") or "nan") for c in depth.locator(".aw-tuned circle").all()]
    assert shares == pytest.approx([70 - 62 * p for p in tuned.probability[:, -1].tolist()], abs=1e-3)


def test_a_long_prompt_alone_is_walked_with_the_arrows(demo: Any, offline: Show, watched: Any) -> None:
    run = demo.run("The capital of France is Paris and the capital of Germany is Berlin. " * 4)
    lens = aw.logit_lens(run)
    watched.page.set_viewport_size({"width": 700, "height": 700})
    screen = offline(lens.view())
    expect(screen.root.locator(".aw-headline")).to_have_text(lens.title())
    count = screen.part("lens").get_by_role("columnheader").count() - 1
    assert count < run.n_positions / 2
    screen.part("lens").locator('[role="gridcell"][tabindex="0"]').focus()
    for _ in range(count + 2):
        watched.page.keyboard.press("ArrowLeft")
    at = run.n_positions - 1 - (count + 2)
    expect(screen.part("lens").locator(".aw-told")).to_contain_text(told(lens, lens.layers[-1], at))
    expect(screen.part("lens").locator('[role="gridcell"]:focus')).to_have_attribute("aria-colindex", str(at + 2))


@lab_only
def test_a_cell_becomes_the_next_question(notebook: Notebook) -> None:
    """What was not embedded is asked for; and the Explorer explains what a cell said, at its place."""
    notebook.cell("from attrib_widgets.widgets.shapes import budget\nbudget.LIVE_WORK = 1")
    explored = Screen(notebook.widget(notebook.cell("ex = aw.explore(model)\nex")))
    panel = explored.tab("lens")
    expect(panel.get_by_role("rowheader").first).to_be_visible()
    top = panel.get_by_role("row").first.get_by_role("gridcell").nth(4)
    top.click()
    button = explored.part("ask")
    expect(button).to_contain_text("Explain")
    button.click()
    explored.expect_version(2)
    expect(explored.detail.locator('[role="tab"][data-tab="lens"]')).to_be_focused()
    assert notebook.value("ex.attribution.position") == 4
    assert notebook.value("ex.attribution.target.tokens[0] == ex.run.top(1, 4)[0].text") is True
    expect(explored.detail.locator('.aw-panel[data-tab="lens"] [role="gridcell"]').first).to_be_visible()
    test = panel.get_by_role("button", name="Patch the stream")
    test.click()
    grid = explored.detail.locator('[data-part="patch-grid"]')
    expect(grid.get_by_role("rowheader").last).to_have_text("L0.pre")
    expect(test).to_be_focused()  # it stays
