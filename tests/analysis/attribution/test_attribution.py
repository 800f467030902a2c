"""Contributions: they are the materialised ones, and they add up to the very number that the model prints."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.words.text import number
from fixtures import families
from fixtures.made import Made

ALL = families.FAMILIES + families.VARIANTS + families.JOINED + families.STREAMS
TWINS = families.TWINS + families.VARIANTS


def relative(got, expected):
    got, expected = torch.as_tensor(got).double(), torch.as_tensor(expected).double()
    return float((got - expected).norm() / expected.norm())


def direct_logits(name, dtype, text):
    """The last logits of the same transformers model, never wrapped by anything."""
    hf = families.build(name, dtype)
    with torch.no_grad():
        return hf(torch.tensor([families.ids_of(name, text)]), use_cache=False, logits_to_keep=1).logits[0, -1]


@pytest.mark.parametrize("text", [families.PROMPT, families.LONG_PROMPT], ids=["short", "long"])
@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", ALL)
def test_adds_up_to_the_very_number_that_transformers_prints(family_model, name, dtype, text):
    model = family_model(name, families.DTYPES[dtype])
    run = model.run(text)
    printed = direct_logits(name, families.DTYPES[dtype], text)
    assert torch.equal(run.logits(), printed), (
        f"logits differ from transformers by {float((run.logits() - printed).abs().max()):.1e}"
    )
    for target in (" Paris", 17):
        a = aw.attribute(run, target)
        token = model.single_token(target)
        assert a.actual == float(printed[token]), (
            f"{name} {dtype}: actual {a.actual!r} is not the printed {float(printed[token])!r}"
        )
        size = 1 + float(a.values.abs().sum())
        assert abs(a.mismatch) <= 1e-5 * size, f"{name} {dtype}: gap {a.mismatch:.2e} over magnitudes {size:.1f}"
        assert a.exact
        assert a.total == pytest.approx(float(a.values.double().sum()), abs=1e-9)
        assert a.mismatch == pytest.approx(a.actual - a.total, abs=1e-9)
        assert a["rounding"] == pytest.approx(sum(a.rounding.values()), abs=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_nothing_hides_in_the_rounding_row(family_model, name):
    """The gap proves little, because the read-out part closes it: in float32 all three parts must be arithmetic."""
    a = aw.attribute(family_model(name).run(families.LONG_PROMPT), " Paris")
    size = 1 + float(a.values.abs().sum())
    assert set(a.rounding) == {"stream", "heads", "readout"}
    for part, value in a.rounding.items():
        assert abs(value) <= 3e-6 * size, f"{name}: {part} rounding of {value:.1e} is no float32 arithmetic"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ALL)
def test_half_precision_rounding_is_of_the_size_of_half_precision(family_model, name, dtype):
    a = aw.attribute(family_model(name, families.DTYPES[dtype]).run(families.PROMPT), " Paris")
    eps = torch.finfo(families.DTYPES[dtype]).eps
    size = 1 + float(a.values.abs().sum())
    assert 0 < abs(a["rounding"]) <= eps * size, (
        f"{name} {dtype}: rounding {a['rounding']:+.4f} of magnitudes {size:.1f}"
    )


@pytest.mark.weights
@pytest.mark.parametrize("dtype", families.DTYPES)
def test_a_trained_checkpoint(trained_folder, dtype):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    kind = families.DTYPES[dtype]
    model = aw.load(str(trained_folder), dtype=kind)
    assert model.check.ok, f"{model.check}"
    tokenizer = AutoTokenizer.from_pretrained(trained_folder)
    hf = AutoModelForCausalLM.from_pretrained(trained_folder, dtype=kind).eval()
    for text in ("Once upon a", "Lily and Tom went to the park. They saw a big dog and Lily was very"):
        run = model.run(text)
        with torch.no_grad():
            printed = hf(torch.tensor([tokenizer(text).input_ids]), use_cache=False, logits_to_keep=1).logits[0, -1]
        assert torch.equal(run.logits(), printed)
        for target in (
            run.top(1)[0].id,
            aw.log_prob(run.top(2)[1].id),
            aw.logit_diff(run.top(1)[0].id, run.top(2)[1].id),
        ):
            a = aw.attribute(run, target)
            assert a.exact, f"{text!r} {target}: gap {a.mismatch:.1e}"
    a = aw.attribute(model.run("Once upon a"), " time")
    assert a.actual == float(hf_logits(hf, tokenizer, "Once upon a")[model.single_token(" time")])


def hf_logits(hf, tokenizer, text):
    with torch.no_grad():
        return hf(torch.tensor([tokenizer(text).input_ids]), use_cache=False, logits_to_keep=1).logits[0, -1]


POSITIONS = {"gpt2", "gpt2_untied", "gpt_bigcode", "gpt_neo", "opt"}


def biased(model, path, layer=None):
    """Whether a module of the model itself adds a constant."""
    root = model.hf if layer is None else model.hf.get_submodule(model.anatomy.layers)[layer]
    return getattr(root.get_submodule(path), "bias", None) is not None


@pytest.mark.parametrize("name", families.FAMILIES + families.VARIANTS)
def test_rows_in_model_order(family_model, name):
    model = family_model(name)
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    expected = ["embed"] + (["pos"] if name in POSITIONS else [])
    for layer in range(model.n_layers):
        expected += [f"L{layer}H{h}" for h in range(model.n_heads)]
        if biased(model, model.anatomy.attn_out, layer):
            expected.append(f"L{layer}.attn.bias")
        expected.append(f"L{layer}.mlp")
    if biased(model, model.anatomy.final_norm):
        expected.append("norm.bias")
    if biased(model, model.anatomy.unembed):
        expected.append("unembed.bias")
    if name in ("gemma2", "nanochat"):
        expected.append("softcap")
    expected.append("rounding")
    assert a.labels == expected
    assert [str(c) for c in a.components] == a.labels
    assert len(a.values) == len(a.labels)
    assert a.values.dtype == torch.float32 and a.values.device.type == "cpu"
    assert a.heads.shape == (model.n_layers, model.n_heads)
    assert a.mlps.shape == (model.n_layers,)
    for layer in range(model.n_layers):
        assert float(a.mlps[layer]) == a[f"L{layer}.mlp"]
        for head in range(model.n_heads):
            assert float(a.heads[layer, head]) == a[(layer, head)] == a[f"{layer}.{head}"]


@pytest.mark.parametrize("position", [-1, 3])
@pytest.mark.parametrize("name", TWINS)
def test_twin_materialised_outputs(family_model, twin, name, position):
    """Every write as a vector of the stream, read out one by one in float64."""
    model, slow = family_model(name, attn="eager"), twin(name)  # the same forward pass, bit by bit
    token, other = model.single_token(" Paris"), model.single_token(" Rome")
    run = model.run(families.PROMPT)
    for target, w in ((token, slow.token(token)), (aw.logit_diff(token, other), slow.token(token, other))):
        a = aw.attribute(run, target, position=position)
        expected = slow.contributions(w, position)
        heads = [[expected[f"L{i}H{h}"] for h in range(model.n_heads)] for i in range(model.n_layers)]
        error = relative(a.heads, heads)
        assert error <= 1e-6, f"{name}: heads differ from materialised outputs by {error:.1e}"
        error = relative(a.mlps, [expected[f"L{i}.mlp"] for i in range(model.n_layers)])
        assert error <= 1e-6, f"{name}: MLPs differ by {error:.1e}"
        got = dict(zip(a.labels, a.values.tolist(), strict=True))
        size = max(abs(v) for v in expected.values())
        for label, value in expected.items():
            assert got.get(label, 0.0) == pytest.approx(value, abs=2e-6 * size), f"{name}, row {label}"


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "bloom"])
def test_every_position_at_once(family_model, name):
    model = family_model(name)
    run = model.run(families.PROMPT)
    a = aw.attribute(run, " Paris")
    everywhere = a.by_position()
    assert everywhere.labels == a.labels
    assert everywhere.values.shape == (run.n_positions, len(a.labels))
    for position in range(run.n_positions):
        single = aw.attribute(run, " Paris", position=position)
        for label, got, expected in zip(
            a.labels, everywhere.values[position].tolist(), single.values.tolist(), strict=True
        ):
            assert got == pytest.approx(expected, abs=2e-5), f"{name}, position {position}, row {label}"
        assert float(everywhere.actual[position]) == pytest.approx(single.actual, abs=2e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "target",
    [" Paris", aw.logit_diff(" Paris", " Rome"), aw.log_prob(" Paris"), aw.logit(" Paris").centered()],
    ids=str,
)
def test_every_position_adds_up_whatever_the_target(family_model, target, dtype):
    run = family_model("llama", families.DTYPES[dtype]).run(families.PROMPT)
    for goal in (None, "next"):
        everywhere = aw.attribute(run, target).by_position(goal)
        size = 1 + everywhere.values.abs().sum(-1)
        gap = (everywhere.actual - everywhere.total).abs()
        assert bool((gap <= 1e-5 * size).all()), f"target {goal}: gaps {gap.tolist()}"


def test_every_position_explains_its_own_next_token(family_model):
    model = family_model("gpt_neox")
    run = model.run(families.PROMPT)
    everywhere = aw.attribute(run, " Paris").by_position("next")
    for position in range(run.n_positions):
        goal = run.ids[position + 1] if position + 1 < run.n_positions else " Paris"
        single = aw.attribute(run, goal, position=position)
        assert torch.allclose(everywhere.values[position], single.values, atol=2e-5), f"position {position}"
    with pytest.raises(aw.AttribError):
        aw.attribute(run, " Paris").by_position("previous")


def test_top_is_by_magnitude_and_signed(family_model):
    a = aw.attribute(family_model("gpt2").run(families.PROMPT), " Paris")
    top = a.top(6)
    sizes = [abs(v) for _, v in top]
    assert len(top) == 6 and sizes == sorted(sizes, reverse=True)
    assert all(a[c] == v for c, v in top)
    everything = a.top(10**6)
    assert len(everything) == len(a.labels)
    assert any(v < 0 for _, v in everything), "negative rows are not dropped"


@pytest.mark.parametrize("which", ["L9H0", "L0H9", "L9.mlp", "L0.attn", "softcap"])
def test_a_part_that_the_model_lacks(family_model, which):
    a = aw.attribute(family_model("llama").run(families.PROMPT), " Paris")
    with pytest.raises(aw.ComponentError) as caught:
        a[which]
    assert which in str(caught.value)


def test_prompts_in_place_of_runs(family_model):
    model = family_model("gpt2")
    a = aw.attribute(families.PROMPT, " Paris", model=model)
    assert torch.equal(a.values, aw.attribute(model.run(families.PROMPT), " Paris").values)
    with pytest.raises(aw.AttribError) as caught:
        aw.attribute(families.PROMPT, " Paris")
    assert "model" in str(caught.value)


def test_as_a_table_and_as_a_dataframe(family_model):
    a = aw.attribute(family_model("gpt2").run(families.PROMPT), " Paris")
    text = repr(a)
    assert len(text.splitlines()) <= 18, "a ten-line table"
    assert "Paris" in text and "logits" in text and number(a.actual) in text
    frame = a.to_dataframe()
    assert list(frame["component"]) == a.labels
    assert frame["value"].sum() == pytest.approx(a.actual, abs=1e-4)
    assert str(frame.loc[frame["component"] == "L1H2", "layer"].item()) == "1"


def test_same_question_same_numbers(family_model):
    model = family_model("gemma3")
    first, second = (aw.attribute(model.run(families.PROMPT), " Paris") for _ in range(2))
    assert torch.equal(first.values, second.values)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_the_implementation_of_attention_does_not_matter(family_model, name):
    eager = aw.attribute(family_model(name, attn="eager").run(families.LONG_PROMPT), " Paris")
    other = aw.attribute(family_model(name, attn="sdpa").run(families.LONG_PROMPT), " Paris")
    assert torch.allclose(eager.values, other.values, atol=2e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "where",
    [
        "norm.weight",
        "layers.1.post_attention_layernorm.weight",
        "layers.1.self_attn.o_proj.weight",
        "layers.0.mlp.down_proj.weight",
    ],
)
def test_weights_changed_after_loading(where, dtype):
    """A training step between two runs: the new attribution is right, or refused; never the old norm's rows."""
    hf = families.build("gemma3", families.DTYPES[dtype])
    model = aw.load(hf, tokenizer=families.tokenizer("gemma3"))
    aw.attribute(model.run(families.PROMPT), " Paris")
    with torch.no_grad():
        weight = hf.model.get_parameter(where)
        weight.copy_(weight + 0.5 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(9)))
    try:
        stale = aw.attribute(model.run(families.PROMPT), " Paris")
    except aw.AttribError:
        return
    fresh = aw.attribute(aw.load(hf, tokenizer=families.tokenizer("gemma3")).run(families.PROMPT), " Paris")
    worst = float((stale.values - fresh.values).abs().max())
    assert worst <= 1e-5, (
        f"rows are off by {worst:.3f} while exact={stale.exact}, rounding row {stale['rounding']:+.3f}"
    )


