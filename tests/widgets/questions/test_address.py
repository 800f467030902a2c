"""A screen as a line: written, read and opened again it is the same screen, wherever one looks."""

from __future__ import annotations

import itertools
import warnings
from urllib.parse import parse_qs, quote_plus

import pytest

import attrib_widgets as aw
from attrib_widgets.demo import CORRUPTED, PROMPT
from attrib_widgets.widgets.questions.address import FIELDS, MODES, TABS, Address
from attrib_widgets.words.errors import AttribError

QUESTIONS = {
    "the first one": lambda m: aw.explore(m),
    "no comparison": lambda m: aw.explore(m, "The capital of Japan is"),
    "the logit alone": lambda m: aw.explore(m, PROMPT, " Paris", corrupted=CORRUPTED, against=()),
    "another rival": lambda m: aw.explore(m, PROMPT, " Paris", against=" Rome", corrupted=CORRUPTED),
    "sets": lambda m: aw.explore(m, PROMPT, aw.logit_diff([" Paris", " Rome"], [" Berlin", " Madrid"])),
    "nats": lambda m: aw.explore(m, PROMPT, aw.log_prob(" Paris")),
    "centred": lambda m: aw.explore(m, PROMPT, aw.logit(" Paris").centered()),
    "a neuron": lambda m: aw.explore(m, PROMPT, aw.neuron("L1N7", position=4)),
    "a feature": lambda m: aw.explore(m, PROMPT, aw.feature("L2/9", position=4)),
    "a feature of heads": lambda m: aw.explore(m, PROMPT, aw.feature("L3.z/113")),
    "a feature of an MLP": lambda m: aw.explore(m, PROMPT, aw.feature("L1.mlp/5")),
    "a score": lambda m: aw.explore(m, PROMPT, aw.score("L3H1", query=5, key=4)),
    "a score against another": lambda m: aw.explore(m, PROMPT, aw.score("L3H1", query=5, key=4, against=1)),
    "another position": lambda m: aw.explore(m, PROMPT, position=3),
    "ids": lambda m: aw.explore(m, m.encode(PROMPT)[1:]),
    "odd text": lambda m: aw.explore(m, "a&b=c #? \u00e9 + %20", corrupted=None),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_opens_again(demo, name):
    first = QUESTIONS[name](demo)
    line = first.state
    again = aw.explore(demo, state=line)
    assert again.state == line and line.isascii()
    assert again.run.ids == first.run.ids and again.attribution.position == first.attribution.position
    assert again.attribution.actual == first.attribution.actual
    assert (again.corrupted is None) == (first.corrupted is None)
    if first.corrupted is not None:
        assert again.corrupted.ids == first.corrupted.ids


COMPARISONS = ("the first one", "no comparison", "the logit alone", "another rival", "nats", "another position")


@pytest.mark.parametrize("name", COMPARISONS)
def test_every_mode_tab_part_and_pin(demo, name):
    """A screen is opened from its line, and every other screen on the same question is gone to by its line."""
    explorer = QUESTIONS[name](demo)
    number = explorer.attribution.features("L3H1").numbers[0]
    places = [("", -1), ("L3H1", -1), ("L3H1", 3), ("L1.mlp", -1), ("embed", -1), (f"L3H1/{number}", -1)]
    again = None
    for (part, source), tab, mode, pins in itertools.product(places, TABS, MODES, ([], ["L3H1", "L4.mlp"])):
        explorer.selected, explorer.source = part, source
        explorer.showing, explorer.chosen = {"tab": tab, "mode": mode}, pins
        line = explorer.state
        again = again or aw.explore(demo, state=line)
        again.look(Address.read(line))
        assert (again.selected, again.source, again.chosen) == (part, source, pins)
        assert (again.showing, again.state) == ({"tab": tab, "mode": mode}, line)


@pytest.mark.parametrize(
    ("showing", "match"),
    [
        ({"tab": "zzz"}, "no tab 'zzz'.*tokens, pattern, why"),
        ({"mode": "tree"}, "no mode 'tree'"),
        ({"order": "map"}, "no 'order'.*a tab and a mode"),
    ],
)
def test_what_is_shown_is_checked_from_both_sides(demo, showing, match):
    explorer = aw.explore(demo)
    explorer.showing = {"tab": "why"}
    assert explorer.showing == {"tab": "why", "mode": "size"}
    with pytest.raises(AttribError, match=match):
        explorer.showing = showing
    explorer.set_state({"showing": showing})
    assert explorer.showing == {"tab": "why", "mode": "size"}


def test_it_is_written_to_be_read(demo):
    explorer = aw.explore(demo)
    explorer.selected = "L3H1"
    assert explorer.state == (
        "model=demo&prompt=The+capital+of+France+is&answer=+Paris&rival=+Berlin&compared=The+capital+of+Germany+is"
        "&part=L3H1"
    )
    assert set(parse_qs(explorer.state)) < set(FIELDS)


def test_it_can_be_set_and_edited(demo):
    explorer = aw.explore(demo)
    explorer.state = "#prompt=The+capital+of+Japan+is&part=L3H4&mode=map"  # as it was called before 0.2
    assert explorer.run.text == "The capital of Japan is" and explorer.selected == "L3H4" and explorer.corrupted is None
    assert explorer.showing == {"tab": "", "mode": "heads"}
    assert "answer=+Tokyo" in explorer.state


def test_a_circuit_built_by_hand_is_loaded_by_its_name():
    line = aw.explore("demo:backup").state
    assert line.startswith("model=demo%3Abackup&") and aw.explore(state=line).state == line


def test_a_folder_is_loaded_by_its_path(tmp_path, family_model, monkeypatch):
    model = family_model("gpt2")
    monkeypatch.setattr(model.hf, "name_or_path", str(tmp_path))
    assert f"model={quote_plus(str(tmp_path))}&" in aw.explore(model, "The capital").state
    beside = tmp_path.parent / "notebooks"
    beside.mkdir()
    monkeypatch.chdir(beside)
    assert aw.explore(model, "The capital").state.startswith(f"model={quote_plus('../' + tmp_path.name)}&")
    monkeypatch.chdir(tmp_path.parent)
    line = aw.explore(model, "The capital").state
    assert line.startswith(f"model={tmp_path.name}&")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert aw.explore(model, state=line).state == line


def test_another_model_is_said(demo):
    with pytest.warns(UserWarning, match=r"of 'gpt2'; it is opened with demo"):
        aw.explore(demo, state="model=gpt2&prompt=The+capital+of+France+is")
    explorer = aw.explore(demo)
    with pytest.warns(UserWarning, match=r"of 'gpt2'; it is opened with demo"):
        explorer.state = "model=gpt2&prompt=The+capital+of+France+is"


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("", "no state"),
        (7, "no state"),
        ("prompt=a&Part=L3H1", "no field 'Part'.*part"),
        ("prompt=The+capital&mode=tree", "no mode 'tree'.*size, order, heads, concepts, trace"),
        ("prompt=The+capital&tab=zzz", "no tab 'zzz'.*tokens, pattern, why"),
        ("prompt=The+capital&position=last", "'last', no whole number"),
        ("prompt=The+capital&part=L9H9", "not a row"),
        ("ids=1,x", "no whole number"),
        ("prompt=The+capital&score=L3H1", "no score.*head, query, key, side"),
        ("prompt=The+capital&score=L3H1,1,0,query,x", "'x', no whole number"),
        ("prompt=The+capital&answer=+of&unit=bits", "no unit 'bits'.*nats, centred logits"),
        ("prompt=The+capital&rival=+of", "names its answer, too"),
        ("prompt=The+capital&pins=embed", "no row that can be taken out"),
        ("prompt=The+capital&source=9", "outside the prompt"),
    ],
)
def test_what_cannot_be_read_changes_nothing(demo, line, match):
    explorer = aw.explore(demo)
    before = explorer.state
    with pytest.raises(AttribError, match=match):
        aw.explore(demo, state=line)
    with pytest.raises(AttribError, match=match):
        explorer.state = line
    assert explorer.state == before and len(explorer.history) == 1


def test_what_a_line_leaves_out_is_not_taken_from_the_screen(demo):
    lines = (
        f"prompt={PROMPT}&position=3",
        f"prompt={PROMPT}&answer=+Paris",
        f"prompt={PROMPT}&answer=+Paris&unit=nats",
    )
    for before, line in itertools.permutations(lines, 2):
        explorer = aw.explore(demo, state=before)
        explorer.state = line
        assert explorer.state == aw.explore(demo, state=line).state


def test_a_state_stands_alone(demo):
    with pytest.raises(AttribError, match="names its own question"):
        aw.explore(demo, "Another prompt", state="prompt=a")


def test_what_comes_after_the_words_that_follow_is_a_state_of_its_own(demo):
    explorer = aw.explore(demo, PROMPT, corrupted="")
    explorer.generate(3)
    explorer.ask(position=-1)
    again = aw.explore(demo, state=explorer.state)
    assert again.state == explorer.state and again.attribution.position == explorer.run.n_positions - 1
    with pytest.raises(AttribError, match="begins where its prompt ends"):
        aw.explore(demo, PROMPT, aw.phrase(" Paris"), position=2)
