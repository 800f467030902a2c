"""Models whose weights are no plain tensors say per head what the model with plain weights in their place says."""

from __future__ import annotations

import copy
import gc
from dataclasses import is_dataclass

import pytest
import torch
import transformers as tf
from torch import nn

import attrib_widgets as aw
from fixtures import families, packed
from fixtures.made import Made
from fixtures.patching_twin import SITES, PatchTwin, given_up

NAMES = ["llama", "gpt2", "qwen2", "gpt_neox", "gemma2", "phi3"]
TARGET = 17


def pair(name, make, dtype=torch.float32, within="", attn="eager"):
    """(packed model, the same with plain weights)."""
    hf = packed.pack(families.build(name, dtype, attn), make, within)
    plain = packed.dense(hf)
    tokenizer = families.tokenizer(name)
    return aw.load(hf, tokenizer=tokenizer), aw.load(plain, tokenizer=tokenizer)


def close(one, other, limit=2e-5):
    one, other = one.float(), other.float()
    return one.shape == other.shape and float((one - other).abs().max()) <= limit * (1 + float(other.abs().max()))


@pytest.mark.parametrize("make", packed.LINEAR)
@pytest.mark.parametrize("name", NAMES)
def test_every_reading_is_that_of_the_plain_weights(name, make):
    model, plain = pair(name, make)
    assert model.check.ok and model.check.mlp_ok, model.check
    assert model.dtype == torch.float32 == model.precision
    assert model.memory_estimate(100) == plain.memory_estimate(100)
    a, b = (aw.attribute(m.run(families.PROMPT), " Paris") for m in (model, plain))
    assert a.labels == b.labels and close(a.values, b.values) and a.exact
    for read in (
        lambda a: a.sources("L1H1").values,
        lambda a: a.through("L2H1").values,
        lambda a: a.neurons(1).values,
        lambda a: a.writes("L1H2").logits,
        lambda a: a.worked("L1H2").products,
        lambda a: aw.attribute(a.run, aw.score("L2H1", key=1)).values,
        lambda a: aw.attribute(a.run, aw.neuron("L1N3")).values,
        lambda a: aw.attribute(a.run, aw.logit(" Paris").centered()).values,
        lambda a: aw.attention(a.run, ["L1H0", "L1H1"]).weighted("value").patterns,
        lambda a: aw.attention(a.run, ["L1H0", "L1H1"]).weighted("contribution", " Paris").patterns,
    ):
        assert close(read(a), read(b)), read
    traced = [m.trace().to_dataframe().iloc[:, 0].tolist() for m in (a, b)]
    assert traced[0] == traced[1]


@pytest.mark.parametrize("make", packed.LINEAR)
def test_experiments_are_those_of_the_plain_weights(make):
    model, plain = pair("llama", make)
    clean = families.ids_of("llama", families.PROMPT)
    corrupted = list(clean)
    corrupted[3] = (corrupted[3] + 7) % 300
    slow = PatchTwin("llama", plain.hf, corrupted, clean)
    p = aw.patch(model, clean, corrupted, TARGET, sites=SITES, positions=[-1])
    assert p.complete and not given_up(p.cost)
    for i, cell in enumerate(p.cells):
        (part,) = cell.parts
        expected = float(slow.patched(part.grid, part.row, part.head, cell.positions)[-1, TARGET])
        assert float(p.patched[0, i]) == pytest.approx(expected, abs=2e-5), cell
    for call in (aw.attribution_patch, aw.integrated_gradients, aw.edge_patch):
        found, expected = (call(m, clean, corrupted, TARGET) for m in (model, plain))
        assert close(found.values, expected.values, 1e-4), call
    found, expected = (aw.ablate(m, clean, TARGET) for m in (model, plain))
    assert close(found.values, expected.values, 1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("make", packed.LINEAR)
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_half_precision(name, make, dtype):
    model, plain = pair(name, make, dtype)
    assert model.check.ok, model.check
    assert model.dtype == dtype == model.precision
    a, b = (aw.attribute(m.run(families.PROMPT), " Paris") for m in (model, plain))
    assert a.exact and a.labels == b.labels
    size = float(b.values.abs().sum())
    assert float((a.values - b.values).abs().max()) <= 4 * torch.finfo(dtype).eps * size
    aw.attention(a.run), a.sources("L1H1"), a.through("L1H1"), a.neurons(1)


def test_a_float32_stream_that_is_multiplied_in_bfloat16():
    """Packed weights often are: what a module rounds is measured, and allowed for where its outputs are compared."""
    model, plain = pair("llama", packed.Rounded)
    assert model.check.ok, model.check
    assert (model.dtype, model.precision) == (torch.float32, torch.bfloat16)
    assert model.memory_estimate(100) == plain.memory_estimate(100)
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    assert a.exact and 0 < abs(a["rounding"]) < 0.01 * float(a.values.abs().sum())
    a.sources("L1H1"), a.through("L1H1"), a.neurons(1)
    assert "they round to bfloat16 inside" in str(model.report())
    p = aw.patch(model, families.PROMPT, "The capital of Japan is", " Paris")
    assert p.complete and float(p.values.abs().max()) > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "make",
    [
        packed.Steps,
        lambda m: packed.Steps(m, 4.0),
        packed.Bent,
        lambda m: packed.FP8(m, activation_scheme="dynamic"),
        lambda m: packed.FP8(m, (128, 128), "dynamic"),
    ],
)
def test_what_is_not_linear_stays_whole_and_says_so(make, dtype):
    hf = packed.pack(families.build("llama", dtype), make)
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    assert model.granularity == "sublayers", model.check
    assert "is no linear map" in model.check.reason and "o_proj of layer 0" in model.check.reason
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    assert a.exact and "L1.attn" in a.labels
    with pytest.raises(aw.GranularityError, match="no linear map"):
        _ = a.heads
    with pytest.raises(aw.GranularityError):
        a.neurons(1)


