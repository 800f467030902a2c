"""Opening an Explorer: :func:`attrib_widgets.explore`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ..model.identity.steady import steady
from ..model.model import Model, load
from ..model.run import Run
from ..words.errors import AttribError
from ..words.targets import Phrase
from .explorer.explorer import Explorer
from .questions.address import Address
from .questions.passage import Passage, given
from .questions.question import Question, blaming, empty, explain, prompt_like, target_of
from .transport.requests import from_python


@steady(end=False)
def explore(
    model: Any = None,
    prompt: Any = None,
    target: Any = None,
    *,
    against: Any = None,
    corrupted: Any = None,
    position: int = -1,
    hidden: Iterable[str] = (),
    saes: Any = None,
    state: str | None = None,
) -> Explorer:
    """Look at why a model said something.

    Args:
        model: a Model, or anything :func:`attrib_widgets.load` takes; None is the embedded model.
        prompt: text, token ids, or a Run; None is the first that the model suggests, as the embedded one does.
        target: token text or id, or a target object; None is the model's top prediction. With ``aw.phrase(...)`` every
            word of what follows is explained: all of them together at first, one by a click or ``ex.word``.
        against: a token to hold against the target; None takes, beside a comparison and where the target is a plain
            logit, the comparison's likeliest token other than it (nothing where the two are answered alike, and the
            screen says so); ``()`` asks for the logit by itself.
        corrupted: a comparison prompt; None is none, except for the first prompt that the model suggests.
        position: where the prediction is read; -1 is the last token.
        hidden: parts to cover until ``reveal()``, of candidates, values, detail, map, corrupted, sum.
        saes: dictionaries to give to the model first: an aw.SAE, the folder of one or of several, a dict of places,
            or a list of these; see ``model.saes``.
        state: a screen as a line (``ex.state``), instead of prompt, target, against, corrupted and position; its model
            is loaded where none is given.

    Raises:
        AttribError: with what to type instead.
    """
    if state is not None:
        if not all(x is None for x in (prompt, target, against, corrupted)) or position != -1:
            raise AttribError("A state names its own question.", "Give state= alone, or with a model.")
        address = Address.read(state)
        return _opened(address, _loaded(address.fields.get("model") or None if model is None else model, saes), hidden)
    if isinstance(prompt, Run) and model is None:
        model = prompt.model
    return ready(_loaded(model, saes), prompt, target, against, corrupted, position, hidden)()


def _loaded(model: Any, saes: Any) -> Model:
    loaded: Model = load("demo" if model is None else model)
    if saes is not None:
        loaded.saes.add(saes)
    return loaded


@steady(end=False)
def ready(
    model: Model, prompt: Any, target: Any, against: Any, corrupted: Any, position: int, hidden: Iterable[str] = ()
) -> Callable[[], Explorer]:
    """All of :func:`explore` that takes time once the model is there; what comes back makes the widget, which has its
    own thread where a host hears only one."""
    first = next(iter(model.suggestions), None)
    if prompt is None:
        if first is None:
            raise AttribError("There is no prompt.", 'Write aw.explore(model, "The capital of France is").')
        prompt = first.prompt
        target = first.target if target is None else target
    if corrupted is None and first is not None and prompt == first.prompt:
        corrupted = first.corrupted
    if isinstance(target, Phrase):
        if position != -1:
            raise AttribError("A phrase begins where its prompt ends.", "Leave position out.")
        return _followed(model, prompt, target, against, corrupted, hidden)
    with blaming("target"):
        aim = target_of(target, None if empty(against) else against, position)
    other = None if corrupted is None or corrupted == "" else prompt_like(corrupted, model)
    question = Question(prompt_like(prompt, model), aim, position, other, empty(against))
    return partial(Explorer, explain(model, question, from_python(), {}), hidden=hidden)


def _followed(
    model: Any, prompt: Any, phrase: Phrase, against: Any, corrupted: Any, hidden: Iterable[str]
) -> Callable[[], Explorer]:
    """The words that follow a prompt, all together."""
    if against is not None:
        raise AttribError("A phrase is held against nothing.", "Ask for one of its words: ex.word = ...")
    other = None if corrupted is None or corrupted == "" else prompt_like(corrupted, model)
    passage = given(model, prompt_like(prompt, model), phrase, other)
    return _of_passage(model, passage.question(passage.phrase.start - 1)[0], passage, hidden)


def _of_passage(model: Any, question: Question, passage: Passage, hidden: Iterable[str]) -> Callable[[], Explorer]:
    if "candidates" in (hidden := tuple(hidden)):
        raise AttribError(
            "Words that follow the prompt are on the screen.", "Hide other parts: values, detail, map, sum."
        )
    found = explain(model, question, from_python(), {passage.ids: passage.phrase.run})
    return partial(Explorer, found, hidden=hidden, passage=passage)


def _opened(address: Address, model: Model, hidden: Iterable[str]) -> Explorer:
    """The screen of a line."""
    address.warn_of_another(model)
    question, passage = address.question(model)
    if passage is None:
        explorer = Explorer(explain(model, question, from_python(), {}), hidden=hidden)
    else:
        explorer = _of_passage(model, question, passage, hidden)()
    explorer.look(address)
    return explorer
