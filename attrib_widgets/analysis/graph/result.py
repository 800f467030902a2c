"""The graph of one number: nodes, edges, what is kept of them, and how it stands against the live model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.identity.steady import steady
from ...result import Table, strongest, with_others
from ...saes.crosslayer import CrossLayer
from ...saes.formats import local
from ...saes.sae import SAE
from ...words.components import Component, component
from ...words.errors import AttribError, ComponentError
from ...words.places import Place
from ...words.targets import score
from ...words.text import number, percent, signed, visible
from ..opening.results import Contributions
from .between import NOT_IN_HERE, Between, between, carried
from .edges import CONSTANTS
from .export import exported
from .groups import Grouping
from .heads import Carried
from .live import LiveTwin, Removal, Spliced, Tested, edges_tested, explained_live, removed, spliced
from .scores import Kept, Scores, leaves, prune, scores

if TYPE_CHECKING:
    import pandas as pd

    from ...words.components import ComponentLike
    from ...words.targets import AnyTarget
    from ..attribution.attribution import Attribution

#: Of all influence that nodes and edges have, how much is kept.
NODES, EDGES = 0.8, 0.98


@dataclass(eq=False, repr=False)
class Graph(Grouping):
    """Which features put how much into a number, and which into those. Made by :meth:`.Attribution.graph`.

    The rows are what was put into the explained number itself: they sum to it, as the edges into every other node that
    is opened sum to its pre-activation (:meth:`into`).

    Attributes:
        given: the dictionaries; asked: what attributes another number of the same run.
        notes: remarks for the reader; twin: :meth:`live`, once it was run.
    """

    given: list[SAE | CrossLayer]
    notes: list[str] = field(default_factory=list)
    asked: Callable[[AnyTarget], Attribution] | None = None
    twin: LiveTwin | None = None

    # -- the number itself -------------------------------------------------------------------------------------------
    @property
    def unit(self) -> str:
        """Unit of the target."""
        return self.attribution.unit

    @property
    def explained(self) -> float:
        """The model's own number."""
        return self.attribution.actual

    def terms(self) -> Float[Tensor, "term"]:
        """Everything that was put into the number."""
        return torch.cat([self.weights.edges[0], self.edges.constants[0]]).cpu()

    # -- what is kept ------------------------------------------------------------------------------------------------
    @cached_property
    def kept(self) -> Kept:
        """What is shown: see :meth:`pruned`."""
        return prune(self.weights, NODES, EDGES)

    def pruned(self, nodes: float = NODES, edges: float = EDGES) -> Kept:
        """The nodes that have a share ``nodes`` of all influence, and a share ``edges`` of the edges between them.

        Raises:
            AttribError: shares outside of 0 to 1.
        """
        given = (nodes, edges)
        if not all(isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v <= 1 for v in given):
            raise AttribError(f"{nodes!r} and {edges!r} are not both shares.", "Give numbers from 0 to 1.")
        return self.kept if (nodes, edges) == (NODES, EDGES) else prune(self.weights, nodes, edges)

    def dropped(self, kept: Kept | None = None) -> Float[Tensor, "target"]:
        """What pruning left out of every target, so that the rest still sums."""
        kept = kept or self.kept
        return (self.weights.edges * ~kept.edges).sum(1)

    @property
    def covered(self) -> float:
        """Share of the magnitudes put into the explained number that comes along edges that are kept."""
        sizes = self.weights.edges[0].abs()
        return float((sizes * self.kept.edges[0]).sum() / sizes.sum().clamp_min(1e-30))

    @cached_property
    def scores(self) -> Scores:
        """circuit-tracer's two scores, of the whole graph."""
        return scores(self.weights)

    # -- opening -----------------------------------------------------------------------------------------------------
    def into(self, target: str | None = None, kept: Kept | None = None) -> Contributions:
        """Everything that was put into a node or a group, the explained number where none is named: rows that sum to
        it.

        With ``kept`` what pruning left out is one row.
        """
        if target in self.groups:
            return self.groups[target].into(kept)
        row = self._row(target)
        values, name = self.weights.edges[row], self.target.name if row == 0 else str(target)
        own = self.explained if row == 0 else float(self.pre[int(self.rows[row]) - 1])
        some = values.nonzero()[:, 0] if kept is None else kept.edges[row].nonzero()[:, 0]
        nodes = [self.node(i) for i in some.tolist()]
        labels, kinds = [node.name for node in nodes], [str(node.kind) for node in nodes]
        terms = [values[some], self.edges.constants[row]]
        if kept is not None:
            terms.insert(1, (values * ~kept.edges[row]).sum()[None])
            labels, kinds = [*labels, "left out"], [*kinds, "others"]
        found = torch.cat(terms).cpu()
        best = int(found[: len(nodes)].abs().argmax()) if nodes else 0
        lead = f": {labels[best]} put in most, {signed(float(found[best]))}" if nodes else ""
        return Contributions(
            f"{name} by what was put into it{lead}",
            [*labels, *CONSTANTS],
            [*kinds, *["bias"] * (len(CONSTANTS) - 1), "rounding"],
            found,
            name,
            own,
            self.unit if row == 0 else "pre-activation",
            axis="put in by",
            note=f"{NOT_IN_HERE} Observed, not yet tested.",
        )

    def leaves(self) -> Contributions:
        """The explained number put down to what no graph opens: tokens, errors, constants, which sum to it.

        They may be many times larger than their sum, and of both signs.
        """
        order = self.walk.ranks[self.rows[1:].cpu()].argsort(stable=True)
        own = self.pre[self.rows[1:].to(self.pre.device) - 1]
        values, fixed = leaves(self.weights, own, self.edges.constants, order)
        some = values.nonzero()[:, 0]
        nodes = [self.node(i) for i in some.tolist()]
        found = torch.cat([values[some], fixed]).cpu()
        return Contributions(
            f"{self.target.name} put down to tokens, errors and constants",
            [*(node.name for node in nodes), *CONSTANTS],
            [*(node.kind for node in nodes), *["bias"] * (len(CONSTANTS) - 1), "rounding"],
            found,
            self.target.name,
            self.explained,
            self.unit,
            note=f"{NOT_IN_HERE} Observed, not yet tested.",
        )

    @steady(end=False)
    def heads(self, source: str, target: str | None = None) -> list[Carried]:
        """The heads that carried an edge, the strongest first: what each read of what the source wrote.

        They sum to the part of the edge that a head read of what the source itself wrote; the rest went along the
        stream, or first through an MLP that is passed through.

        Raises:
            ComponentError: no such node, or a target that is not opened.
        """
        self.attribution.run.check_fresh()
        return carried(self, [self.number(source)], self._row(target))[0]

    def between(self, source: str, target: str | None = None) -> Between:
        """One edge opened: the heads that carried it, and what its source did to where heads look.

        Patterns are held in a graph. A source that acts by changing them has no edge, and this says so: what it wrote
        into the scores of the heads that carry most to the target.

        Raises:
            ComponentError: no such node, or a target that is not opened.
        """
        return self.betweens([source], target)[0]

    @steady(end=False)
    def betweens(self, sources: Sequence[str], target: str | None = None) -> list[Between]:
        """:meth:`between` for several sources of one target, in one walk.

        Raises:
            ComponentError: as there.
        """
        self.attribution.run.check_fresh()
        return between(self, [self.number(source) for source in sources], self._row(target))

    def why(
        self, source: str, target: str | None = None, side: str = "query", head: ComponentLike | None = None
    ) -> Attribution:
        """Why the head that carried most of an edge looked at its source: the parts of that attention score.

        Args:
            side: ``"query"`` splits the side that asked, ``"key"`` the side that was found.
            head: another head that carried it.

        Raises:
            ComponentError: no such node, or no head, or not this one, carried anything.
        """
        found = self.heads(source, target)
        if head is not None:
            wanted = component(head)
            found = [one for one in found if Component("head", one.layer, one.head) == wanted]
        if not found or self.asked is None:
            raise ComponentError(
                f"{head or 'No head'} carried {'nothing' if head else 'anything'} from {source} to the "
                f"{target or self.target.name}.",
                "What it did to where heads look is told by graph.between(source, target).",
            )
        best = found[0]
        part = Component("head", best.layer, best.head)
        return self.asked(score(part, query=best.to, key=best.source, side=side))

    # -- against the live model --------------------------------------------------------------------------------------
    @torch.no_grad()
    def live(self, k: int = 20) -> LiveTwin:
        """Test the ``k`` edges between features (or into the number) that carry most influence in the live model.

        Costs one row of a forward pass for every source. It is kept as :attr:`twin`, and told in the title.

        Raises:
            AttribError: ``k`` is no such number.
        """
        k = edges_tested(k)
        self.attribution.run.check_fresh()
        w = self.weights
        strength = self.kept.strength[:, : w.features] * self.kept.edges[:, : w.features]
        count = min(k, int((strength > 0).sum()))
        order = strength.flatten().topk(count).indices.tolist()
        pairs = [divmod(i, w.features) for i in order]
        sources = list(dict.fromkeys(source for _, source in pairs))
        removals = [self._removal(source) for source in sources]
        places = {row: self._reads(row) for row, _ in pairs}
        reads = list(dict.fromkeys(place for place in places.values() if place is not None))
        streams, held = removed(self.attribution.run, removals, reads)
        tested = []
        numbers = {row: self._numbers(row, streams, held) for row in places}
        for row, source in pairs:
            now = numbers[row]
            name = self.target.name if row == 0 else self.node(int(self.rows[row]) - 1).name
            change = float(now[-1] - now[sources.index(source)])
            tested.append(Tested(name, self.node(source).name, float(w.edges[row, source]), change))
        self.twin = LiveTwin(tested)
        return self.twin

    def _removal(self, source: int) -> Removal:
        written = self.written(source)
        return Removal(tuple((one.place, one.vector) for one in written), written[0].position)

    def _reads(self, row: int) -> Place | None:
        """Where the number of a target is read."""
        if row:
            return self.walk.readers[self._reader(int(self.rows[row]) - 1)[0]].source
        point = self.attribution.reading.point
        if point.mid:
            return Place("mid", point.layer)
        return Place("post", point.layer - 1) if point.layer else Place("pre", 0)

    def _numbers(self, row: int, streams: Tensor, held: dict[Place, Tensor]) -> Float[Tensor, "removal"]:
        """The live number of a target in every row."""
        a = self.attribution
        place = self._reads(row)
        assert place is not None
        x = held.get(place, streams)
        if row == 0:
            return explained_live(a, x[:, a.reading.position])
        number, own = self._reader(int(self.rows[row]) - 1)
        reader = self.walk.readers[number]
        return reader.live(x[:, int(reader.positions[own])], int(reader.features[own]))

    @cached_property
    def spliced(self) -> Spliced:
        """The model with all these dictionaries in place of what they rebuild. Costs two forward passes."""
        return spliced(self.attribution.run, self.given, self.attribution.reading.position)

    def export(self, path: Path | str, slug: str = "", nodes: float = NODES, edges: float = EDGES) -> Path:
        """Write what is kept as the JSON of circuit-tracer's and Neuronpedia's graph viewers.

        Args:
            slug: the graph's name there; "" is one made of the prompt.

        Returns:
            The file.
        """
        return exported(self, local(path), slug, self.pruned(nodes, edges), nodes)

    # -- showing -----------------------------------------------------------------------------------------------------
    def title(self) -> str:
        """The finding in one line, and how it stood in the live model."""
        values = self.weights.edges[0].cpu()
        best = int(values[: self.weights.features].abs().argmax()) if self.weights.features else None
        of = f"{number(self.explained)} {self.unit}"
        lead = "no feature fires"
        if best is not None:
            lead = f"{self.node(best).name} put {signed(float(values[best]))} of {of} into the {self.target.name}"
        tested = f"; {self.twin.words()}" if self.twin is not None else "; not yet tested"
        return lead + tested

    def note(self) -> str:
        """How large the graph is, what is kept of it, its scores, the spliced model, and what is not in it."""
        w, kept = self.weights, self.kept
        features = int(kept.sources[: w.features].sum())
        size = (
            f"{w.features:,} features fire, {int((w.edges != 0).sum()):,} edges; kept are {features} features and "
            f"{int(kept.edges.sum()):,} edges, with {percent(self.covered)} of what goes into the {self.target.name} "
            "(covered, as magnitudes)."
        )
        scored = (
            f"circuit-tracer's scores: replacement {number(self.scores.replacement, 2)}, completeness score "
            f"{number(self.scores.completeness, 2)}."
        )
        return "\n".join([size, scored, f"Live, {self.spliced.words()}.", *self.notes, NOT_IN_HERE])

    def summary(self) -> Table:
        values = self.terms()
        count = len(values) - len(CONSTANTS)
        order = strongest(values[:count], 10)
        fixed = [i for i in range(count, len(values)) if abs(float(values[i])) > 0.5e-4]

        def cells(i: int) -> list[str]:
            if i >= count:
                return [CONSTANTS[i - count], "", ""]
            node = self.node(i)
            name = node.name.partition("@")[0] if node.kind != "token" else "token"
            return [name, f"{visible(node.token)} {node.position}", node.concept]

        rows, bars = with_others(values, [*order, *fixed], cells)
        last = len(rows) - len(order)
        columns = ["put in by", "at", "computed label", self.unit]
        return Table(self.title(), columns, rows, bars, self.note(), "   ".join(self.checks()), last=last)

    def to_dataframe(self, what: Literal["edges", "nodes"] = "edges") -> pd.DataFrame:
        """The edges that are kept, with what was left out of every target and its constants; or the nodes.

        Edges have ``target``, ``source``, ``value`` and ``strength`` (the share of influence that goes along);
        nodes ``name``, ``kind``, ``place``, ``layer``, ``position``, ``token``, ``feature``, ``activation``,
        ``rank`` (cumulative influence), ``concept``.

        Raises:
            AttribError: neither of the two.
        """
        import pandas as pd

        if what not in ("edges", "nodes"):
            raise AttribError(f"{what!r} is no table of a graph.", 'Use "edges" or "nodes".')
        kept = self.kept
        if what == "nodes":
            numbers = kept.sources.nonzero()[:, 0].tolist()
            rows = [(*self.node(i)[:8], float(kept.ranks[i]), self.node(i).concept) for i in numbers]
            own = (*self.target[:8], 0.0, "")
            columns = [
                "kind",
                "name",
                "place",
                "layer",
                "position",
                "token",
                "feature",
                "activation",
                "rank",
                "concept",
            ]
            return pd.DataFrame([own, *rows], columns=columns)
        w, left, found = self.weights, self.dropped(kept), []
        for row, target in self.shown(kept):
            for source in kept.edges[row].nonzero()[:, 0].tolist():
                value, share = float(w.edges[row, source]), float(kept.strength[row, source])
                found.append((target, self.node(source).name, value, share))
            found.append((target, "left out", float(left[row]), float("nan")))
            fixed = self.edges.constants[row].tolist()
            found += [(target, name, value, float("nan")) for name, value in zip(CONSTANTS, fixed, strict=True)]
        return pd.DataFrame(found, columns=["target", "source", "value", "strength"])

    def shown(self, kept: Kept) -> list[tuple[int, str]]:
        """The targets that are kept: (row, name)."""
        features = (self.rows[1:].to(kept.sources.device) - 1).tolist()
        named = [(i + 1, self.node(f).name) for i, f in enumerate(features) if bool(kept.sources[f])]
        return [(0, self.target.name), *named]
