"""Dictionaries: encoding and decoding, the folder format, training on a planted dictionary, judging."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from attrib_widgets.saes import judge
from attrib_widgets.saes.formats import read_sae
from attrib_widgets.saes.formats.saelens import hook_name, site_of, write_sae
from attrib_widgets.saes.sae import SAE, keep_largest
from attrib_widgets.saes.train import SAESettings, train_sae
from attrib_widgets.words.components import component
from attrib_widgets.words.errors import AttribError


def identity(width: int, site: str = "L1.mlp") -> SAE:
    """Every number and its negative is a feature: reconstructs anything."""
    both = torch.cat([torch.eye(width), -torch.eye(width)])
    return SAE(component(site), "standard", both.T.contiguous(), torch.zeros(2 * width), both, torch.zeros(width))


def planted(samples: int, width: int = 48, features: int = 40, active: int = 3):
    """(samples, their codes, the dictionary) of sparse sums of random directions, off centre."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.nn.functional.normalize(torch.randn(features, width, generator=generator), dim=1)
    codes = torch.zeros(samples, features)
    picked = torch.rand(samples, features, generator=generator).topk(active).indices
    codes.scatter_(1, picked, 1 + torch.rand(samples, active, generator=generator))
    return codes @ rows + 0.5, codes, rows


def test_identity_dictionary_has_no_error():
    x = torch.randn(5, 7, 12)
    sae = identity(12)
    assert torch.equal(sae.decode(sae.encode(x)), x) and not sae.error(x).any()
    assert (sae.encode(x) >= 0).all() and int((sae.encode(x) > 0).sum()) == x.numel()


@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu"])
@pytest.mark.parametrize("subtract", [True, False])
def test_encoding_is_its_formula(architecture, subtract):
    torch.manual_seed(0)
    w_enc, w_dec, b_enc, b_dec = torch.randn(6, 20), torch.randn(20, 6), torch.randn(20), torch.randn(6)
    threshold = torch.rand(20) if architecture == "jumprelu" else None
    sae = SAE(component("L0"), architecture, w_enc, b_enc, w_dec, b_dec, 4, threshold, subtract)
    for x in torch.randn(30, 6):
        pre = [float((x - b_dec if subtract else x) @ w_enc[:, f] + b_enc[f]) for f in range(20)]
        expected = [max(v, 0.0) for v in pre]
        if architecture == "topk":
            least = sorted(pre)[-4]
            expected = [v if p >= least else 0.0 for v, p in zip(expected, pre, strict=True)]
        if architecture == "jumprelu":
            expected = [v if p > t else 0.0 for v, p, t in zip(expected, pre, threshold.tolist(), strict=True)]
        assert sae.encode(x).tolist() == pytest.approx(expected, abs=1e-5)
        assert torch.allclose(sae.decode(sae.encode(x)) + sae.error(x), x, atol=1e-5)


def test_the_shape_of_a_dictionary_is_checked():
    good = identity(4)
    for change, said in [
        ({"w_dec": good.w_enc}, "w_dec"),
        ({"architecture": "gated"}, "gated"),
        ({"architecture": "topk"}, "k"),
        ({"architecture": "jumprelu"}, "threshold"),
    ]:
        with pytest.raises(AttribError, match=said):
            replace(good, **change)


@pytest.mark.parametrize("site", ["L0.post", "L3.mlp", "L11.z"])
def test_sites_and_hook_names(site):
    assert str(site_of(hook_name(site))) == site
    with pytest.raises(AttribError, match="hook_attn_out"):
        site_of("blocks.1.hook_attn_out")


def test_the_stream_before_a_layer_is_the_one_behind_the_layer_before():
    assert str(site_of("blocks.4.hook_resid_pre")) == "L3.post"
    with pytest.raises(AttribError, match=r"blocks\.0\.hook_resid_pre.*before layer 0 is behind no layer"):
        site_of("blocks.0.hook_resid_pre")


@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu"])
def test_a_folder_is_read_as_it_was_written(tmp_path: Path, architecture):
    torch.manual_seed(1)
    threshold = torch.rand(9) if architecture == "jumprelu" else None
    sae = SAE(
        component("L2.attn"), architecture, torch.randn(5, 9), torch.randn(9), torch.randn(9, 5), torch.randn(5),
        k=3 if architecture == "topk" else None, threshold=threshold, metadata={"model_name": "m"},
    )  # fmt: skip
    write_sae(sae, tmp_path / "L2.attn")
    config = json.loads((tmp_path / "L2.attn" / "cfg.json").read_text())
    assert config["d_in"] == 5 and config["d_sae"] == 9 and config["reshape_activations"] == "hook_z"
    assert config["metadata"] == {"model_name": "m", "hook_name": "blocks.2.attn.hook_z"}
    again = read_sae(tmp_path / "L2.attn")
    x = torch.randn(8, 5)
    assert torch.equal(again.encode(x), sae.encode(x)) and torch.equal(again.error(x), sae.error(x))
    assert str(again.site) == "L2.z" == str(sae.site)


