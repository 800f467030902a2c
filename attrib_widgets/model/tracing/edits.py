"""What an intervention is to the sweep engine: tensors put in their places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from ..model import Model

Site: TypeAlias = Literal["stream", "z", "attn", "mlp"]


@dataclass(frozen=True, eq=False)
class Edit:
    """One tensor put in its place: at ``positions``, what ``site`` of ``layer`` holds becomes ``value``.

    ``"stream"`` is what the layer reads (layer ``n_layers``: what the final norm reads), ``"attn"`` and ``"mlp"`` are
    the outputs of the sublayers (before a post-norm), ``"z"`` what the output projection reads, of one ``head``.
    """

    site: Site
    layer: int
    positions: tuple[int, ...]
    value: Float[Tensor, "position width"]
    head: int | None = None


Intervention: TypeAlias = Sequence[Edit]


def relevant(model: Model, writes: Intervention, target: int) -> list[Edit]:
    """The writes that can reach the target position: in the last layer, those at it; nothing after it."""
    kept = []
    for w in writes:
        late = w.layer >= model.n_layers or (w.layer == model.n_layers - 1 and w.site != "stream")
        index = [i for i, p in enumerate(w.positions) if (p == target if late else p <= target)]
        if len(index) == len(w.positions):
            kept.append(w)
        elif index:
            kept.append(Edit(w.site, w.layer, tuple(w.positions[i] for i in index), w.value[index], w.head))
    return [w for w in kept if w.positions]


Edits: TypeAlias = "dict[tuple[str, int], tuple[Tensor, Tensor, Tensor, Tensor]]"


def edited(x: Any, edit: tuple[Tensor, Tensor, Tensor, Tensor], n_heads: int = 1) -> Any:
    """``x``, a module's input or output with one row per prompt (flattened or not), with one row's writes in it."""
    tensor = x[0] if isinstance(x, tuple) else x
    _, position, head, value = edit
    heads = tensor.reshape(-1, n_heads, tensor.shape[-1] // n_heads).clone()
    position, head, value = (t.to(heads.device) for t in (position, head, value))
    heads[position, head] = value.to(heads.dtype)
    changed = heads.reshape(tensor.shape)
    return (changed, *x[1:]) if isinstance(x, tuple) else changed


def flattened(rows: Sequence[list[Edit]], start: int, device: torch.device) -> Edits:
    """Writes by (site, layer), as (row, position, head, value) for one indexed assignment each."""
    found: dict[tuple[str, int], list[tuple[int, Edit]]] = {}
    for number, writes in enumerate(rows):
        for w in writes:
            found.setdefault((w.site, w.layer), []).append((number + 1, w))
    out: Edits = {}
    for place, entries in found.items():
        table = [(n, p - start, w.head or 0) for n, w in entries for p in w.positions]
        index = torch.tensor(table, device=device).T
        out[place] = (index[0], index[1], index[2], torch.cat([w.value.to(device) for _, w in entries]))
    return out
