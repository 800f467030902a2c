"""A front end that loses whatever a worker thread sends, messages and traits alike, still gets all of it."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from attrib_widgets.widgets.transport import outbox, wire

JAPAN = "The capital of Japan is"


class Lossy:
    """The page in a host that drops what is sent outside cells and handlers; it polls as the real one does."""

    def __init__(self, view: Any) -> None:
        self.view = view
        self.lost = 0
        self.traits: dict[str, Any] = {}
        self.heard: list[dict[str, Any]] = []
        self._got: list[int] = []
        view._send = self._arrive

    def _arrive(self, message: dict[str, Any], buffers: list[Any] | None = None) -> None:
        if threading.current_thread() is not threading.main_thread():
            self.lost += 1
        elif message["method"] == "update":
            paths = message.get("buffer_paths", [])
            binary = {path[0]: bytes(b) for path, b in zip(paths, buffers or [], strict=True)}
            self.traits.update(message["state"], **binary)
        else:
            content = {**message["content"], "buffers": [bytes(b) for b in buffers or []]}
            self.heard.append(content)
            if "n" in content:
                self._got.append(content["n"])

    def say(self, id: str, op: str, /, **args: Any) -> None:
        got, self._got = self._got, []
        self.view._handle_custom_msg({"v": 1, "id": id, "op": op, "args": args, "got": got}, [])

    def said(self, id: str, *kinds: str) -> list[dict[str, Any]]:
        return [m for m in self.heard if m["id"] == id and m["kind"] in kinds]

    def ask(self, id: str, op: str, /, **args: Any) -> dict[str, Any]:
        """Ask, and poll until the answer is here."""
        self.say(id, op, **args)
        return self.wait(id)

    def wait(self, id: str, seconds: float = 60) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while not (final := self.said(id, "result", "error", "cancelled")):
            assert time.monotonic() < end, f"no answer to {id} arrived"
            time.sleep(0.02)
            self.say(f"poll {time.monotonic()}", "poll")
        return final[0]


@pytest.fixture
def lossy(explorer):
    return Lossy(explorer)


def test_a_question_a_test_and_features_arrive(lossy: Lossy):
    view = lossy.view
    view.selected = "L3H1"
    assert lossy.traits["selected"] == "L3H1", "a cell's own writes arrive"
    assert lossy.ask("q", "explain", prompt=JAPAN)["kind"] == "result"
    header, _ = wire.unpack(lossy.traits["container"])
    assert view.run.text == JAPAN and header["version"] == view._version
    assert lossy.lost > 0, "the host lost nothing, and nothing was tested"
    assert lossy.ask("f", "features", id="L3H1")["data"]["numbers"]
    assert lossy.ask("h", "head", id="L2H5")["buffers"]
    assert lossy.ask("e", "feature", id="nonsense")["kind"] == "error"


def test_the_verdicts_arrive(lossy: Lossy):
    told = lossy.ask("t", "verify", top=3)
    assert told["data"]["title"] == lossy.view.verdicts.title()
    assert len(lossy.traits["tested"]["findings"]) == len(lossy.view.verdicts.findings)


def test_the_latest_progress_and_a_cancel_arrive(lossy: Lossy):
    gate, view = threading.Event(), lossy.view
    steps = threading.Event()

    def slow(job, args):
        for done in range(3):
            job.progress(done, 9, f"step {done}")
        steps.set()
        while not gate.wait(0.01):
            job.check()
        raise AssertionError("it was not cancelled")

    view.operations = lambda: {"explain": slow}
    lossy.say("s", "explain", prompt=JAPAN)
    assert steps.wait(5) and not lossy.said("s", "progress")
    lossy.say("p", "poll")
    assert [m["note"] for m in lossy.said("s", "progress")] == ["step 2"]
    lossy.say("s", "cancel")
    assert lossy.wait("s")["kind"] == "cancelled"
    gate.set()


def test_what_was_confirmed_is_sent_once(lossy: Lossy):
    lossy.ask("q", "explain", prompt=JAPAN)
    lossy.say("p", "poll")
    assert len(lossy.view.outbox) == 0
    count, lossy.traits = len(lossy.heard), {}
    lossy.say("p2", "poll")
    assert [m["kind"] for m in lossy.heard[count:]] == ["ack"] and lossy.traits == {}


def test_a_host_that_loses_nothing_is_sent_nothing_twice(explorer, browser):
    talk = browser(explorer)
    talk.say("q", "explain", prompt=JAPAN)
    assert talk.last("q")["kind"] == "result"
    numbers = [m["n"] for m, _ in talk.sent if "n" in m]
    assert numbers == sorted(set(numbers)) and numbers
    count = len(talk.sent)
    talk.raw({"v": 1, "id": "p", "op": "poll", "got": numbers})
    assert [m["kind"] for m, _ in talk.sent[count:]] == ["ack"] and len(explorer.outbox) == 0


def test_nonsense_is_confirmed_by_nobody(explorer, browser):
    talk = browser(explorer)
    talk.say("q", "explain", prompt=JAPAN)
    talk.last("q")
    kept = len(explorer.outbox)
    for got in (None, "all", {"n": 1}, [None, "1", 1e9], 7):
        talk.raw({"v": 1, "id": "p", "op": "poll", "got": got})
    assert len(explorer.outbox) == kept > 0


def test_a_page_that_went_away_costs_no_memory():
    kept = outbox.Outbox()
    for i in range(3 * outbox.LARGEST):
        kept.keep({"id": i, "kind": "result"}, [b"x"])
        kept.changed(["container"])
    assert len(kept) == outbox.LARGEST
    assert max(n for n, _ in kept.rest()) == 6 * outbox.LARGEST


def test_an_answer_never_overtakes_the_traits_that_it_speaks_of():
    """They changed before it, and once more after it: one change, with a number behind that of the answer."""
    kept = outbox.Outbox()
    kept.changed(["container"])
    kept.keep({"id": "q", "kind": "result"}, None)
    kept.changed(["screen"])
    (_, first), (_, second) = kept.rest()
    assert first.traits == {"container", "screen"}
    assert second.message and second.message["id"] == "q"
