"""The Explorer: why a model said something, by clicking."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

from ..analysis.attribution.attribution import Attribution
from ..analysis.heads.attention import attention
from ..analysis.opening.features import opened_row
from ..analysis.opening.results import Contributions
from ..analysis.opening.totals import MLPs
from ..model.model import Model, load
from ..model.run import Run
from ..model.running.worker import Job
from ..result import Result, Table
from ..words.components import Component, ComponentLike, component
from ..words.errors import AttribError, ComponentError, ModelError, PositionError
from ..words.targets import Target
from ..words.text import safe
from .memory import Memory
from .question import Explanation, Question, asked, blaming, empty, explain, prompt_like, target_of
from .shapes import contract, results
from .shapes.budget import encode
from .shapes.explorer import lens, why
from .testing import Tester
from .transport import saving, wire
from .transport.view import Operation, Reply, Request

#: What a person may want to set, and what to write instead.
_ASKED = {
    **{n: f"Write .ask({n}=...)." for n in ("prompt", "target", "against", "position", "corrupted")},
    "run": "Write .ask(prompt=run).",
    "attribution": "Write .ask(prompt=..., target=..., against=...).",
    "model": "Write aw.explore(model, prompt).",
}


class Explorer(Tester):
    """A prompt, a prediction, and the parts that wrote it, to click through. Made by :func:`explore`.

    ``selected`` is the component that was clicked (``""`` is none) and ``source`` the token inside it (-1 is none);
    both can be set. ``attribution`` is the result on the screen and :meth:`selected_result` the one behind the click.
    :meth:`verify` tests what it shows, and ``verdicts`` is what that has found.
    """

    def __init__(
        self,
        explanation: Explanation,
        kind: Literal["explorer", "attribution"] = "explorer",
        hidden: Iterable[str] = (),
    ) -> None:
        self._now = explanation
        self._version = 1
        self._memory = Memory(explanation)
        self._screen = kind
        self._listeners: list[Callable[[str], object]] = []
        super().__init__(
            kind,
            self._container(explanation),
            worker=explanation.run.model.worker,
            hidden=hidden,
        )
        self.observe(self._selection_changed, "selected")
        self.model.saes.on_change(self._redraw)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ASKED:
            raise AttribError(f"{name} is not set but asked for.", _ASKED[name])
        super().__setattr__(name, value)

    # what is on the screen ------------------------------------------------------------------------------------
    @property
    def model(self) -> Model:
        """The model under study."""
        return self.run.model

    @property
    def run(self) -> Run:
        """The recorded forward pass of the prompt."""
        return self._now.run

    @property
    def attribution(self) -> Attribution:
        """The result that the bars show."""
        return self._now.attribution

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
        if {"candidates", "values"} & set(self.hidden):
            title = f"What comes after \u201c{safe(self.run.text)}\u201d?"
            return Table(title, [], [], note="Make your prediction first; .reveal() shows the answer.")
        table = self.attribution.summary()
        contrast, v = self._now.contrast, self.verdicts
        said = [contrast.told] if contrast is not None and contrast.told else []
        if contrast is not None and contrast.taken:
            said = [f"{contrast.told}; against=() asks the logit by itself"]
        said += [] if v is None else [f"Tested (n = {v.pairs}): {v.title()}."]
        return replace(table, note="\n".join([table.note, *said]))

    def shown(self) -> Result | Table:
        """The attribution; while the answer is hidden, the question."""
        return self.summary() if {"candidates", "values"} & set(self.hidden) else self.attribution

    def in_words(self) -> str:
        """The answer on the screen in a few sentences, what was tested among them, with model and versions."""
        if isinstance(self.shown(), Table):
            return saving.paragraph(self.shown())
        return f"{self.attribution.in_words(self.verdicts)} Model: {self.model!r}. Computed with {saving.versions()}."

    # selection --------------------------------------------------------------------------------------------------
    def label_of(self, value: ComponentLike | None) -> str:
        """``value`` as a row of this attribution, or as a feature of one: ``L2.mlp/12``, for a head ``L3H5/12``.

        Raises:
            ComponentError: no such component, or none in these rows.
        """
        if value is None or value == "":
            return ""
        part = component(value)
        label = str(opened_row(self.attribution, part) if part.kind == "feature" else part)
        rows = self.attribution.labels
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

    def source_of(self, value: int) -> int:
        """``value`` as a source position, or -1 for none.

        Raises:
            PositionError: outside the prompt.
        """
        if not -1 <= value < self.run.n_positions:
            raise PositionError(
                f"Source {value} is outside the prompt, which has {self.run.n_positions} tokens.",
                f"Use 0 to {self.run.n_positions - 1}, or −1 for none.",
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
        they write, or their number where they write nothing (``rounding``). With nothing selected, the attribution.
        """
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

    def _inside(self, part: Component) -> Contributions:
        """What an MLP splits into: the experts of a mixture, else neurons."""
        mixture = part.kind == "mlp" and self.model.has_experts(part.layer or 0)
        return self.attribution.experts(part) if mixture else self.attribution.neurons(part)

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
        self._ask(Job(_nothing), args)
        return self.attribution

    def _ask(self, job: Job, args: Mapping[str, Any]) -> None:
        before, number = self._now, args.get("restore")
        question = asked(self.model, before.question, args) if number is None else self._memory.at(number)
        explanation = self._memory.find(question)
        if explanation is None:
            explanation = explain(self.model, question, job, self._memory.runs())
            if number is not None:
                self._memory.refuse_other(number, explanation)
        encode(explanation, job=job)
        job.check()
        inside = number is None and args.get("neuron") is not None
        self._show(question, explanation, before if inside else None)

    def _show(self, question: Question, explanation: Explanation, opened_from: Explanation | None) -> None:
        with self.writing:
            read = self.run.ids == explanation.run.ids and self._reads(explanation.attribution, self.source)
            self._memory.keep(question, explanation, opened_from)
            self._now = explanation
            self._version += 1
            # One message: the page never sees a selection that its rows do not have.
            with self.hold_sync():
                self.state = self._container(explanation)
                self.tested = dict(self._told(explanation))
                self.without = {}
                self.chosen = [c for c in self.chosen if c in explanation.attribution.labels]
                if self.selected.partition("/")[0] not in explanation.attribution.labels:
                    self.selected = ""
                if not read:
                    self.source = -1

    @staticmethod
    def _reads(a: Attribution, source: int) -> bool:
        """Whether what is explained can have been read from ``source``."""
        return source <= a.position or not a.model.check.causal

    def _redraw(self) -> None:
        """The same answer with the dictionaries that the model has now; of a model that has changed, as it was."""
        with self.writing:
            try:
                encode(self._now)
            except ModelError:
                return
            with self.hold_sync():
                self._version += 1
                self.state = self._container(self._now)
                if "/" in self.selected and not self._has_dictionary(self.selected):
                    self.selected = self.selected.partition("/")[0]

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
        question = explanation.question
        explained, arrays = encode(explanation, complete=complete)
        header: contract.ExplorerHeader = {
            **explained,
            "kind": self._screen,
            "version": self._version,
            "question": self._memory.number(question),
            "origin": self._memory.origin(question),
        }
        return wire.pack(header, arrays)

    # requests ---------------------------------------------------------------------------------------------------
    def operations(self) -> Mapping[contract.Op, Operation]:
        """What the page may ask."""
        return {
            "explain": self._op_explain,
            "head": self._op_head,
            "through": self._op_through,
            "why": self._op_why,
            "neurons": self._op_neurons,
            "features": self._op_features,
            "feature": self._op_feature,
            "writes": self._op_writes,
            "trace": self._op_trace,
            "lens": self._op_lens,
            "verify": self._op_verify,
            "ablate": self._op_ablate,
            "effects": self._op_effects,
            "without": self._op_without,
        }

    def before(self, request: Request) -> None:
        """A new question makes the ones still waiting or running pointless, another set of parts the one before."""
        overtaken: dict[str, tuple[contract.Op, ...]] = {
            "explain": ("explain", "verify", "ablate", "without"),
            "without": ("without",),
        }
        for op in overtaken.get(request.op, ()):
            for _, job in self.jobs(op):
                job.cancel()

    def _op_explain(self, job: Job, args: Mapping[str, Any]) -> Reply:
        self._ask(job, args)
        return Reply()

    def _op_head(self, job: Job, args: Mapping[str, Any]) -> Reply:
        label = self._row(args)
        pattern = attention(self.run, label).patterns[0]
        return Reply(container=results.head(label, pattern))

    def _op_through(self, job: Job, args: Mapping[str, Any]) -> Reply:
        label, source = self._row(args), self._position(args, "source")
        return Reply(container=results.bars(self.attribution.through(label).at(source)))

    def _op_why(self, job: Job, args: Mapping[str, Any]) -> Reply:
        label, key = self._row(args), self._position(args, "key")
        query = self.attribution.position if args.get("query") is None else self._position(args, "query")
        return Reply(container=why(self.attribution, label, query, key))

    def _op_neurons(self, job: Job, args: Mapping[str, Any]) -> Reply:
        return Reply(results.neurons(self._inside(component(self._row(args)))))

    def _op_features(self, job: Job, args: Mapping[str, Any]) -> Reply:
        return Reply(results.features(self.attribution.features(self._row(args))))

    def _op_feature(self, job: Job, args: Mapping[str, Any]) -> Reply:
        part = component(self._row(args))
        return Reply(results.card(self.attribution.features(opened_row(self.attribution, part)).card(part.index or 0)))

    def _op_writes(self, job: Job, args: Mapping[str, Any]) -> Reply:
        return Reply(results.writes(self.attribution.writes(self._row(args), k=results.WRITES)))

    def _op_trace(self, job: Job, args: Mapping[str, Any]) -> Reply:
        mlps: MLPs = "frozen" if args.get("mlps") == "frozen" else "stop"
        return Reply(results.trace(self.attribution.trace(depth=None, mlps=mlps)))

    def _op_lens(self, job: Job, args: Mapping[str, Any]) -> Reply:
        return Reply(container=lens(self.attribution))

    def _row(self, args: Mapping[str, Any]) -> str:
        label = self.label_of(args.get("id"))
        if not label:
            raise ComponentError("The request names no component.", "Click a row.")
        return label

    def _position(self, args: Mapping[str, Any], name: str) -> int:
        value = args.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise PositionError(f"{name} {value!r} is not a position.", "Click a token.")
        return self.run.position(value)

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
        return {**super().page_traits(), "state": state, **told}


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
) -> Explorer:
    """Look at why a model said something.

    Args:
        model: a Model, or anything :func:`attrib_widgets.load` takes; None is the embedded model.
        prompt: text, token ids, or a Run; None is the first that the model suggests, as the embedded one does.
        target: token text or id, or a target object; None is the model's top prediction.
        against: a token to hold against the target; None takes, beside a comparison and where the target is a plain
            logit, the comparison's likeliest token other than it (nothing where the two are answered alike, and the
            screen says so); ``()`` asks for the logit by itself.
        corrupted: a comparison prompt; None is none, except for the first prompt that the model suggests.
        position: where the prediction is read; -1 is the last token.
        hidden: parts to cover until ``reveal()``, of candidates, values, detail, map, corrupted, sum.
        saes: dictionaries to give to the model first: an aw.SAE, the folder of one or of several, a dict of places,
            or a list of these; see ``model.saes``.

    Raises:
        AttribError: with what to type instead.
    """

    if isinstance(prompt, Run) and model is None:
        model = prompt.model
    model = load("demo" if model is None else model)
    if saes is not None:
        model.saes.add(saes)
    first = next(iter(model.suggestions), None)
    if prompt is None:
        if first is None:
            raise AttribError("There is no prompt.", 'Write aw.explore(model, "The capital of France is").')
        prompt = first.prompt
        target = first.target if target is None else target
    if corrupted is None and first is not None and prompt == first.prompt:
        corrupted = first.corrupted
    with blaming("target"):
        aim = target_of(target, None if empty(against) else against)
    other = None if corrupted is None or corrupted == "" else prompt_like(corrupted, model)
    question = Question(prompt_like(prompt, model), aim, position, other, empty(against))
    return Explorer(explain(model, question, Job(_nothing), {}), hidden=hidden)


def _nothing(job: Job) -> None:
    """The work of a job that only carries progress and cancel, for questions asked from Python."""
