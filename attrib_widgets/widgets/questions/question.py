"""A question about a model, and everything the Explorer shows in answer to it.

Both are values: an answer is complete before anybody sees it, so an error or a cancel leaves the one before in
place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from ...analysis.attribution.attribute import attribute
from ...analysis.attribution.attribution import Attribution, attribute_resolved
from ...analysis.attribution.inside import folded
from ...model.identity.steady import steady
from ...model.run import Run
from ...model.text.chat import is_chat
from ...words.errors import AttribError
from ...words.targets import Target, as_target, feature, logit, logit_diff, names_feature, neuron, rather_than
from .contrast import Contrast, contrast_of

if TYPE_CHECKING:
    from ...analysis.experiments.patching.token_effects import TokenEffects
    from ...analysis.lens.tuned_lens import TunedLens
    from ...analysis.verdicts.findings import Verification
    from ...model.model import Model
    from ...model.running.worker import Job
    from ...words.targets import AnyTarget
    from ..shapes.budget import Further
    from ..shapes.contract import Field
    from ..shapes.explorer import Parts
    from ..transport.wire import Stored


PromptLike = str | tuple[int, ...] | Run


@dataclass(frozen=True)
class Question:
    """What is asked. A ``target`` of None is the model's own top prediction at ``position``. Beside a comparison a
    plain logit is held against what the model says there, unless it is asked ``alone``."""

    prompt: PromptLike
    target: AnyTarget | None = None
    position: int = -1
    corrupted: PromptLike | None = None
    alone: bool = False


@dataclass
class Encoded:
    """An explanation as the browser reads it, in the order in which a person looks (see :mod:`..shapes.budget`).

    ``draw`` is by the version of the model's dictionaries, ``rest`` by whether an offline page gets it
    and by its lens, too.
    """

    draw: dict[int, Parts] = field(default_factory=dict)
    screen: Further | None = None
    rest: dict[tuple[bool, tuple[int, TunedLens | None]], Further] = field(default_factory=dict)


@dataclass
class Explanation:
    """The answer to a question; its ``question`` names the target even where the one asked did not, and ``contrast``
    what the comparison offered to hold against that (None without one, and where something is held against it already).

    ``parts`` are its header and arrays as far as they were encoded, ``patterns`` those of its run; ``verdicts`` is what
    experiments have found about it, ``replaced`` what other words do.
    """

    question: Question
    attribution: Attribution
    corrupted: Attribution | None = None
    parts: Encoded = field(default_factory=lambda: Encoded())
    patterns: Stored | None = None
    verdicts: Verification | None = None
    contrast: Contrast | None = None
    replaced: TokenEffects | None = None
    screening: Lock = field(default_factory=Lock)
    """Held while its first screen is computed."""

    @property
    def run(self) -> Run:
        """The recorded forward pass."""
        return self.attribution.run

    @property
    def runs(self) -> dict[PromptLike, Run]:
        """The recorded forward passes, by the prompts that were given."""
        found: dict[PromptLike, Run] = {self.question.prompt: self.run}
        if self.corrupted is not None and self.question.corrupted is not None:
            found[self.question.corrupted] = self.corrupted.run
        return found


def asked_from_end(question: Question, run: Run) -> Question:
    """The same question with its position counted from the end of ``run``, as a new prompt asks it."""
    return replace(question, position=question.position - run.n_positions) if question.position >= 0 else question


def prompt_like(prompt: Any, model: Model) -> PromptLike:
    """A prompt as something that can be compared and kept; chat messages become their ids."""
    if isinstance(prompt, (str, Run)):
        return prompt
    if is_chat(prompt):
        return tuple(model.encode(prompt))
    try:
        return tuple(int(i) for i in prompt)
    except (TypeError, ValueError):
        raise AttribError(f"{prompt!r} is not a prompt.", "Give text, token ids, or a Run.") from None


@steady(end=False)
def explain(model: Model, question: Question, job: Job, known: Mapping[PromptLike, Run]) -> Explanation:
    """Answer a question, stopping between steps when ``job`` was cancelled. ``known`` are runs not to repeat.

    Raises:
        AttribError: with ``field``, the part of the question that cannot be answered.
    """
    total = 3 if question.corrupted is None else 4
    job.progress(0, total, "running the prompt")
    with blaming("prompt"):
        run = _run(model, question.prompt, known)
        position = run.position(question.position)
    plain = question.target or logit(run.top(1, position=position)[0].id)
    target, contrast, other = plain, None, None
    if question.corrupted is not None:
        job.progress(1, total, "running the comparison")
        with blaming("target"):
            if isinstance(plain, Target):
                for token in plain.tokens:
                    model.single_token(token)
        with blaming("corrupted"):
            other = _run(model, question.corrupted, known)
            if other.ids == run.ids:
                raise _itself()
            target, contrast = contrast_of(run, other, plain, position, question.alone)
    job.progress(total - 2, total, "adding up")
    with blaming("target"):
        a = folded(attribute(run, target, position=position))
    corrupted: Attribution | None = None
    if other is not None:
        with blaming("corrupted"):
            there = counterpart(run, other, a.position)
            corrupted = folded(attribute_resolved(other, target.moved(there), there))  # of its rival nothing is shown
    job.progress(total - 1, total, "drawing")
    settled = replace(question, target=plain, position=a.position)
    return Explanation(settled, a, corrupted, contrast=contrast)


def counterpart(run: Run, other: Run, position: int) -> int:
    """The position of ``other`` that answers the same question: the same index, or the same distance to the end."""
    return position if run.n_positions == other.n_positions else position - run.n_positions


def asked(model: Model, before: Question, args: Mapping[str, Any]) -> Question:
    """The next question, from what a person changed in the last one.

    ``args`` has any of prompt, target, against, position, corrupted, or a neuron (or a feature) alone, whose
    pre-activation is then explained at the same place. None keeps what was there; an empty ``against`` or ``corrupted``
    removes it. A new prompt or another position without a target asks for the model's top prediction there, against
    what the model says after the comparison; a new prompt is read at its end.
    """
    if args.get("neuron") is not None:
        inner = feature if "/" in str(args["neuron"]) else neuron
        return replace(before, target=inner(args["neuron"], position=before.position))
    prompt, position = args.get("prompt"), args.get("position")
    corrupted = args.get("corrupted", args.get("compare"))  # as version 0.1 called it
    target, against = args.get("target"), args.get("against")
    question = before
    if prompt is not None and prompt != _text(before.prompt):
        kept = None if target is None else before.target
        question = Question(prompt_like(prompt, model), kept, corrupted=before.corrupted)
        if _text(question.prompt) == _text(question.corrupted):
            question = replace(question, corrupted=None)
    if position is not None:
        with blaming("prompt"):
            moved = replace(question, position=_index(position))
        if moved.position != question.position and target is None:
            moved = replace(moved, target=None, alone=False)
        question = moved
    if corrupted is not None:
        with blaming("corrupted"):
            question = replace(question, corrupted=_corrupted(model, question, corrupted))
    alone = question.alone if against is None else empty(against)
    against = "" if empty(against) else against
    aim = _target(model, question.target, target, against, question.position)
    return replace(question, target=aim, alone=alone)


def empty(against: Any) -> bool:
    """Whether ``against`` names nothing, and says so: "" or ()."""
    return isinstance(against, (str, tuple, list)) and len(against) == 0


def target_of(target: Any, against: Any = None, position: int = -1) -> AnyTarget | None:
    """A target from what a person gives in Python; None stays None. A feature by its name is read at ``position``."""
    if target is None and against is None:
        return None
    asked = rather_than(target, against)
    found = as_target(asked)
    return found if found is asked else found.moved(position)


def _target(model: Model, before: Any, target: Any, against: Any, position: int) -> AnyTarget | None:
    """The target before, with another token or another rival."""
    if target is None and (against is None or (against == "" and before is None)):
        return before  # type: ignore[no-any-return]
    if target is not None and (not isinstance(target, (str, int)) or names_feature(target)):
        return target_of(target, against or None, position)
    with blaming("target"):
        if target is not None:
            target = model.written(model.single_token(target))
        elif not isinstance(before, Target):
            raise AttribError("There is no token to hold against it.", "Give the target too.")
    old = before if isinstance(before, Target) else logit("?")
    tokens = old.tokens if target is None else (target,)
    rivals = old.against if against is None else () if empty(against) else (against,)
    with blaming("against"):
        rivals = tuple(model.written(model.single_token(rival)) for rival in rivals)
    if rivals:
        return logit_diff(tokens, rivals)
    # A log-probability stays one, and a centred logit stays centred.
    return replace(old, kind="logit" if old.kind == "logit_diff" else old.kind, tokens=tokens, against=())


@contextmanager
def blaming(part: Field) -> Iterator[None]:
    """Name the part of the question that an error is about, for the browser to show it there."""
    try:
        yield
    except AttribError as error:
        if not hasattr(error, "field"):
            error.field = part  # type: ignore[attr-defined]
        raise


def _run(model: Model, prompt: PromptLike, known: Mapping[PromptLike, Run]) -> Run:
    if not isinstance(prompt, Run) and prompt in known and known[prompt].fresh:
        return known[prompt]
    return model.run(prompt)


def _index(position: Any) -> int:
    if isinstance(position, bool) or not isinstance(position, int):
        raise AttribError(f"{position!r} is not a position.", "Give a whole number, for example −1 for the last.")
    return position


def _corrupted(model: Model, question: Question, corrupted: Any) -> PromptLike | None:
    if corrupted == "":
        return None
    if _text(corrupted) == _text(question.prompt):
        raise _itself()
    return prompt_like(corrupted, model)


def _itself() -> AttribError:
    return AttribError("The comparison is the prompt itself.", "Change one word of it.")


def _text(prompt: Any) -> Any:
    return prompt.text if isinstance(prompt, Run) else prompt
