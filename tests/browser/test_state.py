"""A screen as a line: copied from a page, opened in a fresh one, set and read in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from playwright.sync_api import expect

import attrib_widgets as aw
from browser.chromium import Watched
from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen


@pytest.mark.parametrize(
    ("mode", "tab"), [("size", "why"), ("order", "pattern"), ("heads", "writes"), ("size", "lens")]
)
def test_an_offline_page_goes_where_its_address_says(
    demo: Any, watched: Watched, tmp_path: Path, mode: str, tab: str
) -> None:
    explorer = aw.explore(demo)
    page = explorer.to_html(tmp_path / "page.html").as_uri()
    watched.page.goto(page)
    screen = Screen.on(watched.page)
    head = screen.another_head()
    screen.open(head)
    screen.tab(tab)
    screen.show(mode)
    screen.part("copy-state").click()
    line = screen.part("kept").input_value()
    assert watched.page.url == f"{page}#{line}"
    assert dict(parse_qsl(line)).items() >= {"part": head, "tab": tab}.items()
    watched.page.goto("about:blank")
    watched.page.goto(f"{page}#{line}")
    again = Screen.on(watched.page)
    expect(again.detail).to_have_attribute("data-open", head)
    expect(again.detail.locator(f'.aw-panel[data-tab="{tab}"]')).to_be_visible()
    expect(again.root.locator(f'[data-order="{mode}"]')).to_have_attribute("aria-pressed", "true")
    # Python opens the same line.
    opened = aw.explore(demo, state=line)
    assert (opened.selected, opened.showing) == (head, {"tab": tab, "mode": mode})
    assert dict(parse_qsl(opened.state)) == dict(parse_qsl(line))


def test_an_address_of_another_question_is_said(demo: Any, watched: Watched, tmp_path: Path) -> None:
    page = aw.explore(demo).to_html(tmp_path / "page.html").as_uri()
    watched.page.goto(f"{page}#prompt=The+capital+of+Japan+is&part=L3H4")
    screen = Screen.on(watched.page)
    expect(screen.part("error")).to_contain_text("This page holds another prompt.")
    expect(screen.detail).to_have_attribute("data-open", "L3H4")


@lab_only
def test_clicks_and_python_share_the_line(notebook: Notebook, explored: Screen) -> None:
    head = explored.another_head()
    explored.open(head)
    explored.tab("why")
    explored.show("heads")
    notebook.expect("ex.showing", {"tab": "why", "mode": "heads"})
    line = notebook.value("ex.state")
    assert f"part={head}" in line and line.endswith("&tab=why&mode=heads")
    notebook.cell('ex.state = "prompt=The+capital+of+Japan+is&part=L3H4&tab=pattern&mode=order"')
    expect(explored.detail).to_have_attribute("data-open", "L3H4")
    expect(explored.detail.locator('.aw-panel[data-tab="pattern"]')).to_be_visible()
    expect(explored.root.locator('[data-order="order"]')).to_have_attribute("aria-pressed", "true")
    assert "\u00b7Japan" in explored.tokens()
