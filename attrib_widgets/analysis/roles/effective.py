"""Effective embeddings: what a head would read of a token by itself, at no position.

The embedding, or (for heads behind the first layer) the embedding and what the first MLP writes for it, as McDougall et
al. 2023 (arXiv 2310.04625) read GPT-2. Attention writes nothing in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.parts.attention import attend
from ...model.parts.projections import qkv_projection, value_factor, value_norm
from ...model.tracing.edits import Edit

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.network import Network
    from ...model.run import Run

Kind = Literal["embedding", "embedding + first MLP"]
#: Tokens that are looked up in one pass.
AT_ONCE = 256


@dataclass(frozen=True)
class Effective:
    """Streams of single ``tokens``: the embedding, and with what the first MLP writes for it (None: ``why`` not)."""

    tokens: tuple[int, ...]
    plain: Float[Tensor, "token d_model"]
    further: Float[Tensor, "token d_model"] | None
    why: str = ""

    def of(self, layer: int) -> Float[Tensor, "token d_model"]:
        """What a head of ``layer`` would read: the first MLP writes for all layers but its own, where it is known."""
        return self.plain if layer == 0 or self.further is None else self.further

    @property
    def kind(self) -> Kind:
        """What heads behind the first layer are taken to read."""
        return "embedding" if self.further is None else "embedding + first MLP"

    def read_as(self, kind: Kind) -> Float[Tensor, "token d_model"]:
        """The streams of one kind.

        Raises:
            KeyError: there is none of it.
        """
        if kind == "embedding + first MLP" and self.further is not None:
            return self.further
        return {"embedding": self.plain}[kind]


def _why(model: Model) -> str:
    """Why the first MLP cannot be heard by itself; "" where it can."""
    level = model.level(0)
    return "the model has one layer" if model.n_layers < 2 else "" if level.experiments else level.experiments.reason


@torch.no_grad()
def in_place(run: Run) -> Effective:
    """The effective embeddings of the tokens of a run, each at its own position."""
    rec, why = run.record, _why(run.model)
    if why:
        return Effective(tuple(run.ids), rec.streams[0].float(), None, why)
    silent = Edit("attn", 0, tuple(range(run.n_positions)), torch.zeros_like(rec.attn_out[0]))
    return Effective(tuple(run.ids), rec.streams[0].float(), run.edited([silent]).record.streams[1].float())


@torch.no_grad()
def effective(model: Model, tokens: Sequence[int], position: Float[Tensor, "d_model"] | None = None) -> Effective:
    """The effective embeddings of some tokens, from passes in which the first layer reads them without a position (or
    at the learned ``position``) and its attention writes nothing."""
    why = _why(model)
    step = min(AT_ONCE, model.max_positions or AT_ONCE)
    plain: list[Tensor] = []
    further: list[Tensor] = []
    for start in range(0, len(tokens), step):
        run = model.run(list(tokens[start : start + step]))
        rec, at = run.record, tuple(range(run.n_positions))
        stream = rec.streams[0].float()
        stream = stream if rec.pos is None else stream - rec.pos.float()
        plain.append(stream if position is None else stream + position.float())
        if not why:
            alone = plain[-1].to(rec.streams[0].dtype)
            silent = torch.zeros_like(rec.attn_out[0])
            edited = run.edited([Edit("pre", 0, at, alone), Edit("attn", 0, at, silent)])
            further.append(edited.record.streams[1].float())
    return Effective(tuple(tokens), torch.cat(plain), torch.cat(further) if further else None, why)


def values_of(
    model: Network,
    layer: int,
    read: Float[Tensor, "token d_model"],
    head: int | None = None,
    scales: Float[Tensor, "token"] | None = None,
) -> Float[Tensor, "key_head token d_head"]:
    """What the heads of ``layer`` that hold values (one of them alone) make of what they read, biases left out: their
    norm with its own scale, or held at ``scales``, and their factor included."""
    made = qkv_projection(model, layer, "v", head).product(read)
    made = made.view(len(read), -1, model.geometry[layer].d_head).transpose(0, 1)
    if (norm := value_norm(model, layer)) is None:
        return made * value_factor(model, layer)
    held = norm.scale(made) if scales is None else scales
    return norm.push(made) * held[..., None]


@torch.no_grad()
def gates_heads(model: Model) -> bool:
    """Whether some layer multiplies what its heads gathered, number by number, by what the prompt decides."""

    def found() -> bool:
        run, layers = model.run([0, 1]), [i for i, level in enumerate(model.check.levels) if level.sources]
        return any(attend(model, run.record, layer).gate is not None for layer in layers if model.heads_of(layer))

    return model.kept("gates heads", found)


#: What weights alone say of such a model.
OPEN = "gates of what heads gather taken as open"
