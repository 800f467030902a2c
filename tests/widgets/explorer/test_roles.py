"""What the page asks of heads beyond the prompt: roles, contexts, and tables of their weights."""

from __future__ import annotations

import pytest

import attrib_widgets as aw
from attrib_widgets.widgets.shapes import results


@pytest.fixture
def talk(explorer, browser):
    return browser(explorer)


def ask(talk, op, **args):
    id = talk.fresh(op)
    talk.say(id, op, **args)
    return talk.last(id, 60)


def test_roles_are_those_of_the_call_and_computed_once(explorer, talk, monkeypatch):
    last = ask(talk, "roles")
    found = aw.head_roles(explorer.model, tasks=False)
    assert last["data"] == {"heads": found.letters(), "table": results.printed(found.summary())}
    monkeypatch.setattr("attrib_widgets.widgets.explorer.answering.head_roles", None)
    assert ask(talk, "roles")["data"] == last["data"]


def test_letters_and_names_stand_first_in_the_table(talk):
    data = ask(talk, "roles")["data"]
    letters = {row[0] for row in data["table"]["rows"]}
    assert all(set(told) <= letters for told in data["heads"].values()) and all(row[1] for row in data["table"]["rows"])


def test_what_is_asked_of_one_head_is_the_calls_own_table(explorer, talk):
    a, head = explorer.attribution, "L3H1"
    told = {
        "contexts": aw.head_roles(a.model, tasks=False).contexts(head),
        "ov": aw.ov_table(a, head),
        "qk": aw.qk_table(a.run, head, a.position),
        "composition": aw.composition(a.model, head),
    }
    for what, found in told.items():
        assert ask(talk, "beyond", id=head, what=what)["data"] == results.printed(found.summary()), what


def test_what_cannot_be_asked_is_an_answer_with_a_hint(talk):
    nothing = ask(talk, "beyond", id="L3H1", what="gossip")
    assert nothing["kind"] == "error" and nothing["hint"] == "Click a button."
    first = ask(talk, "beyond", id="L0H1", what="composition")
    assert first["kind"] == "error" and "No head comes before L0H1" in first["message"]
    assert ask(talk, "beyond", id="L3.mlp", what="ov")["kind"] == "error"


def test_of_large_models_the_page_measures_patterns_alone(explorer, talk, monkeypatch):
    monkeypatch.setattr("attrib_widgets.widgets.explorer.answering.LIVE_EIGENVALUES", 0)
    explorer.model.forget()  # another test may have asked for all of them
    names = [row[1] for row in ask(talk, "roles")["data"]["table"]["rows"]]
    assert "induction" in names and "copying" not in names
    explorer.model.forget()
