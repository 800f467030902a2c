"""What left a worker thread and is not yet known to have arrived.

Some hosts drop what a thread sends while no cell runs (Colab: googlecolab/colabtools issue 3373). Messages and trait
changes that a thread sends are therefore numbered and kept; the page names those that it got with whatever it sends
next, and the handler of that message, whose own words do arrive, sends the rest again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

#: More than a page has requests open. Of a page that went away, the oldest are dropped.
LARGEST = 100


@dataclass(frozen=True)
class Sent:
    """A message as it was sent, or the names of traits that changed (and then no message)."""

    message: dict[str, Any] | None = None
    buffers: list[bytes] | None = None
    traits: frozenset[str] = frozenset()


class Outbox:
    """The numbered things that the page has not confirmed; for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._kept: dict[int, Sent] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, message: dict[str, Any], buffers: list[bytes] | None) -> dict[str, Any]:
        """Keep an answer, in place of the progress of the same request; returns it with its number."""
        with self._lock:
            overtaken = [
                n for n, sent in self._kept.items()
                if sent.message and sent.message["id"] == message["id"] and sent.message["kind"] == "progress"
            ]  # fmt: skip
            numbered = {**message, "n": self._next(overtaken)}
            self._kept[self._last] = Sent(numbered, buffers)
            return numbered

    def changed(self, traits: Iterable[str]) -> int:
        """Keep that traits changed, together with those that changed before; returns the number of the change."""
        with self._lock:
            before = {n: sent.traits for n, sent in self._kept.items() if sent.traits}
            names = frozenset(traits).union(*before.values())
            number = self._next(before)
            self._kept[number] = Sent(traits=names)
            return number

    def _next(self, overtaken: Iterable[int]) -> int:
        for n in overtaken:
            del self._kept[n]
        while len(self._kept) >= LARGEST:
            del self._kept[next(iter(self._kept))]
        self._last += 1
        return self._last

    def got(self, numbers: Any) -> None:
        """The page has these; whatever is no list of numbers says nothing."""
        if isinstance(numbers, list):
            with self._lock:
                for n in numbers:
                    if isinstance(n, int):
                        self._kept.pop(n, None)

    def rest(self) -> list[tuple[int, Sent]]:
        """What the page has not confirmed, with its numbers: traits first, however often they changed meanwhile, since
        an answer speaks of them; then messages, oldest first."""
        with self._lock:
            return sorted(self._kept.items(), key=lambda kept: kept[1].message is not None)


_thread = threading.local()


@contextmanager
def handling() -> Iterator[None]:
    """A message from the page is being handled on this thread: what is sent meanwhile arrives."""
    before, _thread.handling = arrives(), True
    try:
        yield
    finally:
        _thread.handling = before


def arrives() -> bool:
    """Whether what this thread sends arrives in every host: while a cell runs, or a message is handled."""
    return threading.current_thread() is threading.main_thread() or getattr(_thread, "handling", False)
