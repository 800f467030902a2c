"""Side by side in the Explorer: what stands beside the question, what is pinned, and that a line opens it again."""

from __future__ import annotations

import base64
import itertools
import warnings
from urllib.parse import parse_qs, urlencode

import numpy as np
import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.widgets.questions.address import Address
from attrib_widgets.widgets.transport import wire
from attrib_widgets.words.errors import AttribError

JAPAN = "The capital of Japan is"


def likely(explorer):
    """A likely answer that is neither explained nor held against it."""
    return next(p["name"].replace("\u00b7", " ") for p in explorer.besides() if p["line"] != "compared")


def test_the_comparison_stands_beside_it_first(explorer):
    found = explorer.side_by_side()
    assert found.a is explorer.attribution and found.b.run is explorer.corrupted
    assert found.b.target == explorer.attribution.target
    gap = wire.unpack(explorer.container)[0]["corrupted"]["gap"]
    assert float(found.difference.double().sum()) == pytest.approx(-gap, abs=2e-5)


def test_another_answer(explorer):
    other = likely(explorer)
    found = explorer.side_by_side(Address.of_answer(explorer.model, explorer.model.single_token(other))["line"])
    rival = explorer.attribution.target.against
    there = aw.attribute(explorer.run, other, against=rival[0])
    assert torch.allclose(found.values[1], there.values.float(), atol=1e-6)
    # the rival drops out: B − A is what the difference of the two answers is made of
    apart = aw.attribute(explorer.run, other, against=explorer.attribution.target.tokens[0])
    rows = [found.labels.index(label) for label in apart.labels]
    assert torch.allclose(found.difference[rows], apart.values.float(), atol=2e-5)


def test_what_is_offered(demo, explorer):
    offered = explorer.besides()
    assert offered[0]["line"] == "compared" and explorer.corrupted.text in offered[0]["name"]
    texts = {likely["name"] for likely in offered[1:]}
    target = explorer.attribution.target
    assert texts and not texts & {aw.explore(demo).besides()[0]["name"], *map(str, (*target.tokens, *target.against))}
    for one in offered:
        assert explorer.side_by_side(one["line"]).labels == explorer.attribution.labels
    inner = aw.explore(demo, JAPAN, aw.neuron("L1N7", position=4))
    assert inner.besides() == []
    with pytest.raises(AttribError, match="nothing to set beside this"):
        inner.side_by_side()


def test_pins_are_read_and_set(demo, explorer):
    first = explorer.pin()
    explorer.ask(JAPAN)
    second = explorer.pin()
    explorer.pin()  # once is enough
    assert list(explorer.pins) == [first, second] and JAPAN in second
    a, b = explorer.pins.values()
    assert b is explorer.attribution and a.run.text != JAPAN
    assert explorer.side_by_side(explorer.pinned[0]["line"]).b.values.tolist() == a.values.tolist()
    other = aw.explore(demo)
    other.pins = [a, explorer, "prompt=" + JAPAN]
    assert [x.run.text for x in other.pins.values()] == [a.run.text, JAPAN, JAPAN]
    assert len(set(other.pins)) == 3
    other.pins = explorer.pins
    assert [x.values.tolist() for x in other.pins.values()] == [a.values.tolist(), b.values.tolist()]
    other.pins = []
    assert other.pins == {}
    other.close()


def test_a_pin_without_its_answer_at_hand_is_made_again(demo, explorer):
    name = explorer.pin()
    before = explorer.attribution.values
    explorer._memory.recent.clear()
    assert torch.equal(explorer.pins[name].values, before)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (7, "names no pins"),
        (["prompt=a&answer=+Zzzzqq"], "is 6 tokens|tokens here"),
        (["prompt=a&colour=red"], "no field 'colour'"),
        (["nothing"], "no field 'nothing'"),
        ([7], "no state"),
    ],
)
def test_what_cannot_be_pinned_is_said_and_changes_nothing(explorer, given, match):
    explorer.pin()
    before = list(explorer.pinned)
    with pytest.raises(AttribError, match=match):
        explorer.pins = given
    assert explorer.pinned == before


def test_another_models_attribution_is_compared_and_not_pinned(explorer, family_model):
    other = aw.attribute(family_model("gpt2").run([1, 2, 3]), 5)
    with pytest.raises(AttribError, match=r"another model.*aw\.compare"):
        explorer.pins = [other]
    assert explorer.side_by_side(other).b is other


def test_what_stands_beside_and_the_pins_open_again(demo):
    explorer = aw.explore(demo)
    explorer.pin()
    first = explorer.pinned[0]["line"]
    explorer.ask(JAPAN)
    besides = ("", "compared", "answer=" + likely(explorer).replace(" ", "+"), first)
    for beside, swapped, pinned in itertools.product(besides, (False, True), (0, 2)):
        explorer.showing = {
            "tab": "",
            "mode": "sides",
            **({"beside": beside} if beside else {}),
            **({"swapped": True} if swapped else {}),
        }
        explorer.pins = [first, explorer][:pinned]
        line = explorer.state
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            again = aw.explore(state=line)
        assert again.state == line and again.showing == explorer.showing and again.pinned == explorer.pinned
        assert again.side_by_side().names() == explorer.side_by_side().names()
        assert parse_qs(line).get("beside", [""]) == [beside] and len(parse_qs(line).get("pinned", [])) == pinned
        again.close()
    explorer.close()


