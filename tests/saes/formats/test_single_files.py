"""Dictionaries of one file each, whose names say what they read: OpenAI, Qwen Scope, Goodfire, the heads of 2024."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.words.errors import AttribError
from fixtures import families

WIDTH, COUNT, K = 6, 18, 5


def saved(file: Path, **tensors) -> dict:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, file)
    return tensors


def four(encoder: str, decoder: str, bias: str, after: str, turned: bool = True) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    w_enc, w_dec = torch.randn(COUNT, WIDTH), torch.randn(WIDTH, COUNT)
    return {
        encoder: w_enc if turned else w_enc.T.contiguous(), decoder: w_dec if turned else w_dec.T.contiguous(),
        bias: torch.randn(COUNT) * 0.3, after: torch.randn(WIDTH),
    }  # fmt: skip


def openai(file: Path, activation: str | None = "TopK", post: str = "ReLU", **others) -> dict:
    t = four("encoder.weight", "decoder.weight", "latent_bias", "pre_bias")
    t["stats_last_nonzero"] = torch.zeros(COUNT, dtype=torch.int64)
    said: dict = {} if activation is None else {"activation": activation}
    if activation == "TopK":
        said["activation_state_dict"] = OrderedDict(k=K, postact_fn=post)
        said |= {"activation.k": K, "activation.postact_fn": post}
    return saved(file, **{**t, **said, **others})


@pytest.mark.parametrize(
    ("folder", "site"),
    [
        ("resid_post_mlp_v5_32k/autoencoders", "L6.post"), ("resid_post_attn_v4/autoencoders", "L6.mid"),
        ("resid_delta_mlp", "L6.mlp"), ("resid_delta_attn_v5_128k", "L6.attn_out"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("activation", "post"), [("TopK", "ReLU"), ("TopK", "Identity"), ("ReLU", ""), (None, "")])
def test_openai(tmp_path, folder, site, activation, post):
    t, x = openai(tmp_path / folder / "6.pt", activation, post), 3 * torch.randn(40, WIDTH) + 1
    sae = aw.read_sae(tmp_path / folder)
    mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
    seen = (x - mean) / (std + 1e-5) if activation == "TopK" else x
    pre = (seen - t["pre_bias"]) @ t["encoder.weight"].T + t["latent_bias"]
    acts = pre if post == "Identity" else pre.relu()
    acts = acts * (pre >= pre.topk(K).values[:, -1:]) if activation == "TopK" else acts
    out = acts @ t["decoder.weight"].T + t["pre_bias"]
    out = out * std + mean if activation == "TopK" else out
    assert str(sae.site) == site and torch.allclose(sae.encode(x), acts, atol=1e-4)
    assert torch.allclose(sae.rebuild(x), out, atol=1e-4) and sae.metadata == {"model_name": "gpt2"}


def test_a_tied_decoder_is_the_encoder(tmp_path):
    t = openai(tmp_path / "resid_post_mlp" / "0.pt", "ReLU")
    t["decoder.linear.weight"] = t["encoder.weight"]
    del t["decoder.weight"]
    torch.save(t, tmp_path / "resid_post_mlp" / "0.pt")
    assert torch.equal(aw.read_sae(tmp_path).w_dec, t["encoder.weight"])


@pytest.mark.parametrize(
    ("activation", "others", "said"),
    [
        ("Identity", {}, "activation = 'Identity'"),
        ("TopK", {"activation.k": 6}, r"TopK and k = \[5, 6\]"),
        ("TopK", {"activation.postact_fn": "Tanh"}, "postact_fn"),
        ("TopK", {"activation_state_dict": {}, "activation.k": "5"}, r"TopK and k = \['5'\]"),
        ("TopK", {"activation_state_dict": {"k": K, "postact_fn": ["ReLU"]}}, "postact_fn"),
        ("ReLU", {"encoder.weight": [1.0, 2.0]}, "encoder.weight in .* is a list, no floating point numbers"),
        ("ReLU", {"gate": torch.zeros(2)}, "holds gate"),
        ("ReLU", {"latent_bias": torch.full((COUNT,), torch.nan)}, "latent_bias in .*not finite"),
    ],
)
def test_what_of_openai_is_not_read_is_refused(tmp_path, activation, others, said):
    openai(tmp_path / "resid_post_mlp" / "6.pt", activation, **others)
    with pytest.raises(AttribError, match=said):
        aw.read_sae(tmp_path)


def test_places_of_openai_that_are_not_said_or_not_read(tmp_path):
    openai(tmp_path / "mine" / "6.pt")
    with pytest.raises(AttribError, match=r"does not say where.*site=\"L6\.post\""):
        aw.read_sae(tmp_path / "mine")
    assert str(aw.read_sae(tmp_path / "mine", site="L6.post").site) == "L6.post"
    openai(tmp_path / "mlp_post_act_v5" / "6.pt")
    with pytest.raises(AttribError, match=r"mlp_post_act.*cannot be read here"):
        aw.read_sae(tmp_path / "mlp_post_act_v5")


def test_qwen_scope(tmp_path):
    root = tmp_path / "models--Qwen--SAE-Res-Qwen3-1.7B-Base-W32K-L0_5" / "snapshots" / "abc"
    for layer in (0, 1):
        t = saved(root / f"layer{layer}.sae.pt", **four("W_enc", "W_dec", "b_enc", "b_dec"))
    x = torch.randn(40, WIDTH)
    pre = (x @ t["W_enc"].T + t["b_enc"]).relu()
    acts = pre * (pre >= pre.topk(K).values[:, -1:])
    for sae in (aw.read_sae(root, site="L1"), aw.read_sae(root / "layer1.sae.pt")):
        assert str(sae.site) == "L1.post" and sae.k == 5 and sae.metadata == {"model_name": "Qwen3-1.7B-Base"}
        assert torch.allclose(sae.encode(x), acts, atol=1e-5)
        assert torch.allclose(sae.rebuild(x), acts @ t["W_dec"].T + t["b_dec"], atol=1e-4)
    with pytest.raises(AttribError, match=r"holds 2 dictionaries: layer0\.sae\.pt, layer1"):
        aw.read_sae(root)
    saved(tmp_path / "mine" / "layer1.sae.pt", **t)
    with pytest.raises(AttribError, match="does not say how many features are kept"):
        aw.read_sae(tmp_path / "mine")
    saved(root / "layer1.sae.pt", **four("W_enc", "W_dec", "b_enc", "b_dec", turned=False))
    with pytest.raises(AttribError, match=r"is \[6, 18\], and is kept as \[feature, d_in\]"):
        aw.read_sae(root / "layer1.sae.pt")


@pytest.mark.parametrize("own", ["_linear", ""])
@pytest.mark.parametrize("suffix", ["pt", "pth"])
def test_goodfire(tmp_path, own, suffix):
    names = (f"encoder{own}.weight", f"decoder{own}.weight", f"encoder{own}.bias", f"decoder{own}.bias")
    t = saved(tmp_path / f"Llama-3.1-8B-Instruct-SAE-l19.{suffix}", **four(*names))
    sae, x = aw.read_sae(tmp_path), torch.randn(40, WIDTH)
    acts = (x @ t[names[0]].T + t[names[2]]).relu()
    assert str(sae.site) == "L19.post" and sae.metadata == {"model_name": "Llama-3.1-8B-Instruct"}
    assert torch.allclose(sae.encode(x), acts, atol=1e-5)
    assert torch.allclose(sae.rebuild(x), acts @ t[names[1]].T + t[names[3]], atol=1e-4)


CFG = {
    "act_size": WIDTH, "dict_size": COUNT, "act_name": "blocks.1.attn.hook_z", "layer": 1, "site": "z",
    "model_name": "gpt2-small", "l1_coeff": 1.8, "anthropic_neuron_resample_scale": 0.2, "head": "cat",
    "concat_heads": True, "enc_dtype": "fp32", "lr": 0.001, "reinit": "reinit", "resample_scheme": "anthropic",
    "dead_direction_cutoff": 1e-06, "b_dec_init": "zeros", "sched_lr_factor": 0.1, "buffer_size": 1572864,
    "name": "gpt2-small_1_18_z",
}  # fmt: skip


def heads(folder: Path, change: dict | None = None, width: int = WIDTH) -> dict:
    torch.manual_seed(0)
    t = saved(
        folder / "gpt2-small_L1_Hcat_z_v9.pt", W_enc=torch.randn(width, COUNT), W_dec=torch.randn(COUNT, width),
        b_enc=torch.randn(COUNT), b_dec=torch.randn(width),
    )  # fmt: skip
    config = CFG | {"act_size": width} | (change or {})
    (folder / "gpt2-small_L1_Hcat_z_v9_cfg.json").write_text(json.dumps(config))
    return t


def test_the_heads_of_2024(tmp_path):
    t, x = heads(tmp_path), torch.randn(40, WIDTH)
    sae = aw.read_sae(tmp_path)
    acts = ((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]).relu()
    assert str(sae.site) == "L1.z" and sae.coordinates == "without value bias"
    assert torch.allclose(sae.encode(x), acts, atol=1e-5)
    assert torch.allclose(sae.rebuild(x), acts @ t["W_dec"] + t["b_dec"], atol=1e-4)


def test_the_heads_of_2024_are_clicked_through_a_head(tmp_path):
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    heads(tmp_path, {"model_name": ""}, model.d_model)
    model.saes.add(tmp_path)
    found = aw.attribute(model.run(families.PROMPT), " Paris").features("L1H2")
    assert found.site == "L1.z" and "bias of the values" in found.labels
    assert abs(found.mismatch) <= 1e-6 * (1 + float(found.values.abs().sum()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"act_name": "blocks.1.attn.hook_q"}, "hook_q.*cannot be read"),
        ({"act_name": None}, "act_name = None"),
        ({"layer": 2}, "layer = 2, and 'blocks.1"),
        ({"dict_size": 20}, r"dict_size = 20, and W_enc.* has 18"),
        ({"act_size": 7}, r"act_size = 7, and W_enc.* has 6"),
        ({"head": 3}, "head = 3.*one head alone"),
        ({"head": 0}, "head = 0.*one head alone"),
        ({"head": None, "concat_heads": False}, "concat_heads = False.*one head alone"),
        ({"per_head": True}, "per_head = True"),
        ({"topk": 8}, "topk = 8"),
        ({"normalize_acts": True}, "normalize_acts = True"),
    ],
)
def test_what_of_the_heads_of_2024_is_not_read_is_refused(tmp_path, change, said):
    heads(tmp_path, change)
    with pytest.raises(AttribError, match=said):
        aw.read_sae(tmp_path)
