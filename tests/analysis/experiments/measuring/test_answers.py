"""What the model says after an experiment is what it says when it is run with the same writes in it."""

from __future__ import annotations

import pytest

import attrib_widgets as aw
from attrib_widgets.analysis.experiments.ablation.donors import zero_donor
from attrib_widgets.analysis.experiments.cells.donors import RunDonor
from attrib_widgets.analysis.experiments.measuring.answers import Answer
from attrib_widgets.analysis.experiments.patching import patch
from fixtures import families


def pair(model, name):
    clean = families.ids_of(name)
    return model.run(clean), model.run([*clean[:2], (clean[2] + 7) % 300, *clean[3:]])


def agrees(said, run, asked):
    best = run.top(1)[0]
    assert said.token == best.text and said.probability == pytest.approx(best.probability, abs=1e-5)
    assert said.asked_probability == pytest.approx(float(run.logits().softmax(-1)[asked]), abs=1e-5)
    assert said.stays is (best.id == asked)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "olmo2"])
def test_the_answer_is_that_of_the_edited_run(family_model, name):
    model = family_model(name)
    clean, corrupted = pair(model, name)
    for way, base, source in (("noise", clean, corrupted), ("denoise", corrupted, clean)):
        p = aw.patch(model, clean, corrupted, 17, components=["L0.mlp", ["L1H0", "L1.mlp"]], direction=way)
        for cell, said in p.answers():
            agrees(said, base.edited(RunDonor(base, source).writes(cell)), 17)
            assert str(p.answer_of(cell)) == str(said)
    ablated = aw.ablate(model, clean, components=["L2.mlp"])
    agrees(ablated.answer_of("L2.mlp"), clean.edited(zero_donor(clean).writes(ablated.cells[0])), clean.top(1)[0].id)


def test_they_stand_in_the_table_and_can_be_too_many(family_model, monkeypatch):
    model = family_model("gpt2")
    clean, corrupted = pair(model, "gpt2")
    p = aw.patch(model, clean, corrupted, 17, components=["L0.mlp"])
    assert str(p.answer_of("L0.mlp")) in repr(p) and "the model then says" in repr(p)
    assert str(aw.ablate(model, clean, 17, components=["L0.mlp"]).answer_of("L0.mlp"))
    monkeypatch.setattr(patch, "KEPT", 10)
    p = aw.patch(model, clean, corrupted, 17)
    assert "then says" not in repr(p)
    with pytest.raises(aw.ComponentError, match="not kept"):
        p.answer_of("L0H0")


def test_how_it_reads():
    said = Answer(" Berlin", 0.706, " Paris", 0.126, False)
    assert str(said) == "·Berlin 71\u00a0%, ·Paris 13\u00a0%"
    assert str(Answer(" Paris", 0.998, " Paris", 0.998, True)) == "·Paris 99.8\u00a0%"
    assert str(Answer(" Berlin", 0.99, " Paris", 0.0042, False)) == "·Berlin 99\u00a0%, ·Paris 0.4\u00a0%"
