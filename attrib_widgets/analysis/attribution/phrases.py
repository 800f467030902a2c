"""A continuation of several tokens, explained token by token from one run.

The log-probability of a phrase is the sum of its tokens' log-probabilities, each given the prompt and the tokens
before it; each of them is a sum over the parts of the model (see :func:`attrib_widgets.log_prob`), so the phrase is
a sum over tokens and parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...result import Sum, Table
from ...words.components import Component, whole
from ...words.errors import GranularityError, PositionError, TargetError
from ...words.targets import Phrase, Target
from ...words.text import digits_of, number, percent, signed, visible
from ..inputs import as_run
from ..reading.logits import CHUNK
from ..reading.resolve import missing_spaces, refuse_capped
from .attribution import Attribution, assembled, top_rows
from .many import closed_each

if TYPE_CHECKING:
    import pandas as pd

    from ...model.model import Model, Prompt
    from ...model.run import Run


SHOWN = 40  # characters of the phrase in a title


@dataclass(frozen=True)
class Odds:
    """What the model gave to the tokens of a text, each before it saw it.

    Attributes:
        log_probs: [token] log-probability given the tokens before it, in nats.
        entropies: [token] entropy of the prediction, in nats.
        ranks: its place among all tokens; 1 is the likeliest.
        likeliest: the three likeliest tokens there, with their probabilities.
    """

    log_probs: Float[Tensor, "token"]
    entropies: Float[Tensor, "token"]
    ranks: list[int]
    likeliest: list[list[tuple[str, float]]]


@torch.no_grad()
def odds(run: Run, start: int, stop: int) -> Odds:
    """The odds of the tokens from position ``start`` (1 or more: nothing predicts the first one) up to ``stop``."""
    found: list[Tensor] = []
    ranks: list[int] = []
    likeliest: list[list[tuple[str, float]]] = []
    for begin in range(start, stop, CHUNK):
        ids = run.ids[begin : min(begin + CHUNK, stop)]
        logs = run.logit_rows(range(begin - 1, begin - 1 + len(ids)))[1].double().log_softmax(-1)
        chosen = logs.gather(1, torch.tensor(ids, device=logs.device)[:, None])
        p = logs.exp()
        found.append(torch.stack([chosen[:, 0], -torch.special.xlogy(p, p).sum(-1)]).float().cpu())
        ranks += (1 + (logs > chosen).sum(-1)).tolist()
        best = p.topk(min(3, p.shape[-1]))
        for values, tokens in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            likeliest.append(list(zip([run.model.token(t) for t in tokens], values, strict=True)))
    told = torch.cat(found, 1) if found else torch.empty(2, 0)
    return Odds(told[0], told[1], ranks, likeliest)


def chance(run: Run, position: int, token: int) -> tuple[float, int]:
    """(probability of a token after ``position``, its place among all tokens; 1 is the likeliest)."""
    logits = run.logits(position).double()
    return float(logits.softmax(-1)[token]), 1 + int((logits > logits[token]).sum())


def in_place(run: Run, position: int) -> str:
    """What the model made of the token at a position (1 or more) before it saw it, in a sentence."""
    o = odds(run, position, position + 1)
    (best, most), rank = o.likeliest[0][0], o.ranks[0]
    token, given = visible(run.tokens[position]), percent(float(o.log_probs.exp()[0]))
    said = f"\u201c{token}\u201d stands here: the model gave it {given}"
    if rank == 1:
        return f"{said}, more than any other token."
    of = f"rank {rank:,} of {run.model.vocab_size:,}"
    return f"{said}, {of}; likeliest was \u201c{visible(best)}\u201d, {percent(most)}."


@dataclass(eq=False, repr=False)
class PhraseAttribution(Sum):
    """One attribution per token of a continuation. Made by :func:`attrib_widgets.attribute` with a phrase.

    Attributes:
        run: prompt and continuation, recorded in one pass.
        start: position of the phrase's first token; ``parts[i]`` explains the token at ``start + i``.
        notes: remarks for the reader.
    """

    run: Run
    start: int
    parts: list[Attribution]
    unit: str
    notes: list[str] = field(default_factory=list)
    _odds: Odds | None = field(default=None, init=False)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, token: int) -> Attribution:
        """The attribution of the ``token``-th token of the phrase (negative ones count from its end).

        Raises:
            PositionError: outside the phrase.
        """
        index = whole(token)
        if index is None or not -len(self) <= index < len(self):
            raise PositionError(f"{token!r} is not a token of this phrase.", f"Use 0 to {len(self) - 1}.")
        return self.parts[index]

    def __iter__(self) -> Iterator[Attribution]:
        return iter(self.parts)

    @property
    def ids(self) -> list[int]:
        """Token ids of the phrase."""
        return self.run.ids[self.start : self.start + len(self)]

    @property
    def tokens(self) -> list[str]:
        """The exact text of every token of the phrase."""
        return self.run.tokens[self.start : self.start + len(self)]

    @property
    def components(self) -> list[Component]:
        """The rows, the same for every token."""
        return self.parts[0].components

    @property
    def labels(self) -> list[str]:
        """Names of the rows."""
        return self.parts[0].labels

    @property
    def values(self) -> Float[Tensor, "token component"]:
        """Contributions to every token, in ``unit``."""
        return torch.stack([a.values for a in self.parts])

    @property
    def sums(self) -> Float[Tensor, "component"]:
        """Contributions to the whole phrase: ``values`` summed over its tokens."""
        return self.values.double().sum(0).float()

    @property
    def odds(self) -> Odds:
        """What the model gave to every token before it saw it."""
        if self._odds is None:
            self._odds = odds(self.run, self.start, self.start + len(self))
        return self._odds

    @property
    def log_probs(self) -> Float[Tensor, "token"]:
        """The model's log-probability of every token given those before it, in nats."""
        return self.odds.log_probs

    @property
    def entropies(self) -> Float[Tensor, "token"]:
        """Entropy of the model's prediction before it saw the token, in nats."""
        return self.odds.entropies

    @property
    def likeliest(self) -> list[list[tuple[str, float]]]:
        """The three likeliest tokens where every token stands, with their probabilities."""
        return self.odds.likeliest

    @property
    def actual(self) -> float:
        """The model's own number for the phrase: the sum over its tokens."""
        return sum(a.actual for a in self.parts)

    @property
    def explained(self) -> float:
        """The model's own number for the phrase."""
        return self.actual

    @property
    def exact(self) -> bool:
        """Whether every token's mismatch is float32 arithmetic."""
        return all(a.exact for a in self.parts)

    def top(self, k: int = 10, kind: str | None = None) -> list[tuple[Component, float]]:
        """The ``k`` rows that contribute most to the phrase, with their signs; ``kind="head"`` keeps only heads."""
        return top_rows(self.components, self.sums, k, kind)

    # -- showing -------------------------------------------------------------------------------------------
    def title(self) -> str:
        """The finding in one line: what the phrase is worth, and which token decides it."""
        text = self.run.model.joined(self.ids)
        shown = visible(text if len(text) <= SHOWN else text[:SHOWN].rstrip() + " …")
        if self.unit == "logits":
            return f"“{shown}” has {number(self.actual)} logits over {_count(len(self))}"
        worth = f"“{shown}” has log-probability {number(self.actual)} nats"
        if len(self) == 1:
            return worth
        hardest = int(self.log_probs.argmin())
        token, cost = visible(self.tokens[hardest]), number(-self.parts[hardest].actual)
        return f"{worth} over {_count(len(self))}; “{token}” costs most: {cost}"

    def summary(self) -> Table:
        p = self.log_probs.exp()
        rows, bars = [], []
        shown = range(len(self)) if len(self) <= 12 else range(10)
        digits = digits_of(self.sums.tolist())
        for i in shown:
            a = self.parts[i]
            lead, size = next((c, v) for c, v in a.top(len(a.components)) if c.writes)
            leading = f"{lead} {signed(size)}" if abs(size) >= 0.005 else ""  # a token that was certain has no rivals
            chance, unsure = percent(float(p[i])), number(float(self.entropies[i]))
            rows.append([visible(self.tokens[i]), chance, unsure, leading, number(a.actual, digits)])
            bars.append(a.actual)
        if len(shown) < len(self):
            rest = self.actual - sum(self.parts[i].actual for i in shown)
            rows.append([f"{len(self) - len(shown)} more", "", "", "", number(rest, digits)])
            bars.append(rest)
        most = ", ".join(f"{c} {signed(v)}" for c, v in self.top(3) if c.writes)
        where = visible(self.run.model.joined(self.run.ids[max(0, self.start - 12) : self.start]))
        note = f"after {'…' if self.start > 12 else ''}{where}" + (f"\nmost over all tokens: {most}" if most else "")
        note = "\n".join([note, *self.notes])
        columns = ["token", "probability", "entropy", "leading", self.unit]
        last = len(rows) - len(shown)
        return Table(self.title(), columns, rows, [*bars], note, "   ".join(self.checks()), last=last)

    def to_dataframe(self) -> pd.DataFrame:
        """One row per token and component: ``token`` (its index), ``text``, ``component``, ``value``."""
        import pandas as pd

        n, m = len(self), len(self.components)
        return pd.DataFrame(
            {
                "token": [i for i in range(n) for _ in range(m)],
                "text": [t for t in self.tokens for _ in range(m)],
                "component": self.labels * n,
                "value": self.values.flatten().numpy(),
            }
        )


