"""Guess first: a picture whose numbers are covered, which does not open before a guess."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..result import Table
from ..widgets.explorer.explorer import Explorer
from ..widgets.questions.question import Question, empty, explain, prompt_like, target_of
from ..widgets.transport.requests import from_python
from ..words.errors import AttribError
from ..words.text import visible
from .choice import LOCKED
from .report import Done

if TYPE_CHECKING:
    from ..analysis.attribution.attribution import Attribution
    from ..model.model import Model
    from ..widgets.questions.question import Explanation

#: What is covered where a part, or a word that a head reads, is asked for.
COVERED = {"part": ("values", "heads", "detail"), "word": ("detail",)}
#: Parts of a layer that have a square each where nothing but a table can be shown.
WIDEST = 20


class Prediction(Explorer):
    """An Explorer whose numbers are covered until a guess is marked: by a click, by a key, or as ``p.guess``.

    ``p.right`` says whether it was right, once it is revealed. Who reads the page's source finds the numbers: this is a
    nudge, not a lock.
    """

    def __init__(self, explanation: Explanation, ask: str, hidden: Iterable[str]) -> None:
        self.ask_first = ask
        super().__init__(explanation, hidden=hidden)
        self.options = {**self.options, "locked": True}

    @property
    def right(self) -> bool | None:
        """Whether the guess was right; None before the reveal."""
        return self.guesses[-1].right if self.guesses else None

    def reveal(self, guess: Any = None) -> None:
        """Uncover the numbers and say what the guess was worth; without a guess only that one is needed.

        Args:
            guess: a part, or the position of a word, where none was clicked; three dots are none.
        """
        if self.hidden:
            if guess is not None and guess is not ...:
                self.guess = guess
            if not self.guessed:
                print(LOCKED)
                return
            self.hidden = ()
        print(self.guesses[-1].told)

    def uncover(self, parts: Iterable[str]) -> None:
        """A page asks to see: all at once, and not before a guess.

        Raises:
            AttribError: nothing was guessed yet.
        """
        if not self.guessed:
            raise AttribError("Nothing was guessed yet.", "Mark a guess first.")
        self.hidden = ()

    def done(self, name: str) -> Done:
        """For the report."""
        last = self.guesses[-1] if self.guesses else None
        return Done(name) if last is None else Done(name, last.right, 1, said=last.said)

    @property
    def _covered(self) -> bool:
        return bool(self.hidden)

    def _question_or_answer(self) -> Table:
        if not self._covered:
            return super()._question_or_answer()
        if "values" in self.hidden:
            columns, rows = squares(self.attribution)
        else:
            tokens = self.run.tokens[: self.attribution.position + 1]
            rows, columns = [[str(i), visible(token)] for i, token in enumerate(tokens)], ["position", "token"]
        return Table(self.ask_first, columns, rows, note="Covered until you guess.")


def squares(a: Attribution) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of a map of the parts, the last layer on top; of wide models the heads of a layer share one."""
    found: dict[int, list[str]] = {}
    for part in a.components:
        if part.writes and part.layer is not None and not part.kind.endswith("bias"):
            found.setdefault(part.layer, []).append(str(part))
    layers = {
        layer: [label.removeprefix(f"L{layer}").lstrip(".") for label in labels] for layer, labels in found.items()
    }
    names = list(dict.fromkeys(name for labels in layers.values() for name in labels))
    if len(names) > WIDEST:
        heads = [name for name in names if name.startswith("H")]
        names = [f"{heads[0]} to {heads[-1]}", *(name for name in names if name not in heads)]
        return ["", *names], [[f"L{layer}", *["?" for _ in names]] for layer in sorted(layers, reverse=True)]
    rows = [
        [f"L{n}", *("?" if name in labels else "" for name in names)]
        for n, labels in sorted(layers.items(), reverse=True)
    ]
    return ["", *names], rows


def predicting(model: Model, prompt: Any, target: Any, against: Any, corrupted: Any, head: str | None) -> Prediction:
    """The covered picture of a question: which part leads, or which word ``head`` reads."""
    aim = target_of(target, None if empty(against) else against)
    other = None if corrupted is None or corrupted == "" else prompt_like(corrupted, model)
    question = Question(prompt_like(prompt, model), aim, -1, other, empty(against))
    explanation = explain(model, question, from_python(), {})
    if head is None:
        rival = "" if not against else f" rather than “{visible(str(against))}”"
        said = f"Which part writes most for “{visible(str(target))}”{rival}?"
        return Prediction(explanation, said, COVERED["part"])
    made = Prediction(explanation, f"Which word does {head} read?", COVERED["word"])
    made.selected = head
    return made
