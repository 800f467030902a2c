"""A graph as a whole: what is kept, what is dropped, in which order nodes are opened, how it stands live, its files."""

from __future__ import annotations

import gc
import gzip
import json
import weakref
from contextlib import ExitStack

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.graph import build, held, walk
from attrib_widgets.analysis.graph.between import NOT_IN_HERE
from attrib_widgets.analysis.graph.scores import influence, scores
from attrib_widgets.model.running.worker import Job
from attrib_widgets.model.tracing.hooks import replaced
from attrib_widgets.result import render_html
from fixtures import families
from fixtures.graph_twin import KINDS, dictionaries, dictionary


@pytest.fixture(scope="module")
def small(family_model):
    """``small(kind)``: the attribution of a small random model, and dictionaries of one kind."""

    def make(kind, family="gpt2"):
        model = family_model(family)
        return aw.attribute(model.run(families.ids_of(family)), 5), dictionaries(model, kind)

    return make


@pytest.fixture(scope="module")
def demo():
    model = aw.load("demo")
    return aw.attribute(model.run(aw.demo.PROMPT), aw.demo.TARGET)


# -- pruning ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.8, 0.99])
def test_a_pruned_graph_sums_at_every_node(small, kind, share):
    a, given = small(kind)
    graph = a.graph(given, live=0)
    kept = graph.pruned(share, share)
    assert (share < 0.5 or bool(kept.edges.any())) and int(kept.edges.sum()) < int((graph.weights.edges != 0).sum())
    left = (graph.weights.edges * kept.edges).sum(1) + graph.dropped(kept) + graph.edges.constants.sum(1)
    own = torch.cat([torch.tensor([a.actual], dtype=torch.float64), graph.pre])[graph.rows]
    assert float(((left - own).abs() / own.abs()).max()) <= 1e-5
    for row, target in graph.shown(kept):
        into = graph.into(None if row == 0 else target, kept)
        assert into["left out"] == pytest.approx(float(graph.dropped(kept)[row]), abs=1e-12)
        assert abs(into.mismatch) <= 1e-5 * abs(into.explained)


def test_more_is_kept_of_a_larger_share_and_everything_of_all(small):
    a, given = small("mlp")
    graph = a.graph(given, live=0)
    sizes = [int(graph.pruned(share, share).edges.sum()) for share in (0.2, 0.5, 0.8, 0.95)]
    assert sizes == sorted(sizes) and len(set(sizes)) > 2
    every = graph.pruned(1, 1)
    assert bool((every.edges == (graph.weights.edges != 0)).all(1)[0])
    for nodes, edges in ((1.2, 0.5), (0.5, -1), ("x", 0.5), (None, 0.5), (0.5, True), (0.5, float("nan"))):
        with pytest.raises(aw.AttribError, match="not both shares"):
            graph.pruned(nodes, edges)
    with pytest.raises(aw.AttribError, match="An int is no folder"):
        graph.export(5)


def test_every_node_that_is_kept_lies_on_a_way_from_a_source_to_the_number(small):
    a, given = small("transcoder")
    graph = a.graph(given, live=0)
    kept, w = graph.pruned(0.6, 0.8), graph.weights
    rows = {int(f): i + 1 for i, f in enumerate(w.rows.tolist())}
    reached, todo = set(), [0]
    while todo:
        for source in kept.edges[todo.pop()].nonzero()[:, 0].tolist():
            if source not in reached:
                reached.add(source)
                todo += [rows[source]] if source in rows else []
    shown = set(kept.sources.nonzero()[:, 0].tolist()) - set(range(w.features + w.errors, w.of_tokens.stop))
    assert shown == reached - set(range(w.features + w.errors, w.of_tokens.stop))


