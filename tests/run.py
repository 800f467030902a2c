#!/usr/bin/env python3
"""Every test of this repository, from nothing: ``python3 tests/run.py``.

Needs Python 3.10 or newer (its standard library only) and, for the browser half, Node 20 or newer. It makes its own
environment in .cache/, installs what is pinned in tests/constraints.txt and js/package-lock.json, finds or installs
Chromium, then runs all steps in order. A failed step does not stop the others; the exit code tells whether any failed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docs import docs
from newest import newest
from workbench import (
    CACHE,
    ROOT,
    VERSIONS,
    Bench,
    Failed,
    Skipped,
    digest,
    environment,
    make_environment,
    normal,
    pins,
    project_table,
    pythons,
    quiet,
    run,
    scratch,
    short,
)

JS = ROOT / "js"
STATIC = ROOT / "attrib_widgets" / "static"
NOTEBOOKS = ROOT / "notebooks"
COLAB = ROOT / "tests" / "colab.txt"
COLAB_PYTHON = "3.13"
QUANTISED = ROOT / "tests" / "quantised.txt"
STUDENTS = ROOT / "tests" / "students.txt"
LESSON_SECONDS = 45
OTHERS = [f"--ignore=tests/{name}" for name in ("browser", "benchmarks", "quantised")]
UNIT = ["-m", "not browser and not benchmark", *OTHERS, "tests"]
CORES = ["-n", "logical", "--dist", "worksteal"]
# Tests that need neither torch nor anything but pytest: they run on every Python that this machine has.
PURE = [
    "tests/words/test_components.py",
    "tests/words/test_places.py",
    "tests/words/test_text.py",
    "tests/test_floors.py",
]
# What must be inside the wheel, which is all that a user without a clone ever gets.
WHEEL = [
    r"attrib_widgets/static/attrib_widgets\.js",
    r"attrib_widgets/static/attrib_widgets\.css",
    r"attrib_widgets/static/page\.js",
    r"attrib_widgets/static/survey\.js",
    r"attrib_widgets/static/survey\.css",
    r"attrib_widgets/static/survey_page\.js",
    r"attrib_widgets/static/graph\.js",
    r"attrib_widgets/static/graph\.css",
    r"attrib_widgets/static/graph_page\.js",
    r"attrib_widgets/demo/files/config\.json",
    r"attrib_widgets/demo/files/tokenizer\.json",
    r"attrib_widgets/demo/files/.*\.safetensors",
    r"attrib_widgets/demo/files/saes/L2\.mlp/sae_weights\.safetensors",
    r"attrib_widgets/demo/files/saes/contexts\.json",
    r"attrib_widgets/demo/files/suggestions\.json",
    r"attrib_widgets/demo/files/pairs\.json",
    r"attrib_widgets/demo/files/words\.txt",
    r"attrib_widgets/notebooks/00_tour\.ipynb",
    r"attrib_widgets/notebooks/do/1_working_backwards\.ipynb",
    r"attrib_widgets/py\.typed",
]
# What the quick training has to reach, and that its folder is a model like any other.
QUICK = {"trained facts": 0.9, "two names, held-out pairs": 0.9}
SHOWN = """import sys, attrib_widgets as aw
model = aw.load(sys.argv[1])
a = aw.attribute(model.run(aw.demo.PROMPT), aw.demo.TARGET)
print(a)
assert a.exact and model.run(aw.demo.PROMPT).top(1)[0].text == aw.demo.TARGET
"""


# ---------------------------------------------------------------- getting ready


def python_environment(bench: Bench) -> None:
    """The pinned test environment, in .cache/."""
    print(f"Python {bench.version}: {bench.python}")
    stamp = digest(bench.version, project_table(), (ROOT / "tests/constraints.txt").read_bytes())
    pinned = ["-c", "tests/constraints.txt"]
    make_environment(bench.python, bench.folder, stamp, [["-U", *pinned, "pip"], [*pinned, "-e", ".[test]"]])


def node_packages(bench: Bench) -> None:
    """The locked packages of js/."""
    if not JS.is_dir():
        raise Skipped("there is no js/ folder")
    if not shutil.which("npm"):
        raise Failed("npm was not found: install Node 20 or newer")
    mark, lock = JS / "node_modules" / ".complete", digest((JS / "package-lock.json").read_bytes())
    if mark.is_file() and mark.read_text() == lock:
        print("js/node_modules is complete and its lock file is unchanged: used again")
        return
    run("npm", "ci", "--no-audit", "--no-fund", cwd=JS)
    mark.write_text(lock)


def find_chromium(bench: Bench) -> None:
    """Chromium: $CHROMIUM, the system's, Playwright's, or the distribution's package."""
    named = os.environ.get("CHROMIUM")
    if named and not shutil.which(named):
        raise Failed(f"CHROMIUM={named} is not a program")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    bench.chromium = named or next(filter(None, map(shutil.which, names)), "") or _playwrights(bench)
    if not bench.chromium and shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        env = environment(DEBIAN_FRONTEND="noninteractive")
        quiet("apt-get", "update", "-qq", env=env)
        quiet("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", env=env)
        bench.chromium = shutil.which("chromium") or ""
    if not bench.chromium:
        raise Failed("no Chromium: install one, or name one in the variable CHROMIUM")
    print(f"Chromium: {bench.chromium}")


