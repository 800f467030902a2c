"""The only tracing that differentiates: one forward pass with gradients, in as many rows as are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import nnsight
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...words.components import BESIDES
from ...words.errors import AttribError
from ..anatomy.lookup import below, find
from ..identity.belonging import refuse_moved
from . import ports as port
from .ports import PRE, ending, ports
from .record import forward_options

if TYPE_CHECKING:
    from ..model import Model
    from ..run import Run


#: Sites that write to the stream, or are it.
_WRITES = ("pre", "z", "attn", "mlp", *BESIDES, "layer")
NEEDLESS = "aw.patch is exact and needs none; attributions need none either."


@dataclass
class Gradients:
    """What :func:`differentiate` found: the metric of every row, its gradient at every place asked for, and what the
    places to keep held there."""

    values: Float[Tensor, "row"]
    at: dict[tuple[str, int], Float[Tensor, "row position width"]]
    held: dict[tuple[str, int], Float[Tensor, "row position width"]] = field(default_factory=dict)


def differentiate(
    base: Run,
    metric: Callable[[Float[Tensor, "row d_model"]], Float[Tensor, "row"]],
    places: Sequence[tuple[str, int]],
    position: int = -1,
    *,
    starts: Mapping[tuple[str, int], Float[Tensor, "row position d_model"]] | None = None,
    stopped: Sequence[int | None] = (None,),
    keep: Sequence[tuple[str, int]] = (),
    own: bool = False,
) -> Gradients:
    """Run ``base`` with gradients and differentiate ``metric`` of what the final norm reads at ``position``.

    Args:
        places: (site, layer), sites as in :mod:`.ports`: ``"q"``, ``"k"``, ``"v"`` are the outputs of their projections
            (before a norm and the rotation; a fused one's output is the same tensor three times); ``"attn_in"`` and
            ``"mlp_in"`` what the sublayers read, after their norm.
        starts: streams put in before a layer, one row each: ``{("pre", 2): [row, position, d_model]}``.
        stopped: one entry per row where there are no ``starts``: the layer through whose sublayers no gradient
            flows in that row (GradDrop), or None.
        keep: places whose tensors are wanted as well.
        own: the run itself, which is one more row where there are ``starts``, is wanted too: it is the last.

    Weights get no gradient and are left as they are.

    Raises:
        ModelError: the model has changed since the run.
        AttribError: a part of the model lets no gradient pass.
        AttribError: the model runs with flex attention.
    """
    base.check_fresh()
    port.refuse_flex(base.model)
    _refuse_strays(base.model)
    model, root = base.model, base.model.traced
    # Where streams are put in, one more row is the run itself.
    recorded = {where: base.record.at(*port.place(*where))[None] for where in starts or {}}
    given = {port.place(*where): torch.cat([t, recorded[where].to(t)]) for where, t in (starts or {}).items()}
    anatomy = model.anatomy
    asked = [port.place(*where) for where in places]
    kept_too = [port.place(*where) for where in keep]
    wanted, last = {*asked, *kept_too}, (PRE.site, model.n_layers)
    port.require(model, [*asked, *kept_too, *given])
    rows = next((len(t) for t in given.values()), len(stopped))
    count, target = base.n_positions, base.position(position)
    tokens = torch.tensor([base.ids], device=model.device).expand(rows, -1)
    blocks, (final, end) = root.get(anatomy.layers), ending(model)
    cut = {layer: [r for r, at in enumerate(stopped) if at == layer] for layer in stopped if layer is not None}
    with model.quiet(), _passable(model.hf), torch.enable_grad():
        with root.trace(input_ids=tokens, **forward_options(model, None)) as tracer:
            kept = nnsight.save({})
            began: Tensor | None = None  # what the layer before read
            for i, block in enumerate(blocks):
                if i - 1 in cut and not model.check.levels[i - 1].sublayers:
                    PRE.put(block, _held(PRE.get(block), began, cut[i - 1], rows))
                for row in ports(model, i):
                    place = (row.site, i)
                    if place == (PRE.site, 0) or place in given:
                        # A leaf: the weights of the embedding need no gradient, frozen ones give none.
                        entered = row.get(block)
                        row.put(block, _leaf(given.get(place, entered).to(entered.device), model.stream_dtype))
                    if row.site == PRE.site and i in cut:
                        began = row.get(block)
                    if row.site in ("attn", "mlp", *BESIDES) and i in cut and model.check.levels[i].sublayers:
                        row.put(block, _stopped(row.get(block), cut[i], rows))
                    if place not in wanted:
                        continue
                    kept[place] = row.get(block)
                    if row.aside:
                        kept[place] = kept[place].view_as(kept[place])
                        row.put(block, kept[place])
            if last[1] - 1 in cut and not model.check.levels[-1].sublayers:
                end.put(final, _held(end.get(final), began, cut[last[1] - 1], rows))
            if last in given:
                end.put(final, _leaf(given[last], model.stream_dtype))
            kept[last] = end.get(final)
            tracer.stop()
        final_rows = kept[last].reshape(rows, count, -1)[:, target]
        refuse_moved(base, final_rows[-1].detach(), target)
        values = metric(final_rows)
        held = [kept[place] for place in asked]
        blocked = [place for place, h in zip(asked, held, strict=True) if not h.requires_grad]
        blocked += [] if values.requires_grad else [last]
        found: tuple[Tensor | None, ...] = ()
        if not blocked:
            found = torch.autograd.grad(values.sum(), held, allow_unused=True)
    # What a part writes always reaches the end; what it reads may be read by nobody (keys of a shared cache, say).
    blocked += [place for place, g in zip(asked, found, strict=False) if g is None and place[0] in _WRITES]
    if blocked:
        site, layer = blocked[0]
        raise AttribError(
            f"No gradient passes {model.name} from {site} of layer {layer} to its answer: a part behind it runs "
            "without gradients (a hook that detaches, a forward under torch.no_grad).",
            NEEDLESS,
        )
    shaped = [torch.zeros_like(h) if g is None else g for h, g in zip(held, found, strict=True)]
    real = rows - (bool(starts) and not own)  # without the row that is the run itself

    def each(tensor: Tensor) -> Tensor:
        return tensor.detach().reshape(rows, count, -1)[:real].to(model.home)

    return Gradients(
        values.detach().double().cpu()[:real],
        {place: each(g) for place, g in zip(places, shaped, strict=True)},
        {place: each(kept[where]) for place, where in zip(keep, kept_too, strict=True)},
    )


def _refuse_strays(model: Model) -> None:
    """Packed weights whose kernel has no derivative would leave their part out of every gradient, and nothing says so.

    Raises:
        AttribError: the gradient that passes a projection is not its own.
    """
    a = model.anatomy
    paths = [a.attn_out, a.mlp_in, a.mlp_mul, a.mlp_down]
    paths += [below(a.attn, path) for path in (a.qkv.q, a.qkv.k, a.qkv.v)] if a.qkv is not None and a.attn else []
    with model.quiet():
        for layer in range(model.n_layers):
            for path in filter(None, dict.fromkeys(paths)):
                if find(model.layer(layer), path) is None:
                    continue
                found = model.projection(path, layer)
                if not found.passes():
                    raise AttribError(
                        f"The gradient of {model.name} is not that of its numbers: {found.name} ({found.kind}) lets "
                        "none pass, or a part of it alone.",
                        NEEDLESS,
                    )


@contextmanager
def _passable(hf: nn.Module) -> Iterator[None]:
    """Weights made inside ``torch.inference_mode`` as tensors that gradients may pass meanwhile: the same memory."""
    replaced: list[tuple[dict[str, Any], str, Tensor]] = []
    tables: Iterator[dict[str, Any]] = (held for m in hf.modules() for held in (m._parameters, m._buffers))
    for held in tables:
        replaced += [(held, name, t) for name, t in held.items() if t is not None and t.is_inference()]
    try:
        for held, name, tensor in replaced:
            same = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
            same.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.shape, tensor.stride())
            held[name] = nn.Parameter(same, requires_grad=False) if isinstance(tensor, nn.Parameter) else same
        yield
    finally:
        for held, name, tensor in replaced:
            held[name] = tensor


def _leaf(streams: Tensor, dtype: torch.dtype) -> Tensor:
    return streams.detach().to(dtype).clone().requires_grad_(True)


def _held(behind: Tensor, before: Tensor | None, rows: list[int], count: int) -> Tensor:
    """The stream ``behind`` a layer, with no gradient through what the layer added in some of its ``count`` rows."""
    assert before is not None
    shaped, start = (x.reshape(count, -1, x.shape[-1]) for x in (behind, before))
    constant = shaped.detach() + (start - start.detach())  # nothing is added to the numbers
    return torch.where(_only(rows, count, shaped), constant, shaped).reshape(behind.shape)


def _stopped(tensor: Tensor, rows: list[int], count: int) -> Tensor:
    """``tensor`` without a gradient in some of its ``count`` rows."""
    shaped = tensor.reshape(count, -1, tensor.shape[-1])
    return torch.where(_only(rows, count, shaped), shaped.detach(), shaped).reshape(tensor.shape)


def _only(rows: list[int], count: int, like: Tensor) -> Tensor:
    mask = torch.zeros(count, 1, 1, dtype=torch.bool, device=like.device)
    mask[rows] = True
    return mask
