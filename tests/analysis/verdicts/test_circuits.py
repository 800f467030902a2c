"""Circuits in closed form: four numbers to 0.01 of the gap, and the words that they allow."""

from __future__ import annotations

import pytest

import attrib_widgets as aw
from fixtures import causal_circuits as cc
from fixtures import circuits


def verified(model, target=cc.ANSWER, **options):
    """Of the target by itself, as the closed forms have it."""
    loaded = aw.load(model, tokenizer=cc.tokenizer())
    return aw.verify(aw.attribute(loaded.run(cc.CLEAN), target), cc.CORRUPTED, against=(), **options)


def numbers(v, part):
    f = v[part]
    return f.necessity, f.direct, f.sufficiency, f.direct_back


def close(*values):
    return pytest.approx(values, abs=0.01)


def test_a_sole_path():
    v = verified(cc.sole())
    assert numbers(v, "L0H0") == close(1, 1, 1, 1)
    assert v["L0H0"].word == "needed" and v.title() == "L0H0 is needed"
    assert v["L0H0"].decided.startswith(
        "“needed”: direct damage (1.00) is at least 0.05; damage (1.00) is at least 0.80"
    )
    assert "matters" in v["L0H0"].decided, "and its row of the book"
    assert v.live == pytest.approx(1, abs=0.01) and "add up to 100\u00a0% of the gap" in v.shared


def test_a_chain():
    v = verified(cc.gate("chain"))
    assert numbers(v, "L0H0") == close(1, 0, 1, 0) and numbers(v, "L0.mlp") == close(1, 1, 1, 1)
    assert v["L0H0"].word == "works through later parts" and v["L0.mlp"].word == "needed"
    assert v["L0H0"].sentence.startswith("needed, and enough by itself: without it 100\u00a0% of the gap goes")


def test_the_previous_token_head_of_the_induction_circuit():
    model = aw.load(circuits.induction(), tokenizer=circuits.tokenizer())
    v = aw.verify(aw.attribute(model.run(circuits.PROMPT), "w11"), "w3 w8 w11 w2 w9 w7", against=())
    assert v["L0H0"].verdict.key == "needed and enough" and "total" in v["L0H0"].lists
    assert v["L0H0"].sufficiency == pytest.approx(1.0, abs=1e-4) and v["L0H0"].direct == pytest.approx(0.0, abs=0.01)
    assert v["L1H3"].word == "not tested here" or v["L1H3"].word == "little alone"


def test_a_full_backup_is_named():
    v = verified(cc.backup())
    f = v["L0H0"]
    assert numbers(v, "L0H0") == close(0, 1, 1, 1) and numbers(v, "L1H0") == close(0, 0, 0, 0)
    assert f.word == "redundant" and f.measured.names["backups"] == ("L1H0",)
    assert f.measured.values["joint"] == pytest.approx(1, abs=0.01)
    assert f.sentence.startswith(
        "confirmed with L1H0: what it writes is worth 100\u00a0% of the gap, and without it 0\u00a0% goes"
    )
    # the backup writes two of the answer where before it wrote two of the first token
    assert [str(c) for c, _ in f.risers] == ["L1H0"] and f.erasers == []
    assert f.risers[0][1] * v.gap == pytest.approx(cc.READ * 2.0 / cc.scale(2.0, 2.0), rel=1e-2)
    assert v["L1H0"].word == "little alone" and v.title() == "L0H0 is redundant"
    assert verified(cc.backup(), backups=False)["L0H0"].word == "can be spared alone", "nobody is named unmeasured"


def test_half_a_backup():
    f = verified(cc.backup(1.0))["L0H0"]
    assert (f.necessity, f.direct) == close(0.5, 1) and f.word == "partly replaced"
    assert "later parts make up for 50\u00a0%" in f.remarks and "joint" not in f.measured.values
    assert f.remarks[-1].startswith("without it more comes from L1H0 (by ")


def test_a_backup_of_the_backup():
    v = verified(cc.three_way())
    f = v["L0H0"]
    assert numbers(v, "L0H0") == close(0, 1, 1, 1)
    assert f.word == "redundant" and f.measured.names["backups"] == ("L1H0", "L2H0")
    assert f.sentence.startswith("confirmed with L1H0 and L2H0: ")
    assert [str(c) for c, _ in f.risers] == ["L1H0"], "who rises first"


def test_a_suppressor():
    v = verified(cc.suppression())
    for head, weight in {"L0H0": 3.0, "L0H1": 2.0, "L1H0": -2.0}.items():
        assert numbers(v, head) == close(*[weight / 3.0] * 4)
    assert [v[h].word for h in ("L0H0", "L0H1", "L1H0")] == ["needed", "needed", "suppresses"]
    assert v.title() == "L0H0 and L0H1 are needed; L1H0 suppresses the answer"


def test_either_is_enough():
    v = verified(cc.gate("or"))
    for head in ("L0H0", "L0H1"):
        assert numbers(v, head) == close(0, 0, 1, 0) and v[head].word == "works through later parts"
        assert v[head].sentence == (
            "either of L0H0 and L0H1 is enough: without it alone 0\u00a0% of the gap goes, "
            "without all of them 100\u00a0%"
        )
    assert v.title() == "L0.mlp is needed; 2 others only together (100\u00a0% of the gap)"


