"""``hidden=`` asks: a guess is marked on either side, and the reveal says whether it was right."""

from __future__ import annotations

import pytest

import attrib_widgets as aw
from attrib_widgets.demo import CORRUPTED, PROMPT
from attrib_widgets.widgets.explorer.guessing import Guess
from attrib_widgets.words.text import number, signed


@pytest.fixture
def asking(demo):
    made = aw.explore(
        demo, PROMPT, " Paris", against=(), corrupted="", hidden=["candidates", "values", "heads", "detail"]
    )
    yield made
    made.close()


def leading(explorer):
    return [str(c) for c, _ in explorer.attribution.top(99) if c.writes]


def test_a_part(asking):
    order = leading(asking)
    asking.guess = order[2]
    assert asking.guess == Guess("part", order[2]), "before the reveal it says nothing of the answer"
    assert asking.guesses == []
    asking.reveal()
    found = asking.guess
    assert (found.truth, found.place, found.right) == (order[0], 3, False)
    a = asking.attribution
    most, own = f"{signed(a[order[0]])} of {number(a.actual)} logits", signed(a[order[2]])
    assert found.told == f"You said {order[2]}; {order[0]} leads ({most}), {order[2]} is number 3 ({own})."
    assert asking.guesses == [found]


def test_the_right_part_in_any_spelling(asking):
    first = leading(asking)[0]
    asking.guess = aw.component(first)
    asking.hidden = ["candidates", "heads"]
    assert asking.guesses == [], "the heads are hidden still, and would have told"
    asking.hidden = ["candidates"]
    assert asking.guess.right and asking.guess.told.startswith(f"You said {first}: right (+")


@pytest.mark.parametrize("typed", [" Paris", "Paris"])
def test_a_token(asking, typed):
    asking.guess = typed
    assert asking.guess == Guess("token", typed)
    asking.reveal()
    assert asking.guess.right and asking.guess.place == 1


def test_a_wrong_token_has_its_place(asking):
    top = asking.run.top(20)
    for i in (1, 12):
        asking.hidden = ["candidates"]
        asking.guess = top[i].text
        asking.reveal()
        assert asking.guess.place == i + 1 and not asking.guess.right
        assert ("number 2" in asking.guess.told, "not among the first 6" in asking.guess.told) == (i == 1, i == 12)
    asking.hidden = ["candidates"]
    asking.guess = "Constantinopolitan"
    asking.reveal()
    assert asking.guess.place is None and len(asking.guesses) == 3


def test_a_word(asking):
    asking.hidden = ["detail"]
    head = next(c for c, _ in asking.attribution.top(99) if c.kind == "head")
    values = asking.attribution.sources(head).values[: asking.run.n_positions]
    most = int(values.abs().argmax())
    asking.guess = most
    assert (asking.guess.head, asking.guess.position, asking.guess.truth) == (str(head), most, None)
    asking.reveal()
    assert asking.guess.right and asking.guess.truth == asking.run.tokens[most]


def test_the_page_marks_and_reveals(asking, browser):
    page, order = browser(asking), leading(asking)
    asking.set_state({"guessed": {"part": order[1], "token": "Rome"}})
    assert asking.guess == Guess("token", "Rome") and asking.guessed == {"part": order[1], "token": "Rome"}
    page.say("a", "reveal", parts=["values", "heads"])
    assert page.last("a")["kind"] == "result" and asking.hidden == ("candidates", "detail")
    assert [(g.said, g.place) for g in asking.guesses] == [(order[1], 2)]
    for wrong in ({"part": "L99H1"}, {"part": order[0]}, {"word": {"of": "L3H1", "at": 99}}, {"odd": 1}):
        asking.set_state({"guessed": wrong})
        assert asking.guessed["part"] == order[1], "a guess after the reveal, or about nothing, is not taken over"
    page.say("b", "reveal", parts=["candidates"])
    page.last("b")
    assert [g.asked for g in asking.guesses] == ["part", "token"] and asking.guess.said == "Rome"


def test_another_question_is_guessed_anew(asking):
    asking.guess = "L1.mlp"
    asking.ask(prompt="The capital of Japan is")
    assert asking.guessed == {}
    asking.reveal()
    assert asking.guesses == []


def test_what_is_no_guess(asking):
    for wrong in (1.5, None, ["L1.mlp"]):
        with pytest.raises(aw.AttribError):
            asking.guess = wrong
    asking.reveal()
    with pytest.raises(aw.AttribError, match="no guess about what is hidden: nothing is"):
        asking.guess = "L1.mlp"


def test_a_hidden_answer_is_in_nothing_that_is_printed_or_saved(demo):
    explorer = aw.explore(demo, PROMPT, " Paris", corrupted=CORRUPTED, hidden=["candidates"])
    explorer.verify(top=3)
    data, _ = explorer._repr_mimebundle_()
    told = [*explorer._still().values(), repr(explorer), data["text/html"], explorer.state, explorer.in_words()]
    told += [explorer.saved(form)["text"] for form in ("svg", "csv", "txt")]
    for text in told:
        assert "Paris" not in text and "Berlin" not in text
    assert aw.explore(demo, state=explorer.state).attribution.actual == explorer.attribution.actual
    chips = [f["told"] for f in explorer.tested["findings"]]
    assert chips and not any("Paris" in text or "Berlin" in text for text in chips)
    explorer.close()


@pytest.mark.parametrize("word", [{"at": 2}, {"of": "L1.mlp", "at": 2}, 3])
def test_only_a_head_reads_a_word(asking, word):
    with pytest.raises(aw.AttribError):
        asking.guessed = {"word": word}
    asking.reveal()
    assert asking.guesses == []


def test_the_question_ends_where_it_is_read(demo):
    made = aw.explore(demo, PROMPT, aw.phrase(" Paris. The"), hidden=["values"])
    assert "Paris" not in made.summary().title and made.summary().title.endswith("is\u201d?")
    made.word = made.phrase.start + 1
    assert made.summary().title.endswith("is Paris\u201d?")
    made.close()
