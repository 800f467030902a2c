"""What a confused student answers: every exercise refuses it with one short sentence that helps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.teach.answers import UNANSWERED, Number, Part, unanswered
from attrib_widgets.teach.exercises import LESSONS

ROW = pd.Series({"component": "L0H1", "logits": 0.3})
NAMES = [(n, name) for n, outline in LESSONS.items() for name in outline.exercises]


@pytest.fixture(scope="module")
def answers():
    """The right ones, computed once."""
    demo, found = aw.load("demo"), {}

    def of(number, name):
        if name not in found:
            outline = LESSONS[number]
            found[name] = outline.exercises[name].answer(demo, outline.examples(demo))
        return found[name]

    return of


def numbers(right):
    per_cent = "in per cent" if right.unit == "of the gap" else "too "
    return [
        (f"{right.value:.2f}", "without quotation marks"),
        (f"{100 * right.value:.0f} %", "without quotation marks"),
        ("L3H1", "is text"),
        (-right.value, "the sign is not"),
        (1.1 * right.value, " too high"),
        (100 * right.value, per_cent),
        ([right.value], "Give one number alone"),
        (torch.zeros(3), "A Tensor holds 3 values"),
        (ROW, "A Series holds 2 values"),
        (True, "True is no number"),
        (float("nan"), "nan is no number"),
        (aw.attribute, "A function is no number"),
    ]


def parts(right):
    order = sorted(right.scores, key=lambda label: -right.scores[label])
    called = f"{right.kind.capitalize()}s are called “L3"
    return [
        (0.5, called),
        (7, called),
        ("layer 3 head 0", called),
        ("Paris", called),
        (torch.zeros(3), "A Tensor names no part. Give one, and it alone."),
        (ROW, "A Series names no part. Give one, and it alone."),
        ((right.value, 0.97), "Give one, and it alone."),
        (order[:2], "Give one, and it alone."),
        ("L1.mlp", f"is no {right.kind}"),
        ("L9H1" if right.kind == "head" else "L3.mlp/999999", "is not among"),
        (order[1], "which is number 2. Another one has more"),
    ]


def words(right):
    other = next(word for word in right.among if word != right.value)
    one_of = f"Choose one of “{next(iter(right.among))}”"
    return [
        ("yes", one_of),
        ("layer 4", one_of),
        (4, one_of),
        (0.5, one_of),
        (torch.zeros(3), "A Tensor is not a choice here"),
        (ROW, "A Series is not a choice here"),
        ([right.value], one_of),
        (other, f"Not “{other}”. "),
    ]


@pytest.mark.parametrize(("number", "name"), NAMES, ids=[name for _, name in NAMES])
def test_a_wrong_answer_hears_what_is_wrong_with_it(answers, number, name):
    right = answers(number, name)
    wrong = numbers if isinstance(right, Number) else parts if isinstance(right, Part) else words
    for given, said in wrong(right):
        found = right.judge(given)
        assert found.right is False and said in repr(found), (given, found)
        assert len(repr(found)) < 260 and "\n" not in repr(found) and repr(found).endswith((".", "?"))
    for given in (None, ..., "", "  "):
        assert repr(unanswered(given)) == UNANSWERED


@pytest.mark.parametrize(("number", "name"), NAMES, ids=[name for _, name in NAMES])
def test_a_right_answer_may_be_written_otherwise(answers, number, name):
    right = answers(number, name)
    value = right.value
    if isinstance(right, Number):
        written = [round(value, 2), np.float32(value), torch.tensor(value)]
    elif isinstance(right, Part):
        written = [value.lower(), f" {value} ", aw.component(value)]
    else:
        written = [value.upper(), f"“{value}”", f" {value}"]
    assert all(right.judge(one) for one in written)


def test_a_verdict_may_be_given_whole():
    demo = aw.load("demo")
    lesson = aw.teach.lesson(5, demo)
    a = lesson.second.attribution(demo)
    head = str(a.top(1, kind="head")[0][0])
    assert lesson["5.1"].check(aw.verify(a, corrupted=lesson.second.other, components=head)[head])
