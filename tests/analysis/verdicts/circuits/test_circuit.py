"""Sets of parts: nothing is 0, everything 1, gates in closed form, every set as one forward with hooks says it."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.verdicts.circuits.circuit import planned, universe
from attrib_widgets.analysis.verdicts.circuits.sets import Kept
from attrib_widgets.demo.built import copying as cc
from attrib_widgets.model.running.worker import Job
from fixtures import families
from fixtures.patching_twin import PatchTwin, given_up

SIDES = ("noise", "denoise")
NOTHING = Kept(frozenset())
CLEAN, CORRUPTED = "The capital of France is", "The capital of Germany is"


def pair(family_model, name, text=families.PROMPT, differ=3):
    model = family_model(name, attn="eager")
    clean = families.ids_of(name, text)
    corrupted = [*clean[:differ], (clean[differ] + 7) % 300, *clean[differ + 1 :]]
    return model, model.run(clean), model.run(corrupted)


def moved(clean, corrupted):
    """The token whose logit differs most: rounding is divided by the gap."""
    return int((clean.logits() - corrupted.logits()).abs().argmax())


@pytest.mark.parametrize("name", families.TWINS + families.VARIANTS)
def test_nothing_is_zero_and_everything_is_one(family_model, name):
    model, clean, corrupted = pair(family_model, name)
    target = moved(clean, corrupted)
    c = aw.circuit(model, clean, corrupted, universe(model), target, halves=2)
    d = aw.circuit(model, clean, corrupted, ["L1H0", "L0.mlp @3"], target)
    for direction in SIDES:
        for result in (c, d):
            side = result.sides[direction]
            assert side.f(NOTHING) == pytest.approx(0, abs=1e-5)
            assert side.f(side.all.and_others()) == 1.0
        assert c.sides[direction].faithfulness == pytest.approx(1, abs=1e-5)
        assert c.sides[direction].without == pytest.approx(0, abs=1e-5)
        assert c.sides[direction].curve[-1] == (c.total, pytest.approx(1, abs=1e-5))
    assert not c.blind and d.blind


@pytest.mark.parametrize("name", families.TWINS + families.VARIANTS)
def test_every_set_is_what_one_forward_with_hooks_says(family_model, name):
    model, clean, corrupted = pair(family_model, name)
    n, target = clean.n_positions, moved(clean, corrupted)
    everywhere = tuple(range(n))
    #: part -> where it is, as the twin names it
    parts = {
        "embed @3": [("stream", 0, None, (3,))],
        "L0H1": [("z", 0, 1, everywhere)],
        "L0.mlp @3,4": [("mlp", 0, None, (3, 4))],
        "L1.attn": [("z", 1, h, everywhere) for h in range(model.n_heads)],
        f"L{model.n_layers - 1}.mlp": [("mlp", model.n_layers - 1, None, everywhere)],
    }
    c = aw.circuit(model, clean, corrupted, list(parts), target, halves=3)
    assert not given_up(c.cost), c.cost.notes
    every = [("stream", 0, None)]
    every += [("z", layer, h) for layer in range(model.n_layers) for h in range(model.n_heads)]
    every += [("mlp", layer, None) for layer in range(model.n_layers)]
    inside = {(*where, p) for cells in parts.values() for *where, at in cells for p in at}
    outside = [(*where, [p for p in everywhere if (*where, p) not in inside]) for where in every]
    seen = set()
    for direction, base, source in zip(SIDES, (clean, corrupted), (corrupted, clean), strict=True):
        slow = PatchTwin(name, families.build(name, attn="eager"), base.ids, source.ids)
        side = c.sides[direction]
        assert len(side.sets) == len(set(side.sets)) > 15
        for kept, value in zip(side.sets, side.patched[0].tolist(), strict=True):
            out = [cell for i, cells in enumerate(parts.values()) if i not in kept.parts for cell in cells]
            out += [] if kept.others else outside
            expected = float(slow.together([cell for cell in out if cell[-1]])[-1, target])
            assert value == pytest.approx(expected, abs=3e-5), f"{name} {direction}: {kept}"
            seen.add(round(expected, 4))
    assert len(seen) > 8, "the sets differ"


@pytest.mark.parametrize("kind", ["or", "and"])
def test_gates_in_closed_form(kind):
    """Of an OR one head is enough and the other is missed; of an AND each is needed. In the other direction the two
    change places: one corrupted head is enough to close an AND."""
    model = aw.load(f"demo:{kind}")
    one = ["embed", "L0H0", "L0.mlp"]
    c = aw.circuit(model, cc.CLEAN, cc.CORRUPTED, [*one, "L0H1"], cc.ANSWER)
    assert float(c.gap) == pytest.approx(cc.READ * 2.0 * cc.ONE / cc.scale(2.0), rel=0.01)
    wide = {("or", "noise"): 1.0, ("or", "denoise"): 0.0, ("and", "noise"): 0.0, ("and", "denoise"): 1.0}
    for direction in SIDES:
        enough = wide[kind, direction]
        side = c.sides[direction]
        assert side.faithfulness == pytest.approx(1, abs=0.01) and side.without == pytest.approx(0, abs=0.01)
        # dropping a head costs what the other one cannot give; embedding and MLP are on every path
        assert side.minimality == pytest.approx([1, 1 - enough, 1, 1 - enough], abs=0.01)
        assert [c.labels[i] for i in side.idle] == (["L0H0", "L0H1"] if enough else [])
        assert (side.trimmed is None) == (not enough) and (side.trimmed or 0) == pytest.approx(0, abs=0.01)
        small = aw.circuit(model, cc.CLEAN, cc.CORRUPTED, one, cc.ANSWER).sides[direction]
        assert small.faithfulness == pytest.approx(enough, abs=0.01)
        # complete only where the head outside is not missed: it stands in for the one inside
        assert small.worst.gap == pytest.approx(enough, abs=0.01)
        assert small.cpr == pytest.approx(enough / 6, abs=0.01) and small.cmd == pytest.approx(1 - enough / 6, abs=0.01)
    said = repr(aw.circuit(model, cc.CLEAN, cc.CORRUPTED, one, cc.ANSWER))
    worst = "largest gap of completeness 1.00, without L0H0 (the set 0.00, the model 1.00)"
    assert said.count(worst) == 1, "of the OR in the clean run, of the AND in the corrupted one"


def test_without_the_embedding_a_set_reads_the_other_prompt():
    """The heads that verdicts called redundant are together most of the answer; alone they say nothing."""
    heads = ["L3H4", "L3H1", "L2H5", "L2H7", "L4H5"]
    model = aw.load("demo")
    c = aw.circuit(model, CLEAN, CORRUPTED, heads)
    assert c.blind and c.faithfulness == pytest.approx(0, abs=1e-5)
    assert c.without == pytest.approx(1 - 0.64, abs=0.01)
    assert c.metric == "logit of “·Paris” minus “·Berlin”"
    assert c.title() == "Without these 5 parts 36\u00a0% of a gap of 15.88 logits is left"
    assert 'add "embed"' in repr(c) and "·Berlin" in c.said(c.sides["noise"])
    damage = aw.patch(
        model, CLEAN, CORRUPTED, aw.logit_diff(" Paris", " Berlin"), components=[heads], direction="noise"
    )
    assert c.without == pytest.approx(1 - float(damage.values[0]), abs=1e-6)


def test_the_curve_and_its_areas():
    model = aw.load("demo")
    given = ["embed", "L0.mlp", "L3H1", "L4.mlp", "L2H5"]
    c = aw.circuit(model, CLEAN, CORRUPTED, given)
    side = c.sides["noise"]
    assert [n for n, _ in side.curve] == [0, 1, 2, 3, 4, 5] and side.curve[-1][1] == side.faithfulness
    heights = [f for _, f in side.curve]
    area = sum((a + b) / 2 for a, b in pairwise(heights)) / 5
    assert side.cpr == pytest.approx(area, abs=1e-9) and side.cmd == pytest.approx(1 - area, abs=1e-9), "all below 1"
    whole = aw.circuit(model, CLEAN, CORRUPTED, universe(model), order="effect")
    for direction, s in whole.sides.items():
        alone = [1 - s.f(s.all.without(i).and_others()) for i in range(s.count)]
        assert [alone[i] for i in s.order] == sorted(alone, reverse=True), direction
        assert s.cpr > 0.8 and s.cmd < 0.2 and len(s.curve) <= 11
    assert "46 of 46" in repr(whole) and "not edges" in repr(whole)


def test_pairs_each_with_its_own_answer():
    model = aw.load("demo")
    clean = ["The capital of France is", "The capital of Spain is"]
    corrupted = ["The capital of Germany is", "The capital of Japan is"]
    parts = ["embed", "L0.mlp", "L3H1", "L3H4", "L4.mlp"]
    both = aw.circuit(model, clean, corrupted, parts)
    single = [aw.circuit(model, a, b, parts) for a, b in zip(clean, corrupted, strict=True)]
    for direction in SIDES:
        side = both.sides[direction]
        each = [c.sides[direction] for c in single]
        assert side.each_pair(side.all).tolist() == pytest.approx([s.faithfulness for s in each], abs=1e-6)
        gaps = [float(s.own - s.other) for s in each]
        mean = sum(g * s.faithfulness for g, s in zip(gaps, each, strict=True)) / sum(gaps)
        assert side.faithfulness == pytest.approx(mean, abs=1e-6)
    assert both.metric.startswith("target of its own in each pair: logit of “·Paris” minus “·Berlin”")
    assert "n = 2: 2 pairs" in repr(both) and "no intervals" in repr(both) and side.interval(side.all) is None
    named = aw.circuit(model, clean, corrupted, parts, [" Paris", " Madrid"], against=[" Berlin", " Tokyo"])
    assert named.metric == both.metric and named.faithfulness == pytest.approx(both.faithfulness)
    left = aw.circuit(model, clean, corrupted, parts, skip=1)
    assert left.faithfulness == pytest.approx(single[0].faithfulness, abs=1e-6) and "1 of 2 pairs" in repr(left)
    alike = aw.circuit(model, CLEAN, "A capital of France is", parts)
    assert alike.metric == "logit of “·Paris”" and "no rival" in repr(alike)


def test_a_task_has_an_interval_and_names_its_odd_pairs():
    model = aw.load("demo")
    clean, answers, rivals, corrupted = map(list, aw.demo.pairs("capitals", 9))
    clean[3], corrupted[3] = corrupted[3], clean[3]
    parts = ["embed", "L0.mlp", "L2H5", "L2H7", "L3H1", "L3H4", "L4.mlp"]
    c = aw.circuit(model, clean, corrupted, parts, answers, against=rivals)
    assert "skip=[3] leaves it out" in repr(c)
    straight = aw.circuit(model, clean, corrupted, parts, answers, against=rivals, skip=[3])
    assert straight.left_out == (3,) and "8 of 9 pairs" in repr(straight)
    for side in straight.sides.values():
        low, high = side.interval(side.all)
        assert low < side.faithfulness < high < low + 0.5
        assert f"f(C) {low:+.2f} to {high:+.2f} (95 % interval)" in repr(straight)


def test_what_it_costs(family_model):
    model, clean, corrupted = pair(family_model, "llama")
    for count in (1, 3, 8, 20):
        c = aw.circuit(model, clean, corrupted, universe(model)[:count], 17, order="effect")
        rows = sum(len(s.sets) for s in c.sides.values())
        assert c.cost.naive == rows <= planned(count)
        assert c.cost.forwards < rows, "in far fewer passes"


def test_halves_are_those_of_the_seed(family_model):
    model, clean, corrupted = pair(family_model, "gpt2")
    parts = universe(model)[:7]
    one, same, other = (aw.circuit(model, clean, corrupted, parts, 17, seed=s).sides["noise"] for s in (0, 0, 1))
    assert one.drops == same.drops != other.drops
    halves = one.drops[8:]
    assert 5 <= len(halves) <= 10 and all(len(set(k)) == 3 for k in halves)
    assert len(one.completeness) == len(one.drops)
    assert one.worst.gap == max(c.gap for c in one.completeness)


def test_cancelled(family_model):
    model, clean, corrupted = pair(family_model, "llama")
    job = Job(lambda job: None)
    job.cancel()
    c = aw.circuit(model, clean, corrupted, ["embed", "L0H0"], 17, job=job)
    assert not c.complete and math.isnan(c.faithfulness) and "Cancelled" in repr(c) and c.cost.forwards == 0


def test_as_table_and_picture(family_model):
    model, clean, corrupted = pair(family_model, "llama")
    c = aw.circuit(model, clean, corrupted, ["embed", "L0H0", ["L1H0", "L1H1"]], 17)
    frame = c.to_dataframe()
    row = frame[(frame["kept"] == "clean") & (frame["size"] == 3) & ~frame["others"]]
    assert row["f"].tolist() == [pytest.approx(c.faithfulness)]
    assert row["parts"].tolist() == [["embed", "L0H0", "L1H0 + L1H1"]]
    assert len(frame) == sum(len(s.sets) for s in c.sides.values())
    (axes,) = c.plot().axes
    assert [list(line.get_ydata()) for line in axes.lines[:2]] == [[f for _, f in s.curve] for s in c.sides.values()]
    data, _ = c._repr_mimebundle_()
    assert "f(C)" in data["text/html"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"parts": []},
        {"parts": ["L0H0", "L0H0"]},
        {"parts": ["L0", "L0H1 @2"]},
        {"parts": ["L1H0.q"]},
        {"parts": ["L1.pre"]},
        {"parts": ["L0H0 @99"]},
        {"parts": ["nothing"]},
        {"parts": ["L9H0"]},
        {"order": "size"},
        {"halves": -1},
        {"tau": 0},
    ],
)
def test_arguments_out_of_range(family_model, wrong):
    model, clean, corrupted = pair(family_model, "llama")
    with pytest.raises(aw.AttribError) as caught:
        aw.circuit(model, clean, corrupted, **{"parts": ["L0H0"], "target": 17, **wrong})
    assert caught.value.hint


def test_parts_are_called_as_they_were_named():
    model = aw.load("demo")
    given = ["embed", "L4.attn @3,4", ["L3H1", (3, 2)], "L2", "L1.attn + L1.mlp", aw.component("L0H1")]
    c = aw.circuit(model, CLEAN, CORRUPTED, given, halves=0)
    assert c.labels == ["embed", "L4.attn @3,4", "L3H1 + L3H2", "L2", "L1.attn + L1.mlp", "L0H1"]
    again = aw.circuit(model, CLEAN, CORRUPTED, c.labels, halves=0)
    assert again.labels == c.labels and again.parts == c.parts


def test_torch_is_left_as_it_was(family_model):
    model, clean, corrupted = pair(family_model, "gpt2")
    before = torch.get_rng_state()
    aw.circuit(model, clean, corrupted, ["embed", "L0H0"], 17)
    assert torch.equal(before, torch.get_rng_state())
