"""Teaching with it: exercises that check themselves, guesses before answers, and a report for the teacher.

::

    lesson = aw.teach.lesson(1, model)
    picture = lesson.predict(prompt, answer)      # the numbers are covered; a click, a key or Python guesses
    picture.reveal("L1.mlp")
    lesson["1.1"].check(1.32)                     # recomputed from the model in use
    lesson.report()                               # a line to read, and JSON for aw.teach.collect(folder)

Answers are Python values. Nothing is sent anywhere, and nothing is locked away: who looks for an answer finds it.
"""

from .answers import Checked
from .by_hand import written_by_head, written_by_parts
from .choice import Choice
from .collect import collect
from .lesson import Exercise, Lesson, lesson
from .predict import Prediction
from .prompts import groups
from .report import Report

__all__ = [
    "Checked",
    "Choice",
    "Exercise",
    "Lesson",
    "Prediction",
    "Report",
    "collect",
    "groups",
    "lesson",
    "written_by_head",
    "written_by_parts",
]
