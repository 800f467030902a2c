"""What the page asks and what it is answered, as values; and an error as the page shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...model.running.worker import Job
from ...words.errors import AttribError

PROTOCOL = 1
RELOAD = "Reload the page, then run the cell again."


class RequestError(AttribError):
    """A message from the browser that does not follow the protocol."""


@dataclass(frozen=True)
class Request:
    """One message from the browser, checked."""

    id: str | int
    op: str
    args: Mapping[str, Any]
    got: Any = None

    @classmethod
    def read(cls, content: Any) -> Request:
        """Check a message.

        Raises:
            RequestError: not an object, another protocol version, or a missing id, name or argument object.
        """
        if not isinstance(content, Mapping):
            raise RequestError("The message is not an object.", RELOAD)
        if content.get("v") != PROTOCOL:
            raise RequestError(
                f"The page speaks protocol version {content.get('v')!r}, this package version {PROTOCOL}.", RELOAD
            )
        id, op, args = content.get("id"), content.get("op"), content.get("args")
        if not isinstance(id, (str, int)) or isinstance(id, bool):
            raise RequestError("The message has no id.", RELOAD)
        if not isinstance(op, str):
            raise RequestError("The message names no operation.", RELOAD)
        if args is None:
            args = {}
        if not isinstance(args, Mapping):
            raise RequestError(f"The arguments of {op!r} are not an object.", RELOAD)
        return cls(id, op, args, content.get("got"))


@dataclass(frozen=True)
class Reply:
    """What an operation answers: plain data, and a container when numbers travel with it."""

    data: Mapping[str, Any] = field(default_factory=dict)
    container: bytes | None = None


Operation = Callable[["Job", Mapping[str, Any]], Reply]


def short(error: BaseException) -> str:
    """An error that is none of ours, on one line."""
    return f"{type(error).__name__}: {error}"


def explained(error: BaseException) -> dict[str, Any]:
    """An error as a message carries it: what is wrong, what to do, and where in the question."""
    if not isinstance(error, AttribError):
        return {"message": short(error), "hint": "In Python, print(view.last_error) shows where it came from."}
    answer: dict[str, Any] = {"message": error.message, "hint": error.hint}
    field = getattr(error, "field", None)
    return answer if field is None else {**answer, "field": field}


def from_python() -> Job:
    """A job that only carries progress and cancel, for what is asked from Python."""
    return Job(lambda job: None)
