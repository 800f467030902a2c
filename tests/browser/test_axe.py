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


def states(screen: Screen) -> Iterator[str]:
    """Walk through what can be open, and say what is."""
    yield "first screen"
    screen.open(screen.another_head())
    screen.token(1).click()
    expect(screen.part("through").locator(".aw-bars li").first).to_be_visible()
    yield "who wrote a token"
    for tab in ("pattern", "why", "writes"):
        screen.tab(tab)
        yield tab
    screen.open(screen.labels("mlp")[0])
    screen.tab("neurons")
    yield "neurons"
    screen.part("copy").click()
    expect(screen.part("code")).to_be_visible()
    yield "code"
    screen.show("order")
    yield "bars in order"
    screen.show("map")
    screen.part("map").locator('[role="gridcell"]').first.focus()
    yield "map"


def clean(place: Locator, where: str) -> None:
    """axe has nothing to say, and could read every colour."""
    found = accessibility(place)
    assert found["violations"] == [], where
    assert found["passes"] >= 10
    unread = [text for text in found["incomplete"] if text.startswith("color-contrast") and "overlap" not in text]
    assert unread == [], where


@pytest.fixture(params=["light", "dark"])
def scheme(request: Any) -> str:
    """Both colour schemes."""
    return str(request.param)


@pytest.mark.parametrize("where", ["explorer", "attention", "bars"])
def test_offline_page(demo: Any, watched: Watched, offline: Callable[..., Screen], scheme: str, where: str) -> None:
    watched.page.emulate_media(color_scheme=scheme)
    run = demo.run("The capital of France is")
    if where == "explorer":
        screen = offline(aw.explore(demo))
    else:
        result = aw.attention(run) if where == "attention" else aw.attribute(run, " Paris").sources("L3H5")
        screen = offline(result.view())
    expect(screen.root).to_have_attribute("data-aw-theme", scheme)
    for state in states(screen) if where == "explorer" else [where]:
        clean(watched.page.locator("html"), state)


@lab_only
def test_lab(notebook: Notebook, scheme: str) -> None:
    notebook.theme(scheme == "dark")
    screen = Screen(notebook.widget(notebook.cell("ex = aw.explore(model)\nex")))
    expect(screen.root).to_have_attribute("data-aw-theme", scheme)
    for state in states(screen):
        clean(screen.root, state)
    screen.edit("prompt")
    clean(screen.root, "a field")
    screen.part("prompt").press("Escape")
    screen.ask("target", "\u00b7Paris Tokyo")
    expect(screen.part("error")).to_be_visible()
    clean(screen.root, "an error")
    attention = Screen(notebook.widget(notebook.cell("aw.attention(ex.run)")))
    attention.root.locator('[data-id="L1H2"]').click()
    clean(attention.root, "attention")


@lab_only
def test_hidden_parts_in_lab(notebook: Notebook) -> None:
    i = notebook.cell('ex = aw.explore(model, hidden=["candidates", "values", "detail", "compare", "sum", "map"])\nex')
    clean(Screen(notebook.widget(i)).root, "hidden")
