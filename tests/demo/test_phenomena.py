"""What the embedded model does inside: its table is measured again, and what it shows is pinned as orderings."""

from __future__ import annotations

import json

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets import demo
from attrib_widgets.demo.making import corpus, phenomena

FEW = 10


@pytest.fixture(scope="module")
def model():
    return aw.load("demo")


@pytest.fixture(scope="module")
def table() -> dict:
    return json.loads((demo.path() / "phenomena.json").read_text())


@pytest.fixture(scope="module")
def measured(model) -> dict:
    return phenomena.measure(model)


@pytest.fixture(scope="module")
def probes(model) -> dict[str, phenomena.Probe]:
    return {task: phenomena.probe(model, task, FEW) for task in ("two names", "capitals", "induction")}


def place(label: str) -> tuple[int, int]:
    layer, head = label[1:].split("H")
    return int(layer), int(head)


def numbers(found, where: str = "") -> dict:
    """Every number (and name) of a table by the path to it."""
    if not isinstance(found, dict | list):
        return {where: found}
    items = found.items() if isinstance(found, dict) else enumerate(found)
    return {path: value for key, part in items for path, value in numbers(part, f"{where}/{key}").items()}


def test_the_table_is_what_these_weights_do(measured, table):
    recorded = {name: part for name, part in table.items() if name not in ("weights_sha256", "verdicts")}
    # Three decimals are kept, and another processor rounds sums a little differently.
    assert numbers({name: measured[name] for name in recorded}) == pytest.approx(numbers(recorded), abs=0.001)
    # Verdicts are counted: a number at a threshold may fall on its other side.
    for task, line in table["verdicts"].items():
        assert measured["verdicts"][task]["gap"] == pytest.approx(line["gap"], abs=0.01)
        assert abs(measured["verdicts"][task]["with a redundant head"] - line["with a redundant head"]) <= 1


def test_a_head_is_redundant_with_others_that_are_named(model, measured):
    """It writes a tenth of the gap or more, nothing goes without it alone, and all of it once its backups are out."""
    found = measured["verdicts"]["agreement"]
    assert found["pairs"] == 40 and found["with a redundant head"] >= 30
    assert set(found["redundant"]) == {"L4H2"} and all(" with L" in said for said in found["with"])
    pair = demo.pairs("agreement", 1)
    v = aw.verify(aw.attribute(model.run(pair.clean[0]), pair.target[0]), pair.corrupted[0])
    head = v["L4H2"]
    assert head.word == "redundant" and head.direct >= 0.1 and head.necessity < 0.3 * head.direct
    assert head.measured.values["joint"] >= 0.8 * head.direct
    # Where the nouns' roles are as clear, in other words, it is the same; what is not trained for is not promised.
    assert "redundant" in v.title() or "are redundant" in v.title()


def test_a_head_suppresses_the_answer(model, measured):
    """It reads the nearer noun, and writes for the verb that this one would have."""
    found = measured["verdicts"]["attraction"]
    direct, damage = found["suppress, in the mean"]["L4H0"]
    assert direct <= -0.05 and damage <= -0.05 and found["suppress, in pairs"]["L4H0"] > 20
    pairs = demo.pairs("attraction", 10)
    for clean in pairs.clean:
        run = model.run(clean)
        nouns = [i for i, token in enumerate(run.tokens) if token.strip().removesuffix("s") in corpus.COUNTABLE]
        pattern = aw.attention(run, "L4H0").patterns[0, -1]
        assert pattern[nouns[1]] > pattern[nouns[0]], clean


def test_probes_change_one_token(model, probes):
    for name, probe in probes.items():
        assert (probe.ids != probe.corrupted).sum(1).tolist() == [1] * FEW, name
        assert bool((phenomena.margins(model, probe) > 0).all()), name
        assert bool((phenomena.margins(model, probe, probe.corrupted) < 0).all()), name


def test_previous_token_heads(model, table):
    found = phenomena.previous_token(model, FEW)
    named = list(table["previous-token attention"])
    # The two of the card are far ahead of every head of the later layers.
    assert {place(label) for label in named[:2]} == {divmod(int(i), 8) for i in found.flatten().topk(2).indices}
    assert float(found.flatten().topk(2).values[-1]) > 2 * float(found[1:].max())


def test_induction_heads(model, table):
    found = phenomena.induction_attention(model, FEW)
    assert float(found.max()) > 0.8
    # They stand in a layer above the previous-token heads that they need.
    best = divmod(int(found.argmax()), 8)[0]
    assert best > min(place(label)[0] for label in list(table["previous-token attention"])[:2])
    assert all(found[place(label)] > 0.7 for label in table["induction attention"])
    assert float(found[:2].max()) < 0.3


