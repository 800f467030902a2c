"""Why a head looked at one token rather than another: rows that sum to the difference of two scores."""

from __future__ import annotations

import math

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.heads.all_heads import head_table, why_table
from fixtures import families

ALL = families.FAMILIES + families.VARIANTS
TWINS = families.TWINS + families.VARIANTS
CASES = [((0, 1), 1, 0), ((1, 3), 2, 3), ((2, 2), 4, 1)]


def written(parts):
    """The twin's rows of parts: what else there is (biases, penalties) is a constant."""
    return {k: v for k, v in parts.items() if k.startswith(("L", "embed", "pos"))}


@pytest.mark.parametrize("name", TWINS)
def test_rows_are_the_difference_of_two_twins(family_model, twin, name):
    a = aw.attribute(family_model(name).run(families.PROMPT), " Paris")
    slow = twin(name, families.PROMPT)
    for (layer, head), key, against in CASES:
        c = a.choice((layer, head), key, against)
        (one, mine), (other, others) = (slow.score(layer, head, a.position, k, "key") for k in (key, against))
        size = 1 + sum(map(abs, [*mine.values(), *others.values()]))
        assert c.parent_value == pytest.approx(one - other, abs=1e-5 * size)
        assert c.scores == pytest.approx((one, other), abs=1e-5 * size)
        assert c.exact and c.total == pytest.approx(one - other, abs=1e-5 * size)
        rows = dict(zip(c.labels, c.values.tolist(), strict=True))
        for label in written(mine):
            assert rows.pop(label, 0.0) == pytest.approx(mine[label] - others[label], abs=1e-5 * size), label
        assert abs(rows["rounding"]) <= 1e-5 * size
        assert not [label for label in rows if label.endswith(".mlp") or "H" in label], (
            "no row of its own layer or above"
        )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ALL)
def test_by_default_the_most_read_token_against_the_strongest_other(family_model, name, dtype):
    a = aw.attribute(family_model(name, families.DTYPES[dtype]).run(families.LONG_PROMPT), " Paris")
    for label in ("L0H1", "L1H2", "L2H3"):
        row = aw.attention(a.run, label).patterns[0, a.position].clone()
        c = a.choice(label)
        assert c.exact and c.query == a.position
        assert float(row[c.key]) == float(row.max())
        ratio = float(row[c.key])
        row[c.key] = -1
        assert float(row[c.against]) == pytest.approx(float(row.max()), rel=1e-2)
        eps = torch.finfo(families.DTYPES[dtype]).eps
        assert c.ratio == pytest.approx(ratio / float(row[c.against]), rel=max(1e-3, 4 * eps))


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "gpt_neox", "bloom", "qwen3"])
def test_the_same_for_all_heads_at_once(family_model, name):
    a = aw.attribute(family_model(name).run(families.PROMPT), " Paris")
    keys = head_table(a).rows.argmax(-1).tolist()
    t = why_table(a, keys)
    for layer in range(a.model.n_layers):
        for h in range(a.model.n_heads):
            c = a.choice((layer, h))
            assert (c.key, c.against) == (keys[layer][h], int(t.rival[layer, h]))
            assert c.scores == pytest.approx((float(t.score[layer, h]), float(t.rival_score[layer, h])), abs=1e-5)
            size = 1 + float(c.values.abs().sum())
            for i, part in enumerate(a.components):
                if str(part) in c.labels and part.writes:
                    assert float(t.choice[layer, h, i]) == pytest.approx(c[str(part)], abs=2e-6 * size)
            total = float(t.choice[layer, h].sum() + t.choice_constant[layer, h])
            assert total == pytest.approx(c.scores[0] - c.scores[1], abs=1e-5 * size)


def test_the_word_that_decides_is_preferred_for_what_was_written_there():
    """The score alone, +5.38, tells nothing; against the strongest other token it is a story."""
    a = aw.attribute(aw.load("demo").run("The capital of France is"), " Paris")
    c = a.choice("L3H1")
    assert (c.key, c.against) == (4, 0) and c.parent_value == pytest.approx(8.32, abs=0.01)
    assert [c[label] for label in ("L0.mlp", "L1.mlp", "L2.mlp")] == pytest.approx([4.09, 2.34, 2.19], abs=0.01)
    assert c.title == "L3H1: ·is scores ·France 8.32 above <s>, the strongest other token: 4,114 times its attention"
    assert "+5.38 minus −2.94" in repr(c) and "not yet tested" in repr(c)
    back = a.choice("L3H1", key=0, against=4)
    assert back.values.tolist() == pytest.approx((-c.values).tolist(), abs=1e-5)
    assert "below ·France" in back.title and "strongest" not in back.title
    assert math.log(c.ratio) == pytest.approx(c.parent_value)


def test_a_sliding_window_hides_rivals(family_model):
    model = family_model("mistral")
    a = aw.attribute(model.run(families.LONG_PROMPT), " Paris")
    window = model.config.sliding_window
    assert window < a.position
    for h in range(model.n_heads):
        assert a.choice((1, h)).against > a.position - window
    with pytest.raises(aw.PositionError, match="window"):
        a.choice("L1H0", key=0)


@pytest.mark.parametrize(
    ("key", "against", "said"),
    [(1, 1, "same position"), (99, None, "outside"), (1, -1, None), (4, 2, "reads backwards")],
)
def test_errors(family_model, key, against, said):
    a = aw.attribute(family_model("gpt2").run(families.PROMPT), " Paris", position=3)
    with pytest.raises(aw.PositionError) as caught:
        a.choice("L1H0", key=key, against=against)
    assert caught.value.hint and (said is None or said in str(caught.value) or "99" in str(caught.value))
    first = aw.attribute(family_model("gpt2").run(families.PROMPT, positions=[0]), " Paris", position=0)
    with pytest.raises(aw.PositionError, match="no other key"):
        first.choice("L1H0")
    with pytest.raises(aw.TargetError, match=r'a\.choice\("L1H0", key=1, against=2\)'):
        aw.score("L1H0", key=1, against=2, side="key")