def test_only_the_values_are_not_linear():
    """Heads add up and are shown; what goes through their values is not."""
    hf = packed.pack(families.build("llama"), packed.Steps, "v_proj")
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    assert model.granularity == "heads" and not any(level.values for level in model.check.levels)
    assert "is no linear map" in model.check.values_reason
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    assert a.exact and a.sources("L1H1").total == pytest.approx(a["L1H1"], abs=1e-5)
    with pytest.raises(aw.GranularityError, match="was not shown to be exact"):
        a.through("L1H1")


@pytest.mark.parametrize("make", [packed.Int8, packed.Lora, packed.Shifted])
@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_the_unembedding_too(name, make):
    """A target over the vocabulary, a metric and its gradient, the lens and what a head writes."""
    hf = families.build(name, attn="eager")
    hf.lm_head = nn.Linear(hf.lm_head.in_features, hf.lm_head.out_features, bias=False).eval()
    hf.lm_head.load_state_dict(families.build(name).lm_head.state_dict())
    hf.config.tie_word_embeddings = False
    hf.lm_head = make(hf.lm_head)
    model, plain = (aw.load(m, tokenizer=families.tokenizer(name)) for m in (hf, packed.dense(hf)))
    assert model.check.ok, model.check
    run, other = model.run(families.PROMPT), plain.run(families.PROMPT)
    targets = [" Paris", aw.logit(" Paris").centered(), aw.logit_diff(" Paris", " Rome")]
    for target in [*targets, aw.log_prob(" Paris")] if model.softcap is None else targets:
        a, b = aw.attribute(run, target), aw.attribute(other, target)
        assert a.exact and a.labels == b.labels and close(a.values, b.values), target
    assert close(a.writes("L1H1").logits, b.writes("L1H1").logits)
    assert close(aw.logit_lens(run).log_prob, aw.logit_lens(other).log_prob)
    for call in (aw.patch, aw.attribution_patch):
        one, two = (call(m, families.PROMPT, "The capital of Japan is", " Paris") for m in (model, plain))
        assert close(one.values, two.values, 1e-4)


@pytest.mark.parametrize("within", ["", "o_proj", "v_proj", "up_proj"])
def test_a_gradient_that_leaves_a_part_out_is_refused(within):
    """What goes around it arrives, so that nothing else would say so."""
    model, plain = pair("llama", packed.NoDerivative, within=within)
    assert model.check.ok and model.check.mlp_ok
    texts = families.PROMPT, "The capital of Japan is"
    for call in (aw.attribution_patch, aw.integrated_gradients, aw.edge_patch):
        with pytest.raises(aw.AttribError, match=r"lets none pass.*NoDerivative|NoDerivative.*lets none pass"):
            call(model, *texts, " Paris")
    found, expected = (aw.patch(m, *texts, " Paris") for m in (model, plain))
    assert close(found.values, expected.values, 1e-4)


def test_an_adapter_that_changes_after_a_run():
    hf = packed.pack(families.build("llama"), packed.Lora)
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    run = model.run(families.PROMPT)
    before = aw.attribute(run, " Paris")
    for module in hf.modules():
        if isinstance(module, packed.Lora):
            module.scaling = 1.5
    with pytest.raises(aw.ModelError, match="changed since"):
        aw.attribute(run, " Paris")
    plain = aw.load(packed.dense(hf), tokenizer=families.tokenizer("llama"))
    a, b = (aw.attribute(m.run(families.PROMPT), " Paris") for m in (model, plain))
    assert a.exact and close(a.values, b.values)
    assert not close(a.values, before.values, 1e-2)