def _count(n: int) -> str:
    return "1 token" if n == 1 else f"{n} tokens"


def attribute_phrase(
    given: Run | Prompt, target: Phrase, position: int = -1, model: Model | str | None = None
) -> PhraseAttribution:
    """:func:`.attribute.attribute` of a phrase that follows ``position``.

    The run is the one given where it goes on with the phrase already (generated text does), else one new run of
    the prompt up to ``position`` and the phrase.

    Raises:
        TargetError: nothing follows, or a log-probability under a soft cap.
        GranularityError: the model looks ahead, so its logits for a token know that token.
    """
    run = as_run(given, model)
    if not run.model.check.causal:
        raise GranularityError(
            f"{run.model.name} looks ahead: later tokens change what stands before them, so the logits in front of a "
            "phrase know the phrase.",
            'Explain the next token of the prompt: aw.attribute(run, " Paris").',
        )
    if target.unit == "nats":
        refuse_capped(run.model, 'Explain its logits: aw.phrase(..., unit="logits").')
    begun = run.start < run.n_positions and whole(position) == -1
    start = run.start if begun else run.position(position) + 1
    ids = _ids(run, target, start)
    if run.ids[start : start + len(ids)] != ids:
        run = run.model.run_with(run.ids[:start], ids)
    kind: Literal["logit", "log_prob"] = "log_prob" if target.unit == "nats" else "logit"
    places = range(start - 1, start - 1 + len(ids))
    found = zip(ids, closed_each(run, ids, places, kind), strict=True)
    parts = [assembled(run, Target(kind, (token,)), reading, rows) for token, (reading, rows) in found]
    typed = Target("logit", (run.tokens[start],)) if target.text is not None else None
    said = [] if typed is None else [better.note for better in missing_spaces(typed, run, start - 1)]
    return PhraseAttribution(run, start, parts, target.unit, [*run.notes, *said])


def _ids(run: Run, target: Phrase, start: int) -> list[int]:
    """Token ids of the phrase."""
    if target.text is not None:
        return _typed(run.model, target.text)
    if target.tokens:
        return [run.model.single_token(t) for t in target.tokens]
    if not run.ids[start:]:
        raise TargetError(
            "Nothing follows this position, so there is no phrase.",
            'Name it, aw.phrase(" Paris, the"), or let the model go on: run.generate(10).',
        )
    return run.ids[start:]


def _typed(model: Model, text: str) -> list[int]:
    """Token ids of a phrase as typed: nothing is replaced in silence."""
    ids = model.token_ids(text)
    if not ids:
        raise TargetError(f"{text!r} has no tokens here.", 'Give for example " Paris, the", or token ids.')
    if not model.reads(ids, text):
        raise TargetError(
            f"{text!r} holds what this tokenizer does not know, or writes otherwise: it reads {model.joined(ids)!r}.",
            "Write it in words of its vocabulary, or as token ids.",
        )
    return [model.single_token(i) for i in ids]
