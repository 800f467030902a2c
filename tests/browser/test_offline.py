"""The page that needs no kernel: from the disk, under a policy that forbids every request, and in a sandboxed frame."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

import attrib_widgets as aw
from attrib_widgets.demo.gallery import SCREENS
from attrib_widgets.widgets.transport import page, wire
from attrib_widgets.words.text import percent, signed, visible
from browser.chromium import Watched
from browser.hostile import ATTACK, PROMPT, hostile_model
from browser.screen import Screen, agree, printed

Show = Callable[..., Screen]


@pytest.fixture(scope="module")
def explorer(demo: Any) -> Any:
    """The Explorer on its first task."""
    return aw.explore(demo)


@pytest.fixture(scope="module")
def hostile() -> Any:
    """The Explorer of a model whose vocabulary, prediction and name attack the page."""
    return aw.explore(hostile_model(aw), PROMPT, ATTACK, against=" Paris", corrupted=PROMPT.replace("capital", "city"))


def silent(watched: Watched) -> None:
    """The page asked for itself and for nothing else, not even in vain."""
    own = {watched.page.url}
    assert set(watched.requests) <= own, watched.requests
    assert watched.page.evaluate("awViolations") == []


def test_every_click_works_without_a_request(explorer: Any, offline: Show, watched: Watched) -> None:
    screen = offline(explorer)
    a = explorer.attribution
    expect(screen.root).to_have_attribute("data-live", "static")
    assert agree(screen.total, float(a.total))
    head = screen.another_head()
    screen.open(head)
    assert agree(screen.value(head), a[head])
    at = int(a.sources(head).values[: a.run.n_positions].abs().argmax())
    screen.token(at).click()
    through = screen.part("through")
    expect(through).to_be_visible()
    parts = {str(c): float(v) for c, v in zip(a.through(head).components, a.through(head).values[at], strict=True)}
    names = through.locator(".aw-bars .aw-name").all_inner_texts()
    values = through.locator(".aw-bars .aw-val").all_inner_texts()
    assert sum(name in parts for name in names) >= 2
    assert all(agree(v, parts[n]) for n, v in zip(names, values, strict=True) if n in parts)
    through.locator("button.aw-brow").first.click()  # a part that wrote it opens in its turn
    expect(screen.detail).not_to_have_attribute("data-open", head)
    screen.part("back").click()
    expect(through).to_be_visible()
    for tab in ("pattern", "why", "writes", "tokens"):
        panel = screen.tab(tab)
        expect(panel).not_to_contain_text("Needs a running kernel")
        assert panel.inner_text().strip()
    screen.tab("pattern")
    for weighting in ("value-weighted", "contribution", "probability"):
        screen.detail.get_by_role("button", name=weighting).click()
        expect(screen.part("pattern").get_by_role("grid")).to_be_visible()
    mlp = screen.labels("mlp")[0]
    screen.open(mlp)
    assert screen.part("neurons").locator(".aw-bars li").count() >= 12
    screen.part("copy").click()
    expect(screen.part("code")).to_contain_text(f'a["{mlp}"]')
    silent(watched)


def test_the_heads_by_keyboard(explorer: Any, offline: Show, watched: Watched) -> None:
    screen = offline(explorer)
    screen.show("heads")
    grid = screen.part("heads").get_by_role("grid")
    grid.locator('[tabindex="0"]').focus()
    keys = watched.page.keyboard
    for key in ("Control+Home", "ArrowDown", "ArrowDown", "End"):
        keys.press(key)
    expect(grid.locator('[data-id="L2.mlp"]')).to_be_focused()
    expect(screen.part("heads").locator(".aw-readout")).to_contain_text("L2.mlp")
    keys.press("Enter")
    screen.expect_open("L2.mlp")
    for key in ("Home", "ArrowRight", " "):
        keys.press(key)
    screen.expect_open("L2H1")
    assert screen.part("sum").is_visible()
    silent(watched)


@pytest.mark.parametrize("mlps", ["stop", "frozen"])
def test_the_trace_as_a_picture(explorer: Any, offline: Show, watched: Watched, mlps: str) -> None:
    """Every box is the sum of the tree's nodes of one part at one word, every line one node; keys, light and clicks."""
    screen = offline(explorer)
    a = explorer.attribution
    screen.show("trace")
    screen.part("trace").locator(f'[data-form="{mlps}"]').click()
    t = a.trace(depth=None, mlps=mlps)
    flow, keys = screen.part("flow"), watched.page.keyboard
    boxes, lines = flow.get_by_role("option"), flow.locator("path")
    every = len(t.paths())
    slider = flow.get_by_role("slider")
    for key, k in (("", 12), ("Home", 1), ("End", every)):
        if key:
            slider.press(key)
        expect(flow.locator("label")).to_contain_text(f"{k} of {every}")
        drawn = {id(n) for path in t.paths(k) for n in path}
        expect(lines).to_have_count(len(drawn))
        sums: dict[tuple[str, int | None], float] = {}
        for n, _ in t.root.walk():
            if n.kind == "part" and n is not t.root:
                key_of = (n.label, n.position)
                sums[key_of] = sums.get(key_of, 0.0) + n.value
        shown = {(n.label, n.position) for path in t.paths(k) for n in path}
        told = boxes.evaluate_all("boxes => boxes.map(b => [b.ariaLabel, b.lastChild.textContent])")
        assert len(told) == len(shown) + 1
        for label, position in shown:
            word = f" at the position of {visible(a.run.tokens[position or 0])} ({position}) = "
            (value,) = [v for name, v in told if name.startswith(f"{label} {v}{word}")]
            assert agree(value, sums[label, position]), word
        widths = sorted(map(float, lines.evaluate_all("ps => ps.map(p => p.getAttribute('stroke-width'))")))
        values = sorted(abs(n.value) for n, _ in t.root.walk() if id(n) in drawn)
        scale = widths[-1] / values[-1]
        assert [w for w, v in zip(widths, values, strict=True) if abs(w - v * scale) > 1e-4 * widths[-1]] == []
        shares = t.shares(k)
        for name, (value, size) in shares.items():
            said = f"{name} {signed(value, 2)} ({percent(size / t.size)} of all sizes)"
            expect(screen.part("shares")).to_contain_text(said)
    slider.press("Home")
    boxes.first.focus()
    expect(flow.locator("path.aw-lit")).to_have_count(len(t.paths(1)[0]))
    keys.press("Escape")
    expect(flow.locator(".aw-lit")).to_have_count(0)
    keys.press("End")
    expect(boxes.last).to_be_focused()
    keys.press("ArrowLeft")
    assert str(t.paths(1)[0][-1].label) in str(boxes.nth(boxes.count() - 2).get_attribute("aria-label"))
    keys.press("Enter")
    expect(screen.detail).to_have_attribute("data-open", t.paths(1)[0][0].label)
    boxes.first.hover()
    expect(flow.locator("path.aw-lit")).not_to_have_count(0)
    expect(screen.part("flow")).to_contain_text("Attribution, not a test.")
    silent(watched)


