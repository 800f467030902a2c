"""Run the notebooks and save them with their outputs, as they are committed.

    python tests/refresh_notebooks.py [notebooks/00_tour.ipynb ...]

Widget views are left out of the saved outputs: a page without the kernel that made them could only show an error in
their place, where the static table that stands beside them is always readable.

Of a lesson the folder notebooks/read holds the source, solutions included: every output is as it was when its cell had
run (a picture that a later cell uncovers stays covered), and what a guess or an exercise was worth is folded up.
notebooks/do is made from it by nbconvert (notebooks/student_config.py; the step `students` of tests/run.py compares).
The address in pyproject.toml puts a badge and an installing cell in front; while it is empty there is neither.
"""

from __future__ import annotations

import copy
import html
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
WIDGET = "application/vnd.jupyter.widget-view+json"
HEAD = "head"
#: A cell of a lesson whose output tells what a guess or an answer was worth.
TELLS = re.compile(r"\.(reveal|check)\(")
INSTALL = """try:
    import attrib_widgets
except ImportError:
    %pip install -q "attrib_widgets @ git+https://{address}\""""


def address() -> str:
    """Where the repository lies, github.com/owner/name, as pyproject.toml says; "" while it lies nowhere."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^\[tool\.attrib_widgets\]\n(?:#.*\n)*address = "(.*)"$', text, re.M)
    assert found, "pyproject.toml has no [tool.attrib_widgets] with an address"
    return found[1]


def headed(notebook: Any, name: str, where: str) -> None:
    """Put the badge and the installing cell of an address in front, in the place of those of another one."""
    notebook.cells = [cell for cell in notebook.cells if HEAD not in cell.metadata.get("tags", [])]
    if not where:
        return
    link = f"https://colab.research.google.com/{where.replace('.com', '', 1)}/blob/main/notebooks/do/{name}"
    badge = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({link})"
    first = [nbformat.v4.new_markdown_cell(badge), nbformat.v4.new_code_cell(INSTALL.format(address=where))]
    for cell in first:
        cell.metadata["tags"] = [HEAD]
    notebook.cells = [*first, *notebook.cells]


def executed(notebook: Any) -> None:
    """Run it; every output stays as it was when its cell had run."""
    kept: dict[int, Any] = {}

    def keep(cell: Any, cell_index: int, execute_reply: Any) -> None:
        kept[cell_index] = copy.deepcopy(cell.get("outputs", []))

    with tempfile.TemporaryDirectory() as folder:  # files that a notebook writes are not kept
        NotebookClient(notebook, timeout=300, on_cell_executed=keep, resources={"metadata": {"path": folder}}).execute()
    for number, outputs in kept.items():
        notebook.cells[number]["outputs"] = outputs


def joined(outputs: list[Any]) -> list[Any]:
    """What was printed in one piece, however it came."""
    found: list[Any] = []
    for output in outputs:
        if found and output.output_type == found[-1].output_type == "stream" and output.name == found[-1].name:
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def folded(cell: Any) -> None:
    """Fold up what the cell tells: in JupyterLab by its metadata, elsewhere by its markup."""
    said = "".join(o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in cell["outputs"]).strip()
    if not said:
        return
    shown = f"<details><summary>Show</summary><pre>{html.escape(said)}</pre></details>"
    data = {"text/plain": said, "text/html": shown}
    cell["outputs"] = [nbformat.v4.new_output("display_data", data=data)]


def refresh(path: Path) -> None:
    """Run a notebook and save it."""
    notebook = nbformat.read(path, as_version=4)
    lesson = path.parent.name == "read"
    if lesson:
        headed(notebook, path.name, address())
        executed(notebook)
    else:
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(notebook, timeout=300, resources={"metadata": {"path": folder}}).execute()
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
            output.get("metadata", {}).clear()
            if html_ := output.get("data", {}).get("text/html"):  # the mark of a view that is not saved
                output["data"]["text/html"] = re.sub(r" aw-still-\w+", "", html_)
        if "outputs" in cell:  # the picture of a view is an output of its own
            cell["outputs"] = joined([o for o in cell["outputs"] if o.output_type != "display_data" or o.data])
        if lesson and cell.cell_type == "code" and TELLS.search(cell.source):
            folded(cell)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    every = sorted(Path("notebooks").glob("*.ipynb")) + sorted(Path("notebooks/read").glob("*.ipynb"))
    for notebook_path in [Path(p) for p in sys.argv[1:]] or every:
        refresh(notebook_path)
        print(notebook_path)
