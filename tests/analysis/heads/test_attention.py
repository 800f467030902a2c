"""Patterns are the ones that transformers computes, whatever implementation the model was loaded with."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.model.parts.attention import attend
from fixtures import families
from fixtures.made import Made

ALL = families.FAMILIES + families.VARIANTS + families.CARRIED + families.JOINED + families.STREAMS
TWINS = families.TWINS + families.VARIANTS


def eager_patterns(name, text, dtype=torch.float32, run=None):
    """[layer, head, query, key] of transformers; with a run every layer is given what it read in that run."""
    hf = families.build(name, dtype, attn="eager")
    if run is not None:
        for number in range(run.model.n_layers):
            layer = hf.get_submodule(run.model.anatomy.layers).get_submodule(str(number))
            stream = run.record.streams[number][None]
            layer.register_forward_pre_hook(lambda _, given, stream=stream: (stream, *given[1:]))
    with torch.no_grad():
        out = hf(torch.tensor([families.ids_of(name, text)]), use_cache=False, output_attentions=True)
    return torch.stack([p[0] for p in out.attentions])


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("text", [families.PROMPT, families.LONG_PROMPT], ids=["short", "long"])
@pytest.mark.parametrize("name", ALL)
def test_patterns_of_transformers(family_model, name, text, attn):
    model = family_model(name, attn=attn)
    run = model.run(text)
    if name == "falcon_alibi" and attn == "sdpa":
        pytest.skip("transformers adds Falcon's position penalty twice in eager mode: its patterns are no reference")
    expected = eager_patterns(name, text)
    att = aw.attention(run)
    n = run.n_positions
    assert att.patterns.shape == (model.n_layers * model.n_heads, n, n)
    assert att.patterns.dtype == torch.float32
    got = att.patterns.view(model.n_layers, model.n_heads, n, n)
    worst = (got - expected).abs().amax((2, 3))
    where = att.heads[int(worst.argmax())]
    assert float(worst.max()) <= 1e-5, f"{name} {attn}: {where} misses by {float(worst.max()):.1e}"
    assert torch.equal(got, got.tril()), "attention to a later position"
    if name in families.SLIDING and text == families.LONG_PROMPT:
        assert n > families.WINDOW
        for layer, window in enumerate(families.SLIDING[name]):
            far = got[layer, :, -1, : n - families.WINDOW]
            if window:
                assert float(far.abs().max()) == 0.0, f"layer {layer} must not see beyond its window"
            else:
                assert float(far.min()) > 0.0, f"layer {layer} sees everything"


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", families.FAMILIES)
def test_patterns_in_half_precision(family_model, name, dtype, attn):
    """Those that transformers' own layers compute in eager mode from the very streams of the run."""
    kind = families.DTYPES[dtype]
    attn = "eager" if name == "falcon_alibi" else attn  # its two implementations differ, see above
    model = family_model(name, kind, attn)
    run = model.run(families.LONG_PROMPT)
    expected = eager_patterns(name, families.LONG_PROMPT, kind, run).float()
    got = aw.attention(run).patterns.view_as(expected)
    limit = (1 if attn == "eager" else 8) * torch.finfo(kind).eps  # fused attention does not round its scores
    assert float((got - expected).abs().max()) <= limit, f"{name} {dtype}: {float((got - expected).abs().max()):.1e}"


@pytest.mark.parametrize("name", families.FAMILIES)
def test_rows_are_probabilities_that_nobody_renormalised(family_model, name):
    att = aw.attention(family_model(name).run(families.LONG_PROMPT))
    total = att.patterns.sum(-1) + (0 if att.sink is None else att.sink)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-5)
    assert att.weighting == "probability" and att.unit == "probability"


def test_sinks_keep_their_share():
    """GPT-OSS: a learned sink takes part of every row; the rest must not be blown up to 1."""
    model = aw.load(families.build("gpt_oss"), tokenizer=families.tokenizer("gpt_oss"))
    att = aw.attention(model.run(families.PROMPT))
    assert att.sink is not None, "rows that sum to less than 1 without a sink"
    assert float(att.sink.min()) > 0
    assert torch.allclose(att.patterns.sum(-1) + att.sink, torch.ones_like(att.sink), atol=1e-5)


def test_one_several_and_all_heads(family_model):
    run = family_model("llama").run(families.PROMPT)
    every = aw.attention(run)
    assert [str(h) for h in every.heads] == [f"L{i}H{h}" for i in range(families.LAYERS) for h in range(families.HEADS)]
    one = aw.attention(run, "L1H3")
    assert one.patterns.shape[0] == 1
    assert torch.equal(one["L1H3"], every["1.3"])
    some = aw.attention(run, ["L2H0", (0, 1)])
    assert [str(h) for h in some.heads] == ["L2H0", "L0H1"]
    assert torch.equal(some.patterns[1], every["L0H1"])
    with pytest.raises(aw.ComponentError):
        one["L0H0"]
    for wrong in ("L9H0", "L0H9", "L1.mlp", "nonsense"):
        with pytest.raises(aw.ComponentError):
            aw.attention(run, wrong)


