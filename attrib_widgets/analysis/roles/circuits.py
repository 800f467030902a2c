"""Circuit roles: what a head would write for the token that it reads, and whether a prediction looks for itself.

All from weights, read through their projections, with the gains of the norms on the way: nothing is ever as large as
the square of the vocabulary. Biases are left out, which write the same whatever is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.parts.outlet import outlet_of
from ...model.parts.projections import input_norm, normed, project
from .effective import Effective, values_of
from .patterns import Score, best, unmeasured

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.run import Run
    from ...model.running.worker import Job

#: Tokens that direct copying is read on, and in how many groups its spread is.
COPIED, GROUPS = 128, 8
#: What a head writes to the logits is rounding where it is smaller than this, relative to what could be written.
NEXT_TO_NOTHING = 1e-6
#: Rows of the unembedding that its null is drawn from: so many at most.
DRAWN = 2048
#: Columns of the unembedding that meet what all heads of a layer write.
AT_ONCE = 4096
#: A token is copied where it is among so many of the whole vocabulary, which are at most this share of it.
TOP, SHARE = 5, 0.05


@dataclass
class Circuit:
    """The OV circuits of the heads of one layer between some tokens that are read and all that can be written.

    ``values[head, token]`` is what a head gathers of one token, ``writes[head]`` what its numbers add to what the
    unembedding reads, before the scales of the norms behind it.
    """

    layer: int
    values: Float[Tensor, "head token d_head"]
    writes: Float[Tensor, "head d_head d_model"]


@torch.no_grad()
def circuit(model: Model, layer: int, x: Float[Tensor, "token d_model"]) -> Circuit:
    """The OV circuits of ``layer`` on the streams ``x``, read through its own norm (its bias left out)."""
    geo, norm = model.geometry[layer], input_norm(model, layer)
    read = norm.push(x) * norm.scale(x)[:, None]
    values = values_of(model, layer, read)
    final, outlet = model.norm(model.anatomy.final_norm), outlet_of(model, "attn", layer)
    way = model.carried(layer, model.n_layers, "attn")
    writes = torch.stack([final.push(outlet.push(rows) * way) for rows in model.out(layer).by_head(geo.n_heads)])
    return Circuit(layer, values.repeat_interleave(geo.group, 0), writes * model.logit_scale)


def rows_of(model: Model, tokens: Sequence[int]) -> Float[Tensor, "token d_model"]:
    """Rows of the unembedding less their mean: a logit that all tokens share says nothing."""
    rows = model.unembedding.outputs(torch.tensor(list(tokens), device=model.home))
    return rows - rows.mean(0)


@torch.no_grad()
def eigenvalues(
    values: Float[Tensor, "*head token d_head"], logits: Float[Tensor, "*head d_head token"]
) -> Float[Tensor, "*head d_head"]:
    """The eigenvalues of ``values @ logits`` [token, token] that can be other than 0, from d_head numbers squared."""
    found: Tensor = torch.linalg.eigvals(logits.double() @ values.double())
    return found


def met(
    writes: Float[Tensor, "head d_head d_model"], rows: Float[Tensor, "token d_model"]
) -> Float[Tensor, "head d_head token"]:
    """``writes @ rows.T``; 0 for a head where they cancel up to rounding, which has no sign."""
    logits = writes @ rows.T
    most = writes.flatten(1).norm(dim=1) * rows.norm()
    return torch.where((logits.flatten(1).norm(dim=1) > NEXT_TO_NOTHING * most)[:, None, None], logits, 0.0)


def positive(found: Float[Tensor, "*head d_head"]) -> Float[Tensor, "*head"]:
    """Their sum over the sum of their sizes: 1 where all are positive, -1 where all are negative (Elhage et al. 2021);
    0 where they are 0."""
    size = found.abs().sum(-1)
    return torch.where(size > 1e-9 * (1 + size), found.sum(-1).real / size.clamp_min(1e-30), 0.0).float()


def by_layer(model: Model) -> Iterator[tuple[int, int]]:
    """(layer, heads) of those whose values are a known projection of what is read."""
    for layer in range(model.n_layers):
        if model.heads_of(layer) and model.level(layer).values:
            yield layer, model.heads_of(layer)


def eigenvalue_scores(
    model: Model, read: Effective, draws: int, generator: torch.Generator, job: Job | None = None
) -> Score:
    """The share of positive eigenvalues of every head's OV circuit between the tokens of ``read``; its spread over
    quarters of them, and its null with the rows of the unembedding permuted."""
    out, count = unmeasured(model, ""), len(read.tokens)
    rows = rows_of(model, read.tokens)
    orders = [torch.randperm(count, generator=generator) for _ in range(draws)]
    quarters = torch.randperm(count, generator=generator).chunk(4)
    null = torch.full((draws, model.n_layers, model.n_heads), torch.nan)
    for layer, heads in by_layer(model):
        _tell(job, layer, model, "eigenvalues")
        found = circuit(model, layer, read.of(layer))
        logits = met(found.writes, rows)
        out.values[layer, :heads] = positive(eigenvalues(found.values, logits)).cpu()
        parts = [positive(eigenvalues(found.values[:, q], logits[..., q])) for q in quarters]
        out.spread[layer, :heads] = torch.stack(parts).std(0, unbiased=False).cpu()
        for draw, order in enumerate(orders):
            null[draw, layer, :heads] = positive(eigenvalues(found.values, logits[..., order])).cpu()
    out.null = best(null)
    return out


def own_tokens(
    model: Model, read: Effective, draws: int, generator: torch.Generator, job: Job | None = None
) -> tuple[Score, Score]:
    """(direct copying, negative copying): the share of tokens that are among those of the whole vocabulary that the
    head promotes (suppresses) most where it reads them, at most :data:`TOP`; constants and ties count for nothing.

    Their null permutes the rows of the unembedding: another token's row stands for the token's own.
    """
    chosen = torch.randperm(len(read.tokens), generator=generator)[:COPIED]
    ids, vocabulary = [read.tokens[i] for i in chosen.tolist()], model.vocab_size
    top = max(1, min(TOP, int(SHARE * vocabulary)))
    sample = torch.randperm(vocabulary, generator=generator)[:DRAWN]
    orders = torch.stack([torch.randperm(len(sample), generator=generator)[: len(ids)] for _ in range(draws)])
    rows = model.unembedding.outputs(torch.tensor(ids, device=model.home))
    scores = unmeasured(model, ""), unmeasured(model, "")
    nulls = torch.full((2, draws, model.n_layers, model.n_heads), torch.nan)
    groups = torch.arange(len(ids)).chunk(min(GROUPS, len(ids)))
    drawn = model.unembedding.outputs(sample.to(model.home))
    for layer, heads in by_layer(model):
        _tell(job, layer, model, "direct copying")
        found = circuit(model, layer, read.of(layer)[chosen])
        written = torch.cat([found.values[head] @ found.writes[head] for head in range(heads)])
        bounds = [bound.view(heads, -1) for bound in _bounds(model, written, top)]
        for head, (each, high, low) in enumerate(zip(written.view(heads, len(ids), -1), *bounds, strict=True)):
            elsewhere = each @ drawn.T
            at = elsewhere.gather(1, orders.T.to(elsewhere.device)).T
            own = (each * rows).sum(-1)
            for which, (hit, chance) in enumerate(((own > high, at > high), (own < low, at < low))):
                shares = torch.stack([hit[g].float().mean() for g in groups])
                scores[which].values[layer, head] = float(hit.float().mean())
                scores[which].spread[layer, head] = float(shares.std(unbiased=False))
                nulls[which, :, layer, head] = chance.float().mean(-1).cpu()
    for score, null in zip(scores, nulls, strict=True):
        score.null = best(null)
    return scores


def _bounds(
    model: Model, written: Float[Tensor, "token d_model"], top: int
) -> tuple[Float[Tensor, "token"], Float[Tensor, "token"]]:
    """What a logit must be above to be among the ``top`` largest of the vocabulary, and below for the smallest."""
    high = low = written.new_zeros(len(written), 0)
    for start in range(0, model.vocab_size, AT_ONCE):
        columns = torch.arange(start, min(start + AT_ONCE, model.vocab_size), device=model.home)
        logits = written @ model.unembedding.outputs(columns).T
        high = torch.cat([high, logits], 1)
        low = torch.cat([low, logits], 1)
        high = high.topk(min(top + 1, high.shape[1])).values
        low = low.topk(min(top + 1, low.shape[1]), largest=False).values
    # A rounding apart is no order: a head that writes nothing promotes nothing.
    slack = 1e-6 * torch.maximum(high.abs().amax(1), low.abs().amax(1)) + 1e-12
    return high[:, -1] + slack, low[:, -1] - slack


def own_keys(
    model: Model, read: Effective, run: Run, draws: int, generator: torch.Generator, job: Job | None = None
) -> Score:
    """The share of tokens whose prediction finds them: as a query the token's row of the unembedding, as long as the
    stream is there, and among the keys of all tokens its own scores among the highest.

    Rotary positions are those of three distances in ``run``, and the share is over tokens and distances.
    """
    chosen = torch.randperm(len(read.tokens), generator=generator)[:COPIED]
    count = len(chosen)
    top = max(1, min(TOP, int(SHARE * count)))
    orders = torch.stack([torch.randperm(count, generator=generator) for _ in range(draws)])
    final = model.norm(model.anatomy.final_norm)
    predicted = final.pull(rows_of(model, [read.tokens[i] for i in chosen.tolist()]))
    predicted = predicted / predicted.norm(dim=-1, keepdim=True).clamp_min(1e-30)
    out, why = unmeasured(model, ""), ""
    null = torch.full((draws, model.n_layers, model.n_heads), torch.nan)
    key, last = 1, run.n_positions - 1
    distances = sorted({min(last - key, d) for d in (1, 4, 12)})
    for layer, heads in by_layer(model):
        if not model.level(layer).scores:
            why = model.level(layer).scores.reason
            continue
        _tell(job, layer, model, "own keys")
        stream = run.record.streams[layer]
        asks = predicted * stream[1:].float().norm(dim=-1).mean()
        q_in, k_in = (normed(model, layer, x.to(stream.dtype)) for x in (asks, read.of(layer)[chosen]))
        hits, chance = torch.zeros(heads, count), torch.zeros(draws, heads)
        for distance in distances:
            k = project(model, run.record, layer, "k", k_in, at=key).final
            q = project(model, run.record, layer, "q", q_in, at=key + distance).final
            scores = (q @ k.transpose(-1, -2)).cpu()
            bound = scores.topk(min(top + 1, count)).values[..., -1] + 1e-6 * scores.abs().amax(-1)
            hits += (scores.diagonal(dim1=1, dim2=2) > bound).float()
            at = scores.gather(2, orders.T[None].expand(heads, -1, -1))
            chance += (at > bound[..., None]).float().mean(1).T
        hits, chance = hits / len(distances), chance / len(distances)
        out.values[layer, :heads] = hits.mean(-1)
        groups = hits.chunk(min(GROUPS, count), -1)
        out.spread[layer, :heads] = torch.stack([g.mean(-1) for g in groups]).std(0, unbiased=False)
        null[:, layer, :heads] = chance
    out.null = best(null)
    if not bool(out.values.isfinite().any()):
        return unmeasured(model, why or "no head reads what is known")
    return out


def _tell(job: Job | None, layer: int, model: Model, what: str) -> None:
    if job is not None:
        job.progress(layer, model.n_layers, what)
