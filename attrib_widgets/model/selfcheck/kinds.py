"""Which part of a model is what: the words of its anatomy for its mixers, by label, as every surface prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...words.kinds import Kind
from ...words.text import enumerated
from .levels import named_layers, reasons_of

if TYPE_CHECKING:
    from ..model import Model

#: What all mixers have in common.
STATE = "it carries a state along the sequence and has no attention pattern"
WHOLE = Kind("whole layer", "the layer as a whole, not split as others of this model are")
TOGETHER = Kind("all heads", "all heads of the layer together, not split as in others of this model")


def kinds_of(model: Model) -> dict[str, Kind]:
    """By label: mixers in the place of attention, third parts, and what is coarser than in other layers."""
    found: dict[str, Kind] = {}
    levels = model.check.levels
    mixers = [model.mixer(i) if level.sublayers else None for i, level in enumerate(levels)]
    uneven = len({level.granularity for level in levels}) > 1 or any(mixers)
    for i, (level, mixer) in enumerate(zip(levels, mixers, strict=True)):
        if not level.sublayers:
            found |= {f"L{i}": WHOLE} if uneven else {}
            continue
        if mixer is not None:
            found[f"L{i}.attn"] = Kind(mixer.short, f"{mixer.name} in place of attention: {STATE}")
            found[f"L{i}.mid"] = Kind(f"behind {mixer.short}", f"the stream behind {mixer.name}, in front of the MLP")
        elif not level.heads and uneven:
            found[f"L{i}.attn"] = TOGETHER
        for site, beside in model.anatomy.besides.items():
            more = f": {STATE}" if beside.state else ""
            found[f"L{i}.{site}"] = Kind(beside.short, f"{beside.name} beside attention and MLP{more}")
    return found


def mixers_said(model: Model) -> str:
    """How far a model with mixers splits and which layers have which, as a line; "" of one without.

    ``"Exact per head in 1 of 3 layers: L0 and L2 have a gated delta net in place of attention"``, and why what is not
    split for another reason is not.
    """
    check, besides = model.check, [part.name for part in model.anatomy.besides.values()]
    split = [i for i, level in enumerate(check.levels) if level.sublayers]
    mixers: dict[str, list[int]] = {}
    for i in split:
        if (mixer := model.mixer(i)) is not None:
            mixers.setdefault(mixer.name, []).append(i)
    said = [f"{_have(layers)} {name} in place of attention" for name, layers in mixers.items()]
    if besides and split:
        every = len(split) == model.n_layers
        said.append(f"{'every layer has' if every else _have(split)} {enumerated(besides)} beside attention and MLP")
    if not said:
        return ""
    other = {i: level.reason for i, level in enumerate(check.levels) if not any(i in at for at in mixers.values())}
    why = reasons_of(other, model.n_layers)
    shown = [i for i, level in enumerate(check.levels) if level.heads]
    plain = bool(mixers) and bool(shown) and not why
    how = f"per head in {len(shown)} of {model.n_layers} layers" if plain else check.words
    return f"Exact {how}: {'; '.join([*said, why] if why else said)}"


def _have(layers: list[int]) -> str:
    return f"{named_layers(layers)} {'has' if len(layers) == 1 else 'have'}"
