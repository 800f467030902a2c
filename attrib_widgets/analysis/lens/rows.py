"""The rows of a lens, read a chunk at a time: logits of every layer and position, and what is kept of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.anatomy.rounding import refuse_above
from ...model.parts.streams import as_one
from ...words.places import place
from ..reading.logits import logit_bound

if TYPE_CHECKING:
    from ...model.run import Run
    from .logit_lens import LogitLens

#: Logits held at once: rows are read in chunks of about this many numbers and reduced.
CHUNK = 2**22


def _chunks(count: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def fill(lens: LogitLens) -> None:
    """Read all layers at all positions of the lens."""
    for start, stop in _chunks(len(lens.positions), max(1, CHUNK // lens.model.vocab_size)):
        _fill(lens, start, stop)


def _fill(lens: LogitLens, start: int, stop: int) -> None:
    """Read all layers at the positions ``start`` to ``stop`` of the lens, as many layers at once as a chunk holds."""
    run, at = lens.run, lens.positions[start:stop]
    model, names = run.model, lens.layers[:-1]
    columns = slice(start, stop)
    most = max(1, CHUNK // (model.vocab_size * len(at)))
    final = _Rows(_printed(run, at).float(), lens, exact=True)
    room = final.below.new_empty(min(most, len(names)), len(at), model.vocab_size)
    for low, high in _chunks(len(names), most):
        # A stream of more digits than the final norm is given is rounded for it, as the model rounds its own.
        x = torch.stack([_stream(run, name)[at].to(run.record.streams[-1]) for name in names[low:high]])
        x = x if lens.lens is None else lens.lens.translate(names[low:high], x)
        rows = _Rows(model.read_out(x)[1].float(), lens, room=room[: high - low])
        _reduce(lens, slice(low, high), columns, rows, final)
    _reduce(lens, slice(len(names), None), columns, final, final)


def _stream(run: Run, name: str) -> Float[Tensor, "position d_model"]:
    """The recorded stream of a row; of several, what the model would make of them behind its last layer."""
    which = place(name)
    return run.record.mid(which.row) if which.site == "mid" else as_one(run.model, run.record, which.row)


def _printed(run: Run, at: list[int]) -> Float[Tensor, "position vocab"]:
    """The model's logits at some positions: its own print where it was kept.

    Raises:
        GranularityError: that print is no longer what the norm and the unembedding make of the stream.
    """
    x = run.record.streams[-1][at]
    logits = run.model.read_out(x)[1]
    kept = [row for row, position in enumerate(at) if position in run.record.kept]
    if kept:
        own = torch.stack([run.logits(at[row]) for row in kept])
        bound = logit_bound(run.model, x[kept], own)
        refuse_above(logits[kept].double() - own.double(), bound, "the printed logits are not those of the last row")
        logits = logits.to(own.dtype)
        logits[kept] = own
    return logits


class _Rows:
    """Logits [*row, vocab], their probabilities, and how far every logit is below the row's largest.

    Exponentials are float32's, in one fused pass that is off by dozens of units in the last place on some processors:
    ``total`` is what they do sum to, and divides whatever is made of them. ``exact``: float64's, rounded once, as
    :meth:`Run.probabilities` has them, at many times the price. The logits are overwritten, and so is ``room``.
    """

    def __init__(
        self,
        logits: Float[Tensor, "*row vocab"],
        lens: LogitLens,
        exact: bool = False,
        room: Float[Tensor, "*row vocab"] | None = None,
    ) -> None:
        self.best = logits.topk(lens.top_ids.shape[-1])
        own, top = logits[..., lens.target, None].clone(), self.best.values[..., :1]
        room = torch.empty_like(logits) if room is None else room
        # As floats, of which a sum is fast; it is exact, there being less than 2 ** 24 tokens.
        self.rank = 1 + torch.gt(logits, own, out=room).sum(-1).long()
        if exact:
            self.p = room.copy_(logits.double().log_softmax(-1).exp())
            self.total = torch.ones_like(top[..., 0], dtype=torch.float64)
        else:
            self.p = torch.softmax(logits, -1, out=room)
            self.total = self.p.sum(-1).double()
        self.below = logits.sub_(top)
        self.log_p_top = (self.p.gather(-1, self.best.indices[..., :1])[..., 0].double() / self.total).log()

    def mean(self, values: Float[Tensor, "*row vocab"]) -> Float[Tensor, "*row"]:
        """The mean of ``values`` under the probabilities."""
        found: Tensor = torch.linalg.vecdot(self.p, values).double() / self.total
        return found


def _reduce(lens: LogitLens, at: slice, columns: slice, rows: _Rows, final: _Rows) -> None:
    """Everything the lens keeps of some rows [layer, position, vocab], which are used up; ``final`` is the output."""
    best = rows.best
    lens.top_ids[at, columns] = best.indices.cpu()
    lens.top_logits[at, columns] = best.values.cpu()
    lens.top_probabilities[at, columns] = (rows.p.gather(-1, best.indices) / rows.total[..., None]).float().cpu()
    lens.probability[at, columns] = (rows.p[..., lens.target] / rows.total).float().cpu()
    lens.log_prob[at, columns] = (rows.below[..., lens.target].double() + rows.log_p_top).float().cpu()
    lens.rank[at, columns] = rows.rank.cpu()
    if lens.entropy is None or lens.kl is None:
        lens.log_prob[at, columns] += 0 * rows.below.sum(-1).cpu()  # NaN where any logit is not finite
        return
    lens.entropy[at, columns] = -(rows.log_p_top + rows.mean(rows.below)).float().cpu()
    # What the two rows' logits differ by where the model's output is likely, and what divides them.
    apart = final.mean(torch.sub(final.below, rows.below, out=rows.below)) + final.log_p_top - rows.log_p_top
    lens.kl[at, columns] = apart.clamp_min(0).float().cpu()  # never negative but for arithmetic