def test_influence_is_what_walking_every_path_gives(small):
    a, given = small("mlp")
    graph = a.graph(given, live=0)
    w = graph.weights
    shares = w.edges.abs() / w.edges.abs().sum(1, keepdim=True)
    rows = {int(f): i + 1 for i, f in enumerate(w.rows.tolist())}
    whole = torch.zeros(w.edges.shape[1], dtype=torch.float64)
    order = [0, *(rows[f] for f in sorted(rows, key=lambda f: -graph.node(f).layer))]
    passed = {0: 1.0}
    for row in order:  # from the top: everything above a node was added by then
        strength = passed[row] if row == 0 else float(whole[int(w.rows[row - 1])])
        whole += strength * shares[row]
    assert torch.allclose(influence(w), whole, atol=1e-12)
    tokens, errors = float(whole[w.of_tokens].sum()), float(whole[w.of_errors].sum())
    assert tokens + errors == pytest.approx(1), "all influence ends at leaves"
    assert scores(w).replacement == pytest.approx(tokens)
    lost = shares[:, w.of_errors].sum(1)
    weight = torch.ones(len(shares), dtype=torch.float64)
    weight[1:] = whole[w.rows]
    total = 1 + float(whole.sum())
    assert scores(w).completeness == pytest.approx(1 - float((lost * weight).sum()) / total)


# -- opening a part of it ---------------------------------------------------------------------------------------------
def test_a_limit_opens_the_most_influential_and_keeps_their_edges(small, monkeypatch):
    a, given = small("mlp")
    whole = a.graph(given, live=0)
    monkeypatch.setattr(build, "BATCH", 7)
    some = a.graph(given, limit=20, live=0)
    assert len(some.rows) == 21 and "20 most influential" in some.notes[-1]
    place = {int(row): i for i, row in enumerate(whole.rows.tolist())}
    rows = torch.tensor([place[int(row)] for row in some.rows])
    assert torch.allclose(some.weights.edges, whole.weights.edges[rows], atol=1e-12)
    assert abs(some.leaves().mismatch) <= 1e-5 * float(some.leaves().values.abs().sum())
    assert "feature" in some.leaves().kinds, "those that are not opened are leaves"
    first = set(whole.pruned(0.3, 0.9).sources.nonzero()[:, 0].tolist()) & set(range(whole.weights.features))
    assert first <= {int(row) - 1 for row in some.rows}
    closed = next(i for i in range(whole.weights.features) if i + 1 not in some.rows.tolist())
    with pytest.raises(aw.ComponentError, match="not opened"):
        some.into(some.node(closed).name)


def test_batches_give_what_one_walk_gives(small, monkeypatch):
    a, given = small("cross-layer", "llama")
    whole = a.graph(given, live=0)
    monkeypatch.setattr(build, "BATCH", 9)
    parts = a.graph(given, live=0)
    assert len(parts.rows) == len(whole.rows) and not parts.notes
    one, other = (g.weights.edges[g.rows.argsort()] for g in (whole, parts))
    assert torch.allclose(one, other, atol=1e-12)


def test_a_dictionary_of_what_an_mlp_reads_is_refused_by_name(small):
    a, transcoders = small("transcoder")
    one = transcoders[1]
    own = aw.SAE("L1.mlp_in", "standard", one.w_enc, one.b_enc, one.w_dec, one.b_dec)
    with pytest.raises(aw.ComponentError, match=r"no place for a dictionary of L1\.mlp_in.*transcoder"):
        a.graph([transcoders[0], own], live=0)
    model = aw.load("demo")
    model.saes.clear()
    d = model.d_model
    model.saes.add(aw.SAE("L1.mlp_in", "standard", torch.eye(d), torch.zeros(d), torch.eye(d), torch.zeros(d)))
    told = aw.attribute(model.run(aw.demo.PROMPT), aw.demo.TARGET)
    with pytest.raises(aw.ComponentError, match=r"no place for a dictionary of L1\.mlp_in"):
        told.graph(live=0)


def test_memory_is_bounded_and_said(small, monkeypatch):
    a, given = small("mlp")
    monkeypatch.setattr(build, "TABLE", 8 * 30 * (few := 100))
    graph = a.graph(given, live=0)
    assert len(graph.rows) * graph.weights.edges.shape[1] <= 30 * few
    assert "memory is bounded" in graph.notes[-1]


def test_it_tells_its_progress_and_stops_when_it_is_cancelled(small, monkeypatch):
    a, given = small("mlp")
    monkeypatch.setattr(build, "BATCH", 10)
    told = []

    def listen(done, total, text):
        told.append((done, total, text))
        if len(told) == 3:
            job.cancel()

    job = Job(lambda _: None, listen)
    graph = a.graph(given, job=job)
    assert [done for done, _, _ in told] == [1, 11, 21] and len(graph.rows) == 21
    assert "it was stopped" in graph.notes[-1] and graph.twin is None and graph.exact


