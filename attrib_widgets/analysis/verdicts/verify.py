"""From observation to verdict in one call: attribute, patch both ways, compare, and say what each part is.

The workflow: candidates are the parts with the largest direct contributions and those with the largest total effects
(mediators have no direct share, backups no total effect); each is tested for necessity and sufficiency; of those whose
loss is made up, wholly or in part, it is asked who takes over.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.identity.steady import steady
from ...model.running.worker import Cancelled
from ...words.components import Component, ComponentLike, component
from ...words.errors import AttribError, ComponentError, PositionError, TargetError
from ...words.several import named, prompts
from ...words.targets import Target, TokenSet
from ..attribution.attribution import Attribution, attribute_resolved, rather
from ..experiments.cells import Cell, RunDonor, every_part, parts_of
from ..experiments.estimates import estimate_cells
from ..experiments.metrics import metric_of
from ..experiments.pairs import Cost, Direction, as_pairs, check_one_length, ends_of, run_cells
from ..experiments.patching import Patching, patch_cells
from ..experiments.statistics import FEWEST, interval_of, ratio_of_means
from ..inputs import positions_in
from .backups import repair
from .findings import Finding, Verification, size_of
from .regions import Thresholds, Verdict, verdict, within

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.run import Run
    from ...model.running.worker import Job

EXACT_TOKENS = 60_000  # (row, position) pairs up to which every head and MLP is patched exactly
BACKUPS = 3


@steady()
def verify(
    attribution: Attribution | Sequence[Attribution],
    corrupted: Any,
    *,
    against: TokenSet | None = None,
    top: int = 10,
    components: ComponentLike | Sequence[ComponentLike] = (),
    positions: int | Sequence[int] | None = None,
    thresholds: Thresholds | None = None,
    exact_up_to: int = EXACT_TOKENS,
    backups: bool = True,
    job: Job | None = None,
    budget: int | None = None,
) -> Verification:
    """Test the leading parts of an attribution by experiment.

    Args:
        attribution: of the clean run (or one per pair of a set of pairs, all of one target).
        corrupted: the prompt (or prompts) to compare with, of as many tokens.
        against: a token (or several) whose logit is subtracted from what is explained.
        top: how many of the largest direct and of the largest total effects to test; 0 tests ``components`` only.
        components: one or several further ones to test.
        positions: where parts are patched; None is everywhere.
        thresholds: of the verdicts; printed with them.
        exact_up_to: while all heads and MLPs cost at most so many (row, position) pairs, total effects are exact;
            beyond, attribution patching chooses the candidates and only these are patched.
        backups: look for the parts that take over from others (one more pass for each that is not missed in full).
        job: a worker's job: told of the progress; when it is cancelled, what is done so far is returned.

    Raises:
        AttribError: no attribution; clean and corrupted answer alike (in the mean over pairs), or an attribution of a
            score.
        TargetError: attributions of different targets.
        PositionError: prompts of a pair of different lengths; pairs that are, where positions are chosen; attributions
            that were read at different places.
        GranularityError: one of ``components`` is a part of a layer that does not split so far exactly.
        ComponentError: one of ``components`` is not in the model, or is no part that it is split into (heads and MLPs,
            or the attention layers and whole layers that are exact instead).
    """
    given = [rather(a, against) for a in _attributions(attribution)]
    first, at = given[0], thresholds or Thresholds()
    target = first.target
    if not isinstance(target, Target):
        raise AttribError(
            f"The {target.words(first.model, first.run)} has no experiment here.", "Verify the attribution of a token."
        )
    model, position = first.model, _one_question(given)
    extra = [_testable(model, c) for c in named(components)]
    clean_runs = [a.run for a in given]
    others_of = prompts(corrupted)
    pairs = as_pairs(model, clean_runs, others_of * len(given) if len(others_of) == 1 else others_of, position)
    if positions is not None:
        check_one_length([clean for clean, _ in pairs])
    others = [attribute_resolved(c, target, a.position) for a, (_, c) in zip(given, pairs, strict=True)]
    gaps = torch.tensor([a.actual - b.actual for a, b in zip(given, others, strict=True)], dtype=torch.float64)
    if float(gaps.abs().max()) < 1e-6 * (1 + abs(first.actual)):
        raise AttribError(
            "Clean and corrupted run answer alike: there is no gap to explain.", "Change the prompt more."
        )
    if float(gaps.mean().abs()) < 1e-6 * float(gaps.abs().max()):
        raise AttribError(
            "The gaps of the pairs cancel: there is no mean gap to explain.",
            "Order every pair alike: the clean prompt is the one that gives the answer.",
        )
    shares = _direct_shares(given, others)
    where = None if positions is None else tuple(sorted(set(positions_in(first.run, positions))))
    cost = Cost()
    run = _Experiment(pairs, target, first, position, where, job, budget)
    cells, effects, notes = _total_effects(run, shares, top, extra, exact_up_to)
    for p in effects.values():
        cost.include(p.cost)
    notes += [n for n in cost.notes if n not in notes]
    complete = all(p.complete for p in effects.values())
    direct = ratio_of_means(torch.stack(list(shares.values()), -1), gaps)
    d = dict(zip(shares, direct.tolist(), strict=True))
    n, s = (dict(zip(cells, effects[k].values.tolist(), strict=True)) for k in ("noise", "denoise"))
    chosen = _candidates(d, n, s, top, extra)
    limits = _intervals(shares, gaps, cells, effects) if len(pairs) >= FEWEST else {}
    findings = []
    for c, lists in chosen.items():
        if c not in n or n[c] != n[c] or s[c] != s[c]:  # cancelled before it was computed
            continue
        word = verdict(d[c], n[c], s[c], at)
        reach = within(*limits[c], at) if c in limits else ()
        findings.append(Finding(c, d[c], n[c], s[c], word, lists, tuple(v for v in reach if v is not word)))
    findings.sort(key=size_of)
    result = Verification(given, findings, at, effects, float(gaps.mean()), len(pairs), cost, complete, notes)
    _add_evidence(result, run, backups)
    return result


def _attributions(given: Any) -> list[Attribution]:
    """One attribution or several."""
    if isinstance(given, Attribution):
        return [given]
    found = list(given) if hasattr(given, "__iter__") or hasattr(given, "__getitem__") else [given]
    wrong = next((a for a in found if not isinstance(a, Attribution)), None)
    if wrong is not None or not found:
        what = "" if wrong is None or found != [wrong] else f", and this is a {type(wrong).__name__}"
        raise AttribError(
            f"verify takes an attribution{what}.", "Write aw.verify(aw.attribute(run, target), corrupted)."
        )
    return found


def _one_question(given: Sequence[Attribution]) -> int:
    """The position that all attributions explain, counted from the end where their prompts differ in length.

    Raises:
        TargetError: they explain different targets: their gaps would be measured by the first.
        PositionError: they are read at different places.
    """
    first = given[0]
    for number, a in enumerate(given[1:], 1):
        if not isinstance(a.target, Target) or _asked(a) != _asked(first):
            texts = [x.target.words(x.model, x.run) for x in (first, a)]
            raise TargetError(
                f"The pairs of one verification share a target: pair 0 explains the {texts[0]}, and pair {number} the "
                f"{texts[1]}.",
                "Explain one target in all of them, or verify each pair by itself.",
            )
    ends = {a.position - a.run.n_positions for a in given}
    if len({a.position for a in given}) == 1:
        return first.position
    if len(ends) == 1:
        return ends.pop()
    raise PositionError(
        f"The attributions are read at positions {', '.join(str(a.position) for a in given)}: no place that all share.",
        "Explain the same position in all of them.",
    )


def _asked(a: Attribution) -> tuple[Any, ...]:
    """What a target measures, whether its tokens were given as texts or as ids."""
    t, model = a.target, a.model
    assert isinstance(t, Target)
    ids = [sorted(model.single_token(token) for token in tokens) for tokens in (t.tokens, t.against)]
    return t.kind, t.centre, ids


def _testable(model: Model, given: ComponentLike) -> Component:
    """``given`` as a component whose effects :func:`verify` measures."""
    found = component(given)
    every = every_part(model, [None])
    if parts_of(model, found) not in [c.parts for c in every]:
        kinds = dict.fromkeys(c.kind for cell in every if (c := cell.parts[0].component) is not None)
        raise ComponentError(
            f"{found} gets no verdict of its own here.",
            f"Verdicts are on {' and '.join(_KINDS[kind] for kind in kinds)}; "
            f'aw.patch(..., components=["{found}"]) patches it.',
        )
    return found


#: What verdicts are on, by the kinds of the parts that a model is split into.
_KINDS = {"head": "heads", "attn": "attention layers", "mlp": "MLPs", "layer": "whole layers"}


def planned(a: Attribution, top: int, components: int = 0, exact_up_to: int = EXACT_TOKENS) -> int:
    """At most how many plain forwards the experiments of :func:`verify` on one pair stand for (backups apart: two more
    for each part that others make up for). They take far fewer passes."""
    count = len(every_part(a.model, [None])) if top else components
    fits = count * a.run.n_positions <= exact_up_to
    return 2 * (count if fits else min(count, 3 * top + 8 + components) + 2)


def _direct_shares(
    clean: Sequence[Attribution], corrupted: Sequence[Attribution]
) -> dict[Component, Float[Tensor, "pair"]]:
    """Contribution in the clean run minus that in the corrupted run, each with its own norm, per row and pair."""
    rows = dict.fromkeys(c for a in (*clean, *corrupted) for c in a.components)

    def of(a: Attribution, c: Component) -> float:
        return a[c] if c in a.components else 0.0

    return {
        c: torch.tensor([of(a, c) - of(b, c) for a, b in zip(clean, corrupted, strict=True)], dtype=torch.float64)
        for c in rows
    }


@dataclass
class _Experiment:
    """What all experiments of one verification share."""

    pairs: list[tuple[Run, Run]]
    target: Target
    first: Attribution
    position: int
    where: tuple[int, ...] | None
    job: Job | None
    budget: int | None

    def patch(self, cells: Sequence[Cell], direction: Direction) -> Patching:
        """All pairs, one direction."""
        targets = [self.target] * len(self.pairs)
        return patch_cells(self.pairs, cells, targets, direction, self.position, job=self.job, budget=self.budget)


def _total_effects(
    run: _Experiment,
    shares: dict[Component, Tensor],
    top: int,
    components: Sequence[Component],
    exact_up_to: int,
) -> tuple[list[Component], dict[Direction, Patching], list[str]]:
    """Exact effects in both directions: of every head and MLP where that is affordable, else of the candidates."""
    first, notes = run.first, []
    model = first.model
    cells = every_part(model, [run.where])
    if not top:
        asked = {parts_of(model, c) for c in components}
        cells = [c for c in cells if c.parts in asked]
    elif len(cells) * first.run.n_positions * len(run.pairs) > exact_up_to:
        every, aims = every_part(model, [None]), [run.target] * len(run.pairs)
        estimate = estimate_cells(run.pairs, every, aims, "denoise", run.position)
        size = {str(c): abs(float(v)) for c, v in zip(estimate.cells, estimate.values, strict=True)}
        by_direct = sorted(shares, key=lambda c: -float(shares[c].mean().abs()))[: top + 8]
        keep = {*sorted(size, key=lambda c: -size[c])[: 2 * top], *map(str, by_direct), *map(str, components)}
        cells = [c for c in cells if str(Cell(c.parts)) in keep]
        notes.append(f"total effects chosen by attribution patching, {len(cells)} of them patched exactly")
    words: tuple[tuple[Direction, str], ...] = (("noise", "is it necessary?"), ("denoise", "is it sufficient?"))
    effects: dict[Direction, Patching] = {}
    for i, (way, note) in enumerate(words):
        stage = run.job and run.job.stage(i * len(cells), 2 * len(cells), note)
        effects[way] = replace(run, job=stage).patch(cells, way)
    return [c for c in (cell.parts[0].component for cell in cells) if c is not None], effects, notes


def _candidates(
    d: dict[Component, float],
    n: dict[Component, float],
    s: dict[Component, float],
    top: int,
    extra: Sequence[Component],
) -> dict[Component, tuple[str, ...]]:
    """The union of the largest direct and the largest total effects, and which list each came from."""
    tested = [c for c in n if c in d]
    by_direct = sorted(tested, key=lambda c: -abs(d[c]))[:top]
    total = {c: max(abs(n[c]), abs(s[c])) for c in tested}
    by_total = sorted(tested, key=lambda c: -(total[c] if total[c] == total[c] else -1.0))[:top]
    lists: dict[Component, tuple[str, ...]] = {}
    for name, found in (("direct", by_direct), ("total", by_total), ("asked", extra)):
        for c in found:
            lists[c] = (*lists.get(c, ()), name)
    return lists


def _intervals(
    shares: dict[Component, Tensor], gaps: Tensor, cells: list[Component], effects: dict[Direction, Patching]
) -> dict[Component, tuple[list[float], list[float], list[float]]]:
    direct = interval_of(torch.stack(list(shares.values()), -1), gaps)
    assert direct is not None
    by_direct = dict(zip(shares, direct.tolist(), strict=True))
    totals = []
    for name in ("noise", "denoise"):
        ends = effects[name].interval
        assert ends is not None
        totals.append(ends.tolist())
    found = {c: (by_direct[c], totals[0][i], totals[1][i]) for i, c in enumerate(cells) if c in by_direct}
    return {c: ends for c, ends in found.items() if all(low == low for low, _ in ends)}


def _add_evidence(result: Verification, run: _Experiment, backups: bool) -> None:
    """Who makes up for a part that is not missed as much as it wrote: on the first pair, where there are several."""
    a, donor, at = result.attributions[0], RunDonor(*run.pairs[0]), result.thresholds
    for i, f in enumerate(result.findings):
        if run.job is not None:
            if run.job.cancelled:
                return
            with suppress(Cancelled):
                run.job.progress(i, len(result.findings), f"evidence on {f.component}")
        if not backups or f.verdict not in (Verdict.REDUNDANT, Verdict.PARTLY_REPLACED, Verdict.COMPENSATED):
            continue
        found = repair(a, f.component, donor.writes(Cell(parts_of(a.model, f.component), run.where)))
        result.cost.forwards, result.cost.naive = result.cost.forwards + 1, result.cost.naive + 1
        f.rescaled = found.rescaling / result.gap
        least = at.tau * abs(result.gap)
        f.backups = [(c, v) for c, v in found.top(BACKUPS) if abs(v) >= least and c.is_replaceable]
        # What worked against the part by as much as half of its rise did not take over: it stopped.
        f.erasers = [c for c, v in f.backups if a[c] * a[f.component] < 0 and abs(a[c]) >= abs(v) / 2]
        if f.backups:
            _confirm(f, result, run, donor)


def _confirm(f: Finding, result: Verification, run: _Experiment, donor: RunDonor) -> None:
    """Take the backups out, with and without the part: does it matter once nobody can take over?"""
    clean, corrupted = run.pairs[0]
    position = clean.position(run.position)
    metric = metric_of(run.target, clean, position)
    out = tuple(p for c, _ in f.backups for p in parts_of(clean.model, c))
    cells = [Cell(out, run.where), Cell((*parts_of(clean.model, f.component), *out), run.where)]
    values, done = run_cells(clean, donor, cells, metric, position, result.cost, run.job, run.budget)
    ends = ends_of(metric, clean, corrupted, position)
    if bool(done.all()):
        f.unbacked = float((values[0] - values[1]) / (ends[0] - ends[1]))
        f.confirmed = verdict(f.direct, f.unbacked, f.sufficiency, result.thresholds) is not f.verdict