def test_eight_bits_are_storage_only(tmp_path: Path):
    """Matrices are rounded to three bits behind the point; whoever reads the file is told to compute in float32."""
    torch.manual_seed(2)
    rows = torch.nn.functional.normalize(torch.randn(40, 24), dim=1)
    sae = SAE(component("L1"), "topk", rows.T * 2, torch.randn(40), rows, torch.randn(24) * 300, k=4)
    write_sae(sae, tmp_path, torch.float8_e4m3fn)
    assert json.loads((tmp_path / "cfg.json").read_text())["dtype"] == "float32"
    again = read_sae(tmp_path)
    assert torch.equal(again.b_dec, sae.b_dec) and torch.equal(again.b_enc, sae.b_enc)
    assert again.w_dec.dtype == torch.float32 and 0 < float((again.w_dec - rows).abs().max()) <= 2**-5
    big = rows.abs() > 2**-6  # what is smaller is rounded to a fixed grid
    assert float(((again.w_dec - rows) / rows)[big].abs().max()) <= 2**-4
    assert (tmp_path / "sae_weights.safetensors").stat().st_size < 2 * 40 * 24 + 4 * (40 + 24) + 600


def test_what_cannot_be_read_is_refused(tmp_path: Path):
    with pytest.raises(AttribError, match=r"cfg\.json"):
        read_sae(tmp_path)
    write_sae(identity(4), tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    unread = {"architecture": "gated", "normalize_activations": "layer_norm", "rescale_acts_by_decoder_norm": True}
    for key, value in unread.items():
        (tmp_path / "cfg.json").write_text(json.dumps(config | {key: value}))
        with pytest.raises(AttribError, match=f"{key}.*{value}.*not read here"):
            read_sae(tmp_path)
    contradictions = {"d_in": "d_in = 5.*has 4", "d_sae": "d_sae = 5.*has 8"}
    for key, message in contradictions.items():
        (tmp_path / "cfg.json").write_text(json.dumps(config | {key: 5}))
        with pytest.raises(AttribError, match=message):
            read_sae(tmp_path)
    for metadata in ({}, {"hook_name": ""}):
        (tmp_path / "cfg.json").write_text(json.dumps(config | {"metadata": metadata}))
        with pytest.raises(AttribError, match="does not say where"):
            read_sae(tmp_path)
    # Older files name the place at the top.
    (tmp_path / "cfg.json").write_text(json.dumps(config | {"metadata": {}, "hook_name": "blocks.1.hook_mlp_out"}))
    assert str(read_sae(tmp_path).site) == "L1.mlp"
    for text, message in (("{", "no JSON"), ("[]", "holds a list")):
        (tmp_path / "cfg.json").write_text(text)
        with pytest.raises(AttribError, match=message):
            read_sae(tmp_path)
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    weights = load_file(tmp_path / "sae_weights.safetensors")
    save_file({k: v for k, v in weights.items() if k != "b_enc"}, tmp_path / "sae_weights.safetensors")
    with pytest.raises(AttribError, match="lacks b_enc"):
        read_sae(tmp_path)
    (tmp_path / "sae_weights.safetensors").write_bytes(b"not a file of tensors")
    with pytest.raises(AttribError, match="cannot be read"):
        read_sae(tmp_path)


def old_folder(folder: Path, changes: dict, tensors: dict | None = None) -> SAE:
    """A dictionary written to ``folder`` with a config as SAELens 3 to 5 wrote it; returned as it was before."""
    torch.manual_seed(4)
    sae = SAE(component("L1"), "standard", torch.randn(6, 20), torch.randn(20), torch.randn(20, 6), torch.randn(6))
    write_sae(sae, folder)
    if tensors:
        path = folder / "sae_weights.safetensors"
        save_file({**load_file(path), **tensors}, path)
    config = {
        "architecture": "standard", "d_in": 6, "d_sae": 20, "dtype": "torch.float32", "device": "cpu",
        "model_name": "m", "hook_name": "blocks.1.hook_resid_post", "hook_layer": 1, "hook_head_index": None,
        "prepend_bos": True, "context_size": 128, "dataset_path": "x", "dataset_trust_remote_code": True,
        "normalize_activations": "none", "activation_fn_str": "relu", "activation_fn_kwargs": {},
        "apply_b_dec_to_input": True, "finetuning_scaling_factor": False, "sae_lens_training_version": "5.3.0",
        "model_from_pretrained_kwargs": {}, "seqpos_slice": [None], "l1_coefficient": 1.0, "noise_scale": 0.0,
    }  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config | changes))
    return sae


