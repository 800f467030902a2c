"""The number under each word: what the page is sent, what it asks for, and that both are Python's numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.experiments.patching.token_effects import DRAWS, replacements
from attrib_widgets.analysis.heads.all_heads import head_table
from attrib_widgets.demo import PROMPT, TARGET
from attrib_widgets.widgets.questions.address import UNDERS, Address
from attrib_widgets.widgets.shapes import budget, opened
from attrib_widgets.widgets.transport import wire
from attrib_widgets.words.errors import GranularityError
from attrib_widgets.words.text import number, signed
from fixtures import families, mixed
from fixtures.screens import filled


def inside(stored):
    """A container that stands in an array of another one."""
    return wire.unpack(np.asarray(stored, dtype="<i4").tobytes())


def heads_of(a):
    return sum(float(v) for c, v in zip(a.components, a.values.double(), strict=True) if c.kind == "head")


def test_what_all_heads_carried_comes_with_the_first_screen_and_closes_on_their_bars(explorer, browser):
    header, arrays = filled(explorer)
    told, found = inside(arrays["carried"])
    a = explorer.attribution
    expected = np.asarray(arrays["tokens"], dtype=np.float64).sum((0, 1))
    np.testing.assert_allclose(found["values"], expected, atol=1e-5)
    biases = float(np.asarray(arrays["value_bias"], dtype=np.float64).sum())
    assert expected.sum() + biases == pytest.approx(heads_of(a), abs=1e-4)
    assert f"the bars of all heads sum to {signed(heads_of(a))}." in told["told"]
    assert f"sum to {signed(expected.sum() + biases)};" in told["told"] and told["told"].startswith(
        "Observed, in logits"
    )
    assert "totals" not in arrays and "carried" not in header["absent"]
    talk = browser(explorer)
    talk.say("1", "carried")
    assert talk.buffers("1")[0] == opened.carried(a, head_table(a))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "bloom"])
def test_the_sum_of_positions_and_biases_is_that_of_the_heads(family_model, name, dtype):
    model = family_model(name, getattr(torch, dtype))
    a = aw.attribute(model.run(families.PROMPT), " Paris")
    _, arrays = wire.unpack(opened.carried(a))
    each = [a.sources(c) for c in a.components if c.kind == "head"]
    assert each
    at = np.zeros(a.run.n_positions)
    rest = 0.0
    for s in each:
        carried = [float(v) for v, kind in zip(s.values, s.kinds, strict=True) if kind == "token"]
        at[: len(carried)] += carried
        rest += sum(float(v) for v, kind in zip(s.values, s.kinds, strict=True) if kind != "token")
    np.testing.assert_allclose(arrays["values"], at, atol=1e-5)
    assert at.sum() + rest == pytest.approx(heads_of(a), abs=1e-4)


def test_what_is_not_known_of_all_heads_is_refused_with_the_reason():
    model = mixed.post_norm_bloom()
    a = aw.attribute(model.run(PROMPT), 5)
    with pytest.raises(GranularityError, match="not known here"):
        opened.carried(a)


def test_all_paths_are_asked_for_and_travel_with_a_page(explorer, browser):
    talk = browser(explorer)
    talk.say("1", "totals")
    header, arrays = wire.unpack(talk.buffers("1")[0])
    t = explorer.attribution.token_totals()
    np.testing.assert_array_equal(arrays["values"], t.positions.numpy())
    constants = sum(value for _, value in t.constants)
    assert float(arrays["values"].sum(dtype=np.float64)) + constants == pytest.approx(
        explorer.attribution.actual, abs=1e-4
    )
    for said in (signed(float(t.positions.sum())), signed(constants), f"own number is {number(t.explained)}."):
        assert said in header["told"]
    _, whole = budget.whole(explorer._now)
    assert wire.inside(talk.buffers("1")[0]).data.tolist() == whole["totals"].data.tolist()


def test_another_word_is_tested_once_with_its_cost(explorer, browser):
    a = explorer.attribution
    before, _ = wire.unpack(explorer.container)
    assert "replaced" not in before
    talk = browser(explorer)
    talk.say("1", "replaced")
    data = talk.last("1")["data"]
    assert "progress" in talk.kinds("1")
    t = aw.token_effects(a.model, a.run, a.target, position=a.position)
    assert data["values"][1:] == pytest.approx(t.values[1:].tolist()) and data["values"][0] is None
    assert data["spread"][1:] == pytest.approx(t.spread[1:].tolist())
    # what the first of two sweeps tries out, the second knows
    assert data["cost"].startswith(f"{t.cost.naive} forwards in ") and f"replaced by {DRAWS} others" in data["told"]
    assert f"is {number(t.base)} as it stands" in data["told"]
    found = explorer.token_effects()
    assert found is explorer.token_effects()
    talk.say("2", "replaced")
    assert talk.last("2")["data"] == data
    assert before["test"]["words"] == replacements(a.run, a.position) >= t.cost.naive
    page, _ = wire.unpack(explorer._container(explorer._now, complete=True))
    assert page["replaced"] == data


def test_a_cancelled_experiment_is_not_kept(explorer, browser, monkeypatch):
    from attrib_widgets.widgets.explorer import testing

    real = testing.token_effects

    def cancelled(*args, job, **more):
        found = real(*args, job=job, **more)
        job.cancel()
        return found

    monkeypatch.setattr(testing, "token_effects", cancelled)
    talk = browser(explorer)
    talk.say("1", "replaced")
    assert talk.last("1")["kind"] == "cancelled"
    assert explorer._now.replaced is None


def test_a_number_inside_the_model_has_no_experiment(explorer, browser):
    explorer.ask(target=aw.neuron("L2N3"))
    assert explorer.attribution.target.inner
    talk = browser(explorer)
    talk.say("1", "replaced")
    assert talk.last("1")["kind"] == "error"
    for op in ("carried", "totals"):
        talk.say(op, op)
        _, arrays = wire.unpack(talk.buffers(op)[0])
        assert len(arrays["values"]) == explorer.run.n_positions


@pytest.mark.parametrize("way", UNDERS)
def test_the_state_names_it(demo, explorer, way):
    explorer.showing = {"tab": "", "mode": "size", "under": way}
    assert f"under={way}" in explorer.state
    again = aw.explore(demo, state=explorer.state)
    assert again.showing == explorer.showing and again.state == explorer.state
    again.close()


def test_another_name_is_refused(explorer):
    with pytest.raises(aw.AttribError, match="carried, totals, replaced"):
        explorer.showing = {"tab": "", "mode": "size", "under": "shown"}
    with pytest.raises(aw.AttribError, match="carried, totals, replaced"):
        Address.read(f"prompt=The&answer={TARGET}&under=shown")
