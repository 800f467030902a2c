"""What the experiments of a verification found: one component at a time, and all of them together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ...result import Result, Table
from ...words.components import Component, ComponentLike, component
from ...words.errors import AttribError, ComponentError
from ...words.text import number, signed
from ..attribution.attribution import Attribution
from ..experiments.pairs import Cost, Direction
from ..experiments.patching import Patching
from .regions import Thresholds, Verdict

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Finding:
    """One tested component: its three numbers, the verdict and its evidence.

    ``lists`` says where it came from: ``"direct"``, ``"total"`` or both. ``alternatives`` are the other verdicts that
    its intervals reach: borderline when there are any. ``backups`` are the parts that rise when it is ablated, with
    what they add; ``erasers`` those of them that work against it while it is there, and only stop. ``confirmed``:
    whether it matters once they are out too, ``unbacked`` its damage then. ``rescaled`` is what the final norm gives
    back (a share of the gap).
    """

    component: Component
    direct: float
    necessity: float
    sufficiency: float
    verdict: Verdict
    lists: tuple[str, ...]
    alternatives: tuple[Verdict, ...] = ()
    backups: list[tuple[Component, float]] = field(default_factory=list)
    confirmed: bool | None = None
    unbacked: float | None = None
    erasers: list[Component] = field(default_factory=list)
    rescaled: float | None = None

    @property
    def borderline(self) -> bool:
        """Whether its interval touches a border."""
        return bool(self.alternatives)

    @property
    def evidence(self) -> str:
        """What stands behind the verdict, in words."""
        said = []
        if self.backups:
            names = ", ".join(
                f"{c} {signed(v)}" + (" (erases less)" if c in self.erasers else "") for c, v in self.backups
            )
            said.append(f"rises: {names}")
        if self.unbacked is not None:
            state = "confirmed" if self.confirmed else "not confirmed"
            said.append(f"{state}: damage {number(self.unbacked)} once they are out")
        if self.rescaled is not None and abs(self.rescaled) >= 0.05:
            said.append(f"rescaling by the final norm gives back {number(100 * self.rescaled, 0)} % of the gap")
        return "; ".join(said)

    def __str__(self) -> str:
        word = self.verdict.word + (f" (borderline: {self.alternatives[0].word})" if self.borderline else "")
        return f"{self.component}: {word}: {self.verdict.plain}"


@dataclass(eq=False, repr=False)
class Verification(Result):
    """The verdicts, the largest effects first. ``effects`` are all total effects that were computed on the way."""

    attributions: list[Attribution]
    findings: list[Finding]
    thresholds: Thresholds
    effects: dict[Direction, Patching]
    gap: float
    pairs: int
    cost: Cost
    complete: bool
    notes: list[str]

    def __getitem__(self, which: ComponentLike) -> Finding:
        wanted = component(which)
        for found in self.findings:
            if found.component == wanted:
                return found
        raise ComponentError(f"{wanted} was not among the candidates.", "Raise top=, or name it in components=.")

    @property
    def labels(self) -> list[str]:
        """Names of the tested components."""
        return [str(f.component) for f in self.findings]

    def joined(self, earlier: Verification) -> Verification:
        """These verdicts, and those of an ``earlier`` verification of the same question on other components.

        Raises:
            AttribError: other thresholds, another question or other pairs.
        """
        same = [a is b for a, b in zip(self.attributions, earlier.attributions, strict=False)]
        if not all(same) or (self.pairs, self.thresholds, self.gap) != (earlier.pairs, earlier.thresholds, earlier.gap):
            raise AttribError("These verdicts answer different questions.", "Join those of one attribution and pair.")
        cost = Cost()
        for one in (earlier, self):
            cost.include(one.cost)
        kept = [f for f in earlier.findings if f.component not in {g.component for g in self.findings}]
        findings = sorted([*self.findings, *kept], key=size_of)
        notes = list(dict.fromkeys([*earlier.notes, *self.notes]))
        widest = max((earlier, self), key=lambda v: len(v.effects["noise"].cells)).effects
        complete = self.complete and earlier.complete
        return replace(self, findings=findings, effects=widest, cost=cost, complete=complete, notes=notes)

    def title(self) -> str:
        """The finding in one line."""
        if not self.findings:
            return "Nothing was tested"
        needed = [f for f in self.findings if f.verdict in (Verdict.SOLE_PATH, Verdict.SOLE_PATH_AND_MEDIATES)]
        redundant = [f for f in self.findings if f.verdict is Verdict.REDUNDANT]
        mediators = [f for f in self.findings if f.verdict is Verdict.MEDIATOR]
        parts = [
            f"{len(found)} {word}: {', '.join(str(f.component) for f in found[:3])}"
            for word, found in (("needed", needed), ("redundant", redundant), ("mediating", mediators))
            if found
        ]
        return "; ".join(parts) or f"{self.findings[0]}"

    def summary(self) -> Table:
        rows, bars = [], []
        for f in self.findings[:12]:
            word = f.verdict.word + (" (borderline)" if f.borderline else "")
            rows.append(
                [str(f.component), signed(f.direct), signed(f.necessity), signed(f.sufficiency), word, f.verdict.plain]
            )
            bars.append(f.necessity)
        note = [f"n = {self.pairs}" + (" pair of prompts" if self.pairs == 1 else " pairs"), str(self.thresholds)]
        evidence = [f"{f.component}: {f.evidence}" for f in self.findings[:12] if f.evidence]
        footer = "\n".join([*evidence, f"gap {number(self.gap)} {self.attributions[0].unit}; {self.cost}"])
        columns = ["component", "direct", "damage", "recovery", "verdict", ""]
        return Table(self.title(), columns, rows, list(bars), "\n".join([*note, *self.notes]), footer)

    def to_dataframe(self) -> pd.DataFrame:
        """One row per tested component."""
        import pandas as pd

        return pd.DataFrame(
            {
                "component": self.labels,
                "direct": [f.direct for f in self.findings],
                "damage": [f.necessity for f in self.findings],
                "recovery": [f.sufficiency for f in self.findings],
                "verdict": [f.verdict.word for f in self.findings],
                "borderline": [f.borderline for f in self.findings],
                "from": [" and ".join(f.lists) for f in self.findings],
                "evidence": [f.evidence for f in self.findings],
            }
        )


def size_of(finding: Finding) -> float:
    """Sorts the largest effects first."""
    return -max(abs(finding.direct), abs(finding.necessity), abs(finding.sufficiency))
