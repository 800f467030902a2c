"""A guess comes first, by the page or from Python; nothing is uncovered before, and nothing that is printed tells."""

from __future__ import annotations

import pytest

import attrib_widgets as aw
from attrib_widgets.demo import PROMPT
from attrib_widgets.result import Result
from attrib_widgets.teach.choice import LOCKED


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


QUESTIONS = [(3, "when"), (4, "concept"), (5, "sets"), (6, "replaced"), (7, "typical")]


@pytest.mark.parametrize(("number", "name"), QUESTIONS, ids=[name for _, name in QUESTIONS])
def test_a_screen_takes_the_place_of_its_covers(number, name, capsys, monkeypatch):
    """One click chooses, one uncovers; before, nothing that the page is sent holds a number of the screen."""
    lesson = aw.teach.lesson(number)
    choice = lesson.choose(name)
    monkeypatch.setattr(choice, "_screen", lambda shown=choice._screen: made.append(shown()) or made[-1])
    made: list[object] = []
    covered, buttons, reveal, _ = choice.box.children
    assert covered.value.count("class=q") >= 2 and choice.ask in covered.value
    assert all(option in repr(choice) for option in choice.options) and repr(choice).count("?") >= 3
    assert reveal.disabled and not made
    reveal.click()
    assert LOCKED in capsys.readouterr().out and not made
    buttons.value = choice.options[0]
    assert not reveal.disabled
    reveal.click()
    told, screen = choice.box.children
    assert choice.options[0] in told.value and capsys.readouterr().out.strip()
    assert len(made) == 1 and buttons.disabled
    if isinstance(made[0], Result):
        assert screen is made[0].view() and made[0].summary().title not in covered.value
    else:
        first = str(aw.attribute(lesson.model.run(lesson.example.prompt), lesson.example.answer).top(1)[0][0])
        leads = [
            str(aw.attribute(lesson.model.run(text), token).top(1)[0][0]) == first for text, token in asked(lesson)
        ]
        assert screen.value.count("class=q") == sum(leads) < len(leads)
    choice.reveal(choice.options[-1])
    assert choice.guess == choice.options[0], "the first one counts"
    assert len(made) == 1


def asked(lesson):
    capitals = aw.teach.groups(lesson.model)["capitals"]
    return zip(capitals.clean, capitals.target, strict=True)
