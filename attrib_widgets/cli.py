"""The command line: ``attrib-widgets lab`` opens the tour or a lesson, ``explain`` explains a prediction, ``gallery``
writes pages to look at.

Nothing heavy is imported until a model is needed, so ``--help`` and ``--version`` answer at once.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from .words.errors import AttribError

TOUR = "00_tour.ipynb"
PAGE = "explorer.html"


class CommandError(AttribError):
    """A command that cannot be carried out as typed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0 done, 2 an error that the message explains."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show "·" shows "?" and goes on
    args = parser().parse_args(argv)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # advice meant for programmers
    try:
        return {"lab": lab, "explain": explain, "gallery": gallery}[args.command](args)
    except AttribError as error:
        print(f"attrib-widgets: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="attrib-widgets", description="Why did a language model say that? Attributions that add up to the logit."
    )
    top.add_argument("--version", action="version", version=f"attrib_widgets {metadata.version('attrib_widgets')}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    tour = commands.add_parser(
        "lab",
        help="open the tour, or a lesson, in JupyterLab",
        description="Copies the tour, or a lesson, into a folder and opens it in JupyterLab, on 127.0.0.1 only. "
        "Without a screen it prints the contributions for the first example instead and writes them as one offline "
        f"page, {PAGE}.",
    )
    tour.add_argument(
        "lesson", metavar="LESSON", nargs="?", type=int, help="the number of a lesson (default: the tour)"
    )
    tour.add_argument("--no-browser", action="store_true", help="print the table and write the page instead")
    tour.add_argument("--dir", type=Path, default=Path(), metavar="FOLDER", help="where to work (default: here)")

    ask = commands.add_parser(
        "explain",
        help="explain one prediction",
        description="Prints which parts of the model wrote a prediction, and writes the same as one offline page.",
    )
    ask.add_argument(
        "prompt",
        metavar="PROMPT",
        nargs="?",
        help='what the model reads, such as "The capital of France is" (default: the first that the model suggests)',
    )
    ask.add_argument(
        "target",
        metavar="TARGET",
        nargs="?",
        help='one token exactly as the model would write it, such as " Paris" (default: its top prediction)',
    )
    ask.add_argument("-o", "--output", type=Path, default=Path(PAGE), metavar="FILE", help=f"default: {PAGE}")
    ask.add_argument(
        "--model",
        default="demo",
        help="demo (default), a circuit built by hand such as demo:backup, a model folder, or a hub id such as gpt2",
    )
    ask.add_argument("--against", metavar="TOKEN", help="explain TARGET rather than this token (logit difference)")
    ask.add_argument(
        "--corrupted", "--compare", metavar="PROMPT", help="a second prompt to compare with, kept in the page"
    )
    ask.add_argument(
        "--saes", type=Path, metavar="FOLDER", help="dictionaries of features: the folder of one, or of one folder each"
    )
    ask.add_argument(
        "--state",
        metavar="LINE",
        help="a screen as a line (ex.state, or Copy state on a page), instead of PROMPT and TARGET",
    )

    pages = commands.add_parser(
        "gallery",
        help="write eight pages to look at without Python",
        description="Writes eight screens of the embedded model as offline pages, and a page of links to them.",
    )
    pages.add_argument("--dir", type=Path, default=Path("gallery"), metavar="FOLDER", help="default: ./gallery")
    return top


def explain(args: argparse.Namespace) -> int:
    """``attrib-widgets explain``: the table on the terminal, the Explorer in one HTML file."""
    output: Path = args.output
    _writable(output)
    write_page(
        args.model,
        args.prompt,
        args.target,
        output,
        against=args.against,
        corrupted=args.corrupted,
        saes=args.saes,
        state=args.state,
    )
    print(f"\nOpen in a browser (works offline): {output.resolve()}")
    return 0


def lab(args: argparse.Namespace) -> int:
    """``attrib-widgets lab``: the tour or a lesson in JupyterLab; without a screen the table and the page."""
    folder: Path = args.dir
    if not folder.is_dir():
        raise CommandError(f"There is no folder {folder}.", f"Make it first: mkdir -p {folder}")
    notebook = copied(notebook_source(args.lesson), folder)
    if args.no_browser or not has_screen(os.environ, sys.platform):
        from . import demo

        page = folder / PAGE
        _writable(page)
        write_page("demo", demo.PROMPT, demo.TARGET, page, corrupted=demo.CORRUPTED)
        print(f"\nThe notebook:                      {notebook.resolve()}")
        print(f"Open in a browser (works offline): {page.resolve()}")
        if not args.no_browser:
            command = shlex.join([*lab_command(notebook), "--no-browser"])
            print(f"No screen was found, so JupyterLab was not started. To start it all the same:\n  {command}")
        return 0
    return open_lab(notebook)


