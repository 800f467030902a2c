"""How far floating-point addition may be off: the bound that tells measured rounding from a wrong capture.

A sum rounded to a format is within half a unit in the last place (ulp) of the exact sum. A capture at the
wrong place misses by far more, so a difference above this bound is never booked as rounding.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ...words.errors import GranularityError, NumberError

SLACK = 1.001  # the bound is exact; this only absorbs the float64 arithmetic of the comparison itself


def half_ulp(values: Float[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """Half a unit in the last place of ``dtype`` at each value, in float64."""
    info = torch.finfo(dtype)
    size = values.detach().double().abs().clamp_min(info.tiny)
    half: Tensor = torch.exp2(torch.floor(torch.log2(size))) * info.eps / 2
    return half


def worst(error: Float[Tensor, "*shape"], bound: Float[Tensor, "*shape"]) -> float:
    """The largest error in units of its own bound: at most 1 for honest rounding, 0 when there is nothing."""
    if error.numel() == 0:
        return 0.0
    ratio = error.double().abs() / (bound * SLACK)
    ratio = torch.where(error == 0, 0.0, ratio).nan_to_num(torch.inf)  # NaN is the worst of all
    return float(ratio.max())


def accumulation(terms: int) -> float:
    """Error of a float32 dot product of ``terms`` numbers, relative to the size of its terms."""
    return float(4 * torch.finfo(torch.float32).eps * terms**0.5)


def dot_bound(
    dtype: torch.dtype, a: Float[Tensor, "*shape d"], b: Float[Tensor, "*shape d"]
) -> Float[Tensor, "*shape"]:
    """How far a dot product may be off when one side was rounded a few times to ``dtype`` on its way.

    Roundings of different numbers are independent, each about a quarter of ``eps``, so they grow like the root of
    the summed squares (taken at over six standard deviations); what all numbers share, such as the rounding of a
    norm's scale, is a part of the product itself.
    """
    products = a.double() * b.double()
    spread = products.square().sum(-1).sqrt()
    eps = torch.finfo(dtype).eps
    return eps * products.sum(-1).abs() + (4 * eps + accumulation(a.shape[-1])) * spread


def require_float32() -> None:
    """The sums here are float32 sums, which settings of torch can take away.

    Raises:
        NumberError: inside torch.autocast, or with another default dtype.
    """
    if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
        raise NumberError(
            "Inside torch.autocast every product is rounded to half precision, so nothing adds up.",
            "Leave the autocast block, and load the model in the dtype that you want to study.",
        )
    if torch.get_default_dtype() != torch.float32:
        raise NumberError(
            f"torch's default dtype is {torch.get_default_dtype()}, and numbers here are float32.",
            "torch.set_default_dtype(torch.float32): the model keeps the dtype of its weights.",
        )


def refuse_above(
    error: Float[Tensor, "*shape"],
    bound: Float[Tensor, "*shape"],
    where: str,
    hint: str = "The parts cannot be told apart exactly, so they are not shown. "
    "If the model has changed, run the prompt again: model.run(run.ids).",
) -> None:
    """Never book more than rounding as rounding.

    Raises:
        GranularityError: ``error`` exceeds ``bound``.
    """
    ratio = worst(error, bound)
    if not ratio <= 1:
        raise GranularityError(
            f"On this prompt {where} (off by {ratio:.1f} times its rounding).",
            hint + _coarse_products(),
        )


def _coarse_products() -> str:
    """A remedy where torch was told that products of float32 may be rounded to fewer digits; else nothing."""
    try:
        precision = torch.get_float32_matmul_precision()
    except RuntimeError:  # set in two ways that disagree
        precision = "unknown"
    if precision == "highest":
        return ""
    return f' Float32 precision is {precision!r}: try torch.set_float32_matmul_precision("highest") and a new run.'
