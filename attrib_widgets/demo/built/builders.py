"""From the name of a circuit to what builds it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from . import copying, induction
from .capped import capped
from .gates import gate

BUILDERS: dict[str, Callable[[], Any]] = {
    "sole-path": copying.sole,
    "chain": partial(gate, "chain"),
    "induction": induction.induction,
    "backup": copying.backup,
    "half-backup": partial(copying.backup, 1.0),
    "three-way-backup": partial(copying.backup, 2.0, 2.0),
    "or": partial(gate, "or"),
    "and": partial(gate, "and"),
    "suppression": copying.suppression,
    "erasure": copying.erasure,
    "many-hands": copying.many,
    "common-mode": copying.common,
    "constant": copying.constant,
    "soft-cap": capped,
}


def build(name: str) -> tuple[Any, Any]:
    """(transformers model, tokenizer) of a circuit; ``name`` is one of :data:`BUILDERS`."""
    room = induction if name == "induction" else copying
    return BUILDERS[name](), room.tokenizer()
