"""What the Explorer asks: the answer rather than what the other prompt says, and what goes with a set of rows."""

from __future__ import annotations

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.analysis.attribution.attribute import attribute
from attrib_widgets.analysis.experiments.measuring.pairs import rivals_of
from attrib_widgets.demo import CORRUPTED, PROMPT, TARGET
from attrib_widgets.widgets import explore
from attrib_widgets.widgets.questions import contrast
from attrib_widgets.widgets.transport import wire
from attrib_widgets.words.errors import ComponentError
from attrib_widgets.words.targets import log_prob, logit, logit_diff

ALIKE = "A capital of France is"


def header(explorer):
    return wire.unpack(explorer.container)[0]


# the rival


def test_beside_a_comparison_the_rival_is_that_of_every_experiment(explorer, demo):
    a, other = explorer.attribution, explorer.corrupted
    found, _ = rivals_of([(explorer.run, other)], -1, [{demo.single_token(TARGET)}])
    assert a.target == logit_diff(TARGET, demo.token(found[0]))
    assert explorer.history[0].target == logit(TARGET), "the rival belongs to the comparison"
    h, arrays = wire.unpack(explorer.container)
    assert h["contrast"] == {
        "rival": {"text": " Berlin", "texts": [" Berlin"], "id": found[0]},
        "taken": True,
        "told": "Rather than \u00b7Berlin, the answer to the other prompt",
        "matched": "",
    }
    torch.testing.assert_close(
        torch.tensor(arrays["rival"]), attribute(explorer.run, " Berlin").values, rtol=1e-6, atol=1e-6
    )
    assert [s["id"] for s in h["shared"]] == [str(s.component) for s in a.shared()]
    assert [s["told"] for s in h["shared"]] == [str(s) for s in a.shared()]
    assert h["python"]["verify"] == f'aw.verify(a, "{CORRUPTED}"', "the target is a difference already"
    assert h["finding"]["text"].endswith(f"of {a.actual:.2f} logits") and "minus" in explorer.summary().title


def test_without_a_comparison_nothing_is_held_against_it(demo):
    explorer = explore(demo, PROMPT, TARGET, corrupted="")
    h, arrays = wire.unpack(explorer.container)
    assert explorer.attribution.target == logit(TARGET) and "rival" not in arrays
    assert "contrast" not in h and "shared" not in h
    explorer.ask(corrupted=CORRUPTED)
    assert explorer.attribution.target == logit_diff(TARGET, " Berlin")
    explorer.ask(corrupted="")
    assert explorer.attribution.target == logit(TARGET)
    explorer.close()


@pytest.mark.parametrize("nothing", [(), "", []])
def test_a_logit_by_itself_says_what_is_common(demo, nothing):
    explorer = explore(demo, PROMPT, TARGET, against=nothing, corrupted=CORRUPTED)
    assert explorer.attribution.target == logit(TARGET)
    h = header(explorer)
    assert h["contrast"]["rival"]["text"] == " Berlin" and not h["contrast"]["taken"]
    common = "of this gap is common to all tokens, whose logits change as much in the mean"
    assert h["contrast"]["told"].endswith(common) and h["contrast"]["told"] in explorer.summary().note
    assert h["python"]["verify"].endswith("against=()")
    v = explorer.verify("L4.mlp")
    assert v.rule.startswith(f"effects are shares of a gap of {v.gap:.2f} logits in the logit of “·Paris”;")
    explorer.close()


def test_the_way_to_nothing_and_back(explorer):
    explorer.ask(against="")
    assert explorer.attribution.target == logit(TARGET)
    explorer.ask(target=" Rome")
    assert explorer.attribution.target == logit(" Rome"), "it stays asked by itself"
    explorer.ask(against=header(explorer)["contrast"]["rival"]["id"])
    assert explorer.attribution.target == logit_diff(" Rome", " Berlin") and "contrast" not in header(explorer)
    explorer.ask("The capital of Japan is")
    assert explorer.attribution.target.against == (" Berlin",) and header(explorer)["contrast"]["taken"]


