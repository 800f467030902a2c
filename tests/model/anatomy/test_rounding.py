"""The half-ulp rule: honest additions stay within it, and it knows subnormal and large numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attrib_widgets as aw
from attrib_widgets.model.anatomy.rounding import half_ulp, refuse_above, worst

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES)
def test_half_ulp_is_half_the_distance_to_the_next_number(dtype):
    values = torch.tensor([1.0, 1.5, 3.0, 0.1, 1e-3, 7e-5, 100.0, 6e-8, 0.0]).to(dtype)
    up = torch.nextafter(values, torch.full_like(values, float("inf")))
    expected = (up.double() - values.double()) / 2
    got = half_ulp(values, dtype)
    usual = values.double() >= torch.finfo(dtype).tiny
    assert torch.equal(got[usual], expected[usual]), f"{dtype}: {got} for {expected}"
    if dtype != torch.float32:  # (float32 subnormals may be flushed)
        assert torch.equal(got, expected), f"{dtype}, below the normal range: {got} for {expected}"
    assert torch.equal(half_ulp(-values, dtype), got)


@pytest.mark.parametrize("dtype", DTYPES)
def test_honest_additions_pass_and_a_wrong_term_does_not(dtype):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(100, 32, generator=generator).to(dtype) for _ in range(2))
    total = a + b
    error = total.double() - a.double() - b.double()
    assert worst(error, half_ulp(total, dtype)) <= 1.0
    missing = 0.05 * torch.randn(100, 32, generator=generator).to(dtype)
    assert worst(error + missing.double(), half_ulp(total, dtype)) > 5.0


@given(st.lists(st.floats(-1e4, 1e4, width=16), min_size=2, max_size=2))
@settings(max_examples=200, deadline=None)
def test_no_sum_of_two_halves_exceeds_its_bound(pair):
    a, b = torch.tensor(pair[0], dtype=torch.float16), torch.tensor(pair[1], dtype=torch.float16)
    total = a + b
    assert worst((total.double() - a.double() - b.double())[None], half_ulp(total, torch.float16)[None]) <= 1.0


def test_nothing_to_compare_is_no_error():
    assert worst(torch.zeros(0), torch.zeros(0)) == 0.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_not_a_number_never_passes(bad):
    found = worst(torch.tensor([0.0, bad]), torch.ones(2))
    assert not found <= 1, f"an error of {bad} counts as {found}: a comparison `<= 1` would let it pass"


@pytest.mark.parametrize("precision", ["medium", "high"])
def test_a_refusal_says_when_products_of_float32_are_coarse(precision):
    def refused():
        with pytest.raises(aw.GranularityError) as caught:
            refuse_above(torch.ones(1), torch.zeros(1), "it does not add up")
        return caught.value.hint

    torch.set_float32_matmul_precision(precision)
    try:
        assert f"{precision!r}: try torch.set_float32_matmul_precision" in refused()
    finally:
        torch.set_float32_matmul_precision("highest")
    assert "precision" not in refused()
