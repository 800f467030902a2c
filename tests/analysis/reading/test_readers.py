"""Every kind of target has its row, and a kind without one is refused by its own name, never shown as another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

import attrib_widgets as aw
from attrib_widgets.analysis.reading.readers import READERS, Reader, numbers, read
from attrib_widgets.widgets.transport import wire
from attrib_widgets.words.targets import AnyTarget, Target, TokenLike
from fixtures import families


@dataclass(frozen=True)
class Odd(AnyTarget):
    """Half a logit: a kind of number that the library does not know."""

    token: int
    kind: str = field(default="half", init=False)

    @property
    def unit(self) -> str:
        return "half logits"

    def words(self, model, run=None) -> str:
        return f"half the logit of {self.token}"

    def short(self, model) -> str:
        return "half a logit"

    def code(self, token: Callable[[TokenLike], str]) -> str:
        return f"Odd({token(self.token)})"


def half(run, target: Odd, position: int):
    whole = read(run, Target("logit", (target.token,)), position)
    whole.direction = whole.direction / 2
    whole.constants = [(c, v / 2) for c, v in whole.constants]
    whole.actual /= 2
    return whole


@pytest.fixture(scope="module")
def run(family_model):
    return family_model("llama").run(families.PROMPT)


def test_every_kind_has_a_row():
    kinds = set(AnyTarget.__subclasses__()) - {Odd}
    assert kinds == set(READERS)


def test_a_kind_without_a_row_is_refused_by_name(run):
    with pytest.raises(aw.TargetError, match="Odd"):
        aw.attribute(run, Odd(3))


def test_a_row_makes_a_kind_known_everywhere(run, monkeypatch):
    monkeypatch.setitem(READERS, Odd, Reader(half, alone="Half a logit belongs to one position."))
    a, whole = aw.attribute(run, Odd(3)), aw.attribute(run, 3)
    assert a.exact and a.total == pytest.approx(whole.total / 2, abs=1e-5)
    assert "half the logit of 3" in a.title() and a.unit == "half logits"
    with pytest.raises(aw.TargetError, match="belongs to one position"):
        a.by_position()
    with pytest.raises(aw.TargetError, match="half is no prediction"):
        a.by_position("next")
    shown = wire.unpack(a.view().container)[0]["target"]
    assert (shown["kind"], shown["text"], shown["id"]) == ("half", "half a logit", None)


def test_numbers_at_every_position_are_those_read_one_by_one(run):
    for target in (Target("logit", (3,)), aw.neuron("L1N3")):
        found = numbers(run, target, range(run.n_positions))
        for p in range(run.n_positions):
            assert float(found.actual[p]) == pytest.approx(read(run, target.moved(p), p).actual, abs=1e-6)
