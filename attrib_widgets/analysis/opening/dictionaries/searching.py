"""Features of all dictionaries by a word, those that fire on this prompt first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from ....result import Result, Table
from ....saes.cards.searching import search as among
from ....saes.reading import activations
from ....saes.sae import Fired
from ....words.errors import ComponentError
from ....words.text import enumerated, how_many, safe, signed, significant, visible

if TYPE_CHECKING:
    import pandas as pd

    from ....saes.cards.searching import Hit
    from ...attribution.attribution import Attribution
    from .concepts import Concepts
    from .written import Written

#: How many are printed, and of how many features of a dictionary it is asked whether they fire elsewhere on the prompt.
PRINTED, ASKED = 20, 24


class FoundFeature(NamedTuple):
    """A feature that a word was found for.

    ``value`` is what it contributed to the number that is explained, and ``fires`` its activation there; where it does
    not fire there, ``peak`` is the strongest at any other token, and ``at`` which (-1: at none). ``named``, ``on``,
    ``before`` and ``of`` are those of :class:`.Hit`. ``through`` is the part that wrote most of it, or the first that
    would.
    """

    feature: str
    label: str
    value: float
    fires: float
    peak: float
    at: int
    named: bool
    on: int
    before: int
    of: int
    through: str


@dataclass(eq=False, repr=False)
class FoundFeatures(Result):
    """What :meth:`.Concepts.search` found: features that fire where something is explained first, then those that fire
    on other tokens, then the rest; of each those with the word in their label, then those that fire on it.

    Attributes:
        without: places whose dictionaries have no cards, so that nothing can be found there.
    """

    query: str
    unit: str
    tokens: list[str]
    found: list[FoundFeature]
    without: list[str]

    def __len__(self) -> int:
        return len(self.found)

    def title(self) -> str:
        """How many there are, and how many fire."""
        here = sum(one.fires > 0 for one in self.found)
        elsewhere = sum(one.fires <= 0 and one.at >= 0 for one in self.found)
        word = f"“{safe(self.query)}”"
        if not self.found:
            return f"No feature for {word}"
        also = f", {elsewhere} at other tokens" if elsewhere else ""
        fires = f"{here or 'none'} of them fire{'s' if here == 1 else ''} here"
        return f"{how_many(len(self.found), 'feature')} for {word}: {fires}{also}"

    def said(self, one: FoundFeature) -> str:
        """Whether it fires on the prompt, and how often on the word."""
        fires = "does not fire here"
        if one.fires > 0:
            fires = f"fires at {significant(one.fires)}"
        elif one.at >= 0:
            fires = f"fires at {significant(one.peak)} on {visible(self.tokens[one.at])}"
        return f"{fires}; on it in {one.on} of {one.of}" if one.on else fires

    def summary(self) -> Table:
        rows = [[one.feature, one.label, self.said(one), signed(one.value)] for one in self.found[:PRINTED]]
        note = "On it: in how many of its strongest contexts it fires on the word." if rows else ""
        if more := self.found[PRINTED:]:
            note += f" There are {len(more)} more: to_dataframe()."
        if self.without:
            note += f" Without cards, and not looked through: {enumerated(self.without, 6)}."
        columns = ["feature", "computed label", "fires", self.unit] if rows else []
        bars: Sequence[float | None] = [one.value for one in self.found[:PRINTED]]
        return Table(self.title(), columns, rows, list(bars), note.strip())

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``feature``, ``label``, ``value``, ``fires``, ``peak``, ``at``, ``named``, ``on``, ``before``,
        ``of``, ``through``."""
        import pandas as pd

        return pd.DataFrame(self.found, columns=list(FoundFeature._fields))


@torch.no_grad()
def search(c: Concepts, query: str) -> FoundFeatures:
    """See :meth:`.Concepts.search`."""
    a = c.attribution
    assert a is not None
    a.run.check_fresh()
    found, without = list[FoundFeature](), list[str]()
    spelled: dict[str, list[str]] = {}
    for of, one in enumerate(c.written):
        cards = a.model.saes.cards(one.site) if a.model.saes.holds(one.site, one.sae) else None
        if cards is None:
            without.append(str(one.site))
        else:
            found += _of(c, of, one, among(cards, query, spelled).hits)
    if len(without) == len(c.written):
        raise ComponentError(
            f"No dictionary in use of {a.model.name} has cards: there are no labels and contexts to look through.",
            'Make some: aw.make_cards(model, texts, "L8.mlp").',
        )
    found.sort(key=_rank)
    return FoundFeatures(query, c.unit, a.run.tokens, found, without)


def _rank(one: FoundFeature) -> tuple[float, ...]:
    tier = 0 if one.fires > 0 else 1 if one.at >= 0 else 2
    return tier, not one.named, not one.on, -abs(one.value), -one.peak, -one.on, -one.before


def _of(c: Concepts, of: int, one: Written, hits: Sequence[Hit]) -> list[FoundFeature]:
    """The hits of one dictionary: what each does here."""
    assert c.attribution is not None
    fires = {feature: at for at, feature in enumerate(one.firing.tolist())}
    rows = {pair: row for row, pair in enumerate(c.rows)}
    fired, asked, found = _fired(c.attribution, one), 0, []
    for hit in hits:
        value, now, peak, where, through = 0.0, 0.0, 0.0, -1, one.names[0]
        if (at := fires.get(hit.feature)) is not None:
            row = rows[of, at]
            value, now = float(c.values[row]), float(one.active[at])
            through = max(c.shares(row), key=lambda share: abs(share[1]))[0]
        elif asked < ASKED:
            asked += 1
            here = fired(hit.feature).clone()
            here[0] = 0  # the first token is far from all others for most models
            if float(here.max()) > 0:
                where, peak = int(here.argmax()), float(here.max())
        name = f"{one.site}/{hit.feature}"
        found.append(FoundFeature(name, hit.label, value, now, peak, where, *hit[2:], through))
    return found


def _fired(a: Attribution, one: Written) -> Fired:
    return Fired(one.sae, activations(a.model, a.run.record, one.sae).x.float())