@pytest.mark.parametrize("name", TWINS)
def test_value_weighted_twin(family_model, twin, name):
    """Probability times the length of what one unit of attention writes."""
    run, slow = family_model(name).run(families.PROMPT), twin(name)
    att = aw.attention(run, ["L1H3", "L2H0"]).weighted("value")
    assert att.weighting == "value"
    post = name in ("gemma2", "gemma3", "olmo2")
    for i, (layer, head) in enumerate(((1, 3), (2, 0))):
        pattern = slow.patterns[layer][head]
        if post:  # what reaches the stream went through the norm after the attention, as at the last position
            after, _ = slow.post_norms(layer)
            _, _, value = slow.projections(layer, head)
            normed = slow.pre_norm(layer)(slow.stream(layer))
            weight = (
                slow.out_proj(layer).weight.detach().double().T[head * slow.head_size : (head + 1) * slow.head_size]
            )
            whole = slow.kept["attn_out", layer][-1]
            norms = torch.stack([after.linear(value(x) @ weight, whole).norm() for x in normed])
        else:
            norms = slow.written_norms(layer, head)
        expected = pattern * norms
        assert torch.allclose(att.patterns[i][-1].double(), expected[-1], rtol=1e-4, atol=1e-6), f"{name}"
        if not post:
            assert torch.allclose(att.patterns[i].double(), expected, rtol=1e-4, atol=1e-6), f"{name}"


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "olmo2"])
def test_value_weighted_uses_each_readers_own_norm(family_model, twin, name):
    """Behind a post-norm the length of what is written depends on the reader: every row has its own scale."""
    run, slow = family_model(name).run(families.PROMPT), twin(name)
    att = aw.attention(run, "L1H3").weighted("value")
    after, _ = slow.post_norms(1)
    _, _, value = slow.projections(1, 3)
    normed = slow.pre_norm(1)(slow.stream(1))
    weight = slow.out_proj(1).weight.detach().double().T[3 * slow.head_size : 4 * slow.head_size]
    for t in range(run.n_positions):
        whole = slow.kept["attn_out", 1][t]
        norms = torch.stack([after.linear(value(x) @ weight, whole).norm() for x in normed])
        expected = slow.patterns[1][3, t] * norms
        assert torch.allclose(att.patterns[0][t].double(), expected, rtol=1e-4, atol=1e-6), f"{name}, row {t}"


@pytest.mark.parametrize("name", TWINS)
def test_contribution_weighted_twin(family_model, twin, name):
    """Every (destination, source) cell is what that source contributed to the target there."""
    model, slow = family_model(name), twin(name)
    run = model.run(families.PROMPT)
    w = slow.token(model.single_token(" Paris"))
    att = aw.attention(run, "L1H3").weighted("contribution", target=" Paris")
    assert att.weighting == "contribution" and att.unit == "logits"
    for t in range(run.n_positions):
        shares, _ = slow.sources(1, 3, w, position=t)
        scale = max(map(abs, shares))
        got = att.patterns[0][t].double()
        assert torch.allclose(got, torch.tensor(shares, dtype=torch.float64), atol=1e-5 * scale), (
            f"{name}, destination {t}"
        )


def test_weightings_that_do_not_exist(family_model):
    att = aw.attention(family_model("gpt2").run(families.PROMPT), "L0H0")
    with pytest.raises(aw.AttribError) as caught:
        att.weighted("importance")
    assert "value" in str(caught.value)
    back = att.weighted("value").weighted("probability")
    assert torch.equal(back.patterns, att.patterns)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", families.FAMILIES)
def test_head_table_adds_up(family_model, name, dtype):
    """What the Explorer draws: pattern x carry x dest + value bias (+ rounding) is the head's bar."""
    model = family_model(name, families.DTYPES[dtype])
    run = model.run(families.PROMPT)
    for position in (-1, 2):
        a = aw.attribute(run, " Paris", position=position)
        e = aw.head_table(a)
        at = a.position
        drawn = (e.patterns[:, :, at] * e.carry * e.dest[:, None, at : at + 1]).sum(-1) + e.value_bias
        limit = 2e-5 if dtype == "float32" else 0.05
        worst = float((drawn - a.heads).abs().max())
        assert worst <= limit * (1 + float(a.heads.abs().max())), f"{name} {dtype}: bars drawn off by {worst:.1e}"
        if dtype == "float32":
            elsewhere = 1 if at != 1 else 0
            other = aw.attribute(run, " Paris", position=elsewhere)
            c = other.sources("L1H2").values[: run.n_positions]
            mine = e.patterns[1, 2, elsewhere] * e.carry[1, 2] * e.dest[1, elsewhere]
            if name in families.GATED:  # another destination has other gates
                assert bool(mine[: elsewhere + 1].isnan().all())
                continue
            assert torch.allclose(mine, c, atol=1e-5), f"{name}: dest scale of another destination"


