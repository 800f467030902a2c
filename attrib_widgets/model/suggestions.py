"""What can be asked of a model to see what it can do: a small file that travels beside the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from ..words.errors import AttribError
from ..words.files import read_text

FILE = "suggestions.json"


class Suggestion(NamedTuple):
    """A prompt, the token it should continue with, the same prompt with one token changed, and what this shows."""

    ability: str
    prompt: str
    target: str
    corrupted: str


def read_suggestions(folder: Path | None) -> list[Suggestion]:
    """The suggestions in a model's folder; none where it has none.

    Raises:
        AttribError: the file is no list of suggestions, or no text in UTF-8.
    """
    file = None if folder is None else folder / FILE
    if file is None or not file.is_file():
        return []
    content = read_text(file)
    try:
        found = [Suggestion(**row) for row in json.loads(content)]
        if not all(isinstance(text, str) for row in found for text in row):
            raise ValueError("not all of them are texts")
    except (ValueError, TypeError) as reason:
        fields = ", ".join(Suggestion._fields)
        raise AttribError(
            f"{file} cannot be read: {reason}.", f"It is a JSON list of objects with {fields}."
        ) from reason
    return found
