"""Folders of dictionary_learning: every class by its own formula, and nothing in a file executed."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.saes.formats import format_of
from attrib_widgets.words.errors import AttribError

WIDTH, COUNT, K = 6, 18, 4


def linear(**others) -> dict[str, torch.Tensor]:
    return {
        "encoder.weight": torch.randn(COUNT, WIDTH), "encoder.bias": torch.randn(COUNT) * 0.1,
        "decoder.weight": torch.randn(WIDTH, COUNT), **others,
    }  # fmt: skip


def matrices(**others) -> dict[str, torch.Tensor]:
    return {
        "W_enc": torch.randn(WIDTH, COUNT), "b_enc": torch.randn(COUNT), "W_dec": torch.randn(COUNT, WIDTH),
        "b_dec": torch.randn(WIDTH), **others,
    }  # fmt: skip


def state(name: str) -> dict[str, torch.Tensor]:
    """The tensors of a class."""
    torch.manual_seed(0)
    top = {"k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.7)}
    if name == "GatedAutoEncoder":
        extra = {key: torch.randn(COUNT) for key in ("r_mag", "gate_bias", "mag_bias")}
        found = linear(decoder_bias=torch.randn(WIDTH), **extra)
        del found["encoder.bias"]
        return found
    return {
        "AutoEncoder": lambda: linear(bias=torch.randn(WIDTH)),
        "AutoEncoderNew": lambda: linear(**{"decoder.bias": torch.randn(WIDTH)}),
        "AutoEncoderTopK": lambda: linear(b_dec=torch.randn(WIDTH), **top),
        "BatchTopKSAE": lambda: linear(b_dec=torch.randn(WIDTH), **top),
        "MatryoshkaBatchTopKSAE": lambda: matrices(**top, group_sizes=torch.tensor([6, 12])),
        "JumpReluAutoEncoder": lambda: matrices(threshold=torch.rand(COUNT)),
    }[name]()


def formula(name: str, t: dict[str, torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(activations, output), as the class states them."""
    bias = next(t[key] for key in ("b_dec", "bias", "decoder_bias", "decoder.bias") if key in t)
    w_enc, w_dec = (t[a] if a in t else t[b].T for a, b in (("W_enc", "encoder.weight"), ("W_dec", "decoder.weight")))
    seen = x if name in ("AutoEncoderNew", "JumpReluAutoEncoder") else x - bias
    if name == "GatedAutoEncoder":
        p = seen @ w_enc
        acts = (p + t["gate_bias"] > 0) * (t["r_mag"].exp() * p + t["mag_bias"]).relu()
    else:
        acts = (seen @ w_enc + t.get("b_enc", t.get("encoder.bias"))).relu()
        if name == "AutoEncoderTopK":
            acts = acts * (acts >= acts.topk(K).values[:, -1:])
        elif "threshold" in t:
            acts = acts * (acts > t["threshold"])
    return acts, acts @ w_dec + bias


def written(folder: Path, name: str = "AutoEncoder", change: dict | None = None, t: dict | None = None, **top) -> dict:
    """A folder as dictionary_learning writes it."""
    t = state(name) if t is None else t
    folder.mkdir(parents=True, exist_ok=True)
    trainer = {
        "trainer_class": "X", "dict_class": name, "activation_dim": WIDTH, "dict_size": COUNT, "lr": 0.001, "layer": 3,
        "lm_name": "EleutherAI/pythia-70m", "submodule_name": "resid_post_layer_3", "k": K, **(change or {}),
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"io": "out"}, **top}))
    torch.save(t, folder / "ae.pt")
    return t


CLASSES = [
    "AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder", "AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE",
    "JumpReluAutoEncoder",
]  # fmt: skip


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_class_is_its_formula(tmp_path, name, dtype):
    t = {key: v.to(dtype) if v.is_floating_point() else v for key, v in state(name).items()}
    written(tmp_path, name, t=t)
    sae, x = aw.read_sae(tmp_path), torch.randn(40, WIDTH)
    acts, out = formula(name, {key: v.float() if v.is_floating_point() else v for key, v in t.items()}, x)
    assert torch.allclose(sae.encode(x), acts, atol=1e-5) and bool(acts.any())
    assert torch.allclose(sae.rebuild(x), out, atol=1e-4) and str(sae.site) == "L3.post"
    assert sae.metadata == {"model_name": "EleutherAI/pythia-70m"}


