"""The documentation: ``python3 tests/run.py --docs``. Standard library only.

Sphinx with myst-nb and furo, in an environment of its own: README and changes, the notebooks with their outputs, the
glossary from its one table, a page of the API for every room, from the docstrings, and the gallery's offline pages. The
build needs no network; it fails on any warning, and on a page that would ask another host.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from workbench import CACHE, ROOT, Bench, Failed, digest, make_environment, project_table, run, scratch

SOURCES = ROOT / ".github" / "docs"
PINNED = ROOT / "tests" / "docs.txt"
BUILT = CACHE / "docs"
#: What would be fetched when a page is opened; a link may lead anywhere.
ASKS = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc\s*=\s*[\"']?(?:https?:)?//[^\"'\s>]*"
    r"|<link\b[^>]*\brel\s*=\s*[\"']?(?:stylesheet|preload|icon)[^>]*\bhref\s*=\s*[\"']?(?:https?:)?//[^\"'\s>]*"
)


def docs(bench: Bench) -> None:
    """The documentation, with Sphinx (on request); no page asks another host for anything."""
    folder = CACHE / f"docs-env-{bench.version}"
    stamp = digest(bench.version, project_table(), PINNED.read_bytes(), (ROOT / "tests/constraints.txt").read_bytes())
    make_environment(bench.python, folder, stamp, [["-c", "tests/constraints.txt", "-r", PINNED, "pandas", "-e", "."]])
    python = bench.bin("python", folder)
    with scratch() as place:
        sources = Path(shutil.copytree(SOURCES, place / "sources"))
        gather(sources)
        run(python, "-m", "attrib_widgets.cli", "gallery", "--dir", sources / "pictures" / "gallery")
        run(python, sources / "pages.py", sources)
        shutil.rmtree(BUILT, ignore_errors=True)
        run(python, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", sources, BUILT)
    pages = sorted(BUILT.rglob("*.html"))
    asking = [f"{page.relative_to(BUILT)}: {found}" for page in pages for found in asked(page.read_text("utf-8"))]
    if asking:
        raise Failed("pages that ask another host:\n" + "\n".join(asking[:20]))
    print(f"{len(pages)} pages in {BUILT.relative_to(ROOT)}; none asks another host")


def gather(sources: Path) -> None:
    """Copies what is written elsewhere beside the index: README, changes, pictures, notebooks; links follow."""
    pages = {path: path.name for path in ROOT.glob(".github/*.md")} | {ROOT / "README.md": "readme.md"}
    for page, name in pages.items():
        (sources / name).write_text(flat(page.read_text(encoding="utf-8")), encoding="utf-8")
    for page in sources.glob("*.md"):
        if page.name not in pages.values():
            page.write_text(flat(page.read_text(encoding="utf-8")), encoding="utf-8")
    (sources / "pictures").mkdir()
    for path in ROOT.glob(".github/picture-*.png"):
        shutil.copy(path, sources / "pictures" / path.name)
    shutil.copytree(ROOT / "notebooks", sources / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))


def flat(text: str) -> str:
    """The links of a page where all of them stand in one folder: README's, .github's and those in .github/docs."""
    text = re.sub(r"(?<=\]\()(?:\.\./)+(?:README\.md)", "readme.md", text)
    text = re.sub(r"(?<=\]\()(?:\.\./)+", "", text)
    return text.replace(".github/docs/", "").replace(".github/", "").replace("](docs/", "](")


def asked(html: str) -> list[str]:
    """What a browser would fetch from another host to show a page."""
    return ASKS.findall(html)
