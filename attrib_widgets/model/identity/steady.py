"""One operation, one look: a run is compared with its model when the operation first reads it (and at its end).

What does not change meanwhile is read once (:func:`during`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch

#: What has been looked at in the operation under way, and how it is looked at again; None outside of one.
_SEEN: ContextVar[dict[int, Callable[[], None]] | None] = ContextVar("looked at", default=None)


#: What has been read in the operation under way, by whom and what.
_READ: ContextVar[dict[Hashable, tuple[object, object]]] = ContextVar("read")

T = TypeVar("T")


@contextmanager
def steady(end: bool = True) -> Iterator[None]:
    """Inside, :func:`once` looks at each run once. An operation inside another belongs to it.

    It leaves ``torch.inference_mode``, whose tensors no gradient can pass.

    Args:
        end: look again at the end; what is over in no time, and runs no model, need not.

    Raises:
        ModelError: at the end, where a model was changed meanwhile: what was computed may be of both.
    """
    if _SEEN.get() is not None:
        yield
        return
    seen: dict[int, Callable[[], None]] = {}
    token, read = _SEEN.set(seen), _READ.set({})
    try:
        with torch.inference_mode(False):
            yield
    finally:
        _SEEN.reset(token)
        _READ.reset(read)
    for look in seen.values() if end else ():
        look()


def once(who: object, look: Callable[[], None]) -> None:
    """``look()``, unless the operation under way has looked at ``who`` already."""
    seen = _SEEN.get()
    if seen is None or id(who) not in seen:
        look()
        if seen is not None:
            seen[id(who)] = look  # a bound method: ``who`` stays alive, and its number its own


def during(who: object, what: Hashable, compute: Callable[[], T]) -> T:
    """``compute()``, remembered of ``who`` until the operation under way ends; outside of one nothing is."""
    if _SEEN.get() is None:
        return compute()
    read, key = _READ.get(), (id(who), what)
    if key not in read:
        read[key] = (who, compute())  # ``who`` stays alive, and its number its own
    found: T = read[key][1]  # type: ignore[assignment]
    return found