def test_a_trace_that_is_cut_says_so(demo: Any, offline: Show, watched: Watched) -> None:
    """Where the picture is wider than its window the words to the left are said to be there, a click away."""
    watched.page.set_viewport_size({"width": 700, "height": 900})
    screen = offline(aw.explore(demo, "When Mary and John went to the shop, John gave the bag to", " Mary"))
    screen.show("trace")
    listbox = screen.part("flow").get_by_role("listbox")
    gone = "e => e.parentElement.getBoundingClientRect().left - e.getBoundingClientRect().left"
    assert listbox.evaluate(gone) > 0, "the answer is in sight"
    screen.part("earlier").click()
    assert listbox.evaluate(gone) <= 0, "the first word is"
    watched.page.set_viewport_size({"width": 1700, "height": 900})
    expect(screen.part("earlier")).to_have_count(0)


def test_the_trace_by_keyboard(explorer: Any, offline: Show, watched: Watched) -> None:
    """From the answer to the word that decides, without a kernel: every printed node is the number in Python."""
    screen = offline(explorer)
    a = explorer.attribution
    screen.show("trace")
    screen.part("trace").locator('[data-form="table"]').click()
    tree = screen.part("trace").get_by_role("tree")
    for mlps in ("stop", "frozen"):
        screen.part("trace").locator(f'[data-form="{mlps}"]').click()
        t = a.trace(depth=None, mlps=mlps)
        expect(screen.part("trace").locator(".aw-caption")).to_have_text(t.title())
        assert screen.part("trace").locator('[data-part="sum"]').inner_text() == t.balance()
        shown = tree.locator('[aria-level="1"] .aw-val').all_inner_texts()
        assert len(shown) == len(t.root.children)
        assert [v for v, n in zip(shown, t.root.children, strict=True) if not agree(v, n.value)] == []
    keys = watched.page.keyboard
    first = tree.get_by_role("treeitem").first  # the largest part opens
    first.focus()
    count = tree.get_by_role("treeitem").count()
    keys.press("ArrowLeft")
    expect(first).to_have_attribute("aria-expanded", "false")
    expect(tree.get_by_role("treeitem")).to_have_count(len(t.root.children))
    keys.press("ArrowRight")
    expect(tree.get_by_role("treeitem")).to_have_count(count)
    assert count >= len(t.root.children) + len(t.root.children[0].children)
    keys.press("ArrowRight")
    expect(tree.get_by_role("treeitem").nth(1)).to_be_focused()
    mover = a.top(1, kind="head")[0][0]
    head = tree.get_by_role("treeitem").filter(has_text=str(mover)).first
    head.focus()
    if head.get_attribute("aria-expanded") == "false":
        keys.press("ArrowRight")
    assert tree.get_by_text("\u00b7France").count() > 0, "what the leading head took is written at the country"
    silent(watched)


