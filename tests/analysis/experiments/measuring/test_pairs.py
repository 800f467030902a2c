"""Many pairs of prompts: a target of their own, which of them count, and how sure the mean is."""

from __future__ import annotations

import math

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.experiments.measuring.statistics import interval_of, ratio_of_means, shown_by, student

FEW = 10


@pytest.fixture(scope="module")
def demo():
    return aw.load("demo")


@pytest.fixture(scope="module")
def capitals():
    return aw.demo.pairs("capitals", FEW)


def test_pairs_of_the_embedded_model(demo):
    for task in ("capitals", "two names", "induction"):
        p = aw.demo.pairs(task, 12)
        assert len({len(demo.encode(text)) for text in (*p.clean, *p.corrupted)}) == 1, task
        for clean, target, against, corrupted in zip(*p, strict=True):
            right, other = demo.single_token(target), demo.single_token(against)
            said, elsewhere = demo.run(clean).logits(), demo.run(corrupted).logits()
            assert said[right] > said[other], "the answer rather than the rival"
            assert elsewhere[other] > elsewhere[right], "the comparison the other way round"
    assert len(set(aw.demo.pairs("capitals", 63).clean + aw.demo.pairs("capitals", 63).corrupted)) == 126
    with pytest.raises(aw.AttribError, match="'two names'"):
        aw.demo.pairs("names")
    with pytest.raises(aw.AttribError, match="has 63 pairs, and 64"):
        aw.demo.pairs("capitals", 64)
    with pytest.raises(aw.AttribError, match="Ask for 1"):
        aw.demo.pairs("capitals", 0)


CALLS = {
    "patch": lambda m, a, b, t, **more: aw.patch(m, a, b, t, sites="mlp", **more),
    "patch, noise": lambda m, a, b, t, **more: aw.patch(m, a, b, t, sites="mlp", direction="noise", **more),
    "frozen": lambda m, a, b, t, **more: aw.patch(m, a, b, t, sites="mlp", final_norm="frozen", **more),
    "attribution_patch": lambda m, a, b, t, **more: aw.attribution_patch(m, a, b, t, sites="mlp", **more),
    "path_patch": lambda m, a, b, t, **more: aw.path_patch(m, a, b, t, senders=["L1.mlp", "L3H1"], **more),
}


@pytest.mark.parametrize("name", CALLS)
def test_each_pair_is_measured_by_its_own_target(demo, capitals, name):
    call, p = CALLS[name], capitals
    together = call(demo, p.clean, p.corrupted, p.target, against=p.against)
    assert "own in each pair" in together.metric and "·" in together.metric
    for i, (clean, target, rival, corrupted) in enumerate(zip(*p, strict=True)):
        alone = call(demo, clean, corrupted, target, against=rival)
        torch.testing.assert_close(together.patched[i], alone.patched[0], rtol=0, atol=1e-9)
        torch.testing.assert_close(together.gap[i], alone.gap[0], rtol=0, atol=1e-9)
    targets = [aw.logit_diff(t, r) for t, r in zip(p.target, p.against, strict=True)]
    torch.testing.assert_close(call(demo, p.clean, p.corrupted, targets).patched, together.patched, rtol=0, atol=0)
    some = call(demo, p.clean, p.corrupted, p.target, against=p.against, skip=[0, 3])
    torch.testing.assert_close(some.patched, together.patched[[1, 2, *range(4, FEW)]], rtol=0, atol=0)
    assert some.counted == f"{FEW - 2} of {FEW} pairs" and f"({some.counted})" in some.title()


def test_ablation_of_many_prompts(demo, capitals):
    p, parts = capitals, ["L1.mlp", "L3H1", "L4.mlp"]
    for more in (
        {},
        {"method": "mean", "reference": p.corrupted},
        {"method": "resample", "reference": p.corrupted[:3]},
    ):
        together = aw.ablate(demo, p.clean, p.target, against=p.against, components=parts, **more)
        alone = [
            aw.ablate(demo, text, t, against=r, components=parts, **more)
            for text, t, r in zip(p.clean, p.target, p.against, strict=True)
        ]
        changes = torch.stack([one.changes[0] for one in alone])
        torch.testing.assert_close(together.changes, changes, rtol=0, atol=1e-9)
        torch.testing.assert_close(together.values, changes.mean(0).float())
        assert together.interval.shape == (3, 2) and f"mean of {FEW} prompts" in together.title()
        assert bool(
            (together.interval[:, 0] < together.values).all() & (together.values < together.interval[:, 1]).all()
        )
        assert list(together.to_dataframe().columns) == ["cell", "change", "ablated", "low", "high"]
        assert all(one.interval is None for one in alone)


