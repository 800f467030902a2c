"""The kinds of files that dictionaries come in, read with an error that names the file, and a first look; and the hash
by which one of weights is known. Nothing in a file is executed."""

from __future__ import annotations

import hashlib
import json
import math
import re
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...words.errors import AttribError
from ...words.files import read_text
from ...words.places import Place
from ...words.text import kind_of
from ..sae import NOT_FINITE, is_finite

#: Numbers of a file in half precision that are held twice at once.
BLOCK = 2**22
#: Times its own size that a compressed file may unpack to. Weights hardly compress at all.
PACKED = 20
#: Bytes of a file of settings.
LARGEST = 2**24
AGAIN = "Write or fetch it again."
APART = "The two files do not belong together: take both from one dictionary."


class Glance(NamedTuple):
    """What is known of a dictionary before its weights are read; None is not said."""

    place: Place | None = None
    features: int | None = None
    width: int | None = None


def settings(file: Path) -> dict[str, Any]:
    """A JSON file of settings by name, or one in YAML by the ending of its name.

    Raises:
        AttribError: it is none, or no text in UTF-8.
    """
    if file.is_file() and file.stat().st_size > LARGEST:
        raise AttribError(f"{file} has {file.stat().st_size:,} bytes, too many for settings.", AGAIN)
    content = read_text(file)
    kind = "YAML" if file.suffix in (".yaml", ".yml") else "JSON"
    try:
        found = _yaml(content) if kind == "YAML" else json.loads(content)
    except (ValueError, RecursionError) as reason:
        raise AttribError(f"{file} is no {kind}: {reason}.", AGAIN) from reason
    if not isinstance(found, dict):
        raise AttribError(f"{file} holds {kind_of(found)}, not settings by name.")
    return found


def _yaml(content: str) -> Any:
    import yaml  # type: ignore[import-untyped]

    try:
        return yaml.safe_load(content)
    except yaml.YAMLError as reason:
        raise ValueError(str(reason).replace("\n", " ")) from reason


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


def flag(config: dict[str, Any], key: str, file: Path) -> bool | None:
    """A setting that is true or false; None where it is not given.

    Raises:
        AttribError: it is something else, such as ``"false"``.
    """
    value = config.get(key)
    if isinstance(value, bool | None):
        return value
    raise AttribError(f"{file} has {key} = {value!r}, which is not read here.", "It is true or false.")


def positive(config: dict[str, Any], key: str, file: Path) -> float:
    """A setting that is a positive number.

    Raises:
        AttribError: it is something else, or not given.
    """
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise AttribError(f"{file} says {key} = {value!r}, which is no positive number.", AGAIN)
    return float(value)


def unread(where: Path, key: str, value: Any, hint: str) -> AttribError:
    """What to say of a setting that is not read here."""
    return AttribError(f"{where} has {key} = {value!r}, which is not read here.", hint)


def understood(config: dict[str, Any], known: Collection[str], where: Path, name: str) -> None:
    """Let pass settings that are known; any other that is switched on may change a number.

    Raises:
        AttribError: there is one.
    """
    for key, value in config.items():
        if value and key not in known:
            raise unread(where, key, value, f"Remove it from {name} if you know that it changes no activation.")


def agreeing(file: Path, where: str, sizes: Mapping[str, tuple[int | None, int]]) -> None:
    """Let pass sizes, by the setting that says each: (what it says, what there is).

    Raises:
        AttribError: the two differ.
    """
    for key, (said, size) in sizes.items():
        if said not in (None, size):
            raise AttribError(f"{file} says {key} = {said}, and {where} has {size}.", APART)


def trained_on(name: Any) -> dict[str, Any]:
    """The metadata that name the model, where a file says it."""
    return {"model_name": name} if isinstance(name, str) and name else {}


def needed(found: dict[str, Any], names: Set[str], file: Path, optional: Set[str] = frozenset()) -> None:
    """Let pass tensors of these names.

    Raises:
        AttribError: some are missing, or others are there: nobody knows what they do to the numbers.
    """
    if missing := sorted(names - set(found)):
        raise AttribError(f"{file} lacks {', '.join(missing)}.", f"It has {', '.join(sorted(found)) or 'none'}.")
    if extra := sorted(set(found) - names - optional):
        raise AttribError(
            f"{file} holds {', '.join(extra)}, which nothing here has a use for.",
            f"Read are {', '.join(sorted(names | optional))}, and no others.",
        )


def tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors, npz or torch file, in float32, all numbers finite.

    Raises:
        AttribError: it is none, or holds NaN or infinity, or anything but floating point numbers.
    """
    read: Callable[[Path], dict[str, Any]] = {".safetensors": stored, ".npz": _npz}.get(file.suffix, checkpoint)
    return floating(read(file), file)


def floating(found: dict[str, Any], file: Path) -> dict[str, Tensor]:
    """Let pass tensors of floating point numbers.

    Raises:
        AttribError: one is anything else.
    """
    for key, value in found.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else kind_of(value)
            raise AttribError(
                f"{key} in {file} is {kind}, no floating point numbers.",
                "Nothing is known of how it is to be read: write it as float32.",
            )
    return found


def number(found: Any) -> int | None:
    """A whole number of a torch file, which may be a tensor of one; None where it is none."""
    found = found.item() if isinstance(found, Tensor) and found.numel() == 1 else found
    whole = type(found) is int or (type(found) is float and found.is_integer())
    return int(found) if whole else None


def single(t: Tensor, key: str, file: Path) -> Tensor:
    """A tensor of floating point numbers in float32, all of them finite; of another type copied a block at a time.

    Raises:
        AttribError: it holds NaN or infinity.
    """
    if t.dtype == torch.float32:
        return _finite(t, key, file)
    found = torch.empty(t.shape, dtype=torch.float32)
    rows = max(1, BLOCK // max(1, t[:1].numel())) if t.ndim else 1
    for into, block in zip(*((x.split(rows) if x.ndim else [x]) for x in (found, t)), strict=True):
        into.copy_(block)
        _finite(into, key, file)
    return found


def _finite(t: Tensor, key: str, file: Path) -> Tensor:
    if not is_finite(t):
        raise AttribError(f"{key} in {file} holds numbers that are not finite.", NOT_FINITE)
    return t


def stored(file: Path, only: str | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or the one of a name, those of floating point numbers in float32 and finite.

    Float32 stays where it is in the file; narrower types are read a block at a time: there is never more in memory than
    the numbers in float32.

    Raises:
        AttribError: it is none, or holds NaN or infinity.
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, Tensor] = {}
    try:
        with safe_open(file, framework="pt") as content:
            for key in content.keys():  # noqa: SIM118 (it is no mapping)
                if only not in (None, key):
                    continue
                held = content.get_slice(key)
                shape, kind = held.get_shape(), _HALF.get(held.get_dtype())
                if kind is None or len(shape) < 2:
                    value = content.get_tensor(key)
                    found[key] = single(value, key, file) if value.is_floating_point() else value
                else:
                    found[key] = _blocks(file, key, shape, kind)
    except (SafetensorError, OSError) as reason:
        raise AttribError(f"{file} cannot be read: {reason}.", AGAIN) from reason
    return found


_HALF = {"BF16": torch.bfloat16, "F16": torch.float16, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}


def _blocks(file: Path, key: str, shape: list[int], kind: torch.dtype) -> Tensor:
    """A tensor of narrow numbers as float32. The file has been looked at: what its header says holds."""
    found = torch.empty(shape, dtype=torch.float32)
    flat = found.view(-1)
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        start, end = json.loads(content.read(length))[key]["data_offsets"]
        content.seek(8 + length + start)
        for at in range(0, flat.numel(), BLOCK):
            piece = bytearray(content.read(min(BLOCK * kind.itemsize, end - start - at * kind.itemsize)))
            into = flat[at : at + BLOCK]
            into.copy_(torch.frombuffer(piece, dtype=kind))
            _finite(into, key, file)
    return found


def _unpacked(file: Path) -> Iterator[tuple[zipfile.ZipFile, zipfile.ZipInfo]]:
    """The entries of a zip, none of which unpacks to more than a file of weights can.

    Raises:
        AttribError: they would, together.
    """
    with zipfile.ZipFile(file) as packed:
        entries, size = packed.infolist(), file.stat().st_size
        if sum(entry.file_size for entry in entries) > PACKED * size or len(entries) > 10_000:
            raise AttribError(f"{file} unpacks to far more than weights can.", AGAIN)
        for entry in entries:
            yield packed, entry


_FORM: Any = np.lib.format


def _header(content: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """(shape, whether columns come first, kind of numbers) of an array in an npz file."""
    old = _FORM.read_magic(content) == (1, 0)
    found: tuple[tuple[int, ...], bool, np.dtype[Any]]
    found = (_FORM.read_array_header_1_0 if old else _FORM.read_array_header_2_0)(content)
    return found


def _npz(file: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    try:
        for packed, entry in _unpacked(file):
            key = entry.filename.removesuffix(".npy")
            with packed.open(entry) as content:
                shape, _, kind = _header(content)
                if kind.hasobject or math.prod(shape) * kind.itemsize + content.tell() != entry.file_size:
                    raise ValueError(f"{key} holds objects, or is not as long as it says")
            with packed.open(entry) as content:
                value = torch.from_numpy(_FORM.read_array(content, allow_pickle=False))
            found[key] = single(value, key, file) if value.is_floating_point() else value
    except (ValueError, TypeError, OSError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile) as reason:
        raise AttribError(f"{file} cannot be read: {reason}.", AGAIN) from reason
    return found


def checkpoint(file: Path) -> dict[str, Any]:
    """What ``torch.save`` wrote: plain values and tensors by name, those of floating point numbers in float32, finite.

    Raises:
        AttribError: it is none, holds NaN or infinity, or would have to execute anything to be read.
    """
    import pickle

    try:
        zipped = zipfile.is_zipfile(file)
        if zipped:
            list(_unpacked(file))
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
    except AttribError:
        raise
    except pickle.UnpicklingError as reason:
        if "GLOBAL" not in str(reason):  # it names no function that would be called: no more than broken
            raise AttribError(f"{file} cannot be read: {_first(reason)}.", AGAIN) from reason
        raise AttribError(
            f"{file} holds more than tensors and plain values, and would have to run code of its own to be read. It is "
            "refused.",
            "Take one that was saved as a state_dict; of another never use torch.load without weights_only.",
        ) from reason
    except Exception as reason:  # broken files end in many kinds
        raise AttribError(f"{file} cannot be read: {_first(reason)}.", AGAIN) from reason
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise AttribError(f"{file} holds {kind_of(found)}, not tensors by name.", AGAIN)
    for key, value in found.items():
        if not isinstance(value, Tensor):
            continue
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized or _repeats(value):
            raise AttribError(f"{key} in {file} is no plain tensor.", AGAIN)
        if value.is_floating_point():
            found[key] = single(value.detach(), key, file)
    return dict(found)


def _first(reason: Exception) -> str:
    """The first sentence of what torch says."""
    said = str(reason).rpartition("WeightsUnpickler error: ")[2].strip() or type(reason).__name__
    return re.split(r"\.\s|\n", said)[0][:200].rstrip(".")


def _repeats(t: Tensor) -> bool:
    """Whether a tensor claims many more numbers than it has: one that is expanded, a thousandfold."""
    return t.numel() > 2**20 and t.numel() * t.element_size() > t.untyped_storage().nbytes()


def unscaled(where: Path, scale: float | None) -> None:
    """Let pass where no scale was given.

    Raises:
        AttribError: one was.
    """
    if scale is not None:
        raise AttribError(f"{where} was trained on activations as they are.", f"Leave out scale = {scale!r}.")


def shapes(file: Path, name: str) -> tuple[int | None, int | None]:
    """The two sizes of a matrix by the headers of a safetensors or npz file, its name in any case; None if unknown."""
    from safetensors import SafetensorError, safe_open

    shape: list[int] = []
    try:
        if file.suffix == ".npz":
            for packed, entry in _unpacked(file):
                if entry.filename.removesuffix(".npy").lower() == name.lower():
                    with packed.open(entry) as content:
                        shape = list(_header(content)[0])
        else:
            with safe_open(file, framework="pt") as held:
                key = next((key for key in held.keys() if key.lower() == name.lower()), None)  # noqa: SIM118
                shape = [] if key is None else held.get_slice(key).get_shape()
    except (AttribError, SafetensorError, OSError, ValueError, zipfile.BadZipFile):
        return None, None
    return (shape[0], shape[1]) if len(shape) == 2 else (None, None)
