"""Circuits whose story is known get the verdict that is known, and the regions partition the plane."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attrib_widgets as aw
from attrib_widgets.analysis.experiments.cells import Cell, RunDonor, parts_of
from attrib_widgets.analysis.verdicts.backups import repair
from attrib_widgets.analysis.verdicts.regions import Thresholds, Verdict, verdict, within
from attrib_widgets.model.running.worker import Job
from fixtures import causal_circuits as cc
from fixtures import circuits, families

number = st.floats(-3, 3, allow_nan=False)


def load(build):
    return aw.load(build(), tokenizer=cc.tokenizer())


def clean_gap(*outputs):
    """Metric of the answer where the output holds these lengths of it, clean minus corrupted (it holds another)."""
    return cc.logit(*outputs) - cc.logit(0.0, *outputs)


# -- the regions ---------------------------------------------------------------------------------------------------
@settings(max_examples=400, deadline=None)
@given(number, number, number, st.floats(0.01, 0.3), st.floats(0.05, 0.5))
def test_every_point_has_exactly_one_verdict(d, n, s, tau, low):
    """The rules of the design, each written out by itself: exactly one of them holds, and it is the one returned."""
    at = Thresholds(tau=tau, redundant=low)
    small = abs(d) < tau
    up, down = d >= tau, d <= -tau
    ratio = n / d if not small else 0.0
    rules = {
        Verdict.NO_EFFECT: small and abs(n) < tau and abs(s) < tau,
        Verdict.MEDIATOR: small and (abs(n) >= tau or abs(s) >= tau),
        Verdict.SOLE_PATH: up and n > -tau and at.sole <= ratio <= at.mediates,
        Verdict.SOLE_PATH_AND_MEDIATES: up and ratio > at.mediates,
        Verdict.PARTLY_REPLACED: up and n > -tau and at.redundant <= ratio < at.sole,
        Verdict.REDUNDANT: up and n > -tau and ratio < at.redundant,
        Verdict.SUPPRESSION: down and n < tau and n <= -at.suppression * abs(d),
        Verdict.COMPENSATED: down and n < tau and n > -at.suppression * abs(d),
        Verdict.OPPOSED: (up and n <= -tau) or (down and n >= tau),
    }
    holding = [v for v, holds in rules.items() if holds]
    found = verdict(d, n, s, at)
    near = min(abs(ratio - r) for r in (at.sole, at.mediates, at.redundant, at.suppression)) < 1e-9
    assert len(holding) == 1 or near, f"({d}, {n}, {s}) is in {holding}"
    assert found in holding or near


@settings(max_examples=200, deadline=None)
@given(st.tuples(number, number), st.tuples(number, number), st.tuples(number, number), st.data())
def test_an_interval_reaches_every_verdict_inside_it(d, n, s, data):
    reached = within(d, n, s)
    point = [data.draw(st.floats(min(x), max(x))) for x in (d, n, s)]
    if verdict(*point) not in reached:  # only a sliver between two slanted borders may be missed by the cut points
        jitter = [verdict(point[0] + e, point[1] + f, point[2]) for e in (-0.05, 0, 0.05) for f in (-0.05, 0, 0.05)]
        assert set(jitter) & set(reached)


def test_a_region_that_no_corner_of_the_box_touches_is_reached():
    """Along a wide interval of the direct share, with the damage known: sole path lies between n / 1.25 and n / 0.8."""
    assert Verdict.SOLE_PATH in within((0.0, 3.0), (1.0, 1.0), (0.0, 0.0))


# -- circuits ------------------------------------------------------------------------------------------------------
def test_mediator():
    """The previous-token head writes nothing to the answer, which is gone without it."""
    model = aw.load(circuits.induction(), tokenizer=circuits.tokenizer())
    v = aw.verify(aw.attribute(model.run(circuits.PROMPT), "w11"), "w3 w8 w11 w2 w9 w7")
    assert v["L0H0"].verdict is Verdict.MEDIATOR
    assert v["L0H0"].direct == pytest.approx(0.0, abs=1e-6)
    assert v["L0H0"].sufficiency == pytest.approx(1.0, abs=1e-4)
    assert "total" in v["L0H0"].lists
    assert v["L1H3"].verdict is Verdict.NO_EFFECT
    assert v["L1H2"].direct == pytest.approx(-circuits.COPY["L1H2"] / -4.0, abs=1e-3)


def test_redundant_with_its_backup_named():
    v = aw.verify(aw.attribute(load(cc.backup).run(cc.CLEAN), cc.ANSWER), cc.CORRUPTED)
    found = v["L0H0"]
    assert found.verdict is Verdict.REDUNDANT
    assert found.direct == pytest.approx(1.0, abs=5e-3) and found.necessity == pytest.approx(0.0, abs=5e-3)
    assert [str(c) for c, _ in found.backups] == ["L1H0"]
    # the backup writes two of the answer where before it wrote two of the first token
    assert found.backups[0][1] == pytest.approx(cc.READ * 2.0 / cc.scale(2.0, 2.0), rel=1e-2)
    assert found.confirmed and found.unbacked == pytest.approx(1.0, abs=1e-2)
    assert found.erasers == []
    assert v["L1H0"].verdict is Verdict.NO_EFFECT


def test_what_is_made_up_in_part():
    """The backup writes half of what the copying head wrote: nothing is said of where that head had it from."""
    v = aw.verify(aw.attribute(load(lambda: cc.backup(1.0)).run(cc.CLEAN), cc.ANSWER), cc.CORRUPTED)
    found = v["L0H0"]
    assert found.necessity / found.direct == pytest.approx(0.5, abs=0.05)
    assert str(found) == "L0H0: partly replaced: part of its loss is made up"
    assert [str(c) for c, _ in found.backups] == ["L1H0"] and found.confirmed and "earlier" not in found.evidence


def test_suppression():
    v = aw.verify(aw.attribute(load(cc.suppression).run(cc.CLEAN), cc.ANSWER), cc.CORRUPTED)
    for head, weight in {"L0H0": 3.0, "L0H1": 2.0, "L1H0": -2.0}.items():
        assert v[head].direct == pytest.approx(weight / 3.0, abs=5e-3)
        assert v[head].necessity == pytest.approx(weight / 3.0, abs=1e-2)
    assert v["L0H0"].verdict is Verdict.SOLE_PATH and v["L1H0"].verdict is Verdict.SUPPRESSION


def test_erased_contributions_are_not_needed():
    """Most of what L0H0 wrote is erased: its damage is what is left, and the eraser is named."""
    v = aw.verify(aw.attribute(load(cc.erasure).run(cc.CLEAN), cc.ANSWER), cc.CORRUPTED)
    left = 2.0 * (1 - cc.ERASED)
    assert v["L0H0"].direct == pytest.approx(2.0 / (left + 1.0), abs=5e-3)
    assert v["L0H0"].necessity == pytest.approx(left / (left + 1.0), abs=5e-3)
    assert v["L0H0"].verdict is Verdict.REDUNDANT
    assert [str(c) for c in v["L0H0"].erasers] == ["L1H0"]
    assert "erases less" in v["L0H0"].evidence
    assert v["L1H0"].verdict is Verdict.SUPPRESSION and v["L1H1"].verdict is Verdict.SOLE_PATH


# -- identities on every family --------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def pair(family_model):
    def make(name):
        model = family_model(name)
        clean = families.ids_of(name)
        corrupted = list(clean)
        corrupted[3] = (corrupted[3] + 7) % 300
        runs = model.run(clean), model.run(corrupted)
        moved = int((runs[0].logits() - runs[1].logits()).abs().argmax())
        return model, *runs, moved

    return make


@pytest.mark.parametrize("name", families.FAMILIES + families.VARIANTS)
def test_direct_shares_sum_to_one(pair, name):
    _, clean, corrupted, token = pair(name)
    a, b = aw.attribute(clean, token), aw.attribute(corrupted, token)
    total = sum(a[c] for c in a.components) - sum(b[c] for c in b.components)
    assert total / (a.actual - b.actual) == pytest.approx(1.0, abs=1e-4)
    v = aw.verify(a, corrupted, top=30, backups=False)
    heads_and_mlps = sum(f.direct for f in v.findings)
    rest = sum(a[c] - b[c] for c in a.components if c.kind not in ("head", "mlp")) / (a.actual - b.actual)
    assert heads_and_mlps + rest == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("name", families.FAMILIES + families.VARIANTS)
def test_damage_and_recovery_are_those_of_patching(pair, name):
    model, clean, corrupted, token = pair(name)
    v = aw.verify(aw.attribute(clean, token), corrupted, top=4)
    for f in v.findings:
        for direction, value in (("noise", f.necessity), ("denoise", f.sufficiency)):
            p = aw.patch(model, clean, corrupted, token, components=[f.component], direction=direction)
            assert float(p.values[0]) == pytest.approx(value, abs=1e-5)


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
    others = [[(i + k) % 300 if n in (2, 3) else i for n, i in enumerate(clean.ids)] for k in (11, 31, 57)]
    runs = [model.run(o) for o in others]
    v = aw.verify([aw.attribute(clean, token)] * 4, [corrupted, *runs])
    assert v.pairs == 4 and "n = 4 pairs" in repr(v)
    one = aw.verify(aw.attribute(clean, token), corrupted)
    assert not any(f.borderline for f in one.findings) and "n = 1 pair" in repr(one)
    assert set(v.to_dataframe().columns) >= {"component", "direct", "damage", "recovery", "verdict", "borderline"}


def test_pairs_share_a_target_and_a_place(pair):
    """A gap of one target must not be measured by another one."""
    _, clean, corrupted, token = pair("gpt2")
    model, text = clean.model, clean.model.token(token)
    second = model.run([*clean.ids[:3], 5, *clean.ids[4:]])
    one, other = (aw.attribute(r, t) for r, t in ((clean, token), (second, token + 1)))
    with pytest.raises(aw.TargetError, match=r"pair 0 explains the logit of .*and pair 1 the logit of"):
        aw.verify([one, other], [corrupted, corrupted])
    with pytest.raises(aw.TargetError, match="centred"):
        aw.verify([one, aw.attribute(second, aw.logit(token).centered())], corrupted)
    with pytest.raises(aw.PositionError, match="no place that all share"):
        aw.verify([one, aw.attribute(second, token, -2)], corrupted)
    # An id and its text are one target.
    same = aw.attribute(second, text if model.single_token(text) == token else token)
    assert aw.verify([one, same], corrupted, top=1).pairs == 2


def test_pairs_of_different_lengths_are_read_at_their_ends(pair):
    _, clean, corrupted, token = pair("gpt2")
    model = clean.model
    longer = [model.run([7, 9, *r.ids]) for r in (clean, corrupted)]
    ones = [aw.attribute(r, token) for r in (clean, longer[0])]
    both = aw.verify(ones, [corrupted, longer[1]], top=3)
    each = [aw.verify(a, c, top=3) for a, c in zip(ones, (corrupted, longer[1]), strict=True)]
    assert both.gap == pytest.approx(sum(v.gap for v in each) / 2, abs=1e-6)
    assert float(both.effects["noise"].gap.mean()) == pytest.approx(both.gap, abs=1e-4)
    for way in ("noise", "denoise"):
        patched = torch.cat([v.effects[way].patched for v in each])
        assert torch.allclose(both.effects[way].patched, patched, atol=1e-5)


def test_candidates_by_estimate_when_exact_is_too_dear(pair):
    _, clean, corrupted, token = pair("llama")
    a = aw.attribute(clean, token)
    exact, cheap = aw.verify(a, corrupted, top=3), aw.verify(a, corrupted, top=3, exact_up_to=0)
    assert "attribution patching" in cheap.notes[0]
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


def test_errors(pair):
    _, clean, corrupted, token = pair("gpt2")
    with pytest.raises(aw.AttribError, match="no gap"):
        aw.verify(aw.attribute(clean, token), clean)
    for wrong in (clean, "a prompt", [clean], []):
        with pytest.raises(aw.AttribError, match=r"verify takes an attribution.*aw\.attribute\(run"):
            aw.verify(wrong, corrupted)
    with pytest.raises(aw.AttribError, match="this is a Run"):
        aw.verify(clean, corrupted)
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
    a = aw.attribute(load(cc.backup).run(cc.CLEAN), cc.ANSWER)
    assert [str(f.component) for f in aw.verify(a, cc.CORRUPTED, components=name, top=0).findings] == ["L1H0"]
    patched = aw.patch(a.model, a.run, cc.CORRUPTED, cc.ANSWER, components=name)
    assert patched.labels == ["L1H0"]
    assert len(aw.ablate(a.model, a.run, cc.ANSWER, components=name).labels) == 1
