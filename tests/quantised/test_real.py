"""Real bitsandbytes, torchao and PEFT models say per head what plain weights in their place say."""

from __future__ import annotations

import copy
import warnings

import bitsandbytes as bnb
import peft
import pytest
import torch
import transformers as tf
from torch import nn
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, quantize_

import attrib_widgets as aw
from fixtures import families
from fixtures import packed as packing

OTHER = "The capital of Japan is"
TARGET = " Paris"
ALL = "all-linear"


def base(name, dtype=torch.float32):
    """A small random model whose widths every packing takes."""
    torch.manual_seed(0)
    if name == "gpt2":
        sizes = dict(n_embd=64, n_layer=3, n_head=4, n_positions=64, n_inner=128)
        config = tf.GPT2Config(vocab_size=families.vocab_size(), bos_token_id=0, eos_token_id=1, **sizes)
    else:
        config = tf.LlamaConfig(
            vocab_size=families.vocab_size(),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            attention_bias=name == "llama_bias",
            bos_token_id=0,
            eos_token_id=1,
            initializer_range=0.15,
        )
    hf = tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for path, parameter in hf.named_parameters():
            if path.endswith("bias"):
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return hf.to(dtype).eval()


def loaded(name, dtype, folder, **packing):
    """The same as transformers loads it with bitsandbytes."""
    base(name, dtype).save_pretrained(folder)
    config = tf.BitsAndBytesConfig(**packing)
    options = dict(quantization_config=config, device_map="cpu", dtype=dtype, attn_implementation="eager")
    return tf.AutoModelForCausalLM.from_pretrained(folder, **options)


def four(name, dtype, folder, **more):
    return loaded(name, dtype, folder, load_in_4bit=True, bnb_4bit_quant_type="nf4", **more)


def adapter(**settings):
    return peft.LoraConfig(**{"r": 4, "target_modules": ALL, "init_lora_weights": False, **settings})


def plain(hf):
    """A copy with plain weights: dequantised by bitsandbytes itself, before it lays them out for the CPU."""
    twin = copy.deepcopy(hf)
    for owner in list(twin.modules()):
        for name, child in list(owner.named_children()):
            if isinstance(child, bnb.nn.Linear4bit) and type(child).__module__.startswith("bitsandbytes"):
                weight = bnb.functional.dequantize_4bit(child.weight.data, child.weight.quant_state)
                linear = nn.Linear(child.in_features, child.out_features, bias=child.bias is not None)
                linear.weight.data.copy_(weight.view(linear.weight.shape))
                if child.bias is not None:
                    linear.bias.data.copy_(child.bias)
                setattr(owner, name, linear.to(hf.dtype))
    for attribute in ("hf_quantizer", "is_loaded_in_4bit", "quantization_method"):
        twin.__dict__.pop(attribute, None)
    return twin.eval()


def pair(kind, name, dtype, folder):
    """(packed model, with plain weights) of one kind."""
    torch.manual_seed(3)  # adapters are random
    if kind in ("nf4", "nf4 double, bfloat16"):
        more = {"bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": torch.bfloat16} if "," in kind else {}
        hf = four(name, dtype, folder, **more)
        return hf, plain(hf)
    if kind == "torchao int8":
        hf = base(name, dtype)
        quantize_(hf, Int8WeightOnlyConfig(), lambda module, path: isinstance(module, nn.Linear) and "head" not in path)
        dense = base(name, dtype)
        for path, module in hf.named_modules():
            if isinstance(module, nn.Linear) and "head" not in path:
                dense.get_submodule(path).weight.data.copy_(module.weight.dequantize())
        return hf, dense
    settings = {
        "LoRA": {},
        "DoRA": {"use_dora": True},
        "LoRA on the unembedding": {"target_modules": ["lm_head", "o_proj"]},
    }
    if kind == "QLoRA":
        packed = four(name, dtype, folder)
        dense = plain(packed)
        made = peft.get_peft_model(packed, adapter())
        torch.manual_seed(4)
        twin = peft.get_peft_model(dense, adapter())
        twin.load_state_dict({k: v for k, v in made.state_dict().items() if "lora_" in k}, strict=False)
        return made, twin.merge_and_unload()
    model = base(name, dtype)
    if kind == "LoRA by add_adapter":
        model.add_adapter(adapter())
        return model, merged(model)
    if kind == STAND_IN:
        packing.pack(model, packing.FP8)
        return model, packing.dense(model)
    if kind == "IA3":
        config = peft.IA3Config(
            target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], init_ia3_weights=False
        )
    else:
        config = adapter(**settings[kind])
    made = peft.get_peft_model(model, config, autocast_adapter_dtype=False)
    return made, copy.deepcopy(made).merge_and_unload()


