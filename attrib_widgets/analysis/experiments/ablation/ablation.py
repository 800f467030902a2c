"""Ablation: what the answer becomes without a part, its output replaced by zero, by its mean, or by other outputs; or
scaled, or (of a feature) held at an activation.

Zero takes the model furthest from what it has seen; the mean over reference prompts keeps what the part always says;
resampling puts in what it said elsewhere (Chan et al. 2022, "Causal Scrubbing"; Wang et al. 2022, arXiv 2211.00593).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ....model.identity.steady import steady
from ....model.model import load
from ....model.parts.outlet import Sublayer, outlet_of
from ....model.tracing.edits import Edit
from ....result import Result, Table, strongest
from ....words.components import whole
from ....words.errors import AttribError, ComponentError, PositionError
from ....words.places import Place, PlaceLike
from ....words.several import prompts
from ....words.targets import TokenSet
from ....words.text import digits_of, indefinite, number, others_label, signed
from ...inputs import as_run
from ..cells.cells import MIXED_SITES, Cell, cells_from, every_part, found_in, positions_of
from ..cells.donors import held, plain_writes
from ..cells.features import alone, clamped, finite, silent, summed
from ..measuring.answers import KEPT, Answer, asked_token, mean_answer
from ..measuring.common import change_said, quoted
from ..measuring.metrics import MetricLike, metric_of
from ..measuring.pairs import Cost, check_one_length, name_of, run_cells, targets_of, unit_of
from ..measuring.statistics import between, interval_of

if TYPE_CHECKING:
    import pandas as pd

    from ....model.model import Model
    from ....model.run import Run
    from ....model.running.worker import Job

Method = Literal["zero", "mean", "resample", "scale", "clamp"]
DRAWS = 8


@dataclass(eq=False, repr=False)
class Ablation(Result):
    """How the metric changed without each part, of one prompt or in the mean over several.

    ``ablated[prompt, draw, cell]`` is the metric without the part (one draw, except when resampling; only the finished
    draws where it was cancelled; NaN where a prompt has fewer), ``base`` that of the runs as they are. ``values`` are
    the mean changes: negative where the part helped. ``streams[prompt][draw]`` is what the final norm read, where these
    were few enough to be kept; ``asked`` the token that was asked about, a prompt each; ``source`` says what a part was
    set to; ``strength`` is what it was scaled by, or held at.
    """

    runs: list[Run]
    cells: list[Cell]
    method: Method
    metric: str
    unit: str
    position: int
    ablated: Float[Tensor, "prompt draw cell"]
    base: Float[Tensor, "prompt"]
    done: Tensor
    cost: Cost
    streams: tuple[tuple[Float[Tensor, "cell d_model"], ...], ...] = ()
    asked: tuple[int, ...] = ()
    source: str = "zero"
    strength: float | None = None

    @property
    def complete(self) -> bool:
        """Whether every part was taken out of every prompt (it was not cancelled)."""
        return bool(self.done.all()) and len(self.runs) == len(self.asked)

    @property
    def notes(self) -> list[str]:
        """Remarks for the reader."""
        count = len(self.asked)
        cut = "cancelled" if len(self.runs) == count else f"cancelled: {len(self.runs)} of {count} prompts"
        return [*([] if self.complete else [cut]), *self.cost.notes]

    @property
    def run(self) -> Run:
        """The run, the first of several."""
        return self.runs[0]

    @property
    def changes(self) -> Float[Tensor, "prompt cell"]:
        """Change of the metric in every prompt, the mean over draws."""
        return self.ablated.nanmean(1) - self.base[:, None]

    @property
    def values(self) -> Float[Tensor, "cell"]:
        """Mean change of the metric; NaN where it was not computed."""
        return torch.where(self.done, self.changes.mean(0), torch.nan).float()

    @property
    def spread(self) -> Float[Tensor, "cell"] | None:
        """Standard deviation of the change over draws; None for one draw, and for several prompts."""
        return self.ablated[0].std(0).float() if len(self.runs) == 1 and self.ablated.shape[1] > 1 else None

    @property
    def interval(self) -> Float[Tensor, "cell 2"] | None:
        """95 % interval of :attr:`values` over prompts; None for fewer than eight, NaN where too few show it."""
        return interval_of(self.changes, torch.ones(len(self.runs)))

    @property
    def labels(self) -> list[str]:
        """Names of the cells."""
        return [str(c) for c in self.cells]

    def __getitem__(self, which: PlaceLike | Sequence[PlaceLike] | Cell) -> float:
        return float(self.values[found_in(self.cells, self.run.model, which, "ablation")])

    def answer_of(self, which: PlaceLike | Sequence[PlaceLike] | Cell, prompt: int = 0) -> Answer:
        """What the model says without that cell (the probabilities of several draws averaged).

        Raises:
            ComponentError: no such cell, or too many cells for their streams to be kept.
        """
        return self._answer(found_in(self.cells, self.run.model, which, "ablation"), prompt)

    def _answer(self, index: int, prompt: int) -> Answer:
        if not self.streams:
            raise ComponentError("The answers of these cells were not kept.", "Ablate fewer of them, with components=.")
        return mean_answer(self.run.model, [s[index] for s in self.streams[prompt]], self.asked[prompt])

    def top(self, k: int = 10) -> list[tuple[Cell, float]]:
        """The ``k`` largest changes by magnitude, with their signs."""
        values = self.values
        order = strongest(values, k)
        return [(self.cells[i], float(values[i])) for i in order]

    def title(self) -> str:
        """The finding in one line."""
        if not bool(self.done.any()):
            return "Cancelled before the first part was taken out"
        cell = self.top(1)[0][0]
        over = "" if len(self.runs) == 1 else f" (mean of {len(self.runs)} prompts)"
        return f"{self.without(cell.short)} {self.moved(cell)}{over}"

    def without(self, cell: str) -> str:
        """What was done to a cell, as the beginning of a sentence: ``"Without L0H0"``, ``"With L2/40 × 3"``."""
        return f"Without {cell}" if self.strength is None else f"With {cell} {SAID[self.method](self.strength)}"

    def moved(self, which: PlaceLike | Sequence[PlaceLike] | Cell) -> str:
        """From where to where the metric goes without that cell, in words."""
        base = float(self.base.mean())
        return f"the {self.metric} goes from {number(base)} to {number(base + self[which])}"

    def summary(self) -> Table:
        shown = [(c, v) for c, v in self.top(10) if v == v]  # what was not computed has no row
        rows = [[c.short, signed(v, digits_of(v for _, v in shown))] for c, v in shown]
        interval = self.interval
        if interval is not None:
            for row, (cell, _) in zip(rows, shown, strict=True):
                row.insert(1, between(*interval[self.cells.index(cell)].tolist()))
        words = f"set to {self.source}" if self.strength is None else SAID[self.method](self.strength)
        more = "" if len(self.runs) == 1 else f" and {len(self.runs) - 1} more"
        note = f"each part {words}, in {quoted(self.run)}{more}"
        rest = int((~self.values.isnan()).sum()) - len(shown)
        footer = f"{others_label(rest)} smaller; {self.cost}" if rest > 0 else str(self.cost)
        columns = ["ablated", *(["95 % interval"] if interval is not None else []), f"change, {self.unit}"]
        if self.streams and len(self.runs) == 1:
            columns.append("the model then says")
            for row, (c, _) in zip(rows, shown, strict=True):
                row.append(str(self._answer(self.cells.index(c), 0)))
        return Table(self.title(), columns, rows, [v for _, v in shown], "\n".join([note, *self.notes]), footer)

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``cell``, ``change`` and ``ablated`` (mean over prompts and draws), and the interval's ends."""
        import pandas as pd

        ablated = self.ablated.nanmean(1).mean(0).numpy()
        frame = pd.DataFrame({"cell": self.labels, "change": self.values.numpy(), "ablated": ablated})
        interval = self.interval
        if interval is not None:
            frame["low"], frame["high"] = interval[:, 0].numpy(), interval[:, 1].numpy()
        return frame


