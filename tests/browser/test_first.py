"""The first-time path: from the leading part to a picture and a line that opens the same screen, by what is visible.

Everything is found by its role and by text on the screen, as a person finds it. Ten clicks, or the keyboard alone;
nothing is scrolled, neither by the person nor, silently, by the test: the mouse goes to a place in the window.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect

from browser.chromium import watch
from browser.conftest import save
from browser.notebook import Notebook
from browser.server import Server

FIRST = "import attrib_widgets as aw\naw.explore()"
MOST_CLICKS = 10
#: In a window 1100 pixels wide Lab leaves the output 920 (both side bars closed), in the wider one more than 1000.
WINDOWS = {"1100": {"width": 1100, "height": 900}, "1200": {"width": 1200, "height": 900}}

# The whole of an element is in the window, and nothing (the edge of a box that scrolls, a bar of Lab) lies over it.
SEEN = """e => {
  const { left, right, top, bottom } = e.getBoundingClientRect();
  const corners = [[left + 3, top + 3], [right - 3, top + 3], [left + 3, bottom - 3], [right - 3, bottom - 3]];
  corners.push([(left + right) / 2, (top + bottom) / 2]);
  const place = e.getRootNode();  // Lab's own buttons are drawn in the shadow
  const off = corners.filter(([x, y]) => { const at = place.elementFromPoint(x, y); return !at || !e.contains(at); });
  return off.map(at => at.map(Math.round).join(", ")).join("; ");
}"""
# Everything on the page that is scrolled, and how far.
SCROLLED = """() => [...document.querySelectorAll("*")].filter(e => e.scrollTop || e.scrollLeft)
  .map(e => `${e.tagName}.${e.className}: ${e.scrollLeft}, ${e.scrollTop}`)"""
# What has the focus: its name for the report, whether it is in an output, whether a person sees that it has it.
FOCUS = """() => {
  const e = document.activeElement, style = getComputedStyle(e);
  return {
    name: (e.getAttribute("aria-label") || e.innerText || e.tagName).trim().slice(0, 40),
    inside: !!e.closest(".jp-OutputArea-output"),
    marked: e.matches(":focus-visible") && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1,
  };
}"""
# The same, as a question: the focus is in the view, and seen.
HELD = f"() => {{ const at = ({FOCUS})(); return at.inside && at.marked; }}"

HAS_FOCUS = "e => e.contains(document.activeElement)"
#: It stands before what has the focus: the nearer way is back, as a person sees.
BEFORE = "e => !!(document.activeElement.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_PRECEDING)"


class Person:
    """Someone before the page who does not scroll."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.done: list[str] = []
        self.before = page.evaluate(SCROLLED)

    def sees(self, target: Locator) -> None:
        """It is on the screen, whole, and nothing was scrolled to have it there."""
        expect(target).to_be_visible()
        hidden = target.evaluate(SEEN)
        assert not hidden, f"{target} is not in sight at {hidden}, after {self.done}"
        assert self.page.evaluate(SCROLLED) == self.before, self.done

    def go(self, target: Locator, name: str) -> None:
        """Press what is called so."""
        raise NotImplementedError


class Mouse(Person):
    """One who clicks."""

    def go(self, target: Locator, name: str) -> None:
        """Click in the middle of what is seen; Playwright's own click would scroll there."""
        self.sees(target)
        box = target.bounding_box()
        assert box is not None
        self.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self.done.append(name)


class Keyboard(Person):
    """One who has no mouse."""

    def press(self, key: str) -> None:
        """One key; in the view the focus is never lost, and always seen."""
        self.page.keyboard.press(key)
        self.done.append(key)

    def sees(self, target: Locator) -> None:
        """Whatever was drawn anew meanwhile, the focus is still in the view."""
        super().sees(target)
        if self.done:
            self.page.wait_for_function(HELD, timeout=5_000)

    def stop(self) -> dict[str, Any]:
        """Where the focus is."""
        return dict(self.page.evaluate(FOCUS))

    def go(self, target: Locator, name: str) -> None:
        """Tab to it, or to the list that it is in and along that with the arrows; then Enter."""
        expect(target).to_be_visible()
        role = target.get_attribute("role")
        one_of = role in ("option", "tab")
        group = target.locator("xpath=..") if one_of else target
        self._until(lambda: group.evaluate(HAS_FOCUS), "Shift+Tab" if target.evaluate(BEFORE) else "Tab", name)
        if one_of:
            sideways = abs(self._height(target) - self._height(self.page.locator("*:focus"))) < 4
            back, on = ("ArrowLeft", "ArrowRight") if sideways else ("ArrowUp", "ArrowDown")
            self._until(lambda: target.evaluate(HAS_FOCUS), back if target.evaluate(BEFORE) else on, name)
        self.sees(target)
        if role != "tab":  # the arrow has opened it
            self.press("Enter")

    def _until(self, there: Callable[[], bool], key: str, name: str) -> None:
        for _ in range(60):
            if there():
                return
            self.press(key)
            stop = self.stop()
            assert stop["marked"] or not stop["inside"], f"the focus is not seen on {stop}, on the way to {name}"
        raise AssertionError(f"no way to {name}: {self.done}")

    @staticmethod
    def _height(target: Locator) -> float:
        """Where its middle is on the screen."""
        box = target.bounding_box()
        assert box is not None
        return box["y"] + box["height"] / 2


