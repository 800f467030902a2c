"""Every node of a graph is the sum of what was put into it, and every edge is what a frozen replay's gradient says."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from fixtures import families
from fixtures.graph_twin import KINDS, dictionaries, twin

FIVE = ("gpt2", "llama", "gemma2", "gemma3", "qwen3")


def missed(graph):
    """How far each node is from what was put into it, as a share of its own size."""
    edges = graph.edges
    parts = (edges.features, edges.errors.flatten(1), edges.tokens, edges.stopped.flatten(1), edges.constants)
    total = sum(part.sum(1) for part in parts)
    before_cap = graph.attribution.reading.actual
    own = torch.cat([torch.tensor([before_cap], dtype=torch.float64), graph.pre])[graph.rows]
    return (total - own).abs() / own.abs()


@pytest.mark.parametrize("architecture", ["topk", "jumprelu"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FIVE)
def test_what_is_put_into_a_node_sums_to_it(family_model, family, kind, architecture):
    model = family_model(family)
    graph = aw.attribute(model.run(families.ids_of(family)), 5).graph(dictionaries(model, kind, architecture), live=0)
    assert len(graph.rows) > 20, "features fire, and all of them are opened"
    assert len(graph.rows) == graph.weights.features + 1
    assert float(missed(graph).max()) <= 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FIVE)
def test_edges_are_the_jacobian_of_a_frozen_replay(family_model, family, kind):
    model, ids = family_model(family), families.ids_of(family)
    given = dictionaries(model, kind)
    graph = aw.attribute(model.run(ids), 5).graph(given, live=0)
    nodes = [(reader.positions, reader.features) for reader in graph.walk.readers]
    expected = twin(family, model.hf, ids, 5, given, nodes)
    order = graph.rows.argsort()  # the explained number, then features as they are counted
    edges = graph.edges.at(order)
    for found, wanted in (
        (edges.features, expected.features),
        (edges.errors, expected.errors),
        (edges.tokens, expected.tokens),
    ):
        size = float(wanted.abs().max())
        assert float((found - wanted).abs().max()) <= 1e-5 * (1 + size), f"of {size}"
    assert torch.allclose(graph.pre, expected.numbers[1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_leaves_sum_to_the_number(family_model, kind):
    model = family_model("llama")
    graph = aw.attribute(model.run(families.ids_of("llama")), 5).graph(dictionaries(model, kind), live=0)
    leaves = graph.leaves()
    assert "feature" not in leaves.kinds, "features are opened"
    assert abs(leaves.mismatch) <= 1e-5 * float(leaves.values.abs().sum())


def test_leaves_are_what_is_left_when_nodes_are_replaced_by_their_sources_one_by_one(family_model):
    model = family_model("gpt2")
    graph = aw.attribute(model.run(families.ids_of("gpt2")), 5).graph(dictionaries(model, "mlp"), live=0)
    edges = graph.weights.edges.clone()
    rows = {int(f): i for i, f in enumerate(graph.rows.tolist()) if f}
    held = edges[0].clone()
    while bool(held[: graph.weights.features].abs().max() > 1e-12):
        feature = int(held[: graph.weights.features].abs().argmax())
        share, held[feature] = held[feature] / graph.pre[feature], 0
        held += share * edges[rows[feature + 1]]
    leaves = graph.leaves()
    found = dict(zip(leaves.labels, leaves.values.tolist(), strict=True))
    for source in held.nonzero()[:, 0].tolist():
        assert found[graph.node(source).name] == pytest.approx(float(held[source]), rel=1e-6, abs=1e-9)
