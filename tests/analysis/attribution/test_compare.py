"""Two attributions side by side: differences add up, a thing is like itself, and what does not fit is refused."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.widgets.transport import wire
from attrib_widgets.words.errors import AttribError


@pytest.fixture(scope="module")
def demo():
    return aw.load("demo")


@pytest.fixture(scope="module")
def paris(demo):
    return aw.attribute(demo.run("The capital of France is"), " Paris")


def test_a_thing_is_like_itself(paris):
    same = aw.compare(paris, paris)
    assert not same.difference.any() and len(same.labels) == len(paris.labels)
    assert same.title() == "No part differs: 0.00 logits in all"


def test_differences_add_up_to_the_difference(demo, paris):
    berlin = aw.attribute(demo.run("The capital of Germany is"), " Berlin")
    found = aw.compare(paris, berlin)
    assert float(found.difference.double().sum()) == pytest.approx(berlin.actual - paris.actual, abs=2e-5)
    back = aw.compare(berlin, paris)
    assert torch.equal(back.difference, -found.difference)
    frame = found.to_dataframe().set_index("component")
    assert frame.loc["L3H1", "a"] == paris["L3H1"] and frame.loc["L3H1", "b"] == berlin["L3H1"]
    assert found.checks()[0].startswith("A: sum 19.4536") and "·Berlin" in found.names()[1]


def test_two_answers_are_their_difference(demo, paris):
    """B − A of two tokens of one run is what the difference of their logits is made of."""
    other = aw.attribute(paris.run, " Berlin")
    one = aw.attribute(paris.run, aw.logit_diff(" Berlin", " Paris"))
    found = aw.compare(paris, other)
    rows = [found.labels.index(label) for label in one.labels]
    assert torch.allclose(found.difference[rows], one.values.float(), atol=2e-5)


def test_the_page_gets_both_sides(paris):
    found = aw.compare(paris, aw.attribute(paris.run, " Berlin"))
    header, arrays = wire.unpack(found.view().container)
    assert header["labels"] == found.labels and header["checks"] == found.checks()
    assert torch.equal(torch.tensor(arrays["values"][2]), found.difference)
    assert found.plot().axes


def test_parts_of_one_only_are_blank_and_counted(paris, family_model):
    other = family_model("llama")
    b = aw.attribute(other.run([1, 2, 3]), 5)
    found = aw.compare(paris, b)
    only = [label for label in found.labels if label not in b.labels]
    assert only and bool(found.values[1, [found.labels.index(x) for x in only]].isnan().all())
    assert float(found.difference.double().sum()) == pytest.approx(b.actual - paris.actual, abs=2e-4)
    _, arrays = wire.unpack(found.view().container)  # NaN travels: a part that is not there, and no zero
    assert torch.equal(torch.tensor(arrays["values"][:2]).isnan(), found.values.isnan())
    assert found.view().saved("csv")["text"].count("\n") == len(found.labels) + 1


def test_what_tells_two_apart_is_said(demo, paris, family_model):
    """And nothing that does not: a position where it is another place, a precision, the whole target."""

    def names(a, b):
        return aw.compare(a, b).names()

    assert names(paris, paris) == ("“The capital of France is”",) * 2
    early = aw.attribute(paris.run, " Paris", position=3)
    assert names(paris, early) == ("position 5", "position 3")
    longer = aw.attribute(demo.run("In the end the capital of France is"), " Paris")
    assert all("position" not in name for name in names(paris, longer))  # both read at their end
    other = aw.attribute(demo.run("The capital of Germany is"), " Paris", position=3)
    assert names(paris, other) == (
        "“The capital of France is” → position 5",
        "“The capital of Germany is” → position 3",
    )
    whole, half = (
        aw.attribute(m.run([1, 2, 3]), 5) for m in (family_model("gpt2"), family_model("gpt2", torch.bfloat16))
    )
    assert names(whole, half) == ("float32", "bfloat16")
    rather = aw.attribute(paris.run, aw.logit_diff(" Paris", " Berlin"))
    assert names(paris, rather) == ("logit of “·Paris”", "logit of “·Paris” minus “·Berlin”")
    scores = [aw.attribute(paris.run, aw.score(head, key=4)) for head in ("L3H1", "L3H4")]
    assert "L3H1" in names(*scores)[0] and "L3H4" in names(*scores)[1]


def test_an_explorer_is_its_attribution(demo, paris):
    explorer = aw.explore(demo)
    assert aw.compare(explorer, paris).a is explorer.attribution


def test_what_does_not_fit_says_why(demo, paris):
    with pytest.raises(AttribError, match="logits, the other in nats"):
        aw.compare(paris, aw.attribute(paris.run, aw.log_prob(" Paris")))
    with pytest.raises(AttribError, match="A Run is no attribution"):
        aw.compare(paris, paris.run)
