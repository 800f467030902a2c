"""Names that explain themselves: every kind of row, and the same words on the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attrib_widgets.words.components import _FORMS, SINGLE_KINDS, component, described

NAMES = Path(__file__).parents[2] / "js" / "tests" / "names.json"


def test_the_page_says_the_same() -> None:
    """``js/tests/names.test.ts`` holds the page's function to the same file."""
    table = json.loads(NAMES.read_text(encoding="utf-8"))
    assert {label: described(label) for label in table} == table
    assert {component(label).kind for label in table} == {*_FORMS, *SINGLE_KINDS}


def test_a_head_is_named_as_in_the_chapter() -> None:
    assert described("7.4") == described("L7H4") == "L7H4: head 4 of layer 7, the chapter’s Head 7.4; counting from 0"


@pytest.mark.parametrize("text", ["", "sum", "12 others", "\u00b7Paris"])
def test_what_names_no_part_has_no_words(text: str) -> None:
    assert described(text) == ""