@pytest.mark.parametrize("name", ["standard", "topk"])
@pytest.mark.parametrize("key", ["activation_fn_str", "activation_fn", "activation_fn_name"])
def test_topk_of_older_files_is_topk(tmp_path: Path, name, key):
    """Up to version 5 top-k is an activation function, and its k an argument of it."""
    changes = {"architecture": name, "activation_fn_str": None, key: "topk", "activation_fn_kwargs": {"k": 4}}
    sae, x = old_folder(tmp_path, changes), torch.randn(9, 6)
    read = read_sae(tmp_path)
    assert read.architecture == "topk" and read.k == 4 and str(read.site) == "L1.post"
    for row, found in zip(sae.pre_activations(x), read.encode(x), strict=True):
        kept = row.relu().sort(descending=True).indices[:4]
        assert torch.equal(found[kept], row[kept].relu()) and int((found > 0).sum()) <= 4
    assert int((sae.encode(x) > 0).sum()) > 2 * int((read.encode(x) > 0).sum())


@pytest.mark.parametrize("unsaid", [{}, {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4}}])
def test_the_oldest_files_do_not_say_an_architecture(tmp_path: Path, unsaid):
    sae, x = old_folder(tmp_path, unsaid), torch.randn(9, 6)
    config = json.loads((tmp_path / "cfg.json").read_text())
    del config["architecture"]
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    read = read_sae(tmp_path)
    if unsaid:
        assert read.architecture == "topk" and read.k == 4
    else:
        assert read.architecture == "standard" and torch.equal(read.encode(x), sae.encode(x))
    for name in ("threshold", "b_gate"):  # what another architecture would need is no part of a standard one
        old_folder(tmp_path, {"architecture": None}, {name: torch.ones(20)})
        with pytest.raises(AttribError, match=f"holds {name}"):
            read_sae(tmp_path)


def test_what_the_metadata_says_of_the_arithmetic_is_applied(tmp_path: Path):
    unsaid = {"activation_fn_str": None, "activation_fn_kwargs": None, "apply_b_dec_to_input": None}
    inside = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4}, "apply_b_dec_to_input": False, "note": "n"}
    sae = old_folder(tmp_path / "a", {**unsaid, "metadata": inside})
    read, x = read_sae(tmp_path / "a"), torch.randn(9, 6)
    assert read.architecture == "topk" and read.k == 4 and not read.subtract
    assert torch.allclose(read.encode(x), keep_largest(x @ sae.w_enc + sae.b_enc, 4), atol=1e-6)
    # Written again it says each of them once.
    assert read.metadata == {"note": "n"}
    write_sae(read.only(torch.arange(20) < 15), tmp_path / "b")
    assert read_sae(tmp_path / "b").n_features == 15 and read_sae(tmp_path / "b").k == 4


@pytest.mark.parametrize("inside", [True, False])
def test_the_older_name_of_the_place(tmp_path: Path, inside):
    for hook, site in (("blocks.1.hook_mlp_out", "L1.mlp"), ("blocks.2.hook_resid_pre", "L1.post")):
        said = {"hook_point": hook, "hook_point_layer": 1, "hook_point_head_index": None}
        old_folder(tmp_path / "a", {"hook_name": None, **({"metadata": said} if inside else said)})
        read = read_sae(tmp_path / "a")
        assert str(read.site) == site
        write_sae(read, tmp_path / "b")
        assert str(read_sae(tmp_path / "b").site) == site
    old_folder(tmp_path / "a", {"hook_name": None, "hook_point": "blocks.0.hook_resid_pre"})
    with pytest.raises(AttribError, match="before layer 0"):
        read_sae(tmp_path / "a")
    assert str(read_sae(tmp_path / "a", site="L1.post").site) == "L1.post"