def _playwrights(bench: Bench) -> str:
    """Playwright's own browser, downloaded if need be; "" where that is not possible."""
    where = "from playwright.sync_api import sync_playwright as p\nwith p() as w: print(w.chromium.executable_path)"
    try:
        path = quiet(bench.bin("python"), "-c", where).strip()
        if not Path(path).exists():
            quiet(bench.bin("playwright"), "install", "chromium", seconds=300)
    except Failed as reason:
        print(f"Playwright's Chromium cannot be had: {reason}")
        return ""
    return path if Path(path).exists() else ""


# ---------------------------------------------------------------- checks


def lint(bench: Bench) -> None:
    """Ruff's rules."""
    run(bench.bin("ruff"), "check", ".")


def layout(bench: Bench) -> None:
    """Ruff's layout of the code."""
    run(bench.bin("ruff"), "format", "--check", ".")


def types(bench: Bench) -> None:
    """Mypy in strict mode, on the package and on this runner."""
    run(bench.bin("mypy"))
    run(
        bench.bin("mypy"),
        "tests/run.py",
        "tests/newest.py",
        "tests/workbench.py",
        "tests/typescript.py",
        "tests/states.py",
    )


def contract(bench: Bench) -> None:
    """The types of the browser half are what the typed dictionaries in Python say."""
    _need_js()
    run(bench.python, "tests/typescript.py", "--check")


def typescript(bench: Bench) -> None:
    """The TypeScript compiler in strict mode."""
    _need_js()
    run("npm", "run", "--silent", "check", cwd=JS)


def vitest(bench: Bench) -> None:
    """The tests of the browser half that need no browser."""
    _need_js()
    run("npm", "test", "--silent", cwd=JS)


def bundle(bench: Bench) -> None:
    """The committed bundle is what the sources build."""
    _need_js()
    committed = _files(STATIC)
    if not committed:
        raise Failed("attrib_widgets/static is empty: npm --prefix js run build, and commit what it writes")
    try:
        run("npm", "run", "--silent", "build", cwd=JS)
        built = _files(STATIC)
    finally:  # a test run leaves the checkout as it was
        for path in _files(STATIC):
            path.unlink()
        for path, content in committed.items():
            path.write_bytes(content)
    stale = sorted(p.name for p in built.keys() | committed.keys() if built.get(p) != committed.get(p))
    if stale:
        raise Failed(f"{', '.join(stale)} is not what the sources build: npm --prefix js run build, and commit")
    print("; ".join(f"{p.name}: {len(content):,} bytes, identical" for p, content in built.items()))


def _need_js() -> None:
    if not JS.is_dir():
        raise Skipped("there is no js/ folder")


