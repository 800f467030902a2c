"""Experiments on the prompts of a survey: each is what patching or ablating that prompt alone gives."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.survey.tested import NONE
from attrib_widgets.analysis.survey.testing import NO_OTHER, NO_PAIR
from attrib_widgets.model.running.worker import Job
from fixtures import families

HEAD, MLP = "L3H5", "L2.mlp"
CAPITALS = [
    ("The capital of France is", " Paris"),
    ("The capital of Germany is", " Berlin"),
    ("The capital of Spain is", " Madrid"),
    ("Paris and Rome. The capital of Italy is", " Rome"),
]


@pytest.fixture(scope="module")
def demo():
    return aw.load("demo")


@pytest.fixture(scope="module")
def pairs():
    return {task: aw.demo.pairs(task, 9) for task in ("two names", "agreement")}


@pytest.fixture
def s(demo, pairs):
    return aw.survey(demo, pairs, permutations=9)


def test_with_pairs_it_is_patching(demo, s, pairs):
    found = s.test([HEAD, MLP, [HEAD, MLP]])
    assert found.parts == [HEAD, MLP, f"{HEAD} + {MLP}"] and found.complete
    for task, given in pairs.items():
        cells = [HEAD, MLP, [HEAD, MLP]]
        twin = aw.patch(
            demo, given.clean, given.corrupted, given.target, against=given.against, components=cells, direction="noise"
        )
        for i, part in enumerate(found.parts):
            mine = found[part, task]
            assert mine.method == "pair" and mine.numbers == s.groups[task].numbers and mine.left_out == {}
            torch.testing.assert_close(mine.effects, twin.changes[:, i], atol=1e-4, rtol=1e-5)
            torch.testing.assert_close(mine.gaps, twin.gap, atol=1e-4, rtol=1e-5)
            assert mine.damage == pytest.approx(float(twin.values[i]), abs=1e-4)
            bars = sum(s[p].values for p in part.split(" + "))[mine.numbers]
            torch.testing.assert_close(mine.bars, bars.double(), atol=1e-6, rtol=0)
            moved = [e for e in mine.effects.tolist() if abs(e) > NONE and (e > 0) == (mine.mean > 0)]
            assert mine.count == len(moved)


def test_without_pairs_it_is_the_mean_over_the_others(demo):
    s = aw.survey(demo, CAPITALS, permutations=9)
    found = s.test([HEAD, MLP])
    short = [p for p, _ in CAPITALS[:3]]
    for i, prompt in enumerate(short):
        others = [p for p in short if p != prompt]
        twin = aw.ablate(demo, prompt, s.targets[i], components=[HEAD, MLP], method="mean", reference=others)
        for part, change in zip((HEAD, MLP), twin.changes[0], strict=True):
            assert float(found[part, "all"].effects[i]) == pytest.approx(-float(change), abs=1e-4)
    test = found[HEAD, "all"]
    assert (test.method, test.numbers, test.left_out) == ("mean", [0, 1, 2], {NO_OTHER: [3]})
    assert test.gaps.isnan().all() and test.damage != test.damage and test.interval is None
    assert f"not tested, {NO_OTHER}: 1" in test.said()


def test_only_some_prompts_have_a_pair(demo):
    others = ["The capital of Italy is", None, "The capital of Japan is", None]
    s = aw.survey(demo, CAPITALS, corrupted=others, permutations=9)
    test = s.test(HEAD)[HEAD, "all"]
    assert (test.method, test.numbers, test.left_out) == ("pair", [0, 2], {NO_PAIR: [1, 3]})
    assert s.test(HEAD, method="mean")[HEAD, "all"].numbers == [0, 1, 2]


@pytest.mark.parametrize(
    ("other", "said"), [("The capital is", "tokens and its comparison prompt"), (CAPITALS[0][0], "the prompt itself")]
)
def test_a_comparison_that_is_none_is_refused(demo, other, said):
    with pytest.raises(aw.PositionError, match=rf"Prompt 0.*{said}"):
        aw.survey(demo, CAPITALS, corrupted=[other, None, None, None])


def test_what_is_found_is_kept_and_what_is_cancelled_too(s, tmp_path):
    whole = s.test(HEAD, "agreement")

    def stop(done, total, note):
        if done == 3:
            job.cancel()

    job = Job(lambda job: None, on_progress=stop)
    cut = s.test(HEAD, job=job)
    assert not cut.complete and "cancelled" in cut.title()
    first = cut[HEAD, "two names"]
    assert first.numbers == s.groups["two names"].numbers[:3] and len(cut[HEAD, "agreement"]) == 0
    assert s.tests[HEAD, "two names"] is first
    assert s.tests[HEAD, "agreement"] is whole.tests[0], "less does not replace more"
    read = aw.Survey.load(s.save(tmp_path / "s"))
    assert list(read.tests) == list(s.tests)
    for a, b in zip(read.tests.values(), s.tests.values(), strict=True):
        assert a.said() == b.said() and torch.equal(a.effects, b.effects)
    assert read.corrupted == s.corrupted
    with pytest.raises(aw.AttribError, match="without its model"):
        read.test(HEAD)


def test_the_title_says_what_was_shown(s):
    found = s.test(HEAD, "two names")
    test = found.tests[0]
    assert test.finding() in found.title() and f"in {test.count} of 9 prompts" in found.title()
    assert "Bars are observed. Effects are an experiment" in str(found)
    both = s.test(HEAD)
    assert all(name in both.title() for name in s.groups)
    frame = both.to_dataframe()
    assert len(frame) == len(s) and frame["effect"].tolist() == [e for t in both.tests for e in t.effects.tolist()]
    low, high = test.interval
    assert low < test.mean < high


def test_a_part_that_writes_nothing_changes_nothing(demo):
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    weights = model.hf.transformer.h[1].mlp.c_proj
    torch.nn.init.zeros_(weights.weight)
    torch.nn.init.zeros_(weights.bias)
    model = aw.load(model.hf, tokenizer=families.tokenizer("gpt2"))
    s = aw.survey(model, [[1, 2, 3], [4, 5, 6], [6, 2, 1]], permutations=9)
    found = s.test("L1.mlp")
    assert float(found.tests[0].effects.abs().max()) < NONE
    assert "nothing changes in any of 3 prompts" in found.title()


def test_a_part_is_tested_once_by_the_name_of_its_row():
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    pairs = [[1, 2, 3], [4, 5, 6], [6, 2, 1]], [[1, 7, 3], [4, 2, 6], [6, 5, 1]]
    s = aw.survey(model, pairs[0], corrupted=pairs[1], permutations=9)
    twice = s.test(["L0H0", "L0H0", (0, 1), ["L0H0", "L0H0"], "embed", ["embed", "L1.mlp"]])
    assert twice.parts == ["L0H0", "L0H1", "embed", "embed + L1.mlp"] == list(dict.fromkeys(p for p, _ in s.tests))
    for test in twice.tests:
        rows = sum(s[part].values for part in test.part.split(" + "))
        assert torch.equal(test.bars, rows[test.numbers].double())
    alone, among = s.test("L0H0").tests[0], twice["L0H0", next(iter(s.groups))]
    assert torch.allclose(alone.effects, among.effects, atol=1e-4)


def test_what_cannot_be_tested_is_said(demo, s):
    with pytest.raises(aw.AttribError, match="no way to replace"):
        s.test(HEAD, method="zero")
    with pytest.raises(aw.AttribError, match="no group 'names'"):
        s.test(HEAD, "names")
    with pytest.raises(aw.ComponentError, match="not a row"):
        s.test("L99H0")
    for nothing in ([], [[]], [HEAD, []]):
        with pytest.raises(aw.ComponentError, match="nothing to test"):
            s.test(nothing)
    with pytest.raises(aw.AttribError, match="no groups to test"):
        s.test(HEAD, [])
    with pytest.raises(aw.ComponentError, match=r"There is no test of \('L0H0', 'names'\)"):
        s.test(HEAD, "two names")["L0H0", "names"]
    lone = aw.survey(demo, [CAPITALS[0], CAPITALS[3]], permutations=9)
    with pytest.raises(aw.AttribError, match="No prompt can be tested"):
        lone.test(HEAD)
