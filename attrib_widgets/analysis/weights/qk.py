"""Which tokens a head would look for: its QK circuit between pairs of tokens, at the distances of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...model.identity.steady import steady
from ...model.parts.attention import scored
from ...model.parts.projections import normed, project
from ...model.parts.scores import looks
from ...model.selfcheck.levels import need
from ...result import Result, Table
from ...words.components import Component, ComponentLike, component
from ...words.errors import AttribError, ComponentError, PositionError
from ...words.several import listed
from ...words.targets import TokenLike
from ...words.text import signed, visible
from ..inputs import as_run, how_many_of
from ..roles.effective import Kind, effective, in_place
from ..roles.probes import TOKENS, ordinary
from .ov import kinds, part_said

if TYPE_CHECKING:
    import pandas as pd

    from ...model.run import Run


@dataclass(eq=False, repr=False)
class QKTable(Result):
    """The scores that one head would give from the token at ``query`` to every token of a run, from the tokens alone.

    Attributes:
        scores: by the table, each pair at its distance in the run; actual: as they were (before the soft cap); visible:
            the keys that the mask lets through.
        kind: what stands for a token: the embedding, or with what the first MLP writes for it, whichever explains more
            of the actual scores.
        key: the position of which others are tried in ``wanted``: (token, id, score) of those that would be looked for
            most there, out of ``tried``.
    """

    run: Run
    head: Component
    query: int
    scores: Float[Tensor, "key"]
    actual: Float[Tensor, "key"]
    visible: Bool[Tensor, "key"]
    kind: Kind
    by_kind: dict[Kind, float]
    key: int
    wanted: list[tuple[str, int, float]]
    tried: str

    @property
    def explained(self) -> float:
        """The share of the variance of the actual scores over the keys that the table gives: what all keys share
        moves no attention. NaN where there are fewer than two keys."""
        return self.by_kind[self.kind]

    def summary(self) -> Table:
        keys = self.visible.nonzero()[:, 0].tolist()
        order = sorted(sorted(keys, key=lambda s: -float(self.scores[s]))[:10])
        rows = [
            [str(s), visible(self.run.tokens[s]), signed(float(self.actual[s])), signed(float(self.scores[s]))]
            for s in order
        ]
        said = "of the differences between its scores here" if len(keys) > 1 else "nothing, since there is one key"
        told = f"{part_said(self.explained)} {said}" if len(keys) > 1 else said
        note = f"read as {self.kind}, which explains {told}"
        if self.wanted:
            named = ", ".join(f"{visible(text)} {signed(value)}" for text, _, value in self.wanted[:5])
            note += f"\nat position {self.key} it would look most for {named} (of {self.tried})"
        title = f"What {self.head} would look for from {visible(self.run.tokens[self.query])} ({self.query})"
        return Table(
            title,
            ["position", "key", "score", "by the table"],
            rows,
            [],
            note,
            "scores before a soft cap; distances as in the run",
        )

    def to_dataframe(self) -> pd.DataFrame:
        """One row per key that can be seen: ``position``, ``token``, ``score`` and ``table``."""
        import pandas as pd

        keys = self.visible.nonzero()[:, 0].tolist()
        rows = [(s, self.run.tokens[s], float(self.actual[s]), float(self.scores[s])) for s in keys]
        return pd.DataFrame(rows, columns=["position", "token", "score", "table"])


@torch.no_grad()
def pair_scores(
    run: Run, layer: int, streams: Float[Tensor, "position d_model"], query: int
) -> tuple[Float[Tensor, "head key"], Bool[Tensor, "head key"]]:
    """(scores from ``query``, keys that are visible) of all heads of ``layer`` if it read ``streams``:
    projections, norms, rotation, position penalty and scaling are those of the model on this run.

    Raises:
        GranularityError: scores are not exact in this layer.
    """
    model, rec = run.model, run.record
    need(model, "scores", layer)
    x = normed(model, layer, streams.to(rec.streams[layer].dtype))
    q, k = (project(model, rec, layer, side, x).final for side in "qk")
    found = looks(model, rec, layer, q, k, None, slice(query, query + 1))
    scores, blocked = found[0][:, 0], found[4].expand(len(q), -1, -1)[:, 0]
    return scores.float().cpu(), ~blocked.cpu()


def variance_explained(
    actual: Float[Tensor, "key"], table: Float[Tensor, "key"], visible: Bool[Tensor, "key"]
) -> float:
    """1 minus the variance of what is left over that of ``actual``, over the visible keys."""
    a, t = actual[visible].double(), table[visible].double()
    if len(a) < 2:
        return float("nan")
    return float(1 - (a - t).var(unbiased=False) / a.var(unbiased=False).clamp_min(1e-30))


@steady()
@torch.no_grad()
def qk_table(
    run: Run,
    which: ComponentLike,
    query: int = -1,
    key: int | None = None,
    tokens: Sequence[TokenLike] | None = None,
    *,
    k: int = 5,
) -> QKTable:
    """ "From X it would look for Y": the scores of one head between tokens, each at its place in the run.

    A token stands for its effective embedding at its place, of the kind that explains more of the actual scores, which
    is printed. Rotary angles, position penalties and learned positions are those of the run.

    Args:
        query: the position that looks.
        key: a position at which other tokens are tried; None for the one with the highest score.
        tokens: the tokens that are tried there; None for up to a thousand words.
        k: how many of them are named.

    Raises:
        ComponentError: no such head; PositionError: no such position, or a key that the query cannot see;
            AttribError: no tokens to try, or a ``k`` below 1.
        GranularityError: scores are not exact in this layer.
    """
    run, part, k = as_run(run), component(which), how_many_of(k, "tokens")
    model = run.model
    layer, index = part.layer or 0, part.index or 0
    if part.kind != "head" or index >= model.heads_of(layer):
        raise ComponentError(f"{part} is not a head of {model.name}.", model.geometry.remedy(layer))
    at = run.position(query)
    found = scored(model, run.record, layer, [index], slice(at, at + 1))
    actual = found.scores[0, 0].float().cpu()
    if tokens is None:
        pool, words = ordinary(model)
        tried, said = pool[:TOKENS], f"{min(len(pool), TOKENS):,} {words}"
    else:
        tried = [model.single_token(t) for t in listed(tokens)]
        if not tried:
            raise AttribError("There are no tokens to try.", "Leave out tokens=, or name one.")
        said = "1 token" if len(tried) == 1 else f"{len(tried)} tokens"
    read = in_place(run)
    tables, shown = {}, torch.ones(run.n_positions, dtype=torch.bool)
    for kind, x in kinds(read, layer).items():
        scores, open_ = pair_scores(run, layer, x, at)
        tables[kind], shown = scores[index], open_[index]
    by_kind = {kind: variance_explained(actual, table, shown) for kind, table in tables.items()}
    best: Kind = max(by_kind, key=lambda name: (by_kind[name] == by_kind[name], by_kind[name]))
    masked = actual.masked_fill(~shown, -torch.inf)
    target = int(masked.argmax()) if key is None else run.position(key)
    if not shown[target]:
        raise PositionError(
            f"{part} cannot see position {target} from {at}.",
            f"It sees {int(shown.nonzero()[0])} to {at}: choose key= of these.",
        )
    stream_type = run.record.streams[layer].dtype
    asks = normed(model, layer, kinds(read, layer)[best].to(stream_type))
    q = project(model, run.record, layer, "q", asks).final[index, at]
    others = effective(model, tried, None if run.record.pos is None else run.record.pos[target])
    offers = normed(model, layer, kinds(others, layer)[best].to(stream_type))
    keys = project(model, run.record, layer, "k", offers, at=target).final[index]
    # The table's own score there says what scaling and position penalty add to the product.
    own = project(model, run.record, layer, "k", asks).final[index, target]
    scores = found.scaling * (keys @ q).cpu() + (tables[best][target] - found.scaling * float(own @ q))
    order = scores.topk(min(k, len(tried))).indices.tolist()
    wanted = [(model.token(tried[i]), tried[i], float(scores[i])) for i in order]
    return QKTable(run, part, at, tables[best], actual, shown, best, by_kind, target, wanted, said)
