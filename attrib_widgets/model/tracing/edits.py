"""What an intervention is to the sweep engine: tensors put in their places, or added there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...words.errors import ComponentError
from ..parts.streams import one_stream
from .ports import WRITE, mixes_before, place

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

    With ``adds`` the value is added to what the place holds by then, behind whatever is put there: what stands upstream
    of it goes on as it will, and edits of several layers combine. Any number may be added at one place.
    """

    site: Site
    layer: int
    positions: tuple[int, ...]
    value: Float[Tensor, "position width"]
    head: int | None = None
    adds: bool = False

    def __post_init__(self) -> None:
        site, layer = place(self.site, self.layer)
        if self.adds and site == WRITE:
            raise ComponentError("Nothing is added to what a layer as a whole writes.", 'Add to the stream: "post".')
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
            kept.append(replace(w, positions=tuple(w.positions[i] for i in index), value=w.value[index]))
    return [w for w in kept if w.positions]


def refuse_narrow(model: Model, writes: Iterable[Edit]) -> None:
    """What is put in front of a layer is all that the layer reads.

    Raises:
        GranularityError: it is one stream, of a model that carries several.
    """
    for w in writes:
        if w.site == "pre" and w.layer < model.n_layers and w.value.shape[-1] != model.n_streams * model.d_model:
            one_stream(model, "a direction of one is no direction of what a layer reads")


class Placed(NamedTuple):
    """All writes of a pass at one place, an entry for each position of each: row 0 is the run as it is."""

    row: Int[Tensor, "entry"]
    position: Int[Tensor, "entry"]
    head: Int[Tensor, "entry"]
    value: Float[Tensor, "entry width"]
    adds: Bool[Tensor, "entry"] | None
    """Which are added rather than put; None where none is."""

    def to(self, device: torch.device) -> Placed:
        """The same on another device."""
        return Placed(*(None if t is None else t.to(device) for t in self))  # type: ignore[arg-type]

    def into(self, x: Tensor, *index: Int[Tensor, "entry"]) -> None:
        """Written into ``x``, of the same device, in place; ``index`` is where, a tensor for each dimension."""
        value = self.value.to(x.dtype)
        if self.adds is None:
            x[index] = value
            return
        put = ~self.adds
        x[tuple(i[put] for i in index)] = value[put]
        x.index_put_(tuple(i[self.adds] for i in index), value[self.adds], accumulate=True)


Edits: TypeAlias = "dict[tuple[str, int], Placed]"


def edited(tensor: Tensor, edit: Placed, n_heads: int = 1) -> Tensor:
    """What passes a port with one row per prompt (flattened or not), with one row's writes in it."""
    heads = tensor.reshape(-1, n_heads, tensor.shape[-1] // n_heads).clone()
    edit = edit.to(heads.device)
    edit.into(heads, edit.position, edit.head)
    return heads.reshape(tensor.shape)


def rewritten(
    behind: Float[Tensor, "*row position d_model"], before: Float[Tensor, "*row position d_model"], edit: Placed
) -> Tensor:
    """The stream behind a layer, with one row's writes in place of what the layer added to the stream ``before`` it."""
    rows = behind.reshape(-1, behind.shape[-1]).clone()
    position, value = edit.position.to(rows.device), edit.value.to(rows.device)
    start = before.reshape(-1, before.shape[-1]).to(rows.device)[position]
    rows[position] = (start.double() + value.double()).to(rows.dtype)
    return rows.reshape(behind.shape)


def flattened(rows: Sequence[list[Edit]], start: int, device: torch.device) -> Edits:
    """Writes by (site, layer), for one indexed assignment each."""
    found: dict[tuple[str, int], list[tuple[int, Edit]]] = {}
    for number, writes in enumerate(rows):
        for w in writes:
            found.setdefault((w.site, w.layer), []).append((number + 1, w))
    out: Edits = {}
    for where, entries in found.items():
        table = [(n, p - start, w.head or 0) for n, w in entries for p in w.positions]
        index = torch.tensor(table, device=device).T
        adds = torch.tensor([w.adds for _, w in entries for _ in w.positions], device=device)
        value = torch.cat([w.value.to(device) for _, w in entries])
        out[where] = Placed(index[0], index[1], index[2], value, adds if bool(adds.any()) else None)
    return out
