"""What a dictionary makes of the explained position: which features fire there, what each contributes, and what it adds
without any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ....model.parts.outlet import Sublayer
from ....saes.reading import Activations
from ....saes.sae import SAE
from ....words.components import Component
from ....words.places import Place
from ..heads import direction_behind

if TYPE_CHECKING:
    from ...attribution.attribution import Attribution

#: Features whose directions are held in float64 at once: so few that they stay in the processor's cache.
PIECE = 512


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