def test_head_table_of_a_coarse_model_is_none():
    hf = families.build("gemma2")
    model = aw.load(hf, tokenizer=families.tokenizer("gemma2"), anatomy={"attn_post_norm": None})
    run = model.run(families.PROMPT)
    assert aw.head_table(aw.attribute(run, " Paris")) is None
    with pytest.raises(aw.GranularityError) as caught:
        aw.attention(run, "L0H0")
    assert model.check.reason in str(caught.value)
    with pytest.raises(aw.GranularityError):
        aw.attribute(run, aw.score("L1H0"))


def test_as_tables(family_model):
    att = aw.attention(family_model("gpt2").run(families.PROMPT))
    n = att.patterns.shape[-1]
    frame = att.to_dataframe()
    assert len(frame) == len(att.heads) * n * (n + 1) // 2, "the lower triangle only"
    assert "L0H0" in repr(att)


def test_patterns_when_a_float_mask_or_none_is_given(family_model):
    """sdpa passes no mask for a short prompt and one for a long prompt: both are the same attention."""
    model = family_model("gemma3", attn="sdpa")
    short, long = model.run(families.ids_of("gemma3")[:6]), model.run(families.ids_of("gemma3", families.LONG_PROMPT))
    assert torch.allclose(
        aw.attention(short, "L1H0").patterns[0], eager_patterns("gemma3", families.PROMPT)[1, 0][:6, :6], atol=1e-5
    )
    assert aw.attention(long, "L0H0").patterns.shape[-1] > families.WINDOW


