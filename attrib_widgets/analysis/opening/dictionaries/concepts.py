"""Every part that has a dictionary split into its features: the same feature is one row, whichever heads wrote it.

With ``x = sum_f a_f d_f + b_dec + error`` where a dictionary writes and ``u`` the explained direction there, feature f
is the row ``a_f (d_f . u)``; a feature of the heads' outputs is summed over the heads of its layer. Parts without a
dictionary stay rows of their own, and what no feature says (decoder biases, reconstruction errors) is one row that
opens by part. So all rows sum to the number that is explained, and every one of them is measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.identity.steady import steady
from ....result import Table, shown, strongest, with_others
from ....saes.cards import Card, written_direction
from ....words.components import Component, component, whole
from ....words.errors import ComponentError
from ....words.places import Place, PlaceLike, dictionary_place
from ....words.several import listed
from ....words.text import how_many, number, signed
from ...reading.features import Inside
from ..results import OBSERVED, Contributions
from .features import features
from .said import asked
from .written import Written, choices, chosen

if TYPE_CHECKING:
    from ...attribution.attribution import Attribution
    from .searching import FoundFeatures

#: The last row.
UNSAID = "in no feature"


@dataclass(eq=False, repr=False)
class Concepts(Contributions):
    """Contributions of the features of all dictionaries at once; see :meth:`Attribution.concepts`.

    ``kinds`` are ``feature``, in model order, then ``component`` of the parts without a dictionary, and last ``error``:
    the row :data:`UNSAID`, which :meth:`unsaid` opens.

    Attributes:
        concepts: the label computed from each feature's strongest contexts; "" where there is none.
        activations: how strongly each fires here (0 for the rows behind the features).
        used: the parts that were split, and the place of the dictionary that splits them.
        unused: what is not split by a dictionary that is there, and why.
    """

    attribution: Attribution | None = None
    concepts: list[str] = field(default_factory=list)
    activations: Float[Tensor, "row"] = field(default_factory=lambda: torch.empty(0))
    used: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)
    rows: list[tuple[int, int]] = field(default_factory=list)

    @property
    def firing(self) -> int:
        """How many features fire: the first rows."""
        return len(self.rows)

    def row(self, which: int | str | Component) -> int:
        """The number of a row, by its name: ``"L3.z/12"``, or ``"L3H5/12"`` of one of its heads; ``"L3.attn/12"`` is an
        old name of the first.

        Raises:
            ComponentError: no such row; a feature that does not fire has none.
        """
        if (number := whole(which)) is not None:
            if not -len(self.labels) <= number < len(self.labels):
                raise ComponentError(f"There is no row {number}.", f"Rows are 0 to {len(self.labels) - 1}.")
            return number % len(self.labels)
        name = str(which)
        if name not in self.labels and "/" in name:
            found = component(name)
            of = component(found.site) if found.site and "H" in found.site else None
            place = Place("z", of.layer) if of is not None else dictionary_place(found.site or "")
            name = f"{place}/{found.index}"
        if name not in self.labels:
            raise ComponentError(
                f"No row is called {which}.", f"A feature that fires here is one, for example {self.labels[0]!r}."
            )
        return self.labels.index(name)

    def __getitem__(self, row: int | str | Component) -> float:
        return float(self.values[self.row(row)])

    def parts(self, which: int | str | Component) -> Contributions:
        """The parts that wrote a concept: of a feature of the heads' outputs every head of its layer.

        Raises:
            ComponentError: no such row.
        """
        row = self.row(which)
        name, value = self.labels[row], float(self.values[row])
        if row == len(self.labels) - 1:
            return self.unsaid()
        found = [(name, value)] if row >= self.firing else self.shares(row)
        names, values = [n for n, _ in found], torch.tensor([v for _, v in found], dtype=torch.float64)
        best = int(values.abs().argmax())
        return self._opened(
            f"{self.called(row)} by part: {names[best]} writes {signed(float(values[best]))}",
            names, ["component"] * len(names), values, name, value,
        )  # fmt: skip

    def shares(self, row: int) -> list[tuple[str, float]]:
        """(part, contribution) of a feature, in model order; ``row`` is the number of its row."""
        of, at = self.rows[row]
        written = self.written[of]
        return list(zip(written.names, written.shares(at), strict=True))

    def _opened(
        self, title: str, labels: list[str], kinds: list[str], values: Float[Tensor, "row"], parent: str, value: float
    ) -> Contributions:
        found = Contributions(title, labels, kinds, values, parent, value, self.unit)
        found._part_kinds = self.part_kinds
        return found

    def unsaid(self) -> Contributions:
        """What no feature says, by part: reconstruction errors, decoder biases, and what else a dictionary adds."""
        found = [entry for written in self.written for entry in written.unsaid]
        values = torch.tensor([value for _, _, value in found], dtype=torch.float64)
        best = int(values.abs().argmax())
        return self._opened(
            f"What no feature says, by part: {found[best][0]}, {signed(found[best][2])}, is the largest",
            [label for label, _, _ in found], [kind for _, kind, _ in found], values, UNSAID, float(self.values[-1]),
        )  # fmt: skip

    @property
    def errors(self) -> float:
        """What the dictionaries miss, of what no feature says."""
        return math.fsum(value for one in self.written for _, kind, value in one.unsaid if kind == "error")

    def through(self, which: int | str | Component) -> str:
        """The part that wrote most of a concept: ``"L3H4"``; a feature that is opened through it is ``"L3H4/1444"``.

        Raises:
            ComponentError: no such concept fires.
        """
        shares = self.shares(self._feature(which))
        return max(shares, key=lambda share: abs(share[1]))[0]

    def card(self, which: int | str | Component) -> Card:
        """What a concept fires on, what it writes, and where it fires in this prompt, read through the part that wrote
        most of it.

        Raises:
            ComponentError: no such concept fires; ModelError: the model has changed since the run.
        """
        row = self._feature(which)
        written, a = self.written[self.rows[row][0]], self.attribution
        assert a is not None
        given = None if a.model.saes.holds(written.site, written.sae) else written.sae
        return features(a, self.through(row), given).card(int(written.firing[self.rows[row][1]]))

    def search(self, query: str) -> FoundFeatures:
        """The features of these dictionaries whose label holds a word, or which fire on it or behind it in their
        strongest contexts: those that fire here first.

        Raises:
            AttribError: nothing to look for. ComponentError: no dictionary has cards. ModelError: the model has changed
            since the run.
        """
        from .searching import search

        return search(self, query)

    def like(self, which: int | str | Component, cosine: float | None = None) -> list[Component]:
        """The features of all layers that stand for one concept here, the largest contribution first.

        Args:
            which: a label, or one thing that labels say (``"about France"`` of "about France, on ·is"): all features
                that are called so. A feature: all that have its label.
            cosine: instead, if what they add to the stream has at least this cosine to what it adds there (0.7, say).

        Raises:
            ComponentError: no such concept fires, or no such cosine. ModelError: the model has changed since the run.
        """
        assert self.attribution is not None
        self.attribution.run.check_fresh()
        named = [row for row in range(self.firing) if _told(str(which)) & _told(self.concepts[row], parts=True)]
        one = max(named, key=lambda row: abs(float(self.values[row]))) if named else self._feature(which)
        if cosine is not None:
            if isinstance(cosine, bool) or not isinstance(cosine, int | float) or not -1 <= cosine <= 1:
                raise ComponentError(f"{cosine!r} is no cosine.", "Give a number from −1 to 1, 0.7 for example.")
            to = self._direction(one)
            alike = [row for row in range(self.firing) if row == one or float(self._direction(row) @ to) >= cosine]
        else:
            label = self.concepts[one]
            same = [row for row in range(self.firing) if label and self.concepts[row] == label]
            alike = named or same or [one]
        alike.sort(key=lambda row: -abs(float(self.values[row])))
        return [component(self.labels[row]) for row in alike]

    def _direction(self, row: int) -> Float[Tensor, "d_model"]:
        """What a feature that fires adds to the stream, of length one."""
        of, at = self.rows[row]
        written = self.written[of]
        assert self.attribution is not None
        added = written_direction(self.attribution.model, written.sae, int(written.firing[at])).double().cpu()
        return torch.nn.functional.normalize(added * float(written.strengths[at]), dim=0)

    def _feature(self, which: int | str | Component) -> int:
        row = self.row(which)
        if row >= self.firing:
            raise ComponentError(f"{self.labels[row]} is no feature.", f"Name one, for example {self.labels[0]!r}.")
        return row

    def called(self, row: int) -> str:
        """A concept by its label and its name: ``about \u00b7France (L3.z/1444)``."""
        label = self.concepts[row]
        return f"{label} ({self.labels[row]})" if label else self.labels[row]

    @property
    def told(self) -> list[str]:
        """What stands beside each row: the label of a feature, and of what is in none how much is errors."""
        unsaid = f"errors {signed(self.errors)}, constants {signed(float(self.values[-1]) - self.errors)}"
        return [*self.concepts[:-1], unsaid]

    def summary(self) -> Table:
        last = len(self.values) - 1
        order = [*shown(self.values[:last], 10), last]
        rows, bars = with_others(self.values, order, lambda i: [self.labels[i], self.told[i]])
        columns = ["feature or part", "computed label" if any(self.concepts) else "", self.unit]
        return Table(self.title, columns, rows, bars, self.note, self.footer(), last=len(rows) - len(order) + 1)

    def to_dataframe(self) -> Any:
        """Columns ``row``, ``label``, ``kind``, ``value``, ``activation``, ``concept``, ``parts`` (largest first)."""
        frame = super().to_dataframe()
        parts = [", ".join(n for n, _ in self._largest(row)) for row in range(self.firing)]
        rest = [""] * (len(self.labels) - self.firing)
        return frame.assign(activation=self.activations.numpy(), concept=self.concepts, parts=parts + rest)

    def _largest(self, row: int) -> list[tuple[str, float]]:
        return sorted(self.shares(row), key=lambda share: -abs(share[1]))


@steady(end=False)
@torch.no_grad()
def concepts(a: Attribution, use: PlaceLike | Iterable[PlaceLike] | None = None) -> Concepts:
    """See :meth:`Attribution.concepts`."""
    a.run.check_fresh()
    if isinstance(a.reading, Inside):
        raise a.reading.none()
    written, unused, splits = list[Written](), list[str](), list(choices(a))
    allowed = None if use is None else _allowed(a, use, {p for options in splits for _, p in options})
    for options in splits:
        found, passed = chosen(a, [(parts, p) for parts, p in options if allowed is None or p in allowed])
        written += found
        unused += passed
    if not written:
        raise ComponentError(
            f"No part of {a.model.name} has a dictionary of what it writes here."
            + (f" {'; '.join(unused)}." if unused else ""),
            'Give one, of an MLP or of heads: model.saes["L2.mlp"] = aw.read_sae(folder), model.saes["L2.z"] = ...',
        )
    split = {c for one in written for c in one.parts}
    apart = [(str(c), float(v)) for c, v in zip(a.components, a.values.tolist(), strict=True) if c not in split]
    fires = [(of, at) for of, one in enumerate(written) for at in range(len(one.firing))]
    names = [f"{one.site}/{feature}" for one in written for feature in one.firing.tolist()]
    labels = [one.labels[f] if one.labels else "" for one in written for f in one.firing.tolist()]
    unsaid = math.fsum(value for one in written for _, _, value in one.unsaid)
    others = torch.tensor([*(value for _, value in apart), unsaid], dtype=torch.float64)
    values = torch.cat([*(one.values for one in written), others])
    rest = len(apart) + 1
    made = Concepts(
        "", [*names, *(name for name, _ in apart), UNSAID],
        ["feature"] * len(names) + ["component"] * len(apart) + ["error"],
        values, asked(a), a.actual, a.unit, attribution=a, concepts=labels + [""] * rest,
        activations=torch.cat([*(one.active.float().cpu() for one in written), torch.zeros(rest)]),
        used={name: str(one.site) for one in written for name in map(str, one.parts)},
        unused=unused, written=written, rows=fires,
    )  # fmt: skip
    made.title, made.note = _title(made), _note(made, sum(one.sae.n_features for one in written))
    return made


def _allowed(a: Attribution, use: PlaceLike | Iterable[PlaceLike], known: Set[Place]) -> set[Place]:
    """The places whose dictionaries are to be taken, one or several by name.

    Raises:
        ComponentError: none, one without a dictionary, or one whose dictionary splits no part of this attribution.
    """
    found = list(dict.fromkeys(dictionary_place(spec) for spec in listed(use)))
    if not found:
        raise ComponentError("No place is named in use=[].", 'Name some, use=["L2.z", "L8.mlp"], or leave it out.')
    for place in found:
        a.model.saes.opened(place)  # refuses what is not there
        if place not in known or (place.is_stream and a.model.saes[place].writes is None):
            raise ComponentError(
                f"The dictionary of {place} splits no part of what is explained here.",
                f'Of a stream nobody wrote what it splits: open it as a.features("{place}").'
                if place.is_stream
                else "Name one of an attention or an MLP below it.",
            )
    return set(found)


def _told(label: str, parts: bool = False) -> set[str]:
    """A label without the signs of spaces; with its ``parts`` one by one as well."""
    plain = label.replace("\u00b7", "")
    return {said for said in (plain, *(plain.split(", ") if parts else ())) if said}


def _title(c: Concepts) -> str:
    """The finding: which feature leads, unless what none says outweighs it."""
    last, of = len(c.values) - 1, f"of {number(c.parent_value)}"
    order = strongest(c.values)
    best = next((row for row in order if row < c.firing), None)
    most = order[0]
    assert c.attribution is not None
    constants = {str(part) for part in c.attribution.components if not part.writes}
    lacking = "" if c.labels[most] in constants else ", which has no dictionary"
    said = "what no feature says" if most == last else c.labels[most] + lacking
    if best is None:
        return f"No feature fires: {said}, adds {signed(float(c.values[most]))} {of} for {c.parent}"
    led, alone = signed(float(c.values[best])), float(c.values[best])
    if most == best and (alone < 0 or alone > abs(c.parent_value)):  # a share would mislead
        return f"{c.called(best)} weighs most, {led}; all rows sum to {number(c.parent_value)} for {c.parent}"
    if most == best:
        return f"{c.called(best)} leads with {led} {of} for {c.parent}"
    return f"{said}, {signed(float(c.values[most]))} {of}, outweighs {c.called(best)}, {led}, for {c.parent}"


def _note(c: Concepts, known: int) -> str:
    """How much features add, how much no feature says, and which dictionaries were taken."""
    features, missed = float(c.values[: c.firing].sum()), float(c.values[-1])
    apart = len(c.values) - c.firing - 1
    parts = f", {how_many(apart, 'row')} of parts without a dictionary {signed(c.total - features - missed)}"
    without = parts if apart else ""
    lines = [
        f"{c.firing} of {known:,} features of {len(c.written)} "
        f"{'dictionary' if len(c.written) == 1 else 'dictionaries'} fire. They add {signed(features)} {c.unit} of "
        f"{signed(c.parent_value)}{without}, and what is in no feature {signed(missed)}: errors (what the dictionaries "
        f"miss) {signed(c.errors)}, their biases and other constants {signed(missed - c.errors)}.",
        f"Dictionaries: {', '.join(str(one.site) for one in c.written)}. {OBSERVED}",
        *(f"{said}." for said in c.unused),
    ]
    return "\n".join(lines)
