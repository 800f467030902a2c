"""The lessons, as their reader meets them: guessed before told, nothing said without its number, no word before it is
explained, and the student's version runs offline and gives no answer away."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import attrib_widgets as aw
import refresh_notebooks
from attrib_widgets.teach.answers import UNANSWERED, Number, Part
from attrib_widgets.teach.choice import LOCKED
from attrib_widgets.teach.exercises import LESSONS
from attrib_widgets.words.glossary import TERMS
from fixtures.lessons import prose, said, unshown

ROOT = Path(__file__).resolve().parents[1]
READ = sorted((ROOT / "notebooks" / "read").glob("*.ipynb"))
DO = sorted((ROOT / "notebooks" / "do").glob("*.ipynb"))
#: Lines and letters that a screen of a laptop holds.
CODE_LINES, LETTERS = 16, 1700
SECONDS = 45
SOLUTION = re.compile(r"### BEGIN SOLUTION\n.*?### END SOLUTION", re.S)

names = pytest.mark.parametrize("path", READ, ids=lambda p: p.stem)


def number(path: Path) -> int:
    return int(path.stem.partition("_")[0])


def cells(path: Path, kind: str = "") -> list[Any]:
    every = nbformat.read(path, as_version=4).cells
    every = [c for c in every if refresh_notebooks.HEAD not in c.metadata.get("tags", [])]
    return [c for c in every if kind in ("", c.cell_type)]


def test_the_course_is_there():
    assert [p.name for p in READ] == [p.name for p in DO]
    assert [number(p) for p in READ] == sorted(LESSONS)


@names
def test_its_shape(path):
    every, code = cells(path), cells(path, "code")
    outline = LESSONS[number(path)]
    assert every[0].source.startswith(f"# {number(path)}. {outline.title.split(':')[0]}")
    assert f"{outline.minutes} minutes" in every[0].source
    assert re.search(r"lesson\.(predict|choose)\(", code[1].source), "the picture is in the second code cell"
    assert ".reveal(mine)" in code[2].source, "and one click answers it"
    assert sum("## What you cannot conclude" in c.source for c in every) == 1
    assert sum("**On GPT-2**" in c.source for c in every) == 1
    assert code[-1].source == "lesson.report()"
    checked = re.findall(r'lesson\["([\d.]+)"\]\.check\(mine\)', "\n".join(c.source for c in code))
    assert checked == list(outline.exercises)
    for cell in code:
        lines = cell.source.splitlines()
        assert len(lines) <= CODE_LINES, f"longer than a screen:\n{cell.source}"
        assert max(map(len, lines)) <= 120
    for cell in cells(path, "markdown"):
        assert len(cell.source) <= LETTERS, f"longer than a screen:\n{cell.source}"


@names
def test_no_word_before_it_is_explained(path):
    """A word of the glossary stands in bold where it is met first, which is where it is explained."""
    text = "\n".join(map(prose, cells(path, "markdown")))
    bold = [m.span() for m in re.finditer(r"\*\*[^*]+\*\*", text)]
    early = []
    for term in TERMS:
        met = re.search(rf"(?<![\w.-]){re.escape(term.name)}s?(?![\w-])", text, re.IGNORECASE)
        if met and not any(start < met.start() and met.end() < end for start, end in bold):
            early.append(f"{term.name}: {text[max(0, met.start() - 60) : met.end() + 20]!r}")
    assert early == []


@names
def test_every_number_is_shown(path):
    """What the text says in decimals stands in an output of the same lesson."""
    assert unshown(cells(path, "markdown"), cells(path, "code")) == []


@names
def test_the_version_to_read_is_complete(path):
    for cell in cells(path, "code"):
        kinds = [o.output_type for o in cell.outputs]
        assert "error" not in kinds and not any(o.get("name") == "stderr" for o in cell.outputs)
        if ".check(mine)" in cell.source or ".reveal(mine)" in cell.source:
            assert "ight" in said(cell) and "<details>" in cell.outputs[0].data["text/html"], "folded up"
    covered = cells(path, "code")[1]
    assert "?" in said(covered), "the picture is still covered"
    assert not re.search(r"[+-]\d\.\d\d", said(covered))


@names
def test_the_version_to_do_is_the_same_without_answers(path):
    """What nbconvert made of it (the step `students` makes it anew) has no output and no solution."""
    for read, do in zip(cells(path), cells(ROOT / "notebooks" / "do" / path.name), strict=True):
        assert do.source == SOLUTION.sub("mine = ...", read.source)
        assert not do.get("outputs") and "SOLUTION" not in do.source


@pytest.mark.parametrize("path", DO, ids=lambda p: p.stem)
def test_it_runs_offline_and_gives_nothing_away(path, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "tests" / "offline"), str(ROOT)]))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    notebook = nbformat.read(path, as_version=4)
    started = time.monotonic()
    NotebookClient(notebook, timeout=SECONDS * 4, resources={"metadata": {"path": str(tmp_path)}}).execute()
    print(f"{path.stem}: {time.monotonic() - started:.0f} s")
    model = aw.load("demo")
    lesson = aw.teach.lesson(number(path), model)
    before: list[str] = []
    for cell in notebook.cells:
        if ".reveal(mine)" in cell.get("source", ""):
            assert LOCKED in said(cell)
        for name in re.findall(r'lesson\["([\d.]+)"\]\.check', cell.source if cell.cell_type == "code" else ""):
            assert UNANSWERED in said(cell)
            answer = LESSONS[number(path)].exercises[name].answer(model, lesson.examples)
            for text in before:
                if isinstance(answer, Number):
                    assert not re.search(rf"(?<![-\d.]){re.escape(f'{answer.value:.2f}')}(?!\d)", text)
                elif isinstance(answer, Part):
                    assert not re.search(rf"\b{answer.value}\b", text)
                else:  # one of a few words: they are named, and not beside what was asked
                    assert not (answer.value in text and f"\u00b7{lesson.second.answer.strip()}" in text), text
        before.append(said(cell))


def test_the_chapter_is_mapped_to_cells():
    """No row of the table is empty, and what it quotes stands in the cell that it names."""
    lines = (ROOT / "notebooks" / "read" / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [[field.strip() for field in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]
    by_number = {number(path): cells(path, "code") for path in READ}
    for row in rows:
        assert len(row) == 6 and all(row), row
        quoted = row[4].removeprefix("`").removesuffix("`")
        assert quoted in by_number[int(row[2])][int(row[3]) - 1].source, row
        for lesson, cell in re.findall(r"\b([1-8])\.(\d+)\b", row[5]):
            assert int(cell) <= len(by_number[int(lesson)]), row
    sections = {section for row in rows for section in re.findall(r"15\.\d+", row[0])}
    assert sections == {f"15.{i}" for i in range(2, 11)} and {int(row[2]) for row in rows} == set(LESSONS)


def test_sockets_are_refused(tmp_path):
    code = "import socket\ntry: socket.create_connection(('192.0.2.1', 80), 2)\nexcept OSError as e: print(e)"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "offline")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert "Sockets are disabled" in done.stdout, done.stderr


@pytest.mark.parametrize("where", ["", "github.com/someone/attrib_widgets"])
def test_badge_and_first_cell_come_from_one_address(where):
    notebook = nbformat.read(READ[0], as_version=4)
    plain = [c.source for c in notebook.cells if refresh_notebooks.HEAD not in c.metadata.get("tags", [])]
    for _ in range(2):  # twice is once
        refresh_notebooks.headed(notebook, READ[0].name, where)
        text = "\n".join(c.source for c in notebook.cells)
        assert [c.source for c in notebook.cells][-len(plain) :] == plain
        assert len(notebook.cells) == len(plain) + (2 if where else 0)
        assert ("colab" in text.lower()) is bool(where)
    if where:
        link = "https://colab.research.google.com/github/someone/attrib_widgets/blob/main/notebooks/do/"
        assert f"({link}{READ[0].name})" in notebook.cells[0].source
        assert f'%pip install -q "attrib_widgets @ git+https://{where}"' in notebook.cells[1].source
        assert compile(notebook.cells[1].source.replace("%pip", "pass  #"), "cell", "exec")


def test_an_address_in_pyproject_is_all_it_takes(tmp_path, monkeypatch):
    """In a copy, with an address that is filled in: the notebook runs, its installing cell too, and GitHub takes it."""
    where, none = "github.com/someone/attrib_widgets", 'address = ""'
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8").replace(none, f'address = "{where}"')
    (tmp_path / "pyproject.toml").write_text(project, encoding="utf-8")
    monkeypatch.setattr(refresh_notebooks, "ROOT", tmp_path)
    path = tmp_path / "notebooks" / "read" / READ[0].name
    path.parent.mkdir(parents=True)
    shown = [nbformat.v4.new_markdown_cell("# A lesson"), nbformat.v4.new_code_cell("attrib_widgets.explore()")]
    nbformat.write(nbformat.v4.new_notebook(cells=shown), path)
    for _ in range(2):
        refresh_notebooks.refresh(path)
        made = nbformat.read(path, as_version=4)
        nbformat.validate(made)
        assert [cell.cell_type for cell in made.cells] == ["markdown", "code", "markdown", "code"]
        assert f"{where.removeprefix('github.com/')}/blob/main/notebooks/do/{path.name}" in made.cells[0].source
        assert f"git+https://{where}" in made.cells[1].source and made.cells[1].outputs == []
        assert "text/html" in made.cells[3].outputs[-1].data and "widgets" not in made.metadata


def test_the_committed_lessons_have_the_address_of_the_project():
    where = refresh_notebooks.address()
    for path in (*READ, *DO):
        text = path.read_text(encoding="utf-8")
        assert ("colab.research" in text) is bool(where) and (not where or where in text)


def test_no_placeholder_is_left():
    """An address that is not known yet is left out, and not made up."""
    made_up = re.compile(
        r"ADDRESS-OF|OWNER/(NAME|REPO)|USERNAME|YOUR[-_ ]?(NAME|REPO)|example\.(com|org)|<(owner|user|repo)>"
    )
    texts = [ROOT / "README.md", *(ROOT / "notebooks").rglob("*.ipynb")]
    assert [p.name for p in texts if made_up.search(p.read_text(encoding="utf-8"))] == []