def test_a_question_is_answered_honestly(explorer: Any, offline: Show, watched: Watched) -> None:
    """What needs Python says so, and what it takes; nothing changes."""
    screen = offline(explorer)
    before = screen.root.locator(".aw-body").inner_text()
    for part in ("edit-prompt", "edit-target"):
        screen.part(part).click(force=True)  # aria-disabled: greyed, yet it answers
        expect(screen.part("error")).to_contain_text("Needs a running kernel: open the notebook and run the cell.")
        screen.part("error").get_by_role("button").click()
    screen.token(1, "prompt-tokens").click()
    expect(screen.part("error")).to_be_visible()
    assert screen.root.locator(".aw-body").inner_text() == before
    silent(watched)


def test_hidden_parts_have_their_own_button(demo: Any, offline: Show, watched: Watched) -> None:
    view = aw.explore(demo, hidden=["candidates", "values", "detail"])
    screen = offline(view)
    answer = printed(view.run.top(1)[0].text)
    assert answer not in watched.page.locator("body").inner_text()
    for part in ("candidates", "values", "detail"):
        screen.part(f"hidden-{part}").get_by_role("button").click()
        expect(screen.part(f"hidden-{part}")).to_have_count(0)
    assert f"for {answer}" in screen.headline
    expect(screen.part("waterfall")).to_be_visible()
    expect(screen.detail).to_be_visible()
    silent(watched)


def test_a_model_that_was_built_by_hand_is_named(offline: Show, watched: Watched) -> None:
    """In the headline, before and after the test, and in the page's title; how it works is told with the answer."""
    story, view = aw.demo.circuits["backup"], aw.explore("demo:backup")
    screen = offline(view)
    assert screen.headline.startswith(f"{story.called} \u00b7 L0H0 ")
    assert screen.part("story").inner_text() == story.story
    assert watched.page.title().startswith(f"{story.called} \u00b7 ")
    view.verify()
    assert offline(view).headline == f"{story.called} \u00b7 L0H0 is redundant"
    screen = offline(aw.explore("demo:backup", hidden=["candidates", "values"]))
    assert screen.headline.startswith(story.called)
    expect(screen.part("story")).to_have_count(0)
    silent(watched)


def test_a_hidden_answer_is_nowhere_else(demo: Any, offline: Show, watched: Watched) -> None:
    """Neither in the title of the page nor in the tables that stand in for the view."""
    view = aw.explore(demo, hidden=["candidates", "values"])
    offline(view)
    answer = view.run.top(1)[0].text.strip()
    tables = view._repr_mimebundle_()[0]
    for place in (watched.page.title(), tables["text/plain"], tables["text/html"], repr(view.freeze())):
        assert answer not in place