@pytest.fixture
def opened(browser: Any, jupyter: Server, request: Any) -> Iterator[Notebook]:
    """A notebook of one cell, run, in a JupyterLab whose side bars are closed."""
    name = f"first-{request.node.callspec.id}.ipynb"
    save(jupyter, name, nbformat.v4.new_code_cell(FIRST))
    with watch(browser, viewport=WINDOWS[request.param]) as watched:
        watched.page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=jupyter.url.rstrip("/"))
        notebook = Notebook(watched.page, jupyter.lab(name), name)
        notebook.page.evaluate("() => jupyterapp.commands.execute('application:toggle-left-area')")
        expect(notebook.page.get_by_role("button", name="New Folder")).to_have_count(0)
        notebook.run(0)
        width = notebook.output(0).first.bounding_box()["width"]
        assert (width > 1000) == (request.param == "1200"), width
        yield notebook
        watched.check()
        notebook.shutdown()


def walk(page: Page, person: Person, kept: Path) -> str:
    """The path, up to the line in the clipboard; the line is returned."""
    # the leading part, and the head that leads with it: both are in the finding
    finding = page.get_by_role("heading", level=2)
    person.sees(finding)
    names = re.findall(r"L\d+(?:H\d+|\.mlp)", finding.inner_text())
    parts = page.get_by_role("listbox", name=re.compile("Contributions"))
    person.go(parts.get_by_role("option", name=names[0]), names[0])
    expect(page.get_by_role("region", name=f"Detail of {names[0]}")).to_be_visible()
    head = next(name for name in names if "H" in name)
    person.go(parts.get_by_role("option", name=head), head)
    detail = page.get_by_role("region", name=f"Detail of {head}")
    person.sees(detail.get_by_role("heading", level=3))
    # its word, as the sentence says it
    sentence = detail.get_by_text(re.compile("It reads"))
    person.sees(sentence)
    said = re.search(r"from (\S+),", sentence.inner_text())
    assert said is not None
    word = said[1]
    tokens = detail.get_by_role("listbox", name=re.compile("Tokens"))
    person.go(tokens.get_by_role("option", name=word), word)
    asked = detail.get_by_role("heading", name=re.compile(f"Who wrote the .* that {word} carried"))
    person.sees(asked)
    # its concept
    person.go(detail.get_by_role("tab", name="Features"), "Features")
    first = detail.get_by_role("list", name=re.compile("Features")).get_by_role("button").first
    expect(first).to_be_visible()
    concept = first.inner_text().splitlines()[0].strip()
    person.go(first, concept)
    person.sees(detail.get_by_role("heading", level=4, name=concept))
    # the test, and what the model says without it
    person.go(detail.get_by_role("button", name=re.compile("^Test this ·")), "Test this")
    without = detail.get_by_text(re.compile("^Without it, as in the other prompt, the model"))
    person.sees(without)
    assert re.search(r"says \S+ [\d.]+\s%", without.inner_text())
    # the picture
    person.go(page.get_by_role("button", name="Save", exact=True), "Save")
    with page.expect_download() as coming:
        person.go(page.get_by_role("button", name="Picture (PNG)"), "Picture (PNG)")
    coming.value.save_as(kept)
    assert kept.read_bytes().startswith(b"\x89PNG") and kept.stat().st_size > 5000
    # the state
    person.go(page.get_by_role("button", name="Copy state"), "Copy state")
    said_so = page.get_by_role("status").get_by_text("Copied.")
    person.sees(said_so)
    person.sees(detail.get_by_role("heading", level=3))
    return str(page.evaluate("() => navigator.clipboard.readText()"))


def reopen(notebook: Notebook, line: str) -> None:
    """Paste the line into the new cell that is being edited, run it, and compare the two screens."""
    page = notebook.page
    page.keyboard.type('aw.explore(state="')
    page.keyboard.press("Control+v")
    page.keyboard.type('")')
    assert notebook.sources() == [FIRST, f'aw.explore(state="{line}")']
    page.keyboard.press("Control+Enter")
    details = page.get_by_role("region", name=re.compile("^Detail of"))
    expect(details).to_have_count(2)
    titles = [details.nth(i).get_by_role("heading", level=3).inner_text() for i in (0, 1)]
    assert titles[0] == titles[1]
    cards = [details.nth(i).get_by_role("tabpanel", name="Features") for i in (0, 1)]
    expect(cards[1].get_by_role("heading", level=4).first).to_be_visible()
    assert cards[0].inner_text() == cards[1].inner_text()
    assert notebook.value("_.state") == line


@pytest.mark.parametrize("opened", list(WINDOWS), indirect=True)
def test_ten_clicks(opened: Notebook, tmp_path: Path) -> None:
    """By mouse."""
    page = opened.page
    person = Mouse(page)
    line = walk(page, person, tmp_path / "picture.png")
    person.go(page.get_by_role("button", name="Insert a cell below").first, "+")
    page.keyboard.press("Enter")  # into the new cell
    reopen(opened, line)
    print(f"{len(person.done)} clicks: {', '.join(person.done)}")
    assert len(person.done) <= MOST_CLICKS


@pytest.mark.parametrize("opened", ["1100"], indirect=True)
def test_by_keyboard_alone(opened: Notebook, tmp_path: Path) -> None:
    """The same with no mouse: the focus is seen at every stop."""
    page = opened.page
    person = Keyboard(page)
    line = walk(page, person, tmp_path / "picture.png")
    # back to the cell, as from any output: out of the view, then Lab's own keys
    while person.stop()["inside"]:
        person.press("Shift+Tab")
    for key in ("Escape", "b", "Enter"):
        person.press(key)
    reopen(opened, line)
    print(f"{len(person.done)} keys beside those that write the cell: {' '.join(person.done)}")
