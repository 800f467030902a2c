"""Traits that the page and Python both write."""

from __future__ import annotations

from typing import Any

import traitlets as t


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
