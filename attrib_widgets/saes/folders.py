"""Dictionaries as they lie in folders: which places those of a folder are for, and the texts beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..words.errors import AttribError, ComponentError
from ..words.files import read_text
from ..words.places import Place, dictionary_place
from .fit import misfit
from .formats import below, format_of
from .formats.files import Glance

if TYPE_CHECKING:
    from ..model.model import Model

#: In the folder of a dictionary, or beside it: the texts that the cards' numbers count.
TEXTS = "contexts.json"


class Texts:
    """Texts by number, out of a JSON list that is read when the first is asked for."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._read: list[str] | None = None

    def __call__(self, number: int) -> str:
        if self._read is None:
            self._read = read_texts(self.file)
        if not 0 <= number < len(self._read):
            raise AttribError(
                f"{self.file} has {len(self._read)} texts, and a card asks for number {number}.",
                "The texts and the cards do not belong together: take both from one folder.",
            )
        return self._read[number]


def read_texts(file: Path) -> list[str]:
    """The texts of a file: a JSON list, or one text a line.

    Raises:
        AttribError: it is neither, or cannot be read as UTF-8.
    """
    remedy = "It is a JSON list, or one text a line."
    content = read_text(file, remedy)
    try:
        found = (
            json.loads(content) if file.suffix == ".json" else [line for line in content.splitlines() if line.strip()]
        )
    except ValueError as reason:
        raise AttribError(f"{file} cannot be read as texts: {reason}.", remedy) from reason
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise AttribError(f"{file} is no list of texts.", "It is a JSON list of strings, or one text a line.")
    return found


def texts_of(*folders: Path) -> Texts | None:
    """The texts in a dictionary's folder, or beside it."""
    beside = [file for folder in folders for file in (folder / TEXTS, folder.parent / TEXTS)]
    return next((Texts(file) for file in beside if file.is_file()), None)


class Claims(NamedTuple):
    """The folders that are for one place, and the number of features where that is one folder and says it."""

    folders: list[Path]
    features: int | None


class Search(NamedTuple):
    """What the folders of a folder hold: by place, the names of all that can be used, and why others cannot."""

    places: dict[Place, Claims]
    usable: set[str]
    passed: dict[str, str]


def search(root: Path, model: Model | None) -> Search:
    """Find the dictionaries in the folders of a folder, and in theirs, without reading weights.

    A folder is for the place that it is named after, else for the one that is said in it.
    """
    claims: dict[Place, list[tuple[bool, Path, int | None]]] = {}
    found = Search({}, set(), {})
    for folder in below(root) if root.is_dir() and format_of(root) is None else ():
        known = format_of(folder)
        assert known is not None
        named = named_after(folder)
        try:
            seen = known.glance(folder)
            place = _place(named, seen, model)
        except AttribError as error:
            found.passed[str(folder.relative_to(root))] = reason_for(error, folder)
        else:
            found.usable.add(str(folder.relative_to(root)))
            claims.setdefault(place, []).append((named is not None, folder, seen.features))
    for place, rows in claims.items():
        best = [row for row in rows if row[0]] or rows
        found.places[place] = Claims([folder for _, folder, _ in best], best[0][2] if len(best) == 1 else None)
    return found


def _place(named: Place | None, seen: Glance, model: Model | None) -> Place:
    """Where the dictionary of a folder belongs, by its name and a first look.

    Raises:
        AttribError: the two contradict each other or neither says it, or it cannot fit the model.
    """
    place = named or seen.place
    if place is None:
        raise AttribError("it does not say where it reads")
    if seen.place not in (None, place):
        raise AttribError(f"is for {seen.place}, and its folder is named after {place}")
    if model is not None and (reason := misfit(model, place, seen.width)):
        raise AttribError(reason)
    return place


def named_after(folder: Path) -> Place | None:
    """The place that a folder is named after, as it is printed or as it used to be; None for any other folder."""
    try:
        found = dictionary_place(folder.name)
    except ComponentError:
        return None
    return found if folder.name in (str(found), name_of(found)) else None


def name_of(place: Place) -> str:
    """What the folder of a place is called: ``L2`` for the stream behind layer 2, ``L3.attn`` for what its heads hand
    on; as printed will do too."""
    return {"z": f"L{place.layer}.attn", "post": f"L{place.layer}"}.get(place.site, str(place))


def reason_for(error: AttribError, folder: Path) -> str:
    """What is said of a folder, behind its name."""
    return error.message.removeprefix(f"{folder} ").removesuffix(".")
