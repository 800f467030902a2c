"""Words that a model never saw: which they are, where they stand, and that it is said."""

from __future__ import annotations

import shutil

import pytest

import attrib_widgets as aw
from attrib_widgets import demo
from attrib_widgets.demo.making import corpus, train
from attrib_widgets.model.text.known import FILE, read_words, unseen, unseen_note, words_in


@pytest.fixture(scope="module")
def model():
    return aw.load("demo")


def test_the_list_of_the_embedded_model_is_what_it_was_trained_on(model):
    assert model.known_words == words_in(train.words(train.Settings()))
    assert (demo.path() / FILE).stat().st_size < 10_000
    for text in (*train.contexts(train.Settings(seed=1, tokenizer_contexts=300)), *corpus.words()):
        assert words_in([text]) <= model.known_words, text


@pytest.mark.parametrize("task", [t for tasks in demo.tasks.values() for t in tasks])
def test_nothing_is_said_of_what_it_was_taught(model, task):
    for prompt in (task.prompt, task.corrupted):
        run = model.run(prompt)
        assert run.unseen == [] and run.notes == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mary had a little", {"had": " had", "little": " little"}),
        (
            "My favourite food is pizza because",
            {"My": "My", "favourite": " favourite", "food": " food", "pizza": " pizza"},
        ),
        ("The capital of france is", {"france": " france"}),
        ("Zoë likes the cat", {"Zoë": "Zoë", "likes": None}),
        ("The capital of 中国 is 🤗", {"中国": "中国", "🤗": "🤗"}),
        ("France's capital", {}),
        ("hello", {"hello": "hello"}),
    ],
)
def test_unseen_words_and_their_tokens(model, text, expected):
    run = model.run(text)
    found = {word: model.joined([run.ids[p] for p in at]) for word, at in run.unseen}
    for word, joined in expected.items():
        if joined is None:
            found.pop(word, None)
        else:
            assert found.pop(word).strip() == joined.strip(), "the tokens of a word are the word"
    assert found == {}
    assert bool(run.notes) == bool(run.unseen)


def test_words_are_found_whatever_their_tokens_are():
    """The slow twin: every byte of every word that is not known lies in a token that is named, and no other."""
    known = frozenset({"the", "is", "."})
    text = "the naïve 🤗 is the-end of 中国."
    data = text.encode()
    for size in (1, 2, 3, 5, len(data)):
        parts = [data[i : i + size] for i in range(0, len(data), size)]
        found = unseen(parts, known)
        assert [word for word, _ in found] == ["naïve", "🤗", "-", "end", "of", "中国"]
        for word, at in found:
            start = data.index(word.encode())
            assert at == sorted({b // size for b in range(start, start + len(word.encode()))})
    assert unseen([b"", b"the", b"", b"is"], known) == [], "a special token parts words"
    assert [word for word, _ in unseen([b"\xf0"], known)] == ["<0xF0>"]


def test_it_is_one_sentence_everywhere(model):
    run = model.run("Mary had a little")
    (note,) = run.notes
    assert note == (
        "demo never saw “had” and “little” in training, so its answer means little here; a larger model reads any "
        'text: aw.explore("gpt2", run.text)'
    )
    a = aw.attribute(run)
    assert a.notes[0] == note and note in repr(a) and note in repr(run)
    assert note in repr(aw.attribute(run, aw.phrase(" lamb")))
    assert aw.explore(model, "Mary had a little").attribution.notes == a.notes
    assert unseen_note("x", ["a"]).startswith("x never saw “a” in")
    assert unseen_note("x", ["a", "b", "a", "c", "d", "e"]).startswith("x never saw “a”, “b”, “c” and 2 others in")


def test_what_it_says_itself_is_not_what_was_asked(model):
    run = model.run("Mary had a little").generate(4)
    assert [word for word, _ in run.unseen] == ["had", "little"]


def test_any_folder_may_hold_a_list(tmp_path, family_model):
    folder = tmp_path / "own"
    shutil.copytree(demo.path(), folder, ignore=shutil.ignore_patterns("saes"))
    (folder / FILE).write_text("Mary\nhad\na\n", encoding="utf-8")
    assert [word for word, _ in aw.load(folder).run("Mary had a little").unseen] == ["little"]
    (folder / FILE).unlink()
    assert aw.load(folder).known_words is None and aw.load(folder).run("Mary had a little").notes == []
    assert read_words(None) is None
    assert family_model("gpt2").known_words is None and family_model("gpt2").run("hello").unseen == []
