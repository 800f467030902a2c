"""How experiments name their prompts, and how much of what happens to a single logit happens to all tokens alike, and
so tells no two answers apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ....words.errors import AttribError
from ....words.targets import AnyTarget, Target, as_target
from ....words.text import safe, share
from .metrics import Measure, MetricLike, columns_of

if TYPE_CHECKING:
    from ....model.model import Model
    from ....model.run import Run

#: What is said of a gap, by the table of verdicts as well, and of the change that an ablation makes: where the mean of
#: all logits goes with that of the token, and where it goes the other way.
OF_GAP = (
    "{common} of this gap is common to all tokens, whose logits change as much in the mean",
    "nothing of this gap is common to all tokens, whose logits change the other way in the mean, by {-common} of it",
)
OF_CHANGE = (
    "{common} of what {cell} changes is common to all tokens, whose logits change as much in the mean",
    "nothing of what {cell} changes is common to all tokens, whose logits change the other way in the mean, by "
    "{-common} of it",
)
#: The share from which it is said (the tau of verdicts).
LEAST = 0.05


#: Tokens of a prompt that are printed, the last ones.
SHOWN = 24


def quoted(run: Run) -> str:
    """The prompt of a run, or its end, in quotation marks; without what its tokenizer put around it."""
    ids = [token for i, token in enumerate(run.ids) if i not in run.special]
    start = "\u2026" if len(ids) > SHOWN else ""
    return f"\u201c{start}{safe(run.model.joined(ids[-SHOWN:])).strip()}\u201d"


def single_logit(target: MetricLike | AnyTarget | None) -> Target | None:
    """``target`` as the logit of a token by itself; None where it is no such thing (a difference, a probability, a
    centred logit, a function)."""
    if target is None or isinstance(target, Measure) or callable(target):
        return None
    try:
        found: AnyTarget = as_target(target)
    except AttribError:  # said where it is measured
        return None
    return found if isinstance(found, Target) and found.kind == "logit" and not found.centre else None


@torch.no_grad()
def means(model: Model, streams: Float[Tensor, "row d_model"], target: Target) -> Float[Tensor, "row 2"]:
    """(the mean logit of all tokens, that of the target's tokens) where the final norm reads ``streams``."""
    ids = [model.single_token(t) for t in target.tokens]
    fine = model.dtype in (torch.float32, torch.float64)  # half precision rounds every logit before the mean
    if fine and model.softcap is None and model.unembedding.plain:
        with model.quiet():
            normed = model.call(model.module(model.anatomy.final_norm), streams).double()
            own = columns_of(model, streams, ids).double()
        bias = model.unembed_bias
        constant = 0.0 if bias is None else bias.double().mean()
        common = (normed @ model.unembed_mean.double() + constant) * model.logit_scale
        return torch.stack([common, own.mean(-1)], -1)
    logits = model.read_out(streams)[1].double()
    return torch.stack([logits.mean(-1), logits[:, ids].mean(-1)], -1)


def common_share(pairs: Sequence[tuple[Run, Run]], targets: Sequence[MetricLike | None], position: int) -> float | None:
    """The share of the mean gap by which the mean logit of all tokens changes. None where one of the targets is no
    single logit, of which that is a part, or there is no gap."""
    moved = torch.zeros(2, dtype=torch.float64)
    for (clean, corrupted), given in zip(pairs, targets, strict=True):
        target = single_logit(given)
        if target is None:
            return None
        streams = torch.stack([r.record.streams[-1][r.position(position)] for r in (clean, corrupted)])
        found = means(clean.model, streams, target).cpu()
        moved += found[0] - found[1]
    return float(moved[0] / moved[1]) if float(moved[1]) else None


def common_said(pairs: Sequence[tuple[Run, Run]], targets: Sequence[MetricLike | None], position: int) -> list[str]:
    """:func:`common_share` in a sentence, from 5 % on."""
    return _said(OF_GAP, common_share(pairs, targets, position))


def _said(sentences: tuple[str, str], common: float | None, **names: str) -> list[str]:
    if common is None or abs(common) < LEAST:
        return []
    return [sentences[common < 0].format_map({"common": share(common), "-common": share(-common), **names})]


def change_said(
    run: Run, given: MetricLike | None, position: int, streams: Float[Tensor, "draw d_model"], cell: str
) -> list[str]:
    """The same of what a cell changes in one run: ``streams`` are what the final norm reads without it, a draw each.
    ``given`` as in :func:`attrib_widgets.ablate`, where None is the run's own answer."""
    target = single_logit(run.top(1, position)[0].id if given is None else given)
    if target is None:
        return []
    moved = (
        means(run.model, streams, target).mean(0) - means(run.model, run.record.streams[-1][position][None], target)[0]
    )
    common, own = moved.tolist()
    return _said(OF_CHANGE, common / own if own else None, cell=cell)
