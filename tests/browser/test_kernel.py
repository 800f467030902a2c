"""What the Explorer does while the kernel is busy, slow, or gone; and that its keys never reach the notebook."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Locator, expect

from browser.notebook import Notebook
from browser.screen import Screen, agree

# Asks again and again until the page's question was answered. The kernel may answer the page at once (ipykernel 7, most
# of the time) or after the cell; then the question still arrives while the model is at work, and waits.
LOOP = """
import time
import torch
found, end = [], time.monotonic() + 4
while len(found) < 5 or (ex.run.text != "The capital of Japan is" and time.monotonic() < end):
    found.append(aw.attribute(model.run("The capital of Norway is"), " Oslo"))
"""
# Holds every forward pass of the prompt back until the test opens the gate.
SLOW = """
import threading
gate, fast = threading.Event(), model.run
def slow(prompt, *more, **options):
    gate.wait(30)
    return fast(prompt, *more, **options)
model.run = slow
"""
# Everything that the notebook would take for a command: cut, delete, insert, copy, paste, merge, undo, change of the
# cell's kind, interrupt, restart, enter edit mode, output off, line numbers, save.
COMMANDS = "x d d a b c v z m y r 1 i i 0 0 o l j k Delete".split()
MOVES = "ArrowDown ArrowRight ArrowUp ArrowLeft End Home PageDown PageUp Enter Space Escape".split()


def test_a_click_while_a_cell_is_tracing(notebook: Notebook, explored: Screen) -> None:
    """One model, two askers: each gets exactly what it gets alone."""
    i = notebook.append(LOOP)
    notebook.start(i)
    explored.ask("prompt", "The capital of Japan is")
    notebook.finish(i)
    explored.expect_version(2)
    notebook.cell('alone = aw.attribute((fresh := aw.load("demo")).run("The capital of Norway is"), " Oslo")')
    notebook.cell('clicked = aw.attribute(fresh.run("The capital of Japan is"), ex.attribution.target)')
    assert notebook.value("len(found)") >= 5
    assert notebook.value("{torch.equal(a.values, alone.values) and a.actual == alone.actual for a in found}") == {True}
    assert notebook.value("torch.equal(clicked.values, ex.attribution.values)") is True
    assert notebook.value("clicked.actual == ex.attribution.actual") is True
    assert agree(explored.total, notebook.value("ex.attribution.total"))


def test_a_neuron_opens_and_leads_back(notebook: Notebook, explored: Screen) -> None:
    """Why did it fire? The same bars, for its pre-activation; and the way back to the answer."""
    headline = explored.headline
    mlp = next(label for label in explored.labels("mlp") if label != "L0.mlp")
    explored.open(mlp)
    first = explored.part("neurons").locator("button.aw-brow").first
    name = first.locator(".aw-name").inner_text()
    first.click()
    explored.expect_version(2)
    assert notebook.value("str(ex.attribution.target.neuron)") == name
    assert notebook.value("ex.attribution.exact") is True
    assert agree(explored.total, notebook.value("ex.attribution.total"))
    head = explored.another_head()
    explored.open(head)
    explored.tab("why")
    explored.show("trace")
    expect(explored.part("flow").get_by_role("listbox")).to_be_visible()
    crumbs = explored.part("crumbs").locator(".aw-crumb")
    assert crumbs.all_inner_texts() == ["\u00b7Paris over \u00b7Berlin", name, head]
    crumbs.first.click()
    explored.expect_version(3)
    explored.show("size")
    assert explored.headline == headline
    assert notebook.value("ex.attribution.target.kind") == "logit_diff"


def test_a_slow_answer_says_so_and_can_be_cancelled(notebook: Notebook, explored: Screen) -> None:
    headline, total = explored.headline, explored.total
    notebook.cell(SLOW)
    explored.ask("prompt", "The capital of Japan is")
    status = explored.part("status")
    expect(status.locator("progress")).to_be_visible()
    expect(status).to_contain_text("running the prompt")
    expect(explored.root.locator(".aw-stale")).to_have_count(1)  # the old numbers are still there, greyed
    assert (explored.headline, explored.total) == (headline, total)
    explored.part("cancel").click()
    notebook.cell("gate.set()")
    expect(explored.part("cancel")).to_have_count(0)
    expect(explored.root.locator(".aw-stale")).to_have_count(0)
    assert (explored.version, explored.headline, explored.total) == (1, headline, total)
    assert notebook.value("ex.run.text") == "The capital of France is"
    explored.part("prompt").press("Enter")  # what was typed is still there, and now it runs
    explored.expect_version(2)
    assert notebook.value("ex.run.text") == "The capital of Japan is"


def test_the_last_question_wins(notebook: Notebook, explored: Screen) -> None:
    """A question that is asked while another one runs replaces it."""
    notebook.cell(SLOW)
    explored.ask("prompt", "The capital of Japan is")
    expect(explored.part("cancel")).to_be_visible()
    explored.part("prompt").fill("The capital of Norway is")
    explored.part("prompt").press("Enter")
    notebook.cell("gate.set()")
    explored.expect_version(2)
    assert notebook.value("ex.run.text") == "The capital of Norway is"
    assert "\u00b7Norway" in explored.tokens()


def test_details_open_while_a_cell_runs(notebook: Notebook, explored: Screen) -> None:
    """What is embedded needs no kernel: it opens at once while a cell is running."""
    i = notebook.append("import time\ntime.sleep(3)")
    started = time.monotonic()
    notebook.start(i)
    head = explored.another_head()
    explored.open(head)
    explored.tab("pattern")
    expect(explored.part("pattern").locator('[role="gridcell"]').first).to_be_visible()
    assert time.monotonic() - started < 3, "this machine is too slow to tell"
    notebook.finish(i)
    notebook.expect("ex.selected", head)


def test_the_kernel_restarts(notebook: Notebook, explored: Screen) -> None:
    """The view says so within seconds; what it holds keeps serving; running the cell again gives a live one."""
    notebook.restart()
    first, second = explored.another_head(), ""
    started = time.monotonic()
    explored.open(first)
    # The one that had this view is gone; the new one is there, idle, and does not know it.
    expect(explored.part("status")).to_contain_text("run the cell again.", timeout=8_000)
    assert time.monotonic() - started < 6
    expect(explored.root).to_have_attribute("data-live", re.compile("gone|unheard"))
    second = explored.another_head()
    explored.open(second)
    explored.tab("pattern")
    explored.show("heads")
    expect(explored.part("heads")).to_be_visible()
    # A question that needs Python gets the same answer, and leaves the numbers.
    total = explored.total if explored.part("waterfall").count() else None
    explored.ask("prompt", "The capital of Japan is")
    expect(explored.part("cancel")).to_have_count(0)
    expect(explored.root.locator(".aw-stale")).to_have_count(0)
    expect(explored.part("status")).to_contain_text("run the cell again")
    assert explored.version == 1
    explored.part("prompt").press("Escape")
    explored.show("size")
    assert total is None or explored.total == total
    notebook.run(0)
    notebook.run(1)
    again = Screen(notebook.widget(1))
    expect(again.root).to_have_attribute("data-live", "live")
    again.open(again.another_head())
    notebook.expect("ex.selected", again.detail.get_attribute("data-open"))


# keys ---------------------------------------------------------------------------------------------------------------


@contextmanager
def unharmed(notebook: Notebook) -> Iterator[None]:
    """The notebook has the same cells and outputs afterwards, in the same mode, and asks nothing."""
    look = """name => { const p = aw.panel(name); return [p.content.mode, p.content.activeCellIndex,
        [...p.model.cells].map(c => [c.type, c.sharedModel.getSource(), c.executionCount, c.outputs?.length])]; }"""
    before = notebook.page.evaluate(look, notebook.name)
    yield
    assert notebook.page.evaluate(look, notebook.name) == before
    expect(notebook.page.locator(".jp-Dialog")).to_have_count(0)
    expect(notebook.page.locator(".aw")).to_have_count(1)


def test_keys_stay_in_the_view(notebook: Notebook, explored: Screen) -> None:
    """Whatever has the focus: commands of the notebook typed there harm no cell."""
    notebook.append("untouched = 1")
    places = {
        "bar": lambda: explored.row(explored.labels()[2]),
        "token of the prompt": lambda: explored.token(1, "prompt-tokens"),
        "token of the head": lambda: explored.token(1),
        "tab": lambda: explored.detail.locator('[role="tab"]').first,
        "cell of a pattern": lambda: explored.part("pattern").locator('[role="gridcell"][tabindex="0"]'),
        "button": lambda: explored.root.locator('[data-order="size"]'),
        "crumb": lambda: explored.part("crumbs").locator("button").last,
        "sum": lambda: explored.part("sum"),
        "edit": lambda: explored.part("edit-prompt"),
    }
    explored.open(explored.labels("head")[0])
    for name, place in places.items():
        with unharmed(notebook):
            _focus(place())
            for key in COMMANDS:
                notebook.page.keyboard.press(key)
            assert explored.root.evaluate("e => e.contains(document.activeElement)"), f"{name} lost the focus"


def test_a_field_takes_what_is_typed(notebook: Notebook, explored: Screen) -> None:
    with unharmed(notebook):
        box = explored.edit("prompt")
        box.fill("")
        notebook.page.keyboard.type("xdd ab00ii")
        expect(box).to_have_value("xdd ab00ii")
        box.press("Escape")
        expect(box).to_have_count(0)
        for key in ("x", "d", "d"):  # the focus is back on the pencil
            notebook.page.keyboard.press(key)


def test_arrows_walk_the_bars(notebook: Notebook, explored: Screen) -> None:
    labels = explored.labels()
    with unharmed(notebook):
        _focus(explored.root.locator('[data-part="waterfall"] [role="option"][tabindex="0"]'))
        notebook.page.keyboard.press("Home")
        _focused(explored.row(labels[0]))
        for i in (1, 2):
            notebook.page.keyboard.press("ArrowDown")
            _focused(explored.row(labels[i]))
        notebook.page.keyboard.press("Enter")
        explored.expect_open(labels[2])
        _focused(explored.row(labels[2]))
        notebook.page.keyboard.press("End")
        _focused(explored.row(labels[-1]))
        notebook.page.keyboard.press("ArrowUp")
        _focused(explored.row(labels[-2]))
        for key in COMMANDS:
            notebook.page.keyboard.press(key)
    notebook.expect("ex.selected", labels[2])


def test_arrows_walk_the_heads_and_the_pattern(notebook: Notebook, explored: Screen) -> None:
    explored.open(explored.another_head())
    explored.show("heads")
    grid = explored.part("heads").get_by_role("grid")
    with unharmed(notebook):
        _focus(grid.locator('[role="gridcell"][tabindex="0"]'))
        notebook.page.keyboard.press("Control+Home")
        _focused(grid.locator('[data-id="L4H0"]'))  # layers run upwards
        notebook.page.keyboard.press("ArrowRight")
        notebook.page.keyboard.press("ArrowDown")
        _focused(grid.locator('[data-id="L3H1"]'))
        expect(explored.part("heads").locator(".aw-readout")).to_contain_text("L3H1")
        notebook.page.keyboard.press("Enter")
        explored.expect_open("L3H1")
        for key in COMMANDS:
            notebook.page.keyboard.press(key)
    pattern = explored.tab("pattern").locator('[data-part="pattern"]')
    cells = pattern.locator('[role="gridcell"]')
    with unharmed(notebook):
        _focus(pattern.locator('[role="gridcell"][tabindex="0"]'))
        notebook.page.keyboard.press("Control+Home")
        _focused(cells.first)
        notebook.page.keyboard.press("Control+End")
        _focused(cells.last)
        expect(pattern.locator(".aw-readout")).to_contain_text("\u00b7is (position 5) reads \u00b7is (position 5)")
        notebook.page.keyboard.press("Home")
        notebook.page.keyboard.press("ArrowRight")
        expect(pattern.locator(".aw-readout")).to_contain_text("reads The (position 1)")
        for key in COMMANDS:
            notebook.page.keyboard.press(key)
        notebook.page.keyboard.press("Enter")  # in the row that is explained: opens that token
        expect(explored.part("through")).to_be_visible()
    notebook.expect("(ex.selected, ex.source)", ("L3H1", 1))


def test_every_key_on_every_kind_of_place(notebook: Notebook, explored: Screen) -> None:
    """Moves and Enter among commands, in any order, as a cat would type them."""
    head = explored.another_head()
    for part in ("waterfall", "tabs", "tokens", "prompt-tokens"):
        explored.open(head)
        explored.tab("tokens")
        with unharmed(notebook):
            _focus(explored.part(part).locator('[tabindex="0"]').first)
            for key in (*MOVES, "x", "d", "d", *reversed(MOVES), "x"):
                notebook.page.keyboard.press(key)
            assert explored.root.evaluate("e => e.contains(document.activeElement)"), f"{part} lost the focus"


def _focus(place: Locator) -> None:
    place.focus()
    expect(place).to_be_focused()


def _focused(place: Locator) -> None:
    expect(place).to_be_focused()
