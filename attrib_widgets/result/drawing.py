"""A table as a picture: one SVG with the finding, the rows as they are printed, their bars about one zero line."""

from __future__ import annotations

import html
import unicodedata

from ..words.text import safe
from .table import Table, numeric_columns, spans, zero_line

_SIZE, _LINE, _PAD = 13, 21, 18
_BARS = 220
_TITLE = 16
#: Longest line of running text, in characters.
_WIDE = 104
_STYLE = (
    "text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif;fill:#1b1f24}"
    ".g{fill:#fff}.t{font-size:16px;font-weight:600}.q{fill:#59636e}.p{fill:#0067A5}.m{fill:#B84E00}"
    ".z{stroke:#8b949e}"
    "@media(prefers-color-scheme:dark){text{fill:#e6e9ed}.g{fill:#111418}.q{fill:#9aa4ae}.p{fill:#56B4E9}"
    ".m{fill:#E69F00}}"
)


def render_svg(table: Table, foot: str = "") -> str:
    """The table as SVG text, light or dark with the reader's system; ``foot`` says where it is from.

    Rows, order, signs and digits are those of the table.
    """
    widths = [
        max([_width(row[c].strip(" ")) + 8 * _indent(row[c]) for row in table.rows] + [_width(name)])
        for c, name in enumerate(table.columns)
    ]
    right = numeric_columns(table)
    starts, at = [], float(_PAD)
    for width in widths:
        starts.append(at)
        at += width + 16
    bars_at = at
    running = [*_wrapped(table.note), *_wrapped(table.footer), *_wrapped(foot)]
    titles = _wrapped(table.title, 80)
    whole = max(
        bars_at + (_BARS if any(b is not None for b in table.row_bars) else 0),
        *(_width(line) for line in running),
        *(1.12 * _width(line) * _TITLE / _SIZE for line in titles),
        0.0,
    )
    out: list[str] = []
    y = float(_PAD)

    def text(line: str, kind: str, step: float) -> None:
        nonlocal y
        y += step
        out.append(f"<text x='{_PAD}' y='{y:.0f}' class='{kind}'>{_escaped(line)}</text>")

    for line in titles:
        text(line, "t", 22 if y > _PAD else 10)
    for line in _wrapped(table.note):
        text(line, "q", 19)
    y += 8
    if any(table.columns):
        y += _LINE
        out += [_cell(name, starts[c], widths[c], y, right[c], "q") for c, name in enumerate(table.columns)]
    bars, top = table.row_bars, y
    drawn = spans(bars)
    for row, span, bar in zip(table.rows, drawn, bars, strict=True):
        y += _LINE
        out += [_cell(cell, starts[c], widths[c], y, right[c], "") for c, cell in enumerate(row)]
        if span is not None and bar is not None:
            left, width = (_BARS * part for part in span)
            mark = f"x='{bars_at + left:.1f}' y='{y - 11:.0f}' width='{max(width, 0.5):.1f}' height='12' rx='2'"
            out.append(f"<rect {mark} class='{'m' if bar < 0 else 'p'}'/>")
    if any(drawn):
        zero = bars_at + _BARS * zero_line(bars)[0]
        out.append(f"<line x1='{zero:.1f}' x2='{zero:.1f}' y1='{top + 6:.0f}' y2='{y + 5:.0f}' class='z'/>")
    y += 6
    for line in (*_wrapped(table.footer), *_wrapped(foot)):
        text(line, "q", 19)
    width, height = whole + 2 * _PAD, y + _PAD
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:.0f} {height:.0f}' width='{width:.0f}' "
        f"height='{height:.0f}' role='img' aria-label='{_escaped(table.title)}'><style>{_STYLE}</style>"
        f"<rect width='100%' height='100%' class='g'/>{''.join(out)}</svg>"
    )


def _cell(text: str, start: float, width: float, y: float, right: bool, kind: str) -> str:
    named = f" class='{kind}'" if kind else ""
    if right:
        return f"<text x='{start + width:.0f}' y='{y:.0f}' text-anchor='end'{named}>{_escaped(text.strip(' '))}</text>"
    return f"<text x='{start + 8 * _indent(text):.0f}' y='{y:.0f}'{named}>{_escaped(text.strip(' '))}</text>"


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip(" "))


def _width(text: str) -> float:
    """About how wide a text is, in pixels; a font that is not the reader's cannot be measured here."""
    return sum(13.0 if unicodedata.east_asian_width(c) in "WF" else 4.2 if c in "il.,:;|' ·" else 7.8 for c in text)


def _wrapped(text: str, width: int = _WIDE) -> list[str]:
    """Lines of at most so many characters, broken at spaces."""
    lines: list[str] = []
    for line in text.splitlines():
        now = ""
        for word in line.split(" "):
            if now and len(now) + 1 + len(word) > width:
                lines.append(now)
                now = word
            else:
                now = f"{now} {word}" if now else word
        lines.append(now)
    return lines


def _escaped(text: str) -> str:
    # XML has no place for two characters that a text may hold.
    return html.escape(safe(text).replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")).replace("  ", "\xa0\xa0")
