"""The view of a survey: what it holds, what it answers, and a selection from both sides."""

from __future__ import annotations

import json

import numpy as np
import pytest

import attrib_widgets as aw
from attrib_widgets.analysis.survey.said import MEASURES
from attrib_widgets.demo import PROMPT, TARGET
from attrib_widgets.result import view_of
from attrib_widgets.widgets import explore
from attrib_widgets.widgets.shapes import surveys
from attrib_widgets.widgets.transport import assets, wire
from fixtures import packing

HEAD = "L3H1"


@pytest.fixture(scope="module")
def survey(demo):
    return aw.survey(demo, {task: aw.demo.pairs(task, 6) for task in ("capitals", "two names", "agreement")})


@pytest.fixture
def view(survey):
    made = view_of(survey)
    yield made
    made.close()


def ask(talk, op, **args):
    """Ask and return (the final answer, its arrays or None)."""
    id = talk.fresh(op)
    talk.say(id, op, **args)
    last = talk.last(id)
    buffers = talk.buffers(id) if last["kind"] == "result" else []
    return last, wire.unpack(buffers[0])[1] if buffers else None


def test_the_state_holds_the_numbers(survey, view):
    header, arrays = wire.unpack(view.container)
    table = survey.summary()
    assert view.kind == header["kind"] == "survey" and header["title"] == survey.title() == table.title
    assert header["checks"] == survey.checks() and "\n".join(header["notes"]) == table.note
    assert [p["id"] for p in header["parts"]] == [str(p) for p in survey.parts]
    assert [header["columns"][p["column"]] for p in header["parts"] if p["id"] in (HEAD, "L2.mlp")] == ["MLP", "H1"]
    assert [p["layer"] for p in header["parts"]] == [p.layer for p in survey.parts]
    assert (header["prompts"], header["answers"], header["closed"]) == (survey.texts, survey.answers, "")
    assert [m["name"] for m in header["measures"]] == list(MEASURES)
    frame = survey.to_dataframe()
    for g, (name, group) in enumerate(survey.groups.items()):
        told = header["groups"][g]
        assert (told["name"], told["prompts"], told["why"]) == (name, group.numbers, group.specific_why)
        assert [header["parts"][i]["id"] for i in told["specific"]] == [str(p) for p in survey.passing(name)]
        rows = frame[frame["group"] == name]
        for m, column in enumerate(MEASURES):
            np.testing.assert_allclose(arrays["measures"][g, m], rows[column].to_numpy(float), rtol=1e-6, atol=1e-7)
    for i, part in enumerate(survey.parts):
        np.testing.assert_array_equal(arrays["values"][i], survey[part].values.numpy())


def test_a_large_survey_asks_for_each_part(survey, monkeypatch, browser):
    monkeypatch.setattr(surveys, "LARGEST", 100)
    view = view_of(survey)
    assert "values" not in wire.unpack(view.container)[1]
    last, arrays = ask(browser(view), "surveyed", id=HEAD)
    assert last["kind"] == "result"
    np.testing.assert_array_equal(arrays["values"], survey[HEAD].values.numpy())
    view.close()


def test_the_word_that_a_head_reads_most(survey, view, browser, demo):
    asked = survey[HEAD].examples("two names", k=3)
    last, _ = ask(browser(view), "reads", id=HEAD, prompts=asked)
    assert [r["prompt"] for r in last["data"]["reads"]] == asked
    for told in last["data"]["reads"]:
        run = demo.run(survey.ids[told["prompt"]])
        row = aw.attention(run, HEAD).patterns[0, -1]
        at = int(row.argmax())
        assert told["word"] == run.tokens[at] and told["share"] == pytest.approx(float(row[at]), rel=1e-6)
        whole = told["before"] + ("" if at in run.special else told["word"]) + told["after"]
        assert whole == survey.texts[told["prompt"]]


def test_a_prompt_opens_in_the_explorer(survey, view, browser):
    talk = browser(view)
    view.selected = HEAD
    for number in (survey.group("two names").numbers[0], survey.group("agreement").numbers[-1]):
        before = view.opened
        last, _ = ask(talk, "open", prompt=number)
        assert (last["kind"], last["data"], view.opened) == ("result", {}, before), "a thread opens no widget"
        last, _ = ask(talk, "opened", prompt=number)
        assert last["kind"] == "result", last
        assert last["data"] == {"model": view.opened.model_id}
        assert view.opened.run.ids == survey.ids[number] and view.opened.selected == HEAD
        assert float(view.opened.attribution.total) == pytest.approx(float(survey.values[number].sum()), abs=1e-4)
        assert before is None or before.comm is None, "what was open before has left the page"
    last_opened = view.opened
    view.close()
    assert last_opened.comm is None and view.opened is None


