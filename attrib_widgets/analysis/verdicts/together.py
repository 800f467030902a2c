"""What single experiments do not show: parts patched together, at the changed words alone, or set to their mean."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from ...words.components import Component
from .backups import confirmed
from .experiment import Effect, Experiment, Row
from .findings import OTHERS, SPARED, Finding, Group

MEANS = 10  # of so many parts that do little alone the mean is tried, the largest bars first
CARRIERS = 4  # of so many mediators it is asked whether they stand for the changed words
SUSPECTS = 5  # so many parts that can be spared are taken out in pairs
MEDIATORS = 4  # so many mediators of one kind are tried together
SPARED_KEYS = ("spared", "erased", "redundant", "counts there", "suppresses, made up")

Rows = dict[tuple[Any, ...], Row]


def most_rows(tested: int) -> int:
    """At most so many rows for ``tested`` parts."""
    pairs = min(tested, SUSPECTS) * (min(tested, SUSPECTS) - 1) // 2
    sets = sum(1 for _ in _sets(range(min(tested, MEDIATORS))))
    groups = 4 if tested > 1 else 2
    return groups + max(min(tested, MEANS), 1) + 2 * min(tested, CARRIERS) + pairs + 2 * sets


def test_together(
    findings: Sequence[Finding], run: Experiment, every: Sequence[Component], searched: bool
) -> list[Group]:
    """Two sweeps, one in each direction; what they find is added to the findings, and to groups of parts.

    ``every``: all parts of the model that could have been tested. ``searched``: the findings are candidates, so that
    those without a word of their own belong to the others.
    """
    named = {f.component for f in findings if f.named or not searched}
    kinds = {
        OTHERS: [c for c in every if c not in named],
        SPARED: [f.component for f in findings if _not_missed(f)],
    }
    kinds = {k: parts for k, parts in kinds.items() if len(parts) > (k == SPARED)}
    by_size = sorted(findings, key=lambda f: -f.size)
    spared = [f for f in by_size if f.verdict.key == "spared"][:SUSPECTS]
    either = [f for f in by_size if _mediates(f) and _either(f)][:MEDIATORS]
    both = [f for f in by_size if _mediates(f) and _both(f)][:MEDIATORS]
    noise: Rows = {(k,): run.swap(parts) for k, parts in kinds.items()}
    denoise: Rows = dict(noise)
    changed = run.changed()
    if changed:
        for f in [f for f in by_size if _whole(f)][:CARRIERS]:
            noise["changed", f.component] = denoise["changed", f.component] = run.swap([f.component], changed)
    noise |= {pair: run.swap(pair) for pair in itertools.combinations([f.component for f in spared], 2)}
    for rows, suspects in ((noise, either), (denoise, both)):
        rows |= {s: run.swap(s) for s in _sets([f.component for f in suspects])}
    if min(clean.n_positions for clean, _ in run.pairs) > 1:
        little = [f for f in findings if f.verdict.key in ("same", "below")]
        for f in sorted(little, key=lambda f: -abs(f.bar))[:MEANS]:
            noise["mean", f.component] = run.mean(f.component)
    damage = run.measure("noise", noise, "parts together, needed?")
    recovery = run.measure("denoise", denoise, "parts together, sufficient?")
    for f in findings:
        c = f.component
        if ("mean", c) in damage:
            f.learn(mean=damage["mean", c].share)
        if ("changed", c) in damage and ("changed", c) in recovery:
            f.learn(changed_n=damage["changed", c].share, changed_s=recovery["changed", c].share)
    for f in spared:
        joint = {(g.component,): _pair(damage, f.component, g.component) for g in spared if g is not f}
        confirmed(f, {b: v - _necessity(spared, b[0]) for b, v in joint.items() if v is not None})
    _settle(either, damage, "set_n")
    _settle(both, recovery, "set_s")
    return [
        Group(k, parts, damage[k,].share, recovery[k,].share, damage[k,].answers)
        for k, parts in kinds.items()
        if (k,) in damage and (k,) in recovery
    ]


def _not_missed(f: Finding) -> bool:
    """Whether it has a word, and yet little goes without it alone."""
    small = abs(f.necessity) < f.thresholds.tau
    return f.verdict.key in SPARED_KEYS or (small and f.verdict.parts is not None)


def _mediates(f: Finding) -> bool:
    return f.verdict.key in ("enough", "needed through", "through", "needed and enough")


def _either(f: Finding) -> bool:
    return f.necessity < f.thresholds.spared and f.sufficiency >= f.thresholds.needed


def _both(f: Finding) -> bool:
    return f.necessity >= f.thresholds.needed and f.sufficiency < f.thresholds.spared


def _whole(f: Finding) -> bool:
    """Whether it could stand for the changed words: all of the gap in both directions, and nothing directly."""
    tau = f.thresholds.tau
    near = max(abs(1 - f.necessity), abs(1 - f.sufficiency)) < 2 * tau
    return near and max(abs(f.direct), abs(f.direct_back)) < tau


def _sets(parts: Sequence[Any]) -> list[tuple[Any, ...]]:
    """All pairs, and all of them."""
    pairs = list(itertools.combinations(parts, 2))
    return pairs if len(parts) < 3 else [*pairs, tuple(parts)]


def _pair(damage: Mapping[tuple[Any, ...], Effect], a: Component, b: Component) -> float | None:
    found = damage.get((a, b)) or damage.get((b, a))
    return None if found is None else found.share


def _necessity(findings: Sequence[Finding], part: Component) -> float:
    return next(f.necessity for f in findings if f.component == part)


def _settle(suspects: Sequence[Finding], found: Mapping[tuple[Any, ...], Effect], quantity: str) -> None:
    """Of the mediators of one kind: the smallest set with each of them that does it all."""
    by_name = {f.component: f for f in suspects}
    sets = [s for s in _sets(list(by_name)) if s in found]
    for f in suspects:
        mine = [s for s in sets if f.component in s and found[s].share >= f.thresholds.needed]
        if not mine:
            continue
        best = min(mine, key=lambda s: (len(s), -found[s].share))
        members = [by_name[c] for c in best]
        f.learn(
            {"set": tuple(map(str, best))},
            **{
                quantity: found[best].share,
                "most_n": max(m.necessity for m in members),
                "least_n": min(m.necessity for m in members),
                "most_s": max(m.sufficiency for m in members),
                "least_s": min(m.sufficiency for m in members),
            },
        )
