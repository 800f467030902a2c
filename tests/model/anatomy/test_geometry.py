"""Layers may differ in their heads: every number is asked of the layer, and what a layer has not is never a 0."""

from __future__ import annotations

import types

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.model.anatomy.geometry import Geometry, LayerHeads
from attrib_widgets.model.anatomy.lookup import entry
from attrib_widgets.model.parts.attention import attend, scored
from fixtures import families
from fixtures.screens import filled

OTHER = "The capital of Italy is"
each = pytest.mark.parametrize("name", families.UNEVEN)


@pytest.fixture
def asked(family_model):
    def make(name):
        model = family_model(name)
        run = model.run(families.PROMPT)
        return model, run, aw.attribute(run, " Paris")

    return make


@each
@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", families.DTYPES)
def test_layers_that_differ_are_exact_per_head(family_model, name, dtype, attn):
    model = family_model(name, families.DTYPES[dtype], attn)
    assert model.check.ok, model.check
    counts = families.heads_of(name)
    assert [model.heads_of(i) for i in range(model.n_layers)] == counts
    assert model.n_heads == max(counts) and model.heads_of(99) == 0
    for layer in model.geometry.layers:
        assert layer.n_heads == layer.group * layer.n_kv_heads
    assert f"2 to {max(counts)} heads" in repr(model)
    assert f"L0 2, L1 4, L2 {counts[2]}" in repr(model.report())


@each
def test_heads_that_are_not_there_are_not_zero(asked, name):
    _, _, a = asked(name)
    counts = families.heads_of(name)
    there = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
    assert torch.equal(~a.heads.isnan(), there)
    assert [c for c in a.labels if "H" in c] == [f"L{i}H{h}" for i, n in enumerate(counts) for h in range(n)]
    for layer, n in enumerate(counts):
        assert a.heads[layer, :n].tolist() == [a[layer, h] for h in range(n)]
    assert len(a.to_dataframe()) == len(a.labels)


@each
def test_patterns_are_those_of_transformers(asked, name):
    model, run, _ = asked(name)
    found = aw.attention(run)
    counts = families.heads_of(name)
    assert [str(h) for h in found.heads] == [f"L{i}H{h}" for i, n in enumerate(counts) for h in range(n)]
    hf = families.build(name, attn="eager")
    with torch.no_grad():
        expected = hf(torch.tensor([run.ids]), use_cache=False, output_attentions=True).attentions
    assert float((found.patterns - torch.cat([p[0] for p in expected])).abs().max()) <= 1e-5
    assert set(found.to_dataframe()["head"]) == {str(h) for h in found.heads}
    for layer in range(model.n_layers):
        heard, computed = attend(model, run.record, layer), scored(model, run.record, layer)
        assert torch.equal(heard.v, computed.v) and torch.allclose(heard.pattern, computed.pattern, atol=1e-6)


@each
def test_what_heads_carried_and_why_they_looked(asked, name):
    _, run, a = asked(name)
    for layer, n in enumerate(families.heads_of(name)):
        last = f"L{layer}H{n - 1}"
        for opened in (a.sources(last), a.through(last)):
            assert abs(opened.mismatch) <= 1e-5 * (1 + float(opened.values.abs().sum()))
        for side in ("query", "key"):
            assert aw.attribute(run, aw.score(last, query=-1, key=1, side=side)).exact
        assert torch.allclose(a.worked(last).products.sum(), torch.tensor(a[last]), atol=1e-4)
    table = aw.head_table(a)
    bars = (table.patterns[:, :, -1] * table.carry).sum(-1) + table.value_bias
    assert torch.allclose(bars, a.heads, atol=1e-4, equal_nan=True)
    assert torch.equal(table.rows.isnan().all(-1), a.heads.isnan())
    trace = a.trace()
    assert trace.actual == pytest.approx(a.actual, abs=1e-5)


@each
@pytest.mark.parametrize("site", ["z", "q", "k", "v", "pattern"])
def test_patching_asks_the_layer(asked, name, site):
    """Every head of every layer, swept; all heads of a layer together are the layer patched whole."""
    model, run, _ = asked(name)
    made = aw.patch(model, run, OTHER, " Paris", sites=site)
    count = sum(g.n_kv_heads if site in ("k", "v") else g.n_heads for g in model.geometry.layers)
    assert len(made.cells) == count and bool(made.values.isfinite().all())
    grid = made.grid()
    for layer, heads in enumerate(model.geometry.layers):
        n = heads.n_kv_heads if site in ("k", "v") else heads.n_heads
        assert bool(grid[layer, :n].isfinite().all()) and bool(grid[layer, n:].isnan().all())
    assert len(made.plot().axes) >= 1
    by_place = aw.patch(model, run, OTHER, " Paris", sites=site, positions="each", layers=[0, 2])
    assert len(by_place.plot().axes[0].get_yticklabels()) == len({c.parts for c in by_place.cells})