USUAL = {
    "patch": lambda *prompts: aw.patch(*prompts, sites="mlp"),
    "attribution_patch": lambda *prompts: aw.attribution_patch(*prompts, sites="mlp"),
    "path_patch": lambda *prompts: aw.path_patch(*prompts, senders="L1.mlp"),
    "circuit": lambda *prompts: aw.circuit(*prompts, "L1.mlp"),
    "edge_patch": aw.edge_patch,
    "integrated_gradients": aw.integrated_gradients,
}


@pytest.mark.parametrize("name", USUAL)
def test_without_a_target_it_is_the_answer_rather_than_the_rival(demo, capitals, name):
    call, p = USUAL[name], capitals
    one = "edge_patch", "integrated_gradients"
    clean, corrupted = (p.clean[0], p.corrupted[0]) if name in one else (p.clean, p.corrupted)
    found = call(demo, clean, corrupted)
    ends = [(demo.run(a).logits(), demo.run(b).logits()) for a, b in zip(p.clean, p.corrupted, strict=True)]
    rivals = [(int(a.argmax()), int(b.argmax())) for a, b in ends]
    gaps = [float((a[i] - a[j]) - (b[i] - b[j])) for (a, b), (i, j) in zip(ends, rivals, strict=True)]
    expected = gaps[0] if name in one else gaps
    assert (found.gap if name in one else found.gap.tolist()) == pytest.approx(expected, abs=1e-4)
    both = call(demo, "The capital of France is", "A capital of France is")
    said = "the other prompt is answered alike, ·Paris: no rival is taken"
    assert said in repr(both) and (name == "edge_patch" or "logit of “·Paris”" in repr(both))
    if name not in one:
        mixed = call(demo, [p.clean[1], "The capital of France is"], [p.corrupted[1], "A capital of France is"])
        assert "prompt of pair 1 is answered alike, ·Paris: no rival is taken in any pair" in repr(mixed)
        assert "minus" not in mixed.metric


@pytest.mark.parametrize("call", [aw.edge_patch, aw.integrated_gradients])
def test_one_pair_is_one_pair(demo, capitals, call):
    with pytest.raises(aw.PositionError, match=f"one pair of prompts, and these are {FEW}"):
        call(demo, capitals.clean, capitals.corrupted)


def test_a_frozen_norm_asks_the_same_question(demo):
    prompts = "The capital of France is", "The capital of Germany is"
    for way in ("noise", "denoise"):
        frozen, live = (aw.patch(demo, *prompts, direction=way, final_norm=norm) for norm in ("frozen", "live"))
        assert frozen.metric == live.metric == "logit of “·Paris” minus “·Berlin”"


def test_a_list_of_rivals_of_one_target_is_a_set(demo, capitals):
    p = capitals
    found = aw.patch(demo, p.clean[:2], p.corrupted[:2], " Paris", against=[" Berlin", " Rome"], sites="mlp")
    assert found.metric == "logit of “·Paris” minus “·Berlin” or “·Rome”"


@pytest.mark.parametrize("name", [*CALLS, "ablate"])
def test_lists_that_do_not_match_are_refused(demo, capitals, name):
    p = capitals

    def call(target, **more):
        if name == "ablate":
            return aw.ablate(demo, p.clean, target, components="L1.mlp", **more)
        return CALLS[name](demo, p.clean, p.corrupted, target, **more)

    with pytest.raises(aw.TargetError, match=f"3 targets for {FEW} pairs"):
        call(p.target[:3])
    with pytest.raises(aw.TargetError, match=f"3 rivals for {FEW} pairs"):
        call(p.target, against=p.against[:3])
    if name != "frozen":
        with pytest.raises(aw.TargetError, match="logits and in nats"):
            call([*p.target[:-1], aw.log_prob(p.target[-1])])
    if name == "ablate":
        return
    with pytest.raises(aw.PositionError, match="no pair 10 to leave out"):
        call(p.target, skip=FEW)
    with pytest.raises(aw.PositionError, match="Every pair is left out"):
        call(p.target, skip=range(FEW))


