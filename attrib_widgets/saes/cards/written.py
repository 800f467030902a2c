"""What a feature writes: its direct effect on every logit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.parts.outlet import outlet_of
from ..sae import SAE

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.network import Network

#: Columns of the unembedding that are read at once.
PIECE = 16384


@torch.no_grad()
def written_logits(model: Model, sae: SAE, feature: int, head: int | None = None) -> Float[Tensor, "vocab"]:
    """What one unit of a feature adds to every logit directly, before the scales of the norms that it passes.

    A feature of the heads' outputs writes through ``head`` alone, or through all heads of its layer.
    """
    row = written_direction(model, sae, feature, head)
    return unembedded(model, model.norm(model.anatomy.final_norm).push(row))


@torch.no_grad()
def written_direction(model: Model, sae: SAE, feature: int, head: int | None = None) -> Float[Tensor, "d_model"]:
    """What one unit of a feature adds to the stream as it arrives at the final norm, before the scale of a norm behind
    the sublayer; through ``head`` alone, or through all heads of its layer."""
    row, layer = sae.w_dec[feature].to(model.home), sae.target.layer or 0
    if sae.target.site == "z":
        d = model.geometry[layer].d_head
        rows = slice(None) if head is None else slice(head * d, (head + 1) * d)
        row = outlet_of(model, "attn", layer).push(row[rows] @ model.out(layer).rows(*rows.indices(len(row))[:2]))
    elif sae.target.site in ("mlp", "attn_out"):  # read behind the sublayer's own norm and before the multiplier
        row = outlet_of(model, "mlp" if sae.target.site == "mlp" else "attn", layer).scaled(row)
    part = {"z": "attn", "attn_out": "attn", "mid": "attn", "mlp": "mlp"}.get(sae.target.site, "pre")
    return row * model.carried(layer + (sae.target.site == "post"), model.n_layers, part)


def unembedded(model: Network, normed: Float[Tensor, "d_model"]) -> Float[Tensor, "vocab"]:
    """A vector behind the final norm as logits, float32 on the CPU, without the unembedding's bias and soft cap.

    A piece of the vocabulary at a time: in half precision the whole matrix would be copied to float32 for one vector.
    """
    if not model.unembedding.plain:
        return model.unembedding.apply(normed).cpu() * model.logit_scale
    weight = model.unembed_weight
    pieces = [normed @ weight[:, start : start + PIECE].float() for start in range(0, weight.shape[1], PIECE)]
    return torch.cat(pieces).cpu() * model.logit_scale
