"""Results that open one row of an attribution: by source token, by upstream part, by neuron, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...result import Result, Sum, Table, shown, strongest, with_others
from ...words.components import Component
from ...words.errors import ComponentError, PositionError
from ...words.text import digits_of, placed, power, signed, visible

if TYPE_CHECKING:
    import pandas as pd


class Split(Sum):
    """One row of an attribution opened: rows that sum to it."""

    parent: str
    parent_value: float
    unit: str

    @property
    def explained(self) -> float:
        """The number that was split."""
        return self.parent_value

    def footer(self) -> str:
        """The line under the table: what the rows sum to, beside the number they split."""
        parent = f"{self.parent} {signed(self.parent_value, 4)}"
        return f"sum {signed(self.total, 4)} {self.unit}   {parent}   mismatch {power(self.mismatch)}"


#: What every contribution says of itself.
OBSERVED = "Observed, not yet tested."
#: Tokens of either sign in the table of what a part writes.
TOKENS = 6


@dataclass(eq=False, repr=False)
class Contributions(Split):
    """Signed rows that sum to one parent number.

    ``kinds`` tells what each row is: ``"token"``, ``"component"``, ``"neuron"``, ``"feature"``,
    ``"bias"``, ``"error"`` or ``"rounding"``.
    """

    title: str
    labels: list[str]
    kinds: list[str]
    values: Float[Tensor, "row"]
    parent: str
    parent_value: float
    unit: str
    axis: str = "component"
    note: str = ""

    def __getitem__(self, row: int | str) -> float:
        if not isinstance(row, str):
            return float(self.values[row])
        if self.labels.count(row) != 1:
            found = f"{self.labels.count(row)} rows are" if row in self.labels else "No row is"
            raise ComponentError(f"{found} called {row!r}.", f"Use the row's number; the names are {self.labels[:8]} …")
        return float(self.values[self.labels.index(row)])

    def __len__(self) -> int:
        return len(self.labels)

    def top(self, k: int = 10) -> list[tuple[str, float]]:
        """The ``k`` largest rows by magnitude, with their signs."""
        return [(self.labels[i], float(self.values[i])) for i in strongest(self.values, k)]

    def summary(self) -> Table:
        order = shown(self.values, 10)
        order = sorted(order) if self.axis == "source" else order
        names = self._names()
        rows, bars = with_others(self.values, order, lambda i: [names[i]])
        note, last = self.note or OBSERVED, len(rows) - len(order)
        return Table(self.title, [self.axis, self.unit], rows, bars, note, self.footer(), last=last)

    def _names(self) -> list[str]:
        """Labels as they are printed: of sources, a token that stands there twice has its position."""
        tokens = [row for row, kind in enumerate(self.kinds) if kind == "token"]
        said = [self.labels[row] for row in tokens]
        told = dict(zip(tokens, placed(said) if self.axis == "source" else map(visible, said), strict=True))
        return [told.get(row, label) for row, label in enumerate(self.labels)]

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``row`` (position in this result), ``label``, ``kind``, ``value``."""
        import pandas as pd

        return pd.DataFrame(
            {"row": range(len(self.labels)), "label": self.labels, "kind": self.kinds, "value": self.values.numpy()}
        )


