"""Many prompts at once: the same rows as of :func:`.attribute.attribute`, for a table of prompts.

Prompts of one length go through the model together, and the decomposition runs over the prompts as it does over the
positions of one: of every prompt only the explained position is kept, and no :class:`...model.run.Run` is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.model import load
from ...model.run import Run, counted
from ...model.running.batch import together
from ...model.tracing.record import record_at
from ...result import Result, Table, strongest, with_others
from ...words import several
from ...words.components import Component
from ...words.errors import AttribError, TargetError, renamed, said_of
from ...words.targets import Target, TargetLike, TokenSet, as_target, logit, rather_than
from ...words.text import digits_for, power, signed, visible
from .many import closed_rows

if TYPE_CHECKING:
    import pandas as pd

    from ...model.model import Model, Prompt
    from ...model.running.worker import Job
    from ..reading.decomposition import Closed
    from ..reading.point import Reading


@dataclass(eq=False, repr=False)
class Attributions(Result):
    """One number of each of several prompts, split among the parts of the model. Made by :func:`attribute_many`.

    Attributes:
        model: the model that ran; texts: the prompts; targets: what was explained of each.
        components: the rows, in model order; labels: their names.
        values: float32 on the CPU, in the targets' unit; each prompt's sum to its own number.
        actual: the model's own numbers.
    """

    model: Model
    texts: list[str]
    targets: list[Target]
    components: list[Component]
    values: Float[Tensor, "prompt component"]
    actual: Float[Tensor, "prompt"]

    @property
    def unit(self) -> str:
        """``"logits"`` or ``"nats"``."""
        return self.targets[0].unit

    @property
    def labels(self) -> list[str]:
        """Names of the rows."""
        return [str(c) for c in self.components]

    def mismatches(self) -> Float[Tensor, "prompt"]:
        """The model's own number minus the sum of the rows, of each prompt: float32 arithmetic only."""
        return self.actual - self.values.double().sum(-1)

    def gaps(self) -> Float[Tensor, "prompt"]:
        """:meth:`mismatches`, as it was called before."""
        renamed("gaps()", "mismatches()")
        return self.mismatches()

    def summary(self) -> Table:
        mean = self.values.mean(0)
        order = strongest(mean)
        shown = order[:10]
        rows, bars = with_others(mean, shown, lambda i: [self.labels[i]])
        named = dict.fromkeys(_short(t, self.model) for t in self.targets)
        of = next(iter(named)) if len(named) == 1 else f"{len(named)} answers"
        first = next(i for i in order if self.components[i].writes)
        written = f"{signed(float(mean[first]), digits_for(float(mean[first])))} {self.unit} for {of}"
        title = f"{self.labels[first]} writes most, {written}, in the mean of {len(self.texts)} prompts"
        foot = f"largest mismatch of a prompt {power(float(self.mismatches().abs().max()))}"
        note = "Direct contributions: observed, not yet tested."
        columns = ["component", f"mean, {self.unit}"]
        return Table(title, columns, rows, bars, note, foot, last=len(rows) - len(shown))

    def to_dataframe(self) -> pd.DataFrame:
        """One row per ``prompt`` (its number) and component: ``text``, ``target``, ``component``, ``value``."""
        import pandas as pd

        count, width = self.values.shape
        names = [t.short(self.model) for t in self.targets]
        return pd.DataFrame(
            {
                "prompt": [i for i in range(count) for _ in range(width)],
                "text": [text for text in self.texts for _ in range(width)],
                "target": [name for name in names for _ in range(width)],
                "component": self.labels * count,
                "value": self.values.flatten().numpy(),
            }
        )


