"""Cards for one's own texts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..words.errors import AttribError
from ..words.places import PlaceLike
from ..words.text import kind_of
from .cards.kept import Cards
from .cards.labels import Say, neighbours
from .cards.making import LONGEST, read_cards
from .formats import local

if TYPE_CHECKING:
    from ..model.model import Model
    from ..model.running.worker import Job


def make_cards(
    model: Model,
    texts: Iterable[Any] | None = None,
    place: PlaceLike | None = None,
    *,
    save: bool | str | Path = False,
    context: int = LONGEST,
    say: Say | None = None,
    job: Job | None = None,
) -> Cards:
    """Find out what the features of a dictionary fire on in texts: for every feature its strongest contexts, firings
    drawn at random in bands of strength, how often it fires and how strongly, what fires with it, and a label.

    Texts are read once, one batch after another, and the model runs no further than the dictionary's place. Memory is
    bounded by the number of features: of the texts only those stay that some card shows. After a hundredth of them (of
    an iterator without a length: after eight batches), and each time that twice as many were read, ``model.saes`` shows
    the cards so far. The same texts give the same cards, also where the work was interrupted and gone on with.

    Args:
        model: whose dictionary it is.
        texts: texts or lists of token ids, of any length: an iterable that is read as it goes. None takes
            ``model.saes.contexts``.
        place: of the dictionary in ``model.saes``; may be left out where there is one.
        save: keep the cards in the folder of the dictionary (True) or in another; there they are found whenever the
            dictionary is read, and what was interrupted is gone on with by the same call. In memory alone otherwise.
        context: how many tokens one context has at most; longer texts are cut.
        say: what can be said of each token of a context, given as printed: lists of statements for labels to name, each
            with its kind in front ("on ·is"), which token it is before all else. None: the token itself and its
            neighbours.
        job: told the texts that are done, and asked whether to stop; without one a bar shows the same. Once it is
            cancelled, or the cell is interrupted, the cards so far are returned (``finished`` is False).

    Raises:
        AttribError: no dictionary for the place; no texts, or others than those that were begun with; several
            dictionaries and no place; no folder; a context of no tokens.
        Cancelled: it was cancelled before anything was counted.
    """
    saes = model.saes
    if place is None:
        if len(saes) != 1:
            there = ", ".join(map(str, saes)) or "none"
            raise AttribError(
                f"{model.name} has {len(saes) or 'no'} dictionaries: {there}.",
                'Name the place of one: aw.make_cards(model, texts, "L8.mlp").',
            )
        place = next(iter(saes))
    sae = saes[place]
    if texts is None and not (texts := saes.contexts):
        raise AttribError("There are no texts to make cards from.", 'Give some: aw.make_cards(model, ["...", "..."]).')
    if say is not None and not callable(say):
        raise AttribError(
            f"{kind_of(say, start=True)} says nothing of tokens.", "Give a function of the tokens of a context."
        )
    folder = saes.folder_of(place) if save is True else local(save) if save else None
    if save is True and folder is None:
        raise AttribError(f"The dictionary for {sae.site} has no folder.", 'Name one: save="cards of L8.mlp".')

    def publish(cards: Cards) -> None:
        if saes.holds(sae.site, sae):  # another one may have been given for this place meanwhile
            saes.take_cards(sae.site, cards)

    return read_cards(
        model, sae, texts, folder=folder, context=context, say=say or neighbours, publish=publish, job=job
    )
