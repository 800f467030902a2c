"""What a person did in a lesson, as a line to read and as JSON in the notebook's output."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from ..words.text import how_many

#: How the line begins that holds the JSON.
MARK = '{"attrib_widgets": '


@dataclass
class Done:
    """What was done about one exercise, or said of one covered picture."""

    asked: str
    right: bool | None = None
    tries: int = 0
    hints: int = 0
    solution: bool = False
    said: str = ""


@dataclass(frozen=True)
class Report:
    """A lesson as it was done. Printed it is two lines; the second one is for :func:`attrib_widgets.teach.collect`."""

    lesson: int
    model: str
    version: str
    name: str = ""
    done: list[Done] = field(default_factory=list)

    def line(self) -> str:
        """For a person."""
        right = sum(one.right is True for one in self.done)
        tries = how_many(sum(one.tries for one in self.done), "try").replace("trys", "tries")
        hints = how_many(sum(one.hints for one in self.done), "hint")
        shown = [one.asked for one in self.done if one.solution]
        seen = f"; solutions shown: {', '.join(shown)}" if shown else ""
        who = f"{self.name}: " if self.name else ""
        return f"{who}lesson {self.lesson} on {self.model}: {right} of {len(self.done)} right, {tries}, {hints}{seen}."

    def json(self) -> str:
        """The same for a program, in one line."""
        rest: dict[str, Any] = {"lesson": self.lesson, "model": self.model, "name": self.name}
        rest["done"] = [asdict(one) for one in self.done]
        return json.dumps({"attrib_widgets": self.version, **rest}, ensure_ascii=True)

    def __repr__(self) -> str:
        return f"{self.line()}\n{self.json()}"


def read_reports(text: str) -> list[dict[str, Any]]:
    """The reports that a text holds, the first one first; what is none is passed over."""
    found = []
    for line in text.splitlines():
        if not line.startswith(MARK):
            continue
        try:
            report = json.loads(line)
        except ValueError:
            continue
        if isinstance(report.get("lesson"), int) and isinstance(report.get("done"), list):
            found.append(report)
    return found
