"""The tables of all heads are the single results, row by row: the single call is the slow, obvious twin."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.heads.all_heads import head_table, small_patterns, through_table, why_table
from fixtures import families

CASES = pytest.mark.parametrize(
    ("name", "dtype"),
    [("gpt2", "float32"), ("gemma2", "float32"), ("olmo2", "float32"), ("bloom", "float32"), ("qwen3", "bfloat16")],
)
HEADS = ("L0H1", "L1H2", "L2H3")


@pytest.fixture
def explained(family_model, name, dtype):
    run = family_model(name, dtype).run(families.PROMPT)
    return aw.attribute(run, run.top(1)[0].id)


@CASES
def test_heads(explained):
    a, t = explained, head_table(explained)
    at = a.position
    bars = (t.rows * t.carry).sum(-1) + t.value_bias + t.rounding
    torch.testing.assert_close(bars, a.heads, rtol=1e-5, atol=1e-5)
    for label in HEADS:
        c = aw.component(label)
        tokens = (t.rows * t.carry)[c.layer, c.index]
        torch.testing.assert_close(tokens, a.sources(c).values[: len(tokens)], rtol=1e-5, atol=1e-6)
        assert torch.equal(t.patterns[c.layer, c.index, at], aw.attention(a.run, c)[c][at])


@CASES
def test_small_pictures(explained):
    whole = head_table(explained).patterns.float()
    n = whole.shape[-1]
    assert torch.equal(small_patterns(explained), whole), "a short prompt comes as it is"
    for size in (1, 4):
        twin = torch.zeros(*whole.shape[:2], size, size)
        for t in range(n):
            for s in range(n):
                cell = twin[:, :, t * size // n, s * size // n]
                cell.copy_(torch.maximum(cell, whole[:, :, t, s]))
        assert torch.equal(small_patterns(explained, size), twin)


@CASES
def test_through(explained):
    a, t = explained, through_table(explained)
    for label in HEADS:
        c, single = aw.component(label), explained.through(label)
        parts = single.values[:, :-2]  # the last two columns are the norm's bias and rounding
        torch.testing.assert_close(t.values[c.layer, c.index, :, : parts.shape[1]], parts, rtol=1e-5, atol=1e-6)
        assert not t.values[c.layer, c.index, :, parts.shape[1] :].any(), "nothing from this layer or above"
        torch.testing.assert_close(t.norm_bias[c.layer, c.index], single.values[:, -2], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(t.rounding[c.layer, c.index], single.values[:, -1], rtol=1e-5, atol=2e-6)
    assert a.exact


@CASES
def test_why(explained):
    a = explained
    keys = head_table(a).rows.argmax(-1).tolist()
    t = why_table(a, keys)
    for label in HEADS:
        c = aw.component(label)
        key = keys[c.layer][c.index]
        for number, side in enumerate(("query", "key")):
            single = aw.attribute(a.run, aw.score(label, query=a.position, key=key, side=side))
            # Corrections (norm bias, soft cap, rounding) belong to each read point and are summed in `constant`.
            written = [i for i, part in enumerate(single.components) if part.writes]
            for i in written:
                row = a.components.index(single.components[i])
                assert float(t.values[c.layer, c.index, number, row]) == pytest.approx(
                    float(single.values[i]), abs=1e-5
                )
            total = float(t.values[c.layer, c.index, number].sum() + t.constant[c.layer, c.index, number])
            assert total == pytest.approx(single.actual, abs=1e-4)
            assert float(t.score[c.layer, c.index]) == pytest.approx(single.actual, abs=1e-5)
