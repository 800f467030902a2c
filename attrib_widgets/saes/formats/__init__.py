"""Dictionaries on disk: a table of the formats that are known. A format is a module of this package, and one row.

Only numpy, torch and safetensors are needed to read them, all of which transformers brings along.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Protocol

from ...words.errors import AttribError
from ...words.places import Place, PlaceLike, dictionary_place
from ...words.text import kind_of
from ..sae import SAE
from . import (
    circuit_tracer,
    dictionary_learning,
    gemma_scope,
    gemma_scope_2,
    goodfire,
    heads_2024,
    llama_scope,
    openai,
    qwen_scope,
    saelens,
    sparsify,
)
from .files import Glance


class Format(Protocol):
    """One way of writing a dictionary into a folder."""

    HOLDS: str
    """The files that a folder of this format holds, in words."""

    def reads(self, folder: Path) -> bool:
        """Whether a folder is of this format, or a file that is a dictionary by itself: by names of files alone."""

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


FORMATS: dict[str, Format] = {
    "Gemma Scope": gemma_scope,
    "Gemma Scope 2": gemma_scope_2,
    "SAELens": saelens,
    "dictionary_learning": dictionary_learning,
    "circuit-tracer": circuit_tracer,
    "Llama Scope": llama_scope,
    "OpenAI": openai,
    "Qwen Scope": qwen_scope,
    "Goodfire": goodfire,
    "the heads of GPT-2 (2024)": heads_2024,
    "sparsify": sparsify,
}
#: Folders below one that a dictionary is looked for in: ``layer_3/width_16k/average_l0_59``; and how many at most.
DEPTH, MOST = 4, 20_000


def format_of(folder: Path) -> Format | None:
    """The format of a folder; None where it holds no dictionary of a known one."""
    return next((known for known in FORMATS.values() if known.reads(folder)), None)


def below(root: Path, depth: int = DEPTH) -> Iterator[Path]:
    """The folders, and files, that are a dictionary of a known format: the folder itself, else those in it."""
    if format_of(root) is not None:
        yield root
    elif depth and root.is_dir():
        for entry in sorted(entry for entry in root.iterdir() if entry.name[:1] != "."):
            yield from below(entry, depth - 1)


def only(folder: Path, site: Place | None = None) -> Path:
    """The folder itself where it is a dictionary, else the one below it that is; of several the one for ``site``.

    Raises:
        AttribError: there is none, or several.
    """
    if folder.is_file() and format_of(folder) is None and format_of(folder.parent) is not None:
        return folder.parent  # named by one of its files
    found = list(islice(below(folder), MOST)) if folder.exists() else []
    if len(found) > 1 and site is not None:
        found = [one for one in found if _place(one) in (site, *ends(site))] or found
    if len(found) == 1:
        return found[0]
    if not found:
        raise unknown(folder)
    names = ", ".join(str(one.relative_to(folder)) for one in found[:6])
    raise AttribError(
        f"{folder} holds {len(found)} dictionaries: {names}{', ...' if len(found) > 6 else ''}.",
        f'Choose one: aw.read_sae("{found[0]}"); model.saes.add(folder) takes all in.',
    )


def read_sae(folder: Path | str, site: PlaceLike | None = None, scale: float | None = None) -> SAE:
    """The part of :func:`...loaded.read_sae` that reads files.

    Raises:
        AttribError: no such folder, no known format, files that are broken or contradict each other, or a setting
            that is not read here.
    """
    place = None if site is None else dictionary_place(site)
    folder = only(local(folder), place)
    found = format_of(folder)
    assert found is not None
    if place is not None and place == _place(folder):  # it says so itself, and in which coordinates
        place = None
    return found.read(folder, place, scale)


def _place(path: Path) -> Place | None:
    """Where a dictionary says that it reads; None where it does not, or cannot be read."""
    known = format_of(path)
    try:
        return None if known is None else known.glance(path).place
    except AttribError:
        return None


def ends(site: Place) -> tuple[Place, ...]:
    """For what an MLP adds: where a transcoder to it reads."""
    return tuple(Place(place, site.layer) for place in ("mlp_in", "mid")) if site.site == "mlp" else ()


def local(folder: Path | str) -> Path:
    """A folder of this machine.

    Raises:
        AttribError: an address; nothing is fetched here.
    """
    if not isinstance(folder, (str, Path)):
        raise AttribError(
            f"{kind_of(folder, start=True)} is no folder.", "Give the folder of a dictionary as text or a Path."
        )
    if not str(folder):
        raise AttribError("'' is no folder.", "Give the folder of a dictionary as text or a Path.")
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(folder), re.IGNORECASE):
        raise AttribError(
            f"{str(folder)!r} is an address, and dictionaries are read from this machine.",
            "Fetch its folder first and give the path; one of the Hugging Face hub is fetched where that is asked for: "
            'aw.read_sae("owner/name/folder", download=True).',
        )
    return Path(folder).expanduser()


def unknown(folder: Path) -> AttribError:
    """What to say of a folder that holds no dictionary: what is in it, and what was looked for."""
    known = "; ".join(f"{name} ({form.HOLDS})" for name, form in FORMATS.items())
    if not folder.exists():
        return AttribError(
            f"There is no folder {str(folder)!r}.",
            f"A dictionary is a folder of a known format: {known}. One of the Hugging Face hub is fetched where that "
            'is asked for: aw.read_sae("owner/name/folder", download=True).',
        )
    if partial := _partial(folder):
        return partial
    if not folder.is_dir():
        return AttribError(f"{folder} is no dictionary of a known format.", f"The formats are {known}.")
    if (folder / "W_enc_0.safetensors").is_file() or (folder / "params_layer_0.safetensors").is_file():
        return AttribError(
            f"{folder} holds a cross-layer transcoder. Its features write to several layers, and a row of an "
            "attribution is opened by features that write to that row alone.",
            "aw.read_cross_layer(folder) encodes and decodes with it.",
        )
    if elsewhere := circuit_tracer.elsewhere(folder):
        return AttribError(
            f"{folder} holds no dictionary, but the address of each of {len(elsewhere)}: {elsewhere[0]} and so on.",
            f'Read one by it: aw.read_sae("{elsewhere[0]}", download=True).',
        )
    if (folder / "cc_weights.pt").is_file():
        return AttribError(f"{folder} holds a crosscoder of two models.", "Read are dictionaries of one model.")
    names = sorted(entry.name for entry in folder.iterdir())
    held = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return AttribError(
        f"{folder} is no dictionary of a known format. It holds {held or 'nothing'}.", f"The formats are {known}."
    )


#: Weights that are read by what a config beside them says, and the names of that, by whose they are.
_BESIDE = {
    saelens.WEIGHTS: {"cfg.json": "SAELens", "config.json": "Llama Scope"},
    sparsify.WEIGHTS: {"cfg.json": "sparsify"},
    dictionary_learning.WEIGHTS: {"config.json": "dictionary_learning"},
}


def _partial(path: Path) -> AttribError | None:
    """What to say where one of two files that belong together is there; None where neither is."""
    here = {path.name} if path.is_file() else {entry.name for entry in path.iterdir()}
    for weights, configs in _BESIDE.items():
        if weights in here:
            named = " or ".join(f"{config} ({whose})" for config, whose in configs.items())
            return AttribError(
                f"{path} has {'no' if path.is_file() else f'{weights} and no'} {' or '.join(configs)} beside it, which "
                "says how the weights are to be read; a site does not.",
                f"Put that of the same dictionary there: {named}.",
            )
    for config in sorted(here & {"cfg.json", "config.json"}) if len(here) == 1 else ():
        missing = [f"{weights} ({whose[config]})" for weights, whose in _BESIDE.items() if config in whose]
        return AttribError(
            f"{path} {'has no' if path.is_file() else f'has {config} and no'} weights beside it.",
            f"Put those of the same dictionary there: {' or '.join(missing)}.",
        )
    return None
