"""An attribution in a few sentences, each with its number; none says cause before something was tested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...result import strongest
from ...words.errors import AttribError
from ...words.kinds import with_kind
from ...words.targets import Target
from ...words.text import digits_for, enumerated, kind_of, number, percent, safe, signed, visible
from ..opening.trace.totals import HELD

if TYPE_CHECKING:
    from .attribution import Attribution

#: Parts and words that a sentence names.
NAMED = 3
#: A share of the number below which nothing is named.
LEAST = 0.05


def in_words(a: Attribution, tested: Sequence[str] = ()) -> list[str]:
    """What comes next and how surely, what wrote it, from which words, which concept, and what was tested.

    Args:
        tested: what an experiment found, in sentences; nothing where there was none.
    """
    said = [_asked(a), _wrote(a), _rest(a), _words(a), _concept(a), *_tested(tested)]
    return [sentence for sentence in said if sentence]


def tested_of(a: Attribution, verdicts: Any) -> Sequence[str]:
    """What a verification says for :func:`in_words`; nothing for None.

    Raises:
        AttribError: it is none, or none of this attribution.
    """
    if verdicts is None:
        return ()
    explained = getattr(verdicts, "attributions", None)
    if explained is None or not hasattr(verdicts, "in_words"):
        raise AttribError(f"{kind_of(verdicts, start=True)} holds no verdicts.", "Give aw.verify(a, corrupted).")
    if _subject(a) not in map(_subject, explained):
        raise AttribError(
            "These verdicts are on another prompt, token or position.", "Verify this one: aw.verify(a, corrupted)."
        )
    told: Sequence[str] = verdicts.in_words()
    return told


def _subject(a: Attribution) -> tuple[Any, ...]:
    """What verdicts are about, whatever it is held against: model, prompt, position, tokens."""
    ids = tuple(map(a.model.single_token, a.target.tokens)) if isinstance(a.target, Target) else a.target
    return id(a.model), tuple(a.run.ids), a.position, ids


def _asked(a: Attribution) -> str:
    before = "".join(t for i, t in enumerate(a.run.tokens[: a.position + 1]) if i not in a.run.special).strip()
    where = f"After “{safe(before)}”" if before else "At the beginning"
    what = f"the {a.target.words(a.model, a.run)} is {_plain(a, a.actual)}"
    if not isinstance(a.target, Target) or a.target.inner:  # its unit is its name
        return f"{where} {what}."
    best = a.run.top(1, position=a.position)[0]
    what = what[:1].upper() + what[1:]
    return f"{where} the model says {visible(best.text)} ({percent(best.probability)}). {what} {a.unit}."


def _named(a: Attribution) -> list[int]:
    """The rows of the parts that wrote most: what was never written (an entropy, a soft cap, rounding) is not one."""
    rows = [i for i in strongest(a.values) if a.components[i].writes]
    return [i for i in rows[:NAMED] if abs(float(a.values[i])) >= LEAST * abs(a.actual)] or rows[:1]


def _wrote(a: Attribution) -> str:
    rows = _named(a)
    parts = [f"{with_kind(a.labels[i], a.part_kinds)} {_signed(a, float(a.values[i]))}" for i in rows]
    if len(rows) == 1:
        return f"The largest direct contribution is {parts[0]} of {_plain(a, a.actual)}{_unit(a)}."
    together = float(a.values[rows].double().sum())
    told = f"together {_signed(a, together)} of {_plain(a, a.actual)}{_unit(a)}"
    return f"The largest direct contributions are {enumerated(parts)}: {told}."


def _words(a: Attribution) -> str:
    """From which words, by all direct and indirect paths that a held network has, and what no word wrote. Where a part
    is not opened (a mixture of experts, a whole layer), what it wrote counts where it wrote it: no word is named."""
    try:
        totals = a.token_totals()
    except AttribError:
        return ""
    values = [(visible(t), float(v)) for t, v in zip(a.run.tokens, totals.positions, strict=True)]
    large = sorted((row for row in values if abs(row[1]) >= LEAST * abs(a.actual)), key=lambda row: -abs(row[1]))
    if not large:
        return ""
    fixed = float(sum(value for _, value in totals.constants))
    named = [*large[:NAMED], *([("constants", fixed)] if abs(fixed) >= LEAST * abs(a.actual) else [])]
    digits = digits_for(a.actual)  # of what is printed, so that what is printed sums
    rest = round(a.actual, digits) - sum(round(value, digits) for _, value in named)
    named += [("the rest", rest)] if _signed(a, rest) != _signed(a, 0.0) else []
    by = "By the words it came from" if totals.opened else "By where in the prompt it was written"
    told = enumerated([f"{t} {_signed(a, v)}" for t, v in named])
    return f"{by}, with {HELD[totals.mlps]}: {told}, together {_plain(a, a.actual)}{_unit(a)}."


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
        value, of = _signed(a, float(found.values[rows[0]])), _signed(a, float(a.values[i]))
        label = f"“{visible(found.concepts[rows[0]])}”"
        told = f"Inside {part} the largest feature of its dictionary writes {value} of {of}{_unit(a)}"
        return f"{told}; a rule that read texts calls it {label}."
    return ""


def _tested(tested: Sequence[str]) -> list[str]:
    if not tested:
        return ["Nothing was tested: these are observations, not causes."]
    return [*tested, "What was not tested is observed only."]


def _rest(a: Attribution) -> str:
    named = _named(a)
    rest = [i for i in range(len(a.values)) if i not in named]
    others = float(a.values[rest].double().sum())
    return (
        f"The other {len(rest)} rows add {_signed(a, others)}{_unit(a)}; all rows sum to "
        f"{_plain(a, a.total, 4)}, and the model's own number is {_plain(a, a.actual, 4)}."
    )


def _unit(a: Attribution) -> str:
    """The unit behind a number; nothing where the number is named by it."""
    return "" if a.target.inner else f" {a.unit}"


def _plain(a: Attribution, value: float, least: int = 2) -> str:
    """A number, with as many digits as it takes for what is explained not to read 0.00."""
    return number(value, digits_for(a.actual, least))


def _signed(a: Attribution, value: float) -> str:
    return signed(value, digits_for(a.actual))
