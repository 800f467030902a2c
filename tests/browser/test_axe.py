"""Accessibility: axe finds nothing, in light and dark, whatever is open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

import attrib_widgets as aw
from browser.audit import accessibility
from browser.chromium import Watched
from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen

SMALL = ("attention", "bars", "features", "card", "lens", "phrase", "trace")
EXPERIMENTS = ("tested", "verdicts", "patching", "effects")


def states(screen: Screen) -> Iterator[str]:
    """Walk through what can be open, and say what is."""
    yield "first screen"
    screen.open(screen.another_head())
    screen.token(1).click()
    expect(screen.part("through").locator(".aw-bars li").first).to_be_visible()
    yield "who wrote a token"
    for tab in ("pattern", "why", "writes", "lens"):
        screen.tab(tab)
        yield tab
    screen.part("lens").locator('[role="gridcell"]').first.click()
    screen.part("lens").get_by_role("button", name="rank").click()
    yield "ranks of the lens"
    screen.open(screen.labels("mlp")[0])
    screen.tab("neurons")
    yield "neurons"
    yield from screen.features()
    screen.part("worked").locator("button").first.click()
    expect(screen.part("worked").locator("table")).to_be_visible()
    yield "a row worked out"
    for panel in ("contributions", "detail"):
        screen.root.locator(f'[data-help="{panel}"]').click()
        expect(screen.part("help")).to_contain_text("Does not say")
        yield f"help on {panel}"
        screen.root.locator(f'[data-help="{panel}"]').press("Escape")
        expect(screen.part("help")).to_have_count(0)
        expect(screen.root.locator(f'[data-help="{panel}"]')).to_be_focused()
    screen.part("copy").click()
    expect(screen.part("code")).to_be_visible()
    yield "code"
    screen.show("order")
    yield "bars in order"
    screen.show("heads")
    screen.part("heads").locator('[role="gridcell"]').first.focus()
    yield "heads"
    screen.show("trace")
    screen.part("flow").get_by_role("option").first.focus()
    yield "trace"
    screen.part("trace").locator('[data-form="table"]').click()
    expect(screen.part("trace").get_by_role("tree")).to_be_visible()
    screen.part("trace").get_by_role("treeitem").first.focus()
    yield "trace as a table"


class Faults:
    """What axe found in all states, each fault once. At the end there must be none."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def look(self, place: Locator, state: str) -> None:
        """Ask axe about an element. Colours that it could not judge count: a plain ground makes them legible."""
        said = accessibility(place)
        assert said["passes"] >= 10
        unread = [text for text in said["incomplete"] if text.startswith("color-contrast")]
        for text in [*said["violations"], *unread]:
            self.found.setdefault(text, state)

    def check(self) -> None:
        """Nothing was found."""
        assert not self.found, "\n".join(f"{state}: {text}" for text, state in self.found.items())


def features(run: Any) -> Any:
    """The largest MLP opened by feature; without its dictionary there is nothing to look at."""
    a = aw.attribute(run, " Paris")
    try:
        return a.features(a.top(1, kind="mlp")[0][0])
    except aw.ComponentError as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=["light", "dark"])
def scheme(request: Any) -> str:
    """Both colour schemes."""
    return str(request.param)


@pytest.mark.parametrize("where", ["explorer", *SMALL, *EXPERIMENTS])
def test_offline_page(demo: Any, watched: Watched, offline: Callable[..., Screen], scheme: str, where: str) -> None:
    watched.page.emulate_media(color_scheme=scheme)
    run = demo.run("The capital of France is")
    if where == "explorer":
        screen = offline(aw.explore(demo))
    elif where in ("tested", "verdicts"):
        explorer = aw.explore(demo)
        explorer.verify()
        explorer.selected = "L0H4"
        screen = offline(explorer if where == "tested" else explorer.verdicts.view())
    elif where == "patching":
        view = aw.patch(demo, run, "The capital of Germany is", sites=["stream", "z"], positions="each").view()
        view.selected, view.source = "L2.pre", 4
        screen = offline(view)
    elif where == "phrase":
        screen = offline(aw.attribute(run.generate(60), aw.phrase()).view())
        screen.part("spine").locator('[data-i="2"]').click()
    else:
        make = {
            "attention": lambda: aw.attention(run),
            "bars": lambda: aw.attribute(run, " Paris").sources("L3H5"),
            "features": lambda: features(run),
            "card": lambda: (found := features(run)).card(found.numbers[0]),
            "lens": lambda: aw.logit_lens(run, " Paris"),
            "effects": lambda: aw.token_effects(demo, run, draws=2),
            "trace": lambda: aw.attribute(run, " Paris").trace(),
        }
        screen = offline(make[where]().view())
    expect(screen.root).to_have_attribute("data-aw-theme", scheme)
    faults = Faults()
    for state in states(screen) if where == "explorer" else [where]:
        faults.look(watched.page.locator("html"), state)
    faults.check()


@lab_only
def test_lab(notebook: Notebook, scheme: str) -> None:
    notebook.theme(scheme == "dark")
    screen = Screen(notebook.widget(notebook.cell("ex = aw.explore(model)\nex")))
    expect(screen.root).to_have_attribute("data-aw-theme", scheme)
    faults = Faults()
    for state in states(screen):
        faults.look(screen.root, state)
    screen.edit("prompt")
    faults.look(screen.root, "a field")
    screen.part("prompt").press("Escape")
    screen.ask("target", "\u00b7Paris Tokyo")
    expect(screen.part("error")).to_be_visible()
    faults.look(screen.root, "an error")
    attention = Screen(notebook.widget(notebook.cell("aw.attention(ex.run)")))
    attention.root.locator('[data-id="L1H2"]').click()
    faults.look(attention.root, "attention")
    faults.check()


@lab_only
def test_hidden_parts_in_lab(notebook: Notebook) -> None:
    i = notebook.cell(
        'ex = aw.explore(model, hidden=["candidates", "values", "detail", "corrupted", "sum", "heads"])\nex'
    )
    faults = Faults()
    faults.look(Screen(notebook.widget(i)).root, "hidden")
    faults.check()
