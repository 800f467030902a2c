"""Many prompts at once: row by row what each prompt's own attribution says."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.model.run import Run
from attrib_widgets.model.running.worker import Cancelled, Job
from attrib_widgets.words.text import visible
from fixtures import families, mixed

ALL = families.FAMILIES + families.VARIANTS + families.JOINED + families.STREAMS
PROMPTS = ["The capital of France is", "The capital of Germany is", families.LONG_PROMPT, "In Rome they like"]
#: Options of the call, and those that mean the same for prompt number ``i``.
ASKED = {
    "its own answer": ({}, lambda i: {}),
    "a token": ({"target": " Paris"}, lambda i: {"target": " Paris"}),
    "a difference": ({"target": " Paris", "against": " Rome"}, lambda i: {"target": " Paris", "against": " Rome"}),
    "each its own": (
        {"target": [17, 18, " Paris", 20], "against": [1, 2, 3, " Rome"]},
        lambda i: {"target": [17, 18, " Paris", 20][i], "against": [1, 2, 3, " Rome"][i]},
    ),
    "centred": ({"target": aw.logit(" Paris").centered()}, lambda i: {"target": aw.logit(" Paris").centered()}),
    "elsewhere": ({"position": 2}, lambda i: {"position": 2}),
}


@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", ALL)
def test_every_row_is_that_of_its_prompt(family_model, name, dtype):
    """In one batch with the others, as ``run_many`` runs them: half precision rounds by the batch."""
    model = family_model(name, families.DTYPES[dtype])
    runs = model.run_many(PROMPTS)
    for how in ("its own answer", "a difference", "each its own"):
        together, alone = ASKED[how]
        found = aw.attribute_many(model, PROMPTS, **together)
        for i, run in enumerate(runs):
            a = aw.attribute(run, **alone(i))
            assert found.labels == a.labels and found.texts[i] == PROMPTS[i]
            size = 1 + float(a.values.abs().sum())
            assert float((found.values[i] - a.values).abs().max()) <= 1e-6 * size, f"{name} {dtype}, {how}, prompt {i}"
            assert float(found.actual[i]) == pytest.approx(a.actual, abs=1e-6 * size)
        assert float(found.mismatches().abs().max()) <= 1e-5 * (1 + float(found.values.abs().sum(-1).max()))


@pytest.mark.parametrize("how", ASKED)
@pytest.mark.parametrize("name", ["gpt2", "gemma2", "granite"])
def test_every_question(family_model, name, how):
    model = family_model(name)
    together, alone = ASKED[how]
    found = aw.attribute_many(model, PROMPTS, **together)
    frame = found.to_dataframe()
    for i, prompt in enumerate(PROMPTS):
        a = aw.attribute(model.run(prompt), **alone(i))
        torch.testing.assert_close(found.values[i], a.values, atol=2e-6, rtol=1e-6)
        own = frame[frame["prompt"] == i]
        assert list(own["component"]) == a.labels and list(own["value"]) == found.values[i].tolist()
    assert str(found).splitlines()[0].endswith("in the mean of 4 prompts")


@pytest.mark.parametrize("name", mixed.MODELS)
def test_layers_that_split_otherwise(name):
    """Whole layers too, of which nothing is read inside."""
    model = mixed.MODELS[name][0]()
    found = aw.attribute_many(model, PROMPTS)
    for i, prompt in enumerate(PROMPTS):
        a = aw.attribute(model.run(prompt))
        assert found.labels == a.labels
        torch.testing.assert_close(found.values[i], a.values, atol=2e-6, rtol=1e-6)


def test_a_title_says_the_sign_and_what_is_held_against_the_answer(family_model):
    model = family_model("gpt2")
    for target, rival in ((" Paris", " Rome"), (" Rome", " Paris")):
        found = aw.attribute_many(model, PROMPTS, target, against=rival)
        table, mean = found.summary(), found.values.mean(0)
        first = table.title.split()[0]
        said = table.title.partition("most, ")[2].split()[0]
        assert float(said.replace("\u2212", "-")) == pytest.approx(float(mean[found.labels.index(first)]), abs=0.006)
        assert f"for {visible(target)} over {visible(rival)}, in the mean" in table.title
        assert table.last == 1 and table.rows[-1][0].endswith("others")


def test_log_probabilities(family_model):
    model = family_model("llama")
    found = aw.attribute_many(model, PROMPTS, aw.log_prob(" Paris"))
    for i, prompt in enumerate(PROMPTS):
        a = aw.attribute(model.run(prompt), aw.log_prob(" Paris"))
        torch.testing.assert_close(found.values[i], a.values, atol=2e-6, rtol=1e-6)
    with pytest.raises(aw.TargetError, match="caps its logits"):
        aw.attribute_many(family_model("gemma2"), PROMPTS, aw.log_prob(" Paris"))


def test_no_run_is_made_for_a_prompt_and_lengths_share_passes(family_model, monkeypatch):
    model = family_model("gpt2")
    made, passes = [], []
    begin = Run.__init__
    monkeypatch.setattr(Run, "__init__", lambda self, *args, **kw: made.append(1) or begin(self, *args, **kw))
    handle = model.hf.register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        found = aw.attribute_many(model, [[2 + i % 90, *range(3, 6 + i % 3)] for i in range(60)])
    finally:
        handle.remove()
    assert found.values.shape == (60, len(found.components))
    assert len(made) == 3, "one for each length"
    assert len(passes) <= 3 * 2, "one for each length, and what looks at the model after a hook came"


def test_what_it_refuses(family_model):
    model = family_model("gpt2")
    for given, error, said in (
        (dict(prompts=[]), aw.AttribError, "There are no prompts"),
        (dict(prompts=PROMPTS, target=[" Paris"]), aw.AttribError, "1 target for 4 prompts"),
        (dict(prompts=PROMPTS, target=aw.score("L1H1", -1, 0)), aw.TargetError, "no number over the vocabulary"),
        (dict(prompts=PROMPTS, target=[" Paris", aw.log_prob(" Paris"), 3, 4]), aw.TargetError, "several kinds"),
        (dict(prompts=PROMPTS, target=" Paris", against=" Paris"), aw.TargetError, "the same token"),
        (dict(prompts=PROMPTS, against=" Paris"), aw.TargetError, "nothing to hold against"),
        (dict(prompts=PROMPTS, position=9), aw.PositionError, "Prompt 0: Position 9 is outside"),
    ):
        with pytest.raises(error, match=said):
            aw.attribute_many(model, **given)
    job = Job(lambda job: None)
    job.cancel()
    with pytest.raises(Cancelled):
        aw.attribute_many(model, PROMPTS, job=job)
