"""Gradients that a part of the model keeps back are no zeros."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import attrib_widgets as aw
from fixtures import families
from fixtures.calls import CLEAN, CORRUPTED, TARGET


class Ungraded(nn.Linear):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


def detached_layer(hf):
    hf.model.layers[1].register_forward_hook(lambda module, args, output: output.detach())


def detached_norm(hf):
    hf.model.norm.register_forward_hook(lambda module, args, output: output.detach())


def ungraded_mlp(hf):
    hf.model.layers[1].mlp.down_proj.__class__ = Ungraded


@pytest.mark.parametrize("change", [detached_layer, detached_norm, ungraded_mlp])
def test_what_lets_no_gradient_pass_is_said(change):
    hf = families.build("llama")
    change(hf)
    model = aw.load(hf, tokenizer=families.tokenizer("llama"))
    with pytest.raises(aw.AttribError, match=r"No gradient passes.*aw\.patch is exact"):
        aw.attribution_patch(model, CLEAN, CORRUPTED, TARGET)
    assert aw.patch(model, CLEAN, CORRUPTED, TARGET).complete
    explorer = aw.explore(model, CLEAN, TARGET, corrupted=CORRUPTED)
    assert explorer.attribution.exact


def test_experiments_on_a_float64_model():
    hf = families.build("llama")
    single = aw.load(hf, tokenizer=families.tokenizer("llama"))
    expected = aw.patch(single, CLEAN, CORRUPTED, TARGET).values
    model = aw.load(families.build("llama").double(), tokenizer=families.tokenizer("llama"))
    torch.testing.assert_close(aw.patch(model, CLEAN, CORRUPTED, TARGET).values, expected, rtol=1e-3, atol=1e-4)
    assert aw.attribution_patch(model, CLEAN, CORRUPTED, TARGET).complete
    assert aw.ablate(model, CLEAN, TARGET).complete and aw.verify(aw.attribute(model.run(CLEAN), TARGET), CORRUPTED)


def test_edges_of_a_bfloat16_model():
    single, half = (aw.load("demo", dtype=dtype) for dtype in ("float32", "bfloat16"))
    expected, found = (aw.edge_patch(m, CLEAN, CORRUPTED, TARGET).values for m in (single, half))
    assert float((found - expected).abs().max()) <= 0.1 * float(expected.abs().max())
