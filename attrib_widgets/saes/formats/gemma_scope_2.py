"""Gemma Scope 2 (for Gemma 3): ``config.json`` and ``params.safetensors`` with names in lower case.

``acts = relu(pre) where pre > threshold``, ``pre = x @ w_enc + b_enc``; nothing is subtracted. The config names modules
of the model: a folder ``attn_out`` holds dictionaries of what goes *into* the output projection. Some repositories lack
configs; then the folder's name says the place. A transcoder may add ``x @ affine_skip_connection``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...words.errors import AttribError
from ...words.places import Place
from ..sae import SAE
from .files import (
    Glance,
    agreeing,
    flag,
    needed,
    settings,
    shapes,
    tensors,
    trained_on,
    understood,
    unread,
    unscaled,
    whole,
)
from .hooks import Spot, known_spot, through

CONFIG, WEIGHTS = "config.json", "params.safetensors"
HOLDS = f"{CONFIG} and {WEIGHTS}"
_TENSORS = {"w_enc", "b_enc", "w_dec", "b_dec", "threshold"}
SKIP = "affine_skip_connection"
_APPLIED = ("hf_hook_point_in", "hf_hook_point_out", "architecture", "affine_connection", "width", "type", "model_name")
_IDLE = ("l0", "dtype")
#: Where folders of a kind read, and where transcoders write.
_FOLDERS = {
    "resid_post": "model.layers.{}.output",
    "attn_out": "model.layers.{}.self_attn.o_proj.input",
    "mlp_out": "model.layers.{}.post_feedforward_layernorm.output",
    "transcoder": "model.layers.{}.pre_feedforward_layernorm.output",
}


def reads(folder: Path) -> bool:
    """Whether a folder holds the weights; some come without a config."""
    return (folder / WEIGHTS).is_file()


def glance(folder: Path) -> Glance:
    """The config says the place, or the folder's name, the headers of the weights their size.

    Raises:
        AttribError: a place or a setting that is not read here.
    """
    spot, _ = _ends(_config(folder), folder)
    width, features = shapes(folder / WEIGHTS, "w_enc")
    return Glance(None if spot is None else spot.place, features, width)


def read(folder: Path, site: Place | None = None, scale: float | None = None) -> SAE:
    """Read a dictionary or transcoder of Gemma Scope 2; ``site`` is where it reads, where nothing else says it.

    Raises:
        AttribError: broken files, files that contradict each other, a place or a setting that is not read here.
    """
    unscaled(folder, scale)
    config = _config(folder)
    if site is not None:
        reads, writes = through(site) if config.get("type") == "transcoder" or site.site == "mlp_in" else (site, None)
        spot: Spot | None = Spot(reads)
    else:
        spot, writes = _ends(config, folder)
    if spot is None:
        raise AttribError(
            f"{folder} does not say where the dictionary reads: it has no {CONFIG}, and its name is no other's.",
            'Say it: aw.read_sae(folder, site="L8.mlp"); of a transcoder site="L8.mlp_in".',
        )
    t = tensors(folder / WEIGHTS)
    affine = flag(config, "affine_connection", folder / CONFIG)
    skip = SKIP in t if affine is None else affine
    needed(t, _TENSORS | ({SKIP} if skip else set()), folder / WEIGHTS)
    if skip and writes is None:
        raise unread(folder, SKIP, True, "Only a transcoder has one.")
    sae = jumping(t, spot.place, writes, t["w_dec"], config, t.get(SKIP))
    said = whole(config, "width", folder / CONFIG)
    agreeing(folder / CONFIG, f"w_enc in {WEIGHTS}", {"width": (said, sae.n_features)})
    return sae


def jumping(
    t: dict[str, Any], reads: Place, writes: Place | None, w_dec: Any, config: dict[str, Any], skip: Any = None
) -> SAE:
    """A dictionary of tensors that are named in lower case, which jumps and subtracts nothing."""
    return SAE(
        reads,
        "jumprelu",
        t["w_enc"],
        t["b_enc"],
        w_dec,
        t["b_dec"],
        threshold=t["threshold"],
        subtract=False,
        metadata=trained_on(model_name(config.get("model_name"))),
        writes=writes,
        w_skip=skip,
    )


def model_name(said: Any) -> str:
    """The model as it is called on the hub."""
    if not isinstance(said, str) or not said:
        return ""
    name = said.rsplit("/", 1)[-1].replace("-v3", "-3")
    return "google/" + (name.removesuffix("-pt") if "270m" in name else name)


def _config(folder: Path) -> dict[str, Any]:
    """What the config says, or what the names of the folders do.

    Raises:
        AttribError: a setting that is not read here.
    """
    if not (folder / CONFIG).is_file():
        return _inferred(folder)
    config = settings(folder / CONFIG)
    understood(config, _APPLIED + _IDLE, folder, CONFIG)
    if config.get("architecture") != "jump_relu":
        raise unread(folder, "architecture", config.get("architecture"), "Read is jump_relu.")
    if config.get("type") not in (None, "sae", "transcoder"):
        raise unread(folder, "type", config["type"], "Read here are sae and transcoder.")
    return config


def _inferred(folder: Path) -> dict[str, Any]:
    """The settings of a folder without a config, by its name and those of the folders around it."""
    parts = folder.resolve().parts
    layer = re.match(r"layer_(\d+)_", parts[-1])
    kind = next((k for part in reversed(parts) for k in _FOLDERS if re.fullmatch(rf"{k}(_all)?", part)), None)
    found: dict[str, Any] = {"architecture": "jump_relu"}
    model = next((m for part in reversed(parts) if (m := re.search(r"gemma-scope-2-(\w+-\w+)", part))), None)
    if model is not None:
        found["model_name"] = f"google/gemma-3-{model[1]}"
    if layer is None or kind is None:
        return found
    found["hf_hook_point_in"] = _FOLDERS[kind].format(layer[1])
    if kind == "transcoder":
        found |= {"type": "transcoder", "hf_hook_point_out": _FOLDERS["mlp_out"].format(layer[1])}
        found["affine_connection"] = "affine" in parts[-1]
    return found


def _ends(config: dict[str, Any], folder: Path) -> tuple[Spot | None, Place | None]:
    """(where it reads, where a transcoder writes).

    Raises:
        AttribError: a place that is not read here, or one that contradicts the type.
    """
    said, out = config.get("hf_hook_point_in"), config.get("hf_hook_point_out")
    if not said:
        return None, None
    spot = known_spot(str(said))
    writes = known_spot(str(out)).place if out else spot.place
    if config.get("type") is not None and (config["type"] == "transcoder") != (writes != spot.place):
        raise AttribError(
            f"{folder / CONFIG} says type = {config['type']!r}, from {said!r} to {out!r}.", "Keep what is true."
        )
    return spot, None if writes == spot.place else writes
