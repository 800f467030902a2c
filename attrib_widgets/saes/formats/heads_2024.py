"""The attention dictionaries of GPT-2 of 2024 (Kissane et al.): ``NAME.pt`` and ``NAME_cfg.json``.

``acts = relu((x - b_dec) @ W_enc + b_enc)``, ``out = acts @ W_dec + b_dec``. They were trained with TransformerLens as
it loads models by default, where what heads hand on lacks the bias of their values: those are the coordinates that are
read. Nothing in the files says so; of others ``dataclasses.replace(sae, coordinates="raw")``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...words.errors import AttribError
from ...words.places import Place
from ..sae import SAE
from .files import AGAIN, Glance, agreeing, needed, settings, tensors, trained_on, unread, unscaled, whole
from .hooks import known_spot

HOLDS = "NAME.pt and NAME_cfg.json"
_TENSORS = {"W_enc", "b_enc", "W_dec", "b_dec"}
# Their configs hold how they were trained, dozens of settings. One that is named like this may change a number.
_SUSPECT = re.compile(
    r"(?!.*resampl)(.*(norm|scal|top_?k|act_?fn|activation|tied|gate|thresh|transcod|skip|whiten|cent(er|re)).*|k|per_head)"
)


def reads(file: Path) -> bool:
    """Whether a file has its config beside it."""
    return file.suffix == ".pt" and file.is_file() and _beside(file).is_file()


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name.removesuffix('.pt')}_cfg.json")


def glance(file: Path) -> Glance:
    """As far as the config says.

    Raises:
        AttribError: a place or a setting that is not read here.
    """
    config = _config(file)
    place = known_spot(str(config["act_name"])).place
    return Glance(place, *(whole(config, key, _beside(file)) for key in ("dict_size", "act_size")))


def read(file: Path, site: Place | None = None, scale: float | None = None) -> SAE:
    """Read such a dictionary.

    Raises:
        AttribError: broken files, files that contradict each other, a place or a setting that is not read here.
    """
    unscaled(file, scale)
    config = _config(file)
    place = site or known_spot(str(config["act_name"])).place
    t = tensors(file)
    needed(t, _TENSORS, file)
    sae = SAE(
        place,
        "standard",
        t["W_enc"],
        t["b_enc"],
        t["W_dec"],
        t["b_dec"],
        metadata=trained_on(config.get("model_name")),
        coordinates="without value bias" if place.site == "z" else "raw",
    )
    sizes = {"act_size": sae.d_in, "dict_size": sae.n_features}
    said = {key: (whole(config, key, _beside(file)), size) for key, size in sizes.items()}
    agreeing(_beside(file), f"W_enc in {file.name}", said)
    return sae


def _config(file: Path) -> dict[str, Any]:
    """What the config says.

    Raises:
        AttribError: no place, another layer than the place's, or a setting that may change a number.
    """
    config = settings(_beside(file))
    if not isinstance(hook := config.get("act_name"), str):
        raise AttribError(f"{_beside(file)} says act_name = {hook!r}, which is no name of a place.", AGAIN)
    layer, spot = whole(config, "layer", _beside(file)), known_spot(hook)
    if layer not in (None, spot.place.layer) and spot.place.site == "z":
        raise AttribError(f"{_beside(file)} says layer = {layer}, and {hook!r}.", "Keep the one that is true.")
    # "cat" is how they say that the heads of a layer stand side by side.
    if config.get("head") not in (None, "cat") or config.get("concat_heads") is False:
        key = "concat_heads" if config.get("concat_heads") is False else "head"
        raise unread(_beside(file), key, config[key], "It is for one head alone, and read are those of all of a layer.")
    for key, value in config.items():
        if value and _SUSPECT.fullmatch(key):
            raise unread(
                _beside(file), key, value, "Remove it from the file if you know that it changes no activation."
            )
    return config
