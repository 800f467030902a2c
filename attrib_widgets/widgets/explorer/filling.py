"""The screen fills in the order in which a person looks: what comes after the first draw, and when it is computed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import traitlets as t

from ..shapes import contract
from ..shapes.budget import Rest, first_screen
from ..transport import wire
from .beside import Beside

if TYPE_CHECKING:
    from ...model.running.worker import Idle, Job
    from ..questions.question import Explanation
    from ..shapes.budget import Further


class Filling(Beside):
    """A view whose trait ``container`` holds the first draw; ``screen`` and ``rest`` come later.

    The first screen is computed once the view is displayed, or a page has said hello; the rest only for a page, while
    the model's worker has nothing else to do. Both are dropped by the next question.
    """

    screen = t.Bytes().tag(sync=True)
    rest = t.Bytes().tag(sync=True)
    _greeted = False
    _filling: Explanation | None = None
    _screening: Job | None = None
    idle: Idle | None = None
    """The work in pieces that is done for the page; None before it has begun."""
    _version: int

    def _ipython_display_(self, **kwargs: Any) -> None:
        super()._ipython_display_(**kwargs)
        e = self._now
        try:
            self.fill()
        except Exception as error:  # the bars are there; what cannot be had is said where it is asked for
            self._do_without(e, error)

    def greeted(self) -> None:
        """A page said hello: it gets what it lacks."""
        self._greeted = True
        self._begin()

    def fill(self, rest: bool = False) -> None:
        """Compute what the first screen shows, now; with the ``rest`` what a page would get later, too."""
        e = self._now
        self._take_screen(e, first_screen(e))
        if rest:
            self._take_rest(e, Rest(e).all())

    def _begin(self) -> None:
        """Have the worker compute what the screen lacks, where somebody sees it."""
        with self.writing:
            e = self._now
            if self._filling is e or self.comm is None or not (self._greeted or self._stills):
                return
            self._filling = e
            self._screening = self.model.worker.submit(
                lambda job: self._fill(e, job), on_done=lambda job: self._go_on(e, job)
            )

    def _fill(self, e: Explanation, job: Job) -> None:
        found = first_screen(e, job)
        job.check()
        self._take_screen(e, found)

    def _go_on(self, e: Explanation, job: Job) -> None:
        if job.error is not None:
            self._do_without(e, job.error)
            return
        with self.writing:
            if job.state != "done" or self._filling is not e or self._screening is not job:
                return
            if self._greeted:
                self.idle = self.model.worker.idle(self._pieces(e), self.keep)
            else:
                self._filling = None  # a page that comes yet begins anew, and gets the rest

    def _do_without(self, e: Explanation, error: BaseException) -> None:
        """The page waits no longer: it asks for what it needs, and is told what is wrong."""
        self.keep(error)
        self._take_screen(e, ({"absent": {}}, {}))

    def _pieces(self, e: Explanation) -> Iterator[None]:
        work = Rest(e)
        pieces = work.pieces()
        while True:
            with self.model.lock:  # a cell that runs the model goes first
                try:
                    next(pieces)
                except StopIteration:
                    break
            yield
        if work.found is not None:
            self._take_rest(e, work.found)

    def _take_screen(self, e: Explanation, found: Further) -> None:
        with self.writing:
            if e is self._now:
                self.screen = self._further(found)

    def _take_rest(self, e: Explanation, found: Further) -> None:
        with self.writing:
            if e is self._now:
                self.rest = self._further(found)

    def _further(self, found: Further | None) -> bytes:
        if found is None:
            return b""
        header: contract.FurtherHeader = {**found[0], "kind": "further", "version": self._version}
        return wire.pack(header, found[1])

    def _known_further(self) -> None:
        """What is known of the explanation on the screen already, in the same message as its first draw."""
        e = self._now
        self.screen = self._further(e.parts.screen)
        self.rest = self._further(Rest(e).found)

    def _drop(self) -> None:
        """Compute nothing more for the explanation that was on the screen."""
        self._filling = None
        if self._screening is not None:
            self._screening.cancel()
        if self.idle is not None:
            self.idle.cancel()

    def close(self) -> None:
        """Cancel what is queued or running and leave the page."""
        super().close()
        self._drop()  # last: an answer that came meanwhile is of no page either
