"""Each layer is shown as far as it adds up, with its own reason, and the others as they are."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.opening.vectors import written_vector
from attrib_widgets.model.selfcheck.levels import Exact, Level, named_layers, reasons_of, whole, words_of
from fixtures import families
from fixtures.mixed import CLEAN, MODELS, Averaging, family, gated, steer


@pytest.fixture(scope="module")
def loaded():
    found = {}

    def load(name):
        if name not in found:
            found[name] = MODELS[name][0]()
        return found[name]

    return load


@pytest.mark.parametrize("name", MODELS)
def test_each_layer_splits_as_far_as_it_adds_up(loaded, name):
    model, grains = loaded(name), MODELS[name][1]
    assert [level.granularity for level in model.check.levels] == grains
    for level, grain in zip(model.check.levels, grains, strict=True):
        assert bool(level.heads) == (grain == "heads") and bool(level.sublayers) == (grain != "layers")
        assert bool(level.experiments) == bool(level.sublayers)
        assert bool(level.reason) == (grain != "heads"), level
    assert model.granularity == (grains[0] if len(set(grains)) == 1 else "mixed")
    for text in (repr(model), repr(model.check), repr(model.report())):
        assert model.check.words in text and model.check.reason in text


@pytest.mark.parametrize("name", MODELS)
def test_rows_add_up_and_follow_the_levels(loaded, name):
    """The sum, its gap and its measured rounding; whole layers stand between layers that are split."""
    model, grains = loaded(name), MODELS[name][1]
    run = model.run(CLEAN)
    for target in (" Paris", aw.log_prob(" Paris"), aw.logit_diff(" Paris", " Rome")):
        a = aw.attribute(run, target)
        assert a.exact, a.mismatch
        assert abs(a.rounding["stream"]) + abs(a.rounding["heads"]) <= 1e-5 * (1 + float(a.values.abs().sum()))
    for layer, grain in enumerate(grains):
        kinds = {c.kind for c in a.components if c.layer == layer} - {"attn.bias"}
        assert kinds == {"heads": {"head", "mlp"}, "sublayers": {"attn", "mlp"}, "layers": {"layer"}}[grain]
    # A whole layer's row is what the stream gained there, read in the explained direction.
    u = a.reading.norm.pull(a.reading.direction) * a.reading.norm.scale(run.record.streams[-1][-1:])
    for layer in (i for i, grain in enumerate(grains) if grain == "layers"):
        gained = run.record.streams[layer + 1][-1].double() - run.record.streams[layer][-1].double()
        assert a[f"L{layer}"] == pytest.approx(
            float(gained @ u[0].double() if u.dim() > 1 else gained @ u.double()), abs=1e-5
        )
    assert a.by_position().values[-1].sum() == pytest.approx(a.actual, abs=1e-4)
    b = a.buildup()
    assert b.layers.shape == (model.n_layers + 1,) and float(b.values[-1]) == pytest.approx(a.actual, abs=1e-4)


@pytest.mark.parametrize("name", [n for n, (_, grains) in MODELS.items() if len(set(grains)) > 1])
def test_a_mixed_model_has_the_tables_of_its_exact_layers(loaded, name):
    model, grains = loaded(name), MODELS[name][1]
    a = aw.attribute(model.run(CLEAN), " Paris")
    assert a.heads.isnan().all(-1).tolist() == [grain != "heads" for grain in grains]
    assert a.mlps.isnan().tolist() == [grain == "layers" for grain in grains]
    fine = [i for i, grain in enumerate(grains) if grain == "heads"]
    assert aw.attention(a.run).patterns.shape[0] == len(fine) * families.HEADS
    for layer in fine:
        c, t = a.sources((layer, 1)), a.through((layer, 1))
        assert abs(c.mismatch) <= 1e-5 * (1 + float(c.values.abs().sum()))
        assert torch.allclose(t.values.sum(-1), t.source_values, atol=1e-5 * (1 + float(t.source_values.abs().max())))
        assert aw.attribute(a.run, aw.score((layer, 1))).exact
        assert a.neurons(layer).total == pytest.approx(a[f"L{layer}.mlp"], abs=1e-5)
    walk = a.trace(depth=None)
    assert walk.exact
    (coarse,) = [i for i in range(model.n_layers) if i not in fine]
    for ask in (lambda: a.sources((coarse, 1)), lambda: aw.attention(a.run, (coarse, 1)), lambda: a[f"L{coarse}H1"]):
        with pytest.raises(aw.GranularityError, match=f"[Ll]ayer {coarse} of") as caught:
            ask()
        assert model.check.levels[coarse].reason in str(caught.value) and caught.value.hint


def test_the_reason_is_that_of_its_own_anatomy_and_names_the_hook(loaded):
    reason = loaded("hook on llama").check.reason
    assert reason == (
        "self_attn.o_proj and mlp of layer 1 do not add up to what the layer writes (there is a hook on model.layers.1)"
    )
    assert "attention.dense and mlp of layer 2" in loaded("hook on gpt_neox").check.reason
    assert "there is no self_attn.o_proj" in loaded("own attention").check.reason
    assert "is no linear map" in loaded("bent output").check.reason
    assert "self_attention.dense and mlp.dense_4h_to_h of layer 0" in loaded("whole bloom").check.reason
    assert loaded("no attention known").check.reason == "only its layers, its norm and its unembedding are known"


def test_a_hook_that_only_looks_is_no_reason():
    """A hook is named where a sum does not close, and changes nothing where it does."""
    hf = families.build("llama")
    seen = []
    hf.model.layers[1].register_forward_hook(lambda module, args, output: seen.append(1))
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    assert model.check.ok and not model.check.reason and seen


def test_a_hook_that_came_later_is_named_with_the_remedy():
    model = family("llama")
    assert model.check.ok
    steer(model.hf, 1)
    with pytest.raises(aw.GranularityError, match=r"layer 1 .*there is a hook on model\.layers\.1") as caught:
        aw.attribute(model.run(CLEAN), " Paris")
    assert "aw.load(model.hf, model.tokenizer)" in caught.value.hint
    again = aw.load(model.hf, model.tokenizer)
    assert aw.attribute(again.run(CLEAN), " Paris").exact and again.granularity == "mixed"


def test_hooks_on_every_layer_are_told_once():
    hf = families.build("llama")
    for layer in range(families.LAYERS):
        steer(hf, layer)
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    assert model.granularity == "layers"
    assert model.check.reason.count("do not add up") == 1 and "there is a hook on model.layers.0" in model.check.reason


def test_parts_that_are_there_and_do_not_run_make_their_layer_whole():
    hf = families.build("llama")
    attention = Averaging()
    attention.o_proj = hf.model.layers[1].self_attn.o_proj
    hf.model.layers[1].self_attn = attention
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    assert [level.granularity for level in model.check.levels] == ["heads", "layers", "heads"]
    assert model.check.reason == "L1: self_attn.o_proj does not run"
    assert aw.attribute(model.run(CLEAN), " Paris").exact


# -- heads whose attention is not understood -----------------------------------------------------------------------
@pytest.mark.parametrize("name", ["bitnet"])
def test_heads_are_shown_with_the_patterns_that_the_model_returns(name):
    model = gated(name)
    assert model.granularity == "heads" and not model.check.attention_ok and model.check.reason
    run = model.run([3, 14, 15, 9, 26, 5, 35])
    a = aw.attribute(run, 7)
    assert a.exact and bool(a.heads.isfinite().all())
    shown = aw.attention(run)
    assert "as the model returns them" in shown.note and model.check.reason[:40] in shown.returned
    hf = model.hf
    before, hf.config._attn_implementation = hf.config._attn_implementation, "eager"
    try:
        with torch.no_grad():
            expected = hf(torch.tensor([run.ids]), use_cache=False, output_attentions=True).attentions
    finally:
        hf.config._attn_implementation = before
    flat = torch.cat([p[0].float() for p in expected])
    assert float((shown.patterns - flat).abs().max()) <= 1e-5
    for ask in (
        lambda: a.sources("L1H1"),
        lambda: a.through("L1H1"),
        lambda: aw.attribute(run, aw.score("L1H1")),
        lambda: shown.weighted("value"),
    ):
        with pytest.raises(aw.GranularityError, match="was not shown to be exact"):
            ask()
    assert any("Not opened" in note for note in a.trace(depth=2).notes)


@pytest.mark.parametrize("name", ["afmoe", "bitnet", "deepseek_v3", "laguna"])
def test_what_such_a_head_writes_is_what_its_slice_of_the_projection_writes(name):
    """A slow twin: the head's slice of z alone, through the module itself, minus what the module writes for nothing."""
    model = gated(name)
    run = model.run([3, 14, 15, 9, 26, 5, 35])
    a = aw.attribute(run, 7)
    layer, head = 1, 2
    module, d = model.module(model.anatomy.attn_out, layer), model.geometry[layer].d_head
    z = run.record.z[layer][-1].clone()
    z[: head * d] = 0
    z[(head + 1) * d :] = 0
    if model.anatomy.attn_post_norm is None:
        with torch.no_grad():
            alone = module(z[None, None])[0, 0] - module(torch.zeros_like(z)[None, None])[0, 0]
        written = written_vector(run, aw.component(f"L{layer}H{head}"), run.n_positions - 1)
        assert torch.allclose(alone, written, atol=1e-5)
    assert a[f"L{layer}H{head}"] == pytest.approx(float(a.heads[layer, head]))


