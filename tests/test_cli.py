"""The commands of the README, in process with the embedded model, and once as a person types them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import attrib_widgets as aw
from attrib_widgets import cli
from attrib_widgets.widgets.transport import wire
from fixtures import packing

NOTEBOOK = b'{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("CI", "1")

    def call(*argv: str) -> tuple[int, str, str]:
        try:
            code = cli.main(argv)
        except SystemExit as end:  # argparse ends this way
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def tour(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the tour, so that these tests do not depend on its text."""
    path = tmp_path_factory.mktemp("source") / cli.TOUR
    path.write_bytes(NOTEBOOK)
    monkeypatch.setattr(cli, "tour_source", lambda: path)
    return path


def test_version(command: Command) -> None:
    assert command("--version") == (0, f"attrib_widgets {aw.__version__}\n", "")


@pytest.mark.parametrize("argv", [("--help",), ("lab", "--help"), ("explain", "--help")])
def test_help(command: Command, argv: tuple[str, ...]) -> None:
    code, out, _ = command(*argv)
    assert code == 0
    assert "attrib-widgets" in out


@pytest.mark.parametrize("argv", [(), ("course",), ("explain", "a", "b", "c"), ("lab", "x")])
def test_wrong_command_is_refused(command: Command, argv: tuple[str, ...]) -> None:
    code, _, err = command(*argv)
    assert code == 2
    assert "usage: attrib-widgets" in err


def test_explain_prints_the_table_and_writes_the_page(command: Command, tmp_path: Path) -> None:
    code, out, err = command("explain", "The capital of France is", " Paris", "-o", "page.html")
    assert (code, err) == (0, "")
    a = aw.attribute("The capital of France is", " Paris", model=aw.load("demo"))
    leader = str(a.top(1)[0][0])
    assert leader in out
    assert f"{a.actual:.2f}" in out
    assert str(tmp_path / "page.html") in out
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert "Content-Security-Policy" in page
    assert leader in str(wire.unpack(packing.embedded(page)["container"])[0])


def test_explain_takes_the_top_prediction_when_no_target_is_given(command: Command) -> None:
    prompt = "The capital of France is"
    code, out, err = command("explain", prompt)
    assert (code, err) == (0, "")
    first, rival = aw.load("demo").run(prompt).top(1)[0], " Berlin"  # the suggested comparison's answer
    a = aw.attribute(prompt, first.id, against=rival, model=aw.load("demo"))
    assert f"model {a.actual:.4f}" in out and "Rather than \u00b7Berlin" in out


@pytest.mark.parametrize("name", ["demo", "demo:backup"])
def test_explain_asks_the_first_question_of_the_model_when_none_is_given(command: Command, name: str) -> None:
    code, out, err = command("explain", "--model", name)
    assert (code, err) == (0, "")
    first = aw.load(name).suggestions[0]
    assert f"{aw.attribute(first.prompt, first.target, model=aw.load(name)).actual:.2f}" in out
    assert ("built by hand: demo:backup" in out) == (name == "demo:backup")


def test_explain_names_the_circuits_there_are(command: Command) -> None:
    code, _, err = command("explain", "--model", "demo:nonsense")
    assert code == 2 and "demo:nonsense" in err and "demo:suppression" in err


@pytest.mark.parametrize("option", ["--corrupted", "--compare"])
def test_explain_against_another_token(command: Command, tmp_path: Path, option: str) -> None:
    prompt = "The capital of France is"
    other = "The capital of Germany is"
    code, out, err = command("explain", prompt, " Paris", "--against", " Rome", option, other)
    assert (code, err) == (0, "")
    a = aw.attribute(prompt, aw.logit_diff(" Paris", " Rome"), model=aw.load("demo"))
    assert f"{a.actual:.2f}" in out
    assert (tmp_path / cli.PAGE).is_file()


def test_explain_opens_a_state(command: Command, tmp_path: Path) -> None:
    line = "model=demo&prompt=The+capital+of+Japan+is&answer=+Tokyo&part=L3H4&mode=map"
    code, out, err = command("explain", "--state", line)
    assert (code, err) == (0, "") and "Japan" in out
    page = (tmp_path / cli.PAGE).read_text(encoding="utf-8")
    traits = packing.embedded(page)
    assert traits["selected"] == "L3H4" and traits["showing"]["mode"] == "heads"
    code, _, err = command("explain", "--state", "prompt=a&sort=size")
    assert code == 2 and "'sort'" in err and "mode" in err
    assert command("explain", "A prompt", "--state", line)[0] == 2


