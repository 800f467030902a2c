"""The self-check: every family passes, and an anatomy or a model that is slightly wrong never does.

Each mutation is something that a newer checkpoint, an adapter, or a wrong line in a table would do. All are run in
float32 and in bfloat16, because in bfloat16 a wrong capture could hide in the rounding.
"""

from __future__ import annotations

import types

import pytest
import torch
import transformers
from torch import nn

import attrib_widgets as aw
from attrib_widgets.model.anatomy.families import FAMILIES
from fixtures import families, packed
from fixtures.made import Made

BOTH = pytest.mark.parametrize("dtype", ["float32", "bfloat16"])


def load(name, dtype="float32", change=lambda hf: None, **options):
    hf = families.build(name, families.DTYPES[dtype], attn=options.pop("attn", "sdpa"))
    with torch.no_grad():
        change(hf)
    return aw.load(hf, tokenizer=families.tokenizer(name), **options)


@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", families.FAMILIES + families.VARIANTS)
def test_every_family_is_exact_per_head(family_model, name, dtype):
    model = family_model(name, families.DTYPES[dtype])
    assert model.check.ok, f"{name} in {dtype}: {model.check}"
    assert model.granularity == model.check.granularity == "heads"
    assert model.check.attention_ok
    assert model.check.reason == ""
    assert all(v <= 1 for v in model.check.numbers.values())
    assert "L" in repr(model.check) or "pass" in repr(model.check)


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("name", ["gpt2", "gemma2", "gpt_neox", "bloom"])
def test_no_false_alarm_in_half_precision(name, seed):
    """A right capture may never be refused: other weights, both short formats."""
    for dtype in (torch.bfloat16, torch.float16):
        model = aw.load(families.build(name, dtype, seed=seed), tokenizer=families.tokenizer(name))
        assert model.check.ok, f"{name}, {dtype}, seed {seed}: {model.check}"


def test_a_model_converted_after_loading_is_fine():
    """`model.to(bfloat16)` also converts the rotary tables, which from_pretrained does not."""
    model = aw.load(families.build("llama").to(torch.bfloat16), tokenizer=families.tokenizer("llama"))
    assert model.check.ok, f"{model.check}"


def refused(make, finer_than="heads"):
    """The model is not offered per head: an AnatomyError, or a coarser split with its reason."""
    try:
        model = make()
    except aw.AnatomyError:
        return None
    assert model.granularity != finer_than, f"accepted as exact per {finer_than}: {model.check}"
    assert model.check.reason, "coarse without a reason"
    assert not model.check.ok
    run = model.run(families.PROMPT)
    a = aw.attribute(run, " Paris")
    coarse = [i for i, level in enumerate(model.check.levels) if not level.heads]
    assert coarse and all(model.check.levels[i].reason for i in coarse)
    for layer in coarse:
        with pytest.raises(aw.GranularityError) as caught:
            a.sources((layer, 0))
        reason = model.check.reason if len(coarse) == model.n_layers else model.check.levels[layer].reason
        assert reason in str(caught.value), "the error does not give the reason"
    if len(coarse) < model.n_layers:
        assert a.heads.isnan().all(-1).nonzero().flatten().tolist() == coarse
    else:
        with pytest.raises(aw.GranularityError) as caught:
            _ = a.heads
        assert model.check.reason in str(caught.value), "the error does not give the reason"
    assert a.exact, f"coarse rows must still add up: {a.total} for {a.actual} ({model.check.reason})"
    return model


