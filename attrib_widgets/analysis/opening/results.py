"""Results that open one row of an attribution: by source token, by upstream part, by neuron, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...result import Result, Sum, Table, strongest, with_others
from ...words.components import Component
from ...words.errors import ComponentError, PositionError
from ...words.text import power, signed, visible

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
        return f"sum {signed(self.total, 4)} {self.unit}   {parent}   gap {power(self.gap)}"


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
        shown = strongest(self.values, 10)
        rows, bars = with_others(
            self.values, sorted(shown) if self.axis == "source" else shown, lambda i: [self._name(i)]
        )
        return Table(self.title, [self.axis, self.unit], rows, bars, self.note, self.footer())

    def _name(self, row: int) -> str:
        return visible(self.labels[row]) if self.kinds[row] == "token" else self.labels[row]

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
        return Contributions(
            f"What {self.head} carried from {token} (position {source}), by who wrote it there",
            [str(c) for c in self.components],
            kinds,
            self.values[source],
            f"{self.head} from {token}",
            float(self.source_values[source]),
            self.unit,
        )

    def summary(self) -> Table:
        flat = self.values.flatten()
        order = strongest(flat, 10)
        width = len(self.components)
        rows = [
            [visible(self.tokens[i // width]), str(self.components[i % width]), signed(float(flat[i]), 3)]
            for i in order
        ]
        bars: list[float | None] = [float(flat[i]) for i in order]
        return Table(
            f"Through {self.head}: source token and who wrote it",
            ["source", "component", self.unit],
            rows,
            bars,
            "",
            self.footer(),
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
    """One head's contribution worked out as a dot product, step by step.

    ``z`` (what the head gathered) times ``weight`` (its slice of W_O) is ``written``, a vector of the stream;
    ``direction`` is the target pulled back through the frozen norms; ``products`` multiplies the two number by
    number, and their sum is the contribution.
    """

    head: Component
    target: str
    z: Float[Tensor, "d_head"]
    weight: Float[Tensor, "d_head d_model"]
    written: Float[Tensor, "d_model"]
    direction: Float[Tensor, "d_model"]
    products: Float[Tensor, "d_model"]
    value: float
    unit: str

    @property
    def explained(self) -> float:
        """The head's contribution."""
        return self.value

    def terms(self) -> Float[Tensor, "d_model"]:
        """The products."""
        return self.products

    def summary(self) -> Table:
        factors = (self.written, self.direction)
        rows, bars = with_others(
            self.products,
            strongest(self.products, 6),
            lambda i: [str(i), *(signed(float(f[i]), 4) for f in factors)],
            digits=4,
        )
        length, other = float(self.written.norm()), float(self.direction.norm())
        cosine = self.total / (length * other) if length * other else 0.0
        note = (
            f"written = z [{len(self.z)}] @ W_O [{len(self.z)} x {len(self.written)}]: length {length:.3f}\n"
            f"direction of the {self.target}: length {other:.3f}, cosine with written {cosine:+.3f}"
        )
        footer = f"{length:.3f} x {other:.3f} x {signed(cosine, 3)} = {signed(self.total, 4)} {self.unit}"
        footer += f"   bar {signed(self.value, 4)}"
        return Table(
            f"{self.head}, worked out: written . direction",
            ["number", "written", "direction", "product"],
            rows,
            bars,
            note,
            footer,
        )

    def to_dataframe(self) -> pd.DataFrame:
        """One row per ``number`` of the stream: ``written``, ``direction``, ``product``."""
        import pandas as pd

        columns = {"written": self.written, "direction": self.direction, "product": self.products}
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
        def cell(entry: tuple[str, int, float]) -> str:
            return f"{visible(entry[0])} {signed(entry[2])}"

        rows = [[cell(a), cell(b)] for a, b in zip(self.promoted, self.suppressed, strict=True)]
        return Table(f"What {self.component} writes, in logits of the next token", ["promotes", "suppresses"], rows)

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``token``, ``id``, ``logits``, promoted first."""
        import pandas as pd

        return pd.DataFrame(self.promoted + self.suppressed, columns=["token", "id", "logits"])
