"""What stands in a graph by name: its sources, what each of them writes, and the tables of what they put in."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...result import Sum
from ...saes.sae import Fired
from ...saes.store import Opened
from ...words.errors import ComponentError
from ...words.places import Place, dictionary_place
from ..opening.dictionaries.carded import feature_card
from ..opening.dictionaries.features import labels_of
from .edges import Edges
from .heads import Written
from .held import HeldAttention
from .scores import Weights
from .walk import Walk

if TYPE_CHECKING:
    from ...saes.cards import Card
    from ..attribution.attribution import Attribution


#: What a node can be; a part is one that is not opened.
Kind = Literal["target", "feature", "error", "token", "part"]


class Node(NamedTuple):
    """One node: ``kind`` is ``"target"``, ``"feature"``, ``"error"``, ``"token"`` or ``"part"`` (one not opened).

    ``name`` tells it from all others of its graph: ``"L3.mlp/12@5"`` is feature 12 at position 5. ``place`` is where
    it reads (of an error, which place it was left of), ``value`` what fires, and what a target is.
    """

    kind: Kind
    name: str
    place: str
    layer: int
    position: int
    token: str
    feature: int = -1
    value: float = float("nan")
    concept: str = ""


@dataclass(eq=False, repr=False)
class Sources(Sum):
    """The nodes of a graph and the edges into those that are opened.

    Attributes:
        attribution: what is explained.
        rows: targets that are opened: 0, then features counted from 1, in the order of their own edges.
        edges: what was put into each of them.
    """

    attribution: Attribution
    walk: Walk
    rows: Int[Tensor, "target"]
    edges: Edges

    @cached_property
    def weights(self) -> Weights:
        """The edges as one table."""
        return self.edges.weights(self.rows)

    @cached_property
    def pre(self) -> Float[Tensor, "feature"]:
        """The pre-activation of every feature, which is its activation."""
        return torch.cat([reader.pre for reader in self.walk.readers])

    @cached_property
    def _starts(self) -> list[int]:
        return [first - 1 for first in self.walk.firsts]

    def node(self, source: int) -> Node:
        """A source by its number: features, then errors, tokens and parts."""
        w, tokens = self.weights, self.attribution.run.tokens
        n = len(tokens)
        if source < w.features:
            number, own = self._reader(source)
            reader = self.walk.readers[number]
            at, feature = int(reader.positions[own]), int(reader.features[own])
            labels = self._concepts(number)
            concept = labels[feature] if labels else ""
            name, layer = f"{reader.site}/{feature}", reader.site.layer or 0
            value = float(reader.pre[own])
            return Node("feature", f"{name}@{at}", str(reader.site), layer, at, tokens[at], feature, value, concept)
        number = source - w.features
        if number < w.errors:
            place, at = self.walk.writers[number // n].place, number % n
            return Node("error", f"{place}/error@{at}", str(place), place.layer or 0, at, tokens[at])
        number -= w.errors
        if number < n:
            return Node("token", f"token@{number}", "embed", -1, number, tokens[number])
        part, at = self.walk.stops[(number - n) // n], (number - n) % n
        return Node("part", f"{part}@{at}", str(part), part.layer or 0, at, tokens[at])

    @cached_property
    def target(self) -> Node:
        """The explained number as a node."""
        a = self.attribution
        at = a.reading.position
        words = a.target.words(a.model, a.run)
        return Node("target", words, "", a.reading.point.layer, at, a.run.tokens[at], -1, a.actual)

    def _concepts(self, number: int) -> Sequence[str] | None:
        """What the features of a dictionary are called, as in concepts; read once."""
        if number not in self._called:
            reader, saes = self.walk.readers[number], self.attribution.model.saes
            known = saes.holds(reader.site, reader.sae)
            self._called[number] = labels_of(saes.opened(reader.site)) if known else None
        return self._called[number]

    @cached_property
    def _called(self) -> dict[int, Sequence[str] | None]:
        return {}

    def number(self, name: str) -> int:
        """The source that a name stands for, ``"L3.mlp/12@5"`` or ``"token@3"``; without ``@`` it is at the explained
        position, or where it fires alone.

        Raises:
            ComponentError: there is no such node, or it stands at several positions.
        """
        label, apart, where = str(name).replace(" ", "").partition("@")
        at = int(where) if re.fullmatch(r"-?\d+", where) else None
        label = "" if apart and at is None else label  # a position that cannot be read is no position left out
        n, w = self.attribution.run.n_positions, self.weights
        at = None if at is None else self.attribution.run.position(at)
        found = self._features(label, at) if "/" in label and not label.endswith("/error") else []
        if label == "token" and at is not None:
            return w.features + w.errors + at
        if label.endswith("/error") and at is not None:
            places = [str(writer.place) for writer in self.walk.writers]
            own = str(dictionary_place(label.removesuffix("/error")))
            if own in places:
                return w.features + places.index(own) * n + at
        if str(label) in (parts := [str(c) for c in self.walk.stops]) and at is not None:
            return w.features + w.errors + n + parts.index(label) * n + at
        if len(found) == 1:
            return found[0]
        here = [i for i in found if self.node(i).position == self.attribution.reading.position]
        if len(here) == 1:
            return here[0]
        said = "stands at several positions" if found else "is no node of this graph"
        raise ComponentError(
            f"{name!r} {said}.",
            'Name a feature that fires with its position: "L3.mlp/12@5"; see to_dataframe("nodes").',
        )

    def card(self, name: str) -> Card:
        """The card of a feature that fires here: what it fires on, what it writes, and where it fires in this prompt.

        Raises:
            ComponentError: no such node, or none that is a feature.
        """
        number = self.number(name)
        if number >= self.weights.features:
            raise ComponentError(f"{name} is no feature, and has no card.", 'Name one as "L3.mlp/12@5".')
        which, own = self._reader(number)
        reader = self.walk.readers[which]
        found = feature_card(
            self.attribution, Opened(reader.sae), int(reader.features[own]), Fired(reader.sae, reader.x.float())
        )
        written = [writer.place for writer in self.walk.writers if any(a.reader == which for a in writer.answers)]
        if len(written) > 1:
            said = f"It writes to {len(written)} layers; promoted and suppressed are those of {written[0]} alone."
            found.notes.append(said)
        return found

    def _features(self, label: str, at: int | None) -> list[int]:
        place, _, feature = label.rpartition("/")
        if not feature.isdigit():
            return []
        site, found = dictionary_place(place), []
        for start, reader in zip(self._starts, self.walk.readers, strict=True):
            if site not in (reader.site, reader.sae.target):
                continue
            mine = reader.features == int(feature)
            mine = mine if at is None else mine & (reader.positions == at)
            found += [start + int(i) for i in mine.nonzero()[:, 0]]
        return found

    def _row(self, target: str | None) -> int:
        """The row of a target; None is the explained number.

        Raises:
            ComponentError: it is not opened.
        """
        if target is None:
            return 0
        number = self.number(target)
        rows = (self.rows == number + 1).nonzero()
        if number >= self.weights.features or not len(rows):
            raise ComponentError(
                f"{target} is not opened: nothing is known of what was put into it.",
                "Features below the explained number are, the most influential first: give a larger limit=.",
            )
        return int(rows[0])

    def _reader(self, feature: int) -> tuple[int, int]:
        """(number of its dictionary, number of the node there) of a feature."""
        number = bisect_right(self._starts, feature) - 1  # of equal starts the last: those before it are empty
        return number, feature - self._starts[number]

    def written(self, source: int) -> list[Written]:
        """What a source writes, everywhere."""
        w, n = self.weights, self.attribution.run.n_positions
        if source < w.features:
            found = []
            number, index = self._reader(source)
            reader = self.walk.readers[number]
            own = torch.tensor([index], device=reader.positions.device)
            at = reader.positions[own]
            for writer in self.walk.writers:
                for answer in writer.answers:
                    if answer.reader == number:
                        unit = writer.unit(at)
                        vector = writer.rows(self.walk.readers, answer, own)[0] * reader.pre[own]
                        vector = vector if unit is None else vector * unit
                        found.append(Written(writer.place, int(at), vector))
            return found
        number = source - w.features
        if number < w.errors:
            writer = self.walk.writers[number // n]
            return [Written(writer.place, number % n, writer.error[number % n])]
        number -= w.errors
        if number < n:
            stream = self.attribution.run.record.streams[0][number].double()
            return [Written(Place("pre", 0), number, stream)]
        raise ComponentError(f"{self.node(source).name} is not opened.", "Features, errors and tokens are.")

    def in_stream(self, one: Written, layer: int) -> Float[Tensor, "d_model"]:
        """What becomes of something written in the stream before a layer; of heads' outputs, behind their output
        projection."""
        if one.place.site != "z":
            return self.walk.in_stream(one.place, one.vector, layer)
        held = HeldAttention(self.attribution.run, one.place.layer or 0)
        at = Place("attn_out", one.place.layer)
        return self.walk.in_stream(at, held.written(one.vector, one.position), layer)

    def target_of(self, row: int) -> Node:
        """The target of a row."""
        return self.target if row == 0 else self.node(int(self.rows[row]) - 1)
