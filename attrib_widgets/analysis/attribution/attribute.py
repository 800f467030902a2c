"""One door to attribution: a number of the model split among its parts, or a phrase, token by token."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from ...model.identity.steady import steady
from ...words.targets import Phrase, TargetLike, TokenSet, as_target, rather_than
from ..inputs import as_run
from .attribution import Attribution, attribute_resolved
from .phrases import PhraseAttribution, attribute_phrase

if TYPE_CHECKING:
    from ...model.model import Model, Prompt
    from ...model.run import Run


@overload
def attribute(
    run: Run | Prompt,
    target: TargetLike | None = None,
    position: int = -1,
    *,
    against: TokenSet | None = None,
    model: Model | str | None = None,
) -> Attribution: ...


@overload
def attribute(
    run: Run | Prompt, target: Phrase, position: int = -1, *, model: Model | str | None = None
) -> PhraseAttribution: ...


@steady(end=False)
def attribute(
    run: Run | Prompt,
    target: TargetLike | Phrase | None = None,
    position: int = -1,
    *,
    against: TokenSet | None = None,
    model: Model | str | None = None,
) -> Attribution | PhraseAttribution:
    """Split a number of the model exactly among the parts that wrote it.

    Args:
        run: a Run, or a prompt together with ``model``.
        target: a token (text with its leading space, or id), a target such as ``aw.logit_diff(" Paris", " Rome")``
            or ``aw.score("L7H4", query=-1, key=3)`` or ``aw.neuron("L11N611")``, a feature of a dictionary
            (``"L3.mlp/12"``, ``aw.feature("L3.mlp/12", position=4)``), or None for the model's own top prediction. A
            phrase, ``aw.phrase(" Paris, the")``, is explained token by token.
        position: the position whose next-token prediction is explained, or where a feature is read that was given by
            its name (a score, a neuron and ``aw.feature`` have their own; a phrase follows it).
        against: a token (or several) whose logit is subtracted from the target's: why this rather than that?
        model: where ``run`` is a prompt.

    Raises:
        AttribError: a prompt without its model.
        TargetError: the text is several tokens here, ``against`` goes with no token, or the target is undefined on
            this model.
        PositionError: outside the prompt.
        GranularityError: the recorded tensors do not add up on this prompt.
    """
    if isinstance(target, Phrase):
        return attribute_phrase(run, rather_than(target, against), position, model)
    run = as_run(run, model, position)
    asked = rather_than(target, against, run.model.single_token)
    position = run.position(position)
    if asked is None:
        asked = run.top(1, position)[0].id
    aim = as_target(asked)
    return attribute_resolved(run, aim if aim is asked else aim.moved(position), position)
