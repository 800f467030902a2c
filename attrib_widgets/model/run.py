"""One recorded forward pass of a prompt: everything else is reading this record."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..result import Result, Table
from ..words.components import whole
from ..words.errors import AttribError, ModelError, NumberError, PositionError
from ..words.text import number, percent, visible
from .anatomy.rounding import require_float32
from .identity.belonging import refuse_moved, refuse_reread
from .identity.stamp import named
from .identity.steady import once
from .text.known import LARGER, Unseen, unseen, unseen_note
from .tracing.edits import Edit, flattened, refuse_narrow
from .tracing.record import record, record_many
from .tracing.recording import Recording

if TYPE_CHECKING:
    import pandas as pd

    from .model import Model


@dataclass(frozen=True)
class Prediction:
    """One candidate for the next token: its exact text, id, probability and logit."""

    text: str
    id: int
    probability: float
    logit: float


class Predictions(Result, list[Prediction]):
    """The likeliest next tokens, the likeliest first."""

    def summary(self) -> Table:
        rows = [[visible(p.text), str(p.id), number(p.logit, 3), percent(p.probability)] for p in self]
        bars: list[float | None] = [p.probability for p in self]
        said = ", ".join(f"{visible(p.text)} {percent(p.probability)}" for p in self[:2])
        footer = f"these {len(self)} together {percent(sum(p.probability for p in self))}" if len(self) > 1 else ""
        title = f"What comes next: {said}" if said else "What comes next"
        return Table(title, ["token", "id", "logit", "probability"], rows, bars, footer=footer)

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``token``, ``id``, ``logit`` and ``probability``."""
        import pandas as pd

        rows = [(p.text, p.id, p.logit, p.probability) for p in self]
        return pd.DataFrame(rows, columns=["token", "id", "logit", "probability"])


