"""Circuits in closed form: four numbers to 0.01 of the gap, and the words that they allow."""

from __future__ import annotations

import pytest

import attrib_widgets as aw
from attrib_widgets.demo.built import copying as cc


def verified(name, target=None, hf=None, **options):
    """A circuit that was built by hand, or ``hf`` in its place, on its own prompts; of the target by itself, as the
    closed forms have it."""
    story = aw.demo.circuits[name]
    model = aw.load(story.source) if hf is None else aw.load(hf, tokenizer=cc.tokenizer())
    return aw.verify(
        aw.attribute(model.run(story.prompt), target or story.target), story.corrupted, **{"against": (), **options}
    )


@pytest.mark.parametrize("story", list(aw.demo.circuits), ids=lambda story: story.name)
def test_every_circuit_is_called_what_its_story_says(story):
    """By the question that is asked unless another is: why the answer, and not what the other prompt is answered."""
    v = verified(story.name, against=None)
    assert v.title() == story.verdict and story.called in v.summary().note
    (a,) = v.attributions
    asked = [[a.model.token(a.model.single_token(t)) for t in side] for side in (a.target.tokens, a.target.against)]
    assert asked == [[story.target], [story.rival] if story.rival else []]
    said, after = (one[0] for one in v.said)
    assert (said.token, after.token) == (story.target, story.rival or story.target)
    assert said.probability > 0.9 and after.probability > 0.75


def numbers(v, part):
    f = v[part]
    return f.necessity, f.direct, f.sufficiency, f.direct_back


def close(*values):
    return pytest.approx(values, abs=0.01)


def test_a_sole_path():
    v = verified("sole-path")
    assert numbers(v, "L0H0") == close(1, 1, 1, 1)
    assert v["L0H0"].word == "needed" and v.title() == "L0H0 is needed"
    assert v["L0H0"].decided.startswith(
        "“needed”: direct damage (1.00) is at least 0.05; damage (1.00) is at least 0.80"
    )
    assert "matters" in v["L0H0"].decided, "and its row of the book"
    assert v.live == pytest.approx(1, abs=0.01) and v.shared.endswith("add up to 100\u00a0% of the gap")


def test_a_chain():
    v = verified("chain")
    assert numbers(v, "L0H0") == close(1, 0, 1, 0) and numbers(v, "L0.mlp") == close(1, 1, 1, 1)
    assert v["L0H0"].word == "works through later parts" and v["L0.mlp"].word == "needed"
    assert v["L0H0"].sentence.startswith("needed, and enough by itself: without it 100\u00a0% of the gap goes")


def test_the_previous_token_head_of_the_induction_circuit():
    v = verified("induction")
    assert v["L0H0"].verdict.key == "needed and enough" and "total" in v["L0H0"].lists
    assert v["L0H0"].sufficiency == pytest.approx(1.0, abs=1e-4) and v["L0H0"].direct == pytest.approx(0.0, abs=0.01)
    assert v["L1H3"].word == "not tested here" or v["L1H3"].word == "little alone"


def test_a_full_backup_is_named():
    v = verified("backup")
    f = v["L0H0"]
    assert numbers(v, "L0H0") == close(0, 1, 1, 1) and numbers(v, "L1H0") == close(0, 0, 0, 0)
    assert f.word == "redundant" and f.measured.names["backups"] == ("L1H0",)
    assert f.measured.values["joint"] == pytest.approx(1, abs=0.01)
    assert f.sentence.startswith(
        "confirmed with L1H0: what it writes is worth 100\u00a0% of the gap, and without it 0\u00a0% goes"
    )
    # the backup writes two of the answer where before it wrote nothing: one of 18 words that are copied
    assert [str(c) for c, _ in f.risers] == ["L1H0"] and f.erasers == []
    assert f.risers[0][1] * v.gap == pytest.approx(cc.READ * 2.0 * (1 - 1 / 18) / cc.scale(2.0), rel=1e-2)
    assert v["L1H0"].word == "little alone" and v.title() == "L0H0 is redundant"
    assert verified("backup", backups=False)["L0H0"].word == "can be spared alone", "nobody is named unmeasured"


def test_half_a_backup():
    f = verified("half-backup")["L0H0"]
    assert (f.necessity, f.direct) == close(0.5, 1) and f.word == "partly replaced"
    assert "later parts make up for 50\u00a0%" in f.remarks and "joint" not in f.measured.values
    assert f.remarks[-1].startswith("without it more comes from L1H0 (by ")


def test_a_backup_of_the_backup():
    v = verified("three-way-backup")
    f = v["L0H0"]
    assert numbers(v, "L0H0") == close(0, 1, 1, 1)
    assert f.word == "redundant" and f.measured.names["backups"] == ("L1H0", "L2H0")
    assert f.sentence.startswith("confirmed with L1H0 and L2H0: ")
    assert [str(c) for c, _ in f.risers] == ["L1H0"], "who rises first"


def test_a_suppressor():
    v = verified("suppression")
    for head, weight in {"L0H0": 3.0, "L0H1": 2.0, "L1H0": -2.0}.items():
        assert numbers(v, head) == close(*[weight / 3.0] * 4)
    assert [v[h].word for h in ("L0H0", "L0H1", "L1H0")] == ["needed", "needed", "suppresses"]
    assert v.title() == "L0H0 and L0H1 are needed; L1H0 suppresses the answer"


