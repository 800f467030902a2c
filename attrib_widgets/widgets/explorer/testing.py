"""Testing what a screen shows: experiments on its components, and their verdicts, kept beside the bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import traitlets as t

from ...analysis.experiments.ablation.ablate import ablate
from ...analysis.experiments.patching.patch import patch
from ...analysis.experiments.patching.patching import Patching
from ...analysis.experiments.patching.token_effects import TokenEffects, token_effects
from ...analysis.verdicts.chosen import Without, said, without
from ...analysis.verdicts.circuits.circuit import circuit, planned
from ...analysis.verdicts.verify import verify
from ...model.running.worker import Job
from ...result import strongest, tabled
from ...words.components import Component, ComponentLike, component
from ...words.errors import AttribError, ComponentError
from ...words.several import named
from ...words.targets import Target
from ...words.text import kind_of
from ..shapes import contract, experiments, results
from ..transport import wire
from ..transport.requests import Reply, from_python
from ..transport.traits import Locked
from ..transport.view import View

if TYPE_CHECKING:
    from ...analysis.attribution.attribution import Attribution
    from ...analysis.verdicts.circuits.sets import Circuit
    from ...analysis.verdicts.findings import Verification
    from ...analysis.verdicts.rules import Thresholds
    from ..questions.memory import Memory
    from ..questions.question import Explanation


class Chosen(Locked, t.List):  # type: ignore[type-arg]
    """Labels of components that are taken out together."""

    def validate(self, obj: Any, value: Any) -> Any:
        """The labels as the view spells them, each once."""
        given = named(value) if isinstance(value, (str, tuple, list, Component)) else value
        if not isinstance(given, Iterable):
            raise ComponentError(f"{kind_of(given, start=True)} names no rows.", 'Name some: ["L3H1", "L2.mlp"].')
        return super().validate(obj, obj.rows_of(given))


class Tester(View):
    """A view of one explanation whose components can be tested, by Python or by a click.

    The trait ``tested`` holds the verdicts as the page draws them, with the number of the question that they answer.
    ``chosen`` are the components that Shift+click gathered, by label, and can be set; the page then says what the model
    answers without all of them, which is :meth:`chosen_result`, and ``without`` holds the sentence.
    """

    tested = t.Dict().tag(sync=True)
    chosen = Chosen().tag(sync=True)
    without = t.Dict().tag(sync=True)
    checked: tuple[str, ...] = ("selected", "source", "chosen")
    _now: Explanation
    _memory: Memory

    @property
    def verdicts(self) -> Verification | None:
        """What the experiments on this question have found so far; None before the first one."""
        return self._now.verdicts

    def verify(
        self,
        components: ComponentLike | Sequence[ComponentLike] | None = None,
        *,
        top: int | None = None,
        thresholds: Thresholds | None = None,
    ) -> Verification:
        """Test components against the comparison prompt: what "Test this" and "Test the top ten" do.

        Args:
            components: one component, or several; None tests the largest bars, and those with the largest direct and
                total effects against the comparison prompt.
            top: how many of the largest to test too; 10 where no components are named.
            thresholds: of the verdicts; those with other thresholds are dropped.

        Raises:
            AttribError: there is no comparison prompt, or it answers alike; see :func:`attrib_widgets.verify`.
        """
        asked = [] if components is None else [component(c) for c in named(components)]
        count = (0 if asked else experiments.TOP) if top is None else top
        return self._verify(from_python(), asked or self._largest(count), count, thresholds)

    # parts that were chosen ---------------------------------------------------------------------------------------
    def rows_of(self, given: Any, of: Attribution | None = None) -> list[str]:
        """``given`` as labels of rows (of another attribution: ``of``) that can be taken out, each once.

        Raises:
            ComponentError: no such row, or one that cannot be taken out.
        """
        listed = [component(c) for c in given]
        if not listed:
            return []
        a = of or self._now.attribution
        kinds = experiments.testable(a, None)["kinds"]
        for part in listed:
            if part not in a.components or part.kind not in kinds:
                raise ComponentError(
                    f"{part} is no row that can be taken out.", f"Choose among rows of kind {', '.join(kinds)}."
                )
        return list(dict.fromkeys(map(str, listed)))

    def chosen_result(self) -> Without:
        """What the model says without all that is ``chosen``: a patching from the comparison prompt as one cell, or,
        where there is none of this length, or they write the same there, an ablation to zero.
        ``answer_of(result.cells[0])`` is its answer.

        Raises:
            ComponentError: nothing is chosen.
            AttribError: a number inside the model is explained.
        """
        return self._without(from_python(), list(self.chosen))

    def _without(self, job: Job, labels: list[str]) -> Without:
        now = self._now
        other = None if now.corrupted is None else now.corrupted.run
        found = without(now.attribution, labels, other, job)
        job.check()
        told: contract.Without = {
            "question": self._memory.number(now.question),
            "components": labels,
            "told": said(found, labels, other),
            "whole": planned(len(labels) + 1) if isinstance(found, Patching) else 0,
        }
        with self.writing:
            if self._now is now:
                self.without = dict(told)
        return found

    def circuit(self) -> Circuit:
        """All that is ``chosen``, with the embedding, as a circuit: is it enough by itself, what is left without it,
        what does it miss, what in it is idle? See :func:`attrib_widgets.circuit`.

        Raises:
            ComponentError: nothing is chosen.
            AttribError: there is no comparison prompt of this length.
        """
        return self._circuit(from_python(), list(self.chosen))

    def _circuit(self, job: Job, labels: list[str]) -> Circuit:
        now = self._now
        if not labels:
            raise ComponentError("Nothing is chosen.", 'Write ex.chosen = ["L3H1", "L4.mlp"].')
        if now.corrupted is None:
            raise self._no_comparison()
        a = now.attribution
        if not isinstance(a.target, Target):
            raise AttribError("A number inside the model has no experiment here.", "Go back to a token.")
        return circuit(a.model, a.run, now.corrupted.run, ["embed", *labels], a.target, position=a.position, job=job)

    def _op_circuit(self, job: Job, args: Mapping[str, Any]) -> Reply:
        found = self._circuit(job, self._chosen_of(args))
        job.check()
        return Reply(results.printed(tabled(found)))

    @staticmethod
    def _no_comparison() -> AttribError:
        missing = AttribError(
            "An experiment needs a prompt to compare with.",
            'Give one: ex.ask(corrupted="The capital of Germany is").',
        )
        missing.field = "corrupted"  # type: ignore[attr-defined]
        return missing

    def _op_without(self, job: Job, args: Mapping[str, Any]) -> Reply:
        self._without(job, self._chosen_of(args))
        return Reply()

    def _chosen_of(self, args: Mapping[str, Any]) -> list[str]:
        given = args.get("components")
        if not isinstance(given, list):
            raise AttribError("The request names no components.", "Shift+click rows.")
        return self.rows_of(given)

    def _largest(self, count: int) -> list[Component]:
        """The largest bars of what can be tested; the last of several makes room for the part that writes most for both
        answers, of which one asks first whether it matters."""
        a = self._now.attribution
        kinds = experiments.testable(a, None)["kinds"]
        order = strongest(a.values)
        largest = [a.components[i] for i in order if a.components[i].kind in kinds][:count]
        alike = [s.component for s in a.shared() if s.component.kind in kinds][:1]
        if count > 1 and alike and alike[0] not in largest:
            largest[-1:] = alike
        return largest

    def _verify(
        self, job: Job, components: Sequence[Component], top: int, thresholds: Thresholds | None = None
    ) -> Verification:
        now = self._now
        if now.corrupted is None:
            raise self._no_comparison()
        how: dict[str, Any] = {"top": top, "components": components, "thresholds": thresholds, "job": job}
        found = verify(now.attribution, now.corrupted.run, against=(), **how)  # what the screen shows
        job.check()
        with self.writing:
            before = now.verdicts
            now.verdicts = found if before is None or before.thresholds != found.thresholds else found.joined(before)
            if self._now is now:
                self.tested = dict(self._told(now))
        return found

    def token_effects(self) -> TokenEffects:
        """Replace each word of the prompt by others: what "Test every word" does, with the question on the screen.

        Raises:
            AttribError: a number inside the model is explained, or no word can be replaced; see
                :func:`attrib_widgets.token_effects`.
        """
        return self._replaced(from_python())

    def _replaced(self, job: Job) -> TokenEffects:
        now = self._now
        if now.replaced is None:
            a = now.attribution
            found = token_effects(a.model, a.run, cast("Target", a.target), position=a.position, job=job)
            job.check()  # not what a cancelled one has of it
            now.replaced = found
        return now.replaced

    def _op_replaced(self, job: Job, args: Mapping[str, Any]) -> Reply:
        return Reply(wire.plain(experiments.replaced(self._replaced(job))))

    def _told(self, explanation: Explanation) -> contract.Verdicts | contract.Nothing:
        """The verdicts on ``explanation`` as the page draws them; empty without any."""
        v = explanation.verdicts
        if v is None:
            return {}
        told: contract.Verdicts = {**experiments.verdicts(v), "question": self._memory.number(explanation.question)}
        return cast("contract.Verdicts", wire.plain(told))

    def link(self, view: View) -> None:
        """Keep the selection of ``view`` (a patching, the verdicts, another Explorer) and of this one in step.

        What the other does not show is not selected there.
        """
        for one, other in ((self, view), (view, self)):
            one.observe(lambda change, other=other: _follow(other, change["new"]), "selected")

    def _op_verify(self, job: Job, args: Mapping[str, Any]) -> Reply:
        top = args.get("top") or 0
        if isinstance(top, bool) or not isinstance(top, int) or not 0 <= top <= 1000:
            raise AttribError(f"{top!r} is not a number of components.", "Click a button.")
        given = args.get("components") or []
        if not isinstance(given, list):
            raise AttribError("The request names no components.", "Click a row.")
        listed = [self._part_of(c) for c in given] or self._largest(top)
        found = self._verify(job, listed, top)
        told: contract.Tested = {"title": found.title()}
        return Reply(told)

    def _part_of(self, label: Any) -> Component:
        """A row that was clicked, or a feature, whichever row it was read through."""
        named = component(label) if isinstance(label, str) and label else None
        return named if named is not None and named.kind == "feature" else component(self.label_of(label))

    def _op_ablate(self, job: Job, args: Mapping[str, Any]) -> Reply:
        """The smaller experiment, which needs no second prompt: the answer without one part, or with so much of it."""
        a, strength = self._now.attribution, args.get("strength")
        target = a.target
        if not args.get("id") or not isinstance(target, Target):
            raise AttribError("The request names nothing to take out.", "Click a head or an MLP.")
        part = self._part_of(args["id"])
        how: dict[str, Any] = {} if strength is None else {"method": "scale", "strength": strength}
        found = ablate(a.model, a.run, target, components=[part], position=a.position, job=job, **how)
        job.check()
        note = "" if strength else ": zero may be nothing that this part ever writes"
        verdict = (
            "A verdict needs a second prompt."
            if self._now.corrupted is None
            else "A test against the second prompt says more."
        )
        told: contract.Ablated = {
            "told": f"{found.title()}; the model then says {found.answer_of(part)}",
            "note": f"The smaller experiment, n = 1{note}. {verdict}",
        }
        return Reply(told)

    def _op_streams(self, job: Job, args: Mapping[str, Any]) -> Reply:
        """The experiment beside the lens: the stream at every place, put into the comparison prompt."""
        now, target = self._now, self._now.attribution.target
        if now.corrupted is None:
            raise self._no_comparison()
        if not isinstance(target, Target):
            raise AttribError("A number inside the model has no experiment here.", "Go back to a token.")
        a, other = now.attribution, now.corrupted.run
        more: dict[str, Any] = {"sites": "stream", "positions": "each", "position": a.position, "job": job}
        found = patch(a.model, a.run, other, target, **more)
        job.check()
        return Reply(container=experiments.patching(found))

    def _op_effects(self, job: Job, args: Mapping[str, Any]) -> Reply:
        now = self._now
        if now.corrupted is None:
            raise AttribError("Total effects are estimated against a comparison.", "Give a prompt to compare with.")
        return Reply(container=experiments.estimates(now.attribution, now.corrupted.run))


def _follow(view: View, label: str) -> None:
    try:
        view.selected = label
    except AttribError:
        return  # a part that this view does not show
