"""Numbers and tokens as people read them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attrib_widgets.words.text import (
    digits_for,
    enumerated,
    gap_said,
    number,
    others_label,
    percent,
    power,
    safe,
    share,
    signed,
    spelled,
    unspelled,
    visible,
)


def test_numbers_and_tokens_as_people_read_them():
    assert signed(2.714) == "+2.71"
    assert signed(-0.9) == "−0.90"
    assert visible(" Paris") == "·Paris"
    assert visible("a\nb\tc") == "a⏎b⇥c"
    assert visible("  ") != "  ", "a token of two spaces must be visible"
    assert not visible(" ").isspace()


def test_a_zero_that_rounds_from_below_is_not_minus_zero():
    assert signed(-0.0001) == signed(0.0001) == signed(0.0) == "0.00"


def test_the_minus_is_a_true_one_everywhere():
    assert number(-0.9) == "−0.90"
    assert number(2.714, 1) == "2.7"
    assert power(-4.2e-7) == "−4e−7"


def test_percents_are_printed_as_the_page_prints_them():
    """The page's test reads the same file."""
    table = json.loads((Path(__file__).parents[2] / "js" / "tests" / "percents.json").read_text(encoding="utf-8"))
    for value, part, of in table:
        assert (percent(value), share(value)) == (part, of), value
        assert "\u00a0%" in part and " " not in part, "the space does not break"
    assert percent(float("nan")) == "n/a"
    assert share(0.8342, 1) == "83.4\u00a0%"


def test_rows_left_out_are_counted():
    assert [others_label(n) for n in (1, 2)] == ["1 other", "2 others"]


def test_odd_bytes_are_printed_as_bytes_and_read_back():
    assert spelled("né 🤗".encode()) == "né 🤗"
    assert spelled("🤗".encode()[:2]) == "<0xF0 0x9F>"
    assert spelled(b" \xe4\xbd") == " <0xE4 0xBD>" and spelled(b"\xa4") == "<0xA4>"
    assert spelled("é".encode() + b"\xf0") == "é<0xF0>"
    for data in (b"\xf0", b" \xe4\xbd", b"a\xff\xfeb\x80", "é".encode() + b"\xf0"):
        assert unspelled(spelled(data)) == data
    for text in (" Paris", "", "<0x>", "<0xf0>", "<0xF0", "0xF0", "<0xF00>"):
        assert unspelled(text) is None


def test_what_cannot_be_seen_is_its_code():
    assert visible("\x1b[31m") == "\\u001b[31m" and visible("a\u200bb\u202e") == "a\\u200bb\\u202e"
    assert visible("\U000e0041") == "\\u{e0041}" and visible("\ud800") == "\\ud800"
    assert visible("né 中 👍 e\u0301") == "né 中 👍 e\u0301"
    assert safe("a\nb\x0cc\u2028d") == "a⏎b\\u000cc\\u2028d"
    assert safe("👨\u200d👩 85\u00a0%") == "👨\u200d👩 85\u00a0%", "what joins and what keeps together stays"


def test_digits_are_enough_for_the_largest_and_no_gap_reads_zero():
    for most in (5.0, 0.02, 0.0, 0.004, 3e-6, 9.99e-5, 1e-30):
        text = signed(most, digits_for(most))
        assert (text.strip("+0.") != "") == (most >= 1e-12), (most, text)
    assert digits_for(0.5) == 2 and digits_for(0.5, least=3) == 3 and digits_for(float("nan")) == 2
    assert (
        gap_said(9.563, "logits") == "a gap of 9.56 logits"
        and gap_said(-0.0041, "nats") == "a gap of \u22120.0041 nats"
    )


@pytest.mark.parametrize(
    ("names", "most", "said"),
    [([], 9, ""), (["A"], 9, "A"), (["A", "B"], 9, "A and B"), (list("ABCDE"), 3, "A, B, C and 2 more")],
)
def test_names_in_a_sentence(names, most, said):
    assert enumerated(names, most) == said
