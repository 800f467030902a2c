"""What each layer of a model splits into, exactly, and why it does not split further.

A layer that adds up only as a whole is one part, ``L1``; one whose sublayers add up is ``L1.attn`` and ``L1.mlp``; one
whose heads add up is its heads and ``L1.mlp``. Layers differ: one hook, one adapter or another kind of mixer makes one
layer coarse and leaves the others as they are. Whatever splits a layer asks here first, by :func:`need`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ...words.components import BESIDES
from ...words.errors import GranularityError
from ...words.text import enumerated

if TYPE_CHECKING:
    from ..model import Model

Split = Literal["sublayers", "heads", "sources", "values", "scores", "inside", "experiments"]
#: The words for a layer that splits so far, from fine to coarse.
GRANULARITIES = ("heads", "sublayers", "layers")
#: What a part or a place of a layer needs to be exact, by its kind or site.
NEEDED: Mapping[str, Split] = {
    **dict.fromkeys(("attn", "mlp", *BESIDES, "mlp.bias", "neuron", "expert", "attn_in", "mlp_in", "mid"), "sublayers"),
    **dict.fromkeys(("head", "attn.bias", "z"), "heads"),
    "pattern": "sources",
    "v": "values",  # whose values several heads share is known from their projection
    **dict.fromkeys(("q", "k"), "scores"),
}
_AS = {"sublayers": "per sublayer", "layers": "as a whole layer"}
_MANY = {"sublayers": "per sublayer", "layers": "as whole layers"}


@dataclass(frozen=True)
class Exact:
    """Whether a split was shown to be exact: true where it was, else ``reason`` says why not, as part of a sentence."""

    reason: str = ""

    def __bool__(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class Level:
    """What one layer splits into. Each split is true where it was shown to be exact, else false with its reason.

    ``sublayers``: what attention and MLP write adds up to what the layer writes. ``heads``: the heads and their bias
    add up to the attention's output, and whose pattern is whose is known. ``sources``: pattern times values
    (times a gate of the destination, where there is one) is what the heads wrote. ``values``: the values are a
    projection of what the layer reads, so that what a head carried is known by who had written it. ``scores``: patterns
    come from queries and keys as the anatomy says. ``inside``: what the MLP reads is known, and experts add up to it.
    What is not exact in a coarse split is not exact in the finer ones either.
    """

    sublayers: Exact = Exact()
    heads: Exact = Exact()
    sources: Exact = Exact()
    values: Exact = Exact()
    scores: Exact = Exact()
    inside: Exact = Exact()

    def __post_init__(self) -> None:
        coarser = "sublayers"
        for finer in ("heads", "sources", "scores"):
            if not getattr(self, coarser):
                object.__setattr__(self, finer, getattr(self, coarser))
            coarser = finer
        if not self.sources:
            object.__setattr__(self, "values", self.sources)
        if not self.sublayers:
            object.__setattr__(self, "inside", self.sublayers)

    @property
    def experiments(self) -> Exact:
        """Whether the parts of the layer can be replaced one by one; what it writes as a whole always can."""
        return self.sublayers

    @property
    def granularity(self) -> str:
        """``"heads"``, ``"sublayers"`` or ``"layers"``."""
        return "heads" if self.heads else "sublayers" if self.sublayers else "layers"

    @property
    def reason(self) -> str:
        """Why it is not split as far as its heads and their sources; ``""`` where it is."""
        return self.sources.reason


def whole(reason: str) -> Level:
    """The level of a layer that adds up only as a whole."""
    return Level(sublayers=Exact(reason))


def granularity_of(levels: Sequence[Level]) -> str:
    """``"heads"``, ``"sublayers"``, ``"layers"``, or ``"mixed"`` where layers differ."""
    found = {level.granularity for level in levels}
    return found.pop() if len(found) == 1 else "mixed"


def words_of(levels: Sequence[Level]) -> str:
    """How far a model splits, in words: ``"per head"``, ``"per head in 3 of 4 layers, L1 as a whole layer"``."""
    every = granularity_of(levels)
    blind = [i for i, level in enumerate(levels) if level.heads and not level.sources]
    without = f", without sources{'' if len(blind) == len(levels) else f' in {named_layers(blind)}'}" if blind else ""
    if every != "mixed":
        return f"per {every.removesuffix('s')}{without}"
    at = {name: [i for i, level in enumerate(levels) if level.granularity == name] for name in GRANULARITIES}
    first, *others = (name for name in GRANULARITIES if at[name])
    said = [f"per {first.removesuffix('s')} in {len(at[first])} of {len(levels)} layers"]
    for name in others:
        said.append(f"{named_layers(at[name])} {(_AS if len(at[name]) == 1 else _MANY)[name]}")
    return ", ".join(said) + without


def named_layers(layers: Sequence[int]) -> str:
    """``"L1"``, ``"L1 and L4"``, ``"L1 to L5"``, ``"L1, L3 to L5 and L9"``."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    parts = [p for r in runs for p in ([f"L{r[0]} to L{r[-1]}"] if len(r) > 2 else [f"L{i}" for i in r])]
    return enumerated(parts)


