"""From observation to verdict in one call: attribute, patch both ways, compare, and say what each part is.

The workflow: candidates are the parts with the largest contributions, direct and total effects (mediators have no
direct effect, backups no total one); each is tested for necessity and sufficiency, and so is its write on its way to
the read-out alone; then what single experiments do not show is tried: the others together, suspects in pairs, backups,
the changed words. What may be said of all that is in :mod:`.table`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.identity.steady import steady
from ...words.components import Component, ComponentLike, component, whole
from ...words.errors import AttribError
from ...words.several import named, prompts
from ...words.targets import Target, TokenSet
from ..attribution.attribution import Attribution, rather
from ..experiments.cells.cells import every_part
from ..experiments.estimates.attribution_patch import estimate_cells
from ..experiments.estimates.slopes import Way
from ..experiments.measuring.answers import Answer, answers
from ..experiments.measuring.common import common_share
from ..experiments.measuring.pairs import Cost, Direction, as_pairs, check_one_length
from ..experiments.measuring.statistics import FEWEST, opposite_gaps
from ..experiments.patching.patching import Patching
from ..inputs import positions_in
from ..opening.dictionaries.features import contribution
from ..reading.readers import read
from .asked import attributions_of, one_question, rivals, testable, testables
from .backups import search
from .experiment import Experiment
from .findings import Finding, Verification
from .reach import over_intervals, over_tau
from .rules import Measured, Thresholds
from .table import gaps as gaps_said
from .together import most_rows, test_together

if TYPE_CHECKING:
    from ...model.running.worker import Job

EXACT_TOKENS = 60_000  # (row, position) pairs up to which every head and MLP is patched exactly
WAYS: tuple[Direction, ...] = ("noise", "denoise")
NAMES: tuple[tuple[str, Direction], ...] = (("n", "noise"), ("s", "denoise"))
EMBED = component("embed")


@steady()
def verify(
    attribution: Attribution | Sequence[Attribution],
    corrupted: Any,
    *,
    against: TokenSet | Sequence[TokenSet] | None = None,
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
        attribution: of the clean run, or one per pair of a set of pairs, each of its own token.
        corrupted: the prompt (or prompts) to compare with, of as many tokens.
        against: a token (or several) whose logit is subtracted from what is explained; None takes, where a plain logit
            is explained, the likeliest other token after the corrupted prompt (nothing where a pair is answered alike),
            and ``()`` nothing. For several pairs a list is one for each.
        top: how many of the largest contributions, direct and total effects to test; 0 tests ``components`` only.
        components: one or several further ones to test.
        positions: where parts are patched; None is everywhere.
        thresholds: of the verdicts; printed with them.
        exact_up_to: while all heads and MLPs cost at most so many (row, position) pairs, total effects are exact;
            beyond, attribution patching chooses the candidates and only these are patched.
        backups: look for the parts that take over from others (a pass for each that is not missed in full, and more to
            confirm).
        job: a worker's job: told of the progress; when it is cancelled, what is done so far is returned.

    Raises:
        AttribError: no attribution, or one of a score; a ``top`` below 0; clean and corrupted answer alike (in the mean
            over pairs).
        TargetError: attributions of different kinds of target; rivals that are not one per pair.
        PositionError: prompts of a pair of different lengths; pairs that are, where positions are chosen; attributions
            that were read at different places.
        GranularityError: one of ``components`` is a part of a layer that does not split so far exactly.
        ComponentError: one of ``components`` is not in the model, or is no part that it is split into (heads and MLPs,
            or the attention layers and whole layers that are exact instead).
    """
    if (count := whole(top)) is None or count < 0:
        raise AttribError(f"top={top!r} is not a number of parts.", "Give 0 or more: 0 tests components= only.")
    asked = attributions_of(attribution)
    model, at, position = asked[0].model, thresholds or Thresholds(), one_question(asked)
    extra = [testable(model, c) for c in named(components)]
    others_of = prompts(corrupted)
    clean_runs = [a.run for a in asked]
    pairs = as_pairs(model, clean_runs, others_of * len(asked) if len(others_of) == 1 else others_of, position)
    if positions is not None:
        check_one_length([clean for clean, _ in pairs])
    held, chosen = rivals(asked, pairs, against, position)
    given = [rather(a, rival) for a, rival in zip(asked, held, strict=True)]
    first, targets = given[0], [a.target for a in given if isinstance(a.target, Target)]
    ends = zip(given, targets, pairs, strict=True)
    there = [read(c, target, a.position).actual for a, target, (_, c) in ends]
    gaps = torch.tensor([a.actual - b for a, b in zip(given, there, strict=True)], dtype=torch.float64)
    if float(gaps.abs().max()) < 1e-6 * (1 + abs(first.actual)):
        raise AttribError(
            "Clean and corrupted run answer alike: there is no gap to explain.", "Change the prompt more."
        )
    if float(gaps.mean().abs()) < 1e-6 * float(gaps.abs().max()):
        raise AttribError(
            "The gaps of the pairs cancel: there is no mean gap to explain.",
            "Order every pair alike: the clean prompt is the one that gives the answer.",
        )
    where = None if positions is None else tuple(sorted(set(positions_in(first.run, positions))))
    cost = Cost()
    run = Experiment(pairs, targets, first, position, where, cost, job, budget)
    every = [*testables(model), *dict.fromkeys(c for c in extra if c.kind == "feature")]
    bars = _bars(given, every)
    cells, effects, notes = _total_effects(run, every, bars, top, extra, exact_up_to)
    direct = {way: run.direct([run.cell([c]) for c in (every if top else cells)], way) for way in WAYS}
    for p in effects.values():
        cost.include(p.cost)
    gap = float(gaps.mean())
    total = {k: dict(zip(cells, effects[way].values.tolist(), strict=True)) for k, way in NAMES}
    alone = {k: dict(zip(every if top else cells, direct[way].values.tolist(), strict=True)) for k, way in NAMES}
    findings = []
    for c, lists in _candidates(bars, total, alone, top, extra).items():
        if any(v[c] != v[c] for v in total.values()):  # cancelled before it was computed
            continue
        values = {"n": total["n"][c], "d_n": alone["n"][c], "s": total["s"][c], "d_s": alone["s"][c]}
        values["differs"] = run.differs(c)
        findings.append(Finding(c, bars[c], Measured(values), at, lists, _answers(effects["noise"], cells.index(c))))
    findings.sort(key=lambda f: -f.size)
    live, said = None, run.said()
    if top and where is None:  # patched at some positions, the rest of the gap is that of the others
        live = float(direct["noise"].values.sum()) + float(run.direct([run.cell([EMBED])], "noise").values[0])
    groups = [] if not findings or run.cancelled else test_together(findings, run, every, bool(top))
    if backups:
        search(findings, run, gap, total["n"])
    _borderline(findings, run, effects, direct, cells, every if top else cells)
    if where is not None:
        notes.insert(0, f"patched at position{'s' * (len(where) > 1)} {', '.join(map(str, where))} only")
    common = common_share(pairs, targets, position)
    notes = [
        *([] if model.built is None else [model.built.called]),
        *chosen,
        *_opposite(gaps),
        *([] if common is None else gaps_said(Measured({"common": common}), at)),
        *notes,
    ]
    notes += [n for n in cost.notes if n not in notes]
    complete = all(p.complete for p in effects.values()) and not run.cancelled
    if not complete:
        notes.insert(0, "cancelled: what is missing could change these words")
    return Verification(
        given, findings, at, effects, direct, groups, gap, len(pairs), cost, complete, notes, live, said, bool(top)
    )