@pytest.mark.parametrize(
    ("op", "args", "said"),
    [
        ("open", {"prompt": 999}, "no prompt 999"),
        ("open", {"prompt": -1}, "no prompt -1"),
        ("open", {"prompt": True}, "no prompt True"),
        ("open", {}, "no prompt None"),
        ("opened", {"prompt": 1}, "Prompt 1 is not ready"),
        ("test", {"ids": ["L99H0"], "groups": ["capitals"]}, "not a row"),
        ("test", {"ids": [HEAD], "groups": ["names"]}, "no group 'names'"),
        ("reads", {"id": HEAD, "prompts": ["x"]}, "no prompt 'x'"),
        ("reads", {"id": "L99H0", "prompts": [0]}, "not a row"),
        ("surveyed", {}, "names no component"),
    ],
)
def test_what_is_not_there_is_said(view, browser, op, args, said):
    last, _ = ask(browser(view), op, **args)
    assert last["kind"] == "error" and said in last["message"] and last["hint"]
    assert view.opened is None


def test_what_is_tested_is_on_the_page_and_in_what_is_saved(survey, browser, tmp_path):
    view = view_of(survey)
    assert view.tests == b"" and ask(browser(view), "test", ids=[HEAD], groups=["agreement"])[0]["kind"] == "result"
    view.test("L2.mlp")
    header, arrays = wire.unpack(view.tests)
    told = {(t["part"], list(survey.groups)[t["group"]]): (t, row) for row, t in enumerate(header["tests"])}
    assert list(told) == list(survey.tests) and len(told) == 1 + len(survey.groups)
    for key, test in survey.tests.items():
        one, row = told[key]
        assert (one["said"], one["n"]) == (test.said(), len(test))
        there = ~np.isnan(arrays["effects"][row])
        assert np.flatnonzero(there).tolist() == test.numbers
        np.testing.assert_allclose(arrays["effects"][row][there], test.effects.numpy(), rtol=1e-6)
    assert view.page_traits()["tests"] == view.tests == view_of(survey).tests
    for group in wire.unpack(view.container)[0]["groups"]:
        assert (group["able"], group["unable"]) == (len(survey.groups[group["name"]]), "")
    survey.tests.clear()
    view.close()


def test_a_selection_comes_from_both_sides(survey, view):
    assert view.selected_result() is survey
    view.set_state({"selected": HEAD, "source": 3})
    assert (view.selected, view.source) == (HEAD, 3) and view.selected_result().title() == survey[HEAD].title()
    view.selected = aw.component("L2.mlp")
    assert view.selected == "L2.mlp"
    view.set_state({"selected": "L99H0", "source": 999})
    assert (view.selected, view.source) == ("L2.mlp", 3), "what does not fit is answered with what is there"
    with pytest.raises(aw.AttribError, match="not a row"):
        view.selected = "L99H0"
    with pytest.raises(aw.AttribError, match="no prompt 999"):
        view.source = 999


def test_without_its_model_a_survey_opens_nothing(survey, tmp_path, browser):
    view = view_of(aw.Survey.load(survey.save(tmp_path / "s.safetensors")))
    header, _ = wire.unpack(view.container)
    assert "aw.Survey.load(path, model)" in header["closed"]
    assert ask(browser(view), "open", prompt=0)[0]["kind"] == "error"
    view.close()


def test_a_survey_alone_carries_its_bundle(survey, view, demo):
    other = explore(demo, PROMPT, TARGET)
    mine, theirs = view.get_state(), other.get_state()
    assert len(mine["_esm"]) <= 60_000 and mine["_esm"] != theirs["_esm"] and mine["_css"] == theirs["_css"] == "\n"
    assert mine["_anywidget_id"] == "attrib_widgets.SurveyView" != theirs["_anywidget_id"]
    text = packing.unpacked(mine["_esm"])
    script, style = assets.read("survey.js"), assets.read("survey.css")
    assert text == f"{script}\nexport const style = {json.dumps(style.rstrip())};\n"
    main = assets.read(assets.VIEWS.style).rstrip()
    assert style.startswith(main), "beside another view the last sheet on the page says all that the first said"
    other.close()


def test_while_developing_its_own_files_are_watched(monkeypatch):
    monkeypatch.setenv("ANYWIDGET_HMR", "1")
    assert assets.script(assets.SURVEY) == assets.STATIC / "survey.js"
    assert assets.style(assets.SURVEY) == assets.STATIC / "survey.css"


def test_its_page_has_its_own_entry(view, tmp_path):
    text = view.to_html(tmp_path / "s.html").read_text(encoding="utf-8")
    assert packing.unpacked(text).startswith(assets.read("survey_page.js")) and assets.read("survey.css") in text
    assert packing.embedded(text)["container"] == view.page_traits()["container"]
