"""What a person hands to an analysis: a Run, or a prompt and a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..words.components import whole
from ..words.errors import AttribError

if TYPE_CHECKING:
    from ..model.model import Model
    from ..model.run import Run


def as_run(given: Any, model: Model | str | None = None, position: Any = None) -> Run:
    """``given`` as a Run: itself, the run behind a result, or a prompt run on ``model`` (a name is loaded).

    A prompt's run keeps the logits printed at ``position``.

    Raises:
        AttribError: a prompt without its model, or the model in the prompt's place.
    """
    from ..model.loading import load
    from ..model.model import Model as ModelClass
    from ..model.run import Run as RunClass

    if isinstance(given, RunClass):
        return given
    if isinstance(getattr(given, "run", None), RunClass):
        found: RunClass = given.run
        return found
    if isinstance(given, ModelClass):
        raise AttribError("The run comes first, not the model.", 'Write model.run("The capital of France is").')
    if model is None:
        raise AttribError("A prompt needs its model.", 'Write model.run("..."), or pass model= as well.')
    kept = whole(position)
    return load(model).run(given, positions=None if kept is None else [kept])
