"""The card of a feature on the prompt of an attribution, wherever one is asked for: a row opened, a node of a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ....saes.cards import card_of
from ....saes.cards.related import source_tokens
from ....saes.store import GIVE_TEXTS
from ....words.errors import AttribError

if TYPE_CHECKING:
    from ....saes.cards import Card
    from ....saes.sae import SAE, Fired
    from ....saes.store import Opened
    from ...attribution.attribution import Attribution


def feature_card(
    a: Attribution, opened: Opened, feature: int, fired: Fired, *, given: bool = False, head: int | None = None
) -> Card:
    """What is known of a feature by now, without what it adds to the number that is explained.

    Args:
        opened: its dictionary; where the model holds that for its place, what the model knows of it goes first.
        fired: what the dictionary makes of its site on this prompt.
        given: whether it was only given for this question.
        head: the one that a feature of heads is read through; None is all of its layer.

    Raises:
        ComponentError: no such feature; ModelError: the model has changed since the run.
    """
    a.run.check_fresh()
    sae, saes = opened.sae, a.model.saes
    # Cards may have come since; those of another dictionary, given for the place meanwhile, are not this one's.
    own = not given and saes.holds(sae.site, sae)
    now = saes.opened(sae.site, make=True) if own else opened
    here = (a.run.tokens, fired)
    without = GIVE_TEXTS if own else ""
    card = card_of(a.model, sae, now.cards, feature, here, now.text, head, without=without, others=now.described)
    card.notes += [] if now.fit is None else [now.fit.line]
    card.sources = _sources(a, sae, feature, card.here)
    return card


def _sources(a: Attribution, sae: SAE, feature: int, here: list[float]) -> tuple[int, list[float]] | None:
    """Where a feature of heads fires (at what is explained, else where it does most), and what each token adds to it;
    None where it does not fire or that cannot be told."""
    at = a.reading.position if here[a.reading.position] > 0 else max(range(len(here)), key=here.__getitem__)
    if sae.site.site != "z" or here[at] <= 0:
        return None
    try:
        return at, source_tokens(a.model, a.run.record, sae, feature, at).tolist()
    except AttribError:  # a dictionary that norms, or an attention that is not exact
        return None
