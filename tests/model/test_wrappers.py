"""What is put around a model, what it is loaded from, and what is wrong with the model itself."""

from __future__ import annotations

import json
import logging
import shutil
from importlib.util import find_spec

import pytest
import torch
import transformers as tf
from torch import nn

import attrib_widgets as aw
from attrib_widgets.model.loading import DEMO, unwrapped
from fixtures import families

TOKENIZER = families.tokenizer("llama")


def around(name, where, inside):
    """A wrapper of that class name that keeps the model at ``where``; ``a|b`` is b, which is an a."""
    kinds = (nn.Module,)
    for one in name.split("|"):
        kinds = (type(one, kinds, {}),)
    found = kinds[0]()
    setattr(found, where, inside)
    return found


@pytest.mark.parametrize(
    "wrap",
    [
        lambda hf: torch.compile(hf, backend="eager"),
        nn.DataParallel,
        lambda hf: torch.compile(nn.DataParallel(hf), backend="eager"),
        lambda hf: around("DistributedDataParallel", "module", hf),
        lambda hf: around("DeepSpeedEngine", "module", around("OptimizedModule", "_orig_mod", hf)),
        lambda hf: around("AutoModelForCausalLMWithValueHead", "pretrained_model", hf),
    ],
)
def test_a_wrapper_that_changes_nothing_is_taken_off(wrap):
    hf = families.build("llama")
    model = aw.load(wrap(hf), tokenizer=TOKENIZER)
    assert model.hf is hf and model.check.ok
    assert aw.attribute(model.run(families.PROMPT), " Paris").exact


class Adapted(nn.Module):
    """As PEFT's classes behave, which are known by their name."""

    def __init__(self, hf, learned=False):
        super().__init__()
        self.inside = hf
        self.active_peft_config = type("Config", (), {"is_prompt_learning": learned})()

    def get_base_model(self):
        return self.inside


@pytest.mark.parametrize("names", [("PeftModel",), ("PeftModel", "PeftModelForCausalLM"), ("PeftMixedModel",)])
def test_adapters_stay_where_they_are(names):
    kind = Adapted
    for name in names:
        kind = type(name, (kind,), {})
    hf = families.build("llama")
    assert aw.load(kind(hf), tokenizer=TOKENIZER).hf is hf
    assert unwrapped(nn.DataParallel(kind(hf))) is hf
    with pytest.raises(aw.AttribError, match="get_base_model"):
        aw.load(kind(hf, learned=True), tokenizer=TOKENIZER)


def test_what_cannot_be_taken_off_says_what_to_give():
    hf = families.build("llama")
    with pytest.raises(aw.AttribError, match="before it was sharded"):
        aw.load(around("FullyShardedDataParallel", "module", hf), tokenizer=TOKENIZER)
    with pytest.raises(aw.AttribError, match=r"Give the one inside of it: model\.core\.") as caught:
        aw.load(around("Mine", "core", hf), tokenizer=TOKENIZER)
    assert "Mine is not a transformers language model" in str(caught.value)
    with pytest.raises(aw.AttribError, match="AutoModelForCausalLM"):
        aw.load(nn.Linear(2, 2), tokenizer=TOKENIZER)


# -- checkpoints ------------------------------------------------------------------------------------------------------
def folder_with(path, method):
    families.build("llama").save_pretrained(path)
    TOKENIZER.save_pretrained(path)
    config = json.loads((path / "config.json").read_text())
    config["quantization_config"] = method
    (path / "config.json").write_text(json.dumps(config))
    return str(path)


@pytest.mark.parametrize(
    ("method", "package"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "awq", "bits": 4}, "gptqmodel"),
        ({"quant_method": "gptq", "bits": 4}, "optimum"),
        ({"quant_method": "compressed-tensors", "config_groups": {}}, "compressed-tensors"),
        ({"quant_method": "torchao", "quant_type": "int8_weight_only"}, "torchao"),
        ({"quant_method": "quanto", "weights": "int8"}, "optimum-quanto"),
    ],
)
def test_a_quantiser_that_is_not_installed_is_named(tmp_path, method, package):
    if find_spec(package.replace("-", "_").replace("optimum_quanto", "optimum")) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(aw.AttribError) as caught:
        aw.load(folder_with(tmp_path, method))
    assert f"pip install {package}" in caught.value.hint and method["quant_method"] in caught.value.hint


