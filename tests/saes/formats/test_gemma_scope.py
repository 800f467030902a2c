"""Gemma Scope 1 and 2: what is read is said by names of folders or by modules of the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import attrib_widgets as aw
from attrib_widgets.saes.formats import format_of
from attrib_widgets.saes.store import Dictionaries
from attrib_widgets.words.errors import AttribError
from fixtures import families

WIDTH, COUNT = 6, 18
REPOSITORY = "gemma-scope-2b-pt-res"
FOLDER = "layer_3/width_16k/average_l0_59"


def tensors(width: int = WIDTH, **others) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "w_enc": torch.randn(width, COUNT), "w_dec": torch.randn(COUNT, width), "b_enc": torch.randn(COUNT),
        "b_dec": torch.randn(width), "threshold": torch.rand(COUNT), **others,
    }  # fmt: skip


def first(folder: Path, t: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """A file as Gemma Scope 1 has it."""
    t = t or tensors()
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **{key.replace("w_", "W_"): value.numpy() for key, value in t.items()})
    return t


def second(folder: Path, config: dict | None, t: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """A folder as Gemma Scope 2 has it."""
    t = t or tensors()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(t, folder / "params.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return t


def formula(t: dict[str, torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    pre = x @ t["w_enc"] + t["b_enc"]
    acts = torch.where(pre > t["threshold"], pre, 0.0)
    return acts, acts @ t["w_dec"] + t["b_dec"] + (x @ t[SKIP] if SKIP in t else 0)


SKIP = "affine_skip_connection"


@pytest.mark.parametrize(
    ("kind", "site", "writes"),
    [("res", "L3.post", None), ("att", "L3.z", None), ("mlp", "L3.mlp", None), ("transcoders", "L3.mlp_in", "L3.mlp")],
)
@pytest.mark.parametrize("root", ["", "models--google--"])
def test_the_repository_says_the_place(tmp_path, kind, site, writes, root):
    repository = tmp_path / f"{root}gemma-scope-9b-it-{kind}"
    t, x = first(repository / FOLDER), torch.randn(30, WIDTH)
    for folder in (repository, repository / "layer_3", repository / FOLDER):
        sae = aw.read_sae(folder)
        assert str(sae.site) == site and (sae.writes and str(sae.writes)) == writes and not sae.subtract
    acts, out = formula(t, x)
    assert torch.allclose(sae.encode(x), acts, atol=1e-5) and torch.allclose(sae.rebuild(x), out, atol=1e-4)
    assert sae.metadata["model_name"] == "google/gemma-2-9b-it"
    assert sae.coordinates == ("before gain" if writes else "raw")
    seen = format_of(repository / FOLDER).glance(repository / FOLDER)
    assert (str(seen.place), seen.features, seen.width) == (site, COUNT, WIDTH)


def test_the_embedding_is_scaled_by_the_root_of_its_width(tmp_path):
    folder = tmp_path / REPOSITORY / "embedding" / "width_4k" / "average_l0_6"
    t, x = first(folder), torch.randn(30, WIDTH)
    sae = aw.read_sae(folder)
    acts, _ = formula(t, x / WIDTH**0.5)
    assert str(sae.site) == "L0.pre" and torch.allclose(sae.encode(x), acts, atol=1e-5)
    assert torch.allclose(sae.rebuild(x), acts @ t["w_dec"] * WIDTH**0.5 + t["b_dec"], atol=1e-4)


def test_without_its_repository_the_place_is_asked_for(tmp_path):
    t, x = first(tmp_path / "mine"), torch.randn(9, WIDTH)
    with pytest.raises(AttribError, match=r"does not say where.*gemma-scope-2b-pt-res.*site="):
        aw.read_sae(tmp_path / "mine")
    assert torch.allclose(aw.read_sae(tmp_path / "mine", site="L2.mlp").encode(x), formula(t, x)[0], atol=1e-5)
    transcoder = aw.read_sae(tmp_path / "mine", site="L2.mlp_in")
    assert str(transcoder.writes) == "L2.mlp" and transcoder.coordinates == "before gain"
    with pytest.raises(AttribError, match=r"as they are.*scale = 2"):
        aw.read_sae(tmp_path / "mine", site="L2", scale=2.0)


def test_several_below_a_folder_are_named_and_all_taken_in(tmp_path):
    root = tmp_path / REPOSITORY
    model = aw.load(families.build("gemma2"), tokenizer=families.tokenizer("gemma2"))
    for layer in (0, 1, 9):
        first(root / f"layer_{layer}" / "width_16k" / "average_l0_7", tensors(model.d_model))
    with pytest.raises(AttribError, match=r"holds 3 dictionaries: layer_0/width_16k/average_l0_7, .*Choose one"):
        aw.read_sae(root)
    model.saes["L0"] = root  # of several the one for the place
    assert list(map(str, model.saes.given().values())) == [str(root / "layer_0" / "width_16k" / "average_l0_7")]
    with pytest.raises(AttribError, match="holds 3 dictionaries"):
        model.saes["L1.mlp"] = root
    model.saes.add(root)
    assert [str(place) for place in model.saes] == ["L0.post", "L1.post"]
    assert "no layer 9" in model.saes.passed_over["layer_9/width_16k/average_l0_7"]
    assert model.saes["L1"].n_features == COUNT
    with pytest.raises(AttribError, match=r"is for L1\.post, and was given for L0\.post"):
        model.saes["L0"] = root / "layer_1"
    first(root / "layer_1" / "width_65k" / "average_l0_7", tensors(model.d_model))
    both = Dictionaries(root, model)
    with pytest.raises(AttribError, match=r"Several folders are for L1\.post.*Choose one"):
        both["L1"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("threshold"), "lacks threshold"),
        (lambda t: t.update(r_mag=torch.ones(COUNT)), "holds r_mag"),
        (lambda t: t["w_dec"].view(-1)[3:4].fill_(torch.inf), "W_dec.*not finite"),
        (lambda t: t.update(w_dec=t["w_dec"].T.contiguous()), r"w_dec .* is \[6, 18\]"),
        (lambda t: t.update(b_enc=torch.zeros(COUNT, dtype=torch.int32)), "b_enc in .* is int32"),
    ],
)
def test_files_that_cannot_be_are_refused(tmp_path, change, said):
    t = tensors()
    change(t)
    first(tmp_path / REPOSITORY / FOLDER, t)
    with pytest.raises(AttribError, match=said):
        aw.read_sae(tmp_path / REPOSITORY)


BASE = {
    "hf_hook_point_in": "model.layers.3.output", "hf_hook_point_out": "model.layers.3.output", "width": COUNT,
    "model_name": "gemma-v3-1b-pt", "architecture": "jump_relu", "l0": 9, "affine_connection": False, "type": "sae",
}  # fmt: skip
TRANSCODER = {
    "hf_hook_point_in": "model.layers.3.pre_feedforward_layernorm.output",
    "hf_hook_point_out": "model.layers.3.post_feedforward_layernorm.output", "type": "transcoder",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "site", "writes"),
    [
        ({}, "L3.post", None),
        ({"hf_hook_point_in": "model.layers.3.self_attn.o_proj.input", "hf_hook_point_out": None}, "L3.z", None),
        ({"hf_hook_point_in": TRANSCODER["hf_hook_point_out"], "hf_hook_point_out": None}, "L3.mlp", None),
        (TRANSCODER, "L3.mlp_in", "L3.mlp"),
        ({**TRANSCODER, "affine_connection": True}, "L3.mlp_in", "L3.mlp"),
    ],
)
def test_the_modules_of_the_model_say_the_place(tmp_path, change, site, writes):
    t = tensors(**({SKIP: torch.randn(WIDTH, WIDTH)} if change.get("affine_connection") else {}))
    second(tmp_path, BASE | change, t)
    sae, x = aw.read_sae(tmp_path), torch.randn(30, WIDTH)
    assert str(sae.site) == site and (sae.writes and str(sae.writes)) == writes and sae.coordinates == "raw"
    acts, out = formula(t, x)
    assert torch.allclose(sae.encode(x), acts, atol=1e-5) and torch.allclose(sae.rebuild(x), out, atol=1e-4)
    assert sae.metadata == {"model_name": "google/gemma-3-1b-pt"}


@pytest.mark.parametrize(
    ("folder", "site"),
    [
        ("resid_post/layer_3_width_16k_l0_small", "L3.post"),
        ("resid_post_all/layer_3_width_16k_l0_small", "L3.post"),
        ("attn_out/layer_3_width_16k_l0_big", "L3.z"),
        ("mlp_out/layer_3_width_16k_l0_big", "L3.mlp"),
        ("transcoder_all/layer_3_width_16k_l0_small_affine", "L3.mlp_in"),
    ],
)
def test_without_a_config_the_folders_say_it(tmp_path, folder, site):
    affine = folder.endswith("affine")
    t = tensors(**({SKIP: torch.randn(WIDTH, WIDTH)} if affine else {}))
    second(tmp_path / "gemma-scope-2-270m-it" / folder, None, t)
    sae, x = aw.read_sae(tmp_path / "gemma-scope-2-270m-it" / folder), torch.randn(9, WIDTH)
    assert str(sae.site) == site and sae.metadata["model_name"] == "google/gemma-3-270m-it"
    assert torch.allclose(sae.rebuild(x), formula(t, x)[1], atol=1e-4)
    second(tmp_path / "mine", None)
    with pytest.raises(AttribError, match="does not say where"):
        aw.read_sae(tmp_path / "mine")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architecture": "topk"}, "architecture = 'topk'"),
        ({"architecture": None}, "architecture = None"),
        ({"width": 20}, "width = 20, and w_enc.*has 18"),
        ({"width": "18"}, "width = '18', which is no whole number"),
        ({"type": "crosscoder"}, "type = 'crosscoder'"),
        ({"type": "transcoder"}, "type = 'transcoder', from"),
        ({**TRANSCODER, "type": "sae"}, "type = 'sae', from"),
        ({"affine_connection": True}, f"lacks {SKIP}"),
        ({"affine_connection": "yes"}, "affine_connection = 'yes'"),
        ({"hf_hook_point_in": "model.layers.3.self_attn.q_norm.output"}, "q_norm.*cannot be read"),
        ({"input_scale": 2.0}, "input_scale = 2.0"),
    ],
)
def test_settings_that_change_numbers_are_refused_by_name(tmp_path, change, said):
    second(tmp_path, BASE | change)
    with pytest.raises(AttribError, match=said):
        aw.read_sae(tmp_path)


def test_a_transcoder_given_by_its_folder_opens_the_mlp(tmp_path):
    model = aw.load(families.build("gemma3"), tokenizer=families.tokenizer("gemma3"))
    ends = {key: str(value).replace("layers.3", "layers.1") for key, value in TRANSCODER.items()}
    t = tensors(model.d_model, **{SKIP: torch.randn(model.d_model, model.d_model)})
    second(tmp_path, {**BASE, **ends, "affine_connection": True, "model_name": ""}, t)
    found = aw.attribute(model.run(families.PROMPT), " Paris").features("L1.mlp", tmp_path)
    assert found.site == "L1.mlp_in" and "skip connection" in found.labels
    assert abs(found.mismatch) <= 1e-6 * (1 + float(found.values.abs().sum()))
