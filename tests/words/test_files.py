"""Text files that people keep beside their weights: UTF-8, or an error that names the file and the remedy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import attrib_widgets as aw
from attrib_widgets import demo
from attrib_widgets.model.suggestions import read_suggestions
from attrib_widgets.model.text.known import read_words
from attrib_widgets.saes.cards import LABELS, Cards
from attrib_widgets.saes.folders import read_texts
from attrib_widgets.saes.formats.files import settings
from attrib_widgets.words.files import read_text

LATIN = "Zürich caf\xe9".encode("latin-1")


def readers(folder: Path):
    """Every text file that is read from a folder of a person's own: its name, and what reads it."""
    shutil.copytree(demo.path() / "saes" / "L0", folder / "cards")
    return {
        "words.txt": lambda: read_words(folder),
        "suggestions.json": lambda: read_suggestions(folder),
        "README.md": lambda: aw.model.loading.read_card(str(folder), "mine"),
        "texts.txt": lambda: read_texts(folder / "texts.txt"),
        "texts.json": lambda: read_texts(folder / "texts.json"),
        "cfg.json": lambda: settings(folder / "cfg.json"),
        f"cards/{LABELS}": lambda: Cards.read(folder / "cards"),
    }


NAMES = ("words.txt", "suggestions.json", "README.md", "texts.txt", "texts.json", "cfg.json", f"cards/{LABELS}")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_in_another_encoding_is_named_with_the_remedy(tmp_path: Path, name: str):
    known = readers(tmp_path)
    assert tuple(known) == NAMES
    (tmp_path / name).write_bytes(LATIN)
    with pytest.raises(aw.AttribError) as caught:
        known[name]()
    assert f"{tmp_path / name} is no text in UTF-8: byte 1 is 0xFC. Save it as UTF-8" in str(caught.value)


def test_an_adapter_that_is_no_text_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "adapter_config.json").write_bytes(LATIN)
    monkeypatch.setattr(aw.model.loading, "find_spec", lambda name: object())
    with pytest.raises(aw.AttribError, match=r"adapter_config\.json is no text in UTF-8"):
        aw.load(str(tmp_path))


def test_a_mark_in_front_is_no_part_of_the_text(tmp_path: Path):
    file = tmp_path / "words.txt"
    file.write_bytes("\ufeffZürich\n".encode())
    assert read_text(file) == "Zürich\n" and read_words(tmp_path) == {"Zürich"}
    with pytest.raises(aw.AttribError, match=r"nothing\.txt cannot be read: No such file"):
        read_text(tmp_path / "nothing.txt")


def test_the_model_says_so_where_its_words_are_asked_for(tmp_path: Path):
    folder = shutil.copytree(demo.path(), tmp_path / "mine", ignore=shutil.ignore_patterns("saes"))
    (folder / "words.txt").write_bytes(LATIN)
    with pytest.raises(aw.AttribError, match=r"words\.txt is no text in UTF-8"):
        print(aw.load(str(folder)).run("The capital of France is"))