def _plain(strength: float) -> str:
    """A strength as it was given, with a true minus."""
    return f"{strength:g}".replace("-", "\u2212")


#: What a strength does, in words.
SAID: Mapping[str, Callable[[float], str]] = {
    "scale": lambda strength: f"\u00d7 {_plain(strength)}",
    "clamp": lambda strength: f"held at {_plain(strength)}",
}


class FixedDonor:
    """Replaces what a part writes by ``value(part, positions)``, whatever the run."""

    def __init__(
        self, base: Run, value: Callable[[Place, tuple[int, ...]], Float[Tensor, "position width"]], first: int = 0
    ) -> None:
        self.base, self.value, self.first = base, value, first

    def writes(self, cell: Cell) -> list[Edit]:
        """The writes of one ablation.

        Raises:
            ComponentError: what a head reads cannot be ablated, only what it writes.
        """
        listed = range(self.base.n_positions) if cell.positions is None else cell.positions
        at = tuple(p for p in listed if p >= self.first)
        found: list[Edit] = []
        for part in alone(self.base.model, cell.parts):
            if part.of is None and (part.site in MIXED_SITES or part.is_stream):
                raise ComponentError(f"{part} cannot be ablated.", "Ablate what a part writes: a head or a sublayer.")
            found += self._written(part, at)
        return summed(found)

    def _written(self, part: Place, at: tuple[int, ...]) -> list[Edit]:
        if part.site == "attn" and self.base.model.level(part.layer or 0).heads:
            part = Place("z", part.layer)  # all of its heads, so that its output bias stays here too
        return plain_writes(self.base, part, at, self.value(part, at))


