"""What the model would say if it stopped after each layer: the logit lens (nostalgebraist 2020), or a tuned lens.

Every recorded stream is read by the model's own final norm and unembedding, soft cap and logit scale included; through
the translators of a tuned lens (:mod:`.tuned_lens`) where one is given. The norm's statistics are recomputed for each
row: a row answers "what would be printed here?". That is not how an answer builds up along one direction, for which the
final scale is held (``Attribution.buildup``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...model.identity.steady import steady
from ...model.run import Prediction, Predictions
from ...result import Result, Table
from ...words.components import whole
from ...words.errors import AttribError, ComponentError, NumberError, PositionError, TargetError
from ...words.places import Place, PlaceLike, place
from ...words.targets import Target, TargetLike, TokenSet, as_target, logit
from ...words.text import number, percent, visible
from ..inputs import as_run, positions_in
from ..reading.resolve import resolve
from .files import stream_names
from .rows import fill
from .tuned_lens import TunedLens, refuse_no_lens, refuse_without_mid

if TYPE_CHECKING:
    import pandas as pd

    from ...model.model import Model, Prompt
    from ...model.run import Run

TABLE_ROWS = 10


@dataclass(eq=False, repr=False)
class LogitLens(Result):
    """Predictions read off the stream before layer 0 and after every layer. Made by :func:`logit_lens`.

    The axis ``layer`` has one entry more than the model has layers: ``"embed"``, then ``"L0.post"`` for the stream
    behind layer 0, and so on; the last entry is the model's own output. With ``mid``, ``"L0.mid"`` (between attention
    and MLP) and so on stand between them. A position stands for what comes after its token.

    Attributes:
        layers: names of the rows; positions: the positions that were read.
        target: id of the token that is followed; notes: remarks for the reader.
        top_ids, top_probabilities, top_logits: the ``k`` likeliest tokens, the likeliest first.
        probability, log_prob (nats): of the target.
        rank: of the target; 1 is the top prediction, and tied tokens share the better rank.
        entropy: of the prediction, in nats; None where it was left out.
        kl: KL(model's output || this row) at the same position, in nats; 0 in the last row. None with ``entropy``.
        lens: the tuned lens that it was read through; None for the logit lens.
    """

    run: Run
    target: int
    layers: list[str]
    positions: list[int]
    top_ids: Int[Tensor, "layer position k"]
    top_probabilities: Float[Tensor, "layer position k"]
    top_logits: Float[Tensor, "layer position k"]
    probability: Float[Tensor, "layer position"]
    log_prob: Float[Tensor, "layer position"]
    rank: Int[Tensor, "layer position"]
    entropy: Float[Tensor, "layer position"] | None
    kl: Float[Tensor, "layer position"] | None
    notes: list[str]
    lens: TunedLens | None = None

    @property
    def model(self) -> Model:
        """The model that ran."""
        return self.run.model

    @property
    def token(self) -> str:
        """The exact text of the token that is followed."""
        return self.model.token(self.target)

    def top(self, layer: PlaceLike | int, position: int = -1) -> Predictions:
        """The likeliest next tokens after ``position`` as read off one row.

        Args:
            layer: ``"embed"``, or a layer as ``"L3.post"``, ``"L3"`` or 3: the stream behind it.
            position: one of the positions that were read; negative ones count from the prompt's end.

        Raises:
            ComponentError: no such row.
            PositionError: this position was not read.
        """
        row, column = self._row(layer), self._column(position)
        found = zip(
            self.top_ids[row, column].tolist(),
            self.top_probabilities[row, column].tolist(),
            self.top_logits[row, column].tolist(),
            strict=True,
        )
        return Predictions(Prediction(self.model.token(i), i, p, value) for i, p, value in found)

    def beside(self) -> LogitLens | None:
        """The same rows through the other lens: a tuned one's through none, the logit lens's through ``model.lens``.
        None where the model has no tuned lens, or one that has no translator for a row.

        Raises:
            AttribError: ``model.lens`` is no lens, cannot be read, or is another model's.
        """
        lens = None if self.lens else self.model.lens
        if lens is not None:
            refuse_no_lens(lens)
        if not self.lens and (lens is None or not lens.reads(self.layers[:-1])):
            return None
        k, mid = self.top_ids.shape[-1], self.layers[1].endswith(".mid")
        more: dict[str, Any] = {"k": k, "positions": self.positions, "entropy": self.entropy is not None, "mid": mid}
        return logit_lens(self.run, self.target, lens=lens, **more)

    def _row(self, layer: PlaceLike | int) -> int:
        which = place(layer, layer_means="post")
        first, rest = Place("pre", 0), [place(name) for name in self.layers[1:]]
        slots = [row.slot for row in (first, *rest)]  # L2.pre is L1.post
        if not which.is_stream or which.slot not in slots:
            every = f"Its rows are embed, {self.layers[1]} to {self.layers[-1]}."
            raise ComponentError(f"{which} is not a row of this lens.", every)
        return slots.index(which.slot)

    def _column(self, position: int) -> int:
        at = self.run.position(position)
        if at not in self.positions:
            raise PositionError(
                f"Position {at} is not in this lens.", f"It has {', '.join(str(p) for p in self.positions[:8])}."
            )
        return self.positions.index(at)

    # -- showing -------------------------------------------------------------------------------------------
    @property
    def told(self) -> str:
        """How far a tuned lens is from the model's output, row by row, on texts that it was not trained on, or that
        were given to measure it; "" of the logit lens."""
        if self.lens is None:
            return ""
        measured = [(name, kl) for name in self.layers if (kl := self.lens.kl_of(name))]
        listed = ", ".join(f"{name} {number(own)} ({number(plain)})" for name, (plain, own) in measured)
        texts = "texts that were given" if self.lens.given else "texts that it was not trained on"
        return (
            f"Distance of a row from the model's own prediction on {texts}, in nats, 0 where they are the same (in "
            f"brackets: by the logit lens): {listed}."
            if measured
            else "Nobody measured here how far this tuned lens is from the model's output on other texts."
        )

    def title(self, position: int | None = None, mid: bool = True) -> str:
        """The finding at ``position``, in one line; None is the last of the positions that were read. ``mid``: False
        passes over the rows between attention and MLP."""
        at = -1 if position is None else self._column(position)
        kept = [i for i, name in enumerate(self.layers) if mid or place(name, layer_means="post").site != "mid"]
        layers = [self.layers[i] for i in kept]
        rank, p = self.rank[kept, at].tolist(), self.probability[kept, at].tolist()
        name, last, best = visible(self.token), len(rank) - 1, min(rank)
        first = next(i for i in range(last + 1) if all(r == 1 for r in rank[i:]) or i == last)
        if rank[-1] == 1:
            when = f"from {layers[first]} on" if first < last else "only after the last layer"
            found = f"{name} can be read as the top prediction {when}"
        elif best == 1:
            before = max(i for i, r in enumerate(rank) if r == 1)
            still = f"can still be read as the top prediction after {layers[before]}"
            found = f"{name} {still}, and ends at rank {rank[-1]}"
        else:
            found = f"{name} is never read as the top prediction: rank {best} at best, {rank[-1]} in the end"
        found = f"Tuned lens: {found}" if self.lens else found
        jump = _jump(p)
        if abs(p[jump] - p[jump - 1]) < 0.005:
            return f"{found}; probability {p[-1]:.2g}"
        steps = f"{number(p[jump - 1])} \u2192 {number(p[jump])} between {layers[jump - 1]} and {layers[jump]}"
        return f"{found}; probability {steps}"

    def summary(self) -> Table:
        p = self.probability[:, -1].tolist()
        jump = _jump(p)
        rows = []
        shown = _spread(len(p), [0, len(p) - 1, jump - 1, jump])[::-1]  # layers upwards, as on the page
        for i in shown:
            best = visible(self.model.token(int(self.top_ids[i, -1, 0])))
            sure = percent(float(self.top_probabilities[i, -1, 0]))
            rows.append([self.layers[i], best, sure, percent(p[i]), str(int(self.rank[i, -1]))])
        name, place = visible(self.token), visible(self.run.tokens[self.positions[-1]])
        columns = ["after", "top prediction", "its probability", f"of {name}", f"rank of {self.model.vocab_size:,}"]
        where = f"Read after {place} (position {self.positions[-1]}), the final norm recomputed for every row."
        left = len(p) - len(shown)
        footer = "The first row is the model's own output." + (f" {left} rows are left out." if left else "")
        notes = [*self.notes, *([self.told] if self.lens else []), where]
        return Table(self.title(), columns, rows, [p[i] for i in shown], "\n".join(notes), footer)

    def to_dataframe(self) -> pd.DataFrame:
        """One row per layer and position: the top prediction, and the target's numbers."""
        import pandas as pd

        rows, columns = len(self.layers), len(self.positions)
        ids = self.top_ids[..., 0].flatten().tolist()
        return pd.DataFrame(
            {
                "layer": [name for name in self.layers for _ in range(columns)],
                "position": self.positions * rows,
                "token": [self.run.tokens[p] for p in self.positions] * rows,
                "top": [self.model.token(i) for i in ids],
                "top_probability": self.top_probabilities[..., 0].flatten().numpy(),
                **{
                    name: held.flatten().numpy()
                    for name in ("probability", "log_prob", "rank", "entropy", "kl")
                    if (held := getattr(self, name)) is not None
                },
            }
        )


@steady(end=False)
@torch.no_grad()
def logit_lens(
    run: Run | Prompt,
    target: TargetLike | None = None,
    *,
    against: TokenSet | None = None,
    model: Model | str | None = None,
    k: int = 5,
    positions: int | Sequence[int] | None = None,
    entropy: bool = True,
    lens: TunedLens | None = None,
    mid: bool = False,
) -> LogitLens:
    """Read the stream before layer 0 and after every layer as if it were the last.

    Several streams beside each other are brought together as the model does it behind its last layer.

    No tensor over layer, position and vocabulary is ever held. The last row is what the model printed where the run
    kept it, and its own final norm and unembedding of the recorded stream elsewhere.

    Args:
        run: a Run, or a prompt together with ``model``.
        target: the token to follow (text with its leading space, or id); None is the model's own top prediction at
            the last of the positions.
        against: refused: a probability has no rival. ``aw.attribute(..., against=...).buildup()`` follows a difference.
        k: how many of the likeliest tokens to keep at every layer and position.
        positions: which positions to read; None reads all.
        entropy: False leaves out :attr:`LogitLens.entropy` and ``kl``, for which every probability is read once more.
        lens: a tuned lens, through whose translators every row but the last is read; None reads as it stands.
        mid: also read the stream between attention and MLP of every layer.

    Raises:
        AttribError: a prompt without its model, a ``k`` below 1, or a row that the tuned lens has no translator for.
        GranularityError: ``mid`` of a model whose layers have no such stream.
        ModelError: the tuned lens is another model's.
        TargetError: several tokens, a target that is more than one token, or a rival.
        PositionError: outside the prompt, or no positions.
        NumberError: a layer whose stream reads as NaN or infinite logits.
    """
    run = as_run(run, model)
    run.check_fresh()
    if (whole(k) or 0) < 1:
        raise AttribError(f"{k!r} is not a number of predictions.", "Give 1 or more.")
    at = list(range(run.n_positions)) if positions is None else positions_in(run, positions)
    token, notes = _followed(run, target, against, at[-1])
    if lens is not None:
        refuse_no_lens(lens)
        lens.check(run.model)
    if mid:
        refuse_without_mid(run.model)
    found = _empty(run, token, at, min(k, run.model.vocab_size), notes, entropy, lens, mid)
    fill(found)
    told = found.log_prob if found.entropy is None else found.entropy
    if not bool(torch.isfinite(told).all()):
        row = int((~torch.isfinite(told)).any(1).nonzero()[0])
        raise NumberError(
            f"Read after {found.layers[row]}, the logits are NaN or infinite.",
            "Load the model in float32 or bfloat16: aw.load(..., dtype='float32').",
        )
    return found


def _followed(run: Run, target: TargetLike | None, against: TokenSet | None, position: int) -> tuple[int, list[str]]:
    """(id of the token that the lens follows, remarks about it)."""
    if against is not None or (isinstance(target, Target) and target.against):
        raise TargetError(
            "The lens follows one token, whose probability has no rival.",
            "A difference builds up in aw.attribute(run, target, against=...).buildup().",
        )
    if target is None:
        return run.top(1, position)[0].id, []
    goal = as_target(target)
    if not isinstance(goal, Target) or len(goal.tokens) != 1:
        raise TargetError("The lens follows one token.", 'Give its text, for example " Paris", or its id.')
    found = resolve(logit(goal.tokens[0]), run, position)
    return int(found.ids[0]), found.notes


def _empty(
    run: Run,
    token: int,
    positions: list[int],
    k: int,
    notes: list[str],
    entropy: bool,
    lens: TunedLens | None,
    mid: bool,
) -> LogitLens:
    layers = [*stream_names(run.model.n_layers, mid), str(Place("post", run.model.n_layers - 1))]
    shape = (len(layers), len(positions))
    numbers: dict[str, Any] = {name: torch.zeros(shape) for name in ("probability", "log_prob")}
    numbers |= {name: torch.zeros(shape) if entropy else None for name in ("entropy", "kl")}
    tops = {name: torch.zeros(*shape, k) for name in ("top_probabilities", "top_logits")}
    ids, rank = torch.zeros(*shape, k, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    return LogitLens(run, token, layers, positions, top_ids=ids, rank=rank, notes=notes, lens=lens, **tops, **numbers)


def _jump(p: list[float]) -> int:
    """The row at which the probability changed most from the row before."""
    return max(range(1, len(p)), key=lambda i: abs(p[i] - p[i - 1]))


def _spread(count: int, wanted: list[int]) -> list[int]:
    """At most ``TABLE_ROWS`` rows: the wanted ones first, then evenly spaced ones, then any."""
    even = [round(i * (count - 1) / (TABLE_ROWS - 1)) for i in range(TABLE_ROWS)]
    return sorted(list(dict.fromkeys([*wanted, *even, *range(count)]))[:TABLE_ROWS])
