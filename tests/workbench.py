"""What tests/run.py works with: running commands, finding Pythons, making environments. Standard library only."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
VERSIONS = ("3.11", "3.12", "3.13", "3.10")  # the fully tested one first
STEP_SECONDS = 3000  # the unit tests take 17 minutes on two quiet cores


class Failed(Exception):
    """A step did not pass; the message says what was expected."""


class Skipped(Exception):
    """A step has nothing to work on; the message says why."""


def environment(**more: str) -> dict[str, str]:
    """The caller's environment without its virtual environment, and with every model hub switched off."""
    drop = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "CONDA_PREFIX", "PYTEST_ADDOPTS")
    env = {k: v for k, v in os.environ.items() if k not in drop}
    env |= {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", "REQUIRE_BROWSER": "1", "MPLBACKEND": "Agg"}
    env |= {"IPYTHONDIR": str(CACHE / "ipython"), "MPLCONFIGDIR": str(CACHE / "matplotlib")}
    env |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    return env | more


def run(*command: object, cwd: Path = ROOT, env: dict[str, str] | None = None, seconds: int = STEP_SECONDS) -> None:
    """Run a command, its output as it comes. Fails on a non-zero exit code and after ``seconds``."""
    _execute(command, cwd, env, seconds, None)


def quiet(*command: object, cwd: Path = ROOT, env: dict[str, str] | None = None, seconds: int = STEP_SECONDS) -> str:
    """Run a command and return its output, which is shown only when it fails."""
    return _execute(command, cwd, env, seconds, subprocess.PIPE)


def _execute(command: Sequence[object], cwd: Path, env: dict[str, str] | None, seconds: int, pipe: int | None) -> str:
    line = [str(part) for part in command]
    print(f"$ {' '.join(short(part) for part in line)}", flush=True)
    process = subprocess.Popen(
        line,
        cwd=cwd,
        env=env or environment(),
        stdout=pipe,
        stderr=pipe,
        text=True,
        errors="replace",
        start_new_session=os.name == "posix",
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except BaseException as error:
        if os.name == "posix":  # its children too: a server that a test started must not outlive it
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise Failed(f"{Path(line[0]).name} did not end within {seconds} s") from None
        raise
    if process.returncode:
        if pipe:
            print(out[-4000:], err[-4000:], sep="\n", flush=True)
        raise Failed(f"{Path(line[0]).name} ended with exit code {process.returncode}")
    return out or ""


def short(part: str) -> str:
    """A part of a command line as it is printed."""
    part = part.replace(str(ROOT) + os.sep, "")
    return part if part and " " not in part and "\n" not in part else repr(part)


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="attrib-widgets-") as name:
        yield Path(name)


def pythons() -> dict[str, str]:
    """Working interpreters on this machine that can make environments: version -> path."""
    found: dict[str, str] = {}
    probe = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"  # not all of them are on the path
    names = [sys.executable, *(shutil.which(f"python{v}") for v in VERSIONS)]
    names += [str(path) for v in VERSIONS for path in sorted(kept.glob(f"{v}.*/bin/python{v}"))]
    for name in filter(None, names):
        done = subprocess.run([name, "-c", probe], capture_output=True, text=True, env=environment())
        if done.returncode == 0 and done.stdout.strip() in VERSIONS:
            found.setdefault(done.stdout.strip(), name)
    return found


@dataclass
class Bench:
    """The test environment and what was found on this machine."""

    python: str = ""
    version: str = ""
    chromium: str = ""
    made: list[Path] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return CACHE / f"test-env-{self.version}"

    def bin(self, name: str, folder: Path | None = None) -> Path:
        """A program of the environment."""
        where = (folder or self.folder) / ("Scripts" if os.name == "nt" else "bin")
        return where / (name + ".exe" if os.name == "nt" else name)

    def pytest(self, *arguments: object, folder: Path | None = None) -> None:
        """Run pytest. Its exit code 5, no test collected, is a failure like any other."""
        env = environment(CHROMIUM=self.chromium) if self.chromium else environment()
        run(self.bin("pytest", folder), *arguments, env=env)

    @cached_property
    def wheel(self) -> Path:
        """The wheel, built once, with no Node on the path: the committed bundle is all it may need."""
        folder = Path(tempfile.mkdtemp(prefix="attrib-widgets-wheel-"))
        self.made.append(folder)
        env = environment(PATH=str(self.bin("python").parent))
        quiet(
            self.bin("python"),
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            folder,
            ".",
            env=env,
        )
        return next(folder.glob("*.whl"))


def make_environment(python: str, folder: Path, stamp: str, installs: Sequence[Sequence[object]]) -> None:
    """A virtual environment with ``installs`` (lists of pip arguments), kept while ``stamp`` stays the same."""
    mark = folder / "complete"
    if mark.is_file() and mark.read_text() == stamp:
        print(f"{short(str(folder))} is complete and its pins are unchanged: used again")
        return
    shutil.rmtree(folder, ignore_errors=True)
    quiet(python, "-m", "venv", folder)
    pip = [folder / ("Scripts" if os.name == "nt" else "bin") / "python", "-m", "pip", "install", "-q"]
    for arguments in installs:
        quiet(*pip, *arguments)
    mark.write_text(stamp)


def digest(*parts: str | bytes) -> str:
    """One hash for everything that an environment was made from."""
    return hashlib.sha256(b"\0".join(p if isinstance(p, bytes) else p.encode() for p in parts)).hexdigest()


def project_table() -> str:
    """The part of pyproject.toml that decides what is installed (settings of tools change without a reinstall)."""
    return (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("\n[tool.ruff", 1)[0]


def pins(path: Path) -> dict[str, str]:
    """The ``name==version`` lines of a file, names normalised; of two for one name the first counts."""
    lines = (line.split("#")[0].split(";")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()[::-1])
    return {normal(line.split("==")[0]): line.split("==")[1] for line in lines if "==" in line}


def normal(name: str) -> str:
    """A package name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
