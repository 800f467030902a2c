"""Erasers are named where there are some, and only there; the answer falls when the right parts go."""

from __future__ import annotations

import re

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.opening.vectors import written_vector
from attrib_widgets.analysis.verdicts.erasure import Eraser
from attrib_widgets.demo.built import copying as cc
from fixtures import families
from fixtures.twins import Twin

TWINS = families.TWINS + families.VARIANTS


def attributed(build):
    model = aw.load(build(), tokenizer=cc.tokenizer())
    return aw.attribute(model.run(cc.CLEAN), cc.ANSWER)


def test_an_erased_write_in_closed_form():
    e = aw.erasure(attributed(cc.erasure), "L0H0")
    assert e.remaining.tolist() == pytest.approx([1.0, 1 - cc.ERASED], abs=2e-3)
    assert [str(x.component) for x in e.erasers] == ["L1H0"]
    assert e.erasers[0].projection == pytest.approx(-cc.ERASED, abs=2e-3)
    assert e.erasers[0].without == pytest.approx(0.0, abs=2e-3)
    assert e.flagged and "L1H0 erased 80\u00a0% of it" in repr(e) and "test it" in repr(e)
    # the contribution that direct attribution shows is the unerased one
    assert e.contribution == pytest.approx(cc.READ * 2.0 * cc.ONE / cc.scale(2.0 * (1 - cc.ERASED) + 1.0), rel=1e-3)


def test_who_takes_a_little_has_not_erased_it():
    e = aw.erasure(attributed(lambda: cc.erasure(0.06)), "L0H0")
    assert [str(x.component) for x in e.erasers] == ["L1H0"] and not e.flagged
    assert e.title() == "94\u00a0% of what L0H0 wrote reaches the final norm: L1H0 took 6\u00a0% of it"
    e.erasers *= 2
    assert e.title().endswith("L1H0 took 6\u00a0% of it, L1H0 6\u00a0%")


@pytest.mark.parametrize(
    ("remaining", "erased", "title"),
    [
        (0.29, 0.71, "29\u00a0% of what L0H0 wrote reaches the final norm: L1H0 erased 71\u00a0% of it"),
        (1.7, 0.06, "170\u00a0% of what L0H0 wrote reaches the final norm: L1H0 took 6\u00a0% of it"),
        (
            -7.02,
            3.4,
            "nothing of what L0H0 wrote reaches the final norm, later parts wrote 8.0 times as much against it: "
            "L1H0 erased 3.4 times its size",
        ),
        (17.1, 0.2, "what L0H0 wrote reaches the final norm grown to 17.1 times its size: L1H0 took 20\u00a0% of it"),
    ],
)
def test_it_is_told_in_words_that_a_share_below_zero_does_not_break(remaining, erased, title):
    e = aw.erasure(attributed(cc.erasure), "L0H0")
    e.remaining[-1] = remaining
    e.erasers = [Eraser(e.erasers[0].component, -erased, 0.0)]
    assert e.title() == title
    e.share = 0.001
    assert e.small and not e.flagged and "0.1\u00a0% of the largest: too small to mislead" in repr(e)
    assert "erased" not in e.title(), "the word is for a bar that would mislead"


def test_no_title_on_the_embedded_model_has_a_negative_percentage():
    """The case that a teacher met: two names, L0H4."""
    prompt = "When Mary and John went to the park, John gave the bag to"
    a = aw.attribute(aw.load("demo").run(prompt))
    found = [aw.erasure(a, c) for c in a.components if c.is_replaceable and c.layer == 0]
    assert min(float(e.remaining[-1]) for e in found) < -3 and max(float(e.remaining[-1]) for e in found) > 3
    for e in found:
        assert "\u2212" not in e.title() and not any(float(n) > 200 for n in re.findall(r"(\d+) %", e.title())), (
            e.title()
        )
        assert not (e.flagged and abs(e.contribution) < 0.04)


def test_a_part_that_writes_the_opposite_anyway_is_no_eraser():
    e = aw.erasure(attributed(cc.suppression), "L0H0")
    assert e.erasers == [] and not e.flagged
    assert [str(x.component) for x in e.opposed] == ["L1H0"]
    assert e.opposed[0].projection == pytest.approx(-2 / 3, abs=5e-3)
    assert e.remaining.tolist() == pytest.approx([1.0, 1.0], abs=5e-3)


def test_nobody_erases_here():
    e = aw.erasure(attributed(cc.erasure), "L1H1")
    assert e.remaining.tolist() == pytest.approx([1.0], abs=1e-5) and e.erasers == [] and e.opposed == []


