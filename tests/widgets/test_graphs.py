"""The view of a graph: what is sent sums, is what the tables have, and a selection is a node that is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import attrib_widgets as aw
from attrib_widgets.demo import PROMPT, TARGET
from attrib_widgets.widgets.shapes import graphs as shapes
from attrib_widgets.widgets.transport import assets, wire


@pytest.fixture(scope="module")
def graphs(demo: Any) -> dict[str, Any]:
    """Of MLPs and heads with a live twin, of streams without."""
    a = aw.attribute(demo.run(PROMPT), TARGET)
    return {"mlp+z": a.graph(), "mlp": a.graph("mlp", limit=5, live=0)}


@pytest.mark.parametrize("kind", ["mlp+z", "mlp"])
def test_every_opened_node_sums_and_every_edge_is_that_of_the_table(graphs, kind):
    graph = graphs[kind]
    view = graph.view()
    header, arrays = wire.unpack(view.container)
    names = [node["name"] for node in header["nodes"]]
    assert names == list(graph.to_dataframe("nodes").name)
    table = graph.to_dataframe()
    ends, edges = arrays["ends"].reshape(-1, 2), arrays["edges"].reshape(-1, 3)
    known = {(row.target, row.source): (row.value, row.strength) for row in table.itertuples()}
    tested = {(t.target, t.source): t.live for t in graph.twin.tested} if kind == "mlp+z" else {}
    assert len(edges) == table.strength.notna().sum() > 0
    for (source, target), (value, strength, live) in zip(ends.astype(int), edges, strict=True):
        pair = names[target], names[source]
        np.testing.assert_allclose([value, strength], known[pair], rtol=1e-5)
        np.testing.assert_allclose(live, tested.get(pair, np.nan), rtol=1e-5)
    assert np.isfinite(edges[:, 2]).sum() == len(tested), "every edge that was tested is there"
    assert bool(header["tested"]) == bool(tested)
    for opened in header["targets"]:
        into = edges[ends[:, 1] == opened["node"], 0].sum() + opened["left"] + sum(opened["constants"])
        own = opened["total"]
        assert abs(into - own) <= 1e-5 * max(1.0, abs(own)) + 1e-5 * np.abs(opened["constants"]).sum()
        fires = header["nodes"][opened["node"]]["value"]
        assert own == pytest.approx(fires, rel=1e-6)
    view.close()


def test_it_has_a_bundle_of_its_own_and_selects_what_is_kept(graphs):
    graph = graphs["mlp+z"]
    view = graph.view()
    assert view.bundle is assets.GRAPH and view._esm == assets.script(assets.GRAPH)
    assert view.selected_result().parent == graph.target.name
    name = graph.to_dataframe("nodes").name[1]
    view.selected = name.replace("@", " @ ")
    assert view.selected == name, "spelled as everywhere else"
    assert view.selected_result().parent == name
    lost = int((~graph.kept.sources[: graph.weights.features]).nonzero()[0])
    with pytest.raises(aw.ComponentError, match="not among the nodes that are kept"):
        view.selected = graph.node(lost).name
    with pytest.raises(aw.ComponentError, match="no node"):
        view.selected = "L0.mlp/99999@0"
    assert view.selected == name
    view.close()


def test_groups_are_those_of_the_graph_whoever_makes_them(demo):
    graph = aw.attribute(demo.run(PROMPT), TARGET).graph(live=0)
    graph.group("before", ["L0.mlp/14@4", "L0.mlp/297@4"])
    view, other = graph.view(), aw.result.view_of(graph)
    made = {"name": "about France", "members": ["L2.z/359@5", "L3.z/164@5"]}
    assert [g["name"] for g in view.groups] == ["before"]
    view.set_state({"groups": [made]})  # the page took one apart and made another
    assert list(graph.groups) == ["about France"] and view.groups == other.groups == [made]
    view.selected = "about France"
    assert view.selected_result().parent_value == pytest.approx(graph.groups["about France"].total)
    for wrong in (
        [made, made],
        [{**made, "name": "L2.z/359@5"}],
        [{"name": "x"}],
        [{**made, "name": ["x"]}],
        [{**made, "members": ["L9.z/1@0"]}],
    ):
        view.set_state({"groups": wrong})
        assert list(graph.groups) == ["about France"] and view.groups == [made]
        with pytest.raises(aw.AttribError):
            view.groups = wrong
    assert view.page_traits()["groups"] == [made]
    graph.ungroup("about France")
    assert (view.groups, other.groups, view.selected) == ([], [], "")
    view.close()
    other.close()


def test_a_page_without_a_kernel_has_cards_and_the_strongest_edges_within_its_size(demo, monkeypatch):
    graph = aw.attribute(demo.run(PROMPT), TARGET).graph(live=0)
    view = graph.view()
    live, page = (wire.unpack(c)[0] for c in (view.container, view.page_traits()["container"]))
    assert "cards" not in live and "between" not in live, "a kernel is asked"
    features = {n["name"].partition("@")[0] for n in page["nodes"] if n["kind"] == "feature"}
    assert page["cards"].keys() == features
    assert page["cards"]["L3.z/164"]["label"] == "about France"
    edges = graph.to_dataframe().dropna().nlargest(len(page["between"]), "strength")
    into = edges.target.where(edges.target != graph.target.name, "")
    assert set(page["between"]) == set(edges.source + " " + into)
    for key, one in page["between"].items():
        source, _, target = key.partition(" ")
        found = graph.between(source, target or None)
        assert one["table"]["title"] == found.title()
        assert one["heads"] == [f"L{c.layer}H{c.head}" for c in found.carried[:4]]
        assert list(one.get("looked", {})) == one["heads"][:1]
    monkeypatch.setattr(shapes, "STORED", 20_000)
    small, _ = wire.unpack(view.page_traits()["container"])
    assert 0 < len(wire.said(small["cards"])) + len(wire.said(small["between"])) < 21_000
    view.close()


def test_the_page_asks_for_cards_edges_and_looks(demo, browser):
    graph = aw.attribute(demo.run(PROMPT), TARGET).graph(live=0)
    view = graph.view()
    talk = browser(view)
    talk.say("c", "feature", id="L3.z/164@5")
    assert talk.last("c")["data"]["label"] == "about France"
    talk.say("b", "between", id="L3.z/164@5", into="")
    found = talk.last("b")["data"]
    assert found["table"]["title"] == graph.between("L3.z/164@5").title()
    assert "Where heads look is not in here" in " ".join(found["table"]["notes"])
    talk.say("l", "looked", id="L3.z/164@5", into="", head=found["heads"][1])
    assert found["heads"][1] in talk.last("l")["data"]["title"]
    for op, args in (
        ("feature", {"id": ""}),
        ("feature", {"id": "token@2"}),
        ("between", {"id": "L9.z/1@0", "into": ""}),
    ):
        name = talk.fresh(op)
        talk.say(name, op, **args)
        assert talk.last(name)["kind"] == "error"
    view.close()
