"""The circuits that were built by hand: listed, loaded by name, and named wherever they are shown."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import transformers

import attrib_widgets as aw
from attrib_widgets.demo.built.builders import BUILDERS
from attrib_widgets.widgets.shapes import python

EVERY = [pytest.param(story, id=story.name) for story in aw.demo.circuits]
CALLED = "built by hand: demo:backup"


@pytest.fixture(scope="module")
def backup():
    return aw.load("demo:backup")


def test_the_list_is_a_table_and_imports_nothing_heavy():
    names = [story.name for story in aw.demo.circuits]
    assert names == list(BUILDERS) and len(set(names)) == len(aw.demo.circuits)
    assert {"backup", "suppression", "erasure", "or", "and", "chain", "many-hands"} <= set(names)
    assert all(f"demo:{name}" in repr(aw.demo.circuits) for name in names)
    frame = aw.demo.circuits.to_dataframe()
    assert frame["source"].tolist() == [f"demo:{name}" for name in names] and all(frame["story"].str.endswith("."))
    assert aw.demo.circuits["or"] is aw.demo.circuits["demo:or"]
    code = "import sys, attrib_widgets as aw; repr(aw.demo.circuits); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("story", EVERY)
def test_each_is_a_small_exact_model_that_asks_its_own_question(story):
    model = aw.load(story.source)
    assert isinstance(model.hf, transformers.PreTrainedModel) and model.check.ok and model.built is story
    assert model.name == story.source and repr(model).startswith(story.called)
    assert model.report().title.startswith(story.called) and model.card.startswith(f"# {story.called}\n")
    assert all(said in model.card for said in (story.story, story.verdict, story.why, story.prompt, story.corrupted))
    assert [tuple(s) for s in model.suggestions] == [(story.shows, story.prompt, story.target, story.corrupted)]
    e = aw.explore(model)
    assert (e.run.text, e.corrupted.text) == (story.prompt, story.corrupted) and e.attribution.exact
    assert e.run.top(1)[0].text == story.target


def test_it_is_named_wherever_it_is_shown(backup, tmp_path):
    e = aw.explore(backup)
    assert e.summary().title.startswith(f"{CALLED} · L0H0")
    hidden = aw.explore(backup, hidden=["values"])
    assert hidden.summary().title.startswith(f"{CALLED} · What comes after")
    header = e._container(e._now)
    assert CALLED.encode() in header
    page = e.to_html(tmp_path / "backup.html").read_text(encoding="utf-8")
    assert f"<title>{CALLED} · L0H0 " in page
    assert any(note.startswith(CALLED) for note in e.run.notes) and CALLED in repr(e.attribution)
    assert CALLED in repr(e.verify())


def test_copied_code_loads_it_again(backup):
    assert python.load(backup) == 'aw.load("demo:backup")'
    assert python.load(aw.load("demo:backup", dtype="bfloat16")) == 'aw.load("demo:backup", dtype="bfloat16")'
    again = aw.load(backup.hf, tokenizer=backup.tokenizer)
    assert again.built is backup.built and python.load(again) == python.load(backup)


def test_other_models_are_not_built_by_hand():
    model = aw.load("demo")
    assert model.built is None and repr(model).startswith("demo (") and "by hand" not in repr(model.run("The capital"))


@pytest.mark.parametrize("name", ["demo:nonsense", "demo:", "demo:Backup"])
def test_another_name_is_answered_with_those_there_are(name):
    with pytest.raises(aw.AttribError, match=rf"no circuit '{name}'.*demo:backup.*demo:soft-cap"):
        aw.load(name)
    with pytest.raises(aw.AttribError, match="demo:backup"):
        aw.demo.circuits[name]


def test_a_dtype_and_a_tokenizer_may_be_given(backup):
    assert aw.load("demo:backup", dtype="float16").dtype == torch.float16
    with pytest.raises(aw.AttribError, match="no floating-point dtype"):
        aw.load("demo:backup", dtype="int8")
    assert aw.load("demo:backup", tokenizer=backup.tokenizer).encode("Say Paris") == [0, 3]


def test_words_that_it_does_not_have_are_unknown(backup):
    assert backup.run("Say London once more").tokens == ["Say", "<unk>", " once", " more"]
    with pytest.raises(aw.TargetError, match="' London' is another token here: '<unk>'"):
        aw.attribute(backup.run("Say Paris once more"), " London")
