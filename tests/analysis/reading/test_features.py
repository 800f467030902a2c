"""Why a feature fired: its pre-activation, split exactly among the parts that wrote what its dictionary reads."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.saes.sae import SAE
from attrib_widgets.words.components import Component
from attrib_widgets.words.text import number, signed
from fixtures import families

KINDS = ("L1.post", "L1.mid", "L0.pre", "L1.mlp_in", "L1.mlp", "L1.z", "L1.attn_out")
#: Multi-head, grouped queries, sandwich norms (with random gains), biases, multipliers of what sublayers add.
NAMES = ["gpt2", "llama", "gemma2", "gemma3", "olmo2", "qwen2", "granite"]
POSITION = 4


def dictionary(model, site: str, features: int = 12, **more) -> SAE:
    """A random dictionary; of what an MLP reads a transcoder."""
    generator = torch.Generator().manual_seed(7)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    d = model.out(1).d_in if site.endswith(".z") else model.d_model
    out = model.d_model if site.endswith(".mlp_in") else d
    if site.endswith(".mlp_in"):
        more = {"writes": "L1.mlp", "subtract": False, **more}
    return SAE(site, "standard", some(d, features), some(features), some(features, out), some(out), **more)


def modules(model, layer: int, run) -> dict[str, torch.Tensor]:
    """What dictionaries read in ``layer``, heard from the model's own modules in a pass of its own, float64."""
    block, heard, anatomy = model.layer(layer), {}, model.anatomy

    def hear(name, module, output):
        def listen(_, given, kwargs, out):
            value = out if output else (given[0] if given else next(iter(kwargs.values())))
            heard[name] = (value[0] if isinstance(value, tuple) else value)[0].double()

        return module.register_forward_hook(listen, with_kwargs=True)

    def sub(path):
        return block.get_submodule(path)

    added = {"mlp": anatomy.mlp_post_norm or anatomy.mlp, "attn_out": anatomy.attn_post_norm or anatomy.attn}
    hooks = [hear(name, sub(path), True) for name, path in added.items()]
    hooks += [hear("z", sub(anatomy.attn_out), False), hear("pre", block, False), hear("post", block, True)]
    hooks += [hear("acts", sub(anatomy.mlp_down), False), hear("mlp_in", sub(anatomy.mlp), False)]
    with torch.no_grad():
        model.hf(torch.tensor([run.ids]), use_cache=False)
    for hook in hooks:
        hook.remove()
    heard["mid"] = heard["pre"] + heard["attn_out"] * model.multiplier_of("attn")
    return heard


def explained(model, site: str, feature: int = 3, **more):
    model.saes[site] = sae = dictionary(model, site, **more)
    run = model.run(families.LONG_PROMPT)
    return run, sae, aw.attribute(run, aw.feature(f"{site}/{feature}", position=POSITION))


@pytest.fixture(autouse=True)
def _own_dictionaries(family_model):
    yield
    for name in NAMES:
        family_model(name).saes.clear()


