"""What every head of a model is called, and how far each measure of each role reaches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...result import Result, Table
from ...words.components import Component, ComponentLike, component, head
from ...words.errors import AttribError, ComponentError
from ...words.text import enumerated, number, others_label
from .definitions import CIRCUIT, MEASURES, ROLES, TASK, Measure, Role

if TYPE_CHECKING:
    import pandas as pd

    from ...model.model import Model
    from .contexts import HeadContexts
    from .patterns import Score
    from .probes import Probes

#: Heads of a role that a line names.
NAMED = 6
#: What a head without a role is said to have.
NONE = "no head"


@dataclass(eq=False, repr=False)
class Roles(Result):
    """The roles of the heads of one model, measured on pinned probes.

    A head is called a role where every measure of it reaches its threshold and stands above the 99th percentile of
    what the best of all heads reaches by chance. A role is what the head does on the probes: observed, no experiment,
    but for the two roles in a task, which are measured by path patching.

    Attributes:
        roles: those that were measured.
        scores: every measure by its key, on the probes; own: the pattern roles on prompts of one's own.
        probes: what was measured on; read_as: as what weights alone read a token, and why.
        asked: what the roles in a task were measured on; "" where they were not.
        draws: of every null; seed: what drew probes and nulls.
    """

    model: Model
    name: str
    roles: tuple[Role, ...]
    scores: dict[str, Score]
    own: dict[str, Score]
    probes: Probes
    read_as: str
    asked: str
    draws: int
    seed: int
    prompts: list[str] = field(default_factory=list)

    def called(self, which: ComponentLike) -> list[Role]:
        """The roles of one head, in the order of :data:`ROLES`; none where it has none.

        Raises:
            ComponentError: no such head.
        """
        layer, index = self._place(which)
        return [role for role in self.roles if self._is(role, layer, index)]

    def heads(self, role: str) -> list[Component]:
        """The heads that are called ``role``, in the order of its first measure, the largest first.

        Raises:
            AttribError: no such role, or it was not measured.
        """
        found = role_of(role)
        if found not in self.roles:
            raise AttribError(f"The role {found.name} was not measured.", f'aw.head_roles(model, roles="{found.name}")')
        first = self.scores[found.measures[0].key].values
        chosen = [at for at in self._every if self._is(found, *at)]
        return [head(*at) for at in sorted(chosen, key=lambda at: -abs(float(first[at])))]

    def definition(self, role: str) -> str:
        """What a role means and whose definition it is, and for every measure what it must reach here, and its null.

        Raises:
            AttribError: no such role.
        """
        found, told = role_of(role), []
        for m in found.measures:
            score = self.scores.get(m.key)
            chance = (
                "" if score is None or not len(score.null) else f"; 99 % of chance stays below {number(score.level)}"
            )
            told.append(f"{m.name}: above {number(m.threshold)}, held against {m.null}{chance}")
        return "\n".join([f"{found.name}: {found.means} ({found.source})", *told])

    def score(self, which: ComponentLike, measure: str) -> tuple[float, float]:
        """(value, spread) of one measure of one head; NaN where it cannot be measured.

        Raises:
            ComponentError: no such head; AttribError: no such measure, or it was not asked for.
        """
        if measure not in list(MEASURES):
            raise AttribError(f"{measure!r} is not a measure.", f"Use one of {', '.join(MEASURES)}.")
        at = self._place(which)
        if measure not in self.scores:
            raise AttribError(f"{measure!r} was not measured.", "Ask for its role, or for all: aw.head_roles(model).")
        found = self.scores[measure]
        return float(found.values[at]), float(found.spread[at])

    def letters(self) -> dict[str, str]:
        """Every head that has roles, with their letters: ``{"L2H4": "IK"}``."""
        told = {str(head(*at)): self.called(head(*at)) for at in self._every}
        return {name: "".join(role.letter for role in roles) for name, roles in told.items() if roles}

    def missing(self, role: Role) -> str:
        """Why a role could not be measured at all; "" where it could."""
        return next((why for m in role.measures if (why := self.scores[m.key].why)), "")

    def contexts(self, which: ComponentLike, texts: str | list[str] | None = None) -> HeadContexts:
        """What a head reads over a corpus, by decile of how much it writes: see :func:`.contexts.head_contexts`."""
        from .contexts import head_contexts

        return head_contexts(self.model, which, texts)

    def _place(self, which: ComponentLike) -> tuple[int, int]:
        part = component(which)
        layer, index = part.layer or 0, part.index or 0
        if part.kind != "head" or index >= self.model.heads_of(layer):
            raise ComponentError(f"{part} is not a head of {self.name}.", self.model.geometry.remedy(layer))
        return layer, index

    @property
    def _every(self) -> list[tuple[int, int]]:
        """(layer, head) of every head that is exact."""
        return [(i, h) for i in range(self.model.n_layers) for h in range(self.model.heads_of(i))]

    def _is(self, role: Role, layer: int, index: int) -> bool:
        return all(reaches(m, self.scores[m.key], (layer, index)) for m in role.measures)

    @property
    def title(self) -> str:
        """How many heads have a role, in words."""
        count = len(self.letters())
        return f"{count} of {len(self._every)} heads of {self.name} {'has' if count == 1 else 'have'} a role"

    def said(self, role: Role) -> str:
        """The heads of a role with their first measure, or that there are none, or why it was not measured."""
        if why := self.missing(role):
            return f"not measurable: {why}"
        found, first = self.heads(role.name), role.measures[0].key
        if not found:
            return NONE
        told = [f"{part}\u00a0{number(self.score(part, first)[0])}" for part in found[:NAMED]]
        return ", ".join([*told, *([others_label(len(found) - NAMED)] if len(found) > NAMED else [])])

    def summary(self) -> Table:
        rows = []
        for role in self.roles:
            least = [
                f"{m.name}\u00a0{number(max(m.threshold, self.scores[m.key].level))}"
                for m in role.measures
                if not self.scores[m.key].missing
            ]
            rows.append([role.letter, role.name, role.does, self.said(role), " and ".join(least)])
        note = f"on {self.probes}"
        weights = [role.name for role in self.roles if role in CIRCUIT and not self.missing(role)]
        note += f"\n{enumerated(weights)}: from weights alone, {self.read_as}" if weights else ""
        tasks = [role.name for role in self.roles if role in TASK]
        note += f"\n{enumerated(tasks)}: on {self.asked}" if self.asked else ""
        if self.prompts:
            count = "prompt" if len(self.prompts) == 1 else f"{len(self.prompts)} prompts"
            note += f"\non your own {count}: {self._said_own()}"
        foot = (
            "A number beside a head is its first measure. A head is named where all its measures are above the last "
            "column: a fixed threshold, or what chance gives the best of all heads in 1 of 100 draws, whichever is "
            f"larger ({self.draws} draws). "
        )
        paths = self._patched()
        foot += f"Observed, no experiment{f'; {enumerated(paths)}: tested, by path patching' if paths else ''}."
        columns = ["letter", "role", "what the head does", "heads", "measure, and above what"]
        return Table(self.title, columns, rows, note=note, footer=foot)

    def _patched(self) -> list[str]:
        """The roles that were measured by experiment."""
        return [role.name for role in self.roles if role in TASK and not self.missing(role)]

    def _said_own(self) -> str:
        told = []
        for name, found in self.own.items():
            if found.missing:
                continue
            chosen = [p for p in self._every if reaches(MEASURES[name], found, p)]
            chosen.sort(key=lambda p: -float(found.values[p]))
            if chosen:
                told.append(f"{name} {enumerated([str(head(*p)) for p in chosen], 3)}")
        return "; ".join(told) or NONE

    def to_dataframe(self) -> pd.DataFrame:
        """One row per head and measure of a role: ``head``, ``role``, ``measure``, ``value``, ``spread``, ``null``
        (its 99th percentile), ``threshold``, ``called`` (the role as a whole) and ``own`` (on one's own prompts)."""
        import pandas as pd

        rows = []
        for at in self._every:
            for role in self.roles:
                is_called = self._is(role, *at)
                for m in role.measures:
                    s, own = self.scores[m.key], self.own.get(m.key)
                    rows.append(
                        {
                            "head": str(head(*at)),
                            "role": role.name,
                            "measure": m.key,
                            "value": float(s.values[at]),
                            "spread": float(s.spread[at]),
                            "null": s.level,
                            "threshold": m.threshold,
                            "called": is_called,
                            "own": float("nan") if own is None else float(own.values[at]),
                        }
                    )
        return pd.DataFrame(rows)


def reaches(measure: Measure, score: Score, at: tuple[int, int]) -> bool:
    """Whether a head stands above the threshold and above what the best of all heads reaches by chance."""
    if score.missing or not len(score.null):
        return False
    return float(score.values[at]) > max(measure.threshold, score.level)


def role_of(name: str) -> Role:
    """A role by its name or its letter.

    Raises:
        AttribError: there is none.
    """
    known: Mapping[str, Role] = {key: role for role in ROLES for key in (role.name, role.letter)}
    if name not in list(known):  # a list, say, has no hash
        raise AttribError(f"{name!r} is not a role.", f"Use one of {', '.join(role.name for role in ROLES)}.")
    return known[name]
