"""Under every view: open it large and close it again, and take it away."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

import attrib_widgets as aw
from browser.chromium import Watched
from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen

Show = Callable[..., Screen]


def test_large_and_back(demo: Any, offline: Show, watched: Watched) -> None:
    """The whole window, the selection and the focus kept; Escape returns."""
    screen = offline(aw.explore(demo))
    head = screen.another_head()
    screen.open(head)
    before = screen.root.bounding_box()
    button = screen.part("large")
    button.click()
    size = watched.page.viewport_size
    box = screen.root.bounding_box()
    assert (box["x"], box["y"], box["width"], box["height"]) == (0, 0, size["width"], size["height"])
    screen.expect_open(head)
    expect(button).to_be_focused()
    box_button = button.inner_text()
    assert "Esc" in box_button
    watched.page.keyboard.press("Escape")
    expect(screen.root).not_to_have_attribute("popover", "manual")
    assert screen.root.bounding_box() == before
    expect(button).to_be_focused()
    button.click()
    button.click()
    assert screen.root.bounding_box() == before


@pytest.mark.parametrize("kind", ["csv", "svg", "png"])
def test_what_an_offline_page_saves(demo: Any, offline: Show, watched: Watched, tmp_path: Path, kind: str) -> None:
    result = aw.attribute(demo.run("The capital of France is"), " Paris").buildup()
    screen = offline(result.view())
    screen.part("save").click()
    with watched.page.expect_download() as coming:
        screen.root.locator(f'[data-save="{kind}"]').click()
    assert coming.value.suggested_filename.endswith(f".{kind}")
    coming.value.save_as(tmp_path / "kept")
    found = (tmp_path / "kept").read_bytes()
    if kind == "csv":
        rows = list(csv.reader(io.StringIO(found.decode())))
        assert len(rows) == len(result.to_dataframe()) + 1
    elif kind == "svg":
        assert found.startswith(b"<svg") and b"L1.mlp" in found
    else:
        assert found.startswith(b"\x89PNG") and len(found) > 5000


def test_a_frame_without_downloads_gives_it_to_be_copied(demo: Any, watched: Watched, tmp_path: Path) -> None:
    view = aw.attribute(demo.run("The capital of France is"), " Paris").buildup().view()
    path = tmp_path / "host.html"
    path.write_text(f"<title>Host</title>{view.freeze()._repr_html_()}", encoding="utf-8")
    watched.page.goto(path.as_uri())
    screen = Screen.on(watched.page.frame_locator("iframe"))
    screen.part("save").click()
    screen.root.locator('[data-save="csv"]').click()
    expect(screen.part("kept")).to_have_value(view.saved("csv")["text"])


@lab_only
def test_python_makes_what_is_saved(notebook: Notebook, explored: Screen) -> None:
    explored.part("save").click()
    with notebook.page.expect_download() as coming:
        explored.root.locator('[data-save="csv"]').click()
    assert Path(coming.value.path()).read_text() == notebook.value("ex.saved('csv')['text']")
    explored.root.locator('[data-save="txt"]').click()
    expect(explored.part("kept")).to_have_value(notebook.value("ex.in_words()"))


def test_nothing_hidden_is_saved(demo: Any, offline: Show) -> None:
    screen = offline(aw.explore(demo, hidden=["candidates"]))
    expect(screen.part("large")).to_be_visible()
    expect(screen.part("save")).to_have_count(0)


def test_the_words_on_the_screen(demo: Any, offline: Show) -> None:
    """Those that stand there, and no others."""
    a = aw.attribute(demo.run("The capital of France is"), " Paris")
    screen = offline(aw.erasure(a, "L1.mlp").view())
    screen.part("what").click()
    names = screen.part("words").locator("dt").all_inner_texts()
    assert {"MLP", "contribution", "final norm"} <= set(names) and not {"damage", "feature", "tau"} & set(names)
    screen.part("what").click()
    expect(screen.part("words")).to_have_count(0)