def _opposite(gaps: Float[Tensor, "pair"]) -> list[str]:
    """What to leave out, where some pairs say the answer more after the other prompt."""
    found = opposite_gaps(gaps)
    if float(gaps.mean()) < 0:
        more = "the gap is negative: the other prompt says more of it, and damage and recovery change places"
        return [more if len(gaps) == 1 else f"in the mean {more}"]
    if not found:
        return []
    which = f"pair{'s' * (len(found) > 1)} {', '.join(map(str, found))}"
    it = "them" if len(found) > 1 else "it"
    return [f"the gap of {which} has the other sign: leave {it} out, or turn {it} round"]


def planned(a: Attribution, top: int, components: int = 0, exact_up_to: int = EXACT_TOKENS) -> int:
    """At most how many plain forwards the experiments of :func:`verify` on one pair stand for (backups apart, which are
    looked for only where something can be spared). They take far fewer passes."""
    every = len(every_part(a.model, [None]))
    count = every if top else components
    if top and every * a.run.n_positions > exact_up_to:
        count = min(every, 4 * top + 2 * (top // 2 + 4) + components)
    return 2 * count + most_rows(min(count, 3 * top + components))


def _bars(given: Sequence[Attribution], every: Sequence[Component]) -> dict[Component, float]:
    """Every row's contribution in the clean run, the mean over pairs, and that of features."""
    found = {c: sum(float(a[c]) for a in given) / len(given) for c in given[0].components}
    features = [c for c in every if c.kind == "feature"]
    return found | {c: sum(contribution(a, c) for a in given) / len(given) for c in features}


def _total_effects(
    run: Experiment,
    every: Sequence[Component],
    bars: dict[Component, float],
    top: int,
    components: Sequence[Component],
    exact_up_to: int,
) -> tuple[list[Component], dict[Direction, Patching], list[str]]:
    """Exact effects in both directions: of every part where that is affordable, else of the candidates."""
    first, notes, chosen = run.first, [], list(every)
    if not top:
        chosen = [c for c in every if c in components]
    elif len(every) * first.run.n_positions * len(run.pairs) > exact_up_to:
        keep = set(components)
        # Between the runs, and at each of them, as both directions are patched: each sees what the others miss.
        estimated = {Way(): 2 * top, Way("atp", direction="denoise"): top, Way("atp", direction="noise"): top}
        for how, count in estimated.items():
            estimate = estimate_cells(run.pairs, every_part(run.model, [None]), run.targets, how, run.position)
            size = {c.parts[0].component: abs(float(v)) for c, v in zip(estimate.cells, estimate.values, strict=True)}
            keep |= set(sorted(every, key=lambda c: -size.get(c, 0.0))[:count])
        direct = run.direct([run.cell([c]) for c in every], "noise").values.abs().tolist()
        keep |= {c for _, c in sorted(zip(direct, every, strict=True), key=lambda pair: -pair[0])[: top // 2 + 4]}
        keep |= set(sorted(every, key=lambda c: -abs(bars[c]))[: top // 2 + 4])
        chosen = [c for c in every if c in keep]
        notes.append(f"total effects chosen by estimates, {len(chosen)} of them patched exactly")
    words: tuple[tuple[Direction, str], ...] = (("noise", "is it necessary?"), ("denoise", "is it sufficient?"))
    effects: dict[Direction, Patching] = {}
    for i, (way, note) in enumerate(words):
        stage = run.job and run.job.stage(i * len(chosen), 2 * len(chosen), note)
        effects[way] = run.patch([run.cell([c]) for c in chosen], way, stage)
    return chosen, effects, notes


def _candidates(
    bars: dict[Component, float],
    total: dict[str, dict[Component, float]],
    direct: dict[str, dict[Component, float]],
    top: int,
    extra: Sequence[Component],
) -> dict[Component, tuple[str, ...]]:
    """The union of the largest bars, direct and total effects, and which list each came from."""
    tested = list(total["n"])
    sizes = {
        "bar": {c: abs(bars[c]) for c in tested},
        "direct": {c: max(abs(direct[k][c]) for k in direct) for c in tested},
        "total": {c: max(abs(total[k][c]) for k in total) for c in tested},
    }
    lists: dict[Component, tuple[str, ...]] = {}
    for name, size in sizes.items():
        for c in sorted(tested, key=lambda c: -(size[c] if size[c] == size[c] else -1.0))[:top]:
            lists[c] = (*lists.get(c, ()), name)
    for c in extra:
        lists[c] = (*lists.get(c, ()), "asked")
    return lists


def _answers(effect: Patching, index: int) -> list[Answer]:
    """What the model says with a cell patched, a pair each; nothing where streams were too many to be kept."""
    return [answers(effect.model, s[index][None], t)[0] for s, t in zip(effect.streams, effect.asked, strict=False)]


def _borderline(
    findings: Sequence[Finding],
    run: Experiment,
    effects: dict[Direction, Patching],
    direct: dict[Direction, Patching],
    total: Sequence[Component],
    alone: Sequence[Component],
) -> None:
    """The other words within reach: in the intervals over pairs, or, without any, for another tau."""
    limits: dict[str, dict[Component, list[float]]] = {}
    if len(run.pairs) >= FEWEST:
        for (n, way), d in zip(NAMES, ("d_n", "d_s"), strict=True):
            for name, found, parts in ((n, effects[way], total), (d, direct[way], alone)):
                interval = found.interval
                assert interval is not None
                limits[name] = dict(zip(parts, interval.tolist(), strict=True))
    for f in findings:
        ends = {k: v[f.component] for k, v in limits.items()}
        wide = bool(ends) and all(low == low for low, _ in ends.values())
        f.learn(intervals=float(wide))
        if wide:
            reached = over_intervals(f.measured, ends, f.thresholds)
        else:
            reached = over_tau(f.measured, f.thresholds)
        others = tuple(word for word in reached if word != f.word)
        if others:
            f.learn({"words": tuple(f"“{word}”" for word in others)}, **{"other words": float(len(others))})
