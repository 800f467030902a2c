"""How sublayers join the stream, found by trying: layers are given numbers of ours, and their streams are watched.

One pass with plain hooks. At every position another question is put: nothing at all (the constants), one of the stream,
the attention's and the MLP's output alone (what it is multiplied by), and several random mixtures of them, which have
to come out as the answers say, or nothing was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..anatomy.rounding import half_ulp
from ..parts.joins import Join, Joins
from .ports import POST, PRE, ports

if TYPE_CHECKING:
    from ..network import Network

#: The numbers that are put in, each of them rounded otherwise; times what is so large that constants vanish beside it.
ASKED = tuple(1 + j / 8 for j in range(8))
LARGE, LARGE_HALF = 2.0**30, 2.0**10  # float16 ends at 65504
#: Mixtures that are tried on the answers.
MIXED = 4
_SITES = ("pre", "attn_added", "mid", "mlp_added", "post")


@torch.no_grad()
def read_joins(model: Network, layers: Iterable[int]) -> dict[int, Joins]:
    """(:class:`..parts.joins.Join` of the attention, of the MLP) of those ``layers`` where both are such a map.

    Costs one short forward pass.
    """
    count, width = 1 + 3 * len(ASKED) + MIXED, model.geometry.d_model
    generator = torch.Generator().manual_seed(0)
    put = torch.zeros(3, count, width)
    large = LARGE if torch.finfo(model.dtype).max > LARGE**2 else LARGE_HALF
    for which in range(3):  # stream, attention, MLP
        put[which, 1 + which * len(ASKED) : 1 + (which + 1) * len(ASKED)] = large * torch.tensor(ASKED)[:, None]
    put[:, -MIXED:] = torch.randn(3, MIXED, width, generator=generator)
    seen: dict[int, dict[str, Tensor]] = {}
    handles = []

    def giving(values: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda x: values.to(x).reshape(x.shape)

    def watching(layer: int, site: str) -> Callable[[Tensor], Tensor]:
        def look(x: Tensor) -> Tensor:
            seen.setdefault(layer, {})[site] = x.detach().reshape(-1, width).clone()
            return x

        return look

    asked = []
    with model.quiet():  # held from before the hooks: they change no forward of another thread
        try:
            for layer in layers:
                rows = {row.site: row for row in ports(model, layer) if row.site in _SITES}
                if len(rows) < len(_SITES):
                    continue  # a parallel layer has no stream in between
                asked.append(layer)
                module = model.layer(layer)
                for site, values in zip(("pre", "attn_added", "mlp_added"), put, strict=True):
                    handles.append((PRE if site == "pre" else rows[site]).hook(module, giving(values)))
                handles.append(rows["mid"].hook(module, watching(layer, "mid")))
                handles.append(POST.hook(module, watching(layer, "post")))
            if asked:
                tokens = torch.arange(count, device=model.device)[None] % model.n_embeddings
                model.hf(input_ids=tokens, use_cache=False)
        except Exception:  # whatever the model's own code says: then nothing is found
            return {}
        finally:
            for handle in handles:
                handle.remove()
    found = {}
    for layer in asked:
        told = {site: x.to(model.home) for site, x in seen.get(layer, {}).items()}
        if set(told) == {"mid", "post"} and all(len(x) == count for x in told.values()):
            both = _joins(put.to(model.home), told["mid"], told["post"])
            if both is not None:
                found[layer] = both
    return found


def _joins(put: Tensor, mid: Tensor, post: Tensor) -> Joins | None:
    """Both joins of one layer, from what was put in and what came of it."""
    stream, attn, mlp = put.double()
    sides = [slice(1 + k * len(ASKED), 1 + (k + 1) * len(ASKED)) for k in range(3)]
    first = _join(stream, attn, mid, sides[0], sides[1], mid.dtype)
    if first is None:
        return None
    # What stood between the two was not put in: of the stream or of the attention, whichever came through better.
    through = mid.double() - mid[0].double()
    better = sides[int(through[sides[1]].abs().amin() > through[sides[0]].abs().amin())]
    coarsest = max(mid.dtype, post.dtype, key=lambda dtype: torch.finfo(dtype).eps)  # norms may read a rounded stream
    second = _join(mid.double(), mlp, post, better, sides[2], coarsest)
    return None if second is None else (first, second)


def _join(
    stream: Tensor, given: Tensor, out: Tensor, of_stream: slice, of_given: slice, dtype: torch.dtype
) -> Join | None:
    """The map from ``stream`` and ``given`` to ``out``; None where there is none that explains all positions.

    At position 0 nothing was given, at ``of_stream`` the stream alone changed, at ``of_given`` what was given;
    ``dtype`` is the coarsest that any of them was rounded to.
    """
    exact = out.double()
    rounded = 3 * half_ulp(torch.maximum(exact.abs(), exact[0].abs()), dtype)
    keep = _factor(stream[of_stream] - stream[0], exact[of_stream] - exact[0], rounded[of_stream] + rounded[0])
    gain = _factor(given[of_given], exact[of_given] - exact[0], rounded[of_given] + rounded[0])
    if keep is None or gain is None or bool((keep[0] == 0).all()):
        return None  # nothing is left of the stream: what was given holds it, and is no sublayer's own
    shift = exact[0] - keep[0] * stream[0]
    expected = keep[0] * stream + gain[0] * given + shift
    size = (keep[0] * stream).abs() + (gain[0] * given).abs() + shift.abs() + (keep[0] * stream[0]).abs()
    bound = 8 * half_ulp(size, dtype) + keep[1] * stream.abs() + gain[1] * given.abs() + 1e-30
    if not bool(((expected - exact).abs() <= bound).all()):
        return None
    plain = bool((shift.abs() <= 4 * half_ulp((keep[0] * stream[0]).abs() + exact[0].abs(), out.dtype)).all())
    return Join(_unless_one(keep[0]), _unless_one(gain[0]), None if plain else shift.float())


def _factor(x: Tensor, y: Tensor, rounded: Tensor) -> tuple[Tensor, Tensor] | None:
    """(the factor of every column that makes ``y`` of ``x``, how far it may be off), or None.

    1 where that explains all, else what the first row says where that explains the others, else the middle of what they
    leave.
    """
    if bool((x == 0).any()):
        return None
    low, high = (((y - s * rounded) / x).sort(0).values for s in (1, -1))
    least, most = torch.minimum(low, high).amax(0), torch.maximum(low, high).amin(0)
    if not bool((least <= most).all()):
        return None
    if bool(((least <= 1) & (most >= 1)).all()):
        return torch.ones_like(least), torch.zeros_like(least)
    told = (y[0] / x[0]).float().double()
    inside = (told >= least) & (told <= most)
    return torch.where(inside, told, (least + most) / 2), (most - least) / 2


def _unless_one(factor: Tensor) -> Tensor | None:
    return None if bool((factor == 1).all()) else factor.float()
