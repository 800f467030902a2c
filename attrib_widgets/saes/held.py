"""One dictionary of a model: in memory, or where it is read from when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..words.errors import AttribError, ComponentError
from ..words.places import Place
from .cards import FIRINGS, Cards
from .cards.neuronpedia import Descriptions
from .fit import fit as let_pass
from .folders import Texts, reason_for, texts_of
from .formats import ends, format_of
from .loaded import read_sae
from .quality import Fit
from .sae import SAE

if TYPE_CHECKING:
    from ..model.model import Model

#: SHA-256 of the weights of a model, worked out where it is asked for.
Digest = Callable[[], "str | None"]


@dataclass(eq=False)
class Held:
    """One dictionary: in memory, or where it will be read from. Several that can be read for one place are refused."""

    place: Place
    folders: list[Path] = field(default_factory=list)
    sae: SAE | None = None
    texts: Texts | None = None
    cards: Cards | None = None
    made: Cards | None = None
    described: Descriptions | None = None
    fit: Fit | None = None
    features: int | None = None

    @property
    def has_cards(self) -> bool:
        """Whether its folder holds the cards of its features."""
        return len(self.folders) == 1 and (self.folders[0] / FIRINGS).is_file()

    def read(self, model: Model | None, digest: Digest) -> dict[str, str]:
        """Read it, unless it is in memory: of several folders that claim its place, the one that can be read.

        Returns:
            The other folders' names, and why they cannot be read.

        Raises:
            AttribError: several can, or none.
        """
        if self.sae is not None:
            return {}
        if len(self.folders) == 1:
            self.sae = read_for(self.place, self.folders[0], model, digest)
            return {}
        readable: list[tuple[Path, SAE]] = []
        reasons: dict[Path, str] = {}
        for folder in self.folders:
            try:
                readable.append((folder, read_for(self.place, folder, model, digest)))
            except AttribError as error:
                reasons[folder] = reason_for(error, folder)
            if len(readable) > 1:
                raise AttribError(
                    f"Several folders are for {self.place}: {', '.join(map(str, self.folders))}.",
                    f'Choose one: model.saes["{self.place}"] = "{self.folders[0]}".',
                )
        if not readable:
            said = "; ".join(f"{folder}: {why}" for folder, why in reasons.items())
            raise AttribError(f"No dictionary for {self.place} can be read: {said}.")
        [(folder, self.sae)] = readable
        self.folders, self.texts = [folder], texts_of(folder)
        return {other.name: why for other, why in reasons.items()}


def read_for(place: Place, folder: Path, model: Model | None, digest: Digest) -> SAE:
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
    if model is not None:
        let_pass(model, sae, digest)
    return sae


def end_of(place: Place, folder: Path) -> Place:
    """Where the dictionary of a folder reads, if that is the other end of a transcoder to ``place``; else ``place``."""
    known = format_of(folder)
    told = None if known is None else known.glance(folder).place
    return told if told is not None and told in ends(place) else place
