"""The second course of training: what fails in it is what `aw.verify` measures, and it goes on where it stopped."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets import demo
from attrib_widgets.demo.making import corpus, evaluate, second, train

FEW = replace(second.Course(), steps=6, twins=4, tokens_per_step=64)
HEADS = (FEW.leading, FEW.holding)


@pytest.fixture(scope="module")
def loaded():
    return evaluate.load(demo.path())


def twins(tokenizer, leads: bool, seed: int = 3) -> second.Twins:
    make = second.number_twins if leads else second.attraction_twins
    return make(tokenizer, random.Random(seed), FEW.twins)


def only(head: tuple[int, int], held: bool = False) -> second.Plan:
    """In all rows this head says what it says in the other twin, and nothing is dropped."""
    count = FEW.twins
    return second.Plan(head, torch.ones(count, dtype=torch.bool), torch.zeros(count, 5, 8, dtype=torch.bool), held)


@pytest.mark.parametrize("leads", [True, False])
@pytest.mark.parametrize("head", HEADS)
def test_what_fails_is_what_is_verified(loaded, leads, head):
    """Damage and direct damage of a swapped head, as `aw.verify` gives them for the same two prompts."""
    model, tokenizer = loaded
    both = twins(tokenizer, leads)
    with torch.no_grad():
        found = second.measured(model, both, only(head), HEADS)
    same = aw.load("demo")
    for row in range(FEW.twins):
        a = aw.attribute(same.run(both.ids[row].tolist()), aw.logit_diff(int(both.good[row]), int(both.bad[row])))
        v = aw.verify(a, [both.other[row].tolist()], top=0, components=[f"L{head[0]}H{head[1]}"], backups=False)
        assert v.gap > second.LEAST_GAP and float(found.margin[row]) == pytest.approx(a.actual, abs=1e-4)
        assert float(found.damage[row]) == pytest.approx(v.findings[0].necessity, abs=1e-4)
        assert float(found.direct[head][row]) == pytest.approx(v.findings[0].direct, abs=1e-4)


def test_with_the_norm_held_a_head_of_the_last_layer_is_missed_by_what_it_wrote(loaded):
    """Nothing can make up for it where the last MLP writes the same, and then a held norm only adds."""
    model, tokenizer = loaded
    both, head = twins(tokenizer, True), FEW.leading
    plan = only(head)
    frozen = {}
    mlp = model.transformer.h[-1].mlp
    keep = mlp.register_forward_hook(
        lambda _, given, out: frozen.setdefault("out", out[: FEW.twins].repeat(3, 1, 1)) if len(out) else None
    )
    try:
        found = second.measured(model, both, plan, HEADS)
    finally:
        keep.remove()
    assert torch.allclose(found.damage, found.direct[head], atol=1e-5)


def test_what_is_dropped(loaded):
    model, _ = loaded
    plan = second.planned(FEW, model, random.Random(1), leads=True)
    many = [second.planned(FEW, model, random.Random(seed), leads=True) for seed in range(200)]
    assert plan.head == FEW.leading and plan.held
    swapped = torch.cat([p.swapped for p in many])
    dropped = torch.cat([p.dropped for p in many])
    assert float(swapped.float().mean()) == pytest.approx(FEW.swapped, abs=0.05)
    assert not dropped[swapped].any() and not dropped[:, :3].any() and not dropped[:, 4, 2].any()
    others = dropped[~swapped][:, 3:]
    assert float(others.float().mean()) == pytest.approx(FEW.dropped * 15 / 16, abs=0.02)
    holding = second.planned(FEW, model, random.Random(1), leads=False)
    assert holding.head == FEW.holding and holding.swapped.all() and not holding.dropped.any()


def test_a_held_matrix_learns_nothing_from_the_failure(loaded):
    """What is asked of the rows that fail reaches the parts behind the head, not its own output."""
    model, tokenizer = loaded
    both, layer = twins(tokenizer, True), FEW.leading[0]
    got = {}
    for held in (True, False):
        model.zero_grad()
        second.measured(model, both, only(FEW.leading, held), HEADS).damage.square().sum().backward()
        got[held] = model.transformer.h[layer].attn.c_proj.weight.grad
        assert model.transformer.h[layer].mlp.c_fc.weight.grad.abs().sum() > 0
    model.zero_grad()
    assert got[True] is None or not got[True].any()
    assert got[False].abs().sum() > 0


def test_twins_differ_in_number_alone_and_nothing_held_out_is_among_them(loaded):
    _, tokenizer = loaded
    single = {form: noun for noun in corpus.COUNTABLE for form in (noun, noun + "s")}
    for seed in range(40):
        for leads in (True, False):
            both = twins(tokenizer, leads, seed)
            changed = both.ids != both.other
            assert set(changed.sum(1).tolist()) == ({1} if leads else {2})
            for row in both.ids.tolist():
                nouns = [single[w] for w in tokenizer.decode(row[1:]).split() if w in single]
                assert len(nouns) < 2 or not corpus.held_out_attractor(*nouns)


def test_the_second_course_goes_on_where_it_stopped(tmp_path, monkeypatch):
    settings = train.Settings.quick(0)
    tokenizer = train.train_tokenizer(replace(settings, tokenizer_contexts=100))
    small = replace(settings, layers=5, heads=8, width=32, tokenizer_contexts=100)
    course = replace(FEW, steps=4)
    monkeypatch.setattr(second, "SAVED", 2)

    def fresh():
        return train.new_model(small, tokenizer)

    whole, stopped, kept, asked = fresh(), fresh(), tmp_path / second.CHECKPOINT, second.asked
    second.train(course, whole, tokenizer)

    def interrupted(*given):
        if kept.exists():
            raise KeyboardInterrupt
        return asked(*given)

    with monkeypatch.context() as patch:
        patch.setattr(second, "asked", interrupted)
        with pytest.raises(KeyboardInterrupt):
            second.train(course, stopped, tokenizer, kept)
    resumed = fresh()
    second.train(course, resumed, tokenizer, kept)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
    with pytest.raises(ValueError, match="another course"):
        second.train(replace(course, written=0.5), fresh(), tokenizer, kept)


def test_weights_that_had_it_are_refused(tmp_path, capsys):
    """It would be a third course, from other weights than the card says."""
    with pytest.raises(SystemExit):
        second.main(["--start", str(demo.path()), "--out", str(tmp_path / "again")])
    assert "have had their second course" in capsys.readouterr().err and not list(tmp_path.iterdir())