def test_another_comparison_has_another_rival_and_a_chosen_one_stays(explorer, demo):
    explorer.ask(corrupted="The capital of Italy is")
    assert explorer.attribution.target == logit_diff(TARGET, " Rome")
    explorer.ask(against=" Oslo")
    explorer.ask(corrupted=CORRUPTED)
    assert explorer.attribution.target == logit_diff(TARGET, " Oslo")
    explorer.ask(target=" Berlin", against="")
    explorer.ask(target=log_prob(TARGET))
    assert explorer.attribution.target == log_prob(TARGET), "of a log-probability nothing is missing"
    explorer.close()


def test_what_the_other_prompt_says_itself_is_no_rival(demo):
    explorer = explore(demo, PROMPT, " Berlin", corrupted=CORRUPTED)
    second = demo.run(CORRUPTED).top(2)[1].text
    assert explorer.attribution.target == logit_diff(" Berlin", second)
    assert "the likeliest other token after the other prompt" in header(explorer)["contrast"]["told"]
    explorer.close()


def test_answered_alike_no_rival_is_made_up(demo):
    explorer = explore(demo, PROMPT, TARGET, corrupted=ALIKE)
    assert explorer.attribution.target == logit(TARGET)
    h = header(explorer)
    said = "The other prompt is answered alike, \u00b7Paris: no rival is taken"
    assert h["contrast"] == {"rival": None, "taken": False, "told": said, "matched": CORRUPTED}
    assert said in explorer.summary().note
    explorer.ask(corrupted=h["contrast"]["matched"])
    assert explorer.attribution.target == logit_diff(TARGET, " Berlin"), "the matched prompt is answered otherwise"
    explorer.close()


@pytest.mark.parametrize("prompt", ["The capital of Spain is", "The capital of Kenya is"])
def test_a_matched_prompt_is_as_long_differs_in_a_word_and_is_answered_otherwise(demo, prompt):
    run = demo.run(prompt)
    found = demo.run(contrast._matched(run, run.n_positions - 1))
    assert found.n_positions == run.n_positions
    assert sum(a != b for a, b in zip(found.ids, run.ids, strict=True)) == 1
    assert found.top(1)[0].id != run.top(1)[0].id


def test_without_a_matched_prompt_it_says_what_a_good_one_is(demo):
    end = " The capital of France is"
    explorer = explore(
        demo, f"The capital of Germany is Berlin.{end}", corrupted=f"The capital of Poland is Warsaw.{end}"
    )
    c = header(explorer)["contrast"]
    assert c["matched"] == "" and c["rival"] is None and c["told"].endswith(contrast.GOOD)
    explorer.close()


def test_a_comparison_of_another_length_gives_a_rival_too(demo):
    longer = "When Mary and John went to the shop, John gave the bag to"
    explorer = explore(demo, PROMPT, TARGET, corrupted=longer)
    assert explorer.attribution.target == logit_diff(TARGET, demo.run(longer).top(1)[0].text)
    explorer.close()


def test_a_target_that_is_no_token_is_blamed_before_the_comparison(demo):
    with pytest.raises(aw.TargetError) as caught:
        explore(demo, PROMPT, " Paris and more", corrupted=CORRUPTED)
    assert caught.value.field == "target"


# a set of rows


def test_chosen_is_read_in_any_spelling_and_checked(explorer):
    explorer.chosen = ["L3H1", (3, 4), "l4 mlp", "L3H1"]
    assert explorer.chosen == ["L3H1", "L3H4", "L4.mlp"]
    explorer.chosen = "L2H5"
    assert explorer.chosen == ["L2H5"]
    for wrong in ("embed", "L9H9", "L2.mlp/3"):
        with pytest.raises(ComponentError):
            explorer.chosen = [wrong]
    assert explorer.chosen == ["L2H5"]
    explorer.set_state({"chosen": ["L3H1", "rounding"], "without": {"told": "forged"}})
    assert explorer.chosen == ["L2H5"] and explorer.without == {}
    explorer.set_state({"chosen": ["L3H1"]})
    assert explorer.chosen == ["L3H1"]
    explorer.chosen = []
    with pytest.raises(ComponentError, match="No parts were chosen"):
        explorer.chosen_result()


