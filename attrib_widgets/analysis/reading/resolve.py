"""Targets over the vocabulary on one model and at one position: weights of its logits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ...words.errors import TargetError
from ...words.text import visible

if TYPE_CHECKING:
    from ...model.anatomy.linear import Projection
    from ...model.model import Model
    from ...model.run import Run
    from ...words.targets import Target, TokenLike


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

    def direction(self, unembed: Projection) -> Float[Tensor, "*rows d_model"]:
        """The direction of the normalised stream, float32."""
        w = (unembed.outputs(self.ids) * self.weights[:, None]).sum(-2)
        return w if self.dense is None else w + unembed.pull(self.dense)


def resolve(target: Target, run: Run, position: int) -> Resolved:
    """``target`` as weights over the vocabulary at ``position`` of ``run``.

    Raises:
        TargetError: a token text that is several tokens here, or a log-probability under a soft cap.
    """
    model = run.model
    ids = [model.single_token(t) for t in target.tokens]
    weights = [1 / len(ids)] * len(ids)
    notes = remarks(target, run, position)
    if target.kind == "logit_diff":
        others = [model.single_token(t) for t in target.against]
        if set(others) == set(ids):
            raise TargetError("Both sides of the difference are the same token.", "Compare two different ones.")
        ids, weights = ids + others, weights + [-1 / len(others)] * len(others)
    device = model.home
    found = Resolved(torch.tensor(ids, device=device), torch.tensor(weights, device=device), notes=notes)
    size = model.vocab_size
    if target.centre:
        found.dense = torch.full((size,), -1.0 / size, device=device)
    if target.kind == "log_prob":
        refuse_capped(model)
        found.dense, constant = log_prob_parts(run.logits(position))
        found.constant = float(constant)
    return found


def remarks(target: Target, run: Run, position: int) -> list[str]:
    """What a reader should know of the tokens that were given."""
    return [*(better.note for better in missing_spaces(target, run, position)), *other_tokens(target, run.model)]


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


class Better(NamedTuple):
    """A token that was given without its leading space, though the word with it is ten times likelier.

    ``side`` is ``"target"`` or ``"against"``, ``place`` which of its tokens, ``text`` the likelier one.
    """

    side: Literal["target", "against"]
    place: int
    text: str
    note: str


def missing_spaces(target: Target, run: Run, position: int) -> list[Better]:
    """The tokens of ``target`` that lack a space, on both sides of a difference: used as typed all the same."""
    found = []
    sides: tuple[tuple[Literal["target", "against"], tuple[TokenLike, ...]], ...]
    sides = ("target", target.tokens), ("against", target.against)
    for side, tokens in sides:
        for place, token in enumerate(tokens):
            if isinstance(token, str) and (note := _space_note(run, position, token)):
                found.append(Better(side, place, f" {token}", note))
    return found


def other_tokens(target: Target, model: Model) -> list[str]:
    """Remarks about tokens that share their text with others: which of them is meant."""
    found = []
    for token in (*target.tokens, *target.against):
        number = model.single_token(token)
        others = [str(i) for i in model.same_text(number)]
        if others:
            named = f"\u201c{visible(model.token(number))}\u201d is token {number} here"
            found.append(f"{named}; {' and '.join(others)} has the same text, and is given by its id")
    return found


def _space_note(run: Run, position: int, token: str) -> str:
    """A remark when the same word with its leading space is ten times likelier."""
    if not token or token[0].isspace():
        return ""
    model = run.model
    spaced = model.token_ids(" " + token)
    if len(spaced) != 1 or spaced[0] >= model.vocab_size or not model.reads(spaced, " " + token):
        return ""
    p = run.probabilities(position)
    ratio = float(p[spaced[0]] / p[model.single_token(token)].clamp_min(1e-30))
    if ratio < 10:
        return ""
    size = f"{ratio:,.0f} times" if ratio < 1e6 else "more than a million times"
    return f"\u201c\u00b7{token}\u201d, with its space, is {size} likelier than \u201c{token}\u201d as typed"
