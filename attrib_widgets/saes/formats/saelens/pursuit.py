"""Matching pursuit as SAELens 6 has it: one matrix, whose rows are taken one after another, each the best for what the
others have left (Costa et al. 2025)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ....words.errors import AttribError
from ..files import AGAIN, flag, whole

NAME = "matching_pursuit"
SETTINGS = ("residual_threshold", "max_iterations", "stop_on_duplicate_support")


class Stop(NamedTuple):
    """When no more rows are taken: after ``most`` (None: as many as an activation has numbers), once what is left is
    shorter than ``short`` (0: never), once no new row was taken (``same``)."""

    short: float
    most: int | None
    same: bool


def stop_of(config: dict[str, Any], file: Path) -> Stop:
    """What a config says of it; what it does not say is as SAELens has it.

    Raises:
        AttribError: a setting of another kind.
    """
    short, most = config.get(SETTINGS[0], 0.01), whole(config, SETTINGS[1], file)
    same = flag(config, SETTINGS[2], file)
    if isinstance(short, bool) or not isinstance(short, int | float):
        raise AttribError(f"{file} says {SETTINGS[0]} = {short!r}, which is no number.", AGAIN)
    if most is not None and most < 1:
        raise AttribError(f"{file} says {SETTINGS[1]} = {most}, which takes no feature.", AGAIN)
    return Stop(float(short), most, same is not False)


def encoder(
    w_dec: Float[Tensor, "feature d_in"], b_dec: Float[Tensor, "d_in"], stop: Stop
) -> Callable[[Float[Tensor, "*shape d_in"]], Float[Tensor, "*shape feature"]]:
    """Activations: how much of each row was taken, together; ``b_dec`` is taken off before."""

    def encode(x: Float[Tensor, "*shape d_in"]) -> Float[Tensor, "*shape feature"]:
        left = x.reshape(-1, x.shape[-1]) - b_dec
        active = left.new_zeros(len(left), len(w_dec))
        going = torch.arange(len(left), device=left.device)  # the activations that more rows are taken of
        for _ in range(stop.most or x.shape[-1]):
            rest = left[going]
            best = (rest @ w_dec.T).argmax(-1)
            rows = w_dec[best]
            taken = (rest * rows).sum(-1).relu()  # none where no row points along what is left
            new = taken.bool() & (active[going, best] == 0)
            active[going, best] += taken
            left[going] = rest = rest - taken[:, None] * rows
            more = new if stop.same else torch.ones_like(new)
            if stop.short > 0:
                more = more & (rest.norm(dim=-1) >= stop.short)
            going = going[more]
            if not len(going):
                break
        return active.reshape(*x.shape[:-1], -1)

    return encode