FIVE = ["L4.mlp", "L3H1", "L3H4", "L2H5", "L2H7"]


def test_the_answer_without_a_set_is_one_patch_of_one_pass(explorer, browser, demo):
    talk = browser(explorer)
    explorer.chosen = FIVE
    talk.say("w", "without", components=FIVE)
    assert talk.last("w")["kind"] == "result"
    expected = aw.patch(demo, PROMPT, CORRUPTED, TARGET, against=" Berlin", components=[FIVE], direction="noise")
    assert expected.cost.forwards == 1
    answer, share = expected.answer_of(expected.cells[0]), round(100 * float(expected.values[0]))
    told = f"without these 5 parts, as in the other prompt: {answer}; {share}\u00a0% of the gap goes"
    said = {"question": header(explorer)["question"], "components": FIVE, "told": told}
    assert {name: explorer.without[name] for name in said} == said and explorer.without["whole"] > 0
    assert torch.equal(explorer.chosen_result().values, expected.values)


def test_without_a_comparison_they_are_set_to_zero_and_that_is_said(demo):
    explorer = explore(demo, PROMPT, TARGET, corrupted="")
    explorer.chosen = FIVE
    found = explorer.chosen_result()
    expected = aw.ablate(demo, PROMPT, TARGET, components=[FIVE])
    told = explorer.without["told"]
    assert told.startswith("with these 5 parts set to zero (there is no prompt to compare with): ")
    assert told.endswith(f"{expected.answer_of(expected.cells[0])}; {expected.moved(expected.cells[0])}")
    assert torch.equal(found.values, expected.values)
    explorer.ask(corrupted="The capital of the old Germany is")
    explorer.chosen_result()
    assert "another length" in explorer.without["told"]
    explorer.ask(target=aw.neuron("L1N3"))
    with pytest.raises(aw.AttribError, match="no experiment"):
        explorer.chosen_result()
    explorer.close()


def test_parts_that_write_the_same_in_both_prompts_are_not_called_out_unless_they_are(demo):
    """The prompts differ at the country: what is read before it is the same, and a patch would leave everything."""
    explorer = explore(demo, PROMPT, TARGET, corrupted=CORRUPTED, position=2)
    explorer.chosen = FIVE
    found = explorer.chosen_result()
    told = explorer.without["told"]
    assert "set to zero (after the prompt to compare with they write the same): " in told
    expected = aw.ablate(demo, PROMPT, explorer.attribution.target, components=[FIVE], position=2)
    assert torch.equal(found.values, expected.values) and float(found.values[0]) != 0
    explorer.close()


@pytest.mark.parametrize("wrong", [5, None, 1.5])
def test_what_is_no_list_of_rows_says_so(explorer, wrong):
    with pytest.raises(ComponentError, match="names no rows"):
        explorer.chosen = wrong


def test_another_set_cancels_the_one_before_and_another_question_keeps_the_rows(explorer, browser, demo, monkeypatch):
    import threading

    from attrib_widgets.widgets.explorer import testing

    inside, opened, measure = threading.Event(), threading.Event(), testing.without

    def held(a, parts, corrupted=None, job=None):
        inside.set()
        assert opened.wait(20)
        return measure(a, parts, corrupted, job)

    monkeypatch.setattr(testing, "without", held)
    talk = browser(explorer)
    talk.say("a", "without", components=["L3H1"])
    assert inside.wait(20)
    talk.say("b", "without", components=["L3H1", "L3H4"])
    opened.set()
    assert talk.last("b")["kind"] == "result" and talk.last("a")["kind"] == "cancelled"
    assert explorer.without["components"] == ["L3H1", "L3H4"]
    explorer.chosen = ["L3H1", "L3H4"]
    explorer.ask(against="")
    assert explorer.chosen == ["L3H1", "L3H4"] and explorer.without == {}, "of another question nothing is told"


