"""Every node of a graph is the sum of what was put into it, and every edge is what a frozen replay's gradient says."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import attrib_widgets as aw
from fixtures import families
from fixtures.graph_twin import KINDS, dictionaries, dictionary, twin

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


@pytest.mark.parametrize(
    "family", ["gpt_neox", "mixtral", "granite", "bloom", "olmo2", "gemma4_text", "falcon_h1", "phi"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_sums_close_in_other_families(family_model, family, kind):
    """Parallel sublayers, multipliers, mixtures that are not opened, no norm in front, a stream that is multiplied."""
    model = family_model(family)
    graph = aw.attribute(model.run(families.ids_of(family)), 5).graph(dictionaries(model, kind), live=0)
    assert float(missed(graph).max()) <= 1e-5


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_half_precision_rounding_is_measured_and_sums_close_all_the_same(dtype):
    hf = families.build("llama").to(families.DTYPES[dtype])
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    graph = aw.attribute(model.run(families.ids_of("llama")), 5).graph(dictionaries(model, "mlp"), live=0)
    rounding = graph.edges.constants[:, -1].abs()
    assert float(missed(graph).max()) <= 1e-5
    assert float(rounding.max()) > 1e-4, "there is rounding to measure"


@pytest.mark.parametrize("kind", ["mlp", "z", "stream"])
@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "layer_norm"},
        {"norm": "rms_norm"},
        {"coordinates": "centred"},
        {"norm": "layer_norm", "coordinates": "centred"},
    ],
)
def test_what_a_dictionary_does_to_its_input_is_held_too(family_model, kind, changes):
    model = family_model("gpt2")
    given = [dataclasses.replace(sae, **changes) for sae in dictionaries(model, kind)]
    graph = aw.attribute(model.run(families.ids_of("gpt2")), 5).graph(given, live=0)
    assert float(missed(graph).max()) <= 1e-5


@pytest.mark.parametrize("coordinates", ["before gain", "before RMS gain"])
def test_a_transcoder_that_reads_before_the_gain(family_model, coordinates):
    model = family_model("gemma2")
    given = [dataclasses.replace(sae, coordinates=coordinates) for sae in dictionaries(model, "transcoder")]
    graph = aw.attribute(model.run(families.ids_of("gemma2")), 5).graph(given, live=0)
    assert float(missed(graph).max()) <= 1e-5


def test_heads_without_the_bias_of_their_values(family_model):
    model = family_model("gpt2")
    given = [dataclasses.replace(sae, coordinates="without value bias") for sae in dictionaries(model, "z")]
    graph = aw.attribute(model.run(families.ids_of("gpt2")), 5).graph(given, live=0)
    assert float(missed(graph).max()) <= 1e-5


@pytest.mark.parametrize("site", ["mid", "attn_out", "pre"])
def test_dictionaries_of_other_places(family_model, site):
    model = family_model("gemma3")
    layers = range(1) if site == "pre" else range(model.n_layers)
    given = [dictionary(f"L{i}.{site}", model.d_model, model.d_model, "topk", i) for i in layers]
    graph = aw.attribute(model.run(families.ids_of("gemma3")), 5).graph(given, live=0)
    assert float(missed(graph).max()) <= 1e-5


def test_some_layers_of_several_kinds(family_model):
    """Whatever stands nowhere is passed through, its gates held."""
    model = family_model("qwen3")
    z, mlp, stream, across = (dictionaries(model, kind) for kind in ("z", "mlp", "stream", "transcoder"))
    graph = aw.attribute(model.run(families.ids_of("qwen3")), 5).graph([stream[0], z[1], mlp[2], across[1]], live=0)
    assert {str(reader.site) for reader in graph.walk.readers} == {"L0.post", "L1.z", "L2.mlp", "L1.mlp_in"}
    assert float(missed(graph).max()) <= 1e-5


@pytest.mark.parametrize("target", [aw.score("L2H1", 3, 2), aw.neuron("L2N5", 3), aw.log_prob(7), aw.logit_diff(7, 9)])
def test_other_numbers(family_model, target):
    model = family_model("gpt2")
    graph = aw.attribute(model.run(families.ids_of("gpt2")), target).graph(dictionaries(model, "mlp"), live=0)
    assert graph.exact and float(missed(graph).max()) <= 1e-5
    if target.kind in ("score", "neuron"):
        assert not bool(graph.edges.features[0, graph.walk.firsts[2] - 1 :].any()), "nothing above it puts anything in"


def test_a_feature_is_explained_by_what_stands_below_its_own_dictionary(family_model):
    model = family_model("llama")
    run, given = model.run(families.ids_of("llama")), dictionaries(model, "stream")
    model.saes.clear()
    for sae in given:
        model.saes[sae.site] = sae
    try:
        whole = aw.attribute(run, 5).graph(live=0)
        number = next(i for i in range(whole.weights.features) if whole.node(i).layer == 1)
        node = whole.node(number)
        alone = aw.attribute(run, aw.feature(node.name.partition("@")[0], node.position)).graph(live=0)
        assert alone.exact and float(missed(alone).max()) <= 1e-5
        row = whole._row(node.name)
        assert torch.allclose(alone.edges.features[0], whole.edges.features[row], atol=1e-5)
        assert alone.explained == pytest.approx(float(whole.pre[number]), abs=1e-5)
    finally:
        model.saes.clear()


def test_a_feature_inside_a_layer_is_opened_in_another_graph(family_model):
    model = family_model("gpt2")
    given = dictionaries(model, "mlp")
    model.saes.add(given)
    try:
        a = aw.attribute(model.run(families.ids_of("gpt2")), aw.feature("L1.mlp/3", 2))
        with pytest.raises(aw.ComponentError, match="inside of a layer"):
            a.graph()
    finally:
        model.saes.clear()
