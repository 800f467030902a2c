"""The names that libraries give to places inside a model, and what a dictionary reads there."""

from __future__ import annotations

import re
from typing import NamedTuple

from ...words.errors import AttribError
from ...words.places import Place, dictionary_place

# Of TransformerLens, behind ``blocks.L.``: (site, coordinates). Its ``hook_mlp_in`` is a copy of the stream before the
# norm; ``mlp.hook_in`` is what the MLP reads; ``hook_normalized`` is that before the gain of an RMS norm; of a layer
# norm it was behind it up to version 2, and is before it since.
LENS: dict[str, tuple[str, str]] = {
    "hook_resid_pre": ("pre", "raw"),
    "hook_resid_mid": ("mid", "raw"),
    "hook_resid_post": ("post", "raw"),
    "attn.hook_z": ("z", "raw"),
    "hook_attn_out": ("attn_out", "raw"),
    "hook_mlp_in": ("mid", "raw"),
    "ln2.hook_normalized": ("mlp_in", "hook_normalized"),
    "mlp.hook_in": ("mlp_in", "raw"),
    "hook_mlp_out": ("mlp", "raw"),
}
# Of modules, behind that of a layer: (site, whether a norm may stand between it and the stream).
_MODULES: dict[str, tuple[str, bool]] = {
    "": ("post", False),
    "output": ("post", False),
    "input": ("pre", False),
    "hook_out": ("post", False),  # as TransformerLens calls modules from version 3 on
    "hook_in": ("pre", False),
    "mlp.hook_out": ("mlp", True),
    "attn.hook_out": ("attn_out", True),
    "mlp": ("mlp", True),
    "mlp.output": ("mlp", True),
    "mlp.input": ("mlp_in", False),
    "pre_feedforward_layernorm.output": ("mlp_in", False),
    "post_feedforward_layernorm.output": ("mlp", False),
    "self_attn.o_proj.input": ("z", False),
    **dict.fromkeys(("self_attn", "attn", "attention", "self_attn.output"), ("attn_out", True)),
}
_LAYER = re.compile(r"(?:.+\.)?(?:layers|h|blocks|block)\.(\d+)(?:\.(.+))?")
EMBEDDING = "hook_embed"


class Spot(NamedTuple):
    """Where a dictionary reads or writes.

    Attributes:
        place: in the words of this package.
        coordinates: one of ``saes.sae.COORDINATES``.
        module: the name, where it is what a module returns and a norm may stand between that and the stream; or where
            it is the token embedding, to which positions may be added (saes/fit.py tells).
    """

    place: Place
    coordinates: str = "raw"
    module: str = ""


def spot(name: str) -> Spot | None:
    """The place of a name: of TransformerLens (``blocks.3.hook_mlp_out``) or of a module (``model.layers.3.mlp``)."""
    if name == EMBEDDING:
        return Spot(Place("pre", 0), module=name)
    if (match := re.fullmatch(r"blocks\.(\d+)\.(.+)", name)) and (found := LENS.get(match[2])):
        return Spot(dictionary_place(Place(found[0], int(match[1]))), found[1])
    if (match := _LAYER.fullmatch(name)) and (match[2] or "") in _MODULES:
        site, returned = _MODULES[match[2] or ""]
        return Spot(dictionary_place(Place(site, int(match[1]))), module=name if returned else "")
    return None


def known_spot(name: str) -> Spot:
    """The same.

    Raises:
        AttribError: it is no place that a dictionary reads here.
    """
    if found := spot(name):
        return found
    known = ", ".join(f"blocks.L.{hook}" for hook in LENS)
    raise AttribError(
        f"A dictionary of {name!r} cannot be read here.",
        f"Read are {known}, model.layers.L and model.layers.L.mlp. If it reads the same numbers under another name: "
        'aw.read_sae(folder, site="L8.mlp").',
    )


def through(place: Place) -> tuple[Place, Place]:
    """(where it reads, where it writes): a transcoder of the sublayer or layer that one of its two ends names.

    Raises:
        AttribError: it is neither.
    """
    layer = place.layer or 0
    if place.site in ("mlp", "mlp_in"):
        return Place("mlp_in", layer), Place("mlp", layer)
    if place.site == "post":
        return dictionary_place(Place("pre", layer)), Place("post", layer)
    raise AttribError(f"A transcoder of {place} cannot be read here.", "Read are those of an MLP or of a whole layer.")
