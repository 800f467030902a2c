"""Several prompts in few forward passes: only prompts of equal length share one, so nothing is ever padded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...words import several
from ...words.errors import PositionError, said_of
from ..identity.belonging import at_home
from ..run import Run
from ..tracing.record import record_many
from .memory import estimate, require

if TYPE_CHECKING:
    from ..model import Model, Prompt
    from .worker import Job


def run_many(
    model: Model,
    prompts: Sequence[Prompt] | Prompt,
    *,
    bos: bool | None = None,
    budget: int = 512 * 2**20,
    job: Job | None = None,
) -> list[Run]:
    """One Run per prompt, in the order given; a Run of this model (or a result, for its run) is returned as it is.

    Prompts of equal length go through the model together, as many at a time as ``budget`` bytes of recording and
    attention allow. A padded row would shift learned positions and can change what a rotation is scaled by: without
    padding every number is that of the prompt alone, up to the order of sums in a matrix product.

    Args:
        prompts: several, or one that is no text: token ids, chat messages, a Run or a result.
        bos: as for :meth:`..model.Model.run`.
        job: told how many prompts are done after every pass, and asked whether to stop.

    Raises:
        ModelError: a Run of another model.
        PositionError: a text in place of a list, a prompt that cannot be run (its number is named), or more than the
            free memory holds.
        Cancelled: ``job`` was cancelled.
    """
    if isinstance(prompts, str):
        raise PositionError("One text is not a list of prompts.", "Write model.run(...), or put it in a list.")
    given = [_run_of(p) for p in several.prompts(prompts)]
    found: dict[int, Run] = {}
    waiting: list[tuple[int, list[int]]] = []
    for number, prompt in enumerate(given):
        with said_of(f"Prompt {number}"):
            if isinstance(prompt, Run) and bos is None:
                found[number] = at_home(prompt, model)
            else:
                waiting.append((number, model.encode(prompt, bos=bos)))
    needed = sum(estimate(model, len(ids)) for _, ids in waiting)
    require(model, needed, f"{len(waiting)} prompts together")
    for chunk in together(model, waiting, budget):
        if job is not None:
            job.progress(len(found), len(given), f"{len(chunk[0][1])} tokens each")
        for (number, ids), recording in zip(chunk, record_many(model, [i for _, i in chunk]), strict=True):
            found[number] = Run(model, ids, model.text_of(given[number], ids), recording=recording)
    if job is not None:
        job.progress(len(given), len(given))
    return [found[number] for number in range(len(given))]


def together(
    model: Model, prompts: Sequence[tuple[int, list[int]]], budget: int
) -> Iterator[list[tuple[int, list[int]]]]:
    """Prompts (their numbers and ids) of one length, as many at a time as ``budget`` bytes of recording allow."""
    waiting: dict[int, list[tuple[int, list[int]]]] = {}
    for number, ids in prompts:
        waiting.setdefault(len(ids), []).append((number, ids))
    for length, rows in sorted(waiting.items()):
        # the attention of an eager model holds two [head, n, n] tensors while a layer runs
        passing = 2 * model.n_heads * length**2 * model.dtype.itemsize
        size = max(1, budget // (estimate(model, length) + passing))
        for start in range(0, len(rows), size):
            yield rows[start : start + size]


def _run_of(prompt: Any) -> Any:
    """The run behind a result; a prompt as it is."""
    run = getattr(prompt, "run", None)
    return run if isinstance(run, Run) else prompt