def test_heads_that_are_mixed_behind_their_patterns_are_not_shown():
    """Two patterns make one block of z: whose pattern is whose cannot be said."""
    model = gated("diffllama")
    assert model.granularity == "sublayers" and "heads are not shown" in model.check.reason


def test_values_that_are_no_projection_of_what_is_read_are_known_by_source_all_the_same():
    """Latent attention: values come out of a compressed stream."""
    model = gated("deepseek_v3")
    assert model.granularity == "heads" and all(level.sources for level in model.check.levels)
    assert not model.check.attention_ok and "no projection" in model.check.values_reason
    run = model.run([3, 14, 15, 9, 26, 5, 35])
    a = aw.attribute(run, 7)
    found = a.sources("L1H1")
    assert found.total == pytest.approx(a["L1H1"], abs=1e-5) and bool(
        aw.attention(run, "L1H1").patterns.isfinite().all()
    )
    for ask in (lambda: a.through("L1H1"), lambda: aw.attribute(run, aw.score("L1H1"))):
        with pytest.raises(aw.GranularityError, match="was not shown to be exact"):
            ask()
    assert any("Not opened" in note for note in a.trace(depth=2).notes)


def test_layers_of_another_kind_are_whole_and_the_others_are_split():
    """A hybrid whose layers differ in their norms as well: those of the other kind lack what the anatomy names."""
    model = gated("olmo_hybrid")
    assert model.granularity == "mixed" and "there is no post_feedforward_layernorm" in model.check.reason
    a = aw.attribute(model.run([3, 14, 15, 9, 26, 5, 35]), 7)
    assert a.exact
    assert [c.kind for c in a.components if c.layer == 0] == ["layer"]


