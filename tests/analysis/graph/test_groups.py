"""Nodes of a graph taken as one: sums of their edges, and nothing else in the graph changes."""

from __future__ import annotations

import json

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.demo import PROMPT, TARGET
from fixtures import families
from fixtures.graph_twin import KINDS, dictionaries


@pytest.fixture
def graph(family_model):
    """Of a small random model: transcoders of every layer."""
    model = family_model("llama")
    return aw.attribute(model.run(families.ids_of("llama")), 5).graph(dictionaries(model, "transcoder"), live=0)


def opened(graph, count):
    """Names of features that are opened, of several layers."""
    features = (graph.rows[1:] - 1).tolist()
    return [graph.node(i).name for i in features[:: max(1, len(features) // count)]][:count]


def by_name(result):
    return dict(zip(result.labels, result.values.tolist(), strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pruned", [False, True])
def test_edges_into_a_group_are_the_sums_of_those_into_its_members(family_model, kind, pruned):
    model = family_model("llama")
    graph = aw.attribute(model.run(families.ids_of("llama")), 5).graph(dictionaries(model, kind), live=0)
    kept = graph.kept if pruned else None
    members = opened(graph, 5) if kept is None else [name for _, name in graph.shown(kept)[1:6]]
    group = graph.group("five", members)
    apart = [by_name(graph.into(name, kept)) for name in members]
    wanted: dict[str, float] = {}
    for one in apart:
        for label, value in one.items():
            wanted[label] = wanted.get(label, 0.0) + value
    inside = sum(wanted.pop(name, 0.0) for name in members)
    found = by_name(group.into(kept))
    assert found.pop("inside the group", 0.0) == pytest.approx(inside, abs=1e-9)
    assert found.keys() == wanted.keys() and len(found) > (6 if pruned else 9)
    assert all(found[name] == pytest.approx(wanted[name], abs=1e-9) for name in wanted)
    total = sum(graph.into(name).parent_value for name in members)
    assert group.total == pytest.approx(total, abs=1e-9)
    assert abs(group.into(kept).mismatch) <= 1e-5 * float(group.into(kept).values.abs().sum())
    assert by_name(graph.into("five", kept)) == by_name(group.into(kept))


def test_edges_out_of_a_group_are_the_sums_of_those_of_its_members(graph):
    members = opened(graph, 6)
    own = [graph.number(name) for name in members]
    group = graph.group("six", members)
    found = dict(group.out())
    for row in range(len(graph.rows)):
        name = graph.target_of(row).name
        wanted = 0.0 if name in members else float(graph.weights.edges[row, own].sum())
        assert found.get(name, 0.0) == pytest.approx(wanted, abs=1e-12)
    sizes = [abs(value) for _, value in group.out()]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) > 3
    table = group.to_dataframe()
    assert table[table.target == "six"].value.sum() == pytest.approx(group.total, abs=1e-6)
    assert table[table.source == "six"].value.sum() == pytest.approx(sum(found.values()), abs=1e-9)
    assert "signed sums" in repr(group) and "put in by" in repr(group)


def test_a_group_changes_nothing_else_and_is_undone(graph):
    before = graph.weights.edges.clone(), graph.terms().clone(), repr(graph), by_name(graph.leaves())
    graph.group("three", opened(graph, 3))
    graph.group(" two   words ", opened(graph, 20)[-2:])
    assert list(graph.groups) == ["three", "two words"]
    after = graph.weights.edges, graph.terms(), repr(graph), by_name(graph.leaves())
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1]) and before[2:] == after[2:]
    graph.ungroup("three")
    assert list(graph.groups) == ["two words"]
    with pytest.raises(aw.ComponentError, match=r"no group 'three'.*two words"):
        graph.ungroup("three")


def test_errors_and_tokens_may_be_members_and_have_nothing_put_into_them(graph):
    group = graph.group("leaves", ["token@1", "L0.mlp/error@2"])
    target = graph.target.name
    wanted = sum(float(graph.weights.edges[0, graph.number(name)]) for name in group.members)
    assert dict(group.out())[target] == pytest.approx(wanted)
    assert group.total == 0
    with pytest.raises(aw.ComponentError, match="No member of leaves is opened"):
        group.into()


def test_what_is_no_group_is_refused_and_changes_nothing(graph):
    a, b = opened(graph, 2)
    graph.group("one", [a])
    refused = [
        ("", [b], "is no name for a group"),
        (3, [b], "An int is no name"),
        ("x" * 61, [b], "at most 60 letters"),
        ("one", [b], r"already.*ungroup\('one'\)"),
        (b, [a], "is a node of this graph"),
        (graph.target.name, [b], "is a node of this graph"),
        ("two", [], "has no members"),
        ("two", [b, b], "twice in the group"),
        ("two", [b, a], f"{a} is in 'one' and in the group 'two'"),
        ("two", ["L0.mlp_in/99999@0"], "no node of this graph"),
        ("two", ["nonsense"], "no node of this graph"),
    ]
    for name, members, said in refused:
        with pytest.raises(aw.AttribError, match=said):
            graph.group(name, members)
    assert {name: one.members for name, one in graph.groups.items()} == {"one": [a]}


def test_groups_travel_as_supernodes(graph, tmp_path):
    kept = graph.pruned(0.8, 0.98)
    inside = [graph.node(i).name for i in kept.sources.nonzero()[:3, 0].tolist()]
    outside = graph.node(int((~kept.sources[: graph.weights.features]).nonzero()[0])).name
    graph.group("kept", [*inside, outside])
    graph.group("pruned away", [graph.node(int((~kept.sources[: graph.weights.features]).nonzero()[1])).name])
    told = json.loads(graph.export(tmp_path / "graph.json").read_text(encoding="utf-8"))
    ids = {node["node_id"] for node in told["nodes"]}
    [[name, *members]] = told["qParams"]["supernodes"]
    assert name == "kept" and len(members) == 3 and set(members) < ids
    links = [link for link in told["links"] if link["source"] in members and link["target"] not in members]
    found: dict[str, float] = {}
    for link in links:
        found[link["target"]] = found.get(link["target"], 0.0) + link["weight"]
    sums = graph.groups["kept"].out(kept)
    assert sorted(found.values()) == pytest.approx(sorted(value for _, value in sums), abs=1e-9)
    assert set(told["qParams"]["pinnedIds"]) > set(members)


def test_a_node_has_the_card_that_the_explorer_shows(family_model):
    a = aw.attribute(aw.load("demo").run(PROMPT), TARGET)
    graph = a.graph(live=0)
    for name, row in (("L3.mlp/251@5", "L3.mlp"), ("L3.z/164@5", None)):
        card = graph.card(name)
        assert card.here[5] == pytest.approx(float(graph.node(graph.number(name)).value), rel=1e-5)
        if row is not None:
            own = a.features(row).card(card.feature.index)
            assert [c.tokens for c in card.contexts] == [c.tokens for c in own.contexts]
            assert (card.label, card.density, card.promoted) == (own.label, own.density, own.promoted)
        assert card.arithmetic is None and card.contexts
    with pytest.raises(aw.ComponentError, match="is no feature"):
        graph.card("token@2")
    model = family_model("llama")
    wide = aw.attribute(model.run(families.ids_of("llama")), 5).graph(dictionaries(model, "cross-layer"), live=0)
    lowest = next(n for n in map(wide.node, range(wide.weights.features)) if n.layer == 0).name
    assert "writes to" in " ".join(wide.card(lowest).notes) and not wide.card(lowest).contexts


def test_another_head_of_an_edge_can_be_asked_about(graph):
    source = next(n.name for n in map(graph.node, range(graph.weights.features)) if graph.heads(n.name)[1:])
    first, second = graph.heads(source)[:2]
    label = f"L{second.layer}H{second.head}"
    why = graph.why(source, head=label)
    assert label in why.title() and why.exact
    assert f"L{first.layer}H{first.head}" in graph.why(source).title()
    with pytest.raises(aw.ComponentError, match="L99H0 carried nothing"):
        graph.why(source, head="L99H0")
