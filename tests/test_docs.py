"""What the documentation must not do: ask another host for what it shows."""

from __future__ import annotations

import importlib.util
import re

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
