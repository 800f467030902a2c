"""The reports of a class: every notebook of a folder, read without running it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..words.errors import AttribError
from .report import Done, read_reports

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["file", "name", "lesson", "model", *(f.name for f in fields(Done)), "note"]


def collect(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """What the notebooks of a folder report, a row for each exercise and covered picture.

    Of each lesson the last report in a notebook counts. A notebook without one, or that cannot be read, has one row
    whose ``note`` says so. Nothing is executed, and what a person wrote into a report by hand is believed.

    Args:
        folder: with the notebooks, at any depth.

    Returns:
        Columns ``file``, ``name``, ``lesson``, ``model``, ``asked``, ``right``, ``tries``, ``hints``, ``solution``,
        ``said`` and ``note``.

    Raises:
        AttribError: no such folder, or no notebook in it.
    """
    import pandas as pd

    home = Path(folder)
    paths = sorted(p for p in home.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
    if not paths:
        raise AttribError(f"There is no notebook in {home}.", "Name the folder that holds the notebooks of the class.")
    rows = [{"file": str(p.relative_to(home)), "note": "", **row} for p in paths for row in _rows(p)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n".join(_texts(cells))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        yield {"note": "cannot be read as a notebook"}
        return
    reports = {report["lesson"]: report for report in read_reports(text)}
    if not reports:
        yield {"note": "no report: the last cell was not run, or the notebook was not saved after it"}
    for _, report in sorted(reports.items()):
        known = {name: report.get(name, "") for name in ("name", "lesson", "model")}
        for done in report["done"]:
            yield {**known, **{f.name: done.get(f.name, f.default) for f in fields(Done) if isinstance(done, dict)}}


def _texts(cells: list[dict[str, Any]]) -> Iterator[str]:
    """What the cells printed or returned, as text."""
    for cell in cells:
        for output in cell.get("outputs", []):
            for found in (output.get("text"), output.get("data", {}).get("text/plain")):
                yield found if isinstance(found, str) else "".join(found or [])