class ScaleDonor(FixedDonor):
    """What a part writes, so many times as strongly: 0 is without it, 1 as it is.

    A sublayer is scaled behind a norm of its own, which would undo it; a head in front of it, beside the others.
    """

    def __init__(self, base: Run, strength: float) -> None:
        super().__init__(base, lambda part, at: held(base, part)[list(at)] * strength)
        self.strength = strength

    def _written(self, part: Place, at: tuple[int, ...]) -> list[Edit]:
        sublayers: Mapping[str, Sublayer] = {"attn": "attn", "mlp": "mlp"}
        if part.of is None and part.site in sublayers:
            layer = part.layer or 0
            norm = outlet_of(self.base.model, sublayers[part.site], layer).norm
            if norm is not None:
                given = held(self.base, part)[list(at)].to(self.base.model.home)
                return [Edit(f"{part.site}_added", layer, at, self.strength * norm(given))]
        return super()._written(part, at)


def zero_donor(base: Run) -> FixedDonor:
    """Zero z (the bias of the output projection stays), a zero MLP output, or a layer that adds nothing."""

    def value(part: Place, at: tuple[int, ...]) -> Tensor:
        return torch.zeros_like(held(base, part)[list(at)])

    return FixedDonor(base, value)


def clamp_donor(base: Run, strength: float) -> FixedDonor:
    """A feature at one activation at all positions, wherever else it is silent.

    Raises:
        ComponentError: a part that is no feature.
    """

    def value(part: Place, at: tuple[int, ...]) -> Tensor:
        if part.index is None or part.of is None:
            raise ComponentError(
                f"{part} has no one activation to be held at.", 'Scale it: method="scale", strength=0.5.'
            )
        return clamped(base, part, strength)[list(at)]

    return FixedDonor(base, value)


def mean_donor(base: Run, reference: Sequence[Run], pooled: bool = False) -> FixedDonor:
    """The mean over reference runs: position by position where all have the length of ``base``; otherwise, or
    ``pooled``, over all positions except the first, put everywhere but there."""
    matched = not pooled and aligned(base, reference)
    kept: dict[Hashable, Tensor] = {}

    def value(part: Place, at: tuple[int, ...]) -> Tensor:
        key = part.slot if part.of is None else part
        if key not in kept:
            tensors = [held(r, part).float() for r in reference]
            if matched:
                kept[key] = torch.stack(tensors).mean(0)
            else:
                kept[key] = torch.cat([t[1:] for t in tensors]).mean(0).expand(base.n_positions, -1)
        return kept[key][list(at)]

    return FixedDonor(base, value, first=0 if matched else 1)


