"""Llama Scope, first release and later: scales, thresholds as logarithms, and units of the decoder's rows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import attrib_widgets as aw
from attrib_widgets.saes.formats import format_of
from attrib_widgets.words.errors import AttribError

WIDTH, COUNT, K = 6, 18, 5
HOOK, OUT = "blocks.3.hook_resid_post", "blocks.3.hook_mlp_out"
CONFIG = {
    "sae_type": "sae", "hook_point_in": HOOK, "hook_point_out": HOOK, "use_glu_encoder": False, "d_model": WIDTH,
    "expansion_factor": 3.0, "use_decoder_bias": True, "act_fn": "jumprelu", "norm_activation": "inference",
    "sparsity_include_decoder_norm": False, "top_k": K, "jumprelu_threshold_window": 2.0,
    "strict_loading": True, "sparsity_threshold_for_csr": 0.05, "sae_pretrained_name_or_path": "somewhere/x",
}  # fmt: skip


def tensors(**others: torch.Tensor) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "W_E": torch.randn(WIDTH, COUNT), "b_E": torch.randn(COUNT), "W_D": torch.randn(COUNT, WIDTH),
        "b_D": torch.randn(WIDTH), **others,
    }  # fmt: skip


def written(
    folder: Path, change: dict | None = None, second: bool = False, **others: torch.Tensor
) -> tuple[dict, dict]:
    """A folder of the third release, or with the names of the second; its config and tensors."""
    config, t = CONFIG | (change or {}), tensors(**others)
    if config["act_fn"] == "jumprelu":
        t["log_jumprelu_threshold"] = torch.randn(COUNT) * 0.3
    for key in (
        {config["hook_point_in"], config["hook_point_out"]} if config["norm_activation"] == "dataset-wise" else ()
    ):
        t[f"dataset_average_activation_norm.{key}"] = torch.tensor(7.5 if key == HOOK else 3.0)
    if not config["use_decoder_bias"]:
        del t["b_D"]
    kept = dict(t)
    if second:
        names = {"W_E": "encoder.weight", "b_E": "encoder.bias", "W_D": "decoder.weight", "b_D": "decoder.bias"}
        kept = {
            names.get(key, key): value.T.contiguous() if key.startswith("W_") else value for key, value in t.items()
        }
    elif "log_jumprelu_threshold" in kept:
        kept["activation_function.log_jumprelu_threshold"] = kept.pop("log_jumprelu_threshold")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(kept, folder / "sae_weights.safetensors")
    return config, t


def formula(config: dict, t: dict, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(activations, output), as llamascopium states them: scaled, encoded, chosen, decoded, scaled back."""
    root = math.sqrt(WIDTH)
    into = out = torch.ones(1)
    if config["norm_activation"] == "dataset-wise":
        into, out = (
            root / t[f"dataset_average_activation_norm.{config[key]}"] for key in ("hook_point_in", "hook_point_out")
        )
    if config["norm_activation"] == "token-wise":
        into = out = root / x.norm(dim=-1, keepdim=True)
    pre = (x * into) @ t["W_E"] + t["b_E"]
    units = t["W_D"].norm(dim=1) if config["sparsity_include_decoder_norm"] else torch.ones(COUNT)
    pre = pre * units
    acts = pre.relu()
    if config["act_fn"] == "jumprelu":
        acts = pre * (pre > t["log_jumprelu_threshold"].exp())
    if config["act_fn"] == "topk":
        acts = acts * (acts >= acts.topk(K).values[..., -1:])
    acts = acts / units
    return acts, (acts @ t["W_D"] + (t["b_D"] if config["use_decoder_bias"] else 0)) / out


