"""Fixtures of the browser tests: one Chromium, one Jupyter server, and one open notebook per application.

Tests share the page and the kernel of a notebook, never its cells: every test starts from an empty notebook in which
`aw` is imported and `model` is the embedded model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from browser import chromium
from browser.chromium import Watched, watch
from browser.notebook import Notebook
from browser.server import Server, serve

HERE = Path(__file__).parent
SETUP = """
import ipywidgets
ipywidgets.Widget.close_all()
if "model" not in globals():
    import attrib_widgets as aw
    model = aw.load("demo")
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs Chromium."""
    ours = [item for item in items if HERE in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """Chromium, started once. Without one the tests skip, or fail where REQUIRE_BROWSER=1."""
    from playwright.sync_api import sync_playwright

    path = chromium.program()
    if path is None:
        missing = "no Chromium: install one, or name one in the variable CHROMIUM"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=path, headless=True, args=chromium.FLAGS.split())
        yield program
        program.close()


@pytest.fixture
def watched(browser: Any) -> Iterator[Watched]:
    """A fresh page; at the end it must have asked nobody and thrown nothing."""
    with watch(browser) as page:
        yield page
        page.check()


@pytest.fixture
def page(watched: Watched) -> Any:
    """The page of ``watched``."""
    return watched.page


@pytest.fixture(scope="package")
def jupyter(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The Jupyter server, started once (never without a browser)."""
    with serve(tmp_path_factory.mktemp("jupyter")) as server:
        yield server


def _open(browser: Any, server: Server, name: str, url: Callable[[str], str]) -> Iterator[tuple[Watched, Notebook]]:
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("")]), server.folder / name)
    origin = server.url.rstrip("/")
    with watch(browser, viewport={"width": 1280, "height": 1600}) as watched:
        watched.page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=origin)
        notebook = Notebook(watched.page, url(name), name)
        yield watched, notebook
        notebook.shutdown()


@pytest.fixture(scope="module")
def opened_lab(browser: Any, jupyter: Server, request: pytest.FixtureRequest) -> Iterator[tuple[Watched, Notebook]]:
    """A notebook in JupyterLab, opened once per file."""
    yield from _open(browser, jupyter, f"{Path(request.path).stem}_lab.ipynb", jupyter.lab)


@pytest.fixture(scope="module")
def opened_notebook7(
    browser: Any, jupyter: Server, request: pytest.FixtureRequest
) -> Iterator[tuple[Watched, Notebook]]:
    """A notebook in Notebook 7, opened once per file."""
    yield from _open(browser, jupyter, f"{Path(request.path).stem}_nb7.ipynb", jupyter.notebook7)


def _clean(opened: tuple[Watched, Notebook]) -> Iterator[Notebook]:
    watched, notebook = opened
    notebook.theme(dark=False)
    notebook.write(SETUP)
    notebook.run(0)
    yield notebook
    watched.check()


@pytest.fixture
def lab(opened_lab: tuple[Watched, Notebook]) -> Iterator[Notebook]:
    """An empty notebook in JupyterLab, its kernel ready."""
    yield from _clean(opened_lab)


@pytest.fixture
def notebook7(opened_notebook7: tuple[Watched, Notebook]) -> Iterator[Notebook]:
    """An empty notebook in Notebook 7, its kernel ready."""
    yield from _clean(opened_notebook7)


@pytest.fixture(scope="session")
def demo() -> Any:
    """The embedded model, loaded once in the test process."""
    import attrib_widgets as aw

    return aw.load("demo")
