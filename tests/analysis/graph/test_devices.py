"""A graph of a model whose layers live on two devices, with dictionaries on the first."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from fixtures import families
from fixtures.devices import FAR, NEAR, second_device, send
from fixtures.graph_twin import KINDS, dictionaries


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("away", [slice(1, None), slice(1, 2)])
def test_layers_on_two_devices_give_the_same_graph(kind, away):
    hf, whole = (families.build("llama") for _ in range(2))
    one = aw.load(whole, tokenizer=families.tokenizer("llama"))
    expected = aw.attribute(one.run(families.PROMPT), " Paris").graph(dictionaries(one, kind), live=6)
    layers = list(hf.model.layers)
    for layer in layers:
        send(layer, FAR if layer in layers[away] else NEAR)
    if layers[-1] in layers[away]:
        send(hf.model.norm, FAR)
        send(hf.lm_head, FAR)
        hf.register_forward_hook(lambda m, args, out: out.__class__(logits=out.logits.to(NEAR)))
    with second_device():
        model = aw.load(hf, tokenizer=families.tokenizer("llama"))
        graph = aw.attribute(model.run(families.PROMPT), " Paris").graph(dictionaries(model, kind), live=6)
        size = float(expected.weights.edges.abs().max())
        assert torch.allclose(graph.weights.edges.cpu(), expected.weights.edges, atol=1e-5 * size)
        assert graph.terms().device == torch.device("cpu") and graph.exact
        found, wanted = ([t.live for t in g.twin.tested] for g in (graph, expected))
        assert found == pytest.approx(wanted, abs=1e-4)
        assert graph.spliced.kl == pytest.approx(expected.spliced.kl, abs=1e-5)
        name = next(n.name for n in map(graph.node, range(graph.weights.features)) if n.layer == 0)
        heads, others = ({(c.layer, c.head): c.value for c in g.heads(name)} for g in (graph, expected))
        assert heads == pytest.approx(others, abs=1e-5)
        repr(graph), repr(graph.between(name)), repr(graph.leaves()), repr(graph.into(name))
        graph.to_dataframe(), graph.to_dataframe("nodes")