def reasons_of(reasons: Mapping[int, str], count: int) -> str:
    """The reasons of some of ``count`` layers, each kind once in the words of the first layer that has it.

    A kind that not all layers have is told with its layers, unless its own words name one.
    """
    first: dict[str, str] = {}
    layers: dict[str, list[int]] = {}
    for layer, reason in reasons.items():
        if reason:
            kind = re.sub(r"\d+", "", reason)
            first.setdefault(kind, reason)
            layers.setdefault(kind, []).append(layer)
    told = []
    for kind, reason in first.items():
        clear = len(layers[kind]) == count or (len(first) == 1 and re.search(r"layer \d", reason))
        told.append(reason if clear else f"{named_layers(layers[kind])}: {reason}")
    return "; ".join(told)


def why(levels: Sequence[Level], split: str) -> str:
    """Why ``split`` is not exact in some of ``levels``; each kind of reason once."""
    return reasons_of({i: getattr(level, split).reason for i, level in enumerate(levels)}, len(levels))


def need(model: Model, split: Split, layer: int | None = None, *, everywhere: bool = False) -> None:
    """Refuse what was not shown to be exact: in ``layer``, in every layer (``everywhere``), or else in any layer.

    Raises:
        GranularityError: it names the layer, the reason, and what can be asked instead.
    """
    levels = model.check.levels
    if layer is not None:
        if 0 <= layer < len(levels) and not getattr(levels[layer], split):
            raise refusal(model, split, layer)
        return
    missing = [i for i, level in enumerate(levels) if not getattr(level, split)]
    if missing and (everywhere or len(missing) == len(levels)):
        raise refusal(model, split, missing[0] if len(missing) < len(levels) else None)


def refusal(model: Model, split: Split, layer: int | None = None) -> GranularityError:
    """The error that says why ``split`` is not exact in ``layer`` (None: in the whole model)."""
    levels = model.check.levels
    some = levels if layer is None else levels[layer : layer + 1]
    reason = why(some, split)
    hint = _parts(model) if layer is None else _instead(layer, some[0].granularity)
    if split in ("sublayers", "heads", "experiments"):
        where = model.name if layer is None else f"Layer {layer} of {model.name}"
        how = words_of(some) if layer is None or some[0].sublayers else "as a whole"
        return GranularityError(f"{where} is exact {how} only: {reason}.", hint)
    where = model.name if layer is None else f"layer {layer} of {model.name}"
    what = "The inside of the MLPs" if split == "inside" else "Attention"
    return GranularityError(f"{what} of {where} was not shown to be exact: {reason}.", hint)


def _parts(model: Model) -> str:
    """What can be asked of a model none of whose layers splits so far."""
    kind = model.granularity
    if kind == "layers":
        return 'Its parts are its layers, "L0" and so on: see model.check.'
    if kind == "sublayers":
        return 'Its parts are "L0.attn", "L0.mlp" and so on: see model.check.'
    return "See model.check."


def _instead(layer: int, grain: str) -> str:
    """What can be asked of a layer that splits only so far."""
    if grain == "layers":
        return f'It is one part, "L{layer}": ask for that, or for another layer.'
    if grain == "sublayers":
        return f'Its parts are "L{layer}.attn" and "L{layer}.mlp": ask for these, or for another layer.'
    return f"What its heads write, and their patterns, are exact: see model.check.levels[{layer}]."