def test_adapters_in_some_layers_only():
    hf = families.build("llama")
    attention = hf.model.layers[1].self_attn
    attention.o_proj, attention.q_proj = packed.Lora(attention.o_proj), packed.Int8(attention.q_proj)
    model, plain = (aw.load(m, tokenizer=families.tokenizer("llama")) for m in (hf, packed.dense(hf)))
    assert model.check.ok
    a, b = (aw.attribute(m.run(families.PROMPT), " Paris") for m in (model, plain))
    assert a.exact and close(a.values, b.values)


def test_no_more_than_one_head_of_a_weight_is_ever_held():
    """And the module is left as it was found."""
    hf = packed.pack(families.build("llama"), packed.Int8)
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    state = copy.deepcopy(hf.state_dict())
    run, seen = model.run(families.PROMPT), []
    out = hf.model.layers[1].self_attn.o_proj
    handle = out.register_forward_hook(lambda module, given, result: seen.append(given[0].shape[-2]))
    try:
        found = model.out(1)
        list(found.parts()), found.pull(torch.randn(2, model.d_model))
    finally:
        handle.remove()
    d_head = model.geometry[1].d_head
    assert seen and max(seen) == d_head < found.d_in
    assert aw.attribute(run, " Paris").exact
    held = [t for t in vars(found.shown).values() if isinstance(t, torch.Tensor)]
    assert all(t.numel() <= d_head * model.d_model for t in held)
    assert all(torch.equal(state[key], value) for key, value in hf.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("make", [None, packed.Int8, packed.Lora, packed.FP8])
def test_no_second_copy_of_the_weights(make, dtype):
    """Of plain weights one projection at a time is read in float32, of packed ones a block; and none of it is kept."""
    config = families.config("llama")
    config.hidden_size, config.intermediate_size = 128, 384
    hf = tf.AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    families.randomize(hf)
    hf = hf if make is None else packed.pack(hf, make)
    held = [module for module in hf.modules() if hasattr(module, "plain")]
    numel = config.hidden_size**2  # of W_O; an MLP's projections are three times as large
    before = _alive()
    with Made(without=held) as made:
        model = aw.load(hf, tokenizer=families.tokenizer("llama"))
        loaded = _alive() - before
        run = model.run(families.PROMPT)
        a = aw.attribute(run, " Paris")
        a.sources("L1H1"), a.through("L1H1"), a.writes("L1H1"), a.trace()
        aw.patch(model, families.PROMPT, "The capital of Japan is", " Paris", positions=[-1])
        recorded = _alive() - before
    assert a.exact and model.check.ok
    tables = [torch.Size(shape).numel() for shape, _ in made.tensors if len(shape) > 1]  # a stamp's samples are a row
    assert max(tables) <= 3 * numel, "more than one projection at a time"
    if make is not None or dtype == torch.float32:  # else each is read in float32, and let go
        assert made.of(numel) == made.of(3 * numel) == 0, "a projection as a whole"
    weights = sum(p.numel() for p in hf.parameters())
    streams = sum(t.numel() for t in _tensors(run.record))
    assert loaded < numel, "something as large as a projection is kept of a load"
    assert recorded < numel + 3 * streams < weights / 4, "something as large as a projection is kept of a run"


def _tensors(held, seen=None):
    """Every tensor that an object holds, at any depth."""
    seen = set() if seen is None else seen
    if id(held) in seen:
        return
    seen.add(id(held))
    if isinstance(held, torch.Tensor):
        yield held
    elif isinstance(held, dict):
        for each in held.values():
            yield from _tensors(each, seen)
    elif isinstance(held, (list, tuple)):
        for each in held:
            yield from _tensors(each, seen)
    elif is_dataclass(held):
        yield from _tensors(vars(held), seen)


def _alive():
    """Numbers that all tensors of the process hold, each memory once."""
    gc.collect()
    found = {}
    for each in gc.get_objects():
        if type(each) in (torch.Tensor, nn.Parameter) and each.device.type == "cpu" and each.layout == torch.strided:
            storage = each.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes() // each.element_size()
    return sum(found.values())


def test_the_report_says_what_is_read_through_modules_and_its_price():
    model = aw.load(packed.pack(families.build("llama"), packed.Packed), tokenizer=families.tokenizer("llama"))
    said = str(model.report())
    assert "read through their modules: " in said and "self_attn.o_proj (fixtures.Packed)" in said
    layers, heads, rows = model.n_layers, model.n_heads, model.n_layers * model.out(0).d_in
    assert f"{layers * heads} times more, with {rows} rows in all" in said
    plain = aw.load(families.build("llama"), tokenizer=families.tokenizer("llama"))
    assert "read through" not in str(plain.report())
