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
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ....model.identity.steady import steady
from ....model.parts.outlet import Sublayer, outlet_of
from ....result import Table, shown, with_others
from ....saes.arithmetic import arithmetic
from ....saes.cards import Card
from ....saes.fit import fit, whose
from ....saes.loaded import is_loaded, read_sae
from ....saes.reading import Activations, activations
from ....saes.sae import SAE, Fired
from ....saes.store import Opened, open_folder
from ....words.components import Component, component, whole
from ....words.errors import ComponentError
from ....words.places import Place, PlaceLike, dictionary_place, place
from ....words.text import kind_of, share, signed, visible
from ...reading.features import read_place
from ..heads import attention_direction, direction_behind
from ..results import Contributions
from .carded import feature_card

if TYPE_CHECKING:
    from ...attribution.attribution import Attribution


#: Features whose directions are held in float64 at once: so few that they stay in the processor's cache.
PIECE = 512


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
    found, name = _opened(which)
    first = _dictionary(a, site_of(a, found, name), sae)
    read = _writing(first.sae)
    site = read.site
    if read.writes is not None:  # the row is what it writes, whichever end was named
        found, name = _opened(read.writes)
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

    note = [f"{len(firing)} of {read.n_features:,} features fire; {_share(a, read, held, error, at)}"]
    total, constant = math.fsum(values.tolist()), math.fsum(value for _, _, value in given)
    part = f" ({share(total / bar)})" if bar and abs(total / bar) < MUCH else ""
    fixed_too = f" and constants {signed(constant)}" if signed(constant) != signed(0.0) else ""
    note.append(
        f"Of the {signed(bar)} {a.unit} of {parent} they add {signed(total)}{part}, the error (what they miss) "
        f"{signed(missed)}{fixed_too}."
    )
    note += [said for said in (_untrained(read, at), whose(a.model, read, a.model.saes.digest)) if said]
    return Features(
        f"{parent} by feature{_headline(labels, values, missed)}",
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


def fired_at(a: Attribution, sae: SAE, held: Activations, at: int) -> tuple[Int[Tensor, "row"], Float[Tensor, "row"]]:
    """(features that fire at a position, how strongly): encoded once for a run, whatever is opened there."""
    kept = a.model.kept(("fired", at), WeakKeyDictionary[SAE, tuple[Tensor, Tensor]], a.run)
    if sae not in kept:
        active = sae.encode(held.x[at].float())
        where = active.nonzero()[:, 0]
        kept[sae] = where, active[where]
    return kept[sae]


def fixed_parts(sae: SAE, held: Activations, at: int) -> list[tuple[str, str, Float[Tensor, "d_out"]]]:
    """(kind, label, vector in float64) of what a dictionary returns without a feature, and of what it leaves out."""
    x = held.x[at].float()
    found = [("bias", "decoder bias", sae.b_dec.double() * float(sae.undone_by(x)))]
    if sae.norm == "layer_norm" and sae.writes is None:
        found.append(("mean", "mean of the activation", sae.undoing(x)[1].double().expand(sae.d_out)))
    if sae.w_skip is not None:
        found.append(("skip", "skip connection", (x @ sae.w_skip).double()))
    if held.aside is not None:
        label = "mean of the activation" if sae.coordinates == "centred" else "bias of the values"
        found.append(("aside", label, held.aside[at].double()))
    return found


def joined(a: Attribution, which: Component | Place) -> list[tuple[str, str, float]]:
    """(kind, label, contribution) of what the layer adds by itself where the output of an MLP or an attention joins the
    stream: it is in the row, and in nothing that a dictionary rebuilds."""
    kind = which.site if isinstance(which, Place) else which.kind
    if kind not in ("mlp", "attn_out"):
        return []
    part: Sublayer = "mlp" if kind == "mlp" else "attn"
    join = a.model.join(part, which.layer or 0)
    if join is None or join.shift is None:
        return []
    along = direction_behind(a, which.layer or 0, part).double()
    return [("aside", "constant of the layer", float(join.shift.double() @ along))]


def opened_up(
    sae: SAE, firing: Int[Tensor, "row"], strengths: Float[Tensor, "row"], u: Float[Tensor, "d_out"]
) -> tuple[Float[Tensor, "row"], Float[Tensor, "d_out"]]:
    """(what each firing feature contributes along ``u``, what they add up to), float64.

    Of a dictionary that does not fit half may fire: every decoder row is read once for both, a piece at a time.
    """
    values, decoded = strengths.new_empty(len(firing)), strengths.new_zeros(sae.d_out)
    shape = (min(PIECE, len(firing)), sae.d_out)
    rows, doubled = sae.w_dec.new_empty(shape), strengths.new_empty(shape)
    for start in range(0, len(firing), PIECE):
        some = slice(start, start + PIECE)
        count = len(firing[some])
        torch.index_select(sae.w_dec, 0, firing[some], out=rows[:count])
        piece = doubled[:count].copy_(rows[:count])
        values[some] = strengths[some] * (piece @ u)
        decoded.addmv_(piece.T, strengths[some])
    return values, decoded


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


def asked(a: Attribution) -> str:
    """What is explained, in few words."""
    kind = "log p of " if a.target.kind == "log_prob" else ""
    return f"{kind}{visible(a.target.short(a.model))}{f' over {a.rival_name}' if a.rival_name else ''}"


def _headline(labels: list[str], values: Float[Tensor, "row"], missed: float) -> str:
    """Which feature leads, unless what the dictionary misses outweighs it."""
    if not labels:
        return f": none fires, and the error is {signed(missed)}"
    best = int(values.abs().argmax())
    most = float(values[best])
    if abs(missed) >= abs(most):
        return f": the error, {signed(missed)}, outweighs {labels[best]}, {signed(most)}"
    return f": {labels[best]} leads with {signed(most)}"


def _share(a: Attribution, sae: SAE, held: Activations, error: Float[Tensor, "d_out"], at: int) -> str:
    """How much of the activation the firing features explain, and what it means where that is little.

    For a head it is all heads of its layer.
    """
    where = f"{sae.site}, the outputs of all heads of the layer" if sae.site.site == "z" else str(sae.target)
    known = _explained(held, [at], error, sae)
    if known >= LOW:
        return f"they explain {share(known, 1)} of {where} (of its length squared)."
    said, also = f"{_amount(known)} of {where}", ""
    rest = _elsewhere(a, sae, held, at)
    if rest is not None:
        if rest >= LOW:
            return f"{said}. At the other positions they explain {share(rest, 1)}: this one is unlike them."
        also = f", and at the other positions {_amount(rest)}"
    return (
        f"{said}{also}. This dictionary does not fit here: it may be of another layer, of another model than "
        f"{a.model.name}, or of activations that were processed (centred, scaled, biases folded)."
    )


def _elsewhere(a: Attribution, sae: SAE, held: Activations, at: int) -> float | None:
    """The share at other positions: is it the position, or the dictionary? None where there are none.

    The first position is unlike all others in most models, and never asked. The answer is that of every row that is
    opened at ``at``, and kept with the run.
    """
    kept = a.model.kept(("explained elsewhere", at), WeakKeyDictionary[SAE, "float | None"], a.run)
    if sae not in kept:
        others = [p for p in range(1, len(held.x)) if p != at]
        others = others[:: max(1, -(-len(others) // ASKED))]
        goal, x = held.goal[others].float(), held.x[others].float()
        kept[sae] = _explained(held, others, sae.error(x, goal), sae) if others else None
    return kept[sae]


def _amount(known: float) -> str:
    """A share of the variance that is too small; where the error is the larger, how large it is."""
    return f"they explain only {share(known)}" if known > 0 else f"they miss {math.sqrt(1 - known):.1f} times the size"


#: From so many times the bar on a share of it says nothing.
MUCH = 10
#: With less than this share of the variance explained, here and at the other positions, a dictionary does not fit.
LOW = 0.5
#: How many other positions are asked at most.
ASKED = 4


def _explained(held: Activations, at: list[int], error: Float[Tensor, "*position d_out"], sae: SAE) -> float:
    """Share of what a dictionary does not return in any case that its features explain, as of squared lengths."""
    resting = sae.resting(held.x[at].float()).double()
    left = (held.goal[at].double() - resting).square().sum().clamp_min(1e-30)
    return 1 - float(error.double().square().sum() / left)


def _untrained(sae: SAE, position: int) -> str:
    """What to say of a position that was left out in training, as SAELens writes those; "" of all others."""
    seen = sae.metadata.get("seqpos_slice")
    first = seen[0] if isinstance(seen, list) and seen else None
    if not isinstance(first, int) or position >= first:
        return ""
    return (
        f"Position {position}, where activations are unlike all others, was left out when the dictionary was trained."
    )


def _opened(which: PlaceLike) -> tuple[Component | Place, str]:
    """A row, or a place of the stream or of all heads, by any name of either; and what was named, as printed."""
    if str(which).strip().lower() == "embed":
        return component("embed"), "embed"
    try:
        found = place(which, layer_means="post")
    except ComponentError:
        if isinstance(which, Place):
            raise
        part = component(which)
        return part, str(part)
    if found.site == "pre":
        found = dictionary_place(found)
    if found.is_stream or found.site == "attn_out":
        return found, str(found)
    if found.site == "z" and found.head is None:
        return Component("attn", found.layer), str(found)
    if found.site == "mlp_in":
        return Component("mlp", found.layer), str(found)
    if (written := found.component) is None:
        raise ComponentError(f"{found} has no dictionary.", _NAME_ONE)
    return written, str(found)


_NAME_ONE = (
    'Name an MLP ("L2.mlp"), a head ("L3H5"), what an attention adds ("L2.attn_out") or a stream ("L2.mid", "L2.post").'
)


def opened_row(a: Attribution, which: Component) -> Component | Place:
    """The row that a feature is read through: ``L2.mlp`` for ``L2.mlp/12``, the head for ``L3H5/12`` (of ``L3.z``).

    Raises:
        ComponentError: no such row, no dictionary for it, or no such feature.
    """
    if which.kind != "feature":
        raise ComponentError(f"{which} is no feature.", 'Write for example "L2.mlp/12".')
    row, name = _opened(which.site or "")
    if isinstance(row, Component) and row.kind == "attn":
        raise ComponentError(
            f"{which} is read through a head of its layer.", f'Name the head: "L{row.layer}H0/{which.index}".'
        )
    _dictionary(a, site_of(a, row, name), None).sae.check(which.index or 0)
    return Component("layer", row.layer) if isinstance(row, Place) and row.site == "post" else row


def contribution(a: Attribution, feature: Component) -> float:
    """What a feature contributed, through all heads of its layer where it is one of theirs; 0 where it does not fire.

    Raises:
        ComponentError: no dictionary for it, no such feature, or behind what is explained.
    """
    row, name = _opened(dictionary_place(feature.site or ""))
    if isinstance(row, Component) and row.kind == "attn":  # all heads of its layer at once
        row = Place("z", row.layer)
    sae = _writing(_dictionary(a, site_of(a, row, name), None).sae)
    sae.check(number := feature.index or 0)
    at, held = a.reading.position, activations(a.model, a.run.record, sae)
    firing, strengths = fired_at(a, sae, held, at)
    if not bool((here := firing == number).any()):
        return 0.0
    if sae.writes is not None:
        row, name = _opened(sae.writes)
        site_of(a, row, name)
    strength = float(strengths[here].double()) * float(sae.undone_by(held.x[at].float()))
    u = direction_of(a, row).to(sae.w_dec.device)
    return strength * float(sae.w_dec[number].double() @ u)


def site_of(a: Attribution, which: Component | Place, name: str) -> Place:
    """The place whose dictionary opens a row, which was named ``name``; of an MLP also a transcoder's."""
    layer, point = which.layer, a.reading.point
    if isinstance(which, Component) and which.kind in ("head", "mlp"):
        a[which]  # refuses what is not a row of this attribution
        if which.kind == "head":
            return Place("z", layer)
        into = Place("mlp_in", layer)
        return into if name == str(into) else read_place(a.model, Place("mlp", layer))
    if layer is not None and layer >= a.model.n_layers:
        raise ComponentError(f"{a.model.name} has no layer {layer}.", f"Its layers are 0 to {a.model.n_layers - 1}.")
    if isinstance(which, Place):
        written = point.mlps if which.site == "post" else point.attentions
        if which.site != "pre" and (layer or 0) >= written:
            raise ComponentError(
                f"The {'stream ' if which.is_stream else 'output '}{name} lies behind what is explained here.",
                "Open what comes before: a stream, an MLP or a head of an earlier layer.",
            )
        return which
    if which.kind == "attn":
        raise ComponentError(f"{name} is opened through one of its heads.", f'Name the head: "L{layer}H0".')
    raise ComponentError(f"{name} has no dictionary.", _NAME_ONE)


def _dictionary(a: Attribution, site: Place, sae: SAE | Path | str | Any | None) -> Opened:
    """The dictionary that was given, else the model's own."""
    if sae is None:
        return a.model.saes.opened(site)
    if isinstance(sae, str | Path):
        return open_folder(a.model, site, sae)
    if is_loaded(sae):
        sae = read_sae(sae, site)
    if not isinstance(sae, SAE):
        raise ComponentError(f"A dictionary cannot be {kind_of(sae)}.", "Give an aw.SAE, or the folder of one.")
    if site not in (sae.site, sae.target):
        raise ComponentError(f"This dictionary is for {sae.site}, and the row needs one for {site}.")
    fit(a.model, sae, a.model.saes.digest)
    return Opened(sae)


def _writing(sae: SAE) -> SAE:
    """The dictionary, which rebuilds something that is added to the stream.

    Raises:
        ComponentError: it rebuilds what an MLP reads, of which no row is made.
    """
    if sae.target.site == "mlp_in":
        raise ComponentError(
            f"{sae!r} rebuilds what the MLP reads behind its norm, which nobody adds to the stream: it splits no row.",
            f'Explain why a feature fires, aw.attribute(run, "{sae.site}/12"), or take it out: aw.ablate(model, run, '
            f'components=["{sae.site}/12"]).',
        )
    return sae


def direction_of(a: Attribution, which: Component | Place) -> Float[Tensor, "d_out"]:
    """The explained direction where the dictionary of a row writes, float64; for a head zero outside its slice, for the
    place of all heads not."""
    kind = which.site if isinstance(which, Place) else which.kind
    if kind not in ("head", "z"):
        sublayer: Sublayer | None = "mlp" if kind == "mlp" else "attn" if kind == "attn_out" else None
        behind = kind in ("layer", "post")  # what the layer multiplies its stream by is in it already
        part = "attn" if kind == "mid" else sublayer or "pre"  # between the two the attention's join is passed
        found = direction_behind(a, (which.layer or 0) + behind, part).double()
        return found if sublayer is None else outlet_of(a.model, sublayer, which.layer or 0).scaled(found)
    layer, d = which.layer or 0, a.model.geometry[which.layer or 0].d_head
    out = a.model.out(layer)
    direction = attention_direction(a, layer).double()
    own = direction.new_zeros(out.d_in)
    rows = slice(0, out.d_in)
    if isinstance(which, Component):
        rows = slice((which.index or 0) * d, ((which.index or 0) + 1) * d)
    own[rows] = out.rows(rows.start, rows.stop).double() @ direction
    return own
