"""Features of dictionaries as parts of experiments: what one wrote, and what another strength of it would change.

A place is its features, what its dictionary writes whatever fires (``L3.mlp/bias``) and what it misses
(``L3.mlp/error``): together they are what is there. One is changed by adding the difference to the place, the others
and the error held as they were recorded; so features of one place, of several layers and of several dictionaries
combine, and all of them together are the place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.parts.outlet import Sublayer, outlet_of
from ....model.selfcheck.levels import need
from ....model.tracing.edits import Edit
from ....saes.reading import activations
from ....saes.sae import SAE, Fired
from ....words.errors import AttribError
from ....words.places import Place
from ...reading.features import dictionary_at

if TYPE_CHECKING:
    from ....model.model import Model
    from ....model.run import Run


#: Activations of all features at all positions that are kept with a run.
HELD = 2**25


@dataclass(eq=False)
class _Split:
    """One place of a run by its dictionary.

    ``scale`` is what everything that the dictionary writes is multiplied by, where it undoes a norm.
    """

    fired: Fired
    scale: Float[Tensor, "position 1"]
    y: Float[Tensor, "position d_out"]
    aside: Float[Tensor, "position d_out"] | None

    @cached_property
    def _all(self) -> Float[Tensor, "position feature"]:
        return self.fired.sae.encode(self.fired.x)

    def strengths(self, feature: int) -> Float[Tensor, "position"]:
        """How strongly a feature wrote: its activation, the norm undone."""
        x, sae = self.fired.x, self.fired.sae
        active = self._all[:, feature] if len(x) * sae.n_features <= HELD else self.fired(feature)
        return active * self.scale[:, 0]

    @cached_property
    def bias(self) -> Float[Tensor, "position d_out"]:
        """What is there whatever fires: biases, a skip connection, a mean, and what its coordinates leave out."""
        resting = self.fired.sae.resting(self.fired.x)
        return resting if self.aside is None else resting + self.aside.float()

    @cached_property
    def error(self) -> Float[Tensor, "position d_out"]:
        """What it misses, in float64: with the features and the bias it is what is there, to the last digit."""
        sae, left = self.fired.sae, self.y.double() - self.bias.double()
        for feature in sae.encode(self.fired.x).any(0).nonzero()[:, 0].tolist():
            left -= self.strengths(feature).double()[:, None] * sae.w_dec[feature].double()
        return left


def _split(run: Run, sae: SAE) -> _Split:
    """The place of a dictionary in a run, kept with the run."""
    kept = run.model.kept("by dictionary", WeakKeyDictionary[SAE, _Split], run)
    if sae not in kept:
        run.check_fresh()
        found = activations(run.model, run.record, sae)
        kept[sae] = _Split(Fired(sae, found.x), sae.undone_by(found.x), found.y, found.aside)
    return kept[sae]


def of_dictionary(model: Model, which: Place, exists: Callable[[Model, Place], Place]) -> Place:
    """A feature (or an error, a bias) as the cells of this model name it; ``exists`` refuses a place that is not there.

    Of the heads of a layer it is that of all of them, whichever head it was read through.

    Raises:
        ComponentError: no dictionary there, or no such feature. GranularityError: the layer does not split so far.
    """
    assert which.of is not None
    sae = dictionary_at(model, replace(which.of, head=None))
    if which.index is not None:
        sae.check(which.index)
    layer, target = sae.target.layer or 0, sae.target
    exists(model, target)
    if target.site in ("mid", "mlp_in"):
        need(model, "sublayers", layer)
    return Place(which.site, index=which.index, of=sae.site)


@torch.no_grad()
def written_by(run: Run, part: Place) -> Float[Tensor, "position width"]:
    """How strongly a feature wrote at every position [position, 1], its norm undone; what an error or a bias wrote
    [position, d_out]."""
    assert part.of is not None
    found = _split(run, dictionary_at(run.model, part.of))
    if part.index is None:
        return found.error if part.site == "error" else found.bias
    return found.strengths(part.index)[:, None]


def clamped(run: Run, part: Place, activation: float) -> Float[Tensor, "position 1"]:
    """What :func:`written_by` would be with the feature's activation at ``activation`` everywhere."""
    assert part.of is not None
    return _split(run, dictionary_at(run.model, part.of)).scale * activation


