"""``model.saes``: the dictionaries of a model by the place that they read, and the texts that their cards show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakMethod

from ..result import Table, render_text
from ..words.errors import AttribError, ComponentError, NoDictionaryError
from ..words.places import OF_DICTIONARIES, Place, PlaceLike, dictionary_place
from ..words.text import kind_of
from .cards import Cards, Text
from .cards.making import read_cards
from .cards.neuronpedia import Descriptions, read_descriptions
from .fit import fit as let_pass
from .folders import named_after, read_texts, search, texts_of
from .formats import format_of, local, only, unknown
from .formats.files import sha256
from .held import Held, end_of, read_for
from .loaded import is_loaded, read_sae
from .quality import Fit, measured
from .sae import SAE

if TYPE_CHECKING:
    from ..model.model import Model
    from ..model.running.worker import Job

#: The folder beside a model's weights that its dictionaries are in, one folder each.
FOLDER = "saes"
#: How a model's texts are given.
GIVE_TEXTS = 'Give some that it may fire on: model.saes.contexts = ["...", "..."].'


class Opened(NamedTuple):
    """A dictionary with its cards and where their texts come from, as far as there are any."""

    sae: SAE
    cards: Cards | None = None
    text: Text | None = None
    described: Descriptions | None = None
    fit: Fit | None = None


class Dictionaries(MutableMapping[Place, SAE]):
    """The dictionaries of a model, by place, each read when it is first asked for.

    ::

        model.saes["L8.mlp"] = aw.read_sae(folder)   # or the folder, or a SAE made in memory
        model.saes.add(folder_of_folders)            # everything in it
        model.saes.contexts = ["...", "..."]         # texts for the cards of dictionaries that came without

    A key is any spelling of a place: ``"L8.mlp"``, ``"L2"`` or ``"L2.post"`` (the stream behind layer 2), ``"L3.z"``
    (the heads' outputs side by side), ``"L3.attn_out"``, ``"L8.mlp_in"`` (of a transcoder: ``"L8.mlp"`` names it
    too). What does not fit the model is refused.
    """

    def __init__(self, folder: Path | None = None, model: Model | None = None) -> None:
        self.folder = folder
        self.version = 0
        """Another number whenever dictionaries or texts came or went. One whose tensors are written to in place is
        the same dictionary still: what was encoded with it stays as it was, until it is given again."""
        self.passed_over: dict[str, str] = {}
        """Folders that hold a dictionary which cannot be read here or does not fit the model, and why."""
        self._model = model
        self._held: dict[Place, Held] = {}
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

    def _row(self, held: Held) -> list[str]:
        count = held.features if held.sae is None else held.sae.n_features
        texts = "with texts" if held.texts else "labels"
        cards = texts if held.has_cards else "from contexts" if self._contexts else "none"
        source = "memory" if not held.folders else self._said(held.folders[0])
        source += f" or {len(held.folders) - 1} more" if len(held.folders) > 1 else ""
        return [str(held.place), source, cards, str(count or "?")]

    def _said(self, folder: Path) -> str:
        own = self.folder is not None and self.folder in folder.parents
        return str(folder.relative_to(self.folder) if own and self.folder else folder)

    def given(self) -> dict[Place, Path | None]:
        """Those that do not lie beside the model's weights, and their folders (None: made in memory)."""
        beside = None if self._model is None or self._model.folder is None else self._model.folder / FOLDER
        found = {place: next(iter(self._held[place].folders), None) for place in self}
        return {place: folder for place, folder in found.items() if folder is None or beside not in folder.parents}

    # what is in it --------------------------------------------------------------------------------------------
    def opened(self, place: PlaceLike, make: bool = False) -> Opened:
        """The dictionary of a place, its cards and their texts; ``make`` makes cards from :attr:`contexts` if needed.

        Raises:
            ComponentError: no dictionary for it (a KeyError, too); AttribError: it cannot be read, or does not fit.
        """
        held = self._find(place)
        self.passed_over |= held.read(self._model, self.digest)
        assert held.sae is not None
        if held.has_cards and held.cards is None:
            read = Cards.read(held.folders[0], held.sae.n_features)
            if read is not None:
                held.cards = replace(read, place=str(held.place), model=self._model, elsewhere=held.texts)
        known = held.cards is not None and (held.texts or held.cards.texts or not self._contexts)
        if not known and make and held.made is None and self._contexts and self._model is not None:
            held.made = read_cards(self._model, held.sae, self._contexts, shown=False)
        if known or held.made is None:
            return Opened(held.sae, held.cards, held.texts, held.described, held.fit)
        return Opened(held.sae, held.made, None, held.described, held.fit)

    def holds(self, place: Place, sae: SAE) -> bool:
        """Whether the dictionary of a place is this very one; nothing is read to tell."""
        return place in self._held and self._held[place].sae is sae

    def cards(self, place: PlaceLike) -> Cards | None:
        """What the features of a dictionary fire on, where that was computed."""
        return self.opened(place).cards

    def take_cards(self, place: PlaceLike, cards: Cards) -> None:
        """Show these cards of the dictionary of a place from now on."""
        self._find(place).cards = cards
        self._changed()

    def folder_of(self, place: PlaceLike) -> Path | None:
        """The folder that the dictionary of a place was read from; None where it was made in memory."""
        self.opened(place)
        return next((folder if folder.is_dir() else folder.parent for folder in self._find(place).folders), None)

    def describe(self, place: PlaceLike, folder: Path | str, model_id: str | None = None) -> Descriptions:
        """Show what an export of Neuronpedia says of the features of a dictionary: its explanations beside the computed
        labels, and its contexts where there are no others. Nothing is fetched.

        Args:
            place: of the dictionary.
            folder: of one source, ``v1/MODEL/SOURCE``, with ``explanations/``, and ``features/`` and ``activations/``
                where they are.
            model_id: what Neuronpedia calls this model, where names differ.

        Raises:
            AttribError: no such export, or one of another model, place or dictionary.
        """
        held, sae = self._find(place), self.opened(place).sae
        held.described = read_descriptions(Path(folder), sae, self._model, model_id)
        self._changed()
        return held.described

    def fit(self, place: PlaceLike, texts: Iterable[Any] | None = None, *, job: Job | None = None) -> Fit:
        """How well a dictionary stands in for what it rebuilds: how many features fire, the variance explained, the
        cosine, dead features, and loss and KL of next tokens with its output in place of what is there, beside those
        with the mean. Its cards show it from then on.

        Args:
            place: of the dictionary.
            texts: texts or lists of token ids; None takes :attr:`contexts`.
            job: told how far it is, and asked whether to stop; without one a bar shows the same.

        Raises:
            AttribError: no dictionary for the place, or no texts; Cancelled: it was cancelled.
        """
        held, sae = self._find(place), self.opened(place).sae
        assert self._model is not None
        held.fit = measured(self._model, sae, self._contexts or [] if texts is None else texts, job=job)
        self._changed()
        return held.fit

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
        elif is_loaded(given):
            self._add(read_sae(given))
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
                f"{kind_of(given, start=True)} holds no dictionaries.", "Give a folder, an aw.SAE, or a dict of places."
            )

    def _add_folder(self, folder: Path) -> None:
        if (known := format_of(folder)) is None:
            found, passed = self._list(folder)
            if not found:
                reasons = "; ".join(f"{name}: {why}" for name, why in passed.items())
                raise AttribError(f"No dictionary in {folder} can be used: {reasons}.") if passed else unknown(folder)
            return
        place = named_after(folder) or known.glance(folder).place
        if place is None:
            raise AttribError(
                f"{folder} does not say where its dictionary reads.", f'Say it: model.saes["L8.mlp"] = "{folder}".'
            )
        self._put(place, folder)

    def _find(self, place: PlaceLike) -> Held:
        try:
            found = dictionary_place(place)
        except ComponentError as reason:
            raise NoDictionaryError(reason.message, reason.hint) from reason
        if found not in self._held:
            raise self.lacking(found)
        return self._held[found]

    def lacking(self, place: Place) -> NoDictionaryError:
        """What to say where there is no dictionary for a place."""
        whose = "" if self._model is None else f" of {self._model.name}"
        there = ", ".join(map(str, self)) or "none"
        return NoDictionaryError(
            f"There is no dictionary for {place}{whose}.",
            f'Give it one, model.saes["{place}"] = aw.read_sae(folder); there are {there}.',
        )

    def _put(self, place: Place, given: Any) -> None:
        if isinstance(given, SAE):
            if place == given.target:  # a transcoder is kept by where it reads, named by either end
                place = given.site
            if given.site != place:
                raise ComponentError(
                    f"{given!r} was given for {place}.",
                    f'If it does read {place}: aw.read_sae(folder, site="{place}").',
                )
            if self._model is not None:
                let_pass(self._model, given, self.digest)
            self._held[place] = Held(place, sae=given)
        elif isinstance(given, (str, Path)):
            folder = only(local(given), place)
            place = end_of(place, folder)
            self._held[place] = Held(
                place, [folder], read_for(place, folder, self._model, self.digest), texts_of(folder)
            )
        elif is_loaded(given):
            self._put(place, read_sae(given, place))
        else:
            raise ComponentError(f"A dictionary cannot be {kind_of(given)}.", "Give an aw.SAE, or the folder of one.")

    def _list(self, root: Path) -> tuple[int, dict[str, str]]:
        """Hold what is in the folders of a folder: how many places have one, and what is passed over and why."""
        found = search(root, self._model)
        self._held |= {
            place: Held(place, one.folders, texts=texts_of(*one.folders), features=one.features)
            for place, one in found.places.items()
        }
        known = {name: why for name, why in self.passed_over.items() if name not in found.usable}
        self.passed_over = known | found.passed
        return len(found.places), found.passed

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
    """The dictionary of a folder for one place of a model, with the cards that are in it, kept nowhere; for what an MLP
    adds also a transcoder to it.

    Raises:
        AttribError: it cannot be read, is for another place, or does not fit the model.
    """
    found, folder = Dictionaries(model=model), only(local(folder), place)
    found[place] = folder
    return found.opened(end_of(place, folder))
