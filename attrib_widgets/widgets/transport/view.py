"""The one widget class. Everything else in this package decides what it shows and what it answers.

State travels in five traits; ``container`` holds all numbers in one (see :mod:`.wire`). Requests travel as messages
``{v, id, op, args, got}`` and are answered by id with ``ack``, then ``progress``, and one of ``result``, ``error`` or
``cancelled``. The message handler never computes: it acknowledges, hands the work to the model's worker and
returns, so that a cancel gets through while work runs, whichever thread the kernel calls it on. What the worker
sends is numbered ``n`` and sent again by a handler until the page has ``got`` it (see :mod:`.outbox`); while a
request is open the page says ``poll`` now and then, so that there is a handler.
"""

from __future__ import annotations

import os
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets as t

from ...result import Result, Table, render_html, render_text, still, tabled
from ...words.errors import AttribError
from ...words.kinds import Kinds
from ..shapes import contract
from . import assets, page, saving, wire
from .outbox import Outbox, arrives, handling
from .requests import PROTOCOL, RELOAD, Operation, Reply, Request, RequestError, explained, short
from .traits import Selected, Source, hidden_parts, told_kinds

if TYPE_CHECKING:
    from ...model.running.worker import Job, Worker

#: Bytes of a form that an offline page carries.
LARGEST_SAVED = 60_000


#: Traits that the static picture shows.
PICTURED = frozenset({"container", "tested", "tests", "options"})


