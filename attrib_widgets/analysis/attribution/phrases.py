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

from ...result import Result, Table, number, power, signed, visible
from ...words.components import Component, whole
from ...words.errors import ComponentError, PositionError, TargetError
from ...words.targets import Phrase, refuse_capped
from ..inputs import as_run
from .attribution import WRITERS, Attribution
from .many import CHUNK, attribute_each

if TYPE_CHECKING:
    import pandas as pd

    from ...model.model import Model, Prompt
    from ...model.run import Run


SHOWN = 40  # characters of the phrase in a title


@dataclass(eq=False, repr=False)
class PhraseAttribution(Result):
    """One attribution per token of a continuation. Made by :func:`attrib_widgets.attribute` with a phrase.

    Attributes:
        run: prompt and continuation, recorded in one pass.
        start: position of the phrase's first token; ``parts[i]`` explains the token at ``start + i``.
    """

    run: Run
    start: int
    parts: list[Attribution]
    unit: str
    _told: tuple[Tensor, Tensor] | None = field(default=None, init=False)
    _likeliest: list[list[tuple[str, float]]] = field(default_factory=list, init=False)

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
    def log_probs(self) -> Float[Tensor, "token"]:
        """The model's log-probability of every token given those before it, in nats."""
        return self._per_token()[0]

    @property
    def entropies(self) -> Float[Tensor, "token"]:
        """Entropy of the model's prediction before it saw the token, in nats."""
        return self._per_token()[1]

    @property
    def likeliest(self) -> list[list[tuple[str, float]]]:
        """The three likeliest tokens where every token stands, with their probabilities."""
        self._per_token()
        return self._likeliest

    def _per_token(self) -> tuple[Tensor, Tensor]:
        if self._told is None:
            found = []
            for start in range(0, len(self), CHUNK):
                ids = self.ids[start : start + CHUNK]
                first = self.start - 1 + start
                logs = self.run.logit_rows(range(first, first + len(ids)))[1].double().log_softmax(-1)
                chosen = logs.gather(1, torch.tensor(ids, device=logs.device)[:, None])[:, 0]
                p = logs.exp()
                found.append(torch.stack([chosen, -torch.special.xlogy(p, p).sum(-1)]).float().cpu())
                best = p.topk(min(3, p.shape[-1]))
                for odds, tokens in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                    named = [self.run.model.token(t) for t in tokens]
                    self._likeliest.append(list(zip(named, odds, strict=True)))
            told = torch.cat(found, 1)
            self._told = told[0], told[1]
        return self._told

    @property
    def actual(self) -> float:
        """The model's own number for the phrase: the sum over its tokens."""
        return sum(a.actual for a in self.parts)

    @property
    def total(self) -> float:
        """Sum of all rows of all tokens."""
        return float(self.values.double().sum())

    @property
    def gap(self) -> float:
        """The model's number minus the sum."""
        return self.actual - self.total

    @property
    def exact(self) -> bool:
        """Whether every token's gap is float32 arithmetic."""
        return all(a.exact for a in self.parts)

    def top(self, k: int = 10, kind: str | None = None) -> list[tuple[Component, float]]:
        """The ``k`` rows that contribute most to the phrase, with their signs; ``kind="head"`` keeps only heads."""
        kinds = sorted({c.kind for c in self.components})
        if kind is not None and kind not in kinds:
            raise ComponentError(f"There are no rows of kind {kind!r}.", f"The kinds are {', '.join(kinds)}.")
        if (whole(k) or 0) < 1:
            raise ComponentError(f"{k!r} is not a number of rows.", "Give 1 or more.")
        sums = self.sums
        order = sums.abs().argsort(descending=True, stable=True).tolist()
        return [(self.components[i], float(sums[i])) for i in order if kind in (None, self.components[i].kind)][:k]

    # -- showing -------------------------------------------------------------------------------------------
    def title(self) -> str:
        """The finding in one line: what the phrase is worth, and which token decides it."""
        text = "".join(self.tokens)
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
        for i in shown:
            a = self.parts[i]
            lead, size = next((c, v) for c, v in a.top(len(a.components)) if c.kind in WRITERS)
            leading = f"{lead} {signed(size)}" if abs(size) >= 0.005 else ""  # a token that was certain has no rivals
            chance, unsure = f"{100 * float(p[i]):.1f} %", number(float(self.entropies[i]))
            rows.append([visible(self.tokens[i]), chance, unsure, leading, number(a.actual, 3)])
            bars.append(a.actual)
        if len(shown) < len(self):
            rest = self.actual - sum(self.parts[i].actual for i in shown)
            rows.append([f"{len(self) - len(shown)} more", "", "", "", number(rest, 3)])
            bars.append(rest)
        most = ", ".join(f"{c} {signed(v)}" for c, v in self.top(3) if c.kind in WRITERS)
        where = visible("".join(self.run.tokens[max(0, self.start - 12) : self.start]))
        note = f"after {'…' if self.start > 12 else ''}{where}" + (f"\nmost over all tokens: {most}" if most else "")
        state = "ok" if self.exact else "NOT EXACT"
        footer = f"sum {number(self.total, 4)}   model {number(self.actual, 4)}   gap {power(self.gap)} {state}"
        return Table(
            self.title(), ["token", "probability", "entropy", "leading", self.unit], rows, [*bars], note, footer
        )

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
    """:func:`.attribution.attribute` of a phrase that follows ``position``.

    The run is the one given where it goes on with the phrase already (generated text does), else one new run of
    the prompt up to ``position`` and the phrase.

    Raises:
        TargetError: nothing follows, or a log-probability under a soft cap.
    """
    run = as_run(given, model)
    if target.unit == "nats":
        refuse_capped(run.model, 'Explain its logits: aw.phrase(..., unit="logits").')
    begun = run.start < run.n_positions and whole(position) == -1
    start = run.start if begun else run.position(position) + 1
    ids = _ids(run, target, start)
    if run.ids[start : start + len(ids)] != ids:
        run = run.model.run_with(run.ids[:start], ids)
    kind: Literal["logit", "log_prob"] = "log_prob" if target.unit == "nats" else "logit"
    places = range(start - 1, start - 1 + len(ids))
    return PhraseAttribution(run, start, attribute_each(run, ids, places, kind), target.unit)


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
    unknown = model.tokenizer.unk_token_id
    if unknown in ids and model.token(unknown) not in text:
        raise TargetError(
            f"{text!r} holds what this tokenizer does not know: it reads {''.join(model.token(i) for i in ids)!r}.",
            "Write it in words of its vocabulary, or as token ids.",
        )
    return ids
