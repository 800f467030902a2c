"""Traits that the page and Python both write."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

import traitlets as t

from ...words.errors import AttribError
from ...words.kinds import Kinds
from ..shapes import contract

PARTS: tuple[contract.Part, ...] = get_args(contract.Part)
#: What parts were called before.
RENAMED: dict[str, contract.Part] = {"compare": "corrupted", "map": "heads"}


class Locked:
    """A trait whose writes wait for a write from another thread. Its ``validate`` checks, the view knows how."""

    def set(self, obj: Any, value: Any) -> None:
        """Write under the view's lock."""
        with obj.writing:
            super().set(obj, value)  # type: ignore[misc]


class Selected(Locked, t.Unicode):  # type: ignore[type-arg]
    """A component label."""

    def validate(self, obj: Any, value: Any) -> Any:
        """The label as the view spells it."""
        return super().validate(obj, obj.label_of(value))


class Source(Locked, t.Int):  # type: ignore[type-arg]
    """A source position inside the selected head, or -1."""

    def validate(self, obj: Any, value: Any) -> Any:
        """The position, when the view has it."""
        return obj.source_of(super().validate(obj, value))


def told_kinds(kinds: Kinds) -> list[contract.PartKind]:
    """What parts are, each kind once with the labels of all that are of it."""
    found: dict[str, contract.PartKind] = {}
    for label, kind in kinds.items():
        found.setdefault(kind.words, {"short": kind.short, "words": kind.words, "parts": []})["parts"].append(label)
    return list(found.values())


def hidden_parts(parts: Iterable[str]) -> list[contract.Part]:
    """The parts to hide, by the names of today.

    Raises:
        AttribError: there is no such part.
    """
    names: list[contract.Part] = []
    for given in [parts] if isinstance(parts, str) else parts:
        name = RENAMED.get(given, given)
        if name not in PARTS:
            raise AttribError(f"There is no part called {given!r} to hide.", f"The parts are: {', '.join(PARTS)}.")
        names.append(name)
    return names
