"""What an explanation asks, written as the line that asks it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...model.run import Run
from ...words.errors import AttribError
from ...words.targets import AnyTarget, FeatureTarget, NeuronTarget, ScoreTarget, Target
from ..shapes import python
from .address import UNITS, Address, spelled

if TYPE_CHECKING:
    from ...analysis.attribution.attribution import Attribution
    from ...model.model import Model
    from .passage import Passage
    from .question import Explanation


def asked(explanation: Explanation, passage: Passage | None = None) -> Address:
    """What a question asks, without where one looks.

    A target that no field names (a set of numbers inside the model) is left out, so that the line still leads to the
    prompt. A word of the text is named by its position, unless it is asked without the rival that it could have.
    """
    a, question = explanation.attribution, explanation.question
    other = None if explanation.corrupted is None else explanation.corrupted.run
    if passage is None:
        return about(a, other)
    found = {"model": python.source(a.model) or a.model.name, **_follows(passage)}
    at = a.position + 1
    if at < a.run.n_positions and question.target == passage.target(at) and not question.alone:
        return Address({**found, "word": str(at), "unit": UNITS["log_prob"] if passage.phrase.unit == "nats" else ""})
    return Address({**found, "position": str(a.position), **_target(a.model, a.target)})


def about(a: Attribution, corrupted: Run | None) -> Address:
    """What an attribution is about, and what it is compared with."""
    found: dict[str, str] = {"model": python.source(a.model) or a.model.name}
    found |= _prompt(a.run, "prompt", "ids") | _read_at(a)
    if corrupted is not None:
        found |= _prompt(corrupted, "compared", "compared_ids")
    return Address(found)


def _read_at(a: Attribution) -> dict[str, str]:
    at = {} if a.position == a.run.n_positions - 1 else {"position": str(a.position)}
    return at | _target(a.model, a.target)


def _follows(passage: Passage) -> dict[str, str]:
    """The prompt, and how to get the words that follow it."""
    model, start = passage.phrase.run.model, passage.phrase.start
    found = _text(model, passage.prompt, list(passage.ids[:start]), "prompt", "ids")
    if passage.n is not None:
        found |= {"n": str(passage.n), "seed": "" if passage.seed is None else str(passage.seed)}
    else:
        text, ids = passage.phrase.run.continuation, passage.phrase.ids
        same = model.token_ids(text) == ids and model.reads(ids, text)
        found |= {"phrase": text} if same else {"phrase_ids": ",".join(map(str, ids))}
    if passage.compared is not None:
        found |= _text(model, passage.compared_text, list(passage.compared), "compared", "compared_ids")
    return found


def _prompt(run: Run, text: str, ids: str) -> dict[str, str]:
    return _text(run.model, run.text, run.ids, text, ids)


def _text(model: Model, typed: str, found: list[int], text: str, ids: str) -> dict[str, str]:
    """Text, where it gives the same ids again; else the ids."""
    try:
        same = list(model.encode(typed)) == found
    except AttribError:
        same = False
    return {text: typed} if same and typed else {ids: ",".join(map(str, found))}


def _target(model: Model, target: AnyTarget) -> dict[str, str]:
    if isinstance(target, NeuronTarget) and target.side == "gate":
        return {"neuron": str(target.neuron)}
    if isinstance(target, FeatureTarget):
        return {"feature": str(target.feature)}
    if isinstance(target, ScoreTarget):
        parts = [target.head, target.query, target.key, target.side]
        return {"score": ",".join(map(str, [*parts, *([] if target.against is None else [target.against])]))}
    if not isinstance(target, Target):
        return {}
    unit = UNITS.get("centred" if target.centre else target.kind, "")
    return {"answer": spelled(model, target.tokens), "rival": spelled(model, target.against), "unit": unit}
