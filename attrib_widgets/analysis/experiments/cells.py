"""What can be patched, named: a part of the model at some positions, and the tensors that replace it.

Whatever is patched becomes a few writes of the sweep engine. Queries, keys, values and patterns of a head need no
surgery in the softmax: they are recomputed from the two recordings, and z' = softmax(q'k'^T) v' is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.parts.attention import Attended, Scored, attend, looks, scored
from ...model.tracing.edits import Edit
from ...words.components import Component, ComponentLike, component, whole
from ...words.errors import ComponentError, GranularityError, PositionError

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.run import Run
    from ...model.tracing.record import Recording

SITES = ("stream", "attn", "mlp", "z", "q", "k", "v", "pattern")
HEAD_SITES = ("z", "q", "k", "v", "pattern")
MIXED_SITES = ("q", "k", "v", "pattern")


@dataclass(frozen=True)
class Part:
    """A place that can be patched: ``site`` of ``layer``; of one ``head`` (a key and value head for k and v), or of
    all heads where it is None. ``grouped``: ``head`` is the key and value head of several query heads."""

    site: str
    layer: int
    head: int | None = None
    grouped: bool = False

    def __str__(self) -> str:
        if self.head is None:
            return f"L{self.layer}.{self.site}"
        if self.grouped:
            return f"L{self.layer}KV{self.head}.{self.site}"
        return f"L{self.layer}H{self.head}" + ("" if self.site == "z" else f".{self.site}")


@dataclass(frozen=True)
class Cell:
    """One experiment: parts that are patched together, at ``positions`` (None: at every position)."""

    parts: tuple[Part, ...]
    positions: tuple[int, ...] | None = None

    def __str__(self) -> str:
        name = " + ".join(map(str, self.parts)) or "nothing"
        return name if self.positions is None else f"{name} @{','.join(map(str, self.positions))}"


def parts_of(model: Model, spec: ComponentLike) -> tuple[Part, ...]:
    """The places where a component writes.

    Raises:
        ComponentError: the model has no such part, or it cannot be replaced by itself.
    """
    found = component(spec)
    layer, index = found.layer or 0, found.index or 0
    if found.kind == "embed":
        return (Part("stream", 0),)
    if found.kind not in ("head", "mlp", "attn", "layer"):
        raise ComponentError(
            f"{found} cannot be patched by itself.", 'Patch a head ("L7H4"), an MLP ("L8.mlp") or an attention layer.'
        )
    if layer >= model.n_layers or (found.kind == "head" and index >= model.heads_of(layer)):
        raise ComponentError(f"{model.name} has no {found}.", model.geometry.remedy(layer))
    if found.kind == "head":
        return (Part("z", layer, index),)
    if found.kind == "layer":
        return (Part("attn", layer), Part("mlp", layer))
    return (Part(found.kind, layer),)


def component_of(part: Part) -> Component | None:
    """The component that writes at ``part``; None for a stream and for what a head reads."""
    if part.site == "z" and part.head is not None:
        return Component("head", part.layer, part.head)
    return Component(part.site, part.layer) if part.site in ("mlp", "attn") else None


def cells_of(
    model: Model,
    sites: Sequence[str],
    layers: Sequence[int] | None,
    heads: str,
    positions: Sequence[tuple[int, ...] | None],
) -> list[Cell]:
    """One cell per site, layer, head (``heads="each"``) and entry of ``positions``.

    Raises:
        ComponentError: an unknown site or layer.
        GranularityError: heads were not shown to be exact on this model.
    """
    if heads not in ("each", "all"):
        raise ComponentError(f"{heads!r} is not a choice of heads.", 'Use "each" or "all".')
    cells = []
    for site in sites:
        if site not in SITES:
            raise ComponentError(f"{site!r} cannot be patched.", f"The sites are {', '.join(SITES)}.")
        count = model.n_layers + (site == "stream")
        listed: Any = range(count) if layers is None else layers if hasattr(layers, "__iter__") else [layers]
        chosen = [_layer(n, count) for n in listed]
        known = {"q": model.check.scores_ok, "k": model.check.scores_ok}.get(site, model.check.attention_ok)
        if site in HEAD_SITES and not (model.granularity == "heads" and (site == "z" or known)):
            raise GranularityError(f"Heads of {model.name} cannot be patched: {model.check.no_scores}.")
        for layer in chosen:
            numbers: list[int | None] = [None]
            geo = model.geometry[min(layer, model.n_layers - 1)]
            if site in HEAD_SITES and heads == "each":
                numbers = list(range(geo.n_kv_heads if site in ("k", "v") else geo.n_heads))
            grouped = site in ("k", "v") and geo.group > 1 and numbers != [None]
            cells += [Cell((Part(site, layer, h, grouped),), at) for h in numbers for at in positions]
    return cells


def _layer(number: Any, count: int) -> int:
    found = whole(number)
    if found is None or not -count <= found < count:
        raise ComponentError(f"{number!r} is not a layer.", f"Use 0 to {count - 1}.")
    return found % count


def positions_of(run: Run, given: Any) -> list[tuple[int, ...] | None]:
    """The positions of the cells: None is every position together, ``"each"`` one cell per position, a number or a
    list these positions together."""
    if given is None:
        return [None]
    if isinstance(given, str):
        if given != "each":
            raise PositionError(f"{given!r} is not a choice of positions.", 'Use "each", a position, or a list.')
        return [(p,) for p in range(run.n_positions)]
    listed = list(given) if hasattr(given, "__iter__") and whole(given) is None else [given]
    return [tuple(sorted({run.position(p) for p in listed}))]


class Donor(Protocol):
    """Where the replacing tensors come from."""

    def writes(self, cell: Cell) -> list[Edit]:
        """The writes of one experiment."""
        ...


def held(rec: Recording, site: str, layer: int) -> Float[Tensor, "position width"]:
    """What a site that needs no recomputation held in a recording."""
    by_site = {"stream": rec.streams, "z": rec.z, "attn": rec.attn_out, "mlp": rec.mlp_out}
    tensor: Tensor = by_site[site][layer]
    return tensor


def head_writes(
    model: Model, part: Part, positions: tuple[int, ...], value: Float[Tensor, "position width"]
) -> list[Edit]:
    """``value`` [position, all heads] written to z of the heads of ``part`` (its group, for keys and values)."""
    geo = model.geometry[part.layer]
    heads = range(geo.n_heads)
    if part.head is not None:
        group = geo.group
        heads = (
            range(part.head * group, (part.head + 1) * group)
            if part.site in ("k", "v")
            else range(part.head, part.head + 1)
        )
    d = geo.d_head
    return [Edit("z", part.layer, positions, value[:, h * d : (h + 1) * d], h) for h in heads]


def plain_writes(
    model: Model, part: Part, positions: tuple[int, ...], value: Float[Tensor, "position width"]
) -> list[Edit]:
    """``value`` written to a site that needs no recomputation; z of one or all heads from the width of all."""
    if part.site == "z":
        return head_writes(model, part, positions, value)
    return [Edit(part.site, part.layer, positions, value)]  # type: ignore[arg-type]


class RunDonor:
    """Tensors of ``source`` put into ``base``: two runs of one length on one model.

    Positions before the first token that differs are left out: there the two runs are the same.
    """

    def __init__(self, base: Run, source: Run) -> None:
        self.base, self.source, self.model = base, source, base.model
        pairs = zip(base.ids, source.ids, strict=True)
        self.first = next((i for i, (a, b) in enumerate(pairs) if a != b), base.n_positions)
        self._kept: dict[int, tuple[Attended, Attended]] = {}
        self._mixes: dict[tuple[str, int, tuple[int, ...]], Tensor] = {}

    def positions(self, cell: Cell) -> tuple[int, ...]:
        """The positions of ``cell`` where the runs can differ."""
        listed = range(self.base.n_positions) if cell.positions is None else cell.positions
        return tuple(p for p in listed if p >= self.first)

    def writes(self, cell: Cell) -> list[Edit]:
        """The writes that put the source's value into the base."""
        at = self.positions(cell)
        found: list[Edit] = []
        if not at:
            return found
        for part in cell.parts:
            if part.site in MIXED_SITES:
                reach = at if part.site in ("q", "pattern") else tuple(range(at[0], self.base.n_positions))
                found += head_writes(self.model, part, reach, self.mixed(part.site, part.layer, at)[list(reach)])
            else:
                value = held(self.source.record, part.site, part.layer)[list(at)]
                found += plain_writes(self.model, part, at, value)
        return found

    def attended(self, layer: int) -> tuple[Attended, Attended]:
        """The attention of ``layer`` in (base, source), recomputed once."""
        if layer not in self._kept:
            found = [attend(self.model, run.record, layer) for run in (self.base, self.source)]
            self._kept[layer] = found[0], found[1]
        return self._kept[layer]

    def scored(self, layer: int) -> tuple[Scored, Scored]:
        """The same with queries and keys."""
        own, other = self._kept.get(layer, (None, None))
        if not (isinstance(own, Scored) and isinstance(other, Scored)):
            own, other = (scored(self.model, run.record, layer) for run in (self.base, self.source))
            self._kept[layer] = own, other
        return own, other

    @torch.no_grad()
    def mixed(self, site: str, layer: int, at: tuple[int, ...]) -> Float[Tensor, "position heads_times_d_head"]:
        """z of all heads of ``layer`` when ``site`` of each takes the source's value at ``at``."""
        key = (site, layer, at)
        if key not in self._mixes:
            own, other = self.attended(layer) if site in ("v", "pattern") else self.scored(layer)
            index = list(at)

            def swapped(a: Tensor, b: Tensor) -> Tensor:
                out = a.clone()
                out[:, index] = b[:, index]
                return out

            values, pattern = own.v, own.pattern
            if site == "v":
                values = swapped(values, other.v)
            elif site == "pattern":
                pattern = swapped(pattern, other.pattern)
            elif isinstance(own, Scored) and isinstance(other, Scored):
                q = swapped(own.q.final, other.q.final) if site == "q" else own.q.final
                k = swapped(own.k.final, other.k.final) if site == "k" else own.k.final
                pattern = looks(self.model, self.base.record, layer, q, k)[2]
            self._mixes[key] = z_changed(self.base, layer, own, pattern @ values)
        return self._mixes[key]


def z_changed(
    run: Run, layer: int, own: Attended, mixed: Float[Tensor, "head position d_head"]
) -> Float[Tensor, "position heads_times_d_head"]:
    """The recorded z of ``layer`` plus what ``mixed`` changes: what is not changed stays bit by bit as it was."""
    change = mixed - own.pattern @ own.v
    flat = change.transpose(0, 1).reshape(run.n_positions, -1)
    z = run.record.z[layer]
    out: Tensor = torch.where(flat == 0, z, (z.float() + flat).to(z.dtype))
    return out
