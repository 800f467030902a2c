"""Estimates by gradients: exact where they must be, adding up where they must, and correlated with exact patching."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.model.tracing.gradient import differentiate
from fixtures import families

ALL = families.FAMILIES + families.VARIANTS + families.JOINED
CAPPED = ("gemma2", "nanochat", "beam")  # their logits are not linear
SMOOTH = {"gpt2", "gpt2_untied", "llama", "gemma3", "qwen3"}  # attention that does not turn fast along the inputs' path
SHARP = {"qwen2", "olmo", "stablelm", "gpt_neox_japanese"}  # where it still does before layer 1


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_finite_differences(pair, name):
    """Central differences of the metric along a random direction at every place, through the sweep engine."""
    from attrib_widgets.analysis.experiments.measuring.metrics import metric_of
    from attrib_widgets.model.tracing.edits import Edit
    from attrib_widgets.model.tracing.sweep import sweep

    model, clean, _, token = pair(name)
    metric = metric_of(token, clean, clean.n_positions - 1)
    sites = {"stream": clean.record.streams, "attn": clean.record.attn_out, "mlp": clean.record.mlp_out}
    places = [(site, layer) for site in sites for layer in range(model.n_layers)]
    found = differentiate(clean, metric.differentiable, places)
    assert float(found.values[0]) == pytest.approx(float(clean.logits()[token]), abs=1e-5)
    generator = torch.Generator().manual_seed(0)
    for site, layer in places:
        value = sites[site][layer]
        way = torch.randn(value.shape, generator=generator) / 10
        at = tuple(range(clean.n_positions))
        step = 1e-2
        swept = sweep(clean, [[Edit(site, layer, at, value + e * way)] for e in (step, -step)])
        up, down = metric.of(swept.streams).tolist()
        slope = float((found.at[site, layer][0] * way).sum())
        assert slope == pytest.approx((up - down) / (2 * step), rel=2e-2, abs=2e-3), (site, layer)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("name", [n for n in ALL if n not in CAPPED])
def test_exact_under_a_frozen_final_norm(pair, name, direction):
    model, clean, corrupted, token = pair(name)
    options = dict(sites=["z", "mlp"], final_norm="frozen", direction=direction)
    estimate = aw.attribution_patch(model, clean, corrupted, token, **options)
    exact = aw.patch(model, clean, corrupted, token, **options)
    last = model.n_layers - 1
    if model.anatomy.mlp_post_norm is None:  # a live norm after each sublayer bends what it writes
        assert estimate[f"L{last}.mlp"] == pytest.approx(exact[f"L{last}.mlp"], rel=1e-4, abs=1e-5)
    heads = [(estimate[(last, h)], exact[(last, h)]) for h in range(model.n_heads)]
    if model.parallel and model.anatomy.attn_post_norm is None:
        assert all(a == pytest.approx(b, rel=1e-4, abs=1e-5) for a, b in heads)
    elif not model.parallel:
        assert any(abs(a - b) > 1e-5 for a, b in heads), "heads of a sequential block pass the last MLP"


def test_frozen_norm_needs_a_linear_target(pair):
    model, clean, corrupted, _ = pair("gpt2")
    for target in (aw.prob(5), aw.log_prob(5), lambda rows: rows[:, 0]):
        with pytest.raises(aw.TargetError, match="frozen"):
            aw.patch(model, clean, corrupted, target, final_norm="frozen")


@pytest.mark.parametrize("method", ["atp", "atp*"])
@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "qwen3", "bloom", "gpt2_untied"])
def test_correlation_with_exact_patching_is_reported(pair, name, method):
    model, clean, corrupted, token = pair(name)
    sites = ["z", "mlp", "q", "k", "v"]
    estimate = aw.attribution_patch(model, clean, corrupted, token, sites=sites, method=method)
    exact = aw.patch(model, clean, corrupted, token, sites=sites)
    agreement = estimate.against(exact)
    expected = torch.corrcoef(torch.stack([estimate.values, exact.values]).double())[0, 1]
    assert agreement.correlation == pytest.approx(float(expected), abs=1e-6)
    assert agreement.cells == len(exact.cells) and agreement.correlation > 0.5
    assert "Estimated" in repr(estimate) and "correlation" in str(agreement)


@pytest.mark.parametrize("name", ALL)
def test_values_are_linear_and_positions_add_up(pair, name):
    """z is linear in v under a held pattern, so both estimates agree; cells per position sum to whole rows."""
    model, clean, corrupted, token = pair(name)
    whole = aw.attribution_patch(model, clean, corrupted, token, sites=["z", "v", "mlp"])
    each = aw.attribution_patch(model, clean, corrupted, token, sites=["z", "v", "mlp"], positions="each")
    for site in ("z", "v", "mlp"):
        assert torch.allclose(each.grid(site).sum(-1), whole.grid(site), atol=1e-5)


def test_a_saturated_pattern_hides_its_gradient():
    """Queries that are fully decided have no gradient: the plain estimate is blind, the corrected one is not."""
    model = aw.load("demo:induction")
    clean, corrupted = aw.demo.circuits["induction"].prompt, "see Mary Smith and John Jones then and"
    options = dict(sites=["q", "k"], direction="noise")
    exact = aw.patch(model, clean, corrupted, " Smith", **options)
    plain = aw.attribution_patch(model, clean, corrupted, " Smith", **options)
    corrected = aw.attribution_patch(model, clean, corrupted, " Smith", method="atp*", **options)
    assert exact["L1H0.q"] > 0.1
    assert abs(plain["L1H0.q"]) < 1e-3
    assert corrected["L1H0.q"] > 0.1


@pytest.mark.parametrize("name", families.GATED)
def test_edges_are_refused_where_a_gate_reads_the_stream(pair, name):
    model, clean, corrupted, token = pair(name)
    with pytest.raises(aw.GranularityError, match="are not all that reads the stream"):
        aw.edge_patch(model, clean, corrupted, token)


#: Readers whose scores are exact, with a stream that layers multiply or add constants to.
SCALED = ["gemma4_plain", "gpt_neox_japanese"]
WHOLE = [n for n in families.FAMILIES + families.VARIANTS if n not in families.GATED]


@pytest.mark.parametrize("method", ["atp", "eap-ig", "relp"])
@pytest.mark.parametrize("name", WHOLE + SCALED)
def test_edges_sum_to_nodes(pair, name, method):
    model, clean, corrupted, token = pair(name)
    if method == "relp" and (name in SCALED or any(map(model.has_experts, range(model.n_layers)))):
        return  # refused: test_relevance.py
    for direction in ("denoise", "noise"):
        options = dict(direction=direction, method=method)
        edges = aw.edge_patch(model, clean, corrupted, token, **options)
        nodes = aw.attribution_patch(model, clean, corrupted, token, **options)
        embed = aw.attribution_patch(model, clean, corrupted, token, sites="stream", layers=[0], **options)
        for sender, value in zip(edges.senders, edges.nodes.tolist(), strict=True):
            expected = embed.values[0] if sender.kind == "embed" else nodes[sender]
            assert value == pytest.approx(float(expected), abs=1e-5), sender
        assert edges.error == pytest.approx(nodes.error, abs=1e-5)
        assert nodes.error == pytest.approx(float(embed.values[0]) - 1, abs=1e-5)
    assert edges["L2.mlp", "L0H0.q"] == 0.0, "nothing flows backwards"
    assert len(edges.to_dataframe()) == int((edges.values != 0).sum())


@pytest.mark.parametrize("name", ALL)
def test_integrated_gradients_are_complete(pair, name):
    model, clean, corrupted, token = pair(name)
    for cut in range(model.n_layers + 1):
        five = aw.integrated_gradients(model, clean, corrupted, token, cut=cut, steps=5)
        assert five.total - five.gap == pytest.approx(five.error * five.gap, abs=1e-6)
        if any(model.has_experts(layer) for layer in range(cut, model.n_layers)):
            continue  # the path jumps where a token changes its experts: completeness is not to be had
        if cut > (name in SHARP) or name in SMOOTH:
            assert abs(five.error) <= 0.02, f"{name}: error of {five.error:.3f} at cut {cut}"
        many = aw.integrated_gradients(model, clean, corrupted, token, cut=cut, steps=100)
        assert abs(many.error) <= 5e-4, f"{name}: error of {many.error:.1e} at cut {cut} after 100 steps"
    before = [p for p in range(clean.n_positions) if p != 3]
    inputs = aw.integrated_gradients(model, clean, corrupted, token, steps=5)
    assert (inputs.values[before] == 0).all(), "only one input differs"


def test_estimated_total_effects(pair):
    model, clean, corrupted, token = pair("gpt2")
    a = aw.attribute(clean, token)
    asked = [("noise", "partway"), ("denoise", "atp"), ("noise", "relp"), (None, "eap-ig"), (None, "partway")]
    for direction, method in asked:
        found = aw.estimated_effects(a, corrupted, direction, method=method)
        patched = aw.attribution_patch(model, clean, corrupted, token, direction=direction or "denoise", method=method)
        gap = float(patched.gap[0])
        assert all(value == pytest.approx(patched[c] * gap, abs=1e-4) for c, value in found.items()), direction
        assert found.error == (None if patched.error is None else pytest.approx(patched.error, abs=1e-5))
        assert found.notes == patched.notes[-1:]
    assert aw.estimated_effects(a, corrupted) == found
    same, longer = aw.estimated_effects(a, clean), [*clean.ids, 5]
    assert same.error is None and not any(same.values()) and same.notes == aw.estimated_effects(a).notes == []
    with pytest.raises(aw.PositionError, match=f"has {len(clean.ids)} tokens and the corrupted one {len(longer)}"):
        aw.estimated_effects(a, longer)
    assert aw.estimated_effects(a, corrupted, steps=2) != found
    with pytest.raises(aw.TargetError, match=r"come back.*what would go"):
        aw.estimated_effects(a, corrupted, "noise", method="eap-ig")
    zero = aw.estimated_effects(a)
    assert len(zero) == model.n_layers * (model.n_heads + 1)
    record, d = clean.record, model.geometry[0].d_head
    from attrib_widgets.analysis.experiments.measuring.metrics import metric_of

    metric = metric_of(token, clean, clean.n_positions - 1)
    z = differentiate(clean, metric.differentiable, [("z", 1)]).at["z", 1][0]
    expected = float((z * record.z[1])[:, d : 2 * d].sum())
    assert zero[aw.component("L1H1")] == pytest.approx(expected, abs=1e-5)


def test_edges_of_a_pair_without_a_gap_say_so(pair):
    model, clean, _, token = pair("gpt2")
    for method in ("atp", "eap-ig", "relp"):
        found = aw.edge_patch(model, clean, clean, token, method=method)
        assert bool(found.values.isnan().all()) and "there is no gap to explain" in found.title()
        assert "nan" not in repr(found) and "completeness" not in repr(found)


def test_estimated_total_effects_against_another_token(pair):
    _, clean, corrupted, _ = pair("gpt2")
    a = aw.attribute(clean, 5)
    difference = aw.attribute(clean, aw.logit_diff(5, 9))
    for given in (None, corrupted):
        found = aw.estimated_effects(a, given, against=9)
        assert found == aw.estimated_effects(difference, given) != aw.estimated_effects(a, given)
    with pytest.raises(aw.TargetError, match="already"):
        aw.estimated_effects(difference, against=7)


def test_weights_get_no_gradient_and_frozen_ones_stay_frozen():
    hf = families.build("llama").requires_grad_(False)
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    ids = families.ids_of("llama")
    other = list(ids)
    other[3] = 9
    frozen = aw.attribution_patch(model, ids, other, 5)
    assert not any(p.requires_grad for p in hf.parameters())
    hf.requires_grad_(True)
    assert torch.allclose(frozen.values, aw.attribution_patch(model, ids, other, 5).values)
    assert all(p.grad is None for p in hf.parameters())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda *p: aw.patch(*p, direction="denoising"), "denoise.*noise"),
        (lambda *p: aw.path_patch(*p, direction="denoising"), "denoise.*noise"),
        (lambda *p: aw.attribution_patch(*p, direction="denoising"), "denoise.*noise"),
        (lambda *p: aw.edge_patch(*p, direction="denoising"), "denoise.*noise"),
        (lambda m, a, b, t: aw.estimated_effects(aw.attribute(a, t), b, "denoising"), "denoise.*noise"),
        (lambda m, a, b, t: aw.estimated_effects(aw.attribute(a, t), direction="denoising"), "denoise.*noise"),
        (
            lambda *p: aw.attribution_patch(*p, method="atp**"),
            r"'atp\*\*' is no estimate.*atp\*.*eap-ig.*relp",
        ),
        (lambda *p: aw.edge_patch(*p, method="eap"), "'eap' is no estimate.*eap-ig"),
        (lambda *p: aw.edge_patch(*p, method="atp*"), "no edges.*eap-ig"),
        (lambda *p: aw.edge_patch(*p, method="partway"), "no edges.*eap-ig"),
        (lambda *p: aw.attribution_patch(*p, method="eap-ig", points="middle"), '\'middle\'.*"mid".*"left"'),
        (lambda *p: aw.attribution_patch(*p, final_norm="froze"), "'froze'.*live.*frozen"),
        (lambda *p: aw.patch(*p, final_norm="froze"), "'froze'.*live.*frozen"),
        (lambda *p: aw.path_patch(*p, mlps="frozen"), "'frozen' is nothing.*recompute.*freeze"),
    ],
)
def test_an_option_that_is_misspelt_is_no_other(pair, call, said):
    with pytest.raises(aw.TargetError, match=said):
        call(*pair("gpt2"))


def test_errors(pair):
    model, clean, corrupted, token = pair("gpt2")
    with pytest.raises(aw.PositionError, match="place to cut"):
        aw.integrated_gradients(model, clean, corrupted, token, cut=9)
    with pytest.raises(aw.PositionError, match="steps"):
        aw.integrated_gradients(model, clean, corrupted, token, steps=0)
    for method in ("atp", "eap-ig", "relp"):
        with pytest.raises(aw.ComponentError, match=r"atp\*"):
            aw.attribution_patch(model, clean, corrupted, token, sites="pattern", method=method)
    for call in (aw.attribution_patch, aw.edge_patch):
        with pytest.raises(aw.PositionError, match="steps"):
            call(model, clean, corrupted, token, method="eap-ig", steps=0)
    assert "gap" in repr(aw.integrated_gradients(model, clean, corrupted, token))
    assert "logits" in repr(aw.edge_patch(model, clean, corrupted, token))
