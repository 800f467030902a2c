"""What SAELens keeps of a run beside its weights, and matching pursuit, whose encoder is a loop."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import attrib_widgets as aw
from attrib_widgets.saes.formats import read_sae
from attrib_widgets.words.errors import AttribError
from fixtures import families
from fixtures.dictionaries import formula, old_folder

WEIGHTS = "sae_weights.safetensors"
RESCALED = {"activation_fn_str": None, "activation_fn_kwargs": None, "k": 5, "rescale_acts_by_decoder_norm": True}


def config_of(folder: Path) -> dict:
    return json.loads((folder / "cfg.json").read_text())


def pursuing(folder: Path, width: int = 6, changes: dict | None = None) -> None:
    """A dictionary of matching pursuit: its decoder alone, of rows that have the length that training gives them."""
    old_folder(folder, {"architecture": "matching_pursuit", "d_in": width, **(changes or {})})
    torch.manual_seed(3)
    rows = torch.randn(20, width)
    save_file({"W_dec": rows / rows.norm(dim=1, keepdim=True), "b_dec": torch.randn(width)}, folder / WEIGHTS)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"apply_b_dec_to_input": False},
        {"max_iterations": 2},
        {"residual_threshold": 1.5},
        {"residual_threshold": 0.0, "stop_on_duplicate_support": False, "max_iterations": 9},
        {"normalize_activations": "layer_norm"},
        {"normalize_activations": "constant_norm_rescale"},
    ],
)
def test_matching_pursuit_is_its_loop(tmp_path: Path, changes):
    pursuing(tmp_path, changes=changes)
    read, x = read_sae(tmp_path), 2 * torch.randn(30, 6)
    acts, out = formula(config_of(tmp_path), load_file(tmp_path / WEIGHTS), x)
    assert torch.allclose(read.encode(x).double(), acts, atol=1e-5)
    assert 1 < float((acts > 0).sum(-1).double().mean()) < 9
    assert torch.allclose(read.decode(read.encode(x), x).double(), out, atol=1e-5)
    assert torch.equal(read.encode(x.reshape(5, 6, 6)), read.encode(x).reshape(5, 6, 20))
    assert torch.allclose(read.column(x, 3).double(), acts[:, 3], atol=1e-5)
    assert repr(read) == "SAE of L1.post: 20 features of 6 numbers (matching_pursuit)"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_iterations": 0}, "max_iterations = 0, which takes no feature"),
        ({"max_iterations": "3"}, "max_iterations = '3', which is no whole number"),
        ({"residual_threshold": "small"}, "residual_threshold = 'small', which is no number"),
        ({"stop_on_duplicate_support": "no"}, "stop_on_duplicate_support = 'no'"),
        ({"finetuning_scaling_factor": True}, "encodes with the matrix that it decodes with"),
        ({"normalize_activations": "covariance_whitening"}, "covariance_whitening"),
        ({"d_sae": 21}, "d_sae = 21, and W_dec in .* has 20"),
    ],
)
def test_what_matching_pursuit_cannot_be_is_refused(tmp_path: Path, changes, said):
    pursuing(tmp_path, changes=changes)
    with pytest.raises(AttribError, match=said):
        read_sae(tmp_path)


def test_rows_of_matching_pursuit_sum_to_the_bar(tmp_path: Path):
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    pursuing(tmp_path, model.d_model, {"hook_name": "blocks.1.hook_mlp_out"})
    model.saes["L1.mlp"] = read_sae(tmp_path)
    found = aw.attribute(model.run(families.PROMPT), " Paris").features("L1.mlp")
    assert abs(found.mismatch) <= 1e-6 * (1 + float(found.values.abs().sum())) and found.firing


@pytest.mark.parametrize("subtract", [True, False])
def test_the_scale_that_a_run_keeps_is_found(tmp_path: Path, subtract):
    """SAELens folds it in when the run ends: what is written is the same, whichever way its activations are scaled."""
    asked = {"normalize_activations": "expected_average_only_in", "apply_b_dec_to_input": subtract}
    for number, changes in enumerate(({}, {**RESCALED, "architecture": "topk"}, {"architecture": "matching_pursuit"})):
        folder = tmp_path / str(number)
        pursuing(folder, changes=changes | asked) if number == 2 else old_folder(folder, changes | asked)
        x, scale = torch.randn(30, 6), 0.4
        tensors = load_file(folder / WEIGHTS)
        acts, out = formula(config_of(folder), tensors, scale * x)
        given = read_sae(folder, scale=scale)
        (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": scale, "has_whitening": False}))
        found = read_sae(folder)
        assert torch.equal(found.encode(x), given.encode(x))
        assert torch.equal(read_sae(folder, scale=scale).rebuild(x), found.rebuild(x))
        # Behind the fold the length of a row is that of what it writes to the model; so are its activations.
        units = 1.0 if number == 0 else scale
        assert torch.allclose(found.encode(x).double(), acts / units, atol=1e-4)
        assert torch.allclose(found.rebuild(x).double(), out / scale, atol=1e-4)
        with pytest.raises(AttribError, match=r"You give scale = 0\.5, and the training run kept 0\.4"):
            read_sae(folder, scale=0.5)
        (folder / "activation_scaler.json").write_text('{"scaling_factor": "large"}')
        with pytest.raises(AttribError, match="scaling_factor = 'large', which is no positive number"):
            read_sae(folder)
        # Before version 6 it stands among the activations that training goes on with.
        (folder / "activation_scaler.json").unlink()
        kept = {"estimated_norm_scaling_factor": torch.tensor(scale), "n_dataset_processed": torch.tensor(3)}
        save_file(kept, folder / "activations_store_state.safetensors")
        assert torch.allclose(read_sae(folder).encode(x), found.encode(x), atol=1e-5)


def test_a_threshold_of_a_run_is_scaled_with_what_it_is_held_against(tmp_path: Path):
    asked = {"normalize_activations": "expected_average_only_in", **RESCALED, "architecture": "batchtopk"}
    old_folder(tmp_path, asked, {"topk_threshold": torch.tensor(2.0)})
    t, x, scale = load_file(tmp_path / WEIGHTS), torch.randn(30, 6), 0.4
    norm = t["W_dec"].norm(dim=1)
    pre = ((scale * x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]) * norm
    acts = pre * (pre > 2)
    read = read_sae(tmp_path, scale=scale)
    assert torch.allclose(read.encode(x), acts / scale, atol=1e-4) and bool(acts.any())
    assert torch.allclose(read.rebuild(x), (acts / norm @ t["W_dec"] + t["b_dec"]) / scale, atol=1e-4)


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize("changes", [{}, {**RESCALED, "architecture": "topk"}, {"architecture": "jumprelu"}])
def test_whitened_activations(tmp_path: Path, subtract, changes):
    asked = {"normalize_activations": "covariance_whitening", "apply_b_dec_to_input": subtract, **changes}
    old_folder(tmp_path, asked, {"threshold": torch.rand(20)} if changes.get("architecture") == "jumprelu" else {})
    torch.manual_seed(5)
    mean, matrix = torch.randn(6, dtype=torch.float64), torch.randn(6, 6, dtype=torch.float64) + 2 * torch.eye(6)
    kept = {"mean": mean, "matrix": matrix, "inverse_matrix": matrix.inverse().contiguous()}
    file, x = tmp_path / "activation_whitening.safetensors", torch.randn(30, 6, dtype=torch.float64)
    save_file(kept, file)
    acts, out = formula(config_of(tmp_path), load_file(tmp_path / WEIGHTS), (x - mean) @ matrix)
    read = read_sae(tmp_path)
    assert torch.allclose(read.encode(x).double(), acts, atol=1e-4) and bool(acts.any())
    assert torch.allclose(read.rebuild(x).double(), out @ matrix.inverse() + mean, atol=1e-4)
    save_file(kept | {"inverse_matrix": 2 * kept["inverse_matrix"]}, file)
    with pytest.raises(AttribError, match="do not undo each other"):
        read_sae(tmp_path)
    save_file(kept | {"mean": mean[:3]}, file)
    with pytest.raises(AttribError, match="is for 3 numbers, and the dictionary reads 6"):
        read_sae(tmp_path)
    with pytest.raises(AttribError, match="activations as they are"):
        read_sae(tmp_path, scale=2.0)


def test_a_loaded_object_takes_the_scale_that_its_settings_ask_for(tmp_path: Path):
    old_folder(tmp_path, {"normalize_activations": "expected_average_only_in"})

    class Loaded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cfg = SimpleNamespace(to_dict=lambda: config_of(tmp_path))
            for name, value in load_file(tmp_path / WEIGHTS).items():
                self.register_parameter(name, nn.Parameter(value))

        encode = decode = forward = lambda self, x: pytest.fail("it is read, not called")

    with pytest.raises(AttribError, match=r"expected_average_only_in.*Give it"):
        aw.read_sae(Loaded())
    x = torch.randn(5, 6)
    assert torch.equal(aw.read_sae(Loaded(), scale=0.4).encode(x), aw.read_sae(tmp_path, scale=0.4).encode(x))