def test_a_weight_far_from_the_others(family_model):
    """One huge coordinate, as trained models have: sums must still close."""
    hf = families.build("llama")
    with torch.no_grad():
        hf.model.embed_tokens.weight[:, 5] += 200.0
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    assert a.exact, f"gap {a.mismatch:.1e}"


def test_dead_inputs():
    """A padding row of zeros: a stream of exactly zero has no scale to divide by."""
    hf = families.build("llama")
    with torch.no_grad():
        hf.model.embed_tokens.weight[7] = 0.0
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    a = aw.attribute(model.run([7]), " Paris")
    assert torch.isfinite(a.values).all()
    assert a.exact


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_double_precision_models(name):
    model = aw.load(families.build(name, torch.float64), tokenizer=families.tokenizer(name))
    assert model.check.ok, f"{model.check}"
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    assert a.exact
    assert a.values.dtype == torch.float32
    assert a.sources("L1H1").total == pytest.approx(a["L1H1"], abs=1e-5)


def test_a_vocabulary_with_padding_rows():
    """Checkpoints pad their embedding: ids without a token must not stop a prediction from being listed."""
    hf = families.build("llama")
    hf.resize_token_embeddings(families.vocab_size() + 9)
    with torch.no_grad():
        hf.lm_head.weight[-1] = 3.0 * hf.lm_head.weight[5]
        hf.lm_head.weight[-2] = -3.0 * hf.lm_head.weight[5]
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    assert model.vocab_size == families.vocab_size() + 9
    run = model.run(families.PROMPT)
    assert len(run.top(model.vocab_size)) == model.vocab_size
    a = aw.attribute(run, families.vocab_size() + 8)
    assert a.exact
    assert repr(a)
    a.writes("L1H1", k=model.vocab_size)


