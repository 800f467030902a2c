"""Attribution patching: the effect of every patch, estimated from one backward pass.

Effect of a cell = (donor's value - own value) . gradient of the metric there (Nanda 2023; Syed et al. 2023, arXiv
2310.10348). ``method="atp*"`` adds the two corrections of Kramár et al. 2024 (arXiv 2403.00745): attention is
recomputed for patched queries and keys, whose gradient a saturated softmax hides, and GradDrop averages over backward
passes that each leave out one layer, where direct and indirect effects cancel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.identity.steady import steady
from ...model.parts.attention import raw_values
from ...model.selfcheck.levels import need
from ...model.tracing.gradient import Gradients, differentiate
from ...words.components import Component
from ...words.errors import ComponentError, TargetError
from ...words.places import Place
from ...words.several import listed
from ...words.targets import Target, TokenSet
from ...words.text import number, signed
from ..attribution.attribution import Attribution, rather
from ..inputs import as_run
from .cells import MIXED_SITES, Cell, RunDonor, cells_of, every_part, held, positions_of, unsplit
from .metrics import Metric, MetricLike, metric_of
from .pairs import (
    Cost,
    Direction,
    Question,
    as_pairs,
    check_one_length,
    direction_of,
    settled,
    skipped,
    targets_of,
)
from .patching import FinalNorm, Patching, Rows, final_norm_of, over_pairs

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.run import Run

Method = Literal["atp", "atp*"]


@dataclass(eq=False, repr=False)
class Estimate(Patching):
    """Recovery or damage of every cell, estimated by gradients: a list of candidates, not a result.

    Under ``method="atp*"`` sizes are GradDrop's averages, signs those of the plain estimate.
    """

    method: Method = "atp"

    def title(self) -> str:
        """The finding in one line."""
        return f"Estimated by gradients: {super().title()}"

    def words(self) -> str:
        """What would be put where: nothing was."""
        return f"estimated from gradients, not tested, for {super().words()}"

    def against(self, exact: Patching) -> Agreement:
        """How well the estimate agrees with exact patching, over the cells that both have."""
        shared = [i for i, c in enumerate(self.cells) if c in exact.cells]
        if len(shared) < 2:
            raise ComponentError("The two have fewer than two cells in common.", "Patch the same sites and positions.")
        index = [exact.cells.index(self.cells[i]) for i in shared]
        mine, true = self.values[shared].double(), exact.values[index].double()
        worst = int((mine - true).abs().argmax())
        both = torch.stack([mine, true])
        correlation = float(torch.corrcoef(both)[0, 1])
        return Agreement(correlation, self.cells[shared[worst]], float(mine[worst]), float(true[worst]), len(shared))


@dataclass(frozen=True)
class Agreement:
    """Pearson's correlation of estimates with exact effects, and the cell where they differ most."""

    correlation: float
    worst: Cell
    estimated: float
    exact: float
    cells: int

    def __str__(self) -> str:
        return (
            f"correlation {number(self.correlation, 3)} over {self.cells} cells; furthest at {self.worst}: "
            f"estimated {signed(self.estimated, 3)}, exactly {signed(self.exact, 3)}"
        )


@steady()
def attribution_patch(
    model: Model | str,
    clean: Any,
    corrupted: Any,
    target: MetricLike | Sequence[MetricLike] | None = None,
    *,
    against: TokenSet | Sequence[TokenSet] | None = None,
    sites: str | Sequence[str] = ("z", "mlp"),
    positions: Any = None,
    layers: int | Sequence[int] | None = None,
    heads: Literal["each", "all"] = "each",
    direction: Direction = "denoise",
    method: Method = "atp",
    position: int = -1,
    skip: int | Sequence[int] = (),
    final_norm: FinalNorm = "live",
) -> Estimate:
    """Estimate what :func:`attrib_widgets.patch` would find, from one forward and one backward pass per pair.

    Arguments are those of ``patch``. ``method="atp*"`` recomputes attention for queries and keys and averages over
    GradDrop rows (one more row per layer). ``final_norm="frozen"`` keeps the final norm's scale as it is in the base
    run; then the last MLP's estimate is exact.

    Raises:
        TargetError: no such direction, method or way to read the final norm.
    """
    direction_of(direction)
    final_norm_of(final_norm)
    if method not in get_args(Method):
        raise TargetError(f"{method!r} is no estimate.", 'Use "atp" or "atp*".')
    left_out = skipped(skip, clean)
    pairs = as_pairs(model, clean, corrupted, position, left_out)
    found = pairs[0][0].model
    names, given = listed(sites), targets_of(target, against, clean, left_out, found.single_token)
    targets, remarks = settled(pairs, given, position, left_out)
    if method == "atp" and "pattern" in names:
        raise ComponentError("A pattern has no place of its own to differentiate.", 'Use method="atp*", or q and k.')
    if positions is not None:
        check_one_length([run for run, _ in pairs])
    cells = cells_of(found, names, layers, heads, positions_of(pairs[0][0], positions))
    made = estimate_cells(pairs, cells, targets, direction, position, method, frozen=final_norm == "frozen")
    made.cost.notes[:0] = [*remarks, *unsplit(found, names, layers)]
    return replace(made, left_out=left_out)