def test_a_threshold_that_was_never_found_lets_all_pass(tmp_path):
    t = {**state("BatchTopKSAE"), "threshold": torch.tensor(-1.0)}
    written(tmp_path, "BatchTopKSAE", t=t)
    x = torch.randn(9, WIDTH)
    assert torch.allclose(aw.read_sae(tmp_path).encode(x), formula("BatchTopKSAE", t, x)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "folder", "io", "site"),
    [
        ({"submodule_name": "mlp_out_layer_3"}, "a", "out", "L3.mlp"),
        ({"submodule_name": "attention_out_layer_3"}, "a", "out", "L3.attn_out"),
        ({"submodule_name": None}, "a", "out", "L3.post"),
        ({"submodule_name": None, "layer": None}, "mlp_out_layer3/10_32768", "out", "L3.mlp"),
        ({"submodule_name": None}, "a", "in", "L2.post"),
    ],
)
def test_where_it_reads(tmp_path, change, folder, io, site):
    written(tmp_path / folder, change=change, buffer={"io": io})
    assert str(aw.read_sae(tmp_path / folder).site) == site
    seen = format_of(tmp_path / folder).glance(tmp_path / folder)
    assert (str(seen.place), seen.features, seen.width) == (site, COUNT, WIDTH)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("AutoEncoder", {"dict_class": "CrossCoder"}, "dict_class = 'CrossCoder'"),
        ("AutoEncoder", {"dict_class": "GatedAutoEncoder"}, "lacks decoder_bias, gate_bias"),
        ("AutoEncoder", {"dict_class": "AutoEncoderNew"}, r"lacks decoder\.bias"),
        ("AutoEncoderTopK", {"k": 5}, r"k = 5, and ae\.pt has"),
        ("AutoEncoderTopK", {"k": "4"}, "k = '4', which is no whole number"),
        ("AutoEncoderTopK", {"trainer_class": "BatchTopKTrainer"}, "dict_class = 'AutoEncoderTopK' and trainer_class"),
        ("BatchTopKSAE", {"trainer_class": "TopKTrainer"}, "'TopKTrainer', which makes AutoEncoderTopK"),
        ("AutoEncoder", {"activation_dim": 7}, "activation_dim = 7, and the encoder.* has 6"),
        ("AutoEncoder", {"dict_size": 20}, "dict_size = 20, and the encoder.* has 18"),
        ("AutoEncoder", {"layer": 4}, "layer = 4, and 'resid_post_layer_3'"),
        ("AutoEncoder", {"submodule_name": "q_proj_3"}, "q_proj_3.*cannot be read"),
        ("AutoEncoder", {"submodule_name": None, "layer": None}, "does not say where"),
        ("AutoEncoder", {"whiten": True}, "whiten = True"),
    ],
)
def test_what_is_not_read_is_refused_by_name(tmp_path, name, change, said):
    written(tmp_path, name, change)
    with pytest.raises(AttribError, match=said):
        aw.read_sae(tmp_path)


def test_configs_of_another_shape(tmp_path):
    written(tmp_path, trainer=None)
    with pytest.raises(AttribError, match=r"trainer, but None"):
        aw.read_sae(tmp_path)
    written(tmp_path, buffer={"io": "in_and_out"})
    with pytest.raises(AttribError, match="io = 'in_and_out'"):
        aw.read_sae(tmp_path)


class _Hostile:
    """Would leave a file behind where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")
def test_nothing_in_a_file_is_executed(tmp_path):
    written(tmp_path / "a")
    mark = tmp_path / "executed"
    for content in ({"bias": _Hostile(mark)}, _Hostile(mark)):
        torch.save(content, tmp_path / "a" / "ae.pt")
        with pytest.raises(AttribError, match=r"would have to run code of its own.*refused"):
            aw.read_sae(tmp_path / "a")
        torch.save(content, tmp_path / "a" / "ae.pt", _use_new_zipfile_serialization=False)
        with pytest.raises(AttribError, match=r"would have to run code of its own.*refused"):
            aw.read_sae(tmp_path / "a")
        (tmp_path / "a" / "ae.pt").write_bytes(pickle.dumps(content, protocol=4))
        with pytest.raises(AttribError, match=r"cannot be read: Unsupported operand 149\. Write"):
            aw.read_sae(tmp_path / "a")
    assert not mark.exists()


def test_files_that_claim_more_than_they_hold(tmp_path):
    t = written(tmp_path)
    torch.save({**t, "bias": torch.zeros(1).expand(1 << 40)}, tmp_path / "ae.pt")
    with pytest.raises(AttribError, match=r"bias in .* is no plain tensor"):
        aw.read_sae(tmp_path)
    torch.save({**t, "bias": torch.zeros(6).to_sparse()}, tmp_path / "ae.pt")
    with pytest.raises(AttribError, match=r"ae\.pt"):
        aw.read_sae(tmp_path)
    with zipfile.ZipFile(tmp_path / "ae.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("archive/data.pkl", bytes(50_000_000))
    with pytest.raises(AttribError, match="unpacks to far more"):
        aw.read_sae(tmp_path)
    for broken in (b"", b"no tensors at all", b"PK\x03\x04"):
        (tmp_path / "ae.pt").write_bytes(broken)
        with pytest.raises(AttribError, match=r"ae\.pt cannot be read"):
            aw.read_sae(tmp_path)
    torch.save([1, 2], tmp_path / "ae.pt")
    with pytest.raises(AttribError, match="a list, not tensors by name"):
        aw.read_sae(tmp_path)


def test_weights_that_are_no_numbers(tmp_path):
    t = written(tmp_path)
    for dtype in (torch.float32, torch.float16):
        t["bias"] = torch.tensor([0, torch.nan, 0, 0, 0, 0], dtype=dtype)
        torch.save(t, tmp_path / "ae.pt")
        with pytest.raises(AttribError, match=r"bias in .*not finite"):
            aw.read_sae(tmp_path)


@pytest.mark.parametrize(
    ("name", "key", "value", "said"),
    [
        ("AutoEncoder", "encoder.weight", [1.0], r"encoder\.weight in .* is a list, no floating point numbers"),
        ("GatedAutoEncoder", "r_mag", [1.0], "r_mag in .* is a list, no floating point numbers"),
        ("AutoEncoderTopK", "k", [K], r"ae\.pt has \[4\]"),
        ("AutoEncoderTopK", "k", torch.tensor([K, K]), r"ae\.pt has tensor"),
    ],
)
def test_what_is_no_tensor_is_refused_by_name(tmp_path, name, key, value, said):
    t = written(tmp_path, name)
    torch.save({**t, key: value}, tmp_path / "ae.pt")
    with pytest.raises(AttribError, match=said):
        aw.read_sae(tmp_path)
