"""What features of one dictionary wrote at the explained position, by part; and which dictionary splits which rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ....saes.reading import activations
from ....saes.sae import SAE
from ....words.components import Component
from ....words.errors import AttribError
from ....words.places import Place
from .features import labels_of
from .rows import direction_of
from .splitting import fired_at, fixed_parts, joined, opened_up

if TYPE_CHECKING:
    from ...attribution.attribution import Attribution


class Written(NamedTuple):
    """One dictionary opened at the explained position.

    Attributes:
        parts: the rows of the attribution that it splits; direction: what is explained, where it writes.
        firing, active: the features that fire, and how strongly; strengths: the same in the unit that their directions
            have here, a norm undone.
        unsaid: (label, kind, contribution) of what no feature says.
    """

    site: Place
    parts: list[Component]
    sae: SAE
    labels: Sequence[str] | None
    direction: Float[Tensor, "d_out"]
    firing: Int[Tensor, "row"]
    active: Float[Tensor, "row"]
    strengths: Float[Tensor, "row"]
    values: Float[Tensor, "row"]
    unsaid: list[tuple[str, str, float]]

    def shares(self, row: int) -> list[float]:
        """What each part contributed of one feature: of a dictionary of the heads' outputs by head, else the whole."""
        if self.site.site != "z":
            return [float(self.values[row])]
        written = self.sae.w_dec[self.firing[row]].double() * self.direction
        by_head = written.unflatten(0, (len(self.parts), -1)).sum(-1)
        found: list[float] = (by_head * self.strengths[row]).tolist()
        return found

    @property
    def names(self) -> list[str]:
        """The parts; what an attention adds as a whole is one."""
        return [str(self.site)] if self.site.site == "attn_out" else list(map(str, self.parts))


def choices(a: Attribution) -> Iterator[list[tuple[list[Component], Place]]]:
    """Of every attention and every MLP in model order, (rows, the place of a dictionary that may split them).

    The one that is wanted most comes first: of the heads' outputs it is known which head wrote a feature.
    """
    for layer in range(a.model.n_layers):
        own = [c for c in a.components if c.layer == layer]
        heads = [c for c in own if c.kind == "head"]
        attention = [(heads, Place("z", layer))] if heads else []
        if any(c.kind in ("head", "attn") for c in own):
            attention.append(([c for c in own if c.is_attention], Place("attn_out", layer)))
        yield attention
        yield [([c], Place(site, layer)) for c in own if c.kind == "mlp" for site in ("mlp", "mlp_in", "mid", "pre")]


def chosen(a: Attribution, options: list[tuple[list[Component], Place]]) -> tuple[list[Written], list[str]]:
    """(what the first dictionary that splits these rows makes of them, what is said of the others)."""
    saes, found, said = a.model.saes, list[Written](), list[str]()
    for parts, site in options:
        own = Place(parts[0].kind, site.layer) if parts[0].kind == "mlp" else site
        if site not in saes or (found and site.is_stream):
            continue
        if found:
            said.append(f"{site} is not used: {found[0].site} splits {_few(found[0].names)}")
            continue
        try:
            opened = saes.opened(site)
        except AttribError as reason:
            said.append(f"{site} cannot be used: {reason}")
            continue
        if opened.sae.target == own:
            found.append(_written(a, parts, opened.sae, labels_of(opened)))
    return found, said


def _few(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _written(a: Attribution, parts: list[Component], sae: SAE, labels: Sequence[str] | None) -> Written:
    """One dictionary at the explained position; only the features that fire are read."""
    at, held = a.reading.position, activations(a.model, a.run.record, sae)
    row = parts[0] if parts[0].kind == "mlp" else sae.site
    u = direction_of(a, row).to(sae.b_dec.device)
    firing, active = fired_at(a, sae, held, at)
    strengths = active.double() * float(sae.undone_by(held.x[at].float()))
    values, decoded = opened_up(sae, firing, strengths, u)
    fixed = fixed_parts(sae, held, at)
    error = held.y[at].double() - decoded - sum(part for _, _, part in fixed)
    also = joined(a, row)
    given = [*((kind, said, float(part @ u)) for kind, said, part in fixed), *also]
    unsaid = [(f"{sae.target} {said}", kind, value) for kind, said, value in given]
    unsaid.append((f"{sae.target}/error", "error", float(error @ u)))
    bar = math.fsum(a[c] for c in parts)
    if sae.site.site == "attn_out" and a.model.precision not in (torch.float32, torch.float64):
        # its rows are what heads wrote one by one: what their sum was rounded to is recorded, too
        known = float(held.y[at].double() @ u) + sum(value for _, _, value in also)
        unsaid.append((f"{sae.target} rounding", "rounding", bar - known))
    return Written(sae.site, parts, sae, labels, u, firing, active, strengths, values.cpu(), unsaid)
