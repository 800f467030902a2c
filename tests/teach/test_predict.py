"""A guess comes first, by the page or from Python; nothing is uncovered before, and nothing that is printed tells."""

from __future__ import annotations

import pytest

import attrib_widgets as aw
from attrib_widgets.demo import PROMPT
from attrib_widgets.teach.predict import LOCKED


@pytest.fixture
def lesson():
    return aw.teach.lesson(1)


def ask(view, op, **args):
    """What a page asks, and the answer."""
    sent = []
    view.send = lambda content, buffers=None: sent.append(content)
    view._handle_custom_msg({"v": 1, "id": "q", "op": op, "args": args}, [])
    return sent[-1]


def test_nothing_opens_before_a_guess(lesson, capsys):
    picture = lesson.predict(PROMPT, " Paris", against=())
    lead = str(picture.attribution.top(1)[0][0])
    assert picture.options["locked"] and set(picture.hidden) == {"values", "heads", "detail"}
    picture.reveal(...)
    assert capsys.readouterr().out.strip() == LOCKED and picture.hidden and picture.right is None
    answer = ask(picture, "reveal", parts=["values"])
    assert answer["kind"] == "error" and picture.hidden
    picture.set_state({"guessed": {"part": "L3H4"}})
    assert ask(picture, "reveal", parts=["values"])["kind"] == "result" and picture.hidden == ()
    picture.reveal(lead)
    assert f"You said L3H4; {lead} leads" in capsys.readouterr().out, "the first guess counts"
    assert picture.right is False
    assert lesson.report().done[0].said == "L3H4"


def test_what_is_printed_does_not_tell(lesson):
    picture = lesson.predict(PROMPT, " Paris", against=" Berlin")
    a = picture.attribution
    numbers = {f"{abs(float(v)):.2f}" for v in a.values if abs(float(v)) > 0.1}
    told = [*picture._still().values(), repr(picture), picture.in_words(), picture.state]
    told += [picture.saved(form)["text"] for form in ("svg", "csv", "txt")]
    for text in told:
        assert not any(number in text for number in numbers)
    assert repr(picture).count("?") == 1 + 5 * 9, "a square for each head and MLP"
    assert "Which part writes most for “·Paris”" in repr(picture)
    picture.reveal(str(a.top(1)[0][0]))
    assert picture.right and any(number in repr(picture) for number in numbers)


def test_a_word(lesson, capsys):
    picture = lesson.predict(PROMPT, " Paris", head="L3H1")
    assert picture.selected == "L3H1" and repr(picture).startswith("Which word does L3H1 read?")
    picture.reveal()
    assert picture.hidden
    values = picture.attribution.sources("L3H1").values[: picture.run.n_positions]
    picture.reveal(int(values.abs().argmax()))
    assert picture.right and "right" in capsys.readouterr().out


def test_a_choice(capsys):
    lesson = aw.teach.lesson(3)
    for said, right in (("embed", False), (None, True)):
        choice = lesson.choose("when")
        choice.reveal(...)
        assert LOCKED in capsys.readouterr().out and choice.right is None
        lens = aw.logit_lens(lesson.model.run(lesson.example.prompt), lesson.example.answer)
        first = next(row for i, row in enumerate(lens.layers) if (lens.rank[i:, -1] == 1).all())
        choice.buttons.value = said or first  # a click
        choice.reveal()
        assert choice.right is right and first in capsys.readouterr().out
    with pytest.raises(aw.AttribError, match="cannot be chosen"):
        choice.guess = "L99.post"
    assert [d.right for d in lesson.report().done[:2]] == [False, True]