def test_a_name_mover_and_a_suppressing_head(model, probes, table):
    here, _ = phenomena.direct(model, probes["two names"])
    mover = next(iter(table["two names"]["writes most"]))
    against = next(iter(table["two names"]["suppresses most"]))
    assert here[place(mover)] > 0.3 and here[place(against)] < -0.1
    # The mover looks at the name that it writes, far more than at both mentions of the other.
    looked = torch.zeros(2)
    for row, *names in zip(*[getattr(probes["two names"], n).tolist() for n in ("ids", "good", "bad")], strict=True):
        pattern = aw.attention(model.run(row), mover).patterns[0, -1]
        looked += torch.stack([pattern[torch.tensor(row) == name].sum() for name in names]) / FEW
    assert looked[0] > 0.5 and looked[0] > 2 * looked[1]


@pytest.mark.parametrize("task", ["two names", "capitals", "induction"])
def test_direct_contributions_are_those_of_an_attribution(model, probes, task):
    probe = phenomena.Probe(*(part[:1] for part in probes[task]))
    target = aw.logit_diff(int(probe.good), int(probe.bad))
    for found, ids in zip(phenomena.direct(model, probe), (probe.ids, probe.corrupted), strict=True):
        assert torch.allclose(found, aw.attribute(model.run(ids[0].tolist()), target).heads, atol=1e-5)


def test_mediators_write_nothing_and_matter_much(measured):
    found = measured["two names"]["mediators"]
    assert list(found)[:2] == ["L0H4", "L0H3"]
    # Without these two most of the gap is gone; what they write themselves is nothing beside that.
    assert all(found[label]["damage"] > 0.2 > 20 * abs(found[label]["direct"]) for label in list(found)[:2])
    assert not measured["capitals"]["mediators"] and not measured["induction"]["mediators"]


@pytest.mark.parametrize(
    ("direct", "damage", "mediates"),
    [
        (0.0, 0.06, True),
        (-0.01, 0.06, True),
        (0.048, 0.058, False),  # it damages about what it writes
        (0.0, 0.04, False),  # it matters too little
        (0.06, 0.5, False),  # it writes something itself
        (0.0, -0.3, False),  # the answer is better without it
    ],
)
def test_what_a_mediator_is(direct, damage, mediates):
    share, damages = torch.zeros(2, 3), torch.zeros(2, 3)
    share[1, 2], damages[1, 2] = direct, damage
    assert list(phenomena.mediators(share, damages)) == ["L1H2"] * mediates


@pytest.mark.parametrize("task", ["two names", "capitals", "induction"])
def test_what_is_lost_without_a_head_is_accounted_for(measured, task):
    """The margins that the model prints differ by what the streams and the norm's directions say."""
    for line in measured[task]["without the head"]:
        assert line["direct"] - line["made up"] - line["norm"] == pytest.approx(line["lost"], abs=2e-5)
        assert abs(line["norm"]) > 0.1


def test_a_dispensable_head(measured):
    """It writes much, and little is lost without it; the final norm makes up for it, not another part."""
    written = [line for line in measured["two names"]["without the head"] if line["direct"] > 0.4]
    found = [line for line in written if line["ratio"] < 0.3]
    assert found
    for line in found:
        assert line["norm"] > 0.7 * line["direct"] and max(line["risers"].values()) < 0.2 * line["direct"]


def test_a_head_that_another_part_backs_up(measured):
    """Set to its mean, the leading head is not missed: the last MLP writes as much more, and the norm has no share."""
    line = measured["agreement"]["without the head"][0]
    assert line["head"] == "L4H2" and line["direct"] > 1 and line["ratio"] < 0.1
    assert line["risers"]["L4.mlp"] > 0.9 * line["direct"] > 10 * abs(line["norm"])


def test_the_first_mlp_knows_the_country(model, probes):
    lost = phenomena.enrichment(model, probes["capitals"])
    assert lost["subject"][0] > 5 > 10 * max(map(abs, lost["subject"][1:]))
    # At the last position it is the other way round.
    assert max(lost["last"]) == lost["last"][-1] > abs(lost["last"][0])


@pytest.mark.parametrize("task", ["two names", "capitals", "induction"])
def test_the_lens_sharpens_with_depth(model, probes, task):
    found = phenomena.sharpening(model, probes[task])
    nats = torch.tensor(found["nats"])
    assert bool((nats[1:] < nats[:-1] + 0.5).all()) and nats[-1] < nats[0] / 10
    assert found["median_rank"][-1] == 1 < found["median_rank"][0]  # 1 is the top, as in aw.logit_lens


def test_writing_changes_one_head_only():
    z = torch.randn(2, 5, 12)
    changed = phenomena.writing(slice(4, 8), torch.zeros(4), slice(-1, None))(z)
    assert not changed[:, -1, 4:8].any() and torch.equal(changed[:, :-1], z[:, :-1])
    assert torch.equal(changed[..., :4], z[..., :4]) and torch.equal(changed[..., 8:], z[..., 8:])
    other = torch.randn(2, 5, 4)
    assert torch.equal(phenomena.writing(slice(0, 4), other)(z)[..., :4], other)
