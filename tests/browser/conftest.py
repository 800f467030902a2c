"""Fixtures of the browser tests: one Chromium, one Jupyter server, and one open notebook per application.

Tests share the page and the kernel of an application, never its cells: every test starts from a notebook in which
`aw` is imported, `model` is the embedded model, and nothing else is on the page.
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
from browser.screen import Screen
from browser.server import Server, serve

HERE = Path(__file__).parent
SETUP = """
import ipywidgets
ipywidgets.Widget.close_all()
if "model" not in globals():
    import attrib_widgets as aw
    model = aw.load("demo")
model.__dict__.pop("run", None)  # a test may have slowed it down
"""
# Without the kernel's name the application would ask for it.
METADATA = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs Chromium."""
    for item in items:
        if HERE in item.path.parents:
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
    """A fresh page; at the end it must have asked nobody outside and thrown nothing."""
    with watch(browser) as page:
        yield page
        page.check()


@pytest.fixture(
    params=[(700, "light"), (700, "dark"), (1100, "light"), (1100, "dark")], ids=lambda it: f"{it[0]}-{it[1]}"
)
def every_window(request: Any, watched: Watched) -> None:
    """A narrow and a wide page, in both schemes."""
    width, scheme = request.param
    watched.page.emulate_media(color_scheme=scheme)
    watched.page.set_viewport_size({"width": width, "height": 900})


@pytest.fixture(scope="package")
def jupyter(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The Jupyter server, started once, and never without a browser."""
    with serve(tmp_path_factory.mktemp("jupyter")) as server:
        yield server


def save(server: Server, name: str, *cells: Any) -> None:
    """Write a notebook into the server's folder."""
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells), metadata=METADATA), server.folder / name)


@pytest.fixture(scope="package", params=["lab", "notebook7"])
def application(browser: Any, jupyter: Server, request: Any) -> Iterator[tuple[Watched, Notebook]]:
    """An open notebook in JupyterLab, then one in Notebook 7."""
    name = f"{request.param}.ipynb"
    save(jupyter, name, nbformat.v4.new_code_cell(""))
    url = {"lab": jupyter.lab, "notebook7": jupyter.notebook7}[request.param](name)
    with watch(browser, viewport={"width": 1280, "height": 1600}) as watched:
        allowed = ["clipboard-read", "clipboard-write"]
        watched.page.context.grant_permissions(allowed, origin=jupyter.url.rstrip("/"))
        notebook = Notebook(watched.page, url, name)
        yield watched, notebook
        notebook.shutdown()


#: Marks a test that one application is enough for.
lab_only = pytest.mark.parametrize("application", ["lab"], indirect=True)


@pytest.fixture
def notebook(application: tuple[Watched, Notebook]) -> Iterator[Notebook]:
    """An empty notebook whose kernel is ready."""
    watched, notebook = application
    notebook.theme(dark=False)
    notebook.write(SETUP)
    notebook.run(0)
    yield notebook
    watched.check()


@pytest.fixture
def explored(notebook: Notebook) -> Screen:
    """The Explorer on its first task, as ``ex`` in cell 1."""
    return Screen(notebook.widget(notebook.cell("ex = aw.explore(model)\nex")))


@pytest.fixture(scope="session")
def demo() -> Any:
    """The embedded model, loaded once in the test process."""
    import attrib_widgets as aw

    return aw.load("demo")


@pytest.fixture
def offline(watched: Watched, tmp_path: Path) -> Callable[..., Screen]:
    """``offline(view)`` writes the view's page and opens it from the disk."""

    def show(view: Any, name: str = "page.html") -> Screen:
        watched.page.goto(view.to_html(tmp_path / name).as_uri())
        return Screen.on(watched.page)

    return show
