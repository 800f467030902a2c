"""A graph built: which dictionaries, which nodes are opened in which order, and how much is held at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from jaxtyping import Int
from torch import Tensor

from ...model.identity.steady import steady
from ...model.parts.streams import one_stream
from ...model.running.worker import Cancelled
from ...saes.crosslayer import CrossLayer
from ...saes.fit import fit
from ...saes.loaded import is_loaded, read_sae
from ...saes.sae import SAE
from ...words.components import whole
from ...words.errors import AttribError, ComponentError, GranularityError
from ...words.places import Place
from ...words.text import kind_of
from ..opening.trace.step import recorded_mlps
from ..reading.features import Inside
from .edges import Edges
from .live import edges_tested
from .nodes import Reader, standing
from .result import Graph
from .scores import influence
from .walk import Walk

if TYPE_CHECKING:
    from ...model.running.worker import Job
    from ...words.targets import AnyTarget
    from ..attribution.attribution import Attribution

#: What dictionaries a graph is of: a kind, dictionaries, or all that a model has.
Given: TypeAlias = "str | SAE | CrossLayer | Mapping[Any, Any] | Iterable[Any] | None"
#: A kind of graph, by the places that its dictionaries rebuild.
KINDS: Mapping[str, tuple[str, ...]] = {
    "mlp": ("mlp",),
    "mlp+z": ("mlp", "z"),
    "z": ("z",),
    "stream": ("pre", "mid", "post"),
    "transcoder": ("mlp",),
}
#: Bytes that a walk may ask of the stream at once, and that the edges of a graph may take.
WALK, TABLE = 256_000_000, 1_000_000_000
#: Targets of one walk, at most.
BATCH = 512


@steady(end=False)
@torch.no_grad()
def graph(
    a: Attribution,
    saes: Given = None,
    limit: int | None = None,
    live: int = 20,
    job: Job | None = None,
    asked: Callable[[AnyTarget], Attribution] | None = None,
) -> Graph:
    """See :meth:`Attribution.graph`."""
    most = whole(limit) if limit is not None else None
    if limit is not None and (most is None or most < 1):
        raise AttribError(f"{limit!r} is no number of nodes.", "Give limit=500, or None.")
    tested = edges_tested(live)
    a.run.check_fresh()
    if isinstance(a.reading, Inside):
        raise ComponentError(
            f"A graph begins in the stream, and the {a.target.words(a.model, a.run)} is read inside of a layer.",
            'Open it in the graph of what it leads to: aw.attribute(run, " Paris").graph().into("L2.z/12@5").',
        )
    one_stream(a.model, "what passes between two dictionaries is not told there")
    if a.model.joining:
        raise GranularityError(
            f"What attention and MLPs of {a.model.name} add to the stream has gains and constants of its own: what "
            "passes between two dictionaries there is not told.",
            'Open the bars one by one: a.features("L1.mlp"), a.trace().',
        )
    given = chosen(a, saes)
    readers, writers = standing(a.run, given)
    walk = Walk(a, readers, writers, *_opened(a, readers, [w.place for w in writers]))
    with walk.building():
        rows, edges, cut = _walked(walk, most, job)
    found = Graph(a, walk, rows, edges, given, [*walk.notes, *cut], asked)
    if tested and not (job is not None and job.cancelled):
        found.live(tested)
    return found


def chosen(a: Attribution, saes: Given) -> list[SAE | CrossLayer]:
    """The dictionaries that are meant, those of the first layer first.

    Raises:
        AttribError: there are none, or no such kind.
    """
    model = a.model
    found: list[SAE | CrossLayer]
    if saes is not None and not isinstance(saes, str):
        found = list(_all(saes))
        if not found:
            raise ComponentError("No dictionary is given.", "Give some, or none at all: the model's own are taken.")
        for one in found:
            for sae in [one] if isinstance(one, SAE) else one.layers:
                fit(model, sae, model.saes.digest)
        for one in found:
            if isinstance(one, SAE) and one.target.site == "mlp_in":
                raise _of_input(one)
        return sorted(found, key=_depth)
    every = [model.saes[place] for place in model.saes]
    held = [sae for sae in every if sae.target.site != "mlp_in"]
    mlps = [sae for sae in held if sae.target.site == "mlp"]
    if saes is None:  # a transcoder is not given but to be used
        cut = [sae for sae in mlps if sae.writes is not None] or mlps
        found = [*cut, *(sae for sae in held if sae.site.site == "z")] if cut else [*held]
    elif saes in KINDS:
        across = saes == "transcoder"
        found = [
            sae
            for sae in held
            if sae.target.site in KINDS[saes] and (sae.target.site != "mlp" or (sae.writes is not None) == across)
        ]
    else:
        raise AttribError(
            f"{saes!r} is no kind of graph.", f"Use one of {', '.join(map(repr, KINDS))}, or give dictionaries."
        )
    if not found and saes is None and every:
        raise _of_input(every[0])
    if not found:
        raise ComponentError(
            f"{model.name} has no dictionaries for {'a graph' if saes is None else f'a graph of kind {saes!r}'}.",
            'Give some: model.saes["L8.mlp"] = aw.read_sae(folder), or a.graph(saes=[...]).',
        )
    return sorted(found, key=_depth)


def _of_input(sae: SAE) -> ComponentError:
    """Features that stand between a norm and the MLP behind it put nothing into the stream by themselves."""
    return ComponentError(
        f"A graph has no place for a dictionary of {sae.target}: what an MLP reads stands behind a norm, and what such "
        "features put into anything passes that MLP alone.",
        f'Give one of "L{sae.target.layer}.mlp" or of a stream, or a transcoder that reads there: a.graph([...]).',
    )


def _depth(one: SAE | CrossLayer) -> int:
    return (one if isinstance(one, SAE) else one.layers[0]).site.layer or 0


def _all(given: Any) -> Iterable[SAE | CrossLayer]:
    if isinstance(given, (SAE, CrossLayer)):
        yield given
    elif isinstance(given, Mapping):
        for one in given.values():
            yield from _all(one)
    elif is_loaded(given):
        yield read_sae(given)
    elif isinstance(given, Iterable):
        for one in given:
            yield from _all(read_sae(one) if not isinstance(one, (SAE, CrossLayer)) else one)
    else:
        raise AttribError(
            f"{kind_of(given, start=True)} is no dictionary.", "Give an aw.SAE, a list of them, or a kind: 'mlp'."
        )


def _opened(a: Attribution, readers: Sequence[Reader], places: Sequence[Place]) -> Any:
    """The MLPs that something passes through, with their gates, and why others are not opened."""
    plain = {reader.site.layer for reader in readers if reader.site.site == "mlp"}
    cut = {place.layer for place in places if place.site == "mlp"} - plain
    below = [i for i in range(a.reading.point.mlps) if i not in cut and a.model.level(i).sublayers]
    with a.model.quiet():  # once, and not for every layer
        return recorded_mlps(a.run, below)


def _walked(walk: Walk, limit: int | None, job: Job | None) -> tuple[Int[Tensor, "row"], Edges, list[str]]:
    """(targets that were opened, the edges into them, what to say of the others): the most influential first."""
    sources = walk.count - 1 + (len(walk.writers) + 1 + len(walk.stops)) * walk.n
    open_to = walk.below
    wanted = int(open_to.sum())
    most = min(wanted, max(1, TABLE // (8 * sources)), wanted if limit is None else limit + 1)
    size = max(1, min(BATCH, WALK // (8 * walk.n * max(walk.widest, 1))))
    done: list[Tensor] = []
    edges: Edges | None = None
    left = open_to.clone()
    stopped = ""
    try:
        while (count := sum(map(len, done))) < most:
            if edges is None:
                first = [torch.zeros(1, dtype=torch.long)]
                # All fit into one walk: no order is needed.
                some = left.nonzero()[:, 0] if wanted <= size and most == wanted else first[0]
            else:
                some = _next(walk, torch.cat(done), edges, left)[: min(size, most - count)]
            found = walk.edges(some)
            edges = found if edges is None else edges.joined(found)
            done.append(some)
            left[some] = False
            if job is not None:
                job.progress(sum(map(len, done)), most, f"{sum(map(len, done))} of {most} nodes")
                job.check()
    except Cancelled:
        stopped = "it was stopped"
    assert edges is not None
    count = sum(map(len, done))
    if count == wanted:
        return torch.cat(done), edges, []
    why = stopped or ("more were not asked for" if limit is not None and most == limit + 1 else "memory is bounded")
    said = (
        f"Opened are the {count - 1:,} most influential of {walk.count - 1:,} features ({why}): the others are told by "
        "what they put in, and not by what was put into them."
    )
    return torch.cat(done), edges, [said]


def _next(walk: Walk, done: Int[Tensor, "row"], edges: Edges, left: Tensor) -> Int[Tensor, "feature"]:
    """What is to be opened, the most influential first."""
    known = influence(edges.weights(done)).cpu()[: walk.count - 1]
    ranked = known.argsort(descending=True) + 1
    return ranked[left[ranked]]
