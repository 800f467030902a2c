"""What a part is where its name alone would mislead: a mixer in the place of attention, a third part beside it, or a
layer that is not split as the others are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Kind:
    """``short`` is as it stands beside a name ("gated delta net" in few letters), ``words`` as it explains one."""

    short: str
    words: str


#: What the parts of one model are, by label; of parts that are what their names say there is nothing.
Kinds: TypeAlias = Mapping[str, Kind]


def owner(cell: str) -> str:
    """The label in a printed cell: ``"  L0.attn @3"`` is of ``"L0.attn"``."""
    return cell.strip().partition(" @")[0]


def with_kind(label: str, kinds: Kinds) -> str:
    """``"L0.attn (Mamba)"``; of a part that is what its name says the label alone."""
    found = kinds.get(owner(label))
    return label if found is None else f"{label} ({found.short})"
