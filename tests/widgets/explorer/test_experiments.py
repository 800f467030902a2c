"""Experiments from the Explorer: verdicts beside the bars, cancelled between passes, gone with their question."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.attribution.attribute import attribute
from attrib_widgets.analysis.verdicts.rules import Measured, Thresholds
from attrib_widgets.analysis.verdicts.table import verdict
from attrib_widgets.analysis.verdicts.verify import planned
from attrib_widgets.demo import CORRUPTED, PROMPT, TARGET
from attrib_widgets.model.tracing import sweep as sweeping
from attrib_widgets.widgets import explore
from attrib_widgets.widgets.shapes import budget
from attrib_widgets.widgets.transport import wire
from fixtures import packing
from fixtures.screens import filled

JAPAN = "The capital of Japan is"


def answer(talk, op, **args):
    id = talk.fresh(op)
    talk.say(id, op, **args)
    return talk.last(id)


@pytest.fixture
def slow(monkeypatch):
    """Two rows to a pass, each of which waits to be let through; ``slow.passes`` counts them."""

    class Gate:
        def __init__(self):
            self.passes, self.inside, self.open = 0, threading.Event(), threading.Semaphore(0)

    gate, run = Gate(), sweeping._run

    def held(one, swept):
        gate.passes += 1
        gate.inside.set()
        assert gate.open.acquire(timeout=20)
        return run(one, swept)

    monkeypatch.setattr(sweeping, "rows_that_fit", lambda *given: 2)
    monkeypatch.setattr(sweeping, "_run", held)
    return gate


def test_test_this_is_verify_and_sets_the_trait(explorer, browser):
    talk = browser(explorer)
    last = answer(talk, "verify", components=["L0H4"])
    assert last["kind"] == "result" and last["data"]["title"]
    told = explorer.tested
    (found,) = told["findings"]
    expected = aw.verify(explorer.attribution, explorer.corrupted, against=(), top=0, components=["L0H4"])["L0H4"]
    assert found["id"] == "L0H4" and found["word"] == expected.word
    assert found["told"] == f"{expected.word}: {expected.sentence}" and found["decided"] == expected.decided
    says = "still says" if expected.answers[0].stays else "says"
    assert found["then"] == f"Without it, as in the other prompt, the model {says} {expected.then}"
    assert found["remarks"] == expected.remarks
    assert found["d"] == pytest.approx(expected.direct, abs=1e-6)
    assert told["together"][0]["name"] == "all but L0H4 together (44)" or expected.named
    assert found["damage"] == pytest.approx(expected.necessity, abs=1e-6)
    assert found["recovery"] == pytest.approx(expected.sufficiency, abs=1e-6)
    assert told["question"] == filled(explorer)[0]["question"]
    assert told["pairs"] == "n = 1 pair of prompts" and "below 5\u00a0% of the gap (tau)" in told["rule"]
    assert "pass" in told["cost"] and "add up to" not in told["shared"], "not all parts were tested"
    json.dumps(told, allow_nan=False)
    assert explorer.verdicts["L0H4"].verdict is expected.verdict


def test_the_top_ten_in_one_request(explorer, browser):
    talk = browser(explorer)
    began = time.perf_counter()
    assert answer(talk, "verify", top=10)["kind"] == "result"
    print(f"top ten: {time.perf_counter() - began:.2f} s, {explorer.verdicts.cost}")
    a = explorer.attribution
    bars = [c for c, _ in sorted(zip(a.components, a.values, strict=True), key=lambda row: -abs(float(row[1])))]
    alike = a.shared()[0].component  # of which one asks first whether it matters
    bars = [*[c for c in bars if c.kind in ("head", "mlp")][:9], alike]
    v = aw.verify(a, explorer.corrupted, against=(), components=bars)
    assert [f["id"] for f in explorer.tested["findings"]] == v.labels
    assert {str(c) for c in bars} <= set(v.labels), "no large bar is left untested"
    assert v.cost.naive <= planned(explorer.attribution, 10) + 2 * len(v.findings)
    progress = [m for m in talk.sent if m[0]["kind"] == "progress"]
    done = [m["done"] for m, _ in progress if "evidence" not in m["note"]]
    assert done == sorted(done) and done[-1] == progress[0][0]["total"]
    static = explorer.summary().note
    assert "Tested (n = 1)" in static and v.title() in static


def test_one_component_patches_itself_only(explorer):
    v = explorer.verify("L3H2")
    assert v.labels == ["L3H2"] and [str(c) for c in v.effects["noise"].cells] == ["L3H2"]
    assert planned(explorer.attribution, 0, 1) >= v.cost.naive == 5, "both ways, its mean, the others both ways"


def test_verdicts_add_up_over_calls_and_other_thresholds_start_afresh(explorer):
    explorer.verify("L0H4")
    explorer.verify(["L3H2", (0, 1)])
    assert sorted(explorer.verdicts.labels) == ["L0H1", "L0H4", "L3H2"]
    assert explorer.verdicts.cost.naive <= 3 * 7 and explorer.verdicts.findings[0].component == aw.component("L0H4")
    explorer.verify("L0H4")
    assert len(explorer.verdicts.findings) == 3
    v = explorer.verify("L0H4", thresholds=Thresholds(tau=0.9))
    assert v.findings[0].thresholds.tau == 0.9
    assert explorer.verdicts.labels == ["L0H4"] == [f["id"] for f in explorer.tested["findings"]]
    with pytest.raises(aw.AttribError, match="different questions"):
        v.joined(aw.verify(explorer.attribution, explorer.corrupted, top=1))


def test_verdicts_belong_to_their_question(explorer):
    before = explorer.attribution
    explorer.verify("L0H4")
    explorer.ask(prompt=JAPAN)
    assert explorer.tested == {} and explorer.verdicts is None
    explorer.ask(prompt=PROMPT, target=TARGET)
    assert explorer.attribution is before
    assert [f["id"] for f in explorer.tested["findings"]] == ["L0H4"]
    explorer.ask(corrupted="The capital of Kenya is")  # another comparison is another experiment
    assert explorer.tested == {}


def test_cancel_takes_effect_within_one_pass(explorer, browser, slow):
    talk = browser(explorer)
    talk.say("v", "verify", top=10)
    assert slow.inside.wait(20)
    slow.open.release(2)
    while slow.passes < 3:
        time.sleep(0.005)
    talk.say("v", "cancel")
    slow.open.release(100)
    assert talk.last("v")["kind"] == "cancelled"
    assert slow.passes == 3, "no pass begins after the cancel"
    assert explorer.tested == {} and explorer.verdicts is None
    assert answer(talk, "writes", id="embed")["kind"] == "result"


def test_closing_half_way_leaves_nothing_running(demo, browser, slow):
    explorer = explore(demo)
    talk = browser(explorer)
    talk.say("v", "verify", top=10)
    assert slow.inside.wait(20)
    (_, job), *rest = explorer.jobs()
    assert rest == []
    explorer.close()
    slow.open.release(100)
    assert job.wait(20) and job.state == "cancelled"
    assert slow.passes == 1 and explorer.jobs() == []


def test_a_new_question_cancels_the_test_of_the_old_one(explorer, browser, slow):
    talk = browser(explorer)
    talk.say("v", "verify", top=10)
    assert slow.inside.wait(20)
    talk.say("e", "explain", prompt=JAPAN)
    slow.open.release(100)
    assert talk.last("v")["kind"] == "cancelled" and talk.last("e")["kind"] == "result"
    assert explorer.tested == {} and explorer.run.text == JAPAN


def test_a_test_while_a_cell_traces(explorer, browser):
    """Both get what they get alone, bit for bit."""
    talk, model = browser(explorer), explorer.model
    alone = attribute(model.run(JAPAN), " Tokyo").values
    expected = explorer.verify()
    for i in range(4):
        talk.say(f"v{i}", "verify", top=10)
        while talk.kinds(f"v{i}")[-1:] != ["result"]:
            assert torch.equal(attribute(model.run(JAPAN), " Tokyo").values, alone)
            assert talk.kinds(f"v{i}")[-1] != "error", talk.answers(f"v{i}")[-1]
        assert [f["damage"] for f in explorer.tested["findings"]] == [f.necessity for f in expected.findings]


def test_a_trait_from_the_page_is_not_taken(explorer):
    explorer.verify("L0H4")
    told = explorer.tested
    explorer.set_state({"tested": {"question": 0, "findings": []}, "selected": "L0H4"})
    assert explorer.tested == told and explorer.selected == "L0H4"


def test_without_a_comparison(demo, browser):
    explorer = explore(demo, corrupted="")
    talk = browser(explorer)
    header = filled(explorer)[0]
    assert header["corrupted"] is None and header["test"]["suggested"] == CORRUPTED
    last = answer(talk, "verify", components=["L0H4"])
    assert (last["kind"], last["field"]) == ("error", "corrupted") and "ask(corrupted=" in last["hint"]
    data = answer(talk, "ablate", id="L0H4")["data"]
    expected = aw.ablate(demo, PROMPT, TARGET, components=["L0H4"])
    assert data["told"] == f"{expected.title()}; the model then says {expected.answer_of('L0H4')}"
    assert answer(talk, "effects")["kind"] == "error"
    explorer.close()


def test_what_cannot_be_tested_says_why(demo, explorer, browser):
    longer = explore(demo, corrupted="The capital of the old Germany is")
    assert "needs as many" in filled(longer)[0]["test"]["missing"]
    assert answer(browser(longer), "verify", top=10)["kind"] == "error"
    explorer.ask(target=aw.neuron("L2N7"))
    assert "go back to a token" in filled(explorer)[0]["test"]["never"]
    talk = browser(explorer)
    for args in (
        {"components": ["L99H0"]},
        {"components": "L0H4"},
        {"components": ["embed"]},
        {"top": -1},
        {"top": "x"},
    ):
        last = answer(talk, "verify", **args)
        assert last["kind"] == "error" and last["hint"], args
    longer.close()


def test_estimates_stand_in_the_state_where_they_are_cheap(explorer, browser, monkeypatch):
    _, arrays = filled(explorer)
    a, other = explorer.attribution, explorer.corrupted
    estimate = aw.attribution_patch(a.model, a.run, other, a.target, position=a.position, method="partway")
    gap = float(estimate.gap[0])
    *effects, error = arrays["effects"]
    assert error == pytest.approx(estimate.error, abs=1e-5)
    for c, value in zip(a.components, effects, strict=True):
        assert value == pytest.approx(estimate[c] * gap if c.kind in ("head", "mlp") else 0, abs=1e-4)
    monkeypatch.setattr(budget, "LIVE_EFFECTS", 0)
    explorer.ask(prompt=JAPAN, corrupted="The capital of Kenya is")
    assert "effects" not in filled(explorer)[1]
    talk = browser(explorer)
    answer(talk, "effects")
    assert np.abs(wire.unpack(talk.buffers(talk.sent[0][0]["id"])[0])[1]["values"]).max() > 0.1
    assert "effects" in wire.unpack(explorer.page_traits()["container"])[1], "an offline page asks nobody"


def test_the_page_embeds_the_verdicts(explorer, tmp_path):
    explorer.verify()
    text = explorer.to_html(tmp_path / "page.html").read_text()
    traits = packing.embedded(text)
    assert traits["tested"] == explorer.tested and len(traits["tested"]["findings"]) >= 10


def test_a_linked_selection_goes_both_ways(explorer):
    explorer.verify()
    view = explorer.verdicts.view()
    explorer.link(view)
    view.selected = "L0H4"
    assert explorer.selected == "L0H4"
    explorer.selected = "L3.mlp"
    assert view.selected == "L3.mlp"
    view.selected = "L2.pre"
    assert explorer.selected == "L3.mlp", "a part that the Explorer does not show"


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"sites": "stream", "positions": "each"}, {"stream": ("layers + 1", "tokens")}),
        ({"sites": ["z", "mlp"]}, {"parts": ("layers", "heads + 1")}),
        (
            {"sites": ["z", "mlp"], "positions": "each"},
            {"z": ("layers * heads", "tokens"), "mlp": ("layers", "tokens")},
        ),
        ({"sites": "q", "layers": [1]}, {"q": ("1", "heads")}),
        ({"components": ["L0H4", ["L0H1", "L0H4"]]}, {"parts": ("1", "1"), "joint": ("1", "1")}),
    ],
)
def test_a_patching_is_its_grids(demo, options, shape):
    p = aw.patch(demo, PROMPT, CORRUPTED, TARGET, **options)
    header, arrays = wire.unpack(p.view().container)
    assert header["kind"] == "patching" and header["share"] == "recovery"
    size = {"layers": demo.n_layers, "heads": demo.n_heads, "tokens": demo.run(PROMPT).n_positions}
    expected = {site: tuple(eval(axis, size) for axis in axes) for site, axes in shape.items()}
    assert {g["site"]: (len(g["rows"]), len(g["columns"])) for g in header["grids"]} == expected
    names = [name for g in header["grids"] for name in g["cells"]]
    assert sorted(filter(None, names)) == sorted(p.labels)
    for name, value, known in zip(names, arrays["values"], arrays["known"], strict=True):
        assert bool(known) == (name != "")
        if name:
            assert value == pytest.approx(float(p.values[p.labels.index(name)]), abs=1e-6)


def test_a_scatter_names_its_regions_where_they_are(explorer):
    v = explorer.verify()
    header, _ = wire.unpack(v.view().container)
    low, high = header["window"]
    assert all(low < f["d"] < high and low < f["damage"] < high for f in header["findings"])
    words = {"works through later parts", "needed", "partly replaced", "can be spared alone"}
    assert {r["word"] for r in header["regions"]} >= words - {"partly replaced"}
    for line in header["lines"]:
        assert all(low - 1e-9 <= v <= high + 1e-9 for point in line["at"] for v in point)
    assert len(header["lines"]) >= 8
    for r in header["regions"]:
        point = Measured({"n": r["n"], "d_n": r["d"], "s": 0.0, "d_s": 0.0, "differs": 1.0})
        assert verdict(point, v.thresholds).word == r["word"]
        assert low <= r["d"] <= high and low <= r["n"] <= high


def test_token_effects_as_a_view(demo):
    t = aw.token_effects(demo, PROMPT, TARGET, draws=2)
    header, _ = wire.unpack(t.view().container)
    assert header["kind"] == "effects" and header["tokens"] == t.run.tokens
    assert header["values"][0] is None and header["special"] == [0]
    assert header["values"][1:] == pytest.approx(t.values[1:].tolist())
