"""What every result shares: aligned text, a script-free static table of bounded size, and a safe fallback."""

from __future__ import annotations

from functools import singledispatch
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attrib_widgets.result import (
    MAX_STATIC_BYTES,
    Result,
    Slots,
    Table,
    render_html,
    render_svg,
    render_text,
    slots,
    view_of,
)
from attrib_widgets.result.table import numeric_columns, spans
from attrib_widgets.widgets.transport import wire
from attrib_widgets.words.errors import AttribError
from attrib_widgets.words.text import signed

HOSTILE = "</script><img src=x onerror=alert(1)>&amp;'\""


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.quiet = False

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.quiet = tag == "style"

    def handle_endtag(self, tag):
        self.quiet = False

    def handle_data(self, data):
        if not self.quiet:
            self.text += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    return reader


def table(rows: int = 3, text: str = " Paris") -> Table:
    return Table(
        title="Logit of “·Paris”",
        columns=["part", "logits"],
        rows=[[f"L0H{i}{text}", signed(i - 1.0)] for i in range(rows)],
        bars=[i - 1.0 for i in range(rows)],
        note="a note",
        footer="sum +1.00",
    )


def test_text_is_aligned_and_complete():
    lines = render_text(table(12)).splitlines()
    assert lines[0] == "Logit of “·Paris”"
    assert "a note" in lines
    assert lines[-1] == "sum +1.00"
    cells = [line for line in lines if line.startswith("  ")]
    assert len({len(line) for line in cells}) == 1, "the last column does not end in one place"


def test_static_html_is_script_free_and_escaped():
    html = render_html(table(text=HOSTILE))
    seen = read(html)
    assert not {"script", "img", "iframe", "object", "link"} & set(seen.tags)
    assert not [name for name, _ in seen.attributes if name.startswith("on") or name in ("src", "href")]
    assert HOSTILE in seen.text, "the hostile token must be readable as text"
    assert "http" not in html


def test_every_part_of_the_table_is_escaped():
    html = render_html(Table(HOSTILE, [HOSTILE], [[HOSTILE]], [1.0], note=HOSTILE, footer=HOSTILE))
    assert "img" not in read(html).tags
    assert read(html).text.count(HOSTILE) == 5


@pytest.mark.parametrize("rows", [0, 1, 100, 5_000])
def test_static_html_stays_small(rows):
    html = render_html(table(rows))
    assert 0 < len(html.encode()) <= MAX_STATIC_BYTES == 20_000
    if rows == 5_000:
        assert "of 5000 rows" in html, "a cut table must say that it was cut"


def test_rows_can_be_unequal_to_bars():
    assert "L0H2" in render_html(Table("t", ["a", "b"], [["L0H0", "1"], ["L0H2", "2"]], [None]))


@example([["", "..0"], ["", "1.2.3"]])
@given(st.lists(st.lists(st.text(max_size=8), min_size=2, max_size=2), max_size=6))
@settings(max_examples=60, deadline=None)
def test_any_text_renders(rows):
    made = Table("t", ["a", "b"], rows, [1.0] * len(rows))
    render_text(made)
    assert "script" not in read(render_html(made)).tags


class Made(Result):
    def summary(self) -> Table:
        return table()


def test_repr_is_the_table_and_starts_nothing():
    made = Made()
    assert repr(made) == render_text(table())
    assert made._view is None


def test_a_result_without_a_view_of_its_own_shows_its_table():
    made = Made()
    data, _ = made._repr_mimebundle_()
    assert data["text/plain"] == render_text(table()), "nothing failed, so there is nothing to explain"
    assert data["text/html"] == render_html(table())
    header, _ = wire.unpack(made.view().container)
    assert (header["title"], header["notes"], header["footer"]) == (table().title, ["a note"], ["sum +1.00"])
    assert (header["rows"], header["bars"]) == (table().rows, table().bars)


def test_what_is_no_result_has_no_view():
    with pytest.raises(AttribError, match="An int has no widget view"):
        view_of(1)