def test_a_pin_that_this_model_cannot_answer_is_said(demo):
    line = urlencode([("prompt", JAPAN), ("pinned", "prompt=The+capital&answer=+Zzzzqq"), ("pinned", "prompt=a")])
    with pytest.warns(UserWarning, match="A pin of this state is left out: .*Zzzzqq"):
        explorer = aw.explore(demo, state=line)
    assert [pin["line"] for pin in explorer.pinned] == ["prompt=a"]
    with pytest.raises(AttribError, match="no field"):
        aw.explore(demo, state="prompt=a&pinned=colour%3Dred")
    with pytest.raises(AttribError, match="no side 'C'"):
        aw.explore(demo, state="prompt=a&side=C")
    explorer.close()


def test_the_page_asks_for_both_columns(explorer, browser):
    talk = browser(explorer)
    for swapped in (False, True):
        talk.say(f"b{swapped}", "beside", beside="compared", swapped=swapped)
        header, arrays = wire.unpack(talk.buffers(f"b{swapped}")[0])
        sides = [explorer.attribution, explorer.side_by_side("compared").b]
        a, b = sides[::-1] if swapped else sides
        assert np.allclose(arrays["values"][0], a.values) and np.allclose(arrays["values"][1], b.values)
        assert [end["actual"] for end in header["ends"]] == [a.actual, b.actual] and header["beside"] == "compared"
        assert header["lines"][int(swapped)] == wire.unpack(explorer.container)[0]["pin"]["line"]
    talk.say("no", "beside", beside="", swapped=False)
    assert talk.last("no")["kind"] == "error" and "nothing to set beside" in talk.last("no")["message"]
    # the other of the two is asked by its line, and this one then stands beside it
    other = header["lines"][0]
    talk.say("there", "explain", line=other)
    assert talk.last("there")["kind"] == "result" and explorer.run.text == a.run.text
    assert wire.unpack(explorer.container)[0]["pin"]["line"] == other
    talk.say("back", "explain", line=header["lines"][1])
    assert talk.last("back")["kind"] == "result"
    assert wire.unpack(explorer.container)[0]["question"] == 0  # the same question again, its tests with it


def test_the_page_pins_and_what_it_cannot_pin_is_put_back(explorer):
    pin = wire.unpack(explorer.container)[0]["pin"]
    explorer.set_state({"pinned": [pin]})
    assert explorer.pinned == [pin] and list(explorer.pins) == [pin["name"]]
    explorer.set_state({"pinned": [{"line": "colour=red", "name": "x"}]})
    assert explorer.pinned == [pin]


def test_an_offline_page_brings_what_stands_side_by_side(explorer):
    assert "sides" not in wire.unpack(explorer.page_traits()["container"])[1]
    explorer.showing = {"tab": "", "mode": "sides"}
    traits = explorer.page_traits()
    _, arrays = wire.unpack(traits["container"])
    header, sides = wire.unpack(arrays["sides"].astype("<i4").tobytes())
    found = explorer.side_by_side()
    assert header["beside"] == "compared" and header["title"] == found.title()
    assert np.array_equal(sides["values"][0], found.values[0].numpy())
    assert base64.b64encode(traits["container"])
    explorer.hidden = ["values"]
    assert "sides" not in wire.unpack(explorer.page_traits()["container"])[1]


def test_what_is_saved_is_what_is_side_by_side(explorer):
    explorer.showing = {"tab": "", "mode": "sides"}
    found = explorer.side_by_side()
    assert "difference" in explorer.saved("csv")["text"].splitlines()[0]
    assert found.title() in repr(explorer)
    explorer.showing = {"tab": "", "mode": "size"}
    assert "difference" not in explorer.saved("csv")["text"].splitlines()[0]


def test_what_no_longer_stands_beside_it_does_not_keep_a_page_from_being_saved(explorer, tmp_path):
    explorer.showing = {"tab": "", "mode": "sides", "beside": "compared"}
    explorer.ask(corrupted="")
    assert explorer.showing == {"tab": "", "mode": "sides"} and explorer.side_by_side().b.run is explorer.run
    explorer.showing = {"tab": "", "mode": "sides", "beside": urlencode({"answer": likely(explorer)})}
    explorer.ask(target=aw.neuron("L1N3"))
    with pytest.raises(AttribError, match="One is in pre-activation, the other in logits"):
        explorer.side_by_side()
    assert "sides" not in wire.unpack(explorer.page_traits()["container"])[1]


def test_a_pinned_answer_is_not_in_the_state_that_hides_it(explorer):
    explorer.pin()
    explorer.hidden = ["candidates"]
    answer = urlencode({"": explorer.attribution.target.tokens[0]})[1:]
    assert answer in explorer.pinned[0]["line"] and answer not in explorer.state