def gallery(args: argparse.Namespace) -> int:
    """``attrib-widgets gallery``: the screens of the gallery as pages, with one of links."""
    folder: Path = args.dir
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise CommandError(
            f"Cannot make the folder {folder}: {error.strerror}.", "Name one in a folder that exists: --dir FOLDER"
        ) from None
    import transformers

    import attrib_widgets as aw

    from .demo.gallery import INDEX, SCREENS, index

    transformers.utils.logging.disable_progress_bar()
    sizes: dict[str, int] = {}
    for screen in SCREENS:
        page = folder / f"{screen.name}.html"
        _writable(page)
        explorer = aw.explore(state=screen.state)
        if screen.tested:
            explorer.verify()
        sizes[screen.name] = explorer.to_html(page).stat().st_size
        print(f"{sizes[screen.name] / 1000:4.0f} kB  {page}  {screen.question}")
    links = folder / INDEX
    links.write_text(index(sizes), encoding="utf-8")
    print(f"\nOpen in a browser (works offline): {links.resolve()}")
    return 0


def write_page(
    source: str,
    prompt: str | None,
    target: str | None,
    path: Path,
    *,
    against: str | None = None,
    corrupted: str | None = None,
    saes: Path | None = None,
    state: str | None = None,
) -> None:
    """Print the contributions to a prediction and write the Explorer to ``path`` (replaced if it exists)."""
    import transformers

    import attrib_widgets as aw

    if source == "demo" or Path(source).is_dir():  # a download keeps its progress bar
        transformers.utils.logging.disable_progress_bar()
    # A state names its model; another one is loaded only where it is asked for.
    model = None if state is not None and source == "demo" else aw.load(source)
    explorer = aw.explore(model, prompt, target, against=against, corrupted=corrupted, saes=saes, state=state)
    print(explorer.run.top(5))
    print()
    print(explorer)
    explorer.to_html(path)


def has_screen(environ: Mapping[str, str], platform: str) -> bool:
    """Whether a browser window can be opened: not in CI, and on Linux only under X or Wayland."""
    if environ.get("CI"):
        return False
    if platform.startswith("linux"):
        return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))
    return True


def notebook_source(lesson: int | None = None) -> Path:
    """The tour, or a lesson without its answers: inside an installed package, or in the checkout of this file.

    Raises:
        CommandError: no such lesson, or neither place has it, so the installation is incomplete.
    """
    here = Path(__file__).parent
    folders = [folder for folder in (here / "notebooks", here.parent / "notebooks") if (folder / TOUR).is_file()]
    if not folders:
        raise CommandError(f"The notebook {TOUR} is not part of this installation.", "Install attrib_widgets again.")
    if lesson is None:
        return folders[0] / TOUR
    known = {path.stem.partition("_")[0]: path for path in sorted((folders[0] / "do").glob("[0-9]*.ipynb"))}
    if str(lesson) not in known:
        raise CommandError(f"There is no lesson {lesson}.", f"The lessons are {', '.join(known)}.")
    return known[str(lesson)]


def copied(source: Path, folder: Path) -> Path:
    """Copy a notebook into ``folder`` and return the copy. A notebook that was changed is never overwritten."""
    content = source.read_bytes()
    path, number = folder / source.name, 1
    while path.exists() and path.read_bytes() != content:
        number += 1
        path = folder / f"{source.stem}-{number}.ipynb"
    if not path.exists():
        try:
            path.write_bytes(content)
        except OSError as error:
            raise CommandError(
                f"Cannot write {path}: {error.strerror}.", "Choose another folder: attrib-widgets lab --dir FOLDER"
            ) from None
    if number > 1:
        print(f"Your changed {source.name} stays as it is; a fresh copy is {path.name}.")
    return path


def lab_command(notebook: Path) -> list[str]:
    """JupyterLab of this very environment, on 127.0.0.1, in the notebook's folder and with the notebook open."""
    folder, path = notebook.parent.resolve(), notebook.resolve()
    command = [sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={folder}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # it listens on this machine only and asks for its token
    return [*command, str(path)]


def open_lab(notebook: Path) -> int:
    """Run JupyterLab on 127.0.0.1 with ``notebook`` open, until it is stopped. Returns its exit code."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise CommandError("JupyterLab is not installed.", "Install it: pip install jupyterlab")
    print("JupyterLab opens in the browser. Stop it with Ctrl+C here.")
    # The kernel of this very environment, wherever else kernels are installed.
    process = subprocess.Popen(lab_command(notebook), env={**os.environ, "JUPYTER_PREFER_ENV_PATH": "1"})
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # JupyterLab got the same Ctrl+C and asks on its own


def _writable(path: Path) -> None:
    """Check before computing that ``path`` can be written to."""
    if path.is_dir() or not path.parent.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise CommandError(f"Cannot write to {path}.", "Name a file in a folder that exists: -o explorer.html")


if __name__ == "__main__":
    raise SystemExit(main())
