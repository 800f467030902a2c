"""What does not change from walk to walk through a graph: the run, its nodes, and what is opened between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...words.components import Component
from ...words.places import Place
from ...words.targets import FeatureTarget
from ..opening.trace.step import RecordedMLP
from .down import Down, stream_place_of
from .edges import Edges
from .held import HeldAttention, HeldMLP
from .nodes import Reader, Writer

if TYPE_CHECKING:
    from ..attribution.attribution import Attribution

Held = TypeVar("Held", HeldAttention, HeldMLP)
#: Bytes of held layers that stay with a run, and that stay while a graph is built.
KEPT, BUILT = 128_000_000, 1_000_000_000


class Walk:
    """What does not change from walk to walk: the run, its nodes, and what is opened between them.

    Attributes:
        stops: parts that are not opened, in order: what they wrote is a leaf.
        ranks: of every target (0 is the number that is explained, then the features) when it joins, the top first.
    """

    def __init__(
        self,
        a: Attribution,
        readers: Sequence[Reader],
        writers: Sequence[Writer],
        mlps: dict[int, RecordedMLP],
        missing: dict[int, str],
    ) -> None:
        self.a, self.run, self.model, self.rec = a, a.run, a.model, a.run.record
        self.readers, self.writers, self._mlps = list(readers), list(writers), mlps
        self._held: dict[tuple[str, int], Any] | None = None
        self.n, self.home = a.run.n_positions, a.model.home
        self._by_site: dict[Place, list[int]] = {}
        for number, reader in enumerate(self.readers):
            self._by_site.setdefault(reader.site, []).append(number)
        self._written = {writer.place: number for number, writer in enumerate(self.writers)}
        self.firsts: list[int] = []
        count = 1  # number 0 is what is explained
        for reader in self.readers:
            self.firsts.append(count)
            count += len(reader)
        self.count = count  # targets, the explained number among them
        point, layers = a.reading.point, self.model.n_layers
        self._top = point.attentions
        self._steps = self._order(layers)
        place = {site: rank for rank, site in enumerate(self._steps)}
        target = Place("mid", point.layer) if point.mid else stream_place_of(point.layer)
        self.positions = torch.cat(
            [torch.tensor([a.reading.position], device=self.home), *(r.positions for r in self.readers)]
        )
        #: Where the explained number is read, and whether below what dictionaries rebuild there.
        self.start = target
        self.beneath = isinstance(a.target, FeatureTarget) and target in self._written
        ranks = [torch.full((len(r),), 2 * place[r.site] + 1, dtype=torch.long) for r in self.readers]
        self.ranks = torch.cat([torch.tensor([2 * place[target]]), *ranks])
        self.stops = self._stopped()
        reasons = {reason for layer, reason in missing.items() if Component("mlp", layer) in self.stops}
        self.notes = [f"Not opened: {reason.rstrip('.')}." for reason in sorted(reasons)]

    @property
    def widest(self) -> int:
        """Numbers of the longest direction that a walk carries."""
        found = [self.model.d_model, *(self.rec.z[i].shape[-1] for i in range(self._top) if self.rec.z)]
        return max([*found, *(made.activations.shape[-1] for made in self._mlps.values())])

    def _order(self, layers: int) -> list[Place]:
        """Places in the order in which targets join, from the top."""
        found = []
        for layer in reversed(range(layers)):
            found += [stream_place_of(layer + 1)]
            found += [Place(site, layer) for site in ("mlp", "mlp_in", "mid", "attn_out", "z")]
        return [*found, stream_place_of(0)]

    @property
    def below(self) -> Tensor:
        """Which features stand below the explained number, and can be opened."""
        known = [torch.full((len(r),), r.opens) for r in self.readers]
        return torch.cat([torch.tensor([True]), *known]) & (self.ranks >= self.ranks[0])

    def _stopped(self) -> list[Component]:
        model, found = self.model, []
        for layer in reversed(range(self._top)):
            if not model.level(layer).sublayers:
                found.append(Component("layer", layer))
                continue
            if model.anatomy.beside is not None:
                found.append(Component("beside", layer))
            if not self._opens_mlp(layer):
                found.append(Component("mlp", layer))
            if not model.level(layer).values:
                found.append(Component("attn", layer))
        return found

    def _opens_mlp(self, layer: int) -> bool:
        cut = Place("mlp", layer) in self._written and not self._by_site.get(Place("mlp", layer))
        return cut or layer in self._mlps

    def held_attention(self, layer: int) -> HeldAttention:
        """The attention of a layer, held."""
        return self._kept(("attn", layer), lambda: HeldAttention(self.run, layer))

    def held_mlp(self, layer: int) -> HeldMLP:
        """The MLP of a layer, held."""
        return self._kept(("mlp", layer), lambda: HeldMLP(self.run, layer, self._mlps[layer]))

    def _kept(self, key: tuple[str, int], make: Callable[[], Held]) -> Held:
        """What is held of a layer, kept with the run where all of it is small: another graph needs it again."""
        known: dict[tuple[str, int], Held] | None = self._held
        if self._size <= KEPT:
            known = self.model.kept("held", dict, self.run)
        if known is None:
            return make()
        if key not in known:
            known[key] = make()
        return known[key]

    @contextmanager
    def building(self) -> Iterator[None]:
        """Inside, what was held stays held from walk to walk, as far as there is room."""
        self._held = {} if self._size <= BUILT else None
        try:
            yield
        finally:
            self._held = None

    @cached_property
    def _size(self) -> int:
        """Bytes of what is held of all layers, about: weights of projections, patterns, and gates."""
        d, n, model = self.model.d_model, self.n, self.model
        z = max((self.rec.z[i].shape[-1] for i in range(self._top) if self.rec.z), default=0)
        neurons = max((made.activations.shape[-1] for made in self._mlps.values()), default=0)
        return 8 * model.n_layers * (3 * d * z + 2 * d * neurons + 2 * n * neurons + n * n * model.n_heads)

    def in_stream(self, place: Place, vector: Float[Tensor, "width"], layer: int) -> Float[Tensor, "d_model"]:
        """What becomes of something written at a place in the stream before a later layer."""
        start = (place.layer or 0) + (place.site == "post")
        if place.site in ("mlp", "attn_out"):
            vector = vector * self.model.multiplier_of("mlp" if place.site == "mlp" else "attn")
        return vector * self.model.carried(start, layer)

    def arriving(self, place: Place, vector: Float[Tensor, "width"], layer: int) -> Float[Tensor, "d_model"] | None:
        """What a graph has of something written at a place in the stream before a later layer: where a dictionary
        rebuilds the stream on the way, only what passes it by. None where nothing does."""
        found: Tensor | None = self.in_stream(place, vector, layer)
        first, last = self._steps.index(place), self._steps.index(stream_place_of(layer))
        for number in sorted(self._written.values(), key=lambda w: -self._steps.index(self.writers[w].place)):
            writer = self.writers[number]
            if found is not None and writer.place.is_stream and last <= self._steps.index(writer.place) < first:
                found = writer.beside(found)
        return found

    def edges(self, targets: Int[Tensor, "target"]) -> Edges:
        """Everything that was put into some targets, a row each in the order given."""
        self._hold()
        return Down(self, targets).edges()

    def _hold(self) -> None:
        """Hold all layers at once where they stay held: the model is made quiet once, and not for every layer."""
        if self._size > KEPT:  # what takes longer is not for others to wait for
            return
        with self.model.quiet():
            for layer in range(self._top):
                level = self.model.level(layer)
                if level.sublayers and level.heads and level.values:
                    _ = self.held_attention(layer).values
                if level.sublayers and layer in self._mlps:
                    self.held_mlp(layer)