def heads_alone(make, values=True):
    """Scores are refused with the reason; heads, patterns and (``values``) sources are what the layers do."""
    model = make()
    check, run = model.check, model.run(families.LONG_PROMPT)
    assert not check.ok and not check.scores_ok and check.no_scores
    assert (check.granularity, check.attention_ok) == ("heads", values), check
    a = aw.attribute(run, " Paris")
    assert a.exact
    for layer in range(model.n_layers):
        bias = model.out_weight(layer)[1]
        z = run.record.z[layer][-1].float() @ model.out_weight(layer)[0] + (0 if bias is None else bias)
        assert torch.allclose(z, run.record.attn_out[layer][-1].float(), rtol=0.05, atol=0.05)

    with pytest.raises(aw.GranularityError) as caught:
        aw.attribute(run, aw.score("L1H1"))
    assert check.levels[1].scores.reason in str(caught.value), "the error does not give the reason"
    for site in ("q", "k"):
        with pytest.raises(aw.GranularityError):
            aw.patch(model, families.LONG_PROMPT, families.LONG_PROMPT, " Paris", sites=[site], layers=[1])
    if not values:
        with pytest.raises(aw.GranularityError, match="no projection"):
            a.through("L1H1")
        with pytest.raises(aw.GranularityError, match="no projection"):
            aw.patch(model, families.LONG_PROMPT, families.LONG_PROMPT, " Paris", sites=["v"], layers=[1])
        assert a.sources("L1H1").total == pytest.approx(a["L1H1"], abs=1e-2 if model.dtype != torch.float32 else 1e-5)
        return model
    hf = model.hf
    before, hf.config._attn_implementation = hf.config._attn_implementation, "eager"
    with torch.no_grad():
        expected = hf(torch.tensor([run.ids]), use_cache=False, output_attentions=True).attentions
    hf.config._attn_implementation = before
    got = aw.attention(run).patterns.view(model.n_layers, model.n_heads, run.n_positions, run.n_positions)
    limit = 1e-5 if model.dtype == torch.float32 else 0.1
    assert float((got - torch.stack([p[0] for p in expected]).float()).abs().max()) <= limit
    c, t = a.sources("L1H1"), a.through("L1H1")
    assert abs(c.mismatch) <= 1e-5 * (1 + float(c.values.abs().sum()))
    assert torch.allclose(t.values.sum(-1), t.source_values, atol=1e-4 * (1 + float(t.source_values.abs().max())))
    assert "no attention scores because" in str(model.report())
    return model


# -- a wrong anatomy -----------------------------------------------------------------------------------------------
@BOTH
@pytest.mark.parametrize("name", ["gemma2", "gemma3", "olmo2"])
@pytest.mark.parametrize("field", ["attn_post_norm", "mlp_post_norm"])
def test_hooking_before_a_post_norm(name, field, dtype):
    model = refused(lambda: load(name, dtype, anatomy={field: None}))
    assert model is None or model.granularity == "layers", f"sublayers that do not add up are shown: {model.check}"


@BOTH
@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_swapped_norm_before_attention(name, dtype):
    refused(lambda: load(name, dtype, anatomy={"attn_norm": "post_attention_layernorm"}))


@BOTH
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_no_norm_before_attention(name, dtype):
    refused(lambda: load(name, dtype, anatomy={"attn_norm": None}))


@BOTH
@pytest.mark.parametrize(
    ("name", "heads"),
    [("llama", 8), ("llama", 2), ("gpt2", 8), ("gpt2", 2), ("bloom", 2), ("gpt_neox", 8), ("gemma2", 8)],
)
def test_wrong_head_count(name, heads, dtype):
    """Any number of blocks of z adds up to the output: only the recomputed attention can tell."""
    refused(lambda: load(name, dtype, anatomy={"n_heads": heads}))


@pytest.mark.parametrize("heads", [3, 5, 0])
def test_a_head_count_that_divides_nothing(heads):
    with pytest.raises(aw.AnatomyError):
        load("llama", anatomy={"n_heads": heads})


@BOTH
@pytest.mark.parametrize("kv", [1, 4])
def test_wrong_number_of_key_and_value_heads(kv, dtype):
    heads_alone(lambda: load("llama", dtype, anatomy={"n_kv_heads": kv}), values=False)


@BOTH
@pytest.mark.parametrize(("name", "layout"), [("gpt2", "per_head"), ("gpt_neox", "thirds"), ("bloom", "thirds")])
def test_wrong_order_of_a_fused_projection(name, layout, dtype):
    heads_alone(lambda: load(name, dtype, anatomy={"qkv.layout": layout}), values=False)


@BOTH
@pytest.mark.parametrize(
    ("name", "field"), [("gemma2", "softcap"), ("gemma3", "q_norm"), ("qwen3", "k_norm"), ("olmo2", "q_norm")]
)
def test_forgotten_part_of_the_scores(name, field, dtype):
    heads_alone(lambda: load(name, dtype, anatomy={f"qkv.{field}": None}))


@BOTH
@pytest.mark.parametrize("name", ["gemma2", "gpt2_untied"])
def test_wrong_scale_of_the_scores(name, dtype):
    """Gemma-2 divides by sqrt(24), this GPT-2 by the layer's number too: 1/sqrt(head size) is neither."""
    heads_alone(lambda: load(name, dtype, anatomy={"qkv.scaling": "nowhere"}))


@BOTH
def test_swapped_keys_and_values(dtype):
    heads_alone(lambda: load("llama", dtype, anatomy={"qkv.k": "v_proj", "qkv.v": "k_proj"}), values=False)


@BOTH
def test_residual_inside_the_output(dtype):
    """Bloom's MLP returns the stream with its write: taken for the write, the layer does not add up."""
    model = refused(lambda: load("bloom", dtype, anatomy={"mlp_output": None}))
    assert model is None or model.granularity == "layers"


