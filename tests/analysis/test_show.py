"""Arrays of one's own: every kind of array in, the same numbers out of table, view and figure."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import attrib_widgets as aw
from attrib_widgets.widgets.transport import wire
from attrib_widgets.words.errors import AttribError

TOKENS = ["The", " cat", " sat"]
PATTERN = np.tril(np.array([[1, 0, 0], [0.25, 0.75, 0], [0.2, 0.3, 0.5]]))
KINDS = [
    np.asarray,
    torch.tensor,
    lambda x: torch.tensor(x, dtype=torch.bfloat16, requires_grad=True),
    lambda x: np.asarray(x).tolist(),
    lambda x: np.asarray(x, dtype=np.float16)[..., ::1],
]


def sent(result):
    return wire.unpack(result.view().container)


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_of_array(kind):
    values = [1.5, -2.25, 0.5]
    for shown in (aw.show.bars(["a", "b", "c"], kind(values)), aw.show.tokens(TOKENS, kind(values))):
        assert shown.values.tolist() == values
        assert sent(shown)[1]["values"].tolist() == values
        assert shown.to_dataframe()["value"].tolist() == values
        assert "−2.25" in repr(shown) and shown.plot().axes
    grid = aw.show.grid(kind([values, values]), ["x", "y"])
    assert sent(grid)[1]["values"].tolist() == [values, values]
    assert grid.to_dataframe().loc["y", "1"] == -2.25


def test_a_total_and_its_mismatch():
    shown = aw.show.bars(["a", "b"], [1.0, 2.0], total=3.5, unit="logits")
    header, _ = sent(shown)
    assert (header["total"], header["parent_value"], header["gap"], header["own"]) == (3.0, 3.5, 0.5, True)
    assert "sum 3.0000 · total 3.5000 · mismatch 5e−1" in repr(shown)
    without, _ = sent(aw.show.bars(["a", "b"], [1.0, 2.0]))
    assert (without["parent"], without["gap"]) == ("", None)


def test_probabilities_print_as_such_and_other_numbers_as_they_are():
    plain = aw.show.attention(TOKENS, PATTERN)
    header, arrays = sent(plain)
    assert plain.probabilities and header["weighting"] == "probability" and header["heads"] == ["head 0"]
    assert arrays["patterns"].shape == (1, 3, 3) and np.allclose(arrays["patterns"][0], PATTERN, atol=5e-4)
    scores = aw.show.attention(TOKENS, np.stack([PATTERN * 4, -PATTERN]), heads=["L0H0", "L0H1"], unit="logits")
    header, arrays = sent(scores)
    assert (header["weighting"], header["unit"], header["title"]) == ("own", "logits", "Attention of 2 heads")
    assert np.allclose(arrays["patterns"], np.stack([PATTERN * 4, -PATTERN]))
    looked_ahead = np.full((3, 3), 1 / 3)
    assert np.allclose(sent(aw.show.attention(TOKENS, looked_ahead))[1]["patterns"], looked_ahead, atol=5e-4)
    rows = scores.to_dataframe()
    assert len(rows) == 18 and rows.iloc[-1].tolist() == ["L0H1", 2, 2, -0.5]
    assert scores.plot().axes and "·sat" in repr(scores)


def test_a_page_needs_no_model(tmp_path):
    page = aw.show.grid([[1, 2]], title="Mine </script>").view().to_html(tmp_path / "mine.html").read_text()
    assert "<h1" in page and json.dumps("</script>") not in page


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: aw.show.bars(["a"], [1, 2]), "names and values differ in length: 1 and 2"),
        (lambda: aw.show.bars("ab", [1, 2]), "not a list of texts"),
        (lambda: aw.show.bars(["a", "b"], [[1, 2]]), r"shape \[1, 2\].*\[bar\]"),
        (lambda: aw.show.bars(["a"], ["x"]), "no numbers"),
        (lambda: aw.show.bars(["a"], [float("nan")]), "NaN or infinite.*nan_to_num"),
        (lambda: aw.show.bars([], []), "at least one"),
        (lambda: aw.show.bars(["a"], [1 + 2j]), "no numbers: their type is complex128"),
        (lambda: aw.show.bars(["a"], torch.tensor([1 + 2j])), "no numbers: their type is complex64"),
        (lambda: aw.show.bars(["a"], np.array(["2020"], dtype="M8[D]")), "no numbers"),
        (lambda: aw.show.bars(["a"], torch.empty(1, device="meta")), "no numbers.*no data"),
        (lambda: aw.show.bars(["a"], [1e300]), "beyond float32"),
        (lambda: aw.show.bars(b"a", [1]), "a bytes, not a list"),
        (lambda: aw.show.bars({"a": 1}, [1]), "a dict, not a list"),
        (lambda: aw.show.bars(["a"], [1], total=[1]), r"shape \[1\]. Give one number.$"),
        (lambda: aw.show.tokens(TOKENS, [1, 2]), "tokens and values differ in length: 3 and 2"),
        (lambda: aw.show.attention(TOKENS, np.ones((2, 2))), r"shape \[2, 2\].*3 tokens.*\[3, 3\]"),
        (lambda: aw.show.attention(TOKENS, np.ones((1, 1, 3, 3))), r"\[head, destination, source\]"),
        (lambda: aw.show.attention(TOKENS, PATTERN, heads=["a", "b"]), "heads and weights differ in length: 2 and 1"),
        (lambda: aw.show.grid([1, 2]), r"\[row, column\]"),
        (lambda: aw.show.grid([[1, 2]], rows=["a", "b"]), "rows and values differ in length: 2 and 1"),
        (lambda: aw.show.grid(np.ones((200, 200))).view(), "too many to draw"),
        (lambda: aw.show.attention(["x"] * 1200, np.ones((8, 1200, 1200))).view(), "too much to draw"),
    ],
)
def test_what_cannot_be_shown_says_why(call, match):
    with pytest.raises(AttribError, match=match):
        call()


def test_small_numbers_do_not_read_zero_and_zero_does():
    shown = aw.show.bars(["a", "b"], [3e-6, -1.26e-5], total=-1e-5)
    assert "a  +0.000003" in repr(shown) and "b  \u22120.000013" in repr(shown)
    assert "sum \u22120.0000096 · total \u22120.0000100" in repr(shown)
    assert "0.00002" in repr(aw.show.grid([[2e-5, 0]])) and "0.00002" in repr(aw.show.tokens(["x"], [2e-5]))
    assert "a   0.00\n" in repr(aw.show.bars(["a"], [0]))


def test_probabilities_print_as_percentages_and_other_weights_do_not():
    assert "mat  33\u00a0%".replace("mat  ", "") in repr(aw.show.attention(TOKENS, np.full((3, 3), 1 / 3)))
    assert "%" not in repr(aw.show.attention(TOKENS, np.full((3, 3), -1 / 3)))


def test_names_may_come_in_any_list_and_be_any_text():
    import pandas as pd

    for names in (pd.Series(["a", "b"]), pd.Index(["a", "b"]), {"a": 1, "b": 2}.keys(), (c for c in "ab")):
        assert aw.show.bars(names, [1, 2]).names == ["a", "b"]
    shown = aw.show.bars(["\ud83d\ude00", "\ud800", "a\nb"], [1, 2, 3])
    assert shown.names == ["\U0001f600", "\ufffd", "a\nb"]
    for text in (repr(shown), *(shown.view().saved(form)["text"] for form in ("svg", "csv", "txt", "html"))):
        assert text.encode()
