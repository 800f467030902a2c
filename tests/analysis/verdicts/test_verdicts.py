"""Verifications on every family: what they measure, over pairs, what they cost, and what they refuse."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.experiments.cells.cells import Cell, parts_of
from attrib_widgets.analysis.experiments.cells.donors import RunDonor
from attrib_widgets.analysis.verdicts.backups import repair
from attrib_widgets.analysis.verdicts.findings import OTHERS, SPARED
from attrib_widgets.analysis.verdicts.table import VERDICTS
from attrib_widgets.analysis.verdicts.verify import planned
from attrib_widgets.model.running.worker import Job
from attrib_widgets.model.tracing.edits import Edit
from attrib_widgets.words.text import visible
from fixtures import families


@pytest.fixture(scope="module")
def demo():
    return aw.load("demo")


@pytest.mark.parametrize("name", families.FAMILIES + families.VARIANTS)
def test_the_four_numbers_are_those_of_patching(pair, name):
    model, clean, corrupted, token = pair(name)
    v = aw.verify(aw.attribute(clean, token), corrupted, against=(), top=4, backups=False)
    parts = [f.component for f in v.findings]
    for way, total, direct in (("noise", "necessity", "direct"), ("denoise", "sufficiency", "direct_back")):
        p = aw.patch(model, clean, corrupted, token, components=parts, direction=way)
        assert [getattr(f, total) for f in v.findings] == pytest.approx(p.values.tolist(), abs=1e-5)
        if not model.check.scores_ok:
            continue
        alone = aw.path_patch(model, clean, corrupted, token, senders=parts, mlps="freeze", direction=way)
        assert [getattr(f, direct) for f in v.findings] == pytest.approx(alone.values.tolist(), abs=1e-4)
    (last,) = [f for f in v.findings if f.component == aw.component(f"L{model.n_layers - 1}.mlp")] or [v.findings[0]]
    if last.component.kind == "mlp" and last.component.layer == model.n_layers - 1:
        assert (last.direct, last.direct_back) == pytest.approx((last.necessity, last.sufficiency), abs=1e-4)
    for f in v.findings:
        assert f.bar == pytest.approx(v.attributions[0][f.component])


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "mixtral"])
def test_the_others_are_patched_together(pair, name):
    model, clean, corrupted, token = pair(name)
    v = aw.verify(aw.attribute(clean, token), corrupted, against=(), top=3)
    (others,) = [g for g in v.groups if g.kind == OTHERS]
    named = {f.component for f in v.findings if f.named}
    every = model.n_layers * (model.n_heads + 1)
    assert named.isdisjoint(others.parts) and len(named) + len(others.parts) == every
    for way, value in (("noise", others.necessity), ("denoise", others.sufficiency)):
        p = aw.patch(model, clean, corrupted, token, components=[others.parts], direction=way)
        assert float(p.values[0]) == pytest.approx(value, abs=1e-5)
    assert others.then and f"all others together ({len(others.parts)})" in repr(v)


def test_what_it_costs(demo):
    """At most 1.6 times the rows of patching every part both ways, and three passes more; single parts a few rows."""
    run = demo.run("The capital of France is")
    for target in (" Paris", aw.logit_diff(" Paris", " Berlin")):
        v = aw.verify(aw.attribute(run, target), "The capital of Germany is")
        patched = [v.effects[way].cost for way in ("noise", "denoise")]
        assert v.cost.naive <= 1.6 * sum(c.naive for c in patched)
        assert v.cost.forwards <= sum(c.forwards for c in patched) + 3
        assert v.cost.naive <= planned(v.attributions[0], 10)
    one = aw.verify(aw.attribute(run, " Paris"), "The capital of Germany is", against=(), components="L1.mlp", top=0)
    assert one.cost.naive <= planned(one.attributions[0], 0, 1) == 7 and one.cost.forwards <= 5
    assert one["L1.mlp"].word == "little alone" and one.title() == "L1.mlp: little alone"
    other = one.effects["noise"].pairs[0][1]
    mean = torch.cat([r.record.mlp_out[1][1:] for r in (run, other)]).mean(0)
    last = run.n_positions - 1
    without = run.edited([Edit("mlp", 1, tuple(range(1, last + 1)), mean.expand(last, -1))])
    token = demo.single_token(" Paris")
    share = float(run.logits()[token] - without.logits()[token]) / one.gap
    assert one["L1.mlp"].measured.values["mean"] == pytest.approx(share, abs=1e-5) and share > 0.2
    assert "it may matter, but for both alike" in one["L1.mlp"].remarks[0]


@pytest.mark.parametrize("name", families.FAMILIES + families.VARIANTS)
def test_the_change_of_an_ablated_run_splits_exactly(pair, name):
    model, clean, corrupted, token = pair(name)
    a, donor = aw.attribute(clean, token), RunDonor(clean, corrupted)
    for label in ("L0H1", "L1H2", "L1.mlp"):
        part = aw.component(label)
        writes = donor.writes(Cell(parts_of(model, part)))
        found = repair(a, part, writes)
        assert found.direct + found.rescaling + float(found.risen.sum()) == pytest.approx(found.total, abs=1e-5)
        edited = clean.edited(writes)
        noised = aw.patch(model, clean, corrupted, token, components=[part], direction="noise")
        before, after = (r.raw_logits()[0][token] for r in (clean, edited))
        assert found.total == pytest.approx(float(after - before), abs=1e-4)
        assert float(edited.logits()[token]) == pytest.approx(float(noised.patched[0, 0]), abs=2e-5)


def test_pairs_have_intervals(pair):
    _, clean, corrupted, token = pair("gpt2")
    model = clean.model
    more = (11, 31, 57, 71, 90, 101, 113)
    others = [[(i + k) % 300 if n in (2, 3) else i for n, i in enumerate(clean.ids)] for k in more]
    runs = [model.run(o) for o in others]
    v = aw.verify([aw.attribute(clean, token)] * 8, [corrupted, *runs], against=())
    assert v.pairs == 8 and "n = 8 pairs of prompts" in repr(v)
    one = aw.verify(aw.attribute(clean, token), corrupted)
    assert "n = 1 pair" in repr(one)
    frame = v.to_dataframe()
    assert set(frame.columns) >= {"component", "bar", "damage", "direct_damage", "verdict", "sentence", "borderline"}
    assert all(text.startswith("another answer in ") and text.endswith(" of 8") for text in frame["answer"])
    assert any("the intervals over pairs reach" in text for text in frame["remarks"][frame["borderline"]])


def test_pairs_share_a_kind_of_target_and_a_place(pair):
    _, clean, corrupted, token = pair("gpt2")
    model = clean.model
    second = model.run([*clean.ids[:3], 5, *clean.ids[4:]])
    one = aw.attribute(clean, token)
    with pytest.raises(aw.TargetError, match=r"pair 0 explains the logit of .*and pair 1 the centred logit of"):
        aw.verify([one, aw.attribute(second, aw.logit(token).centered())], corrupted)
    with pytest.raises(aw.TargetError, match="log-probability"):
        aw.verify([one, aw.attribute(second, aw.log_prob(token))], corrupted)
    with pytest.raises(aw.PositionError, match="no place that all share"):
        aw.verify([one, aw.attribute(second, token, -2)], corrupted)
    with pytest.raises(aw.TargetError, match="3 rivals for 2 pairs"):
        aw.verify([one, aw.attribute(second, token)], corrupted, against=[1, 2, 3])


def test_each_pair_is_verified_by_its_own_target():
    """The standard set of a task: every prompt with its own answer and rival."""
    model, p = aw.load("demo"), aw.demo.pairs("capitals", 3)
    asked = [aw.attribute(model.run(text), token) for text, token in zip(p.clean, p.target, strict=True)]
    parts = ["L3H1", "L4.mlp", "L1.mlp"]
    named = aw.verify(asked, p.corrupted, against=p.against, top=0, components=parts)
    found = aw.verify(asked, p.corrupted, top=0, components=parts)  # the rivals are what the others answer
    singles = [
        aw.verify(a, other, against=rival, top=0, components=parts)
        for a, other, rival in zip(asked, p.corrupted, p.against, strict=True)
    ]
    gap = sum(v.gap for v in singles)
    assert named.gap == pytest.approx(gap / 3, abs=1e-6) and found.gap == pytest.approx(named.gap, abs=1e-9)
    assert "target of its own in each pair" in repr(named)
    for part in parts:
        for number in ("necessity", "sufficiency"):
            each = sum(getattr(v[part], number) * v.gap for v in singles) / gap
            assert getattr(named[part], number) == pytest.approx(each, abs=1e-6), (part, number)
    asked[2] = aw.attribute(model.run(p.corrupted[2]), p.target[2])
    turned = aw.verify(asked, [*p.corrupted[:2], p.clean[2]], against=p.against, top=0, components=parts)
    assert "the gap of pair 2 has the other sign: leave it out, or turn it round" in turned.notes


def test_pairs_of_different_lengths_are_read_at_their_ends(pair):
    _, clean, corrupted, token = pair("gpt2")
    model = clean.model
    longer = [model.run([7, 9, *r.ids]) for r in (clean, corrupted)]
    ones = [aw.attribute(r, token) for r in (clean, longer[0])]
    both = aw.verify(ones, [corrupted, longer[1]], against=(), top=3)
    each = [aw.verify(a, c, against=(), top=3) for a, c in zip(ones, (corrupted, longer[1]), strict=True)]
    assert both.gap == pytest.approx(sum(v.gap for v in each) / 2, abs=1e-6)
    assert float(both.effects["noise"].gap.mean()) == pytest.approx(both.gap, abs=1e-4)
    for way in ("noise", "denoise"):
        patched = torch.cat([v.effects[way].patched for v in each])
        assert torch.allclose(both.effects[way].patched, patched, atol=1e-5)


def test_candidates_by_estimate_when_exact_is_too_dear(pair):
    _, clean, corrupted, token = pair("llama")
    a = aw.attribute(clean, token)
    exact, cheap = aw.verify(a, corrupted, top=3), aw.verify(a, corrupted, top=3, exact_up_to=0)
    assert any("chosen by estimates" in note for note in cheap.notes)
    assert len(cheap.effects["noise"].cells) < len(exact.effects["noise"].cells)
    for f in cheap.findings:
        if f.component in [g.component for g in exact.findings]:
            assert f.necessity == pytest.approx(exact[f.component].necessity, abs=1e-5)


def test_cancelled_half_way(pair):
    _, clean, corrupted, token = pair("llama")
    a = aw.attribute(clean, token)
    job = Job(lambda job: aw.verify(a, corrupted, job=job, budget=100_000), lambda done, total, note: job.cancel())
    job.run()
    v = job.result
    assert not v.complete and all(not math.isnan(f.necessity) for f in v.findings)
    job.cancel()
    nothing = aw.verify(a, corrupted, job=job)
    assert nothing.title() == "Nothing was tested" and nothing.plot().axes


def test_errors(pair):
    _, clean, corrupted, token = pair("gpt2")
    with pytest.raises(aw.AttribError, match="no gap"):
        aw.verify(aw.attribute(clean, token), clean)
    for wrong in (clean, "a prompt", [clean], []):
        with pytest.raises(aw.AttribError, match=r"verify takes an attribution.*aw\.attribute\(run"):
            aw.verify(wrong, corrupted)
    with pytest.raises(aw.AttribError, match="this is a Run"):
        aw.verify(clean, corrupted)
    for top in (-1, 2.5):
        with pytest.raises(aw.AttribError, match="is not a number of parts"):
            aw.verify(aw.attribute(clean, token), corrupted, top=top)
    with pytest.raises(aw.AttribError, match="score"):
        aw.verify(aw.attribute(clean, aw.score("L1H0")), corrupted)
    with pytest.raises(aw.ComponentError, match="candidates"):
        aw.verify(aw.attribute(clean, token), corrupted, top=1)["L9H9"]
    assert torch.isfinite(torch.tensor(aw.verify(aw.attribute(clean, token), corrupted).gap))
    with pytest.raises(aw.AttribError, match="cancel"):
        aw.verify([aw.attribute(run, token) for run in (clean, corrupted)], [corrupted, clean])
    for asked in ("L1.attn", "L1", "embed"):
        with pytest.raises(aw.ComponentError, match="heads and MLPs"):
            aw.verify(aw.attribute(clean, token), corrupted, components=[asked])
    with pytest.raises(aw.ComponentError, match="has no L9H0"):
        aw.verify(aw.attribute(clean, token), corrupted, components=["L9H0"])


@pytest.mark.parametrize("name", ["L1H0", (1, 0), ["L1H0"]])
def test_one_name_will_do(name):
    model, story = aw.load("demo:backup"), aw.demo.circuits["backup"]
    a = aw.attribute(model.run(story.prompt), story.target)
    assert [str(f.component) for f in aw.verify(a, story.corrupted, components=name, top=0).findings] == ["L1H0"]
    patched = aw.patch(a.model, a.run, story.corrupted, story.target, components=name)
    assert patched.labels == ["L1H0"]
    assert len(aw.ablate(a.model, a.run, story.target, components=name).labels) == 1


def test_the_readme_tells_its_example_as_it_is(demo):
    """The words and numbers that README, and its page of the words, print of its own call."""
    pages = (Path(__file__).parents[3] / name for name in ("README.md", ".github/docs/verdicts.md"))
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    a = aw.attribute(demo.run("The capital of France is"), " Paris", against=" Berlin")
    v = aw.verify(a, corrupted="The capital of Germany is")
    assert f"v.title()            # {v.title()}\n" in text and f"# {v['L4.mlp']}\n" in text
    assert f"# {v['L4.mlp'].then}: what the model says without it" in text
    told = {word for row in re.findall(r"^\| ([a-z ,]+) \|", text, re.M) for word in row.split(", ")}
    assert {row.word for row in VERDICTS} <= told
    alone = aw.attribute(a.run, " Paris")
    plain = aw.verify(alone, corrupted="The capital of Germany is", against=())
    assert plain.title() == "L4.mlp is needed; 7 others only together (72\u00a0% of the gap)"
    assert f"`{plain.title()}`" in text
    (missed,) = [g for g in plain.groups if g.kind == SPARED]
    assert len(missed.parts) == 7 and missed.then.startswith("·Berlin 96\u00a0%")


def test_the_question_is_the_answer_against_that_of_the_other_prompt(demo):
    a, other = aw.attribute(demo.run("The capital of France is"), " Paris"), "The capital of Germany is"
    v, named, plain = (aw.verify(a, other, top=2, **more) for more in ({}, {"against": " Berlin"}, {"against": ()}))
    assert v.gap == pytest.approx(named.gap) and v.title() == named.title() and v.labels == named.labels
    assert v.notes[0].startswith("held against ·Berlin, the answer to the other prompt") and "minus “·Berlin”" in v.rule
    assert plain.gap == pytest.approx(
        float(v.effects["noise"].pairs[0][0].logits()[demo.single_token(" Paris")]) - 8.313, abs=1e-2
    )
    share = sum(r.logits().mean() * sign for r, sign in zip(plain.effects["noise"].pairs[0], (1, -1), strict=True))
    told = f"{100 * float(share) / plain.gap:.0f}\u00a0% of this gap is common to all tokens"
    assert plain.notes[0].startswith(told) and not any("common to all" in note for note in v.notes)
    alike = aw.verify(a, "A capital of France is", top=1)
    assert alike.notes[0] == "the other prompt is answered alike, ·Paris: no rival is taken"
    assert "minus" not in alike.rule
    turned = aw.verify(aw.attribute(a.run, " Berlin"), other, top=1)  # what the other prompt says itself is no rival
    second = demo.run(other).top(2)[1]
    assert [demo.single_token(t) for t in turned.attributions[0].target.against] == [second.id]
    assert turned.notes[0].startswith(
        f"held against {visible(second.text)}, the likeliest but what is explained after the"
    )
    for target in (aw.log_prob(" Paris"), aw.logit(" Paris").centered(), aw.logit_diff(" Paris", " Rome")):
        same = aw.verify(aw.attribute(a.run, target), other, top=1)
        assert same.attributions[0].target == target, "no rival where none is missing"
    clean, more = (
        ["The capital of France is", "The capital of Spain is"],
        ["The capital of Germany is", "The capital of Italy is"],
    )
    both = aw.verify([aw.attribute(demo.run(c), " Paris") for c in clean], more, top=1)
    assert [a.target.against for a in both.attributions] == [
        (demo.single_token(" Berlin"),),
        (demo.single_token(" Rome"),),
    ]
