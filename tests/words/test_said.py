"""Every word that is printed, drawn or raised is in the glossary, or is declared everyday in fixtures/everyday.txt.

Whoever adds a word to the screen defines it, or adds it to the list.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from attrib_widgets.words.glossary import TERMS
from fixtures import strings
from fixtures.results import RESULTS, Given

LISTED = Path(strings.__file__).with_name("everyday.txt")
#: What these print is the words of others: names of families, stories, and the glossary itself.
OTHERS = ("glossary", "circuits built by hand", "supported")


@pytest.fixture(scope="module")
def everyday() -> set[str]:
    lines = LISTED.read_text(encoding="utf-8").splitlines()
    return {word for line in lines if not line.startswith("#") for word in line.split()}


@pytest.fixture(scope="module")
def said() -> dict[str, set[str]]:
    """Words by where they stand."""
    given = Given()
    made = (make(given) for name, make in RESULTS.items() if name not in OTHERS)
    found = {"results": strings.of_results(made), "errors": strings.of_errors(), "pages": strings.of_pages()}
    return {where: set().union(*map(strings.words, texts)) for where, texts in found.items()}


def explained() -> set[str]:
    return set().union(*(strings.words(name) | {name.lower()} for t in TERMS for name in (t.name, *t.also)))


@pytest.mark.parametrize("where", ["results", "errors", "pages"])
def test_every_word_is_explained_or_everyday(said, everyday, where):
    assert len(said[where]) > 200, "the strings were not found"
    missing = sorted(said[where] - explained() - everyday)
    assert missing == [], f"define these in words/glossary.py, or add them to {LISTED.name}"


def test_nothing_is_both_explained_and_listed(everyday):
    assert sorted(everyday & {name.lower() for t in TERMS for name in (t.name, *t.also)}) == [], "explained and listed"


def test_a_new_word_is_noticed(everyday):
    assert strings.words("The frobnication of L3H1 is +0.45") - explained() - everyday == {"frobnication"}
    assert strings.words("“hidden words” of `code` and a.call(x), after ·Paris") == {"of", "and", "after"}
