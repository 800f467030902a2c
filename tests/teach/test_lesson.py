"""Exercises are computed from the model in use; wrong answers hear what is wrong with them; reports are collected."""

from __future__ import annotations

import copy
import json

import nbformat
import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.teach.answers import UNANSWERED, Number, Part, Word
from attrib_widgets.teach.exercises import LESSONS
from attrib_widgets.teach.report import MARK


@pytest.fixture(scope="module")
def demo():
    return aw.load("demo")


@pytest.fixture(scope="module")
def other(demo):
    """Another model with the same words, which nobody has seen."""
    torch.manual_seed(0)
    hf = copy.deepcopy(demo.hf)
    hf.name_or_path = hf.config._name_or_path = ""
    with torch.no_grad():
        for p in hf.transformer.h.parameters():
            p.mul_(1 + 0.5 * torch.randn_like(p))
    return aw.load(hf, tokenizer=demo.tokenizer)


@pytest.mark.parametrize(
    ("given", "right", "said"),
    [
        (0.82, True, "Right: +0.82 logits."),
        (torch.tensor(0.8249), True, "Right"),
        (-0.82, False, "The size is right, and the sign is not"),
        (1.3, False, "another head"),
        (1.02, False, "0.20 logits too high"),
        ("0.82", False, "'0.82' is text. Write the number in logits, without quotation marks"),
        ("L2H7", False, "is text"),
        (float("nan"), False, "no number"),
        (True, False, "no number"),
        ([1], False, "[1] holds 1 value. Give one number alone"),
        (torch.zeros(3), False, "A Tensor holds 3 values"),
        (0.9, False, "0.08 logits too high"),
    ],
)
def test_a_number(given, right, said):
    found = Number(0.82, slips={"That is another head.": 1.3}).judge(given)
    assert found.right is right and said in repr(found) and bool(found) is right


@pytest.mark.parametrize(
    ("given", "right", "said"),
    [
        ("L3H1", True, "Right: L3H1 (+1.30 logits)."),
        (aw.component("L3H1"), True, "Right"),
        ((3, 1), True, "Right"),
        ("L1.mlp", False, "L1.mlp is no head"),
        ("head one", False, "names no part"),
        (7.5, False, "names no part"),
        ("L9H1", False, "not among the heads"),
        ("L2H0", False, "large, and of the wrong sign: −1.20 logits"),
        ("L2H4", False, "number 2"),
    ],
)
def test_a_part(given, right, said):
    found = Part({"L3H1": 1.3, "L2H0": -1.2, "L2H4": 0.6}, "{} logits", kind="head").judge(given)
    assert found.right is right and said in repr(found)


def test_a_word():
    answer = Word("needed", {"needed": "", "redundant": "Its damage is 49 %."})
    assert answer.judge(" Needed ") and "Its damage" in repr(answer.judge("redundant"))
    assert "Choose one of “needed”, “redundant”" in repr(answer.judge("yes"))


@pytest.mark.parametrize("number", LESSONS)
def test_every_exercise_knows_its_answer_and_a_wrong_one(demo, number):
    lesson = aw.teach.lesson(number, demo)
    for name, asked in LESSONS[number].exercises.items():
        value = asked.answer(demo, lesson.examples).value
        exercise = lesson[name]
        assert repr(exercise.check(...)) == UNANSWERED and exercise.done.tries == 0
        for wrong in ("L0H0", 1e3, "needed"):
            found = exercise.check(wrong)
            assert not found and len(repr(found)) > 20
        assert exercise.check(value) and exercise.done.tries == 4
        assert exercise.done.right is True
        assert exercise.hint() is not None and str(value) not in repr(exercise.hint())


def test_answers_are_those_of_the_model_in_use(demo, other):
    here, there = aw.teach.lesson(1, demo), aw.teach.lesson(1, other)
    asked = [aw.teach.lesson(8, model).example.prompt for model in (demo, other)]
    assert asked[0] != asked[1], "another model is asked in words that any knows"
    assert here.example == there.example, "but not where its tokenizer cuts the two prompts unequally"
    run = other.run(there.example.prompt)
    truth = float(aw.attribute(run, there.example.answer)["L2H7"])
    of_demo = float(aw.attribute(demo.run(here.example.prompt), here.example.answer)["L2H7"])
    assert abs(truth - of_demo) > 0.1
    assert there["1.1"].check(truth) and not there["1.1"].check(of_demo) and here["1.1"].check(of_demo)


