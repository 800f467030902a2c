"""What a training run of SAELens keeps beside a checkpoint: by what it changes activations before the dictionary reads
them. It folds that into the weights when it ends; in a checkpoint from before it is still to be done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ....words.errors import AttribError
from ...sae import SAE
from ..files import AGAIN, APART, needed, positive, settings, stored, tensors

#: Of version 6, and of those before it.
SCALER, STORE = "activation_scaler.json", "activations_store_state.safetensors"
WHITENING = "activation_whitening.safetensors"
_FACTOR = "estimated_norm_scaling_factor"


def scale_beside(folder: Path) -> float | None:
    """The number that activations were multiplied by; None where no file of the folder says it.

    Raises:
        AttribError: a broken file, or something else than a positive number.
    """
    file = folder / SCALER
    if file.is_file() and (said := settings(file)).get("scaling_factor") is not None:
        return positive(said, "scaling_factor", file)
    file = folder / STORE
    if file.is_file() and (kept := stored(file, only=_FACTOR).get(_FACTOR)) is not None:
        return positive({_FACTOR: kept.item() if kept.numel() == 1 else kept.tolist()}, _FACTOR, file)
    return None


def unwhitened(sae: SAE, folder: Path) -> SAE:
    """For the activations of the model, of a dictionary of ``z = (x - mean) @ matrix``, whose output ``z`` is mapped
    back by ``z @ inverse_matrix + mean`` (arXiv 2511.13981, as SAELens has it).

    Raises:
        AttribError: a broken file, or a matrix of another width.
    """
    file = folder / WHITENING
    t = tensors(file)
    needed(t, {"mean", "matrix", "inverse_matrix"}, file)
    mean, matrix, inverse = (t[name].double() for name in ("mean", "matrix", "inverse_matrix"))
    d = sae.d_in
    if mean.shape != (d,) or matrix.shape != (d, d) or inverse.shape != (d, d):
        raise AttribError(f"{file} is for {len(mean)} numbers, and the dictionary reads {d}.", APART)
    if float((matrix @ inverse - torch.eye(d, dtype=matrix.dtype)).abs().max()) > 1e-2:
        raise AttribError(f"The two matrices in {file} do not undo each other.", AGAIN)
    w_enc, w_dec, b_enc, b_dec = (t.double() for t in (sae.w_enc, sae.w_dec, sae.b_enc, sae.b_dec))
    if sae.subtract:
        b_enc = b_enc - b_dec @ w_enc
    w_enc = matrix @ w_enc
    b_enc, w_dec, b_dec = b_enc - mean @ w_enc, w_dec @ inverse, b_dec @ inverse + mean
    return replace(sae, subtract=False, w_enc=w_enc, b_enc=b_enc, w_dec=w_dec, b_dec=b_dec)  # in float32 again
