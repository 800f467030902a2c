"""``model.saes``: the dictionaries of a model by the place that they read, and the texts that their cards show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakMethod

from ..result import Table, render_text
from ..words.errors import AttribError, ComponentError
from ..words.places import OF_DICTIONARIES, Place, PlaceLike, dictionary_place
from .cards import FIRINGS, Cards, Text, cards_of
from .fit import fit, misfit
from .formats import format_of, local, read_sae, unknown
from .formats.files import Glance, sha256
from .sae import SAE

if TYPE_CHECKING:
    from ..model.model import Model

#: The folder beside a model's weights that its dictionaries are in, one folder each; and, in it or in one of them,
#: the texts that the cards' numbers count.
FOLDER, TEXTS = "saes", "contexts.json"
#: How a model's texts are given.
GIVE_TEXTS = 'Give some that it may fire on: model.saes.contexts = ["...", "..."].'


class Opened(NamedTuple):
    """A dictionary with its cards and where their texts come from, as far as there are any."""

    sae: SAE
    cards: Cards | None = None
    text: Text | None = None


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
        AttribError: it is neither.
    """
    try:
        content = file.read_text(encoding="utf-8")
        found = (
            json.loads(content) if file.suffix == ".json" else [line for line in content.splitlines() if line.strip()]
        )
    except (OSError, ValueError) as reason:
        raise AttribError(
            f"{file} cannot be read as texts: {reason}.", "It is a JSON list, or one text a line."
        ) from reason
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise AttribError(f"{file} is no list of texts.", "It is a JSON list of strings, or one text a line.")
    return found


@dataclass(eq=False)
class _Held:
    """One dictionary: in memory, or where it will be read from. Several that can be read for one place are refused."""

    place: Place
    folders: list[Path] = field(default_factory=list)
    sae: SAE | None = None
    texts: Texts | None = None
    cards: Cards | None = None
    made: tuple[Cards, Text] | None = None
    features: int | None = None

    @property
    def has_cards(self) -> bool:
        return len(self.folders) == 1 and (self.folders[0] / FIRINGS).is_file()


