"""Run the notebooks and save them with their outputs, as they are committed.

    python tests/refresh_notebooks.py [notebooks/00_tour.ipynb ...]

Widget views are left out of the saved outputs: a page without the kernel that made them could only show an error in
their place, where the static table that stands beside them is always readable.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

WIDGET = "application/vnd.jupyter.widget-view+json"


def refresh(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:  # files that a notebook writes are not kept
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": folder}}).execute()
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
            output.get("metadata", {}).clear()
            if html := output.get("data", {}).get("text/html"):  # the mark of a view that is not saved
                output["data"]["text/html"] = re.sub(r" aw-still-\w+", "", html)
        if "outputs" in cell:  # the picture of a view is an output of its own
            cell["outputs"] = [o for o in cell["outputs"] if o.output_type != "display_data" or o.data]
    nbformat.write(notebook, path)


if __name__ == "__main__":
    chosen = [Path(p) for p in sys.argv[1:]] or sorted(Path("notebooks").glob("*.ipynb"))
    for notebook_path in chosen:
        refresh(notebook_path)
        print(notebook_path)
