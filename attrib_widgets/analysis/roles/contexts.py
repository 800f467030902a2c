"""What a head does over a corpus: contexts from every tenth of its activity, not its strongest ones alone.

How active a head is at a token is the length of the largest write that it fetches there: attention times the norm of
what is written (Kobayashi et al. 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...model.identity.steady import steady
from ...model.parts.attention import attend
from ...model.parts.outlet import outlet_of
from ...model.selfcheck.levels import need
from ...result import Result, Table
from ...saes.folders import read_texts, texts_of
from ...saes.store import FOLDER
from ...words.components import Component, ComponentLike, component
from ...words.errors import AttribError, ComponentError
from ...words.several import listed
from ...words.text import bracketed, kind_of, percent, safe, significant

if TYPE_CHECKING:
    import pandas as pd

    from ...model.model import Model
    from ...model.running.worker import Job

#: Texts and tokens of each that count, contexts that are shown of every tenth, and tokens of one.
TEXTS, LONGEST, SHOWN, WIDTH = 160, 64, 2, 12
DECILES = 10


@dataclass(frozen=True)
class Context:
    """One place of a text: the head reads ``source`` at ``destination``, with so much ``attention``; ``activity`` is
    the length of what it then writes."""

    tokens: list[str]
    destination: int
    source: int
    attention: float
    activity: float

    def __str__(self) -> str:
        start = max(0, self.destination - WIDTH + 1)
        shown = [
            bracketed(token) if place == self.source else token
            for place, token in enumerate(self.tokens[start : self.destination + 1], start)
        ]
        far = bracketed(self.tokens[self.source]) + " … " if self.source < start else "…" if start else ""
        return far + "".join(shown)


@dataclass(eq=False, repr=False)
class HeadContexts(Result):
    """Contexts of one head by decile of its activity, the most active first.

    Attributes:
        deciles: ten lists of contexts; bounds: the least activity of each; shares: what share of all activity is in it.
        count: how many tokens of how many ``texts`` were looked at.
    """

    head: Component
    deciles: list[list[Context]]
    bounds: list[float]
    shares: list[float]
    count: int
    texts: int

    def summary(self) -> Table:
        rows = []
        for number, (found, least, part) in enumerate(zip(self.deciles, self.bounds, self.shares, strict=True)):
            for i, c in enumerate(found):
                last = [percent(part), significant(least)] if i == 0 else ["", ""]
                rows.append([f"{DECILES - number}" if i == 0 else "", safe(str(c)), percent(c.attention), *last])
        note = (
            f"{self.count:,} tokens of {self.texts} texts, a tenth of them in each decile; the last word reads the one "
            "in brackets"
        )
        columns = ["decile", "context", "attention", "of all", "activity from"]
        return Table(f"What {self.head} reads, from most to least active", columns, rows, note=note)

    def to_dataframe(self) -> pd.DataFrame:
        """One row per context: ``decile`` (10 is the most active), ``activity``, ``attention``, ``destination``,
        ``source`` and ``text``."""
        import pandas as pd

        rows = [
            (DECILES - number, c.activity, c.attention, c.destination, c.source, "".join(c.tokens))
            for number, found in enumerate(self.deciles)
            for c in found
        ]
        return pd.DataFrame(rows, columns=["decile", "activity", "attention", "destination", "source", "text"])


@steady()
@torch.no_grad()
def head_contexts(
    model: Model, which: ComponentLike, texts: str | Sequence[str] | None = None, *, job: Job | None = None
) -> HeadContexts:
    """What a head reads over a corpus, by decile of its activity.

    Args:
        texts: None for those that ``model.saes.contexts`` holds, or that lie beside the model's dictionaries.

    Raises:
        ComponentError: no such head; GranularityError: what it carries is not known; AttribError: there are no texts,
            or none with two tokens.
    """
    part = component(which)
    layer, index = part.layer or 0, part.index or 0
    if part.kind != "head" or index >= model.heads_of(layer):
        raise ComponentError(f"{part} is not a head of {model.name}.", model.geometry.remedy(layer))
    need(model, "sources", layer)
    found = _texts(model, texts)
    rows: list[tuple[Float[Tensor, "destination"], Int[Tensor, "destination"], Float[Tensor, "destination"]]] = []
    outlet, size = outlet_of(model, "attn", layer), model.geometry[layer].d_head
    # As long as what it writes, and no wider than a head.
    writes = torch.linalg.qr(outlet.push(model.out(layer).rows(index * size, (index + 1) * size)).T).R.T
    kept: list[list[str]] = []
    for start in range(0, len(found), 16):
        if job is not None:
            job.progress(start, len(found), f"reading with {part}")
        for run in model.run_many([model.encode(text)[:LONGEST] for text in found[start : start + 16]]):
            seen = attend(model, run.record, layer, [index])
            values = seen.v if seen.gate is None else seen.gate[0][:, None] * seen.v
            amount = (seen.pattern[0] * (values @ writes).norm(dim=-1)).cpu()
            most, source = amount.max(-1)
            at = torch.tensor([p for p in range(run.n_positions) if p not in run.special and p > 0], dtype=torch.long)
            rows.append((at, source[at], torch.stack([most[at], seen.pattern[0].cpu()[at, source[at]]])))
            kept.append(run.tokens)
    where = torch.cat([torch.full_like(at, number) for number, (at, _, _) in enumerate(rows)])
    at, source = torch.cat([r[0] for r in rows]), torch.cat([r[1] for r in rows])
    if not len(at):
        raise AttribError("None of the texts has two tokens.", "A head reads something where a token comes before.")
    activity, attention = torch.cat([r[2] for r in rows], 1)
    order = activity.argsort(descending=True, stable=True)
    deciles, bounds, shares = [], [], []
    for chunk in order.tensor_split(DECILES):
        chosen = _spread(chunk.tolist(), where.tolist())
        deciles.append(
            [
                Context(kept[int(where[i])], int(at[i]), int(source[i]), float(attention[i]), float(activity[i]))
                for i in chosen
            ]
        )
        bounds.append(float(activity[chunk].min()) if len(chunk) else 0.0)
        shares.append(float(activity[chunk].sum() / activity.sum().clamp_min(1e-30)))
    return HeadContexts(part, deciles, bounds, shares, len(order), len(found))


def _spread(chunk: list[int], where: list[int]) -> list[int]:
    """Places from the middle of a decile, each of another text."""
    middle = 0 if not chunk else len(chunk) // 2
    chosen: dict[int, int] = {}
    for place in [*chunk[middle:], *chunk[:middle]]:
        chosen.setdefault(where[place], place)
        if len(chosen) == SHOWN:
            break
    return list(chosen.values())


def _texts(model: Model, texts: str | Sequence[str] | None) -> list[str]:
    given = listed(texts) if texts is not None else model.saes.contexts
    if odd := [text for text in given or () if not isinstance(text, str)]:
        raise AttribError(f"{kind_of(odd[0], start=True)} is not a text.", 'Give some: ["...", "..."].')
    if given is None and model.folder is not None:
        beside = texts_of(model.folder / FOLDER)
        given = None if beside is None else read_texts(beside.file)
    if not given:
        raise AttribError(
            f"{model.name} came without texts to look through.",
            'Give some: roles.contexts("L0H0", ["...", "..."]), or set model.saes.contexts.',
        )
    return given[:TEXTS]
