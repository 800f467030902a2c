"""What is said of a row that a dictionary opened: which feature leads, and how well the dictionary fits here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from jaxtyping import Float
from torch import Tensor

from ....saes.reading import Activations
from ....saes.sae import SAE
from ....words.text import share, signed, visible

if TYPE_CHECKING:
    from ...attribution.attribution import Attribution


def asked(a: Attribution) -> str:
    """What is explained, in few words."""
    kind = "log p of " if a.target.kind == "log_prob" else ""
    return f"{kind}{visible(a.target.short(a.model))}{f' over {a.rival_name}' if a.rival_name else ''}"


def headline(labels: list[str], values: Float[Tensor, "row"], missed: float) -> str:
    """Which feature leads, unless what the dictionary misses outweighs it."""
    if not labels:
        return f": none fires, and the error is {signed(missed)}"
    best = int(values.abs().argmax())
    most = float(values[best])
    if abs(missed) >= abs(most):
        return f": the error, {signed(missed)}, outweighs {labels[best]}, {signed(most)}"
    return f": {labels[best]} leads with {signed(most)}"


def explained_said(a: Attribution, sae: SAE, held: Activations, error: Float[Tensor, "d_out"], at: int) -> str:
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


def untrained(sae: SAE, position: int) -> str:
    """What to say of a position that was left out in training, as SAELens writes those; "" of all others."""
    seen = sae.metadata.get("seqpos_slice")
    first = seen[0] if isinstance(seen, list) and seen else None
    if not isinstance(first, int) or position >= first:
        return ""
    return (
        f"Position {position}, where activations are unlike all others, was left out when the dictionary was trained."
    )
