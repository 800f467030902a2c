"""The arithmetic of attribution patching: what replaces a part, less what was there, times the gradient there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.parts.attention import raw_values
from ....model.selfcheck.levels import need
from ....model.tracing.gradient import Gradients
from ....words.places import Place
from ..cells.cells import MIXED_SITES, Cell
from ..cells.donors import RunDonor, held
from ..measuring.metrics import Metric
from ..measuring.pairs import Cost
from .slopes import Way, averaged, partway, slopes

if TYPE_CHECKING:
    from ....model.run import Run


def estimates(
    donor: RunDonor, cells: Sequence[Cell], metric: Metric, position: int, way: Way, cost: Cost
) -> tuple[Float[Tensor, "cell"], float | None]:
    """The estimated change of the metric in every cell of one pair, and what the inputs alone account for."""
    model = donor.model
    exact_qk = way.method == "atp*"
    places = sorted({slot_of(p, exact_qk) for c in cells for p in c.parts} | {("pre", 0)})
    layers = range(model.n_layers) if exact_qk else ()
    gradients = slopes(donor, metric, places, position, way, cost, stopped=[None, *layers])
    cost.naive += len(cells)
    mean = averaged(gradients, way)
    if way.method != "partway":
        gradients = gradients if exact_qk else mean
    products: dict[tuple[str, int, tuple[int, ...] | None], Tensor] = {}
    found = torch.stack([_estimate(donor, c, gradients, products, exact_qk) for c in cells], -1)
    if way.method == "partway":
        ends = [metric.of(run.record.streams[-1][run.position(position)][None]) for run in (donor.base, donor.source)]
        return partway(found, gradients.values, way, float(ends[1] - ends[0])), way.inputs(donor, mean)
    if not exact_qk:
        return found[0].cpu(), way.inputs(donor, mean)
    # Nothing of a part is left in the row that leaves out its own layer: it does not count.
    own = [bool(c.parts) and not c.parts[0].is_stream for c in cells]
    counted = torch.tensor([model.n_layers - left_out for left_out in own])
    average = found[1:].abs().sum(0).cpu() / counted.clamp_min(1)
    return found[0].sign().cpu() * average, None


def slot_of(part: Place, exact_qk: bool) -> tuple[str, int]:
    """(site, layer) where the gradient of a part is taken: z stands for what a head reads where that is recomputed."""
    site, layer = part.slot
    if site == "layer":  # what is added there is added to the stream behind it
        return "pre", layer + 1
    return ("z" if exact_qk and site in MIXED_SITES else site, layer)


def _estimate(
    donor: RunDonor, cell: Cell, gradients: Gradients, products: dict[Any, Tensor], exact_qk: bool
) -> Float[Tensor, "row"]:
    at, model = donor.positions(cell), donor.model
    rows = len(next(iter(gradients.at.values())))
    total = torch.zeros(rows, dtype=torch.float64, device=model.home)
    for part in cell.parts if at else ():
        mixed = exact_qk and part.site in MIXED_SITES
        key = (*part.slot, at if mixed else None)
        if key not in products:
            products[key] = _product(donor, part, at, gradients, mixed)
        each = products[key]  # [row, position, head or 1]
        heads = _heads(part, donor, each.shape[-1])
        index = list(range(donor.base.n_positions)) if mixed else list(at)
        total = total + each[:, index][:, :, heads].sum((1, 2))
    return total


def _heads(part: Place, donor: RunDonor, width: int) -> list[int]:
    """The columns of a product that belong to ``part``."""
    if part.head is None:
        return list(range(width))
    geo = donor.model.geometry[part.row]
    group = geo.group
    if part.site in ("k", "v") and width == geo.n_heads and group > 1:  # through z of its query heads
        return list(range(part.head * group, (part.head + 1) * group))
    return [part.head]


def _raw(donor: RunDonor, layer: int, side: str, number: int) -> Float[Tensor, "position width"]:
    """Queries, keys or values of the base (0) or the source (1) as their projection gives them."""
    if side == "v":
        need(donor.model, "values", layer)
        run = (donor.base, donor.source)[number]
        return raw_values(donor.model, run.record, layer, donor.attended(layer)[number].v).double()
    found = donor.scored(layer)[number]
    return (found.q if side == "q" else found.k).raw.double()


def _product(
    donor: RunDonor, part: Place, at: tuple[int, ...], gradients: Gradients, mixed: bool
) -> Float[Tensor, "row position head"]:
    """(donor's - own) times the gradient, summed over the numbers of each head (or of the whole site)."""
    model, base = donor.model, donor.base.record
    geo = model.geometry[min(part.row, model.n_layers - 1)]
    if mixed:
        change = donor.mixed(part.site, part.row, at).double() - base.z[part.row].double()
        gradient = gradients.at["z", part.row]
        heads = geo.n_heads
    elif part.site in ("q", "k", "v"):
        own, other = (_raw(donor, part.row, part.site, number) for number in (0, 1))
        change = other - own
        columns = geo.rows[part.site].flatten().to(change.device)
        gradient = gradients.at[part.slot][..., columns]
        heads = geo.n_heads if part.site == "q" else geo.n_kv_heads
    else:
        change = held(donor.source, part).double() - held(donor.base, part).double()
        gradient = gradients.at[slot_of(part, False)]
        heads = geo.n_heads if part.site == "z" else 1
    product = gradient.double() * change
    return product.reshape(*product.shape[:2], heads, -1).sum(-1)


def against_zero(run: Run, part: Place, gradients: Gradients) -> Tensor:
    """Output times gradient: what setting the part to zero would take away, estimated."""
    own = held(run, part).double()
    product = own * gradients.at[slot_of(part, False)][0].double()
    if part.head is None:
        return product.sum()
    d = run.model.geometry[part.row].d_head
    return product[:, part.head * d : (part.head + 1) * d].sum()
