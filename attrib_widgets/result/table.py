"""A small table, as aligned text and as script-free HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..words.kinds import Kinds, owner
from ..words.text import safe

MAX_STATIC_BYTES = 20_000


@dataclass(frozen=True)
class Table:
    """A small table: what ``repr`` prints and the static HTML shows.

    ``bars`` holds one number per row (drawn as a signed bar in HTML) or None for rows without one. A cell is one line;
    what would break it, and every other control character, stands as its sign or its code. The ``last`` rows sum up the
    others and stay under them, however one sorts.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    bars: list[float | None] = field(default_factory=list)
    note: str = ""
    footer: str = ""
    last: int = 0

    def __post_init__(self) -> None:
        # Names and tokens are other people's: none may break its row, colour a terminal, or be without an encoding.
        for name in ("title", "note", "footer"):
            object.__setattr__(self, name, "\n".join(map(safe, getattr(self, name).split("\n"))))
        object.__setattr__(self, "columns", list(map(safe, self.columns)))
        object.__setattr__(self, "rows", [list(map(safe, row)) for row in self.rows])

    @property
    def row_bars(self) -> list[float | None]:
        """The bar of every row; None where ``bars`` has none for it, 0 where its number reads 0.00."""
        bars = [*self.bars, *[None] * (len(self.rows) - len(self.bars))]
        return [0.0 if b and _reads_zero(b, row) else b for b, row in zip(bars, self.rows, strict=False)]


def with_kinds(table: Table, kinds: Kinds) -> Table:
    """The table with a column behind its names that says what those parts are whose names alone would mislead; as it is
    where it names none of them. Of several columns of names each says so in its own cells."""
    holds = [i for i in range(len(table.columns)) if any(owner(row[i]) in kinds for row in table.rows)]
    if not holds:
        return table

    def short(cell: str) -> str:
        found = kinds.get(owner(cell))
        return "" if found is None else found.short

    if len(holds) > 1:
        told = [
            [f"{cell} ({said})" if i in holds and (said := short(cell)) else cell for i, cell in enumerate(row)]
            for row in table.rows
        ]
        return replace(table, rows=told)
    at = holds[0] + 1
    heading = "what it is" if any(table.columns) else ""
    rows = [[*row[:at], short(row[at - 1]), *row[at:]] for row in table.rows]
    return replace(table, columns=[*table.columns[:at], heading, *table.columns[at:]], rows=rows)


