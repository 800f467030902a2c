"""Attribution at every destination position at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.anatomy.rounding import refuse_above
from ...result import Result, Table
from ...words.components import Component
from ...words.errors import TargetError
from ...words.targets import Target
from ...words.text import digits_of, indefinite, number, power, signed, visible
from ..reading.decomposition import decompose
from ..reading.readers import numbers
from .many import closed_each

if TYPE_CHECKING:
    import pandas as pd

    from ...model.run import Run
    from .attribution import Attribution


@dataclass(eq=False, repr=False)
class PositionAttribution(Result):
    """One attribution per destination position: ``values[position, component]`` sums to ``actual[position]``."""

    run: Run
    targets: list[str]
    components: list[Component]
    values: Float[Tensor, "position component"]
    actual: Float[Tensor, "position"]
    unit: str
    inner: bool = False  # a number inside the model is read at a token, a prediction is made after it

    @property
    def labels(self) -> list[str]:
        """Names of the columns."""
        return [str(c) for c in self.components]

    @property
    def total(self) -> Float[Tensor, "position"]:
        """Sum over components, per position."""
        return self.values.double().sum(-1).float()

    def summary(self) -> Table:
        rows, digits = [], digits_of(self.actual.tolist())
        for p in list(range(len(self.targets)))[-10:]:
            best = int(self.values[p].abs().argmax())
            lead = f"{self.components[best]} {signed(float(self.values[p, best]))}"
            rows.append(
                [
                    visible(self.run.tokens[p]),
                    visible(self.targets[p]),
                    lead,
                    number(float(self.actual[p]), digits),
                ]
            )
        worst = float((self.actual - self.total).abs().max())
        best = int(self.actual.abs().argmax())
        where = "at" if self.inner else "after"
        said = (
            "Attribution at every position"
            if len(set(self.targets)) > 1
            else (
                f"{visible(self.targets[best])} is largest {where} {visible(self.run.tokens[best])} ({best}): "
                f"{number(float(self.actual[best]))} {self.unit}"
            )
        )
        return Table(
            said,
            [f"read {where}" if self.inner else where, "of", "leading", self.unit],
            rows,
            self.actual[-len(rows) :].tolist(),
            "The same question at every position, and the part that leads there. Observed, not yet tested.",
            f"largest mismatch {power(worst)}",
        )

    def to_dataframe(self) -> pd.DataFrame:
        """One row per position and component."""
        import pandas as pd

        n, m = self.values.shape
        return pd.DataFrame(
            {
                "position": [p for p in range(n) for _ in range(m)],
                "target": [t for t in self.targets for _ in range(m)],
                "component": self.labels * n,
                "value": self.values.flatten().numpy(),
            }
        )


@torch.no_grad()
def by_position(a: Attribution, target: Literal["next"] | None = None) -> PositionAttribution:
    """See :meth:`Attribution.by_position`."""
    if target not in (None, "next"):
        raise TargetError(f"{target!r} is not a choice here.", 'Use None (the same target) or "next".')
    if target == "next" and a.target.inner:
        raise TargetError(
            f"{indefinite(a.target.kind, start=True)} is no prediction of the next token.", "Leave out the argument."
        )
    if isinstance(a.target, Target) and (target == "next" or a.target.kind == "log_prob"):
        return _own_directions(a, a.target, target == "next")
    return _same_direction(a)


def _own_directions(a: Attribution, target: Target, own: bool) -> PositionAttribution:
    """Each position has a direction of its own (its next token, or its own probabilities)."""
    run = a.run
    last, name = run.model.single_token(target.tokens[0]), _name(a, target)
    tokens = [*run.ids[1:], last] if own else [last] * run.n_positions
    names = [*run.tokens[1:], name] if own else [name] * run.n_positions
    # one unit and the same rows everywhere
    found = closed_each(run, tokens, range(run.n_positions), "log_prob" if target.kind == "log_prob" else "logit")
    values = torch.stack([rows.values for _, rows in found])
    actual = torch.tensor([reading.actual for reading, _ in found]).float()
    return PositionAttribution(run, names, found[0][1].components, values, actual, a.unit)


def _same_direction(a: Attribution) -> PositionAttribution:
    run, reading, target = a.run, a.reading, a.target
    everywhere = range(run.n_positions)
    actual, precap, bound = numbers(run, target, everywhere)
    rows = decompose(run, reading.point, reading.norm, reading.direction[None], everywhere)
    columns = [rows.values[0]]
    components = list(rows.components)
    fixed = rows.constant[0].expand(run.n_positions)
    if bool(reading.norm.bias.any()):
        components.append(Component("norm.bias"))
        columns.append(fixed[:, None])
    for name, value in reading.constants:
        components.append(name)
        columns.append(fixed.new_full((run.n_positions, 1), value))
    explained = _name(a, target) if isinstance(target, Target) else target.short(a.model)
    read = (rows.direct[0] + fixed).cpu() + sum(v for _, v in reading.constants)
    missed = (actual if reading.precap is None else precap) - read
    refuse_above(missed, bound, "a printed number is not the read-out of the recorded stream")
    if reading.precap is not None:
        components.append(Component("softcap"))
        columns.append((actual - precap)[:, None].to(fixed.device))
    components.append(Component("rounding"))
    columns.append((rows.stream[0] + rows.heads[0] + missed.to(fixed.device))[:, None])
    values = torch.cat([c.float().cpu() for c in columns], -1)
    return PositionAttribution(
        run, [explained] * run.n_positions, components, values, actual.float(), a.unit, target.inner
    )


def _name(a: Attribution, target: Target) -> str:
    first = target.tokens[0]
    return first if isinstance(first, str) else a.model.token(first)