def test_by_hand_is_the_library(demo):
    lesson = aw.teach.lesson(1, demo)
    run = demo.run(lesson.example.prompt)
    a = aw.attribute(run, lesson.example.answer)
    wrote = aw.teach.written_by_parts(run)
    x = sum(wrote.values())
    norm, row = demo.hf.transformer.ln_f, demo.hf.lm_head.weight[run.model.single_token(lesson.example.answer)]
    u = row * norm.weight
    u = ((u - u.mean()) / torch.sqrt(x.var(unbiased=False) + norm.eps)).detach()
    assert float(wrote["L1.mlp"] @ u) == pytest.approx(float(a["L1.mlp"]), abs=1e-4)
    for layer, head in ((2, 7), (3, 1)):
        by_hand = float(aw.teach.written_by_head(run, layer, head) @ u)
        assert by_hand == pytest.approx(float(a[f"L{layer}H{head}"]), abs=1e-4)
    assert not demo.hf.transformer.h[0].mlp._forward_hooks, "hooks are gone"


def test_by_hand_is_for_models_like_gpt2(family_model):
    run = family_model("llama").run("a b")
    with pytest.raises(aw.AttribError, match="built like GPT-2, and this is LlamaForCausalLM"):
        aw.teach.written_by_parts(run)


def test_what_is_not_there(demo):
    with pytest.raises(aw.AttribError, match="no lesson 99"):
        aw.teach.lesson(99, demo)
    lesson = aw.teach.lesson(1, demo)
    with pytest.raises(aw.AttribError, match="has no exercise"):
        lesson["9.9"]
    with pytest.raises(aw.AttribError, match="asks no question 'when'"):
        lesson.choose("when")


def saved(path, *reports, stream=False):
    cells = []
    for report in reports:
        text = repr(report)
        data = {"text/plain": text}
        made = (
            nbformat.v4.new_output("stream", text=text + "\n")
            if stream
            else nbformat.v4.new_output("execute_result", data=data)
        )
        cells.append(nbformat.v4.new_code_cell("lesson.report()", outputs=[made]))
    path.parent.mkdir(exist_ok=True, parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def test_reports_are_collected(demo, tmp_path):
    one, two = aw.teach.lesson(1, demo), aw.teach.lesson(1, demo)
    early = one.report("Ada")
    one["1.1"].check(0)
    one["1.1"].check(LESSONS[1].exercises["1.1"].answer(demo, one.examples).value)
    one["1.1"].hint()
    two["1.1"].solution()
    assert one.report("Ada").line() == "Ada: lesson 1 on demo: 1 of 1 right, 2 tries, 1 hint."
    assert two.report().line() == "lesson 1 on demo: 0 of 1 right, 0 tries, 0 hints; solutions shown: 1.1."
    assert json.loads(repr(early).splitlines()[1])["lesson"] == 1 and repr(early).splitlines()[1].startswith(MARK)
    saved(tmp_path / "ada.ipynb", early, one.report("Ada"))
    saved(tmp_path / "sub" / "böb.ipynb", two.report(), stream=True)
    saved(tmp_path / "none.ipynb")
    (tmp_path / "odd.ipynb").write_text(MARK, encoding="utf-8")
    found = aw.teach.collect(tmp_path).set_index("file")
    assert list(found.index) == ["ada.ipynb", "none.ipynb", "odd.ipynb", "sub/böb.ipynb"]
    ada, bob = found.loc["ada.ipynb"], found.loc["sub/böb.ipynb"]
    assert (ada["name"], ada.lesson, ada.asked, ada.right, ada.tries, ada.hints) == ("Ada", 1, "1.1", True, 2, 1)
    assert (bob.right, bob.tries, bob.solution) == (None, 0, True)
    assert "no report" in found.loc["none.ipynb"].note and "cannot be read" in found.loc["odd.ipynb"].note
    (tmp_path / "empty").mkdir()
    with pytest.raises(aw.AttribError, match="no notebook"):
        aw.teach.collect(tmp_path / "empty")
