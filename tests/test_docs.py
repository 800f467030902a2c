"""What the documentation must not do: ask another host for what it shows."""

from __future__ import annotations

import importlib.util
import re
import shutil

import pytest

import attrib_widgets as aw
import docs
from attrib_widgets.words.glossary import TERMS

HOST = "cdn.example"


@pytest.mark.parametrize(
    "fetched",
    [
        f'<script src="https://{HOST}/a.js"></script>',
        f"<script async='async' src='//{HOST}/a.js'></script>",
        f'<img alt="a" src="http://{HOST}/a.png">',
        f'<link rel="stylesheet" type="text/css" href="https://{HOST}/a.css" />',
        f'<link rel="preload" as="font" href="https://{HOST}/a.woff2">',
        f'<iframe src="https://{HOST}"></iframe>',
    ],
)
def test_what_a_page_would_fetch_is_found(fetched):
    assert len(docs.asked(f"<p>before</p>{fetched}<p>after</p>")) == 1


@pytest.mark.parametrize(
    "fine",
    [
        f'<a href="https://{HOST}/a.js">a link leads anywhere</a>',
        '<script src="_static/a.js"></script>',
        '<img src="data:image/png;base64,AA//AA==">',
        f'<link rel="canonical" href="https://{HOST}/">',
        f'<p>&lt;script src="https://{HOST}/a.js"&gt; as text</p>',
    ],
)
def test_links_and_files_beside_the_page_are_not(fine):
    assert docs.asked(fine) == []


PAGES = sorted([docs.ROOT / "README.md", *docs.ROOT.glob(".github/**/*.md"), *docs.ROOT.glob("notebooks/**/*.md")])
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(docs.ROOT)))
def test_a_link_leads_to_a_file(page):
    """As GitHub follows it, from the page's own folder."""
    text = page.read_text(encoding="utf-8")
    assert [link for link in LINK.findall(text) if not (page.parent / link).exists()] == []


def test_a_link_leads_to_a_page_where_all_stand_in_one_folder(tmp_path):
    sources = tmp_path / "sources"
    shutil.copytree(docs.SOURCES, sources)
    docs.gather(sources)
    found = [(page.name, link) for page in sources.glob("*.md") for link in LINK.findall(page.read_text("utf-8"))]
    assert ("readme.md", "asking.md") in found and ("asking.md", "readme.md") in found
    assert [(name, link) for name, link in found if not (sources / link).exists()] == []


def test_readme_is_short_and_in_its_order():
    text = (docs.ROOT / "README.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    asked = ["What the numbers mean", "Beside other tools", "If you come from ...", "The course", "Where it runs"]
    asked += ["What has been tested"]
    assert [head for head in heads if head in asked] == asked
    assert text.index("<picture>") < text.index("```python") < text.index("## ") and len(text.splitlines()) <= 220


def test_every_page_is_listed():
    listed = (docs.SOURCES / "index.md").read_text(encoding="utf-8").splitlines()
    pages = {page.stem for page in [*docs.SOURCES.glob("*.md"), *docs.ROOT.glob(".github/*.md")]} - {"index"}
    assert pages <= set(listed)


def test_every_public_name_has_a_page(tmp_path):
    spec = importlib.util.spec_from_file_location("pages", docs.SOURCES / "pages.py")
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    pages.api(tmp_path)
    written = list((tmp_path / "api").glob("*.md"))
    told = {name for page in written for name in re.findall(r"attrib_widgets\.(\w+)$", page.read_text(), re.MULTILINE)}
    assert told >= set(aw._HOMES)
    assert [name for name in aw._HOMES if not getattr(aw, name).__doc__] == [], "without a docstring"
    listed = (tmp_path / "api.md").read_text()
    assert all(f"api/{page.stem}\n" in listed for page in written)
    pages.words(tmp_path)
    assert re.findall(r"^## (.*)$", (tmp_path / "words.md").read_text(), re.MULTILINE) == [t.name for t in TERMS]
