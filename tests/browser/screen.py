"""What a person sees and touches: the parts of one view, by the names that the page gives them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from playwright.sync_api import FrameLocator, Locator, Page, expect

expect.set_options(timeout=15_000)

MINUS = "\u2212"


def number(text: str) -> float:
    """A printed number."""
    return float(text.strip().replace(MINUS, "-"))


def agree(text: str, value: float) -> bool:
    """Whether a printed number is this value, to the last digit that is printed."""
    digits = len(text.strip().partition(".")[2])
    return abs(number(text) - value) <= 0.5000001 * 10**-digits


class Screen:
    """One view, drawn."""

    def __init__(self, root: Locator) -> None:
        self.root = root
        expect(root).to_have_attribute("data-ready", "1")
        expect(root).to_have_attribute("data-coming", "")

    @classmethod
    def on(cls, place: Page | FrameLocator) -> Screen:
        """The only view of a page or of a frame."""
        return cls(place.locator(".aw"))

    # parts ------------------------------------------------------------------------------------------------------

    def part(self, name: str) -> Locator:
        """A part by its name."""
        return self.root.locator(f'[data-part="{name}"]')

    @property
    def detail(self) -> Locator:
        """The detail of the open component."""
        return self.part("detail")

    @property
    def headline(self) -> str:
        """The finding."""
        return self.root.locator(".aw-headline").inner_text()

    @property
    def total(self) -> str:
        """The printed sum of all rows."""
        return self.part("sum").locator(".aw-val").inner_text()

    @property
    def version(self) -> int:
        """The state that is drawn."""
        return int(self.root.get_attribute("data-version") or -1)

    def row(self, label: str) -> Locator:
        """The bar of a component."""
        return self.part("waterfall").locator(f'[data-id="{label}"]')

    def value(self, label: str) -> str:
        """The number printed beside a bar."""
        return self.row(label).locator(".aw-val").inner_text()

    def labels(self, kind: str = "") -> list[str]:
        """The components whose bars are drawn, in their order; ``kind="head"`` or ``"mlp"`` names only those."""
        shown = self.part("waterfall").locator("[data-id]").evaluate_all("rows => rows.map(r => r.dataset.id)")
        return [name for name in shown if _kind(name) == kind or not kind]

    def another_head(self) -> str:
        """A head with a bar that is not open."""
        now = self.detail.get_attribute("data-open")
        return next(name for name in self.labels("head") if name != now)

    def tokens(self, part: str = "prompt-tokens") -> list[str]:
        """The tokens of a list as they are printed."""
        return self.part(part).locator(".aw-tok").all_inner_texts()

    def token(self, i: int, part: str = "tokens") -> Locator:
        """One token of a list: ``tokens`` are those of the open head, ``prompt-tokens`` those of the prompt."""
        return self.part(part).locator(f'[role="option"][data-i="{i}"]')

    # gestures ---------------------------------------------------------------------------------------------------

    def open(self, label: str) -> None:
        """Click a bar and wait for its detail."""
        self.row(label).click()
        self.expect_open(label)

    def tab(self, name: str, greyed: bool = False) -> Locator:
        """Open a tab of the detail and return what it shows; a greyed one says why it is."""
        self.detail.locator(f'[role="tab"][data-tab="{name}"]').click(force=greyed)
        panel = self.detail.locator(f'.aw-panel[data-tab="{name}"]')
        expect(panel).to_be_visible()
        expect(panel.locator('[data-part="waiting"]')).to_have_count(0)
        return panel

    def features(self) -> Iterator[str]:
        """The tab of features, then its first feature; in a model without dictionaries what the greyed tab says."""
        panel = self.tab("features", greyed=True)
        yield "features"
        if panel.locator("button.aw-brow").count():
            panel.locator("button.aw-brow").first.click()
            expect(self.part("feature").locator(".aw-bars").first).to_be_visible()
            yield "a feature"

    def show(self, order: str) -> None:
        """Show the contributions by ``size``, in ``order`` or all ``heads`` at once."""
        self.root.locator(f'[data-order="{order}"]').click()

    def edit(self, field: str) -> Locator:
        """Open a field: prompt, target, against or corrupted."""
        self.part(f"edit-{field}").click()
        box = self.part(field)
        expect(box).to_be_focused()
        return box

    def ask(self, field: str, text: str) -> None:
        """Type into a field and press Enter."""
        box = self.edit(field)
        box.fill(text)
        box.press("Enter")

    # what must come ---------------------------------------------------------------------------------------------

    def expect_open(self, label: str) -> None:
        """The detail of a component is open, and its bar is marked."""
        expect(self.detail).to_have_attribute("data-open", label)
        expect(self.root.locator(f'[data-id="{label}"][aria-selected="true"]').first).to_be_visible()

    def expect_version(self, version: int) -> None:
        """A later state is drawn, and nothing is running any more."""
        expect(self.root).to_have_attribute("data-version", str(version))
        expect(self.root).to_have_attribute("data-coming", "")
        expect(self.root.locator(".aw-stale")).to_have_count(0)
        expect(self.part("cancel")).to_have_count(0)

    def style(self, locator: Locator, name: str) -> Any:
        """A computed style."""
        return locator.first.evaluate("(e, name) => getComputedStyle(e).getPropertyValue(name)", name)


def _kind(label: str) -> str:
    if label.endswith(".mlp"):
        return "mlp"
    return "head" if label[:1] == "L" and label[1:].replace("H", "").isdigit() else "other"


def printed(token: str) -> str:
    """A token without inner spaces as the views print it: a leading space becomes a dot."""
    return "\u00b7" + token[1:] if token.startswith(" ") else token
