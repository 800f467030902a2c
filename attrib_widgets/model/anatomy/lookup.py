"""An anatomy on a loaded model: what its paths lead to, and what the names in it are in the config."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from ...words.errors import AnatomyError
from .anatomy import Anatomy, Mixer


def find(root: nn.Module, path: str | None) -> nn.Module | None:
    """The module at the first existing alternative of ``path``, or None."""
    for option in (path or "").removeprefix("<").split("|"):
        module: Any = root
        for name in filter(None, option.split(".")):
            module = getattr(module, name, None)
        if option and isinstance(module, nn.Module):
            return module
    return None


def below(root: str | None, path: str) -> str:
    """Every alternative of ``path`` as a path from where ``root`` is."""
    return "|".join(f"{root}.{option}" for option in path.split("|"))


def path_of(root: nn.Module, path: str) -> str:
    """The first alternative of ``path`` that exists below ``root``.

    Raises:
        AnatomyError: none exists.
    """
    for option in path.removeprefix("<").split("|"):
        if find(root, option) is not None:
            return "<" * path.startswith("<") + option
    raise AnatomyError(f"{type(root).__name__} has no module {path!r}.", "Pass anatomy= with its true name.")


def resolved(anatomy: Anatomy, model: nn.Module) -> Anatomy:
    """``anatomy`` with every alternative decided on ``model``; what a layer may lack is left as it is, or None."""
    layers = find(model, anatomy.layers)
    assert isinstance(layers, nn.ModuleList)
    changes: dict[str, Any] = {
        name: path_of(model, path)
        for name in ("layers", "final_norm", "unembed", "embed", "pos")
        if (path := getattr(anatomy, name))
    }
    layer = _layer_with(anatomy, layers)
    for name in _INSIDE:
        if path := getattr(anatomy, name):
            changes[name] = path_of(layer, path)
    if anatomy.mlp_norm:
        changes["mlp_norm"] = path_of(layer, anatomy.mlp_norm) if find(layer, anatomy.mlp_norm) else None
    if anatomy.beside and find(layer, anatomy.beside.path) is None:
        changes["beside"] = None
    if anatomy.qkv is not None and anatomy.attn is not None:
        attention = find(layer, anatomy.attn)
        assert attention is not None
        every = [attention, *(a for each in layers if (a := find(each, anatomy.attn)) is not None)]
        norms: dict[str, Any] = {
            name: next((path_of(a, path) for a in every if find(a, path) is not None), None)
            for name in ("q_norm", "k_norm", "v_norm")
            if (path := getattr(anatomy.qkv, name))
        }
        changes["qkv"] = dataclasses.replace(anatomy.qkv, **norms)
    return dataclasses.replace(anatomy, **changes)


def missing(anatomy: Anatomy, model: nn.Module) -> list[str]:
    """The paths of ``anatomy`` that ``model`` does not have: empty when the anatomy can be tried."""
    absent = [
        p
        for p in (anatomy.layers, anatomy.final_norm, anatomy.unembed, anatomy.embed, anatomy.pos)
        if p and find(model, p) is None
    ]
    layers = find(model, anatomy.layers)
    if not isinstance(layers, nn.ModuleList) or not len(layers):
        return absent or [anatomy.layers]
    layer = _layer_with(anatomy, layers)
    return absent + [p for name in _INSIDE if (p := getattr(anatomy, name)) and find(layer, p) is None]


def mixer_of(anatomy: Anatomy, layer: nn.Module) -> Mixer | None:
    """What ``layer`` has in place of the attention of ``anatomy``; None where it has that, or nothing known."""
    told = [m for m in anatomy.mixers if m.has and hasattr(find(layer, m.path), m.has)]
    if told and anatomy.attn is not None:
        return told[0]
    if anatomy.attn is None or (find(layer, anatomy.attn) is not None and find(layer, anatomy.attn_out) is not None):
        return None
    return next((mixer for mixer in anatomy.mixers if not mixer.has and find(layer, mixer.path) is not None), None)


#: The parts that a layer has to have.
_INSIDE = ("attn", "attn_out", "attn_norm", "attn_post_norm", "mlp", "mlp_post_norm", "mlp_output")


def _layer_with(anatomy: Anatomy, layers: nn.ModuleList) -> nn.Module:
    """The first layer that has all parts of ``anatomy``, or else the first: some models mix layers of several kinds."""
    paths = [p for name in _INSIDE if (p := getattr(anatomy, name))]
    return next((layer for layer in layers if all(find(layer, p) is not None for p in paths)), layers[0])


def text_config(model: nn.Module) -> Any:
    """The config of the language model, also inside a model that reads images as well."""
    config: Any = getattr(model, "config", None)
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def parallel(anatomy: Anatomy, config: Any) -> bool:
    """Whether attention and MLP read the same stream."""
    flag = anatomy.parallel
    return bool(getattr(config, flag, False)) if isinstance(flag, str) else flag


def entry(config: Any, name: str | int | None, layer: int = 0) -> int | None:
    """A whole number of the config, by name; where the config keeps a list, that of ``layer``."""
    own = getattr(config, "per_layer_config", None)  # layers of some models have configs of their own
    config = own[layer] if isinstance(name, str) and own is not None and layer < len(own) else config
    value = getattr(config, name, None) if isinstance(name, str) else name
    if isinstance(value, (list, tuple)):
        value = value[layer] if layer < len(value) else None
    return int(value) if value is not None else None
