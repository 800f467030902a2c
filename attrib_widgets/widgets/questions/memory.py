"""What an Explorer remembers: recent answers, as far as memory allows, and every question that was asked, by number."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, replace

from ...analysis.heads.held import held_bytes
from ...model.run import Run
from ...words.errors import AttribError
from ..shapes import contract
from ..shapes.explorer import target
from ..transport.wire import Stored
from .question import Explanation, PromptLike, Question, asked_from_end

#: Recent answers that going back finds again, and the memory their recordings may take.
KEPT = 12
KEPT_BYTES = 256_000_000


@dataclass
class _Asked:
    """A question under its number, and what the model said; ``gone``: it was about a run that is no longer held."""

    question: Question
    actual: float = math.nan
    gone: bool = False


class Memory:
    """Recent answers and all questions of one Explorer. Only recent answers hold their runs."""

    def __init__(self, first: Explanation) -> None:
        self.recent: OrderedDict[Question, Explanation] = OrderedDict()
        """The answers at hand, by every spelling of their questions; the oldest first."""
        self._asked: list[_Asked] = []
        self._order: list[int] = []
        self._origins: dict[int, list[contract.Crumb]] = {}
        self.keep(first.question, first)

    # answers --------------------------------------------------------------------------------------------------
    def find(self, question: Question) -> Explanation | None:
        """The answer to ``question`` that is at hand, if the model is still the one that gave it."""
        found = self.recent.get(question)
        return found if found is not None and all(run.fresh for run in found.runs.values()) else None

    def keep(self, question: Question, explanation: Explanation, opened_from: Explanation | None = None) -> None:
        """An answer is shown. ``opened_from``: the one in which a neuron was clicked for it."""
        settled = explanation.question
        for key in (question, settled, asked_from_end(settled, explanation.run)):
            self.recent[key] = explanation
            self.recent.move_to_end(key)
        number = self.number(settled)
        self._asked[number].actual = float(explanation.attribution.actual)
        self._order.append(number)
        if opened_from is not None and opened_from.question != settled:
            crumb: contract.Crumb = {
                "question": self.number(opened_from.question),
                "target": target(opened_from.attribution),
            }
            self._origins[number] = [*self.origin(opened_from.question), crumb]
        while len(self.recent) > 1 and self._too_many():
            self.recent.popitem(last=False)
        self._let_go()

    def runs(self) -> dict[PromptLike, Run]:
        """The runs at hand, by the prompts that were given."""
        return {prompt: run for e in self._answers() for prompt, run in e.runs.items()}

    def patterns(self, explanation: Explanation) -> Stored | None:
        """The patterns of its run as they were sent, if an answer at hand has them: no target changes them."""
        run, layers = explanation.run, explanation.attribution.reading.point.attentions
        same = (e for e in self._answers() if e.run is run and e.attribution.reading.point.attentions == layers)
        return next((e.patterns for e in same if e.patterns is not None), None)

    def _answers(self) -> list[Explanation]:
        return list({id(e): e for e in list(self.recent.values())}.values())

    def _too_many(self) -> bool:
        runs = {id(run): run for e in self._answers() for run in e.runs.values()}
        held = sum(run.record.bytes() + held_bytes(run) for run in runs.values())
        return len(self._answers()) > KEPT or held > KEPT_BYTES

    def _let_go(self) -> None:
        """Of a run that was given as a prompt, questions without their answer hold the token ids alone."""
        held = {id(prompt) for e in self._answers() for prompt in (e.question.prompt, e.question.corrupted)}
        for one in self._asked:
            prompt, corrupted = one.question.prompt, one.question.corrupted
            if isinstance(prompt, Run) and id(prompt) not in held:
                one.question, one.gone = replace(one.question, prompt=tuple(prompt.ids)), True
            if isinstance(corrupted, Run) and id(corrupted) not in held:
                one.question = replace(one.question, corrupted=tuple(corrupted.ids))

    # questions ------------------------------------------------------------------------------------------------
    @property
    def history(self) -> list[Question]:
        """The questions in the order in which they were asked."""
        return [self._asked[number].question for number in self._order]

    def number(self, question: Question) -> int:
        """The number under which the browser goes back to ``question``."""
        for number, one in enumerate(self._asked):
            if one.question == question:
                return number
        self._asked.append(_Asked(question))
        return len(self._asked) - 1

    def at(self, number: object) -> Question:
        """The question of a number.

        Raises:
            AttribError: there is none.
        """
        if isinstance(number, int) and 0 <= number < len(self._asked):
            return self._asked[number].question
        raise AttribError(f"There is no question number {number!r} to go back to.", "Run the cell again.")

    def refuse_other(self, number: int, explanation: Explanation) -> None:
        """``explanation``, made again, answers question ``number``: of a run that is gone only its tokens are known.

        Raises:
            AttribError: they give another number, since the run was edited, say.
        """
        one, now = self._asked[number], float(explanation.attribution.actual)
        if one.gone and not math.isclose(now, one.actual, rel_tol=1e-3, abs_tol=1e-3):
            raise AttribError(
                f"That question was about a Run that is no longer kept, and its tokens alone give {now:.3f} "
                f"instead of {one.actual:.3f}.",
                "Give it again: .ask(prompt=run).",
            )

    def origin(self, question: Question) -> list[contract.Crumb]:
        """The questions from which a neuron of ``question`` was opened, the first one first."""
        return self._origins.get(self.number(question), [])
