"""Walking backwards: an attribution opened row by row, down to the tokens, as one pruned tree that still sums.

The first level are the attribution's rows. A head is opened over (source token, upstream part) with its pattern and
norms held, an MLP (when asked) with its gates held: see :mod:`.step`. What is dropped on the way is summed at the
node where it was dropped, so that the leaves sum to the explained number whatever was pruned. Paths of this kind are
those of Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; the pruned walk is that of Ferrando
and Voita 2024, "Information Flow Routes", with exact contributions to the target in place of proximities.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.identity.steady import steady
from ....model.selfcheck.levels import reasons_of
from ....result import Sum, Table
from ....words.components import Component, mlp, whole
from ....words.errors import AttribError
from ....words.text import digits_of, number, others_label, share, signed, visible
from ...reading.features import Inside
from ..heads import head_rows, stream_direction
from .step import Expanded, Written, expand_heads, expand_mlps, meeting
from .totals import HELD, Opened, TokenTotals, opened_mlps, token_totals, way
from .totals import MLPs as MLPs

if TYPE_CHECKING:
    import pandas as pd

    from ...attribution.attribution import Attribution

#: Most rows of one level where a share was asked for; a number of rows is taken at its word.
MOST = 1_000


@dataclass(eq=False)
class Node:
    """A part at a position, and what it put into the target along one path.

    ``kind`` is ``"part"``, ``"constant"`` (a bias, a correction or rounding) or ``"pruned"``: the sum of the
    ``count`` rows that were dropped there, whose magnitudes sum to ``size``. ``children`` sum to ``value``.
    """

    component: Component | None
    position: int | None
    value: float
    kind: str = "part"
    children: list[Node] = field(default_factory=list)
    count: int = 1
    size: float = 0.0

    @property
    def label(self) -> str:
        """Name of the row."""
        return others_label(self.count) if self.kind == "pruned" else str(self.component)

    def walk(self, depth: int = 0) -> Iterator[tuple[Node, int]]:
        """This node and all below it with their depths, parents first."""
        yield self, depth
        for child in self.children:
            yield from child.walk(depth + 1)


@dataclass(eq=False, repr=False)
class Trace(Sum):
    """The tree behind one number. Made by :meth:`Attribution.trace`.

    Attributes:
        attribution: what was walked back from.
        root: the explained number; its children are the attribution's rows.
        depth, keep, mlps: as asked; notes: remarks for the reader.
        totals: what every position holds in the limit of no pruning and no last level; None where that cannot be had.
    """

    attribution: Attribution
    root: Node
    depth: int | None
    keep: float
    mlps: MLPs
    notes: list[str] = field(default_factory=list)
    totals: TokenTotals | None = None

    @property
    def unit(self) -> str:
        """Unit of the target."""
        return self.attribution.unit

    @property
    def actual(self) -> float:
        """The model's own number."""
        return self.attribution.actual

    def leaves(self, kind: str | None = None) -> list[Node]:
        """The nodes that were not opened; all of them sum to the target. ``kind`` keeps one kind."""
        return [n for n, _ in self.root.walk() if not n.children and n is not self.root and kind in (None, n.kind)]

    def _sum(self, kind: str | None = None) -> float:
        return math.fsum(n.value for n in self.leaves(kind))

    @property
    def explained(self) -> float:
        """The model's own number."""
        return self.actual

    @property
    def total(self) -> float:
        """Sum of the leaves."""
        return self._sum()

    @property
    def exact(self) -> bool:
        """Whether the mismatch is float32 arithmetic: at most 1e-5 of 1 plus the sum of magnitudes."""
        return abs(self.mismatch) <= 1e-5 * (1 + self.size)

    @property
    def by_position(self) -> Float[Tensor, "position"]:
        """What the kept leaves at each position of the prompt hold of the target."""
        out = torch.zeros(self.attribution.run.n_positions, dtype=torch.float64)
        for n in self.leaves("part"):
            if n.position is not None:
                out[n.position] += n.value
        return out.float()

    @property
    def size(self) -> float:
        """Sum of the magnitudes of all leaves, dropped rows included."""
        return math.fsum(max(abs(n.value), n.size) for n in self.leaves())

    @property
    def dropped(self) -> float:
        """Sum of the magnitudes of the rows that were dropped: how much the tree does not show."""
        return math.fsum(n.size for n in self.leaves("pruned"))

    def paths(self, k: int | None = None) -> list[list[Node]]:
        """The ``k`` largest paths by magnitude (all without it), each from an attribution's row to where it ends."""
        return list(self._paths(self.leaves("part")))[:k]

    def _paths(self, ends: list[Node]) -> Iterator[list[Node]]:
        """The paths to these nodes, the largest first."""
        above = {id(child): n for n, _ in self.root.walk() for child in n.children}
        for end in sorted(ends, key=lambda n: -abs(n.value)):
            path = [end]
            while above[id(path[0])] is not self.root:
                path.insert(0, above[id(path[0])])
            yield path

    def shares(self, k: int) -> dict[str, tuple[float, float]]:
        """Everything, in three: (sum, sum of magnitudes) of the ``k`` largest paths, ``"shown"``; of ``"constants"``;
        and of what is ``"not shown"``: the other paths, and the rows that were pruned.
        """
        ends = [path[-1] for path in self.paths()]
        parts = {"shown": ends[:k], "constants": self.leaves("constant"), "not shown": ends[k:] + self.leaves("pruned")}
        return {
            name: (math.fsum(n.value for n in nodes), math.fsum(max(abs(n.value), n.size) for n in nodes))
            for name, nodes in parts.items()
        }

    def title(self) -> str:
        """The finding in one line: the token that holds most in the limit of no pruning, and of what."""
        if self.totals is not None:
            return self.totals.title()
        held, a = self.by_position, self.attribution
        most = int(held.abs().argmax())
        return f"Of the rows that were kept, those at {visible(a.run.tokens[most])} hold {signed(float(held[most]))}"

    def balance(self) -> str:
        """Kept leaves + constants + pruned rows = the target, in one line, and how much was pruned."""
        kept, names = self.leaves("part"), {"constant": "constants", "pruned": "pruned"}
        parts = [f"{len(kept)} leaves {signed(self._sum('part'), 3)}"]
        parts += [f"{text} {signed(self._sum(kind), 3)}" for kind, text in names.items()]
        if self.dropped:
            gone = share(self.dropped / self.size)
            parts[-1] += f" (by size {gone}: {number(self.dropped, 1)} of {number(self.size, 1)})"
        return " \u00b7 ".join([*parts, *self.checks()])

    def _where(self, node: Node) -> str:
        return "" if node.position is None else f"{visible(self.attribution.run.tokens[node.position])} {node.position}"

    def summary(self) -> Table:
        every = list(self.root.walk())[1:]
        shown: set[int] = set()
        for path in self._paths([n for n, _ in every if n.kind == "part"]):
            if len(shown | {id(p) for p in path}) > 10:
                break
            shown |= {id(p) for p in path}
        lines = [(n, depth) for n, depth in every if id(n) in shown]
        digits = digits_of(n.value for n, _ in every)
        rows = [["\u00a0\u00a0" * (depth - 1) + n.label, self._where(n), signed(n.value, digits)] for n, depth in lines]
        bars: list[float | None] = [n.value for n, _ in lines]
        paths = "Direct paths" if self.totals is None else "Direct paths, and in the title all of them"
        note = "\n".join([*self.notes, f"{paths}; {HELD[self.mlps]}: observed, not yet tested."])
        return Table(self.title(), ["part", "written at", self.unit], rows, bars, note, self.balance())

    def to_dataframe(self) -> pd.DataFrame:
        """One row per node, with its place in the tree, its part, where that wrote, and its value.

        ``parent`` is the parent's ``node``; the root is node 0 without one. ``leaf`` tells the rows that sum.
        """
        import pandas as pd

        tokens, ids, up, rows = self.attribution.run.tokens, {id(self.root): 0}, {}, []
        for n, depth in self.root.walk():
            ids.setdefault(id(n), len(ids))
            up.update({id(child): ids[id(n)] for child in n.children})
            at = n.position
            token = None if at is None else tokens[at]
            rows.append((ids[id(n)], up.get(id(n)), depth, n.label, n.kind, at, token, n.value, not n.children))
        names = ["node", "parent", "depth", "component", "kind", "position", "token", "value", "leaf"]
        frame = pd.DataFrame(rows, columns=names)
        return frame.astype({"parent": "Int64", "position": "Int64"})


