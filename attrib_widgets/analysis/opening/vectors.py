"""Opening a row: neurons of an MLP, a head's dot product worked out, and what a component writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.anatomy.rounding import projection_error, refuse_above
from ...model.parts.outlet import outlet_of
from ...model.tracing.record import record_neurons
from ...result import signed
from ...words.components import Component
from ...words.errors import ComponentError, GranularityError
from ..reading.point import ReadPoint
from .heads import attention_direction, stream_direction
from .results import Contributions, Worked, Writes

if TYPE_CHECKING:
    from ..attribution.attribution import Attribution


@torch.no_grad()
def neurons(a: Attribution, layer: int) -> Contributions:
    """See :meth:`Attribution.neurons`."""
    return neurons_of(a, [layer])[layer]


@torch.no_grad()
def neurons_of(a: Attribution, layers: Sequence[int]) -> dict[int, Contributions]:
    """Neuron contributions of several MLPs from one forward pass."""
    for layer in layers:
        a.model.down_weight(layer)  # refuses an MLP without a down-projection before anything runs
    acts = record_neurons(a.model, a.run.ids, layers, [a.reading.position])
    return {layer: _neurons(a, layer, acts[layer][0].float()) for layer in layers}


def _neurons(a: Attribution, layer: int, acts: Float[Tensor, "neuron"]) -> Contributions:
    model, rec, at = a.model, a.run.record, a.reading.position
    weight, bias = model.down_weight(layer)
    if weight.shape != (len(acts), model.d_model):
        raise GranularityError(
            f"{model.anatomy.mlp_down} of layer {layer} is not a projection of neurons to the stream.",
            "Pass anatomy={'mlp_down': ...} with its down-projection.",
        )
    v, out = stream_direction(a), rec.mlp_out[layer][at : at + 1]
    write = outlet_of(model, "mlp", layer)
    u, constant = write.pull(v) * write.scale(out)[0], write.constant(v[None])
    values = (acts * (weight @ u)).tolist()
    labels = [f"L{layer}N{n}" for n in range(len(acts))]
    kinds = ["neuron"] * len(acts)
    fixed = float(constant[0]) + (0.0 if bias is None else float(bias @ u))
    if bias is not None or fixed:
        labels.append(f"L{layer}.mlp.bias")
        kinds.append("bias")
        values.append(fixed)
    missed, bound = projection_error(acts[None], weight, bias, out, weight.norm(dim=0))
    refuse_above(missed, bound, f"the neurons of layer {layer} do not add up to its MLP")
    rounding = float(missed[0] @ u.double())
    if not write.plain:
        missed, bound = write.error(out, rec.mlp_write[layer][at : at + 1])
        refuse_above(missed, bound, f"what the MLP of layer {layer} adds is not what was recorded")
        rounding += float(missed[0] @ v.double())
    labels.append("rounding")
    kinds.append("rounding")
    values.append(rounding)
    part = torch.tensor(values).float()
    best = int(part[: len(acts)].abs().argmax())
    return Contributions(
        f"L{layer}.mlp by neuron: {labels[best]} leads with {signed(float(part[best]))}",
        labels,
        kinds,
        part,
        f"L{layer}.mlp",
        a[Component("mlp", layer)],
        a.unit,
        axis="neuron",
    )


@torch.no_grad()
def worked(a: Attribution, head: Component) -> Worked:
    """See :meth:`Attribution.worked`."""
    model, layer, index = a.model, head.layer or 0, head.index or 0
    d = model.geometry[layer].d_head
    rows = slice(index * d, (index + 1) * d)
    z = a.run.record.z[layer][a.reading.position, rows].float()
    weight = model.out_weight(layer)[0][rows]
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


def written_vector(a: Attribution, which: Component) -> Float[Tensor, "d_model"]:
    """What ``which`` added to the stream at the attribution's position, float32.

    Raises:
        ComponentError: the row is a correction (rounding, soft cap, a score's bias) and writes nothing.
    """
    model, rec, at = a.model, a.run.record, a.reading.position
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
        weight, bias = model.out_weight(layer)
        if which.kind == "head":
            d = model.geometry[layer].d_head
            rows = slice((which.index or 0) * d, ((which.index or 0) + 1) * d)
            out = rec.z[layer][at, rows].float() @ weight[rows]
        else:
            out = torch.zeros(model.d_model, device=weight.device) if bias is None else bias
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
        normed = norm.push(written_vector(a, which)) * norm.scale(x)
    weight = model.unembed_weight
    parts = [normed @ weight[:, start : start + 16384].float() for start in range(0, weight.shape[1], 16384)]
    logits = torch.cat(parts).cpu() * model.logit_scale
    k = min(k, len(logits))

    def named(order: Tensor) -> list[tuple[str, int, float]]:
        return [(model.token(i), i, float(logits[i])) for i in order.tolist()]

    return Writes(which, named(logits.topk(k).indices), named((-logits).topk(k).indices), logits)