def test_a_gap_of_the_other_sign_is_listed_with_what_leaves_it_out(demo, capitals):
    p = capitals
    clean, corrupted = list(p.clean), list(p.corrupted)
    for i in (2, 7):
        clean[i], corrupted[i] = corrupted[i], clean[i]
    found = aw.patch(demo, clean, corrupted, p.target, against=p.against, sites="mlp")
    said = [n for n in found.notes if "other sign" in n]
    assert said == ["the gap of pairs 2, 7 has the other sign: skip=[2, 7] leaves them out"]
    left = aw.patch(demo, clean, corrupted, p.target, against=p.against, sites="mlp", skip=2)
    assert [n for n in left.notes if "sign" in n] == ["the gap of pair 7 has the other sign: skip=[2, 7] leaves it out"]
    rest = aw.patch(demo, clean, corrupted, p.target, against=p.against, sites="mlp", skip=[2, 7])
    assert not [n for n in rest.notes if "sign" in n] and rest.notes[0] == "n = 8: 8 of 10 pairs"


# -- intervals -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("degrees", "quantile"), [(7, 2.36462), (8, 2.30600), (11, 2.20099), (19, 2.09302), (39, 2.02269), (62, 1.99897)]
)
def test_students_quantiles(degrees, quantile):
    assert student(0.95, degrees) == pytest.approx(quantile, abs=1e-3)


def test_the_interval_of_a_mean_is_students():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 3, generator=generator, dtype=torch.float64) + 1
    low, high = interval_of(x, torch.ones(20)).T
    error = x.std(0) / math.sqrt(20)
    torch.testing.assert_close((low + high) / 2, x.mean(0))
    torch.testing.assert_close((high - low) / 2, student(0.95, 19) * error)
    assert interval_of(x[:7], torch.ones(7)) is None


def test_a_proportional_effect_is_certain():
    gap = torch.linspace(1, 5, 9)
    low, high = interval_of(0.3 * gap[:, None], gap).T
    assert low.tolist() == pytest.approx([0.3]) == high.tolist()


def test_an_effect_in_too_few_pairs_has_no_interval(demo):
    change = torch.zeros(12, 3, dtype=torch.float64)
    change[:2, 0], change[:3, 1], change[:, 2] = 1.0, 1.0, 1.0
    assert shown_by(change).tolist() == pytest.approx([2 / 12, 3 / 12, 1])
    found = interval_of(change, torch.ones(12))
    assert found.isnan().all(1).tolist() == [True, False, False]
    p = aw.demo.pairs("capitals", 12)
    result = aw.patch(demo, p.clean, p.corrupted, p.target, against=p.against, components=["L1H2"])
    result.patched[:, 0] = result.corrupted
    result.patched[0, 0] += 1
    assert "too few pairs show it" in str(result)
    assert result.to_dataframe()[["low", "high"]].isna().all(axis=None)


def test_intervals_cover_what_they_promise(demo):
    """Drawn from 63 pairs of capitals, of which the whole is known: cells with an effect in a quarter of them."""
    p, generator = aw.demo.pairs("capitals", 63), torch.Generator().manual_seed(0)
    for way in ("noise", "denoise"):
        found = aw.patch(demo, p.clean, p.corrupted, p.target, against=p.against, sites=("z", "mlp"), direction=way)
        change, gap = found.changes, found.gap
        shown = (change.abs() >= 0.05 * gap.abs()[:, None]).double().mean(0) >= 0.25
        assert int(shown.sum()) >= 8
        whole = ratio_of_means(change, gap)
        for count in (8, 12, 20):
            covered = torch.zeros(len(whole), dtype=torch.float64)
            for _ in range(2000):
                drawn = torch.randint(63, (count,), generator=generator)
                ends = interval_of(change[drawn], gap[drawn])
                covered += (ends[:, 0] <= whole) & (whole <= ends[:, 1])
            coverage = covered[shown] / 2000
            assert float(coverage.mean()) >= 0.93 and float(coverage.min()) >= 0.89, (way, count, coverage)
