"""One operation looks at a run once, and notices at its end that a model was changed on the way."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.model.identity import studied
from attrib_widgets.model.identity.steady import once, steady
from fixtures import families


@pytest.fixture
def run():
    return aw.load(families.build("llama"), tokenizer=families.tokenizer("llama")).run(families.PROMPT)


def looks(monkeypatch, run):
    """How often the whole model was looked at."""
    seen, real = [], studied.stamp_of

    def counted(module):
        if module is run.model.hf:
            seen.append(module)
        return real(module)

    monkeypatch.setattr(studied, "stamp_of", counted)
    return seen


@pytest.mark.parametrize(
    ("ask", "count"),
    [
        (lambda r: aw.attribute(r, " Paris"), 1),
        (lambda r: aw.logit_lens(r, " Paris"), 1),
        (lambda r: aw.attribute(r, " Paris").trace(), 3),
    ],
    ids=["attribute", "lens", "attribute and trace"],
)
def test_an_operation_looks_when_it_begins_and_a_long_one_when_it_ends(monkeypatch, run, ask, count):
    seen = looks(monkeypatch, run)
    ask(run)
    assert len(seen) == count


def test_operations_inside_one_another_are_one(monkeypatch, run):
    seen = looks(monkeypatch, run)
    with steady():
        for _ in range(5):
            aw.attribute(run, " Paris").trace()
    assert len(seen) == 2


def test_a_change_on_the_way_is_noticed_at_the_end(run):
    @steady()
    def operation():
        aw.attribute(run, " Paris")
        with torch.no_grad():
            run.model.hf.model.layers[1].mlp.down_proj.weight.mul_(1.5)

    with pytest.raises(aw.ModelError, match="has changed since this run"):
        operation()


def test_a_change_between_two_operations_is_noticed_by_the_second(run):
    aw.attribute(run, " Paris")
    run.model.hf.model.layers[1].mlp.down_proj.weight.data[0, 0] += 1
    with pytest.raises(aw.ModelError):
        aw.attribute(run, " Paris")


def test_a_failed_operation_says_its_own_reason(run):
    @steady()
    def operation():
        once(run, lambda: None)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        operation()
    seen = []
    once(run, lambda: seen.append(1))
    assert seen == [1], "nothing of it is left behind"
