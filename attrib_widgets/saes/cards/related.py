"""What a feature is related to: features that write in its direction, those that fire with it, and the tokens that made
it fire."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.parts.attention import attend
from ...words.errors import ComponentError
from ..sae import SAE

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.tracing.recording import Recording
    from .kept import Cards

#: How many related features are named.
NAMED = 5
#: Numbers of a decoder that are compared at once, and so many that are on a click.
AT_ONCE, ON_CLICK = 2**22, 2**22
#: What was found, by feature and how many were asked for, for as long as a dictionary lives.
_CLOSEST: WeakKeyDictionary[SAE, dict[tuple[int, int], list[tuple[int, float]]]] = WeakKeyDictionary()


class Related(NamedTuple):
    """Another feature of the same dictionary: its number, its label, and how close it is.

    ``cosine`` is that of the two decoder rows; ``together`` counts in how many of ``of`` firings drawn at random the
    other is among the strongest others at the same token. What was not asked is NaN, or 0 of 0.
    """

    feature: int
    label: str
    cosine: float
    together: int = 0
    of: int = 0


@torch.no_grad()
def closest(sae: SAE, feature: int, count: int = NAMED) -> list[tuple[int, float]]:
    """The features whose decoder rows have the largest cosine with that of this one, and the cosines."""
    sae.check(feature)
    known = _CLOSEST.setdefault(sae, {})
    if (feature, count) in known:
        return known[feature, count]
    own = sae.w_dec[feature]
    rows = max(1, AT_ONCE // sae.d_out)
    found = torch.cat([(part @ own) / part.norm(dim=1).clamp_min(1e-30) for part in sae.w_dec.split(rows)])
    found = found / own.norm().clamp_min(1e-30)
    found[feature] = -2
    best = found.topk(min(count, sae.n_features - 1))
    known[feature, count] = list(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return known[feature, count]


def together(cards: Cards, feature: int, count: int = NAMED) -> list[tuple[int, int, int]]:
    """(feature, at how many of how many firings drawn at random): those that fire with this one most often, of the
    few at each token that write the longest vectors."""
    if cards.others is None:
        return []
    drawn = cards.activations[feature, cards.ranks :] > 0
    rows = cards.others[feature][drawn]
    counts = Counter(rows[rows >= 0].tolist())
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return [(other, times, int(drawn.sum())) for other, times in ranked[:count]]


def related(sae: SAE, cards: Cards | None, feature: int) -> list[Related]:
    """Those that write most alike, where that is quickly told, then those that fire with it most often."""
    cosines = dict(closest(sae, feature)) if sae.n_features * sae.d_out <= ON_CLICK else {}
    often = {other: (times, of) for other, times, of in (together(cards, feature) if cards else [])}
    own = sae.w_dec[feature]
    for other in often:
        if other not in cosines:
            row = sae.w_dec[other]
            cosines[other] = float(row @ own / (row.norm() * own.norm()).clamp_min(1e-30))
    return [
        Related(other, cards.labels[other] if cards else "", cosine, *often.get(other, (0, 0)))
        for other, cosine in cosines.items()
    ]


@torch.no_grad()
def source_tokens(model: Model, rec: Recording, sae: SAE, feature: int, position: int) -> Float[Tensor, "source"]:
    """What each token that the heads read adds to a feature of their outputs at ``position``, before its activation
    function and its bias: the pattern is held as it was.

    Raises:
        ComponentError: it is no dictionary of the heads' outputs, or norms what it reads.
        GranularityError: the attention of this layer was not shown to be exact.
    """
    if sae.site.site != "z" or sae.norm != "none" or sae.encoder is not None:
        raise ComponentError(
            f"{sae!r} does not read the outputs of heads as they are, to which every token adds its part.",
            "Ask this of a feature of heads, L0.z and so on.",
        )
    sae.check(feature)
    layer = sae.site.layer or 0
    found = attend(model, rec, layer, rows=slice(position, position + 1))
    heads, _, d = found.v.shape
    way = sae.w_enc[:, feature].to(found.v.device).reshape(heads, 1, d)
    read = (found.v * found.gated(way)).sum(-1)  # [head, source]
    return (found.pattern[:, 0] * read).sum(0).cpu()
