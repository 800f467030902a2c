"""Whether a recording belongs to the model that it meets: the one gate for runs and results that are handed in."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...words.errors import ModelError
from ...words.text import power
from .stamp import changes, interventions, named, stamp_of

if TYPE_CHECKING:
    from ..model import Model
    from ..run import Run

# How far a stream may be from its recording or its full recomputation, relative to its size: the order of sums differs.
LIMITS = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}


def refuse_foreign(run: Run, model: Any) -> None:
    """A run is of one model; another wrapper of the same module, with an equal tokenizer, is that model too.

    Raises:
        ModelError: it is not; both are named.
    """
    own = run.model
    if own is model or not (why := _apart(own, model)):
        return
    other = f"another model called {model.name}" if own.name == model.name else model.name
    raise ModelError(
        f"This is a run of {own.name}, and it was given to {other}: {why}.",
        "Run its tokens there, model.run(run.ids), or give run.model.",
    )


def at_home(run: Run, model: Model) -> Run:
    """``run`` as a run of ``model``.

    Raises:
        ModelError: it is a run of another one.
    """
    if run.model is model:
        return run
    refuse_foreign(run, model)
    own = run.model
    if (own.anatomy, own.unread, own.check.levels) == (model.anatomy, model.unread, model.check.levels):
        twin = copy.copy(run)
        twin.model = model
        return twin
    run.check_fresh()
    return type(run)(model, run.ids, run.text, run.record.kept, start=run.start)


def _apart(a: Model, b: Model) -> str:
    """What keeps two models apart; empty where both compute the same with the same tokens."""
    if a.hf is not b.hf:
        changed = changes(stamp_of(a.hf), stamp_of(b.hf))
        if changed:
            return "they do not share their weights, or differ in a hook or a setting"
    return "" if a.vocabulary == b.vocabulary else "their tokenizers differ"


def moved(base: Run, found: Float[Tensor, "*position d_model"], position: int | slice) -> str:
    """Empty where ``found`` is what the final norm read there in the recorded run; else by how much it is not.

    Each number is held against its own size on the way through the layers (and a typical one's): a few of a stream are
    hundreds of times larger than the others, and would hide any change of those.
    """
    model, streams = base.model, base.record.streams
    expected = streams[-1][position].float()
    size = torch.zeros_like(expected)
    for stream in streams:
        size = torch.maximum(size, stream[position].float().abs().to(expected.device))
    size = (size + size.median(-1, keepdim=True).values).clamp_min(1e-30)
    error = float(((found.to(expected.device).float() - expected).abs() / size).max())
    depth = max(1.0, model.n_layers / 12) ** 0.5
    return "" if error <= depth * LIMITS.get(model.precision, 1e-1) else f"off by {power(error)} of its size"


def refuse_reread(run: Run, read: Float[Tensor, "column"], row: int, columns: Any = slice(None)) -> None:
    """Logits read from the recorded stream now are those that were printed, of the ``row``-th position that was kept.

    Raises:
        ModelError: they are not: what lies behind the stream, the final norm or the unembedding, has changed.
    """
    printed = run.record.logits[row].float()
    size = printed.abs().mean() + printed[columns].abs()
    missed = (read.float().to(printed.device) - printed[columns]).abs() / size.clamp_min(1e-30)
    # Both are in float32 here, whatever the model computes in.
    if not float(missed.max()) <= max(LIMITS.get(run.model.precision, 1e-1), 1e-5):
        raise ModelError(
            f"{run.model.name} reads other logits from this run than it printed (off by {power(float(missed.max()))} "
            "of their size): was its norm or its unembedding changed?",
            "Run the prompt again: model.run(run.ids).",
        )


def refuse_moved(base: Run, found: Float[Tensor, "*position d_model"], position: int | slice) -> None:
    """The model was run once more, with nothing changed, and must answer as it was recorded.

    Raises:
        ModelError: it does not: what the experiment finds would be about another model than the run.
    """
    if missed := moved(base, found, position):
        short = isinstance(position, int) and position < base.n_positions - 1
        why = "was it changed since the run"
        why += ", or does this position depend on later ones?" if short else "?"
        hooks = interventions(base.model.hf)
        else_ = f" If that does not help, {named(hooks[0])} depends on what else is run, or on chance." if hooks else ""
        raise ModelError(
            f"{base.model.name} answers this prompt differently now ({missed}): {why}",
            f"Run the prompt again: model.run(run.ids).{else_}",
        )
