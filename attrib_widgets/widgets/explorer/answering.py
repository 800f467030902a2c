"""What the page may ask about an attribution while one looks into it: one operation each, answered by results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ...analysis.heads.all_heads import small_patterns
from ...analysis.heads.attention import attention
from ...analysis.opening.dictionaries.rows import opened_row
from ...analysis.opening.results import Contributions
from ...analysis.opening.trace.totals import MLPs
from ...analysis.roles.contexts import head_contexts
from ...analysis.roles.definitions import CIRCUIT, PATTERN
from ...analysis.roles.roles import head_roles
from ...analysis.weights.composition import composition
from ...analysis.weights.ov import ov_table
from ...analysis.weights.qk import qk_table
from ...result import Result, tabled
from ...words.components import Component, component
from ...words.errors import AttribError, ComponentError, PositionError
from ..shapes import contract, heads, opened, results
from ..shapes.explorer import lens
from ..shapes.heads import why
from ..transport.requests import Operation, Reply
from .testing import Tester

if TYPE_CHECKING:
    from ...analysis.attribution.attribution import Attribution
    from ...analysis.opening.dictionaries.concepts import Concepts
    from ...model.model import Model
    from ...model.run import Run
    from ...model.running.worker import Job


#: Heads times the cube of their width for which the page measures circuit roles as well: about a minute.
LIVE_EIGENVALUES = 5e7


class Answering(Tester):
    """A tester whose rows can be opened."""

    _concepts: tuple[Attribution, int, Concepts] | None = None

    @property
    def attribution(self) -> Attribution:
        """The result that the bars show."""
        return self._now.attribution

    @property
    def run(self) -> Run:
        """The recorded forward pass of the prompt."""
        return self._now.run

    @property
    def model(self) -> Model:
        """The model under study."""
        return self.run.model

    def concepts(self) -> Concepts:
        """The answer on the screen by concept: every part that has a dictionary split into its features.

        Raises:
            ComponentError: no part has a dictionary.
        """
        found, key = self._concepts, self.model.saes.version
        if found is None or found[0] is not self.attribution or found[1] != key:
            self._concepts = found = self.attribution, key, self.attribution.concepts()
        return found[2]

    def seen_concepts(self) -> Concepts | None:
        """The same where the screen shows it and it was computed: picture and table are then of it."""
        found, key = self._concepts, self.model.saes.version
        known = found is not None and found[0] is self.attribution and found[1] == key
        return found[2] if found is not None and known and self.showing.get("mode") == "concepts" else None

    def operations(self) -> Mapping[contract.Op, Operation]:
        """What the page may ask."""
        return {
            "head": self._op_head,
            "patterns": self._op_patterns,
            "through": self._op_through,
            "why": self._op_why,
            "neurons": self._op_neurons,
            "features": self._op_features,
            "feature": self._op_feature,
            "concepts": self._op_concepts,
            "search": self._op_search,
            "writes": self._op_writes,
            "worked": self._op_worked,
            "trace": self._op_trace,
            "carried": self._op_carried,
            "totals": self._op_totals,
            "lens": self._op_lens,
            "streams": self._op_streams,
            "roles": self._op_roles,
            "beyond": self._op_beyond,
            "verify": self._op_verify,
            "ablate": self._op_ablate,
            "replaced": self._op_replaced,
            "without": self._op_without,
            "circuit": self._op_circuit,
            "effects": self._op_effects,
        }

    def _inside(self, part: Component) -> Contributions:
        """What an MLP splits into: the experts of a mixture, else neurons."""
        mixture = part.kind == "mlp" and self.model.has_experts(part.layer or 0)
        return self.attribution.experts(part) if mixture else self.attribution.neurons(part)

    def _op_head(self, job: Job, args: Mapping[str, Any]) -> Reply:
        label = self._row(args)
        pattern = attention(self.run, label).patterns[0]
        return Reply(container=heads.head(label, pattern))

    def _op_patterns(self, job: Job, args: Mapping[str, Any]) -> Reply:
        return Reply(container=heads.small_patterns(small_patterns(self.attribution)))

    def _op_through(self, job: Job, args: Mapping[str, Any]) -> Reply:
        label, source = self._row(args), self._position(args, "source")
        return Reply(container=results.bars(self.attribution.through(label).at(source)))

    def _op_why(self, job: Job, args: Mapping[str, Any]) -> Reply:
        label, key = self._row(args), self._position(args, "key")
        query = self.attribution.position if args.get("query") is None else self._position(args, "query")
        return Reply(container=why(self.attribution, label, query, key))

    def _op_neurons(self, job: Job, args: Mapping[str, Any]) -> Reply:
        return Reply(opened.neurons(self._inside(component(self._row(args)))))

    def _op_features(self, job: Job, args: Mapping[str, Any]) -> Reply:
        return Reply(opened.features(self.attribution.features(self._row(args))))

    def _op_feature(self, job: Job, args: Mapping[str, Any]) -> Reply:
        part = component(self._row(args))
        return Reply(opened.card(self.attribution.features(opened_row(self.attribution, part)).card(part.index or 0)))

    def _op_concepts(self, job: Job, args: Mapping[str, Any]) -> Reply:
        return Reply(opened.concepts(self.concepts()))

    def _op_search(self, job: Job, args: Mapping[str, Any]) -> Reply:
        found = self.concepts().search(str(args.get("query") or ""))
        return Reply(opened.found_features(found, self.attribution.labels))

    def _op_writes(self, job: Job, args: Mapping[str, Any]) -> Reply:
        return Reply(opened.writes(self.attribution.writes(self._row(args), k=opened.WRITES)))

    def _op_worked(self, job: Job, args: Mapping[str, Any]) -> Reply:
        return Reply(results.printed(self.attribution.worked(self._row(args)).summary()))

    def _op_trace(self, job: Job, args: Mapping[str, Any]) -> Reply:
        mlps: MLPs = "frozen" if args.get("mlps") == "frozen" else "stop"
        return Reply(opened.trace(self.attribution.trace(depth=None, mlps=mlps)))

    def _op_carried(self, job: Job, args: Mapping[str, Any]) -> Reply:
        return Reply(container=opened.carried(self.attribution))

    def _op_totals(self, job: Job, args: Mapping[str, Any]) -> Reply:
        return Reply(container=opened.totals(self.attribution.token_totals()))

    def _op_lens(self, job: Job, args: Mapping[str, Any]) -> Reply:
        return Reply(container=lens(self.attribution))

    def _op_roles(self, job: Job, args: Mapping[str, Any]) -> Reply:
        model = self.model
        work = sum(layer.n_heads * layer.d_head**3 for layer in model.geometry.layers)
        some = [role.name for role in (PATTERN if work > LIVE_EIGENVALUES else (*PATTERN, *CIRCUIT))]
        found = model.kept("roles", lambda: head_roles(model, roles=some, job=job))
        return Reply({"heads": found.letters(), "table": results.printed(tabled(found))})

    def _op_beyond(self, job: Job, args: Mapping[str, Any]) -> Reply:
        label, a = self._row(args), self.attribution
        said: dict[Any, Callable[[], Result]] = {
            "contexts": lambda: head_contexts(self.model, label, job=job),
            "ov": lambda: ov_table(a, label),
            "qk": lambda: qk_table(self.run, label, a.position),
            "composition": lambda: composition(self.model, label),
        }
        if args.get("what") not in said:
            raise AttribError("The request does not say what is asked about the head.", "Click a button.")
        return Reply(results.printed(tabled(said[args["what"]]())))

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