def test_the_page_brings_the_answer_along(explorer):
    explorer.chosen = FIVE
    traits = explorer.page_traits()
    assert traits["chosen"] == FIVE and traits["without"]["told"].startswith(
        "without these 5 parts, as in the other prompt: \u00b7Berlin"
    )


class Handle:
    """An output of a cell that is drawn again."""

    def __init__(self):
        self.shown = {}
        self.times = 0

    def update(self, data, raw):
        assert raw
        self.shown = data
        self.times += 1


def test_the_picture_follows_what_is_hidden_and_revealed(demo):
    explorer = explore(demo, PROMPT, TARGET)
    handle = Handle()
    explorer._stills.append(handle)
    explorer.hidden = ["values"]
    assert "Make your prediction" in handle.shown["text/plain"] and "Paris" not in handle.shown["text/html"]
    explorer.reveal()
    assert handle.shown["text/plain"] == repr(explorer) and "Make your prediction" not in handle.shown["text/html"]
    assert explorer.last_error == ""
    explorer.close()


def test_the_picture_is_drawn_once_for_what_changes_together(demo):
    explorer = explore(demo, PROMPT, TARGET, corrupted="The capital of Germany is")
    explorer.verify("L3H1")
    explorer.chosen = ["L3H1"]
    explorer.chosen_result()
    handle = Handle()
    explorer._stills.append(handle)
    explorer.ask("The capital of Japan is")
    assert handle.times == 1 and handle.shown["text/plain"] == repr(explorer)
    explorer.close()


def test_a_picture_that_is_too_large_for_a_notebook_is_its_text():
    view = aw.show.bars(["a"], [1], title="x" * 30_000).view()
    handle = Handle()
    view._stills.append(handle)
    view.hidden = ["sum"]
    assert set(handle.shown) == {"text/plain"} and view.last_error == ""


def test_a_comparison_with_the_same_tokens_is_the_prompt_itself(demo):
    for same in (PROMPT, demo.run(PROMPT), demo.run(PROMPT).ids):
        with pytest.raises(aw.AttribError, match="the prompt itself"):
            explore(demo, PROMPT, corrupted=same)


def test_a_prompt_of_several_lines_stays_in_its_sentence(family_model):
    model = family_model("gpt2")
    explorer = explore(model, "The capital\n\nof\x1b[31m", hidden=["values"])
    assert "\n" not in explorer.summary().title
    explorer.reveal()
    for text in (explorer.in_words(), explorer.saved("txt")["text"], *aw.compare(explorer, explorer).names()):
        assert "⏎" in text and not any(ord(c) < 32 for c in text)
    explorer.close()


def test_a_chosen_set_is_tested_as_a_circuit(explorer, browser):
    """With the embedding, at the cost that its button says, by the same call as in Python."""
    explorer.chosen = ["L4.mlp", "L3H1"]
    explorer.chosen_result()
    whole = explorer.without["whole"]
    talk = browser(explorer)
    talk.say("c", "circuit", components=["L4.mlp", "L3H1"])
    told = talk.last("c")["data"]
    found = explorer.circuit()
    assert found.labels == ["embed", "L4.mlp", "L3H1"]
    assert told["title"] == found.title() and told["rows"] == found.summary().rows
    a = explorer.attribution
    alone = aw.circuit(explorer.model, a.run, explorer.corrupted, ["embed", "L4.mlp", "L3H1"], a.target)
    assert alone.faithfulness == found.faithfulness
    assert found.cost.forwards <= whole
    explorer.chosen = []
    with pytest.raises(aw.AttribError, match="Nothing is chosen"):
        explorer.circuit()
    alone = aw.explore(explorer.model, "The capital of Japan is")
    alone.chosen = ["L4.mlp"]
    with pytest.raises(aw.AttribError, match="prompt to compare with"):
        alone.circuit()