def merged(hf):
    """A copy with the adapters that transformers itself put in added to their weights."""
    twin = copy.deepcopy(hf)
    for owner in list(twin.modules()):
        for name, child in list(owner.named_children()):
            if isinstance(child, peft.tuners.lora.LoraLayer):
                child.merge()
                setattr(owner, name, child.get_base_layer())
    twin._hf_peft_config_loaded = False
    return twin.eval()


STAND_IN = "FP8 weights, by a stand-in, not verified"
KINDS = ["nf4", "nf4 double, bfloat16", "torchao int8", "LoRA", "LoRA by add_adapter", "DoRA", "IA3"]
KINDS += ["LoRA on the unembedding", "QLoRA", STAND_IN]
LLAMA = ("torchao int8", "IA3", "DoRA", "LoRA on the unembedding")  # these ask for names that GPT-2 has not
CASES = [(kind, name) for kind in KINDS for name in ("llama", "llama_bias", "gpt2")]
CASES = [(kind, name) for kind, name in CASES if name != "gpt2" or kind not in LLAMA]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_exact_per_head(kind, name, dtype, tmp_path, table):
    hf, dense = pair(kind, name, dtype, tmp_path)
    tokenizer = families.tokenizer("llama")
    model, other = aw.load(hf, tokenizer=tokenizer), aw.load(dense, tokenizer=tokenizer)
    assert model.check.ok and model.check.mlp_ok, model.check
    assert model.dtype == dtype and model.memory_estimate(100) == other.memory_estimate(100)
    a, b = (aw.attribute(m.run(families.PROMPT), TARGET) for m in (model, other))
    assert a.exact and a.labels == b.labels
    eps = torch.finfo(model.precision).eps
    share = float((a.values - b.values).abs().max() / b.values.abs().sum())
    assert share <= 8 * eps, "not what plain weights write"
    read_off = max(_differs(model.out(layer), other.out(layer)) for layer in range(model.n_layers))
    assert read_off <= eps, "not the weight"
    for read in (lambda a: a.sources("L1H1"), lambda a: a.through("L1H1"), lambda a: a.neurons(1)):
        one, two = read(a).values, read(b).values  # what is rounded has a row of its own in short formats
        one, two = (v[..., : min(one.shape[-1], two.shape[-1]) - 1] for v in (one, two))
        assert float((one - two).abs().max()) <= 8 * eps * (1 + float(two.abs().sum()))
    aw.attribute(a.run, aw.score("L2H1", key=1)), a.trace()
    table.append(
        {
            "model": f"{kind}, {name}",
            "stream": str(dtype).removeprefix("torch."),
            "inside": str(model.precision).removeprefix("torch."),
            "exact per": "head",
            "W_O off by": read_off,
            "rows off by": share,
        }
    )


