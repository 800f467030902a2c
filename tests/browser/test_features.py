"""From the prompt to a feature in three clicks: with no kernel what was embedded, with one everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

import attrib_widgets as aw
from browser.chromium import Watched
from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen, agree

Show = Callable[..., Screen]


@pytest.fixture(scope="module")
def explorer(demo: Any) -> Any:
    """The Explorer on its first task."""
    return aw.explore(demo)


def strongest(explorer: Any, kind: str) -> str:
    """The largest head or MLP; without its dictionary there is nothing to click."""
    row = str(explorer.attribution.top(1, kind=kind)[0][0])
    try:
        explorer.attribution.features(row)
    except aw.ComponentError as reason:
        pytest.skip(str(reason))
    return row


@pytest.mark.parametrize("kind", ["mlp", "head"])
def test_three_clicks_without_a_kernel(explorer: Any, offline: Show, watched: Watched, kind: str) -> None:
    row, a = strongest(explorer, kind), explorer.attribution
    found = a.features(row)
    first = int(found.values[:-2].abs().argmax())
    screen = offline(explorer)
    screen.row(row).click()  # 1
    screen.detail.locator('[role="tab"][data-tab="features"]').click()  # 2
    panel = screen.part("features")
    names = panel.locator(".aw-below").all_inner_texts()
    values = panel.locator(".aw-val").all_inner_texts()
    assert len(names) == min(12, len(found.numbers) - 2) and len(values) >= len(names) + 2
    for name, value in zip(names, values, strict=False):
        assert agree(value, found[name.split()[0]])
    assert names[0].split()[0] == found.labels[first]
    assert panel.locator(".aw-concept").first.inner_text() == found.concepts[first]
    summed, bar, _ = panel.locator('[data-part="sum"] > span').all_inner_texts()
    assert agree(summed.split()[-1], a[row]) and agree(bar.split()[-1], a[row])
    expect(panel).to_contain_text("Labels are computed")
    panel.locator("button.aw-brow").first.click()  # 3

    card, shown = found.card(found.numbers[first]), screen.part("feature")
    expect(shown.locator(".aw-subtitle")).to_have_text(card.label)
    expect(shown).to_contain_text(f"Computed label of {found.labels[first]}")
    expect(shown.locator(".aw-context")).to_have_count(len(card.contexts))
    for i, firing in enumerate(card.contexts):
        strong = firing.tokens[firing.position].strip()
        marks = shown.locator(".aw-context").nth(i).locator("mark bdi").all_inner_texts()
        assert strong in {text.removeprefix("\u00b7") for text in marks}
    numbers = shown.locator(".aw-carried .aw-num").all_inner_texts()
    assert len(numbers) == len(card.here)
    for text, activation in zip(numbers, card.here, strict=True):
        assert text == "\u2013" if activation == 0 else agree(text, activation)
    expect(shown).to_contain_text(f"directly, through {row}, for" if "H" in row else "directly, for")
    promoted = shown.locator(".aw-sides > div").first.locator(".aw-name").all_inner_texts()
    assert promoted == [text.replace(" ", "\u00b7") for text, _, _ in card.promoted]
    crumbs = screen.part("crumbs").locator(".aw-crumb").all_inner_texts()
    assert crumbs == ["\u00b7Paris", row, found.labels[first]]
    expect(shown.locator("button").first).to_be_focused()
    screen.part("crumbs").get_by_role("button", name=row).click()
    expect(screen.part("features")).to_be_visible()
    screen.part("back").click()
    expect(screen.part("feature")).to_be_visible()
    assert set(watched.requests) <= {watched.page.url}


@lab_only
def test_the_kernel_opens_what_was_not_embedded(explorer: Any, notebook: Notebook, explored: Screen) -> None:
    row = strongest(explorer, "head")
    number = explorer.attribution.features(row).numbers[-3]  # of a live view no card is embedded
    explored.open(row)
    explored.tab("features")
    name = f"{row.partition('H')[0]}.attn/{number}"
    explored.part("features").locator("button.aw-brow", has_text=name).click()
    card = explored.part("feature")
    expect(card.locator(".aw-bars").first).to_be_visible()
    expect(card).to_contain_text(name)
    notebook.expect("ex.selected", f"{row}/{number}")
    assert notebook.value("str(ex.selected_result().feature)") == name
    notebook.cell(f'ex.selected = "{row}"')
    expect(explored.part("features")).to_be_visible()
    notebook.cell(f'ex.selected = "{row}/{number}"')
    expect(card).to_contain_text(name)
