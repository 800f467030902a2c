"""Every experiment of a single logit says how much of its gap, or of its change, is common to all tokens."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.experiments.measuring.common import common_said, common_share, means
from attrib_widgets.words.text import share
from fixtures import families

CLEAN, CORRUPTED = "The capital of France is", "The capital of Germany is"
CALLS = {
    "patch": lambda m, t: aw.patch(m, CLEAN, CORRUPTED, t, sites="mlp").notes,
    "path_patch": lambda m, t: aw.path_patch(m, CLEAN, CORRUPTED, t, senders="L3H1").notes,
    "attribution_patch": lambda m, t: aw.attribution_patch(m, CLEAN, CORRUPTED, t).notes,
    "integrated_gradients": lambda m, t: aw.integrated_gradients(m, CLEAN, CORRUPTED, t).notes,
    "circuit": lambda m, t: aw.circuit(m, CLEAN, CORRUPTED, ["embed", "L0.mlp"], t, halves=0).notes,
}


@pytest.fixture(scope="module")
def demo():
    return aw.load("demo")


@pytest.mark.parametrize("name", CALLS)
def test_of_one_logit_and_of_nothing_else(demo, name):
    (a, b), token = (demo.run(p).logits().double() for p in (CLEAN, CORRUPTED)), demo.single_token(" Paris")
    of = float((a.mean() - b.mean()) / (a[token] - b[token]))
    said = f"{share(of)} of this gap is common to all tokens, whose logits change as much in the mean"
    notes = CALLS[name](demo, " Paris")
    assert said in notes and sum("common to all" in note for note in notes) == 1
    for target in (None, aw.logit_diff(" Paris", " Berlin"), aw.logit(" Paris").centered(), aw.log_prob(" Paris")):
        assert not any("common to all" in note for note in CALLS[name](demo, target)), target


def test_where_all_logits_go_the_other_way_nothing_is_common(demo):
    pair = [(demo.run(CLEAN), demo.run(CORRUPTED))]
    against = common_share(pair, [" Berlin"], -1)
    assert against < -0.05 < 0.05 < common_share(pair, [" Paris"], -1)
    (said,) = common_said(pair, [" Berlin"], -1)
    assert said.startswith("nothing of this gap is common to all tokens") and f"by {share(-against)} of it" in said
    v = aw.verify(aw.attribute(pair[0][0], " Berlin"), CORRUPTED, against=(), top=1)
    assert said in v.notes


def test_the_share_is_of_the_mean_gap_over_pairs(demo):
    pairs = [(demo.run(c), demo.run(d)) for c, d in ((CLEAN, CORRUPTED), ("The capital of Spain is", CORRUPTED))]
    targets = [" Paris", aw.logit(" Madrid")]
    moved = [0.0, 0.0]
    for (clean, corrupted), token in zip(pairs, (" Paris", " Madrid"), strict=True):
        i = demo.single_token(token)
        moved[0] += float(clean.logits().double().mean() - corrupted.logits().double().mean())
        moved[1] += float(clean.logits()[i] - corrupted.logits()[i])
    assert common_share(pairs, targets, -1) == pytest.approx(moved[0] / moved[1], abs=1e-5)
    assert common_share(pairs, [" Paris", aw.prob(" Madrid")], -1) is None


def test_an_ablation_says_it_of_its_largest_change(demo):
    found = aw.ablate(demo, CLEAN, " Paris")
    cell = found.top(1)[0][0]
    then = demo.read_out(found.streams[0][0][found.cells.index(cell)])[1].double()
    before = demo.run(CLEAN).logits().double()
    token = demo.single_token(" Paris")
    of = float((then.mean() - before.mean()) / (then[token] - before[token]))
    assert f"{share(of)} of what {cell} changes is common to all tokens" in found.notes[0]
    assert not aw.ablate(demo, CLEAN, " Paris", against=" Berlin").notes


@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", families.FAMILIES)
def test_the_mean_logit_is_that_of_all_logits(family_model, name, dtype):
    """One direction where nothing bends or rounds the logits one by one, all of them elsewhere."""
    model = family_model(name, families.DTYPES[dtype])
    streams = model.run(families.PROMPT).record.streams[-1][-2:]
    logits = model.read_out(streams)[1].double()
    expected = torch.stack([logits.mean(-1), logits[:, 17]], -1)
    torch.testing.assert_close(means(model, streams, aw.logit(17)), expected, atol=1e-6, rtol=1e-6)