def _differs(one, other):
    """How far a projection is read from another's plain weight, relative to its largest number."""
    found, weight = one.rows(0, one.d_in), other.rows(0, other.d_in)
    return float((found - weight).abs().max() / weight.abs().max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "kind", ["LLM.int8", "torchao int8 inputs", "LoRA on LLM.int8", "FP8 inputs, by a stand-in, not verified"]
)
def test_quantised_inputs_are_not_linear(kind, dtype, tmp_path, table):
    if kind.startswith("torchao"):
        hf = base("llama", dtype)
        quantize_(hf.model, Int8DynamicActivationInt8WeightConfig())
    elif kind.startswith("FP8"):
        hf = packing.pack(base("llama", dtype), lambda linear: packing.FP8(linear, activation_scheme="dynamic"))
    else:
        hf = loaded("llama", dtype, tmp_path, load_in_8bit=True)
        hf = peft.get_peft_model(hf, adapter()) if "LoRA" in kind else hf
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    assert model.granularity == "sublayers" and "no linear map" in model.check.reason, model.check
    a = aw.attribute(model.run(families.PROMPT), TARGET)
    assert a.exact and a.labels[1] == "L0.attn"
    with pytest.raises(aw.GranularityError, match="no linear map"):
        _ = a.heads
    table.append(
        {
            "model": kind,
            "stream": str(dtype).removeprefix("torch."),
            "inside": str(model.precision).removeprefix("torch."),
            "exact per": "sublayer",
            "W_O off by": None,
            "rows off by": None,
        }
    )


@pytest.mark.parametrize("kind", ["nf4", "LoRA", "QLoRA"])
def test_experiments_are_those_of_plain_hooks(kind, tmp_path):
    hf, dense = pair(kind, "llama", torch.float32, tmp_path)
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    clean, corrupted = model.run(families.PROMPT), model.run(OTHER)
    token, d = model.single_token(TARGET), model.geometry[1].d_head

    def logit(ids, hook=None, layer=0):
        out = model.hf.model.layers[layer].self_attn.o_proj
        handle = out.register_forward_pre_hook(hook) if hook else None
        try:
            with torch.no_grad():
                return float(model.hf(torch.tensor([ids]), use_cache=False).logits[0, -1, token])
        finally:
            if handle:
                handle.remove()

    p = aw.patch(model, clean, corrupted, aw.logit(TARGET), positions=[-1])
    limit = 1e-4 if model.precision == torch.float32 else 0.02
    moved = 0.0
    for cell, found in zip(p.cells, p.patched[0].tolist(), strict=True):
        layer, head = cell.parts[0].row, cell.parts[0].head

        def hook(module, given, layer=layer, head=head):
            x = given[0].clone()
            x[0, -1, head * d : (head + 1) * d] = clean.record.z[layer][-1, head * d : (head + 1) * d]
            return (x,)

        expected = logit(corrupted.ids, hook, layer)
        assert found == pytest.approx(expected, abs=limit), cell
        moved = max(moved, abs(expected - logit(corrupted.ids)))
    assert moved > 5 * limit
    aw.ablate(model, clean, TARGET)
    if kind != "LoRA" and bnb.functional.has_avx512bf16():  # no gradient passes 4-bit weights on such a CPU
        with pytest.raises(aw.AttribError, match="lets none pass"):
            aw.attribution_patch(model, clean, corrupted, TARGET)
        return
    plain = aw.load(dense, tokenizer=families.tokenizer("llama"))
    found, expected = (aw.attribution_patch(m, families.PROMPT, OTHER, TARGET).values for m in (model, plain))
    assert float((found - expected).abs().max()) <= 0.02 * float(expected.abs().max())


