"""What can be patched, named: parts of the model at some positions, and the cells of an experiment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ....model.selfcheck.levels import NEEDED, named_layers, need, reasons_of
from ....words.components import BESIDES, component, whole
from ....words.errors import ComponentError, PositionError
from ....words.places import Place, is_place, place, place_of, stream_place
from ....words.several import listed, named
from ...inputs import absent, positions_in
from .features import of_dictionary

if TYPE_CHECKING:
    from ....model.model import Model
    from ....model.run import Run

SITES = ("stream", "pre", "post", "attn", "mlp", *BESIDES, "z", "q", "k", "v", "pattern")
HEAD_SITES = ("z", "q", "k", "v", "pattern")
MIXED_SITES = ("q", "k", "v", "pattern")
#: Places that are named where one experiment is told in a line.
NAMED = 4
PATCHED = (
    'Patch a head ("L7H4"), an MLP ("L8.mlp"), an attention layer, a layer ("L8"), a stream ("L8.pre") or a feature of '
    'a dictionary ("L8.mlp/12").'
)


@dataclass(frozen=True)
class Cell:
    """One experiment: places that are patched together, at ``positions`` (None: at every position)."""

    parts: tuple[Place, ...]
    positions: tuple[int, ...] | None = None

    def __str__(self) -> str:
        name = " + ".join(map(str, self.parts)) or "nothing"
        return name if self.positions is None else f"{name} @{','.join(map(str, self.positions))}"

    @property
    def short(self) -> str:
        """The label where there is no room for a hundred names."""
        if len(self.parts) <= NAMED:
            return str(self)
        first = str(Cell(self.parts[: NAMED - 1], self.positions)).partition(" @")
        return f"{first[0]} + {len(self.parts) - NAMED + 1} more{''.join(first[1:])}"


_POSITIONS = re.compile(r"\s*\d+(?:\s*,\s*\d+)*\s*")


def cell(model: Model, spec: Any) -> Cell:
    """Read a cell from its label (``"L0H0 @3,4"``, ``"L2.attn + L2.mlp"``, ``"nothing"``), or from what is patched.

    Raises:
        ComponentError: it names no place that can be patched, or none that the model has; no position behind its @.
    """
    if isinstance(spec, Cell):
        return spec
    if not isinstance(spec, str):
        return Cell(joint(model, spec))
    name, marked, where = spec.partition("@")
    if marked and not _POSITIONS.fullmatch(where):
        raise ComponentError(f"{spec!r} names no positions behind its @.", 'Write "L0H0 @3,4"; "L0H0" is everywhere.')
    parts = () if name.strip() == "nothing" else parts_of(model, name)
    return Cell(parts, tuple(int(p) for p in where.split(",")) if marked else None)


def parts_of(model: Model, spec: Any) -> tuple[Place, ...]:
    """The places where a component writes; a place by its name is itself.

    Raises:
        ComponentError: the model has no such part, or it cannot be replaced by itself.
    """
    if isinstance(spec, str) and " + " in spec:
        return tuple(p for name in spec.split(" + ") for p in parts_of(model, name))
    try:
        found = component(spec)
    except ComponentError:
        if not is_place(spec):
            raise
        return (settled(model, place(spec)),)
    if found.kind == "layer":  # all that the layer writes
        exists(model, Place("layer", found.layer))
        split = model.level(found.layer or 0).experiments
        sites = ("attn", "mlp", *model.anatomy.besides) if split else ("layer",)
        return tuple(settled(model, Place(site, found.layer)) for site in sites)
    if not (found.is_replaceable or found.kind in ("embed", "feature", "error")):
        raise ComponentError(f"{found} cannot be patched by itself.", PATCHED)
    return (settled(model, place_of(found)),)


def joint(model: Model, given: Any) -> tuple[Place, ...]:
    """A component, or several of them to be patched together, as places."""
    return tuple(p for c in named(given) for p in parts_of(model, c))


def exists(model: Model, which: Place) -> Place:
    """``which``, once it is known that the model has it, and that its layer splits so far.

    Raises:
        ComponentError: no such layer or head. GranularityError: the layer does not split so far exactly.
    """
    layer = which.layer or 0
    if layer >= model.n_layers:
        raise absent(model, which)
    if which.site in NEEDED:
        need(model, NEEDED[which.site], layer)
    heads = model.geometry[layer].n_kv_heads if which.grouped else model.heads_of(layer)
    if which.head is not None and which.head >= heads:
        raise absent(model, which)
    return which


def settled(model: Model, which: Place) -> Place:
    """``which`` as the cells of this model name it: a stream by the side that has a layer (``L1.post`` is ``L2.pre``),
    keys and values by the head that holds them, a feature by the place that its dictionary reads.

    Raises:
        ComponentError: the model has no such place, or it cannot be replaced by itself.
    """
    if which.of is not None:
        return of_dictionary(model, which, exists)
    if which.site == "mid":
        raise ComponentError(
            f"{which} cannot be patched by itself.",
            f'Patch the streams at the sides of the layer, "{replace(which, site="pre")}" and '
            f'"{replace(which, site="post")}", or what is added in between: "{replace(which, site="attn")}".',
        )
    if which.site not in (*SITES, "layer"):
        raise ComponentError(f"{which} cannot be patched by itself.", PATCHED)
    exists(model, which)
    if which.is_stream:
        return stream_place(which.stream, model.n_layers)
    if which.site in ("k", "v") and which.head is not None:
        group = model.geometry[which.layer or 0].group
        if group == 1:
            return replace(which, grouped=False)
        if not which.grouped:
            raise ComponentError(
                f"{which.site} of L{which.layer}H{which.head} is that of {group} heads of {model.name}.",
                f'Name the head that holds it: "{Place(which.site, which.layer, which.head // group, True)}".',
            )
    return which


def cells_of(
    model: Model,
    sites: Any,
    layers: Any,
    heads: str,
    positions: Sequence[tuple[int, ...] | None],
) -> list[Cell]:
    """One cell per site, layer, head (``heads="each"``) and entry of ``positions``.

    ``layers`` None is every layer that splits so far exactly: see :func:`unsplit` for the others.

    Raises:
        ComponentError: an unknown site or layer.
        GranularityError: a chosen layer, or all of them, do not split so far.
    """
    if heads not in ("each", "all"):
        raise ComponentError(f"{heads!r} is not a choice of heads.", 'Use "each" or "all".')
    cells = []
    for site in listed(sites):
        if site == "mid":
            settled(model, Place("mid", 0))  # says why not
        if site not in (*SITES, "layer"):
            raise ComponentError(f"{site!r} cannot be patched.", f"The sites are {', '.join(SITES)} and layer.")
        count = model.n_layers + (site == "stream")
        chosen = list(range(count)) if layers is None else [_layer(n, count) for n in listed(layers)]
        split = NEEDED.get(site)
        if split is not None and layers is None:
            need(model, split)
            chosen = [layer for layer in chosen if getattr(model.level(layer), split)]
        for layer in chosen:
            if split is not None:
                need(model, split, layer)
            if site == "layer":
                cells += [Cell(parts_of(model, f"L{layer}"), at) for at in positions]
                continue
            if site in ("stream", "pre", "post"):
                found = [stream_place(layer + (site == "post"), model.n_layers)]
            else:
                found = _of_layer(model, site, layer, each=heads == "each")
            cells += [Cell((p,), at) for p in found for at in positions]
    return cells


def _of_layer(model: Model, site: str, layer: int, each: bool) -> list[Place]:
    """The places of a site in one layer: one a head where the site has heads and ``each`` is asked for."""
    if site not in HEAD_SITES or not each:
        return [Place(site, layer)]
    geo = model.geometry[layer]
    grouped = site in ("k", "v") and geo.group > 1
    return [Place(site, layer, h, grouped) for h in range(geo.n_kv_heads if site in ("k", "v") else geo.n_heads)]


def unsplit(model: Model, sites: Any, layers: Any) -> list[str]:
    """What :func:`cells_of` leaves out where no layers were chosen, in words."""
    notes: dict[str, None] = {}
    for split in dict.fromkeys(NEEDED[site] for site in listed(sites) if site in NEEDED) if layers is None else ():
        without = [i for i, level in enumerate(model.check.levels) if not getattr(level, split)]
        if without:
            reasons = reasons_of({i: getattr(model.level(i), split).reason for i in without}, len(without))
            notes[f"left out: {named_layers(without)} ({reasons})"] = None
    return list(notes)


def every_part(model: Model, positions: Sequence[tuple[int, ...] | None], *, layers: bool = True) -> list[Cell]:
    """One cell per part of the model as it splits: heads and MLPs, else the two sublayers, else (unless ``layers`` is
    False) whole layers."""
    levels = list(enumerate(model.check.levels))
    found = [p for i, v in levels if v.sublayers for p in _of_layer(model, "z" if v.heads else "attn", i, each=True)]
    found += [Place("mlp", i) for i, v in levels if v.sublayers]
    found += [Place(site, i) for site in model.anatomy.besides for i, v in levels if v.sublayers]
    found += [Place("layer", i) for i, v in levels if layers and not v.sublayers]
    return [Cell((p,), at) for p in found for at in positions]


def cells_from(model: Model, given: Any, positions: Sequence[tuple[int, ...] | None]) -> list[Cell]:
    """One cell for each of one or several components, or lists of components that are patched together."""
    return [Cell(joint(model, c), at) for c in named(given) for at in positions]


def found_in(cells: Sequence[Cell], model: Model, which: Any, what: str) -> int:
    """The number of the cell that ``which`` names: by its label, by what is patched, or by the cell itself.

    Raises:
        ComponentError: it is none of ``cells``, or several of them; ``what`` says in the message what they are of.
    """
    try:
        wanted = cell(model, which)
    except ComponentError as reason:
        if not isinstance(which, str) or which not in map(str, cells):
            raise reason
        wanted = cells[list(map(str, cells)).index(which)]
    names = frozenset(wanted.parts)
    anywhere = wanted.positions is None and not isinstance(which, Cell)
    found = [i for i, c in enumerate(cells) if frozenset(c.parts) == names and c.positions == wanted.positions]
    found = found or [i for i, c in enumerate(cells) if anywhere and frozenset(c.parts) == names]
    if not found and not isinstance(which, Cell) and any(p.is_stream for c in cells for p in c.parts):
        _refuse_layer(which)
    if len(found) != 1:
        shown = ", ".join(str(c) for c in cells[:6]) + (" …" if len(cells) > 6 else "")
        raise ComponentError(
            f"{which} is {'no cell' if not found else f'{len(found)} cells'} of this {what}.",
            f"Its cells are {shown}: see .labels.",
        )
    return found[0]


def _refuse_layer(which: Any) -> None:
    """A bare layer, where the cells are streams, has two readings."""
    try:
        found = component(which)
    except ComponentError:
        return
    if found.kind == "layer":
        place_of(found)


def _layer(given: Any, count: int) -> int:
    found = whole(given)
    if isinstance(given, str) and (match := re.fullmatch(r"[lL](\d+)", given.strip())):
        found = int(match[1])
    if found is None or not -count <= found < count:
        raise ComponentError(f"{given!r} is not a layer.", f"Use 0 to {count - 1}.")
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
    return [tuple(sorted(set(positions_in(run, given))))]
