"""A row as a vector: what a part wrote, a head's dot product worked out, and what it says of every token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.parts.outlet import outlet_of
from ...saes.cards import unembedded
from ...words.components import Component
from ...words.errors import ComponentError
from ..reading.point import ReadPoint
from .heads import attention_direction
from .results import Worked, Writes

if TYPE_CHECKING:
    from ...model.run import Run
    from ..attribution.attribution import Attribution


@torch.no_grad()
def worked(a: Attribution, head: Component) -> Worked:
    """See :meth:`Attribution.worked`."""
    model, layer, index = a.model, head.layer or 0, head.index or 0
    d = model.geometry[layer].d_head
    rows = slice(index * d, (index + 1) * d)
    z = a.run.record.z[layer][a.reading.position, rows].float()
    weight = model.out(layer).rows(rows.start, rows.stop)
    written, u = z @ weight, attention_direction(a, layer)
    return Worked(
        head,
        a.target.words(model, a.run),
        z.cpu(),
        weight.cpu(),
        written.cpu(),
        u.cpu(),
        (written * u).cpu(),
        a[head],
        a.unit,
    )


def written_vector(run: Run, which: Component, at: int) -> Float[Tensor, "d_model"]:
    """What ``which`` added to the stream at position ``at``, its post-norm frozen, float32.

    Raises:
        ComponentError: the row is a correction (rounding, soft cap, a score's bias) and writes nothing.
    """
    model, rec = run.model, run.record
    layer = which.layer or 0
    if which.kind == "embed":
        return (rec.streams[0] if rec.embed is None else rec.embed)[at].float()
    if which.kind == "pos" and rec.pos is not None:
        return rec.pos[at].float()
    if which.kind == "mlp":
        return rec.mlp_write[layer][at].float()
    if which.kind == "attn":
        return rec.attn_write[layer][at].float()
    if which.kind == "layer":
        return rec.streams[layer + 1][at].float() - rec.streams[layer][at].float()
    if which.kind in ("head", "attn.bias"):
        projection = model.out(layer)
        if which.kind == "head":
            d = model.geometry[layer].d_head
            rows = slice((which.index or 0) * d, ((which.index or 0) + 1) * d)
            out = rec.z[layer][at, rows].float() @ projection.rows(rows.start, rows.stop)
        else:
            out = torch.zeros(model.d_model, device=model.home) if projection.bias is None else projection.bias
        write = outlet_of(model, "attn", layer)
        out = write.push(out) * write.scale(rec.attn_out[layer][at : at + 1])
        return out + write.bias if which.kind == "attn.bias" and write.bias is not None else out
    raise ComponentError(f"{which} writes no vector to the stream.", "Choose a head, an MLP or the embedding.")


@torch.no_grad()
def writes(a: Attribution, which: Component, k: int = 8) -> Writes:
    """See :meth:`Attribution.writes`."""
    a.run.check_fresh()
    model = a.model
    norm = model.norm(model.anatomy.final_norm)
    if which.kind == "norm.bias" and a.reading.point == ReadPoint(model.n_layers):
        normed = norm.bias
    else:
        x = a.run.record.streams[-1][a.reading.position]
        normed = norm.push(written_vector(a.run, which, a.reading.position)) * norm.scale(x)
    logits = unembedded(model, normed)
    k = min(k, len(logits))

    def named(order: Tensor) -> list[tuple[str, int, float]]:
        return [(model.token(i), i, float(logits[i])) for i in order.tolist()]

    return Writes(which, named(logits.topk(k).indices), named((-logits).topk(k).indices), logits)