@pytest.mark.parametrize("site", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_its_rows_sum_to_what_the_dictionary_computes(family_model, name, site):
    model = family_model(name)
    run, sae, a = explained(model, site)
    x = modules(model, aw.place(site).layer or 0, run)[site.partition(".")[2]][POSITION]
    w = sae.w_enc[:, 3].double()
    expected = float((x - (sae.b_dec.double() if sae.subtract else 0)) @ w + sae.b_enc[3].double())
    size = float(a.values.abs().sum())
    assert a.actual == pytest.approx(expected, abs=2e-6 * size)
    assert abs(a.mismatch) <= 1e-6 * size and abs(a["rounding"]) <= 2e-6 * size
    fires = float(sae.encode(x[None].float())[0, 3])
    assert ("does not fire here" in a.notes[-1 - ("Rows" in a.notes[-1] or "held" in a.notes[-1])]) == (fires == 0)


@pytest.mark.parametrize("named", ["L1.mlp/-1", "L1/-2", "l1.z/-30", "L1H0/-1"])
def test_a_number_below_0_names_no_feature(family_model, named):
    """And no token either: what is wrong is the number."""
    run = family_model("gpt2").run(families.PROMPT)
    for asked in (lambda: aw.feature(named), lambda: aw.attribute(run, named), lambda: aw.component(named)):
        with pytest.raises(aw.ComponentError, match="is no feature: they count from 0"):
            asked()


@pytest.mark.parametrize("bias", [0.0, 30.0, -30.0])
def test_the_title_of_one_part_names_it_alone(family_model, bias):
    """Nothing but the embedding writes before layer 0 of a Llama: beside a large bias it leads nothing."""
    model = family_model("llama")
    d = model.d_model
    torch.manual_seed(0)
    model.saes["L0.pre"] = SAE(
        "L0.pre", "standard", torch.randn(d, 3), torch.full((3,), bias), torch.randn(3, d), torch.zeros(d)
    )
    run = model.run(families.PROMPT)
    for feature in range(3):
        a = aw.attribute(run, f"L0.pre/{feature}")
        names, _ = a.finding()
        assert names == ["embed"] and "None" not in str(a) and signed(a["embed"]) in a.title()
    model.saes.clear()


@pytest.mark.parametrize("site", ["L1.pre", "L1.post", "L1.z", "L1.mlp_in"])
@pytest.mark.parametrize("name", families.JOINED)
def test_rows_sum_where_sublayers_join_the_stream_by_gains(family_model, name, site):
    test_its_rows_sum_to_what_the_dictionary_computes(family_model, name, site)


@pytest.mark.parametrize("name", families.JOINED)
def test_what_is_added_by_gains_is_refused(family_model, name):
    model = family_model(name)
    layer = min(model.joining)
    joined = [s for s in ("attn", "mlp") if model.join(s, layer) is not None]
    assert joined
    for sublayer in joined:
        with pytest.raises(aw.TargetError, match="gains and constants"):
            explained(model, f"L{layer}.mlp" if sublayer == "mlp" else f"L{layer}.attn_out")
    a = aw.attribute(model.run(families.PROMPT), 5)
    with pytest.raises(aw.GranularityError, match="gains and constants"):
        a.graph([dictionary(model, "L1.post")])


@pytest.mark.parametrize("name", NAMES)
def test_inside_an_mlp_its_rows_are_the_neurons_of_that_mlp(family_model, name):
    model = family_model(name)
    run, sae, a = explained(model, "L1.mlp")
    heard, layer = modules(model, 1, run), model.layer(1)
    acts, down = heard["acts"][POSITION], layer.get_submodule(model.anatomy.mlp_down)
    direction = torch.zeros(model.d_model, dtype=torch.float64, requires_grad=True)
    post = model.anatomy.mlp_post_norm
    given = acts.float() @ model.down(1).rows(0, len(acts)) + (0 if down.bias is None else down.bias)
    if post is None:
        direction = sae.w_enc[:, 3].double()
    else:  # the norm behind the MLP: gain, and the root mean square of what the MLP gave
        norm = layer.get_submodule(post)
        gain = model.norm(post, 1).gain.double()
        root = (given.double().square().mean() + getattr(norm, "eps", getattr(norm, "variance_epsilon", 1e-6))).sqrt()
        direction = sae.w_enc[:, 3].double() * gain / root
    each = acts * (model.down(1).rows(0, len(acts)).double() @ direction)
    got = torch.stack([torch.tensor(a[f"L1N{n}"]) for n in range(len(acts))]).double()
    assert torch.allclose(got, each, atol=2e-6 * float(each.abs().sum()))
    assert {c.kind for c in a.components} <= {"neuron", "mlp.bias", "encoder.bias", "rounding"}
    assert ("L1.mlp.bias" in a.labels) == (down.bias is not None)


@pytest.mark.parametrize("site", ["L1.z", "L1.attn_out"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3"])
def test_inside_an_attention_its_rows_are_the_heads_of_that_layer(family_model, name, site):
    model = family_model(name)
    run, sae, a = explained(model, site)
    heads = [c for c in a.components if c.kind == "head"]
    assert [c.layer for c in heads] == [1] * model.heads_of(1)
    if site == "L1.z":
        z, w = modules(model, 1, run)["z"][POSITION], sae.w_enc[:, 3].double()
        d = model.geometry[1].d_head
        for c in heads:
            own = slice(c.index * d, (c.index + 1) * d)
            assert a[c] == pytest.approx(float(z[own] @ w[own]), abs=1e-5)
    for c in heads[:2]:
        assert float(a.sources(c).total) == pytest.approx(a[c], abs=1e-5)
        assert float(a.through(c).total) == pytest.approx(a[c], abs=1e-5)
    together = a.through()
    assert together.total == pytest.approx(sum(a[c] for c in heads), abs=1e-5)
    alone = torch.stack([a.through(c).values for c in heads]).sum(0)
    assert torch.allclose(together.values, alone, atol=1e-5)


@pytest.mark.parametrize("mlps", ["stop", "frozen"])
@pytest.mark.parametrize("site", KINDS)
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3", "granite"])
def test_it_is_walked_back_to_the_tokens(family_model, name, site, mlps):
    _, _, a = explained(family_model(name), site)
    totals, tree = a.token_totals(mlps), a.trace(depth=3, keep=12, mlps=mlps)
    assert abs(totals.mismatch) <= 2e-6 * float(totals.terms().abs().sum())
    assert abs(tree.mismatch) <= 2e-6 * tree.size
    whole = a.trace(depth=None, keep=1.0, mlps=mlps) if site != "L1.post" else tree
    assert abs(whole.mismatch) <= 2e-6 * whole.size


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_an_mlps_feature_opened_is_its_neurons_opened_one_by_one(family_model, name):
    """With its gate held a neuron writes in proportion to what it read: the feature's totals are theirs, weighed."""
    _, _, a = explained(family_model(name), "L1.mlp")
    side = "up" if a.model.anatomy.mlp_mul else "gate"
    together = torch.zeros(a.run.n_positions)
    for c in [c for c in a.components if c.kind == "neuron"]:
        alone = aw.attribute(a.run, aw.neuron(c, position=POSITION, side=side))
        together += a[c] / alone.actual * alone.token_totals("frozen").positions
    assert torch.allclose(a.token_totals("frozen").positions, together, atol=1e-4)


SETTINGS = {
    "plain": {},
    "not subtracted": {"subtract": False},
    "layer norm": {"norm": "layer_norm"},
    "rms norm": {"norm": "rms_norm"},
    "centred": {"coordinates": "centred"},
    "both": {"norm": "rms_norm", "coordinates": "centred"},
}


@pytest.mark.parametrize("more", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("site", ["L1.post", "L1.mlp", "L1.attn_out", "L1.mlp_in"])
def test_scales_norms_and_means_are_all_in(family_model, site, more):
    model = family_model("gpt2")
    run, sae, a = explained(model, site, **more)
    x = modules(model, 1, run)[site.partition(".")[2]][POSITION]
    x = x - x.mean() if sae.coordinates == "centred" else x
    if sae.norm == "layer_norm":
        x = (x - x.mean()) / (x.std() + 1e-5)
    if sae.norm == "rms_norm":
        x = x / x.square().mean().sqrt()
    expected = (x - sae.b_dec.double() if sae.subtract else x) @ sae.w_enc[:, 3].double() + sae.b_enc[3]
    size = float(a.values.abs().sum())
    assert a.actual == pytest.approx(float(expected), abs=3e-6 * size)
    assert abs(a.mismatch) <= 1e-6 * size and abs(a["rounding"]) <= 3e-6 * size
    assert ("own norm" in " ".join(a.notes)) == bool(sae.norm != "none" or sae.coordinates == "centred")


@pytest.mark.parametrize("name", ["gpt2", "gemma3"])
def test_a_transcoder_before_the_gain_and_values_without_their_bias(family_model, name):
    model = family_model(name)
    for site, coordinates in (("L1.mlp_in", "before gain"), ("L1.z", "without value bias")):
        run, sae, a = explained(model, site, coordinates=coordinates)
        x = modules(model, 1, run)[site.partition(".")[2]][POSITION]
        if coordinates == "before gain":
            norm = model.norm(model.anatomy.mlp_norm, 1)
            x = (x - norm.bias.double()) / norm.gain.double()
        elif name == "gpt2":
            bias = model.layer(1).attn.c_attn.bias.detach().double()
            x = x - bias[-len(x) :]
        expected = float((x - (sae.b_dec.double() if sae.subtract else 0)) @ sae.w_enc[:, 3].double() + sae.b_enc[3])
        size = float(a.values.abs().sum())
        assert a.actual == pytest.approx(expected, abs=3e-6 * size)
        assert abs(a.mismatch) <= 1e-6 * size and abs(a["rounding"]) <= 3e-6 * size


def test_parallel_blocks_read_their_mlp_from_the_same_stream(family_model):
    model = family_model("gpt_neox")
    try:
        for site in ("L1.mlp_in", "L1.mlp", "L1.z"):
            _, _, a = explained(model, site)
            totals = a.token_totals("frozen")
            assert a.exact and abs(totals.mismatch) <= 2e-6 * float(totals.terms().abs().sum())
            assert all(c.layer != 1 for c in a.components) or site != "L1.mlp_in"
    finally:
        model.saes.clear()


def test_it_says_why_a_feature_is_silent(family_model):
    model = family_model("gpt2")
    run, sae, _ = explained(model, "L1.post")
    pre = sae.pre_activations(run.record.streams[2][POSITION : POSITION + 1])[0]
    high, low, second = int(pre.argmax()), int(pre.argmin()), int(pre.topk(2).indices[1])
    strength = number(float(pre[high]))

    def said(feature: int) -> str:
        return " ".join(aw.attribute(run, f"L1/{feature}", position=POSITION).notes)

    model.saes["L1.post"] = replace(sae, architecture="jumprelu", threshold=pre + 1)
    assert f"does not fire here: its pre-activation is {strength}" in said(high) and "threshold is" in said(high)
    model.saes["L1.post"] = replace(sae, architecture="topk", k=1)
    assert "not among those that are kept" in said(second) and "below 0" in said(low)
    assert f"fires here, at {strength}" in said(high)


def test_ways_to_name_one(family_model):
    model = family_model("gpt2")
    run, _, a = explained(model, "L1.mlp")
    for named in ("L1.mlp/3", Component("feature", index=3, site="L1.mlp"), aw.feature("L1.mlp/3", position=POSITION)):
        assert aw.attribute(run, named, position=POSITION).values.tolist() == a.values.tolist()
    assert str(aw.feature("L3H1/7").feature) == "L3.z/7" and str(aw.feature("L2/4").feature) == "L2.post/4"
    assert aw.feature("L1.mlp/3", position=2).code(repr) == 'aw.feature("L1.mlp/3", position=2)'
    model.saes.clear()
    model.saes["L1.mlp_in"] = dictionary(model, "L1.mlp_in")
    assert "L0.mlp" in aw.attribute(run, "L1.mlp/3", position=POSITION).labels  # the transcoder to that MLP
    for wrong, said in (("L1.mlp/12", "has no feature 12"), ("L2.mlp/1", "no dictionary for L2.mlp")):
        with pytest.raises(aw.ComponentError, match=said):
            aw.attribute(run, wrong)
    with pytest.raises(aw.ComponentError, match="is not a feature"):
        aw.feature("L1.mlp")


def test_what_it_cannot_answer_it_refuses_with_the_reason(family_model):
    _, _, a = explained(family_model("gpt2"), "L1.mlp")
    with pytest.raises(aw.TargetError, match="another direction at every position"):
        a.by_position()
    with pytest.raises(aw.TargetError, match="read inside a sublayer"):
        a.worked("L1N3")
    with pytest.raises(aw.ComponentError, match="not a row"):
        a.features("L0.mlp")
    with pytest.raises(aw.ComponentError, match="only of a feature of their outputs"):
        a.through()
    model = a.model
    model.saes["L1.mlp"] = replace(
        dictionary(model, "L1.mlp"), architecture="given", encoder=lambda x: x[..., :12].relu(), subtract=False
    )
    with pytest.raises(aw.ComponentError, match="only the activations are known"):
        aw.attribute(a.run, "L1.mlp/3")


def test_at_every_position_of_a_stream_or_a_transcoder(family_model):
    model = family_model("llama")
    for site in ("L1.post", "L1.mlp_in"):
        _, _, a = explained(model, site)
        every = a.by_position()
        assert torch.allclose(every.values[POSITION], a.values, atol=1e-5)
        assert torch.allclose(every.total, every.actual, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("site", KINDS)
def test_in_half_precision(family_model, site, dtype):
    model = family_model("llama", dtype)
    _, _, a = explained(model, site)
    size = float(a.values.abs().sum())
    assert a.exact and abs(a["rounding"]) <= 4 * torch.finfo(dtype).eps * size
    model.saes.clear()
