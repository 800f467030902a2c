"""Inside ``torch.inference_mode`` every call gives the numbers that it gives outside, gradients included."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from fixtures import families
from fixtures.calls import CALLS, Given


@pytest.fixture(scope="module")
def expected():
    outside = Given()
    return {name: call(outside) for name, call in CALLS.items()}


@pytest.fixture(scope="module", params=["weights", "results", "nothing"])
def made(request):
    """A model whose weights, or whose recordings and results only, were made in inference mode."""
    with torch.inference_mode(request.param == "weights"):
        hf = families.build("llama")
    with torch.inference_mode(request.param != "nothing"):
        return Given(hf)


@pytest.mark.parametrize("inside", [True, False], ids=["called inside", "called outside"])
@pytest.mark.parametrize("name", CALLS)
def test_every_call_gives_its_numbers(made, expected, name, inside):
    with torch.inference_mode(inside):
        found = CALLS[name](made)
    torch.testing.assert_close(found, expected[name], rtol=1e-4, atol=1e-5, equal_nan=True)


def test_weights_made_in_inference_mode_are_left_as_they_are():
    with torch.inference_mode():
        hf = families.build("llama")
    before = {name: (id(p), p._version if not p.is_inference() else None) for name, p in hf.named_parameters()}
    given = Given(hf)
    aw.attribution_patch(*given.pair())
    assert before == {n: (id(p), p._version if not p.is_inference() else None) for n, p in hf.named_parameters()}
    assert all(p.is_inference() for p in hf.parameters())
