"""Which words of the prompt matter: the total effect of each token, by putting others in its place.

One row per token and draw: the embedding at that position is replaced and everything after it recomputed, positions
before it only where the model looks ahead. Resampling stays closer to what the model has seen than zeroing or deleting
a token does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.identity.steady import steady
from ....model.model import load
from ....model.tracing.causality import tokens_beside
from ....result import Result, Table, strongest
from ....words.components import whole
from ....words.errors import AttribError
from ....words.places import Place
from ....words.several import listed
from ....words.targets import TokenLike, TokenSet, rather_than
from ....words.text import digits_of, number, signed, visible
from ...inputs import as_run
from ..cells.cells import Cell
from ..cells.donors import RunDonor
from ..measuring.metrics import Metric, MetricLike, metric_of
from ..measuring.pairs import Cost, run_cells

if TYPE_CHECKING:
    import pandas as pd

    from ....model.model import Model
    from ....model.run import Run
    from ....model.running.worker import Job


#: How many replacements of each token are averaged.
DRAWS = 8


def replaceable(run: Run, position: int) -> list[int]:
    """Positions of the tokens that the answer at ``position`` can depend on, special ones excepted."""
    reach = position + 1 if run.model.check.causal else run.n_positions
    return [p for p in range(reach) if p not in run.special]


def replacements(run: Run, position: int, draws: int = DRAWS) -> int:
    """At most how many plain forwards :func:`token_effects` stands for: one a token and draw, and one that reads the
    replacements of a draw."""
    return draws * (len(replaceable(run, position)) + 1)


@dataclass(eq=False, repr=False)
class TokenEffects(Result):
    """How the metric changes when each token of the prompt is replaced: ``changed[draw, position]`` is the metric then
    (only the finished draws where it was cancelled).

    ``values`` are mean changes (negative where the token supports the answer), NaN at special tokens, which stay, and
    where a cancelled first draw did not come.
    """

    run: Run
    metric: str
    unit: str
    changed: Float[Tensor, "draw position"]
    base: float
    cost: Cost

    @property
    def values(self) -> Float[Tensor, "position"]:
        """Mean change of the metric, per position."""
        return (self.changed - self.base).mean(0).float()

    @property
    def spread(self) -> Float[Tensor, "position"]:
        """Standard deviation over draws."""
        return self.changed.std(0, unbiased=False).float()

    def title(self) -> str:
        """The finding in one line."""
        if bool(self.values.isnan().all()):
            return "No token was replaced"
        best = int(self.values.nan_to_num(0).abs().argmax())
        value = float(self.values[best])
        return f"Without {visible(self.run.tokens[best])} ({best}) the {self.metric} changes by {signed(value)}"

    def summary(self) -> Table:
        told = ~self.values.isnan()  # special tokens stay; a cancelled draw did not come
        order = [p for p in sorted(strongest(self.values, 12)) if told[p]]
        digits = digits_of(self.values.tolist())
        rows = [
            [
                str(p),
                visible(self.run.tokens[p]),
                number(float(self.spread[p]), digits),
                signed(float(self.values[p]), digits),
            ]
            for p in order
        ]
        bars: list[float | None] = [float(self.values[p]) for p in order]
        note = f"each token replaced by {len(self.changed)} others; {self.metric} as it is: {number(self.base, 3)}"
        note = "\n".join([note, *self.cost.notes])
        return Table(self.title(), ["position", "token", "spread", self.unit], rows, bars, note, str(self.cost))

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``position``, ``token``, ``change`` and ``spread``."""
        import pandas as pd

        return pd.DataFrame(
            {
                "position": list(range(self.run.n_positions)),
                "token": self.run.tokens,
                "change": self.values.numpy(),
                "spread": self.spread.numpy(),
            }
        )


@steady()
def token_effects(
    model: Model | str,
    prompt: Any,
    target: MetricLike | None = None,
    *,
    against: TokenSet | None = None,
    draws: int = DRAWS,
    alternatives: Sequence[TokenLike] | None = None,
    position: int = -1,
    seed: int = 0,
    job: Job | None = None,
) -> TokenEffects:
    """Replace each token of ``prompt`` by others, and see what becomes of the answer.

    Args:
        against: a token (or several) whose logit is subtracted from the target's.
        draws: how many replacements of each token are averaged.
        alternatives: tokens to draw from; None is the whole vocabulary, special tokens excepted.

    Raises:
        AttribError: no draws, no alternatives, or no token that can be replaced.
    """
    run = as_run(prompt, load(model), position)
    found = run.model
    if (whole(draws) or 0) < 1:
        raise AttribError(f"{draws!r} is not a number of draws.", "Use 1 or more.")
    special = set(found.special_ids)
    if alternatives is None:
        pool = [i for i in range(found.n_embeddings) if i not in special]
    else:
        pool = [found.single_token(t) for t in listed(alternatives)]
    if len(set(pool)) < 2:
        raise AttribError("There is nothing to draw from.", "Give at least two alternatives.")
    metric = metric_of(rather_than(target, against, found.single_token), run, run.position(position))
    where = run.position(position)
    open_ = replaceable(run, where)
    if not open_:
        raise AttribError(
            "No token that the answer depends on can be replaced: special tokens stay.", "Type at least one word."
        )
    generator, beside = torch.Generator().manual_seed(seed), tokens_beside(found, run.ids)
    cost = Cost()
    rows: list[Tensor] = []
    base = float(metric.of(run.record.streams[-1][where][None])[0])
    for _ in range(draws):
        ids = [_other(run.ids[p], pool, generator) if p in open_ else run.ids[p] for p in range(run.n_positions)]
        if beside:  # the embedding in the stream is not all that a token is
            values, done = _run_each(run, ids, open_, metric, where, cost)
        else:
            donor = RunDonor(run, found.run(ids))  # the embedding of every replacement, from one run of them all
            cells = [Cell((Place("pre", 0),), (p,)) for p in open_]
            values, done, _ = run_cells(run, donor, cells, metric, position, cost, job)
        if rows and not bool(done.all()):
            break  # cancelled: the draws before this one are whole
        row = torch.full((run.n_positions,), torch.nan, dtype=torch.float64)
        row[open_] = torch.where(done, values, torch.nan)
        if found.check.causal:
            row[where + 1 :] = base  # what comes later changes nothing
        rows.append(row)
    return TokenEffects(run, metric.name, metric.unit, torch.stack(rows), base, cost)


def _run_each(
    run: Run, ids: Sequence[int], places: Sequence[int], metric: Metric, where: int, cost: Cost
) -> tuple[Float[Tensor, "place"], Tensor]:
    """(the metric with each of ``places`` alone as in ``ids``, all of them done), by running those prompts."""
    prompts = [[*run.ids[:p], ids[p], *run.ids[p + 1 :]] for p in places]
    ends = torch.stack([other.record.streams[-1][where] for other in run.model.run_many(prompts)])
    cost.include(Cost(len(prompts), len(prompts) * run.n_positions, len(prompts)))
    return metric.of(ends).double(), torch.ones(len(places), dtype=torch.bool)


def _other(token: int, pool: Sequence[int], generator: torch.Generator) -> int:
    while True:
        drawn = pool[int(torch.randint(len(pool), (1,), generator=generator))]
        if drawn != token:
            return drawn
