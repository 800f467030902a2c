"""Colab, as far as it can be had here: its module is there, and the cells of the notebooks run beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
# What anywidget asks for when it is imported there. Whatever else is asked for is an error.
FAKE = """
import sys, types
asked = []
google, colab, output = map(types.ModuleType, ("google", "google.colab", "google.colab.output"))
google.__path__, colab.__path__, google.colab, colab.output = [], [], colab, output
output.enable_custom_widget_manager = lambda *a, **k: asked.append("enable_custom_widget_manager")
sys.modules |= {"google": google, "google.colab": colab, "google.colab.output": output}
"""
SHELL = """
from IPython.testing.globalipapp import start_ipython
shell = start_ipython()
for source in sources:
    result = shell.run_cell(source)
    result.raise_error()
assert asked == ["enable_custom_widget_manager"], asked
"""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_cells_of_a_notebook_run_in_colab(path: Path, tmp_path: Path) -> None:
    """Its widget manager is asked for once, and nobody has to."""
    cells = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    sources = [s for s in cells if not s.lstrip().startswith(("%pip", "!"))]
    script = tmp_path / "cells.py"
    script.write_text(f"{FAKE}\nsources = {sources!r}\n{SHELL}", encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
