"""A stand-in for the browser, as a fixture."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest


class Browser:
    """Sends requests to ``view`` as the front end does, on the calling thread, and records the answers."""

    def __init__(self, view: Any) -> None:
        self.view = view
        self.sent: list[tuple[dict[str, Any], list[bytes]]] = []
        self._news = threading.Condition()
        view.send = self._record

    def _record(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        with self._news:
            self.sent.append((content, buffers or []))
            self._news.notify_all()

    def raw(self, content: Any) -> None:
        """Deliver one message as it is."""
        self.view._handle_custom_msg(content, [])

    def say(self, id: str | int, op: str, /, **args: Any) -> None:
        """Send a well-formed request."""
        self.raw({"v": 1, "id": id, "op": op, "args": args})

    def answers(self, id: str | int) -> list[dict[str, Any]]:
        return [m for m, _ in list(self.sent) if m["id"] == id]

    def kinds(self, id: str | int) -> list[str]:
        return [m["kind"] for m in self.answers(id)]

    def last(self, id: str | int, timeout: float = 20) -> dict[str, Any]:
        """The final answer to a request."""
        final = ("result", "error", "cancelled")
        with self._news:
            done = self._news.wait_for(lambda: any(k in final for k in self.kinds(id)), timeout)
        assert done, f"no final answer to {id!r} in {timeout} s: {self.kinds(id)}"
        return next(m for m in reversed(self.answers(id)) if m["kind"] in final)

    def buffers(self, id: str | int) -> list[bytes]:
        self.last(id)
        return next(b for m, b in reversed(self.sent) if m["id"] == id and m["kind"] == "result")


@pytest.fixture
def browser() -> type[Browser]:
    """``browser(view)`` talks to a view in place of the page."""
    return Browser


@pytest.fixture(scope="session")
def demo() -> Any:
    """The embedded model, loaded once."""
    from attrib_widgets import load

    return load("demo")


@pytest.fixture
def explorer(demo: Any) -> Iterator[Any]:
    """An Explorer on the embedded model's first task, its comparison included."""
    from attrib_widgets.widgets import explore

    explorer = explore(demo)
    yield explorer
    explorer.close()