@each
def test_a_patched_head_is_that_head(asked, name):
    """Against a hook on the output projection of the layer."""
    model, run, _ = asked(name)
    other, token, hf = model.run(OTHER), model.single_token(" Paris"), model.hf
    made = aw.patch(model, run, OTHER, aw.logit(" Paris"), direction="noise")
    ends = run.logits()[token], other.logits()[token]
    for layer in range(model.n_layers):
        geo = model.geometry[layer]
        for head in (0, geo.n_heads - 1):
            rows = slice(head * geo.d_head, (head + 1) * geo.d_head)

            def change(_, given, layer=layer, rows=rows):
                z = given[0].clone()
                z[..., rows] = other.record.z[layer][:, rows]
                return (z, *given[1:])

            handle = model.module(model.anatomy.attn_out, layer).register_forward_pre_hook(change)
            with torch.no_grad():
                patched = hf(torch.tensor([run.ids]), use_cache=False).logits[0, -1, token]
            handle.remove()
            expected = float((ends[0] - patched) / (ends[0] - ends[1]))
            index = [str(c) for c in made.cells].index(f"L{layer}H{head}")
            assert float(made.values[index]) == pytest.approx(expected, abs=1e-3)


@each
def test_gradients_edges_and_paths(asked, name):
    model, run, _ = asked(name)
    for site in ("z", "q", "k", "v"):
        for method in ("atp", "atp*"):
            found = aw.attribution_patch(model, run, OTHER, " Paris", sites=site, method=method)
            assert bool(found.values.isfinite().all())
    edges = aw.edge_patch(model, run, OTHER, " Paris")
    assert len([r for r in edges.readers if r.site == "q"]) == sum(families.heads_of(name))
    last = f"L2H{families.heads_of(name)[2] - 1}"
    paths = aw.path_patch(model, run, OTHER, " Paris", receivers=f"{last}.q")
    assert bool(paths.values.isfinite().all())


@each
def test_what_is_not_there_is_refused_by_name(asked, name):
    model, run, a = asked(name)
    asks = (
        lambda: a.sources("L0H2"),
        lambda: aw.attention(run, "L0H2"),
        lambda: aw.attribute(run, aw.score("L0H2")),
        lambda: aw.patch(model, run, OTHER, " Paris", components=["L0H2"]),
        lambda: aw.path_patch(model, run, OTHER, " Paris", receivers="L0H2.q"),
    )
    for ask in asks:
        with pytest.raises(aw.ComponentError, match="Layer 0 has 2 heads"):
            ask()
    with pytest.raises(aw.ComponentError, match=r"3 layers of 2 to \d heads"):
        aw.attention(run, "L9H0")


@each
def test_the_explorer_draws_what_is_there(asked, name):
    model, _, _ = asked(name)
    explorer = aw.explore(model, families.PROMPT, " Paris")
    header, arrays = filled(explorer)
    explorer.close()
    counts = families.heads_of(name)
    drawn = [r["id"] for r in header["rows"] if r["kind"] == "head"]
    assert drawn == [f"L{i}H{h}" for i, n in enumerate(counts) for h in range(n)]
    assert {"carry", "patterns", "why", "through"} <= set(arrays), header["absent"]
    assert arrays["carry"].shape[:2] == (model.n_layers, max(counts))
    there = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
    assert ((abs(arrays["carry"]).sum(-1) > 0) == there.numpy()).all()


def test_a_config_may_keep_a_list():
    config = types.SimpleNamespace(heads=[4, 2], width=8)
    assert [entry(config, "heads", i) for i in range(3)] == [4, 2, None]
    assert entry(config, "width", 1) == 8 and entry(config, 3) == 3 and entry(config, None) is None


def test_a_layer_without_heads_says_so():
    geometry = Geometry(32, (LayerHeads(4, 2, 8), LayerHeads()))
    assert geometry.n_heads == 4 and geometry[1].n_heads == 0
    assert geometry.words == "0 to 4 heads"
    assert geometry.remedy(1) == "Layer 1 has no heads."
    assert geometry.remedy(0) == "It has 2 layers of 0 to 4 heads, from 0."
