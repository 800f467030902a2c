"""The view of a survey: a map of every group, a part on every prompt, and the way back to each prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import traitlets as t

from ..words.components import component
from ..words.errors import ComponentError, PositionError
from .explore import ready
from .shapes import contract, surveys
from .transport import assets
from .transport.requests import Operation, Reply, RequestError
from .transport.view import View

if TYPE_CHECKING:
    from ..analysis.survey.parts import SurveyedPart
    from ..analysis.survey.result import Survey
    from ..analysis.survey.tested import SurveyTest
    from ..model.running.worker import Job

#: So many prompts are looked into at once.
MOST = 50


class SurveyView(View):
    """A survey to click through. ``selected`` is the part whose prompts are shown and ``source`` the prompt that is
    open (-1 is none); both are set by clicks and by Python. ``opened`` is the Explorer of that prompt, on that part.
    ``tests`` holds what :meth:`test` and "Test on all" found."""

    bundle = assets.SURVEY
    _esm = assets.script(assets.SURVEY)
    _css = assets.style(assets.SURVEY)
    tests = t.Bytes().tag(sync=True)

    def __init__(self, survey: Survey) -> None:
        self.survey = survey
        self.opened: Any = None
        self._prepared: tuple[int, Callable[[], Any]] | None = None
        super().__init__(
            "survey",
            surveys.survey(survey),
            survey,
            worker=None if survey.model is None else survey.model.worker,
            tests=surveys.tests(survey),
        )

    def operations(self) -> Mapping[contract.Op, Operation]:
        """What the page may ask."""
        return {"surveyed": self._op_surveyed, "reads": self._op_reads, "test": self._op_test, "open": self._op_open}

    def at_once(self) -> Mapping[contract.Op, Callable[[Mapping[str, Any]], Mapping[str, Any]]]:
        """What opens is opened by the handler."""
        return {"opened": self._opened}

    def page_traits(self) -> dict[str, Any]:
        """With what was tested."""
        return {**super().page_traits(), "tests": self.tests}

    def test(self, parts: Any = None, group: str | Sequence[str] | None = None, **how: Any) -> SurveyTest:
        """:meth:`.Survey.test`, and what it finds on the page."""
        found = self.survey.test(parts, group, **how)
        with self.writing:
            self.tests = surveys.tests(self.survey)
        return found

    def label_of(self, value: Any) -> str:
        """``value`` as a part of the survey; ``""`` is none.

        Raises:
            ComponentError: no such part.
        """
        if value is None or value == "":
            return ""
        return str(self.survey[value].component)

    def source_of(self, value: int) -> int:
        """``value`` as the number of a prompt, or -1.

        Raises:
            PositionError: there is no such prompt.
        """
        if not -1 <= value < len(self.survey):
            raise PositionError(f"There is no prompt {value}.", f"They are numbered from 0 to {len(self.survey) - 1}.")
        return value

    def selected_result(self) -> SurveyedPart | Survey:
        """The selected part on every prompt; the survey where none is selected."""
        return self.survey[self.selected] if self.selected else self.survey

    def close(self) -> None:
        """Leave the page, and take the Explorer under it along."""
        self._shut()
        super().close()

    def _shut(self) -> None:
        if self.opened is not None:
            self.opened.close()
            self.opened = None

    def _part(self, args: Mapping[str, Any]) -> str:
        label = self.label_of(args.get("id"))
        if not label:
            raise ComponentError("The request names no component.", "Click a part.")
        return label

    def _op_surveyed(self, job: Job, args: Mapping[str, Any]) -> Reply:
        return Reply(container=surveys.surveyed(self.survey[self._part(args)]))

    def _op_reads(self, job: Job, args: Mapping[str, Any]) -> Reply:
        head, s = component(self._part(args)), self.survey
        found: list[contract.MostRead] = []
        for number in list(args.get("prompts") or ())[:MOST]:
            job.check()
            assert s.model is not None  # else there is no worker, and nothing is asked
            found.append(surveys.most_read(s.model, s.ids[self._number(number)], head, s.position, number))
        answer: contract.Reads = {"reads": found}
        return Reply(answer)

    def _op_test(self, job: Job, args: Mapping[str, Any]) -> Reply:
        given = args.get("ids")
        parts = None if given is None else [self._part({"id": one}) for one in given]
        self.test(parts, args.get("groups"), job=job)
        job.check()  # of one that was cancelled, what was done is on the page by now
        return Reply({})

    def _op_open(self, job: Job, args: Mapping[str, Any]) -> Reply:
        number = self._number(args.get("prompt"))
        model, prompted, aim, more = self.survey.question(number)
        self._prepared = number, ready(model, prompted, aim, **more)
        return Reply({})

    def _opened(self, args: Mapping[str, Any]) -> contract.OpenedPrompt:
        """Open what :meth:`_op_open` prepared."""
        number, prepared = self._number(args.get("prompt")), self._prepared
        if prepared is None or prepared[0] != number:
            raise RequestError(f"Prompt {number} is not ready.", "Click it once more.")
        self._prepared = None
        explorer = prepared[1]()
        explorer.selected = self.selected
        self._shut()
        self.opened = explorer
        return {"model": explorer.model_id}

    def _number(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise PositionError(f"There is no prompt {value!r}.", "Click one.")
        return self.source_of(value)
