"""An attribution in a few sentences, each with its number; none says cause before something was tested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...result import strongest
from ...words.errors import AttribError
from ...words.targets import Target
from ...words.text import number, signed, visible

if TYPE_CHECKING:
    from .attribution import Attribution

#: Parts and words that a sentence names.
NAMED = 3
#: A share of the number below which nothing is named.
LEAST = 0.05


def in_words(a: Attribution, tested: str = "", without: str = "") -> list[str]:
    """What comes next and how surely, what wrote it, from which words, which concept, what was tested, and the rest.

    Args:
        tested: the finding of an experiment; "" where there was none.
        without: what the model says without the part that it misses most.
    """
    return [
        sentence
        for sentence in (_asked(a), _wrote(a), _words(a), _concept(a), _tested(tested, without), _rest(a))
        if sentence
    ]


def _asked(a: Attribution) -> str:
    before = "".join(t for i, t in enumerate(a.run.tokens[: a.position + 1]) if i not in a.run.special).strip()
    what = f"the {a.target.words(a.model, a.run)} is {number(a.actual)} {a.unit}"
    if not isinstance(a.target, Target) or a.target.inner:
        return f"After “{before}” {what}."
    best = a.run.top(1, position=a.position)[0]
    return f"After “{before}” the model says {visible(best.text)} ({100 * best.probability:.1f} %); {what}."


def _named(a: Attribution) -> list[int]:
    rows = [i for i in strongest(a.values) if a.components[i].kind not in ("rounding",)]
    return [i for i in rows[:NAMED] if abs(float(a.values[i])) >= LEAST * abs(a.actual)] or rows[:1]


def _wrote(a: Attribution) -> str:
    rows = _named(a)
    parts = [f"{a.labels[i]} {signed(float(a.values[i]))}" for i in rows]
    together = float(a.values[rows].double().sum())
    return f"The largest direct contributions are {_and(parts)}: {signed(together)} of {number(a.actual)} together."


def _words(a: Attribution) -> str:
    """From which words, by all direct and indirect paths that a held network has."""
    try:
        totals = a.token_totals()
        values = [(p, float(v)) for p, v in enumerate(totals.positions.tolist())]
    except AttribError:
        return ""
    large = sorted(values, key=lambda row: -abs(row[1]))[:NAMED]
    told = [f"{visible(a.run.tokens[p])} {signed(v)}" for p, v in large if abs(v) >= LEAST * abs(a.actual)]
    return f"By the words it came from, with attention and norms held: {_and(told)}." if told else ""


def _concept(a: Attribution) -> str:
    """The largest feature of the leading part that has a dictionary which fits there."""
    for i in strongest(a.values, NAMED):
        part = a.components[i]
        if part.kind not in ("head", "mlp"):
            continue
        try:
            found = a.features(part)
        except AttribError:
            continue
        rows = [j for j in strongest(found.values) if found.kinds[j] in ("feature", "error")]
        if not rows or found.kinds[rows[0]] == "error" or not found.concepts[rows[0]]:
            continue
        value, of = signed(float(found.values[rows[0]])), signed(float(a.values[i]))
        label = f"“{visible(found.concepts[rows[0]])}”"
        return f"Inside {part} the largest feature of its dictionary is {label} (computed label): {value} of {of}."
    return ""


def _tested(tested: str, without: str) -> str:
    if not tested:
        return "Nothing was tested: these are observations, not causes."
    return f"Tested: {tested}{f'; {without}' if without else ''}. Every other part is observed only."


def _rest(a: Attribution) -> str:
    named = _named(a)
    rest = [i for i in range(len(a.values)) if i not in named]
    others = float(a.values[rest].double().sum())
    return (
        f"The other {len(rest)} rows add {signed(others)}; all rows sum to {number(a.total, 4)}, and the model's own "
        f"number is {number(a.actual, 4)}."
    )


def _and(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