def silent(run: Run, parts: Sequence[Place], positions: Sequence[int] | None) -> bool:
    """Whether all of ``parts`` are features that fire nowhere at these positions (None: in the prompt)."""
    at = list(range(run.n_positions) if positions is None else positions)
    return all(p.of is not None and not bool(written_by(run, p)[at].any()) for p in parts)


def finite(strength: float) -> float:
    """A strength as a number.

    Raises:
        AttribError: it is none.
    """
    try:
        found = float(strength)
    except (TypeError, ValueError):
        found = math.nan
    if isinstance(strength, (bool, str)) or not math.isfinite(found):
        raise AttribError(f"{strength!r} is not a strength.", "Give a number: 0 is without it.")
    return found


@torch.no_grad()
def rewritten(run: Run, part: Place, positions: tuple[int, ...], value: Float[Tensor, "position width"]) -> list[Edit]:
    """Another strength of what a dictionary splits off, ``value`` as :func:`written_by` has it at ``positions``: the
    difference, added where it stands."""
    assert part.of is not None
    sae, at = dictionary_at(run.model, part.of), list(positions)
    change = value.double() - written_by(run, part)[at].double()
    if not bool(change.any()):  # it stays as it is, bit by bit
        return []
    if part.index is not None:
        change = change * sae.w_dec[part.index].double()
    return added(run.model, sae.target, positions, change.to(run.model.home))


def added(
    model: Model, place: Place, positions: tuple[int, ...], change: Float[Tensor, "position width"]
) -> list[Edit]:
    """``change`` added to what the place of a dictionary holds.

    What a sublayer adds is changed in the stream behind it, past its norm and its multiplier.
    """
    layer = place.layer or 0
    if place.site == "z":
        d = model.geometry[layer].d_head
        heads = enumerate(change.split(d, -1))
        return [Edit("z", layer, positions, part, h, adds=True) for h, part in heads]
    if place.is_stream or place.site == "mlp_in":
        return [Edit(*place.slot, positions, change, adds=True)]
    if place.site == "attn_out" and model.n_streams > 1:
        return [Edit("attn_added", layer, positions, change, adds=True)]  # no one stream is behind it
    if place.site == "attn_out" and not model.parallel:
        if model.anatomy.attn_post_norm is None:
            return [Edit("attn", layer, positions, change, adds=True)]
        return [Edit("mid", layer, positions, outlet_of(model, "attn", layer).scaled(change), adds=True)]
    part: Sublayer = "attn" if place.site == "attn_out" else "mlp"
    if part == "mlp" and model.anatomy.beside is not None and not model.anatomy.beside.first:
        return [Edit("mlp_added", layer, positions, change, adds=True)]  # a third part reads the stream behind it
    way = model.carried(layer, layer + 1, part)
    return [Edit("pre", layer + 1, positions, outlet_of(model, part, layer).scaled(change) * way, adds=True)]


def alone(model: Model, parts: Sequence[Place]) -> list[Place]:
    """Of places that change together, those that count, each once: not what a dictionary splits off one that is itself
    among them."""
    whole = {p for p in parts if p.of is None}

    def covered(part: Place) -> bool:
        if part.of is None:
            return False
        target = dictionary_at(model, part.of).target
        site = "attn" if target.site == "attn_out" else target.site
        return bool({Place(site, target.layer), Place("layer", target.layer)} & whole)

    return [p for p in dict.fromkeys(parts) if not covered(p)]


def summed(edits: Sequence[Edit]) -> list[Edit]:
    """The same edits: those that are added at the same positions of one place as one, which rounds once; none where
    something is put, which is what is there then."""
    found: dict[tuple[str, int, int | None, tuple[int, ...]], Edit] = {}
    plain = [e for e in edits if not e.adds]
    put = {(e.site, e.layer, e.head, p) for e in plain for p in e.positions}
    for e in edits:
        if e.adds and not all((e.site, e.layer, e.head, p) in put for p in e.positions):
            key = e.site, e.layer, e.head, e.positions
            found[key] = replace(e, value=found[key].value + e.value) if key in found else e
    return [*plain, *found.values()]