@BOTH
def test_forgotten_final_soft_cap(dtype):
    with pytest.raises(aw.AnatomyError):
        load("gemma2", dtype, anatomy={"softcap": None})


@BOTH
def test_another_final_norm(dtype):
    with pytest.raises(aw.AttribError):
        load("llama", dtype, anatomy={"final_norm": "model.layers.2.post_attention_layernorm"})


@BOTH
def test_wrong_down_projection_is_found_before_neurons_are_shown(dtype):
    """`gate_proj` reads the stream, not the neurons; its inputs must never be presented as neurons."""
    try:
        model = load("llama", dtype, anatomy={"mlp_down": "mlp.gate_proj"})
        c = aw.attribute(model.run(families.PROMPT), " Paris").neurons(1)
    except aw.AttribError:
        return
    pytest.fail(f"neurons shown from the wrong module; gap {c.mismatch:.2e}, values {c.values[:3]}")


def test_the_reason_is_that_of_the_likeliest_anatomy():
    """A model whose attention is not understood is not told that some other family's projections do not fit."""
    hf = families.build("llama")
    attention = hf.model.layers[1].self_attn
    attention.scaling *= 1.5
    true = attention.forward

    def forward(*args, **kwargs):
        attention.scaling /= 1.5
        try:
            return true(*args, **kwargs)
        finally:
            attention.scaling *= 1.5

    attention.forward = forward
    check = aw.load(hf, tokenizer=families.tokenizer("llama")).check
    assert check.granularity == "heads" and not check.reason
    assert "is not what the heads wrote" in check.scores_reason, check
    assert check.numbers["scores"] > 1 >= check.numbers["attention"]


def test_the_message_names_what_was_expected():
    with pytest.raises(aw.AnatomyError) as caught:
        load("llama", anatomy={"attn_out": "self_attn.nowhere"})
    assert "self_attn.nowhere" in str(caught.value)
    with pytest.raises(aw.AnatomyError) as caught:
        load("llama", anatomy={"attn_outt": "self_attn.o_proj"})
    assert "attn_outt" in str(caught.value) and "attn_out" in caught.value.hint


# -- a model that does something its modules do not tell --------------------------------------------------------------
def hide(hf, path, make):
    owner, _, name = path.rpartition(".")
    parent = hf.get_submodule(owner)
    setattr(parent, name, make(getattr(parent, name)))


@BOTH
@pytest.mark.parametrize("size", [1.0, 0.1])
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("llama", "model.layers.1.self_attn.o_proj"),
        ("llama", "model.layers.1.self_attn.v_proj"),
        ("llama", "model.layers.1.mlp.down_proj"),
        ("gemma2", "model.layers.1.self_attn.o_proj"),
        ("gpt_neox", "gpt_neox.layers.2.attention.dense"),
        ("llama", "lm_head"),
    ],
)
def test_a_constant_that_no_bias_shows_is_a_bias(name, path, size, dtype):
    """What a module gives for zero is what it adds: rows, sources and neurons have it where a bias would be."""
    short = families.DTYPES[dtype]
    hf = families.build(name, short)
    hide(hf, path, lambda linear: packed.Shifted(linear, size))
    model, plain = (aw.load(m, tokenizer=families.tokenizer(name)) for m in (hf, packed.dense(hf)))
    assert model.check.ok, model.check
    a, b = (aw.attribute(m.run(families.PROMPT), " Paris") for m in (model, plain))
    assert a.exact
    for read in (lambda a: a, lambda a: a.sources("L1H1"), lambda a: a.through("L1H1"), lambda a: a.neurons(1)):
        one, two = read(a), read(b)
        assert getattr(one, "labels", None) == getattr(two, "labels", None)
        scale = 1 + float(two.values.abs().sum())
        assert float((one.values - two.values).abs().max()) <= 16 * torch.finfo(short).eps * scale


@BOTH
@pytest.mark.parametrize(
    "path", ["model.layers.1.self_attn.o_proj", "model.layers.1.self_attn.v_proj", "model.layers.1.mlp.down_proj"]
)
def test_a_bend_that_no_weight_shows(path, dtype):
    """What is no linear map is never split; the rest is shown, and closes."""
    model = load("llama", dtype, lambda hf: hide(hf, path, packed.Bent))
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    assert a.exact
    assert bool(model.level(1).heads) != path.endswith("o_proj") and model.level(1).sublayers
    refuses = (lambda: a.neurons(1)) if "mlp" in path else (lambda: a.through("L1H1"))
    with pytest.raises(aw.GranularityError):
        refuses()


