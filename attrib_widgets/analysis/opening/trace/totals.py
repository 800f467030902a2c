"""What each token of the prompt put into a number, whatever the way: the walk back with nothing left out.

With attention patterns, the scales of norms and the gates of MLPs held as they were, the network is linear, and the
number is the sum of what every position's embedding put into it, plus what biases put in. One forward pass records the
gates, and one backward pass, layer by layer, gives all totals: they are the limit of :mod:`.trace` when no row is
pruned. The map is the one that Golden 2025 (arXiv 2505.24293, "Large Language Models Are Locally Linear Mappings")
calls the detached Jacobian. How patterns and gates came about is not part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.identity.steady import during, steady
from ....result import Sum, Table, shown
from ....words.components import Component, ComponentLike, component, whole
from ....words.errors import AttribError, ComponentError
from ....words.text import digits_of, number, signed, visible
from .backwards import Opened as Opened
from .backwards import Walk
from .several import SeveralWalk
from .step import recorded_mlps

if TYPE_CHECKING:
    import pandas as pd

    from ...attribution.attribution import Attribution

MLPs = Literal["stop", "frozen"]
#: What is held, and what becomes of MLPs.
HELD: Mapping[MLPs, str] = {
    "stop": "attention and norms held, MLPs whole where they wrote",
    "frozen": "attention, norms and the gates of MLPs held",
}


@dataclass(eq=False, repr=False)
class TokenTotals(Sum):
    """Exact totals of a held network. Made by :meth:`Attribution.token_totals`.

    Attributes:
        attribution: what was walked back from.
        parts: where the walk ends: ``embed``, ``pos`` (learned positions), and what is not opened on the way (MLPs that
            stop, mixtures of experts, whole layers).
        values: what each of them put into the number, by the position where it wrote.
        constants: what nothing in the prompt wrote: biases, corrections, and the measured rounding.
        mlps: ``"frozen"`` or ``"stop"``; notes: remarks for the reader.
    """

    attribution: Attribution
    parts: list[Component]
    values: Float[Tensor, "position part"]
    constants: list[tuple[Component, float]]
    mlps: MLPs
    notes: list[str] = field(default_factory=list)

    @property
    def unit(self) -> str:
        """Unit of the target."""
        return self.attribution.unit

    @property
    def explained(self) -> float:
        """The model's own number."""
        return self.attribution.actual

    @property
    def positions(self) -> Float[Tensor, "position"]:
        """The total of every position."""
        return self.values.double().sum(-1).float()

    def terms(self) -> Float[Tensor, "term"]:
        """Everything that is summed: all values and all constants."""
        fixed = torch.tensor([v for _, v in self.constants], dtype=torch.float64)
        return torch.cat([self.values.double().flatten(), fixed])

    def __getitem__(self, which: int | ComponentLike) -> float:
        """The total of a position (an int), or of a part at all positions, or a constant by its name."""
        if isinstance(which, int) or whole(which) is not None:
            return float(self.positions[self.attribution.run.position(which)])  # type: ignore[arg-type]
        wanted, fixed = component(which), dict(self.constants)
        if wanted in self.parts:
            return float(self.values[:, self.parts.index(wanted)].double().sum())
        if wanted not in fixed:
            names = ", ".join(map(str, [*self.parts, *fixed]))
            raise ComponentError(f"{wanted} is opened here, or not part of it.", f"Ends are {names}.")
        return fixed[wanted]

    @property
    def opened(self) -> bool:
        """Whether the walk ends at the tokens alone, so that a total is of its token; what a part that is not opened
        wrote counts at the position where it wrote it."""
        return all(c.is_embedding for c in self.parts)

    def leading(self) -> int:
        """The position with the largest total by size."""
        return int(self.positions.abs().argmax())

    def title(self) -> str:
        """The finding in one line: the token that carries most, and of what."""
        a, most = self.attribution, self.leading()
        token, value = visible(a.run.tokens[most]), signed(float(self.positions[most]))
        who = f"{token} carries {value}" if self.opened else f"What was written at {token} holds {value}"
        of = " ".join([number(a.actual), *([a.unit] if a.unit in ("logits", "nats") else [])])
        return f"{who} of {of}, the {a.target.words(a.model, a.run)}"

    def closing(self) -> str:
        """What positions and constants sum to, what was held, and what was not opened."""
        digits, fixed = digits_of(self.positions.tolist()), sum(v for _, v in self.constants)
        words = signed(float(self.positions.double().sum()), digits)
        unit = f", in {self.unit}" if self.unit in ("logits", "nats") else ""
        sums = (
            f"Observed{unit}, with {HELD[self.mlps]}: what was put in at these positions ({words}) and constants "
            f"({signed(fixed, digits)}: biases, rounding) sum to {number(self.total, digits)}; "
            f"the model’s own number is {number(self.explained, digits)}."
        )
        return " ".join([sums, *(f"{note.rstrip('.')}." for note in self.notes)])

    def summary(self) -> Table:
        total, tokens = self.positions, self.attribution.run.tokens
        order = sorted(shown(total, 10))
        digits = digits_of(total.tolist())
        rows = [[str(p), visible(tokens[p]), signed(float(total[p]), digits)] for p in order]
        bars: list[float | None] = [float(total[p]) for p in order]
        rest = sum(float(v) for p, v in enumerate(total) if p not in order)
        if len(order) < len(total):
            rows.append(["", f"{len(total) - len(order)} other tokens", signed(rest, digits)])
            bars.append(rest)
        fixed = sum(v for _, v in self.constants)
        rows.append(["", "constants: biases, rounding", signed(fixed, digits)])
        bars.append(fixed)
        note = [*self.notes, f"By all paths, {HELD[self.mlps]}: exact for this prompt, observed, not yet tested."]
        columns = ["position", "token", self.unit]
        return Table(self.title(), columns, rows, bars, "\n".join(note), "   ".join(self.checks()))

    def to_dataframe(self) -> pd.DataFrame:
        """One row per position and part, then one per constant: ``position``, ``token``, ``component``, ``value``."""
        import pandas as pd

        rows: list[tuple[int | None, str | None, str, float]] = []
        for p, token in enumerate(self.attribution.run.tokens):
            rows += [(p, token, str(c), float(v)) for c, v in zip(self.parts, self.values[p], strict=True)]
        rows += [(None, None, str(c), v) for c, v in self.constants]
        frame = pd.DataFrame(rows, columns=["position", "token", "component", "value"])
        return frame.astype({"position": "Int64"})


