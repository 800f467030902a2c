"""Gemma Scope (2024, for Gemma 2): ``layer_3/width_16k/average_l0_59/params.npz``; its repository's name alone says
what is read.

``acts = relu(pre) where pre > threshold``, ``pre = x @ W_enc + b_enc``; nothing is subtracted. ``-res`` is the stream
behind a layer, ``-att`` the heads' outputs, ``-mlp`` what the MLP adds (behind its post-norm), ``-transcoders`` go from
what the norm before the MLP hands on, before its gain, to what the MLP adds. Those of the embedding were trained before
it is multiplied by the root of its width.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ...words.errors import AttribError
from ...words.places import Place
from ..sae import SAE
from .files import Glance, needed, shapes, tensors, trained_on, unscaled
from .hooks import Spot, through

WEIGHTS = "params.npz"
HOLDS = WEIGHTS
_TENSORS = {"w_enc", "b_enc", "w_dec", "b_dec", "threshold"}
_REPOSITORY = re.compile(
    r"gemma-scope-(?P<size>\d+b)-(?P<tuned>pt|it)-(?P<kind>res|mlp|att|transcoders)\b", re.IGNORECASE
)
_SITES = {"res": "post", "mlp": "mlp", "att": "z", "transcoders": "mlp_in"}


class _Named(NamedTuple):
    """What the names of the folders around a file say."""

    spot: Spot | None
    writes: Place | None
    model: str
    embedding: bool


def reads(folder: Path) -> bool:
    """Whether a folder holds the file."""
    return (folder / WEIGHTS).is_file()


def glance(folder: Path) -> Glance:
    """As far as the folders' names and the headers of the file say."""
    spot = _named(folder).spot
    width, features = shapes(folder / WEIGHTS, "w_enc")
    return Glance(None if spot is None else spot.place, features, width)


def read(folder: Path, site: Place | None = None, scale: float | None = None) -> SAE:
    """Read a dictionary of Gemma Scope; ``site`` where the folders' names say less: of a transcoder "L3.mlp_in".

    Raises:
        AttribError: a broken file, or a place that neither says.
    """
    unscaled(folder, scale)
    named = _named(folder)
    spot, writes = named.spot, named.writes
    if site is not None:
        reads, writes = through(site) if site.site == "mlp_in" else (site, None)
        spot = Spot(reads, "before gain" if writes is not None else "raw")
    if spot is None:
        raise AttribError(
            f"{folder} does not say where the dictionary reads: the names of the folders around it do.",
            'Keep them ("gemma-scope-2b-pt-res/layer_3/..."), or say it: aw.read_sae(folder, site="L3.post"); of a '
            'transcoder site="L3.mlp_in".',
        )
    t = {key.lower(): value for key, value in tensors(folder / WEIGHTS).items()}
    needed(t, _TENSORS, folder / WEIGHTS)
    sae = SAE(
        spot.place,
        "jumprelu",
        t["w_enc"],
        t["b_enc"],
        t["w_dec"],
        t["b_dec"],
        threshold=t["threshold"],
        subtract=False,
        metadata=trained_on(named.model),
        writes=writes,
        coordinates=spot.coordinates,
    )
    if not named.embedding:
        return sae
    root = math.sqrt(sae.d_in)
    return replace(sae, w_enc=sae.w_enc / root, w_dec=sae.w_dec * root)


def _named(folder: Path) -> _Named:
    """What the names say, from the file's own folder up to that of its repository."""
    parts = folder.resolve().parts
    repository = next((found for part in reversed(parts) if (found := _REPOSITORY.search(part))), None)
    model = ""
    if repository is not None:
        model = f"google/gemma-2-{repository['size'].lower()}" + ("-it" if repository["tuned"].lower() == "it" else "")
    if repository is not None and repository["kind"] == "res" and "embedding" in parts:
        return _Named(Spot(Place("pre", 0)), None, model, True)
    layer = next((found for part in reversed(parts) if (found := re.fullmatch(r"layer_(\d+)", part))), None)
    if repository is None or layer is None:
        return _Named(None, None, model, False)
    kind = repository["kind"].lower()
    place = Place(_SITES[kind], int(layer[1]))
    if kind == "transcoders":
        return _Named(Spot(place, "before gain"), Place("mlp", int(layer[1])), model, False)
    return _Named(Spot(place), None, model, False)