def test_adapters_are_switched_and_disabled():
    made = peft.get_peft_model(base("llama"), adapter(), autocast_adapter_dtype=False)
    made.add_adapter("second", adapter(target_modules=["o_proj", "down_proj"]))
    model = aw.load(made, tokenizer=families.tokenizer("llama"))
    run = model.run(families.PROMPT)
    first = aw.attribute(run, TARGET)

    def expect(change, dense):
        change()
        with pytest.raises(aw.ModelError, match="changed since"):
            aw.attribute(run, TARGET)
        a = aw.attribute(model.run(families.PROMPT), TARGET)
        b = aw.attribute(aw.load(dense, tokenizer=families.tokenizer("llama")).run(families.PROMPT), TARGET)
        assert a.exact and float((a.values - b.values).abs().max()) <= 1e-5 * float(b.values.abs().sum())
        assert float((a.values - first.values).abs().max()) > 1e-2

    second = copy.deepcopy(made)
    second.set_adapter("second")
    expect(lambda: made.set_adapter("second"), second.merge_and_unload())
    both = copy.deepcopy(made)
    both.base_model.set_adapter(["default", "second"])
    expect(lambda: made.base_model.set_adapter(["default", "second"]), both.merge_and_unload())
    with made.disable_adapter():
        expect(lambda: None, base("llama"))


@pytest.mark.parametrize("scheme", [None, "dynamic"])
def test_the_stand_in_of_fp8_holds_what_the_real_one_holds(scheme):
    """Its kernels need a GPU; its names, shapes and types are there without."""
    from transformers.integrations.finegrained_fp8 import FP8Linear

    linear = nn.Linear(40, 24)
    ours = packing.FP8(linear, (16, 16), scheme)
    real = FP8Linear(40, 24, block_size=(16, 16), activation_scheme="dynamic", has_bias=True)
    held = [{name: (tuple(p.shape), p.dtype) for name, p in m.named_parameters()} for m in (ours, real)]
    assert held[0] == held[1] and ours.activation_scale is real.activation_scale is None
    assert isinstance(real, nn.Linear) and (real.in_features, real.out_features) == (40, 24)
    step = float((ours.plain()[0] - linear.weight).detach().abs().max() / linear.weight.detach().abs().max())
    assert 0 < step <= 2**-4, "three digits behind the first"


def test_learned_prompts_are_refused():
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    made = peft.get_peft_model(base("llama"), config)
    with pytest.raises(aw.AttribError, match="get_base_model"):
        aw.load(made, tokenizer=families.tokenizer("llama"))
    assert aw.load(made.get_base_model(), tokenizer=families.tokenizer("llama")).check.ok


def test_folders_of_packed_weights_and_of_adapters(tmp_path):
    """What save_pretrained wrote is loaded by its folder; an adapter's beside the base that it names."""
    hf = four("llama", torch.float32, tmp_path / "base")
    hf.save_pretrained(tmp_path / "packed")
    families.tokenizer("llama").save_pretrained(tmp_path / "packed")
    families.tokenizer("llama").save_pretrained(tmp_path / "base")
    assert aw.load(str(tmp_path / "packed")).check.ok
    whole = tf.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    made = peft.get_peft_model(whole, adapter(), autocast_adapter_dtype=False)
    made.save_pretrained(tmp_path / "adapter")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = aw.load(str(tmp_path / "adapter"))
    assert model.check.ok
    a = aw.attribute(model.run(families.PROMPT), TARGET)
    merged = aw.load(made.merge_and_unload(), tokenizer=families.tokenizer("llama"))
    b = aw.attribute(merged.run(families.PROMPT), TARGET)
    assert a.exact and float((a.values - b.values).abs().max()) <= 1e-5 * float(b.values.abs().sum())


def test_widths_that_a_packing_does_not_take(tmp_path):
    """A model that does not run is told from one whose parts are elsewhere."""
    config = base("llama").config
    config.intermediate_size = 96
    tf.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    packing = tf.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    hf = tf.AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=packing, device_map="cpu")
    if _runs(copy.deepcopy(hf)):
        assert aw.load(hf, tokenizer=families.tokenizer("llama")).check.ok
        return
    with pytest.raises(aw.AnatomyError, match="does not run by itself"):
        aw.load(hf, tokenizer=families.tokenizer("llama"))


def _runs(hf):
    try:
        with torch.no_grad():
            hf.eval()(torch.arange(1, 10)[None])
    except RuntimeError:
        return False
    return True
