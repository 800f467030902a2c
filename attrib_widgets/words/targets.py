"""What is being explained: a direction read from the normalised stream at a place in the model.

A target over the vocabulary (:class:`Target`) is read at the final norm; an attention score
(:class:`ScoreTarget`) at the norm that a head's queries and keys read, a neuron (:class:`NeuronTarget`) at the norm
of its MLP, a feature (:class:`FeatureTarget`) where its dictionary reads. All become a read point and a direction, so
one decomposition serves all; only a dictionary that reads inside a sublayer has rows of its own.

A new kind is a subclass of :class:`AnyTarget` that says what it is called everywhere, and one row of the table in
:mod:`attrib_widgets.analysis.reading.readers` that says how it is read.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeGuard

from .components import Component, ComponentLike, component, whole
from .errors import ComponentError, PositionError, TargetError
from .places import Place, dictionary_place, place
from .text import indefinite, visible

if TYPE_CHECKING:
    from ..model.model import Model
    from ..model.run import Run

TokenLike: TypeAlias = "str | int"
TokenSet: TypeAlias = "TokenLike | Sequence[TokenLike]"
PhraseLike: TypeAlias = "str | Sequence[TokenLike]"
TargetLike: TypeAlias = "AnyTarget | Component | str | int"


class AnyTarget(ABC):
    """One number of a model that can be explained, and what it is called wherever it is shown.

    Attributes:
        inner: whether it is a number inside the model, rather than one of its logits.
        kind: one word for the kind of number; tables, the browser and errors go by it.
    """

    inner: ClassVar[bool] = True
    kind: str

    @property
    @abstractmethod
    def unit(self) -> str:
        """What the number is counted in."""

    @abstractmethod
    def words(self, model: Model, run: Run | None = None) -> str:
        """In words, naming tokens where ``run`` tells them: ``"logit of “·Paris”"``."""

    @abstractmethod
    def short(self, model: Model) -> str:
        """Its name where space is short: the token, the neuron, ``"score of L7H4"``."""

    @abstractmethod
    def code(self, token: Callable[[TokenLike], str]) -> str:
        """The line of Python that makes it again; ``token`` writes a token as a literal."""

    def moved(self, position: int) -> AnyTarget:
        """The same number read at another position; a number that has a place of its own keeps it."""
        return self


@dataclass(frozen=True)
class Target(AnyTarget):
    """A number over the vocabulary: a logit, a logit difference, or a log-probability. Made by the functions below.

    Sets of tokens count as their mean. ``centre`` subtracts the mean logit of the whole vocabulary.
    """

    kind: str
    tokens: tuple[TokenLike, ...]
    against: tuple[TokenLike, ...] = ()
    centre: bool = False
    inner: ClassVar[bool] = False

    def centered(self) -> Target:
        """The same target minus the mean logit (the convention of tools that centre the unembedding).

        Raises:
            TargetError: for differences and log-probabilities, which centring does not change.
        """
        if self.kind != "logit":
            raise TargetError(
                f"{indefinite(self.kind, start=True)} is the same centred or not.", "Leave out .centered()."
            )
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

    def short(self, model: Model) -> str:
        """The tokens."""
        return " or ".join(model.token(model.single_token(t)) for t in self.tokens)

    def code(self, token: Callable[[TokenLike], str]) -> str:
        """For example ``aw.logit(" Paris")``."""

        def several(given: tuple[TokenLike, ...]) -> str:
            texts = [token(t) for t in given]
            return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"

        if self.kind == "logit_diff":
            return f"aw.logit_diff({several(self.tokens)}, {several(self.against)})"
        return f"aw.{self.kind}({several(self.tokens)})" + (".centered()" if self.centre else "")


@dataclass(frozen=True)
class ScoreTarget(AnyTarget):
    """The attention score of one head between a query and a key, read on one side while the other is held.

    With ``against``, another key: the difference of the two scores.
    """

    head: Component
    query: int
    key: int
    side: str = "query"
    against: int | None = None
    kind: str = field(default="score", init=False, repr=False)

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

    def short(self, model: Model) -> str:
        """``"the score"``: which one stands in the words beside it."""
        return "the score"

    def code(self, token: Callable[[TokenLike], str]) -> str:
        """For example ``aw.score("L7H4", query=5, key=3, side="query")``."""
        more = "" if self.against is None else f", against={self.against}"
        return f'aw.score("{self.head}", query={self.query}, key={self.key}, side="{self.side}"{more})'


@dataclass(frozen=True)
class NeuronTarget(AnyTarget):
    """The pre-activation of one MLP neuron at a position; ``"up"``: what multiplies the activation in a gated MLP."""

    neuron: Component
    position: int = -1
    side: str = "gate"
    kind: str = field(default="neuron", init=False, repr=False)

    @property
    def unit(self) -> str:
        """``"pre-activation"``, or ``"multiplier"``."""
        return "pre-activation" if self.side == "gate" else "multiplier"

    def words(self, model: Model, run: Run | None = None) -> str:
        """In words; with ``run``, naming the token."""
        return f"{self.unit} of {self.neuron} at {_place(self.position, run)}"

    def short(self, model: Model) -> str:
        """The neuron's label."""
        return str(self.neuron)

    def code(self, token: Callable[[TokenLike], str]) -> str:
        """For example ``aw.neuron("L11N611", position=4)``."""
        more = "" if self.side == "gate" else f', side="{self.side}"'
        return f'aw.neuron("{self.neuron}", position={self.position}{more})'

    def moved(self, position: int) -> NeuronTarget:
        """The same neuron at another position."""
        return replace(self, position=position)


