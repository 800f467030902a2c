"""The request protocol of a view, with slow and failing operations in place of a model."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest

from attrib_widgets.model.running.worker import Worker
from attrib_widgets.result import Table
from attrib_widgets.widgets.transport import wire
from attrib_widgets.widgets.transport.requests import Reply
from attrib_widgets.widgets.transport.view import View
from attrib_widgets.words.errors import AttribError, TargetError


class Slow(View):
    """A view whose operations wait for the test."""

    def __init__(self, worker):
        self.gate = threading.Event()
        self.started = threading.Event()
        self.ran = []
        super().__init__("test", wire.pack({"kind": "test"}, {}), Table("A test", [], []), worker=worker)

    def operations(self):
        return {
            "slow": self.slow,
            "quick": self.quick,
            "refuse": self.refuse,
            "crash": self.crash,
            "numbers": self.numbers,
        }

    def slow(self, job, args):
        self.started.set()
        for step in range(500):
            job.progress(step, 500, "waiting")
            if self.gate.wait(0.01):
                return Reply({"steps": step})
        raise AssertionError("the test never opened the gate")

    def quick(self, job, args):
        self.ran.append(args)
        return Reply({"echo": dict(args), "nan": float("nan")})

    def refuse(self, job, args):
        error = TargetError("' Foo' is two tokens.", "Try ' F'.")
        error.field = "target"
        raise error

    def crash(self, job, args):
        raise ZeroDivisionError("boom")

    def numbers(self, job, args):
        return Reply({"id": "L0H0"}, wire.pack({"kind": "head"}, {"a": wire.store([1.0])}))


@pytest.fixture
def view():
    view = Slow(Worker())
    yield view
    view.gate.set()
    view.close()


def test_acknowledged_before_any_work(view, browser):
    talk = browser(view)
    began = time.perf_counter()
    talk.say("a", "slow")
    assert time.perf_counter() - began < 0.2, "the handler waited for the work"
    assert talk.kinds("a")[0] == "ack"
    assert view.started.wait(5)
    view.gate.set()
    assert talk.last("a")["data"]["steps"] >= 0
    kinds = talk.kinds("a")
    assert kinds[0] == "ack" and kinds[-1] == "result" and set(kinds[1:-1]) == {"progress"}
    step = talk.answers("a")[1]
    assert step == {"v": 1, "id": "a", "n": 1, "kind": "progress", "done": 0, "total": 500, "note": "waiting"}


def test_handler_returns_while_a_slow_job_runs(view, browser):
    talk = browser(view)
    talk.say("a", "slow")
    assert view.started.wait(5)
    began = time.perf_counter()
    for i in range(20):
        talk.say(f"b{i}", "quick", i=i)
    talk.say("h", "hello")
    assert time.perf_counter() - began < 0.5
    assert talk.kinds("h") == ["ack", "result"], "hello needs no worker"
    assert all(talk.kinds(f"b{i}") == ["ack"] for i in range(20)) and not view.ran
    view.gate.set()
    assert talk.last("b19")["data"] == {"echo": {"i": 19}, "nan": None}
    assert [a["i"] for a in view.ran] == list(range(20))


def test_cancel_between_steps(view, browser):
    talk = browser(view)
    talk.say("a", "slow")
    talk.say("b", "quick")
    assert view.started.wait(5)
    talk.say("b", "cancel")  # queued: over at once
    assert talk.kinds("b") == ["ack", "cancelled"]
    talk.say("a", "cancel")
    assert talk.last("a")["kind"] == "cancelled" and not view.ran
    talk.say("a", "cancel")  # over already
    talk.say("never", "cancel")
    assert talk.last("never") == {"v": 1, "id": "never", "kind": "cancelled"}
    assert view.jobs() == []


def test_a_refusal_carries_hint_and_field(view, browser):
    talk = browser(view)
    talk.say(7, "refuse")
    assert talk.last(7) == {
        "v": 1,
        "id": 7,
        "n": 1,
        "kind": "error",
        "message": "' Foo' is two tokens.",
        "hint": "Try ' F'.",
        "field": "target",
    }


def test_any_exception_is_answered_and_kept(view, browser):
    talk = browser(view)
    talk.say("a", "crash")
    answer = talk.last("a")
    assert answer["kind"] == "error" and answer["message"] == "ZeroDivisionError: boom"
    assert "last_error" in answer["hint"] and "field" not in answer
    assert "in crash" in view.last_error
    talk.say("b", "quick")
    assert talk.last("b")["kind"] == "result"


def test_numbers_travel_in_a_buffer(view, browser):
    talk = browser(view)
    talk.say("a", "numbers")
    assert talk.last("a")["data"] == {"id": "L0H0"}
    assert wire.unpack(talk.buffers("a")[0])[1]["a"].tolist() == [1]


@pytest.mark.parametrize(
    "message",
    [
        None,
        [],
        "hello",
        {},
        {"v": 1},
        {"v": 1, "id": True, "op": "hello"},
        {"v": 1, "id": "a"},
        {"v": 1, "id": "a", "op": 3},
        {"v": 1, "id": "a", "op": "quick", "args": [1]},
        {"v": 2, "id": "a", "op": "quick", "args": {}},
        {"v": 1, "id": "a", "op": "__class__", "args": {}},
        {"v": 1, "id": "a", "op": "nonsense", "args": {}},
    ],
)
def test_malformed_messages_are_answered(view, message, browser):
    talk = browser(view)
    talk.raw(message)
    answer = talk.sent[-1][0]
    assert answer["kind"] == "error" and answer["message"] and answer["hint"]
    assert answer["id"] == (message.get("id") if isinstance(message, dict) else None)
    assert not view.ran


def test_another_version_says_so(view, browser):
    talk = browser(view)
    talk.raw({"v": 2, "id": "a", "op": "quick", "args": {}})
    assert "version 2" in talk.last("a")["message"]


def test_two_views_share_a_worker_and_not_their_ids(browser):
    worker = Worker()
    one, two = Slow(worker), Slow(worker)
    talk_one, talk_two = browser(one), browser(two)
    talk_one.say("a", "slow")
    talk_two.say("a", "quick")
    assert one.started.wait(5) and talk_two.kinds("a") == ["ack"]
    talk_two.say("a", "cancel")
    assert talk_two.last("a")["kind"] == "cancelled"
    one.gate.set()
    assert talk_one.last("a")["kind"] == "result"
    one.close(), two.close()


def test_closing_cancels(view, browser):
    talk = browser(view)
    talk.say("a", "slow")
    talk.say("b", "quick")
    assert view.started.wait(5)
    jobs = [job for _, job in view.jobs()]
    view.close()
    assert all(job.wait(5) for job in jobs) and [job.state for job in jobs] == ["cancelled"] * 2
    talk.raw({"v": 1, "id": "c", "op": "quick"})  # a late message from a page that is still open
    assert "c" not in {m["id"] for m, _ in talk.sent}


def test_a_closed_view_is_freed():
    view = Slow(Worker())
    gone = weakref.ref(view)
    view.close()
    del view
    gc.collect()
    assert gone() is None


def test_browser_writes_selection_only(view):
    state = view.container
    view.set_state({"container": b"x", "kind": "other", "options": {"hidden": []}, "selected": "L1H1", "source": 2})
    assert (view.container, view.kind, view.selected, view.source) == (state, "test", "L1H1", 2)


def test_hidden_parts(view):
    view.hidden = ["candidates", "values"]
    assert view.hidden == ("candidates", "values") and view.options["hidden"] == ["candidates", "values"]
    with pytest.raises(AttribError, match="no part called 'bars'"):
        view.hidden = ["bars"]
    assert view.hidden == ("candidates", "values")
    view.hidden = "compare"  # as version 0.1 called it
    assert view.hidden == ("corrupted",)
    view.hidden = "map"
    assert view.hidden == ("heads",)
    view.reveal()
    assert view.hidden == ()
