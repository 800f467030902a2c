"""What is set beside an explanation: another prompt, another answer, or a question that was pinned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import traitlets as t

from ...analysis.attribution.attribution import Attribution
from ...analysis.comparing.compare import Comparison, compare
from ...model.running.worker import Job
from ...words.errors import AttribError, warn
from ...words.targets import Target
from ...words.text import kind_of
from ..questions.address import Address
from ..questions.asked import about, asked
from ..questions.question import Explanation, Question, explain
from ..shapes import contract, results
from ..transport.requests import Operation, Reply, from_python
from ..transport.traits import Locked
from .answering import Answering

#: What stands for the comparison prompt of the question itself.
COMPARED = "compared"
#: Other answers that are offered beside this one.
OFFERED = 3


class Pinned(Locked, t.List):  # type: ignore[type-arg]
    """Questions that were pinned, each with its line and its name."""

    def validate(self, obj: Any, value: Any) -> Any:
        """Each once, its name as Python says it."""
        return super().validate(obj, obj.pins_of(value))


class Beside(Answering):
    """A view of one explanation, with another beside it.

    ``pins`` are questions to come back to, by name, with their attributions: two of them are compared. The trait
    ``pinned`` holds their lines and names as the page draws them.
    """

    pinned = Pinned().tag(sync=True)
    checked: tuple[str, ...] = (*Answering.checked, "pinned")
    _sides: tuple[Explanation, tuple[str, bool], Comparison] | None = None

    # pins ---------------------------------------------------------------------------------------------------------
    @property
    def pins(self) -> dict[str, Attribution]:
        """The pinned questions by name, each with its attribution (made again where it is no longer at hand)."""
        return {pin["name"]: self._explained(pin["line"], from_python()).attribution for pin in self.pinned}

    @pins.setter
    def pins(self, given: Any) -> None:
        self.pinned = given

    def pin(self) -> str:
        """Pin the question on the screen; returns its name among ``pins``."""
        line = self.line_of(self._now)
        self.pinned = [*self.pinned, line]
        return str(next(pin["name"] for pin in self.pinned if pin["line"] == line))

    def pins_of(self, given: Any) -> list[contract.Pin]:
        """``given`` as pins, each once: lines, attributions of this model, or what another view has pinned.

        Raises:
            AttribError: something else, or a question that this model cannot answer.
        """
        if isinstance(given, (str, Attribution)):
            given = [given]
        if isinstance(given, Mapping):
            given = given.values()
        if not isinstance(given, Iterable):
            raise AttribError(f"{kind_of(given, start=True)} names no pins.", "Write ex.pin(), or ex.pins = [a, b].")
        found: dict[str, contract.Pin] = {}
        for one in given:
            address = self._pin(one)
            name, taken = address.name(), {pin["name"] for pin in found.values()}
            number = next(n for n in range(1, len(taken) + 2) if n == 1 or f"{name} ({n})" not in taken)
            if name in taken:
                name = f"{name} ({max(2, number)})"
            line = address.line()
            if line not in found:
                found[line] = {"line": line, "name": name}
        return list(found.values())

    def _pin(self, one: Any) -> Address:
        if isinstance(one, Mapping):
            one = one.get("line")
        if isinstance(one, Answering):
            address = asked(one._now)
        elif isinstance(one, Attribution):
            if one.model is not self.model:
                raise AttribError(
                    f"That attribution is of {one.model.name}, another model.", "Compare the two: aw.compare(a, b)."
                )
            address = about(one, None)
        else:
            address = Address.read(one)
        address = address.question_alone()
        self._check(address)
        return address

    def _check(self, address: Address) -> None:
        """Nothing where this model has the words of a question.

        Raises:
            AttribError: it has not.
        """
        question = address.question(self.model)[0]
        if not isinstance(question.prompt, str) or question.prompt:
            self.model.encode(question.prompt)
        if isinstance(question.target, Target):
            for token in (*question.target.tokens, *question.target.against):
                self.model.single_token(token)

    def take_pins(self, lines: Iterable[str]) -> None:
        """Pin what a state names; what this model cannot answer is said and left out."""
        kept = []
        for line in lines:
            try:
                kept += self.pins_of([line])
            except AttribError as reason:
                warn(f"A pin of this state is left out: {reason}")
        self.pinned = kept

    # side by side ---------------------------------------------------------------------------------------------------
    def side_by_side(self, other: Any = None) -> Comparison:
        """The explanation on the screen and another: A, B and B − A by part and by word.

        Args:
            other: ``"compared"`` (the same answer after the comparison prompt), a line of a question, which may name
                only what differs (``"answer=+Rome"``), or an attribution. None is what the page shows, or would.

        Raises:
            AttribError: there is nothing to set beside it, or the two are not of one unit.
        """
        if isinstance(other, Attribution):
            return compare(self.attribution, other)
        beside = self._beside() if other is None else str(other)
        return self._compared(beside, other is None and bool(self.showing.get("swapped")), from_python())

    def besides(self) -> list[contract.Pin]:
        """What is offered: the comparison, and other likely answers."""
        now, target = self._now, self.attribution.target
        found: list[contract.Pin] = []
        if now.corrupted is not None:
            found.append({"line": COMPARED, "name": f"after “{now.corrupted.run.text}”"})
        if isinstance(target, Target):
            taken = {self.model.single_token(token) for token in (*target.tokens, *target.against)}
            for p in [
                p for p in now.run.top(OFFERED + len(taken), position=now.attribution.position) if p.id not in taken
            ]:
                found.append(Address.of_answer(self.model, p.id))
        return found[: OFFERED + 1]

    def _beside(self) -> str:
        """What the page shows beside, or would."""
        line = str(self.showing.get("beside") or "")
        offered = self.besides()
        if line or not offered:
            return line
        return offered[0]["line"]

    def _compared(self, beside: str, swapped: bool, job: Job) -> Comparison:
        if self._sides is not None and self._sides[0] is self._now and self._sides[1] == (beside, swapped):
            return self._sides[2]
        sides = [self.attribution, self._other(beside, job)[0]]
        if swapped:
            sides.reverse()
        found = compare(*sides)
        self._sides = self._now, (beside, swapped), found
        return found

    def seen_beside(self) -> Comparison | None:
        """The two columns, where the screen shows them and they were computed: picture and table are then of them."""
        if self._sides is None or self.showing.get("mode") != "sides":
            return None
        now, asked, found = self._sides
        return found if now is self._now and asked == (self._beside(), bool(self.showing.get("swapped"))) else None

    def _other(self, beside: str, job: Job) -> tuple[Attribution, str]:
        """(what stands beside, its own line)."""
        if not beside:
            raise AttribError(
                "There is nothing to set beside this.",
                "Give a comparison prompt, or pin this and ask another question.",
            )
        if beside == COMPARED:
            other = self._now.corrupted
            if other is None:
                raise self._no_comparison()
            return other, about(other, None).question_alone().line()
        line = self._whole(beside).line()
        found = self._explained(line, job)
        return found.attribution, self.line_of(found)

    def _whole(self, beside: str) -> Address:
        """A line that may leave out what is as on the screen."""
        address = Address.read(beside).question_alone()
        if {"prompt", "ids"} & set(address.fields):
            return address
        mine = asked(self._now).question_alone()
        inner, outer = {"neuron", "feature", "score"}, {"answer", "rival", "unit"}
        other = (outer if inner & set(address.fields) else set()) | (inner if outer & set(address.fields) else set())
        kept = {k: v for k, v in mine.fields.items() if k not in other}
        if kept.get("rival") == address.fields.get("answer"):
            kept.pop("rival", None)
        return replace(address, fields={**kept, **address.fields})

    def asked_line(self, line: str) -> Question:
        """The question of a line; of one that was answered lately as it was asked then: its tests are found again."""
        wanted = Address.read(line).question_alone().line()
        for e in reversed(self._memory.recent.values()):
            if self.line_of(e) == wanted:
                return e.question
        return Address.read(line).question(self.model)[0]

    def _explained(self, line: str, job: Job) -> Explanation:
        question = self.asked_line(line)
        return self._memory.find(question) or explain(self.model, question, job, self._memory.runs())

    @staticmethod
    def line_of(e: Explanation) -> str:
        """The question of an explanation as a line, without the model."""
        return asked(e).question_alone().line()

    def sides(self, beside: str, swapped: bool, job: Job) -> bytes:
        """The container of the two columns, with the lines of both questions."""
        lines = [self.line_of(self._now), self._other(beside, job)[1]]
        return results.comparison(self._compared(beside, swapped, job), lines[::-1] if swapped else lines, beside)

    def operations(self) -> Mapping[contract.Op, Operation]:
        """What the page may ask."""
        return {"beside": self._op_beside, **super().operations()}

    def _op_beside(self, job: Job, args: Mapping[str, Any]) -> Reply:
        beside = args.get("beside")
        if not isinstance(beside, str):
            raise AttribError("The request names nothing to set beside.", "Click one of those that are offered.")
        return Reply(container=self.sides(beside, bool(args.get("swapped")), job))