def estimate_cells(
    pairs: Sequence[tuple[Run, Run]],
    cells: Sequence[Cell],
    targets: Sequence[MetricLike | None],
    direction: Direction,
    position: int,
    method: Method = "atp",
    *,
    frozen: bool = False,
) -> Estimate:
    """:func:`attribution_patch` once runs and cells are settled."""
    cost, done = Cost(), torch.ones(len(cells), dtype=torch.bool)

    def run(q: Question, donor: RunDonor) -> Rows:
        start = q.ends[1 if direction == "denoise" else 0]
        return start + estimates(donor, cells, q.metric, position, method, cost), done, None

    return over_pairs(Estimate, pairs, cells, targets, direction, position, cost, run, frozen=frozen, method=method)


def estimates(
    donor: RunDonor, cells: Sequence[Cell], metric: Metric, position: int, method: Method, cost: Cost
) -> Float[Tensor, "cell"]:
    """The estimated change of the metric in every cell of one pair."""
    model, base = donor.model, donor.base
    exact_qk = method == "atp*"
    places = sorted({_place(p, exact_qk) for c in cells for p in c.parts})
    layers = range(model.n_layers) if exact_qk else ()
    stopped = [None, *layers]
    gradients = differentiate(base, metric.differentiable, places, position, stopped=stopped)
    cost.include(Cost(2, 2 * len(stopped) * base.n_positions, len(cells)))
    products: dict[tuple[str, int, tuple[int, ...] | None], Tensor] = {}
    found = torch.stack([_estimate(donor, c, gradients, products, exact_qk) for c in cells], -1)
    if not exact_qk:
        return found[0].cpu()
    # Nothing of a part is left in the row that leaves out its own layer: it does not count.
    own = [bool(c.parts) and not c.parts[0].is_stream for c in cells]
    counted = torch.tensor([model.n_layers - left_out for left_out in own])
    average = found[1:].abs().sum(0).cpu() / counted.clamp_min(1)
    return found[0].sign().cpu() * average


def _place(part: Place, exact_qk: bool) -> tuple[str, int]:
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
    model, base, source = donor.model, donor.base.record, donor.source.record
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
        change = held(source, part).double() - held(base, part).double()
        gradient = gradients.at[_place(part, False)]
        heads = geo.n_heads if part.site == "z" else 1
    product = gradient.double() * change
    return product.reshape(*product.shape[:2], heads, -1).sum(-1)


@steady()
def estimated_effects(
    a: Attribution, corrupted: Any = None, direction: Direction = "denoise", *, against: TokenSet | None = None
) -> dict[Component, float]:
    """The estimated total effect of every part on what ``a`` explains, from one backward pass.

    Parts are heads and MLPs, or the sublayers and whole layers that are exact instead.

    With ``corrupted``: what putting the part's output into the corrupted run would bring back (``"denoise"``), or what
    replacing it by its output there would take away (``"noise"``). Without: gradient times output, what setting it
    to zero would take away. In the target's unit, to stand beside the direct contributions; a part whose direct
    contribution is small and whose total effect is large is a mediator. A confident answer hardly moves for small
    changes, so that ``"noise"`` comes out far too small there, and ``"denoise"`` is the better guess of both.
    ``against`` is a token (or several) whose logit is subtracted from what is explained.

    Raises:
        TargetError: an attribution of a number inside the model, or one that has no difference from ``against``; no
            such direction.
    """
    direction_of(direction)
    a = rather(a, against)
    if not isinstance(a.target, Target):
        raise TargetError(f"The {a.target.words(a.model, a.run)} has no total effects.", "Attribute a token.")
    model, run = a.model, a.run
    metric = metric_of(a.target, run, a.position)
    cells = every_part(model, [None])
    if corrupted is not None:
        other = as_run(corrupted, model)
        donor = RunDonor(run, other) if direction == "noise" else RunDonor(other, run)
        values = estimates(donor, cells, metric, a.position, "atp", Cost()) * (-1 if direction == "noise" else 1)
    else:
        places = sorted({_place(c.parts[0], False) for c in cells})
        gradients = differentiate(run, metric.differentiable, places, a.position)
        values = torch.stack([_against_zero(run, c.parts[0], gradients) for c in cells]).cpu()
    named = ((c.parts[0].component, float(v)) for c, v in zip(cells, values, strict=True))
    return {c: v for c, v in named if c is not None}


def _against_zero(run: Run, part: Place, gradients: Gradients) -> Tensor:
    own = held(run.record, part).double()
    product = own * gradients.at[_place(part, False)][0].double()
    if part.head is None:
        return product.sum()
    d = run.model.geometry[part.row].d_head
    return product[:, part.head * d : (part.head + 1) * d].sum()
