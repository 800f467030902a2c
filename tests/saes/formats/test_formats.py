"""The table of formats: which folder is read by which, and what is said of one that none reads."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import attrib_widgets as aw
from attrib_widgets.saes import formats
from attrib_widgets.saes.formats import files
from attrib_widgets.saes.formats.files import Glance, sha256
from attrib_widgets.saes.formats.saelens import write_sae
from attrib_widgets.saes.store import Dictionaries
from attrib_widgets.words.errors import AttribError, ComponentError
from attrib_widgets.words.places import Place

WIDTH, COUNT = 6, 18


def sparsify(folder: Path, **changes) -> dict[str, torch.Tensor]:
    """A folder as sparsify writes it, and its tensors."""
    torch.manual_seed(0)
    tensors = {
        "encoder.weight": torch.randn(COUNT, WIDTH),
        "encoder.bias": torch.randn(COUNT) * 0.1,
        "W_dec": torch.randn(COUNT, WIDTH),
        "b_dec": torch.randn(WIDTH),
    }
    config = {
        "activation": "topk", "expansion_factor": 3, "normalize_decoder": True, "num_latents": 0, "k": 4,
        "multi_topk": False, "skip_connection": False, "transcode": False, "d_in": WIDTH, "embed_skip": False,
        "gram_lookup": False, "lookup_max_order": 4, "gram_table_hash": None,
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "cfg.json").write_text(json.dumps(config | changes))
    save_file(tensors, folder / "sae.safetensors")
    return tensors


def saelens(site: str, width: int = WIDTH) -> aw.SAE:
    """A small dictionary of one place."""
    both = torch.cat([torch.eye(width), -torch.eye(width)])
    return aw.SAE(site, "standard", both.T.contiguous(), torch.zeros(2 * width), both, torch.zeros(width))


@pytest.mark.parametrize(
    ("name", "place"),
    [("layers.1", "L1.post"), ("layers.8.mlp", "L8.mlp"), ("h.3.mlp", "L3.mlp"), ("gpt_neox.layers.2", "L2.post")],
)
def test_sparsify_is_its_formula(tmp_path, name, place):
    t = sparsify(tmp_path / name)
    sae = aw.read_sae(tmp_path / name)
    assert str(sae.site) == place and sae.k == 4
    x = torch.randn(5, WIDTH)
    pre = ((x - t["b_dec"]) @ t["encoder.weight"].T + t["encoder.bias"]).relu()
    kept = pre >= pre.topk(4).values[:, -1:]
    assert torch.allclose(sae.encode(x), pre * kept, atol=1e-6)
    assert torch.allclose(sae.decode(sae.encode(x)), (pre * kept) @ t["W_dec"] + t["b_dec"], atol=1e-5)


def test_a_place_that_the_files_do_not_say_is_asked_for(tmp_path):
    sparsify(tmp_path / "mine")
    with pytest.raises(AttribError, match=r"does not say where.*site="):
        aw.read_sae(tmp_path / "mine")
    assert aw.read_sae(tmp_path / "mine", site="L3").site == Place("post", 3)
    write_sae(saelens("L1.mlp"), tmp_path / "two")
    config = json.loads((tmp_path / "two" / "cfg.json").read_text())
    config["metadata"]["hook_name"] = "blocks.2.attn.hook_q"
    (tmp_path / "two" / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(AttribError, match=r"hook_q.*site="):
        aw.read_sae(tmp_path / "two")
    assert str(aw.read_sae(tmp_path / "two", site="L1.post").site) == "L1.post"
    with pytest.raises(ComponentError, match="No dictionary reads L0H1"):
        aw.read_sae(tmp_path / "two", site="L0H1")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"transcode": 1}, "transcode = 1"),
        ({"skip_connection": True}, "lacks W_skip"),
        ({"activation": "relu"}, "activation = 'relu'"),
        ({"activation": "groupmax"}, "18 features are no 4 groups"),
        ({"signed": True}, "signed = True"),
        ({"gram_lookup": True, "lookup_max_order": 4}, "gram_lookup = True"),
        ({"d_in": 7, "num_latents": COUNT}, "d_in = 7.*has 6"),
        ({"num_latents": 20}, "features = 20.*has 18"),
        ({"k": None}, "needs its k"),
        ({"k": "4"}, "k = '4', which is no whole number"),
        ({"k": True}, "k = True, which is no whole number"),
        ({"k": 4.0}, "k = 4.0, which is no whole number"),
        ({"k": 0}, "cannot have k = 0"),
        ({"k": COUNT + 1}, f"of {COUNT} features cannot have k = {COUNT + 1}"),
        ({"d_in": "6"}, "d_in = '6', which is no whole number"),
        ({"num_latents": "18"}, "num_latents = '18', which is no whole number"),
        ({"expansion_factor": [3]}, r"expansion_factor = \[3\], which is no whole number"),
        ({"transcode": "false"}, "transcode = 'false'"),
    ],
)
def test_what_sparsify_says_and_is_not_read_is_refused(tmp_path, changes, said):
    sparsify(tmp_path / "layers.1", **changes)
    with pytest.raises(AttribError, match=said):
        aw.read_sae(tmp_path / "layers.1")


@pytest.mark.parametrize(
    ("module", "reads", "writes"), [("layers.8.mlp", "L8.mlp_in", "L8.mlp"), ("h.3", "L2.post", "L3.post")]
)
@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("activation", ["topk", "groupmax"])
def test_transcoders_of_sparsify_are_their_formula(tmp_path, module, reads, writes, skip, activation):
    t = sparsify(tmp_path / module, transcode=True, skip_connection=skip, activation=activation, k=3)
    t |= {"W_skip": torch.randn(WIDTH, WIDTH)} if skip else {}
    save_file(t, tmp_path / module / "sae.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model": "EleutherAI/pythia-160m"}))
    sae, x = aw.read_sae(tmp_path / module), torch.randn(40, WIDTH)
    assert (str(sae.site), str(sae.writes)) == (reads, writes) and not sae.subtract
    assert sae.metadata["model_name"] == "EleutherAI/pythia-160m"
    pre = (x @ t["encoder.weight"].T + t["encoder.bias"]).relu()
    if activation == "topk":
        kept = pre * (pre >= pre.topk(3).values[:, -1:])
    else:
        kept = torch.cat([part * (part == part.amax(1, keepdim=True)) for part in pre.split(COUNT // 3, 1)], 1)
    assert torch.allclose(sae.encode(x), kept, atol=1e-5)
    for feature in (0, 11):
        assert torch.allclose(sae.column(x, feature), kept[:, feature], atol=1e-5)
    out = kept @ t["W_dec"] + t["b_dec"] + (x @ t["W_skip"].T if skip else 0)
    assert torch.allclose(sae.rebuild(x), out, atol=1e-4)


def test_sparsify_is_trained_on_activations_as_they_are(tmp_path):
    sparsify(tmp_path / "layers.1")
    with pytest.raises(AttribError, match=r"as they are.*scale = 2\.0"):
        aw.read_sae(tmp_path / "layers.1", scale=2.0)


@pytest.mark.parametrize("name", ["encoder.weight", "encoder.bias", "W_dec", "b_dec"])
def test_sparsify_weights_that_are_no_numbers_are_named(tmp_path, name):
    tensors = sparsify(tmp_path / "layers.1")
    tensors[name].view(-1)[1] = torch.nan
    save_file(tensors, tmp_path / "layers.1" / "sae.safetensors")
    with pytest.raises(AttribError, match=f"{name} in .*sae.safetensors holds numbers that are not finite"):
        aw.read_sae(tmp_path / "layers.1")


@pytest.mark.parametrize("address", ["hf://owner/name/folder", "https://host/x", "s3://bucket/sae"])
def test_an_address_is_no_folder(address):
    for given in (address, Path(address)):
        with pytest.raises(AttribError, match=r"is an address.*Fetch its folder first"):
            aw.read_sae(given)
        for put in (Dictionaries().add, lambda one: Dictionaries().__setitem__("L1.mlp", one)):
            with pytest.raises(AttribError, match=r"is an address.*Fetch its folder first"):
                put(given)


def test_a_folder_may_be_named_by_one_of_its_files(tmp_path):
    sparsify(tmp_path / "layers.1")
    for name in ("sae.safetensors", "cfg.json"):
        assert str(aw.read_sae(tmp_path / "layers.1" / name).site) == "L1.post"
    (tmp_path / "notes.txt").touch()
    with pytest.raises(AttribError, match=r"notes\.txt is no dictionary of a known format"):
        aw.read_sae(tmp_path / "notes.txt")


def test_a_module_that_is_no_place_is_refused_by_name(tmp_path):
    for name in ("layers.0.attention.query", "layers.0.mlp.up_proj"):
        sparsify(tmp_path / name)
        with pytest.raises(AttribError, match=name):
            aw.read_sae(tmp_path / name)


def test_broken_sparsify_files_are_named(tmp_path):
    sparsify(tmp_path / "layers.1")
    file = tmp_path / "layers.1" / "sae.safetensors"
    save_file({"W_skip": torch.zeros(2)}, file)
    with pytest.raises(AttribError, match=r"lacks W_dec.*It has W_skip"):
        aw.read_sae(tmp_path / "layers.1")
    file.write_bytes(b"no tensors")
    with pytest.raises(AttribError, match="cannot be read"):
        aw.read_sae(tmp_path / "layers.1")


def test_an_unknown_folder_is_told_what_it_holds_and_what_is_known(tmp_path):
    for name in ("ae.bin", "config.json"):
        (tmp_path / name).touch()
    with pytest.raises(AttribError) as caught:
        aw.read_sae(tmp_path)
    assert all(said in str(caught.value) for said in ("ae.bin, config.json", "SAELens", "sparsify", "sae.safetensors"))
    with pytest.raises(AttribError, match="There is no folder"):
        aw.read_sae(tmp_path / "nowhere")


def test_one_file_of_two_is_told_what_is_missing(tmp_path):
    """And a place alone does not say how weights are to be read."""
    for weights, config in (
        ("sae_weights.safetensors", r"no cfg\.json or config\.json"),
        ("sae.safetensors", r"no cfg\.json"),
        ("ae.pt", r"no config\.json"),
    ):
        folder = tmp_path / weights.partition(".")[0]
        folder.mkdir()
        (folder / weights).write_bytes(b"")
        for asked in (folder, folder / weights):
            with pytest.raises(AttribError, match=rf"{config} beside it, which says how.*site does not"):
                aw.read_sae(asked, site="L1.mlp")
    for config, weights in (
        ("cfg.json", r"sae_weights\.safetensors \(SAELens\) or sae\.safetensors \(sparsify\)"),
        ("config.json", r"sae_weights\.safetensors \(Llama Scope\) or ae\.pt \(dictionary_learning\)"),
    ):
        folder = tmp_path / config.partition(".")[0]
        folder.mkdir()
        (folder / config).write_text("{}")
        for asked in (folder, folder / config):
            with pytest.raises(AttribError, match=rf"no weights beside it.*{weights}"):
                aw.read_sae(asked)
    with pytest.raises(AttribError, match="'' is no folder"):
        aw.read_sae("")


def test_the_hash_of_a_file_is_that_of_all_its_pieces(tmp_path):
    for size in (0, 1 << 20, (5 << 19) + 3):
        content = bytes(i % 251 for i in range(1000)) * (size // 1000 + 1)
        (tmp_path / "file").write_bytes(content[:size])
        assert sha256(tmp_path / "file") == hashlib.sha256(content[:size]).hexdigest()


HALF = [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", HALF)
def test_narrow_numbers_are_read_a_block_at_a_time(tmp_path, monkeypatch, dtype):
    """As they are all at once, whatever the size of a block; what is no number is noticed in any."""
    monkeypatch.setattr(files, "BLOCK", 7)
    torch.manual_seed(0)
    kept = {"a": torch.randn(5, 9).to(dtype), "b": torch.randn(3, 2, 4).to(dtype), "c": torch.randn(9).to(dtype)}
    save_file(kept, tmp_path / "w.safetensors")
    found = files.tensors(tmp_path / "w.safetensors")
    assert all(torch.equal(found[key], value.float()) for key, value in kept.items())
    assert {value.dtype for value in found.values()} == {torch.float32}
    if dtype.itemsize == 2:
        torch.save(kept, tmp_path / "w.pt")
        again = files.tensors(tmp_path / "w.pt")
        assert all(torch.equal(again[key], value.float()) for key, value in kept.items())
    raw = kept["a"].clone().float()
    raw[4, 8] = torch.nan
    save_file({**kept, "a": raw.to(dtype)}, tmp_path / "w.safetensors")
    with pytest.raises(AttribError, match=r"a in .*w\.safetensors holds numbers that are not finite"):
        files.tensors(tmp_path / "w.safetensors")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are measured where Linux tells them")
def test_reading_narrow_numbers_holds_them_once(tmp_path):
    """32 million of them: 128 MB in float32, and a block beside it."""
    save_file({"w": torch.zeros(4096, 8192, dtype=torch.bfloat16)}, tmp_path / "w.safetensors")
    # Pages of the file that are mapped meanwhile are the system's, and not counted.
    code = (
        "import re, sys, threading; from pathlib import Path; from attrib_widgets.saes.formats.files import tensors\n"
        "import safetensors.torch\n"
        "def own(): return int(re.search(r'RssAnon:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "before, most, over = own(), [0], threading.Event()\n"
        "def watch():\n"
        "    while not over.wait(0.0005): most[0] = max(most[0], own())\n"
        "watching = threading.Thread(target=watch); watching.start()\n"
        "found = tensors(Path(sys.argv[1])); most[0] = max(most[0], own()); over.set(); watching.join()\n"
        "print(most[0] - before, found['w'].dtype)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "w.safetensors")], capture_output=True, text=True, check=True
    )
    kilobytes, dtype = done.stdout.split()
    assert dtype == "torch.float32" and 128 * 1024 <= int(kilobytes) < 1.25 * 128 * 1024


def test_an_npz_holds_what_it_says(tmp_path):
    good = {"W_enc": np.arange(6, dtype=np.float16).reshape(2, 3), "b": np.asfortranarray(np.ones((3, 2), np.float64))}
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "w.npz", **good)
        found = files.tensors(tmp_path / "w.npz")
        assert all(np.array_equal(found[key].numpy(), value.astype(np.float32)) for key, value in good.items())
        assert files.shapes(tmp_path / "w.npz", "w_enc") == (2, 3)
    np.savez(tmp_path / "w.npz", a=np.array([{"run": 1}], dtype=object))
    with pytest.raises(AttribError, match="holds objects, or is not as long as it says"):
        files.tensors(tmp_path / "w.npz")
    np.savez_compressed(tmp_path / "w.npz", a=np.zeros(5_000_000, np.float32))
    with pytest.raises(AttribError, match="unpacks to far more"):
        files.tensors(tmp_path / "w.npz")
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as packed:
        packed.writestr("a.npy", head.getvalue() + bytes(64))
    with pytest.raises(AttribError, match="not as long as it says"):
        files.tensors(tmp_path / "w.npz")
    for broken in (b"", b"PK\x03\x04", b"no zip"):
        (tmp_path / "w.npz").write_bytes(broken)
        with pytest.raises(AttribError, match=r"w\.npz cannot be read"):
            files.tensors(tmp_path / "w.npz")


def test_a_glance_needs_no_weights_and_refuses_what_the_config_rules_out(tmp_path):
    sparsify(tmp_path / "layers.1")
    write_sae(saelens("L1.mlp"), tmp_path / "s")
    for folder, weights, place, size in (
        (tmp_path / "layers.1", "sae.safetensors", "L1.post", COUNT),
        (tmp_path / "s", "sae_weights.safetensors", "L1.mlp", 2 * WIDTH),
    ):
        (folder / weights).write_bytes(b"not looked at")
        seen = formats.format_of(folder).glance(folder)
        assert (str(seen.place), seen.features, seen.width) == (place, size, WIDTH)
        config = json.loads((folder / "cfg.json").read_text())
        (folder / "cfg.json").write_text(json.dumps({**config, "d_in": None, "d_sae": None}))
        assert formats.format_of(folder).glance(folder)[1:] == (None, None)
        for change in ({"architecture": "temporal"}, {"activation_fn": "abstopk"}, {"activation": "relu"}):
            (folder / "cfg.json").write_text(json.dumps(config | change))
            with pytest.raises(AttribError, match="not read here"):
                formats.format_of(folder).glance(folder)


def test_a_format_is_one_row(tmp_path, monkeypatch):
    """What a new format needs for its dictionaries to be read, listed and given to a model."""
    mine = SimpleNamespace(
        HOLDS="mine.txt",
        reads=lambda folder: (folder / "mine.txt").is_file(),
        glance=lambda folder: Glance(Place("mlp", 1), 2 * WIDTH),
        read=lambda folder, site=None, scale=None: saelens("L1.mlp"),
    )
    monkeypatch.setitem(formats.FORMATS, "mine", mine)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.txt").touch()
    sparsify(tmp_path / "layers.0")
    write_sae(saelens("L2.z"), tmp_path / "L2.z")
    found = Dictionaries(tmp_path)
    assert [str(place) for place in found] == ["L0.post", "L1.mlp", "L2.z"]
    assert [sae.n_features for sae in found.values()] == [COUNT, 2 * WIDTH, 2 * WIDTH]
    with pytest.raises(AttribError, match=r"holds 3 dictionaries: L2\.z, a, layers\.0"):
        aw.read_sae(tmp_path)
    with pytest.raises(AttribError, match=r"mine\.txt"):
        aw.read_sae(tmp_path / "nothing")