def source_of(bases: Sequence[Run], method: Method, reference: Sequence[Run], draws: int) -> str:
    """What replaces a part, in words."""
    if method not in ("mean", "resample"):
        return "zero"
    one = len(reference) == 1
    of = quoted(reference[0]) if one else f"{len(reference)} reference prompts"
    each = f"what it writes in {of}, position by position"
    pooled = f"what it writes at random positions of {of}, never the first, in {draws} draws"
    if method == "mean":
        each = each if one else f"its mean over {of}, position by position"
        pooled = f"its mean over all positions but the first of {of}"
    matched = {aligned(base, reference) for base in bases}
    if len(matched) > 1:
        return f"{each}, where the lengths agree, and else {pooled}"
    return each if True in matched else pooled


def aligned(base: Run, reference: Sequence[Run]) -> bool:
    """Whether positions are matched: all prompts have the length of ``base``."""
    return all(r.n_positions == base.n_positions for r in reference)


def resample_donors(base: Run, reference: Sequence[Run], draws: int, seed: int) -> list[FixedDonor]:
    """What the part wrote elsewhere: in each reference run of the same length, or at ``draws`` times random positions
    (the first excepted) of all of them."""

    def from_run(run: Run) -> FixedDonor:
        return FixedDonor(base, lambda part, at: held(run, part)[list(at)])

    if aligned(base, reference):
        return [from_run(r) for r in reference]
    generator = torch.Generator().manual_seed(seed)
    total = sum(r.n_positions - 1 for r in reference)

    def from_places(index: Tensor) -> FixedDonor:
        def value(part: Place, at: tuple[int, ...]) -> Tensor:
            pool = torch.cat([held(r, part)[1:] for r in reference])
            return pool[index[list(at)].to(pool.device)]

        return FixedDonor(base, value, first=1)

    return [from_places(torch.randint(total, (base.n_positions,), generator=generator)) for _ in range(draws)]


def donors_of(
    base: Run,
    method: Method,
    reference: Sequence[Run],
    draws: int = DRAWS,
    seed: int = 0,
    strength: float | None = None,
) -> list[FixedDonor]:
    """The donors of an ablation, one per draw.

    Raises:
        AttribError: an unknown method; a mean or resampling without reference prompts; scaling or clamping without a
            strength, or a strength for anything else.
    """
    if method not in get_args(Method):
        raise AttribError(f"{method!r} is no ablation.", f"Use one of {', '.join(map(repr, get_args(Method)))}.")
    if (strength is not None) != (method in SAID):
        if strength is None:
            raise AttribError(
                f"How strong is it to be? method={method!r} does not say.", "Give strength=2, for example."
            )
        raise AttribError(f"method={method!r} has no use for a strength.", 'Use method="scale" or method="clamp".')
    if method == "zero":
        return [zero_donor(base)]
    if strength is not None:
        strength = finite(strength)
        return [ScaleDonor(base, strength) if method == "scale" else clamp_donor(base, strength)]
    if (whole(draws) or 0) < 1:
        raise AttribError(f"{draws!r} is not a number of draws.", "Use 1 or more.")
    if not reference or all(r.n_positions == 1 for r in reference):
        raise AttribError(
            f"{indefinite(method, start=True)} needs prompts to take it from.",
            "Pass reference=[...], prompts like this one.",
        )
    return [mean_donor(base, reference)] if method == "mean" else resample_donors(base, reference, draws, seed)


