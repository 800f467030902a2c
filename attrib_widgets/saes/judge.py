"""How good a dictionary is: variance explained, dead features, loss recovered, clean detectors of concepts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from ..model.tracing.hooks import losses, replaced
from .reading import of_dictionary, source
from .sae import SAE, keep_largest

if TYPE_CHECKING:
    from ..model.model import Model

Samples = Float[Tensor, "sample d_in"]


def explained(x: Samples, rebuilt: Samples) -> float:
    """Share of the variance that a reconstruction explains: 1 - |x - rebuilt|^2 / |x - mean|^2."""
    left = (x.double() - rebuilt.double()).square().sum()
    return 1 - float(left / (x.double() - x.double().mean(0)).square().sum())


def curve(sae: SAE, x: Samples, ks: Sequence[int]) -> dict[int, float]:
    """Variance explained with the ``k`` largest activations kept, for each k."""
    left = dict.fromkeys(ks, 0.0)
    for rows in x.split(4096):  # all at once would take gigabytes
        pre = sae.pre_activations(rows)
        for k in ks:
            left[k] += float((rows.double() - sae.decode(keep_largest(pre, k)).double()).square().sum())
    total = float((x.double() - x.double().mean(0)).square().sum())
    return {k: 1 - missed / total for k, missed in left.items()}


def pca(train: Samples, x: Samples, ks: Sequence[int]) -> dict[int, float]:
    """Variance explained by the first ``k`` principal components of other samples, for each k."""
    mean = train.mean(0)
    components = torch.linalg.eigh((train - mean).double().T @ (train - mean).double())[1].flip(1).float()
    return {k: explained(x, (x - mean) @ components[:, :k] @ components[:, :k].T + mean) for k in ks}


def random_dictionary(train: Samples, x: Samples, features: int, ks: Sequence[int], seed: int = 0) -> dict[int, float]:
    """Variance explained by ``k`` of as many random directions, the best fitting ones and fitted by least squares."""
    mean, generator = train.mean(0), torch.Generator().manual_seed(seed)
    rows = normalize(torch.randn(features, x.shape[1], generator=generator), dim=1)
    y = x - mean
    found = {}
    for k in ks:
        picked = rows[(y @ rows.T).abs().topk(min(k, x.shape[1]), dim=-1).indices]  # [sample, k, d_in]
        fit = torch.linalg.lstsq(picked.transpose(1, 2), y[..., None]).solution
        found[k] = explained(x, (picked.transpose(1, 2) @ fit)[..., 0] + mean)
    return found


def fired(sae: SAE, x: Samples) -> Bool[Tensor, "feature"]:
    """Which features fire on any of the samples."""
    found = torch.zeros(sae.n_features, dtype=torch.bool)
    for rows in x.split(4096):
        found |= (sae.encode(rows) > 0).any(0)
    return found


def dead_share(sae: SAE, x: Samples) -> float:
    """Share of the features that fire on none of the samples."""
    return float((~fired(sae, x)).float().mean())


@contextmanager
def standing_in(model: Model, sae: SAE, mean: Float[Tensor, "d_out"] | None = None) -> Iterator[None]:
    """Inside the block every forward pass goes on with what the dictionary makes of what it reads, in place of what is
    there (of a transcoder, where that writes); with ``mean``, with that. Position 0 stays as it is.
    """
    read: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        read[:] = [x]
        return x

    def change(y: Tensor) -> Tensor:
        if mean is None:
            x = of_dictionary(model, sae, read[0] if read else y)
            new = sae.rebuild(x.to(sae.b_dec.device)).to(y.device)
            if sae.writes is None and sae.coordinates != "raw":  # what its coordinates leave out stays
                new = new + (y.float() - x)
        else:
            new = mean.to(y.device).expand_as(y)
        return torch.cat([y[:, :1], new[:, 1:].to(y.dtype)], 1)

    where = source(model, sae)
    with ExitStack() as stack:
        if where != sae.target:
            stack.enter_context(replaced(model, where, keep))
        stack.enter_context(replaced(model, sae.target, change))
        yield


def loss_recovered(model: Model, sae: SAE, ids: Int[Tensor, "row position"], mean: Float[Tensor, "d_out"]) -> float:
    """How much of the loss that mean ablation costs is saved by the reconstruction instead: 1 is all of it.

    Position 0 stays as it is. Of a transcoder ``mean`` is that of what the model has where it writes.
    """
    clean = float(losses(model, ids).mean())
    with standing_in(model, sae):
        spliced = float(losses(model, ids).mean())
    with standing_in(model, sae, mean):
        ablated = float(losses(model, ids).mean())
    return (ablated - spliced) / (ablated - clean)


class Detector(NamedTuple):
    """A column that tells a concept, chosen with its threshold on some samples, judged on others."""

    concept: str
    column: int
    threshold: float
    precision: float
    recall: float

    @property
    def clean(self) -> bool:
        """Precision and recall of at least 0.9 on the samples that it was not chosen on."""
        return self.precision >= 0.9 and self.recall >= 0.9

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.precision * self.recall / max(self.precision + self.recall, 1e-9)


def _best(scores: Float[Tensor, "sample"], truth: Bool[Tensor, "sample"]) -> tuple[float, float]:
    """(F1, threshold) of the threshold above which ``scores``, where positive, tell ``truth`` best."""
    fires = scores > 0
    if not bool(fires.any()):
        return 0.0, torch.inf
    ranked, order = scores[fires].sort(descending=True)
    hits = truth[fires][order].float().cumsum(0)
    f1 = 2 * hits / (torch.arange(1, len(ranked) + 1) + truth.sum())
    # A threshold between equal scores cannot be drawn.
    f1[:-1] *= ranked[:-1] > ranked[1:]
    best = int(f1.argmax())
    return float(f1[best]), float(ranked[best])


def detectors(
    scores: Float[Tensor, "sample column"],
    concepts: Mapping[str, Bool[Tensor, "sample"]],
    judged: Bool[Tensor, "sample"],
) -> list[Detector]:
    """For each concept the column that tells it best: chosen where ``judged`` is false, judged where it is true.

    Samples of one context are alike, so a context should be on one side as a whole. Columns are features, neurons or
    directions; a column counts where it is positive. To keep the search short, only the columns that differ most
    between the samples with and without the concept are tried.
    """
    names = [name for name, truth in concepts.items() if bool(truth[judged].any()) and bool(truth[~judged].any())]
    if not names:
        return []
    chosen, held = scores[~judged], scores[judged]
    here = torch.stack([concepts[name][~judged] for name in names]).float()
    contrast = (here @ chosen / here.sum(1, keepdim=True) - chosen.mean(0)) / (chosen.std(0) + 1e-9)
    found = []
    for name, few in zip(names, contrast.topk(min(12, scores.shape[1])).indices.tolist(), strict=True):
        truth, there = concepts[name][~judged], concepts[name][judged]
        (_, threshold), column = max(((_best(chosen[:, c], truth), c) for c in few), key=lambda entry: entry[0][0])
        fires = held[:, column] >= threshold
        right = float((fires & there).sum())
        precision = right / max(float(fires.sum()), 1.0)
        found.append(Detector(name, column, threshold, precision, right / float(there.sum())))
    return found
