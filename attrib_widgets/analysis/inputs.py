"""What a person hands to an analysis: a Run, or a prompt and a model."""

from __future__ import annotations

from typing import Any

from ..model.identity.belonging import at_home
from ..model.model import Model, load
from ..model.run import Run
from ..words.components import whole
from ..words.errors import AttribError, ComponentError, PositionError
from ..words.several import listed


def as_run(given: Any, model: Model | str | None = None, position: Any = None) -> Run:
    """``given`` as a Run: itself, the run behind a result, or a prompt run on ``model`` (a name is loaded).

    A prompt's run keeps the logits printed at ``position``. Where a run and a model are given, the run is the model's
    own.

    Raises:
        AttribError: a prompt without its model, or the model in the prompt's place.
        ModelError: a run, or a result, of another model, or of the model before it changed.
    """
    if isinstance(given, Run) or isinstance(getattr(given, "run", None), Run):
        found: Run = given if isinstance(given, Run) else given.run
        found.check_fresh()
        own = model is None or model == found.model.name  # its own name is no other model
        return found if own else at_home(found, load(model))
    if isinstance(given, Model):
        raise AttribError("The run comes first, not the model.", 'Write model.run("The capital of France is").')
    if model is None:
        raise AttribError("A prompt needs its model.", 'Write model.run("..."), or pass model= as well.')
    kept = whole(position)
    return load(model).run(given, positions=None if kept is None else [kept])


def positions_in(run: Run, given: Any) -> list[int]:
    """One or several positions, counted from 0, in the order in which they were given.

    Raises:
        PositionError: outside the prompt, no position, or none at all.
    """
    found = [run.position(p) for p in listed(given)]
    if not found:
        raise PositionError("There are no positions.", "Leave out positions=, or name at least one.")
    return found


def how_many_of(k: Any, noun: str) -> int:
    """How many of something to name.

    Raises:
        AttribError: it is no whole number above 0.
    """
    if (found := whole(k) or 0) < 1:
        raise AttribError(f"{k!r} is not a number of {noun}.", "Give 1 or more.")
    return found


def absent(model: Model, part: Any) -> ComponentError:
    """The error that says what the model, or that layer of it, has instead of ``part``."""
    return ComponentError(f"{model.name} has no {part}.", model.geometry.remedy(part.layer or 0))
