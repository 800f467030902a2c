"""The newest releases: ``python3 tests/run.py --newest``. Standard library only.

Installs the newest transformers, nnsight (within what the package allows) and Jupyter packages beside the pinned torch,
runs the self-check over all families and some of the unit tests there, and writes what came to ``.github/NEWEST.md``.
"""

from __future__ import annotations

import datetime
import json
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench import (
    CACHE,
    ROOT,
    Bench,
    Failed,
    digest,
    environment,
    make_environment,
    normal,
    pins,
    project_table,
    quiet,
    scratch,
)

PAGE = ROOT / ".github" / "NEWEST.md"
SHIPPED = ROOT / "attrib_widgets/model/selfcheck/supported.json"
#: What is followed; a newer release of one of them that the package does not allow is said.
FOLLOWED = ("transformers", "nnsight", "ipywidgets", "anywidget", "ipykernel", "jupyterlab", "notebook", "numpy")
#: The identities, the tracing below them, hybrids and published configurations, and the widgets without a browser.
TESTS = (
    "tests/words",
    "tests/model/tracing",
    "tests/model/selfcheck",
    "tests/model/test_published.py",
    "tests/analysis/experiments/test_hybrids.py",
    "tests/analysis/reading/test_identities.py",
    "tests/widgets",
)
#: From the finest on; what was never tried has no place.
ORDER = ("head", "mixed", "sublayer", "layer", "refused")
SECONDS = 5400
CHECK = """import json, sys, torch
from transformers.utils import logging
from attrib_widgets.model.selfcheck import supported
logging.set_verbosity_error()
torch.set_num_threads(1)
with open(sys.argv[1], "w") as out:
    json.dump(supported.fresh(), out)
"""

Row = dict[str, Any]


def newest(bench: Bench) -> None:
    """The newest transformers, nnsight and Jupyter packages: self-checks and unit tests; writes .github/NEWEST.md."""
    pinned = pins(ROOT / "tests/constraints.txt")
    today, torch = datetime.date.today().isoformat(), f"torch=={pinned['torch']}"
    folder = CACHE / f"newest-env-{bench.version}"
    stamp = digest(today, torch, project_table())  # what is newest today may not be tomorrow
    make_environment(bench.python, folder, stamp, [["-U", "pip"], [torch, "-e", ".[test]"]])
    python = bench.bin("python", folder)
    have = {normal(p["name"]): p["version"] for p in json.loads(quiet(python, "-m", "pip", "list", "--format", "json"))}
    with scratch() as place:
        versions = _versions(python, place, have, pinned, torch)
        print("the self-check, on a small random model of every family")
        quiet(python, "-W", "ignore", "-c", CHECK, place / "families.json", seconds=SECONDS)
        table = json.loads((place / "families.json").read_text(encoding="utf-8"))
        tests = _tests(bench, folder, place)
    shipped = json.loads(SHIPPED.read_text(encoding="utf-8"))
    different = differences(shipped["families"], table["families"])
    page = [
        "# The newest releases",
        "",
        f"Written by `python3 tests/run.py --newest` on {today}, Python {bench.version}. The main run tests what",
        "`tests/constraints.txt` pins; torch is the pinned one here too.",
        "",
        *_table(("package", "tested here", "newest there is", "main run"), versions),
        "",
        f"## Families of transformers {table['transformers']}",
        "",
        "Found by the self-check on small random models, as `aw.supported()` shows it for the version that is pinned.",
        "",
        *_counts(table["families"], shipped),
        "",
        *_different(different, shipped["transformers"]),
        "",
        "## Tests",
        "",
        *tests.lines,
        "",
        "## Every family",
        "",
        *_table(("family", "exact per", "inside", "why not finer"), [_shown(row) for row in table["families"]]),
        "",
    ]
    PAGE.write_text("\n".join(page), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}")
    if wrong := [row["family"] for old, row in different if old is not None and fell(old, row)] + tests.failed:
        raise Failed("no longer as in the main run: " + ", ".join(wrong[:12]))


