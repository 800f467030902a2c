"""What comes when: the first draw, the first screen, and in pieces what a click is likely to ask for."""

from __future__ import annotations

import contextvars
import threading
import time

import numpy as np
import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.heads import held
from attrib_widgets.demo import CORRUPTED, PROMPT
from attrib_widgets.model.running.worker import Worker
from attrib_widgets.widgets import explore
from attrib_widgets.widgets.shapes import budget
from attrib_widgets.widgets.transport import wire
from fixtures import families
from fixtures.screens import filled

JAPAN = "The capital of Japan is"


def until(found, seconds=20):
    """Wait for what another thread does."""
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


def greet(talk):
    talk.say(talk.fresh("hello"), "hello")


@pytest.fixture
def attended(monkeypatch):
    """The layers whose attention was computed again, one by one."""
    layers = []
    attend = held.attend

    def counted(model, rec, layer, *args, **options):
        layers.append(layer)
        return attend(model, rec, layer, *args, **options)

    monkeypatch.setattr(held, "attend", counted)
    return layers


def test_the_first_draw_is_bars_sum_candidates_and_headline(explorer, attended):
    h, arrays = wire.unpack(explorer.container)
    a = explorer.attribution
    np.testing.assert_array_equal(arrays["values"], a.values.numpy())
    assert (h["total"], h["actual"], h["gap"]) == (a.total, a.actual, a.mismatch)
    assert [c["text"] for c in h["candidates"]] == [p.text for p in explorer.run.top(6)]
    assert h["finding"]["text"] in a.title()
    assert h["coming"] == ["heads", "patterns", "effects"] and set(arrays) == {"values", "rival"}
    assert attended == [] and explorer.screen == explorer.rest == b""


def test_the_first_screen_is_what_stands_on_it(explorer, attended):
    """The open head's words and pattern row, what all heads carry, the comparison's bars, the thumbnails."""
    explorer.fill()
    a, at = explorer.attribution, explorer.attribution.position
    h, x = wire.unpack(explorer.screen)
    lead = a.top(1, kind="head")[0][0]
    sources = a.sources(lead)
    n = explorer.run.n_positions
    np.testing.assert_allclose(x["tokens"][lead.layer, lead.index], sources.values[:n].numpy(), atol=1e-6)
    pattern = aw.attention(explorer.run, lead).patterns[0]
    np.testing.assert_allclose(x["patterns"][lead.layer, lead.index], pattern.numpy(), atol=1e-3)
    assert h["why_key"][lead.layer][lead.index] == int(pattern[at].argmax())
    model = explorer.model
    for name in ("carry", "norms"):
        assert x[name].shape == (model.n_layers, model.n_heads, n)
    effects = aw.estimated_effects(a, explorer.corrupted)
    for part, effect in effects.items():
        assert x["effects"][a.labels.index(str(part))] == pytest.approx(effect, rel=1e-5)
    assert sorted(attended) == list(range(model.n_layers)), "the attention of a layer at most once"
    assert explorer.rest == b"" and explorer.idle is None, "nothing idle without a page"


def test_it_is_filled_when_it_is_displayed_and_nothing_is_idle_without_a_page(demo):
    explorer = explore(demo, PROMPT)
    explorer._ipython_display_()
    assert explorer.screen and not explorer.rest and explorer.idle is None
    explorer.ask(prompt=JAPAN)
    until(lambda: explorer.screen)
    assert wire.unpack(explorer.screen)[0]["version"] == 2
    demo.worker.submit(lambda job: None).wait(10)
    assert explorer.idle is None and not explorer.rest
    explorer.close()


def test_a_page_that_says_hello_gets_all_of_it_in_pieces(explorer, browser, attended):
    talk = browser(explorer)
    greet(talk)
    until(lambda: explorer.rest)
    assert sorted(attended)[: explorer.model.n_layers] == list(range(explorer.model.n_layers))
    idle, screen = explorer.idle, explorer.screen
    assert idle.done > explorer.model.n_layers, "every MLP and every dictionary is a piece"
    until(lambda: idle.over)
    greet(talk)
    assert explorer.idle is idle and explorer.screen is screen, "nothing twice"
    told, arrays = filled(explorer)
    whole, tables = budget.merged(budget.first_draw(explorer._now), budget.first_screen(explorer._now))
    assert set(told) > set(whole) and set(arrays) > set(tables)


def test_a_page_that_comes_after_the_next_question_gets_the_rest(explorer, browser):
    explorer._ipython_display_()
    explorer.ask(JAPAN)  # in the same cell: no page has said hello
    until(lambda: explorer.screen and explorer._screening.finished)
    assert explorer.rest == b"" and explorer.idle is None
    greet(browser(explorer))
    until(lambda: explorer.rest)
    assert wire.unpack(explorer.rest)[0]["version"] == 2


def test_what_is_closed_is_not_filled(explorer, browser):
    greet(browser(explorer))
    until(lambda: explorer.rest)
    explorer.close()
    explorer.ask(JAPAN)
    assert explorer._filling is None and explorer.screen == b""


