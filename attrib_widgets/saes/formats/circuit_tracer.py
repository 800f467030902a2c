"""Sets of transcoders of circuit-tracer: ``config.yaml`` beside one ``layer_3.safetensors`` a layer, each a dictionary.

``acts = relu(x @ W_enc.T + b_enc)``, or those above a threshold, or the k largest, of either sign; ``out = acts @ W_dec
+ b_dec``, and ``x @ W_skip.T`` where there is a skip connection. Graphs of that library leave out the first position;
its ``encode`` does not, and neither is it here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ...words.errors import AttribError
from ...words.places import Place
from ..sae import SAE
from .files import (
    AGAIN,
    Glance,
    floating,
    needed,
    number,
    settings,
    shapes,
    single,
    stored,
    trained_on,
    understood,
    unread,
    unscaled,
    whole,
)
from .hooks import Spot, known_spot, through

CONFIG = "config.yaml"
HOLDS = f"a layer_3.safetensors for each layer beside {CONFIG}"
THRESHOLD = "activation_function.threshold"
_TENSORS = {"W_enc", "b_enc", "W_dec", "b_dec"}
_FILE = re.compile(r"layer_(\d+)\.safetensors")
_APPLIED = ("model_name", "model_kind", "feature_input_hook", "feature_output_hook", "activation", "k")
_IDLE = ("scan", "repo_id", "revision", "subfolder", "transcoders")


class Said(NamedTuple):
    """What the config says of one layer."""

    reads: Spot
    writes: Place
    activation: str | None
    k: int | None
    metadata: dict[str, Any]


def reads(file: Path) -> bool:
    """Whether a file is one layer of a set."""
    return bool(_FILE.fullmatch(file.name)) and (file.parent / CONFIG).is_file() and file.is_file()


def elsewhere(folder: Path) -> list[str]:
    """The files that a config names instead of having them beside it, a layer each."""
    if not (folder / CONFIG).is_file():
        return []
    try:
        named = settings(folder / CONFIG).get("transcoders")
    except AttribError:
        return []
    return [name for name in named if isinstance(name, str)] if isinstance(named, list) else []


def glance(file: Path) -> Glance:
    """The config says the place, the headers the size.

    Raises:
        AttribError: a place or a setting that is not read here.
    """
    said = said_of(file.parent, _layer(file), "transcoder_set")
    features, width = shapes(file, "W_enc")
    return Glance(said.reads.place, features, width)


def read(file: Path, site: Place | None = None, scale: float | None = None) -> SAE:
    """Read one transcoder of a set; ``site`` is where it reads, whatever the config says.

    Raises:
        AttribError: broken files, a place or a setting that is not read here.
    """
    unscaled(file, scale)
    said = said_of(file.parent, _layer(file), "transcoder_set")
    site = None if site in (said.reads.place, said.writes) else site
    t = stored(file)
    k = _k(t.pop("k", None), said, file)
    floating(t, file)
    needed(t, _TENSORS, file, {"W_skip", THRESHOLD})
    if THRESHOLD in t and (k is not None or said.activation == "relu"):
        raise AttribError(
            f"{file} has thresholds, and {CONFIG} says {said.activation or 'topk'}.", "Keep the one that is true."
        )
    return _assembled(t, said, site, k)


def of_object(given: Any, site: Place, name: Path) -> SAE:
    """The transcoder of a loaded ``SingleLayerTranscoder``, which does not say where it reads: ``site`` is that, or
    what it writes.

    Raises:
        AttribError: it is none of an MLP, has another activation, or weights that cannot be used.
    """
    function = given.activation_function
    threshold, k = getattr(function, "threshold", None), getattr(function, "k", None)
    called = getattr(function, "__name__", type(function).__name__)
    if threshold is None and k is None and called != "relu":
        raise unread(name, "activation_function", called, "Read are relu, TopK and JumpReLU.")
    reads, writes = (site, Place("mlp", site.layer)) if site.site == "mid" else through(site)
    held = {key: getattr(given, key) for key in sorted(_TENSORS)}
    for key, value in (("W_skip", given.W_skip), (THRESHOLD, threshold)):
        if value is not None:
            held[key] = value
    t = {key: single(value.detach().cpu(), key, name) for key, value in held.items()}
    said = Said(Spot(reads), writes, None, None, {})
    return _assembled(t, said, reads, k)


def _assembled(t: dict[str, Tensor], said: Said, site: Place | None, k: int | None) -> SAE:
    """The transcoder of its tensors."""
    top, threshold = k is not None, t.get(THRESHOLD)
    return SAE(
        said.reads.place if site is None else site,
        "topk" if top else "standard" if threshold is None else "jumprelu",
        t["W_enc"].T,
        t["b_enc"],
        t["W_dec"],
        t["b_dec"],
        k=k,
        threshold=threshold,
        subtract=False,
        metadata=said.metadata,
        writes=said.writes,
        w_skip=t["W_skip"].T if "W_skip" in t else None,
        coordinates=said.reads.coordinates if site is None else "raw",
        signed=top or threshold is not None,
    )


def _k(kept: Tensor | None, said: Said, file: Path) -> int | None:
    """How many are kept, as the config or the file says; None where it is no top-k.

    Raises:
        AttribError: the two differ, or a top-k without.
    """
    own = number(kept)
    if kept is not None and own is None:
        raise AttribError(f"k in {file} is {kept.tolist()}, no whole number.", AGAIN)
    if said.k is not None and own not in (None, said.k):
        raise AttribError(f"{file.parent / CONFIG} says k = {said.k}, and {file.name} {own}.", "Keep what is true.")
    k = said.k if own is None else own
    if (said.activation == "topk") != (k is not None) and (said.activation is not None or own is None):
        raise AttribError(
            f"{file.parent / CONFIG} says activation = {said.activation!r} and k = {k}.", 'A topk has one: "k: 128".'
        )
    return k


def _layer(file: Path) -> int:
    match = _FILE.fullmatch(file.name)
    assert match is not None
    return int(match[1])


def said_of(folder: Path, layer: int, kind: str) -> Said:
    """What the config of a folder says of a layer.

    Raises:
        AttribError: it is of another kind, or has a place or a setting that is not read here.
    """
    file = folder / CONFIG
    config = settings(file)
    understood(config, _APPLIED + _IDLE, folder, CONFIG)
    if config.get("model_kind") != kind:
        raise unread(folder, "model_kind", config.get("model_kind"), f"The files beside it say {kind}.")
    activation = config.get("activation")
    if activation not in (None, "relu", "topk", "jump_relu", "jumprelu"):
        raise unread(folder, "activation", activation, "Read are relu, topk and jump_relu.")
    ends: list[Spot] = []
    for key in ("feature_input_hook", "feature_output_hook"):
        if not isinstance(hook := config.get(key), str):
            raise AttribError(f"{file} says {key} = {hook!r}, which is no name of a place.", AGAIN)
        ends.append(known_spot(f"blocks.{layer}.{hook}"))
    return Said(ends[0], ends[1].place, activation, whole(config, "k", file), trained_on(config.get("model_name")))
