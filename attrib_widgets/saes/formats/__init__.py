"""Dictionaries on disk: a table of the formats that are known. A format is a module of this package, and one row.

Only numpy, torch and safetensors are needed to read them, all of which transformers brings along.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

from ...words.errors import AttribError
from ...words.places import Place, PlaceLike, dictionary_place
from ...words.text import kind_of
from ..sae import SAE
from . import saelens, sparsify
from .files import Glance


class Format(Protocol):
    """One way of writing a dictionary into a folder."""

    HOLDS: str
    """The files that a folder of this format holds, in words."""

    def reads(self, folder: Path) -> bool:
        """Whether a folder is of this format: by the names of its files alone."""

    def glance(self, folder: Path) -> Glance:
        """Place, number of features and width, as far as small files and the folder's name say; no weights are read.

        Raises:
            AttribError: a place, an architecture or a setting that is not read here.
        """

    def read(self, folder: Path, site: Place | None = None, scale: float | None = None) -> SAE:
        """The dictionary; ``site`` is its place where the format does not say it, or whatever it says, and ``scale``
        what activations were multiplied by, where it says that they were and not by what.

        Raises:
            AttribError: broken files, or a setting that is not read here.
        """


FORMATS: dict[str, Format] = {"SAELens": saelens, "sparsify": sparsify}


def format_of(folder: Path) -> Format | None:
    """The format of a folder; None where it holds no dictionary of a known one."""
    return next((known for known in FORMATS.values() if known.reads(folder)), None)


def read_sae(folder: Path | str, site: PlaceLike | None = None, scale: float | None = None) -> SAE:
    """Read a dictionary in any format that is known here.

    Args:
        folder: the folder with its files.
        site: the place that it reads, for a format or a folder that does not say; whatever its files say.
        scale: what activations were multiplied by before it was trained on them, where its files say that they were
            and not by what (``normalize_activations: expected_average_only_in`` of SAELens). It is folded into the
            weights.

    Raises:
        AttribError: no such folder, no known format, files that are broken or contradict each other, or a setting
            that is not read here.
    """
    folder = local(folder)
    found = format_of(folder)
    if found is None:
        raise unknown(folder)
    return found.read(folder, None if site is None else dictionary_place(site), scale)


def local(folder: Path | str) -> Path:
    """A folder of this machine.

    Raises:
        AttribError: an address; nothing is fetched here.
    """
    if not isinstance(folder, (str, Path)):
        raise AttribError(
            f"{kind_of(folder, start=True)} is no folder.", "Give the folder of a dictionary as text or a Path."
        )
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(folder), re.IGNORECASE):
        raise AttribError(
            f"{str(folder)!r} is an address, and dictionaries are read from this machine.",
            "Fetch its folder first, for example with huggingface_hub.snapshot_download, and give the path.",
        )
    return Path(folder).expanduser()


def unknown(folder: Path) -> AttribError:
    """What to say of a folder that holds no dictionary: what is in it, and what was looked for."""
    known = "; ".join(f"{name} ({form.HOLDS})" for name, form in FORMATS.items())
    if not folder.is_dir():
        return AttribError(
            f"There is no folder {str(folder)!r}.", f"A dictionary is a folder of a known format: {known}."
        )
    names = sorted(entry.name for entry in folder.iterdir())
    held = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return AttribError(
        f"{folder} is no dictionary of a known format. It holds {held or 'nothing'}.", f"The formats are {known}."
    )
