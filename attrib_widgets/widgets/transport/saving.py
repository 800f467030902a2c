"""What a person takes away from a view: its picture, its table, and a paragraph that says what was done."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from csv import writer
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from typing import Any, get_args

from ...result import Result, Table, render_svg, studied, tabled
from ...words.errors import AttribError
from ...words.glossary import TERMS
from ...words.panels import Panel, panel
from ...words.text import safe
from ..shapes import contract

FORMS: tuple[contract.Form, ...] = get_args(contract.Form)
#: What numbers depend on.
PACKAGES = ("attrib_widgets", "nnsight", "torch", "transformers")


def versions(*names: str) -> str:
    """Names and versions of packages, as they are installed."""
    found: list[str] = []
    for name in names or PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:  # used from a folder that is not installed
            found.append(name)
    return ", ".join(found)


def asked(result: Any) -> tuple[str, str]:
    """The model and the prompt that a result is about; "" where it has none."""
    run = getattr(result, "run", None) or getattr(getattr(result, "attribution", None), "run", None)
    model = studied(result)
    return safe(str(getattr(model, "name", "") or "")), safe(str(getattr(run, "text", "") or ""))


def foot(result: Any) -> str:
    """Under a picture: model, prompt, versions."""
    model, prompt = asked(result)
    parts = [model, f"\u201c{prompt}\u201d" if prompt else "", versions("attrib_widgets")]
    return " \u00b7 ".join(part for part in parts if part)


def csv(result: Result | Table) -> str:
    """All rows of a result, or the cells of a table where a result has none.

    Raises:
        AttribError: pandas is not installed.
    """
    if isinstance(result, Result):
        try:
            frame = result.to_dataframe()
        except ModuleNotFoundError:
            raise AttribError("A table is saved with pandas.", "pip install pandas") from None
        except TypeError:
            return csv(tabled(result))
        counted = frame.index.equals(type(frame)(index=range(len(frame))).index)  # 0, 1, 2, ... says nothing
        return str(frame.to_csv(index=not counted or frame.index.name is not None))
    out = StringIO()
    rows = [result.columns, *result.rows] if any(result.columns) else result.rows
    writer(out, lineterminator="\n").writerows([cell.strip() for cell in row] for row in rows)
    return out.getvalue()


def paragraph(result: Result | Table) -> str:
    """What was asked of which model, what came, and with which versions: the finding and its table's own notes."""
    table = result if isinstance(result, Table) else result.summary()
    model, prompt = asked(result)
    of = f"Of {model}" if model else ""
    after = f"after \u201c{prompt}\u201d" if prompt else ""
    where = " ".join(part for part in (of, after) if part)
    said = [f"{where}: {table.title}" if where else table.title, *table.note.splitlines(), *table.footer.splitlines()]
    ended = (line.rstrip(" .:;") for line in said if line.strip())
    return (
        " ".join(line if line.endswith(("?", "!")) else f"{line}." for line in ended) + f" Computed with {versions()}."
    )


def named(table: Table, ending: str) -> str:
    """A file name from the finding."""
    words = re.sub(r"[^0-9A-Za-z]+", "-", table.title).strip("-").lower()
    return f"{words[:60].rstrip('-') or 'attrib'}.{ending}"


def meanings() -> contract.Meanings:
    """The glossary, for the page to look up the words that stand on it, and what each of its panels is."""
    return {
        "terms": [{"name": t.name, "also": [*t.also], "means": t.means, "read": t.read} for t in TERMS],
        "panels": {name: _helped(panel(name)) for name in get_args(contract.PanelName)},
    }


def _helped(p: Panel) -> contract.PanelHelp:
    return {"shows": p.shows, "read": p.read, "cannot": p.cannot, "next": p.next}


def saved(
    result: Result | Table, table: Table, form: Any, words: Callable[[], str], page: Callable[[], str]
) -> contract.Saved:
    """One form of what a view shows, as the page saves it.

    Args:
        result: what is shown.
        table: as it stands there.
        form: one of :data:`FORMS`.
        words: makes the paragraph.
        page: makes the offline page.

    Raises:
        AttribError: another form.
    """
    made: Mapping[str, Callable[[], str]] = {
        "svg": lambda: render_svg(table, foot(result)),
        "csv": lambda: csv(result),
        "txt": words,
        "html": page,
    }
    if form not in FORMS:
        raise AttribError(f"Nothing is saved as {form!r}.", f"The forms are {', '.join(FORMS)}.")
    return {"name": named(table, form), "text": made[form]()}
