"""The effect of a token is what plain forward passes with other tokens in its place say."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.model.running.worker import Job
from fixtures import families


@pytest.mark.parametrize("name", families.FAMILIES + families.VARIANTS + families.CARRIED + families.JOINED)
def test_one_forward_per_replacement(family_model, name):
    model = family_model(name)
    other = 40
    e = aw.token_effects(model, families.PROMPT, 17, draws=2, alternatives=[other, other + 1])
    hf = families.build(name)
    ids = families.ids_of(name)
    generator = torch.Generator().manual_seed(0)
    special = [p for p, i in enumerate(ids) if i in model.special_ids]
    for draw in range(2):
        drawn = {}
        for p in range(len(ids)):
            if p not in special:
                drawn[p] = other + int(torch.randint(2, (1,), generator=generator))
        for p, token in drawn.items():
            changed = [*ids[:p], token, *ids[p + 1 :]]
            with torch.no_grad():
                expected = float(hf(torch.tensor([changed]), use_cache=False).logits[0, -1, 17])
            assert float(e.changed[draw, p]) == pytest.approx(expected, abs=2e-5), (draw, p)
    assert e.values[special].isnan().all()


def test_on_the_demo():
    model = aw.load("demo")
    e = aw.token_effects(model, "The capital of France is", " Paris")
    before = e.values[:-1].nan_to_num(0)  # the last token is where the answer is read: without it nothing is asked
    assert e.run.tokens[int(before.argmin())] == " France", "of the words before, the country carries most"
    lead = int(e.values.nan_to_num(0).argmin())
    assert e.run.tokens[lead].strip() in e.title() and len(e.to_dataframe()) == e.run.n_positions
    again = aw.token_effects(model, "The capital of France is", " Paris")
    assert torch.equal(e.changed.nan_to_num(), again.changed.nan_to_num())


def test_errors(family_model):
    with pytest.raises(aw.AttribError, match="draws"):
        aw.token_effects(family_model("gpt2"), families.PROMPT, 5, draws=0)
    with pytest.raises(aw.AttribError, match="alternatives"):
        aw.token_effects(family_model("gpt2"), families.PROMPT, 5, alternatives=[7])


def test_a_prompt_of_one_token_prints_a_number_or_a_sentence():
    model = aw.load("demo")
    one = aw.token_effects(model, model.run("The", bos=False), " capital", draws=2)
    assert one.run.n_positions == 1 and "nan" not in repr(one) and one.values.isfinite().all()
    for prompt, position in ((model.run("", bos=True), -1), (model.run("The capital"), 0)):
        with pytest.raises(aw.AttribError, match="special tokens stay"):
            aw.token_effects(model, prompt, " capital", position=position)


def test_nothing_finished_is_said_to_be_nothing():
    model = aw.load("demo")
    job = Job(lambda job: (job.cancel(), aw.token_effects(model, "The capital", " of", job=job))[1])
    job.run()
    assert job.result.title() == "No token was replaced" and "nan" not in repr(job.result)


def test_a_cancelled_run_keeps_its_finished_draws(family_model):
    model = family_model("gpt2")
    every = aw.token_effects(model, families.PROMPT, 17, draws=4)
    seen = []

    def stop_in_the_third(done, total, note):
        seen.append(done)
        if seen.count(total) == 2:
            job.cancel()

    job = Job(lambda job: aw.token_effects(model, families.PROMPT, 17, draws=4, job=job), stop_in_the_third)
    job.run()
    kept = job.result.changed
    assert 1 <= len(kept) < 4 and torch.allclose(kept, every.changed[: len(kept)], equal_nan=True)
