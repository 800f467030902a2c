"""One Jupyter server on the loopback address, with all of its state in a temporary folder."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 90

FOLDERS = {
    "JUPYTER_CONFIG_DIR": "config",
    "JUPYTER_DATA_DIR": "data",
    "JUPYTER_RUNTIME_DIR": "runtime",
    "IPYTHONDIR": "ipython",
    "JUPYTERLAB_SETTINGS_DIR": "settings",
    "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    "MPLCONFIGDIR": "matplotlib",
}
OPTIONS = (
    "--no-browser --allow-root --ServerApp.ip=127.0.0.1 --ServerApp.port=0 --ServerApp.terminals_enabled=False "
    "--LabApp.expose_app_in_browser=True --JupyterNotebookApp.expose_app_in_browser=True "
    "--LabApp.extension_manager=readonly --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"
)
# The toast with the news would lie over the page, and asks the network.
QUIET = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}


@dataclass(frozen=True)
class Server:
    """A running server. It serves JupyterLab and Notebook 7 alike."""

    url: str
    token: str
    folder: Path

    def lab(self, name: str) -> str:
        """The address of a notebook in JupyterLab, in a workspace of its own: no tab of an earlier test comes back."""
        return f"{self.url}lab/workspaces/{Path(name).stem}/tree/{name}?token={self.token}&reset"

    def trust(self, name: str) -> None:
        """Sign a notebook, as the person does who ran it on this machine."""
        env = {**os.environ, **{var: str(self.folder.parent / where) for var, where in FOLDERS.items()}}
        subprocess.run([sys.executable, "-m", "nbformat.sign", self.folder / name], env=env, check=True)

    def notebook7(self, name: str) -> str:
        """The address of a notebook in Notebook 7."""
        return f"{self.url}notebooks/{name}?token={self.token}"


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Start a server whose files are all in ``folder``; at the end it is stopped together with its kernels."""
    root = folder / "notebooks"
    for name in (*FOLDERS.values(), root.name):
        (folder / name).mkdir()
    told = folder / "settings" / "@jupyterlab" / "apputils-extension"
    told.mkdir(parents=True)
    (told / "notification.jupyterlab-settings").write_text(json.dumps(QUIET))
    env = {**os.environ, **{name: str(folder / where) for name, where in FOLDERS.items()}}
    env |= {
        "PYTHONPATH": str(ROOT),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "Agg",
        # The attribution must come out the same, bit by bit, in a cell and behind a click.
        "OMP_NUM_THREADS": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    token = secrets.token_hex(16)
    secret = [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}"]
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *OPTIONS.split(), *secret],
            env=env,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Server(_url(process, folder / "runtime", token, log), token, root)
    finally:
        _stop(process)


def _url(process: subprocess.Popen[bytes], runtime: Path, token: str, log: Path) -> str:
    """Wait until the server answers, and say where. Port 0 lets the system choose; the server writes it down."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        for path in runtime.glob("jpserver-*.json"):
            try:
                url = str(json.loads(path.read_text())["url"])
                urllib.request.urlopen(f"{url}api/status?token={token}", timeout=2).read()
                return url
            except (ValueError, KeyError, OSError):  # half written, or not listening yet
                continue
        time.sleep(0.1)
    raise RuntimeError(f"the Jupyter server did not start:\n{log.read_text(errors='replace')[-4000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    # On SIGTERM the server ends its kernels first. It stays in the process group of the tests, so that whoever
    # stops those stops it too.
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
