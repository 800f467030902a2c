"""The calls that README and its page name for users of other tools: each runs, on the embedded model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import attrib_widgets as aw

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / ".github" / "docs" / "coming_from.md"]
HEADER = "| theirs | ours |"
CELLS = re.compile(r"(?<!\\)\|")


def calls(text: str) -> list[str]:
    """The code in the column *ours* of every table that has one."""
    found, inside = [], False
    for line in text.splitlines():
        inside = line.startswith(HEADER) or (inside and line.startswith("|"))
        if inside and not line.startswith((HEADER, "|---")):
            column = CELLS.split(line.strip().strip("|"))[1]
            codes = re.findall(r"`([^`]+)`", column)
            assert codes, f"no call in {line}"
            found += codes
    return found


TOLD = [(page.name, call) for page in PAGES for call in calls(page.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the page defines first."""
    text = PAGES[1].read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    said: dict[str, Any] = {"aw": aw, "folder": aw.demo.path(), "dictionary": aw.demo.path() / "saes" / "L2.mlp"}
    exec(code, said)
    return said


def test_the_tables_are_found():
    assert {name for name, _ in TOLD} == {"README.md", "coming_from.md"} and len(TOLD) > 40


@pytest.mark.parametrize(("page", "call"), TOLD, ids=[f"{page}: {call}"[:80] for page, call in TOLD])
def test_a_call_that_is_named_runs(page: str, call: str, names: dict[str, Any]):
    assert eval(call, dict(names)) is not None


def test_the_numbers_beside_them_are_those_of_the_model(names: dict[str, Any]):
    """What the page quotes of ours."""
    a = names["a"]
    assert f"{a.actual:.2f}" == "9.13" and f"{a.total - float(a['norm.bias']):.2f}" == "9.22"
    assert abs(a.mismatch) < 1e-5
    gap = aw.integrated_gradients(names["model"], names["run"], names["other"], " Paris", against=" Berlin", steps=50)
    assert f"{gap.total:.3f}" == "15.881" if hasattr(gap, "total") else gap is not None
    assert f"{float(aw.attribute(names['run'], aw.logit(' Paris').centered()).actual):.2f}" == "19.62"