@steady()
@torch.no_grad()
def trace(a: Attribution, depth: int | None = 2, keep: float = 24, mlps: MLPs = "stop") -> Trace:
    """See :meth:`Attribution.trace`."""
    if depth is not None and (whole(depth) or 0) < 1:
        raise AttribError(f"{depth!r} is not a depth.", "Give 1 or more, or None for all the way to the tokens.")
    share = isinstance(keep, float)
    if not (0 < keep <= 1 if share else (whole(keep) or 0) >= 1):
        raise AttribError(
            f"{keep!r} neither counts rows nor is a share.", "Give rows of a level (24) or a share of it (0.9)."
        )
    found = Trace(a, Node(None, a.position, a.actual), depth, keep, way(mlps))
    level = [(found.root, _first(a, found.mlps))]
    opened, done = opened_mlps(a, mlps), 0
    while level:
        kept = _prune(found, level, keep)
        done += 1
        level = [] if done == depth else _open(found, kept, opened)
    try:
        found.totals = token_totals(a, mlps, opened)
    except AttribError as reason:  # patterns of all heads may not fit where those of a few did
        found.notes.append(f"No totals of all paths: {reason.message}")
    return found


def _first(a: Attribution, mlps: MLPs) -> Expanded:
    """The rows of an attribution: parts, and constants that nothing wrote."""
    rows = list(zip(a.components, a.values.double().tolist(), strict=True))
    parts = [(c, v) for c, v in rows if c.writes]
    if isinstance(a.reading, Inside):
        return _first_inside(a, a.reading, rows, mlps)
    u = stream_direction(a)
    return Expanded(
        [c for c, _ in parts],
        [a.position],
        torch.tensor([[v for _, v in parts]], dtype=torch.float64, device=u.device),
        u.new_ones(1),
        u,
        [(c, v) for c, v in rows if not c.writes],
        meeting(a.run, [c for c, _ in parts], a.reading.point, [a.position]),
    )


