"""A graph on its page: nodes, edges, keys, and a node opened into rows that sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

import attrib_widgets as aw
from attrib_widgets.demo import PROMPT, TARGET
from browser.audit import accessibility, layout
from browser.chromium import Watched
from browser.screen import Screen, agree, number

Show = Callable[..., Screen]
READ = """rows => rows.map(r => [r.dataset.name, ...['.aw-val', '.aw-glive'].map(
  part => r.querySelector(part)?.lastChild?.textContent ?? '')])"""


@pytest.fixture(scope="module")
def graph(demo: Any) -> Any:
    """Of the embedded model, with its live twin."""
    return aw.attribute(demo.run(PROMPT), TARGET).graph()


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
    screen.root.locator(f'.aw-gnode[data-name="{strongest(graph)}"]').click()
    screen.part("pin").click()
    screen.root.locator('[data-chip="errors"]').click()
    look("a node")
    screen.root.locator('[data-help="graph"]').click()
    expect(screen.part("help")).to_contain_text("Does not say")
    look("help")
    assert {state: found for state, found in faults.items() if found} == {}
