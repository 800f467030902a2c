"""Scalings that a file asks for, folded into the weights: the same dictionary without them."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from ..sae import SAE

#: Rows whose length is within this of 1 are left as they are: what float32 makes of a normed row.
UNIT = 1e-6


def by_decoder_norm(sae: SAE) -> SAE:
    """Pre-activations times the length of their decoder row, and rows of length 1.

    That is how top-k dictionaries choose whose rows may have any length: by what an activation adds, not by its own
    size. Where the rows have length 1 already nothing changes, and nothing is copied.
    """
    norm = sae.w_dec.norm(dim=1)  # [feature]
    if bool(((norm - 1).abs() <= UNIT).all()):
        return sae
    rows = sae.w_dec / norm.where(norm > 0, 1.0)[:, None]  # a row of zeros writes nothing
    return replace(sae, w_enc=sae.w_enc * norm, b_enc=sae.b_enc * norm, w_dec=rows)


def by_scale(sae: SAE, scale: float) -> SAE:
    """For the activations of the model, of a dictionary that was trained on ``scale`` times them.

    Its own activations stay the same, and what it writes is divided by ``scale``; where an encoder is a function, of
    the very rows that are written, these stay and activations are divided.
    """
    if (encoder := sae.encoder) is not None:
        return replace(sae, encoder=lambda x: encoder(x * scale) / scale, b_dec=sae.b_dec / scale)
    return replace(sae, w_enc=sae.w_enc * scale, w_dec=sae.w_dec / scale, b_dec=sae.b_dec / scale)


def gated(
    w_enc: Float[Tensor, "d_in feature"],
    r_mag: Float[Tensor, "feature"],
    b_gate: Float[Tensor, "feature"],
    b_mag: Float[Tensor, "feature"],
) -> tuple[Float[Tensor, "d_in feature"], Float[Tensor, "feature"], Float[Tensor, "feature"]]:
    """(w_enc, b_enc, threshold) of the jumprelu dictionary that a gated one comes to (Rajamanoharan et al. 2024).

    A feature is let through where ``p + b_gate > 0`` and is then ``relu(exp(r_mag) p + b_mag)``, with
    ``p = x @ w_enc``: as much as ``exp(r_mag) p + b_mag > b_mag - exp(r_mag) b_gate``.
    """
    gain = r_mag.exp()
    return w_enc * gain, b_mag, b_mag - gain * b_gate