@steady()
def ablate(
    model: Model | str,
    prompt: Any,
    target: MetricLike | Sequence[MetricLike] | None = None,
    *,
    against: TokenSet | Sequence[TokenSet] | None = None,
    components: Any = None,
    method: Method = "zero",
    reference: Any = (),
    positions: Any = None,
    position: int = -1,
    draws: int = DRAWS,
    seed: int = 0,
    strength: float | None = None,
    job: Job | None = None,
    budget: int | None = None,
) -> Ablation:
    """Take parts out of a run, one experiment per cell.

    Args:
        prompt: text, ids or a Run, or a list of prompts, over which changes are averaged.
        target, against: as in :func:`attrib_widgets.patch`, one for all prompts or a list of one for each.
        components: cells, one or several: each a component (a layer is its two writes, or one that is exact as a whole
            only what it adds to the stream), a feature of a dictionary (``"L3.mlp/12"``; the other features and the
            error of its place stay as they were), or a list of these ablated together; None is every part that the
            model splits into: heads and MLPs, or what is exact instead.
        method: ``"zero"`` (z or the MLP's output becomes 0, and the output bias of the attention stays; a whole
            sublayer or layer adds nothing), ``"mean"`` or
            ``"resample"`` over ``reference``, a list of prompts. Where all of these have the length of ``prompt``, the
            mean is taken (and drawn from) position by position; otherwise over all of their positions but the first,
            and the first position of ``prompt`` is left alone. The table says which. ``"scale"`` makes what it writes
            ``strength`` times as strong (a sublayer behind a norm of its own, which would undo it; a head what it
            hands to its layer, in front of one), ``"clamp"`` holds a feature at the activation ``strength`` everywhere.
        positions: None ablates every position together, ``"each"`` makes one cell per position, a list these together.
        draws, seed: of resampling from prompts of other lengths.

    Raises:
        AttribError: an unknown method, no reference prompts, no draws, or no strength.
        ComponentError: nothing to take out, a part that this model does not have, or that writes nothing.
        PositionError: no prompts; prompts of several lengths, where positions are chosen.
        GranularityError: a part of a layer that does not split so far exactly.
    """
    bases = [as_run(p, load(model), position) for p in prompts(prompt)]
    if not bases:
        raise PositionError("There are no prompts.", "Give at least one.")
    if positions is not None:
        check_one_length(bases)
    base = bases[0]
    places = positions_of(base, positions)
    if components is None:
        cells = every_part(base.model, places)
    else:
        cells = cells_from(base.model, components, places)
    if not cells:
        raise ComponentError(
            "There is nothing to take out.", "Name components=, or leave it out: every part of the model."
        )
    runs = [as_run(r, base.model) for r in prompts(reference)]
    targets = targets_of(target, against, prompt, (), base.model.single_token)
    cost, done = Cost(), torch.ones(len(cells), dtype=torch.bool)
    metrics = [metric_of(aim, run, run.position(position)) for run, aim in zip(bases, targets, strict=True)]
    name, unit, where = name_of(metrics), unit_of(metrics), base.position(position)
    starts: list[Tensor] = []
    drawn: list[Tensor] = []
    streams: list[tuple[Tensor, ...]] = []
    for run, metric in zip(bases, metrics, strict=True):
        rows: list[Tensor] = []
        read: list[Tensor] = []
        for donor in donors_of(run, method, runs, draws, seed, strength):
            found, finished, final = run_cells(run, donor, cells, metric, position, cost, job, budget)
            if (rows or drawn) and not bool(finished.all()):
                break  # cancelled: the draws, and the prompts, before this one are whole
            rows.append(found)
            read.append(final)
            done = finished
        if not rows:
            break
        if method in ("zero", "scale") and run is base:
            quiet = [str(c) for c in cells if silent(run, c.parts, c.positions)]
            cost.note([f"silent in this prompt: {', '.join(quiet[:6])}{' …' if quiet[6:] else ''}"] if quiet else [])
        starts.append(metric.of(run.record.streams[-1][run.position(position)][None]))
        drawn.append(torch.stack(rows))
        streams.append(tuple(read))
    ablated = pad_sequence(drawn, batch_first=True, padding_value=torch.nan)  # resampling: a reference run is a draw
    fits = sum(s.nbytes for read in streams for s in read) <= KEPT
    asked = tuple(asked_token(aim, r, r.position(position)) for r, aim in zip(bases, targets, strict=True))
    args = (bases[: len(drawn)], cells, method, name, unit, where, ablated, torch.cat(starts), done, cost)
    found_all = Ablation(*args, tuple(streams) if fits else (), asked, source_of(bases, method, runs, draws), strength)
    if streams and len(bases) == 1 and bool(done.any()):  # of the change that the title names
        best = cells.index(found_all.top(1)[0][0])
        read_then = torch.stack([draw[best] for draw in streams[0]])
        cost.note(change_said(base, targets[0], where, read_then, str(cells[best])))
    return found_all
