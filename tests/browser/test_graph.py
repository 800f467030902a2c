"""A graph on its page: nodes, edges, keys, and a node opened into rows that sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

import attrib_widgets as aw
from attrib_widgets.demo import PROMPT, TARGET
from browser.audit import accessibility, layout
from browser.chromium import Watched
from browser.conftest import lab_only
from browser.notebook import Notebook
from browser.screen import Screen, agree, number

Show = Callable[..., Screen]
READ = """rows => rows.map(r => [r.dataset.name, ...['.aw-val', '.aw-glive'].map(
  part => r.querySelector(part)?.lastChild?.textContent ?? '')])"""


@pytest.fixture(scope="module")
def graph(demo: Any) -> Any:
    """Of the embedded model, with its live twin."""
    return aw.attribute(demo.run(PROMPT), TARGET).graph()


ABOUT = ("L2.z/359@5", "L3.z/164@5")


def node(screen: Screen, name: str) -> Locator:
    """A node in the picture."""
    return screen.root.locator(f'.aw-gnode[data-name="{name}"]')


def strongest(graph: Any) -> str:
    """The feature that put most into the number."""
    edges = graph.to_dataframe()
    own = edges[(edges.target == graph.target.name) & edges.source.str.contains(r"/\d+@")]
    return str(own.source[own.value.abs().idxmax()])


def test_nodes_edges_and_an_opened_node_are_those_of_python(graph: Any, offline: Show, watched: Watched) -> None:
    screen = offline(graph.view())
    assert screen.headline == graph.title()
    names = screen.root.locator(".aw-gnode").evaluate_all("nodes => nodes.map(n => n.dataset.name)")
    assert sorted(names) == sorted(graph.to_dataframe("nodes").name)
    expect(screen.root.locator(".aw-gedges [data-ends]")).to_have_count(int(graph.kept.edges.sum()))
    name = strongest(graph)
    screen.root.locator(f'.aw-gnode[data-name="{name}"]').click()
    expect(screen.part("graph")).to_have_attribute("data-open", name)
    into, tested = graph.into(name, graph.kept), {(t.target, t.source): t.live for t in graph.twin.tested}
    values = dict(zip(into.labels, into.values.tolist(), strict=True))
    rows = screen.part("into").locator(".aw-brow").evaluate_all(READ)
    assert len(rows) > 2
    for label, value, live in rows:
        if not label.endswith(" others"):
            assert agree(value, values[label])
            assert (live != "") == ((name, label) in tested)
            assert not live or agree(live, tested[name, label])
    whole = sum(number(value) for _, value, _ in rows)
    assert abs(whole - into.parent_value) < 0.006 * (len(rows) + 1), "rows sum, as far as they are printed"
    lit = screen.root.locator(".aw-glit").count()
    edges = graph.to_dataframe().dropna()
    assert lit == int(((edges.target == name) | (edges.source == name)).sum())
    # by keys: down from the answer, and open what is there
    page = watched.page
    screen.root.locator('.aw-gnode[tabindex="0"]').focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    focused = page.evaluate("document.activeElement.dataset.name")
    assert focused and focused != name
    expect(screen.part("graph")).to_have_attribute("data-open", focused)
    assert set(watched.requests) <= {page.url}


def test_a_selected_node_is_open_and_one_that_is_not_kept_is_refused(graph: Any, offline: Show) -> None:
    view, name = graph.view(), strongest(graph)
    view.selected = name
    assert view.selected_result().parent == name
    expect(offline(view).part("graph")).to_have_attribute("data-open", name)
    gone = graph.node(int((~graph.kept.sources[: graph.weights.features]).nonzero()[0])).name
    with pytest.raises(aw.ComponentError, match="not among the nodes that are kept"):
        view.selected = gone


@pytest.mark.usefixtures("every_window")
def test_nothing_overlaps_and_axe_finds_nothing(graph: Any, offline: Show) -> None:
    screen = offline(graph.view())
    faults: dict[str, list[str]] = {}

    def look(state: str) -> None:
        said = accessibility(screen.root)
        unread = [text for text in said["incomplete"] if text.startswith("color-contrast")]
        faults[state] = [*layout(screen.root), *said["violations"], *unread]

    look("the answer")
    node(screen, strongest(graph)).click()
    screen.part("pin").click()
    screen.root.locator('[data-chip="errors"]').click()
    screen.root.locator(f'[data-edge="{strongest(graph)} "]').first.click()
    screen.root.locator("[data-head]").first.click()
    expect(screen.part("looked")).to_contain_text("attention score")
    look("a node, its card, an edge")
    for name in ABOUT:
        node(screen, name).click(modifiers=["Shift"])
    look("two nodes that were gathered")
    screen.part("chosen").locator('[type="submit"]').click()
    look("a group")
    screen.part("spread").click()
    look("its members")
    screen.root.locator('[data-help="graph"]').click()
    expect(screen.part("help")).to_contain_text("Does not say")
    look("help")
    assert {state: found for state, found in faults.items() if found} == {}


def summed(screen: Screen, part: str) -> dict[str, str]:
    """Rows of an opened node: names and printed values."""
    rows = screen.part(part).locator(".aw-brow").evaluate_all(READ)
    return {label: value for label, value, _ in rows}


def test_two_nodes_are_taken_as_one_spread_out_and_undone(graph: Any, offline: Show, watched: Watched) -> None:
    view, keys = graph.view(), watched.page.keyboard
    view.selected = ""
    screen = offline(view)
    before = screen.root.locator(".aw-gnode").count(), summed(screen, "into")
    node(screen, ABOUT[0]).click(modifiers=["Shift"])
    node(screen, ABOUT[1]).focus()
    keys.press("Shift+Enter")
    expect(screen.part("group-name")).to_have_value("about France")
    screen.part("group-name").press("Enter")
    expect(screen.part("graph")).to_have_attribute("data-open", "about France")
    expect(screen.root.locator('[data-group="about France"]')).to_be_focused()
    expect(screen.root.locator(".aw-gnode")).to_have_count(before[0] - 1)
    try:
        group = graph.group("about France", ABOUT)
        wanted = dict(zip(group.into(graph.kept).labels, group.into(graph.kept).values.tolist(), strict=True))
        found = summed(screen, "into")
        assert len(found) > 8
        assert all(agree(value, wanted[name]) for name, value in found.items() if not name.endswith(" others"))
        out = dict(group.out(graph.kept))
        assert {n: agree(v, out[n]) for n, v in summed(screen, "out").items()} == dict.fromkeys(out, True)
    finally:
        graph.regroup({})
    screen.part("spread").click()
    expect(screen.root.locator('.aw-gnode[aria-selected="true"]')).to_have_count(2)
    expect(screen.root.locator(".aw-gnode")).to_have_count(before[0])
    screen.part("ungroup").click()
    expect(screen.part("graph")).to_have_attribute("data-open", graph.target.name)
    assert (screen.root.locator(".aw-gnode").count(), summed(screen, "into")) == before
    assert watched.page.evaluate("!!document.activeElement.closest('.aw')"), "the focus stays inside"
    assert set(watched.requests) <= {watched.page.url}


def test_a_page_has_the_cards_and_says_what_the_other_edges_need(graph: Any, offline: Show) -> None:
    screen = offline(graph.view())
    node(screen, ABOUT[1]).click()
    expect(screen.part("feature")).to_contain_text("about France")
    expect(screen.part("feature")).to_contain_text("Suppresses")
    stored = screen.root.locator(f'[data-edge="{ABOUT[1]} "]')
    stored.click()
    expect(screen.part("edge")).to_contain_text(graph.between(ABOUT[1]).title())
    expect(screen.part("edge")).to_contain_text("Where heads look is not in here")
    weak = screen.part("into").locator("[data-edge]").last
    weak.click()
    expect(screen.part("edge")).to_contain_text("Needs a running kernel")


@lab_only
def test_live_a_node_its_card_an_edge_its_heads_and_why_and_a_group(notebook: Notebook, watched: Watched) -> None:
    """Everything that an offline page stores only a part of, asked from a kernel."""
    made = "graph = aw.attribute(model.run(aw.demo.PROMPT), aw.demo.TARGET).graph(live=5)\nview = graph.view()\nview"
    screen = Screen(notebook.widget(notebook.cell(made)))
    node(screen, ABOUT[1]).click()
    expect(screen.part("graph")).to_have_attribute("data-open", ABOUT[1])
    notebook.expect("view.selected", ABOUT[1])
    card = screen.part("feature")
    expect(card).to_contain_text("Fires most in these texts")
    assert notebook.value("graph.card(view.selected).label") in card.inner_text()
    # the weakest edge that is shown, by its row
    weak = screen.part("into").locator("[data-edge]").last
    source = str(weak.get_attribute("data-edge")).split(" ")[0]
    weak.click()
    title = notebook.value(f"graph.between({source!r}, {ABOUT[1]!r}).title()")
    expect(screen.part("edge")).to_contain_text(title)
    screen.part("close-edge").click()
    # the one into the number, by its line
    line = screen.root.locator('.aw-ghit[data-hit$=" 0"]').filter(has_text=f"{ABOUT[1]} put")
    line.dispatch_event("click")
    expect(screen.part("graph")).to_have_attribute("data-open", notebook.value("graph.target.name"))
    expect(screen.part("edge")).to_contain_text(notebook.value(f"graph.between({ABOUT[1]!r}).title()"))
    head = screen.part("edge").locator("[data-head]").nth(1)
    name = str(head.get_attribute("data-head"))
    head.click()
    why = notebook.value(f"graph.why({ABOUT[1]!r}, head={name!r}).title()")
    expect(screen.part("looked")).to_contain_text(why)
    # two nodes as one, in Python as on the page, and back from there
    for one in ABOUT:
        node(screen, one).click(modifiers=["Shift"])
    screen.part("group-name").fill("La France")
    screen.part("chosen").locator('[type="submit"]').click()
    notebook.expect("[(n, g.members) for n, g in graph.groups.items()]", [("La France", list(ABOUT))])
    notebook.expect("view.selected", "La France")
    total = notebook.value("graph.groups['La France'].total")
    assert agree(screen.part("opened").locator(".aw-total").inner_text().split()[-1], total)
    notebook.cell("_ = graph.group('capital', ['L0.mlp/684@5', 'L0.z/34@5'])")
    expect(node(screen, "capital")).to_be_visible()
    screen.part("ungroup").click()
    notebook.expect("list(graph.groups)", ["capital"])
    notebook.cell("graph.ungroup('capital')")
    expect(node(screen, "L0.z/34@5")).to_be_visible()
    # over the whole window, and back
    screen.part("large").click()
    assert screen.root.evaluate("e => e.matches(':popover-open')")
    notebook.page.keyboard.press("Escape")
    expect(screen.part("large")).to_have_text("Open large")
