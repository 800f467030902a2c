"""What no target changes of a layer's heads: kept with the run, so that the next question about it need not attend."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.parts.attention import attend
from ...model.parts.listen import ROWS
from ...model.parts.outlet import outlet_of

if TYPE_CHECKING:
    from ...model.run import Run

#: Bytes that one run keeps for all its layers; what does not fit is computed again. Patterns of all positions, which
#: grow with the square of the prompt, are never kept.
KEPT_BYTES = 64_000_000


@dataclass
class Held:
    """Of the heads of one layer what grows with the prompt's length alone.

    ``v`` are the values, ``rows`` pattern rows by destination, ``sink`` what a learned sink took of every destination.
    ``norms`` are the lengths of what one unit of attention writes (before the post-norm's scale), by destination where
    ``gates`` has gates of that destination, else the same for all (under None).
    """

    v: Float[Tensor, "head source d_head"]
    sink: Float[Tensor, "head destination"] | None
    rows: dict[int, Float[Tensor, "head source"]] = field(default_factory=dict)
    gates: dict[int, Float[Tensor, "head d_head"]] = field(default_factory=dict)
    norms: dict[int | None, Float[Tensor, "head source"]] = field(default_factory=dict)

    def norms_at(self, at: int) -> Float[Tensor, "head source"]:
        """The lengths of what one unit of attention writes at ``at``."""
        return self.norms[at if at in self.gates else None]

    @property
    def nbytes(self) -> int:
        """Memory of its tensors."""
        held = [self.v, *self.rows.values(), *self.gates.values(), *self.norms.values()]
        held += [] if self.sink is None else [self.sink]
        return sum(t.numel() * t.element_size() for t in held)


def held(
    run: Run, layer: int, at: int, patterns: bool = False
) -> tuple[Held, Float[Tensor, "head destination source"] | None]:
    """(what is held of ``layer`` with its row at destination ``at``, its patterns where they are asked for).

    Raises:
        GranularityError: pattern times values is not what the heads wrote.
    """
    known = _kept(run).get(layer)
    if known is not None and at in known.rows and not patterns:
        return known, None
    with run.model.quiet():
        return _held(run, layer, at, patterns, known)


def _held(
    run: Run, layer: int, at: int, patterns: bool, known: Held | None
) -> tuple[Held, Float[Tensor, "head destination source"] | None]:
    alone = slice(at, at + 1)  # of a long prompt the row that is looked at, not the square of all
    rows = ROWS if patterns else alone
    found = attend(run.model, run.record, layer, rows=rows)
    if rows != ROWS and known is None and found.sink is not None:  # sinks are drawn at every destination
        found, rows = attend(run.model, run.record, layer), ROWS
    row = found.pattern[:, at] if rows == ROWS else found.pattern[:, 0]
    if known is None:
        known = Held(_own(found.v), found.sink)
    known.rows[at] = row.clone()
    if found.gate is not None:
        known.gates[at] = found.gate[:, at if rows == ROWS else 0].clone()
    slot = at if at in known.gates else None
    if slot not in known.norms:
        write = outlet_of(run.model, "attn", layer)
        v = found.v if slot is None else found.v * known.gates[at][:, None]
        pieces = zip(v, run.model.out(layer).by_head(len(v)), strict=True)  # a head at a time
        known.norms[slot] = torch.stack([write.push(v @ out).norm(dim=-1) for v, out in pieces])
    kept = _kept(run)
    if sum(one.nbytes for number, one in kept.items() if number != layer) + known.nbytes <= KEPT_BYTES:
        kept[layer] = known
    else:
        kept.pop(layer, None)
    return known, found.pattern if patterns else None


def _kept(run: Run) -> dict[int, Held]:
    return run.model.kept("heads", dict, run)


def held_bytes(run: Run) -> int:
    """Memory of what is kept of its heads."""
    return sum(one.nbytes for one in list(_kept(run).values()))  # another thread may add a layer meanwhile


def _own(v: Tensor) -> Tensor:
    """``v`` without the larger tensor that it may be a part of."""
    return v.clone() if v.untyped_storage().nbytes() > v.numel() * v.element_size() else v