@torch.no_grad()
def attribute_many(
    model: Model | str,
    prompts: Sequence[Prompt],
    target: TargetLike | Sequence[TargetLike] | None = None,
    position: int = -1,
    *,
    against: TokenSet | Sequence[TokenSet] | None = None,
    budget: int = 512 * 2**20,
    job: Job | None = None,
) -> Attributions:
    """Attribute one number of each of many prompts, batched: the rows of ``aw.attribute``, prompt by prompt.

    Args:
        prompts: several of any lengths; those of one length share a forward pass, and nothing is padded.
        target: a token or a target over the vocabulary, or a list with one for each prompt; None is the model's own top
            prediction of each.
        position: the position that is explained, of each prompt.
        against: a token whose logit is subtracted, or a list with one for each prompt.
        budget: bytes that the recordings of one pass may take.
        job: told how many prompts are done after every pass, and asked whether to stop.

    Raises:
        AttribError: no prompts, or lists of other lengths.
        TargetError: a target that is no number over the vocabulary, or targets of several kinds.
        PositionError: outside of a prompt, whose number is named.
        GranularityError: the recorded tensors of a prompt do not add up.
    """
    model = load(model)
    given = several.prompts(prompts)
    if not given:
        raise AttribError("There are no prompts.", "Give a list of texts.")
    targets = several.for_each(target, len(given), "target")
    rivals = several.for_each(against, len(given), "rival")
    encoded: list[tuple[int, list[int]]] = []
    for number, prompt in enumerate(given):
        with said_of(f"Prompt {number}"):
            encoded.append((number, model.encode(getattr(prompt, "run", prompt))))
            counted(position, len(encoded[-1][1]))
    done: dict[int, tuple[Target, Reading, Closed]] = {}
    for chunk in together(model, encoded, budget):
        if job is not None:
            job.progress(len(done), len(given), f"{len(chunk[0][1])} tokens each")
        numbers, ids = [n for n, _ in chunk], [i for _, i in chunk]
        at = counted(position, len(ids[0]))
        # One run whose positions are the prompts, each by its token there.
        run = Run(model, [i[at] for i in ids], "", recording=record_at(model, ids, at))
        asked = _asked(run, [targets[n] for n in numbers], [rivals[n] for n in numbers])
        tokens, weights = weights_of(model, asked)
        kind, rows = asked[0].kind, range(len(chunk))
        found = closed_rows(run, kind, tokens, weights, rows, asked[0].centre)
        done |= {n: (t, *sums) for n, t, sums in zip(numbers, asked, found, strict=True)}
    if job is not None:
        job.progress(len(given), len(given))
    order = [done[number] for number in range(len(given))]
    if len({t.kind for t, *_ in order}) > 1 or len({t.centre for t, *_ in order}) > 1:
        raise TargetError("The targets are of several kinds.", "Ask once for each kind.")
    return Attributions(
        model,
        [model.text_of(getattr(p, "run", p), ids) for p, (_, ids) in zip(given, encoded, strict=True)],
        [t for t, *_ in order],
        order[0][2].components,
        torch.stack([rows.values for *_, rows in order]),
        torch.tensor([reading.actual for _, reading, _ in order]),
    )


def _short(target: Target, model: Model) -> str:
    """What is explained, in few words, with what it is held against."""
    rival = f" over {visible(logit(target.against).short(model))}" if target.against else ""
    return f"{visible(target.short(model))}{rival}"


def _asked(run: Run, targets: Sequence[Any], rivals: Sequence[Any]) -> list[Target]:
    """What is explained of each position of ``run``.

    Raises:
        TargetError: no number over the vocabulary.
    """
    own = run.record.logits.float().argmax(-1).tolist()
    number = run.model.single_token
    found = []
    for best, target, against in zip(own, targets, rivals, strict=True):
        given = as_target(rather_than(best if target is None and against is None else target, against, number))
        if not isinstance(given, Target):
            raise TargetError(
                f"{given.kind} is no number over the vocabulary.", 'Give a token, or aw.logit_diff(" Paris", " Rome").'
            )
        found.append(given)
    return found


def weights_of(model: Model, targets: Sequence[Target]) -> tuple[Tensor, Tensor]:
    """(token ids [target, k], their weights [k]).

    Raises:
        TargetError: targets of several kinds or sizes.
    """
    sizes = {(t.kind, t.centre, len(t.tokens), len(t.against)) for t in targets}
    if len(sizes) > 1:
        raise TargetError("The targets are of several kinds or sizes.", "Ask once for each kind.")
    number = model.single_token
    ids = [[*map(number, t.tokens), *map(number, t.against)] for t in targets]
    if any(set(row[: len(t.tokens)]) == set(row[len(t.tokens) :]) for row, t in zip(ids, targets, strict=True)):
        raise TargetError("Both sides of the difference are the same token.", "Compare two different ones.")
    _, _, many, others = next(iter(sizes))
    weights = [1 / many] * many + [-1 / max(others, 1)] * others
    home = model.home
    return torch.tensor(ids, device=home), torch.tensor(weights, device=home)