def sharpen(hf, factor):
    """Query weights times ``factor``: scores as large as trained models have them."""
    with torch.no_grad():
        for name, parameter in hf.named_parameters():
            if name.endswith(("q_proj.weight", "q_norm.weight")):
                parameter.mul_(factor)
            elif name.endswith("c_attn.weight"):
                parameter[:, : families.WIDTH] *= factor
            elif name.endswith("query_key_value.weight"):
                if hf.config.model_type != "falcon" or len(parameter) == 3 * families.WIDTH:
                    parameter.view(families.HEADS, 3, -1, families.WIDTH)[:, 0] *= factor
                elif hf.config.new_decoder_architecture:
                    parameter.view(families.KV_HEADS, 4, -1, families.WIDTH)[:, :2] *= factor
                else:
                    parameter[: families.WIDTH] *= factor
            elif name.endswith("qkv_proj.weight"):
                parameter[: families.WIDTH] *= factor
    return hf


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", families.FAMILIES)
def test_sharp_attention_is_no_reason_to_refuse(name, dtype, attn):
    """Scores of 20 and more are rounded by up to 0.1 in bfloat16: an honest model must still open."""
    kind = families.DTYPES[dtype]
    hf = sharpen(families.build(name, kind, attn=attn), 4.0)
    model = aw.load(hf, tokenizer=families.tokenizer(name))
    assert model.check.ok, f"{model.check}"
    run = model.run(families.LONG_PROMPT)
    a = aw.attribute(run, " Paris")
    for label in ("L0H1", "L1H3", "L2H0"):
        c = a.sources(label)
        assert abs(c.mismatch) <= 1e-5 * (1 + float(c.values.abs().sum())), f"{name} {dtype} {attn} {label}"
        a.through(label)
        aw.attribute(run, aw.score(label, key=-2))
        aw.attribute(run, aw.score(label, key=-2, side="key"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", families.FAMILIES)
def test_sharp_patterns_are_the_models_own_in_half_precision(name, dtype):
    """Eager attention rounds its scores before the softmax: shown patterns must be rounded with it."""
    kind = families.DTYPES[dtype]
    hf = sharpen(families.build(name, kind, attn="eager"), 4.0)
    ids = families.ids_of(name, families.LONG_PROMPT)
    with torch.no_grad():
        out = hf(torch.tensor([ids]), use_cache=False, output_attentions=True)
    expected = torch.cat(out.attentions).float()
    model = aw.load(hf, tokenizer=families.tokenizer(name))
    got = aw.attention(model.run(ids)).patterns.view_as(expected)
    worst = float((got - expected).abs().max())
    assert worst <= torch.finfo(kind).eps, f"{name} {dtype}: a shown probability is off by {worst:.4f}"


@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", ["bloom", "llama", "gemma3"])
def test_long_prompts_open_too(name, dtype):
    """200 tokens: ALiBi penalties and windows that the short check at load never sees."""
    model = aw.load(families.build(name, families.DTYPES[dtype]), tokenizer=families.tokenizer(name))
    generator = torch.Generator().manual_seed(1)
    run = model.run(torch.randint(2, families.vocab_size(), (200,), generator=generator))
    a = aw.attribute(run, " Paris")
    assert a.exact
    for label in ("L0H1", "L1H3", "L2H0"):
        c = a.sources(label)
        assert abs(c.mismatch) <= 1e-5 * (1 + float(c.values.abs().sum())), f"{name} {dtype} {label}"
        a.through(label)
        aw.attribute(run, aw.score(label, key=-2))


@pytest.mark.weights
@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", families.DTYPES)
def test_a_trained_checkpoint_opens_everywhere(trained_folder, dtype, attn):
    """A trained model in every format: all patterns, sources in every layer, and scores on both sides."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    kind = families.DTYPES[dtype]
    hf = AutoModelForCausalLM.from_pretrained(trained_folder, dtype=kind, attn_implementation=attn).eval()
    model = aw.load(hf, tokenizer=AutoTokenizer.from_pretrained(trained_folder))
    assert model.check.ok, f"{model.check}"
    run = model.run("Once upon a time, there was a little girl named Lily. She loved to play with her")
    eager = AutoModelForCausalLM.from_pretrained(trained_folder, dtype=kind, attn_implementation="eager").eval()
    with torch.no_grad():
        expected = torch.cat(eager(torch.tensor([run.ids]), use_cache=False, output_attentions=True).attentions)
    got = aw.attention(run).patterns.view(model.n_layers, model.n_heads, run.n_positions, run.n_positions)
    limit = 1e-5 if dtype == "float32" else 16 * torch.finfo(kind).eps
    assert float((got - expected.float()).abs().max()) <= limit
    a = aw.attribute(run)
    for layer in range(model.n_layers):
        for head in (0, model.n_heads - 1):
            c = a.sources((layer, head))
            assert abs(c.mismatch) <= 1e-5 * (1 + float(c.values.abs().sum())), f"L{layer}H{head}"
        for side in ("query", "key"):
            score = aw.attribute(run, aw.score((layer, 3), key=5, side=side))
            assert score.exact, f"L{layer}H3 {side}: gap {score.mismatch:.1e}"


@pytest.mark.parametrize("attn", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", ALL)
def test_one_head_is_that_of_its_layer(family_model, name, dtype, attn):
    """Alone, two out of order, or one row of one: what the whole layer's attention has there."""
    model = family_model(name, families.DTYPES[dtype], attn)
    run = model.run(families.LONG_PROMPT)
    layer, at = 1, run.n_positions // 2
    if not model.level(layer).sources:
        return
    every = attend(model, run.record, layer)
    for heads, rows in (([2], slice(None)), ([3, 0], slice(None)), ([1], slice(at, at + 1))):
        found = attend(model, run.record, layer, heads, rows)
        torch.testing.assert_close(found.pattern, every.pattern[heads][:, rows], atol=1e-6, rtol=0)
        torch.testing.assert_close(found.v, every.v[heads], atol=1e-6, rtol=0)
        assert (found.sink is None) == (every.sink is None)
        if found.sink is not None:
            torch.testing.assert_close(found.sink, every.sink[heads][:, rows], atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "qwen3"])
def test_one_head_costs_one_head(family_model, name, dtype, monkeypatch):
    """No scores of the other heads are made, and for one row no square at all; in blocks it is the same."""
    model = family_model(name, families.DTYPES[dtype])
    run = model.run(list(range(2, 62)))  # longer than a head is wide
    square = run.n_positions**2
    a, every = aw.attribute(run), aw.attention(run, ["L1H2"])
    whole = a.sources("L1H2").values
    monkeypatch.setattr("attrib_widgets.model.parts.listen.BLOCK", 7 * run.n_positions)
    with Made() as made:
        shown = aw.attention(run, "L1H2")
    shapes = [s for s, d in made.tensors if s[-1:] == (run.n_positions,) and d.is_floating_point]
    assert max(torch.Size(s).numel() for s in shapes) == square, "of one head"
    assert sum(torch.Size(s).numel() == square for s in shapes) <= 2, "the pattern, and its copy for the result"
    torch.testing.assert_close(shown.patterns, every.patterns, atol=1e-6, rtol=0)
    with Made() as made:
        values = a.sources("L1H2").values
    shapes = [s for s, d in made.tensors if s[-1:] == (run.n_positions,) and d.is_floating_point]
    assert max(torch.Size(s).numel() for s in shapes) < square, "one row"
    torch.testing.assert_close(values, whole, atol=1e-6, rtol=0)
