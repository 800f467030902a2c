"""The Explorer's operations as the page asks for them, on the embedded model."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from attrib_widgets.analysis.attribution.attribute import attribute
from attrib_widgets.analysis.heads.attention import attention
from attrib_widgets.demo import CORRUPTED, PROMPT, TARGET
from attrib_widgets.widgets import explore
from attrib_widgets.widgets.shapes import opened
from attrib_widgets.widgets.transport import wire
from attrib_widgets.words.targets import neuron, score

JAPAN = "The capital of Japan is"


def answer(talk, op, **args):
    """Ask and return (the final answer, its container or None)."""
    id = talk.fresh(op)
    talk.say(id, op, **args)
    last = talk.last(id)
    buffers = talk.buffers(id) if last["kind"] == "result" else []
    return last, wire.unpack(buffers[0]) if buffers else None


def test_hello(explorer, browser):
    assert answer(browser(explorer), "hello")[0]["data"] == {}


def test_explain_sets_the_state_before_it_answers(explorer, browser):
    talk, order = browser(explorer), []
    explorer.observe(lambda change: order.append(len(talk.sent)), "container")
    last, _ = answer(talk, "explain", prompt=JAPAN, target=None, against=None, position=None, corrupted=None)
    assert last["data"] == {}
    header, arrays = wire.unpack(explorer.container)
    assert header["version"] == 2 and header["prompt"]["text"] == JAPAN
    assert order and order[0] < len(talk.sent), "the state travels before the result"
    progress = [m for m in talk.answers(talk.sent[0][0]["id"]) if m["kind"] == "progress"]
    assert [p["done"] for p in progress] == sorted(p["done"] for p in progress) and progress[0]["note"]
    expected = attribute(explorer.model.run(JAPAN), " Tokyo", against=" Berlin")  # the comparison stays, and its answer
    np.testing.assert_array_equal(arrays["values"], expected.values.numpy())
    np.testing.assert_allclose(arrays["rival"], attribute(expected.run, " Berlin").values, rtol=1e-6, atol=1e-6)


def test_small_pictures_of_all_patterns(explorer, browser):
    last, (header, arrays) = answer(browser(explorer), "patterns")
    assert last["kind"] == "result" and header["kind"] == "patterns"
    whole = attention(explorer.run).patterns.reshape(arrays["patterns"].shape)  # of so short a prompt the patterns
    np.testing.assert_allclose(arrays["patterns"], whole.numpy(), atol=4e-3)  # in a byte each


def test_explain_and_ask_are_one_path(explorer, demo, browser):
    other = explore(demo)
    answer(browser(explorer), "explain", target=" Rome", against=TARGET, corrupted="")
    other.ask(target=" Rome", against=TARGET, corrupted="")
    assert explorer.container == other.container
    other.close()


def test_the_comparison_may_be_called_as_version_0_1_did(explorer, browser):
    answer(browser(explorer), "explain", compare=JAPAN)
    assert explorer.corrupted.text == JAPAN
    answer(browser(explorer), "explain", compare="")
    assert explorer.corrupted is None


@pytest.mark.parametrize(
    ("args", "field"),
    [
        ({"target": " Paris and more"}, "target"),
        ({"against": " Rome and more"}, "against"),
        ({"prompt": " the" * 5000}, "prompt"),
        ({"position": 99}, "prompt"),
        ({"corrupted": " the" * 5000}, "corrupted"),
        ({"corrupted": PROMPT}, "corrupted"),
    ],
)
def test_refusals_keep_the_state(explorer, browser, args, field):
    before = explorer.container, explorer.attribution
    last, _ = answer(browser(explorer), "explain", **args)
    assert (last["kind"], last.get("field")) == ("error", field)
    assert last["message"] and last["hint"]
    assert (explorer.container, explorer.attribution) == before


def test_odd_arguments_are_answered(explorer, browser):
    talk = browser(explorer)
    for op, args in [
        ("explain", {"prompt": 3}),
        ("explain", {"prompt": {"a": 1}}),
        ("explain", {"target": ["x"]}),
        ("explain", {"target": ""}),
        ("explain", {"position": True}),
        ("head", {}),
        ("head", {"id": "L99H0"}),
        ("head", {"id": "embed"}),
        ("head", {"id": 5}),
        ("through", {"id": "L1H2"}),
        ("through", {"id": "L1H2", "source": 99}),
        ("through", {"id": "L1H2", "source": "1"}),
        ("why", {"id": "L1H2", "key": -1}),
        ("why", {"id": "L1H2", "query": 1, "key": 3}),
        ("neurons", {"id": "embed"}),
        ("writes", {"id": "rounding"}),
    ]:
        last, _ = answer(talk, op, **args)
        assert last["kind"] == "error", (op, args)
        assert last["message"] and last["hint"], (op, args, last)
        assert "Error:" not in last["message"], f"{op} {args} fell through to a crash: {last['message']}"


def test_head(explorer, browser):
    _, (header, arrays) = answer(browser(explorer), "head", id="L1H2")
    assert header["id"] == "L1H2" and header["kind"] == "head"
    np.testing.assert_allclose(arrays["pattern"], attention(explorer.run, "L1H2").patterns[0].numpy(), atol=5e-4)


def test_through(explorer, browser):
    _, (header, arrays) = answer(browser(explorer), "through", id="L1H2", source=4)
    expected = explorer.attribution.through("L1H2").at(4)
    assert [r["label"] for r in header["rows"]] == expected.labels
    np.testing.assert_array_equal(arrays["values"], expected.values.numpy())


def test_why(explorer, browser):
    t = explorer.attribution.position
    _, (header, arrays) = answer(browser(explorer), "why", id="L2H1", key=3)
    assert (header["kind"], header["query"], header["key"]) == ("why", t, 3)
    rows = explorer.attribution.labels
    for i, side in enumerate(("query", "key")):
        s = attribute(explorer.run, score("L2H1", query=t, key=3, side=side))
        total = arrays["values"][i].sum(dtype=np.float64) + arrays["bias"][i]
        assert total == pytest.approx(s.total, abs=1e-4)
        assert header["score"] == pytest.approx(s.actual, abs=1e-5)
        assert arrays["values"][i][rows.index("L1H0")] == pytest.approx(s["L1H0"], abs=1e-6)
        assert not arrays["values"][i][rows.index("L3H0")], "a later head cannot have written it"
    c = explorer.attribution.choice("L2H1", key=3)
    rival = header["rival"]
    assert (rival["key"], rival["score"]) == (c.against, pytest.approx(c.scores[1], abs=1e-5))
    total = arrays["choice"].sum(dtype=np.float64) + rival["bias"]
    assert total == pytest.approx(c.scores[0] - c.scores[1], abs=1e-4)
    assert arrays["choice"][rows.index("L1H0")] == pytest.approx(c["L1H0"], abs=1e-6)


def test_why_at_the_first_position_there_is_no_rival(explorer, browser):
    _, (header, arrays) = answer(browser(explorer), "why", id="L2H1", key=0, query=0)
    assert header["rival"] is None and not arrays["choice"].any()


def test_neurons_and_writes(explorer, browser):
    talk = browser(explorer)
    data = answer(talk, "neurons", id="L2.mlp")[0]["data"]
    c = explorer.attribution.neurons(2)
    assert data == opened.neurons(c) and len(data["labels"]) == 12
    parts = sum(data["values"]) + data["rest"] + data["bias"] + (data["rounding"] or 0)
    assert parts == pytest.approx(c.total, abs=1e-5)
    assert data["rest_count"] + 12 == c.kinds.count("neuron")
    data = answer(talk, "writes", id="L1H2")[0]["data"]
    w = explorer.attribution.writes("L1H2")
    assert data["up"][0] == [w.promoted[0][0], w.promoted[0][2]] and len(data["down"]) == 8


def test_a_newer_question_supersedes_the_older(explorer, browser):
    talk, gate = browser(explorer), threading.Event()
    busy = explorer.model.worker.submit(lambda job: gate.wait(10))
    for i, prompt in enumerate([JAPAN, "The capital of Italy is", "The capital of Kenya is"]):
        talk.say(f"e{i}", "explain", prompt=prompt)
    talk.say("w", "writes", id="embed")
    assert talk.kinds("e0")[-1] == talk.kinds("e1")[-1] == "cancelled"
    gate.set()
    assert busy.wait(10) and talk.last("e2")["kind"] == "result" and talk.last("w")["kind"] == "result"
    assert explorer.run.text == "The capital of Kenya is" and explorer._version == 2


def test_cancel_between_the_steps_of_an_explanation(explorer, browser, monkeypatch):
    talk, model = browser(explorer), explorer.model
    inside, gate, run = threading.Event(), threading.Event(), type(explorer.model).run

    def slow(self, prompt, **options):
        inside.set()
        gate.wait(10)
        return run(self, prompt, **options)

    monkeypatch.setattr(type(model), "run", slow)
    state = explorer.container
    talk.say("e", "explain", prompt=JAPAN)
    assert inside.wait(10)
    talk.say("e", "cancel")
    assert talk.kinds("e")[-1] == "progress", "a forward is not interrupted"
    gate.set()
    assert talk.last("e")["kind"] == "cancelled"
    assert explorer.container == state and explorer.run.text == PROMPT


def test_the_handler_does_not_wait_for_the_model(explorer, browser):
    talk = browser(explorer)
    with explorer.model.lock:  # a cell is tracing
        began = time.perf_counter()
        talk.say("e", "explain", prompt=JAPAN)
        talk.say("h", "head", id="L1H2")
        explorer.set_state({"selected": "L1H3", "source": 1})
        assert time.perf_counter() - began < 0.3
        assert talk.kinds("e")[0] == talk.kinds("h")[0] == "ack"
        assert explorer.selected == "L1H3"
    assert talk.last("e")["kind"] == "result"


def test_a_click_while_a_cell_traces(explorer, demo, browser):
    """Both results equal their single runs, bit for bit."""
    mine = "When Mary and John went to the shop, John gave the bag to"
    single = attribute(demo.run(mine), " Mary").values, attribute(demo.run(JAPAN), " Tokyo").values
    talk = browser(explorer)
    for i in range(6):
        explorer._memory.recent.clear()
        talk.say(f"e{i}", "explain", prompt=JAPAN, target=" Tokyo", corrupted="")
        while talk.kinds(f"e{i}")[-1:] != ["result"]:
            assert torch.equal(attribute(demo.run(mine), " Mary").values, single[0])
        assert torch.equal(explorer.attribution.values, single[1])
        answer(talk, "explain", prompt=PROMPT, target=TARGET, corrupted=CORRUPTED)


def test_two_explorers_on_one_model(demo, browser):
    one, two = explore(demo), explore(demo, JAPAN)
    talk_one, talk_two = browser(one), browser(two)
    talk_one.say("same", "explain", target=" Rome")
    talk_two.say("same", "explain", prompt=PROMPT)
    assert talk_one.last("same")["kind"] == talk_two.last("same")["kind"] == "result"
    assert one.run.text == two.run.text == PROMPT and one.attribution.target != two.attribution.target
    one.close()
    two.close()


def test_threads_are_shared_per_model(demo, browser):
    one, two = explore(demo), explore(demo)
    answer(browser(one), "writes", id="embed")
    before = threading.active_count()
    answer(browser(two), "writes", id="embed")
    assert threading.active_count() == before
    one.close()
    two.close()


def test_trace_is_the_method(explorer, browser):
    talk = browser(explorer)
    for mlps in ("stop", "frozen"):
        rows = answer(talk, "trace", mlps=mlps)[0]["data"]
        t = explorer.attribution.trace(depth=None, mlps=mlps)
        nodes = [(n, depth) for n, depth in t.root.walk()][1:]
        assert rows["labels"] == [n.label for n, _ in nodes]
        assert rows["depth"] == [depth for _, depth in nodes]
        np.testing.assert_allclose(rows["values"], [n.value for n, _ in nodes], rtol=1e-4)
        assert (rows["title"], rows["balance"]) == (t.title(), t.balance())
        assert rows["layers"] == explorer.model.n_layers and "Paris" in rows["target"]
        leaves = [v for n, v in zip(nodes, rows["values"], strict=True) if not n[0].children]
        assert sum(map(abs, leaves)) + rows["cancelled"] == pytest.approx(t.size, rel=1e-5)
    explorer.frozen_page()
    embedded = wire.unpack(explorer.page_traits()["container"])[0]["trace"]
    assert embedded["frozen"] == rows


def test_a_neuron_is_a_question_with_a_way_back(explorer, browser):
    talk, demo = browser(explorer), explorer.model
    assert wire.unpack(explorer.container)[0].get("origin", []) == []
    answer(talk, "explain", neuron="L2N7")
    a = explorer.attribution
    assert a.target == neuron("L2N7", position=a.position) and a.exact
    header, arrays = wire.unpack(explorer.container)
    assert header["version"] == 2
    assert (header["target"]["kind"], header["target"]["text"], header["target"]["id"]) == ("neuron", "L2N7", None)
    assert [o["target"]["text"] for o in header["origin"]] == [TARGET]
    assert 'aw.neuron("L2N7", position=' in header["python"]["setup"]
    np.testing.assert_array_equal(arrays["values"], a.values.numpy())
    there = attribute(demo.run(CORRUPTED), neuron("L2N7", position=a.position)).actual
    assert header["corrupted"]["gap"] == pytest.approx(a.actual - there)
    answer(talk, "explain", neuron="L1N3")
    chain = wire.unpack(explorer.container)[0]["origin"]
    assert [o["target"]["text"] for o in chain] == [TARGET, "L2N7"]
    answer(talk, "explain", restore=chain[1]["question"])
    assert explorer.attribution.target.neuron == a.target.neuron
    assert len(wire.unpack(explorer.container)[0]["origin"]) == 1
    answer(talk, "explain", restore=chain[0]["question"])
    assert explorer.attribution.target.tokens == (TARGET,)
    assert wire.unpack(explorer.container)[0]["origin"] == []
    refused = answer(talk, "explain", neuron="L2H7")[0]
    assert refused["kind"] == "error" and refused["hint"]


@pytest.mark.parametrize("op", ["without", "explain"])
def test_a_circuit_is_not_tested_further_when_another_set_is_chosen_or_another_question_asked(explorer, browser, op):
    talk, gate = browser(explorer), threading.Event()
    busy = explorer.model.worker.submit(lambda job: gate.wait(30))
    talk.say("c", "circuit", components=["L3H1"])
    talk.say("n", op, **({"components": ["L3H4"]} if op == "without" else {"prompt": "The capital of Japan is"}))
    gate.set()
    assert busy.wait(30) and talk.last("c")["kind"] == "cancelled" and talk.last("n")["kind"] == "result"
