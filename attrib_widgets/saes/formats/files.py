"""The two kinds of files that dictionaries come in, read with an error that names the file, and a first look; and the
hash by which one of weights is known."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ...words.errors import AttribError
from ...words.places import Place


class Glance(NamedTuple):
    """What is known of a dictionary before its weights are read; None is not said."""

    place: Place | None = None
    features: int | None = None
    width: int | None = None


def settings(file: Path) -> dict[str, Any]:
    """A JSON file of settings by name.

    Raises:
        AttribError: it is none.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as reason:
        raise AttribError(f"{file} is no JSON: {reason}.", "Write or fetch it again.") from reason
    if not isinstance(found, dict):
        raise AttribError(f"{file} holds a {type(found).__name__}, not settings by name.")
    return found


def sha256(file: Path) -> str:
    """SHA-256 of a file, a piece at a time: weights need not fit into memory twice."""
    found = hashlib.sha256()
    with file.open("rb") as content:
        while piece := content.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


def tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, in float32.

    Raises:
        AttribError: it is none.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {key: value.float() for key, value in load_file(file).items()}
    except SafetensorError as reason:
        raise AttribError(f"{file} cannot be read: {reason}.", "Write or fetch it again.") from reason