def test_the_factor_of_finetuned_dictionaries_scales_what_is_decoded(tmp_path: Path):
    factor = torch.rand(20) + 0.5
    for name in ("scaling_factor", "finetuning_scaling_factor"):
        sae = old_folder(tmp_path, {"finetuning_scaling_factor": True}, {name: factor})
        read, x = read_sae(tmp_path), torch.randn(9, 6)
        assert torch.equal(read.encode(x), sae.encode(x))
        assert torch.allclose(read.decode(read.encode(x)), (sae.encode(x) * factor) @ sae.w_dec + sae.b_dec, atol=1e-5)
    old_folder(tmp_path, {"finetuning_scaling_factor": True})
    with pytest.raises(AttribError, match="no such factor"):
        read_sae(tmp_path)
    old_folder(tmp_path, {}, {"scaling_factor": factor})
    with pytest.raises(AttribError, match="does not say that it is used"):
        read_sae(tmp_path)
    old_folder(tmp_path, {}, {"scaling_factor": torch.ones(20)})
    assert read_sae(tmp_path).architecture == "standard"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"activation_fn_str": "tanh-relu"}, "activation_fn_str = 'tanh-relu'"),
        ({"activation_fn": "topk"}, "activation_fn_str = 'relu'"),
        ({"activation_fn_str": "topk"}, "needs its k"),
        ({"k": 4}, "k = 4.*standard dictionary has none"),
        ({"metadata": {"k": 4}}, "k = 4.*standard dictionary has none"),
        ({"metadata": {"activation_fn_str": "topk"}}, "activation_fn_str = 'relu', and its metadata.*'topk'"),
        (
            {"activation_fn_str": None, "metadata": {"activation_fn_str": "tanh-relu"}},
            "activation_fn_str = 'tanh-relu'",
        ),
        ({"metadata": {"activation_fn_kwargs": {"k": 4}}}, "activation_fn_kwargs"),
        ({"metadata": {"architecture": "gated"}}, "architecture = 'standard', and its metadata.*'gated'"),
        ({"architecture": None, "metadata": {"architecture": "gated"}}, "architecture 'gated'"),
        ({"metadata": {"normalize_activations": "layer_norm"}}, "normalize_activations.*'layer_norm'"),
        ({"metadata": {"rescale_acts_by_decoder_norm": True}}, "rescale_acts_by_decoder_norm = True"),
        ({"metadata": {"apply_b_dec_to_input": False}}, "apply_b_dec_to_input = True, and its metadata.*False"),
        (
            {"metadata": {"finetuning_scaling_factor": True}},
            "finetuning_scaling_factor = False, and its metadata.*True",
        ),
        ({"metadata": {"reshape_activations": "flat"}}, "reshape_activations = 'flat'"),
        ({"metadata": {"d_in": 7}}, "d_in = 6, and its metadata.*7"),
        ({"metadata": {"hook_name": "blocks.0.hook_resid_post"}}, "hook_name = .*, and its metadata"),
        ({"metadata": {"hook_point": "blocks.0.hook_resid_post"}}, "hook_name = .*resid_post' and hook_point = "),
        ({"metadata": {"model_from_pretrained_kwargs": {"center_writing_weights": True}}}, "center_writing_weights"),
        ({"metadata": ["gpt2"]}, "metadata = "),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4, "postact_fn": "identity"}}, "postact_fn"),
        ({"activation_fn_kwargs": {"k": 4}}, "activation_fn_kwargs"),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4}, "k": 5}, "one k"),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": "4"}}, "one k"),
        ({"hook_head_index": 0}, "hook_head_index = 0"),
        ({"metadata": {"hook_head_index": 2}}, "hook_head_index = 2"),
        ({"metadata": {"hook_name_out": "blocks.1.hook_mlp_out"}}, "hook_name_out"),
        ({"model_from_pretrained_kwargs": {"center_writing_weights": True}}, "center_writing_weights"),
        ({"apply_b_dec_to_input": "false"}, "apply_b_dec_to_input = 'false'"),
        ({"reshape_activations": "flat"}, "reshape_activations"),
        ({"normalize_activations": True}, "normalize_activations = True"),
        ({"input_gain": 2.0}, "input_gain = 2.0"),
    ],
)
def test_settings_that_change_numbers_are_refused_by_name(tmp_path: Path, changes, said):
    old_folder(tmp_path, {})
    assert read_sae(tmp_path).architecture == "standard"
    old_folder(tmp_path, changes)
    with pytest.raises(AttribError, match=said):
        read_sae(tmp_path)


def test_settings_that_are_off_and_ways_of_loading_that_change_nothing_here(tmp_path: Path):
    kwargs = {"fold_value_biases": True, "center_writing_weights": False, "dtype": "bfloat16"}
    old_folder(tmp_path, {"input_gain": None, "whitened": False, "model_from_pretrained_kwargs": kwargs})
    assert str(read_sae(tmp_path).site) == "L1.post"
    old_folder(tmp_path, {"hook_name": "blocks.1.attn.hook_z", "model_from_pretrained_kwargs": kwargs})
    with pytest.raises(AttribError, match="fold_value_biases"):
        read_sae(tmp_path)


