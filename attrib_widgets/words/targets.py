"""What is being explained: a direction read from the normalised stream at a place in the model.

A target over the vocabulary (:class:`Target`) is read at the final norm; an attention score
(:class:`ScoreTarget`) at the norm that a head's queries and keys read, a neuron (:class:`NeuronTarget`) at the norm
of its MLP. All become a read point and a direction, so one decomposition serves all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from ..result import visible
from .components import Component, ComponentLike, component, whole
from .errors import ComponentError, PositionError, TargetError

if TYPE_CHECKING:
    from ..model.model import Model
    from ..model.run import Run

TokenLike: TypeAlias = "str | int"
TokenSet: TypeAlias = "TokenLike | Sequence[TokenLike]"
PhraseLike: TypeAlias = "str | Sequence[TokenLike]"
AnyTarget: TypeAlias = "Target | ScoreTarget | NeuronTarget"
TargetLike: TypeAlias = "AnyTarget | str | int"


@dataclass(frozen=True)
class Target:
    """A number over the vocabulary: a logit, a logit difference, or a log-probability. Made by the functions below.

    Sets of tokens count as their mean. ``centre`` subtracts the mean logit of the whole vocabulary.
    """

    kind: str
    tokens: tuple[TokenLike, ...]
    against: tuple[TokenLike, ...] = ()
    centre: bool = False

    def centered(self) -> Target:
        """The same target minus the mean logit (the convention of tools that centre the unembedding).

        Raises:
            TargetError: for differences and log-probabilities, which centring does not change.
        """
        if self.kind != "logit":
            raise TargetError(f"A {self.kind} is the same centred or not.", "Leave out .centered().")
        return replace(self, centre=True)

    @property
    def unit(self) -> str:
        """``"logits"``, or ``"nats"`` for a log-probability."""
        return "nats" if self.kind == "log_prob" else "logits"

    def words(self, model: Model, run: Run | None = None) -> str:
        """In words, for example ``"logit of “·Paris”"``."""

        def named(tokens: tuple[TokenLike, ...]) -> str:
            texts = [visible(t if isinstance(t, str) else model.token(t)) for t in tokens]
            return " or ".join(f"\u201c{t}\u201d" for t in texts[:3]) + (" …" if len(texts) > 3 else "")

        if self.kind == "log_prob":
            return f"log-probability of {named(self.tokens)}"
        if self.kind == "logit_diff":
            return f"logit of {named(self.tokens)} minus {named(self.against)}"
        return f"{'centred ' if self.centre else ''}logit of {named(self.tokens)}"


@dataclass(frozen=True)
class ScoreTarget:
    """The attention score of one head between a query and a key, read on one side while the other is held.

    With ``against``, another key: the difference of the two scores.
    """

    head: Component
    query: int
    key: int
    side: str = "query"
    against: int | None = None

    @property
    def unit(self) -> str:
        """``"score"``, or ``"nats"`` for the difference of two: the log of the ratio of attention."""
        return "score" if self.against is None else "nats"

    def words(self, model: Model, run: Run | None = None) -> str:
        """In words; with ``run``, naming the tokens."""
        query, key = _place(self.query, run), _place(self.key, run)
        if self.against is not None:
            return f"log odds of {self.head} looking from {query} to {key} rather than {_place(self.against, run)}"
        return f"attention score of {self.head} from {query} to {key}, before the softmax ({self.side} side)"


@dataclass(frozen=True)
class NeuronTarget:
    """The pre-activation of one MLP neuron at a position; ``"up"``: what multiplies the activation in a gated MLP."""

    neuron: Component
    position: int = -1
    side: str = "gate"

    @property
    def unit(self) -> str:
        """``"pre-activation"``, or ``"multiplier"``."""
        return "pre-activation" if self.side == "gate" else "multiplier"

    def words(self, model: Model, run: Run | None = None) -> str:
        """In words; with ``run``, naming the token."""
        return f"{self.unit} of {self.neuron} at {_place(self.position, run)}"


def _place(position: int, run: Run | None) -> str:
    """A position in words; with ``run``, by its token."""
    if run is None:
        return str(position)
    number = run.position(position)
    return f"\u201c{visible(run.tokens[number])}\u201d ({number})"


@dataclass(frozen=True)
class Phrase:
    """A continuation of several tokens, explained token by token. Made by :func:`phrase`.

    ``text`` is typed text, ``tokens`` are ids or token texts; with neither it is what follows in the run.
    """

    text: str | None = None
    tokens: tuple[TokenLike, ...] = ()
    unit: str = "nats"


def _set(tokens: TokenSet) -> tuple[TokenLike, ...]:
    one = tokens if isinstance(tokens, str) else whole(tokens)
    if one is None and not hasattr(tokens, "__iter__"):
        raise TargetError(f"{tokens!r} is not a token.", 'Give its text, for example " Paris", or its id.')
    found = (one,) if one is not None else tuple(t if isinstance(t, str) else _id(t) for t in tokens)  # type: ignore[union-attr]
    if not found:
        raise TargetError("An empty set of tokens has no logit.", 'Name at least one, for example " Paris".')
    return found


def _id(token: object) -> int:
    number = whole(token)
    if number is None:
        raise TargetError(f"{token!r} is not a token.", 'Give its text, for example " Paris", or its id.')
    return number


def logit(token: TokenSet) -> Target:
    """The logit of a token (the mean over a set of tokens)."""
    return Target("logit", _set(token))


def logit_diff(token: TokenSet, against: TokenSet) -> Target:
    """The logit of ``token`` minus the logit of ``against``; sets count as their means."""
    return Target("logit_diff", _set(token), _set(against))


def log_prob(token: TokenLike) -> Target:
    """The log-probability of a token, in nats.

    Its direction is W_t - sum_v p_v W_v at the model's own probabilities p; one row ``entropy`` worth -H(p) makes
    the rows sum to the log-probability exactly.
    """
    tokens = _set(token)
    if len(tokens) != 1:
        raise TargetError("A log-probability is of one token.", 'Give for example " Paris".')
    return Target("log_prob", tokens)


def phrase(continuation: PhraseLike | None = None, *, unit: str = "nats") -> Phrase:
    """The log-probability of a continuation of several tokens: the sum over its tokens, each given those before it.

    Args:
        continuation: its text as typed, leading space included (``" Paris, the"``), or a list of token ids; None
            is what follows in the run, such as the text it generated.
        unit: ``"nats"`` sums log-probabilities. ``"logits"`` sums the tokens' logits, which is no probability but
            works under a soft cap too.

    Raises:
        TargetError: nothing to explain, or another unit.
    """
    if unit not in ("nats", "logits"):
        raise TargetError(f"{unit!r} is not a unit of a phrase.", 'Use "nats" or "logits".')
    if continuation is None:
        return Phrase(unit=unit)
    if isinstance(continuation, str):
        if not continuation:
            raise TargetError("An empty phrase has no tokens.", 'Give for example " Paris, the".')
        return Phrase(continuation, unit=unit)
    return Phrase(None, _set(continuation), unit)


def score(
    head: ComponentLike, query: int = -1, key: int = 0, side: str = "query", against: int | None = None
) -> ScoreTarget:
    """Why ``head`` looked from position ``query`` to position ``key``: its attention score there.

    Args:
        side: ``"query"`` explains the query with the key held as it was, ``"key"`` the other way round. Both
            sides' rows sum to the same score.
        against: another key. The rows then sum to the difference of the two scores (after a soft cap, where the
            model has one), and e to the power of it is the ratio of the two attention weights: attention to ``key``
            over attention to ``against``. Learned sinks do not enter it.

    Raises:
        TargetError: ``against`` on the key side, where the two scores are read at two positions.
    """
    found = component(head)
    if found.kind != "head":
        raise ComponentError(f"{found} is not a head.", 'A score belongs to a head, for example "L7H4".')
    where = [whole(query), whole(key)]
    if where[0] is None or where[1] is None:
        raise PositionError(f"query={query!r}, key={key!r} are not positions.", "Count tokens from 0, or from the end.")
    if side not in ("query", "key"):
        raise TargetError(f"{side!r} is not a side of a score.", 'Use side="query" or side="key".')
    if against is None:
        return ScoreTarget(found, where[0], where[1], side)
    other = whole(against)
    if other is None:
        raise PositionError(f"against={against!r} is not a position.", "Count tokens from 0, or from the end.")
    if side == "key":
        raise TargetError(
            "On the key side the two scores are read at two positions, so their rows are of different tokens.",
            f'Explain each: aw.score("{found}", query={where[0]}, key={where[1]}, side="key") and the same with '
            f"key={other}; one minus the other is the difference.",
        )
    if other == where[1]:
        raise TargetError("Both keys are the same position.", "Compare two different ones.")
    return ScoreTarget(found, where[0], where[1], side, other)


def neuron(which: ComponentLike, position: int = -1, side: str = "gate") -> NeuronTarget:
    """Why a neuron fired: its pre-activation, what its activation function was applied to.

    Args:
        which: for example ``"L11N611"``.
        position: where the MLP reads.
        side: in gated MLPs ``"gate"`` is what goes into the activation function, ``"up"`` what multiplies its result.
    """
    found = component(which)
    if found.kind != "neuron":
        raise ComponentError(f"{found} is not a neuron.", 'Name one as "L11N611": neuron 611 of layer 11.')
    where = whole(position)
    if where is None:
        raise PositionError(f"position={position!r} is not a position.", "Count tokens from 0, or from the end.")
    if side not in ("gate", "up"):
        raise TargetError(f"{side!r} is not a side of a neuron.", 'Use side="gate" or side="up".')
    return NeuronTarget(found, where, side)


def as_target(target: TargetLike) -> AnyTarget:
    """A string or an id means its logit."""
    if isinstance(target, (Target, ScoreTarget, NeuronTarget)):
        return target
    if isinstance(target, Phrase):
        raise TargetError(
            "A phrase is one number per token, and this takes one number.", "aw.attribute(run, aw.phrase(...))[0]."
        )
    if not isinstance(target, str) and whole(target) is None:
        raise TargetError(
            f"{target!r} is not a target.", 'Give for example " Paris" or aw.logit_diff(" Paris", " Rome").'
        )
    return logit(target)


@dataclass
class Resolved:
    """A target on one model and one position: weights over the vocabulary.

    The explained value is ``sum(weights * logits at ids) + dense . logits + constant``. ``constant`` is -H(p) for a
    log-probability and 0 otherwise. ``notes`` are remarks for the reader. ``ids`` [k] and ``dense`` [vocab] may also
    have a row for each of several positions; their values and directions then have a row each.
    """

    ids: Tensor
    weights: Float[Tensor, "k"]
    dense: Float[Tensor, "*rows vocab"] | None = None
    constant: float | Float[Tensor, "row"] = 0.0
    notes: list[str] = field(default_factory=list)

    def of(self, logits: Float[Tensor, "vocab"]) -> float:
        """The explained value without ``constant``, from a row of logits."""
        return float(self.of_rows(logits[None])[0])

    def of_rows(self, logits: Float[Tensor, "row vocab"]) -> Float[Tensor, "row"]:
        """:meth:`of` for several rows of logits, in float64."""
        values = logits.double()
        total = values.gather(1, self.ids.expand(len(values), -1)) @ self.weights.double()
        return total if self.dense is None else total + (values * self.dense.double()).sum(-1)

    def direction(self, weight: Float[Tensor, "d_model vocab"]) -> Float[Tensor, "*rows d_model"]:
        """The direction of the normalised stream, float32."""
        w = (weight.T[self.ids].float() * self.weights[:, None]).sum(-2)
        if self.dense is not None:
            # in float32, a slice at a time: no second copy of a large half-precision unembedding
            for start in range(0, weight.shape[1], 16384):
                w = w + self.dense[..., start : start + 16384] @ weight[:, start : start + 16384].T.float()
        return w


def resolve(target: Target, run: Run, position: int) -> Resolved:
    """``target`` as weights over the vocabulary at ``position`` of ``run``.

    Raises:
        TargetError: a token text that is several tokens here, or a log-probability under a soft cap.
    """
    model = run.model
    ids = [model.single_token(t) for t in target.tokens]
    weights = [1 / len(ids)] * len(ids)
    notes = [n for t, i in zip(target.tokens, ids, strict=True) if (n := _space_note(run, position, t, i))]
    if target.kind == "logit_diff":
        others = [model.single_token(t) for t in target.against]
        if set(others) == set(ids):
            raise TargetError("Both sides of the difference are the same token.", "Compare two different ones.")
        ids, weights = ids + others, weights + [-1 / len(others)] * len(others)
    device = model.unembed_weight.device
    found = Resolved(torch.tensor(ids, device=device), torch.tensor(weights, device=device), notes=notes)
    size = model.vocab_size
    if target.centre:
        found.dense = torch.full((size,), -1.0 / size, device=device)
    if target.kind == "log_prob":
        refuse_capped(model)
        found.dense, constant = log_prob_parts(run.logits(position))
        found.constant = float(constant)
    return found


def log_prob_parts(
    logits: Float[Tensor, "*rows vocab"],
) -> tuple[Float[Tensor, "*rows vocab"], Float[Tensor, "*rows"]]:
    """What a log-probability is besides the logit of its token: (weights of all logits, constant).

    The weights are -p, the constant is -H(p). From a float64 softmax: on some processors that of float32 misses a sum
    of 1 by dozens of units in the last place, and as much of the log-sum-exp would be missing from the number.
    """
    log_p = logits.double().log_softmax(-1)
    p = log_p.exp()
    return -p.float(), torch.special.xlogy(p, p).sum(-1)


def refuse_capped(model: Model, instead: str = 'Explain the logit, or aw.logit_diff(" Paris", " Rome").') -> None:
    """A log-probability is a sum of contributions only where the logits are not capped.

    Raises:
        TargetError: ``model`` caps them; ``instead`` says what to explain.
    """
    if model.softcap is not None:
        raise TargetError(
            f"{model.name} caps its logits at ±{model.softcap:g}, so a log-probability is no sum of contributions.",
            instead,
        )


def _space_note(run: Run, position: int, token: TokenLike, token_id: int) -> str:
    """A remark when the same word with its leading space is ten times likelier: used as typed all the same."""
    if not isinstance(token, str) or not token or token[0].isspace():
        return ""
    spaced = run.model.token_ids(" " + token)
    if len(spaced) != 1:
        return ""
    p = run.probabilities(position)
    ratio = float(p[spaced[0]] / p[token_id].clamp_min(1e-30))
    if ratio < 10:
        return ""
    size = f"{ratio:,.0f} times" if ratio < 1e6 else "more than a million times"
    return f"\u201c\u00b7{token}\u201d, with its space, is {size} likelier than \u201c{token}\u201d as typed"
