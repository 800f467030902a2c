"""The number under each word: Python's numbers, three ways, in an offline page and asked of a kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

import attrib_widgets as aw
from attrib_widgets.analysis.comparing.aligned import carried
from browser import audit
from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen, agree

Show = Callable[..., Screen]


def numbers(screen: Screen) -> list[str]:
    """What stands under the words that have a number."""
    return screen.part("prompt-tokens").locator(".aw-num").all_inner_texts()


def agrees(screen: Screen, values: Any) -> bool:
    found = numbers(screen)
    return len(found) == len(values) and all(agree(t, float(v)) for t, v in zip(found, values, strict=True))


@pytest.mark.usefixtures("every_window")
def test_an_offline_page_has_all_three(demo: Any, offline: Show) -> None:
    explorer = aw.explore(demo)
    tested = explorer.token_effects()
    screen = offline(explorer)
    assert numbers(screen) == []
    switch = screen.part("under")
    switch.focus()
    switch.press("Enter")
    told = carried(explorer.attribution)
    assert told is not None
    closing = {"carried": "Observed", "totals": "Observed", "replaced": "Total effect of every token, tested"}
    values = {
        "carried": told[0],
        "totals": explorer.attribution.token_totals().positions,
        "replaced": tested.values[~tested.values.isnan()],
    }
    for way, said in closing.items():
        screen.root.locator(f'.aw-numbers [data-form="{way}"]').press("Enter")
        expect(screen.part("closing")).to_contain_text(said)
        assert agrees(screen, values[way]), (way, numbers(screen), values[way])
        assert audit.accessibility(screen.root)["violations"] == []
        assert audit.layout(screen.root) == []
    switch.press("Enter")
    assert numbers(screen) == []


@lab_only
def test_another_word_is_tested_from_the_page(notebook: Notebook, explored: Screen) -> None:
    explored.part("under").click()
    expect(explored.part("closing")).to_contain_text("the bars of all heads sum to")
    explored.root.locator('.aw-numbers [data-form="totals"]').click()
    expect(explored.part("closing")).to_contain_text("the model\u2019s own number is")
    assert agrees(explored, notebook.value("ex.attribution.token_totals().positions.tolist()"))
    explored.root.locator('.aw-numbers [data-form="replaced"]').click()
    expect(explored.part("test-words")).to_contain_text("forwards")
    explored.part("test-words").click()
    expect(explored.part("closing")).to_contain_text("tested")
    assert agrees(explored, notebook.value("[v for v in ex.token_effects().values.tolist() if v == v]"))
    assert notebook.value("ex.state").endswith("under=replaced")
