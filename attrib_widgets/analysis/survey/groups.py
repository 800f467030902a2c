"""What a person gives to a survey, as cases: a prompt with its answer and rival, each in its group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...model.run import counted
from ...words import several
from ...words.errors import AttribError, PositionError, TargetError, said_of
from ...words.targets import Target, as_target, rather_than
from ...words.text import indefinite, visible

if TYPE_CHECKING:
    from ...model.model import Model

#: The group of prompts that came as a list.
ALL = "all"
PAIRS = "clean", "target"
OTHER = "comparison prompt"


@dataclass
class Case:
    """One prompt of a survey: its group, its number there, and what is asked of it.

    ``ids`` (and ``other``, those of its comparison prompt, empty where there is none) are there once it was encoded,
    ``given`` is the target as it was typed, once it was read.
    """

    group: str
    number: int
    prompt: Any
    target: Any
    against: Any
    corrupted: Any
    alone: bool
    other: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    given: Target = field(default_factory=lambda: Target("logit", ()))

    @property
    def named(self) -> str:
        """How an error begins."""
        return f"Prompt {self.number}" + ("" if self.alone else f" of {self.group!r}")


def cases_of(prompts: Any, targets: Any, against: Any, corrupted: Any) -> list[Case]:
    """Every prompt with what is asked of it, group by group.

    Raises:
        AttribError: no prompts, a group of one; targets, rivals or comparison prompts that are not one for each prompt
            or for all.
    """
    grouped = isinstance(prompts, Mapping)
    groups = dict(prompts) if grouped else {ALL: prompts}
    if len({str(name) for name in groups}) < len(groups):
        raise AttribError("Two groups have the same name.", "Name them apart.")
    if not groups:
        raise AttribError("There are no groups of prompts.", 'Give {"capitals": [...], "two names": [...]}.')
    aims = _by_group(groups, targets, "targets", grouped)
    rivals = _by_group(groups, against, "rivals", grouped)
    others = _by_group(groups, corrupted, f"{OTHER}s", grouped)
    return [
        case
        for name in groups
        for case in _group(str(name), groups[name], aims[name], rivals[name], others[name], alone=not grouped)
    ]


def _by_group(groups: Mapping[Any, Any], given: Any, what: str, grouped: bool) -> dict[Any, Any]:
    """What is given for each group: a dict names all of them, anything but a list goes for all."""
    if isinstance(given, Mapping):
        if not grouped:
            raise AttribError(f"The {what} come by group, and the prompts in one list.", "Give both in the same way.")
        if list(missing := [n for n in groups if n not in given]) or len(given) > len(groups):
            odd = missing or [n for n in given if n not in groups]
            which = f"There are no {what} of {odd[0]!r}" if missing else f"There is no group {odd[0]!r} for its {what}"
            raise AttribError(f"{which}.", f"The groups are {', '.join(map(repr, groups))}.")
        return dict(given)
    given = _plain(given)
    if grouped and isinstance(given, list):
        raise AttribError(
            f"The prompts come in groups, and the {what} in one list.",
            f"Give a dict with the same names: {{{next(iter(groups))!r}: [...]}}.",
        )
    return dict.fromkeys(groups, given)


def _group(name: str, given: Any, target: Any, against: Any, corrupted: Any, alone: bool) -> list[Case]:
    """The cases of one group."""
    of = "" if alone else f" in {name!r}"
    if all(hasattr(given, column) for column in PAIRS):  # what aw.demo.pairs returns
        if target is not None:
            raise AttribError(
                f"The pairs{of} bring their answers along.", "Leave out the targets, or give the prompts."
            )
        target = list(given.target)
        if against is None and getattr(given, "against", None) is not None:
            against = list(given.against)
        if corrupted is None and getattr(given, "corrupted", None) is not None:
            corrupted = list(given.corrupted)
        given = list(given.clean)
    found: list[Any] = [given] if isinstance(given, str) else several.prompts(given)
    if found and all(_is_row(row) for row in found):
        if target is not None or against is not None:
            raise AttribError(f"The rows{of} bring their answers along.", "Leave out the targets and rivals.")
        _refuse_ragged(found, of)
        found, target, *rest = (list(column) for column in zip(*found, strict=True))
        against = rest[0] if rest else None
    if len(found) < 2:
        raise AttribError(
            f"There {'is one prompt' if found else 'are no prompts'}{of}: a survey compares several.",
            "Give two or more; aw.attribute(model.run(prompt), target) explains one.",
        )
    asked = (("target", target), ("rival", against), (OTHER, corrupted))
    aims, rivals, others = (several.for_each(_plain(given), len(found), noun, of) for noun, given in asked)
    return [Case(name, i, *row, alone) for i, row in enumerate(zip(found, aims, rivals, others, strict=True))]


def _is_row(given: Any) -> bool:
    """A prompt with its answer, and its rival where it has one: ``("The capital of France is", " Paris", " Rome")``."""
    return isinstance(given, tuple) and bool(given) and isinstance(given[0], str)


def _refuse_ragged(rows: Sequence[tuple[Any, ...]], of: str) -> None:
    """Rows are all of two, or all of three.

    Raises:
        AttribError: they are not.
    """
    sizes = Counter(map(len, rows))
    usual = sizes.most_common(1)[0][0]
    wrong = next((i for i, row in enumerate(rows) if len(row) not in (2, 3) or len(row) != usual), None)
    if wrong is not None:
        raise AttribError(
            f"Row {wrong}{of} has {len(rows[wrong])} entries.",
            "Give each as (prompt, answer), or each as (prompt, answer, rival).",
        )


def _plain(given: Any) -> Any:
    """A column of numpy, torch or pandas as a list, and a single number as that."""
    return given.tolist() if hasattr(given, "tolist") and hasattr(given, "dtype") else given


def encode(model: Model, cases: Sequence[Case], position: int) -> None:
    """Fill in the token ids of every case.

    Raises:
        PositionError: a prompt that cannot be run, or without that position; a comparison prompt of another length.
        AttribError: a prompt that is there twice in its group.
    """
    seen: dict[tuple[str, tuple[int, ...]], Case] = {}
    for case in cases:
        with said_of(case.named):
            case.ids = model.encode(getattr(case.prompt, "run", case.prompt))
            counted(position, len(case.ids))
            if case.corrupted is not None:
                case.other = model.encode(getattr(case.corrupted, "run", case.corrupted))
                _check_pair(model, case)
        first = seen.setdefault((case.group, tuple(case.ids)), case)
        if first is not case:
            raise AttribError(
                f"{case.named} is prompt {first.number} once more: {visible(model.joined(case.ids))}.",
                "Leave it out: what is counted twice looks steadier than it is.",
            )


def _check_pair(model: Model, case: Case) -> None:
    """A part can be replaced by what it writes in the comparison prompt.

    Raises:
        PositionError: that has another length, or is the prompt once more.
    """
    if len(case.other) != len(case.ids):
        raise PositionError(
            f"It has {len(case.ids)} tokens and its comparison prompt {len(case.other)}: {model.joined(case.other)}.",
            "Choose words of as many tokens, or give None in its place.",
        )
    if case.other == case.ids:
        raise PositionError("Its comparison prompt is the prompt itself.", "Change a word, or give None in its place.")


def asked(model: Model, case: Case) -> Target:
    """What is asked of a case, tokens as ids: a difference where there is a rival, a centred logit of a token without.

    Raises:
        TargetError: no logit, or difference of two; tokens that the model does not have.
    """
    with said_of(case.named):
        given = as_target(rather_than(case.target, case.against, model.single_token))
        if not isinstance(given, Target) or given.kind not in ("logit", "logit_diff"):
            raise TargetError(
                f"A survey is of logits, and this is {indefinite(given.kind)}.", "Give a token, or a token and a rival."
            )
        case.given = given
        tokens, against = (tuple(map(model.single_token, side)) for side in (given.tokens, given.against))
        if against and set(tokens) == set(against):
            raise TargetError("The answer and its rival are the same token.", "Compare two different ones.")
        plain = not isinstance(case.target, Target) and not against
        return Target(given.kind, tokens, against, given.centre or plain)


def check_one_kind(cases: Sequence[Case], targets: Sequence[Target]) -> None:
    """All prompts are asked the same kind of question, so that their numbers can be compared.

    Raises:
        TargetError: they are not; two of them are named.
    """

    def kind(target: Target) -> tuple[Any, ...]:
        return target.kind, target.centre, len(target.tokens), len(target.against)

    other = next((i for i, t in enumerate(targets) if kind(t) != kind(targets[0])), None)
    if other is None:
        return
    a, b = (
        f"{cases[i].named} asks for {'a difference' if targets[i].against else 'a logit'}"
        + (", centred" if targets[i].centre else "")
        + f" of {len(targets[i].tokens)} against {len(targets[i].against)} tokens"
        for i in (0, other)
    )
    raise TargetError(f"{a}, and {b[:1].lower()}{b[1:]}.", "Give all prompts a rival or none, and sets of one size.")