def test_explain_with_dictionaries_of_ones_own(command: Command, tmp_path: Path, trained_folder: Path) -> None:
    from attrib_widgets.saes.formats.saelens import write_sae

    model = aw.load(str(trained_folder))
    both = torch.cat([torch.eye(model.d_model), -torch.eye(model.d_model)])
    sae = aw.SAE("L0.mlp", "standard", both.T.contiguous(), torch.zeros(len(both)), both, torch.zeros(model.d_model))
    write_sae(sae, tmp_path / "mine")
    given = ("explain", "Once upon a time", "--model", str(trained_folder), "--saes")
    assert command(*given, str(tmp_path / "mine"))[0] == 0
    page = (tmp_path / cli.PAGE).read_text(encoding="utf-8")
    header, _ = wire.unpack(packing.embedded(page)["container"])
    assert list(header["features"]) == ["L0.mlp"]
    code, _, err = command(*given, str(aw.demo.path() / "saes" / "L0.mlp"))
    assert code == 2 and "reads 128 numbers" in err


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("explain", "The capital of France is", " Paris and Rome"), "token"),
        (("explain", "The capital of France is", " Paris", "--saes", "no-such-folder"), "no-such-folder"),
        (("explain", "The capital of France is", ""), ""),
        (("explain", "The capital of France is", " Paris", "--against", " Rome and Paris"), "token"),
        (("explain", "The capital of France is", " Paris", "--model", "./no-such-folder"), "no-such-folder"),
        (("explain", "The capital of France is", " Paris", "-o", "no/such/folder/page.html"), "page.html"),
        (("explain", "The capital of France is", " Paris", "-o", "."), "Cannot write"),
        (("lab", "--dir", "no-such-folder"), "no-such-folder"),
    ],
)
def test_errors_are_one_message_with_a_hint(command: Command, tmp_path: Path, argv: tuple[str, ...], told: str) -> None:
    code, _, err = command(*argv)
    assert code == 2
    assert "Traceback" not in err
    message, hint = err.strip().split("\n", 1)
    assert message.startswith("attrib-widgets: ")
    assert told in err
    assert hint.strip()
    assert not list(tmp_path.glob("*.html"))


def test_lab_without_a_screen(command: Command, tour: Path, tmp_path: Path) -> None:
    code, out, err = command("lab")
    assert (code, err) == (0, "")
    assert (tmp_path / cli.TOUR).read_bytes() == NOTEBOOK
    assert str(tmp_path / cli.TOUR) in out
    assert str(tmp_path / cli.PAGE) in out
    assert (tmp_path / cli.PAGE).stat().st_size > 10_000
    assert "Paris" in out
    assert "-m jupyterlab --ServerApp.ip=127.0.0.1" in out  # how to start it all the same


def test_lab_works_in_another_folder(command: Command, tour: Path, tmp_path: Path) -> None:
    (tmp_path / "course").mkdir()
    code, out, err = command("lab", "--no-browser", "--dir", "course")
    assert (code, err) == (0, "")
    assert sorted(p.name for p in (tmp_path / "course").iterdir()) == [cli.TOUR, cli.PAGE]
    assert "jupyterlab" not in out
    assert [p.name for p in tmp_path.iterdir()] == ["course"]


def test_lab_opens_jupyterlab_on_this_machine_only(
    command: Command, tour: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    class Process:
        interrupted = False

        def __init__(self, line: list[str], env: dict[str, str]) -> None:
            started.append(line)
            assert env["JUPYTER_PREFER_ENV_PATH"] == "1"

        def wait(self) -> int:
            if not self.interrupted:
                self.interrupted = True
                raise KeyboardInterrupt
            return 0

    monkeypatch.delenv("CI")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cli.subprocess, "Popen", Process)
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: object())
    code, _, err = command("lab")
    assert (code, err) == (0, "")
    (line,) = started
    assert line[:3] == [sys.executable, "-m", "jupyterlab"]
    assert "--ServerApp.ip=127.0.0.1" in line
    assert str(tmp_path / cli.TOUR) in line
    assert not (tmp_path / cli.PAGE).exists()


def test_lab_says_when_jupyterlab_is_missing(command: Command, tour: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    code, _, err = command("lab")
    assert code == 2
    assert "pip install jupyterlab" in err


def test_a_changed_tour_is_never_overwritten(tour: Path, tmp_path: Path) -> None:
    first = cli.copy_tour(tmp_path)
    assert cli.copy_tour(tmp_path) == first == tmp_path / "00_tour.ipynb"
    first.write_text("mine")
    second = cli.copy_tour(tmp_path)
    assert second == tmp_path / "00_tour-2.ipynb"
    assert (first.read_text(), second.read_bytes()) == ("mine", NOTEBOOK)
    assert cli.copy_tour(tmp_path) == second
    second.write_text("mine too")
    assert cli.copy_tour(tmp_path) == tmp_path / "00_tour-3.ipynb"


def test_the_tour_is_there_and_its_absence_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cli.tour_source().name == "00_tour.ipynb"
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "site" / "attrib_widgets" / "cli.py"))
    with pytest.raises(cli.CommandError, match=r"00_tour\.ipynb"):
        cli.tour_source()


@pytest.mark.parametrize(
    ("environ", "platform", "screen"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"DISPLAY": ":0", "CI": "true"}, "linux", False),
        ({}, "darwin", True),
        ({}, "win32", True),
        ({"CI": "1"}, "win32", False),
    ],
)
def test_has_screen(environ: dict[str, str], platform: str, screen: bool) -> None:
    assert cli.has_screen(environ, platform) is screen


def test_the_command_as_typed(tmp_path: Path) -> None:
    """The installed program, in a bare environment, with an error and without one."""
    program = Path(sys.executable).with_name("attrib-widgets" + (".exe" if os.name == "nt" else ""))
    assert program.is_file(), "the package is not installed in this environment"
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    line = [str(program), "explain", "The capital of France is", " Paris", "-o", "out.html"]
    done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Paris" in done.stdout
    assert (tmp_path / "out.html").is_file()
    line[-1] = "no/such/folder/out.html"  # refused before anything is loaded
    done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("attrib-widgets: ")
    assert "Traceback" not in done.stderr
