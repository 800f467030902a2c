"""Which earlier heads a head could read: Q-, K- and V-composition (Elhage et al. 2021), beyond what chance gives.

The composition of a writer and one side of a reader is the size of the product of their circuits over the product of
their sizes, with the gains of the norms that they read through. Two circuits that have nothing to do with each other
overlap as well, the more the larger they are beside the stream: what the writer's output gives turned at random in the
stream is taken away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.identity.steady import steady
from ...model.model import load
from ...model.parts.outlet import outlet_of
from ...model.parts.projections import input_norm, kv_head, qkv_of, qkv_projection, value_norm
from ...model.selfcheck.levels import need
from ...result import Result, Table
from ...words.components import Component, ComponentLike, component, head
from ...words.components import whole as whole_number
from ...words.errors import AttribError, ComponentError
from ...words.text import number, signed
from ..inputs import how_many_of
from ..roles.effective import OPEN, gates_heads

if TYPE_CHECKING:
    import pandas as pd

    from ...model.model import Model
    from ...model.network import Network

Side = Literal["q", "k", "v"]
SIDES: tuple[Side, ...] = ("q", "k", "v")


@dataclass(eq=False, repr=False)
class Composition(Result):
    """How much each side of one head could read of every earlier head, beyond chance.

    Attributes:
        scores: the composition, NaN where a norm stands between; null: its mean over random rotations; deviation: its
            standard deviation over them.
        missing: of a side that cannot be measured the reason; of single writers that norms stand behind, ``"writers"``.
        gated: whether what heads gather is multiplied, number by number, before it is written: taken as open.
    """

    model: Model
    reader: Component
    scores: Float[Tensor, "side layer head"]
    null: Float[Tensor, "side layer head"]
    deviation: Float[Tensor, "side layer head"]
    missing: dict[str, str]
    rotations: int
    gated: bool = False

    @property
    def values(self) -> Float[Tensor, "side layer head"]:
        """Composition minus what random rotations give."""
        return self.scores - self.null

    def top(self, side: Side, k: int = 5) -> list[tuple[Component, float]]:
        """The writers that a side could read most, beyond chance.

        Raises:
            AttribError: no such side, or a ``k`` below 1.
        """
        k = how_many_of(k, "writers")
        if side not in SIDES:
            raise AttribError(f"{side!r} is no side of a head.", 'Use "q", "k" or "v".')
        values = self.values[SIDES.index(side)].nan_to_num(nan=-torch.inf)
        order = values.flatten().argsort(descending=True, stable=True)[:k].tolist()
        found = [(divmod(i, values.shape[1]), float(values.flatten()[i])) for i in order]
        return [(head(*at), value) for at, value in found if value > -torch.inf]

    def summary(self) -> Table:
        rows: list[list[str]] = []
        bars: list[float | None] = []
        for side in SIDES:
            if side in self.missing:
                rows.append([side.upper(), "", "", self.missing[side]])
                bars.append(None)
            found = [
                (writer, value) for writer, value in self.top(side, 4) if value >= 0.0005
            ]  # what prints as more than 0
            if not found and side not in self.missing:
                rows.append([side.upper(), "", "", "none beyond chance"])
                bars.append(None)
            for writer, value in found:
                at = (SIDES.index(side), writer.layer or 0, writer.index or 0)
                sizes = float(value / self.deviation[at].clamp_min(1e-30))
                rows.append([side.upper(), str(writer), f"{number(sizes, 1)} deviations", signed(value, 3)])
                bars.append(value)
        note = f"composition minus its mean over {self.rotations} random rotations of what the writer writes"
        foot = [*([self.missing["writers"]] if "writers" in self.missing else []), "from weights alone"]
        foot += [OPEN] if self.gated else []
        title = f"Which earlier heads {self.reader} could read"
        return Table(title, ["side", "writer", "how far", "beyond chance"], rows, bars, note, "; ".join(foot))

    def to_dataframe(self) -> pd.DataFrame:
        """One row per side and earlier head: ``side``, ``writer``, ``composition``, ``null``, ``deviation``, and
        ``excess``, the composition beyond chance that the table shows."""
        import pandas as pd

        rows = [
            (
                side,
                str(head(layer, h)),
                *(float(t[s, layer, h]) for t in (self.scores, self.null, self.deviation, self.values)),
            )
            for s, side in enumerate(SIDES)
            for layer in range(self.reader.layer or 0)
            for h in range(self.model.heads_of(layer))
        ]
        return pd.DataFrame(rows, columns=["side", "writer", "composition", "null", "deviation", "excess"])


def reads(model: Network, layer: int, which: str, index: int) -> Float[Tensor, "d_model d_head"]:
    """How one head reads the raw stream for its queries, keys or values, the gains of its norms folded in."""
    d = model.geometry[layer].d_head
    own = index if which == "q" else kv_head(model, layer, index)
    columns, norm = torch.eye(d, device=model.home), value_norm(model, layer) if which == "v" else None
    columns = qkv_projection(model, layer, which, own).pull(columns if norm is None else norm.pull(columns))
    return input_norm(model, layer).pull(columns).T


def writes(model: Network, layer: int, index: int) -> Float[Tensor, "d_head d_model"]:
    """What the numbers of one head write to the stream."""
    d = model.geometry[layer].d_head
    return outlet_of(model, "attn", layer).push(model.out(layer).rows(index * d, (index + 1) * d))


def size(left: Float[Tensor, "many inner"], right: Float[Tensor, "inner other"]) -> float:
    """The Frobenius norm of ``left @ right``, from products of their inner size alone."""
    return float(((left.T @ left) * (right @ right.T)).sum().clamp_min(0).sqrt())


@steady()
@torch.no_grad()
def composition(model: Model | str, reader: ComponentLike, *, rotations: int = 20, seed: int = 0) -> Composition:
    """How much of what earlier heads write each side of ``reader`` could read, from weights alone.

    Q: through its queries, K: through its keys, V: through its values. Rotary angles are those of distance 0. A norm
    between the two (of queries and keys, or behind the writer's attention) takes away what a product of weights says:
    the side, or the writers, are then left out with the reason.

    Raises:
        ComponentError: no such head, or one in the first layer.
        GranularityError: what it reads is not known.
        AttribError: fewer than two rotations, or a seed that is no whole number.
    """
    found, part = load(model), component(reader)
    layer, index = part.layer or 0, part.index or 0
    if part.kind != "head" or index >= found.heads_of(layer):
        raise ComponentError(f"{part} is not a head of {found.name}.", found.geometry.remedy(layer))
    if layer == 0:
        raise ComponentError(f"No head comes before {part}.", "Take one of a later layer.")
    if (whole_number(rotations) or 0) < 2:
        raise AttribError(f"{rotations!r} is not a number of rotations.", "Use 2 or more.")
    if whole_number(seed) is None:
        raise AttribError(f"seed={seed!r} is no whole number.", "Use 0, for example.")
    need(found, "values", layer)
    missing: dict[str, str] = {}
    qkv = qkv_of(found)
    for side in "qk":
        if not found.level(layer).scores:
            missing[side] = f"scores are not exact here: {found.level(layer).scores.reason}"
        elif qkv.q_norm or qkv.k_norm:
            missing[side] = "a norm of queries and keys stands between"
    shape = (3, found.n_layers, found.n_heads)
    out = [torch.full(shape, torch.nan) for _ in range(3)]
    if found.anatomy.attn_post_norm is not None:
        missing["writers"] = "a norm behind the attention stands between writers and the stream"
        missing |= dict.fromkeys(SIDES, missing["writers"])
    # Per side what reads the stream, and what is done with it: together the circuit of the reader.
    sides = {
        "q": (reads(found, layer, "q", index), reads(found, layer, "k", index).T),
        "k": (reads(found, layer, "k", index), reads(found, layer, "q", index).T),
        "v": (reads(found, layer, "v", index), writes(found, layer, index)),
    }
    draw = torch.Generator().manual_seed(seed)
    for before in range(layer):
        if not found.heads_of(before) or not found.level(before).values or "writers" in missing:
            continue
        frames = [_frame(found.d_model, found.geometry[before].d_head, draw).to(found.home) for _ in range(rotations)]
        for h in range(found.heads_of(before)):
            taken, given = reads(found, before, "v", h), writes(found, before, h)
            triangle = torch.linalg.qr(given.T).R
            for s, side in enumerate(SIDES):
                if side in missing:
                    continue
                this, further = sides[side]
                whole = max(size(taken, given) * size(this, further), 1e-30)
                at = (s, before, h)
                out[0][at] = _meeting(taken, given @ this, further) / whole
                chance = torch.tensor(
                    [_meeting(taken, triangle.T @ (frame.T @ this), further) / whole for frame in frames]
                )
                out[1][at], out[2][at] = chance.mean(), chance.std(unbiased=False)
    return Composition(found, part, out[0], out[1], out[2], missing, rotations, gates_heads(found))


def _meeting(
    taken: Float[Tensor, "d_model inner"], middle: Float[Tensor, "inner d_head"], further: Float[Tensor, "d_head other"]
) -> float:
    """The size of the product of the writer's circuit and the reader's."""
    return size(taken, middle @ further)


def _frame(width: int, count: int, draw: torch.Generator) -> Float[Tensor, "d_model d_head"]:
    """Orthonormal directions at random: what a random rotation makes of as many."""
    frame: Tensor = torch.linalg.qr(torch.randn(width, min(count, width), generator=draw))[0]
    return frame
