"""Is a concept used? All features that stand for it are taken out together, in every layer that has it, beside random
features of equal activation.

A random feature is one of the same dictionary that does not fire there, written as strongly as the one whose place it
takes: what it does is what a change of this size does in any direction. One change is taken away and the other added;
decoder rows of one length make them equally large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.identity.steady import steady
from ....result import Result, Table, strongest
from ....words.components import Component, ComponentLike, component, whole
from ....words.errors import AttribError, ComponentError
from ....words.several import for_each, listed
from ....words.targets import Target
from ....words.text import digits_of, enumerated, how_many, number, signed, visible
from ...attribution.attribution import refuse_other
from ..cells.cells import Cell, joint
from ..measuring.metrics import metric_of
from ..measuring.pairs import Cost, run_writes
from ..measuring.statistics import interval_of
from .donors import FixedDonor

if TYPE_CHECKING:
    from ....model.running.worker import Job
    from ....model.tracing.edits import Intervention
    from ....words.places import Place
    from ...attribution.attribution import Attribution
    from ...opening.dictionaries.concepts import Concepts

#: How many sets of random features stand beside a concept.
RANDOM = 10
#: Rows of the table.
ROWS = 12
#: Features of a concept that a row names.
NAMED = 3


@dataclass(eq=False, repr=False)
class ConceptAblation(Result):
    """How much a number falls without a concept, and with random features of equal activation instead.

    Attributes:
        attributions: what is explained, one a prompt.
        which: the concept of each by its label, or as it was named; features: those that were taken out of it.
        base: the numbers as they are; without: the same without the concept; random: with each set of random features.
        unit: of these numbers.
    """

    attributions: list[Attribution]
    which: list[str]
    features: list[list[Component]]
    base: Float[Tensor, "prompt"]
    without: Float[Tensor, "prompt"]
    random: Float[Tensor, "prompt draw"]
    unit: str
    cost: Cost

    @property
    def values(self) -> Float[Tensor, "prompt"]:
        """By how much each number falls without its concept."""
        return self.base - self.without

    @property
    def falls(self) -> Float[Tensor, "prompt"]:
        """By how much it falls with random features, in the mean over these."""
        return self.base - self.random.mean(-1)

    @property
    def difference(self) -> float:
        """By how much more it falls without the concept, in the mean over prompts."""
        return float((self.values - self.falls).mean())

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of :attr:`difference` over prompts; None for fewer than eight."""
        more = (self.values - self.falls)[:, None]
        found = interval_of(more, torch.ones(len(more), dtype=torch.float64))
        return None if found is None else (float(found[0, 0]), float(found[0, 1]))

    @property
    def verdict(self) -> str:
        """``"more than random"``, ``"less than random"``, or ``"not told from random"``.

        Over eight prompts and more by the interval of the difference, which must not hold zero; over fewer, all random
        sets of every prompt have to do less (or more).
        """
        if (held := self.interval) is not None:
            more, less = held[0] > 0, held[1] < 0
        else:
            every = self.base[:, None] - self.random
            more, less = (bool(said.all()) for said in (self.values[:, None] > every, self.values[:, None] < every))
        return "more than random" if more else "less than random" if less else "not told from random"

    def title(self) -> str:
        """The finding in one line."""
        names, n = list(dict.fromkeys(self.which)), len(self.base)
        concept = f"\u201c{names[0]}\u201d" if len(names) == 1 else f"{len(names)} concepts, a prompt each,"
        fall, by = float(self.values.mean()), float(self.falls.mean())
        over = "" if n == 1 else f" in the mean of {n} prompts"
        return (
            f"Without {concept} the answer changes by {signed(-fall)} {self.unit}{over}, with random features by "
            f"{signed(-by)}: {self.verdict}"
        )

    def summary(self) -> Table:
        order = strongest(self.values, ROWS)
        digits = digits_of([*self.values.tolist(), *self.falls.tolist()])
        rows, bars = list[list[str]](), list[float | None]()
        for i in order:
            a, names = self.attributions[i], self.features[i]
            answer = visible(a.target.short(a.model)) + (f" over {a.rival_name}" if a.rival_name else "")
            changes = [signed(float(-v[i]), digits) for v in (self.falls, self.values)]
            rows.append(
                [
                    answer,
                    self.which[i],
                    enumerated([str(name) for name in names], NAMED),
                    number(float(self.base[i])),
                    *changes,
                ]
            )
            bars.append(float(-self.values[i]))
        held, n = self.interval, len(self.base)
        said = f"The difference is {signed(-self.difference)} {self.unit}"
        said += f", {signed(-held[1])} to {signed(-held[0])} (95 % interval, n = {n})" if held else f" (n = {n})"
        sets = self.random.shape[1]
        if not held:
            every, fall = self.base[:, None] - self.random, self.values[:, None]
            as_much = int((every >= fall).sum() if float(self.values.mean()) > 0 else (every <= fall).sum())
            said += f"; {as_much} of {how_many(every.numel(), 'random set')} {'does' if as_much == 1 else 'do'} as much"
        note = (
            f"{said}. Tested: all features of a concept at zero together, in every layer that has it, where the answer "
            f"is read; beside it {sets} sets of random features of the same dictionaries, written as strongly. The "
            "errors of the dictionaries stay as they are."
        )
        as_it_is = f"as it is, {self.unit}"
        columns = ["explained", "concept", "its features", as_it_is, "change with random", "change without it"]
        return Table(self.title(), columns, rows, bars, "\n".join([note, *self.cost.notes]), str(self.cost))

    def to_dataframe(self) -> Any:
        """A row a prompt: ``prompt``, ``target``, ``concept``, ``features``, ``base``, ``without``, ``random`` (the
        mean), ``change``, ``random_change``, signed as they are printed."""
        import pandas as pd

        return pd.DataFrame(
            {
                "prompt": [a.run.text for a in self.attributions],
                "target": [a.target.words(a.model, a.run) for a in self.attributions],
                "concept": self.which,
                "features": [" + ".join(map(str, some)) for some in self.features],
                "base": self.base.numpy(),
                "without": self.without.numpy(),
                "random": self.random.mean(-1).numpy(),
                "change": (-self.values).numpy(),
                "random_change": (-self.falls).numpy(),
            }
        )


