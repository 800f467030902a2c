"""An attribution in sentences: their numbers add up, and no sentence says more than was asked, held or tested."""

from __future__ import annotations

import re

import pytest

import attrib_widgets as aw
from attrib_widgets.words.errors import AttribError
from attrib_widgets.words.text import digits_for, number


@pytest.fixture(scope="module")
def demo():
    return aw.load("demo")


def numbers(text):
    return [float(n.replace("\u2212", "-")) for n in re.findall(r"[+\u2212]\d+\.\d\d", text)]


def sentence(told, start):
    return next(s for s in re.split(r"(?<=\.) (?=[A-Z])", told) if s.startswith(start))


def test_words_and_constants_are_the_number():
    """Of a circuit whose MLP has a threshold: the words alone carry four times the number."""
    a = aw.attribute(aw.load("demo:and").run("Say Paris once more"), aw.logit_diff(" Paris", " nothing"))
    said = sentence(a.in_words(), "By the words")
    assert "attention, norms and the gates of MLPs held" in said and "constants" in said
    assert sum(numbers(said)) == pytest.approx(a.actual, abs=0.011)


def test_of_a_part_that_is_not_opened_no_word_is_named(family_model):
    model = family_model("mixtral")
    a = aw.attribute(model.run([1, 2, 3, 4]), 5)
    assert not a.token_totals().opened
    told = a.in_words()
    assert "By the words" not in told and "By where in the prompt it was written" in told


@pytest.mark.parametrize("target", [aw.neuron("L1.n3"), aw.score("L1H1", 2)])
def test_a_number_inside_the_model_is_not_so_many_of_itself(family_model, target):
    a = aw.attribute(family_model("gpt2").run([1, 2, 3]), target)
    assert f"is {f'{a.actual:.2f}'.replace('-', chr(0x2212))}. The largest" in a.in_words()


def test_what_was_never_written_is_not_what_wrote_it(demo):
    sure = aw.attribute(demo.run("The capital of France is"), aw.log_prob(" Paris"))
    assert str(sure.top(1)[0][0]) == "entropy" and "entropy" not in sure.in_words()
    assert (
        f"is {number(sure.actual, digits_for(sure.actual))} nats" in sure.in_words() and "0.00 " not in sure.in_words()
    )


def test_probabilities_read_as_everywhere_and_a_beginning_has_no_prompt(family_model):
    sure = aw.attribute(aw.load("demo:suppression").run("Say Paris once more"))
    assert "(>99.9\u00a0%)" in sure.in_words()
    assert "of 100" not in sure.in_words() and "(100.0" not in sure.in_words()
    first = aw.attribute(family_model("llama").run("The capital"), position=0)
    assert first.in_words().startswith("At the beginning the model says")


def test_one_part_is_no_sum_of_several():
    a = aw.attribute(aw.load("demo:sole-path").run("Say Paris once more"), aw.logit_diff(" Paris", " Berlin"))
    assert "The largest direct contribution is L0H0 +8.48 of 8.48 logits." in a.in_words()


def test_verdicts_on_something_else_are_refused(demo):
    run, other = demo.run("The capital of France is"), demo.run("The capital of Germany is")
    a = aw.attribute(run, " Paris")
    found = aw.verify(a, other, top=2)
    assert found.title() in a.in_words(found)  # held against a rival there, and not here
    for one in (aw.attribute(other, " Berlin"), aw.attribute(run, " Berlin"), aw.attribute(run, " Paris", position=3)):
        with pytest.raises(AttribError, match="another prompt, token or position"):
            one.in_words(found)
    with pytest.raises(AttribError, match="A str holds no verdicts"):
        a.in_words("needed")


def test_what_was_tested_together_is_not_called_untested(demo):
    explorer = aw.explore(demo, "The capital of France is", corrupted="The capital of Germany is")
    explorer.verify(top=2)
    assert "very other part is observed" not in explorer.in_words()