def _versions(
    python: Path, place: Path, have: Mapping[str, str], pinned: Mapping[str, str], torch: str
) -> list[list[str]]:
    """A row a package: what is tested here, the newest release, and what the main run has."""
    install = [python, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed"]
    quiet(*install, "--no-deps", "--report", place / "newest.json", *FOLLOWED)
    report = json.loads((place / "newest.json").read_text(encoding="utf-8"))["install"]
    latest = {normal(item["metadata"]["name"]): item["metadata"]["version"] for item in report}
    rows = [["torch", have["torch"].split("+")[0], "as pinned", pinned["torch"]]]
    for name in FOLLOWED:
        there = latest[name]
        if there != have[name]:
            try:
                quiet(*install, f"{name}=={there}", torch, f"transformers=={have['transformers']}")
                there += ", beyond what is allowed here; it resolves with this torch and transformers"
            except Failed:
                there += ", which does not resolve with this torch and transformers"
        rows.append([name, have[name], there, pinned.get(name, "")])
    return rows


class Tests:
    """What the unit tests came to: lines of the page, and the names of those that failed."""

    def __init__(self, lines: list[str], failed: list[str]) -> None:
        self.lines, self.failed = lines, failed


def _tests(bench: Bench, folder: Path, place: Path) -> Tests:
    """Run the chosen unit tests in the environment of the newest releases."""
    marks = ["-m", "not browser and not benchmark", "-p", "no:cacheprovider", "-n", "logical", "--dist", "worksteal"]
    line = [bench.bin("pytest", folder), "-q", *marks, f"--junitxml={place / 'tests.xml'}", *TESTS]
    try:
        quiet(*line, env=environment(), seconds=SECONDS)
    except Failed as reason:  # which tests, the page says
        if not (place / "tests.xml").is_file():
            raise
        print(reason)
    return told(ElementTree.parse(place / "tests.xml").getroot())


def told(report: ElementTree.Element) -> Tests:
    """The tests of a JUnit report."""
    counts: Counter[str] = Counter()
    failed = []
    for case in report.iter("testcase"):
        kinds = {child.tag for child in case}
        kind = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        counts[kind] += 1
        if kind == "failed":
            failed.append(f"{case.get('classname')}::{case.get('name')}")
    said = ", ".join(f"{counts[kind]} {kind}" for kind in ("passed", "failed", "skipped"))
    lines = [f"{said}: {', '.join(f'`{name}`' for name in TESTS)}."]
    return Tests(lines + [f"- failed: `{name}`" for name in failed], failed)


def differences(shipped: Sequence[Row], fresh: Sequence[Row]) -> list[tuple[Row | None, Row]]:
    """(row of the shipped table or None, row of the fresh one) of the families that are not alike."""
    before = {row["family"]: row for row in shipped}
    now = {row["family"]: row for row in fresh}
    gone = [
        (row, {**row, "exact_per": "gone", "inside": "", "reason": ""})
        for name, row in before.items()
        if name not in now
    ]
    return [(before.get(name), row) for name, row in now.items() if before.get(name) != row] + gone


def fell(old: Row, new: Row) -> bool:
    """Whether a family that was tried is exact at less than before: coarser, or at the same with a new reservation."""
    if old["exact_per"] not in ORDER:
        return False
    if new["exact_per"] not in ORDER:
        return True
    one, other = (ORDER.index(row["exact_per"]) for row in (old, new))
    return (
        other > one
        or (other == one and bool(new["reason"]) and not old["reason"])
        or (other == one and bool(old["inside"]) and not new["inside"])
    )


def _counts(families: Sequence[Row], shipped: Row) -> list[str]:
    then, now = (Counter(row["exact_per"] for row in rows) for rows in (shipped["families"], families))
    rows = [[name, str(now[name]), str(then[name])] for name in (*ORDER, "not tried")]
    return _table(("exact per", "families", f"main run ({shipped['transformers']})"), rows)


def _different(different: Sequence[tuple[Row | None, Row]], version: str) -> list[str]:
    if not different:
        return [f"No family differs from transformers {version}."]
    rows = []
    for old, new in different:
        verdict = "new" if old is None else "**less**" if fell(old, new) else "other"
        was = "" if old is None else " ".join(_shown(old)[1:]).strip()
        rows.append([new["family"], verdict, was, " ".join(_shown(new)[1:]).strip()])
    return [f"What differs from transformers {version}:", "", *_table(("family", "", "main run", "here"), rows)]


def _shown(row: Row) -> list[str]:
    return [row["family"], row["exact_per"], row["inside"], row["reason"]]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of Markdown; no cell may end it."""
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in (head, *rows)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return [lines[0], "|" + "---|" * len(head), *lines[1:]]
