"""The tuned lens of the embedded model: made from these weights, and as near to the output as its file says."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets import demo
from attrib_widgets.analysis.lens.files import FILE, stream_names
from attrib_widgets.demo.making import concepts
from attrib_widgets.demo.making import lens as making


@pytest.fixture(scope="module")
def model():
    return aw.load("demo")


def test_it_is_made_from_the_weights_beside_it(model):
    told = model.lens.metadata
    assert told["weights_sha256"] == demo.weights_sha256() and told["model_name"] == "demo"
    assert told["settings"]["steps"] == making.STEPS and told["texts"] == making.TRAINED_ON
    assert model.lens.places == stream_names(model.n_layers, True)


def test_it_is_as_near_as_it_says_and_nearer_than_the_logit_lens(model):
    again = model.lens.measured(model, [concepts.context(i) for i in range(making.MEASURED_ON)])
    for place in model.lens.places:
        assert again.kl_of(place) == pytest.approx(model.lens.kl_of(place), abs=2e-4), place
        plain, own = again.kl_of(place)
        assert own < plain


def test_it_is_made_again_by_its_command(tmp_path, monkeypatch, capsys):
    """A few steps on few texts, into a folder of its own, in half precision; what was measured is what was written."""
    for file in demo.path().iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(making, "TRAINED_ON", 40)
    monkeypatch.setattr(making, "MEASURED_ON", 10)
    making.main(["--folder", str(tmp_path), "--steps", "2"])
    lens = aw.TunedLens.load(tmp_path / FILE)
    assert torch.equal(lens.weight, lens.weight.half().float())
    assert lens.metadata["held_out"] == 10 and "KL by this lens" in capsys.readouterr().out
    assert aw.load(str(tmp_path)).lens.metadata["model_name"] == "demo"
