"""Attribution at every destination position at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from ..components import Component
from ..errors import TargetError
from ..targets import ScoreTarget, Target, logit
from .attribution import PositionAttribution, _attribute
from .rows import decompose

if TYPE_CHECKING:
    from .attribution import Attribution


@torch.no_grad()
def by_position(a: Attribution, target: Literal["next"] | None = None) -> PositionAttribution:
    """See :meth:`Attribution.by_position`."""
    if isinstance(a.target, ScoreTarget):
        raise TargetError("A score belongs to one query position.", "Explain a token to see every position.")
    if target not in (None, "next"):
        raise TargetError(f"{target!r} is not a choice here.", 'Use None (the same target) or "next".')
    if target == "next" or a.target.kind == "log_prob":
        return _one_by_one(a, a.target, target == "next")
    return _same_direction(a, a.target)


def _one_by_one(a: Attribution, target: Target, own: bool) -> PositionAttribution:
    """Each position has a direction of its own (its next token, or its own probabilities)."""
    run = a.run
    found, names = [], []
    for position in range(run.n_positions):
        last = position == run.n_positions - 1
        goal = logit(run.ids[position + 1]) if own and not last else target
        found.append(_attribute(run, goal, position))
        names.append(run.tokens[position + 1] if own and not last else _name(a, target))
    values = torch.stack([f.values for f in found])
    actual = torch.tensor([f.actual for f in found]).float()
    return PositionAttribution(run, names, found[0].components, values, actual, found[0].unit)


def _same_direction(a: Attribution, target: Target) -> PositionAttribution:
    run, model, reading = a.run, a.model, a.reading
    everywhere = range(run.n_positions)
    rows = decompose(run, reading.stage, reading.norm, reading.direction[None], everywhere)
    columns = [rows.values[0]]
    components = list(rows.components)
    fixed = rows.constant[0].expand(run.n_positions)
    if bool(reading.norm.bias.any()):
        components.append(Component("norm.bias"))
        columns.append(fixed[:, None])
    for name, value in reading.constants:
        components.append(name)
        columns.append(fixed.new_full((run.n_positions, 1), value))
    from ..targets import resolve

    found = resolve(target, run, reading.position)
    pairs = [run.raw_logits(p) for p in everywhere]
    actual = torch.tensor([found.of(printed) for _, printed in pairs])
    precap = torch.tensor([found.of(pre) for pre, _ in pairs])
    read = (rows.direct[0] + fixed).cpu() + sum(v for _, v in reading.constants)
    if reading.precap is not None:
        components.append(Component("softcap"))
        columns.append((actual - precap)[:, None].to(fixed.device))
    components.append(Component("rounding"))
    columns.append(
        (rows.stream[0] + rows.heads[0] + ((precap if model.softcap else actual) - read).to(fixed.device))[:, None]
    )
    values = torch.cat([c.float().cpu() for c in columns], -1)
    return PositionAttribution(run, [_name(a, target)] * run.n_positions, components, values, actual.float(), a.unit)


def _name(a: Attribution, target: Target) -> str:
    first = target.tokens[0]
    return first if isinstance(first, str) else a.model.token(first)
