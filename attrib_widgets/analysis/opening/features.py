"""Opening a row with a dictionary: what each feature of a sparse autoencoder contributed through it.

With ``x = sum_f a_f d_f + b_dec + error`` at the row's own place and ``u`` the explained direction there, feature f
contributed ``a_f (d_f . u)``; the decoder's bias and the reconstruction error are rows of their own, so that the
rows sum to the bar exactly. The error is measured, never a remainder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...result import Table, others_label, signed
from ...saes.cards import Card, Cards, card_of
from ...saes.readers import read_sae
from ...saes.sae import SAE
from ...words.components import Component, ComponentLike, component
from ...words.errors import ComponentError
from .heads import attention_direction, stream_direction
from .results import Contributions, closing

if TYPE_CHECKING:
    from ..attribution.attribution import Attribution


@dataclass(eq=False, repr=False)
class Features(Contributions):
    """Contributions of the active features of one dictionary; ``kinds`` are ``feature``, ``bias`` and ``error``.

    Attributes:
        site: where the dictionary reads (``"L2.mlp"``; for a head ``"L3.attn"``, the outputs of all its heads).
        numbers: the feature of each row, -1 for the bias and the error.
        activations: how strongly each fires here (0 for the bias and the error).
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
            ComponentError: no feature of this dictionary.
        """
        if feature is None:
            if not len(self.numbers) > 2:
                raise ComponentError(f"No feature of {self.site} fires here.", "Name one by its number.")
            feature = self.numbers[int(self.values[:-2].abs().argmax())]
        if not isinstance(feature, int):
            found = component(feature)
            if found.kind != "feature" or found.site != self.site:
                raise ComponentError(f"{found} is no feature of {self.site}.", f'Write for example "{self.site}/12".')
            feature = found.index or 0
        assert self.opened is not None
        return self.opened(feature)

    def summary(self) -> Table:
        order = self.values.abs().argsort(descending=True, stable=True).tolist()
        shown, rest = order[:10], order[10:]
        rows = [[self.labels[i], self.concepts[i], signed(float(self.values[i]), 3)] for i in shown]
        bars: list[float | None] = [float(self.values[i]) for i in shown]
        if rest:
            others = float(self.values[rest].sum())
            rows.append([others_label(len(rest)), "", signed(others, 3)])
            bars.append(others)
        columns = ["feature", "computed label" if any(self.concepts) else "", self.unit]
        footer = closing(self.total, self.unit, self.parent, self.parent_value, self.gap)
        return Table(self.title, columns, rows, bars, self.note, footer)

    def to_dataframe(self) -> Any:
        """Columns ``row``, ``label``, ``kind``, ``value``, ``feature``, ``activation``, ``concept``."""
        frame = super().to_dataframe()
        return frame.assign(feature=self.numbers, activation=self.activations.numpy(), concept=self.concepts)


@torch.no_grad()
def features(a: Attribution, which: ComponentLike, sae: SAE | Path | str | None = None) -> Features:
    """See :meth:`Attribution.features`."""
    found = component(which)
    site = _site(a, found)
    read, cards, text = _dictionary(a, site, sae)
    layer, at, rec = found.layer or 0, a.reading.position, a.run.record
    held = {"layer": rec.streams[layer + 1], "mlp": rec.mlp_write[layer], "attn": rec.z[layer]}[site.kind]
    if site.kind == "mlp" and a.model.multiplier != 1:  # a dictionary reads what comes before the multiplier
        held = held.float() / a.model.multiplier
    if held.shape[1] != read.d_in:
        raise ComponentError(
            f"The dictionary reads {read.d_in} numbers, and {site} of {a.model.name} has {held.shape[1]}.",
            "Use a dictionary that was trained on this model.",
        )
    u = _direction(a, found)
    head = found.index if found.kind == "head" else None
    x = held[at].float()
    active = read.encode(x)
    firing = active.nonzero()[:, 0].tolist()
    error = x.double() - (active.double() @ read.w_dec.double() + read.b_dec.double())
    values = (active[firing].double() * (read.w_dec[firing].double() @ u)).tolist()
    values += [float(read.b_dec.double() @ u), float(error @ u)]
    if found.kind == "layer":  # what had been written up to there, read where it stands
        parent, bar = f"stream behind {found}", float(x.double() @ u)
    else:
        parent, bar = str(found), a[found]
    size = 1 - float(error.square().sum() / (x.double() - read.b_dec.double()).square().sum().clamp_min(1e-30))
    best = max(range(len(firing)), key=lambda i: abs(values[i]), default=None)
    concepts = [cards.labels[f] if cards else "" for f in firing]
    labels = [f"{site}/{f}" for f in firing]
    leads = "" if best is None else f": {labels[best]} leads with {signed(values[best])}"
    return Features(
        f"{parent} by feature{leads}",
        [*labels, "decoder bias", f"{site}/error"],
        ["feature"] * len(firing) + ["bias", "error"],
        torch.tensor(values, dtype=torch.float64),
        parent,
        bar,
        a.unit,
        axis="feature",
        note=_note(a, read, len(firing), size, own=text is not None),
        site=str(site),
        numbers=[*firing, -1, -1],
        activations=torch.cat([active[firing], torch.zeros(2)]),
        concepts=[*concepts, "", ""],
        opened=lambda f: card_of(a.model, read, cards, f, (a.run.tokens, held), text, head),
    )


def _note(a: Attribution, sae: SAE, firing: int, share: float, own: bool) -> str:
    """How much of the activations the firing features explain: for a head it is all heads of its layer."""
    place = f"{sae.site}, the outputs of all heads of the layer" if sae.site.kind == "attn" else str(sae.site)
    said = f"{firing} of {sae.n_features} features fire; they explain {100 * share:.1f} % of {place}."
    if own and a.reading.position == 0:
        said += " Position 0, where activations are unlike all others, was left out when the dictionary was trained."
    return said


def opened_row(a: Attribution, which: Component) -> Component:
    """The row that a feature is read through: ``L2.mlp`` for ``L2.mlp/12``, the head for ``L3H5/12`` (of ``L3.attn``).

    Raises:
        ComponentError: no such row, no dictionary for it, or no such feature.
    """
    if which.kind != "feature":
        raise ComponentError(f"{which} is no feature.", 'Write for example "L2.mlp/12".')
    row = component(which.site or "")
    if row.kind == "attn":
        raise ComponentError(
            f"{which} is read through a head of its layer.", f'Name the head: "L{row.layer}H0/{which.index}".'
        )
    _dictionary(a, _site(a, row), None)[0].check(which.index or 0)
    return row


def _site(a: Attribution, which: Component) -> Component:
    """The place whose dictionary opens a row."""
    if which.kind in ("head", "mlp"):
        a[which]  # refuses what is not a row of this attribution
        return Component("attn" if which.kind == "head" else "mlp", which.layer)
    if which.kind == "layer" and which.layer is not None and which.layer < a.reading.point.mlps:
        return which
    if which.layer is not None and which.layer >= a.model.n_layers:
        raise ComponentError(
            f"{a.model.name} has no layer {which.layer}.", f"Its layers are 0 to {a.model.n_layers - 1}."
        )
    if which.kind == "layer":
        raise ComponentError(
            f"The stream {which} lies behind what is explained here.",
            "Open what comes before: a stream, an MLP or a head of an earlier layer.",
        )
    if which.kind == "attn":
        raise ComponentError(f"{which} is opened through one of its heads.", f'Name the head: "L{which.layer}H0".')
    raise ComponentError(f"{which} has no dictionary.", 'Name an MLP ("L2.mlp"), a head ("L3H5") or a stream ("L2").')


def _dictionary(
    a: Attribution, site: Component, sae: SAE | Path | str | None
) -> tuple[SAE, Cards | None, Callable[[int], str] | None]:
    """(dictionary, its cards, where the texts of the cards come from)."""
    if isinstance(sae, str | Path):
        sae = read_sae(sae)
    if sae is not None:
        if not isinstance(sae, SAE):
            raise ComponentError(
                f"A dictionary cannot be a {type(sae).__name__}.",
                "Give an aw.SAE, or the folder of one in SAELens format.",
            )
        if sae.site != site:
            raise ComponentError(f"This dictionary is for {sae.site}, and the row needs one for {site}.")
        return sae, None, None
    from ... import demo

    own = demo.saes() if a.model.embedded else {}
    if str(site) not in own:
        raise ComponentError(
            f"There is no dictionary for {site} of {a.model.name}.",
            "Give one: a.features(row, aw.read_sae(folder)).",
        )
    return own[str(site)], demo.saes().cards(site), demo.context


def _direction(a: Attribution, which: Component) -> Float[Tensor, "d_in"]:
    """The explained direction where the dictionary of a row reads, float64; for a head zero outside its slice."""
    if which.kind != "head":
        return stream_direction(a).double() * (a.model.multiplier if which.kind == "mlp" else 1)
    layer, d = which.layer or 0, a.model.geometry[which.layer or 0].d_head
    through = a.model.out_weight(layer)[0].double() @ attention_direction(a, layer).double()
    own = torch.zeros_like(through)
    rows = slice((which.index or 0) * d, ((which.index or 0) + 1) * d)
    own[rows] = through[rows]
    return own
