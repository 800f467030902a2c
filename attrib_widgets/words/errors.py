"""Errors that name the input and the remedy, and warnings that point at the line that brought them about."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class AttribError(ValueError):
    """Base of every error this library raises on purpose.

    ``hint`` is one plain sentence or line of code: what to type instead. It is part of ``str(error)``.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        closed = message if not hint or message.endswith((".", "?", "!", ":")) else f"{message}."
        super().__init__(f"{closed} {hint}".strip() if hint else message)
        self.message = message
        self.hint = hint


class ComponentError(AttribError):
    """A component name that cannot be read, or that this model does not have."""


class NoDictionaryError(ComponentError, KeyError):
    """A place that has no dictionary: what a mapping says of a key that it does not hold, with the remedy."""

    __str__ = Exception.__str__  # a KeyError would print it in quotes


class TargetError(AttribError):
    """A target that cannot be explained as asked (several tokens, unknown id, soft-capped log-probability)."""


class PositionError(AttribError):
    """A position outside the prompt, or a prompt that does not fit the model."""


class TokenizerError(AttribError):
    """No tokenizer, or one that does not belong to the model."""


class AnatomyError(AttribError):
    """The model's parts are not where the anatomy says, or the model's sums do not close there."""


class GranularityError(AttribError):
    """A split (heads, sources, neurons) that was not shown to be exact on this model."""


class ModelError(AttribError):
    """A run or a result that does not belong to the model it is used with: another one's, or from before a change."""


class NumberError(AttribError):
    """The model itself produced NaN or infinite values."""


def clause(reason: BaseException) -> str:
    """An error as part of a sentence: the message of one of ours, the first line of what another says."""
    if isinstance(reason, AttribError):
        return reason.message.rstrip(".")
    first = (str(reason).strip().splitlines() or [""])[0].rstrip(".:! ")
    # A lookup says only what it did not find.
    return f"{type(reason).__name__} {first}".rstrip() if isinstance(reason, LookupError) or not first else first


@contextmanager
def said_of(whose: str) -> Iterator[None]:
    """Inside, what is wrong is said with whose it is in front, ``"Prompt 3"`` say."""
    try:
        yield
    except AttribError as reason:
        raise type(reason)(f"{whose}: {reason.message}", reason.hint) from reason


def renamed(before: str, now: str) -> None:
    """A warning that something has another name; the old one keeps working."""
    warn(f"{before} is now called {now}.", DeprecationWarning)


def warn(said: str, kind: type[Warning] = UserWarning) -> None:
    """A warning at the caller's own line, however many frames of this library and of contexts lie between."""
    ours, level, frame = __package__.partition(".")[0], 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in (ours, "contextlib"):
        level, frame = level + 1, frame.f_back
    warnings.warn(said, kind, stacklevel=level + 1)
