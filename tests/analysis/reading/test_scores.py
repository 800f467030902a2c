"""Why a head looked there: its score, split exactly on the query side and on the key side."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from fixtures import families
from fixtures.made import Made

ALL = families.FAMILIES + families.VARIANTS + families.CARRIED + families.BESIDE + families.STREAMS
TWINS = families.TWINS + families.VARIANTS


@pytest.mark.parametrize("side", ["query", "key"])
@pytest.mark.parametrize("name", TWINS)
def test_score_twin(family_model, twin, name, side):
    model, slow = family_model(name), twin(name, families.LONG_PROMPT)
    run = model.run(families.LONG_PROMPT)
    for layer, head, query, key in ((0, 1, -1, -2), (1, 3, -1, -1), (2, 2, -3, -6), (2, 0, 4, 0)):
        a = aw.attribute(run, aw.score((layer, head), query=query, key=key, side=side))
        expected, parts = slow.score(layer, head, query, key, side)
        assert a.unit == "score"
        assert a.actual == pytest.approx(expected, abs=5e-6 * (1 + abs(expected))), (
            f"{name} L{layer}H{head} {query}->{key}"
        )
        assert a.exact, f"{name}: rows sum to {a.total}, the score is {a.actual}"
        got = dict(zip(a.labels, a.values.tolist(), strict=True))
        size = max(abs(v) for v in parts.values())
        for label, value in parts.items():
            assert got.pop(label, 0.0) == pytest.approx(value, abs=5e-6 * (1 + size)), (
                f"{name} L{layer}H{head}: row {label}"
            )
        hidden = got.pop("rounding", 0.0)
        assert abs(hidden) <= 5e-6 * (1 + size), f"{name}: {hidden:.1e} hides in the rounding row"
        assert not got, f"rows that the reference does not have: {got}"
        assert not any(label.startswith(f"L{layer}") for label in a.labels), "a head reads nothing of its own layer"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ALL)
def test_closes_in_half_precision(family_model, name, dtype):
    kind = families.DTYPES[dtype]
    run = family_model(name, kind).run(families.PROMPT)
    for side in ("query", "key"):
        a = aw.attribute(run, aw.score("L2H1", query=-1, key=1, side=side))
        assert a.exact, f"{name} {dtype} {side}: gap {a.mismatch:.1e}"
        size = 1 + float(a.values.abs().sum())
        assert abs(a["rounding"]) <= 4 * torch.finfo(kind).eps * size, (
            f"{name} {dtype} {side}: rounding {a['rounding']:+.3f} of {size:.1f}"
        )


@pytest.mark.parametrize("attn", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["gpt2", "gemma2", "bloom"])
def test_one_score_costs_one_row_of_one_head(family_model, name, attn):
    """Neither a score nor a choice makes a pattern: of the layer, or of the head from every position."""
    model = family_model(name, attn=attn)
    run = model.run(families.LONG_PROMPT)
    n = run.n_positions
    bars = aw.attribute(run, " Paris")
    for ask in (lambda: aw.attribute(run, aw.score("L2H1", query=-1, key=-2)), lambda: bars.choice("L2H1")):
        ask()  # what is read once per model and run is not counted
        with Made() as made:
            ask()
        assert (1, 1, n) in [shape for shape, _ in made.tensors], "its scores"
        squares = [shape for shape, _ in made.tensors if shape[-2:] == (n, n)]
        assert not squares, squares


@pytest.mark.parametrize("name", families.FAMILIES)
def test_the_scores_make_the_pattern(family_model, name):
    """The softmax of the explained scores is the attention: nothing else enters it."""
    model = family_model(name)
    run = model.run(families.PROMPT)
    pattern = aw.attention(run, "L1H2").patterns[0, -1]
    scores = torch.tensor([aw.attribute(run, aw.score("L1H2", key=k)).actual for k in range(run.n_positions)])
    sink = getattr(model.layer(1).self_attn, "sinks", None) if name == "gpt_oss" else None
    full = scores if sink is None else torch.cat([scores, sink[2:3].detach()])
    assert torch.allclose(full.softmax(-1)[: len(scores)], pattern, atol=1e-5)


def test_special_rows(family_model):
    bloom = aw.attribute(family_model("bloom").run(families.PROMPT), aw.score("L1H2", key=3))
    slope = 2.0 ** (-8 * 3 / families.HEADS)
    assert bloom["alibi"] == pytest.approx(3 * slope, abs=1e-6)
    gemma = aw.attribute(family_model("gemma2").run(families.LONG_PROMPT), aw.score("L1H2", key=-2))
    assert gemma["softcap"] == pytest.approx(gemma.actual - gemma.precap, abs=1e-6)
    qwen = aw.attribute(family_model("qwen3").run(families.PROMPT), aw.score("L1H2", key=1))
    assert "query.bias" in qwen.labels and "key.bias" not in qwen.labels


def test_a_score_belongs_to_its_own_position(family_model):
    run = family_model("llama").run(families.PROMPT)
    a = aw.attribute(run, aw.score("L2H1", query=3, key=1))
    assert a.position == 3
    assert a.target == aw.score("L2H1", query=3, key=1)


def test_sources_of_a_score(family_model):
    """A score's rows open like any other's: what did the earlier head carry to the query?"""
    run = family_model("gpt2").run(families.PROMPT)
    a = aw.attribute(run, aw.score("L2H1", query=-1, key=1))
    c = a.sources("L1H3")
    assert c.total == pytest.approx(a["L1H3"], abs=1e-5)
    n = a.neurons(0)
    assert n.total == pytest.approx(a["L0.mlp"], abs=1e-5)
    key_side = aw.attribute(run, aw.score("L2H1", query=-1, key=1, side="key"))
    assert key_side.sources("L1H3").values[2:-1].abs().max() == 0, "the key's own position reads nothing after it"


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: aw.score("L9H0"), aw.ComponentError),
        (lambda: aw.score("L0H9"), aw.ComponentError),
        (lambda: aw.score("L1H0", query=0, key=3), aw.PositionError),
        (lambda: aw.score("L1H0", query=50), aw.PositionError),
        (lambda: aw.score("L1H0", key=50), aw.PositionError),
    ],
)
def test_scores_that_do_not_exist(family_model, make, error):
    run = family_model("llama").run(families.PROMPT)
    with pytest.raises(error) as caught:
        aw.attribute(run, make())
    assert caught.value.hint


def test_a_key_outside_the_sliding_window_is_not_a_score_of_the_model(family_model):
    """Layer 0 of this Gemma looks back 8 tokens: further away there is no score, whatever q . k would be."""
    run = family_model("gemma3").run(families.LONG_PROMPT)
    assert float(aw.attention(run, "L0H1").patterns[0, -1, 0]) == 0.0
    try:
        a = aw.attribute(run, aw.score("L0H1", query=-1, key=0))
    except aw.AttribError:
        return
    assert any("window" in note for note in a.notes), "a score that the mask removes is shown without saying so"


@pytest.mark.parametrize("name", TWINS)
def test_odds_between_two_keys(family_model, twin, name):
    """The rows sum to the difference of two scores, and e to the power of it is the ratio of the attention weights."""
    model, slow = family_model(name, attn="eager"), twin(name, families.LONG_PROMPT)
    run = model.run(families.LONG_PROMPT)
    n = run.n_positions
    for layer, head, query, key, other in ((1, 2, n - 1, n - 2, n - 4), (2, 0, 6, 1, 4), (0, 3, 5, 0, 5)):
        a = aw.attribute(run, aw.score((layer, head), query=query, key=key, against=other))
        where = f"{name} L{layer}H{head} {query}->{key}/{other}"
        assert abs(a.mismatch) <= 1e-5 * (1 + float(a.values.abs().sum())), where
        (first, parts), (second, others) = (slow.score(layer, head, query, k) for k in (key, other))
        assert a.actual == pytest.approx(first - second, abs=1e-5 * (1 + abs(first) + abs(second))), where
        got = dict(zip(a.labels, a.values.tolist(), strict=True))
        size = 1 + max(abs(v) for v in [*parts.values(), *others.values()])
        for label, value in parts.items():
            assert got.get(label, 0.0) == pytest.approx(value - others[label], abs=1e-5 * size), f"{where}: {label}"
        pattern = aw.attention(run, (layer, head)).patterns[0, query]
        ratio = float(pattern[key].double().log() - pattern[other].double().log())
        assert a.actual == pytest.approx(ratio, abs=1e-4), where
    assert a.unit == "nats" and "rather than" in a.title()


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: aw.score("L1H0", key=1, against=1), aw.TargetError),
        (lambda: aw.score("L1H0", query=-1, key=-2, against=4), aw.PositionError),
        (lambda: aw.score("L1H0", key=1, against=2, side="key"), aw.TargetError),
        (lambda: aw.score("L1H0", key=1, against=1.5), aw.PositionError),
        (lambda: aw.score("L1H0", query=2, key=1, against=4), aw.PositionError),
    ],
)
def test_odds_that_do_not_exist(family_model, make, error):
    run = family_model("llama").run(families.PROMPT)
    assert run.n_positions == 6, "key -2 is position 4"
    with pytest.raises(error) as caught:
        aw.attribute(run, make())
    assert caught.value.hint


def test_scores_close_on_every_family_whose_attention_is_exact(family_model):
    """Both sides, listed families or not: at least ten of them, rotary and with query and key norms among them."""
    closed = []
    for name in [*ALL, *families.OTHERS]:  # in one test, so that their number is part of it
        try:
            model = family_model(name)
        except aw.AnatomyError:
            continue  # refused by name: nothing wrong is shown
        if not model.check.attention_ok:
            continue
        run = model.run(families.PROMPT)
        for layer, head, query, key in ((0, 1, -1, 1), (2, 3, 3, 2)):
            for side in ("query", "key"):
                a = aw.attribute(run, aw.score((layer, head), query=query, key=key, side=side))
                size = 1 + float(a.values.abs().sum())
                assert abs(a.mismatch) <= 1e-5 * size, f"{name} {side}: gap {a.mismatch:.1e}"
                assert abs(a["rounding"]) <= 1e-5 * size, f"{name} {side}: {a['rounding']:.1e} hides in rounding"
        closed.append(name)
    assert len(closed) >= 10, closed
    assert {"llama", "qwen3", "gemma3", "olmo2"} <= set(closed), closed
