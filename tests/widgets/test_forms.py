"""Every class of results in every form that needs no browser: the same rows, order, signs and digits, read back.

What the page shows of them is read in tests/browser/test_forms.py.
"""

from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd
import pytest

from attrib_widgets.result import render_html, render_svg, render_text
from attrib_widgets.widgets.transport import saving
from fixtures import forms
from fixtures.results import RESULTS, Given, classes


@pytest.fixture(scope="module")
def made(demo):
    """``made(name)`` is a result, made once."""
    given, kept = Given(demo), {}
    return lambda name: kept[name] if name in kept else kept.setdefault(name, RESULTS[name](given))


def test_every_class_is_there(made):
    """Whoever adds one adds its maker to tests/fixtures/results.py."""
    assert set(classes()) <= {type(made(name)) for name in RESULTS}


def signs(table):
    return ["m" if b < 0 else "p" for b in table.row_bars if b]


@pytest.mark.parametrize("name", RESULTS)
def test_static_html_has_the_rows_of_the_table(made, name):
    table = made(name).summary()
    found = forms.from_html(render_html(table))
    rows = [forms.plain(row[: len(table.columns)]) for row in found.rows]
    assert rows == [forms.plain(row) for row in table.rows]
    assert found.headings == (table.columns if any(table.columns) else [])
    assert found.signs == signs(table)
    said = [table.title, *table.note.splitlines(), *table.footer.splitlines()]
    assert forms.plain(found.paragraphs) == forms.plain(said)


@pytest.mark.parametrize("name", RESULTS)
def test_sanitised_html_says_the_same(made, name):
    """Where styles are stripped, sign, order and indentation are in the characters."""
    html = render_html(made(name).summary())
    bare = forms.sanitised(html)
    assert "style" not in bare and "class" not in bare
    whole, kept = forms.from_html(html), forms.from_html(bare)
    assert (kept.rows, kept.headings, kept.paragraphs) == (whole.rows, whole.headings, whole.paragraphs)
    table = made(name).summary()
    for row, bar in zip(table.rows, table.row_bars, strict=True):
        if bar is not None and bar < 0:
            assert any(forms.MINUS in cell for cell in row), f"{row}: the sign is in the bar alone"


@pytest.mark.parametrize("name", RESULTS)
def test_a_picture_has_the_rows_of_the_table(made, name):
    table = made(name).summary()
    found = forms.from_svg(render_svg(table), len(table.columns))
    assert [forms.plain(c.strip() for c in row) for row in found.rows] == [
        forms.plain(c.strip() for c in row) for row in table.rows
    ]
    assert found.signs == signs(table)


@pytest.mark.parametrize("name", RESULTS)
def test_printed_text_has_the_rows_of_the_table(made, name):
    table = made(name).summary()
    lines = forms.from_text(render_text(table), table.columns, len(table.rows))
    assert ["".join(line.split()) for line in lines] == ["".join("".join(row).split()) for row in table.rows]


@pytest.mark.parametrize("name", RESULTS)
def test_a_saved_table_is_the_dataframe(made, name):
    """Cell by cell, in its order; the widget saves the same."""
    result = made(name)
    text = saving.csv(result)
    assert result.view().saved("csv")["text"] == text
    rows = list(csv.reader(io.StringIO(text)))
    try:
        frame = result.to_dataframe()
    except TypeError:  # a result without rows of numbers: the cells that it prints
        table = result.summary()
        cells = [[c.strip() for c in row] for row in ([table.columns] if any(table.columns) else []) + table.rows]
        assert rows == cells
        return
    beside = len(rows[0]) - len(frame.columns)
    assert rows[0][beside:] == list(map(str, frame.columns)) and len(rows) == len(frame) + 1
    for cells, values in zip(rows[1:], frame.itertuples(index=False), strict=True):
        for cell, value in zip(cells[beside:], values, strict=True):
            if isinstance(value, float):
                assert cell == "" if value != value else float(cell) == pytest.approx(value, rel=1e-6)
            else:
                assert cell == ("" if value is None or value is pd.NA else str(value))


def values(frame):
    """Every number of a frame, and sums and means of every column by every other: a row may print what several hold."""
    numeric = frame.select_dtypes("number").astype(float)
    groups = [numeric.groupby(frame[name].map(repr)) for name in frame.columns]
    parts = [numeric, *(g.sum() for g in groups), *(g.mean() for g in groups)]
    found = np.concatenate([part.to_numpy().flatten() for part in parts])
    return found[~np.isnan(found)]


@pytest.mark.parametrize("name", RESULTS)
def test_a_bar_is_the_number_that_its_row_prints(made, name):
    """To the last digit, with its sign; and what a row prints is in the saved table, sums of others left out."""
    result = made(name)
    table = result.summary()
    try:
        frame = result.to_dataframe()
    except TypeError:
        return
    saved = values(frame)
    for row, bar in zip(table.rows, table.row_bars, strict=True):
        if bar is None:
            continue
        printed = [c for c in row if len(forms.numbers(c)) == 1]
        near = [c for c in printed if abs(forms.numbers(c)[0] - bar) <= 1.001 * forms.precision(c)]
        bounded = any(c.startswith("<") for c in printed)  # <0.1 %
        assert bounded or any((bar < 0) == (forms.MINUS in c) for c in near), f"{row} draws {bar}"
        if "others" not in row[0]:
            # what prints as 0.00 has no bar, and is a number all the same
            off = 1e-5 * (abs(bar) + 1e-3) if bar else max(forms.precision(c) for c in near)
            assert np.abs(saved - bar).min() <= off, f"{row} is not in the saved table"
