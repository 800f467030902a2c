"""Dictionaries on disk: the SAELens folder (``cfg.json`` and ``sae_weights.safetensors``), written and read.

Only numpy, torch and safetensors are needed, all of which transformers brings along.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ..words.components import Component, ComponentLike, component
from ..words.errors import AttribError, ComponentError
from .cards import Cards
from .sae import ARCHITECTURES, SAE

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"

# Names of places in the files of SAELens, which follow TransformerLens.
_HOOKS = {"layer": "blocks.{}.hook_resid_post", "mlp": "blocks.{}.hook_mlp_out", "attn": "blocks.{}.attn.hook_z"}


def hook_name(site: Component) -> str:
    """The name of a site in a SAELens config.

    Raises:
        AttribError: a component that no dictionary reads.
    """
    if site.kind not in _HOOKS:
        raise AttribError(
            f"No dictionary reads {site}.",
            "It is for a stream (L2), an MLP (L2.mlp) or the heads of a layer (L2.attn).",
        )
    return _HOOKS[site.kind].format(site.layer)


def site_of(hook: str) -> Component:
    """The site of a SAELens hook name.

    Raises:
        AttribError: a place that is not read here.
    """
    for kind, form in _HOOKS.items():
        found = re.fullmatch(re.escape(form).replace(r"\{\}", r"(\d+)"), hook)
        if found:
            return Component(kind, int(found[1]))
    known = ", ".join(form.format("L") for form in _HOOKS.values())
    raise AttribError(f"A dictionary of {hook!r} cannot be read here.", f"The places are {known}.")


def write_sae(sae: SAE, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a dictionary in the format of SAELens 6, its matrices in ``dtype``, its vectors in float32.

    Eight-bit floats are storage only: the file says that it is computed with in float32, which SAELens does.
    """
    from safetensors.torch import save_file

    hook = hook_name(sae.site)
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "architecture": sae.architecture,
        "d_in": sae.d_in,
        "d_sae": sae.n_features,
        "dtype": str(dtype if dtype.itemsize > 1 else torch.float32).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": sae.subtract,
        "normalize_activations": "none",
        "reshape_activations": "hook_z" if sae.site.kind == "attn" else "none",
        "metadata": {**sae.metadata, "hook_name": hook},
    }
    if sae.architecture == "topk":
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    tensors = {"W_enc": sae.w_enc, "b_enc": sae.b_enc, "W_dec": sae.w_dec, "b_dec": sae.b_dec}
    if sae.threshold is not None:
        tensors["threshold"] = sae.threshold
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    kept = {name: t.detach().cpu().to(dtype if t.ndim > 1 else torch.float32) for name, t in tensors.items()}
    save_file({name: t.contiguous() for name, t in kept.items()}, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)


def read_sae(folder: Path | str) -> SAE:
    """Read a dictionary that SAELens 6, or :func:`write_sae`, has written.

    Raises:
        AttribError: no such folder, files that are broken or contradict each other, or an architecture, a scaling or
            a place that is not read here.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise AttribError(f"{folder} is not a SAELens folder.", f"It holds {CONFIG} and {WEIGHTS}.")
    config = _config(folder)
    name = config.get("architecture")
    if name not in ARCHITECTURES:
        raise AttribError(f"{folder} has architecture {name!r}, which is not read here.", f"Read are {ARCHITECTURES}.")
    scales = ("normalize_activations", "rescale_acts_by_decoder_norm")
    if scaled := [key for key in scales if config.get(key) not in (None, False, "none")]:
        raise AttribError(
            f"{folder} has {scaled[0]} = {config[scaled[0]]!r}, which is not read here.",
            "Fold the scaling into the weights first, as SAELens can.",
        )
    metadata = dict(config.get("metadata", {}))
    # Older files say it at the top.
    hook = metadata.get("hook_name") or config.get("hook_name")
    if not hook:
        raise AttribError(f"{folder / CONFIG} does not say where the dictionary reads.", "It needs metadata.hook_name.")
    site, weights = site_of(str(hook)), _weights(folder, name)
    sae = SAE(
        site,
        name,
        weights["W_enc"],
        weights["b_enc"],
        weights["W_dec"],
        weights["b_dec"],
        k=config.get("k"),
        threshold=weights.get("threshold"),
        subtract=bool(config.get("apply_b_dec_to_input", True)),
        metadata=metadata,
    )
    for key, size in (("d_in", sae.d_in), ("d_sae", sae.n_features)):
        if config.get(key, size) != size:
            raise AttribError(
                f"{folder / CONFIG} says {key} = {config[key]}, and W_enc in {WEIGHTS} has {size}.",
                "The two files do not belong together: take both from one dictionary.",
            )
    return sae


def _config(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as reason:
        raise AttribError(f"{folder / CONFIG} is no JSON: {reason}.", "Write or fetch it again.") from reason
    if not isinstance(found, dict):
        raise AttribError(f"{folder / CONFIG} holds a {type(found).__name__}, not settings by name.")
    return found


def _weights(folder: Path, architecture: str) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = {key: value.float() for key, value in load_file(folder / WEIGHTS).items()}
    except SafetensorError as reason:
        raise AttribError(f"{folder / WEIGHTS} cannot be read: {reason}.", "Write or fetch it again.") from reason
    needed = {"W_enc", "b_enc", "W_dec", "b_dec"} | ({"threshold"} if architecture == "jumprelu" else set())
    if missing := sorted(needed - set(found)):
        raise AttribError(f"{folder / WEIGHTS} lacks {', '.join(missing)}.", f"It has {', '.join(sorted(found))}.")
    return found


class Dictionaries(Mapping[str, SAE]):
    """The dictionaries of a folder, one sub-folder per site (``"L2.mlp"``), each read when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, SAE] = {}
        self._cards: dict[str, Cards | None] = {}

    def __getitem__(self, site: ComponentLike) -> SAE:
        try:
            name = str(component(site))
        except ComponentError:
            name = str(site)
        if name not in self._read:
            if name not in list(self):
                raise KeyError(f"No dictionary for {name}; there are {', '.join(self) or 'none'}.")
            self._read[name] = read_sae(self.folder / name)
        return self._read[name]

    def cards(self, site: ComponentLike) -> Cards | None:
        """What the features of a dictionary fire on, where that was computed; kept."""
        name = str(component(site))
        if name not in self._cards:
            self._cards[name] = Cards.read(self.folder / name)
        return self._cards[name]

    def __iter__(self) -> Iterator[str]:
        entries = self.folder.iterdir() if self.folder.is_dir() else ()
        found = [_named(entry.name) for entry in entries if (entry / CONFIG).is_file()]
        order = list(reversed(_HOOKS))
        sites = sorted((site for site in found if site), key=lambda site: (site.layer, order.index(site.kind)))
        return iter([str(site) for site in sites])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Dictionaries for {', '.join(self)}"


def _named(folder: str) -> Component | None:
    """The site that a folder is named after; None for any other folder."""
    try:
        found = component(folder)
    except ComponentError:
        return None
    return found if found.kind in _HOOKS and str(found) == folder else None
