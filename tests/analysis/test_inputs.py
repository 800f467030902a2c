"""What people hand over: numbers of every kind are read, and what cannot be read is named with its remedy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import attrib_widgets as aw


@pytest.fixture(scope="module")
def a():
    return aw.attribute(aw.load("demo").run("The capital of France is"), " Paris")


def test_numbers_of_every_library_are_numbers(a):
    strongest = np.unravel_index(int(a.heads.abs().argmax()), a.heads.shape)
    assert a[strongest] == a[tuple(int(n) for n in strongest)] == a[[int(n) for n in strongest]]
    paris = a.run.top(1)[0].id
    for token in (np.int64(paris), torch.tensor(paris), a.run.logits().argmax()):
        assert aw.attribute(a.run, token).actual == a.actual
        assert aw.attribute(a.run, aw.log_prob(token)).exact
    assert aw.attribute(a.run, " Paris", position=np.int64(-1)).position == a.position


@pytest.mark.parametrize("position", ["all", None, 1.0, True, "x"])
def test_a_position_is_a_whole_number(a, position):
    with pytest.raises(aw.PositionError, match="by_position"):
        aw.attribute(a.run, " Paris", position=position)
    with pytest.raises(aw.AttribError):
        aw.score("L1H0", query=position)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda a: a.run.top(-1), "1 or more"),
        (lambda a: a.run.top("a"), "1 or more"),
        (lambda a: a.top(-3), "1 or more"),
        (lambda a: a.top(3, kind="heads"), "head, mlp"),
        (lambda a: a.neurons("L2H3"), "MLP"),
        (lambda a: a.neurons(True), "component"),
        (lambda a: aw.attribute(a.model, " Paris"), "model.run"),
        (lambda a: aw.attribute("The capital", " of"), "model"),
        (lambda a: aw.attention("The capital", "L1H0"), "model"),
        (lambda a: aw.logit(3.5), "token"),
        (lambda a: aw.logit_diff([" Paris", 2.5], " Rome"), "token"),
        (lambda a: a.sources("L1H0")["·nothing"], "No row"),
        (lambda a: aw.load("demo", dtype="float23"), "bfloat16"),
        (lambda a: aw.load("demo", device="cudaa"), "device"),
        (lambda a: aw.load(a.model.hf, a.model.tokenizer, device="cpu"), "model.to"),
        (lambda a: aw.explore("The capital of France is"), "Name the model first"),
        (lambda a: aw.load("demo", anatomy={"attn_out": "attn.c_attn"}), "attn.c_attn"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_remedy(a, call, says):
    with pytest.raises(aw.AttribError) as caught:
        call(a)
    assert says in str(caught.value)


def test_a_part_of_the_wrong_kind_is_coarse_or_refused():
    model = aw.load("demo", anatomy={"mlp": "ln_2"})
    assert not model.check.ok and "ln_2" in model.check.reason
    for name in ("mlp.act", "ln_1"):
        with pytest.raises(aw.AnatomyError, match="does not add up"):
            aw.load("demo", anatomy={"mlp": name})


def test_a_prompt_and_its_model_will_do(a):
    assert aw.attribute(a.run.text, " Paris", model=a.model).actual == a.actual
    patterns = aw.attention(a.run.text, "L1H0", model=a.model).patterns
    assert torch.equal(patterns, aw.attention(a, "L1H0").patterns)


def test_rows_of_the_same_name_are_told_apart_by_number():
    run = aw.load("demo").run("apple river apple river apple")
    rows = aw.attribute(run, " river").sources("L1H0")
    with pytest.raises(aw.ComponentError, match="2 rows"):
        rows[" river"]
    assert rows[2] == float(rows.values[2])


def test_heads_above_a_score_did_not_write_to_it(a):
    early = aw.score("L1H0", query=-1, key=1)
    assert aw.attention(a.run, "L0H3").weighted("contribution", early).unit == "score"
    with pytest.raises(aw.ComponentError, match="Layer 3"):
        aw.attention(a.run, "L3H4").weighted("contribution", early)


def test_corrections_never_lead(a):
    for target in (aw.log_prob(" Paris"), aw.logit(" Paris").centered(), aw.score("L2H0", query=4, key=2)):
        title = aw.attribute(a.run, target).title()
        lead = title.split(" lead")[0].split(" pull")[0]
        assert not any(name in lead for name in ("entropy", "norm.bias", "rounding", "query.bias")), title
    assert "“·is” (5)" in aw.attribute(a.run, aw.score("L2H0", query=-1, key=2)).title()


def test_a_record_is_read_with_the_weights_that_made_it():
    model = aw.load("demo")
    run = model.run("The capital of France is")
    a = aw.attribute(run, " Paris")
    with torch.no_grad():
        model.hf.lm_head.weight.mul_(1.5)
    opened = [a.by_position, lambda: a.by_position("next"), lambda: a.sources("L1H0"), lambda: a.writes("L1.mlp")]
    for read in [*opened, lambda: aw.attribute(run, " Paris", position=2), lambda: aw.attention(run, "L1H0")]:
        with pytest.raises(aw.ModelError, match="changed since"):
            read()
    assert aw.attribute(model.run(run.text), " Paris").exact


def test_by_position_measures_its_rounding_too(a, monkeypatch):
    read_out = type(a.model).read_out

    def off(by):
        return lambda model, x: tuple(t * by[: len(t), None] for t in read_out(model, x))

    # Off where nothing was printed to compare with: the rows of by_position do not add up to it.
    rows = torch.full((a.run.n_positions,), 1.1)
    rows[-1] = 1.0
    monkeypatch.setattr(type(a.model), "read_out", off(rows))
    with pytest.raises(aw.GranularityError, match="read-out"):
        a.by_position()
    # Off everywhere: it is seen by what was printed.
    monkeypatch.setattr(type(a.model), "read_out", off(torch.full((a.run.n_positions,), 1.1)))
    with pytest.raises(aw.ModelError, match="other logits"):
        a.by_position()


def test_the_position_asked_for_is_printed_by_the_model(a):
    found = aw.attribute(a.run.text, " of", position=2, model=a.model)
    assert found.run.record.kept == [2] and found.exact
