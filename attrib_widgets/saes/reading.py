"""What a dictionary reads in a model: the activations that it was trained on, and those that it rebuilds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..model.parts.experts import mlp_input
from ..model.parts.projections import kv_head, qkv_projection
from ..model.parts.streams import one_stream
from ..model.tracing.hooks import collect
from ..words.errors import ComponentError
from ..words.places import Place
from .sae import SAE

if TYPE_CHECKING:
    from ..model.model import Model
    from ..model.network import Network
    from ..model.tracing.recording import Recording


class Activations(NamedTuple):
    """What a dictionary reads, and what it is held against.

    Attributes:
        x: what it reads, in its own coordinates.
        y: what the model has where it writes.
        aside: what of ``y`` its coordinates leave out, which it is not held against; None is nothing.
    """

    x: Float[Tensor, "position d_in"]
    y: Float[Tensor, "position d_out"]
    aside: Float[Tensor, "position d_out"] | None

    @property
    def goal(self) -> Float[Tensor, "position d_out"]:
        """What it rebuilds."""
        return self.y if self.aside is None else self.y - self.aside


def activations(model: Model, rec: Recording, sae: SAE) -> Activations:
    """The activations of a dictionary in a recorded run, in the model's dtype or float32, on its own device."""
    device = sae.b_dec.device
    x = of_dictionary(model, sae, _at(model, rec, source(model, sae))).to(device)
    if sae.writes is not None:
        return Activations(x, _at(model, rec, sae.writes).to(device), None)
    y = _at(model, rec, sae.site).to(device)
    return Activations(x, y, None if sae.coordinates == "raw" else y.float() - x)


def collected(
    model: Model, ids: Int[Tensor, "row position"], sae: SAE, real: Sequence[int] | None = None
) -> Float[Tensor, "row position d_in"]:
    """What a dictionary reads of many rows, on its device; ``real`` positions of each hold its tokens (None: all), and
    what stands behind them means nothing.

    One forward pass; of a model that looks ahead, and would see what stands behind, one for each length.
    """
    where = source(model, sae)
    if real is None or model.check.causal:
        return of_dictionary(model, sae, collect(model, ids, [where])[where]).to(sae.b_dec.device)
    found: Tensor | None = None
    for length in sorted(set(real)):
        some = [row for row, own in enumerate(real) if own == length]
        x = of_dictionary(model, sae, collect(model, ids[some, :length], [where])[where]).to(sae.b_dec.device)
        found = x.new_zeros(*ids.shape, x.shape[-1]) if found is None else found
        found[some, :length] = x
    assert found is not None
    return found


def source(model: Network, sae: SAE) -> Place:
    """Where the model has what a dictionary's coordinates are made from."""
    if not before_gain(model, sae):
        return sae.site
    layer = sae.site.layer or 0
    return Place("pre" if model.parallel else "mid", layer)


def of_dictionary(model: Network, sae: SAE, x: Float[Tensor, "*shape width"]) -> Float[Tensor, "*shape d_in"]:
    """What the model has at :func:`source`, in the coordinates of a dictionary."""
    layer = sae.site.layer or 0
    if sae.coordinates == "centred":
        return x.float() - x.float().mean(-1, keepdim=True)
    if sae.coordinates == "without value bias":
        bias = value_bias(model, layer)
        return x.float() if bias is None else x.float() - bias.to(x.device)
    if not before_gain(model, sae):
        return x
    norm = model.norm(model.anatomy.mlp_norm or "", layer)
    x = x.float()
    return (x - x.mean(-1, keepdim=True) if norm.centred else x) * norm.scale(x)[..., None]


def before_gain(model: Network, sae: SAE) -> bool:
    """Whether it reads what a norm hands on before its gain.

    Raises:
        ComponentError: the model has no such norm.
    """
    if sae.coordinates not in ("before gain", "before RMS gain", "hook_normalized"):
        return False
    layer = sae.site.layer or 0
    if model.anatomy.mlp_norm is None:
        raise ComponentError(f"{sae!r} reads behind a norm, and {model.name} has none before its MLPs.")
    norm = model.norm(model.anatomy.mlp_norm, layer)
    if sae.coordinates == "before gain" or not norm.centred:
        return True
    changes = float((norm.gain - 1).abs().max()) + float(norm.bias.abs().max())  # probed, so never quite 0
    if sae.coordinates == "hook_normalized" and changes > 1e-4:
        raise ComponentError(
            f"{sae!r} reads ln2.hook_normalized, which is behind the gain and bias of a layer norm up to "
            "TransformerLens 2 and before them since, and its files do not say by which it was trained.",
            'Say it: dataclasses.replace(sae, coordinates="raw") for behind, "before gain" for before. The better fit '
            "tells: model.saes.fit(place, texts).",
        )
    return False


def value_bias(model: Network, layer: int) -> Float[Tensor, "heads_times_d_head"] | None:
    """The bias of the values as every query head hands it on, side by side; None where there is none."""
    geometry = model.geometry[layer]
    rows = [qkv_projection(model, layer, "v", kv_head(model, layer, head)).bias for head in range(geometry.n_heads)]
    known = [row for row in rows if row is not None]
    return torch.cat(known).float() if len(known) == len(rows) else None


def _at(model: Model, rec: Recording, place: Place) -> Float[Tensor, "position width"]:
    """What a recording has at the place of a dictionary. It comes before a multiplier of what a sublayer adds.

    Raises:
        GranularityError: a stream, of a model that carries several.
    """
    layer = place.layer or 0
    if place.is_stream:
        one_stream(model, "a dictionary of streams reads one")
    if place.site == "mlp_in":
        return mlp_input(model, rec, layer)
    if place.site in ("mlp", "attn_out"):
        part = "mlp" if place.site == "mlp" else "attn"
        if (join := model.join(part, layer)) is not None:
            norm, given = getattr(model.anatomy, f"{part}_post_norm"), rec.at(part, layer)
            given = given if norm is None else model.norm(norm, layer)(given)
            return join.removed(rec.at(f"{part}_added", layer).float(), given)
        held, factor = rec.at(f"{part}_added", layer), model.multiplier_of(part)
        return held if factor == 1 else held.float() / factor
    return rec.at(*place.slot)
