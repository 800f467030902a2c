"""The sparsify folder (EleutherAI): ``cfg.json`` and ``sae.safetensors``; the folder's name is the module that is read.

``acts = topk(relu(encoder(x - b_dec)))``, ``out = acts @ W_dec + b_dec``. Transcoders, which read one place and write
another, are refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...words.errors import AttribError
from ...words.places import Place
from ..sae import SAE
from .files import Glance, module_place, settings, tensors, whole

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
HOLDS = f"{CONFIG} and {WEIGHTS}"

# Read and applied; and how the dictionary was trained, which changes no number.
_APPLIED = ("d_in", "k", "num_latents", "expansion_factor", "activation", "transcode", "skip_connection")
_IDLE = ("normalize_decoder", "multi_topk")


def reads(folder: Path) -> bool:
    """Whether a folder holds the two files."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def glance(folder: Path) -> Glance:
    """The folder's name says the place, its config the rest.

    Raises:
        AttribError: a module or a setting that is not read here.
    """
    config = _config(folder)
    return Glance(_place(folder), _size(config, folder), whole(config, "d_in", folder / CONFIG))


def read(folder: Path, site: Place | None = None, scale: float | None = None) -> SAE:
    """Read a dictionary that sparsify has written. Such are trained on activations as they are, without a ``scale``.

    Raises:
        AttribError: broken files, a module that is no place of a dictionary, a transcoder, or an activation or a
            setting that is not read here.
    """
    config = _config(folder)
    if scale is not None:
        raise AttribError(f"{folder} was trained on activations as they are.", f"Leave out scale = {scale!r}.")
    place = site or _place(folder)
    if place is None:
        raise AttribError(
            f"{folder} does not say where the dictionary reads: the folder of a sparsify dictionary is named after it.",
            'Name it as it was ("layers.8.mlp"), or say the place: aw.read_sae(folder, site="L8.mlp").',
        )
    t = tensors(folder / WEIGHTS)
    needed = {"encoder.weight", "encoder.bias", "W_dec", "b_dec"}
    if set(t) != needed:
        raise AttribError(
            f"{folder / WEIGHTS} holds {', '.join(sorted(t))}.", f"Read are {', '.join(sorted(needed))}, and no others."
        )
    metadata = {"module": folder.name} if site is None else {}
    weights = (t["encoder.weight"].T, t["encoder.bias"], t["W_dec"], t["b_dec"])
    sae = SAE(place, "topk", *weights, k=whole(config, "k", folder / CONFIG), metadata=metadata)
    for key, said, size in (
        ("d_in", config.get("d_in"), sae.d_in),
        ("features", _size(config, folder), sae.n_features),
    ):
        if said not in (None, size):
            raise AttribError(
                f"{folder / CONFIG} says {key} = {said}, and encoder.weight in {WEIGHTS} has {size}.",
                "The two files do not belong together: take both from one dictionary.",
            )
    return sae


def _config(folder: Path) -> dict[str, Any]:
    """What the config says.

    Raises:
        AttribError: it is none, or asks for something that is not read here.
    """
    config = settings(folder / CONFIG)
    for key, value in config.items():
        plain = {"activation": "topk", "transcode": False, "skip_connection": False}.get(key)
        if (plain is not None and value != plain) or (value and key not in _APPLIED + _IDLE):
            raise AttribError(
                f"{folder} has {key} = {value!r}, which is not read here.",
                "Read are dictionaries of one place with the activation topk.",
            )
    return config


def _size(config: dict[str, Any], folder: Path) -> int | None:
    """``num_latents``, where 0 stands for the width times the expansion."""
    said, d_in, factor = (whole(config, key, folder / CONFIG) for key in ("num_latents", "d_in", "expansion_factor"))
    return said or (d_in or 0) * (factor or 0) or None


def _place(folder: Path) -> Place | None:
    """What the folder is named after.

    Raises:
        AttribError: a module that is no place of a dictionary here.
    """
    name = folder.resolve().name
    if found := module_place(name):
        return found
    if re.search(r"\.\d+\.", name):
        raise AttribError(
            f"A dictionary of {name!r} cannot be read here.",
            "Read are those of a whole layer and of its MLP: layers.8.mlp.",
        )
    return None
