"""From a bar to its verdict, in the page: test, cancel, a second prompt in place, and verdicts in an offline page."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

import attrib_widgets as aw
from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen, agree

# Two rows to a pass, each of which waits until the test opens the gate.
SLOW = """
import threading
from attrib_widgets.model.tracing import sweep as sweeping
gate, passes = threading.Event(), []
if not hasattr(sweeping, "quick"):
    sweeping.quick = sweeping._run, sweeping.rows_that_fit
def held(one, swept):
    passes.append(1)
    gate.wait(30)
    return sweeping.quick[0](one, swept)
sweeping._run, sweeping.rows_that_fit = held, lambda *given: 2
"""
QUICK = "sweeping._run, sweeping.rows_that_fit = sweeping.quick"


def chip(screen: Screen, label: str) -> Any:
    """The verdict on a bar."""
    return screen.row(label).locator(".aw-verdict")


def test_test_this(notebook: Notebook, explored: Screen) -> None:
    head = explored.another_head()
    explored.open(head)
    expect(explored.part("mark")).to_contain_text("Observed, not yet tested")
    explored.part("test").click()
    expect(chip(explored, head)).to_be_visible()
    word, sentence, then = notebook.value(f'(lambda f: (f.word, f.sentence, f.then))(ex.verdicts["{head}"])')
    assert chip(explored, head).get_attribute("title") == f"{word}: {sentence}"
    expect(explored.root.locator(".aw-headline")).to_have_text(notebook.value("ex.verdicts.title()"))
    expect(explored.part("then")).to_have_text(re.compile(rf"the model (still )?says {re.escape(then)}\.$"))
    explored.part("decided").locator("summary").click()
    decided = notebook.value(f'ex.verdicts["{head}"].decided')
    expect(explored.part("decided").locator("li").first).to_have_text(decided)
    expect(explored.part("mark")).to_contain_text("Tested:")
    shown = explored.part("verdict").locator(".aw-val").all_inner_texts()
    numbers = notebook.value(
        f'(lambda f: (f.necessity, f.direct, f.sufficiency, f.direct_back))(ex.verdicts["{head}"])'
    )
    assert all(agree(text, value) for text, value in zip(shown, numbers, strict=True))
    expect(explored.part("verdict")).to_contain_text("n = 1")
    explored.ask("prompt", "The capital of Japan is")  # another question: the verdict is gone
    explored.expect_version(2)
    expect(explored.root.locator(".aw-verdict")).to_have_count(0)


def test_the_top_ten(notebook: Notebook, explored: Screen) -> None:
    began = time.perf_counter()
    explored.part("test-top").click()
    expect(explored.part("waterfall").locator(".aw-verdict").first).to_be_visible()
    print(f"top ten, from click to chips: {time.perf_counter() - began:.2f} s")
    assert notebook.value("len(ex.verdicts.findings)") >= 10
    told = notebook.value("{str(f.component): f'{f.word}: {f.sentence}' for f in ex.verdicts.findings if f.named}")
    for label, text in told.items():  # also on small bars, which never are among the others
        expect(chip(explored, label).locator(".aw-sr")).to_have_text(text)
    label = next(iter(told))
    explored.row(label).hover()
    expect(explored.part("told")).to_have_text(f"{label} {told[label]}")
    expect(explored.part("together")).to_contain_text("all others together")
    notebook.cell('v = ex.verify("L3H7")')  # from Python: the same chips
    expect(explored.part("mark")).to_be_visible()
    explored.show("order")
    expect(chip(explored, "L3H7")).to_be_visible()


def test_rows_taken_out_together(notebook: Notebook, explored: Screen) -> None:
    """By Shift+click and by Shift+Enter; the sentence is Python's, and the set can be had there."""
    first, second = explored.labels("head")[:2]
    third = explored.labels()[explored.labels().index(second) + 1]
    expect(explored.part("choose")).to_contain_text("Shift+click")
    explored.row(first).click(modifiers=["Shift"])
    told = explored.part("without")
    expect(told).to_contain_text("without this part", ignore_case=True)
    now = explored.detail.get_attribute("data-open")
    explored.row(second).click(modifiers=["Shift"])
    expect(told).to_contain_text("without these 2 parts", ignore_case=True)
    assert explored.detail.get_attribute("data-open") == now, "nothing else is opened"
    explored.row(second).focus()
    explored.root.page.keyboard.press("ArrowDown")
    explored.root.page.keyboard.press("Shift+Enter")
    expect(told).to_contain_text("without these 3 parts", ignore_case=True)
    notebook.expect("ex.chosen", [first, second, third])
    p = "aw.patch(model, ex.run, ex.corrupted, ex.attribution.target, components=[ex.chosen], direction='noise')"
    answer = notebook.value(f"(lambda p: str(p.answer_of(p.cells[0])))({p})")
    gone = notebook.value("ex.without")["told"].split("; ")[-1]
    expect(told).to_have_text(f"without these 3 parts, as in the other prompt: {answer}; {gone}.")
    explored.part("chosen").get_by_role("button", name=f"Put {first} back").click()
    expect(told).to_contain_text("without these 2 parts", ignore_case=True)
    notebook.cell(f"ex.chosen = ['{third}']")  # from Python: the page measures it
    expect(told).to_contain_text("without this part", ignore_case=True)
    explored.part("clear").click()
    expect(explored.part("chosen")).to_have_count(0)
    notebook.expect("ex.chosen", [])


