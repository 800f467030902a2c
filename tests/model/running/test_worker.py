"""The worker: one thread, first come first served, and nothing left behind."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from attrib_widgets.model.running.worker import Cancelled, Worker


def test_jobs_run_in_order_on_one_other_thread():
    worker, seen = Worker(), []
    jobs = [worker.submit(lambda job, i=i: seen.append((i, threading.current_thread())) or i * i) for i in range(5)]
    assert all(job.wait(5) for job in jobs)
    assert [i for i, _ in seen] == list(range(5))
    assert {t for _, t in seen} == {seen[0][1]} and seen[0][1] is not threading.current_thread()
    assert [job.result for job in jobs] == [0, 1, 4, 9, 16]
    assert seen[0][1].daemon


def test_no_thread_before_the_first_job():
    before = threading.active_count()
    worker = Worker()
    assert threading.active_count() == before
    assert worker.submit(lambda job: None).wait(5)


def test_errors_do_not_end_the_worker():
    worker = Worker()

    def fail(job):
        raise KeyError("no")

    bad, good = worker.submit(fail), worker.submit(lambda job: 1)
    assert good.wait(5) and good.result == 1
    assert bad.state == "failed" and isinstance(bad.error, KeyError)


def test_a_queued_job_is_cancelled_at_once_and_never_runs():
    worker, gate, ran, told = Worker(), threading.Event(), [], []
    first = worker.submit(lambda job: gate.wait(5))
    second = worker.submit(lambda job: ran.append(1), on_done=told.append)
    second.cancel()
    assert second.finished and told == [second]
    gate.set()
    third = worker.submit(lambda job: None)
    assert first.wait(5) and third.wait(5)
    assert not ran and second.state == "cancelled"


def test_a_running_job_stops_at_its_next_check():
    worker, started, steps = Worker(), threading.Event(), []

    def work(job):
        for i in range(1000):
            job.progress(i, 1000, "step")
            steps.append(i)
            started.set()
            threading.Event().wait(0.002)

    job = worker.submit(work)
    assert started.wait(5)
    job.cancel()
    assert job.wait(5) and job.state == "cancelled" and job.cancelled and len(steps) < 1000
    with pytest.raises(Cancelled):
        job.check()


def test_progress_and_done_listeners():
    worker, heard, told = Worker(), [], []
    job = worker.submit(
        lambda job: [job.progress(i, 3, "n") for i in range(3)],
        on_progress=lambda *a: heard.append(a),
        on_done=lambda job: told.append(job.state),
    )
    assert job.wait(5)
    job.on_done(lambda job: told.append("late"))
    worker.submit(lambda job: None).wait(5)
    assert heard == [(0, 3, "n"), (1, 3, "n"), (2, 3, "n")] and told == ["done", "late"]


def test_a_failing_listener_silences_nobody():
    worker, told = Worker(), []

    def bad(job):
        raise OSError("closed")

    gate = threading.Event()
    job = worker.submit(lambda job: gate.wait(5))
    job.on_done(bad)
    job.on_done(told.append)
    gate.set()
    assert worker.submit(lambda job: None).wait(5) and told == [job]


def test_nothing_is_left_when_the_owner_goes():
    class Owner:
        def __init__(self):
            self.worker = Worker("aw-test-leak")

    owner = Owner()
    job = owner.worker.submit(lambda job, owner=owner: id(owner))
    assert job.wait(5)
    thread = owner.worker._thread
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None, "the thread or the finished job keeps the model alive"
    thread.join(5)
    assert not thread.is_alive()


def test_the_owner_may_go_inside_its_own_last_job():
    class Owner:
        def __init__(self):
            self.worker = Worker("aw-test-last")

    owner = Owner()
    gate = threading.Event()
    owner.worker.submit(lambda job, owner=owner: gate.wait(5))
    thread = owner.worker._thread
    del owner
    gate.set()
    thread.join(5)
    assert not thread.is_alive()
