"""The view of a phrase: offline, by mouse and by keyboard, and in a notebook whose kernel it follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import expect

import attrib_widgets as aw
from browser.chromium import Watched
from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen, agree, printed


def test_tokens_by_mouse_and_keyboard(demo: Any, offline: Callable[..., Screen], watched: Watched) -> None:
    phrase = aw.attribute(demo.generate("The capital of France is", 90), aw.phrase())
    screen = offline(phrase.view())
    spine, detail = screen.part("spine"), screen.part("token")
    assert screen.headline == phrase.title()
    assert spine.get_by_role("option").count() == len(phrase)
    heights = spine.locator(".aw-odds > i:first-child").evaluate_all(
        "all => all.map(e => e.clientHeight / e.parentElement.clientHeight)"
    )
    for i, p in enumerate(phrase.log_probs.exp().tolist()):
        assert abs(heights[i] - p) < 0.06, f"token {i}: a bar of {heights[i]:.2f} for a probability of {p:.2f}"
    box = spine.evaluate("e => ({ scrolls: e.scrollHeight > e.clientHeight, wide: e.scrollWidth > e.clientWidth })")
    assert box == {"scrolls": True, "wide": False}, "a long text scrolls in its own box, and only up and down"

    def agrees(token: int) -> None:
        a = phrase[token]
        expect(detail.locator(".aw-title")).to_contain_text(printed(phrase.tokens[token]))
        names = detail.locator(".aw-bars .aw-name").all_inner_texts()
        values = detail.locator(".aw-bars .aw-val").all_inner_texts()
        shown = [(n, v) for n, v in zip(names, values, strict=True) if n in a.labels]
        assert len(shown) > 5 and all(agree(v, a[n]) for n, v in shown)
        assert agree(screen.part("sum").locator("b").nth(1).inner_text(), a.actual)

    hardest = int(phrase.log_probs.argmin())
    spine.locator(f'[data-i="{hardest}"]').click()
    agrees(hardest)
    keys = watched.page.keyboard
    keys.press("ArrowRight")
    agrees(hardest + 1)
    keys.press("End")
    agrees(len(phrase) - 1)
    assert spine.evaluate("e => e.scrollTop") > 0, "the token in focus is in sight"
    assert watched.page.evaluate("scrollY") == 0
    keys.press("Escape")
    expect(detail.locator(".aw-title")).to_contain_text(f"All {len(phrase)} tokens")


@lab_only
def test_a_click_reaches_python_and_python_the_page(notebook: Notebook) -> None:
    made = "p = aw.attribute(model.generate('The capital of France is', 8), aw.phrase())\nv = p.view()\nv"
    screen = Screen(notebook.widget(notebook.cell(made)))
    spine = screen.part("spine")
    spine.locator('[data-i="2"]').click()
    expect(spine.locator('[data-i="2"]')).to_have_attribute("aria-selected", "true")
    assert notebook.printed(notebook.cell("print(v.token, v.selected_result() is p[2])")).strip() == "2 True"
    notebook.cell("v.token = -1")
    expect(spine.locator('[data-i="7"]')).to_have_attribute("aria-selected", "true")
    notebook.cell("v.token = None")
    expect(screen.part("token").locator(".aw-title")).to_contain_text("All 8 tokens")
