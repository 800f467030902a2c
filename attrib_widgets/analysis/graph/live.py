"""A graph against the live model: its strongest edges tested one by one, and all its dictionaries put in at once.

Edges are observations on a run whose patterns, norms and gates are held. The experiment takes a feature's write away
from the model itself, everything else of that place left as it was, and lets the model run on: what its target then has
less is set beside what the edge says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.identity.belonging import refuse_moved, refuse_reread
from ...model.tracing.hooks import collect, replaced
from ...result import Result, Table
from ...saes.reading import of_dictionary, source
from ...saes.sae import SAE
from ...words.components import whole
from ...words.errors import AttribError
from ...words.places import Place
from ...words.targets import Target
from ...words.text import number, percent, signed
from ..reading.resolve import resolve

if TYPE_CHECKING:
    import pandas as pd

    from ...model.model import Model
    from ...model.run import Run
    from ...saes.crosslayer import CrossLayer
    from ..attribution.attribution import Attribution

#: Rows that run beside each other.
ROWS = 64


def edges_tested(k: object) -> int:
    """How many edges are to be tested.

    Raises:
        AttribError: no such number.
    """
    count = whole(k)
    if count is None or count < 0:
        raise AttribError(f"{k!r} is no number of edges.", "Give live=20, or 0 for none.")
    return count


class Tested(NamedTuple):
    """One edge: its target and source by name, what taking the source away should change, and what it changed."""

    target: str
    source: str
    edge: float
    live: float


@dataclass(eq=False, repr=False)
class LiveTwin(Result):
    """The strongest edges of a graph, each tested in the live model by taking its source away.

    Attributes:
        tested: the edges, the strongest first. ``edge`` is what the source put into the target, and ``live`` what the
            target had less without it.
    """

    tested: list[Tested]

    @property
    def _both(self) -> tuple[Tensor, Tensor]:
        edges = torch.tensor([t.edge for t in self.tested], dtype=torch.float64)
        return edges, torch.tensor([t.live for t in self.tested], dtype=torch.float64)

    @property
    def slope(self) -> float:
        """Of the line through zero that fits live changes by edges best; 1 where edges say what happens."""
        edges, live = self._both
        return float((edges * live).sum() / edges.square().sum().clamp_min(1e-30))

    @property
    def spearman(self) -> float:
        """Correlation of the ranks of both; NaN of fewer than three edges."""
        if len(self.tested) < 3:
            return float("nan")
        edges, live = (_ranks(v) for v in self._both)
        edges, live = edges - edges.mean(), live - live.mean()
        return float((edges * live).sum() / (edges.norm() * live.norm()).clamp_min(1e-30))

    @property
    def right_sign(self) -> float:
        """Share of the edges whose live change has their sign."""
        edges, live = self._both
        return float((edges * live > 0).double().mean())

    def words(self) -> str:
        """What came, in one line."""
        if not self.tested:
            return "no edge between features was tested"
        ranks = "" if self.spearman != self.spearman else f"Spearman {signed(self.spearman)}, "
        return (
            f"the {len(self.tested)} strongest edges tested in the live model: slope {signed(self.slope)}, {ranks}"
            f"{percent(self.right_sign)} of the right sign"
        )

    def summary(self) -> Table:
        rows = [[t.source, t.target, signed(t.edge), signed(t.live)] for t in self.tested]
        return Table(
            self.words()[:1].upper() + self.words()[1:],
            ["source", "target", "edge", "live"],
            rows,
            [t.live for t in self.tested],
            "Edge: what the source put into its target, patterns, norms and gates held. Live: what the target has less "
            "once the source is taken out of the model, all others left as they were at its place.",
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``target``, ``source``, ``edge``, ``live``."""
        import pandas as pd

        return pd.DataFrame(self.tested, columns=list(Tested._fields))


def _ranks(values: Float[Tensor, "value"]) -> Float[Tensor, "value"]:
    """Ranks, those of equal values their mean."""
    less = (values[None] < values[:, None]).sum(1)
    equal = (values[None] == values[:, None]).sum(1)
    return less.double() + (equal - 1) / 2


class Removal(NamedTuple):
    """What is taken out of the model in one row: at places, at one position, a vector each."""

    writes: tuple[tuple[Place, Float[Tensor, "width"]], ...]
    position: int


def removed(
    run: Run, removals: Sequence[Removal], reads: Sequence[Place]
) -> tuple[Float[Tensor, "row position d_model"], dict[Place, Float[Tensor, "row position width"]]]:
    """(the stream behind the last layer, what the model has at ``reads``) for each removal, and for none, last.

    Costs one row of a forward pass each.

    Raises:
        ModelError: the model is no longer what was recorded.
    """
    model, last = run.model, Place("post", run.model.n_layers - 1)
    wanted = list(dict.fromkeys([*reads, last]))
    held: dict[Place, list[Tensor]] = {place: [] for place in wanted}
    rows: list[Removal | None] = [*removals, None]
    for start in range(0, len(rows), ROWS):
        some = rows[start : start + ROWS]
        with ExitStack() as stack:
            for place, change in _changes(some).items():
                stack.enter_context(replaced(model, place, change))
            found = collect(model, torch.tensor([run.ids]).expand(len(some), -1), wanted)
        for place in wanted:
            held[place].append(found[place].to(model.home))
    joined = {place: torch.cat(parts) for place, parts in held.items()}
    refuse_moved(run, joined[last][-1], slice(None))
    return joined[last], joined


