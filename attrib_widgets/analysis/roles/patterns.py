"""Pattern roles: how much of its attention a head gives to the position that its role looks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.parts.attention import patterns
from .definitions import PATTERN
from .probes import looked_for

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.run import Run
    from ...model.running.worker import Job


#: The one role that looks at one position from everywhere.
SINK = "first-token sink"
#: Fewer other positions than these are nothing to hold it against.
PLACES = 4


@dataclass
class Score:
    """One measure of every head. ``values`` are means over what it was measured on (NaN where a layer has no such
    head, or it cannot be measured there), ``spread`` their standard deviation over it, and ``null[draw]`` the best of
    all heads where chance decides (empty: none was drawn). ``missing`` says why it could not be measured."""

    values: Float[Tensor, "layer head"]
    spread: Float[Tensor, "layer head"]
    null: Float[Tensor, "draw"]
    missing: str = ""

    @property
    def why(self) -> str:
        """Why no head can be called by it: it could not be measured, or there is nothing to hold it against."""
        return self.missing or ("" if len(self.null) else "prompts are too short to hold it against other positions")

    @property
    def level(self) -> float:
        """The 99th percentile of the null, rounded up to one of its draws."""
        return float(self.null.quantile(0.99, interpolation="higher")) if len(self.null) else float("nan")


def unmeasured(model: Model, why: str) -> Score:
    """A measure that does not exist here."""
    none = torch.full((model.n_layers, model.n_heads), torch.nan)
    return Score(none, none.clone(), torch.zeros(0), why)


def best(values: Float[Tensor, "*draw layer head"]) -> Float[Tensor, "*draw"]:
    """The largest of all heads."""
    return values.flatten(-2).nan_to_num(nan=-torch.inf).amax(-1)


def _to_one(pattern: Float[Tensor, "head destination source"]) -> Float[Tensor, "head position"]:
    """The mean attention to each position of the first third but the first, from all that come after it."""
    count = len(pattern[0])
    places = [min(p, count - 2) for p in range(1, max(1, count // 3) + 1)]
    return torch.stack([pattern[:, p + 1 :, p].mean(-1) for p in places], -1)


@torch.no_grad()
def pattern_scores(
    model: Model, runs: Sequence[Run], draws: int, generator: torch.Generator, job: Job | None = None
) -> dict[str, Score]:
    """The score of every pattern role on ``runs``: the mean attention to the position that the role looks for, over the
    positions that it looks from; and the same at random earlier positions, the same for all heads of a draw (for the
    first token, which is one position from everywhere, at another that is one from everywhere: of prompts that are too
    short for :data:`PLACES` of these there is no null)."""
    names = [role.name for role in PATTERN]
    total: dict[str, list[Tensor]] = {name: [] for name in names}
    null = {name: torch.zeros(draws, model.n_layers, model.n_heads) for name in names}
    fixed = torch.rand(draws, generator=generator)
    absent = torch.full((model.n_layers, model.n_heads), torch.nan)
    for layer in range(model.n_layers):
        absent[layer, : model.heads_of(layer)] = 0
    for number, run in enumerate(runs):
        if job is not None:
            job.progress(number, len(runs), "looking where heads look")
        wanted = looked_for(run.ids, {run.ids[p] for p in run.special})
        rows = {name: wanted[name].any(1).nonzero()[:, 0] for name in names}
        random = {
            name: (torch.rand(draws, len(at), generator=generator) * at.clamp_min(1)).long()
            for name, at in rows.items()
        }
        own = {name: absent.clone() for name in names}
        for layer in range(model.n_layers):
            count = model.heads_of(layer)
            if not count:
                continue
            pattern = patterns(model, run.record, layer)[0].pattern.float().cpu()
            for name, at in rows.items():
                if len(at):
                    own[name][layer, :count] = (pattern * wanted[name]).sum(-1)[:, at].mean(-1)
                    if name == SINK:
                        drawn = _to_one(pattern)[:, (fixed * max(1, len(pattern[0]) // 3)).long()]
                    else:
                        drawn = pattern[:, at[None, :].expand(draws, -1), random[name]].mean(-1)
                    null[name][:, layer, :count] += drawn.T
        for name, at in rows.items():
            if len(at):
                total[name].append(own[name])
    found = {}
    for name, values in total.items():
        if not values:
            found[name] = unmeasured(model, "no token is there that it looks for")
            continue
        stacked = torch.stack(values)
        chance = best(null[name] / len(values) + absent)
        if name == SINK and max(len(run.ids) // 3 for run in runs) < PLACES:
            chance = chance[:0]
        found[name] = Score(stacked.mean(0), stacked.std(0, unbiased=False), chance)
    return found
