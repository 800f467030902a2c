"""A type in a sentence has the article that is spoken, and no message guesses it."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict, UserDict
from pathlib import Path

import numpy as np
import pytest

import attrib_widgets
from attrib_widgets.words.text import indefinite, kind_of


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "an int"),
        (0.5, "a float"),
        ([], "a list"),
        (None, "a NoneType"),
        (OrderedDict(), "an OrderedDict"),
        (Counter(), "a Counter"),
        (UserDict(), "a UserDict"),
        (np.uint8(1), "a uint8"),
        (np.add, "a ufunc"),
        (np.zeros(2), "an ndarray"),
        (OSError(), "an OSError"),
        (EOFError(), "an EOFError"),
    ],
)
def test_a_type_has_the_article_that_is_spoken(value, said):
    assert kind_of(value) == said and kind_of(value, start=True) == said[0].upper() + said[1:]


def test_articles_of_words():
    said = ["an SAE", "an MLP", "a GPT2Model", "a Unigram", "an uninstalled", "a unit", "a one", "an Olmo", "a euro"]
    assert [indefinite(words.split()[1]) for words in said] == said


def test_no_message_guesses_the_article_of_a_type():
    """``kind_of`` and ``indefinite`` know it."""
    guessed = re.compile(r"\b[Aa]n? \{(type\(|[a-z_.]*(kind|method|architecture)\})")
    for path in Path(attrib_widgets.__file__).parent.rglob("*.py"):
        assert not guessed.search(path.read_text(encoding="utf-8")), path