@pytest.mark.parametrize("act", ["relu", "jumprelu", "topk"])
@pytest.mark.parametrize("norm", ["inference", "dataset-wise", "token-wise"])
@pytest.mark.parametrize("units", [True, False])
@pytest.mark.parametrize("second", [True, False])
def test_every_setting_is_its_formula(tmp_path, act, norm, units, second):
    said = {
        "act_fn": act,
        "norm_activation": norm,
        "sparsity_include_decoder_norm": units,
        "use_decoder_bias": not units,
    }
    config, t = written(tmp_path, said, second)
    sae, x = aw.read_sae(tmp_path), 2 * torch.randn(40, WIDTH)
    acts, out = formula(config, t, x)
    assert torch.allclose(sae.encode(x), acts, atol=1e-4) and bool(acts.any())
    assert torch.allclose(sae.rebuild(x), out, atol=1e-4) and str(sae.site) == "L3.post"
    for feature in (0, 9):
        assert torch.allclose(sae.column(x, feature), acts[:, feature], atol=1e-4)
    seen = format_of(tmp_path).glance(tmp_path)
    assert (str(seen.place), seen.features, seen.width) == ("L3.post", COUNT, WIDTH)


@pytest.mark.parametrize("act", ["relu", "topk", "jumprelu"])
@pytest.mark.parametrize("norm", ["inference", "dataset-wise", "token-wise"])
@pytest.mark.parametrize("units", [True, False])
def test_a_gated_encoder_is_its_formula(tmp_path, act, norm, units):
    """Of a transcoder too. What it keeps is known, and no pre-activation that is linear in what it reads."""
    gate = {"W_E_glu": torch.randn(WIDTH, COUNT), "b_E_glu": torch.randn(COUNT)}
    places = {} if norm == "token-wise" else {"hook_point_out": OUT}
    change = {"use_glu_encoder": True, "act_fn": act, "norm_activation": norm, "sparsity_include_decoder_norm": units}
    _, t = written(tmp_path, change | places, **gate)
    read, x = aw.read_sae(tmp_path), 2 * torch.randn(30, WIDTH)
    root, length = math.sqrt(WIDTH), x.norm(dim=-1, keepdim=True)
    factors = {"inference": (1, 1), "dataset-wise": (root / 7.5, root / 3), "token-wise": (root / length,) * 2}
    into, out = factors[norm]
    pre = (x * into @ t["W_E"] + t["b_E"]) * (x * into @ t["W_E_glu"] + t["b_E_glu"]).sigmoid()
    by = pre * (t["W_D"].norm(dim=1) if units else 1)
    kept = by > (t["log_jumprelu_threshold"].exp() if act == "jumprelu" else 0)
    if act == "topk":
        kept = kept & (by >= by.topk(K).values[:, -1:])
    acts = pre * kept
    assert torch.allclose(read.encode(x), acts, atol=1e-5) and bool(acts.any())
    assert torch.allclose(read.rebuild(x), (acts @ t["W_D"] + t["b_D"]) / out, atol=1e-4)
    assert f"({act if act != 'relu' else 'standard'}, gated by a second encoder)" in repr(read)
    with pytest.raises(AttribError, match="only the activations are known"):
        read.pre_activations(x)
    file = tmp_path / "sae_weights.safetensors"
    save_file(load_file(file) | {"b_E_glu": torch.randn(3)}, file)
    with pytest.raises(AttribError, match=r"b_E_glu \[3\], and the encoder \[6, 18\]"):
        aw.read_sae(tmp_path)


def test_another_place_to_write_makes_a_transcoder(tmp_path):
    said = {"hook_point_in": "blocks.3.mlp.hook_in", "hook_point_out": OUT, "norm_activation": "dataset-wise"}
    config, t = written(tmp_path, said)
    sae, x = aw.read_sae(tmp_path), torch.randn(40, WIDTH)
    acts, out = formula(config, t, x)
    assert (str(sae.site), str(sae.writes)) == ("L3.mlp_in", "L3.mlp")
    assert torch.allclose(sae.encode(x), acts, atol=1e-4) and torch.allclose(sae.rebuild(x), out, atol=1e-4)


