"""An edge split by head sums to it; and where the only cause is a look, there is no edge, and that is said."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import transformers as tf

import attrib_widgets as aw
from attrib_widgets.analysis.opening.heads import stream_direction
from fixtures import families
from fixtures.graph_twin import dictionaries


@pytest.fixture(scope="module")
def graph(family_model):
    model = family_model("llama")
    return aw.attribute(model.run(families.ids_of("llama")), 5).graph(dictionaries(model, "mlp"), live=0)


def test_heads_and_the_stream_sum_to_an_edge(graph):
    a, last = graph.attribution, graph.attribution.reading.position
    u, crossed = stream_direction(a).double(), 0
    for source in range(graph.weights.features):
        node = graph.node(source)
        heads = sum(c.value for c in graph.heads(node.name))
        (written,) = graph.written(source)
        along = float(written.vector @ u) if node.position == last else 0.0
        edge = float(graph.weights.edges[0, source])
        assert heads + along == pytest.approx(edge, abs=1e-9)
        crossed += heads != 0
    assert crossed > 5


def test_a_head_of_the_last_layer_carries_what_the_attribution_says_it_read_of_an_mlp(family_model):
    """With the decoder's bias at zero, features and error are all that an MLP wrote."""
    model = family_model("llama")
    given = [dataclasses.replace(s, b_dec=torch.zeros_like(s.b_dec)) for s in dictionaries(model, "mlp")]
    a = aw.attribute(model.run(families.ids_of("llama")), 5)
    graph, at, last = a.graph(given, live=0), 2, model.n_layers - 1
    names = [graph.node(i).name for i in range(graph.weights.edges.shape[1])]
    own = [name for name in names if name.startswith("L0.mlp/") and name.endswith(f"@{at}")]
    assert len(own) > 2
    for head in range(model.n_heads):
        through = a.through(f"L{last}H{head}")
        column = [str(c) for c in through.components].index("L0.mlp")
        found = sum(c.value for name in own for c in graph.heads(name) if (c.layer, c.head) == (last, head))
        assert found == pytest.approx(float(through.values[at, column]), rel=1e-4, abs=1e-6)


def test_a_feature_of_heads_is_split_by_its_own_slices(family_model):
    model = family_model("qwen3")
    a = aw.attribute(model.run(families.ids_of("qwen3")), 5)
    graph = a.graph(dictionaries(model, "z")[:2], live=0)  # above the last of them attention is passed through
    for source in range(graph.walk.firsts[1] - 1, graph.weights.features):
        node = graph.node(source)
        heads = graph.heads(node.name)
        assert {c.layer for c in heads} <= {1}
        assert sum(c.value for c in heads) == pytest.approx(float(graph.weights.edges[0, source]), abs=1e-9)


@pytest.mark.parametrize("changes", [{}, {"norm": "layer_norm"}, {"coordinates": "centred"}, {"w_skip": True}])
@pytest.mark.parametrize("layer", [0, 1])
def test_heads_are_told_where_the_stream_is_rebuilt_as_well(family_model, layer, changes):
    """From another position nothing arrives but through a head: those of an edge sum to it, whatever stands between."""
    model = family_model("llama")
    stream, mlp = (dictionaries(model, kind) for kind in ("stream", "mlp"))
    if "w_skip" in changes:
        draw = torch.Generator().manual_seed(4)
        changes = {"w_skip": 0.3 * torch.randn(model.d_model, model.d_model, generator=draw), "norm": "layer_norm"}
    given = [dataclasses.replace(stream[layer], **changes), *mlp]
    a = aw.attribute(model.run(families.ids_of("llama")), 5)
    graph, crossed = a.graph(given, live=0), 0
    for source in range(graph.weights.features):
        node, edge = graph.node(source), float(graph.weights.edges[0, source])
        if node.position != a.reading.position:
            carried = graph.heads(node.name)
            assert sum(c.value for c in carried) == pytest.approx(edge, abs=1e-9)
            crossed += bool(carried)
    own = torch.cat([torch.tensor([a.actual], dtype=torch.float64), graph.pre])[graph.rows]
    total = graph.weights.edges.sum(1) + graph.edges.constants.sum(1)
    assert crossed > 5 and torch.allclose(total, own, atol=1e-4)


