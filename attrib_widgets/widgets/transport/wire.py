"""One immutable binary container per state: numbers travel as they are, text travels as JSON.

Layout, little-endian throughout::

    "AWC1" | uint32 length of the header | header, UTF-8 JSON padded with spaces | arrays

The padding puts the arrays at a multiple of 8; each of them starts at a multiple of 8 again, so that a reader
can lay a typed array over it. The header lists them under ``arrays``; offsets count from the first array byte.

Three ways of storing an array, chosen by what the numbers are for: ``f4`` for what must add up, ``f2`` for a
pattern in focus, ``u1`` for small pictures of probabilities (the square root is stored, because a linear byte
would hide everything below 0.4 %). Causal patterns are stored as their lower triangle only.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

MAGIC = b"AWC1"
VERSION = 1

DType = Literal["f4", "f2", "u1", "i4"]
Name = TypeVar("Name", bound=str)
Floats = NDArray[np.float32]

_SIZES: dict[str, int] = {"f4": 4, "f2": 2, "u1": 1, "i4": 4}


class WireError(ValueError):
    """Bytes that are not a container, or numbers that must not travel in one."""


@dataclass(frozen=True)
class Stored:
    """An array as it will be written: ``data`` is flat and of its final type, ``shape`` is what a reader sees."""

    data: NDArray[Any]
    shape: tuple[int, ...]
    dtype: DType
    tril: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes in the container, with the padding to a multiple of 8."""
        return _aligned(self.data.nbytes)


def store(values: Any, dtype: DType = "f4", *, tril: bool = False, missing: bool = False) -> Stored:
    """Prepare ``values`` (anything numpy reads, a CPU tensor included) for the container.

    With ``tril`` the last two axes must be square; only their lower triangle, diagonal included, is kept.
    ``u1`` holds probabilities: ``round(255 * sqrt(p))``. With ``missing`` NaN stands for what is not there (``f4`` and
    ``f2``).

    Raises:
        WireError: NaN (unless ``missing``) or infinite numbers, float16 overflow, ``u1`` outside 0 to 1, or ``tril`` on
            a non-square.
    """
    array = np.asarray(values)
    if dtype != "i4":
        array = np.asarray(array, dtype=np.float32)
        allowed = np.isfinite(array) | np.isnan(array) if missing and dtype != "u1" else np.isfinite(array)
        if not allowed.all():
            raise WireError("NaN or infinite numbers cannot be shown.")
    shape = array.shape
    if tril:
        if len(shape) < 2 or shape[-1] != shape[-2]:
            raise WireError(f"A lower triangle needs two equal last axes, not {shape}.")
        rows, columns = np.tril_indices(shape[-1])
        array = array[..., rows, columns]
    if dtype == "u1":
        if array.size and (array.min() < 0 or array.max() > 1 + 1e-3):
            raise WireError("Only probabilities are stored as one byte.")
        array = np.rint(255 * np.sqrt(np.minimum(array, 1)))
    if dtype == "f2" and array.size and np.nanmax(np.abs(array), initial=0) > np.finfo(np.float16).max:
        raise WireError("Numbers beyond 65504 do not fit float16.")
    flat = np.ascontiguousarray(array, dtype=np.dtype("<" + dtype)).reshape(-1)
    return Stored(flat, shape, dtype, tril)


def pack(header: Mapping[str, Any], arrays: Mapping[Name, Stored]) -> bytes:
    """Write one container. NaN and infinities in the header become null; ``v`` and ``arrays`` are added here."""
    table: dict[str, dict[str, Any]] = {}
    offset = 0
    for name, stored in arrays.items():
        entry: dict[str, Any] = {
            "dtype": stored.dtype,
            "shape": list(stored.shape),
            "offset": offset,
            "bytes": stored.data.nbytes,
        }
        if stored.tril:
            entry["layout"] = "tril"
        if stored.dtype == "u1":
            entry["scale"] = "sqrt"
        table[name] = entry
        offset += stored.nbytes
    # Escaped to ASCII: a lone surrogate, which UTF-8 cannot carry, survives as its escape.
    head = said({**header, "v": VERSION, "arrays": table}).encode("ascii")
    head += b" " * (_aligned(len(head)) - len(head))
    parts = [MAGIC, struct.pack("<I", len(head)), head]
    for stored in arrays.values():
        parts += [stored.data.tobytes(), b"\0" * (stored.nbytes - stored.data.nbytes)]
    return b"".join(parts)


def unpack(data: bytes | bytearray | memoryview) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a container back: the header, and the arrays with triangles unfolded and square roots undone.

    Raises:
        WireError: not a container, another version, or an array outside its bytes.
    """
    view = memoryview(data).cast("B")
    if len(view) < 8 or bytes(view[:4]) != MAGIC:
        raise WireError("These bytes are not a container (the magic word is missing).")
    (length,) = struct.unpack("<I", view[4:8])
    start = 8 + length
    if length % 8 or start > len(view):
        raise WireError("The container is cut short.")
    header: dict[str, Any] = json.loads(bytes(view[8:start]))
    if header.get("v") != VERSION:
        raise WireError(f"The container has version {header.get('v')!r}; this reader knows version {VERSION}.")
    body = view[start:]
    return header, {name: _read(name, entry, body) for name, entry in header["arrays"].items()}


def said(value: Mapping[str, Any]) -> str:
    """``value`` as strict JSON, as :func:`plain` reads it."""
    try:  # nearly always as it is, in one go
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError):
        return json.dumps(plain(value), allow_nan=False, separators=(",", ":"))


def inside(container: bytes) -> Stored:
    """A container as an array of another one: it is then read alike, embedded or asked for."""
    return store(np.frombuffer(container, dtype="<i4"), "i4")


def plain(value: Any) -> Any:
    """``value`` as strict JSON: numpy numbers become Python's, NaN and infinities become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _read(name: str, entry: Mapping[str, Any], body: memoryview) -> NDArray[Any]:
    shape, dtype = tuple(entry["shape"]), entry["dtype"]
    offset, size = entry["offset"], entry["bytes"]
    if dtype not in _SIZES or offset % 8 or offset < 0 or offset + size > len(body):
        raise WireError(f"The array {name!r} lies outside the container.")
    # frombuffer accepts unaligned bytes; the copy makes the array aligned, writable and free of the buffer.
    flat = np.frombuffer(body[offset : offset + size], dtype="<" + dtype).copy()
    if entry.get("scale") == "sqrt":
        flat = (flat.astype(np.float32) / 255) ** 2
    if entry.get("layout") != "tril":
        return flat.reshape(shape)
    n = shape[-1]
    full = np.zeros(shape, dtype=flat.dtype)
    rows, columns = np.tril_indices(n)
    full[..., rows, columns] = flat.reshape(*shape[:-2], n * (n + 1) // 2)
    return full


def _aligned(size: int) -> int:
    return -(-size // 8) * 8
