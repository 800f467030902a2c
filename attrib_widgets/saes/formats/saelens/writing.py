"""Dictionaries written as SAELens 6 writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ....words.errors import AttribError
from ....words.places import PlaceLike, dictionary_place
from ...sae import SAE
from ..hooks import LENS

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
#: The same norm as SAELens calls it.
NORMALIZE = {"none": "none", "layer_norm": "layer_norm", "rms_norm": "constant_norm_rescale"}


def hook_name(site: PlaceLike) -> str:
    """The name of a place in a SAELens config.

    Raises:
        ComponentError: a place that no dictionary reads.
    """
    found = dictionary_place(site)
    return f"blocks.{found.layer}." + next(
        hook for hook, place in LENS.items() if place == (found.site, "raw") and hook != "hook_mlp_in"
    )


def _named(sae: SAE) -> str:
    """The architecture as SAELens calls it.

    Raises:
        AttribError: it has none such.
    """
    odd = (
        sae.signed
        or sae.units is not None
        or sae.coordinates != "raw"
        or (sae.w_skip is not None and sae.writes is None)
    )
    names = ("standard", "jumprelu") if sae.writes is not None else ("standard", "topk", "jumprelu", "abstopk")
    if odd or sae.architecture not in names:
        raise AttribError(f"SAELens has no format for {sae!r}.", "Keep the files that it was read from.")
    if sae.writes is None:
        return sae.architecture
    before = "" if sae.architecture == "standard" else "jumprelu_"
    return f"{before}{'' if sae.w_skip is None else 'skip_'}transcoder"


def write_sae(sae: SAE, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a dictionary in the format of SAELens 6, its matrices in ``dtype``, its vectors in float32.

    Eight-bit floats are storage only: the file says that it is computed with in float32, which SAELens does.

    Raises:
        AttribError: numbers that ``dtype`` cannot hold, or a form that SAELens has no format for.
    """
    from safetensors.torch import save_file

    config: dict[str, Any] = {
        "architecture": _named(sae),
        "d_in": sae.d_in,
        "d_sae": sae.n_features,
        "dtype": str(dtype if dtype.itemsize > 1 else torch.float32).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": sae.subtract,
        "normalize_activations": NORMALIZE[sae.norm],
        "reshape_activations": "hook_z" if sae.site.site == "z" else "none",
        "metadata": {**sae.metadata, "hook_name": hook_name(sae.site)},
    }
    if sae.writes is not None:
        if sae.subtract:
            raise AttribError(f"SAELens has no format for {sae!r} that subtracts b_dec.", "Keep its files.")
        config |= {"d_out": sae.d_out}
        config["metadata"] |= {"hook_name_out": hook_name(sae.writes)}
    if sae.k is not None:
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    written = {"W_enc": sae.w_enc, "b_enc": sae.b_enc, "W_dec": sae.w_dec, "b_dec": sae.b_dec}
    if sae.threshold is not None:
        written["threshold"] = sae.threshold
    if sae.w_skip is not None:
        written["W_skip"] = sae.w_skip.T
    kept = {name: t.detach().cpu().to(dtype if t.ndim > 1 else torch.float32) for name, t in written.items()}
    if beyond := [name for name, t in written.items() if t.abs().max() > torch.finfo(kept[name].dtype).max]:
        raise AttribError(
            f"{beyond[0]} of the dictionary for {sae.site} has numbers beyond what {dtype} holds.",
            "Write it in torch.float32 or torch.bfloat16.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    save_file({name: t.contiguous() for name, t in kept.items()}, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)
