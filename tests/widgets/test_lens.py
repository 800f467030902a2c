"""The lens as the page reads it: standing alone, embedded in the Explorer's state, and asked for."""

from __future__ import annotations

import numpy as np
import pytest

import attrib_widgets as aw
from attrib_widgets.demo import PROMPT, TARGET
from attrib_widgets.result import view_of
from attrib_widgets.widgets.question import Encoded
from attrib_widgets.widgets.shapes import budget, results
from attrib_widgets.widgets.transport import wire
from fixtures.screens import filled


def check(container, lens, position=None):
    """A container says what the result says."""
    header, arrays = wire.unpack(container)
    assert header["kind"] == "lens" and header["layers"] == lens.layers and header["positions"] == lens.positions
    assert header["title"] == lens.title(position)
    assert header["target"] == {"text": lens.token, "id": lens.target}
    np.testing.assert_array_equal(arrays["ids"], lens.top_ids.numpy())
    np.testing.assert_array_equal(arrays["probabilities"], lens.top_probabilities.numpy())
    told = ("probability", "rank", "entropy", "kl") if lens.entropy is not None else ("probability", "rank")
    for number, what in zip(arrays["numbers"], told, strict=True):
        np.testing.assert_array_equal(number, getattr(lens, what).numpy())
    assert {int(i) for i in header["words"]} == set(arrays["ids"].flatten().tolist())
    assert all(lens.model.token(int(i)) == text for i, text in header["words"].items())
    return header


def embedded(explorer, complete=False):
    explorer._now.parts = Encoded()  # afresh: answers are kept
    _, arrays = budget.Rest(explorer._now, complete).all()
    return arrays["lens"].data.tobytes() if "lens" in arrays else None


def test_a_result_shows_itself(demo):
    lens = aw.logit_lens(demo.run(PROMPT), TARGET, positions=[2, 5], k=3)
    view = lens.view()
    assert view.kind == "lens" and repr(view) == repr(lens)
    header = check(view.container, lens)
    assert header["tokens"] == [lens.run.tokens[2], lens.run.tokens[5]]
    assert view_of(lens) is not view and lens.view() is view
    view.close()


def test_what_was_left_out_is_not_sent(demo):
    lens = aw.logit_lens(demo.run(PROMPT), TARGET, entropy=False)
    check(results.lens(lens), lens)


def test_it_is_embedded_and_answered_with_the_same_bytes(explorer, browser):
    talk = browser(explorer)
    talk.say("1", "lens")
    answer = talk.buffers("1")[0]
    check(answer, aw.logit_lens(explorer.run, TARGET))
    assert embedded(explorer) == embedded(explorer, complete=True) == answer


def test_where_it_takes_long_a_live_view_asks_and_a_page_holds_it(explorer, monkeypatch):
    monkeypatch.setattr(budget, "LIVE_WORK", 1)
    assert embedded(explorer) is None
    check(embedded(explorer, complete=True), aw.logit_lens(explorer.run, TARGET))


def test_a_lens_that_does_not_fit_leaves_the_rest_in_place(explorer, monkeypatch):
    monkeypatch.setattr(results, "lens_bytes", lambda *counts: budget.BUDGET)
    header, arrays = filled(explorer)
    assert "lens" not in arrays and "patterns" in arrays and header["writes"]


def test_the_estimate_of_its_size_is_an_upper_bound(demo):
    lens = aw.logit_lens(demo.run("The capital of France is " * 20))
    estimate = results.lens_bytes(lens.top_ids.numel(), lens.probability.numel())
    assert estimate / 3 < len(results.lens(lens)) <= estimate


def test_too_much_to_draw_is_refused_with_a_remedy(demo, monkeypatch):
    monkeypatch.setattr(results, "LARGEST", 1000)
    with pytest.raises(aw.AttribError, match="positions="):
        results.lens(aw.logit_lens(demo.run(PROMPT)))


def test_its_title_is_about_the_position_that_is_explained(demo):
    explorer = aw.explore(demo, PROMPT, position=2)
    lens = aw.logit_lens(explorer.run, explorer.attribution.target)
    assert lens.title(2) != lens.title()
    check(embedded(explorer), lens, 2)
    explorer.close()


@pytest.mark.parametrize(
    ("target", "follows"),
    [
        (aw.logit_diff([" Rome", " Paris"], " Berlin"), " Rome"),
        (aw.log_prob(" Rome"), " Rome"),
        (aw.score("L2H1", key=2), None),
    ],
    ids=["difference", "log-probability", "score"],
)
def test_what_it_follows_and_the_python_that_makes_it(demo, target, follows):
    explorer = aw.explore(demo, PROMPT, target)
    header, arrays = filled(explorer)
    lens = eval(header["python"]["lens"], {"aw": aw, "a": explorer.attribution})
    assert lens.token == (follows or explorer.run.top(1)[0].text)
    check(arrays["lens"].tobytes(), lens)
    explorer.close()