@pytest.mark.parametrize("name", TWINS)
def test_what_remains_adds_up(family_model, name):
    """What is left at the end is 1 plus what every later part writes more than without the writer."""
    model = family_model(name)
    a = aw.attribute(model.run(families.PROMPT), 17)
    for writer in ("L0H1", "L0.mlp"):
        part = aw.component(writer)
        expected = dict(Twin(name, families.build(name, attn="eager"), a.run.ids).writes)[writer][-1]
        assert torch.allclose(written_vector(a.run, part, a.position).double(), expected, atol=1e-4)
        e = aw.erasure(a, writer)
        assert len(e.remaining) == model.n_layers
        if name not in ("gemma2", "gemma3", "olmo2"):  # a post-norm rescales what is left of its own layer
            parallel_or_mlp = writer.endswith("mlp") or name == "gpt_neox"
            assert float(e.remaining[0]) == pytest.approx(1.0, abs=1e-4) or not parallel_or_mlp
        assert all(x.erased >= 0.05 and x.projection < 0 for x in e.erasers)
        bars = [abs(v) for c, v in zip(a.components, a.values.tolist(), strict=True) if c.is_replaceable]
        assert e.share == pytest.approx(abs(a[writer]) / max(bars)) and e.small == (e.share < 0.02)
        assert e.flagged == (float(e.remaining[-1]) <= 0.5 and not e.small)
        assert len(e.to_dataframe()) == len(e.erasers) + len(e.opposed)


def test_errors(family_model):
    a = aw.attribute(family_model("gpt2").run(families.PROMPT), 17)
    with pytest.raises(aw.ComponentError, match="ablated"):
        aw.erasure(a, "embed")
    with pytest.raises(aw.ComponentError, match="nothing"):
        aw.erasure(attributed(cc.erasure), "L0H1")


# -- greedy removal ----------------------------------------------------------------------------------------------------
def test_both_copies_must_go():
    """One copying head is enough for the answer; with a backup, both have to be removed."""
    r = aw.greedy_removal(attributed(lambda: cc.backup(1.5)))
    assert r.won and {str(c) for c in r.removed} == {"L0H0", "L1H0"}
    assert r.steps[-1].margin <= 0 < r.steps[0].margin
    assert r.steps[0].leader == cc.ANSWER != r.steps[-1].leader


def test_one_is_enough_without_a_backup():
    r = aw.greedy_removal(attributed(cc.suppression), candidates=["L0H0", "L0H1", "L1H0"])
    assert [str(c) for c in r.removed] == ["L0H0", "L0H1"] or [str(c) for c in r.removed] == ["L0H0"]
    assert r.won and "Without L0H0" in r.title()


def test_every_step_is_the_joint_ablation(family_model):
    model = family_model("gpt2")
    run = model.run(families.PROMPT)
    best = run.top(1)[0].id
    r = aw.greedy_removal(aw.attribute(run, best), limit=3)
    for i, step in enumerate(r.steps):
        gone = [str(c) for c in r.removed[: i + 1]]

        def margin(logits):
            others = logits.clone()
            others[:, best] = -torch.inf
            return logits[:, best] - others.amax(-1)

        a = aw.ablate(model, run, margin, components=[gone])
        assert a.base + float(a.values[0]) == pytest.approx(step.margin, abs=1e-4)
    assert len(r.to_dataframe()) == len(r.steps) and str(len(r.steps)) in str(len(r.removed))
    with pytest.raises(aw.TargetError, match="one token"):
        aw.greedy_removal(aw.attribute(run, aw.logit_diff(5, [6, 7])))
    with pytest.raises(aw.PositionError, match="as many tokens"):
        aw.greedy_removal(aw.attribute(run, 5), corrupted=[*run.ids, 5])


def test_a_rival_that_is_named_has_to_win_itself(family_model):
    model = family_model("gpt2")
    run = model.run(families.PROMPT)
    best, rival = run.top(1)[0].id, run.top(20)[-1].id
    a = aw.attribute(run, best)
    r = aw.greedy_removal(a, against=rival, limit=3)
    assert r.start == pytest.approx(float(run.logits()[best] - run.logits()[rival]), abs=1e-4)
    for i, step in enumerate(r.steps):
        gone = [str(c) for c in r.removed[: i + 1]]
        left = aw.ablate(model, run, best, against=rival, components=[gone])
        assert left.base + float(left.values[0]) == pytest.approx(step.margin, abs=1e-4)
    same = aw.greedy_removal(aw.attribute(run, best, against=rival), limit=3)
    assert same.steps == r.steps and r.rival == model.token(rival)
    assert aw.greedy_removal(aw.attribute(run, rival), against=best).title() == f"{model.token(best)} leads already"