def test_what_crossed_no_head_is_said(graph):
    name = next(n for n in map(graph.node, range(graph.weights.features)) if n.position == 0).name
    with pytest.raises(aw.ComponentError, match=r"no node|several positions"):
        graph.between("L0.mlp/39@1" if name != "L0.mlp/39@1" else "L0.mlp/38@1")
    found = graph.between(name)
    assert "Where heads look is not in here" in repr(found) and "along the stream" in repr(found)
    why = graph.why(name)
    assert why.target.kind == "score" and why.exact


# -- a circuit built by hand ------------------------------------------------------------------------------------------
WIDTH, A, B, ASK, OUT = 16, 4, 6, 0, 8
WORDS = ["a", "b", "ask", "calm", "x", "y", "end"]


def _pair(at: int) -> torch.Tensor:
    """A direction that a LayerNorm's mean leaves alone."""
    found = torch.zeros(WIDTH)
    found[at], found[at + 1] = 1, -1
    return found


@torch.no_grad()
def looking() -> aw.Model:
    """Two layers. The MLP of the first writes the direction ASK where the token is "ask", and nothing reads that but
    the queries of L1H0, which then look at "a" rather than at "b"; values copy which of the two stands there."""
    config = tf.GPT2Config(vocab_size=7, n_positions=8, n_embd=WIDTH, n_layer=2, n_head=1, n_inner=4)
    hf = tf.GPT2LMHeadModel(config).eval()
    for name, parameter in hf.named_parameters():
        parameter.fill_(float("ln_" in name and name.endswith("weight")))
    hf.lm_head.weight = torch.nn.Parameter(torch.zeros(7, WIDTH))
    embed = hf.transformer.wte.weight
    embed[0], embed[1], embed[2], embed[3] = 3 * _pair(A), 3 * _pair(B), 20 * _pair(10), 3 * _pair(12)
    first, second = hf.transformer.h
    first.mlp.c_fc.weight[:, 0] = _pair(10)
    first.mlp.c_proj.weight[0] = _pair(ASK)
    attn = second.attn.c_attn.weight
    attn[:, 0] = 4 * _pair(ASK)  # queries
    attn[:, WIDTH] = 4 * _pair(A)  # keys
    attn[:, 2 * WIDTH] = _pair(A)  # values
    second.attn.c_proj.weight[0] = 2 * _pair(OUT)
    hf.lm_head.weight[4] = _pair(OUT)
    return aw.load(hf, tokenizer=families.word_tokenizer(WORDS))


def test_a_cause_that_is_a_look_shows_no_edge_and_why():
    model = looking()
    a = aw.attribute(model.run("a b ask"), "x")
    rows = torch.stack([_pair(ASK), -_pair(ASK)])
    sae = aw.SAE("L0.mlp", "standard", rows.T.contiguous(), torch.zeros(2), rows / 2, torch.zeros(WIDTH))
    graph = a.graph([sae])
    name = "L0.mlp/0@2"
    assert graph.weights.edges[0, graph.number(name)] == 0, "nothing reads it along held patterns"
    with torch.no_grad():  # and yet it is what the answer hangs on
        removed = model.hf.transformer.h[0].mlp.register_forward_hook(lambda m, args, out: torch.zeros_like(out))
        without = float(model.hf(torch.tensor([a.run.ids])).logits[0, -1, 4])
        removed.remove()
    assert without < 0.7 * a.actual
    found = graph.between(name)
    assert found.value == 0 and not found.carried
    look = found.looks[0]
    assert (look.layer, look.head, look.query, look.key, look.side) == (1, 0, 2, 0, "query")
    assert look.value == pytest.approx(look.score, rel=1e-4), "all of the score is its doing"
    said = found.title()
    assert said.startswith("L0.mlp/0@2 put nothing into the logit of “x”: what it did is to where L1H0 looks")
    with pytest.raises(aw.ComponentError, match=r"graph\.between"):
        graph.why(name)
    assert "Where heads look is not in here" in repr(graph)