def _first_inside(a: Attribution, reading: Inside, rows: list[tuple[Component, float]], mlps: MLPs) -> Expanded:
    """The same of a feature inside a sublayer: its heads, or its MLP, which is opened as one where gates are held."""
    constants = {c for c, _ in reading.constants} | {Component("rounding")}
    if reading.sublayer == "mlp" and mlps == "frozen":
        whole = math.fsum(v for c, v in rows if c not in constants)
        rows = [(mlp(reading.layer), whole), *((c, v) for c, v in rows if c in constants)]
    parts = [(c, v) for c, v in rows if c.writes and c not in constants]
    u = a.run.record.streams[0].new_zeros(a.model.d_model).float() if reading.along is None else reading.along
    return Expanded(
        [c for c, _ in parts],
        [a.position],
        torch.tensor([[v for _, v in parts]], dtype=torch.float64, device=u.device),
        u.new_ones(1),
        u,
        [row for row in rows if row not in parts],
        lambda v, _, __: v,
        () if reading.z is None else [reading.z[head_rows(a.model, c)] for c, _ in parts],
    )


def _prune(found: Trace, level: list[tuple[Node, Expanded]], keep: float) -> list[tuple[Node, Written]]:
    """Give the nodes of a level their children: the largest rows of the whole level, the others summed.

    A node none of whose rows is large enough stays whole.
    """
    sizes = torch.cat([e.values.detach().abs().flatten().float().cpu() for _, e in level])
    order = sizes.argsort(descending=True, stable=True)
    count = whole(keep)
    if count is None:  # a share of the level
        sums = sizes[order].double().cumsum(0)
        count = int((sums < keep * sums[-1]).sum()) + 1 if keep < 1 else len(order)
        if count > MOST:
            count = MOST
            note = f"A level was cut at its {MOST} largest rows; the others are in the pruned rows."
            found.notes += [note] if note not in found.notes else []
    chosen = torch.zeros(len(sizes), dtype=torch.bool)
    chosen[order[:count]] = True
    chosen &= sizes > 0
    kept, start = [], 0
    for node, e in level:
        stop = start + e.values.numel()
        mask = chosen[start:stop].view(e.values.shape)
        start = stop
        if not bool(mask.any()) and node is not found.root:
            continue
        for p, c in mask.nonzero().tolist():
            w = e.written(p, c)
            child = Node(w.part, w.at, w.value)
            node.children.append(child)
            kept.append((child, w))
        node.children.sort(key=lambda n: -abs(n.value))
        node.children += [Node(c, None, v, "constant") for c, v in e.constants]
        dropped = e.values.detach().double().cpu()[~mask]
        dropped = dropped[dropped != 0]
        if len(dropped):
            rest = Node(None, None, float(dropped.sum()), "pruned", [], len(dropped), float(dropped.abs().sum()))
            node.children.append(rest)
    return kept


def _open(found: Trace, kept: list[tuple[Node, Written]], opened: Opened) -> list[tuple[Node, Expanded]]:
    """The next level: every head that was kept, and every MLP where these are opened."""
    run, level = found.attribution.run, []
    kinds = ("head", "mlp") if found.mlps == "frozen" else ("head",)
    groups: dict[tuple[str, int], list[tuple[Node, Written]]] = {}
    for node, w in kept:
        if w.part.kind in kinds:
            groups.setdefault((w.part.kind, w.part.layer or 0), []).append((node, w))
    recorded, missing = opened
    whole_mlps = [missing[layer] for kind, layer in sorted(groups) if kind == "mlp" and layer in missing]
    shut = {layer: run.model.level(layer).values.reason for kind, layer in groups if kind == "head"}
    told = [*filter(None, [reasons_of(shut, run.model.n_layers)]), *whole_mlps]
    found.notes += [note for reason in told if (note := f"Not opened: {reason}") not in found.notes]
    for (kind, layer), members in groups.items():
        nodes, written = [n for n, _ in members], [w for _, w in members]
        if kind == "head" and not run.model.level(layer).values:
            continue
        if kind == "head":
            expanded = list(expand_heads(run, layer, written))
        elif layer in recorded:
            expanded = expand_mlps(run, layer, written, recorded[layer])
        else:
            continue
        level += list(zip(nodes, expanded, strict=True))
    return level