@BOTH
def test_an_unembedding_that_is_not_linear(dtype):
    with pytest.raises(aw.AnatomyError, match="no linear map"):
        load("llama", dtype, lambda hf: hide(hf, "lm_head", packed.Bent))


class Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


@BOTH
@pytest.mark.parametrize("factor", [2.0, 1.1])
def test_missing_embedding_multiplier(factor, dtype):
    """Something between embedding and layer 0: `embed` and `pos` would not add up to the stream."""
    model = load("gpt2", dtype, lambda hf: setattr(hf.transformer, "drop", Scale(factor)))
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    assert "pos" not in a.labels and a.exact
    reading = a.model.norm("transformer.ln_f")
    x = a.run.record.streams[-1][-1]
    wrote = reading.push(a.run.record.streams[0][-1].float()) * reading.scale(x)  # all that layer 0 read
    assert a["embed"] == pytest.approx(float(wrote @ a.reading.direction), rel=1e-4, abs=1e-5)
    with pytest.raises(aw.AnatomyError, match="wte"):
        load("gpt2", dtype, lambda hf: setattr(hf.transformer, "drop", Scale(factor)), anatomy=FAMILIES["gpt2"][0])


@BOTH
def test_embedding_multiplier_inside_the_model_is_part_of_the_embedding_row(family_model, dtype):
    """Gemma multiplies its embedding by sqrt(width): the row is what layer 0 read, and it must add up."""
    model = family_model("gemma3", families.DTYPES[dtype])
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    assert a.exact
    assert abs(a["embed"]) > 0


@BOTH
@pytest.mark.parametrize("factor", [0.5, 0.97])
def test_scaled_residual_addition(factor, dtype):
    """A multiplier between the output projection and the stream (Granite has one)."""

    def change(hf):
        block = hf.model.layers[1]
        inner = block.self_attn.forward
        block.self_attn.forward = lambda *a, **k: tuple(
            o * factor if i == 0 else o for i, o in enumerate(inner(*a, **k))
        )

    model = refused(lambda: load("llama", dtype, change))
    assert model is not None and [level.granularity for level in model.check.levels] == ["heads", "layers", "heads"]
    assert "the forward of model.layers.1.self_attn was replaced" in model.check.reason


@BOTH
def test_wrong_map_from_query_heads_to_key_and_value_heads(dtype, monkeypatch):
    """The model shares keys and values the other way round: head h uses h % 2, not h // 2."""
    from transformers.models.llama import modeling_llama

    def interleaved(states, groups):
        return states.repeat(1, groups, 1, 1)

    monkeypatch.setattr(modeling_llama, "repeat_kv", interleaved)
    heads_alone(lambda: load("llama", dtype, attn="eager"), values=False)


@BOTH
def test_wrong_rotation(dtype, monkeypatch):
    """A family that pairs neighbouring numbers instead of halves."""
    from transformers.models.llama import modeling_llama

    def neighbours(x):
        return torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)

    monkeypatch.setattr(modeling_llama, "rotate_half", neighbours)
    heads_alone(lambda: load("llama", dtype))


# -- architectures that were not promised ----------------------------------------------------------------------------
@pytest.mark.parametrize("name", families.OTHERS)
def test_other_architectures_are_refused_coarse_or_right(name):
    """Never wrong: what is offered adds up to the model's own logit, and its patterns are the model's own."""
    hf = families.build(name, attn="eager")
    ids = families.ids_of(name, families.LONG_PROMPT)
    with torch.no_grad():
        direct = hf(torch.tensor([ids]), use_cache=False, output_attentions=True)
    try:
        model = aw.load(hf, tokenizer=families.tokenizer(name))
    except aw.AnatomyError as error:
        refusal = error
    else:
        refusal = None
    if refusal is not None:
        assert refusal.hint, f"{name}: refused without saying what to do"
        assert type(hf).__name__ in str(refusal), f"the message does not name the model: {refusal}"
        return
    run = model.run(families.LONG_PROMPT)
    a = aw.attribute(run, " Paris")
    token = model.single_token(" Paris")
    assert a.actual == pytest.approx(float(direct.logits[0, -1, token]), abs=1e-5), f"{name}"
    assert a.exact, f"{name}, {model.granularity}: {a.total} for {a.actual}"
    if not model.check.ok:
        assert model.check.reason, f"{name} is coarse without a reason"
    if model.check.attention_ok:
        for layer in range(model.n_layers):
            for head in range(model.n_heads):
                got = aw.attention(run, (layer, head)).patterns[0]
                worst = float((got - direct.attentions[layer][0, head]).abs().max())
                assert worst <= 1e-5, f"{name} L{layer}H{head}: pattern misses by {worst:.1e}"