def test_without_styles_sign_order_and_indentation_are_there():
    """As GitHub and an untrusted notebook show it: no style, no class."""
    made = Table("t", ["part", "value"], [["L1.mlp", "+2"], ["  L0.mlp", "\u22121"]], [2.0, -1.0], "one\ntwo", "a   b")
    html = render_html(made)
    assert "<td>\u00a0\u00a0L0.mlp</td>" in html and html.index("L1.mlp") < html.index("L0.mlp")
    assert ">\u22121</td>" in html and "<p>one</p><p>two</p>" in html and "a\u00a0\u00a0 b" in html


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6), st.just(float("nan"))), max_size=8))
def test_bars_start_or_end_at_one_zero_line(bars):
    drawn = spans(bars)
    assert [s is None for s in drawn] == [b is None or b != b or b == 0 for b in bars]
    zeros = {
        round(left + width if b < 0 else left, 9) for b, s in zip(bars, drawn, strict=True) if s for left, width in [s]
    }
    assert len(zeros) <= 1
    for b, s in zip(bars, drawn, strict=True):
        if s:
            scale = max(abs(x) for x in bars if x is not None and x == x)
            assert 0 <= s[0] <= s[0] + s[1] <= 1 + 1e-9 and s[1] >= abs(b) / (2 * scale) - 1e-9


class Fake:
    made = 0

    def __init__(self):
        Fake.made += 1

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": "View()", "application/vnd.jupyter.widget-view+json": {"model_id": "1"}}, {"k": {"v": 1}}


class Seen(Made):
    pass


def test_the_view_is_made_once_and_its_metadata_passes_through():
    view_of.register(Seen, lambda result: Fake())
    made = Seen()
    first, second = made._repr_mimebundle_(), made._repr_mimebundle_()
    assert isinstance(first, tuple), "metadata of the widget must pass through"
    data, metadata = first
    assert Fake.made == 1, "shown twice, made twice"
    assert metadata == {"k": {"v": 1}}
    assert data["application/vnd.jupyter.widget-view+json"] == {"model_id": "1"}
    assert data["text/plain"] == render_text(table()), "the plain text is ours, not the widget's"
    assert second[0] == data


def test_with_empty_slots_a_result_is_its_table(monkeypatch):
    empty = Slots()
    bare = singledispatch(view_of.dispatch(object))  # as before any view was registered
    monkeypatch.setattr(slots, "view", lambda: bare)
    monkeypatch.setattr(slots, "figure", empty.figure)
    made = Made()
    assert set(made._repr_mimebundle_()) == {"text/plain", "text/html"}
    with pytest.raises(AttribError, match="Made"):
        made.view()
    with pytest.raises(TypeError, match="draws"):
        made.plot()


class Broken(Made):
    pass


def test_a_broken_view_never_breaks_the_table():
    def fail(result):
        raise RuntimeError("no comm here")

    view_of.register(Broken, fail)
    bundle = Broken()._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "no comm here" in data["text/plain"]
    assert data["text/html"]


def test_results_without_a_table_say_so():
    with pytest.raises((TypeError, NotImplementedError)):
        Result().summary()


BREAKING = ["\ud800", "a\nb", "\x1b[31mred", "\u202ecba", "\x00\x0c", "\u2028x\x85y", "<i onload='x'>\"", "👨\u200d👩"]


def test_no_text_breaks_its_row_its_terminal_or_its_file():
    table = Table(
        BREAKING[1], ["row", "\x1b["], [[t, "+1.00"] for t in BREAKING], [1.0] * 8, "one\ntwo\x07", BREAKING[0]
    )
    text, page, drawn = render_text(table), render_html(table), render_svg(table, BREAKING[2])
    lines = text.split("\n")
    assert len(lines) == 2 + 2 + 1 + len(BREAKING) + 1 and len(text.splitlines()) == len(lines)
    for made in (text, page, drawn):
        made.encode()
        assert not any(ord(c) < 32 and c != "\n" for c in made) and "\u202e" not in made and "\u2028" not in made
    cells = [e.text for e in ElementTree.fromstring(drawn).iter() if e.tag.endswith("text")]
    assert [c.strip() for row in table.rows for c in row] == cells[6 : 6 + 16], "the picture has the table's characters"
    assert page.count("<tr>") == 1 + len(BREAKING) and "onload='" not in page


@pytest.mark.parametrize(
    "cell", ["85\u00a0%", "<0.1\u00a0%", ">99.9\u00a0%", "\u22120.90", "4e-07", "−4e−7", "1,957", "+0.5", "7"]
)
def test_a_column_of_printed_numbers_is_set_to_the_right(cell):
    """In the middle too; and words, tokens and labels are not."""
    assert numeric_columns(Table("", ["", "x", "y"], [["a", cell, "b"]])) == [False, True, True]
    assert numeric_columns(Table("", ["", "x", "y"], [["a", f"L{cell}", "b"]])) == [False, False, True]
