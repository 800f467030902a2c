"""What is no number, and what is no attribution, is refused in one sentence."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from fixtures import families
from fixtures.calls import CLEAN, CORRUPTED, TARGET


def test_a_metric_that_is_no_number():
    model = aw.load("demo")
    for call in (aw.patch, aw.attribution_patch, aw.integrated_gradients, aw.path_patch):
        with pytest.raises(aw.NumberError, match="of the clean run is NaN or infinite"):
            call(model, CLEAN, CORRUPTED, lambda logits: logits[:, 0] * torch.nan)


def test_a_run_is_no_attribution():
    run = aw.load("demo").run(CLEAN)
    with pytest.raises(aw.AttribError, match=r"A Run is no attribution.*aw\.attribute"):
        aw.estimated_effects(run, CORRUPTED)
    for given in (run, None, "x", 5):
        with pytest.raises(aw.AttribError, match="is no attribution"):
            aw.head_table(given)
        with pytest.raises(aw.AttribError, match="is no attribution"):
            aw.compare(given, given)
        with pytest.raises(aw.AttribError, match="verify takes an attribution, and this is a"):
            aw.verify(given, CORRUPTED)


def test_a_hook_that_depends_on_the_batch_is_named():
    hf = families.build("llama")
    hf.model.layers[1].mlp.register_forward_hook(lambda module, args, out: out + (out.shape[0] > 1))
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    with pytest.raises(aw.ModelError, match=r"model\.run\(run\.ids\).*a hook on model\.layers\.1\.mlp depends on"):
        aw.patch(model, model.run(CLEAN), CORRUPTED, TARGET)


def test_a_sparse_weight_is_read_through_its_module():
    hf, plain = families.build("llama"), families.build("llama")
    weight = hf.model.layers[1].mlp.down_proj.weight
    hf.model.layers[1].mlp.down_proj.weight = torch.nn.Parameter(weight.detach().to_sparse_csr(), requires_grad=False)
    a, b = (aw.attribute(aw.load(m, tokenizer=families.tokenizer("llama")).run(CLEAN), TARGET) for m in (hf, plain))
    assert a.exact and a.labels == b.labels
    torch.testing.assert_close(a.values, b.values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("given", [None, 3, b"folder"])
def test_what_is_no_folder_is_no_dictionary(given):
    with pytest.raises(aw.AttribError, match="is no folder"):
        aw.read_sae(given)
