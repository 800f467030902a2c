"""What a survey found: :class:`Survey`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from ...model.model import load
from ...result import Result, Table, slots
from ...words.components import Component, ComponentLike, component, whole
from ...words.errors import AttribError, ComponentError, PositionError, renamed
from ...words.targets import Target
from . import said, store, testing
from .group import LEVEL, Group
from .parts import ByGroup, SurveyedPart, by_group, part_of
from .tested import Method, PartTest, SurveyTest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from ...model.model import Model
    from ...model.running.worker import Job


@dataclass(eq=False, repr=False)
class Survey(Result):
    """Contributions of every part to the answers of many prompts, and what is measured over them. Made by
    :func:`.survey.survey`.

    Attributes:
        model: the model that ran; None of a survey that was read from a file without it.
        name, dtype, mark: its name, what it computes in, and by what it is known again.
        texts, ids: the prompts, as text and as token ids; targets: what was asked of each, tokens as ids; answers: the
            same in few words; position: where it was read.
        components: the rows of every prompt, in model order; parts: those that are held against one another, heads and
            MLPs (attentions and layers where the model does not split exactly so far).
        values: float32 on the CPU, in logits; each prompt's sum to its own number. actual: the model's own numbers.
        groups: what was measured, by the name of the group; a list of prompts is the one group "all".
        permutations, seed: how often answers and labels were permuted, and where the draws begin.
        notes: remarks for the reader.
        corrupted: token ids of each prompt's comparison prompt; empty where it has none.
        tests: what :meth:`test` has found, by part and group.
    """

    model: Model | None
    name: str
    dtype: str
    mark: str
    texts: list[str]
    ids: list[list[int]]
    targets: list[Target]
    answers: list[str]
    position: int
    components: list[Component]
    values: Float[Tensor, "prompt component"]
    actual: Float[Tensor, "prompt"]
    groups: dict[str, Group]
    permutations: int
    seed: int
    notes: list[str] = field(default_factory=list)
    corrupted: list[list[int]] = field(default_factory=list)
    tests: dict[tuple[str, str], PartTest] = field(default_factory=dict)

    unit = "logits"

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def labels(self) -> list[str]:
        """Names of the rows."""
        return [str(c) for c in self.components]

    @property
    def tested(self) -> list[int]:
        """Which rows are parts that are held against one another."""
        return [i for i, c in enumerate(self.components) if c.is_replaceable]

    @property
    def parts(self) -> list[Component]:
        """The parts that are held against one another."""
        return [self.components[i] for i in self.tested]

    def mismatches(self) -> Float[Tensor, "prompt"]:
        """The model's own number minus the sum of the rows, of each prompt: float32 arithmetic only."""
        return self.actual - self.values.double().sum(-1)

    def gaps(self) -> Float[Tensor, "prompt"]:
        """:meth:`mismatches`, as it was called before."""
        renamed("gaps()", "mismatches()")
        return self.mismatches()

    def group_of(self, prompt: int) -> str:
        """The name of the group that a prompt is in."""
        return next(name for name, group in self.groups.items() if prompt in group.numbers)

    def passing(self, group: str = "", level: float = LEVEL) -> list[Component]:
        """The parts that are specific in a group at this level, over the best of all parts; the largest first.

        Raises:
            AttribError: there is no such group, or there are several and none was named.
        """
        return [self.parts[i] for i in self.group(group).passing(level)]

    def group(self, name: str = "") -> Group:
        """A group by its name, which may be left out where there is one.

        Raises:
            AttribError: there is no such group, or there are several and none was named.
        """
        if not name and len(self.groups) == 1:
            return next(iter(self.groups.values()))
        if name not in self.groups:
            said = f"There is no group {name!r}" if name else "There are several groups"
            raise AttribError(f"{said}.", f"Name one of {', '.join(map(repr, self.groups))}.")
        return self.groups[name]

    def __getitem__(self, which: ComponentLike) -> SurveyedPart:
        """One part on every prompt.

        Raises:
            ComponentError: no such row.
        """
        wanted = component(which)
        if wanted not in self.components:
            ends = f"{self.components[0]} to {self.components[-1]}"
            raise ComponentError(f"{wanted} is not a row of this survey.", f"Its rows run from {ends}: see .labels.")
        return part_of(self, wanted)

    def by_group(self, k: int = 3, kind: str | None = "head") -> ByGroup:
        """The ``k`` parts of each group with the largest means, side by side, and what the groups share of them.

        Args:
            kind: ``"head"``, ``"mlp"``, or None for all parts.

        Raises:
            ComponentError: no parts of that kind, or fewer than one asked for.
        """
        return by_group(self, k, kind)

    def test(
        self,
        parts: Any = None,
        group: str | Sequence[str] | None = None,
        *,
        method: Method | None = None,
        job: Job | None = None,
        budget: int | None = None,
    ) -> SurveyTest:
        """Replace parts on every prompt, one after another, and compute all behind them again: an experiment.

        Where the prompts of a group have comparison prompts, a part is replaced by what it writes there, position by
        position, as in ``aw.patch(..., direction="noise")``; else by its mean over the other prompts of the group that
        have as many tokens. What is found is kept in ``tests``, also of prompts that were done before it was cancelled.

        Args:
            parts: a part, or several, each tested by itself (a list inside is replaced together); None is every head
                and MLP.
            group: one group or several; None is all of them.
            method: ``"pair"`` or ``"mean"`` for all groups.
            job: told how many prompts are done, and asked whether to stop.
            budget: bytes that a pass may take; None asks the device.

        Raises:
            ComponentError: a part that the model does not have, or that cannot be replaced.
            AttribError: no such group or method; no prompt that can be tested so; a survey without its model.
            ModelError: the model has changed since.
        """
        return testing.test_parts(self, parts, group, method, job, budget)

    def open(self, prompt: int) -> Any:
        """The Explorer on one prompt, with the same question.

        Raises:
            PositionError: there is no prompt of that number.
            AttribError: the survey was read from a file without its model.
        """
        model, prompted, aim, more = self.question(prompt)
        return slots.explorer()(model, prompted, aim, **more)

    def question(self, prompt: int) -> tuple[Model, str | list[int], Target, dict[str, Any]]:
        """What :meth:`open` asks: the model, the prompt, its target, and what else ``aw.explore`` is given."""
        chosen = whole(prompt)
        if chosen is None or not 0 <= chosen < len(self):
            raise PositionError(f"There is no prompt {prompt!r}.", f"They are numbered from 0 to {len(self) - 1}.")
        if self.model is None:
            raise AttribError(
                "This survey was read from a file, without its model.", "Give it: aw.Survey.load(path, model)."
            )
        model, ids, target = self.model, self.ids[chosen], self.targets[chosen]
        tokens, rivals = (tuple(model.written(int(t)) for t in side) for side in (target.tokens, target.against))
        text = self.texts[chosen]
        prompted = text if model.encode(text) == ids else ids
        aim = Target(target.kind, tokens, rivals, target.centre)
        other = self.corrupted[chosen] if self.corrupted else []
        compared = {"corrupted": other} if other else {}
        return model, prompted, aim, {"against": None if aim.against else (), "position": self.position, **compared}

    # -- files ---------------------------------------------------------------------------------------------
    def save(self, path: Path | str) -> Path:
        """Write all of it, without the model, into one file (safetensors: numbers and text, nothing that runs)."""
        return store.save(self, path)

    @classmethod
    def load(cls, path: Path | str, model: Model | str | None = None) -> Survey:
        """Read what :meth:`save` wrote.

        Args:
            model: the model that ran, to open prompts in the Explorer; None reads the numbers alone.

        Raises:
            AttribError: the file cannot be read, or is no survey.
            ModelError: ``model`` is another one, or has changed.
        """
        return store.read(cls, path, None if model is None else load(model))

    # -- showing -------------------------------------------------------------------------------------------
    def title(self) -> str:
        """Which part writes most, and how many are specific."""
        return said.title(self)

    def checks(self) -> list[str]:
        """What stands below the table: that every prompt closes, rounding, and how steady the order of parts is."""
        return said.checks(self)

    def summary(self) -> Table:
        return said.summary(self)

    def to_dataframe(self, per: str = "part") -> pd.DataFrame:
        """All numbers as a table.

        Args:
            per: ``"part"`` is one row per group and part, with everything that was measured; ``"prompt"`` one row per
                prompt (its number) and component: ``group``, ``text``, ``answer``, ``component``, ``value``.

        Raises:
            AttribError: another ``per``.
        """
        import pandas as pd

        if per not in ("part", "prompt"):
            raise AttribError(f"{per!r} is no row of a survey.", 'Use per="part" or per="prompt".')
        if per == "part":
            return pd.concat([said.frame(self, name) for name in self.groups], ignore_index=True)
        width = len(self.components)
        group = {i: name for name, g in self.groups.items() for i in g.numbers}
        return pd.DataFrame(
            {
                "prompt": [i for i in range(len(self)) for _ in range(width)],
                "group": [group[i] for i in range(len(self)) for _ in range(width)],
                "text": [text for text in self.texts for _ in range(width)],
                "answer": [answer for answer in self.answers for _ in range(width)],
                "component": self.labels * len(self),
                "value": self.values.flatten().numpy(),
            }
        )
