"""What follows a prompt, written by the model or given as a phrase, and the question that each word of the text is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...analysis.attribution.phrases import PhraseAttribution, attribute_phrase
from ...words.components import whole
from ...words.errors import AttribError, PositionError
from ...words.targets import AnyTarget, Phrase, Target, log_prob, logit
from ..shapes.text import phrase as packed
from .question import PromptLike, Question, blaming

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.run import Run
    from ...model.running.worker import Job

#: How many tokens the model writes where nothing is said.
WRITTEN = 8


@dataclass(eq=False)
class Passage:
    """A prompt and the words that follow it, recorded in one run.

    Attributes:
        phrase: the words that follow, each with its attribution.
        origin: the question of the prompt alone, and ``prompt`` its text.
        n, seed: how many tokens the model was asked to write, and the seed of what was sampled; ``n`` is None where the
            words were given.
        compared: token ids of the prompt to compare with, up to where the words begin.
    """

    phrase: PhraseAttribution
    origin: Question
    prompt: str
    n: int | None = None
    seed: int | None = None
    compared: tuple[int, ...] | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        """The whole text, by which its questions name it."""
        return tuple(self.phrase.run.ids)

    @cached_property
    def packed(self) -> bytes:
        """The words as the page draws them."""
        return packed(self.phrase, given=True)

    @property
    def compared_text(self) -> str:
        """The prompt to compare with, as it is edited; "" without one."""
        model = self.phrase.run.model
        return model.joined([i for i in self.compared or () if i not in model.special_ids])

    def target(self, word: int) -> Target:
        """The number that a word of the text is, in the unit of the phrase."""
        model = self.phrase.run.model
        token = model.written(self.ids[word])
        return log_prob(token) if self.phrase.unit == "nats" else logit(token)

    def question(self, position: int, target: AnyTarget | None = None) -> tuple[Question, str]:
        """(why the word after ``position``, or another target there; what became of the comparison, in a sentence).

        The comparison goes on with the words that follow, so that both prompts have read the same since.
        """
        start, ids = self.phrase.start, self.ids
        asked = Question(ids, target or self.target(position + 1), position)
        if self.compared is None:
            return asked, ""
        other = (*self.compared, *ids[start:])
        told = left_out(self.phrase.run, other, position)
        if told:
            return asked, told
        return replace(asked, corrupted=other), "Both prompts go on with the same words." if position >= start else ""


def left_out(run: Run, other: Sequence[int], position: int) -> str:
    """Why a comparison says nothing about what is read at ``position``; "" where it does."""
    if len(other) != run.n_positions:
        return "The comparison has another length, so it is left out for a word of the text."
    if list(other[: position + 1]) == run.ids[: position + 1]:
        return "The comparison begins alike up to this word, so it is left out here."
    return ""


def word_of(run: Run, value: Any) -> int:
    """``value`` as the position of a token that another precedes.

    Raises:
        PositionError: the first token, which nothing predicts, or outside the prompt.
    """
    number = whole(value)
    n = run.n_positions
    if number is not None and -n <= number < 0:
        number += n
    if number is None or not 1 <= number < n:
        raise PositionError(
            f"{value!r} is no word that this text leads to.", f"Use 1 to {n - 1}: nothing predicts the first token."
        )
    return number


def written(run: Run, before: Question, n: Any, seed: Any, unit: str, job: Job) -> Passage:
    """Let the model go on behind the prompt of a question: greedy, or sampled at temperature 1 with a seed.

    Raises:
        AttribError: ``n`` is no number of tokens, the seed no number, or the model cannot generate.
    """
    seed = None if seed is None else _seed(seed)
    job.progress(0, 2, "writing")
    with blaming("prompt"):
        longer = run.model.generate(run, n, temperature=0.0 if seed is None else 1.0, seed=seed)
        job.check()
        job.progress(1, 2, "reading every word")
        found = Passage(attribute_phrase(longer, Phrase(unit=unit)), before, run.text, int(n), seed)
    return _drawable(found)


def given(model: Model, prompt: PromptLike, phrase: Phrase, corrupted: PromptLike | None = None) -> Passage:
    """A prompt with a phrase that was named; a run that goes on already brings its own words.

    Raises:
        AttribError: see :func:`..analysis.attribution.phrases.attribute_phrase`.
    """
    with blaming("prompt"):
        run = model.run(prompt)
    with blaming("target"):
        found = attribute_phrase(run, phrase)
    ids = found.run.ids[: found.start]
    plain = model.joined([i for i in ids if i not in model.special_ids])
    text = run.text if list(model.encode(run.text)) == ids else plain
    alone: PromptLike = text if list(model.encode(text)) == ids else tuple(ids)
    compared = None if corrupted is None else tuple(model.encode(corrupted))
    return _drawable(Passage(found, Question(alone, corrupted=corrupted), text, compared=compared))


def _drawable(passage: Passage) -> Passage:
    """What is too large to be sent is refused before it is shown."""
    assert passage.packed
    return passage


def _seed(value: Any) -> int:
    number = whole(value)
    if number is None or not 0 <= number < 2**63:
        raise AttribError(f"{value!r} is not a seed.", "Give a whole number; None takes the likeliest tokens.")
    return number


class Passages:
    """The passages of one Explorer, by their text; the newest stay."""

    KEPT = 4

    def __init__(self, first: Passage | None = None) -> None:
        self._kept: dict[tuple[int, ...], Passage] = {}
        self._said: dict[Question, str] = {}
        if first is not None:
            self.keep(first)

    def keep(self, passage: Passage) -> None:
        """One is shown."""
        self._kept.pop(passage.ids, None)
        self._kept[passage.ids] = passage
        for old in list(self._kept)[: -self.KEPT]:
            del self._kept[old]

    def of(self, question: Question) -> Passage | None:
        """The passage that a question is about."""
        return self._kept.get(question.prompt) if isinstance(question.prompt, tuple) else None

    def runs(self) -> Mapping[PromptLike, Run]:
        """Their runs, by what questions name them by."""
        return {p.ids: p.phrase.run for p in self._kept.values()}

    def tell(self, question: Question, said: str) -> None:
        """What became of the comparison of a question."""
        self._said[question] = said

    def told(self, question: Question) -> str:
        """The same, to be shown."""
        return self._said.get(question, "")