def test_tensors_without_a_use_are_refused(tmp_path: Path):
    for name in ("W_skip", "threshold", "r_mag"):
        old_folder(tmp_path, {}, {name: torch.ones(20)})
        with pytest.raises(AttribError, match=f"holds {name}"):
            read_sae(tmp_path)


def test_a_head_has_no_dictionary_of_its_own(tmp_path: Path):
    with pytest.raises(AttribError, match="No dictionary reads L0H1"):
        write_sae(identity(4, "L0H1"), tmp_path / "one")
    assert not (tmp_path / "one").exists()


def test_training_finds_a_planted_dictionary():
    x, codes, rows = planted(6000)
    settings = SAESettings(features=60, k=3, steps=700, batch=512, learning_rate=5e-3)
    sae = train_sae(x[:5000], component("L0"), settings)
    held, told = x[5000:], codes[5000:]
    explained = judge.explained(held, sae.decode(sae.encode(held)))
    assert explained > 0.97 and judge.curve(sae, held, [1, 3])[3] == pytest.approx(explained, abs=1e-9)
    assert torch.allclose(sae.w_dec.norm(dim=1), torch.ones(60), atol=1e-5)
    nearest = (rows @ sae.w_dec.T).max(1).values
    assert float((nearest > 0.95).float().mean()) > 0.9
    # Its features tell the planted ones, held-out samples included; single coordinates do not.
    truth = {str(f): told[:, f] > 0 for f in range(40)}
    judged = torch.arange(len(held)) % 2 == 1
    features = judge.detectors(sae.encode(held), truth, judged)
    numbers = judge.detectors(torch.cat([held, -held], 1), truth, judged)
    assert len(features) == 40 and sum(d.clean for d in features) > 30 > 5 > sum(d.clean for d in numbers)
    again = train_sae(x[:5000], component("L0"), settings)
    assert torch.equal(again.w_enc, sae.w_enc)


def test_variance_explained_and_its_rivals():
    x, _, _ = planted(3000)
    train, held = x[:2000], x[2000:]
    mean = train.mean(0)
    assert judge.explained(held, held) == 1 and abs(judge.explained(held, held.mean(0).expand_as(held))) < 1e-6
    found = judge.pca(train, held, [1, 8, 48])
    assert found[1] < found[8] < found[48] == pytest.approx(1, abs=1e-5)
    some = judge.random_dictionary(train, held[:200], 64, [1, 4, 48])
    assert 0 < some[1] < some[4] < some[48] == pytest.approx(1, abs=1e-4)
    # One random direction at a time, by hand.
    rows = torch.nn.functional.normalize(torch.randn(64, 48, generator=torch.Generator().manual_seed(0)), dim=1)
    y = held[:200] - mean
    along = (y @ rows.T).abs().max(1)
    rebuilt = rows[along.indices] * (y * rows[along.indices]).sum(1, keepdim=True) + mean
    assert some[1] == pytest.approx(judge.explained(held[:200], rebuilt), abs=1e-6)


def test_dead_features_are_counted():
    sae = identity(6)
    assert judge.dead_share(sae, torch.ones(10, 6)) == 0.5
    assert judge.dead_share(sae, torch.tensor([[1.0, -1.0] * 3, [-1.0, 1.0] * 3])) == 0


def test_keep_largest():
    pre = torch.tensor([[3.0, -1.0, 2.0, 0.5], [-3.0, -1.0, -2.0, 4.0]])
    assert keep_largest(pre, 2).tolist() == [[3, 0, 2, 0], [0, 0, 0, 4]]


def test_a_detector_is_judged_on_other_samples():
    torch.manual_seed(0)
    truth = torch.rand(4000) < 0.3
    noise = torch.rand(4000, 20)
    perfect = truth.float() * (1 + torch.rand(4000))
    judged = torch.rand(4000) < 0.5
    (found,) = judge.detectors(torch.cat([noise, perfect[:, None]], 1), {"it": truth}, judged)
    # The threshold comes from the other half, so a sample just below it is missed.
    assert found.column == 20 and found.precision == 1 and found.recall > 0.99
    (nothing,) = judge.detectors(noise, {"it": truth}, judged)
    assert not nothing.clean and nothing.precision < 0.4
    # What holds where it is chosen and not where it is judged is no detector.
    (undone,) = judge.detectors((perfect * ~judged)[:, None], {"it": truth}, judged)
    assert undone.recall == 0 and undone.f1 == 0 and found.f1 == pytest.approx(2 * found.recall / (1 + found.recall))
    assert judge.detectors(noise, {"it": truth & judged}, judged) == [], "nothing to choose by"
