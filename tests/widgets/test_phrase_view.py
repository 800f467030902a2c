"""The view of a phrase: what it holds, and the token in focus from both sides."""

from __future__ import annotations

import numpy as np
import pytest

import attrib_widgets as aw
from attrib_widgets.result import view_of
from attrib_widgets.widgets.shapes import results, text
from attrib_widgets.widgets.transport import wire


@pytest.fixture(scope="module")
def phrase():
    return aw.attribute(aw.load("demo").generate("The capital of France is", 12), aw.phrase())


@pytest.fixture
def view(phrase):
    made = view_of(phrase)
    yield made
    made.close()


def test_the_state_holds_the_numbers(phrase, view):
    header, arrays = wire.unpack(view.container)
    assert view.kind == header["kind"] == "phrase"
    np.testing.assert_array_equal(arrays["values"], phrase.values.numpy())
    np.testing.assert_allclose(arrays["sums"], phrase.values.double().sum(0).numpy(), rtol=1e-6, atol=1e-6)
    assert header["labels"] == phrase.labels and header["start"] == phrase.start
    assert [t["text"] for t in header["tokens"]] == phrase.tokens
    for i, told in enumerate(header["tokens"]):
        top = phrase.run.top(3, position=phrase.start - 1 + i)
        assert [t for t, _ in told["likeliest"]] == [p.text for p in top]
        assert [p for _, p in told["likeliest"]] == pytest.approx([p.probability for p in top], abs=1e-6)
        assert told["prob"] == pytest.approx(top[0].probability, abs=1e-6), "greedy text is the likeliest"
        assert told["actual"] == phrase[i].actual and told["gap"] == phrase[i].mismatch
    assert header["actual"] == phrase.actual and header["gap"] == phrase.mismatch


def test_the_token_in_focus_is_set_from_both_sides(phrase, view):
    assert view.token is None and view.selected_result() is phrase
    view.set_state({"source": 3})
    assert view.token == 3 and view.selected_result() is phrase[3]
    view.token = -1
    assert view.source == len(phrase) - 1 and view.selected_result() is phrase[-1]
    view.token = None
    assert view.source == -1
    for wrong in (len(phrase), -len(phrase) - 1, 1.5, "x"):
        with pytest.raises(aw.PositionError, match="not a token"):
            view.token = wrong
    view.set_state({"source": 99})
    assert view.token is None, "a number from the browser that is no token is not taken over"


def test_it_shows_itself_and_writes_a_page(phrase, view, tmp_path):
    data, _ = phrase._repr_mimebundle_()
    assert data["text/plain"] == repr(phrase) and len(data["text/html"]) <= 20_000
    assert phrase.view() is phrase.view()
    page = view.to_html(tmp_path / "phrase.html").read_text(encoding="utf-8")
    assert phrase.title() in page
    token = view_of(phrase[2])
    assert token.kind == "attribution", "a token opens in an Explorer of its own"
    token.close()


def test_more_than_a_notebook_should_carry(phrase, monkeypatch):
    monkeypatch.setattr(results, "LARGEST", 1000)
    with pytest.raises(aw.AttribError, match="fewer tokens"):
        text.phrase(phrase)


def test_a_figure(phrase):
    axes = phrase.plot(k=6).axes[0]
    assert len(axes.get_xticks()) == 6 and len(axes.get_yticks()) == len(phrase)
    assert "log-probability" in axes.get_title(loc="left")