def test_the_policy_is_in_force(explorer: Any, offline: Show, watched: Watched) -> None:
    """The proof that "no request" above is not luck: what a page may try is refused."""
    offline(explorer)
    watched.page.evaluate(
        """async () => {
            new Image().src = 'http://127.0.0.1:9/pixel.png';
            await fetch('http://127.0.0.1:9/').catch(() => 0);
            const link = document.createElement('link');
            Object.assign(link, {rel: 'stylesheet', href: 'http://127.0.0.1:9/sheet.css'});
            document.head.append(link);
            const frame = document.createElement('iframe');
            frame.src = 'http://127.0.0.1:9/frame';
            document.body.append(frame);
        }"""
    )
    watched.page.wait_for_function("() => awViolations.length >= 4")
    refused = " ".join(watched.page.evaluate("awViolations"))
    for kind in ("img-src", "connect-src", "style-src", "frame-src"):
        assert kind in refused


@pytest.mark.parametrize("name", ["attribution", "attention", "heads", "sources", "neurons"])
def test_every_result_has_a_page(demo: Any, offline: Show, watched: Watched, name: str) -> None:
    run = demo.run("The capital of France is")
    a = aw.attribute(run, " Paris")
    results: dict[str, Callable[[], Any]] = {
        "attribution": lambda: a,
        "attention": lambda: aw.attention(run, "L3H5"),
        "heads": lambda: aw.attention(run),
        "sources": lambda: a.sources("L3H5"),
        "neurons": lambda: a.neurons(2),
    }
    screen = offline(results[name]().view())
    expect(screen.root.locator("h2")).not_to_be_empty()
    assert watched.page.title()
    silent(watched)


# frames and static tables -------------------------------------------------------------------------------------------


def frame(watched: Watched, body: str, tmp_path: Path) -> None:
    """A page of somebody else that holds ``body``."""
    path = tmp_path / "host.html"
    path.write_text(f"<!doctype html><title>Host</title><p>Lesson 1</p>{body}", encoding="utf-8")
    watched.page.goto(path.as_uri())


def test_frozen_draws_in_a_sandbox(explorer: Any, watched: Watched, tmp_path: Path) -> None:
    frozen = explorer.freeze()
    frame(watched, frozen._repr_html_(), tmp_path)
    screen = Screen.on(watched.page.frame_locator("iframe"))
    head = screen.another_head()
    screen.open(head)
    screen.token(1).click()
    expect(screen.part("through")).to_be_visible()
    box = watched.page.locator("iframe")
    needed = screen.root.evaluate("() => document.documentElement.getBoundingClientRect().height")
    watched.page.wait_for_function("([f, h]) => Math.abs(f.clientHeight - h) < 4", arg=[box.element_handle(), needed])
    # An opaque origin: the frame can reach nothing of the page around it.
    assert screen.root.evaluate("() => { try { return !!parent.document } catch { return false } }") is False
    assert not watched.outside


@pytest.mark.parametrize("dark", [False, True])
def test_static_tables_are_tables(explorer: Any, watched: Watched, tmp_path: Path, dark: bool) -> None:
    """What a place without scripts shows, in the colours of the person's system."""
    watched.page.emulate_media(color_scheme="dark" if dark else "light")
    text = explorer._repr_mimebundle_()[0]["text/html"]
    frame(watched, f"<meta name=color-scheme content='light dark'>{text}", tmp_path)
    table = watched.page.locator(".aw-static table")
    assert table.locator("tr").count() >= 10
    bar = table.locator("i").first.evaluate("e => getComputedStyle(e).backgroundColor")
    assert bar in (("rgb(86, 180, 233)", "rgb(230, 159, 0)") if dark else ("rgb(0, 103, 165)", "rgb(184, 78, 0)"))
    expect(table).to_contain_text(explorer.attribution.top(1)[0][0].__str__())


# text that is an attack ---------------------------------------------------------------------------------------------


def harmless(watched: Watched, title: str) -> None:
    """No element was made of it, and nothing ran."""
    for place in watched.page.frames:
        assert place.evaluate("document.querySelectorAll('img, .aw script').length") == 0
        assert place.evaluate("document.title") != "PWNED"
    assert watched.page.title() == title