class View(anywidget.AnyWidget):
    """A view of a result.

    ``kind`` names the root component of the bundle and ``container`` holds its numbers. ``selected`` and ``source``
    are written by the person's clicks and by Python alike.
    """

    bundle = assets.VIEWS
    """The built files that draw it."""
    _esm = assets.script()
    _css = assets.style()
    kind = t.Unicode().tag(sync=True)
    container = t.Bytes().tag(sync=True)
    selected = Selected().tag(sync=True)
    source = Source(-1).tag(sync=True)
    options = t.Dict().tag(sync=True)
    #: traits that the browser writes, too
    checked: tuple[str, ...] = ("selected", "source")

    def __init__(
        self,
        kind: contract.Kind,
        container: bytes,
        shown: Result | Table | None = None,
        *,
        worker: Worker | None = None,
        hidden: Iterable[str] = (),
        kinds: Kinds | None = None,
        **traits: Any,
    ) -> None:
        # Guards trait writes only and is never held during a forward: a click must not wait for the model.
        # Order: this lock first, then the model's; nothing here takes it while holding the model's.
        self.writing = threading.RLock()
        self.last_error = ""
        """The traceback of the last request that failed, as text."""
        self._shown = shown
        self._worker = worker
        self._jobs: dict[str | int, tuple[str, Job]] = {}
        self.outbox = Outbox()
        """What a worker thread sent and the page has not confirmed."""
        self.from_browser = False
        self._stills: deque[Any] = deque(maxlen=8)
        options: contract.Options = {"hidden": hidden_parts(hidden), "still": token_hex(4)}
        if said := told_kinds(kinds or getattr(shown, "part_kinds", {})):
            options["kinds"] = said
        super().__init__(
            kind=kind,
            container=container,
            options=options,
            # One id for all subclasses with one bundle, so that a notebook holds one copy of the style sheet.
            _anywidget_id=f"attrib_widgets.{'View' if self.bundle is assets.VIEWS else type(self).__name__}",
            **traits,
        )
        self.on_msg(self._receive)

    # what subclasses fill in ------------------------------------------------------------------------------------

    def operations(self) -> Mapping[contract.Op, Operation]:
        """The requests this view answers, beside ``hello`` and ``cancel``."""
        return {}

    def at_once(self) -> Mapping[contract.Op, Callable[[Mapping[str, Any]], Mapping[str, Any]]]:
        """The requests that the handler itself answers: what takes no time, or has to be sent from there, as the
        opening of another widget, which a host that loses what threads send would never hear of."""
        return {}

    def label_of(self, value: Any) -> str:
        """``value`` as a selection of this view; ``""`` is none."""
        return "" if value is None else str(value)

    def source_of(self, value: int) -> int:
        """``value`` as a source position of this view; -1 is none."""
        return value

    def summary(self) -> Table:
        """What a place without widgets shows."""
        if self._shown is None:
            return Table(title=self.kind, columns=[], rows=[])
        return self._shown if isinstance(self._shown, Table) else tabled(self._shown)

    def shown(self) -> Result | Table:
        """What is on the screen: what is saved as a table."""
        return self.summary() if self._shown is None else self._shown

    def in_words(self) -> str:
        """What was asked, what came, and with which versions: a paragraph for a report."""
        return saving.paragraph(self.shown())

    # hidden parts -----------------------------------------------------------------------------------------------

    @property
    def hidden(self) -> tuple[str, ...]:
        """The parts that are covered until :meth:`reveal`: of candidates, values, detail, heads, corrupted, sum."""
        return tuple(self.options.get("hidden", ()))

    @hidden.setter
    def hidden(self, parts: Iterable[str]) -> None:
        with self.writing:
            self.options = {**self.options, "hidden": hidden_parts(parts)}

    def reveal(self) -> None:
        """Uncover every hidden part."""
        self.hidden = ()

    def uncover(self, parts: Iterable[str]) -> None:
        """Uncover what a page asks to see."""
        given = set(parts)
        self.hidden = [part for part in self.hidden if part not in given]

    def _op_reveal(self, args: Mapping[str, Any]) -> dict[str, Any]:
        self.uncover(args.get("parts") or ())
        return {}

    # display ----------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return render_text(self.summary())

    def _ipython_display_(self, **kwargs: Any) -> None:
        """Two outputs: the view, and the picture that stands for it in a notebook without its kernel."""
        self._stills.append(still.show(self._repr_mimebundle_(), self.options["still"]))

    def _still(self) -> dict[str, str]:
        """The table as text, and as HTML where it is not too large for that."""
        table = self.summary()
        static = render_html(table)
        return {"text/plain": render_text(table), **({"text/html": static} if static else {})}

    def _renew_stills(self) -> None:
        """The picture follows the screen, so that a saved notebook shows it as it last stood."""
        try:
            data = self._still()
            for handle in self._stills:
                still.renew(handle, data, self.options["still"])
        except Exception as error:  # a picture that is late costs nobody his answer
            self.keep(error)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        data: dict[str, Any] = {}
        metadata: dict[str, Any] = {}
        problems: list[str] = []
        try:
            bundle = super()._repr_mimebundle_(**kwargs)
            widget, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
            data.update(widget)
        except Exception as error:
            problems.append(f"no interactive view: {short(error)}")
        try:
            data |= self._still()
        except Exception as error:
            problems.append(f"no table: {short(error)}")
        if problems:
            reason = f"({'; '.join(problems)})"
            data["text/plain"] = "\n".join([data.get("text/plain", self.kind), reason])
        return data, metadata

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write the view as one offline HTML file that needs no kernel and no network; returns where it is."""
        return page.write(self.frozen_page(), path)

    def freeze(self) -> page.Frozen:
        """A display object that keeps drawing in a saved notebook, without a kernel."""
        return page.Frozen(self.frozen_page(framed=True), render_text(self.summary()))

    def frozen_page(self, *, framed: bool = False) -> str:
        """The offline page as text, for a file or for a frame."""
        return page.page(self.summary().title, self.page_traits(), self.bundle, framed=framed)

    def page_traits(self) -> dict[str, Any]:
        """The traits that the offline page starts from."""
        options = {name: value for name, value in self.options.items() if name != "still"}
        return {
            "kind": self.kind,
            "container": self.container,
            "selected": self.selected,
            "source": self.source,
            "options": {**options, "static": True, "saved": self._saved_for_page(), "words": saving.meanings()},
        }

    def _saved_for_page(self) -> dict[str, contract.Saved]:
        """What the offline page lets one save, as far as it is small; nothing of what is hidden."""
        if self.hidden:
            return {}
        found: dict[str, contract.Saved] = {}
        for form in ("svg", "csv", "txt"):
            try:
                made = self.saved(form)
            except AttribError:  # no pandas
                continue
            if len(made["text"]) <= LARGEST_SAVED:
                found[form] = made
        return found

    def saved(self, form: contract.Form) -> contract.Saved:
        """The view as a file: ``"svg"`` its picture, ``"csv"`` all its rows, ``"txt"`` a paragraph, ``"html"`` a page.

        Raises:
            AttribError: another form, or no pandas for a table.
        """
        return saving.saved(self.shown(), self.summary(), form, self.in_words, self.frozen_page)

    # requests ---------------------------------------------------------------------------------------------------

    def _receive(self, _widget: Any, content: Any, _buffers: Any) -> None:
        try:
            request = Request.read(content)
        except RequestError as error:
            with handling():
                self._answer(content.get("id") if isinstance(content, Mapping) else None, "error", **explained(error))
            return
        with handling():
            self.outbox.got(request.got)
            if request.op == "cancel":
                self._cancel(request.id)
            else:
                self._answer(request.id, "ack")
                self._take(request)
            self._send_again()

    def _take(self, request: Request) -> None:
        """Answer, or hand to the worker, what was acknowledged."""
        if request.op == "poll":
            return
        if request.op == "hello":
            self._answer(request.id, "result", data={})
            self.greeted()
            return
        if request.op == "reveal":
            self._answer_now(request, self._op_reveal)
            return
        if request.op == "words":
            self._answer(request.id, "result", data=saving.meanings())
            return
        # A page and a paragraph may run the model; the others are on the screen, and need not wait for a test.
        if request.op == "save" and (self._worker is None or request.args.get("form") not in ("html", "txt")):
            self._answer_now(request, lambda args: self.saved(args.get("form")))  # type: ignore[arg-type]
            return
        if (now := self.at_once().get(request.op)) is not None:  # type: ignore[call-overload]
            self._answer_now(request, now)
            return
        operation = self._op_save if request.op == "save" else self.operations().get(request.op)  # type: ignore[call-overload]
        if operation is None or self._worker is None:
            unknown = RequestError(f"This view does not know the operation {request.op!r}.", RELOAD)
            self._answer(request.id, "error", **explained(unknown))
            return
        self.before(request)
        self._start(self._worker, request, operation)

    def _answer_now(self, request: Request, operation: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        try:
            self._answer(request.id, "result", data=operation(request.args))
        except Exception as error:
            self.keep(error)
            self._answer(request.id, "error", **explained(error))

    def _op_save(self, job: Job, args: Mapping[str, Any]) -> Reply:
        return Reply(self.saved(args["form"]))

    def before(self, request: Request) -> None:
        """A place to cancel what ``request`` makes pointless."""

    def greeted(self) -> None:
        """A page said that it is there."""

    def jobs(self, op: str | None = None) -> list[tuple[str | int, Job]]:
        """The requests (of one operation) that are queued or running, oldest first."""
        return [(id, job) for id, (name, job) in list(self._jobs.items()) if op in (None, name)]

    def _start(self, worker: Worker, request: Request, operation: Operation) -> None:
        def progress(done: int, total: int, note: str) -> None:
            self._answer(request.id, "progress", done=done, total=total, note=note)

        def done(job: Job) -> None:
            if self._jobs.get(request.id) == (request.op, job):
                self._jobs.pop(request.id, None)
            self._report(request.id, job)

        job = worker.submit(lambda job: operation(job, request.args), on_progress=progress)
        self._jobs[request.id] = request.op, job
        # Attached last: a job that has ended by now is taken off the table all the same.
        job.on_done(done)

    def _report(self, id: str | int, job: Job) -> None:
        if job.state == "cancelled":
            self._answer(id, "cancelled")
        elif job.error is not None:
            self.keep(job.error)
            self._answer(id, "error", **explained(job.error))
        else:
            reply: Reply = job.result
            self._answer(id, "result", data=reply.data, container=reply.container)

    def keep(self, error: BaseException) -> None:
        """Keep the traceback of an error that no cell shows."""
        # As text: a kept exception would keep every tensor of its frames.
        self.last_error = "".join(traceback.format_exception(error))

    def _cancel(self, id: str | int) -> None:
        _, job = self._jobs.get(id, ("", None))
        if job is None:  # over already, or never came: say so, that nobody waits
            self._answer(id, "cancelled")
        else:
            job.cancel()

    def _answer(self, id: str | int | None, kind: contract.Said, container: bytes | None = None, **more: Any) -> None:
        if self.comm is None:
            return
        message = wire.plain({"v": PROTOCOL, "id": id, "kind": kind, **more})
        buffers = None if container is None else [container]
        self.send(message if arrives() else self.outbox.keep(message, buffers), buffers=buffers)

    def send_state(self, key: Any = None) -> None:
        """Send traits to the page; those that a worker thread changed are sent again until the page has them."""
        super().send_state(key)
        if self._stills and PICTURED & ({key} if isinstance(key, str) else set(key or ())):
            self._renew_stills()  # here, and not trait by trait: what changes together is drawn once
        if key is None or arrives() or self.comm is None:
            return
        number = self.outbox.changed([key] if isinstance(key, str) else key)
        self.send({"v": PROTOCOL, "id": None, "kind": "traits", "n": number})

    def _send_again(self) -> None:
        """Send what the page has not confirmed."""
        for number, sent in self.outbox.rest():
            if sent.message is None:
                with self.writing:  # what a worker is about to change together is sent together
                    super().send_state(set(sent.traits))
                self.send({"v": PROTOCOL, "id": None, "kind": "traits", "n": number})
            else:
                self.send(sent.message, buffers=sent.buffers)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take over what the browser wrote: a selection. What does not fit this state is answered with it."""
        ours = ("kind", "container", "screen", "rest", "options", "tested", "tests", "without", "_esm", "_css")
        with self.writing, handling():
            self.from_browser = True
            try:
                super().set_state({name: value for name, value in sync_data.items() if name not in ours})
            except (AttribError, t.TraitError):
                self.send_state(list(self.checked))
            finally:
                self.from_browser = False

    def __del__(self) -> None:
        if "_jobs" in vars(self):  # else its constructor failed, and there is nothing to close
            super().__del__()

    def close(self) -> None:
        """Cancel what is queued or running and leave the page."""
        for _, job in self.jobs():
            job.cancel()
        super().close()