@dataclass(eq=False, repr=False)
class Through(Split):
    """A head's contribution split over source token and upstream part, pattern and norms frozen.

    ``values[source, component].sum() + value_bias + rounding`` is the head's contribution; components end with
    ``norm.bias`` (what the head's input norm adds by itself) and ``rounding`` (of what was read). The scalar
    ``rounding`` is that of pattern times values: 0 in float32.
    """

    head: Component
    tokens: list[str]
    components: list[Component]
    values: Float[Tensor, "source component"]
    value_bias: float
    rounding: float
    parent_value: float
    source_values: Float[Tensor, "source"]
    unit: str

    @property
    def parent(self) -> str:  # type: ignore[override]
        """The head."""
        return str(self.head)

    def terms(self) -> Float[Tensor, "term"]:
        """Everything that is summed, the value bias included."""
        constants = torch.tensor([self.value_bias, self.rounding], dtype=torch.float64)
        return torch.cat([self.values.double().flatten(), constants])

    def at(self, source: int) -> Contributions:
        """What the upstream parts had written at one source position, as carried by this head.

        Raises:
            PositionError: outside the prompt.
        """
        if not -len(self.tokens) <= source < len(self.tokens):
            raise PositionError(f"Source {source} is outside the prompt of {len(self.tokens)} tokens.")
        source %= len(self.tokens)
        kinds = [
            "bias" if c.kind == "norm.bias" else "rounding" if c.kind == "rounding" else "component"
            for c in self.components
        ]
        token = visible(self.tokens[source])
        found = Contributions(
            f"What {self.head} carried from {token} (position {source}), by who wrote it there",
            [str(c) for c in self.components],
            kinds,
            self.values[source],
            f"{self.head} from {token}",
            float(self.source_values[source]),
            self.unit,
        )
        found._part_kinds = self._part_kinds
        return found

    def summary(self) -> Table:
        flat = self.values.flatten()
        digits = digits_of(flat.tolist())
        order = shown(flat, 10)
        width, tokens = len(self.components), placed(self.tokens)
        rows, bars = with_others(flat, order, lambda i: [tokens[i // width], str(self.components[i % width])], digits)
        source, component, most = *rows[0][:2], float(flat[order[0]])
        return Table(
            f"What {component} wrote at {source} leads through {self.head}: {signed(most)} of "
            f"{signed(self.parent_value)} {self.unit}",
            ["source", "component", self.unit],
            rows,
            bars,
            f"By source token and who wrote it there, attention and norms held. {OBSERVED}",
            self.footer(),
            last=len(rows) - len(order),
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``source`` (position), ``token``, ``component``, ``value``."""
        import pandas as pd

        n, m = self.values.shape
        return pd.DataFrame(
            {
                "source": [s for s in range(n) for _ in range(m)],
                "token": [t for t in self.tokens for _ in range(m)],
                "component": [str(c) for c in self.components] * n,
                "value": self.values.flatten().numpy(),
            }
        )


@dataclass(eq=False, repr=False)
class Worked(Sum):
    """One row worked out as a dot product, number by number of the stream.

    ``written`` is what the part added to the stream at the position that is read; divided by ``divisor``, which is the
    norm's of this run, and multiplied with ``unembedding``, the direction of what is asked (the norm's gain folded in),
    it gives ``products``, and their sum is the row. For a head ``written`` is ``z`` (what it gathered) times ``weight``
    (its slice of W_O), and then through the norm behind its attention where there is one (not ``plain``).
    """

    component: Component
    target: str
    written: Float[Tensor, "d_model"]
    divisor: float
    unembedding: Float[Tensor, "d_model"]
    value: float
    unit: str
    z: Float[Tensor, "d_head"] | None = None
    weight: Float[Tensor, "d_head d_model"] | None = None
    plain: bool = True
    divided_by: str = ""

    @property
    def direction(self) -> Float[Tensor, "d_model"]:
        """The direction of what is asked in the stream as it stands: ``unembedding / divisor``."""
        return self.unembedding / self.divisor

    @property
    def products(self) -> Float[Tensor, "d_model"]:
        """What every number of the stream gives."""
        return (self.written.double() / self.divisor * self.unembedding.double()).float()

    @property
    def explained(self) -> float:
        """The row of the attribution."""
        return self.value

    def terms(self) -> Float[Tensor, "d_model"]:
        """The products."""
        return self.products

    def summary(self) -> Table:
        scaled, across = self.written / self.divisor, self.unembedding
        order = strongest(self.products, 6)
        columns = ["number", "writes"]
        factors = [self.written]
        if self.divided_by:
            columns.append("\u00f7 norm")
            factors.append(scaled)
        rows, bars = with_others(
            self.products,
            order,
            lambda i: [str(i), *(signed(float(f[i]), 4) for f in (*factors, across))],
            digits=4,
        )
        length, other = float(scaled.norm()), float(across.norm())
        cosine = self.total / (length * other) if length * other else 0.0
        note = [f"writes: {self._origin()}"]
        if self.divided_by:
            note.append(f"\u00f7 norm: {self.divisor:.4g}, what {self.divided_by} divided by in this run")
        note.append(
            f"direction: that of the {self.target}{', the gain of the norm folded in' if self.divided_by else ''}"
        )
        footer = (
            f"length {length:.3f} \u00d7 length {other:.3f} \u00d7 cosine {signed(cosine, 3)} = "
            f"{signed(self.total, 4)} {self.unit}"
        )
        return Table(
            f"{self.component} worked out: {len(across)} products that sum to {signed(self.value)}",
            [*columns, "\u00d7 direction", "product"],
            rows,
            bars,
            "\n".join(note),
            f"{footer}\nsum of all {len(across)} {signed(self.total, 4)}   bar {signed(self.value, 4)}",
            last=len(rows) - len(order),
        )

    def _origin(self) -> str:
        size = len(self.written)
        if self.z is None:
            return f"the {size} numbers that {self.component} added to the stream"
        behind = "" if self.plain else ", through what follows the attention"
        return f"z [{len(self.z)}] @ W_O [{len(self.z)} x {size}]{behind}, added to the stream"

    def to_dataframe(self) -> pd.DataFrame:
        """One row per ``number`` of the stream: ``written``, ``scaled``, ``direction``, ``product``; ``scaled`` is what
        is written divided by the norm's divisor."""
        import pandas as pd

        columns = {
            "written": self.written,
            "scaled": self.written / self.divisor,
            "direction": self.unembedding,
            "product": self.products,
        }
        return pd.DataFrame({"number": range(len(self.written)), **{name: v.numpy() for name, v in columns.items()}})


@dataclass(eq=False, repr=False)
class Writes(Result):
    """What a component adds to the logit of every token of the vocabulary, through the frozen final norm.

    ``promoted`` and ``suppressed`` list (token text, id, logits), the strongest first.
    """

    component: Component
    promoted: list[tuple[str, int, float]]
    suppressed: list[tuple[str, int, float]]
    logits: Float[Tensor, "vocab"] = field(default_factory=lambda: torch.empty(0))

    def summary(self) -> Table:
        entries = [*self.promoted[:TOKENS], *self.suppressed[:TOKENS][::-1]]
        rows = [[visible(text), signed(value, 3)] for text, _, value in entries]
        raised, lowered = (f"{visible(e[0])} most ({signed(e[2])})" for e in (self.promoted[0], self.suppressed[0]))
        return Table(
            f"{self.component} raises {raised} and lowers {lowered}",
            ["token", "logits"],
            rows,
            [value for _, _, value in entries],
            f"What it adds to the logits of the next token, the final norm held. {OBSERVED}",
            f"the {len(entries)} largest of the vocabulary",
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``token``, ``id``, ``logits``, promoted first."""
        import pandas as pd

        return pd.DataFrame(self.promoted + self.suppressed, columns=["token", "id", "logits"])
