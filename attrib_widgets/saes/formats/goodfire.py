"""Goodfire's dictionaries, and those published in the same way: ``Llama-3.1-8B-Instruct-SAE-l19.pth``, named after
model and layer.

``acts = relu(x @ encoder.T + bias)``, ``out = acts @ decoder.T + bias``, of the stream behind a layer; nothing is
subtracted.
"""

from __future__ import annotations

import re
from pathlib import Path

from ...words.places import Place
from ..sae import SAE
from .files import Glance, needed, tensors, unscaled

HOLDS = "Llama-3.1-8B-Instruct-SAE-l19.pth, named after model and layer"
_FILE = re.compile(r"(.+)-SAE-l(\d+)\.pth?")


def reads(file: Path) -> bool:
    """Whether a file is named as such."""
    return bool(_FILE.fullmatch(file.name)) and file.is_file()


def glance(file: Path) -> Glance:
    """The file's name says the layer."""
    match = _FILE.fullmatch(file.name)
    return Glance(None if match is None else Place("post", int(match[2])))


def read(file: Path, site: Place | None = None, scale: float | None = None) -> SAE:
    """Read such a dictionary.

    Raises:
        AttribError: a broken file.
    """
    unscaled(file, scale)
    match = _FILE.fullmatch(file.name)
    assert match is not None
    t = tensors(file)
    own = "_linear" if "encoder_linear.weight" in t else ""  # DeepSeek R1's are named without
    names = [f"{side}{own}.{kind}" for side in ("encoder", "decoder") for kind in ("weight", "bias")]
    needed(t, set(names), file)
    weights = (t[names[0]].T, t[names[1]], t[names[2]].T, t[names[3]])
    place = site or Place("post", int(match[2]))
    return SAE(place, "standard", *weights, subtract=False, metadata={"model_name": match[1]})
