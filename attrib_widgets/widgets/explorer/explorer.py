"""The Explorer: why a model said something, by clicking. Opened by :func:`attrib_widgets.explore`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

from ...analysis.attribution.attribution import Attribution
from ...analysis.heads.attention import attention
from ...analysis.opening.dictionaries.rows import opened_row
from ...model.identity.steady import steady
from ...model.run import Run
from ...model.running.worker import Job
from ...result import Result, Table, tabled
from ...words.components import ComponentLike, component
from ...words.errors import AttribError, ComponentError, ModelError, PositionError
from ...words.targets import Target
from ...words.text import safe
from ..questions.address import Address
from ..questions.asked import asked as asked_of
from ..questions.memory import Memory
from ..questions.passage import Passage, Passages
from ..questions.question import Explanation, Question, explain
from ..shapes import contract, experiments
from ..shapes.budget import first_draw, whole
from ..shapes.text import with_passage
from ..transport import saving, wire
from ..transport.requests import Operation, Reply, Request, from_python
from .beside import COMPARED
from .guessing import Guessing
from .writing import Writing, shown

#: What a person may want to set, and what to write instead.
_ASKED = {
    **{n: f"Write .ask({n}=...)." for n in ("prompt", "target", "against", "position", "corrupted")},
    "run": "Write .ask(prompt=run).",
    "attribution": "Write .ask(prompt=..., target=..., against=...).",
    "model": "Write aw.explore(model, prompt).",
}


class Explorer(Writing, Guessing):
    """A prompt, a prediction, and the parts that wrote it, to click through. Made by :func:`explore`.

    ``selected`` is the component that was clicked (``""`` is none) and ``source`` the token inside it (-1 is none);
    both can be set. ``attribution`` is the result on the screen and :meth:`selected_result` the one behind the click.
    :meth:`verify` tests what it shows, and ``verdicts`` is what that has found. ``state`` is the screen as a line.
    :meth:`generate` lets the model go on, and ``word`` is the word of the text that is explained.
    """

    checked = tuple(dict.fromkeys((*Writing.checked, *Guessing.checked)))

    def __init__(
        self,
        explanation: Explanation,
        kind: Literal["explorer", "attribution"] = "explorer",
        hidden: Iterable[str] = (),
        passage: Passage | None = None,
    ) -> None:
        self._now = explanation
        self._passages = Passages(passage)
        self._version = 1
        self._memory = Memory(explanation)
        self._screen = kind
        self.guesses = []
        """What was guessed before it was revealed, the oldest first."""
        self._listeners: list[Callable[[str], object]] = []
        super().__init__(
            kind,
            self._container(explanation),
            worker=explanation.run.model.worker,
            hidden=hidden,
            kinds=explanation.run.model.part_kinds,
            showing=shown(passage is not None),
        )
        self.observe(self._selection_changed, "selected")
        self.observe(self._uncovered, "options")
        self.model.saes.on_change(self._redraw)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ASKED:
            raise AttribError(f"{name} is not set but asked for.", _ASKED[name])
        super().__setattr__(name, value)

    # what is on the screen ------------------------------------------------------------------------------------
    @property
    def corrupted(self) -> Run | None:
        """The recorded forward pass of the comparison prompt."""
        return None if self._now.corrupted is None else self._now.corrupted.run

    @property
    def history(self) -> list[Question]:
        """The questions that were asked, the oldest first; of runs given long ago only their token ids."""
        return self._memory.history

    def summary(self) -> Table:
        """The attribution's table; while the answer is hidden, the question. A model built by hand is named."""
        table = self._question_or_answer()
        built = self.model.built
        return table if built is None else replace(table, title=f"{built.called} \u00b7 {table.title}")

    def _question_or_answer(self) -> Table:
        if self._covered:
            at = self.attribution.position + 1
            read = self.run.text if at == self.run.n_positions else self.model.joined(self.run.ids[:at])
            title = f"What comes after \u201c{safe(read)}\u201d?"
            return Table(title, [], [], note="Make your prediction first; .reveal() shows the answer.")
        if self._all is not None:
            return tabled(self._all)
        if (seen := self.seen_beside() or self.seen_concepts()) is not None:
            return tabled(seen)
        table = tabled(self.attribution)
        contrast, v = self._now.contrast, self.verdicts
        said = [contrast.told] if contrast is not None and contrast.told else []
        if contrast is not None and contrast.taken:
            said[0] += "; against=() asks the logit by itself"
        said += [] if v is None else [f"Tested (n = {v.pairs}): {v.title()}."]
        return replace(table, note="\n".join([table.note, *said]))

    def shown(self) -> Result | Table:
        """The attribution, all words together, what stands beside it, or its concepts; while the answer is hidden, the
        question."""
        if self._covered:
            return self.summary()
        return self._all or self.seen_beside() or self.seen_concepts() or self.attribution

    @property
    def _covered(self) -> bool:
        return not {"candidates", "values"}.isdisjoint(self.hidden)

    def in_words(self) -> str:
        """The answer on the screen in a few sentences, what was tested among them, with model and versions."""
        if self._covered:
            return saving.paragraph(self.summary())
        if self._all is not None:
            return saving.paragraph(self._all)
        return f"{self.attribution.in_words(self.verdicts)} Model: {self.model!r}. Computed with {saving.versions()}."

    @property
    def state(self) -> str:
        """The screen as a line to read, edit and open again: what was asked and where one looks, without numbers; and
        without the answer while that is hidden.

        A model from a folder is named from the working folder where it lies there or beside it, else by its whole path:
        give another machine's model with the line, ``aw.explore(model, state=line)``.
        """
        return self._address().line()

    @state.setter
    def state(self, line: str) -> None:
        address = Address.read(line)
        address.warn_of_another(self.model)
        question, passage = address.question(self.model)
        if passage is not None:
            self._passages.keep(passage)
        explanation = self._answered(question, from_python())
        a = explanation.attribution
        self.label_of(address.part(), a), self.source_of(address.source(), a), self.rows_of(address.pins(), a)
        with self.writing, self.hold_sync():
            self._show(question, explanation, None)
            self.look(address)

    def _address(self) -> Address:
        looking = {
            "part": self.selected,
            "source": "" if self.source < 0 else str(self.source),
            "tab": self.showing["tab"],
            "mode": "" if self.showing["mode"] == "size" else self.showing["mode"],
            "pins": ",".join(self.chosen),
            "beside": str(self.showing.get("beside") or ""),
            "side": "B" if self.showing.get("swapped") else "",
            "under": str(self.showing.get("under") or ""),
        }
        pinned = tuple(pin["line"] for pin in self.pinned)
        found = Address({**asked_of(self._now, self._passage).fields, **looking}, pinned)
        if "candidates" in self.hidden:
            mine = asked_of(self._now).question_alone()
            said = (mine.unanswered().line() if line == mine.line() else line for line in pinned)
            found = replace(found.unanswered(), pinned=tuple(said))
        return found if self._all is None else found.of_all()

    def look(self, address: Address) -> None:
        """Go where a line looks: part, source token, tab, mode, and the rows that were gathered."""
        with self.writing, self.hold_sync():
            self.selected = address.part()
            self.source = address.source()
            self.showing = shown(self._passage is not None and address.all(), dict(address.looking()))
            self.chosen = address.pins()
            self.take_pins(address.pinned)

    # selection --------------------------------------------------------------------------------------------------
    def label_of(self, value: ComponentLike | None, of: Attribution | None = None) -> str:
        """``value`` as a row of this attribution, or as a feature of one: ``L2.mlp/12``, for a head ``L3H5/12``.

        Args:
            of: another attribution than the one on the screen.

        Raises:
            ComponentError: no such component, or none in these rows.
        """
        if value is None or value == "":
            return ""
        part, a = component(value), of or self.attribution
        label = str(opened_row(a, part) if part.kind == "feature" else part)
        rows = a.labels
        if label not in rows:
            if part.kind == "feature":  # of a stream: the bars beside it are what was written, not where it stands
                raise ComponentError(
                    f"{part} is a feature of a stream, and no row of this attribution holds it.",
                    f'.attribution.features("{part.site}") opens it; "" selects nothing.',
                )
            raise ComponentError(
                f"{label} is not a row of this attribution.",
                f'Its rows run from {rows[0]} to {rows[-1]}: see .attribution.labels; "" selects nothing.',
            )
        return f"{label}/{part.index}" if part.kind == "feature" else label

    def source_of(self, value: int, of: Attribution | None = None) -> int:
        """``value`` as a source position (of another attribution: ``of``), or -1 for none.

        Raises:
            PositionError: outside the prompt.
        """
        n = (of or self.attribution).run.n_positions
        if not -1 <= value < n:
            raise PositionError(
                f"Source {value} is outside the prompt, which has {n} tokens.",
                f"Use 0 to {n - 1}, or −1 for none.",
            )
        return value

    def on_select(self, listener: Callable[[str], object]) -> Callable[[], None]:
        """Call ``listener(label)`` whenever the selection changes, by a click or from Python.

        It is called while the click is handled, so keep it short: hand long work to ``model.worker.submit``.
        Returns the function that ends this.
        """
        self._listeners.append(listener)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    def selected_result(self) -> Any:
        """The result object behind the click: what can be computed further in Python.

        For a head its sources (its pattern, where what it carried is not known), and with a source chosen what reached
        it from there; for an MLP its neurons, or the experts of a mixture; for a feature its card; for other parts what
        they write, or their number where they write nothing (``rounding``). With nothing selected, the attribution; of
        all words that follow the prompt, that of the phrase.
        """
        if self._all is not None:
            return self._all
        if not self.selected:
            return self.attribution
        part = component(self.selected)
        if part.kind == "feature":
            return self.attribution.features(opened_row(self.attribution, part)).card(part.index or 0)
        if part.kind == "head":
            if not self.attribution.model.level(part.layer or 0).sources:  # what it carried is not known
                return attention(self.run, part)
            if self.source >= 0:
                return self.attribution.through(part).at(self.source)
            return self.attribution.sources(part)
        if part.kind == "mlp":
            return self._inside(part)
        try:
            return self.attribution.writes(part)
        except ComponentError:
            return self.attribution[part]

    def _uncovered(self, change: Mapping[str, Any]) -> None:
        self._revealed(set((change["old"] or {}).get("hidden", ())), set(self.hidden))

    def _selection_changed(self, change: Mapping[str, Any]) -> None:
        if not self.from_browser:  # a source belongs to its head; the browser sends both together
            self.source = -1
        for listener in list(self._listeners):
            try:
                listener(change["new"])
            except Exception as error:
                if not self.from_browser:
                    raise
                self.keep(error)  # a click has no cell to raise in

    # questions --------------------------------------------------------------------------------------------------
    def ask(
        self,
        prompt: Any = None,
        target: Any = None,
        against: Any = None,
        position: int | None = None,
        corrupted: Any = None,
    ) -> Attribution:
        """Ask the next question; what is not given stays as it is.

        Args:
            prompt: text or ids; with a new prompt, or another position, and no target, the model's top prediction
                there is explained.
            target: token text or id, or a target object.
            against: the token to hold against it; "" or () asks for the target by itself.
            position: where the prediction is read; -1 is the last token.
            corrupted: the comparison prompt; "" removes it.

        Raises:
            AttribError: nothing changes then.
        """
        if prompt is None and isinstance(position, int) and -self.run.n_positions <= position < 0:
            position += self.run.n_positions  # the same place is the same question
        args = {"prompt": prompt, "target": target, "against": against, "position": position, "corrupted": corrupted}
        self._ask(from_python(), args)
        return self.attribution

    def _ask(self, job: Job, args: Mapping[str, Any]) -> None:
        before, number = self._now, args.get("restore")
        question = self._next(job, args) if number is None else self._memory.at(number)
        explanation = self._answered(question, job, number)
        inside = number is None and args.get("neuron") is not None
        self._show(question, explanation, before if inside else None)

    def _answered(self, question: Question, job: Job, number: int | None = None) -> Explanation:
        """The answer, drawn and not shown; ``number``: it was asked before under that one."""
        explanation = self._memory.find(question)
        if explanation is None:
            explanation = explain(self.model, question, job, {**self._memory.runs(), **self._passages.runs()})
            if number is not None:
                self._memory.refuse_other(number, explanation)
        if explanation.patterns is None:
            explanation.patterns = self._memory.patterns(explanation)
        first_draw(explanation)
        job.check()
        return explanation

    def _show(self, question: Question, explanation: Explanation, opened_from: Explanation | None) -> None:
        with self.writing:
            read = self.run.ids == explanation.run.ids and self._reads(explanation.attribution, self.source)
            self._memory.keep(question, explanation, opened_from)
            self._drop()
            self._now = explanation
            self._version += 1
            # One message: the page never sees a selection that its rows do not have.
            with self.hold_sync():
                self.container = self._container(explanation)
                self._known_further()
                self.tested = dict(self._told(explanation))
                self.without = {}
                self.guessed = {}
                gone = explanation.corrupted is None and self.showing.get("beside") == COMPARED
                self.showing = shown(False, {**self.showing, "beside": ""} if gone else self.showing)
                self.chosen = [c for c in self.chosen if c in explanation.attribution.labels]
                if self.selected.partition("/")[0] not in explanation.attribution.labels:
                    self.selected = ""
                if not read:
                    self.source = -1
        self._begin()

    @staticmethod
    def _reads(a: Attribution, source: int) -> bool:
        """Whether what is explained can have been read from ``source``."""
        return source <= a.position or not a.model.check.causal

    def _redraw(self) -> None:
        """The same answer with the dictionaries that the model has now; of a model that has changed, as it was."""
        with self.writing:
            try:
                for run in self._now.runs.values():
                    run.check_fresh()
            except ModelError:
                return
            self._drop()
            with self.hold_sync():
                self._version += 1
                self.container = self._container(self._now)
                self._known_further()
                if "/" in self.selected and not self._has_dictionary(self.selected):
                    self.selected = self.selected.partition("/")[0]
        self._begin()

    def _has_dictionary(self, feature: str) -> bool:
        try:
            self.label_of(feature)
        except AttribError:
            return False
        return True

    def close(self) -> None:
        """Cancel what is queued or running and leave the page."""
        super().close()
        self.model.saes.off_change(self._redraw)

    def _container(self, explanation: Explanation, complete: bool = False) -> bytes:
        """The state of the screen that shows ``explanation``."""
        question, address = explanation.question, asked_of(explanation)
        a, passage = explanation.attribution, self._passages.of(question)
        explained, arrays = with_passage(whole(explanation) if complete else first_draw(explanation), a, passage)
        if said := self._passages.told(question):
            explained = {**explained, "notes": [*explained["notes"], said]}
        if explanation.replaced is not None:
            explained = {**explained, "replaced": experiments.replaced(explanation.replaced)}
        header: contract.ExplorerHeader = {
            **explained,
            "kind": self._screen,
            "version": self._version,
            "question": self._memory.number(question),
            "origin": self._memory.origin(question),
            "address": (address if passage is None else asked_of(explanation, passage)).line(),
            "pin": {"line": address.question_alone().line(), "name": address.name()},
            "besides": self.besides(),
        }
        if complete and not self.hidden and self.showing.get("mode") == "sides":
            with suppress(AttribError):  # what cannot be set beside this is no reason not to save the rest
                sides = self.sides(self._beside(), bool(self.showing.get("swapped")), from_python())
                arrays = {**arrays, "sides": wire.inside(sides)}
        return wire.pack(header, arrays)

    # requests ---------------------------------------------------------------------------------------------------
    def operations(self) -> Mapping[contract.Op, Operation]:
        """What the page may ask."""
        return {"explain": self._op_explain, **super().operations()}

    def before(self, request: Request) -> None:
        """A new question makes the ones still waiting or running pointless, another set of parts the one before."""
        overtaken: dict[str, tuple[contract.Op, ...]] = {
            "explain": ("explain", "verify", "ablate", "replaced", "without", "circuit"),
            "without": ("without", "circuit"),
        }
        for op in overtaken.get(request.op, ()):
            for _, job in self.jobs(op):
                job.cancel()

    def _op_explain(self, job: Job, args: Mapping[str, Any]) -> Reply:
        self._ask(job, args)
        return Reply()

    @steady()
    def page_traits(self) -> dict[str, Any]:
        """The offline page holds everything that fits: nobody answers it."""
        if (
            self.chosen
            and self.without.get("components") != self.chosen
            and isinstance(self._now.attribution.target, Target)
        ):
            self.chosen_result()
        state = self._container(self._now, complete=True)
        told = {"tested": self.tested, "chosen": self.chosen, "without": self.without}
        told |= {"showing": self.showing, "pinned": self.pinned, "guessed": self.guessed}
        return {**super().page_traits(), "container": state, **told}
