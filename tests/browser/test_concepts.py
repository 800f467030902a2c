"""Concepts mode: rows that sum, a head, its concept and the word in three clicks, and the same with a kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

import attrib_widgets as aw
from browser import audit
from browser.chromium import Watched
from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen, agree, number

Show = Callable[..., Screen]
SHOWN = {"tab": "", "mode": "concepts"}
PARIS = "The capital of France is", " Paris"


def drawn(screen: Screen) -> dict[str, str]:
    """Names and printed numbers of the rows."""
    rows = screen.part("concepts").get_by_role("option")
    names = rows.evaluate_all("rows => rows.map(r => r.dataset.id)")
    return dict(zip(names, rows.locator(".aw-val").all_inner_texts(), strict=True))


@pytest.mark.usefixtures("every_window")
def test_an_offline_page_lists_and_opens_concepts(demo: Any, offline: Show) -> None:
    explorer = aw.explore(demo, *PARIS)
    explorer.showing = SHOWN
    screen, found = offline(explorer), explorer.attribution.concepts()
    panel = screen.part("concepts")
    expect(panel.locator("h3")).to_have_text(found.title)
    rows = drawn(screen)
    assert len(rows) == 13 and all(agree(text, found[name]) for name, text in rows.items())
    printed = [number(text) for text in panel.locator(".aw-row > .aw-val").all_inner_texts()]
    assert abs(sum(printed) - explorer.attribution.actual) < 0.005 * len(printed) + 0.005
    faults = {"concepts": audit.layout(screen.root)}
    assert audit.accessibility(screen.root)["violations"] == []
    screen.part("unsaid").click()
    unsaid = found.unsaid()
    opened = panel.locator(".aw-bars .aw-brow")
    for row in range(10):
        name, value = (opened.nth(row).locator(where).inner_text() for where in (".aw-name", ".aw-val"))
        assert agree(value, unsaid[name])
    faults["in no feature"] = audit.layout(screen.root)
    first = panel.get_by_role("option").first
    first.focus()
    first.press("Enter")
    name = found.labels[int(found.values[: found.firing].abs().argmax())]
    expect(screen.part("feature").locator(".aw-subtitle")).to_contain_text(name)
    parts = found.parts(name)
    bars = screen.part("written-by").locator(".aw-brow")
    for row in range(len(parts)):
        part = bars.nth(row).locator(".aw-name").inner_text().split()[0]
        assert agree(bars.nth(row).locator(".aw-val").inner_text(), parts[part])
    faults["a concept"] = audit.layout(screen.root)
    screen.part("find").get_by_role("textbox").fill("france")
    screen.part("find").get_by_role("textbox").press("Enter")
    hits = screen.part("find").locator("button.aw-brow")
    assert all("France" in text for text in hits.locator(".aw-concept").all_inner_texts()[:2])
    faults["features by a word"] = audit.layout(screen.root)
    assert audit.accessibility(screen.root)["violations"] == []
    hits.nth(1).click()
    place = found.search("France").found[1].feature
    expect(screen.part("feature").locator(".aw-subtitle")).to_contain_text(place)
    assert audit.accessibility(screen.root)["violations"] == []
    assert {state: said for state, said in faults.items() if said} == {}


def test_from_the_strongest_head_to_the_word_in_three_clicks(demo: Any, offline: Show, watched: Watched) -> None:
    explorer = aw.explore(demo, *PARIS)
    a = explorer.attribution
    head = str(a.top(1, kind="head")[0][0])
    screen = offline(explorer)
    screen.row(head).click()  # 1
    concept = screen.part("mostly")
    assert "France" in concept.inner_text()
    concept.click()  # 2
    expect(screen.part("feature").locator(".aw-subtitle")).to_contain_text("about France")
    word = screen.part("written-by").locator("button").first
    expect(word).to_contain_text(f"{head} reads \u00b7France")
    word.click()  # 3
    at = a.run.tokens.index(" France")
    expect(screen.token(at)).to_have_attribute("aria-selected", "true")
    carried = a.sources(head).values[at]
    expect(screen.part("through")).to_contain_text("\u00b7France carried")
    assert agree(screen.token(at).locator(".aw-num").inner_text(), float(carried))
    assert watched.errors == [] and set(watched.requests) <= {watched.page.url}


@lab_only
def test_concepts_with_a_kernel(notebook: Notebook, explored: Screen) -> None:
    explored.show("concepts")
    panel = explored.part("concepts")
    expect(panel.get_by_role("option").first).to_be_visible()
    notebook.expect("ex.showing['mode']", "concepts")
    title = notebook.value("ex.attribution.concepts().title")
    expect(panel.locator("h3")).to_have_text(title)
    for name, text in drawn(explored).items():
        assert agree(text, float(notebook.value(f"ex.attribution.concepts()[{name!r}]")))
    first = panel.get_by_role("option").first
    name = first.get_attribute("data-id") or ""
    first.click()
    expect(first).to_have_attribute("aria-selected", "true")
    through = notebook.value(f"ex.attribution.concepts().through({name!r})")
    notebook.expect("ex.selected", f"{through}/{name.partition('/')[2]}")
    assert notebook.value("'mode=concepts' in ex.state and ex.shown().title == ex.attribution.concepts().title") is True


@lab_only
def test_features_by_a_word_with_a_kernel(notebook: Notebook, explored: Screen) -> None:
    explored.show("concepts")
    find = explored.part("find")
    find.get_by_role("textbox").fill("Gabon")
    find.get_by_role("textbox").press("Enter")
    code = "ex.attribution.concepts().search('Gabon')"
    expect(find.locator(".aw-caption")).to_contain_text(notebook.value(f"{code}.title()"), timeout=30_000)
    wanted = notebook.value(f"[(f.feature, f.value, f.through) for f in {code}.found[:20]]")
    rows = find.locator(".aw-brow")
    expect(rows).to_have_count(len(wanted))
    for at, (name, value, _) in enumerate(wanted):
        expect(rows.nth(at).locator(".aw-below")).to_contain_text(name)
        assert agree(rows.nth(at).locator(".aw-val").inner_text(), value)
    name, _, through = wanted[-1]
    rows.last.click()  # one that does not fire here has its card as well
    notebook.expect("ex.selected", f"{through}/{name.partition('/')[2]}")
    expect(explored.part("feature").locator(".aw-subtitle")).to_contain_text(name)
