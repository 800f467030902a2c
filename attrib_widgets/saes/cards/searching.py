"""Features by a word: in their labels, on the tokens that they fire on, and in what stands before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from ...result import Result, Table
from ...words.errors import AttribError
from ...words.text import how_many, safe

if TYPE_CHECKING:
    import pandas as pd

    from .kept import Cards

#: How many are printed.
PRINTED = 20


class Hit(NamedTuple):
    """A feature that a word was found for: in its ``label``; in how many ``of`` its strongest contexts it fires ``on``
    the word, and in how many more that stands ``before`` the firing."""

    feature: int
    label: str
    named: bool
    on: int
    before: int
    of: int


@dataclass(eq=False, repr=False)
class Hits(Result):
    """The features that a word was found for, those with it in their label first, then by how often they fire on it."""

    query: str
    place: str
    hits: list[Hit]

    def __len__(self) -> int:
        return len(self.hits)

    def summary(self) -> Table:
        rows = [
            [f"{self.place}/{hit.feature}", hit.label, f"{hit.on} of {hit.of}", f"{hit.before} of {hit.of}"]
            for hit in self.hits[:PRINTED]
        ]
        columns = ["feature", "label", "fires on it", "fires behind it"] if rows else []
        more = len(self.hits) - PRINTED
        note = "Counted in the strongest contexts of each feature." if rows else ""
        note += f" There are {more} more." if more > 0 else ""
        count = how_many(len(self.hits), "feature") if rows else "No features"
        title = f"{count} of {self.place} for “{safe(self.query)}”"
        return Table(title, columns, rows, [], note)

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``feature``, ``label``, ``named``, ``on``, ``before``, ``of``."""
        import pandas as pd

        return pd.DataFrame(self.hits, columns=list(Hit._fields))


def search(cards: Cards, query: str, spelled: dict[str, list[str]] | None = None) -> Hits:
    """See :meth:`.kept.Cards.search`.

    Args:
        spelled: texts by their tokens, where several dictionaries have contexts in the same ones; it is filled.
    """
    wanted = query.casefold()
    if not wanted.strip():
        raise AttribError("There is nothing to look for.", 'Give a word: cards.search("France").')
    named = {f for f, label in enumerate(cards.labels) if wanted.strip() in label.replace("·", " ").casefold()}
    on, before = [0] * len(cards.labels), [0] * len(cards.labels)
    filled = cards.activations[:, : cards.ranks] > 0
    numbers = cards.contexts[:, : cards.ranks][filled].unique().tolist()
    found = _contexts(cards, wanted, numbers, {} if spelled is None else spelled)
    hit = torch.isin(cards.contexts[:, : cards.ranks], torch.tensor(list(found), dtype=torch.long)) & filled
    for feature, rank in hit.nonzero().tolist():
        where = found[int(cards.contexts[feature, rank])]
        position = int(cards.positions[feature, rank])
        fires = {position} if cards.weaker is None else {position, *cards.weaker.row(feature, rank)[0]}
        if where & fires:
            on[feature] += 1
        elif min(where) <= position:
            before[feature] += 1
    of = filled.sum(1).tolist()
    hits = [
        Hit(f, cards.labels[f], f in named, on[f], before[f], of[f])
        for f in range(len(cards.labels))
        if f in named or on[f] or before[f]
    ]
    return Hits(query, cards.place, sorted(hits, key=lambda h: (-h.named, -h.on, -h.before, h.feature)))


def _contexts(cards: Cards, wanted: str, numbers: Sequence[int], spelled: dict[str, list[str]]) -> dict[int, set[int]]:
    """The contexts that hold a word, and the tokens that it touches in each."""
    model, text = cards.model, cards.text
    if model is None or text is None:
        return {}
    names: dict[int, str] = {}
    found: dict[int, set[int]] = {}
    for number in numbers:
        given = text(number)
        if isinstance(given, str) and wanted not in given.casefold():
            continue
        key = given if isinstance(given, str) else ""
        if (tokens := spelled.get(key, [])) == []:
            for i in model.encode(given):
                if i not in names:
                    names[i] = model.token(i).casefold()
                tokens.append(names[i])
            if key:
                spelled[key] = tokens
        if where := _touched(tokens, wanted):
            found[number] = where
    return found


def _touched(tokens: Sequence[str], wanted: str) -> set[int]:
    """Which tokens a word stands in, wherever it stands."""
    whole, found = "".join(tokens), set[int]()
    start = whole.find(wanted)
    while start >= 0:
        end, at = start + len(wanted), 0
        for number, token in enumerate(tokens):
            if at < end and at + len(token) > start and token:
                found.add(number)
            at += len(token)
        start = whole.find(wanted, start + 1)
    return found