def _files(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def wheel(bench: Bench) -> None:
    """The wheel holds all that is needed at run time, and the first command works from it in an empty folder."""
    with zipfile.ZipFile(bench.wheel) as archive:
        names = archive.namelist()
    missing = [pattern for pattern in WHEEL if not any(re.fullmatch(pattern, name) for name in names)]
    print(f"{bench.wheel.name}: {len(names)} files, {bench.wheel.stat().st_size:,} bytes")
    if missing:
        raise Failed("the wheel lacks " + ", ".join(p.replace("\\", "") for p in missing))
    with scratch() as folder:
        site, work = folder / "site", folder / "work"
        work.mkdir()
        python = bench.bin("python")
        quiet(python, "-m", "pip", "install", "-q", "--no-deps", "--target", site, bench.wheel)
        env = environment(PYTHONPATH=str(site), CI="1")
        run(python, "-m", "attrib_widgets.cli", "lab", cwd=work, env=env)
        where = quiet(python, "-c", "import attrib_widgets as a; print(a.__file__)", cwd=work, env=env)
        if not where.startswith(str(site)):
            raise Failed(f"the checkout was tested in place of the wheel: {where.strip()}")
        for name in ("00_tour.ipynb", "explorer.html"):
            if not (work / name).is_file():
                raise Failed(f"attrib-widgets lab wrote no {name}")


def colab(bench: Bench) -> None:
    """Installing the wheel on Colab would move none of its versions (resolved from metadata; nothing is installed)."""
    wanted = pins(COLAB)
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(35, 4, -1)] + ["manylinux2014_x86_64"]
    with scratch() as folder:
        report = folder / "report.json"
        target = ["--target", folder / "none", "--only-binary=:all:", "--python-version", COLAB_PYTHON]
        target += ["--implementation", "cp", *(part for name in platforms for part in ("--platform", name))]
        print(f"pip install --dry-run of the wheel for Python {COLAB_PYTHON} on Linux, with -c {short(str(COLAB))}")
        line = [
            bench.bin("python"),
            "-m",
            "pip",
            "install",
            "-q",
            "--dry-run",
            "--ignore-installed",
            "--report",
            report,
        ]
        done = subprocess.run(
            [str(part) for part in [*line, *target, "-c", COLAB, bench.wheel]],
            env=environment(),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            print(done.stderr[-2000:])
            raise Failed("the package does not resolve with Colab's versions")
        items = json.loads(report.read_text(encoding="utf-8"))["install"]
    chosen = {normal(item["metadata"]["name"]): item["metadata"]["version"] for item in items}
    moved = [f"{n} {wanted[n]} -> {v}" for n, v in chosen.items() if n in wanted and v.split("+")[0] != wanted[n]]
    if moved:
        raise Failed("Colab's versions would move: " + ", ".join(moved))
    absent = {"torch", "transformers", "numpy", "ipywidgets", "anywidget", "matplotlib"} - chosen.keys()
    if absent:
        raise Failed(f"the resolution does not contain {', '.join(sorted(absent))}")
    kept = sorted(wanted.keys() & chosen.keys())
    print(f"{len(chosen)} packages resolved; kept at Colab's version: {', '.join(kept)}")
    print(f"new there: nnsight {chosen['nnsight']}, jaxtyping {chosen['jaxtyping']}")


def pure(bench: Bench) -> None:
    """On every other Python of this machine: the package compiles, and what needs no torch passes its tests."""
    missing = [name for name in PURE if not (ROOT / name).is_file()]
    if missing:
        raise Failed(f"{', '.join(missing)} is missing")
    others = {version: path for version, path in pythons().items() if version != bench.version}
    if not others:
        raise Skipped(f"Python {bench.version} is the only one on this machine")
    with scratch() as folder:
        any_python = ["--only-binary=:all:", "--platform", "any", "--implementation", "py", "--abi", "none"]
        pip = [bench.bin("python"), "-m", "pip", "install", "-q", "--target", folder / "tools"]
        # One set of tools for all of them: the newest that the oldest can use, pure Python only.
        quiet(*pip, *any_python, "--python-version", "3.10", "pytest", "hypothesis", "exceptiongroup", "tomli")
        for version, path in sorted(others.items()):
            env = environment(
                PYTHONPATH=f"{ROOT}{os.pathsep}{folder / 'tools'}", PYTHONPYCACHEPREFIX=str(folder / version)
            )
            print(f"Python {version}")
            run(path, "-s", "-m", "compileall", "-q", "attrib_widgets", env=env)
            config = ["-q", "--noconftest", "-p", "no:cacheprovider", "-c", folder / "none.ini", "--rootdir", ROOT]
            (folder / "none.ini").write_text("[pytest]\n")
            run(path, "-s", "-m", "pytest", *config, *(ROOT / name for name in PURE), env=env)


def unit(bench: Bench) -> None:
    """Pytest, all but the browser and the benchmarks, on every core."""
    bench.pytest(*CORES, "--durations=10", *UNIT)


def browser(bench: Bench) -> None:
    """Pytest, in Chromium: JupyterLab, Notebook 7 and the offline page."""
    if not (ROOT / "tests/browser").is_dir():
        raise Skipped("there is no tests/browser folder")
    if not bench.chromium:
        raise Failed("no Chromium")
    # A file stays with one worker: its tests share a notebook, and often a page.
    bench.pytest("-n", "logical", "--dist", "loadfile", "--durations=5", "-m", "browser", "tests")


def students(bench: Bench) -> None:
    """The students' versions of the lessons are what is made of them; those of Colab are mended by a line."""
    folder, pinned = CACHE / f"students-env-{bench.version}", ["-c", "tests/constraints.txt"]
    stamp = digest(bench.version, (ROOT / "tests/constraints.txt").read_bytes(), STUDENTS.read_bytes())
    make_environment(bench.python, folder, stamp, [[*pinned, "-r", STUDENTS, "nbconvert"]])
    with scratch() as place:
        copy = Path(shutil.copytree(NOTEBOOKS, place / "notebooks"))
        made = place / "made"
        sources = sorted(p.relative_to(copy) for p in copy.glob("read/*.ipynb"))
        line = ["--to", "notebook", "--config", "student_config.py", "--output-dir", made, *sources]
        env = environment(JUPYTER_CONFIG_DIR=str(place), JUPYTER_RUNTIME_DIR=str(place))
        run(bench.bin("jupyter", folder), "nbconvert", *line, cwd=copy, env=env)
        stale = [p.name for p in sources if (made / p.name).read_bytes() != (NOTEBOOKS / "do" / p.name).read_bytes()]
        if sources:  # as Colab saves it, with widget state under no "state", which GitHub refuses to show
            notebook = json.loads((NOTEBOOKS / sources[0]).read_text(encoding="utf-8"))
            notebook["metadata"]["widgets"] = {"application/vnd.jupyter.widget-state+json": {"a": {"model_name": "A"}}}
            saved = made / sources[0].name
            saved.write_text(json.dumps(notebook), encoding="utf-8")
            run(bench.bin("nbstripout", folder), "--keep-output", saved, env=env)
            left = json.loads(saved.read_text(encoding="utf-8"))
            before, after = map(_shown, (notebook, left))
            if "widgets" in left["metadata"] or before != after:
                raise Failed("nbstripout --keep-output leaves widget state, or takes outputs: README says it does not")
    if stale:
        raise Failed(f"{', '.join(stale)} in notebooks/do is not what is made: see notebooks/student_config.py")


def _shown(notebook: dict[str, Any]) -> list[Any]:
    """What the cells of a notebook printed, returned or drew."""
    return [o.get("data", o.get("text")) for cell in notebook["cells"] for o in cell.get("outputs", [])]


def notebooks(bench: Bench) -> None:
    """Every notebook runs from top to bottom, in a copy, with no way to another machine; a lesson in 45 s."""
    if not NOTEBOOKS.is_dir():
        raise Skipped("there is no notebooks/ folder")
    names = sorted(str(p.relative_to(NOTEBOOKS)) for p in [*NOTEBOOKS.glob("*.ipynb"), *NOTEBOOKS.glob("read/*.ipynb")])
    if not names:
        raise Failed("notebooks/ holds no notebook")
    with scratch() as folder:
        copy = Path(shutil.copytree(NOTEBOOKS, folder / "notebooks"))
        env = environment(JUPYTER_PREFER_ENV_PATH="1", JUPYTER_CONFIG_DIR=str(folder), JUPYTER_RUNTIME_DIR=str(folder))
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests" / "offline"), *filter(None, [env.get("PYTHONPATH")])])
        slow = []
        for name in names:
            started = time.monotonic()
            run(bench.bin("jupyter-execute"), "--timeout=300", name, cwd=copy, env=env)
            seconds = time.monotonic() - started
            print(f"{name}: {seconds:.0f} s", flush=True)
            slow += [f"{name} ({seconds:.0f} s)"] if name.startswith("read") and seconds > LESSON_SECONDS else []
    if slow:
        raise Failed(f"longer than {LESSON_SECONDS} s: {', '.join(slow)}")


def benchmarks(bench: Bench) -> None:
    """Time and memory (on request: --only benchmarks)."""
    bench.pytest("-s", "-m", "benchmark", "tests")


def demo_model(bench: Bench) -> None:
    """The quick training of the embedded model, to its end, gives a working model (on request; minutes)."""
    with scratch() as folder:
        run(bench.bin("python"), "-m", "attrib_widgets.demo.making.train", "--quick", "--out", folder / "model")
        table = json.loads((folder / "model" / "evaluation.json").read_text(encoding="utf-8"))["abilities"]
        run(bench.bin("python"), "-c", SHOWN, folder / "model")
    missed = [
        f"{name} {table[name]['accuracy']:.3f}" for name, least in QUICK.items() if table[name]["accuracy"] < least
    ]
    if missed:
        raise Failed("the quick model falls short: " + ", ".join(missed))


def on_colab(bench: Bench) -> None:
    """Colab's versions installed for real (5 GB), the package added, nothing moved, the unit tests run there."""
    python = pythons().get(COLAB_PYTHON)
    if not python:
        raise Failed(f"needs Python {COLAB_PYTHON}")
    folder = CACHE / f"colab-env-{COLAB_PYTHON}"
    make_environment(python, folder, digest(COLAB.read_bytes()), [["-U", "pip"], ["--only-binary=:all:", "-r", COLAB]])
    pip = [bench.bin("python", folder), "-m", "pip"]
    quiet(*pip, "uninstall", "-q", "-y", "attrib_widgets")
    before = set(quiet(*pip, "freeze").splitlines())
    quiet(*pip, "install", "-q", bench.wheel)
    after = set(quiet(*pip, "freeze").splitlines())
    if before - after:
        raise Failed("installing the package moved " + ", ".join(sorted(before - after)))
    print("added, nothing moved: " + ", ".join(sorted(line.split("@")[0].strip() for line in after - before)))
    quiet(
        *pip,
        "install",
        "-q",
        "--only-binary=:all:",
        "-c",
        COLAB,
        "pytest",
        "pytest-xdist",
        "hypothesis",
        "nbclient",
        "pandas",
    )
    bench.pytest(*CORES, *UNIT, folder=folder)


def quantised(bench: Bench) -> None:
    """Real bitsandbytes, torchao and PEFT models, in an environment of their own; writes .github/QUANTISED.md."""
    folder, pinned = CACHE / f"quantised-env-{bench.version}", ["-c", "tests/constraints.txt"]
    stamp = digest(
        bench.version, project_table(), (ROOT / "tests/constraints.txt").read_bytes(), QUANTISED.read_bytes()
    )
    make_environment(bench.python, folder, stamp, [[*pinned, "-r", QUANTISED, "-e", ".[test]"]])
    with scratch() as place:
        env = environment(ATTRIB_WIDGETS_QUANTISED=str(place / "rows.json"))
        run(bench.bin("pytest", folder), "tests/quantised", env=env)
        rows = json.loads((place / "rows.json").read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {version}" for name, version in pins(QUANTISED).items())
    lines = ["| model | stream | rounds to | exact per | W_O differs by | rows differ by |", "|" + " --- |" * 6]
    for row in rows:
        off = ["" if row[name] is None else f"{row[name]:.1e}" for name in ("W_O off by", "rows off by")]
        lines.append("| " + " | ".join([row["model"], row["stream"], row["inside"], row["exact per"], *off]) + " |")
    page = ROOT / ".github" / "QUANTISED.md"
    head = (
        "# Quantised models and adapters\n\nWritten by `python3 tests/run.py --quantised` on "
        f"{datetime.date.today():%d %B %Y}, on a CPU, with {versions}:\n"
        "small random models, held against the same with plain weights (dequantised, merged): W_O as it is read, by\n"
        "its largest number; rows by the sum of their sizes. A model that rounds inside computes something a little\n"
        "different, so its rows differ by that; they add up to what it printed itself.\n\n"
    )
    page.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(rows)} rows written to {page.relative_to(ROOT)}")


# ---------------------------------------------------------------- the run


@dataclass(frozen=True)
class Step:
    """One section of the run. ``needs`` names the steps that must have passed before."""

    name: str
    work: Callable[[Bench], None]
    needs: tuple[str, ...] = ("env",)
    asked: bool = False

    @property
    def title(self) -> str:
        return (self.work.__doc__ or self.name).split("\n")[0]


STEPS = [
    Step("env", python_environment, ()),
    Step("npm", node_packages, ()),
    Step("chromium", find_chromium),
    Step("lint", lint),
    Step("format", layout),
    Step("types", types),
    Step("contract", contract, ()),
    Step("tsc", typescript, ("npm",)),
    Step("vitest", vitest, ("npm",)),
    Step("bundle", bundle, ("npm",)),
    Step("wheel", wheel),
    Step("colab", colab),
    Step("pure", pure),
    Step("unit", unit),
    Step("browser", browser, ("env", "npm", "chromium")),
    Step("notebooks", notebooks),
    Step("students", students, ()),
    Step("benchmarks", benchmarks, asked=True),
    Step("demo-model", demo_model, asked=True),
    Step("colab-tests", on_colab, asked=True),
    Step("newest", newest, (), asked=True),
    Step("quantised", quantised, (), asked=True),
    Step("docs", docs, (), asked=True),
]


def chosen_steps(only: Sequence[str], skip: Sequence[str], too: Sequence[str]) -> list[Step]:
    """The steps to run, in order, with what they need; ``too`` beside those of the main run, or beside ``only``."""
    by_name = {step.name: step for step in STEPS}
    names = (set(only) or {step.name for step in STEPS if not step.asked}) | set(too)
    names -= set(skip)
    names |= {need for name in names for need in by_name[name].needs}
    return [step for step in STEPS if step.name in names]


def main() -> int:
    """Run the chosen steps; 0 when all passed."""
    known = [step.name for step in STEPS]
    ask = argparse.ArgumentParser(description="Runs every test of this repository.")
    ask.add_argument("--only", action="append", default=[], choices=known, metavar="STEP", help="may be repeated")
    ask.add_argument("--skip", action="append", default=[], choices=known, metavar="STEP", help="may be repeated")
    ask.add_argument("--colab", action="store_true", help="also test with Colab's exact versions (Python 3.13, 5 GB)")
    ask.add_argument(
        "--newest", action="store_true", help="test the newest releases alone, and write what came to .github/NEWEST.md"
    )
    ask.add_argument("--quantised", action="store_true", help="test real quantised models and adapters alone")
    ask.add_argument("--docs", action="store_true", help="build the documentation alone, into .cache/docs")
    ask.add_argument("--python", metavar="PYTHON", help="the Python to test with (default: 3.11 where there is one)")
    ask.add_argument("--list", action="store_true", help="name the steps and end")
    args = ask.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # what it started ends with it
    if args.list:
        for step in STEPS:
            print(f"{step.name:12} {step.title}{'  (on request)' if step.asked else ''}")
        return 0

    found = pythons()
    if args.python:
        probe = "import sys; print('%d.%d' % sys.version_info[:2])"
        bench = Bench(args.python, subprocess.check_output([args.python, "-c", probe], text=True).strip())
    else:
        best = next((v for v in VERSIONS if v in found), None)
        if best is None:
            print("This needs Python 3.10 or newer with the modules venv and ensurepip (on Debian: python3-venv).")
            return 2
        bench = Bench(found[best], best)
    results: dict[str, tuple[str, str, float]] = {}
    try:
        alone = ["newest"] * args.newest + ["quantised"] * args.quantised + ["docs"] * args.docs
        only = args.only or ([] if args.colab else alone)
        too = ["colab-tests"] * args.colab + alone
        for step in chosen_steps(only, args.skip, too):
            print(f"\n{'=' * 100}\n{step.name}: {step.title}\n{'=' * 100}", flush=True)
            started = time.monotonic()
            broken = [need for need in step.needs if results[need][0] == "FAILED"]
            try:
                if broken:
                    raise Failed(f"not run: {', '.join(broken)} failed")
                step.work(bench)
                verdict, reason = "passed", ""
            except Skipped as why:
                verdict, reason = "skipped", str(why)
            except (Failed, OSError) as why:
                verdict, reason = "FAILED", str(why)
            results[step.name] = verdict, reason, time.monotonic() - started
            print(f"-- {step.name} {verdict}{': ' + reason if reason else ''}", flush=True)
    finally:
        for folder in bench.made:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{'=' * 100}\nPython {bench.version}, {sum(r[2] for r in results.values()):.0f} s\n{'=' * 100}")
    for name, (verdict, reason, seconds) in results.items():
        print(f"{name:12} {verdict:8} {seconds:7.1f} s  {reason}".rstrip())
    failed = [name for name, (verdict, _, _) in results.items() if verdict == "FAILED"]
    print(f"\n{len(failed)} of {len(results)} steps failed: {', '.join(failed)}" if failed else "\nEverything passed.")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