def test_a_value_error_in_one_check_does_not_throw_the_anatomy_away(monkeypatch):
    from attrib_widgets.model.selfcheck import layers

    def spoiled(*_):
        raise ValueError("not enough values to unpack (expected 2, got 1)")

    monkeypatch.setattr(layers, "scores_error", spoiled)
    model = family("llama")
    assert model.granularity == "heads" and model.check.attention_ok and not model.check.scores_ok
    assert "could not be recomputed" in model.check.scores_reason


# -- words ---------------------------------------------------------------------------------------------------------
def test_how_far_a_model_splits_in_words():
    fine, sub, coarse = Level(), Level(heads=Exact("no")), whole("no")
    assert (
        words_of([fine] * 3) == "per head" and words_of([sub]) == "per sublayer" and words_of([coarse]) == "per layer"
    )
    assert words_of([fine, coarse, fine, fine]) == "per head in 3 of 4 layers, L1 as a whole layer"
    assert (
        words_of([coarse, fine, sub, coarse]) == "per head in 1 of 4 layers, L2 per sublayer, L0 and L3 as whole layers"
    )
    blind = Level(sources=Exact("no"))
    assert not blind.values and blind.values.reason == "no" and Level(values=Exact("no")).scores
    assert words_of([blind, blind]) == "per head, without sources"
    assert words_of([blind, fine, coarse]) == "per head in 2 of 3 layers, L2 as a whole layer, without sources in L0"
    assert named_layers([0, 1, 2, 4, 6, 7]) == "L0 to L2, L4, L6 and L7" and named_layers([]) == ""
    assert not coarse.scores and coarse.inside.reason == "no" and sub.inside and not sub.sources


def test_reasons_are_told_once_a_kind():
    same = {i: f"o_proj of layer {i} fails" for i in range(3)}
    assert reasons_of(same, 3) == "o_proj of layer 0 fails"
    assert reasons_of({1: "there is no o_proj"}, 3) == "L1: there is no o_proj"
    assert (
        reasons_of({**same, 1: "there is no o_proj"}, 3) == "L0 and L2: o_proj of layer 0 fails; L1: there is no o_proj"
    )
    assert reasons_of({0: "", 1: ""}, 2) == ""


def test_a_hook_on_the_whole_model_that_changes_its_logits_is_refused():
    def doubled(module, args, output):
        output.logits = output.logits * 2
        return output

    hf = families.build("llama")
    handle = hf.register_forward_hook(doubled)
    with pytest.raises(aw.AnatomyError, match="hook on the whole LlamaForCausalLM changes the logits"):
        aw.load(hf, tokenizer=families.tokenizer("llama"))
    handle.remove()
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    hf.register_forward_hook(doubled)
    with pytest.raises(aw.AnatomyError, match="changes the logits"):
        model.run(CLEAN)


@pytest.mark.parametrize("kind", ["one position", "a tuple", "nothing"])
def test_a_hook_on_the_whole_model_that_changes_anything_of_its_logits_is_refused(kind):
    def changed(module, args, output):
        if kind == "a tuple":
            return (output.logits,)
        first = output.logits * (torch.arange(output.logits.shape[1]) > 0)[:, None]
        output.logits = first if kind == "one position" else None
        return output

    hf = families.build("llama")
    hf.register_forward_hook(changed)
    with pytest.raises(aw.AnatomyError, match="hook on the whole LlamaForCausalLM changes the logits"):
        aw.load(hf, tokenizer=families.tokenizer("llama"))


def test_a_hook_on_the_whole_model_that_only_looks_is_none():
    hf, seen = families.build("llama"), []
    hf.register_forward_hook(lambda module, args, output: seen.append(output.logits.shape))
    assert aw.load(hf, tokenizer=families.tokenizer("llama")).check.ok and seen
