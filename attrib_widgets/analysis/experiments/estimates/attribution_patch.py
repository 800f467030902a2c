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
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch

from ....model.identity.steady import steady
from ....words.errors import ComponentError
from ....words.several import listed
from ....words.targets import TokenSet
from ..cells.cells import Cell, cells_of, positions_of, unsplit
from ..cells.donors import RunDonor
from ..measuring.metrics import MetricLike
from ..measuring.pairs import Cost, Direction, Question, as_pairs, check_one_length, settled, skipped, targets_of
from ..patching.patch import FinalNorm, Rows, final_norm_of, over_pairs
from .estimate import Estimate
from .products import estimates
from .slopes import Method, Points, Way, reason, way_of

if TYPE_CHECKING:
    from ....model.model import Model
    from ....model.run import Run


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