def test_a_state_space_model_is_shown_per_layer_with_the_reason():
    hf = transformers.AutoModelForCausalLM.from_config(
        transformers.MambaConfig(vocab_size=families.vocab_size(), hidden_size=32, num_hidden_layers=2, state_size=4)
    ).eval()
    model = aw.load(hf, tokenizer=families.byte_tokenizer())
    assert model.granularity == "layers" and "layers" in model.check.reason
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    assert a.exact and a.labels[:3] == ["embed", "L0", "L1"]
    score = aw.score("L0H0")
    for ask in (lambda: a.heads, lambda: a.mlps, lambda: a.neurons(0), lambda: a.experts(0), lambda: a.sources("L0H0")):
        with pytest.raises(aw.GranularityError, match="exact per layer only"):
            ask()
    with pytest.raises(aw.GranularityError, match="was not shown to be exact: only its layers"):
        aw.attribute(a.run, score)


def test_an_encoder_decoder_is_refused():
    config = transformers.T5Config(
        vocab_size=families.vocab_size(), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4
    )
    hf = transformers.T5ForConditionalGeneration(config).eval()
    with pytest.raises(aw.AttribError):
        aw.load(hf, tokenizer=families.byte_tokenizer())


class Homemade(nn.Module):
    """A language model of one's own, of no known layout."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(families.vocab_size(), 16)
        self.mix = nn.GRU(16, 16, batch_first=True)
        self.out = nn.Linear(16, families.vocab_size())
        self.config = types.SimpleNamespace(model_type="homemade")

    def forward(self, input_ids, **kwargs):
        return types.SimpleNamespace(logits=self.out(self.mix(self.table(input_ids))[0]))


def test_a_homemade_model_is_refused_with_the_way_out():
    with pytest.raises(aw.AttribError) as caught:
        aw.load(Homemade().eval(), tokenizer=families.byte_tokenizer())
    assert "Homemade" in str(caught.value)
    assert caught.value.hint


@BOTH
def test_not_a_number_in_the_weights_is_an_error(dtype):
    def spoil(hf):
        hf.model.layers[1].mlp.down_proj.weight[3, 3] = float("nan")

    with pytest.raises(aw.AttribError) as caught:
        load("llama", dtype, spoil).run(families.PROMPT)
    assert "nan" in str(caught.value).lower() or "finite" in str(caught.value).lower(), str(caught.value)


@BOTH
def test_a_cap_that_fused_attention_leaves_out_is_told_and_not_assumed(dtype, monkeypatch):
    """Older transformers run Gemma 2 with torch's fused attention, which knows no cap: that is what the model did."""
    functions = transformers.modeling_utils.ALL_ATTENTION_FUNCTIONS
    original = functions["sdpa"]
    monkeypatch.setitem(functions, "sdpa", lambda *given, softcap=None, **options: original(*given, **options))

    def fused(hf):
        hf.config._attn_implementation = "sdpa"

    with pytest.warns(UserWarning, match="attn_implementation='eager'"):
        model = load("gemma2", dtype, fused)
    assert model.check.ok, model.check
    a = aw.attribute(model.run(families.PROMPT), aw.score("L1H1", query=-1, key=1))
    assert a.exact and a.precap is None


def test_a_capped_model_loaded_by_name_keeps_its_cap(tmp_path):
    families.build("gemma2").save_pretrained(tmp_path)
    families.tokenizer("gemma2").save_pretrained(tmp_path)
    model = aw.load(str(tmp_path))
    assert model.hf.config._attn_implementation == "eager"
    assert model.check.ok and not model.check.remark


def test_an_unembedding_kept_in_float32():
    """Layers in bfloat16 and a float32 head: rounding is that of the coarser of the two."""
    hf = families.build("llama", torch.bfloat16)
    hf.lm_head.float()
    hf.lm_head.register_forward_pre_hook(lambda module, args: (args[0].float(),))
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    assert model.check.ok and model.dtype == torch.bfloat16
    assert aw.attribute(model.run(families.PROMPT), " Paris").exact


@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_the_check_makes_no_second_unembedding(name, dtype, monkeypatch):
    """Neither in float32 nor squared: it is met a piece at a time."""
    monkeypatch.setattr("attrib_widgets.model.anatomy.linear.CHUNK", 64)
    hf, tokenizer = families.build(name, families.DTYPES[dtype]), families.tokenizer(name)
    with Made() as made:
        model = aw.load(hf, tokenizer=tokenizer)
    assert made.of(model.vocab_size * model.d_model) == 0 < made.of(64 * model.d_model)
