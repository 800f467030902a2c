"""The two kinds of files that dictionaries come in, read with an error that names the file, and a first look; and the
hash by which one of weights is known."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ...words.errors import AttribError
from ...words.files import read_text
from ...words.places import Place
from ...words.text import kind_of
from ..sae import NOT_FINITE, is_finite


class Glance(NamedTuple):
    """What is known of a dictionary before its weights are read; None is not said."""

    place: Place | None = None
    features: int | None = None
    width: int | None = None


# A module whose output a dictionary reads, below any wrapper: ``model.layers.8``, ``h.8.mlp``.
_MODULE = re.compile(r"(?:.+\.)?(?:layers|h|blocks|block)\.(\d+)(\.mlp)?")


def module_place(name: str) -> Place | None:
    """The place that the output of a module is, by the module's name; None where it is no place of a dictionary."""
    found = _MODULE.fullmatch(name)
    return None if found is None else Place("mlp" if found[2] else "post", int(found[1]))


def settings(file: Path) -> dict[str, Any]:
    """A JSON file of settings by name.

    Raises:
        AttribError: it is none, or no text in UTF-8.
    """
    content = read_text(file)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as reason:
        raise AttribError(f"{file} is no JSON: {reason}.", "Write or fetch it again.") from reason
    if not isinstance(found, dict):
        raise AttribError(f"{file} holds {kind_of(found)}, not settings by name.")
    return found


def sha256(file: Path) -> str:
    """SHA-256 of a file, a piece at a time: weights need not fit into memory twice."""
    found = hashlib.sha256()
    with file.open("rb") as content:
        while piece := content.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


def whole(config: dict[str, Any], key: str, file: Path) -> int | None:
    """A setting that is a whole number; None where it is not given.

    Raises:
        AttribError: it is something else, such as a number written as text.
    """
    value = config.get(key)
    if value is None or type(value) is int:
        return value
    raise AttribError(f"{file} says {key} = {value!r}, which is no whole number.", f'Write it as "{key}": 8.')


def tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, in float32, all numbers finite.

    Raises:
        AttribError: it is none, or holds NaN or infinity, or numbers of another kind.
    """
    found = stored(file)
    kind = next(((key, value.dtype) for key, value in found.items() if not value.is_floating_point()), None)
    if kind is not None:
        raise AttribError(
            f"{kind[0]} in {file} is {str(kind[1]).removeprefix('torch.')}, no floating point numbers.",
            "Nothing is known of how it is to be read: write it as float32.",
        )
    return {key: value.float() for key, value in found.items()}


def stored(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file as they are kept there, all numbers finite.

    Raises:
        AttribError: it is none, or holds NaN or infinity.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(file)
    except SafetensorError as reason:
        raise AttribError(f"{file} cannot be read: {reason}.", "Write or fetch it again.") from reason
    for key, value in found.items():
        if value.is_floating_point() and not is_finite(value):
            raise AttribError(f"{key} in {file} holds numbers that are not finite.", NOT_FINITE)
    return found
