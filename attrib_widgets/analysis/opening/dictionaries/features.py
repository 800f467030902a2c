"""Opening a row with a dictionary: what each feature of a sparse autoencoder contributed through it.

With ``x = sum_f a_f d_f + b_dec + error`` at the row's own place and ``u`` the explained direction there, feature f
contributed ``a_f (d_f . u)``; the decoder's bias and the reconstruction error are rows of their own, and so are a skip
connection, the mean that a norm puts back and what the dictionary's coordinates leave out, so that the rows sum to the
bar exactly. The error is measured, never a remainder. A transcoder reads another place than it writes: the row is what
is at the second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.identity.steady import steady
from ....model.parts.outlet import outlet_of
from ....result import Table, shown, with_others
from ....saes.arithmetic import arithmetic
from ....saes.cards import Card
from ....saes.fit import whose
from ....saes.reading import activations
from ....saes.sae import SAE, Fired
from ....saes.store import Opened
from ....words.components import Component, component, whole
from ....words.errors import ComponentError
from ....words.places import Place, PlaceLike, dictionary_place
from ....words.text import share, signed
from ..results import Contributions
from .carded import feature_card
from .rows import dictionary_of, direction_of, row_of, site_of, writing
from .said import MUCH, asked, explained_said, headline, untrained
from .splitting import fired_at, fixed_parts, joined, opened_up

if TYPE_CHECKING:
    from ...attribution.attribution import Attribution


@dataclass(eq=False, repr=False)
class Features(Contributions):
    """Contributions of the active features of one dictionary.

    ``kinds`` are ``feature``, then ``bias``, where there is one ``mean``, ``skip`` and ``aside``, and last ``error``.

    Attributes:
        site: where the dictionary reads (``"L2.mlp"``; for a head ``"L3.z"``, the outputs of all its heads).
        numbers: the feature of each row, -1 for the rows behind the features.
        activations: how strongly each fires here (0 for the rows behind the features).
        concepts: the label computed from each feature's strongest contexts; "" where there is none.
    """

    site: str = ""
    numbers: list[int] = field(default_factory=list)
    activations: Float[Tensor, "row"] = field(default_factory=lambda: torch.empty(0))
    concepts: list[str] = field(default_factory=list)
    opened: Callable[[int], Card] | None = None

    def card(self, feature: int | str | Component | None = None) -> Card:
        """What one feature fires on, what it writes, and where it fires in this prompt: by number or name.

        Without either it is the feature that contributes most, whatever its sign.

        Raises:
            ComponentError: no feature of this dictionary; ModelError: the model has changed since the run.
        """
        if feature is None:
            if not self.firing:
                raise ComponentError(f"No feature of {self.site} fires here.", "Name one by its number.")
            feature = self.numbers[int(self.values[: self.firing].abs().argmax())]
        number = whole(feature)
        if number is None:
            found = component(feature)  # type: ignore[arg-type]
            if found.kind != "feature" or str(dictionary_place(found.site or "")) != self.site:
                raise ComponentError(f"{found} is no feature of {self.site}.", f'Write for example "{self.site}/12".')
            number = found.index or 0
        assert self.opened is not None
        return self.opened(number)

    @property
    def firing(self) -> int:
        """How many features fire: the first rows."""
        return self.kinds.count("feature")

    def summary(self) -> Table:
        # What no feature says is told by name, however small: the last rows.
        count = self.firing
        order = [*shown(self.values[:count], 10), *range(count, len(self.values))]
        rows, bars = with_others(self.values, order, lambda i: [self.labels[i], self.concepts[i]])
        columns = ["feature", "computed label" if any(self.concepts) else "", self.unit]
        return Table(self.title, columns, rows, bars, self.note, self.footer(), last=len(rows) - len(order))

    def to_dataframe(self) -> Any:
        """Columns ``row``, ``label``, ``kind``, ``value``, ``feature``, ``activation``, ``concept``."""
        frame = super().to_dataframe()
        return frame.assign(feature=self.numbers, activation=self.activations.numpy(), concept=self.concepts)


@steady(end=False)
@torch.no_grad()
def features(a: Attribution, which: PlaceLike, sae: SAE | Path | str | Any | None = None) -> Features:
    """See :meth:`Attribution.features`."""
    found, name = row_of(which)
    first = dictionary_of(a, site_of(a, found, name), sae)
    read = writing(first.sae)
    site = read.site
    if read.writes is not None:  # the row is what it writes, whichever end was named
        found, name = row_of(read.writes)
        site_of(a, found, name)
    at = a.reading.position
    held = activations(a.model, a.run.record, read)
    u = direction_of(a, found).to(read.b_dec.device)
    head = found.index if isinstance(found, Component) and found.kind == "head" else None
    where, strengths = fired_at(a, read, held, at)
    firing, unit = where.tolist(), float(read.undone_by(held.x[at].float()))
    values, decoded = opened_up(read, where, strengths.double() * unit, u)
    fixed = fixed_parts(read, held, at)
    error = held.y[at].double() - decoded - sum(part for _, _, part in fixed)
    bar, missed = float(held.y[at].double() @ u), float(error @ u)
    given = [(kind, said, float(part @ u)) for kind, said, part in fixed]
    if isinstance(found, Place):  # what had been written up to there, read where it stands
        parent = f"stream {name}" if found.is_stream else name
        parent = f"stream behind L{found.layer}" if found.site == "post" else parent
    else:
        parent, bar = str(found), a[found]
        given += joined(a, found)
    divisor, reads = _way(a, found, site)
    divisor /= unit
    concepts = [called(first, f) for f in firing]
    before = f"{site}/"
    labels = [before + number for number in map(str, firing)]

    fired = Fired(read, held.x)

    def opened(feature: int) -> Card:
        card = feature_card(a, first, feature, fired, given=sae is not None, head=head)
        if feature in firing:
            i = firing.index(feature)
            fires, value = float(strengths[i]), float(values[i])
            card.arithmetic = arithmetic(fires, value / fires, divisor, value, asked(a), reads)
        return card

    note = [f"{len(firing)} of {read.n_features:,} features fire; {explained_said(a, read, held, error, at)}"]
    total, constant = math.fsum(values.tolist()), math.fsum(value for _, _, value in given)
    part = f" ({share(total / bar)})" if bar and abs(total / bar) < MUCH else ""
    fixed_too = f" and constants {signed(constant)}" if signed(constant) != signed(0.0) else ""
    note.append(
        f"Of the {signed(bar)} {a.unit} of {parent} they add {signed(total)}{part}, the error (what they miss) "
        f"{signed(missed)}{fixed_too}."
    )
    note += [said for said in (untrained(read, at), whose(a.model, read, a.model.saes.digest)) if said]
    return Features(
        f"{parent} by feature{headline(labels, values, missed)}",
        [*labels, *(said for _, said, _ in given), f"{site}/error"],
        ["feature"] * len(firing) + [kind for kind, _, _ in given] + ["error"],
        torch.cat([values, values.new_tensor([*(value for _, _, value in given), missed])]).cpu(),
        parent,
        bar,
        a.unit,
        axis="feature",
        note=" ".join(note),
        site=str(site),
        numbers=firing + [-1] * (len(given) + 1),
        activations=torch.cat([strengths.cpu(), torch.zeros(len(given) + 1)]),
        concepts=concepts + [""] * (len(given) + 1),
        opened=opened,
    )


def called(opened: Opened, feature: int) -> str:
    """The computed label of a feature, else what others call it; "" where nobody does."""
    own = "" if opened.cards is None else opened.cards.labels[feature]
    return own or ("" if opened.described is None else opened.described.label(feature))


def labels_of(opened: Opened) -> Sequence[str] | None:
    """What the features of a dictionary are called; None where nobody calls them anything."""
    if opened.described is None:
        return None if opened.cards is None else opened.cards.labels
    return [called(opened, feature) for feature in range(opened.sae.n_features)]


def _way(a: Attribution, which: Component | Place, site: Place) -> tuple[float, str]:
    """(what the norms between a dictionary's place and what is explained divide by, what it is read through)."""
    scale = float(a.reading.norm.scale(a.reading.point.stream(a.run.record)[a.reading.position]))
    if isinstance(which, Place):
        return 1 / scale, f"read where it stands in the stream, {site}" if which.is_stream else ""
    if which.kind != "head":
        return 1 / scale, f"{site} is read, and {which} written" if site.site == "mlp_in" else ""
    layer = which.layer or 0
    write = outlet_of(a.model, "attn", layer)
    scale *= float(write.scale(a.run.record.attn_out[layer][a.reading.position : a.reading.position + 1]))
    behind = "" if write.norm is None else " and the norm behind the attention"
    return 1 / scale, f"this is what it writes through {which} alone{behind}"


def contribution(a: Attribution, feature: Component) -> float:
    """What a feature contributed, through all heads of its layer where it is one of theirs; 0 where it does not fire.

    Raises:
        ComponentError: no dictionary for it, no such feature, or behind what is explained.
    """
    row, name = row_of(dictionary_place(feature.site or ""))
    if isinstance(row, Component) and row.kind == "attn":  # all heads of its layer at once
        row = Place("z", row.layer)
    sae = writing(dictionary_of(a, site_of(a, row, name), None).sae)
    sae.check(number := feature.index or 0)
    at, held = a.reading.position, activations(a.model, a.run.record, sae)
    firing, strengths = fired_at(a, sae, held, at)
    if not bool((here := firing == number).any()):
        return 0.0
    if sae.writes is not None:
        row, name = row_of(sae.writes)
        site_of(a, row, name)
    strength = float(strengths[here].double()) * float(sae.undone_by(held.x[at].float()))
    u = direction_of(a, row).to(sae.w_dec.device)
    return strength * float(sae.w_dec[number].double() @ u)
