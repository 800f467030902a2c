"""One or several: the one reader of what a person gives where more than one will do.

A name, a number, a Component, a Place and a Run are one, wherever they stand. What can be walked through (a list, a
tuple, a set, an array, a tensor, the keys of a dict, a generator) is several. Two whole numbers in an order are one
head where components are meant, and a list of whole numbers one prompt where prompts are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from typing import Any

from .components import Component, pair, whole
from .errors import AttribError
from .places import Place
from .text import how_many


def listed(given: Any) -> list[Any]:
    """One thing or several, as a list. A set comes in the order of its names."""
    if isinstance(given, (str, bytes, Component, Place)) or whole(given) is not None:
        return [given]
    if isinstance(given, Set):
        return sorted(given, key=_natural)
    found = given.tolist() if hasattr(given, "tolist") and hasattr(given, "dtype") else given  # numpy, torch, pandas
    return list(found) if hasattr(found, "__iter__") else [given]


def named(given: Any) -> list[Any]:
    """One or several components or places: (7, 4) and [7, 4] are head L7H4."""
    return [given] if pair(given) is not None else listed(given)


def prompts(given: Any) -> list[Any]:
    """One or several prompts: a text, token ids, chat messages and a Run (or a result, for its run) are one."""
    if isinstance(given, Mapping) or hasattr(given, "run") or hasattr(given, "record"):
        return [given]
    found = listed(given)
    ids = bool(found) and all(whole(g) is not None for g in found)
    chat = bool(found) and all(isinstance(g, Mapping) for g in found)
    return [found if isinstance(given, (list, tuple, Iterator)) else given] if ids or chat else found


def for_each(given: Any, count: int, noun: str, of: str = "") -> list[Any]:
    """One for every prompt: a list is as long as there are prompts, what is no list goes for all.

    Raises:
        AttribError: another number than there are prompts (``of`` says which ones).
    """
    if not isinstance(given, list):
        return [given] * count
    if len(given) != count:
        found = f"{how_many(len(given), noun)} for {how_many(count, 'prompt')}"
        raise AttribError(f"The call has {found}{of}.", "Give one for each, or one for all.")
    return given


def _natural(thing: Any) -> list[Any]:
    """L2 before L10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(thing))]