@dataclass(frozen=True)
class FeatureTarget(AnyTarget):
    """The pre-activation of one feature of a dictionary at a position: what its threshold is held against."""

    feature: Component
    position: int = -1
    kind: str = field(default="feature", init=False, repr=False)

    @property
    def unit(self) -> str:
        """``"pre-activation"``, in the units of the dictionary's own activations."""
        return "pre-activation"

    @property
    def site(self) -> Place:
        """The place of its dictionary, as it was named."""
        return dictionary_place(self.feature.site or "")

    def words(self, model: Model, run: Run | None = None) -> str:
        """In words; with ``run``, naming the token."""
        return f"pre-activation of {self.feature} at {_place(self.position, run)}"

    def short(self, model: Model) -> str:
        """The feature's label."""
        return str(self.feature)

    def code(self, token: Callable[[TokenLike], str]) -> str:
        """For example ``aw.feature("L3.mlp/12", position=4)``."""
        return f'aw.feature("{self.feature}", position={self.position})'

    def moved(self, position: int) -> FeatureTarget:
        """The same feature at another position."""
        return replace(self, position=position)


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
            "On the key side the two scores are read at two positions, so the difference is no single reading.",
            f'a.choice("{found}", key={where[1]}, against={other}) of an attribution read at position {where[0]} '
            "gives what was written at the one minus what was written at the other.",
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


def feature(which: ComponentLike, position: int = -1) -> FeatureTarget:
    """Why a feature fired, or did not: its pre-activation, what its threshold is held against.

    A dictionary of the stream and a transcoder read like a logit, each through its own norm where there is one, held
    as it was. A dictionary of what an MLP adds has that MLP's neurons as rows, one of the heads' outputs or of what an
    attention adds the heads of that layer: exact, and nothing is held before one of them is opened.

    Args:
        which: for example ``"L3.mlp/12"``, ``"L2/40"`` (the stream behind layer 2) or ``"L3.z/7"``; of the features of
            a head, ``"L3H1/7"``, that of all heads of its layer.
        position: where the dictionary reads.

    Raises:
        ComponentError: no feature, or of a place that no dictionary reads.
    """
    found = component(which)
    if found.kind != "feature":
        raise ComponentError(
            f"{found} is not a feature.", 'Name one as "L3.mlp/12": feature 12 of the dictionary there.'
        )
    where = whole(position)
    if where is None:
        raise PositionError(f"position={position!r} is not a position.", "Count tokens from 0, or from the end.")
    read = place(found.site or "", layer_means="post")
    site = Place("z", read.layer) if read.site == "z" else dictionary_place(read)
    return FeatureTarget(replace(found, site=str(site)), where)


#: What is read as the name of a feature where a token is asked for: "L3.mlp/12", and nothing that is one token.
_A_FEATURE = re.compile(r"l\d+(?:h\d+|\.[a-z_]+)?/-?\d+", re.IGNORECASE)


def names_feature(target: Any) -> TypeGuard[str]:
    """Whether a target that was typed is the name of a feature: no token."""
    return isinstance(target, str) and _A_FEATURE.fullmatch(target) is not None


def as_target(target: TargetLike) -> AnyTarget:
    """A string or an id means its logit; the name of a feature its pre-activation at the last position."""
    if isinstance(target, Component) or names_feature(target):
        return feature(target)
    if isinstance(target, AnyTarget):
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


def rather_than(target: Any, against: TokenSet | None, number: Callable[[TokenLike], int] | None = None) -> Any:
    """``target`` with the logit of ``against`` subtracted, where there is one: what every ``against=`` means. ``()`` is
    none, as in ``aw.explore``.

    Args:
        number: the id of a token, where a model is at hand: a text and its id are then one token.

    Raises:
        TargetError: no target, one that is not a logit, or a difference from another token.
    """
    if against is None or (isinstance(against, tuple) and not against):
        return target
    if target is None:
        raise TargetError("There is nothing to hold against it.", "Give the target too.")
    if isinstance(target, Target):
        if target.kind == "logit":
            return logit_diff(target.tokens, against)
        if target.kind == "logit_diff":
            one, other = target.against, _set(against)
            if one == other or (number and sorted(map(number, one)) == sorted(map(number, other))):
                return target
            differs = "another" if number else "written otherwise"
            raise TargetError(
                f"The target is a difference from {_said(one)} already, and against={against!r} is {differs}.",
                "Give one of the two.",
            )
    elif isinstance(target, str) or whole(target) is not None:
        return logit_diff(target, against)
    raise TargetError("against= goes with a token.", 'Or write aw.logit_diff(" Paris", " Rome").')


def _said(tokens: tuple[TokenLike, ...]) -> str:
    return " or ".join(map(repr, tokens))
