"""What a verification is asked: the one question of all attributions, their rivals, and the parts to be tested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...words.components import Component, ComponentLike, component
from ...words.errors import AttribError, ComponentError, PositionError, TargetError
from ...words.targets import Target, TokenSet, feature
from ...words.text import kind_of, visible
from ..attribution.attribution import Attribution
from ..experiments.cells.cells import every_part, parts_of
from ..experiments.measuring.pairs import rivals_of

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.run import Run


def attributions_of(given: Any) -> list[Attribution]:
    """One attribution or several."""
    if isinstance(given, Attribution):
        return [given]
    found = list(given) if hasattr(given, "__iter__") or hasattr(given, "__getitem__") else [given]
    wrong = [a for a in found if not isinstance(a, Attribution)]
    if wrong or not found:
        what = f", and this is {kind_of(wrong[0])}" if len(found) == len(wrong) == 1 else ""
        raise AttribError(
            f"verify takes an attribution{what}.", "Write aw.verify(aw.attribute(run, target), corrupted)."
        )
    return found


def one_question(given: Sequence[Attribution]) -> int:
    """The position that all attributions explain, counted from the end where their prompts differ in length.

    Raises:
        AttribError: they explain no token.
        TargetError: they explain numbers of different kinds, whose gaps have no mean.
        PositionError: they are read at different places.
    """
    first = given[0]
    if not isinstance(first.target, Target):
        raise AttribError(
            f"The {first.target.words(first.model, first.run)} has no experiment here.",
            "Verify the attribution of a token.",
        )
    for number, a in enumerate(given[1:], 1):
        if not isinstance(a.target, Target) or _kind(a.target) != _kind(first.target):
            texts = [x.target.words(x.model, x.run) for x in (first, a)]
            raise TargetError(
                f"The pairs of one verification share a kind of target: pair 0 explains the {texts[0]}, and pair "
                f"{number} the {texts[1]}.",
                "Explain a logit in all of them, or a difference, or a log-probability.",
            )
    ends = {a.position - a.run.n_positions for a in given}
    if len({a.position for a in given}) == 1:
        return first.position
    if len(ends) == 1:
        return ends.pop()
    raise PositionError(
        f"The attributions are read at positions {', '.join(str(a.position) for a in given)}: no place that all share.",
        "Explain the same position in all of them.",
    )


def rivals(
    asked: Sequence[Attribution],
    pairs: Sequence[tuple[Run, Run]],
    against: TokenSet | Sequence[TokenSet] | None,
    position: int,
) -> tuple[list[TokenSet | None], list[str]]:
    """(what is held against the answer in every pair, remarks on that).

    Without ``against`` they are those of :func:`..experiments.measuring.pairs.rivals_of`, where a plain logit is
    explained: a single logit goes up and down with all the others.

    Raises:
        TargetError: a list of rivals that is not one per pair.
    """
    if against is not None:
        several = len(asked) > 1 and isinstance(against, (list, tuple)) and len(against) > 0
        given: list[Any] = list(against) if several else [against] * len(asked)  # type: ignore[arg-type]
        if len(given) != len(asked):
            raise TargetError(
                f"{len(given)} rivals for {len(asked)} pairs of prompts.",
                "Give one for all of them, or a list of one per pair; a list in it is a set of tokens.",
            )
        return [rival if rival != () else None for rival in given], []
    targets = [a.target for a in asked if isinstance(a.target, Target)]
    if targets[0].kind != "logit" or targets[0].centre:
        return [None] * len(asked), []
    model = asked[0].model
    answers_of = [{model.single_token(t) for t in target.tokens} for target in targets]
    found, why = rivals_of(pairs, position, answers_of)
    if found is None:
        return [None] * len(asked), [why]
    tops = [c.top(1, position)[0].id for _, c in pairs]
    names = ", ".join(dict.fromkeys(visible(model.token(i)) for i in found[:3])) + (" …" if len(found) > 3 else "")
    which = "the answer to" if tops == found else "the likeliest but what is explained after"
    return list(found), [f"held against {names}, {which} the other prompt (against=() verifies the logit by itself)"]


def _kind(target: Target) -> tuple[Any, ...]:
    """What the pairs of one verification have in common, whatever their tokens."""
    return target.kind, target.centre


def testable(model: Model, given: ComponentLike) -> Component:
    """``given`` as a component whose effects :func:`verify` measures."""
    found = component(given)
    every = every_part(model, [None])
    if found.kind == "feature":
        parts_of(model, found)  # refuses what is not there
        return feature(found).feature
    if parts_of(model, found) not in [c.parts for c in every]:
        kinds = dict.fromkeys(c.kind for cell in every if (c := cell.parts[0].component) is not None)
        raise ComponentError(
            f"{found} gets no verdict of its own here.",
            f"Verdicts are on {' and '.join(_KINDS[kind] for kind in kinds)}; "
            f'aw.patch(..., components=["{found}"]) patches it.',
        )
    return found


#: What verdicts are on, by the kinds of the parts that a model is split into.
_KINDS = {
    "head": "heads",
    "attn": "attention layers",
    "mlp": "MLPs",
    "laurel": "learned residuals",
    "beside": "third parts of layers",
    "layer": "whole layers",
}


def testables(model: Model) -> list[Component]:
    """Every part that can be tested: what the model is split into."""
    return [c for cell in every_part(model, [None]) if (c := cell.parts[0].component) is not None]
