"""Colab, as far as it can be had here: its module is there, and the notebooks run beside it, in a kernel of their own.

`python3 tests/run.py --colab` runs this with Colab's versions. Of a lesson both versions run: what is to be answered is
run as the student finds it, and then answered.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ipywidgets
import nbformat
import pytest
from nbclient import NotebookClient

from attrib_widgets.teach.answers import UNANSWERED
from attrib_widgets.teach.choice import LOCKED
from fixtures.lessons import said, unshown

ROOT = Path(__file__).resolve().parents[1]
BOOKS = ROOT / "notebooks"
# With other versions than Colab's, whose ipywidgets is one of its signs, lessons run in steps of their own.
ITS_OWN = ipywidgets.__version__.startswith("7.")
NOTEBOOKS = [*sorted(BOOKS.glob("*.ipynb")), *(sorted(BOOKS.glob("read/*.ipynb")) if ITS_OWN else [])]
# What anywidget asks for when it is imported there. Whatever else is asked for is an error.
OUTPUT = """
asked = []


def enable_custom_widget_manager():
    asked.append("enable_custom_widget_manager")
"""
# Colab's kernel has imported its module before the first cell runs.
FIRST, LAST = "from google.colab import output as colabs", "colabs.asked"


def code_cells(path: Path) -> list[str]:
    cells = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    return [s for s in cells if not s.lstrip().startswith(("%pip", "!", "try:\n    import attrib_widgets\n"))]


def run(sources: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The cells as they are after they ran in a fresh kernel that has Colab's module and no network."""
    colab, work = folder / "path" / "google" / "colab", folder / "work"
    colab.mkdir(parents=True)
    work.mkdir()
    (colab / "__init__.py").touch()
    (colab / "output.py").write_text(OUTPUT, encoding="utf-8")
    path = [str(colab.parents[1]), str(ROOT / "tests" / "offline"), str(ROOT)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    cells = [nbformat.v4.new_code_cell(source) for source in [FIRST, *sources, LAST]]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(work)}}).execute()
    return list(notebook.cells[1:])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_cells_of_a_notebook_run_in_colab(path, tmp_path, monkeypatch):
    """Its widget manager is asked for once, and nobody has to."""
    read = code_cells(path)
    do = code_cells(BOOKS / "do" / path.name) if path.parent.name == "read" else read
    # what is to be answered is run as the student finds it, then answered
    sources = [s for ours, theirs in zip(read, do, strict=True) for s in dict.fromkeys((theirs, ours))]
    *ran, last = run(sources, tmp_path, monkeypatch)
    assert last.outputs[0].data["text/plain"] == "['enable_custom_widget_manager']"
    asking = [cell for cell in ran if cell.source.startswith("mine = ...")]
    assert len(asking) == sum(a != b for a, b in zip(read, do, strict=True)) and (read == do or len(asking) >= 2)
    for cell in asking:
        wanted = LOCKED if ".reveal(" in cell.source else UNANSWERED
        assert wanted in said(cell)
    if read != do:
        texts = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"]
        assert unshown(texts, ran) == [], "the numbers of the text are those of these versions, too"
