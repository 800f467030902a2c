"""A circuit written by hand, whose every number is known in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.demo.built import induction as circuit
from attrib_widgets.demo.built.induction import COPY, EPSILON, POSITIONS, READ, VOCAB, WIDTH

STORY = aw.demo.circuits["induction"]


@dataclass(frozen=True)
class Answer:
    """What the circuit must show on its prompt, in closed form. With a one-hot of n centred, its squared length is
    1 - 1/n."""

    token: int = 11
    query: int = 7  # the last Mary
    key: int = 2  # Smith, whose previous token is Mary

    @property
    def faithful(self) -> tuple[float, float]:
        """How much of a one-hot each layer passes on: a little less than 1, because of the norms' epsilon."""
        token, place = 1 - 1 / VOCAB, 1 - 1 / POSITIONS
        first = (token + place) / WIDTH
        copied = math.sqrt(first / (first + EPSILON))  # length of the previous-token block
        second = (token + place + copied**2 * token) / WIDTH
        return copied, math.sqrt((2 * token + place) / WIDTH) / math.sqrt(second + EPSILON)

    @property
    def written(self) -> dict[str, float]:
        """Length that each head writes of the token that it finds."""
        return {head: beta * self.faithful[1] for head, beta in COPY.items()}

    @property
    def scale(self) -> float:
        """Standard deviation of the last stream: token, position, previous token, and the written output."""
        token, place, output = 1 - 1 / VOCAB, 1 - 1 / POSITIONS, sum(self.written.values())
        return math.sqrt((token + place + self.faithful[0] ** 2 * token + output**2 * token) / WIDTH + EPSILON)

    @property
    def contributions(self) -> dict[str, float]:
        """Contribution of each head to the logit of ``token``; everything else contributes 0."""
        return {head: READ * beta * (1 - 1 / VOCAB) / self.scale for head, beta in self.written.items()}

    @property
    def logit(self) -> float:
        return sum(self.contributions.values())


ANSWER = Answer()


@pytest.fixture(scope="module")
def run():
    model = aw.load(STORY.source)
    assert model.check.ok, f"{model.check}"
    return model.run(STORY.prompt)


@pytest.fixture(scope="module")
def a(run):
    return aw.attribute(run, STORY.target)


def test_it_completes_the_repeat(run):
    assert run.ids == [3, 7, 11, 2, 8, 12, 4, 7]
    best = run.top(1)[0]
    assert (best.id, best.text) == (11, " Smith")
    assert best.logit == pytest.approx(ANSWER.logit, abs=1e-4)


def test_contributions_in_closed_form(a):
    assert a.exact
    assert a.total == pytest.approx(ANSWER.logit, abs=1e-4)
    for label, value in zip(a.labels, a.values.tolist(), strict=True):
        expected = ANSWER.contributions.get(label, 0.0)
        assert value == pytest.approx(expected, abs=1e-4), (
            f"{label} contributes {value:.6f}, in closed form {expected:.6f}"
        )


def test_the_first_head_is_needed_and_contributes_nothing(a):
    """Direct attribution is blind to a head that works through another: L0H0 adds 0, yet L1H0 reads what it wrote."""
    assert a["L0H0"] == pytest.approx(0.0, abs=1e-4)
    score = aw.attribute(a.run, aw.score("L1H0", query=ANSWER.query, key=ANSWER.key, side="key"))
    assert score.exact
    assert score.top(1)[0][0] == aw.component("L0H0"), f"the key was written by {score.top(3)}"
    # the whole score is 60 times the squared lengths of the matching one-hots and comes from L0H0's write
    assert score["L0H0"] == pytest.approx(60 * (1 - 1 / VOCAB), rel=1e-3)
    assert score["L0H0"] / score.actual == pytest.approx(1.0, abs=1e-3)


def test_without_the_first_head_the_answer_goes():
    hf = circuit.induction()
    with torch.no_grad():
        hf.transformer.h[0].attn.c_proj.weight[: circuit.SIZE] = 0.0
    model = aw.load(hf, tokenizer=circuit.tokenizer())
    a = aw.attribute(model.run(STORY.prompt), STORY.target)
    assert a.exact
    assert a.actual < ANSWER.logit / 2, "the mediator has a large total effect"


def test_patterns(run):
    previous = aw.attention(run, "L0H0")["L0H0"]
    n = run.n_positions
    for i in range(1, n):
        assert float(previous[i, i - 1]) == pytest.approx(1.0, abs=1e-4), f"position {i} must read {i - 1}"
    for head in COPY:
        found = aw.attention(run, head)[head]
        assert float(found[ANSWER.query, ANSWER.key]) == pytest.approx(1.0, abs=1e-4), head


def test_sources(a):
    for head, value in ANSWER.contributions.items():
        c = a.sources(head)
        expected = [value if s == ANSWER.key else 0.0 for s in range(a.run.n_positions)]
        assert c.values[: a.run.n_positions].tolist() == pytest.approx(expected, abs=1e-4)
        assert abs(c.mismatch) <= 1e-5 * (1 + abs(value))


def test_through(a):
    """What the induction head carries from Smith was written by the token embedding there."""
    t = a.through("L1H0")
    names = [str(c) for c in t.components]
    table = {name: float(t.values[ANSWER.key, i]) for i, name in enumerate(names)}
    assert table.pop("embed") == pytest.approx(ANSWER.contributions["L1H0"], abs=1e-4)
    assert max(map(abs, table.values())) <= 1e-4, f"others carry {table}"


def test_neurons_are_silent(a):
    for layer in range(circuit.LAYERS):
        c = a.neurons(layer)
        assert float(c.values.abs().max()) <= 1e-6


def test_difference_and_centring(run):
    other = 5
    d = aw.attribute(run, aw.logit_diff(STORY.target, other))
    # The output block holds beta times a centred one-hot: 1 - 1/V on the token, -1/V elsewhere.
    for head, beta in ANSWER.written.items():
        assert d[head] == pytest.approx(READ * beta / ANSWER.scale, abs=1e-4), head
    centred = aw.attribute(run, aw.logit(STORY.target).centered())
    assert centred.actual == pytest.approx(ANSWER.logit, abs=1e-4), "these logits have mean zero already"


def test_worked(a):
    w = a.worked("L1H0")
    assert w.value == pytest.approx(ANSWER.contributions["L1H0"], abs=1e-4)
    assert float(w.written[circuit.OUTPUT][ANSWER.token]) == pytest.approx(
        ANSWER.written["L1H0"] * (1 - 1 / VOCAB), abs=1e-4
    )
    outside = torch.ones(WIDTH, dtype=torch.bool)
    outside[circuit.OUTPUT] = False
    assert float(w.written[outside].abs().max()) <= 1e-5, "an induction head writes to the output block only"


def test_writes(a):
    promoted = a.writes("L1H0", k=1).promoted[0]
    assert promoted[:2] == (" Smith", 11)
    assert promoted[2] == pytest.approx(ANSWER.contributions["L1H0"], abs=1e-4)
    assert a.writes("L1H2", k=1).suppressed[0][1] == 11


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_the_story(dtype):
    model = aw.load(STORY.source, dtype=dtype)
    a = aw.attribute(model.run(STORY.prompt), STORY.target)
    assert a.exact, f"gap {a.mismatch:.1e}"
    for head, value in ANSWER.contributions.items():
        assert a[head] == pytest.approx(value, rel=0.03)