@pytest.mark.parametrize("changes", [{"attn_post_norm": None}, {"n_heads": 8}], ids=["layers", "sublayers"])
def test_coarse_models_still_explain_and_say_why(changes):
    model = aw.load(families.build("gemma3"), tokenizer=families.tokenizer("gemma3"), anatomy=changes)
    assert model.granularity == ("layers" if "attn_post_norm" in changes else "sublayers")
    run = model.run(families.PROMPT)
    for target in (" Paris", aw.log_prob(" Paris"), aw.logit_diff(" Paris", " Rome")):
        a = aw.attribute(run, target)
        assert a.exact
        everywhere = a.by_position()
        assert torch.allclose(everywhere.values[-1], a.values, atol=2e-5)
    last = "L2" if model.granularity == "layers" else "L2.attn"
    assert last in a.labels
    a.writes(last)
    assert last in repr(aw.attribute(run, " Paris")) or "others" in repr(a)
    for ask in (lambda: a.heads, lambda: a.sources("L1H1"), lambda: a.through("L1H1"), lambda: a.worked("L1H1")):
        with pytest.raises(aw.GranularityError) as caught:
            ask()
        assert model.check.reason in str(caught.value)
    if model.granularity == "layers":
        for ask in (lambda: a.mlps, lambda: a.neurons(1)):
            with pytest.raises(aw.AttribError):
                ask()
    else:
        assert a.mlps.shape == (model.n_layers,)
        assert a.neurons(1).total == pytest.approx(a["L1.mlp"], abs=1e-5)


def test_experts_are_not_shown_as_neurons():
    hf = families.build("mixtral")
    try:
        model = aw.load(hf, tokenizer=families.tokenizer("mixtral"))
    except aw.AnatomyError:
        return
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    assert a.exact
    with pytest.raises(aw.AttribError):
        a.neurons(1)


@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_every_output_projection_is_copied_at_most_once(family_model, name, dtype, monkeypatch):
    """A rival is read beside the answer; what is a float32 tensor already is read where it is."""
    monkeypatch.setattr("attrib_widgets.model.identity.stamp.WHOLE", 16)  # stamps of so small weights hold all of them
    model = family_model(name, families.DTYPES[dtype])
    run = model.run(families.PROMPT)
    for options in ({}, {"against": " Rome"}):
        aw.attribute(run, " Paris", **options)  # what is kept of the weights is made once
        with Made() as made:
            aw.attribute(run, " Paris", **options)
        copies = made.of(model.out(0).d_in * model.d_model)
        assert copies == (0 if dtype == "float32" else model.n_layers), f"{copies} copies in {model.n_layers} layers"