@pytest.mark.parametrize("trouble", [RuntimeError("GPU is required"), NotImplementedError("no GPU"), OSError("gone")])
def test_whatever_loading_raises_is_one_sentence(tmp_path, monkeypatch, trouble):
    def fails(*args, **options):
        raise trouble

    monkeypatch.setattr(tf.AutoModelForCausalLM, "from_pretrained", fails)
    with pytest.raises(aw.AttribError, match=str(trouble)) as caught:
        aw.load(folder_with(tmp_path, {"quant_method": "spqr"}))
    assert "quantised (spqr)" in caught.value.hint


def test_an_adapter_folder_without_peft(tmp_path):
    if find_spec("peft") is not None:
        pytest.skip("peft is installed")
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(aw.AttribError, match="pip install peft"):
        aw.load(str(tmp_path))


# -- a model that does not run ---------------------------------------------------------------------------------------
def float_head(hf):
    hf.to(torch.bfloat16)
    hf.lm_head.float()


def float_norm(hf):
    hf.to(torch.bfloat16)
    hf.model.norm.float()


def raises(hf):
    def forward(*args, **options):
        raise RuntimeError("nothing works")

    hf.model.layers[1].mlp.forward = forward


@pytest.mark.parametrize(
    ("change", "said"),
    [(float_head, "bfloat16 and float32"), (float_norm, "bfloat16 and float32"), (raises, "nothing works")],
)
def test_a_model_that_does_not_run_is_no_matter_of_anatomy(change, said):
    hf = families.build("llama")
    change(hf)
    with pytest.raises(aw.AnatomyError, match=said) as caught:
        aw.load(hf, tokenizer=TOKENIZER)
    assert "does not run by itself" in str(caught.value) and "add up" not in str(caught.value)


def test_a_model_that_returns_tuples():
    hf = families.build("llama")
    hf.config.return_dict = False
    with pytest.raises(aw.AnatomyError, match="return_dict = True"):
        aw.load(hf, tokenizer=TOKENIZER)


def test_a_model_that_reads_images_too_is_loaded_in_silence(capfd):
    logger = logging.getLogger("transformers")
    before, level = list(logger.filters), logger.level
    tf.utils.logging.set_verbosity_warning()
    try:
        model = aw.load(families.build("gemma3_images"), tokenizer=families.tokenizer("gemma3_images"))
    finally:
        logger.setLevel(level)
    assert model.check.ok
    printed = "".join(capfd.readouterr())
    assert "Supported models are" not in printed and len(printed) < 500
    assert logger.filters == before


SMALL = dict(hidden_size=32, num_attention_heads=2, num_hidden_layers=2, intermediate_size=32)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda size: tf.BertModel(tf.BertConfig(vocab_size=size, **SMALL)), "prints no logits of tokens"),
        (
            lambda size: tf.LlamaForSequenceClassification(tf.LlamaConfig(vocab_size=size, **SMALL)),
            "prints no logits of tokens",
        ),
        (
            lambda size: tf.T5ForConditionalGeneration(
                tf.T5Config(vocab_size=size, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
            ),
            "reads through an encoder",
        ),
    ],
)
def test_a_model_that_continues_no_text_says_so(make, said):
    with pytest.raises(aw.AnatomyError, match=f"{said}.*continues a text.*AutoModelForCausalLM"):
        aw.load(make(len(TOKENIZER)), tokenizer=TOKENIZER)


def test_a_tokenizer_by_its_name():
    model = aw.load("demo", tokenizer="demo")
    assert model.encode("The capital") == aw.load("demo").encode("The capital")
    with pytest.raises(aw.TokenizerError, match="'nowhere/at-all' could not be loaded"):
        aw.load("demo", tokenizer="nowhere/at-all")


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("model.safetensors", b""),
        ("config.json", b"3"),
        ("config.json", b'{"model_type": "gpt2", "n_layer": "five"}'),
        ("config.json", b'{"model_type": "gpt2", "activation_function": "nope"}'),
        ("config.json", b'{"model_type": "gpt2", "quantization_config": ["x"]}'),
        ("tokenizer.json", b"{}"),
    ],
)
def test_a_folder_with_a_damaged_file_is_refused_by_name(tmp_path, name, held):
    folder = tmp_path / "mine"
    shutil.copytree(DEMO, folder)
    (folder / name).write_bytes(held)
    with pytest.raises(aw.AttribError, match=r"mine' could not be loaded: .*[^.]\. Give a folder"):
        aw.load(str(folder))


@pytest.mark.parametrize("kind", [None, "pt", "np"])
def test_what_a_tokenizer_returns_is_a_prompt(kind):
    model = aw.load("demo")
    given = model.tokenizer("The capital of France is", return_tensors=kind)
    assert model.run(given).ids == model.run("The capital of France is").ids
    assert aw.attribute(given, " Paris", model=model).exact
