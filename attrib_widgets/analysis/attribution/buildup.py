"""How an answer builds up through depth: the contributions of an attribution, summed in the order of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...result import Result, Table, strongest
from ...words.components import BESIDES, Component
from ...words.text import digits_of, number, others_label, signed

if TYPE_CHECKING:
    import pandas as pd

    from .attribution import Attribution

TABLE_ROWS = 10


@dataclass(eq=False, repr=False)
class Buildup(Result):
    """The explained number after every sublayer. Made by :meth:`.attribution.Attribution.buildup`.

    Every stream is read along the same direction, with the scale that the final norm really had: the value after a
    layer is the sum of the contributions so far, each as it arrives at the end where a model multiplies its stream on
    the way. (The logit lens recomputes the scale for every row instead; the two
    agree at the end only.) Where attention and MLP run in parallel, the value after an attention is a partial sum,
    not a stream of the model. The constants follow the last layer, so that the last value is the model's number.

    Attributes:
        steps: ``"embed"`` (positions included), ``"L0.attn"``, ``"L0.mlp"``, ... (``"L0"`` where only whole layers are
            exact), then each constant by its name.
        added: what each step added; values: the running sum, both in the target's unit.
        depth: how many of the steps are streams; the others are constants.
    """

    attribution: Attribution
    steps: list[str]
    added: Float[Tensor, "step"]
    values: Float[Tensor, "step"]
    depth: int

    @property
    def unit(self) -> str:
        """``"logits"``, ``"nats"``, ``"score"`` or ``"pre-activation"``."""
        return self.attribution.unit

    @property
    def constants(self) -> dict[str, float]:
        """What the last layer did not write: biases of the read point, a soft cap, entropy, rounding."""
        return dict(zip(self.steps[self.depth :], self.added[self.depth :].tolist(), strict=True))

    @property
    def layers(self) -> Float[Tensor, "layer"]:
        """The value before layer 0 and after every layer: the rows of the logit lens, read along one direction."""
        of = [step.partition(".")[0] for step in self.steps[: self.depth]]
        return self.values[[i for i, layer in enumerate(of) if layer not in of[i + 1 :]]]

    def title(self) -> str:
        """The finding in one line."""
        a, written = self.attribution, self.added[: self.depth]
        most = int(written.abs().argmax())
        before = float(self.values[most] - self.added[most])
        return (
            f"{self.steps[most]} moves the {a.target.words(a.model, a.run)} most: {number(before)} \u2192 "
            f"{number(float(self.values[most]))} {self.unit}, of {number(a.actual)} in the end"
        )

    def summary(self) -> Table:
        keep, digits = set(strongest(self.added, TABLE_ROWS)), digits_of(self.added.tolist())
        # Smaller steps are one row where they stand: behind every row the sum is that of all before it.
        told: list[list[int]] = []
        for i in range(len(self.steps)):
            if i in keep or not told or told[-1][-1] in keep:
                told.append([i])
            else:
                told[-1].append(i)
        bars: list[float | None] = [float(self.added[some].double().sum()) for some in told]
        rows = [
            [
                self.steps[some[0]] if len(some) == 1 else others_label(len(some)),
                signed(float(self.added[some].double().sum()), digits),
                number(float(self.values[some[-1]]), digits),
            ]
            for some in told
        ]
        a = self.attribution
        footer = f"ends at {number(float(self.values[-1]), 4)}   model {number(a.actual, 4)}"
        note = "One direction throughout, the scale of its norm held: sums of contributions."
        return Table(self.title(), ["after", "added", f"{self.unit} so far"], rows, bars, note, footer)

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``step``, ``constant``, ``added``, ``value``, in model order."""
        import pandas as pd

        constant = [i >= self.depth for i in range(len(self.steps))]
        return pd.DataFrame(
            {"step": self.steps, "constant": constant, "added": self.added.numpy(), "value": self.values.numpy()}
        )


def buildup(a: Attribution) -> Buildup:
    """See :meth:`Attribution.buildup`."""
    sums: dict[str, float] = {}
    written: dict[str, None] = {}
    for c, value in zip(a.components, a.values.double().tolist(), strict=True):
        step = step_of(c)
        sums[step] = sums.get(step, 0.0) + value
        if c.layer is not None or step == "embed":
            written[step] = None
    steps = [*written, *(s for s in sums if s not in written)]
    added = torch.tensor([sums[s] for s in steps], dtype=torch.float64)
    return Buildup(a, steps, added.float(), added.cumsum(0).float(), len(written))


def step_of(c: Component) -> str:
    """The step to which a row belongs."""
    if c.is_embedding:
        return "embed"
    if c.layer is None or c.kind in ("layer", *BESIDES):
        return str(c)
    return f"L{c.layer}.{'attn' if c.is_attention else 'mlp'}"
