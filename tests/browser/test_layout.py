"""Nothing overlaps, nothing is cut: every open state, at three widths, in both schemes, short and long prompts.

Set ATTRIB_WIDGETS_SHOTS to a folder to keep the pictures.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

import attrib_widgets as aw
from browser.audit import layout, waterfall
from browser.chromium import Watched
from browser.screen import Screen

WIDTHS = (700, 900, 1400)
SHORT = "The capital of France is"
EXPERIMENTS = ("tested", "verdicts", "parts", "patching", "long patching", "effects")
LONG = (
    "When Mary and John went to the shop, John gave the bag to Mary. The capital of France is Paris. In Norway, people "
    "speak Norwegian. After Tom and Laura left the museum, Tom handed the letter to Laura. The capital of Japan is "
    "Tokyo. The capital of Germany is"
)


@pytest.fixture(scope="module")
def pages(demo: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Offline pages by length of the prompt."""
    folder = tmp_path_factory.mktemp("pages")
    short = aw.explore(demo, SHORT)
    long = aw.explore(demo, LONG, corrupted=LONG.replace("Germany", "France"))
    assert 50 <= long.run.n_positions <= 80
    views = {"short": short, "long": long, "attention": aw.attention(short.run).view()}
    views["long attention"] = aw.attention(long.run, "L3H5").view()
    views["lens"] = aw.logit_lens(short.run).view()
    views["long lens"] = aw.logit_lens(long.run).view()
    views["sources"] = long.attribution.sources("L3H5").view()
    tested = aw.explore(demo)
    tested.verify()
    prompts = SHORT, SHORT.replace("France", "Germany")
    views["tested"], views["verdicts"] = tested, tested.verdicts.view()
    views["parts"] = aw.patch(demo, *prompts, sites=["z", "mlp"]).view()
    views["patching"] = aw.patch(demo, *prompts, sites=["stream", "z"], positions="each").view()
    views["long patching"] = aw.patch(
        demo, long.run, long.corrupted, sites="stream", positions="each", position=long.attribution.position
    ).view()
    views["effects"] = aw.token_effects(demo, SHORT, draws=2).view()
    views["trace"] = long.attribution.trace(depth=None, mlps="frozen").view()
    return {name: view.to_html(folder / f"{name}.html") for name, view in views.items()}


@pytest.fixture
def shoot(watched: Watched, tmp_path: Path, request: Any) -> Callable[[str], None]:
    """``shoot(name)`` keeps a picture, in the folder ATTRIB_WIDGETS_SHOTS if there is one."""
    wanted = os.environ.get("ATTRIB_WIDGETS_SHOTS")
    folder = Path(wanted) if wanted else tmp_path
    folder.mkdir(parents=True, exist_ok=True)

    def keep(name: str) -> None:
        path = folder / f"{request.node.callspec.id}-{name}.png".replace(" ", "-")
        watched.page.screenshot(path=path, full_page=True)

    return keep


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("prompt", ["short", "long"])
def test_explorer(
    watched: Watched, pages: dict[str, Path], shoot: Callable[[str], None], prompt: str, width: int, scheme: str
) -> None:
    page = watched.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(pages[prompt].as_uri())
    screen = Screen.on(page)
    faults: dict[str, list[str]] = {}

    def look(state: str, picture: bool = False) -> None:
        page.mouse.move(0, 0)  # what a pointer opens lies over other text, and is meant to
        if found := layout(screen.root):
            faults[state] = found
        if picture or os.environ.get("ATTRIB_WIDGETS_SHOTS"):
            shoot(state)

    look("first", picture=True)
    faults["bars"] = waterfall(screen.root)
    screen.open(screen.another_head())
    at = 4 if prompt == "short" else 30
    screen.token(at).click()
    expect(screen.part("through").locator(".aw-bars li").first).to_be_visible()
    look("through")
    for tab in ("pattern", "why", "writes", "lens"):
        screen.tab(tab)
        look(tab)
    screen.part("lens").locator('[role="gridcell"]').first.click()
    look("a cell of the lens")
    screen.tab("pattern")
    screen.detail.get_by_role("button", name="contribution").click()
    look("contribution")
    screen.open(screen.labels("mlp")[0])
    look("neurons")
    for state in screen.features():
        look(state, picture=True)
    screen.part("copy").click()
    look("code")
    screen.part("copy").click()
    screen.part("waterfall").locator(".aw-others").click()
    look("others")
    faults["all bars"] = waterfall(screen.root)
    screen.show("order")
    look("order")
    faults["bars in order"] = waterfall(screen.root)
    for sum_line in (screen.part("sum"),):
        expect(sum_line).to_be_visible()
        # It is no part of what scrolls.
        assert sum_line.evaluate("e => !e.closest('.aw-scroll')")
    screen.show("heads")
    look("heads", picture=True)
    expect(screen.part("sum")).to_be_visible()
    screen.show("trace")
    screen.part("trace").locator('[data-form="frozen"]').click()
    look("trace", picture=True)
    assert screen.part("sum").evaluate("e => !e.closest('.aw-scroll')")
    assert {state: found for state, found in faults.items() if found} == {}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["attention", "long attention", "sources", "lens", "long lens", "trace", *EXPERIMENTS])
def test_small_views(
    watched: Watched, pages: dict[str, Path], shoot: Callable[[str], None], name: str, width: int
) -> None:
    watched.page.set_viewport_size({"width": width, "height": 900})
    watched.page.goto(pages[name].as_uri())
    screen = Screen.on(watched.page)
    shoot("view")
    assert layout(screen.root) == []


def test_the_audit_sees_faults(watched: Watched, pages: dict[str, Path]) -> None:
    """The proof that an empty list means something: three faults, made on purpose."""
    watched.page.goto(pages["short"].as_uri())
    screen = Screen.on(watched.page)
    assert layout(screen.root) == []
    second = screen.row(screen.labels()[1])
    second.evaluate("e => { e.style.marginTop = '-24px' }")
    assert any(fault.startswith("overlap") for fault in layout(screen.root))
    second.evaluate("e => { e.style.marginTop = '' }")
    name = second.locator(".aw-name")
    name.evaluate("e => { e.style.cssText = 'width: 20px; overflow: hidden; display: block' }")
    assert any(fault.startswith("clipped") for fault in layout(screen.root))
    screen.row(screen.labels()[2]).locator(".aw-bar").evaluate("e => { e.style.left = '0'; e.style.top = '0' }")
    assert waterfall(screen.root)
    screen.root.evaluate("e => { e.firstElementChild.style.width = '3000px' }")
    assert any("too wide" in fault or "sideways" in fault for fault in layout(screen.root))
