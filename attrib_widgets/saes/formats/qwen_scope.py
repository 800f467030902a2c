"""Qwen Scope: ``layer1.sae.pt`` in a repository ``SAE-Res-Qwen3-1.7B-Base-W32K-L0_50``, whose name alone says k.

``acts = topk(relu(x @ W_enc.T + b_enc))``, ``out = acts @ W_dec.T + b_dec``, of the stream behind a layer; nothing is
subtracted. The matrices have the names of SAELens and are its transposes.
"""

from __future__ import annotations

import re
from pathlib import Path

from ...words.errors import AttribError
from ...words.places import Place
from ..sae import SAE
from .files import Glance, needed, tensors, unscaled

HOLDS = "layer1.sae.pt"
_FILE = re.compile(r"layer(\d+)\.sae\.pt")
_REPOSITORY = re.compile(r"SAE-Res-(.+)-W\d+K-L0_(\d+)")
_TENSORS = {"W_enc", "b_enc", "W_dec", "b_dec"}


def reads(file: Path) -> bool:
    """Whether a file is named as such."""
    return bool(_FILE.fullmatch(file.name)) and file.is_file()


def glance(file: Path) -> Glance:
    """The file's name says the layer."""
    match = _FILE.fullmatch(file.name)
    return Glance(None if match is None else Place("post", int(match[1])))


def read(file: Path, site: Place | None = None, scale: float | None = None) -> SAE:
    """Read a dictionary of Qwen Scope.

    Raises:
        AttribError: a broken file, or folders that do not say how many features are kept.
    """
    unscaled(file, scale)
    parts = [*file.resolve().parent.parts, *file.parent.parts]
    repository = next((found for part in reversed(parts) if (found := _REPOSITORY.search(part))), None)
    if repository is None:
        raise AttribError(
            f"{file} does not say how many features are kept: the name of its repository does.",
            'Keep it in a folder of that name ("SAE-Res-Qwen3-1.7B-Base-W32K-L0_50").',
        )
    t = tensors(file)
    needed(t, _TENSORS, file)
    place = site or glance(file).place
    assert place is not None
    if t["W_enc"].ndim == 2 and t["W_enc"].shape[0] < t["W_enc"].shape[1]:
        raise AttribError(
            f"W_enc in {file} is {list(t['W_enc'].shape)}, and is kept as [feature, d_in].",
            "Take the file as it was published.",
        )
    weights = (t["W_enc"].T, t["b_enc"], t["W_dec"].T, t["b_dec"])
    return SAE(place, "topk", *weights, k=int(repository[2]), subtract=False, metadata={"model_name": repository[1]})
