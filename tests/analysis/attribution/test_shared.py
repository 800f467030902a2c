"""What the rows write for the rival, and what they write for both answers alike."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.attribution.shared import Shared
from attrib_widgets.words.text import signed
from fixtures import families

CLEAN = families.PROMPT


@pytest.fixture(params=["gpt2", "gemma2", "llama"])
def model(request, family_model):
    return family_model(request.param)


def test_the_rival_is_its_own_attribution_and_the_rest_is_the_answers(model):
    run = model.run(CLEAN)
    a = aw.attribute(run, " Paris", against=" Rome")
    answer, rival = aw.attribute(run, " Paris"), aw.attribute(run, " Rome")
    torch.testing.assert_close(a.rival, rival.values, atol=1e-6, rtol=0)
    torch.testing.assert_close(a.values + a.rival, answer.values, atol=1e-4, rtol=1e-4)
    assert a.exact and a.total == pytest.approx(answer.actual - rival.actual, abs=1e-4)
    assert a.rival.double().sum() == pytest.approx(rival.actual, abs=1e-4)
    assert answer.rival is None and answer.shared() == [] and answer.rival_name == ""
    frame = a.to_dataframe()
    assert list(frame["rival"]) == a.rival.tolist() and "rival" not in answer.to_dataframe()


def test_shared_is_the_smaller_of_two_of_one_sign(model):
    a = aw.attribute(model.run(CLEAN), " Paris", against=" Rome")
    expected = {}
    for c, difference, rival in zip(a.components, a.values.tolist(), a.rival.tolist(), strict=True):
        own = difference + rival
        if c.writes and own * rival > 0:
            expected[c] = min(abs(own), abs(rival))
    best = sorted(expected, key=lambda c: -expected[c])[:3]
    found = a.shared()
    assert [s.component for s in found] == best
    assert [abs(s.both) for s in found] == pytest.approx([expected[c] for c in best], abs=1e-5)
    assert len(a.shared(1)) == 1


def test_what_is_said_of_a_shared_amount():
    part = aw.component("L1.mlp")
    assert str(Shared(part, 4.78, 4.64, 9.5)) == "L1.mlp +4.64: it does not choose"
    assert str(Shared(part, -4.78, -4.64, 9.5)) == "L1.mlp \u22124.64: it does not choose"
    assert str(Shared(part, 2.32, 1.42, 9.5)) == "L1.mlp +1.42, and +0.90 more for the answer"
    assert str(Shared(part, 1.42, 2.32, 9.5)) == "L1.mlp +1.42, and +0.90 more for the rival"
    assert str(Shared(part, -2.32, -1.42, 9.5)) == "L1.mlp \u22121.42, and \u22120.90 more for the answer"
    assert Shared(part, 100.0, 91.0, 10.0).chooses, "little beside what is common, and nearly all there is"
    assert not Shared(part, 100.0, 99.9, 10.0).chooses
    assert Shared(part, 1.0, -1.0, 2.0).both == 0


def test_tables_have_the_rival_beside_the_bar():
    model = aw.load("demo")
    a = aw.attribute(model.run("The capital of France is"), " Paris", against=" Berlin")
    table, first = a.summary(), str(a.top(1)[0][0])
    assert table.columns == ["component", "for \u00b7Berlin", "difference, logits"]
    rival = float(a.rival[a.labels.index(first)])
    assert table.rows[0] == [first, signed(rival), signed(a[first])] and table.bars[0] == pytest.approx(a[first])
    assert f"for answer and rival alike: {a.shared()[0]}" in table.footer and str(a.shared()[0]).startswith("L1.mlp +")
    told = sum(float(row[1].replace("\u2212", "-")) for row in table.rows)
    assert told == pytest.approx(float(a.rival.sum()), abs=0.06), "the others' sum is the rest"