def _changes(removals: Sequence[Removal | None]) -> dict[Place, Callable[[Tensor], Tensor]]:
    """By place, what is done to the rows of one pass."""
    by_place: dict[Place, list[tuple[int, int, Tensor]]] = {}
    for row, removal in enumerate(removals):
        for place, vector in removal.writes if removal is not None else ():
            by_place.setdefault(place, []).append((row, removal.position, vector))  # type: ignore[union-attr]

    def change(entries: list[tuple[int, int, Tensor]]) -> Callable[[Tensor], Tensor]:
        def changed(x: Float[Tensor, "row position width"]) -> Tensor:
            out = x.clone()
            for row, position, vector in entries:
                out[row, position] -= vector.to(x)
            return out

        return changed

    return {place: change(entries) for place, entries in by_place.items()}


@torch.no_grad()
def explained_live(a: Attribution, streams: Float[Tensor, "row d_model"]) -> Float[Tensor, "row"]:
    """The explained number where the model has ``streams`` at its read point, its norm live."""
    if a.target.inner or not isinstance(a.target, Target):
        reading = a.reading
        return (reading.norm(streams).double() @ reading.direction.double()).cpu()
    logits = torch.cat([a.model.read_out(part)[1].double() for part in streams.split(ROWS)])
    if a.target.kind == "log_prob":
        return logits.log_softmax(-1)[:, a.model.single_token(a.target.tokens[0])].cpu()
    return resolve(a.target, a.run, a.reading.position).of_rows(logits).cpu()


@dataclass(frozen=True)
class Spliced:
    """The model with all dictionaries of a graph in place of what they rebuild, errors left out, on the same prompt.

    Attributes:
        kl: from the model's own answer to the changed one's, nats, at the explained position; mean_kl: over all
            positions.
        top1: share of the positions at which the likeliest token is the same; same: whether it is at the explained one.
    """

    kl: float
    mean_kl: float
    top1: float
    same: bool

    def words(self) -> str:
        """What came, in one line."""
        return (
            f"with all these dictionaries in their places and their errors left out, the model is "
            f"{number(self.kl, 3)} nats (KL) away here, {number(self.mean_kl, 3)} on average, and its likeliest token "
            f"is the same at {percent(self.top1)} of the positions"
        )


@torch.no_grad()
def spliced(run: Run, given: Sequence[SAE | CrossLayer], position: int) -> Spliced:
    """Costs two forward passes."""
    model, ids = run.model, torch.tensor([run.ids], device=run.model.device)
    with model.quiet(), model.passing():
        printed = model.hf(ids, use_cache=False).logits[0]
        refuse_reread(run, printed[run.record.kept[0]], 0)
        own = printed.float().log_softmax(-1)
        with _in_place(model, given):
            other = model.hf(ids, use_cache=False).logits[0].float().log_softmax(-1)
    each = (own.exp() * (own - other)).sum(-1).double().cpu()
    same = (own.argmax(-1) == other.argmax(-1)).cpu()
    return Spliced(float(each[position]), float(each.mean()), float(same.double().mean()), bool(same[position]))


@contextmanager
def _in_place(model: Model, given: Sequence[SAE | CrossLayer]) -> Iterator[None]:
    """Inside the block dictionaries stand for what they rebuild, each reading what the model has by then."""
    with ExitStack() as stack:
        for one in given:
            if isinstance(one, SAE):
                _one(stack, model, one)
            else:
                _cross_layer(stack, model, one)
        yield


def _one(stack: ExitStack, model: Model, sae: SAE) -> None:
    seen: list[Tensor] = []

    def listen(x: Tensor) -> Tensor:
        seen[:] = [of_dictionary(model, sae, x)]
        return x

    def rebuild(y: Tensor) -> Tensor:
        if sae.writes is not None:
            return sae.rebuild(seen[0].to(sae.b_dec.device)).to(y)
        x = of_dictionary(model, sae, y).float()
        aside = y.float() - x
        return (sae.rebuild(x.to(sae.b_dec.device)).to(aside) + aside).to(y)

    if sae.writes is not None:
        stack.enter_context(replaced(model, source(model, sae), listen))
    stack.enter_context(replaced(model, sae.target, rebuild))


def _cross_layer(stack: ExitStack, model: Model, given: CrossLayer) -> None:
    active: list[Tensor] = []
    seen: list[Tensor] = []

    def listen(i: int, sae: SAE) -> Callable[[Tensor], Tensor]:
        def heard(x: Tensor) -> Tensor:
            own = of_dictionary(model, sae, x).to(sae.b_dec.device)
            active[i:], seen[:] = [sae.encode(own)], [own]
            return x

        return heard

    def rebuild(layer: int) -> Callable[[Tensor], Tensor]:
        def rebuilt(y: Tensor) -> Tensor:
            # Those further up have not fired yet, and write to nothing down here.
            known = [*active, *[active[0]] * (len(given.layers) - len(active))]
            return given.decode(layer, known, seen[0]).to(y)

        return rebuilt

    for i, sae in enumerate(given.layers):
        stack.enter_context(replaced(model, source(model, sae), listen(i, sae)))
        stack.enter_context(replaced(model, sae.target, rebuild(sae.target.layer or 0)))
