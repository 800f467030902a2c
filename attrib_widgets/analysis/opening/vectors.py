"""A row as a vector: what a part wrote, its dot product worked out, and what it says of every token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.parts.experts import mixture
from ...model.parts.neurons import neurons_at
from ...model.parts.outlet import outlet_of
from ...saes.cards import unembedded
from ...words.components import BESIDES, Component
from ...words.errors import ComponentError
from ..reading.point import ReadPoint
from ..reading.ways import PARTS, passage_to
from .heads import head_rows
from .results import Worked, Writes

if TYPE_CHECKING:
    from ...model.run import Run
    from ..attribution.attribution import Attribution


@torch.no_grad()
def worked(a: Attribution, part: Component) -> Worked:
    """See :meth:`Attribution.worked`."""
    a.run.check_fresh()
    model, reading, at = a.model, a.reading, a.reading.position
    norm, target = reading.norm, a.target.words(model, a.run)
    if part.kind == "norm.bias":  # it comes behind the division
        return Worked(part, target, norm.bias.cpu(), 1.0, reading.direction.cpu(), a[part], a.unit)
    if part.kind == "expert":
        value = a.experts(part.layer or 0)[str(part)]
        written = _expert_vector(a.run, part, at)
    else:
        value, written = a[part], written_vector(a.run, part, at, reading.point)
    divisor = float(norm.scale(reading.point.stream(a.run.record)[at]).reciprocal())
    found = Worked(part, target, written.cpu(), divisor, norm.pull(reading.direction).cpu(), value, a.unit)
    if not norm.nothing:
        final = reading.point == ReadPoint(model.n_layers) and not a.target.inner
        found.divided_by = "the final norm" if final else "the norm in front of it"
    if part.kind == "head":
        layer, rows = part.layer or 0, head_rows(model, part)
        found.z = a.run.record.z[layer][at, rows].float().cpu()
        found.weight = model.out(layer).rows(rows.start, rows.stop).cpu()
        found.plain = outlet_of(model, "attn", layer).plain
    return found


def _expert_vector(run: Run, which: Component, at: int) -> Float[Tensor, "d_model"]:
    """What one expert of a mixture, weighted by the router, added to the stream."""
    layer = which.layer or 0
    found = mixture(run.model, run.record, layer, slice(at, at + 1))
    part = found.parts[0][found.indices[0].tolist().index(which.index or 0)].float()
    write = outlet_of(run.model, "mlp", layer)
    return write.push(part) * write.scale(run.record.mlp_out[layer][at : at + 1])


def written_vector(run: Run, which: Component, at: int, until: ReadPoint | None = None) -> Float[Tensor, "d_model"]:
    """What ``which`` added to the stream at position ``at``, its post-norm frozen, float32, as it arrives at ``until``
    (None: at the final norm).

    Raises:
        ComponentError: the row is a correction (rounding, soft cap, a score's bias) and writes nothing.
    """
    until = ReadPoint(run.model.n_layers) if until is None else until
    start, part = (which.layer or 0) + (which.kind == "layer"), PARTS.get(which.kind, "pre")
    if run.model.n_streams == 1:
        return _written(run, which, at) * run.model.carried(start, until.layer, part, until.mid)
    passage, rec = passage_to(run, until, [at]), run.record
    if which.kind in ("embed", "layer"):
        state = rec.states[start][at].double() - (rec.states[start - 1][at].double() if start else 0)
        return passage.standing(start, state[None])[0]
    written = _written(run, which, at)
    return passage.arrived(passage.of(start, part)[0], written)


def _written(run: Run, which: Component, at: int) -> Float[Tensor, "d_model"]:
    model, rec = run.model, run.record
    layer = which.layer or 0
    if which.kind == "embed":
        return (rec.streams[0] if rec.embed is None else rec.embed)[at].float()
    if which.kind == "pos" and rec.pos is not None:
        return rec.pos[at].float()
    if which.kind == "mlp":
        return rec.mlp_write[layer][at].float()
    if which.kind == "neuron":
        number, acts = which.index or 0, neurons_at(run, [layer], at)[layer].float()
        write = outlet_of(model, "mlp", layer)
        out = write.push(acts[number] * model.down(layer).rows(number, number + 1)[0])
        return out * write.scale(rec.mlp_out[layer][at : at + 1])
    if which.kind == "attn":
        return rec.attn_write[layer][at].float()
    if which.kind in BESIDES:
        written: list[Tensor] = getattr(rec, f"{which.kind}_write")
        return written[layer][at].float()
    if which.kind == "layer":
        return rec.wrote(layer)[at].float()
    if which.kind in ("head", "attn.bias"):
        projection = model.out(layer)
        if which.kind == "head":
            rows = head_rows(model, which)
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