def test_pieces_are_done_in_the_context_of_who_asked():
    """ipykernel reads there where what they send belongs."""
    asking, heard, worker = contextvars.ContextVar("asking", default=""), [], Worker()
    worker.submit(lambda job: None).wait(5)
    asking.set("message")
    work = worker.idle(iter(lambda: heard.append(asking.get()) or len(heard) == 3, True), heard.append)
    until(lambda: work.over)
    assert heard == ["message"] * 3


def test_idle_work_lets_a_click_through_and_is_dropped_by_a_question(explorer, browser, monkeypatch):
    talk, gate, order = browser(explorer), threading.Event(), []
    pieces = budget.Rest.pieces

    def slow(self):
        for number, _ in enumerate(pieces(self)):
            order.append(number)
            if number == 0:
                gate.wait(20)
            yield

    monkeypatch.setattr(budget.Rest, "pieces", slow)
    greet(talk)
    until(lambda: order)
    talk.say("click", "writes", id="L2.mlp")
    talk.say("next", "explain", prompt=JAPAN)
    gate.set()
    first = explorer.idle
    assert talk.last("click")["kind"] == "result" and talk.last("next")["kind"] == "result"
    assert first.over and first.done == 1, "both came before its second piece"
    until(lambda: explorer.rest)
    assert wire.unpack(explorer.rest)[0]["version"] == 2 and explorer.idle is not first
    explorer.close()
    assert explorer.idle.over


def test_another_token_is_asked_about_without_attending_again(demo, attended):
    explorer = explore(demo, PROMPT, corrupted="")
    explorer.fill()
    before, count = explorer.screen, len(attended)
    explorer.ask(target=" Berlin")
    assert explorer.screen == b""
    explorer.fill()
    assert len(attended) == count == demo.n_layers
    _, x = wire.unpack(explorer.screen)
    _, y = filled(fresh := explore(demo, PROMPT, " Berlin", corrupted=""))
    for name in ("carry", "norms", "dest", "post", "tokens", "patterns", "value_bias"):
        np.testing.assert_array_equal(x[name], y[name])
    assert explorer.screen != before
    explorer.ask(position=2)  # another row of the patterns, the values as they were
    explorer.fill()
    np.testing.assert_array_equal(
        wire.unpack(explorer.screen)[1]["carry"],
        filled(again := explore(demo, PROMPT, position=2, corrupted=""))[1]["carry"],
    )
    for one in (explorer, fresh, again):
        one.close()


def test_what_is_kept_of_the_heads_grows_with_the_tokens_and_not_beyond_its_budget(demo, monkeypatch):
    sizes = []
    for count in (40, 80):
        run = demo.run(demo.encode("apple river lamp garden horse " * 20)[:count])
        aw.head_table(aw.attribute(run, 5), patterns=False)
        sizes.append(held.held_bytes(run))
    assert sizes[1] == pytest.approx(2 * sizes[0], rel=0.01), "no square of the prompt"
    monkeypatch.setattr(held, "KEPT_BYTES", sizes[0])
    run = demo.run(run.ids)
    a = aw.attribute(run, 5)
    small = aw.head_table(a, patterns=False)
    assert 0 < held.held_bytes(run) <= sizes[0]
    monkeypatch.undo()
    large = aw.head_table(aw.attribute(demo.run(run.ids), 5), patterns=False)
    assert torch.equal(small.carry, large.carry) and torch.equal(small.rows, large.rows)


def test_a_screen_that_cannot_be_computed_is_said_to_who_asks(explorer, browser, monkeypatch):
    def fail(*args, **options):
        raise aw.AttribError("No heads today.", "Try tomorrow.")

    monkeypatch.setattr(budget, "head_table", fail)
    shown = explore(explorer.model, JAPAN)
    shown._ipython_display_()
    greet(browser(explorer))
    until(lambda: explorer.screen)
    for one in (shown, explorer):
        header, arrays = wire.unpack(one.screen)
        assert arrays == {} and header["version"] == 1, "the page waits no longer, and asks for what it needs"
        assert "No heads today." in one.last_error
    with pytest.raises(aw.AttribError, match="No heads today"):
        shown.fill()
    shown.close()


def test_a_changed_model_is_no_reason_why_parts_are_left_out():
    model = aw.load(families.build("gpt2"), tokenizer=families.tokenizer("gpt2"))
    one = explore(model, families.PROMPT, " Paris")
    one.fill()
    before = one.rest
    with torch.no_grad():
        model.hf.get_parameter("transformer.h.1.mlp.c_proj.weight").mul_(1.5)
    for asked in (lambda: one.fill(rest=True), one.page_traits):
        with pytest.raises(aw.ModelError, match="has changed since this run"):
            asked()
    assert one.rest == before and not one._now.parts.rest, "nothing of it is kept"
    one.close()


def test_the_page_holds_what_a_live_view_sends(explorer):
    told, arrays = filled(explorer)
    header, whole = wire.unpack(explorer.page_traits()["container"])
    assert "coming" not in header
    for name in arrays:
        np.testing.assert_array_equal(arrays[name], whole[name])
    assert told["neurons"] == header["neurons"] and told["writes"] == header["writes"]
    assert told["features"].items() <= header["features"].items()
    assert told["corrupted"]["text"] == CORRUPTED
