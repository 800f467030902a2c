"""How well a dictionary stands in for what it rebuilds, on texts of one's own."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from ..model.tracing.hooks import collect
from ..result import Result, Table
from ..words.errors import AttribError, said_of
from ..words.places import Place
from ..words.text import kind_of, number, share, significant
from .judge import standing_in
from .reading import of_dictionary, source
from .sae import SAE

if TYPE_CHECKING:
    import pandas as pd

    from ..model.model import Model
    from ..model.running.worker import Job

#: Tokens of one context, contexts that are run at once, and logits that are held at once.
LONGEST, AT_ONCE, LOGITS = 128, 32, 2**25


@dataclass(eq=False, repr=False)
class Fit(Result):
    """How well a dictionary stands in for what it rebuilds. First positions are left out and stay as they are.

    Attributes:
        place: of the dictionary.
        tokens: on how many positions it was measured; ``predicted`` counts the next tokens of losses.
        l0: how many features fire on a token, in the mean.
        explained: share of the variance that it explains: 1 - sum |y - out|^2 / sum |y - mean|^2; NaN where nothing
            varies (one position).
        cosine: that of what it returns with what is there, in the mean.
        dead: share of the features that fire on none of the tokens.
        loss: nats of a next token: of the model as it is, with the dictionary's output in place of what is there, and
            with the mean of that over these texts.
        kl: KL(model as it is || with the dictionary's output), and with the mean, in nats of a next token.
    """

    place: Place
    tokens: int
    predicted: int
    l0: float
    explained: float
    cosine: float
    dead: float
    loss: tuple[float, float, float]
    kl: tuple[float, float]

    @property
    def recovered(self) -> float:
        """The share of the loss that the mean costs which the dictionary saves; NaN where the mean costs nothing."""
        clean, spliced, ablated = self.loss
        return (ablated - spliced) / (ablated - clean) if ablated > clean else math.nan

    @property
    def kl_recovered(self) -> float:
        """The same of the KL."""
        return 1 - self.kl[0] / self.kl[1] if self.kl[1] > 0 else math.nan

    @property
    def line(self) -> str:
        """In one sentence, for cards."""
        return (
            f"Fit of the dictionary on {self.tokens:,} tokens: {significant(self.l0)} features fire on a token; "
            f"{_share(self.explained)} of the variance, cosine {number(self.cosine, 3)}, {share(self.dead, 1)} of "
            f"the features are dead; loss recovered: {_said(self.recovered)}; KL {significant(self.kl[0])} nats."
        )

    def summary(self) -> Table:
        clean, spliced, ablated = (significant(v, 4) for v in self.loss)
        rows = [
            ["features that fire on a token (L0)", significant(self.l0)],
            ["share of the variance", _share(self.explained)],
            ["cosine", number(self.cosine, 3)],
            ["dead features", share(self.dead, 1)],
            ["loss: model, dictionary, mean", f"{clean}, {spliced}, {ablated} nats"],
            ["loss recovered", _said(self.recovered)],
            ["KL: dictionary, mean", f"{significant(self.kl[0])}, {significant(self.kl[1])} nats"],
            ["KL recovered", _said(self.kl_recovered)],
        ]
        note = "Recovered is what the dictionary saves of what the mean of these texts costs; first positions stay."
        where = f"{self.tokens:,} tokens, {self.predicted:,} of them predicted"
        title = f"{self.place} explains {_share(self.explained)} of the variance"
        return Table(title, ["", where], rows, [], note)

    def to_dataframe(self) -> pd.DataFrame:
        """One row: every number by name."""
        import pandas as pd

        names = ("tokens", "predicted", "l0", "explained", "cosine", "dead", "recovered", "kl_recovered")
        row: dict[str, Any] = {"place": str(self.place), **{name: getattr(self, name) for name in names}}
        row |= dict(zip(("loss", "loss_dictionary", "loss_mean"), self.loss, strict=True))
        return pd.DataFrame([row | dict(zip(("kl_dictionary", "kl_mean"), self.kl, strict=True))])


def _share(value: float) -> str:
    return "no known share" if math.isnan(value) else share(value, 1)


def _said(value: float) -> str:
    return "nothing to recover" if math.isnan(value) else share(value, 1)


def measured(model: Model, sae: SAE, texts: Iterable[Any], context: int = LONGEST, job: Job | None = None) -> Fit:
    """How well a dictionary fits on texts: activations first, then what its output does to the next tokens.

    Of texts only token ids are held. Longer ones are cut into contexts.

    Raises:
        AttribError: no texts, or something else than texts.
    """
    rows = _rows(model, texts, min(context, model.max_positions or context))
    bar = tqdm(total=2 * len(rows), desc=f"fit of {sae.site}", mininterval=1, disable=job is not None, unit="context")
    done = 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        bar.update(count)
        if job is not None:
            job.progress(done, 2 * len(rows))

    try:
        sums = _Sums(sae)
        apart = not model.check.causal
        for some in _split(rows, AT_ONCE, apart):
            sums.add(model, sae, some)
            told(len(some))
        mean, effects = sums.mean, _Effects()
        longest = max(map(len, rows))
        for some in _split(rows, max(1, LOGITS // (model.vocab_size * longest)), apart):
            effects.add(model, sae, some, mean)
            told(len(some))
    finally:
        bar.close()
    n, p = sums.count, max(1, effects.count)
    loss = tuple(v / p for v in effects.loss)
    kl = tuple(v / p for v in effects.kl)
    return Fit(
        sae.site,
        n,
        effects.count,
        sums.fires / n,
        sums.explained,
        sums.cosine / n,
        float((~sums.fired).float().mean()),
        (loss[0], loss[1], loss[2]),
        (kl[0], kl[1]),
    )


def _rows(model: Model, texts: Iterable[Any], context: int) -> list[array[int]]:
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise AttribError(f"{kind_of(texts, start=True)} is no list of texts.", 'Give many: ["...", "..."].')
    rows: list[array[int]] = []
    for i, text in enumerate(texts):
        with said_of(f"Text {i}"):
            rows += [array("i", ids) for ids in model.cut(text, context) if len(ids) > 1]
    if not rows:
        raise AttribError("There are no texts to measure on.", "Give some of two tokens or more.")
    return rows


def _split(rows: Sequence[array[int]], size: int, apart: bool) -> Iterator[list[array[int]]]:
    """Rows that run at once; ``apart``: of one length, so that a model that looks ahead sees nothing behind them."""
    groups = [list(some) for _, some in groupby(sorted(rows, key=len), len)] if apart else [rows]
    for group in groups:
        for start in range(0, len(group), size):
            yield list(group[start : start + size])


def _padded(rows: list[array[int]]) -> tuple[Int[Tensor, "row position"], Int[Tensor, "row"]]:
    """(token ids, how many of each row are real)."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], batch_first=True)
    return ids, torch.tensor([len(row) for row in rows])


class _Sums:
    """What is added up over positions: nothing else of them is kept."""

    def __init__(self, sae: SAE) -> None:
        self.count, self.fires, self.cosine, self.left, self.squares = 0, 0, 0.0, 0.0, 0.0
        self.total = torch.zeros(sae.d_out, dtype=torch.float64)
        self.aside = torch.zeros(sae.d_out, dtype=torch.float64)
        self.fired = torch.zeros(sae.n_features, dtype=torch.bool)

    @torch.no_grad()
    def add(self, model: Model, sae: SAE, rows: list[array[int]]) -> None:
        ids, real = _padded(rows)
        where = source(model, sae)
        found = collect(model, ids, list(dict.fromkeys([where, sae.target])))
        inside = torch.arange(ids.shape[1])[None] < real[:, None]
        inside[:, 0] = False
        device = sae.b_dec.device
        x = of_dictionary(model, sae, found[where])[inside.to(found[where].device)].float().to(device)
        y = found[sae.target][inside.to(found[sae.target].device)].float().to(device)
        apart = sae.writes is None and sae.coordinates != "raw"
        goal = x if apart else y
        for part, held in zip(x.split(512), goal.split(512), strict=True):
            active = sae.encode(part)
            out = sae.decode(active, part).double()
            self.fires += int((active != 0).sum())
            self.fired |= (active != 0).any(0).cpu()
            self.cosine += float(torch.cosine_similarity(out, held.double(), dim=-1).sum())
            self.left += float((held.double() - out).square().sum())
        self.count += len(goal)
        self.squares += float(goal.double().square().sum())
        self.total += goal.double().sum(0).cpu()
        if apart:
            self.aside += (y - x).double().sum(0).cpu()

    @property
    def explained(self) -> float:
        """Share of the variance; NaN where nothing varies."""
        spread = self.squares - float(self.total.square().sum()) / self.count
        return 1 - self.left / spread if self.count > 1 and spread > 1e-12 * self.squares else math.nan

    @property
    def mean(self) -> Float[Tensor, "d_out"]:
        """The mean of what the model has there."""
        return ((self.total + self.aside) / self.count).float()


class _Effects:
    """Losses and KL of next tokens, added up: as it is, with the dictionary, with the mean."""

    def __init__(self) -> None:
        self.count, self.loss, self.kl = 0, [0.0] * 3, [0.0] * 2

    @torch.no_grad()
    def add(self, model: Model, sae: SAE, rows: list[array[int]], mean: Float[Tensor, "d_out"]) -> None:
        ids, real = _padded(rows)
        inside = torch.arange(1, ids.shape[1] - 1)[None] < real[:, None] - 1
        if not bool(inside.any()):
            return
        clean = self._logs(model, ids, inside, 0)
        self.count += len(clean)
        for i, given in enumerate((None, mean)):
            with standing_in(model, sae, given):
                logs = self._logs(model, ids, inside, i + 1)
            self.kl[i] += float((clean.exp() * (clean - logs)).nansum(dtype=torch.float64))

    def _logs(self, model: Model, ids: Tensor, inside: Tensor, which: int) -> Float[Tensor, "token vocab"]:
        with model.quiet(), model.passing():
            logits: Tensor = model.hf(ids.to(model.device), use_cache=False).logits
        logs = logits[:, 1:-1][inside.to(logits.device)].float().log_softmax(-1)
        after = ids[:, 2:][inside].to(logs.device)
        self.loss[which] -= float(logs.gather(-1, after[:, None]).sum(dtype=torch.float64))
        return logs
