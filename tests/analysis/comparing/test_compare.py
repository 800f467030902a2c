"""Two attributions side by side: differences add up, a thing is like itself, and what does not fit is refused."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.widgets.transport import wire
from attrib_widgets.words.errors import AttribError
from fixtures import families
from fixtures.levels import coarser


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
    assert found.checks()[0].startswith(f"A: sum {paris.total:.4f}") and "·Berlin" in found.names()[1]


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


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "bloom", "mistral", "qwen3", "deepseek_v2"])
def test_every_family_is_like_itself(family_model, name):
    """Asked twice, since a thing compared with the same object proves little; words included."""
    model = family_model(name)
    one, other = (aw.attribute(model.run([1, 2, 3, 4]), 5) for _ in range(2))
    for same in (aw.compare(one, one), aw.compare(one, other)):
        assert not same.difference.any() and not same.values.isnan().any()
        assert all(float(row[-1]) == 0 for row in same.summary().rows)
        words = same.tokens()
        assert all(words.same) and (words.difference is None or not words.difference.any())


def test_two_precisions_of_one_model(family_model):
    whole, half = (
        aw.attribute(m.run([1, 2, 3, 4]), 5) for m in (family_model("gpt2"), family_model("gpt2", torch.bfloat16))
    )
    found = aw.compare(whole, half)
    assert found.names() == ("float32", "bfloat16") and found.labels == whole.labels
    assert float(found.difference.double().sum()) == pytest.approx(half.total - whole.total, abs=1e-4)
    assert found.difference.any() and all("ok" in line for line in found.checks())


def test_base_and_tuned(family_model):
    """A model and the same with one head's output weights changed: that head differs, and nothing below it."""
    base = family_model("gpt2")
    changed = families.build("gpt2")
    with torch.no_grad():
        width = changed.config.n_embd // changed.config.n_head
        changed.transformer.h[1].attn.c_proj.weight[:width] *= 1.5
    tuned = aw.load(changed, tokenizer=families.tokenizer("gpt2"))
    found = aw.compare(*(aw.attribute(m.run([1, 2, 3, 4]), 5, position=-1) for m in (base, tuned)))
    moved = dict(zip(found.labels, found.difference.tolist(), strict=True))
    scale = float(found.values.abs().max())
    untouched = [label for label in found.labels if label.startswith("L0")]
    norms = [float(found.values[1][found.labels.index(x)] / found.values[0][found.labels.index(x)]) for x in untouched]
    assert norms == pytest.approx(
        [norms[0]] * len(norms), rel=1e-3
    )  # below the change only the last norm's scale moves
    assert abs(moved["L1H0"]) > 1e-3 * scale
    assert found.names()[0] == found.names()[1] or "gpt2" in str(found.names())


def test_other_vocabularies_and_no_part_in_common(family_model, paris):
    found = aw.compare(paris, aw.attribute(family_model("llama").run([1, 2, 3]), 5))
    assert found.unit == "logits" and None in (*found.tokens().texts[0], *found.tokens().texts[1])
    whole = coarser(aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2")), "layers")
    sides = [aw.attribute(model.run([1, 2, 3]), 5) for model in (whole, family_model("gpt2"))]
    with pytest.raises(AttribError, match=r"no part in common. Compare models of one shape"):
        aw.compare(*sides)