@pytest.mark.parametrize("units", [True, False])
def test_the_first_release(tmp_path, units):
    """Its threshold is in the units of activations that are not scaled."""
    t = tensors()
    config = {
        "d_model": WIDTH, "d_sae": COUNT, "dataset_average_activation_norm": {"in": 7.5, "out": 3.0},
        "hook_point_in": HOOK, "hook_point_out": HOOK, "jump_relu_threshold": 0.4,
        "sparsity_include_decoder_norm": units,
    }  # fmt: skip
    names = {
        "encoder.weight": t["W_E"].T,
        "encoder.bias": t["b_E"],
        "decoder.weight": t["W_D"].T,
        "decoder.bias": t["b_D"],
    }
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "hyperparams.json").write_text(json.dumps(config))
    save_file({key: value.contiguous() for key, value in names.items()}, tmp_path / "checkpoints" / "final.safetensors")
    sae, x = aw.read_sae(tmp_path), torch.randn(40, WIDTH)
    into, out = math.sqrt(WIDTH) / 7.5, math.sqrt(WIDTH) / 3.0
    w_dec = t["W_D"] * into / out
    lengths = w_dec.norm(dim=1) if units else torch.ones(COUNT)
    pre = (x @ t["W_E"] + t["b_E"] / into) * lengths
    acts = pre * (pre > 0.4)
    assert torch.allclose(sae.encode(x), acts, atol=1e-4) and bool(acts.any())
    assert torch.allclose(sae.rebuild(x), acts / lengths @ w_dec + t["b_D"] / out, atol=1e-4)
    for change, said in (
        ({"jump_relu_threshold": None}, "jump_relu_threshold = None"),
        ({"dataset_average_activation_norm": None}, "in = None, which is no positive number"),
        ({"dataset_average_activation_norm": {"in": 7.5, "out": 0}}, "out = 0, which is no positive number"),
        ({"d_sae": 20}, "d_sae = 20, and .* has 18"),
        ({"act_fn": "topk"}, "act_fn = 'topk'"),
    ):
        (tmp_path / "hyperparams.json").write_text(json.dumps(config | change))
        with pytest.raises(AttribError, match=said):
            aw.read_sae(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sae_type": "lorsa"}, "sae_type = 'lorsa'"),
        ({"sae_type": "clt"}, "sae_type = 'clt'"),
        ({"sae_type": None}, "sae_type = None"),
        ({"use_glu_encoder": True}, "lacks W_E_glu, b_E_glu"),
        ({"use_glu_encoder": "yes"}, "use_glu_encoder = 'yes'"),
        ({"apply_decoder_bias_to_pre_encoder": True}, "apply_decoder_bias_to_pre_encoder = True"),
        ({"act_fn": "batchtopk"}, "act_fn = 'batchtopk'.*depends on those beside it"),
        ({"act_fn": "topk", "top_k": "5"}, "top_k = '5', which is no whole number"),
        ({"act_fn": "topk", "top_k": None}, "needs its k"),
        ({"norm_activation": "batch-wise"}, "norm_activation = 'batch-wise'.*depends on those beside it"),
        ({"norm_activation": "token-wise", "hook_point_out": OUT}, "'token-wise'.*depends on how long that is"),
        ({"sparsity_include_decoder_norm": "yes"}, "sparsity_include_decoder_norm = 'yes'"),
        ({"d_model": 7}, "d_model = 7, and W_E.* has 6"),
        ({"expansion_factor": 4}, "d_sae = 24, and W_E.* has 18"),
        ({"expansion_factor": "3"}, "expansion_factor = '3', which is no positive number"),
        ({"hook_point_in": "blocks.3.attn.hook_q"}, "hook_q.*cannot be read"),
        ({"hook_point_in": None}, "hook_point_in = None"),
        ({"whiten": True}, "whiten = True"),
    ],
)
def test_what_is_not_read_is_refused_by_name(tmp_path, change, said):
    written(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | change))
    if change.get("act_fn"):
        save_file(tensors(), tmp_path / "sae_weights.safetensors")
    with pytest.raises(AttribError, match=said):
        aw.read_sae(tmp_path)


def test_what_the_weights_lack_is_named(tmp_path):
    written(tmp_path, {"norm_activation": "inference"})
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"norm_activation": "dataset-wise"}))
    with pytest.raises(AttribError, match=f"no average norm of {HOOK}"):
        aw.read_sae(tmp_path)
    save_file(tensors(), tmp_path / "sae_weights.safetensors")
    with pytest.raises(AttribError, match="no log_jumprelu_threshold"):
        aw.read_sae(tmp_path)
    save_file(tensors(W_E_glu=torch.zeros(2)), tmp_path / "sae_weights.safetensors")
    with pytest.raises(AttribError, match="holds W_E_glu"):
        aw.read_sae(tmp_path)
