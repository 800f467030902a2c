"""Nothing jumps: what arrives after the first draw fills space that was held for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen

pytestmark = lab_only

# Nothing that may be asked for is embedded, and every answer comes later than the half second in which a shift counts
# as the click's own.
LATE = """
import time
from attrib_widgets.widgets.shapes import budget
names = "LIVE_WORK LIVE_EFFECTS PATTERN_TOKENS LEADING PAGE_HEADS".split()
kept = {name: getattr(budget, name) for name in names}
for name in kept:
    setattr(budget, name, 0)
neurons, budget.explorer.neurons = budget.explorer.neurons, lambda a, absent, layers: {}
ex = aw.explore(model)
quick = ex.operations
def late():
    def wait(operation):
        def answer(job, args):
            time.sleep(0.8)
            return operation(job, args)
        return answer
    return {name: wait(operation) for name, operation in quick().items()}
ex.operations = late
ex
"""
BACK = """
for name, value in kept.items():
    setattr(budget, name, value)
budget.explorer.neurons = neurons
"""
# A shift with what moved, inside the view; what moves within half a second of an input is not listed.
WATCH = """() => {
  window.awShifts = [];
  const name = node => node.nodeType === 1 ? node : node.parentElement;
  const told = s => {
    const node = name(s.node);
    return `${node.className || node.tagName} y ${s.previousRect.y} to ${s.currentRect.y}, `
      + `height ${s.previousRect.height} to ${s.currentRect.height}: ${node.textContent.slice(0, 60)}`;
  };
  window.awWatch = new PerformanceObserver(list => {
    for (const entry of list.getEntries()) {
      const own = entry.sources.filter(s => s.node && name(s.node).closest('.aw'));
      if (!entry.hadRecentInput && own.length) window.awShifts.push([entry.value, own.map(told)]);
    }
  });
  awWatch.observe({ type: 'layout-shift', buffered: true });
}"""
SHIFTS = "() => new Promise(done => requestAnimationFrame(() => setTimeout(() => done(window.awShifts.splice(0)), 50)))"


class Watching:
    """What moved, by what was done."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.found: list[str] = []
        page.evaluate(WATCH)

    @contextmanager
    def during(self, what: str, arrives: Locator) -> Iterator[None]:
        """Something is done, and what it asked for arrives."""
        yield
        expect(arrives).to_be_visible()
        expect(self.page.locator('.aw [data-part="waiting"]')).to_have_count(0)
        for value, sources in self.page.evaluate(SHIFTS):
            self.found.append(f"{what}: {value:.4f}\n   " + "\n   ".join(sources))


def explored(notebook: Notebook) -> Screen:
    """The Explorer that has nothing embedded and answers late."""
    return Screen(notebook.widget(notebook.cell(LATE)))


@pytest.mark.parametrize("width", [1100, 1280, 1700])
def test_nothing_moves_by_itself(notebook: Notebook, width: int) -> None:
    page = notebook.page
    before = page.viewport_size
    page.set_viewport_size({"width": width, "height": 1600})
    watching = Watching(page)
    try:
        screen: Any = None
        i = notebook.append(LATE)
        with watching.during("first draw", notebook.output(i).locator(".aw .aw-panel")):
            notebook.run(i)
            screen = Screen(notebook.widget(i))
        screen.root.scroll_into_view_if_needed()
        panel = screen.detail.locator(".aw-panel")

        def click(what: str, target: Locator, arrives: Locator) -> None:
            with watching.during(what, arrives):
                target.click()
                page.wait_for_timeout(600)

        click("total effects", screen.part("estimate"), screen.part("legend"))
        click("another head", screen.row(screen.another_head()), panel)
        for tab in ("pattern", "why", "features", "writes", "lens"):
            click(tab, screen.detail.locator(f'[role="tab"][data-tab="{tab}"]'), panel.locator(":scope > *").first)
        click("features again", screen.detail.locator('[role="tab"][data-tab="features"]'), panel)
        click(
            "a feature",
            screen.part("features").locator("button.aw-brow").first,
            screen.part("feature").locator(".aw-bars").first,
        )
        click("worked out", screen.part("worked").locator("button"), screen.part("worked").locator("table"))
        click("an MLP", screen.row("L4.mlp"), panel)
        click(
            "its neurons",
            screen.detail.locator('[role="tab"][data-tab="neurons"]'),
            screen.part("neurons").locator(".aw-bars"),
        )
        click("help", screen.root.locator('[data-help="neurons"]'), screen.part("help"))
        click("the trace", screen.root.locator('[data-order="trace"]'), screen.part("flow"))
        click("heads", screen.root.locator('[data-order="heads"]'), screen.part("heads").locator(".aw-legend:visible"))
        assert not watching.found, "\n".join(watching.found)
    finally:
        notebook.cell(BACK)
        page.set_viewport_size(before)