class Dictionaries(MutableMapping[Place, SAE]):
    """The dictionaries of a model, by place, each read when it is first asked for.

    ::

        model.saes["L8.mlp"] = aw.read_sae(folder)   # or the folder, or a SAE made in memory
        model.saes.add(folder_of_folders)            # everything in it
        model.saes.contexts = ["...", "..."]         # texts for the cards of dictionaries that came without

    A key is any spelling of a place: ``"L8.mlp"``, ``"L2"`` or ``"L2.post"`` (the stream behind layer 2), ``"L3.z"``
    (the heads' outputs side by side). What does not fit the model is refused.
    """

    def __init__(self, folder: Path | None = None, model: Model | None = None) -> None:
        self.folder = folder
        self.version = 0
        """Another number whenever dictionaries or texts came or went. One whose tensors are written to in place is
        the same dictionary still: what was encoded with it stays as it was, until it is given again."""
        self.passed_over: dict[str, str] = {}
        """Folders that hold a dictionary which cannot be read here or does not fit the model, and why."""
        self._model = model
        self._held: dict[Place, _Held] = {}
        self._contexts: list[str] | None = None
        self._listeners: list[WeakMethod[Callable[[], object]]] = []
        self._digest: str | None = None
        if folder is not None:
            self._list(folder)

    @staticmethod
    def of(model: Model) -> Dictionaries:
        """Those in the ``saes`` folder beside the weights of a model, to which others can be added."""
        beside = None if model.folder is None else model.folder / FOLDER
        return Dictionaries(beside if beside is not None and beside.is_dir() else None, model)

    # a mapping ------------------------------------------------------------------------------------------------
    def __getitem__(self, place: PlaceLike) -> SAE:
        return self.opened(place).sae

    def __setitem__(self, place: PlaceLike, given: SAE | Path | str) -> None:
        self._put(dictionary_place(place), given)
        self._changed()

    def __delitem__(self, place: PlaceLike) -> None:
        del self._held[self._find(place).place]
        self._changed()

    def clear(self) -> None:
        """Forget all of them, unread."""
        self._held.clear()
        self._changed()

    def __contains__(self, place: object) -> bool:
        try:
            return dictionary_place(place) in self._held  # type: ignore[arg-type]
        except ComponentError:
            return False

    def __iter__(self) -> Iterator[Place]:
        return iter(sorted(self._held, key=lambda place: (place.layer, OF_DICTIONARIES.index(place.site))))

    def __len__(self) -> int:
        return len(self._held)

    def __repr__(self) -> str:
        whose = "" if self._model is None else f" of {self._model.name}"
        rows = [self._row(self._held[place]) for place in self]
        hidden = [f"not read: {name} ({reason})" for name, reason in self.passed_over.items()]
        note = "" if rows else 'Give one: model.saes["L8.mlp"] = aw.read_sae(folder).'
        title = f"{len(rows) or 'No'} {'dictionary' if len(rows) == 1 else 'dictionaries'}{whose}"
        columns = ["place", "from", "cards", "features"] if rows else []
        return render_text(Table(title, columns, rows, [], note, "\n".join(hidden)))

    def _row(self, held: _Held) -> list[str]:
        count = held.features if held.sae is None else held.sae.n_features
        texts = "with texts" if held.texts else "labels"
        cards = texts if held.has_cards else "from contexts" if self._contexts else "none"
        source = "memory" if not held.folders else self._said(held.folders[0])
        source += f" or {len(held.folders) - 1} more" if len(held.folders) > 1 else ""
        return [str(held.place), source, cards, str(count or "?")]

    def _said(self, folder: Path) -> str:
        return folder.name if self.folder is not None and folder.parent == self.folder else str(folder)

    def given(self) -> dict[Place, Path | None]:
        """Those that do not lie beside the model's weights, and their folders (None: made in memory)."""
        beside = None if self._model is None or self._model.folder is None else self._model.folder / FOLDER
        found = {place: next(iter(self._held[place].folders), None) for place in self}
        return {place: folder for place, folder in found.items() if folder is None or folder.parent != beside}

    # what is in it --------------------------------------------------------------------------------------------
    def opened(self, place: PlaceLike, make: bool = False) -> Opened:
        """The dictionary of a place, its cards and their texts; ``make`` makes cards from :attr:`contexts` if needed.

        Raises:
            KeyError: no dictionary for it; AttribError: it cannot be read, or does not fit the model.
        """
        held = self._find(place)
        if held.sae is None:
            held.sae = self._read_only(held) if len(held.folders) > 1 else self._read(held.place, held.folders[0])
        if held.has_cards and held.cards is None:
            held.cards = Cards.read(held.folders[0], held.sae.n_features)
        if held.cards is not None and (held.texts or not self._contexts):
            return Opened(held.sae, held.cards, held.texts)
        if make and held.made is None and self._contexts and self._model is not None:
            held.made = cards_of(self._model, held.sae, self._contexts)
        return Opened(held.sae, *(held.made or (held.cards, None)))

    def holds(self, place: Place, sae: SAE) -> bool:
        """Whether the dictionary of a place is this very one; nothing is read to tell."""
        return place in self._held and self._held[place].sae is sae

    def cards(self, place: PlaceLike) -> Cards | None:
        """What the features of a dictionary fire on, where that was computed."""
        return self.opened(place).cards

    @property
    def contexts(self) -> list[str] | None:
        """Texts for the cards of dictionaries that came without: set a list of texts, or a file of them.

        What each feature fires on in them is found when the first card of its dictionary is opened.
        """
        return self._contexts

    @contexts.setter
    def contexts(self, texts: Sequence[str] | Path | None) -> None:
        if isinstance(texts, (Path, str)):
            texts = read_texts(Path(texts))
        found = None if texts is None else list(texts) if isinstance(texts, Iterable) else []
        if found is not None and not (found and all(isinstance(text, str) for text in found)):
            raise AttribError("Contexts are texts.", 'Give a list of them: ["...", "..."], or the file that holds it.')
        self._contexts = found
        for held in self._held.values():
            held.made = None
        self._changed()

    def add(self, given: Any) -> None:
        """Take dictionaries in: an SAE, the folder of one or of several, a mapping by place, or a list of these.

        Raises:
            AttribError: none is found there, or one does not fit the model; then nothing is taken in. (Of a folder of
                several, those that cannot be read here or have another width are passed over, see
                :attr:`passed_over`; what only the weights tell is said when one is opened.)
        """
        held, passed = dict(self._held), dict(self.passed_over)
        try:
            self._add(given)
        except BaseException:
            self._held, self.passed_over = held, passed
            raise
        self._changed()

    def _add(self, given: Any) -> None:
        if isinstance(given, SAE):
            self._put(given.site, given)
        elif isinstance(given, (str, Path)):
            self._add_folder(local(given))
        elif isinstance(given, Mapping):
            for place, one in given.items():
                self._put(dictionary_place(place), one)
        elif isinstance(given, Iterable):
            for one in given:
                self._add(one)
        else:
            raise AttribError(
                f"A {type(given).__name__} holds no dictionaries.", "Give a folder, an aw.SAE, or a dict of places."
            )

    def _add_folder(self, folder: Path) -> None:
        known = format_of(folder)
        if known is None:
            found, passed = self._list(folder)
            if not found:
                reasons = "; ".join(f"{name}: {why}" for name, why in passed.items())
                raise AttribError(f"No dictionary in {folder} can be used: {reasons}.") if passed else unknown(folder)
            return
        place = _named(folder) or known.glance(folder).place
        if place is None:
            raise AttribError(
                f"{folder} does not say where its dictionary reads.", f'Say it: model.saes["L8.mlp"] = "{folder}".'
            )
        self._put(place, folder)

    def _find(self, place: PlaceLike) -> _Held:
        try:
            found = dictionary_place(place)
        except ComponentError:
            found = None
        if found is None or found not in self._held:
            there = ", ".join(map(str, self)) or "none"
            raise KeyError(f"No dictionary for {found or place}; there are {there}.")
        return self._held[found]

    def _put(self, place: Place, given: SAE | Path | str) -> None:
        if isinstance(given, SAE):
            if given.site != place:
                raise ComponentError(
                    f"{given!r} was given for {place}.",
                    f'If it does read {place}: aw.read_sae(folder, site="{place}").',
                )
            if self._model is not None:
                fit(self._model, given, self.digest)
            self._held[place] = _Held(place, sae=given)
        elif isinstance(given, (str, Path)):
            folder = local(given)
            self._held[place] = _Held(place, [folder], self._read(place, folder), _texts(folder))
        else:
            raise ComponentError(
                f"A dictionary cannot be a {type(given).__name__}.", "Give an aw.SAE, or the folder of one."
            )

    def _read(self, place: Place, folder: Path) -> SAE:
        """The dictionary of a folder, which has to be for this place.

        Raises:
            AttribError: it is for another place, or does not fit the model.
        """
        known = format_of(folder)
        told = None if known is None else known.glance(folder).place
        if told not in (None, place):
            raise ComponentError(
                f"The dictionary in {folder} is for {told}, and was given for {place}.",
                f'If it does read {place}: aw.read_sae(folder, site="{place}").',
            )
        sae = read_sae(folder, place if told is None else None)
        if self._model is not None:
            fit(self._model, sae, self.digest)
        return sae

    def _read_only(self, held: _Held) -> SAE:
        """The one dictionary that can be read, of the folders that claim its place.

        Raises:
            AttribError: several can, or none.
        """
        readable: list[tuple[Path, SAE]] = []
        reasons: dict[Path, str] = {}
        for folder in held.folders:
            try:
                readable.append((folder, self._read(held.place, folder)))
            except AttribError as error:
                reasons[folder] = _reason(error, folder)
            if len(readable) > 1:
                raise AttribError(
                    f"Several folders are for {held.place}: {', '.join(map(str, held.folders))}.",
                    f'Choose one: model.saes["{held.place}"] = "{held.folders[0]}".',
                )
        if not readable:
            said = "; ".join(f"{folder}: {why}" for folder, why in reasons.items())
            raise AttribError(f"No dictionary for {held.place} can be read: {said}.")
        [(folder, sae)] = readable
        held.folders, held.texts = [folder], _texts(folder)
        self.passed_over |= {other.name: why for other, why in reasons.items()}
        return sae

    def _list(self, root: Path) -> tuple[int, dict[str, str]]:
        """Find the dictionaries in the folders of a folder: how many places have one, and what is passed over and why.

        A folder is for the place that it is named after, else for the one that is said in it.
        """
        found: dict[Place, list[tuple[bool, Path, int | None]]] = {}
        passed: dict[str, str] = {}
        for folder in sorted(entry for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else ():
            if (known := format_of(folder)) is None:
                continue
            named = _named(folder)
            try:
                seen = known.glance(folder)
                place = self._place(named, seen)
            except AttribError as error:
                passed[folder.name] = _reason(error, folder)
            else:
                self.passed_over.pop(folder.name, None)
                found.setdefault(place, []).append((named is not None, folder, seen.features))
        for place, claims in found.items():
            best = [claim for claim in claims if claim[0]] or claims
            folders = [folder for _, folder, _ in best]
            features = best[0][2] if len(best) == 1 else None
            self._held[place] = _Held(place, folders, texts=_texts(*folders), features=features)
        self.passed_over |= passed
        return len(found), passed

    def _place(self, named: Place | None, seen: Glance) -> Place:
        """Where the dictionary of a folder belongs, by its name and a first look.

        Raises:
            AttribError: the two contradict each other or neither says it, or it cannot fit the model.
        """
        place = named or seen.place
        if place is None:
            raise AttribError("it does not say where it reads")
        if seen.place not in (None, place):
            raise AttribError(f"is for {seen.place}, and its folder is named after {place}")
        if self._model is not None and (reason := misfit(self._model, place, seen.width)):
            raise AttribError(reason)
        return place

    def digest(self) -> str | None:
        """SHA-256 of the weights in the model's folder, where they are one file."""
        if self._digest is None and self._model is not None and self._model.folder is not None:
            file = self._model.folder / "model.safetensors"
            self._digest = sha256(file) if file.is_file() else None
        return self._digest

    # who shows it ---------------------------------------------------------------------------------------------
    def on_change(self, listener: Callable[[], object]) -> None:
        """Call a method whenever dictionaries or texts come or go, for as long as its object lives."""
        self._listeners.append(WeakMethod(listener))

    def off_change(self, listener: Callable[[], object]) -> None:
        """Call a method no longer."""
        self._listeners = [known for known in self._listeners if known() not in (None, listener)]

    def _changed(self) -> None:
        self.version += 1
        self._listeners = [known for known in self._listeners if known() is not None]
        errors: list[Exception] = []
        for known in list(self._listeners):
            try:
                if (listener := known()) is not None:
                    listener()
            except Exception as error:  # the others hear of it all the same
                errors.append(error)
        if errors:
            raise errors[0]


def open_folder(model: Model, place: Place, folder: Path | str) -> Opened:
    """The dictionary of a folder for one place of a model, with the cards that are in it, kept nowhere.

    Raises:
        AttribError: it cannot be read, is for another place, or does not fit the model.
    """
    found = Dictionaries(model=model)
    found[place] = folder
    return found.opened(place)


def _named(folder: Path) -> Place | None:
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


def _reason(error: AttribError, folder: Path) -> str:
    """What is said of a folder, behind its name."""
    return error.message.removeprefix(f"{folder} ").removesuffix(".")


def _texts(*folders: Path) -> Texts | None:
    """The texts in a dictionary's folder, or beside it."""
    beside = [file for folder in folders for file in (folder / TEXTS, folder.parent / TEXTS)]
    return next((Texts(file) for file in beside if file.is_file()), None)
