"""Side by side: the second column of the Explorer, its words, its switch, and two pinned questions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

import attrib_widgets as aw
from browser import audit
from browser.chromium import Watched
from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen, agree

Show = Callable[..., Screen]
SIDES = {"tab": "", "mode": "sides"}


def columns(screen: Screen, label: str) -> list[str]:
    """What is printed of a part: in A, in B, and B − A."""
    return screen.root.locator(f'.aw-three tr[data-id="{label}"] td.aw-right').all_inner_texts()


def row(screen: Screen, label: str) -> Locator:
    return screen.root.locator(f'.aw-three tr[data-id="{label}"] button')


@pytest.mark.usefixtures("every_window")
def test_an_offline_page_shows_both_columns(demo: Any, offline: Show) -> None:
    explorer = aw.explore(demo)
    explorer.showing = SIDES
    screen = offline(explorer)
    found = explorer.side_by_side()
    for label in screen.root.locator(".aw-three tr[data-id]").evaluate_all("rows => rows.map(r => r.dataset.id)"):
        values = [
            *found.values[:, found.labels.index(label)].tolist(),
            float(found.difference[found.labels.index(label)]),
        ]
        assert all(agree(text, value) for text, value in zip(columns(screen, label), values, strict=True))
    words = screen.root.locator('[data-part="by-word"] tr')
    totals = found.tokens().totals
    for line, total in zip((2, 3), totals, strict=True):
        assert agree(words.nth(line).locator("td").first.inner_text(), total)
    told = audit.accessibility(screen.root)
    assert told["violations"] == []
    assert audit.layout(screen.root) == []


def test_a_comparison_stands_alone(demo: Any, offline: Show, watched: Watched) -> None:
    a, b = (
        aw.attribute(demo.run(f"{start}capital of {c} is"), " Paris")
        for start, c in (("The ", "France"), ("In the end the ", "Germany"))
    )
    screen = offline(aw.compare(a, b).view())
    changed = screen.root.locator('[data-part="by-word"] .aw-changed').all_inner_texts()
    assert {"\u00b7France", "\u00b7Germany"} <= set(changed)
    told = audit.accessibility(screen.root)
    assert told["violations"] == [] and audit.layout(screen.root) == []


@lab_only
def test_rows_open_and_the_other_is_looked_into(notebook: Notebook, explored: Screen) -> None:
    explored.show("sides")
    label = explored.root.locator(".aw-three tr[data-id]").nth(1).get_attribute("data-id") or ""
    row(explored, label).click()
    expect(explored.detail).to_have_attribute("data-open", label)
    before = columns(explored, label)
    sums = [end.inner_text() for end in explored.root.locator('.aw-three [data-row="sum"] td.aw-right').all()]
    explored.root.locator('[data-side="B"]').click()
    expect(explored.root.locator('[data-side="B"]')).to_have_attribute("aria-pressed", "true")
    expect(explored.root.locator(f'.aw-three tr[data-id="{label}"]')).to_be_visible()
    assert columns(explored, label) == before, "the columns stay where they are"
    # what it did there: the same part, of the other prompt
    expect(explored.detail).to_have_attribute("data-open", label)
    value = float(notebook.value(f"float(ex.attribution['{label}'])"))
    assert agree(before[1], value) and agree(sums[1], float(notebook.value("ex.attribution.actual")))
    line = notebook.value("ex.state")
    assert "&mode=sides&beside=" in line and "&side=B" in line
    notebook.cell(f"again = aw.explore(state={line!r})\nagain.state == ex.state")
    assert notebook.value("again.side_by_side().names() == ex.side_by_side().names()") is True
    explored.root.locator('[data-side="A"]').click()
    expect(explored.root.locator('[data-side="A"]')).to_have_attribute("aria-pressed", "true")
    assert columns(explored, label) == before


@lab_only
def test_two_pinned_questions(notebook: Notebook, explored: Screen) -> None:
    explored.part("pin").click()
    version = explored.version
    explored.ask("prompt", "The capital of Japan is")
    explored.expect_version(version + 1)
    explored.part("pin").click()
    notebook.expect("len(ex.pins)", 2)
    explored.part("compare").click()
    expect(explored.root.locator('[data-side="B"]')).to_contain_text("Japan")
    assert "France" in explored.root.locator('[data-side="A"]').inner_text()
    names = notebook.value("list(ex.side_by_side().names())")
    assert "France" in names[0] and "Japan" in names[1]
    # from Python, too
    notebook.cell("ex.pins = [ex.attribution]")
    expect(explored.root.locator(".aw-pinned")).to_have_count(1)
    explored.root.locator(".aw-pinned .aw-edit").click()
    notebook.expect("len(ex.pins)", 0)
