"""A real kernel in place of the page: requests are answered while a cell is running."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

jupyter_client = pytest.importorskip("jupyter_client")
ipykernel = pytest.importorskip("ipykernel")
SUBSHELLS = int(ipykernel.__version__.split(".")[0]) >= 7
needs_subshells = pytest.mark.skipif(not SUBSHELLS, reason="older kernels answer between cells only")

ROOT = Path(__file__).parents[2]
START = """

import torch; torch.set_num_threads(1)
import attrib_widgets as aw
model = aw.load("demo")
ex = aw.explore(model)
single = aw.attribute(model.run("When Mary and John went to the shop, John gave the bag to"), " Mary").values
print(ex.model_id)
"""
BUSY = """
import time
end = time.time() + 60
same = 0
while ex.run.text.startswith("The capital of France") and time.time() < end:
    a = aw.attribute(model.run("When Mary and John went to the shop, John gave the bag to"), " Mary")
    assert torch.equal(a.values, single)
    same += 1
alone = aw.attribute(model.run("The capital of Japan is"), ex.attribution.target)
print("during the cell:", ex.run.text, same > 0, torch.equal(alone.values, ex.attribution.values))
"""

SLOW = """
import time
from attrib_widgets.model.tracing import sweep
passes, quick = [], sweep._run
sweep.rows_that_fit = lambda *given: 2
def slow(one, swept):
    passes.append(one)
    time.sleep(0.4)
    return quick(one, swept)
sweep._run = slow
"""


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    manager = jupyter_client.KernelManager()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def printed(client, code):
    """Run a cell and return what it printed."""
    out = []
    client.execute_interactive(
        code,
        timeout=120,
        output_hook=lambda m: out.append(m["content"].get("text") or "\n".join(m["content"].get("traceback", []))),
    )
    return "".join(filter(None, out))


def say(client, comm_id, subshell, id, op, **args):
    """Send a request as JupyterLab does: over the subshell of the comm."""
    content = {"v": 1, "id": id, "op": op, "args": args}
    message = client.session.msg("comm_msg", {"comm_id": comm_id, "data": {"method": "custom", "content": content}})
    message["header"]["subshell_id"] = subshell
    client.shell_channel.send(message)


def hear(client, done):
    """Collect what the kernel says until ``done(kinds, cells that ended)``: (kinds, state updates, printed text)."""
    kinds, updates, text, ended = [], 0, "", set()
    end = time.monotonic() + 120
    while not done(kinds, ended):
        assert time.monotonic() < end, (kinds, text)
        got = client.get_iopub_msg(timeout=120)
        body = got["content"]
        if got["msg_type"] == "comm_msg" and body["data"]["method"] == "custom":
            kinds.append(body["data"]["content"]["kind"])
        elif got["msg_type"] == "comm_msg" and ["container"] in body["data"].get("buffer_paths", []):
            assert "result" not in kinds, "the state arrives before the result"
            updates += 1
        elif got["msg_type"] == "stream":
            text += body["text"]
        elif got["msg_type"] == "error":
            pytest.fail("\n".join(body["traceback"]))
        elif body.get("execution_state") == "idle":
            ended.add(got["parent_header"].get("msg_id"))
    return kinds, updates, text


def new_subshell(client):
    client.control_channel.send(client.session.msg("create_subshell_request", {}))
    return client.get_control_msg(timeout=30)["content"]["subshell_id"]


@pytest.mark.parametrize("route", ["shell", pytest.param("subshell", marks=needs_subshells)])
def test_an_experiment_is_cancelled_within_one_pass(client, route):
    """With subshells and without: the work is on a thread of its own, so the cancel gets through."""
    comm_id = printed(client, START).strip().splitlines()[-1]
    printed(client, SLOW)
    subshell = new_subshell(client) if route == "subshell" else None
    say(client, comm_id, subshell, "t", "verify", top=10)
    hear(client, lambda kinds, ended: kinds.count("progress") >= 3)
    say(client, comm_id, subshell, "t", "cancel")
    kinds, _, _ = hear(client, lambda kinds, ended: "cancelled" in kinds or "result" in kinds)
    assert kinds[-1] == "cancelled"
    assert kinds.count("progress") <= 2, "at most the pass that was running ends"
    passes = int(printed(client, "print(len(passes))"))
    assert int(printed(client, "time.sleep(1.5); print(len(passes))")) == passes, "something goes on after the cancel"
    assert printed(client, "print(ex.tested)").strip() == "{}"


@needs_subshells
def test_requests_are_answered_during_a_cell(client):
    comm_id = printed(client, START).strip().splitlines()[-1]
    subshell = new_subshell(client)
    say(client, comm_id, subshell, "r0", "hello")
    kinds, _, _ = hear(client, lambda kinds, ended: "result" in kinds)
    assert kinds == ["ack", "result"]
    cell = client.execute(BUSY)
    say(client, comm_id, subshell, "r1", "explain", prompt="The capital of Japan is")
    kinds, updates, text = hear(client, lambda kinds, ended: cell in ended and "result" in kinds)
    assert kinds[0] == "ack"
    assert updates == 1
    assert text.strip() == "during the cell: The capital of Japan is True True"
