"""Concepts in the Explorer: what travels, what is asked, and what is saved while the screen shows them."""

from __future__ import annotations

import math

import pytest

import attrib_widgets as aw
from attrib_widgets.analysis.opening.dictionaries.concepts import UNSAID, Concepts
from attrib_widgets.widgets.shapes import budget, opened
from attrib_widgets.widgets.transport import wire

SHOWN = {"tab": "", "mode": "concepts"}


def ask(talk, op, **args):
    id = talk.fresh(op)
    talk.say(id, op, **args)
    return talk.last(id)


def summed(data) -> float:
    rows = [row["value"] for row in data["rows"]]
    return math.fsum([*rows, data["rest"], *(value for _, value in data["unsaid"])])


def test_rows_of_the_page_sum_to_the_number(explorer, browser):
    data = ask(browser(explorer), "concepts")["data"]
    a = explorer.attribution
    found = a.concepts()
    assert summed(data) == pytest.approx(a.actual, abs=1e-5)
    assert data["title"] == found.title and data["note"] == found.note
    assert [abs(row["value"]) for row in data["rows"]] == sorted(
        (abs(row["value"]) for row in data["rows"]), reverse=True
    )
    assert len(data["rows"]) + data["rest_count"] == len(found) - 1
    for row in data["rows"]:
        assert row["value"] == pytest.approx(found[row["id"]]) and row["label"] == found.concepts[found.row(row["id"])]
        if "parts" not in row:
            assert row["id"] in a.labels
            continue
        parts = found.parts(row["id"])
        rest, count = row.get("rest", (0.0, 0))
        assert len(row["parts"]) + count == len(parts)
        assert math.fsum(value for _, value in row["parts"]) + rest == pytest.approx(row["value"], abs=1e-6)
        assert row["parts"][0][0] == found.through(row["id"])


def test_parts_that_do_not_travel_are_summed(explorer, monkeypatch):
    monkeypatch.setattr(opened, "CONCEPTS", 5)
    monkeypatch.setattr(opened, "PARTS", 2)
    data = opened.concepts(explorer.concepts())
    assert len(data["rows"]) == 5 and summed(data) == pytest.approx(explorer.attribution.actual, abs=1e-5)
    of_heads = [row for row in data["rows"] if "rest" in row]
    assert of_heads and all(row["rest"][1] == explorer.model.n_heads - 2 for row in of_heads)


def test_it_is_split_once_until_the_question_or_a_dictionary_changes():
    explorer = aw.explore(aw.load("demo"))  # a model of its own: one of its dictionaries goes
    first = explorer.concepts()
    assert explorer.concepts() is first
    del explorer.model.saes["L3.mlp"]
    other = explorer.concepts()
    assert "L3.mlp" in other.labels and "L3.mlp" not in first.labels
    explorer.ask(target=" Rome")
    assert explorer.concepts().attribution is explorer.attribution
    explorer.close()


def test_what_is_saved_is_what_is_shown(explorer):
    explorer.showing = SHOWN
    found = explorer.concepts()
    assert explorer.shown() is found and found.title in repr(explorer)
    assert UNSAID in explorer.saved("csv")["text"]
    explorer.showing = {"tab": "", "mode": "size"}
    assert explorer.shown() is explorer.attribution
    explorer.showing = SHOWN
    explorer.hidden = ["values"]
    assert not isinstance(explorer.shown(), Concepts)


def test_the_line_of_the_screen_opens_it_again(explorer):
    explorer.showing = SHOWN
    explorer.selected = f"{explorer.concepts().through(0)}/{explorer.concepts().labels[0].partition('/')[2]}"
    again = aw.explore(explorer.model, state=explorer.state)
    assert again.showing == SHOWN and again.selected == explorer.selected
    assert "mode=concepts" in explorer.state


def test_an_offline_page_opens_what_it_lists(explorer):
    header, _ = budget.whole(explorer._now)
    data = header["concepts"]
    assert wire.plain(data) == wire.plain(opened.concepts(explorer.concepts()))
    leading = [row for row in data["rows"] if row.get("parts")][: budget.CONCEPT_CARDS]
    for row in leading:
        assert f"{row['parts'][0][0]}/{row['id'].rpartition('/')[2]}" in header["cards"]


def test_a_concept_is_tested_by_a_click(explorer, browser):
    found, talk = explorer.concepts(), browser(explorer)
    name = next(label for label in found.labels if label.startswith("L3.z/"))
    title = ask(talk, "verify", components=[name], top=0)["data"]["title"]
    verdict = explorer.verdicts[name]
    assert str(verdict.component) == name and name in title
    told = ask(talk, "ablate", id=name)["data"]["told"]
    assert name in told and ask(talk, "ablate", id="L9.z/3")["kind"] == "error"
    assert ask(talk, "verify", components=[f"{name.partition('/')[0]}/99999"], top=0)["kind"] == "error"


def test_without_dictionaries_it_says_so(family_model, browser):
    explorer = aw.explore(family_model("gpt2"), "The capital of France is", " Paris")
    reply = ask(browser(explorer), "concepts")
    assert reply["kind"] == "error" and "has a dictionary" in reply["message"]
    header, _ = budget.whole(explorer._now)
    assert "concepts" not in header and "dictionaries" in header["absent"]["features"]
