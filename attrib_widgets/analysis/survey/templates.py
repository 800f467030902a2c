"""Which groups can be held against each other: those that differ in nothing but the words that vary in all of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from ...words.text import enumerated


class Template(NamedTuple):
    """What the prompts of a group share: their length, the token at every place (None where it varies), their answers.

    ``lengths`` has one entry where they are equal; ``fixed`` is empty where they are not.
    """

    lengths: tuple[int, ...]
    fixed: tuple[int | None, ...]
    answers: frozenset[Hashable]


def template_of(ids: Sequence[Sequence[int]], answers: Sequence[Hashable]) -> Template:
    """The template of some prompts."""
    lengths = tuple(sorted({len(i) for i in ids}))
    fixed = [column[0] if len(set(column)) == 1 else None for column in zip(*ids, strict=False)]
    return Template(lengths, tuple(fixed) if len(lengths) == 1 else (), frozenset(answers))


def comparable(groups: Mapping[str, Template]) -> tuple[list[list[str]], dict[str, str]]:
    """(groups that share template and answers, together; why each of the others is held against none)."""
    together: dict[Template, list[str]] = {}
    for name, template in groups.items():
        if len(template.lengths) == 1:
            together.setdefault(template, []).append(name)
    found = [names for names in together.values() if len(names) > 1]
    inside = {name for names in found for name in names}
    return found, {name: _apart(name, groups) for name in groups if name not in inside}


def _apart(name: str, groups: Mapping[str, Template]) -> str:
    """Why a group is held against no other."""
    own, others = groups[name], [n for n in groups if n != name]
    if not others:
        return "there is one group"
    if len(own.lengths) > 1:
        return f"the prompts have {enumerated([str(n) for n in own.lengths])} tokens, so they share no template"
    equal = [n for n in others if groups[n].lengths == own.lengths and groups[n].fixed == own.fixed]
    if equal:
        return f"{equal[0]} has the same template, and other answers"
    return "no other group has the same template"