def test_hostile_text_stays_text_offline(hostile: Any, offline: Show, watched: Watched) -> None:
    screen = offline(hostile)
    title = watched.page.title()
    assert "<img" in title  # as text
    attack = printed(ATTACK)
    assert attack in screen.tokens()
    assert attack in screen.headline
    head = screen.another_head()
    screen.open(head)
    at = hostile.run.tokens.index(ATTACK)
    screen.token(at).click()
    expect(screen.part("through")).to_contain_text(attack)
    for tab in ("pattern", "why", "writes"):
        screen.tab(tab)
    cell = screen.tab("pattern").locator('[role="gridcell"]').last
    cell.hover()
    screen.part("copy").click()
    expect(screen.part("code")).to_contain_text("onerror=")
    screen.show("heads")
    expect(screen.part("corrupted-line")).to_contain_text(attack)
    harmless(watched, title)
    silent(watched)
    # The text in the page's source never closes the script that holds it.
    page = watched.page.content()
    assert page.count("</script><img") == 0


def test_hostile_results_stay_text(hostile: Any, watched: Watched, tmp_path: Path) -> None:
    """Static tables, frozen frames, and the small views' pages."""
    a = hostile.attribution
    results = [a, a.sources("L3H5"), a.through("L3H5").at(4), a.neurons(2), aw.attention(a.run, "L3H5")]
    body = "".join(r._repr_mimebundle_()[0]["text/html"] for r in results)
    frame(watched, body + hostile.freeze()._repr_html_(), tmp_path)
    Screen.on(watched.page.frame_locator("iframe"))
    expect(watched.page.locator(".aw-static")).to_have_count(len(results))
    expect(watched.page.locator(".aw-static").nth(1)).to_contain_text(printed(ATTACK))
    harmless(watched, "Host")
    for i, result in enumerate(results[1:]):
        path = result.view().to_html(tmp_path / f"{i}.html")
        watched.page.goto(path.as_uri())
        Screen.on(watched.page)
        harmless(watched, watched.page.title())
        assert watched.page.evaluate("awViolations") == []


def test_a_text_in_another_direction(demo: Any, offline: Show, watched: Watched) -> None:
    """Right-to-left and invisible characters neither reorder the line nor vanish."""
    view = aw.explore(demo, "\u202eevil \u200b\u05e9\u05dc\u05d5\u05dd is")
    screen = offline(view)
    shown = "".join(screen.tokens())
    assert "\u202e" not in shown
    assert "\u200b" not in shown
    boxes = (
        screen.part("prompt-tokens").locator(".aw-tok").evaluate_all("e => e.map(x => x.getBoundingClientRect().left)")
    )
    assert boxes == sorted(boxes)


SAVED = Path(__file__).parents[2] / "js" / "tests" / "saved-0.1.json"


def test_states_that_version_0_1_saved_are_drawn(watched: Watched, tmp_path: Path) -> None:
    """One view of every kind, in the page of now; the container reads in Python too."""
    for kind, traits in json.loads(SAVED.read_text(encoding="utf-8")).items():
        state = base64.b64decode(traits["state"])
        assert wire.unpack(state)[0]["kind"] == kind
        text = page.page(f"{kind}, saved by 0.1", {**traits, "state": state})
        watched.page.goto(page.write(text, tmp_path / f"{kind}.html").as_uri())
        root = watched.page.locator(".aw")
        expect(root).to_have_attribute("data-ready", "1")
        assert len(root.inner_text()) > 60, kind
        assert root.locator('.aw-error, [role="alert"]').count() == 0, kind
        assert watched.page.evaluate("awViolations") == []
        watched.check()


def test_the_gallery_draws(offline: Show, watched: Watched) -> None:
    """Each page opens at what its line says, and asks for nothing."""
    own: set[str] = set()
    for place in SCREENS:
        explorer = aw.explore(state=place.state)
        if place.tested:
            explorer.verify()
        screen = offline(explorer, f"{place.name}.html")
        own.add(watched.page.url.partition("#")[0])
        assert screen.headline.strip(), place.name
        mode = explorer.showing.get("mode", "size")
        if mode in ("size", "order"):
            assert agree(screen.total, float(explorer.attribution.total)), place.name
        if explorer.selected:
            expect(screen.detail).to_have_attribute("data-open", explorer.selected)
        assert (screen.root.locator(".aw-verdict").count() > 0) == place.tested, place.name
        assert set(watched.requests) <= own
        assert watched.page.evaluate("awViolations") == []
