"""What is put in place of a part that is taken out: zero, its mean, what it wrote elsewhere, or itself, scaled or held.

Zero takes the model furthest from what it has seen; the mean over reference prompts keeps what the part always says;
resampling puts in what it said elsewhere (Chan et al. 2022, "Causal Scrubbing"; Wang et al. 2022, arXiv 2211.00593).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.parts.outlet import Sublayer, outlet_of
from ....model.tracing.edits import Edit
from ....words.components import whole
from ....words.errors import AttribError, ComponentError
from ....words.places import Place
from ....words.text import indefinite
from ..cells.cells import MIXED_SITES, Cell
from ..cells.donors import held, plain_writes
from ..cells.features import alone, clamped, finite, summed
from ..measuring.common import quoted

if TYPE_CHECKING:
    from ....model.run import Run

Method = Literal["zero", "mean", "resample", "scale", "clamp"]
DRAWS = 8


def _plain(strength: float) -> str:
    """A strength as it was given, with a true minus."""
    return f"{strength:g}".replace("-", "\u2212")


#: What a strength does, in words.
SAID: Mapping[str, Callable[[float], str]] = {
    "scale": lambda strength: f"\u00d7 {_plain(strength)}",
    "clamp": lambda strength: f"held at {_plain(strength)}",
}


class FixedDonor:
    """Replaces what a part writes by ``value(part, positions)``, whatever the run."""

    def __init__(
        self, base: Run, value: Callable[[Place, tuple[int, ...]], Float[Tensor, "position width"]], first: int = 0
    ) -> None:
        self.base, self.value, self.first = base, value, first

    def writes(self, cell: Cell) -> list[Edit]:
        """The writes of one ablation.

        Raises:
            ComponentError: what a head reads cannot be ablated, only what it writes.
        """
        listed = range(self.base.n_positions) if cell.positions is None else cell.positions
        at = tuple(p for p in listed if p >= self.first)
        found: list[Edit] = []
        for part in alone(self.base.model, cell.parts):
            if part.of is None and (part.site in MIXED_SITES or part.is_stream):
                raise ComponentError(f"{part} cannot be ablated.", "Ablate what a part writes: a head or a sublayer.")
            found += self._written(part, at)
        return summed(found)

    def _written(self, part: Place, at: tuple[int, ...]) -> list[Edit]:
        if part.site == "attn" and self.base.model.level(part.layer or 0).heads:
            part = Place("z", part.layer)  # all of its heads, so that its output bias stays here too
        return plain_writes(self.base, part, at, self.value(part, at))


class ScaleDonor(FixedDonor):
    """What a part writes, so many times as strongly: 0 is without it, 1 as it is.

    A sublayer is scaled behind a norm of its own, which would undo it; a head in front of it, beside the others.
    """

    def __init__(self, base: Run, strength: float) -> None:
        super().__init__(base, lambda part, at: held(base, part)[list(at)] * strength)
        self.strength = strength

    def _written(self, part: Place, at: tuple[int, ...]) -> list[Edit]:
        sublayers: Mapping[str, Sublayer] = {"attn": "attn", "mlp": "mlp"}
        if part.of is None and part.site in sublayers:
            layer = part.layer or 0
            norm = outlet_of(self.base.model, sublayers[part.site], layer).norm
            if norm is not None:
                given = held(self.base, part)[list(at)].to(self.base.model.home)
                return [Edit(f"{part.site}_added", layer, at, self.strength * norm(given))]
        return super()._written(part, at)


def zero_donor(base: Run) -> FixedDonor:
    """Zero z (the bias of the output projection stays), a zero MLP output, or a layer that adds nothing."""

    def value(part: Place, at: tuple[int, ...]) -> Tensor:
        return torch.zeros_like(held(base, part)[list(at)])

    return FixedDonor(base, value)


def clamp_donor(base: Run, strength: float) -> FixedDonor:
    """A feature at one activation at all positions, wherever else it is silent.

    Raises:
        ComponentError: a part that is no feature.
    """

    def value(part: Place, at: tuple[int, ...]) -> Tensor:
        if part.index is None or part.of is None:
            raise ComponentError(
                f"{part} has no one activation to be held at.", 'Scale it: method="scale", strength=0.5.'
            )
        return clamped(base, part, strength)[list(at)]

    return FixedDonor(base, value)


def mean_donor(base: Run, reference: Sequence[Run], pooled: bool = False) -> FixedDonor:
    """The mean over reference runs: position by position where all have the length of ``base``; otherwise, or
    ``pooled``, over all positions except the first, put everywhere but there."""
    matched = not pooled and aligned(base, reference)
    kept: dict[Hashable, Tensor] = {}

    def value(part: Place, at: tuple[int, ...]) -> Tensor:
        key = part.slot if part.of is None else part
        if key not in kept:
            tensors = [held(r, part).float() for r in reference]
            if matched:
                kept[key] = torch.stack(tensors).mean(0)
            else:
                kept[key] = torch.cat([t[1:] for t in tensors]).mean(0).expand(base.n_positions, -1)
        return kept[key][list(at)]

    return FixedDonor(base, value, first=0 if matched else 1)


def source_of(bases: Sequence[Run], method: Method, reference: Sequence[Run], draws: int) -> str:
    """What replaces a part, in words."""
    if method not in ("mean", "resample"):
        return "zero"
    one = len(reference) == 1
    of = quoted(reference[0]) if one else f"{len(reference)} reference prompts"
    each = f"what it writes in {of}, position by position"
    pooled = f"what it writes at random positions of {of}, never the first, in {draws} draws"
    if method == "mean":
        each = each if one else f"its mean over {of}, position by position"
        pooled = f"its mean over all positions but the first of {of}"
    matched = {aligned(base, reference) for base in bases}
    if len(matched) > 1:
        return f"{each}, where the lengths agree, and else {pooled}"
    return each if True in matched else pooled


def aligned(base: Run, reference: Sequence[Run]) -> bool:
    """Whether positions are matched: all prompts have the length of ``base``."""
    return all(r.n_positions == base.n_positions for r in reference)


def resample_donors(base: Run, reference: Sequence[Run], draws: int, seed: int) -> list[FixedDonor]:
    """What the part wrote elsewhere: in each reference run of the same length, or at ``draws`` times random positions
    (the first excepted) of all of them."""

    def from_run(run: Run) -> FixedDonor:
        return FixedDonor(base, lambda part, at: held(run, part)[list(at)])

    if aligned(base, reference):
        return [from_run(r) for r in reference]
    generator = torch.Generator().manual_seed(seed)
    total = sum(r.n_positions - 1 for r in reference)

    def from_places(index: Tensor) -> FixedDonor:
        def value(part: Place, at: tuple[int, ...]) -> Tensor:
            pool = torch.cat([held(r, part)[1:] for r in reference])
            return pool[index[list(at)].to(pool.device)]

        return FixedDonor(base, value, first=1)

    return [from_places(torch.randint(total, (base.n_positions,), generator=generator)) for _ in range(draws)]


def donors_of(
    base: Run,
    method: Method,
    reference: Sequence[Run],
    draws: int = DRAWS,
    seed: int = 0,
    strength: float | None = None,
) -> list[FixedDonor]:
    """The donors of an ablation, one per draw.

    Raises:
        AttribError: an unknown method; a mean or resampling without reference prompts; scaling or clamping without a
            strength, or a strength for anything else.
    """
    if method not in get_args(Method):
        raise AttribError(f"{method!r} is no ablation.", f"Use one of {', '.join(map(repr, get_args(Method)))}.")
    if (strength is not None) != (method in SAID):
        if strength is None:
            raise AttribError(
                f"How strong is it to be? method={method!r} does not say.", "Give strength=2, for example."
            )
        raise AttribError(f"method={method!r} has no use for a strength.", 'Use method="scale" or method="clamp".')
    if method == "zero":
        return [zero_donor(base)]
    if strength is not None:
        strength = finite(strength)
        return [ScaleDonor(base, strength) if method == "scale" else clamp_donor(base, strength)]
    if (whole(draws) or 0) < 1:
        raise AttribError(f"{draws!r} is not a number of draws.", "Use 1 or more.")
    if not reference or all(r.n_positions == 1 for r in reference):
        raise AttribError(
            f"{indefinite(method, start=True)} needs prompts to take it from.",
            "Pass reference=[...], prompts like this one.",
        )
    return [mean_donor(base, reference)] if method == "mean" else resample_donors(base, reference, draws, seed)
