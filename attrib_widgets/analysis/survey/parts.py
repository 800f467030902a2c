"""One part on every prompt of a survey, and the leading parts of its groups side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...result import Result, Table, strongest
from ...words.components import Component, whole
from ...words.errors import AttribError, ComponentError
from ...words.text import digits_of, enumerated, number, share, signed
from .measures import same_sign
from .tested import SHORT

if TYPE_CHECKING:
    import pandas as pd

    from .result import Survey


#: What stands under every table of contributions.
OBSERVED = "Direct contributions: observed. What happens without a part is an experiment: survey.test(part)."


@dataclass(eq=False, repr=False)
class SurveyedPart(Result):
    """What one part writes to the answer of each prompt: ``survey["L3H5"]``.

    Attributes:
        values: one number a prompt, in logits, in the order of the survey's prompts.
    """

    survey: Survey
    component: Component
    values: Float[Tensor, "prompt"]

    def of(self, group: str = "") -> Float[Tensor, "prompt"]:
        """Its contributions to the prompts of one group."""
        return self.values[self.survey.group(group).numbers]

    def examples(
        self, group: str = "", which: Literal["largest", "deciles", "smallest"] = "largest", k: int = 10
    ) -> list[int]:
        """Numbers of prompts of a group by the part's contribution: the ``k`` largest, the ``k`` smallest (the least
        first), or one at every tenth of the way from the smallest to the largest.

        Raises:
            AttribError: there is no such group, another ``which``, or fewer than one asked for.
        """
        numbers = self.survey.group(group).numbers
        order = [numbers[i] for i in self.of(group).argsort(stable=True).tolist()]
        if which == "deciles":
            last = len(order) - 1
            return list(dict.fromkeys(order[int(last * tenth / 10 + 0.5)] for tenth in range(11)))
        if which not in ("largest", "smallest") or (whole(k) or 0) < 1:
            raise AttribError(
                f"There are no {k!r} {which!r} prompts.", 'Use "largest", "deciles" or "smallest", and 1 or more.'
            )
        return order[:k] if which == "smallest" else order[::-1][:k]

    def title(self) -> str:
        """Its mean in every group."""
        means = [float(self.of(name).double().mean()) for name in self.survey.groups]
        digits = digits_of(means)
        if len(means) == 1:
            return (
                f"{self.component} writes {signed(means[0], digits)} logits in the mean of {len(self.values)} prompts"
            )
        said = [f"{signed(m, digits)} in {name}" for m, name in zip(means, self.survey.groups, strict=True)]
        return f"{self.component} writes, in the mean: {', '.join(said)}"

    def summary(self) -> Table:
        rows: list[list[str]] = []
        bars: list[float | None] = []
        tested = self.component in self.survey.parts
        row = self.survey.parts.index(self.component) if tested else 0
        digits = digits_of(float(self.of(name).double().mean()) for name in self.survey.groups)
        for name, group in self.survey.groups.items():
            values = self.of(name).double()
            mean, middle = float(values.mean()), float(values.quantile(0.5))
            alike = float(same_sign(values))
            p = f"{float(group.p[row]):.3f}" if tested and group.specific is not None else ""
            spread = number(float(values.std()), digits)
            rows.append([name, str(len(group)), share(alike), spread, signed(middle, digits), p, signed(mean, digits)])
            bars.append(mean)
        columns = ["group", "prompts", "same sign", "spread", "median", "p", "mean, logits"]
        if not tested:
            note = "A correction of the sum: it is not held against the other parts."
        elif any(group.specific is not None for group in self.survey.groups.values()):
            note = f"p of being specific, over the best of all {len(self.survey.parts)} parts."
        else:
            note = "Specific is not asked: each group has one answer."
        note += f"\n{OBSERVED}"
        note += "".join(
            f"\nTested in {test.group}, {SHORT[test.method]}: {test.said()}."
            for (part, _), test in self.survey.tests.items()
            if part == str(self.component)
        )
        return Table(self.title(), columns, rows, bars, note)

    def to_dataframe(self) -> pd.DataFrame:
        """One row per prompt: ``prompt`` (its number), ``group``, ``text``, ``answer`` and ``value``."""
        frame = self.survey.to_dataframe(per="prompt")
        frame = frame[frame["component"] == str(self.component)]
        return frame.drop(columns="component").reset_index(drop=True)


def columns_of(parts: list[Component]) -> list[str]:
    """Names of the columns of a map of layers: heads by number, then what is no head."""
    heads = sorted({part.index for part in parts if part.kind == "head" and part.index is not None})
    names = {"mlp": "MLP", "attn": "attn", "laurel": "laurel", "beside": "beside", "layer": "layer"}
    return [*(f"H{h}" for h in heads), *(name for kind, name in names.items() if any(p.kind == kind for p in parts))]


def column_of(part: Component) -> str:
    """The name of the column that a part stands in."""
    return f"H{part.index}" if part.kind == "head" else "MLP" if part.kind == "mlp" else part.kind


def part_of(survey: Survey, wanted: Component) -> SurveyedPart:
    """One row of a survey on every prompt."""
    return SurveyedPart(survey, wanted, survey.values[:, survey.components.index(wanted)])


@dataclass(eq=False, repr=False)
class ByGroup(Result):
    """The parts that write most in each group, side by side: ``survey.by_group()``.

    Attributes:
        top: the leading parts of each group, by the magnitude of their means; kind: which kind was looked at.
        overlap: what two groups share of them: common parts over all parts of both (Jaccard 1912); 1 on the diagonal.
    """

    survey: Survey
    kind: str | None
    top: dict[str, list[Component]]
    overlap: Float[Tensor, "group group"]

    @property
    def components(self) -> list[Component]:
        """All that lead in a group, in model order."""
        found = {c for row in self.top.values() for c in row}
        return [c for c in self.survey.parts if c in found]

    @property
    def values(self) -> Float[Tensor, "component group"]:
        """The means of these parts in every group."""
        rows = [self.survey.parts.index(c) for c in self.components]
        return torch.stack([g.mean[rows] for g in self.survey.groups.values()], -1)

    def title(self) -> str:
        """Which parts lead in which group."""
        return "; ".join(f"{name}: {enumerated([str(c) for c in row])}" for name, row in self.top.items())

    def summary(self) -> Table:
        names = list(self.top)
        digits = digits_of(self.values.flatten().tolist())
        leads = [[name for name in names if c in self.top[name]] for c in self.components]
        rows = [
            [str(c), enumerated(lead), *(signed(float(v), digits) for v in row)]
            for c, lead, row in zip(self.components, leads, self.values, strict=True)
        ]
        shared = []
        for i, name in enumerate(names):
            for j in range(i + 1, len(names)):
                common = [str(c) for c in self.top[name] if c in self.top[names[j]]]
                which = f" ({enumerated(common)})" if common else ""
                of = len({*self.top[name], *self.top[names[j]]})
                shared.append(f"{name} and {names[j]} share {len(common)} of {of}{which}")
        most = max(map(len, self.top.values()))
        note = f"The mean, in logits; leads in: one of the {most} largest there, which can be small. {OBSERVED}"
        return Table(self.title(), ["component", "leads in", *names], rows, note=note, footer="\n".join(shared))

    def to_dataframe(self) -> pd.DataFrame:
        """One row per group and part that leads somewhere: ``group``, ``component``, ``leads``, ``mean``, ``specific``
        and ``p_specific``."""
        frame = self.survey.to_dataframe()
        frame = frame[frame["component"].isin([str(c) for c in self.components])].copy()
        leads = {(name, str(c)) for name, row in self.top.items() for c in row}
        frame["leads"] = [both in leads for both in zip(frame["group"], frame["component"], strict=True)]
        return frame[["group", "component", "leads", "mean", "specific", "p_specific"]].reset_index(drop=True)


def by_group(survey: Survey, k: int, kind: str | None) -> ByGroup:
    """The leading parts of every group.

    Raises:
        ComponentError: no parts of that kind, or fewer than one asked for.
    """
    kinds = sorted({c.kind for c in survey.parts})
    if kind is not None and kind not in kinds:
        raise ComponentError(f"There are no parts of kind {kind!r}.", f"The kinds are {', '.join(kinds)}.")
    if (whole(k) or 0) < 1:
        raise ComponentError(f"{k!r} is not a number of parts.", "Give 1 or more.")
    rows = [i for i, c in enumerate(survey.parts) if kind in (None, c.kind)]
    top = {
        name: [survey.parts[rows[i]] for i in strongest(group.mean[rows], k)] for name, group in survey.groups.items()
    }
    sets = [set(row) for row in top.values()]
    overlap = torch.tensor([[len(a & b) / len(a | b) for b in sets] for a in sets])
    return ByGroup(survey, kind, top, overlap)
