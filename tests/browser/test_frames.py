"""Hosts that draw outputs in frames: the saved picture is not seen beside the view, and stands in where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Error, Frame, Page, expect

import attrib_widgets as aw
from attrib_widgets.widgets.transport import assets
from browser import frames
from browser.chromium import Watched
from browser.frames import Outputs, Site

ONE = pytest.mark.parametrize("host", [frames.vscode, frames.colab], ids=["vscode", "colab"])
APART = pytest.mark.parametrize("host", [frames.same_origin, frames.other_origin], ids=["same origin", "other origin"])
ALL = pytest.mark.parametrize(
    "host",
    [frames.vscode, frames.colab, frames.same_origin, frames.other_origin, frames.sandboxed],
    ids=["vscode", "colab", "same origin", "other origin", "sandboxed"],
)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Both origins."""
    with frames.serve(assets.script()) as served:
        yield served


@pytest.fixture(scope="module")
def views(demo: Any) -> list[Any]:
    """Two small views."""
    run = demo.run("The capital of France is")
    return [aw.attention(run, head).view() for head in ("L3H5", "L2H1")]


def cells(views: list[Any], *, module: str = "/module.js") -> list[Outputs]:
    """A notebook in which the second view has no module."""
    return [Outputs(views[0], "first", module=module), Outputs(views[1], "second", module="/missing.js")]


def holds(page: Page, selector: str) -> Frame:
    """The frame with this element, once it is there."""
    for _ in range(200):
        for frame in page.frames:
            try:
                if frame.locator(selector).count():
                    return frame
            except Error:
                if not frame.is_detached():
                    raise
        page.wait_for_timeout(50)
    raise AssertionError(f"no frame holds {selector}")


def live(page: Page) -> Frame:
    """The frame that the first view is drawn in."""
    frame = holds(page, "#first .aw[data-ready]")
    expect(frame.locator("#first .aw")).to_have_attribute("data-live", "live")
    return frame


def picture(page: Page, view: Any) -> Any:
    """The picture of a view, in whatever frame."""
    selector = f".aw-still-{view.options['still']}"
    return holds(page, selector).locator(selector)


@ONE
def test_in_one_frame_with_the_view(site: Site, views: list[Any], watched: Watched, host: Any) -> None:
    page = watched.page
    page.goto(host(site, cells(views)))
    frame = live(page)
    expect(picture(page, views[0])).to_be_hidden()
    expect(frame.locator('[data-output="picture first"]')).to_be_hidden()  # nor the room that it had
    expect(frame.locator('[data-output="view first"]')).to_be_visible()
    expect(picture(page, views[1])).to_be_visible()
    # the cell is run again: what takes the place of an output is its own
    frame.locator('[data-output="picture first"]').evaluate("e => { e.innerHTML = '<p>42</p>'; }")
    expect(frame.get_by_text("42")).to_be_visible()
    frame.locator('[data-output="picture first"]').evaluate(
        "(e, html) => { e.innerHTML = html; }", cells(views)[0].picture
    )
    expect(picture(page, views[0])).to_be_hidden()
    expect(frame.locator('[data-output="picture first"]')).to_be_hidden()
    frame.evaluate("() => awEnd()")
    expect(picture(page, views[0])).to_be_visible()
    assert frame.locator("[data-aw-still]").count() == 0


@APART
def test_in_a_frame_of_its_own(site: Site, views: list[Any], watched: Watched, host: Any) -> None:
    page = watched.page
    page.goto(host(site, cells(views)))
    live(page)
    box = page.locator('[data-output="picture first"]')
    expect(picture(page, views[0])).to_be_hidden()
    expect(picture(page, views[1])).to_be_visible()
    if host is frames.same_origin:  # else nobody but the host may touch the frame
        expect(box).to_be_hidden()
    expect(page.locator('[data-output="view first"]')).to_be_visible()
    again = site.put("/first-picture-again", f"<div>{cells(views)[0].picture}</div>")
    frame = next(frame for frame in page.frames if frame.url.endswith("/first-picture"))
    box.locator("iframe").evaluate("(frame, path) => { frame.src = new URL(path, frame.src); }", again)
    frame.wait_for_url(f"**{again}")
    expect(picture(page, views[0])).to_be_hidden()
    # the host takes the view's frame away, without a word to the view
    page.locator('[data-output="view first"]').evaluate("e => e.remove()")
    expect(picture(page, views[0])).to_be_visible()
    expect(box).to_be_visible()


@ALL
def test_without_its_module(site: Site, views: list[Any], watched: Watched, host: Any) -> None:
    """No network for the module, or no kernel for the view: each picture is seen."""
    page = watched.page
    page.goto(host(site, cells(views, module="/missing.js")))
    for view in views:
        expect(picture(page, view)).to_be_visible()
    page.wait_for_timeout(1500)
    for view in views:
        expect(picture(page, view)).to_be_visible()
    assert not any(frame.locator(".aw").count() for frame in page.frames)


def test_where_nothing_can_be_done(site: Site, views: list[Any], watched: Watched) -> None:
    """A frame without an origin for every output: the view may not reach the picture, which carries no script."""
    page = watched.page
    page.goto(frames.sandboxed(site, cells(views)))
    live(page)
    page.wait_for_timeout(1500)
    expect(picture(page, views[0])).to_be_visible()