@lab_only
def test_the_rival_can_be_dropped_and_taken(notebook: Notebook, explored: Screen) -> None:
    expect(explored.root.locator(".aw-headline")).to_contain_text("·Paris over ·Berlin")
    explored.part("drop-against").click()
    explored.expect_version(2)
    expect(explored.part("contrast")).to_contain_text("of this gap is common to all tokens")
    assert notebook.value("ex.attribution.target == aw.logit(' Paris')")
    explored.part("take-rival").click()
    explored.expect_version(3)
    expect(explored.root.locator(".aw-headline")).to_contain_text("·Paris over ·Berlin")
    notebook.cell(
        "ex.ask('The capital of Japan is')\nex.ask('The capital of France is', corrupted='A capital of France is')"
    )
    expect(explored.part("contrast")).to_contain_text("The other prompt is answered alike, ·Paris")
    explored.part("matched").click()
    expect(explored.root.locator(".aw-headline")).to_contain_text("·Paris over ·Berlin")
    assert notebook.value("ex.corrupted.text") == "The capital of Germany is"


@pytest.mark.parametrize("width", [700, 1100, 1500])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_two_tones_fit_and_add_up(demo: Any, offline: Callable[..., Screen], width: int, scheme: Any) -> None:
    explorer = aw.explore(demo)
    explorer.chosen = ["L3H1", "L4.mlp"]
    explorer.verify()
    screen = offline(explorer)
    page = screen.root.page
    page.set_viewport_size({"width": width, "height": 1000})
    page.emulate_media(color_scheme=scheme)
    a = explorer.attribution
    assert agree(screen.total, float(a.total))
    for label in screen.labels():
        row = screen.row(label)
        assert agree(screen.value(label), a[label])
        rival = row.locator(".aw-rival").inner_text().split()[-1]
        assert agree(rival, float(a.rival[a.labels.index(label)]))
        track, number, beside = (row.locator(name).bounding_box() for name in (".aw-track", ".aw-val", ".aw-rival"))
        assert track["width"] > 90 and track["x"] + track["width"] <= number["x"] + 1
        assert number["x"] + number["width"] <= beside["x"] + 1, "the numbers stand side by side"
        for tone in (".aw-bar", ".aw-ghost"):
            drawn = row.locator(tone).bounding_box()
            assert drawn["x"] >= track["x"] - 3 and drawn["x"] + drawn["width"] <= track["x"] + track["width"] + 3
    dark, pale = (
        screen.style(screen.row("L3H1").locator(tone), "background-color") for tone in (".aw-bar", ".aw-ghost")
    )
    assert dark != pale
    assert screen.part("alike").locator("li").all_inner_texts() == [str(s) for s in a.shared()]
    expect(screen.part("without")).to_have_text(explorer.without["told"] + ".")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_cancel_between_passes(notebook: Notebook, explored: Screen) -> None:
    notebook.cell(SLOW)
    try:
        explored.part("test-top").click()
        testing = explored.part("testing")
        expect(testing).to_be_visible()
        notebook.expect("len(passes)", 1)
        explored.open(explored.another_head())  # the page goes on meanwhile
        explored.part("cancel-test").click()
        notebook.expect("[job.cancelled for _, job in ex.jobs()]", [True])
        notebook.cell("gate.set()")
        expect(testing).to_have_count(0)
        assert notebook.value("len(passes)") == 1
        assert notebook.value("ex.tested, ex.jobs()") == ({}, [])
        explored.part("test-top").click()  # and once more, to the end
        expect(explored.root.locator(".aw-verdict").first).to_be_visible()
    finally:
        notebook.cell(QUICK)


