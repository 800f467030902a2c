"""Dictionaries of the hub: fetched when asked for, by a stand-in that copies what the patterns let through."""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import attrib_widgets as aw
from attrib_widgets.saes.hub import Address, address_of
from attrib_widgets.words.errors import AttribError

FOLDER = "layer_3/width_16k/average_l0_59"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of folders; returns its root, and what was asked of it."""
    asked: list[tuple] = []

    def snapshot_download(repository, revision=None, allow_patterns=None, ignore_patterns=()):
        asked.append((repository, revision))
        if not (tmp_path / "hub" / repository).is_dir():
            raise OSError(f"404: {repository}\nmore")
        root = tmp_path / "cache" / f"models--{repository.replace('/', '--')}" / "snapshots" / "abc"
        for file in (tmp_path / "hub" / repository).rglob("*"):
            name = str(file.relative_to(tmp_path / "hub" / repository))
            allowed = allow_patterns is None or any(fnmatch(name, pattern) for pattern in allow_patterns)
            if file.is_file() and allowed and not any(fnmatch(name, pattern) for pattern in ignore_patterns):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, root / name)
        root.mkdir(parents=True, exist_ok=True)
        return str(root)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return tmp_path / "hub", asked, tmp_path / "cache"


def npz(folder: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    t = {"W_enc": torch.randn(6, 9), "W_dec": torch.randn(9, 6), "b_enc": torch.randn(9), "b_dec": torch.randn(6)}
    t["threshold"] = torch.rand(9)
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **{key: value.numpy() for key, value in t.items()})
    return t


def test_a_folder_of_the_hub(hub):
    root, asked, cache = hub
    t = npz(root / "google" / "gemma-scope-2b-pt-res" / FOLDER)
    npz(root / "google" / "gemma-scope-2b-pt-res" / FOLDER.replace("3", "4"))
    for address in (f"google/gemma-scope-2b-pt-res/{FOLDER}", f"hf://google/gemma-scope-2b-pt-res/{FOLDER}@main"):
        sae = aw.read_sae(address, download=True)
        assert str(sae.site) == "L3.post" and torch.equal(sae.w_enc, t["W_enc"])
    assert asked == [("google/gemma-scope-2b-pt-res", None), ("google/gemma-scope-2b-pt-res", "main")]
    assert len(list(cache.rglob("params.npz"))) == 1, "and no other"


def test_one_layer_of_a_set_brings_its_settings(hub):
    root, _, cache = hub
    folder = root / "owner" / "set" / "one"
    folder.mkdir(parents=True)
    kind = "model_kind: transcoder_set\nfeature_input_hook: mlp.hook_in\nfeature_output_hook: hook_mlp_out\n"
    (folder / "config.yaml").write_text(kind)
    for layer in (0, 1):
        w = {"W_enc": torch.randn(9, 6), "b_enc": torch.randn(9), "W_dec": torch.randn(9, 6), "b_dec": torch.randn(6)}
        save_file(w, folder / f"layer_{layer}.safetensors")
    assert str(aw.read_sae("owner/set/one/layer_1.safetensors", download=True).site) == "L1.mlp_in"
    assert len(list(cache.rglob("layer_*"))) == 1


def test_nothing_is_fetched_unasked(hub):
    root, asked, _ = hub
    npz(root / "google" / "gemma-scope-2b-pt-res" / FOLDER)
    with pytest.raises(AttribError, match=r"There is no folder.*download=True"):
        aw.read_sae(f"google/gemma-scope-2b-pt-res/{FOLDER}")
    with pytest.raises(AttribError, match=r"is an address.*download=True"):
        aw.read_sae(f"hf://google/gemma-scope-2b-pt-res/{FOLDER}")
    assert not asked


def test_a_folder_of_this_machine_comes_first(hub, tmp_path, monkeypatch):
    _, asked, _ = hub
    npz(tmp_path / "google" / "gemma-scope-2b-pt-res" / FOLDER)
    monkeypatch.chdir(tmp_path)
    assert str(aw.read_sae(f"google/gemma-scope-2b-pt-res/{FOLDER}", download=True).site) == "L3.post" and not asked


def test_what_cannot_be_fetched_is_said(hub):
    root, _, _ = hub
    npz(root / "google" / "gemma-scope-2b-pt-res" / FOLDER)
    with pytest.raises(AttribError, match=r"owner/none cannot be fetched from the hub: 404: owner/none"):
        aw.read_sae("owner/none/folder", download=True)
    with pytest.raises(AttribError, match="has no 'layer_9'"):
        aw.read_sae("google/gemma-scope-2b-pt-res/layer_9", download=True)
    with pytest.raises(AttribError, match="is no dictionary of a known format"):
        aw.read_sae("google/gemma-scope-2b-pt-res", download=True)  # of terabytes nothing but the top
    for wrong in ("name", "owner/name/../../x", "https://host/owner/name", ""):
        with pytest.raises(AttribError, match="no address of the hub"):
            aw.read_sae(wrong, download=True)


def test_addresses():
    assert address_of("owner/name") == Address("owner/name", "", None)
    assert address_of("hf://owner/name/a/b@v1.0") == Address("owner/name", "a/b", "v1.0")
    assert address_of("owner/na.me/layer_1.safetensors") == Address("owner/na.me", "layer_1.safetensors", None)
