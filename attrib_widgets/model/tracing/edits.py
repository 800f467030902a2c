"""What an intervention is to the sweep engine: tensors put in their places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from .ports import mixes_before, place

if TYPE_CHECKING:
    from ..model import Model

#: A site of :mod:`.ports`; one that cannot be written is refused when the model is known.
Site: TypeAlias = str


@dataclass(frozen=True, eq=False)
class Edit:
    """One tensor put in its place: at ``positions``, what ``site`` of ``layer`` holds becomes ``value``.

    Sites are those of :mod:`.ports`: ``"pre"`` (also ``"stream"``) is what the layer reads (layer ``n_layers``: what
    the final norm reads), ``"mid"`` the stream between attention and MLP, ``"attn_in"`` and ``"mlp_in"`` what the
    sublayers read and ``"attn"`` and ``"mlp"`` what they give (before a post-norm), ``"beside"`` what a third part
    gives, ``"z"`` what the output projection reads, of one ``head``, ``"neuron"`` what the down-projection reads;
    ``"layer"`` is what the layer as a whole adds to the stream that it reads by then.
    """

    site: Site
    layer: int
    positions: tuple[int, ...]
    value: Float[Tensor, "position width"]
    head: int | None = None

    def __post_init__(self) -> None:
        site, layer = place(self.site, self.layer)
        object.__setattr__(self, "site", site)
        object.__setattr__(self, "layer", layer)


Intervention: TypeAlias = Sequence[Edit]


def relevant(model: Model, writes: Intervention, target: int) -> list[Edit]:
    """The writes that can reach the target position: in the last layer, those at it; nothing after it, unless the model
    looks ahead."""
    kept, ahead = [], not model.check.causal
    for w in writes:
        late = w.layer >= model.n_layers or (w.layer == model.n_layers - 1 and not mixes_before(w.site))
        index = [i for i, p in enumerate(w.positions) if (p == target if late else ahead or p <= target)]
        if len(index) == len(w.positions):
            kept.append(w)
        elif index:
            kept.append(Edit(w.site, w.layer, tuple(w.positions[i] for i in index), w.value[index], w.head))
    return [w for w in kept if w.positions]


Edits: TypeAlias = "dict[tuple[str, int], tuple[Tensor, Tensor, Tensor, Tensor]]"


def edited(tensor: Tensor, edit: tuple[Tensor, Tensor, Tensor, Tensor], n_heads: int = 1) -> Tensor:
    """What passes a port with one row per prompt (flattened or not), with one row's writes in it."""
    _, position, head, value = edit
    heads = tensor.reshape(-1, n_heads, tensor.shape[-1] // n_heads).clone()
    position, head, value = (t.to(heads.device) for t in (position, head, value))
    heads[position, head] = value.to(heads.dtype)
    return heads.reshape(tensor.shape)


def rewritten(
    behind: Float[Tensor, "*row position d_model"],
    before: Float[Tensor, "*row position d_model"],
    edit: tuple[Tensor, Tensor, Tensor, Tensor],
) -> Tensor:
    """The stream behind a layer, with one row's writes in place of what the layer added to the stream ``before`` it."""
    _, position, _, value = edit
    rows = behind.reshape(-1, behind.shape[-1]).clone()
    position, value = position.to(rows.device), value.to(rows.device)
    start = before.reshape(-1, before.shape[-1]).to(rows.device)[position]
    rows[position] = (start.double() + value.double()).to(rows.dtype)
    return rows.reshape(behind.shape)


def flattened(rows: Sequence[list[Edit]], start: int, device: torch.device) -> Edits:
    """Writes by (site, layer), as (row, position, head, value) for one indexed assignment each."""
    found: dict[tuple[str, int], list[tuple[int, Edit]]] = {}
    for number, writes in enumerate(rows):
        for w in writes:
            found.setdefault((w.site, w.layer), []).append((number + 1, w))
    out: Edits = {}
    for where, entries in found.items():
        table = [(n, p - start, w.head or 0) for n, w in entries for p in w.positions]
        index = torch.tensor(table, device=device).T
        out[where] = (index[0], index[1], index[2], torch.cat([w.value.to(device) for _, w in entries]))
    return out
