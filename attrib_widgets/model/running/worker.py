"""One worker thread per model: a message handler hands work over and returns at once.

Idle work is done in pieces while nothing else is asked: a job that comes waits for one piece at most.

Nothing here knows about models. The work takes ``Model.lock`` itself around each forward, so that a cell and the
worker take turns forward by forward, not request by request.
"""

from __future__ import annotations

import contextvars
import itertools
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, Literal

State = Literal["queued", "running", "done", "failed", "cancelled"]
ProgressListener = Callable[[int, int, str], None]
DoneListener = Callable[["Job"], None]

_numbers = itertools.count(1)


class Cancelled(Exception):
    """Raised inside the work by :meth:`Job.check` after somebody called :meth:`Job.cancel`."""


def _nothing(job: Job) -> None:
    """The work of a job that only carries progress and cancel."""


class Job:
    """One piece of work: ``work(job)`` runs on the worker thread and may report progress and ask whether to stop.

    ``state`` moves from queued to running to one of done (``result``), failed (``error``) or cancelled. A job that
    is cancelled before it starts never runs.
    """

    def __init__(self, work: Callable[[Job], Any], on_progress: ProgressListener | None = None) -> None:
        self.id = next(_numbers)
        self.state: State = "queued"
        self.result: Any = None
        self.error: BaseException | None = None
        self._work: Callable[[Job], Any] | None = work
        # The kernel remembers in context variables which message it is answering. ipykernel 7.4 also reads there
        # where to deliver the next one: without them it would come back to the main thread, behind a running cell.
        self._context = contextvars.copy_context()
        self._on_progress = on_progress
        self._on_done: list[DoneListener] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._finished = threading.Event()

    def __repr__(self) -> str:
        return f"<Job {self.id}: {self.state}>"

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked this job to stop (it may still be on its way to the next check)."""
        return self._stop.is_set()

    @property
    def finished(self) -> bool:
        """Whether the job has ended, in whatever way."""
        return self._finished.is_set()

    def cancel(self) -> None:
        """Ask the job to stop: at once when it is queued, at its next check when it runs."""
        self._stop.set()
        with self._lock:
            queued = self.state == "queued"
            if queued:
                self.state = "cancelled"
        if queued:
            self._finish()

    def check(self) -> None:
        """Raise :class:`Cancelled` when the job was asked to stop. Work calls this between its steps."""
        if self._stop.is_set():
            raise Cancelled("The request was cancelled.")

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Report that ``done`` of ``total`` steps are finished; also a place where the job may stop."""
        self.check()
        if self._on_progress is not None:
            self._on_progress(done, total, note)

    def stage(self, start: int, total: int, note: str) -> Job:
        """A job for one stage of this one: its progress counts on from ``start`` of ``total``, and it stops with it."""
        part = Job(_nothing, lambda done, _total, _note: self.progress(start + done, total, note))
        part._stop = self._stop
        return part

    def on_done(self, listener: DoneListener) -> None:
        """Call ``listener(job)`` once the job has ended; at once when it already has."""
        with self._lock:
            if not self.finished:
                self._on_done.append(listener)
                return
        listener(self)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the job has ended; False when ``timeout`` seconds passed first."""
        return self._finished.wait(timeout)

    def run(self) -> None:
        """Do the work on the calling thread (the worker calls this), in the context of whoever asked for it."""
        self._context.run(self._run)

    def _run(self) -> None:
        with self._lock:
            if self.state != "queued":
                return
            self.state = "running"
        assert self._work is not None
        try:
            self.check()
            self.result = self._work(self)
            state: State = "done"
        except Cancelled:
            state = "cancelled"
        except BaseException as error:  # the worker thread must outlive whatever the work raises
            self.error, state = error, "failed"
        with self._lock:
            self.state = state
        self._finish()

    def _finish(self) -> None:
        with self._lock:
            self._finished.set()
            listeners, self._on_done = self._on_done, []
            # The closures hold the model: an ended job that somebody keeps must not keep it alive.
            self._work = self._on_progress = None
        for listener in listeners:
            try:
                listener(self)
            except Exception:  # a listener that fails (a closed comm) must not silence the others
                continue


class Idle:
    """Work in pieces that nobody waits for: ``pieces`` is asked for the next one when nothing else is to do.

    ``done`` counts those that ran. An error ends it and is given to ``on_error``.
    """

    def __init__(self, pieces: Iterator[object], on_error: Callable[[BaseException], object]) -> None:
        self.done = 0
        self._pieces: Iterator[object] | None = pieces
        self._context = contextvars.copy_context()  # as a job has it: what a piece sends is sent from there
        self._on_error = on_error

    @property
    def over(self) -> bool:
        """Whether nothing more will be done."""
        return self._pieces is None

    def cancel(self) -> None:
        """Do no other piece."""
        self._pieces = None

    def piece(self) -> None:
        """Do the next piece."""
        pieces = self._pieces
        if pieces is None:
            return
        try:
            self._context.run(next, pieces)
            self.done += 1
        except StopIteration:
            self._pieces = None
        except BaseException as error:  # as of a job: the worker thread outlives it
            self._pieces = None
            self._on_error(error)


class Worker:
    """A queue and one daemon thread, started on first use; jobs run one at a time in the order they came.

    The thread holds the queue, never the worker: when the worker (and with it the model) is garbage-collected, a
    stop mark enters the queue and the thread ends.
    """

    def __init__(self, name: str = "attrib_widgets") -> None:
        self.name = name
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._idle: deque[Idle] = deque()
        self._start = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(
        self,
        work: Callable[[Job], Any],
        *,
        on_progress: ProgressListener | None = None,
        on_done: DoneListener | None = None,
    ) -> Job:
        """Queue ``work(job)`` and return its job at once."""
        job = Job(work, on_progress)
        if on_done is not None:
            job.on_done(on_done)
        self._serve_with(job)
        return job

    def idle(self, pieces: Iterator[object], on_error: Callable[[BaseException], object]) -> Idle:
        """Do ``pieces`` one by one while no job waits; returns what counts and cancels them at once."""
        work = Idle(pieces, on_error)
        self._idle.append(work)
        self._serve_with(Job(_nothing))  # wakes the thread
        return work

    def _serve_with(self, job: Job) -> None:
        with self._start:
            # Also restarts after a fork, which copies the worker but not its thread.
            if self._thread is None or not self._thread.is_alive():
                given = (self._queue, self._idle)
                self._thread = threading.Thread(target=_serve, args=given, name=self.name, daemon=True)
                self._thread.start()
                weakref.finalize(self, self._queue.put, None).atexit = False
        self._queue.put(job)


def _serve(queue: SimpleQueue[Job | None], idle: deque[Idle]) -> None:
    while True:
        try:
            job = queue.get(block=not idle)
        except Empty:
            _do_a_piece(idle)
            continue
        if job is None:
            return
        job.run()
        del job  # otherwise this name would keep the last job's result while the thread waits


def _do_a_piece(idle: deque[Idle]) -> None:
    idle[0].piece()
    if idle[0].over:
        idle.popleft()
