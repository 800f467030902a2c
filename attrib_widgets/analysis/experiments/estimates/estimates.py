"""Attribution patching: the effect of every patch, estimated from one backward pass.

Effect of a cell = (donor's value - own value) . gradient of the metric there (Nanda 2023; Syed et al. 2023, arXiv
2310.10348). ``method="atp*"`` adds the two corrections of Kramár et al. 2024 (arXiv 2403.00745): attention is
recomputed for patched queries and keys, whose gradient a saturated softmax hides, and GradDrop averages over backward
passes that each leave out one layer, where direct and indirect effects cancel. ``method="eap-ig"`` takes the mean of
the gradients while the inputs go straight from the one run to the other (Hanna et al. 2024, arXiv 2403.17806), and
``"relp"`` those of a network that is held where it is not linear (:mod:`.relevance`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.identity.steady import steady
from ....model.parts.attention import raw_values
from ....model.selfcheck.levels import need
from ....model.tracing.gradient import Gradients, differentiate
from ....words.components import Component
from ....words.errors import ComponentError, TargetError
from ....words.places import Place
from ....words.several import listed
from ....words.targets import Target, TokenSet
from ....words.text import number, signed
from ...attribution.attribution import Attribution, rather
from ...inputs import as_run
from ..cells.cells import MIXED_SITES, Cell, cells_of, every_part, positions_of, unsplit
from ..cells.donors import RunDonor, held
from ..measuring.common import quoted
from ..measuring.metrics import Metric, MetricLike, metric_of
from ..measuring.pairs import (
    Cost,
    Direction,
    Question,
    as_pairs,
    check_as_long,
    check_one_length,
    direction_of,
    settled,
    skipped,
    targets_of,
)
from ..patching.patch import FinalNorm, Rows, final_norm_of, over_pairs
from ..patching.patching import Patching
from .slopes import BETWEEN, Method, Points, Way, averaged, completeness, partway, reason, slopes, way_of

if TYPE_CHECKING:
    from ....model.model import Model
    from ....model.run import Run


@dataclass(eq=False, repr=False)
class Estimate(Patching):
    """Recovery or damage of every cell, estimated by gradients: a list of candidates, not a result.

    Under ``method="atp*"`` sizes are GradDrop's averages, signs those of the plain estimate. Under ``"eap-ig"`` the
    values are neither recovery nor damage, but the part's share of the way between the two runs, the same for both
    directions: one path cannot tell a part that is needed from one that is enough.

    Attributes:
        way: the method, its steps and points.
        inputs: of every pair, by how much the inputs alone move the metric from corrupted to clean by this estimate;
            empty for ``"atp*"``.
        why: why they miss much of the gap, in words; "" where they do not.
    """

    way: Way = field(default_factory=lambda: Way("atp"))
    inputs: list[float] = field(default_factory=list)
    why: str = ""

    @property
    def method(self) -> Method:
        """``"atp"``, ``"atp*"``, ``"eap-ig"``, ``"partway"`` or ``"relp"``."""
        return self.way.method

    @property
    def share(self) -> str:
        """``"recovery"``, ``"damage"`` or ``"between the runs"``."""
        return BETWEEN if self.way.between else super().share

    @property
    def verb(self) -> str:
        """What a cell is said to do to the gap."""
        return "accounts for" if self.way.between else super().verb

    @property
    def error(self) -> float | None:
        """Completeness error: what the inputs account for, over all pairs, against the gap: (sum - gap) / gap.

        Edges out of the inputs sum to the same. None for ``"atp*"``, and where the pairs have no gap."""
        gap = float(self.gap.double().sum())
        return (sum(self.inputs) - gap) / gap if self.inputs and gap else None

    @property
    def notes(self) -> list[str]:
        """Remarks for the reader."""
        if self.error is None:
            return super().notes
        gap = float(self.gap.double().mean())
        moved = sum(self.inputs) / len(self.inputs)
        return [*super().notes, completeness(moved, gap, self.error, self.why)]

    def title(self) -> str:
        """The finding in one line."""
        between = f", {BETWEEN}" if self.way.between else ""
        return f"Estimated by gradients{between}: {super().title()}"

    def words(self) -> str:
        """What would be put where: nothing was."""
        if self.way.between:
            clean, corrupted = map(quoted, self.pairs[0])
            return f"estimated from gradients, not tested, {BETWEEN} {corrupted} and {clean}: {self.way.words()}"
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
    steps: int = 5,
    points: Points = "mid",
    position: int = -1,
    skip: int | Sequence[int] = (),
    final_norm: FinalNorm = "live",
) -> Estimate:
    """Estimate what :func:`attrib_widgets.patch` would find, from one forward and one backward pass per pair.

    Arguments are those of ``patch``, and:

    Args:
        method: ``"atp"`` takes the gradient in the run that is patched. ``"atp*"`` recomputes attention for queries and
            keys and averages over GradDrop rows (one more row per layer). ``"eap-ig"`` takes the mean of the gradients
            on the straight way between the two runs' inputs, and is the same for both directions. ``"partway"`` takes
            it from the run that is patched up to where the metric, on that way, has changed as much as the part changes
            it: AtP for what does little, EAP-IG for what does all (:func:`.slopes.partway`; of no paper). ``"relp"``
            holds norms, patterns and gates as they are in the run that is patched.
        steps: of ``"eap-ig"`` and ``"partway"``, a row each, and one more that is the run itself; more of them where
            the completeness ``error`` is large. A mixture of experts jumps where a token changes its experts: there it
            stays, and where layers know their tokens beside the stream (per-layer embeddings).
        points: ``"mid"`` of each step (error of second order), or its ``"left"`` end, where published code takes them.
        final_norm: ``"frozen"`` keeps the final norm's scale as it is in the run that is patched; then the last MLP's
            estimate is exact.

    Of two parts of which one is enough (OR), or which are both needed (AND), ``"eap-ig"`` gives each a half, whichever
    it is; in a run that is decided, ``"atp"`` and ``"relp"`` see nothing of them. Only a test tells.

    Raises:
        TargetError: no such direction, method, points or way to read the final norm.
        GranularityError: ``"relp"`` on a model for which a rule is not to be had.
    """
    way = way_of(method, steps, points, direction)
    final_norm_of(final_norm)
    left_out = skipped(skip, clean)
    pairs = as_pairs(model, clean, corrupted, position, left_out)
    found = pairs[0][0].model
    names, given = listed(sites), targets_of(target, against, clean, left_out, found.single_token)
    targets, remarks = settled(pairs, given, position, left_out)
    if method != "atp*" and "pattern" in names:
        raise ComponentError("A pattern has no place of its own to differentiate.", 'Use method="atp*", or q and k.')
    if method == "relp" and (blind := [n for n in names if n in ("q", "k")]):
        raise ComponentError(
            f"Relevance patching holds attention patterns: {' and '.join(blind)} count for nothing.",
            'Use sites="v", or method="eap-ig".',
        )
    if positions is not None:
        check_one_length([run for run, _ in pairs])
    cells = cells_of(found, names, layers, heads, positions_of(pairs[0][0], positions))
    made = estimate_cells(pairs, cells, targets, way, position, frozen=final_norm == "frozen")
    made.cost.notes[:0] = [*remarks, *unsplit(found, names, layers)]
    return replace(made, left_out=left_out)


def estimate_cells(
    pairs: Sequence[tuple[Run, Run]],
    cells: Sequence[Cell],
    targets: Sequence[MetricLike | None],
    way: Way,
    position: int,
    *,
    frozen: bool = False,
) -> Estimate:
    """:func:`attribution_patch` once runs, cells and the way are settled."""
    cost, done = Cost(), torch.ones(len(cells), dtype=torch.bool)
    inputs: list[float] = []

    def run(q: Question, donor: RunDonor) -> Rows:
        start = q.ends[1 if way.direction == "denoise" else 0]
        changes, moved = estimates(donor, cells, q.metric, position, way, cost)
        inputs.extend([] if moved is None else [moved])
        return start + changes, done, None

    asked = (pairs, cells, targets, way.direction, position, cost)
    made = over_pairs(Estimate, *asked, run, frozen=frozen, way=way, inputs=inputs)
    return replace(made, why=reason(way, made.error, pairs[0][0]))


def estimates(
    donor: RunDonor, cells: Sequence[Cell], metric: Metric, position: int, way: Way, cost: Cost
) -> tuple[Float[Tensor, "cell"], float | None]:
    """The estimated change of the metric in every cell of one pair, and what the inputs alone account for."""
    model = donor.model
    exact_qk = way.method == "atp*"
    places = sorted({_place(p, exact_qk) for c in cells for p in c.parts} | {("pre", 0)})
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
        gradient = gradients.at[_place(part, False)]
        heads = geo.n_heads if part.site == "z" else 1
    product = gradient.double() * change
    return product.reshape(*product.shape[:2], heads, -1).sum(-1)


class Effects(dict[Component, float]):
    """Estimated effects by part.

    Attributes:
        error: the completeness error: what the inputs alone account for by this estimate, less the gap, as a share of
            it; None where nothing says (no other run, no gap, ``"atp*"``).
        notes: the same in words, with what to do about a large one.
    """

    def __init__(self, found: dict[Component, float], error: float | None = None, notes: Sequence[str] = ()) -> None:
        super().__init__(found)
        self.error, self.notes = error, list(notes)


@steady()
def estimated_effects(
    a: Attribution,
    corrupted: Any = None,
    direction: Direction | None = None,
    *,
    against: TokenSet | None = None,
    method: Method = "partway",
    steps: int = 5,
) -> Effects:
    """The estimated total effect of every part on what ``a`` explains, from one forward and one backward pass.

    Parts are heads and MLPs, or the sublayers and whole layers that are exact instead. Values are in the target's unit,
    to stand beside the direct contributions; a part whose direct contribution is small and whose total effect is large
    is perhaps a mediator. ``.error`` of what comes back is the completeness error, and ``.notes`` say it: where the
    answer jumps on the way between the runs, the points may miss the jump, and the values are not to be trusted.

    Args:
        corrupted: a prompt of as many tokens, or its run. None: gradient times output in this run, what setting the
            part to zero would take away; there is no other run to go to, and no ``method`` or ``direction`` to choose.
        direction: ``"denoise"``, as None is: what putting the part's output into the corrupted run would bring back.
            ``"noise"``: what replacing it by its output there would take away.
        against: a token (or several) whose logit is subtracted from what is explained.
        method: as in :func:`attrib_widgets.attribution_patch`; ``"eap-ig"`` is *between the runs*: what the part
            accounts for while the inputs go from ``corrupted`` to here, and has no direction.
        steps: of ``"eap-ig"`` and ``"partway"``.

    Raises:
        PositionError: a prompt of another number of tokens, or no steps.
        TargetError: an attribution of a number inside the model, or one that has no difference from ``against``; no
            such direction or method, or a direction of an estimate between the runs.
    """
    if direction is not None:
        direction_of(direction)
    way = way_of(method, steps, "mid", direction or "denoise")
    if way.between and direction is not None:
        raise TargetError(
            f"One path {BETWEEN} cannot tell what would come back from what would go.",
            "Leave out direction=, or method=.",
        )
    a = rather(a, against)
    if not isinstance(a.target, Target):
        raise TargetError(f"The {a.target.words(a.model, a.run)} has no total effects.", "Attribute a token.")
    model, run = a.model, a.run
    metric = metric_of(a.target, run, a.position)
    cells, error, notes = every_part(model, [None]), None, list[str]()
    if corrupted is not None:
        other = as_run(corrupted, model)
        check_as_long(run, other)
        noise = way.direction == "noise"
        donor = RunDonor(run, other) if noise else RunDonor(other, run)
        values, moved = estimates(donor, cells, metric, a.position, way, Cost())
        values = values * (-1 if noise else 1)
        clean, far = (metric.of(r.record.streams[-1][r.position(a.position)][None]) for r in (run, other))
        if moved is not None and (gap := float(clean - far)):
            error = (moved - gap) / gap
            notes = [completeness(moved, gap, error, reason(way, error, run))]
    else:
        places = sorted({_place(c.parts[0], False) for c in cells})
        gradients = differentiate(run, metric.differentiable, places, a.position)
        values = torch.stack([_against_zero(run, c.parts[0], gradients) for c in cells]).cpu()
    named = ((c.parts[0].component, float(v)) for c, v in zip(cells, values, strict=True))
    return Effects({c: v for c, v in named if c is not None}, error, notes)


def _against_zero(run: Run, part: Place, gradients: Gradients) -> Tensor:
    own = held(run, part).double()
    product = own * gradients.at[_place(part, False)][0].double()
    if part.head is None:
        return product.sum()
    d = run.model.geometry[part.row].d_head
    return product[:, part.head * d : (part.head + 1) * d].sum()