@pytest.mark.parametrize("limit", [0, -3, "many", 1.5])
def test_no_number_of_nodes(small, limit):
    a, given = small("mlp")
    with pytest.raises(aw.AttribError, match="no number of nodes"):
        a.graph(given, limit=limit)


@pytest.mark.parametrize("live", [-1, "many", 1.5, True])
def test_no_number_of_edges(small, live):
    a, given = small("mlp")
    with pytest.raises(aw.AttribError, match="no number of edges"):
        a.graph(given, live=live)
    with pytest.raises(aw.AttribError, match="no number of edges"):
        a.graph(given, live=0).live(live)


# -- dictionaries -----------------------------------------------------------------------------------------------------
def test_kinds_are_told_apart(demo):
    kinds = [kind for kind in build.KINDS if kind != "transcoder"]
    sites = {kind: {r.site.site for r in demo.graph(kind, live=0).walk.readers} for kind in kinds}
    assert sites == {"mlp": {"mlp"}, "mlp+z": {"mlp", "z"}, "z": {"z"}, "stream": {"post"}}
    assert {r.site.site for r in demo.graph(live=0).walk.readers} == {"mlp", "z"}
    with pytest.raises(aw.ComponentError, match="no dictionaries for a graph of kind 'transcoder'"):
        demo.graph("transcoder")
    with pytest.raises(aw.AttribError, match="no kind of graph"):
        demo.graph("everything")
    with pytest.raises(aw.AttribError, match="is no dictionary"):
        demo.graph(5)


def test_two_dictionaries_of_one_place_are_refused(small):
    a, given = small("mlp")
    with pytest.raises(aw.AttribError, match=r"2 dictionaries rebuild L1\.mlp"):
        a.graph([*given, given[1]])


def test_a_dictionary_that_does_not_fit_is_refused(small, family_model):
    a, _ = small("mlp")
    odd = aw.SAE("L0.mlp", "standard", torch.ones(6, 8), torch.zeros(8), torch.ones(8, 6), torch.zeros(6))
    with pytest.raises(aw.AttribError, match="6"):
        a.graph([odd])


def test_what_an_mlp_reads_is_no_place_of_a_graph(family_model):
    model = family_model("gpt2")
    inside, (mlp, *_) = dictionary("L1.mlp_in", model.d_model, model.d_model, "topk", 3), dictionaries(model, "mlp")
    a = aw.attribute(model.run(families.ids_of("gpt2")), 5)
    with pytest.raises(aw.ComponentError, match=r"no place for a dictionary of L1\.mlp_in"):
        a.graph([inside, mlp], live=0)
    model.saes.add([inside, mlp])
    assert a.graph(live=0).given == [mlp], "the model's own are those that a graph can hold"
    model.saes.clear()


@pytest.mark.parametrize("given", [[], {}, ()])
def test_no_dictionary_is_no_graph(small, given):
    with pytest.raises(aw.ComponentError, match="No dictionary is given"):
        small("mlp")[0].graph(given, live=0)


def test_a_model_without_dictionaries_says_how_to_give_some(small):
    a, _ = small("mlp")
    with pytest.raises(aw.ComponentError, match=r"model\.saes"):
        a.graph()


