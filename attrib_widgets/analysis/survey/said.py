"""A survey in words and tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...result import Table, strongest
from ...words.components import Component
from ...words.text import digits_of, enumerated, number, power, share, signed
from .group import LEVEL, Group
from .measures import Null
from .parts import OBSERVED

if TYPE_CHECKING:
    import pandas as pd

    from .result import Survey

#: Rows of the table for one group, and for each of several.
ROWS, EACH = 10, 4


def asked(s: Survey) -> str:
    """What was asked of the prompts, in words."""
    first, at = s.targets[0], "" if s.position == -1 else f", read at position {s.position}"
    centred = "centred " if first.centre else ""
    if len(set(s.targets)) == 1:
        return f"{centred}logit of {s.answers[0]}{at}"
    return f"{centred}logit of each prompt\u2019s answer{' over its rival' if first.against else ''}{at}"


def title(s: Survey) -> str:
    """Which part writes most, and how many are specific."""
    total = len(s.tested)
    if len(s.groups) == 1:
        group = s.group()
        first = strongest(group.mean)[0]
        said = f"{s.parts[first]} writes most, {signed(float(group.mean[first]))} {s.unit}"
        said += f" in the mean of {len(group)} prompts"
        return said if group.specific is None else f"{said}; {_counted(len(group.passing()), total)} specific"
    found = [f"{len(group.passing())} in {name}" for name, group in s.groups.items() if group.specific is not None]
    said = f"{len(s)} prompts in {len(s.groups)} groups"
    return f"{said}; of {total} parts are specific: {', '.join(found)}" if found else said


def checks(s: Survey) -> list[str]:
    """What stands below the table: that every prompt closes, rounding, and how steady the order of parts is."""
    found = [f"largest mismatch of a prompt {power(float(s.mismatches().abs().max()))}"]
    if s.dtype != "float32":
        most = float(s.values[:, s.components.index(Component("rounding"))].abs().max())
        found.append(f"the model computes in {s.dtype}: rounding is up to {number(most, 4)} of a prompt")
    alike = [_named(s, name, g.stability) for name, g in s.groups.items() if g.stability == g.stability]
    if alike:
        found.append(
            f"how alike random halves of the prompts order the parts (Spearman, 1 is alike): {', '.join(alike)}"
        )
    nulls = {name: g.specific for name, g in s.groups.items() if g.specific is not None}
    offered = [*nulls.values(), *(g.between for g in s.groups.values() if g.between is not None)]
    if any(math.isinf(null.threshold(LEVEL)) for null in offered):
        found.append(f"{s.permutations} permutations: too few for p \u2264 {LEVEL:g}")
    elif nulls:
        beyond = [_named(s, name, null.threshold(LEVEL)) for name, null in nulls.items()]
        found.append(f"a part is specific (p \u2264 {LEVEL:g}) beyond, in {s.unit}: {', '.join(beyond)}")
    found += [f"specific is not asked{_inside(s, n)}: {g.specific_why}" for n, g in s.groups.items() if g.specific_why]
    found += [_few(null, "answers", _inside(s, name)) for name, null in nulls.items() if null.orders * LEVEL < 1]
    if len(s.groups) > 1:
        found += _between_said(s)
    return found


def summary(s: Survey) -> Table:
    several = len(s.groups) > 1
    rows: list[list[str]] = []
    bars: list[float | None] = []
    digits = digits_of(float(v) for g in s.groups.values() for v in g.mean)
    for name, group in s.groups.items():
        for i in strongest(group.mean, EACH if several else ROWS):
            numbers = [group.spread[i], group.beyond[i], group.p[i], group.selectivity[i], group.mean[i]]
            spread, beyond, p, selective, mean = map(float, numbers)
            alike = f"{share(float(group.same_sign[i]))}{_permuted(float(group.same_sign_permuted[i]))}"
            row = [str(s.parts[i]), alike, number(spread, digits), _or_blank(beyond, digits), _p(p)]
            rows.append(
                [name, *row, signed(selective, digits), signed(mean, digits)]
                if several
                else [*row, signed(mean, digits)]
            )
            bars.append(mean)
    columns = ["component", "same sign (permuted)", "spread", "specific", "p", f"mean, {s.unit}"]
    if several:
        columns = ["group", *columns[:-1], "selective", columns[-1]]
    what, left = asked(s), len(s.parts) - (EACH if several else ROWS)
    note = [*s.notes, f"{what[:1].upper()}{what[1:]}.", OBSERVED, _columns_said(s, several)]
    where = " of each group" if several else ""
    rest = f"the parts with the largest mean{where}; .to_dataframe() has all {len(s.parts)} parts"
    return Table(title(s), columns, rows, bars, "\n".join(note), "\n".join([*([rest] if left > 0 else []), *checks(s)]))


def _columns_said(s: Survey, several: bool) -> str:
    """What stands in the columns."""
    found = ["same sign: in how many prompts a part writes with the sign of its mean"]
    if any(g.specific is not None for g in s.groups.values()):
        found[0] += " (permuted: with the answers given to other prompts, at random)"
        found += [
            "specific: its mean for each prompt\u2019s own answer, less its mean for all answers of the group",
            f"p: how often the best of all {len(s.tested)} parts is as large with the answers permuted, "
            f"{s.permutations} times, seed {s.seed}; at least {1 / (s.permutations + 1):.3f}",
        ]
    found += ["selective: its mean, less its mean in the other groups"] if several else []
    return "\n".join([*found, "spread: the standard deviation"])


def _named(s: Survey, name: str, value: float) -> str:
    """A number of a group, with the name of the group where there are several."""
    return number(value) + _inside(s, name)


def _counted(count: int, total: int) -> str:
    return f"{count} of {total} parts {'is' if count == 1 else 'are'}"


def _inside(s: Survey, name: str) -> str:
    """Of which group something is said, where there are several."""
    return f" in {name}" if len(s.groups) > 1 else ""


def _few(null: Null, what: str, where: str) -> str:
    """That so few orders of what is permuted differ that no part can pass."""
    return f"{null.orders:.0f} orders of the {what} differ{where}: too few for p \u2264 {LEVEL:g}"


def _between_said(s: Survey) -> list[str]:
    """Which groups differ in which parts, and why others are not compared so."""
    said: list[str] = []
    why: dict[str, list[str]] = {}
    for name, group in s.groups.items():
        names = [name, *group.beside]
        if group.between is None:
            why.setdefault(group.between_why, []).append(name)
        elif names == [n for n in s.groups if n in names]:  # told once, of the first of them
            nulls = [n for g in (s.groups[n] for n in names) if (n := g.between) is not None]
            least = torch.stack([n.p for n in nulls]).amin(0)
            order = strongest(torch.stack([n.statistic for n in nulls]).abs().amax(0))
            differ = [str(s.parts[i]) for i in order if float(least[i]) <= LEVEL]
            found = enumerated(differ, 5) if differ else "no part"
            said.append(f"between {enumerated(names)}, labels permuted: {found} at p \u2264 {LEVEL:g}")
            if group.between.orders * LEVEL < 1:
                said.append(_few(group.between, "labels", f" between {enumerated(names)}"))
    return [
        *said,
        *(f"differences between {enumerated(names)} are not tested: {reason}" for reason, names in why.items()),
    ]


def _permuted(value: float) -> str:
    return f" ({share(value)})" if value == value else ""


def _or_blank(value: float, digits: int) -> str:
    return signed(value, digits) if value == value else ""


def _p(value: float) -> str:
    return f"{value:.3f}" if value == value else ""


#: What is measured of a part in a group, by the name of its column in the DataFrame, in few words.
MEASURES = {
    "mean": "mean",
    "spread": "spread",
    "same_sign": "same sign",
    "same_sign_permuted": "same sign, permuted",
    "specific": "specific",
    "p_specific": "p of specific",
    "selectivity": "selective",
    "between": "between groups",
    "p_between": "p between groups",
    "rank": "rank",
    "rank_low": "rank, low end",
    "rank_high": "rank, high end",
}


def measured(group: Group) -> dict[str, Float[Tensor, "part"]]:
    """Everything that was measured of one group, by the names of :data:`MEASURES`; NaN where it was not asked."""
    none = torch.full_like(group.mean, torch.nan)
    found = {
        "mean": group.mean,
        "spread": group.spread,
        "same_sign": group.same_sign,
        "same_sign_permuted": group.same_sign_permuted,
        "specific": group.beyond,
        "p_specific": group.p,
        "selectivity": group.selectivity,
        "between": none if group.between is None else group.between.statistic,
        "p_between": none if group.between is None else group.between.p,
        "rank": group.rank,
        "rank_low": group.rank_range[0],
        "rank_high": group.rank_range[1],
    }
    return {name: found[name] for name in MEASURES}


def frame(s: Survey, name: str) -> pd.DataFrame:
    """Everything that was measured of one group, a row per part."""
    import pandas as pd

    group = s.groups[name]
    return pd.DataFrame(
        {
            "group": name,
            "component": [str(c) for c in s.parts],
            "kind": [c.kind for c in s.parts],
            "layer": pd.array([c.layer for c in s.parts], dtype="Int64"),
            "index": pd.array([c.index for c in s.parts], dtype="Int64"),
            "prompts": len(group),
            **{column: values.numpy() for column, values in measured(group).items()},
        }
    )
