"""A lesson in use: its prompts, exercises and covered pictures, with what was tried."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..words.components import whole
from ..words.errors import AttribError, warn
from ..words.text import visible
from .answers import Checked, unanswered
from .choice import Choice
from .exercises import LESSONS, Asked
from .predict import Prediction, predicting
from .prompts import Example, Examples, embedded
from .report import Done, Report
from .screens import SCREENS

if TYPE_CHECKING:
    from ..model.model import Model
    from .exercises import Outline


class Exercise:
    """One exercise of a lesson. Printed it is the question; it counts what was tried."""

    def __init__(self, name: str, asked: Asked, model: Model, examples: Examples) -> None:
        self.name = name
        self.done = Done(name)
        self._asked, self._model, self._examples = asked, model, examples

    def __repr__(self) -> str:
        return f"Exercise {self.name}. {self._asked.ask}"

    def check(self, answer: Any) -> Checked:
        """Whether an answer is right, computed from the model in use; else what is wrong with it.

        Three dots (or None) are no answer and no try. The result is true only where the answer is right.
        """
        if (missing := unanswered(answer)) is not None:
            return missing
        found = self._asked.answer(self._model, self._examples).judge(answer)
        self.done.tries += 1
        self.done.right, self.done.said = found.right, repr(answer)
        return found

    def hint(self) -> Checked:
        """What helps; it is counted."""
        self.done.hints += 1
        return Checked(None, self._asked.hint)

    def solution(self) -> Checked:
        """The answer for this model and how to come to it; it is noted in the report."""
        self.done.solution = True
        told = self._asked.answer(self._model, self._examples).told()
        return Checked(None, f"{told}\n{self._asked.solution}".strip())


class Lesson:
    """A lesson on one model; ``lesson["1.1"]`` is an exercise. Made by :func:`lesson`.

    Attributes:
        number, title, minutes: of the lesson; model: on which it is held.
        example: its prompt, answer, rival, and the other prompt; second: those of the exercise.
    """

    def __init__(self, number: int, outline: Outline, model: Model) -> None:
        self.number, self.title, self.minutes, self.model = number, outline.title, outline.minutes, model
        self.examples = outline.examples(model)
        self._outline = outline
        self._exercises = {
            name: Exercise(name, asked, model, self.examples) for name, asked in outline.exercises.items()
        }
        self._seen: list[Prediction | Choice] = []

    @property
    def example(self) -> Example:
        """Prompt, answer, rival and other prompt of the lesson."""
        return self.examples.first

    @property
    def second(self) -> Example:
        """Those of the exercise."""
        return self.examples.second

    def astray(self) -> str:
        """What else the model says after a prompt than the lesson supposes, in a sentence; "" where it says that.

        The embedded model is not asked: what it gets wrong is part of the lessons.
        """
        told = []
        for prompt, answer, *_ in [] if embedded(self.model) else dict.fromkeys(self.examples):
            if (says := self.model.run(prompt).top(1)[0].text) != answer:
                told.append(f"after \u201c{prompt}\u201d {visible(says)} and not {visible(answer)}")
        if not told:
            return ""
        return (
            f"{self.model.name} says {', and '.join(told)}. Numbers and checks are still its own; what the text "
            "tells of this example need not hold."
        )

    def __repr__(self) -> str:
        names = ", ".join(self._exercises)
        return f"Lesson {self.number}: {self.title} ({self.minutes} minutes, on {self.model.name}; exercises: {names})"

    def __getitem__(self, name: str) -> Exercise:
        """An exercise by its name.

        Raises:
            AttribError: no such exercise.
        """
        if name not in self._exercises:
            raise AttribError(
                f"Lesson {self.number} has no exercise {name!r}.", f"It has {', '.join(self._exercises)}."
            )
        return self._exercises[name]

    def predict(
        self, prompt: Any, target: Any, *, against: Any = None, corrupted: Any = None, head: str | None = None
    ) -> Prediction:
        """A picture with its numbers covered, which asks which part leads, or which word a head reads.

        Args:
            prompt, target, against, corrupted: as :func:`attrib_widgets.explore` takes them.
            head: ask which word this head reads, instead of which part leads.
        """
        made = predicting(self.model, prompt, target, against, corrupted, head)
        self._seen.append(made)
        return made

    def choose(self, name: str) -> Choice:
        """A question of the lesson, as buttons under what it asks about, which is covered.

        Raises:
            AttribError: no such question.
        """
        asked = self._outline.questions.get(name)
        if asked is None or asked.options is None:
            has = ", ".join(map(repr, self._outline.questions)) or "none"
            raise AttribError(f"Lesson {self.number} asks no question {name!r}.", f"It asks {has}.")
        model, of, screen = self.model, self.examples, SCREENS[name]
        made = Choice(
            asked.ask,
            asked.options(model, of),
            lambda: asked.answer(model, of),
            screen.cover(model, of),
            lambda: screen.shown(model, of),
        )
        self._seen.append(made)
        return made

    def report(self, name: str = "") -> Report:
        """What was done, as a line to read and one for :func:`attrib_widgets.teach.collect`.

        Args:
            name: of the person, where the teacher should see one.
        """
        guessed = [one.done(f"picture {i}") for i, one in enumerate(self._seen, 1)]
        done = [*(one for one in guessed if one.tries), *(exercise.done for exercise in self._exercises.values())]
        source = str(self.model.name)
        short = Path(source).name if Path(source).is_dir() else source  # where a folder lies is nobody's business
        return Report(self.number, short, metadata.version("attrib_widgets"), str(name), done)


def lesson(number: int, model: Any = None) -> Lesson:
    """A lesson of the course, on a model. It warns where the model says something else than the lesson supposes.

    Args:
        number: of the lesson.
        model: a Model, or anything :func:`attrib_widgets.load` takes; None is the embedded one.

    Raises:
        AttribError: no such lesson.
    """
    from ..model.model import load

    outline = LESSONS.get(whole(number) or 0)
    if outline is None:
        raise AttribError(f"There is no lesson {number!r}.", f"The lessons are {', '.join(map(str, LESSONS))}.")
    made = Lesson(int(number), outline, load("demo" if model is None else model))
    if said := made.astray():
        warn(said)
    return made
