"""What is shipped: light imports, public names, version bounds, and a bundle that asks nobody for anything."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import attrib_widgets as aw
from workbench import normal, pins

ROOT = Path(__file__).parent.parent
STATIC = ROOT / "attrib_widgets" / "static"
HEAVY = ("torch", "transformers", "nnsight", "anywidget", "ipywidgets", "matplotlib", "pandas", "numpy")


def requirements(extra: str = "") -> list[Requirement]:
    """The requirements of the installed package, those of one extra or those of none."""
    every = [Requirement(line) for line in metadata.requires("attrib_widgets") or []]
    chosen = [r for r in every if (f'extra == "{extra}"' in str(r.marker) if extra else "extra" not in str(r.marker))]
    assert chosen, f"no requirement of {extra or 'the package'} was found"
    return chosen


@pytest.mark.parametrize("module", ["attrib_widgets", "attrib_widgets.cli", "attrib_widgets.demo"])
def test_import_is_light(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_public_names_resolve() -> None:
    assert len(aw.__all__) == len(set(aw.__all__))
    assert {"load", "attribute", "attention", "explore", "logit", "logit_diff", "log_prob", "score"} <= set(aw.__all__)
    for name in aw.__all__:
        assert getattr(aw, name) is not None, name
    assert set(aw.__all__) <= set(dir(aw))
    with pytest.raises(AttributeError, match="no_such_name"):
        aw.no_such_name  # noqa: B018


def test_version_is_that_of_the_project() -> None:
    declared = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert declared is not None
    assert aw.__version__ == metadata.version("attrib_widgets") == declared[1]
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited is not None
    assert cited[1] == declared[1]


def test_colab_satisfies_every_bound() -> None:
    """Installing on Colab moves nothing: what it has is inside every bound that the package declares."""
    colab = pins(ROOT / "tests" / "colab.txt")
    covered = {normal(r.name) for r in requirements()} & colab.keys()
    assert {"torch", "transformers", "ipywidgets", "anywidget", "matplotlib", "numpy"} <= covered
    for requirement in requirements():
        have = colab.get(normal(requirement.name))
        assert have is None or requirement.specifier.contains(Version(have)), f"Colab's {requirement.name} {have}"


def test_bounds_hold_what_was_tested() -> None:
    """The pins in constraints.txt are inside the bounds, and every declared requirement is pinned."""
    lines = (ROOT / "tests" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for requirement in [*requirements(), *requirements("lab"), *requirements("test")]:
        if normal(requirement.name) == "attrib-widgets":
            continue
        found = [pin for pin in tested if normal(pin.name) == normal(requirement.name)]
        assert found, f"{requirement.name} is not pinned"
        for pin in found:
            (version,) = (part.version for part in pin.specifier)
            assert requirement.specifier.contains(Version(version)), f"{pin} is outside {requirement.specifier}"


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_one_pin_per_python(python: str) -> None:
    lines = (ROOT / "tests" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    names = [
        normal(pin.name)
        for pin in (Requirement(line) for line in lines if line and not line.startswith("#"))
        if pin.marker is None or pin.marker.evaluate({"python_version": python})
    ]
    assert len(names) == len(set(names))
    assert "torch" in names


def test_no_index_is_named() -> None:
    """Where packages come from is the reader's own setting."""
    named = re.compile(r"--(extra-)?index-url|--find-links|https?://(?!www\.w3\.org)", re.IGNORECASE)
    for name in ("pyproject.toml", "tests/constraints.txt", "tests/colab.txt", ".ci/run", "README.md"):
        assert not named.search((ROOT / name).read_text(encoding="utf-8")), name


def bundles() -> list[Path]:
    """The built files that the browser gets."""
    return sorted(p for p in STATIC.glob("*") if p.suffix in (".js", ".css"))


def test_bundle_is_complete() -> None:
    """Script and style are sent with every widget (tests/widgets say how much); page.js is for the offline page."""
    assert [p.name for p in bundles()] == [
        "attrib_widgets.css",
        "attrib_widgets.js",
        "graph.css",
        "graph.js",
        "graph_page.js",
        "page.js",
        "survey.css",
        "survey.js",
        "survey_page.js",
    ]


def test_bundle_names_no_address() -> None:
    """Only the XML namespaces, which are names and never fetched."""
    for path in bundles():
        text = path.read_text(encoding="utf-8")
        found = {url for url in re.findall(r"(?:https?|wss?):?//[\w.-]+", text) if not url.endswith("//www.w3.org")}
        assert not found, f"{path.name}: {sorted(found)}"


@pytest.mark.parametrize(
    "forbidden",
    [r"\beval\s*\(", r"\bnew Function\b", r"\bdocument\.write", r"insertAdjacentHTML", r"\bimport\s*\(", r"@import"],
)
def test_bundle_runs_no_text_as_code(forbidden: str) -> None:
    """The offline page forbids eval, and texts from a model must never become markup."""
    for path in bundles():
        assert not re.search(forbidden, path.read_text(encoding="utf-8")), path.name


def test_bundle_cannot_close_its_script() -> None:
    """The offline page puts the bundle between script tags."""
    for path in bundles():
        assert not re.search(r"</(script|style)|<!--", path.read_text(encoding="utf-8"), re.IGNORECASE), path.name


def test_package_loads_nothing_unsafe() -> None:
    """No pickles, no code from strings: a model file is data."""
    unsafe = re.compile(r"pickle\.load|weights_only=False|(?<![.\w])(?:eval|exec)\(")
    for path in (ROOT / "attrib_widgets").rglob("*.py"):
        found = unsafe.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path.name}: {found}"


def test_notebooks_are_committed_with_outputs_and_without_widget_state() -> None:
    paths = [*sorted((ROOT / "notebooks").glob("*.ipynb")), *sorted((ROOT / "notebooks" / "read").glob("*.ipynb"))]
    assert paths, "notebooks/ holds no notebook"
    for path in paths:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert any(cell["outputs"] for cell in code), f"{path.name} has no outputs"
        assert "widgets" not in notebook["metadata"], f"{path.name} carries widget state"
        failed = [out for cell in code for out in cell["outputs"] if out["output_type"] == "error"]
        assert not failed, f"{path.name} shows an error"
        warned = [out for cell in code for out in cell["outputs"] if out.get("name") == "stderr"]
        assert not warned, f"{path.name} shows a warning: {''.join(warned[0]['text'])}"


def test_no_merge_was_left_half_done() -> None:
    folders = ("attrib_widgets", "tests", "notebooks", ".github", "js/src", "js/tests")
    texts = [
        p for folder in folders for p in (ROOT / folder).rglob("*") if p.suffix in (".md", ".py", ".ts", ".tsx", ".css")
    ]
    assert len(texts) > 500, "the files were not found"
    marks = re.compile(r"^(<{7}|>{7}) ", re.M)
    assert [str(p.relative_to(ROOT)) for p in [*texts, ROOT / "README.md"] if marks.search(p.read_text("utf-8"))] == []
