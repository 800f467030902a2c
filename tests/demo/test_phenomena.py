"""What the embedded model does inside, pinned as orderings: the numbers are in its card."""

from __future__ import annotations

import json

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets import demo
from attrib_widgets.demo import phenomena

FEW = 10


@pytest.fixture(scope="module")
def model():
    return aw.load("demo")


@pytest.fixture(scope="module")
def table() -> dict:
    return json.loads((demo.path() / "phenomena.json").read_text())


@pytest.fixture(scope="module")
def probes(model) -> dict[str, phenomena.Probe]:
    tasks = {"two names": phenomena.two_names, "capitals": phenomena.capitals, "induction": phenomena.induction}
    return {name: make(model, FEW) for name, make in tasks.items()}


def place(label: str) -> tuple[int, int]:
    layer, head = label[1:].split("H")
    return int(layer), int(head)


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


def test_a_mediator_writes_nothing_and_matters_much(model, probes, table):
    label = next(iter(table["two names"]["mediators"]))
    here, there = phenomena.direct(model, probes["two names"])
    margin, other = (
        float(phenomena.margins(model, probes["two names"], ids).mean())
        for ids in (None, probes["two names"].corrupted)
    )
    damage = phenomena.noised(model, probes["two names"])
    assert damage[place(label)] > 0.2 and damage[place(label)] > 3 * float(damage[2:].max())
    assert abs(float((here - there)[place(label)])) < 0.02 * (margin - other)


def test_a_head_that_is_made_up_for(model, probes, table):
    """It writes much, and little is lost without it: redundant, whoever makes up for it."""
    redundant = [line for line in table["two names"]["backed up"] if line["ratio"] < 0.3]
    assert redundant
    for line in phenomena.backups(model, probes["two names"]):
        # What is lost splits exactly into these.
        assert line["direct"] - line["made up"] - line["norm"] == pytest.approx(line["lost"], abs=0.005)
    again = {line["head"]: line for line in phenomena.backups(model, probes["two names"])}
    known = [line["head"] for line in redundant if line["head"] in again]
    assert known and all(again[label]["ratio"] < 0.5 for label in known)


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
    assert found["median_rank"][-1] == 0 < found["median_rank"][0]


def test_writing_changes_one_head_only():
    z = torch.randn(2, 5, 12)
    changed = phenomena.writing(slice(4, 8), torch.zeros(4), slice(-1, None))(z)
    assert not changed[:, -1, 4:8].any() and torch.equal(changed[:, :-1], z[:, :-1])
    assert torch.equal(changed[..., :4], z[..., :4]) and torch.equal(changed[..., 8:], z[..., 8:])
    other = torch.randn(2, 5, 4)
    assert torch.equal(phenomena.writing(slice(0, 4), other)(z)[..., :4], other)
