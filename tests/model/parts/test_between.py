"""What stands between the last layer and the unembedding is found by trying, whatever it is called."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from fixtures import families


def changed(change):
    """A Llama whose head reads ``change`` of the final norm's output."""
    hf = families.build("llama")

    class Head(torch.nn.Linear):
        def forward(self, x):
            return super().forward(change(x))

    hf.lm_head.__class__ = Head
    return hf


def test_a_factor_in_front_of_the_unembedding_is_found(family_model):
    model = family_model("minicpm3")
    config = model.config
    expected = config.dim_model_base / config.hidden_size
    assert model.between.factor == pytest.approx(expected, rel=1e-6)
    assert model.logit_scale == pytest.approx(expected, rel=1e-6)
    run = model.run(families.PROMPT)
    with torch.no_grad():
        twin = families.build("minicpm3")
        hidden = twin.model(torch.tensor([run.ids]), use_cache=False).last_hidden_state[0, -1]
        logits = twin.lm_head.weight @ (hidden * expected)
    assert torch.allclose(run.logits(), logits, atol=1e-5)
    a = aw.attribute(run, " Paris")
    assert a.exact and a.values.sum() == pytest.approx(float(logits[model.single_token(" Paris")]), abs=1e-4)


def test_a_norm_that_runs_before_the_layers_as_well_is_read_at_its_last_call(family_model):
    model = family_model("nanochat")
    assert model.between.calls == 2
    run = model.run(families.PROMPT)
    with torch.no_grad():
        hidden = families.build("nanochat").model(torch.tensor([run.ids]), use_cache=False, output_hidden_states=True)
    # transformers keeps the last stream behind the norm; the one in front of the last layer is the recorded one.
    assert torch.allclose(run.record.streams[-2], hidden.hidden_states[-2][0], atol=1e-6)
    normed = model.module(model.anatomy.final_norm)(run.record.streams[-1])
    assert torch.allclose(normed, hidden.last_hidden_state[0], atol=1e-6)


def test_a_map_that_is_no_factor_is_refused():
    """A head that squares what it reads is no read-out; nothing is shown rather than something wrong."""
    with pytest.raises(aw.AnatomyError, match="does not add up"):
        aw.load(changed(lambda x: x * x.abs()), tokenizer=families.tokenizer("llama"))
