"""Attribution at every destination position at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.anatomy.rounding import refuse_above
from ...result import Result, Table, number, signed, visible
from ...words.components import Component
from ...words.errors import TargetError
from ...words.targets import NeuronTarget, ScoreTarget, Target, resolve
from ..reading.decomposition import decompose
from ..reading.logits import readout_bound
from ..reading.neurons import pre_activation
from .many import CHUNK, attribute_each

if TYPE_CHECKING:
    import pandas as pd

    from ...model.run import Run
    from ...words.targets import Resolved
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

    @property
    def labels(self) -> list[str]:
        """Names of the columns."""
        return [str(c) for c in self.components]

    @property
    def total(self) -> Float[Tensor, "position"]:
        """Sum over components, per position."""
        return self.values.double().sum(-1).float()

    def summary(self) -> Table:
        rows = []
        for p in list(range(len(self.targets)))[-10:]:
            best = int(self.values[p].abs().argmax())
            lead = f"{self.components[best]} {signed(float(self.values[p, best]))}"
            rows.append([visible(self.run.tokens[p]), visible(self.targets[p]), lead, number(float(self.actual[p]), 3)])
        worst = float((self.actual - self.total).abs().max())
        return Table(
            "Attribution at every position",
            ["after", "of", "leading", self.unit],
            rows,
            footer=f"largest gap {worst:.0e}",
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
    if isinstance(a.target, ScoreTarget):
        raise TargetError("A score belongs to one query position.", "Explain a token to see every position.")
    if target not in (None, "next"):
        raise TargetError(f"{target!r} is not a choice here.", 'Use None (the same target) or "next".')
    if isinstance(a.target, NeuronTarget):
        if target == "next":
            raise TargetError("A neuron is no prediction of the next token.", "Leave out the argument.")
        return _same_direction(a, a.target)
    if target == "next" or a.target.kind == "log_prob":
        return _own_directions(a, a.target, target == "next")
    return _same_direction(a, a.target)


def _own_directions(a: Attribution, target: Target, own: bool) -> PositionAttribution:
    """Each position has a direction of its own (its next token, or its own probabilities)."""
    run = a.run
    last, name = run.model.single_token(target.tokens[0]), _name(a, target)
    tokens = [*run.ids[1:], last] if own else [last] * run.n_positions
    names = [*run.tokens[1:], name] if own else [name] * run.n_positions
    # one unit and the same rows everywhere
    found = attribute_each(run, tokens, range(run.n_positions), "log_prob" if target.kind == "log_prob" else "logit")
    values = torch.stack([f.values for f in found])
    actual = torch.tensor([f.actual for f in found]).float()
    return PositionAttribution(run, names, found[0].components, values, actual, found[0].unit)


def _same_direction(a: Attribution, target: Target | NeuronTarget) -> PositionAttribution:
    run, reading = a.run, a.reading
    everywhere = range(run.n_positions)
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
    if isinstance(target, NeuronTarget):
        actual, bound = (t.cpu() for t in pre_activation(run, target, everywhere))
        precap, names = actual, [str(target.neuron)] * run.n_positions
    else:
        actual, precap, bound = _printed(run, resolve(target, run, reading.position))
        names = [_name(a, target)] * run.n_positions
    read = (rows.direct[0] + fixed).cpu() + sum(v for _, v in reading.constants)
    missed = (actual if reading.precap is None else precap) - read
    refuse_above(missed, bound, "a printed number is not the read-out of the recorded stream")
    if reading.precap is not None:
        components.append(Component("softcap"))
        columns.append((actual - precap)[:, None].to(fixed.device))
    components.append(Component("rounding"))
    columns.append((rows.stream[0] + rows.heads[0] + missed.to(fixed.device))[:, None])
    values = torch.cat([c.float().cpu() for c in columns], -1)
    return PositionAttribution(run, names, components, values, actual.float(), a.unit)


def _printed(run: Run, found: Resolved) -> tuple[Tensor, Tensor, Tensor]:
    """(printed, before the soft cap, rounding bound) at every position; logits are held for a few at a time."""
    printed, precap, bound = [], [], []
    for start in range(0, run.n_positions, CHUNK):
        x = run.record.streams[-1][start : start + CHUNK]
        pre, out = run.logit_rows(range(start, start + len(x)))
        printed.append(found.of_rows(out))
        precap.append(found.of_rows(pre))
        bound.append(readout_bound(run.model, found, x, out))
    return torch.cat(printed).cpu(), torch.cat(precap).cpu(), torch.cat(bound).cpu()


def _name(a: Attribution, target: Target) -> str:
    first = target.tokens[0]
    return first if isinstance(first, str) else a.model.token(first)