def render_text(table: Table) -> str:
    """The table as aligned plain text; the last column is right-aligned."""
    lines = [table.title]
    if table.note:
        lines.append(table.note)
    cells = [table.columns, *table.rows] if any(table.columns) else table.rows
    if cells:
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        last = len(widths) - 1
        for row in cells:
            parts = [c.rjust(w) if i == last else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
            lines.append("  " + "  ".join(parts).rstrip())
    if table.footer:
        lines.append(table.footer)
    return "\n".join(lines)


#: Pixels of the widest bar's column, and the colours of a bar above and below zero.
WIDTH, COLOURS = 160, {"p": "#0067A5", "m": "#B84E00"}
# Twice the class: JupyterLab aligns every cell of an output to the right, and its rule comes later.
_OWN = ".aw-static.aw-static"
_STYLE = (
    f"<style>{_OWN}{{font:14px/1.5 system-ui,sans-serif;color:inherit;overflow-x:auto}}"
    f"{_OWN} table{{font:inherit;border-collapse:collapse;font-variant-numeric:tabular-nums;margin:4px 0}}"
    f"{_OWN} td,{_OWN} th{{padding:1px 14px 1px 0;text-align:left;font-weight:400;border:0;background:none}}"
    f"{_OWN} td{{white-space:nowrap}}"
    f"{_OWN} th{{vertical-align:bottom}}"
    f"{_OWN} .n{{text-align:right}}"
    f"{_OWN} .b{{width:160px;min-width:80px;padding:0}}"
    f"{_OWN} i{{border-radius:2px}}"
    f"{_OWN} p{{margin:2px 0;max-width:60em}}"
    f"@media(prefers-color-scheme:dark){{{_OWN} .p{{background-color:#56B4E9!important}}"
    f"{_OWN} .m{{background-color:#E69F00!important}}}}</style>"
)


#: A number as it is printed; the page knows the same (``numberIn`` in table.tsx).
_NUMBER = re.compile(r"[<>]?[+\u2212-]?(\d[\d,]*)?(\d|\.\d+)(e[+\u2212-]?\d+)?\s?%?")


def zero_line(bars: Sequence[float | None]) -> tuple[float, float]:
    """Where 0 is, as a share of the width that all bars take together, and that width in their unit."""
    values = [0.0, *(b for b in bars if b is not None and b == b)]
    whole = (max(values) - min(values)) or 1.0
    return -min(values) / whole, whole


def spans(bars: Sequence[float | None]) -> list[tuple[float, float] | None]:
    """Where each bar begins and how long it is, in shares of the width, about one zero line; None for 0 and none."""
    zero, whole = zero_line(bars)
    return [(zero + min(b, 0.0) / whole, abs(b) / whole) if b and b == b else None for b in bars]


def numeric_columns(table: Table) -> list[bool]:
    """Which columns are set to the right: those of numbers, and the last one, as in text."""
    last = len(table.columns) - 1
    return [i == last or all(_number(row[i]) for row in table.rows) for i in range(len(table.columns))]


def _reads_zero(bar: float, row: Sequence[str]) -> bool:
    """Whether the cells that can be this number, to their last digit, all read 0: a bar would say more than they do."""
    texts = [text.strip() for text in row if _number(text) and text.strip()[:1] not in ("", "<", ">")]
    said = []
    for text in texts:
        digits, _, power = text.strip("+%\u00a0 ").replace("\u2212", "-").replace(",", "").partition("e")
        unit = 10.0 ** (int(power or 0) - len(digits.partition(".")[2])) / (100 if text.endswith("%") else 1)
        value = float(f"{digits}e{power or 0}") / (100 if text.endswith("%") else 1)
        said += [value] if abs(value - bar) <= 0.500001 * unit else []
    return bool(said) and not any(said)


def _cell(text: str, numeric: bool) -> str:
    # Leading spaces are indentation; where styles are stripped only characters keep it.
    body = text.lstrip(" ")
    return f"<td{' class=n' if numeric else ''}>{chr(160) * (len(text) - len(body))}{html.escape(body)}</td>"


def render_html(table: Table) -> str:
    """The table as script-free, themed HTML of at most 20 kB. Every text is escaped.

    The finding, the note, the table, the footer, in this order; signs, order and indentation are characters, so that
    they are there where a host strips styles.
    """
    numeric = numeric_columns(table)
    head = "".join(
        f"<th scope='col'{' class=n' if n else ''}>{html.escape(c)}</th>"
        for c, n in zip(table.columns, numeric, strict=True)
    )
    body: list[str] = []
    for row, span, bar in zip(table.rows, spans(table.row_bars), table.row_bars, strict=True):
        cells = "".join(_cell(c, n) for c, n in zip(row, numeric or [False] * len(row), strict=True))
        mark = ""
        if span is not None and bar is not None:
            left, width = (100 * part for part in span)
            colour = "m" if bar < 0 else "p"
            # Inline, in pixels and plain colours: all that JupyterLab leaves to a notebook that it does not trust.
            place = f"margin-left:{WIDTH * left / 100:.0f}px;width:{max(1.0, WIDTH * width / 100):.0f}px"
            look = f"background-color:{COLOURS[colour]};height:10px;display:block"
            mark = f"<i class={colour} style='{place};{look}'></i>"
        body.append(f"<tr>{cells}<td class=b>{mark}</td></tr>" if table.bars else f"<tr>{cells}</tr>")
    thead = f"<thead><tr>{head}{'<td></td>' if table.bars else ''}</tr></thead>" if any(table.columns) else ""
    title = html.escape(table.title)

    def page(rows: list[str], cut: str = "") -> str:
        return (
            f"<div class='aw-static'>{_STYLE}<p><b>{title}</b></p>"
            + _paragraphs(table.note)
            + (f"<table aria-label='{title}'>{thead}<tbody>{''.join(rows)}</tbody></table>" if rows else "")
            + _paragraphs(table.footer)
            + cut
            + "</div>"
        )

    text = page(body)
    while len(text.encode()) > MAX_STATIC_BYTES and body:
        body = body[: len(body) * 3 // 4]
        text = page(body, f"<p>first {len(body)} of {len(table.rows)} rows</p>")
    return text if len(text.encode()) <= MAX_STATIC_BYTES else ""


def _paragraphs(text: str) -> str:
    # Spaces that set parts of a line apart would collapse to one.
    return "".join(f"<p>{html.escape(line).replace('  ', chr(160) * 2)}</p>" for line in text.splitlines())


def _number(text: str) -> bool:
    """Whether a cell is a number, or empty."""
    return not text.strip() or bool(_NUMBER.fullmatch(text.strip()))
