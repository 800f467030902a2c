"""The sparsify folder (EleutherAI): ``cfg.json`` and ``sae.safetensors``; the folder's name is the module that is read.

``acts = topk(relu(encoder(x - b_dec)))``, ``out = acts @ W_dec + b_dec``. A transcoder reads what goes into the module
and subtracts nothing; a skip connection adds ``x @ W_skip.T``. ``groupmax`` keeps the largest of each of k groups.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from ...words.errors import AttribError
from ...words.places import Place
from ..sae import SAE
from .files import Glance, agreeing, flag, needed, settings, tensors, trained_on, understood, unread, unscaled, whole
from .hooks import Spot, spot, through

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
HOLDS = f"{CONFIG} and {WEIGHTS}"

# Read and applied; and how the dictionary was trained, which changes no number. The last two are of ``gram_lookup``,
# which is not read where it is on.
_APPLIED = ("d_in", "k", "num_latents", "expansion_factor", "activation", "transcode", "skip_connection")
_IDLE = ("normalize_decoder", "multi_topk", "lookup_max_order", "gram_table_hash")
_TENSORS = {"encoder.weight", "encoder.bias", "W_dec", "b_dec"}


def reads(folder: Path) -> bool:
    """Whether a folder holds the two files."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def glance(folder: Path) -> Glance:
    """The folder's name says the place, its config the rest.

    Raises:
        AttribError: a module or a setting that is not read here.
    """
    config = _config(settings(folder / CONFIG), folder)
    found = _spot(folder, bool(config.get("transcode")))
    place = None if found is None else found[0].place
    return Glance(place, _size(config, folder), whole(config, "d_in", folder / CONFIG))


def read(folder: Path, site: Place | None = None, scale: float | None = None) -> SAE:
    """Read a dictionary that sparsify has written. Such are trained on activations as they are, without a ``scale``.

    Raises:
        AttribError: broken files, a module that is no place of a dictionary, or an activation or a setting that is not
            read here.
    """
    unscaled(folder, scale)
    config = _config(settings(folder / CONFIG), folder)
    return _assembled(config, tensors(folder / WEIGHTS), folder, site, _metadata(folder))


def of_object(config: dict[str, Any], t: dict[str, Tensor], site: Place | None, name: Path) -> SAE:
    """The dictionary of a loaded ``SparseCoder``, by its settings and its tensors.

    Raises:
        AttribError: as for files.
    """
    return _assembled(_config(config, name), t, name, site, {})


def _assembled(
    config: dict[str, Any], t: dict[str, Tensor], folder: Path, site: Place | None, metadata: dict[str, Any]
) -> SAE:
    """The dictionary of a config and its tensors."""
    transcoder = bool(config.get("transcode"))
    if site is not None:
        reads, writes = through(site) if transcoder else (site, None)
        found: tuple[Spot, Place | None] | None = Spot(reads), writes
    else:
        found = _spot(folder, transcoder)
    if found is None:
        raise AttribError(
            f"{folder} does not say where the dictionary reads: the folder of a sparsify dictionary is named after it.",
            'Name it as it was ("layers.8.mlp"), or say the place: aw.read_sae(folder, site="L8.mlp").',
        )
    skip = bool(config.get("skip_connection"))
    needed(t, _TENSORS | ({"W_skip"} if skip else set()), folder / WEIGHTS)
    sae = SAE(
        found[0].place,
        config.get("activation") or "topk",
        t["encoder.weight"].T,
        t["encoder.bias"],
        t["W_dec"],
        t["b_dec"],
        k=whole(config, "k", folder / CONFIG),
        subtract=not transcoder,
        metadata=metadata | ({"module": found[0].module} if found[0].module else {}),
        writes=found[1],
        w_skip=t["W_skip"].T if skip else None,
    )
    sizes = {"d_in": (config.get("d_in"), sae.d_in), "features": (_size(config, folder), sae.n_features)}
    agreeing(folder / CONFIG, f"encoder.weight in {WEIGHTS}", sizes)
    return sae


def _config(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the config says.

    Raises:
        AttribError: it is none, or asks for something that is not read here.
    """
    if config.get("activation") not in (None, "topk", "groupmax"):
        raise unread(folder, "activation", config["activation"], "Read are topk and groupmax.")
    for key in ("transcode", "skip_connection"):
        flag(config, key, folder)
    understood(config, _APPLIED + _IDLE, folder, CONFIG)
    return config


def _metadata(folder: Path) -> dict[str, Any]:
    """The model, which the folder above says."""
    beside = folder.resolve().parent / "config.json"
    return trained_on(settings(beside).get("model") if beside.is_file() else None)


def _size(config: dict[str, Any], folder: Path) -> int | None:
    """``num_latents``, where 0 stands for the width times the expansion."""
    said, d_in, factor = (whole(config, key, folder / CONFIG) for key in ("num_latents", "d_in", "expansion_factor"))
    return said or (d_in or 0) * (factor or 0) or None


def _spot(folder: Path, transcoder: bool) -> tuple[Spot, Place | None] | None:
    """(where it reads, where it writes), by what the folder is named after; None where that is no module.

    Raises:
        AttribError: a module that is no place of a dictionary here.
    """
    name = folder.resolve().name
    found = spot(name)
    if found is not None and transcoder:
        reads, writes = through(found.place)
        return found._replace(place=reads), writes
    if found is not None:
        return found, None
    if re.search(r"\.\d+\.", name):
        raise AttribError(
            f"A dictionary of {name!r} cannot be read here.",
            "Read are those of a whole layer, its attention and its MLP: layers.8.mlp.",
        )
    return None