@lab_only
def test_closing_while_it_runs(notebook: Notebook, explored: Screen) -> None:
    notebook.cell(SLOW)
    try:
        explored.part("test-top").click()
        notebook.expect("len(passes)", 1)
        notebook.cell("(_, running), = ex.jobs()\nex.close()\ngate.set()\nfinished = running.wait(20)")
        assert notebook.value("finished, running.state, len(passes)") == (True, "cancelled", 1)
        expect(explored.root).to_have_count(0)
    finally:
        notebook.cell(QUICK)


@lab_only
def test_a_second_prompt_in_place(notebook: Notebook) -> None:
    screen = Screen(notebook.widget(notebook.cell('ex = aw.explore(model, corrupted="")\nex')))
    head = screen.another_head()
    screen.open(head)
    screen.part("test").click()
    ask = screen.part("ask-corrupted")
    expect(ask).to_contain_text("An experiment needs a second prompt")
    ask.get_by_role("button", name="Only take it out").click()
    expect(screen.part("ablated")).to_contain_text(f"Without {head} the logit of")
    screen.part("test").click()
    ask.get_by_role("button", name="Use").click()
    screen.expect_version(2)
    expect(chip(screen, head)).to_be_visible()
    assert notebook.value("ex.corrupted.text") == "The capital of Germany is"


def test_an_offline_page_shows_embedded_verdicts(demo: Any, offline: Callable[..., Screen]) -> None:
    explorer = aw.explore(demo)
    v = explorer.verify()
    screen = offline(explorer)
    screen.show("order")
    for f in v.findings:
        assert chip(screen, str(f.component)).get_attribute("title") == f"{f.word}: {f.sentence}"
    untested = next(label for label in screen.labels("head") if label not in v.labels)
    screen.open(untested)
    assert screen.part("test").get_attribute("aria-disabled") == "true"
    screen.part("test").click(force=True)
    expect(screen.part("error")).to_contain_text("Needs a running kernel")


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_a_grid_reads_out_its_cells(demo: Any, offline: Callable[..., Screen], direction: Any) -> None:
    from attrib_widgets.demo import CORRUPTED, PROMPT, TARGET

    p = aw.patch(demo, PROMPT, CORRUPTED, TARGET, sites="stream", positions="each", direction=direction)
    screen = offline(p.view())
    grid = screen.part("patch-grid").get_by_role("grid")
    cells = grid.get_by_role("gridcell")
    assert cells.count() == len(p.cells)
    cells.last.click()
    expect(grid.locator('[aria-selected="true"]')).to_have_count(1)
    told = screen.part("patching").locator(".aw-readout").inner_text()
    assert f"L0.pre at \u00b7is (position {p.pairs[0][0].n_positions - 1}): {p.share}" in told
    grid.locator('[tabindex="0"]').focus()
    screen.root.page.keyboard.press("ArrowLeft")
    expect(screen.part("patching").locator(".aw-readout")).to_contain_text("\u00b7France (position 4)")


def test_a_point_opens_its_verdict(demo: Any, offline: Callable[..., Screen]) -> None:
    v = aw.explore(demo).verify()
    screen = offline(v.view())
    plane = screen.root.get_by_role("listbox")
    box = plane.bounding_box()
    assert box
    low, high = (-0.02, 1.02)
    for f in v.findings:
        dot = plane.locator(f'[data-id="{f.component}"]')
        spot = dot.bounding_box()
        assert spot
        x, y = (spot["x"] + spot["width"] / 2 - box["x"]) / box["width"], (spot["y"] - box["y"]) / box["height"]
        assert low < x < high and low < y < high
    found = v.findings[1]
    plane.locator(f'[data-id="{found.component}"]').click()
    expect(screen.part("verdict")).to_contain_text(f"{found.word}: {found.sentence}")


@lab_only
def test_chosen_rows_as_a_circuit(notebook: Notebook, explored: Screen) -> None:
    """The cost stands on the button; the table is that of Python."""
    first, second = explored.labels("head")[:2]
    for label in (first, second):
        explored.row(label).click(modifiers=["Shift"])
    expect(explored.part("without")).to_contain_text("without these 2 parts", ignore_case=True)
    button = explored.part("circuit")
    expect(button).to_contain_text("forwards")
    button.click()
    table = explored.part("chosen").locator('[data-part="table"]')
    expect(table.locator("h2")).to_have_text(notebook.value("ex.circuit().title()"), timeout=60_000)
