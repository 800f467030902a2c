"""Folders of SAELens, of every version: each is read as it says, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from attrib_widgets.saes.formats import read_sae
from attrib_widgets.saes.formats.saelens import write_sae
from attrib_widgets.saes.sae import keep_largest
from attrib_widgets.words.errors import AttribError
from fixtures.dictionaries import formula, identity, old_folder


def test_what_cannot_be_read_is_refused(tmp_path: Path):
    with pytest.raises(AttribError, match=r"cfg\.json"):
        read_sae(tmp_path)
    write_sae(identity(4), tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    unread = {
        "architecture": "temporal",
        "normalize_activations": "covariance_whitening",
        "rescale_acts_by_decoder_norm": True,
    }
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


#: What version 2 writes beside what is in later configs: every setting of the run.
RUN = {
    "model_class_name": "HookedTransformer", "hook_point_eval": "blocks.{layer}.attn.pattern", "streaming": True,
    "is_dataset_tokenized": True, "use_cached_activations": False, "cached_activations_path": "activations/x/y",
    "expansion_factor": 4, "normalize_sae_decoder": True, "from_pretrained_path": None, "n_batches_in_buffer": 20,
    "training_tokens": 2000000, "finetuning_tokens": 0, "store_batch_size_prompts": 32, "seed": 42, "autocast": False,
    "llm_compilation_mode": None, "train_batch_size_tokens": 4096, "adam_beta1": 0, "adam_beta2": 0.999, "lr": 0.0003,
    "lr_scheduler_name": "constant", "lr_end": 3e-05, "n_restart_cycles": 1, "finetuning_method": None,
    "feature_sampling_window": 2000, "dead_feature_window": 1000, "dead_feature_threshold": 1e-08,
    "n_eval_batches": 10, "log_to_wandb": True, "wandb_project": "p", "wandb_log_frequency": 10, "run_name": "a-b",
    "eval_every_n_wandb_logs": 100, "checkpoint_path": "checkpoints/1", "verbose": True, "model_kwargs": {},
    "tokens_per_buffer": 20971520, "lp_norm": 1, "resume": False, "n_checkpoints": 10,
}  # fmt: skip


def test_the_oldest_configs_hold_the_whole_run(tmp_path: Path):
    unsaid = dict.fromkeys(("architecture", "activation_fn_str", "activation_fn_kwargs", "finetuning_scaling_factor"))
    place = {"hook_name": None, "hook_point": "blocks.1.hook_resid_post", "hook_point_layer": 1}
    said = {**RUN, **unsaid, **place, "activation_fn": "relu", "normalize_activations": False}
    factor = torch.rand(20) + 0.5
    sae, x = old_folder(tmp_path, said, {"scaling_factor": torch.ones(20)}), torch.randn(9, 6)
    read = read_sae(tmp_path)
    assert torch.equal(read.encode(x), sae.encode(x)) and torch.allclose(read.rebuild(x), sae.rebuild(x), atol=1e-5)
    # Whether it was finetuned is said by the method alone.
    sae = old_folder(tmp_path, {**said, "finetuning_method": "scale"}, {"scaling_factor": factor})
    out = (sae.encode(x) * factor) @ sae.w_dec + sae.b_dec
    assert torch.allclose(read_sae(tmp_path).rebuild(x), out, atol=1e-5)
    old_folder(tmp_path, {**said, "model_kwargs": {"fast": True}})
    with pytest.raises(AttribError, match="model_kwargs = "):
        read_sae(tmp_path)


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
    assert read.metadata == {"note": "n", "model_name": "m", "seqpos_slice": [None]}
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
    assert str(read_sae(tmp_path / "a").site) == "L0.pre"
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
        ({"architecture": None, "metadata": {"architecture": "temporal"}}, "architecture = 'temporal'"),
        ({"architecture": "temporal"}, "architecture = 'temporal'.*depends on those of the tokens before"),
        ({"max_iterations": 3}, "max_iterations = 3.*belongs to matching_pursuit"),
        ({"architecture": "gated"}, "lacks b_gate, b_mag, r_mag"),
        ({"architecture": "transcoder"}, "does not say where the transcoder writes"),
        (
            {"architecture": "transcoder", "hook_name_out": "blocks.1.hook_mlp_out"},
            "apply_b_dec_to_input = True.*No transcoder",
        ),
        ({"architecture": "batchtopk"}, "lacks topk_threshold.*for inference"),
        ({"d_out": 7}, "d_out = 7"),
        ({"hf_hook_name_out": "model.layers.2"}, "hf_hook_name_out"),
        (
            {"metadata": {"normalize_activations": "covariance_whitening"}},
            "normalize_activations.*'covariance_whitening'",
        ),
        ({"metadata": {"rescale_acts_by_decoder_norm": True}}, "rescale_acts_by_decoder_norm = True.*topk"),
        ({"metadata": {"apply_b_dec_to_input": False}}, "apply_b_dec_to_input = True, and its metadata.*False"),
        (
            {"metadata": {"finetuning_scaling_factor": True}},
            "finetuning_scaling_factor = False, and its metadata.*True",
        ),
        ({"metadata": {"reshape_activations": "flat"}}, "reshape_activations = 'flat'"),
        ({"metadata": {"d_in": 7}}, "d_in = 6, and its metadata.*7"),
        ({"metadata": {"hook_name": "blocks.0.hook_resid_post"}}, "hook_name = .*, and its metadata"),
        ({"metadata": {"hook_point": "blocks.0.hook_resid_post"}}, "hook_name = .*resid_post' and hook_point = "),
        ({"metadata": ["gpt2"]}, "metadata = "),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4, "postact_fn": "identity"}}, "postact_fn"),
        ({"activation_fn_kwargs": {"k": 4}}, "activation_fn_kwargs"),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4}, "k": 5}, "one k"),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": "4"}}, "one k"),
        ({"hook_head_index": 0}, "hook_head_index = 0"),
        ({"metadata": {"hook_head_index": 2}}, "hook_head_index = 2"),
        ({"metadata": {"hook_name_out": "blocks.1.hook_mlp_out"}}, "hook_name_out"),
        ({"model_from_pretrained_kwargs": {"center_writing_weights": "yes"}}, "center_writing_weights"),
        ({"model_from_pretrained_kwargs": {"checkpoint_index": 3}}, "checkpoint_index"),
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
    assert read_sae(tmp_path).coordinates == "raw"
    old_folder(tmp_path, {"hook_name": "blocks.1.attn.hook_z", "model_from_pretrained_kwargs": kwargs})
    assert read_sae(tmp_path).coordinates == "without value bias"
    old_folder(tmp_path, {"model_from_pretrained_kwargs": {"center_writing_weights": True}})
    assert read_sae(tmp_path).coordinates == "centred"
    factored = {"refactor_factored_attn_matrices": True}
    old_folder(tmp_path, {"hook_name": "blocks.1.attn.hook_z", "model_from_pretrained_kwargs": factored})
    with pytest.raises(AttribError, match="refactor_factored_attn_matrices"):
        read_sae(tmp_path)


def test_tensors_without_a_use_are_refused(tmp_path: Path):
    for name in ("W_skip", "threshold", "r_mag"):
        old_folder(tmp_path, {}, {name: torch.ones(20)})
        with pytest.raises(AttribError, match=f"holds {name}"):
            read_sae(tmp_path)


def rewritten(folder: Path, change) -> dict[str, torch.Tensor]:
    """The tensors of a folder after ``change`` of them, in place and on disk."""
    tensors = load_file(folder / "sae_weights.safetensors")
    change(tensors)
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "sae_weights.safetensors")
    return tensors


TOPK = {"architecture": "topk", "activation_fn_str": None, "activation_fn_kwargs": None, "k": 5}


def config_of(folder: Path) -> dict:
    return json.loads((folder / "cfg.json").read_text())


@pytest.mark.parametrize("rows", ["of any length", "of length 1", "one of zeros"])
def test_a_scaling_by_the_decoders_norm_is_folded_in(tmp_path: Path, rows):
    """It decides which are the largest. Where all rows have length 1 it changes nothing, and nothing is changed."""
    old_folder(tmp_path, {**TOPK, "rescale_acts_by_decoder_norm": True})

    def change(t):
        t["W_dec"] *= torch.rand(20, generator=torch.Generator().manual_seed(0))[:, None] * 4 + 0.1
        if rows == "of length 1":
            t["W_dec"] = torch.nn.functional.normalize(t["W_dec"], dim=1)
        if rows == "one of zeros":
            t["W_dec"][3] = 0

    tensors, x = rewritten(tmp_path, change), torch.randn(40, 6)
    read, config = read_sae(tmp_path), config_of(tmp_path)
    acts, out = formula(config, tensors, x)
    live = torch.arange(20) != (3 if rows == "one of zeros" else -1)
    assert torch.allclose(read.encode(x)[:, live].double(), acts[:, live], atol=1e-5) and bool((acts > 0).any())
    plain, _ = formula({**config, "rescale_acts_by_decoder_norm": False}, tensors, x)
    assert bool(((plain > 0) == (acts > 0)).all()) == (rows == "of length 1"), "the choice of features differs"
    if rows == "of length 1":
        assert torch.equal(read.w_enc, tensors["W_enc"]) and torch.equal(read.w_dec, tensors["W_dec"])
    if rows == "one of zeros":
        assert not read.encode(x)[:, 3].any() and bool(read.decode(read.encode(x)).isfinite().all())
    else:
        assert torch.allclose(read.decode(read.encode(x)).double(), out, atol=1e-4)
    # Written again there is nothing left to scale.
    write_sae(read, tmp_path / "again")
    assert torch.equal(read_sae(tmp_path / "again").encode(x), read.encode(x))


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize("asked", ["expected_average_only_in", True])
def test_a_scale_that_the_files_do_not_hold_is_given(tmp_path: Path, asked, subtract):
    for changes in ({}, TOPK):
        old_folder(tmp_path, {**changes, "normalize_activations": asked, "apply_b_dec_to_input": subtract})
        with pytest.raises(AttribError, match=r"normalize_activations = .*scale=.*sqrt\(d_in\)"):
            read_sae(tmp_path)
        tensors, x, scale = load_file(tmp_path / "sae_weights.safetensors"), torch.randn(30, 6), 0.3
        acts, out = formula(config_of(tmp_path), tensors, scale * x)
        read = read_sae(tmp_path, scale=scale)
        assert torch.allclose(read.encode(x).double(), acts, atol=1e-5)
        assert torch.allclose(read.decode(read.encode(x)).double(), out / scale, atol=1e-4)
        for wrong in (0, -1.0, float("nan"), float("inf"), "2", True):
            with pytest.raises(AttribError, match="A scale cannot be"):
                read_sae(tmp_path, scale=wrong)
    old_folder(tmp_path, {})
    with pytest.raises(AttribError, match=r"activations as they are.*scale = 0\.3"):
        read_sae(tmp_path, scale=0.3)
    for asked_of_each in ("layer_norm", "constant_norm_rescale"):
        old_folder(tmp_path, {"normalize_activations": asked_of_each})
        with pytest.raises(AttribError, match="activations as they are"):
            read_sae(tmp_path, scale=0.3)
    old_folder(tmp_path, {"normalize_activations": "covariance_whitening"})
    for scale in (None, 0.3):
        with pytest.raises(AttribError, match=r"covariance_whitening.*its files do not hold.*beside a checkpoint"):
            read_sae(tmp_path, scale=scale)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["W_enc", "b_enc", "W_dec", "b_dec", "threshold"])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path: Path, name, value):
    old_folder(tmp_path, {"architecture": "jumprelu"}, {"threshold": torch.ones(20)})
    assert read_sae(tmp_path).architecture == "jumprelu"

    def change(t):
        t[name].view(-1)[2] = value

    for dtype in (torch.float32, torch.bfloat16):
        rewritten(tmp_path, lambda t, dtype=dtype: (change(t), t.update({k: v.to(dtype) for k, v in t.items()})))
        with pytest.raises(AttribError, match=f"{name} in .*not finite"):
            read_sae(tmp_path)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int8, torch.bool, torch.complex64])
@pytest.mark.parametrize("name", ["W_enc", "b_dec"])
def test_weights_that_are_no_floats_are_refused_by_name(tmp_path: Path, name, dtype):
    old_folder(tmp_path, {"architecture": "standard"})
    rewritten(tmp_path, lambda t: t.update({name: t[name].to(dtype)}))
    with pytest.raises(AttribError, match=f"{name} in .*{str(dtype).removeprefix('torch.')}, no floating point"):
        read_sae(tmp_path)


def test_one_threshold_for_all_features(tmp_path: Path):
    x = torch.randn(30, 6)
    for threshold in (torch.tensor(0.7), torch.tensor([0.7])):
        old_folder(tmp_path, {"architecture": "jumprelu"}, {"threshold": threshold})
        read = read_sae(tmp_path)
        acts, _ = formula(config_of(tmp_path), load_file(tmp_path / "sae_weights.safetensors"), x)
        assert torch.allclose(read.encode(x).double(), acts, atol=1e-5) and read.threshold.shape == (20,)
        kept = read.only(torch.arange(20) < 7)
        assert torch.allclose(kept.encode(x), read.encode(x)[:, :7], atol=1e-6)
        write_sae(read, tmp_path / "again")
        assert torch.equal(read_sae(tmp_path / "again").encode(x), read.encode(x))
    old_folder(tmp_path, {"architecture": "jumprelu"}, {"threshold": torch.ones(19)})
    with pytest.raises(AttribError, match=r"threshold .*\[19\], not \[20\]"):
        read_sae(tmp_path)


@pytest.mark.parametrize("name", ["W_enc", "b_enc", "W_dec", "b_dec"])
@pytest.mark.parametrize("shape", ["flat", "two of them", "empty", "scalar"])
def test_tensors_of_another_shape_are_refused_by_name(tmp_path: Path, name, shape):
    for changes in ({}, {**TOPK, "rescale_acts_by_decoder_norm": True}):
        old_folder(tmp_path, changes)

        def change(t):
            value = t[name]
            t[name] = {
                "flat": value[:, 0] if value.ndim > 1 else value[:2],
                "two of them": torch.stack([value, value]),
                "empty": value[:0],
                "scalar": value.sum(),
            }[shape]

        rewritten(tmp_path, change)
        with pytest.raises(AttribError, match=rf"{name.lower()} of the dictionary for L1\.post is"):
            read_sae(tmp_path)


#: What might stand in a config, written by hand or by another program.
ODD = [None, True, False, 0, 1, -3, 7, 2.5, "", "8", "false", "true", "none", "None", [], [1], [None], {}, {"a": 1}]


@pytest.mark.parametrize("base", ["standard", "topk"])
def test_whatever_a_config_says_is_applied_or_refused(tmp_path: Path, base):
    """Every key, with every odd value, at the top and in the metadata: our error, or the numbers of the formula."""
    start = TOPK if base == "topk" else {}
    old_folder(tmp_path, start)
    config, x = config_of(tmp_path), torch.randn(8, 6)
    tensors = load_file(tmp_path / "sae_weights.safetensors")
    keys = {*config, "k", "rescale_acts_by_decoder_norm", "reshape_activations", "hook_name_out", "metadata"}
    keys |= {"activation_fn", "hook_point", "hook_point_head_index", "input_gain", "scaling"}
    read = refused = 0
    for key in sorted(keys):
        for value in ODD:
            for inside in (False, True):
                said = {**config, "metadata": {key: value}} if inside else {**config, key: value}
                (tmp_path / "cfg.json").write_text(json.dumps(said))
                try:
                    found = read_sae(tmp_path)
                except AttribError:
                    refused += 1
                    continue
                read += 1
                unsaid = inside and value in (None, "", [], {})
                expected, _ = formula(config if unsaid else {**config, key: value}, tensors, x)
                assert torch.allclose(found.encode(x).double(), expected, atol=1e-5), (key, value, inside)
    assert read > 300 and refused > 300


def test_matrices_that_are_swapped_are_said_to_be(tmp_path: Path):
    for names in (("W_enc", "W_dec"), ("b_enc", "b_dec")):
        old_folder(tmp_path, {})

        def change(t, names=names):
            one, other = names
            t[one], t[other] = t[other], t[one]

        rewritten(tmp_path, change)
        with pytest.raises(AttribError, match="encoder and decoder are swapped, or turned"):
            read_sae(tmp_path)


def test_modules_of_the_model_are_places_too(tmp_path: Path):
    for hook, site in (
        ("model.layers.1", "L1.post"),
        ("transformer.h.11", "L11.post"),
        ("gpt_neox.layers.0.mlp", "L0.mlp"),
        ("blocks.1.mlp.hook_out", "L1.mlp"),  # TransformerLens 3
        ("blocks.1.hook_out", "L1.post"),
        ("blocks.1.hook_in", "L0.post"),
    ):
        old_folder(tmp_path, {"hook_name": hook})
        read = read_sae(tmp_path)
        assert str(read.site) == site and read.metadata.get("module") == (hook if site.endswith("mlp") else None)
        write_sae(read, tmp_path / "again")
        assert read_sae(tmp_path / "again").metadata.get("module") == read.metadata.get("module"), (
            "which decides whether it fits a model"
        )
    for hook in ("model.layers.1.self_attn.q_proj", "lm_head", "model.layers.x"):
        old_folder(tmp_path, {"hook_name": hook})
        with pytest.raises(AttribError, match=f"{hook}.*cannot be read here.*site="):
            read_sae(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "read"),
    [
        ("dtype", "bfloat16", True), ("n_ctx", 512, True), ("fold_ln", True, True), ("center_unembed", True, True),
        ("revision", None, True), ("revision", "step1000", False), ("checkpoint_index", 3, False),
        ("load_in_8bit", True, False), ("center_writing_weights", True, True), ("center_writing_weights", 1, False),
        ("fold_value_biases", True, True),
    ],
)  # fmt: skip
def test_how_the_model_was_loaded_for_training(tmp_path: Path, key, value, read):
    """What changes the activations of the stream is refused by name; the rest is not asked about."""
    for inside in (True, False):
        said = {"model_from_pretrained_kwargs": {key: value}}
        old_folder(tmp_path, {"metadata": said} if inside else said)
        if read:
            assert str(read_sae(tmp_path).site) == "L1.post"
        else:
            with pytest.raises(AttribError, match=f"loaded with {key} = "):
                read_sae(tmp_path)


SAYS_NOTHING = {"activation_fn_str": None, "activation_fn_kwargs": None}


@pytest.mark.parametrize("name", ["gated", "abstopk", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("subtract", [True, False])
def test_every_architecture_and_norm_is_its_formula(tmp_path: Path, name, subtract):
    norm = {"normalize_activations": name if "norm" in name else "none"}
    architecture = "standard" if "norm" in name else name
    said = {**SAYS_NOTHING, **norm, "architecture": architecture, "apply_b_dec_to_input": subtract}
    extra = {key: torch.randn(20) for key in ("b_gate", "b_mag", "r_mag")} if name == "gated" else {}
    old_folder(tmp_path, {**said, **({"k": 4} if name == "abstopk" else {})}, extra)
    tensors, x = load_file(tmp_path / "sae_weights.safetensors"), 3 * torch.randn(30, 6) + 1
    if name == "gated":
        del tensors["b_enc"]
        save_file(tensors, tmp_path / "sae_weights.safetensors")
    read = read_sae(tmp_path)
    acts, out = formula(config_of(tmp_path), tensors, x)
    assert torch.allclose(read.encode(x).double(), acts, atol=1e-5) and bool(acts.any())
    assert torch.allclose(read.rebuild(x).double(), out, atol=1e-4)
    for feature in (0, 7):  # one alone
        assert torch.allclose(read.column(x, feature).double(), acts[:, feature], atol=1e-5)
    if name == "abstopk":
        assert bool((acts < 0).any())
    write_sae(read, tmp_path / "again")
    assert torch.allclose(read_sae(tmp_path / "again").rebuild(x), read.rebuild(x), atol=1e-5)


@pytest.mark.parametrize("name", ["transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"])
@pytest.mark.parametrize("wide", [6, 9])
def test_transcoders_are_their_formula(tmp_path: Path, name, wide):
    extra = {"W_dec": torch.randn(20, wide), "b_dec": torch.randn(wide)}
    extra |= {"W_skip": torch.randn(wide, 6)} if "skip" in name else {}
    extra |= {"threshold": torch.rand(20)} if "jumprelu" in name else {}
    places = {"hook_name": "blocks.1.ln2.hook_normalized", "hook_name_out": "blocks.1.hook_mlp_out"}
    said = {"architecture": name, "d_out": wide, "apply_b_dec_to_input": False, **places}
    old_folder(tmp_path, {**SAYS_NOTHING, **said}, extra)
    read, x = read_sae(tmp_path), torch.randn(30, 6)
    assert (str(read.site), str(read.writes)) == ("L1.mlp_in", "L1.mlp") and read.coordinates == "before RMS gain"
    config = config_of(tmp_path)
    for version, coordinates in (("6.30.2", "before RMS gain"), ("6.34.0", "hook_normalized")):  # of TransformerLens 3
        (tmp_path / "cfg.json").write_text(json.dumps(config | {"sae_lens_training_version": version}))
        assert read_sae(tmp_path).coordinates == coordinates
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    acts, out = formula(config_of(tmp_path), load_file(tmp_path / "sae_weights.safetensors"), x)
    assert torch.allclose(read.encode(x).double(), acts, atol=1e-5)
    assert torch.allclose(read.rebuild(x).double(), out, atol=1e-4)
    y = torch.randn(30, wide)
    assert torch.allclose(read.error(x, y) + read.rebuild(x), y, atol=1e-4)
    with pytest.raises(AttribError, match=r"misses something of L1\.mlp"):
        read.error(x)
    if "skip" in name:
        with pytest.raises(AttribError, match=r"Give it too: sae\.decode"):
            read.decode(read.encode(x))
    config = config_of(tmp_path)
    (tmp_path / "cfg.json").write_text(json.dumps(config | {"d_out": 7}))
    with pytest.raises(AttribError, match=f"d_out = 7, and W_dec.*has {wide}"):
        read_sae(tmp_path)


def test_coordinates_of_transcoders(tmp_path: Path):
    """What it reads may be before a gain; what it writes is what the model adds, or it is refused."""
    places = {"hook_name": "blocks.1.ln2.hook_normalized", "hook_name_out": "blocks.1.hook_mlp_out"}
    said = {**SAYS_NOTHING, "architecture": "transcoder", "apply_b_dec_to_input": False, **places}
    for loaded, coordinates in (
        ({}, "before RMS gain"),
        ({"fold_ln": False}, "before RMS gain"),
        ({"fold_ln": True}, "before gain"),
    ):
        old_folder(tmp_path, {**said, "model_from_pretrained_kwargs": loaded})
        assert read_sae(tmp_path).coordinates == coordinates
    old_folder(tmp_path, {**said, "model_from_pretrained_kwargs": {"center_writing_weights": True}})
    with pytest.raises(AttribError, match=r"center_writing_weights = True, which changes what it writes at L1\.mlp"):
        read_sae(tmp_path)


def test_a_threshold_kept_by_a_training_run_is_applied_behind_the_fold(tmp_path: Path):
    said = {**SAYS_NOTHING, "architecture": "batchtopk", "k": 4, "rescale_acts_by_decoder_norm": True}
    old_folder(tmp_path, said, {"topk_threshold": torch.tensor(2.0)})
    t, x = load_file(tmp_path / "sae_weights.safetensors"), torch.randn(30, 6)
    norm = t["W_dec"].norm(dim=1)
    pre = ((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]) * norm
    acts = pre.relu() * (pre > 2)
    read = read_sae(tmp_path)
    assert torch.allclose(read.encode(x), acts, atol=1e-4) and bool(acts.any())
    assert torch.allclose(read.rebuild(x), acts / norm @ t["W_dec"] + t["b_dec"], atol=1e-4)
    old_folder(tmp_path, {**SAYS_NOTHING, "architecture": "jumprelu"}, {"log_threshold": torch.full((20,), 0.5)})
    assert torch.allclose(read_sae(tmp_path).threshold, torch.full((20,), 0.5).exp())


def test_the_module_decides_where_the_two_names_differ(tmp_path: Path):
    """What SAELens saves of Gemma Scope 2: its own name is that of the stream, and the module is the norm."""
    named = {"hook_name": "blocks.1.hook_mlp_in", "hf_hook_name": "model.layers.1.pre_feedforward_layernorm.output"}
    old_folder(tmp_path, named)
    assert str(read_sae(tmp_path).site) == "L1.mlp_in" and read_sae(tmp_path).coordinates == "raw"
    old_folder(tmp_path, {"hook_name": "blocks.1.hook_mlp_in"})
    assert str(read_sae(tmp_path).site) == "L1.mid"
