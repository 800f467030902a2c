"""Traits that the page and Python both write."""

from __future__ import annotations

from typing import Any

import traitlets as t


class Selected(t.Unicode):  # type: ignore[type-arg]
    """A component label. The view checks it, and a write waits for a write from another thread."""

    def validate(self, obj: Any, value: Any) -> Any:
        """The label as the view spells it."""
        return super().validate(obj, obj.label_of(value))

    def set(self, obj: Any, value: Any) -> None:
        """Write under the view's lock."""
        with obj.writing:
            super().set(obj, value)


class Source(t.Int):  # type: ignore[type-arg]
    """A source position inside the selected head, or -1; checked and written like the selection."""

    def validate(self, obj: Any, value: Any) -> Any:
        """The position, when the view has it."""
        return obj.source_of(super().validate(obj, value))

    def set(self, obj: Any, value: Any) -> None:
        """Write under the view's lock."""
        with obj.writing:
            super().set(obj, value)