def test_either_is_enough():
    v = verified("or")
    for head in ("L0H0", "L0H1"):
        assert numbers(v, head) == close(0, 0, 1, 0) and v[head].word == "works through later parts"
        assert v[head].sentence == (
            "either of L0H0 and L0H1 is enough: without it alone 0\u00a0% of the gap goes, "
            "without all of them 100\u00a0%"
        )
    assert v.title() == "L0.mlp is needed; 2 others only together (100\u00a0% of the gap)"


def test_both_are_needed():
    v = verified("and")
    for head in ("L0H0", "L0H1"):
        assert numbers(v, head) == close(1, 0, 0, 0) and v[head].word == "works through later parts"
        assert v[head].sentence.startswith(
            "both of L0H0 and L0H1 are needed: by itself it brings back 0\u00a0% of the gap"
        )


def test_what_is_erased():
    """Most of what L0H0 writes is erased: that is no backup, and the eraser is named."""
    v = verified("erasure")
    left = 2.0 * (1 - cc.ERASED)
    assert numbers(v, "L0H0") == close(left / (left + 1), 2 / (left + 1), left / (left + 1), 2 / (left + 1))
    f = v["L0H0"]
    assert f.word == "can be spared alone" and [str(c) for c in f.erasers] == ["L1H0"]
    assert f.sentence.endswith("without it 29\u00a0% goes: L1H0 erases it, and it is worth 143\u00a0% once L1H0 cannot")
    assert v["L1H0"].word == "suppresses" and v["L1H1"].word == "needed"


def test_what_every_token_gets():
    """A head that adds to every logit alike is needed for a logit, and does nothing to a difference."""
    raw, difference = (verified("common-mode", against=against) for against in ((), None))
    # 1 on each of 20 of the 64 numbers, which the norm centres; the copying head writes 2 of one token or of another
    alike = 1 - cc.VOCAB / cc.WIDTH
    assert numbers(raw, "L0H1") == close(*[alike / (2 + alike)] * 4) and raw["L0H1"].word == "needed"
    assert numbers(difference, "L0H1") == close(0, 0, 0, 0) and difference["L0H1"].word == "little alone"
    assert difference["L0H0"].word == "needed" and difference.title() == "L0H0 is needed"


def test_a_constant_in_runs_of_different_norm():
    v = verified("constant")
    assert v["L0.mlp"].bar > 1, "and yet there is nothing to patch"
    assert numbers(v, "L0.mlp") == (0, 0, 0, 0) and v["L0.mlp"].word == "not tested here"
    assert v["L0.mlp"].remarks == ["set to its mean over the words of both prompts, 0\u00a0% of the gap goes"]
    assert "L0.mlp" not in v.title()


def test_under_a_soft_cap():
    v = verified("soft-cap")
    assert numbers(v, "L0H0") == close(1, 1, 1, 1) and v["L0H0"].word == "needed"
    a, b = v.attributions[0], aw.attribute(v.effects["noise"].pairs[0][1], cc.ANSWER)
    assert (a["L0H0"] - b["L0H0"]) / v.gap > 1.3, "the bars stop before the cap, and are no denominator"


def test_a_nearly_certain_log_probability():
    hf = cc.sole()
    hf.lm_head.weight.data *= 5
    v = verified("sole-path", aw.log_prob(cc.ANSWER), hf)
    assert numbers(v, "L0H0") == close(1, 1, 1, 1) and v["L0H0"].word == "needed"
    assert abs(v["L0H0"].bar) < 0.01 * v.gap, "where p is nearly 1 the bar vanishes"
    assert v["L0H0"].then == "·Berlin 100\u00a0%, ·Paris <0.1\u00a0%"


def test_many_equal_parts_are_named_together():
    v = verified("many-hands")
    assert v.findings and all(f.word == "little alone" for f in v.findings if "H" in str(f.component))
    assert numbers(v, "L0H0") == close(*[1 / 32] * 4)
    assert v.title() == "no part alone, all 48 together (100\u00a0% of the gap)"
    (others,) = v.groups
    assert (others.necessity, others.sufficiency) == close(
        1, 1
    ) and others.then == "·Berlin >99.9\u00a0%, ·Paris <0.1\u00a0%"
    assert "all others together (48)" in repr(v)


def test_a_write_that_is_not_at_the_target():
    v = verified("sole-path", positions=[1])
    assert numbers(v, "L0H0") == close(0, 0, 0, 0) and v["L0H0"].bar > 1
    assert v["L0H0"].word in ("little alone", "not tested here") and "is needed" not in v.title()
    assert "patched at position 1 only" in v.notes
    assert verified("sole-path", positions=[3])["L0H0"].word == "needed"


def test_what_the_model_says_then():
    v = verified("suppression")
    (pair,) = v.effects["noise"].pairs
    for f in v.findings:
        p = aw.patch(pair[0].model, *pair, cc.ANSWER, components=[f.component], direction="noise")
        assert f.then == str(p.answer_of(f.component))
    assert v["L1H0"].then == "·Paris 100\u00a0%" and v["L0H1"].then == "·Berlin 98\u00a0%, ·Paris 1.4\u00a0%"
    said = "\u201d the model says ·Paris >99.9\u00a0%; after the other one, \u201c"
    assert said in v.summary().note and "\u201d, ·Berlin >99.9\u00a0%, ·Paris <0.1\u00a0%" in v.summary().note