@steady()
@torch.no_grad()
def ablate_concept(
    attributions: Attribution | Sequence[Attribution],
    which: ComponentLike | Sequence[ComponentLike],
    *,
    cosine: float | None = None,
    draws: int = RANDOM,
    seed: int = 0,
    job: Job | None = None,
) -> ConceptAblation:
    """Take a concept out of every layer that has it, and random features of equal activation beside it.

    Args:
        attributions: what is explained: one prompt, or several.
        which: the concept, by a label or a feature, as ``a.concepts().like(which)`` finds it; one for all prompts, or
            a list of one for each.
        cosine: as in ``like``: by the direction that features write in instead of by label.
        draws, seed: how many random sets a prompt has.

    Raises:
        AttribError: no prompts, other units, not one concept a prompt, no draws, or a number inside the model.
        ComponentError: a concept that does not fire, or a dictionary of which every feature fires.
    """
    given: list[Attribution] = listed(attributions)
    for one in given:
        refuse_other(one)
    concepts = for_each(which, len(given), "concept")
    sets, start = whole(draws) or 0, whole(seed)
    if not given or sets < 1 or len({a.unit for a in given}) != 1:
        raise AttribError(
            f"{len(given)} attributions and {draws!r} draws.",
            "Give attributions of one unit, and at least one draw.",
        )
    if start is None:
        raise AttribError(f"seed={seed!r} is no whole number.", "Give seed=0, for example.")
    cost, generator = Cost(), torch.Generator().manual_seed(start)
    names: list[str] = []
    features: list[list[Component]] = []
    base: list[Tensor] = []
    rows: list[Tensor] = []
    for a, wanted in zip(given, concepts, strict=True):
        found = a.concepts()
        own = found.like(wanted, cosine)
        writes = [_written(a, dict.fromkeys(joint(a.model, own), 0.0))]
        writes += [_written(a, _random(a, found, own, generator)) for _ in range(sets)]
        if not isinstance(a.target, Target):
            raise AttribError("A number inside the model has no experiment here.", "Explain a token.")
        metric = metric_of(a.target, a.run, a.position)
        values, done, _ = run_writes(a.run, writes, metric, a.position, cost, job)
        if not bool(done.all()):
            cost.note([f"cancelled after {len(rows)} of {len(given)} prompts"])
            break
        features.append(own)
        names.append(_called(found, wanted, own))
        rows.append(values)
        base.append(metric.of(a.run.record.streams[-1][a.position][None])[0])
    if not rows:
        raise AttribError("No prompt was measured.", "Ask again.")
    known, n = torch.stack(rows).double().cpu(), len(rows)
    before = torch.stack(base).double().cpu()
    return ConceptAblation(given[:n], names, features, before, known[:, 0], known[:, 1:], given[0].unit, cost)


def _called(found: Concepts, wanted: ComponentLike, own: Sequence[Component]) -> str:
    """A concept that was named by a feature is called by the label of all that were taken out, where they share one."""
    labels = {found.concepts[found.row(feature)] for feature in own}
    label = labels.pop() if len(labels) == 1 else ""
    name = str(wanted) if (row := whole(wanted)) is None else found.labels[found.row(row)]
    return label if label and name in map(str, own) else name


def _written(a: Attribution, strength: Mapping[Place, float]) -> Intervention:
    """Features made to write so strongly where the answer is read: in the unit that their directions have there."""

    def value(part: Place, at: tuple[int, ...]) -> Float[Tensor, "position 1"]:
        return torch.full((len(at), 1), strength[part])

    return FixedDonor(a.run, value).writes(Cell(tuple(strength), (a.position,)))


def _random(a: Attribution, found: Concepts, own: Sequence[Component], draw: torch.Generator) -> dict[Place, float]:
    """In place of each of ``own`` another feature of its dictionary that does not fire, none of them twice: how
    strongly it is to write."""
    strength: dict[Place, float] = {}
    taken = set(found.labels)
    for feature in own:
        count = a.model.saes[feature.site or ""].n_features
        silent = [name for i in range(count) if (name := f"{feature.site}/{i}") not in taken]
        if not silent:
            raise ComponentError(
                f"Every feature of {feature.site} fires here, or stands for another one already.",
                "None is left to be the random one.",
            )
        name = silent[int(torch.randint(len(silent), (), generator=draw))]
        taken.add(name)
        (part,) = joint(a.model, component(name))
        of, at = found.rows[found.row(feature)]
        strength[part] = float(found.written[of].strengths[at])
    return strength