# -- live -------------------------------------------------------------------------------------------------------------
def _without(model, ids, writes, at, listen):
    """(logits of the last position, what the model has at ``listen``) with vectors taken away at a position."""
    seen = {}

    def change(where):
        def changed(y):
            y = y.clone()
            if where in writes:
                y[0, at] -= writes[where]
            seen[where] = y.detach().clone()
            return y

        return changed

    with torch.no_grad(), ExitStack() as stack:
        for where in {*writes, listen}:
            stack.enter_context(replaced(model, where, change(where)))
        logits = model.hf(torch.tensor([ids]), use_cache=False).logits[0, -1]
    return logits, seen[listen][0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_live_changes_are_those_of_one_ablation_after_another(small, kind, family):
    a, given = small(kind, family)
    graph = a.graph(given, live=6)
    readers = {str(r.site): r for r in graph.walk.readers}
    last = aw.place(f"L{a.model.n_layers - 1}.post")
    for one in graph.twin.tested:
        number = graph.number(one.source)
        row = graph._row(None if one.target == graph.target.name else one.target)
        writes = {w.place: w.vector.float() for w in graph.written(number)}
        node = None if row == 0 else graph.node(int(graph.rows[row]) - 1)
        reader = None if node is None else readers[node.place]
        listen = last if reader is None else reader.site
        got = []
        for taken in ({}, writes):
            logits, x = _without(a.model, a.run.ids, taken, graph.node(number).position, listen)
            pre = None if reader is None else reader.sae.pre_activations(x[node.position])
            got.append(float(logits[5] if pre is None else pre[node.feature]))
        assert one.live == pytest.approx(got[0] - got[1], abs=2e-4 * (1 + abs(got[0])))
        assert one.edge == float(graph.weights.edges[row, number])


def test_the_twin_is_told_beside_the_finding_and_never_as_the_edge(demo):
    graph, ids = demo.graph(live=0), torch.tensor([demo.run.ids])
    before = demo.model.hf(ids).logits
    assert graph.title().endswith("; not yet tested") and graph.twin is None
    twin = graph.live(20)
    assert len(twin.tested) == 20
    edges, live = (torch.tensor([getattr(t, n) for t in twin.tested], dtype=torch.float64) for n in ("edge", "live"))
    assert twin.slope == pytest.approx(float((edges @ live) / (edges @ edges)))
    ranks = [torch.tensor([float((v < x).sum()) for x in v], dtype=torch.float64) for v in (edges, live)]
    assert twin.spearman == pytest.approx(float(torch.corrcoef(torch.stack(ranks))[0, 1]))
    assert twin.right_sign == pytest.approx(float((edges.sign() == live.sign()).double().mean()))
    for said in ("slope", "Spearman", "right sign"):
        assert said in graph.title()
    assert demo.model.hf(ids).logits.equal(before), "the model is as it was"


def _splice(model, kind, given):
    """Dictionaries put in place of what they rebuild by hooks of torch; returned are their handles."""
    saes = [s for one in given for s in ([one] if isinstance(one, aw.SAE) else one.layers)]
    seen, active, handles = {}, {}, []

    def listener(number, sae):
        def listen(module, args):
            seen[number], active[number] = args[0], sae.encode(args[0])

        return listen

    def rebuilder(number, sae):
        def rebuild(module, args, out):
            if sae.writes is None:
                return sae.rebuild(out)
            y = sae.b_dec + seen[number] @ sae.w_skip
            if kind == "transcoder":
                return y + active[number] @ sae.w_dec
            return y + sum(active[i] @ given[0].decoders[i][:, number - i] for i in range(number + 1))

        return rebuild

    for number, sae in enumerate(saes):
        layer = model.hf.model.layers[sae.site.layer]
        if kind == "z":
            hook = layer.self_attn.o_proj.register_forward_pre_hook
            handles.append(hook(lambda module, args, sae=sae: (sae.rebuild(args[0]),)))
        elif kind == "stream":
            handles.append(layer.register_forward_hook(rebuilder(number, sae)))
        else:
            if sae.writes is not None:
                handles.append(layer.mlp.register_forward_pre_hook(listener(number, sae)))
            handles.append(layer.post_feedforward_layernorm.register_forward_hook(rebuilder(number, sae)))
    return handles


@pytest.mark.parametrize("kind", KINDS)
def test_the_spliced_model_is_that_of_plain_hooks(small, kind):
    a, given = small(kind, "gemma2")
    found = a.graph(given, live=0).spliced
    handles, ids = _splice(a.model, kind, given), torch.tensor([a.run.ids])
    with torch.no_grad():
        other = a.model.hf(ids, use_cache=False).logits[0].log_softmax(-1)
        for handle in handles:
            handle.remove()
        own = a.model.hf(ids, use_cache=False).logits[0].log_softmax(-1)
    each = (own.exp() * (own - other)).sum(-1)
    assert found.kl == pytest.approx(float(each[-1]), abs=1e-5)
    assert found.mean_kl == pytest.approx(float(each.mean()), abs=1e-5)
    assert found.top1 == pytest.approx(float((own.argmax(-1) == other.argmax(-1)).double().mean()))


# -- showing ----------------------------------------------------------------------------------------------------------
def test_what_is_not_in_it_stands_wherever_it_is_shown(demo):
    graph = demo.graph("mlp")
    name = graph.node(0).name
    for shown in (repr(graph), render_html(graph.summary()), repr(graph.into(name)), repr(graph.leaves())):
        assert "Where heads look is not in here" in shown
    assert NOT_IN_HERE in repr(graph)
    assert len(repr(graph).splitlines()) <= 24


def test_covered_is_the_share_of_magnitudes_into_the_number(demo):
    graph = demo.graph("mlp", live=0)
    frame = graph.to_dataframe()
    own = frame[(frame.target == graph.target.name) & frame.strength.notna()]
    assert graph.covered == pytest.approx(own.value.abs().sum() / float(graph.weights.edges[0].abs().sum()))


def test_tables_of_edges_and_nodes_belong_together(demo):
    graph = demo.graph("mlp", live=0)
    edges, nodes = graph.to_dataframe(), graph.to_dataframe("nodes")
    real = edges[edges.strength.notna()]
    assert set(real.source) <= set(nodes.name) and set(real.target) <= set(nodes.name)
    sums = edges.groupby("target").value.sum()
    own = nodes.set_index("name").activation
    for name in sums.index:
        assert sums[name] == pytest.approx(own[name], rel=1e-5)
    with pytest.raises(aw.AttribError, match="no table"):
        graph.to_dataframe("tree")


def test_names_lead_back_to_nodes(demo):
    graph = demo.graph(live=0)
    for source in range(graph.weights.edges.shape[1]):
        assert graph.number(graph.node(source).name) == source
    odd = ("L9.mlp/1@2", "L0.mlp/1023@5", "nothing", "token", "L0.mlp/error", 5, None, "token@x", "L0.mlp/-1@5")
    own = graph.node(0).name.partition("@")[0]
    for name in (*odd, f"{own}@here", f"{own}@"):  # a position that cannot be read is none that was left out
        with pytest.raises(aw.ComponentError):
            graph.number(name)


def test_features_are_called_in_a_graph_as_in_concepts(family_model, tmp_path):
    """By the label that was computed, else by what others call them: one rule for both."""
    model = family_model("gpt2")
    model.saes["L1.mlp"] = sae = dictionaries(model, "mlp")[1]
    (tmp_path / "explanations").mkdir()
    rows = [{"modelId": "other", "layer": "1-mlp", "index": str(i), "description": f"words {i % 2}"} for i in range(40)]
    with gzip.open(tmp_path / "explanations" / "batch-0.jsonl.gz", "wt") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    model.saes.describe("L1.mlp", tmp_path, model_id="other")
    a = aw.attribute(model.run(families.ids_of("gpt2")), 5)
    concepts, graph = a.concepts(), a.graph(live=0)
    called = dict(zip(concepts.labels[: concepts.firing], concepts.concepts, strict=False))
    nodes = [graph.node(i) for i in range(graph.weights.features)]
    here = [node for node in nodes if node.position == a.run.n_positions - 1]
    assert {node.name.partition("@")[0]: node.concept for node in here} == called and len(called) > 1
    assert all(node.concept == f"words {node.feature % 2}" for node in nodes)
    # Two that are called alike stand apart by name, in its file as well.
    found = json.loads(graph.export(tmp_path / "graph.json").read_text())["nodes"]
    drawn = [n["clerp"] for n in found if n["feature_type"] == "cross layer transcoder"]
    alike = {f"L1.mlp/{node.feature} words {node.feature % 2}" for node in nodes}
    assert set(drawn) <= alike and len(set(drawn)) > 2
    assert graph.given == [sae]
    model.saes.clear()


def test_the_number_is_made_a_node_once(demo, tmp_path, monkeypatch):
    graph, asked = demo.graph(live=0), []
    monkeypatch.setattr(type(demo.run), "probabilities", lambda *_: asked.append(1) or torch.zeros(9999))
    file = graph.export(tmp_path / "graph.json")
    into = [link for link in json.loads(file.read_text())["links"] if link["target"].startswith("6_")]
    assert len(into) > 1 and len(asked) == 1


# -- files ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [*KINDS, "everything"])
def test_an_export_has_the_edges_that_are_kept(small, tmp_path, kind):
    a, given = small(kind) if kind != "everything" else (small("mlp")[0], [*small("mlp")[1], *small("z")[1]])
    graph = a.graph(given, live=0)
    file = graph.export(tmp_path, "a-graph")
    assert file == tmp_path / "a-graph.json"
    found = json.loads(file.read_text())
    nodes = {node["node_id"]: node for node in found["nodes"]}
    assert len(nodes) == len(found["nodes"]), "every id is one node's"
    assert len({(n["jsNodeId"], n["ctx_idx"]) for n in found["nodes"]}) == len(nodes)
    kept = graph.kept
    assert len(found["links"]) == int(kept.edges.sum())
    assert sum(link["weight"] for link in found["links"]) == pytest.approx(
        float((graph.weights.edges * kept.edges).sum())
    )
    assert {end for link in found["links"] for end in (link["source"], link["target"])} <= set(nodes)
    for node in found["nodes"]:
        if node["feature_type"] != "cross layer transcoder":
            continue
        layer, feature, position = map(int, node["node_id"].split("_"))
        paired = int(((8 * node["feature"] + 1) ** 0.5 - 1) // 2)  # the pairing taken apart
        second = node["feature"] - paired * (paired + 1) // 2
        assert (paired - second, second, node["ctx_idx"]) == (layer, feature, position)
    assert found["metadata"]["prompt_tokens"] == list(a.run.tokens)
    assert [n["is_target_logit"] for n in found["nodes"]].count(True) == 1


#: What the published schema of Neuronpedia's graphs requires, and the types that it allows.
REQUIRED = {
    "node_id": str,
    "feature": int,
    "layer": str,
    "ctx_idx": int,
    "feature_type": str,
    "jsNodeId": str,
    "clerp": str,
    "influence": (float, type(None)),
    "activation": (float, type(None)),
}


def test_an_export_has_what_its_readers_require(demo, tmp_path):
    found = json.loads(demo.graph(live=0).export(tmp_path / "of" / "mine.json").read_text())
    assert set(found) == {"metadata", "qParams", "nodes", "links"}
    assert {"slug", "scan", "prompt_tokens", "prompt"} <= set(found["metadata"])
    for node in found["nodes"]:
        for name, kind in REQUIRED.items():
            assert isinstance(node[name], kind), (name, node[name])
    kinds = {"cross layer transcoder", "mlp reconstruction error", "embedding", "logit"}
    assert {node["feature_type"] for node in found["nodes"]} == kinds
    for link in found["links"]:
        assert isinstance(link["weight"], float) and isinstance(link["source"] + link["target"], str)


def test_a_graph_without_features_that_fire(small):
    a, _ = small("mlp")
    d = a.model.d_model
    sae = aw.SAE("L0.mlp", "standard", torch.zeros(d, 4), torch.full((4,), -1.0), torch.zeros(4, d), torch.zeros(d))
    graph = a.graph([sae])
    assert graph.exact and "no feature fires" in graph.title() and not graph.twin.tested
    assert "no edge" in repr(graph.twin).lower()


def test_what_is_held_stays_with_the_run_and_goes_with_it():
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    run, given = model.run(families.ids_of("gpt2")), dictionaries(model, "mlp")
    first, second = (aw.attribute(run, token).graph(given, live=0) for token in (5, 6))
    assert second.exact and first.walk.held_attention(1) is second.walk.held_attention(1)
    gone = weakref.ref(run)
    del run, first, second
    gc.collect()
    assert gone() is None


def test_layers_are_held_once_while_a_graph_is_built_and_no_longer(small, monkeypatch):
    a, given = small("mlp", "qwen3")
    made = []
    monkeypatch.setattr(walk, "KEPT", 0)
    monkeypatch.setattr(build, "BATCH", 5)
    monkeypatch.setattr(walk, "HeldAttention", lambda *args: made.append(args) or held.HeldAttention(*args))
    graph = a.graph(given, live=0)
    assert len(graph.rows) > 20 and len(made) == a.model.n_layers, "five targets at a time, and every layer once"
    assert graph.walk._held is None
    monkeypatch.setattr(walk, "BUILT", 0)
    other, count = a.graph(given, live=0), len(made)
    assert count > 4 * a.model.n_layers and torch.equal(other.weights.edges, graph.weights.edges)