def way(mlps: Any) -> MLPs:
    """``mlps`` as a way to treat MLPs.

    Raises:
        AttribError: it is none.
    """
    if mlps not in get_args(MLPs):
        raise AttribError(f"{mlps!r} is not a way to treat MLPs.", 'Use mlps="stop" or mlps="frozen".')
    found: MLPs = mlps
    return found


def opened_mlps(a: Attribution, mlps: MLPs) -> Opened:
    """The MLPs below the read point that are opened, and why others are not. ``"frozen"`` costs one forward pass."""
    below = range(a.reading.point.mlps) if mlps == "frozen" else ()
    return recorded_mlps(a.run, [layer for layer in below if a.model.level(layer).sublayers])


@steady()
@torch.no_grad()
def token_totals(a: Attribution, mlps: MLPs = "frozen", opened: Opened | None = None) -> TokenTotals:
    """See :meth:`Attribution.token_totals`; ``opened`` is what :func:`opened_mlps` gave, if at hand."""

    def walked() -> TokenTotals:
        how, (recorded, missing) = way(mlps), opened or opened_mlps(a, mlps)
        walk = Walk if a.model.n_streams == 1 else SeveralWalk
        notes = list(dict.fromkeys(f"Not opened: {reason}" for reason in missing.values()))
        return TokenTotals(a, *walk(a, (recorded, missing)).back(), how, notes)

    return during(a, ("token totals", mlps), walked)