def test_both_are_needed():
    v = verified(cc.gate("and"))
    for head in ("L0H0", "L0H1"):
        assert numbers(v, head) == close(1, 0, 0, 0) and v[head].word == "works through later parts"
        assert v[head].sentence.startswith(
            "both of L0H0 and L0H1 are needed: by itself it brings back 0\u00a0% of the gap"
        )


def test_what_is_erased():
    """Most of what L0H0 writes is erased: that is no backup, and the eraser is named."""
    v = verified(cc.erasure())
    left = 2.0 * (1 - cc.ERASED)
    assert numbers(v, "L0H0") == close(left / (left + 1), 2 / (left + 1), left / (left + 1), 2 / (left + 1))
    f = v["L0H0"]
    assert f.word == "can be spared alone" and [str(c) for c in f.erasers] == ["L1H0"]
    assert f.sentence.endswith("without it 29\u00a0% goes: L1H0 erases it, and it is worth 143\u00a0% once L1H0 cannot")
    assert v["L1H0"].word == "suppresses" and v["L1H1"].word == "needed"


def test_what_every_token_gets():
    """A head that adds to every logit alike is needed for a logit, and does nothing to a difference."""
    raw, difference = verified(cc.common()), verified(cc.common(), aw.logit_diff("w3", "w8"))
    # 1 on each of 20 of the 64 numbers, which the norm centres; the copying head writes 2 of one token or of another
    alike = 1 - cc.VOCAB / cc.WIDTH
    assert numbers(raw, "L0H1") == close(*[alike / (2 + alike)] * 4) and raw["L0H1"].word == "needed"
    assert numbers(difference, "L0H1") == close(0, 0, 0, 0) and difference["L0H1"].word == "little alone"
    assert difference["L0H0"].word == "needed" and difference.title() == "L0H0 is needed"


def test_a_constant_in_runs_of_different_norm():
    v = verified(cc.constant())
    assert v["L0.mlp"].bar > 1, "and yet there is nothing to patch"
    assert numbers(v, "L0.mlp") == (0, 0, 0, 0) and v["L0.mlp"].word == "not tested here"
    assert v["L0.mlp"].remarks == ["set to its mean over the words of both prompts, 0\u00a0% of the gap goes"]
    assert "L0.mlp" not in v.title()


def test_under_a_soft_cap():
    v = verified(cc.capped())
    assert numbers(v, "L0H0") == close(1, 1, 1, 1) and v["L0H0"].word == "needed"
    a, b = v.attributions[0], aw.attribute(v.effects["noise"].pairs[0][1], cc.ANSWER)
    assert (a["L0H0"] - b["L0H0"]) / v.gap > 1.3, "the bars stop before the cap, and are no denominator"


def test_a_nearly_certain_log_probability():
    model = cc.sole()
    model.lm_head.weight.data *= 40
    v = verified(model, aw.log_prob(cc.ANSWER))
    assert numbers(v, "L0H0") == close(1, 1, 1, 1) and v["L0H0"].word == "needed"
    assert abs(v["L0H0"].bar) < 0.01 * v.gap, "where p is nearly 1 the bar vanishes"
    assert v["L0H0"].then == "w8 100\u00a0%, w3 <0.1\u00a0%"


def test_many_equal_parts_are_named_together():
    v = verified(cc.many())
    assert v.findings and all(f.word == "little alone" for f in v.findings if "H" in str(f.component))
    assert numbers(v, "L0H0") == close(*[1 / 32] * 4)
    assert v.title() == "no part alone, all 48 together (100\u00a0% of the gap)"
    (others,) = v.groups
    assert (others.necessity, others.sufficiency) == close(1, 1) and others.then == "w8 24\u00a0%, w3 4.0\u00a0%"
    assert "all others together (48)" in repr(v)


def test_a_write_that_is_not_at_the_target():
    v = verified(cc.sole(), positions=[1])
    assert numbers(v, "L0H0") == close(0, 0, 0, 0) and v["L0H0"].bar > 1
    assert v["L0H0"].word in ("little alone", "not tested here") and "is needed" not in v.title()
    assert "patched at position 1 only" in v.notes
    assert verified(cc.sole(), positions=[3])["L0H0"].word == "needed"


def test_what_the_model_says_then():
    v = verified(cc.suppression())
    for f in v.findings:
        p = aw.patch(
            v.effects["noise"].model, cc.CLEAN, cc.CORRUPTED, cc.ANSWER, components=[f.component], direction="noise"
        )
        assert f.then == str(p.answer_of(f.component))
    assert v["L1H0"].then == "w3 48\u00a0%" and v["L0H0"].then == "w8 22\u00a0%, w3 4.1\u00a0%"
    assert "the model says w3 22\u00a0%, and after the other prompt w8 22\u00a0%, w3 4.1\u00a0%" in v.summary().note