class Run:
    """A prompt, its tokens, and what the model computed on it.

    Attributes:
        model: the :class:`Model` that ran.
        text: the prompt as given (decoded when token ids were given).
        ids: token ids, the beginning-of-sequence token included when the tokenizer adds one.
        tokens: the exact text of every token.
        special: positions of special tokens.
        start: where what was generated (or explained as a phrase) begins; the number of tokens in a plain prompt.
        record: the recorded tensors.
    """

    def __init__(
        self,
        model: Model,
        ids: Sequence[int],
        text: str,
        keep: Sequence[int] | None = None,
        *,
        start: int | None = None,
        recording: Recording | None = None,
    ) -> None:
        require_float32()
        self.model = model
        self.text = text
        self.ids = [int(i) for i in ids]
        self.tokens = [model.token(i) for i in self.ids]
        special = set(model.special_ids)
        self.special = [p for p, i in enumerate(self.ids) if i in special]
        self.start = len(self.ids) if start is None else start
        self.record: Recording = record(model, self.ids, keep) if recording is None else recording
        self._stamp = model.stamped
        if not bool(torch.isfinite(self.record.logits).all()):
            layer = next(
                (i for i, s in enumerate(self.record.streams) if not bool(torch.isfinite(s).all())),
                model.n_layers,
            )
            raise NumberError(
                f"The model printed NaN or infinite logits; the stream is first not finite before layer {layer}.",
                "Load it in float32 or bfloat16 (aw.load(..., dtype='float32')) or check its weights.",
            )

    def edited(self, writes: Sequence[Edit]) -> Run:
        """The same prompt run once more with tensors replaced on the way: a recording that can be attributed.

        Raises:
            ModelError: the model has changed since.
            GranularityError: one stream is put in front of a layer that reads several.
        """
        self.check_fresh()
        twin = copy.copy(self)
        refuse_narrow(self.model, writes)
        # Beside it runs the prompt as it is, which must come out as it was recorded.
        edits = flattened([list(writes)], -self.n_positions, self.model.device)
        again, twin.record = record_many(self.model, [self.ids, self.ids], self.record.kept, edits=edits)
        refuse_moved(self, again.streams[-1], slice(None))
        return twin

    @cached_property
    def unseen(self) -> list[Unseen]:
        """Words of the prompt that the model never saw in training, where it is known (``model.known_words``)."""
        known = self.model.known_words
        if known is None:
            return []
        tokens = [b"" if p in self.special else self.model.pieces.of(i) or b"" for p, i in enumerate(self.ids)]
        return unseen(tokens[: self.start], known)

    @property
    def notes(self) -> list[str]:
        """Remarks for the reader: that the model was built by hand, words that it never saw, a tokenizer that closes
        every text."""
        built = "" if self.model.built is None else self.model.built.note
        strange = f"{note}; a larger model reads any text: {LARGER('run.text')}" if (note := self.unseen_note) else ""
        closing = self.model.closing_note
        return [note for note in (built, strange, closing[:1].upper() + closing[1:]) if note]

    @property
    def unseen_note(self) -> str:
        """One sentence about the words that the model never saw; empty where it saw them all."""
        return unseen_note(self.model.name, [word for word, _ in self.unseen]) if self.unseen else ""

    @property
    def continuation(self) -> str:
        """The text from ``start`` on: what was generated."""
        return self.model.joined(self.ids[self.start :])

    def generate(self, n: int = 20, **options: Any) -> Run:
        """Let the model continue this prompt: see :meth:`.model.Model.generate`."""
        return self.model.generate(self, n, **options)

    @property
    def fresh(self) -> bool:
        """Whether the model is still the one that was recorded, as far as :mod:`.identity.stamp` sees."""
        return not self.model.changed(self._stamp)

    def check_fresh(self) -> None:
        """A record is read with the weights that made it, in float32, and experiments run that very model again.

        One operation looks once, and again at its end: see :mod:`.identity.steady`.

        Raises:
            ModelError: the model has changed since (what :mod:`.identity.stamp` cannot see, it does not refuse).
            NumberError: a setting of torch takes float32 away.
        """
        once(self, self._look)

    def _look(self) -> None:
        require_float32()
        if changed := self.model.changed(self._stamp):
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise ModelError(
                f"{self.model.name} has changed since this run ({named(changed[0])}{more}), "
                "so its numbers no longer belong together.",
                "Run the prompt again: model.run(run.ids).",
            )

    @property
    def n_positions(self) -> int:
        """Number of tokens."""
        return len(self.ids)

    def position(self, position: int) -> int:
        """``position`` counted from 0 (negative ones count from the end).

        Raises:
            PositionError: outside the prompt.
        """
        return counted(position, self.n_positions)

    def raw_logits(self, position: int = -1) -> tuple[Float[Tensor, "vocab"], Float[Tensor, "vocab"]]:
        """(before the soft cap, as printed), in the model's dtype, at one position.

        The model's own print where it was kept, else its final norm and unembedding called on the recorded
        stream.
        """
        precap, printed = self.logit_rows([self.position(position)])
        return precap[0], printed[0]

    def logit_rows(self, positions: Sequence[int]) -> tuple[Float[Tensor, "row vocab"], Float[Tensor, "row vocab"]]:
        """:meth:`raw_logits` at several positions, counted from 0. Ask for a few at a time: a row is a vocabulary."""
        rec = self.record
        kept = {p: (rec.precap[row], rec.logits[row]) for row, p in enumerate(rec.kept)}
        missing = [p for p in positions if p not in kept]
        if missing:
            self.check_fresh()
            # With one that was printed beside them: the norm and the unembedding are still those of the run.
            read = self.model.read_out(rec.streams[-1][[*missing, rec.kept[0]]])
            refuse_reread(self, read[1][-1], 0)
            kept |= {p: (read[0][i], read[1][i]) for i, p in enumerate(missing)}
        precap, printed = zip(*(kept[p] for p in positions), strict=True)
        return torch.stack(precap), torch.stack(printed)

    def logits(self, position: int = -1) -> Float[Tensor, "vocab"]:
        """Logits printed at ``position``, in the model's dtype."""
        return self.raw_logits(position)[1]

    def probabilities(self, position: int = -1) -> Float[Tensor, "vocab"]:
        """The model's probabilities of the next token after ``position`` (float32, sum to 1)."""
        # In float64 on the way: the float32 softmax is off by dozens of units in the last place on some processors.
        return self.logits(position).double().log_softmax(-1).exp().float()

    def top(self, k: int = 5, position: int = -1) -> Predictions:
        """The ``k`` likeliest next tokens after ``position``."""
        if (whole(k) or 0) < 1:
            raise AttribError(f"{k!r} is not a number of predictions.", "Give 1 or more.")
        logits, p = self.logits(position).float(), self.probabilities(position)
        best = logits.topk(min(k, logits.numel())).indices.tolist()
        return Predictions(Prediction(self.model.token(i), i, float(p[i]), float(logits[i])) for i in best)

    def __len__(self) -> int:
        return self.n_positions

    def __repr__(self) -> str:
        best = self.top(1)[0]
        shown = "|".join(visible(t) for t in self.tokens[-12:])
        more = "…|" if self.n_positions > 12 else ""
        return (
            f"Run of {self.model.name}: {more}{shown}  ({self.n_positions} tokens), "
            f"next {visible(best.text)} {percent(best.probability)}"
        ) + "".join(f"\n  {note}" for note in self.notes)


def counted(position: Any, n: int) -> int:
    """A position of a prompt of ``n`` tokens, counted from 0.

    Raises:
        PositionError: it is none, or outside the prompt.
    """
    number = whole(position)
    if number is None:
        raise PositionError(
            f"{position!r} is not a position.",
            "Count tokens from 0, or from the end with −1; attribute(...).by_position() explains all of them.",
        )
    if not -n <= number < n:
        raise PositionError(
            f"Position {number} is outside the prompt, which has {n} tokens.", f"Use 0 to {n - 1}, or −1 for the last."
        )
    return number % n
