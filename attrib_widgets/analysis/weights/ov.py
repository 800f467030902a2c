"""What a head would write if it read a token: its OV circuit, token by token, and how much of a bar that explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.anatomy.linear import CHUNK
from ...model.identity.steady import steady
from ...model.parts.attention import attend, value_scale
from ...model.parts.outlet import outlet_of
from ...model.parts.projections import input_norm, kv_head
from ...model.selfcheck.levels import need
from ...result import Result, Table
from ...words.components import Component, ComponentLike, component
from ...words.errors import AttribError, ComponentError
from ...words.several import listed
from ...words.targets import TokenLike
from ...words.text import share, signed, visible
from ..attribution.attribution import refuse_other
from ..inputs import how_many_of
from ..opening.heads import carried_along, explained_z
from ..roles.effective import Effective, Kind, effective, values_of

if TYPE_CHECKING:
    import pandas as pd

    from ...model.model import Model
    from ..attribution.attribution import Attribution

#: A token that the head promotes or suppresses: its text, its id and the logits that are added.
Written = tuple[str, int, float]


@dataclass(eq=False, repr=False)
class OVTable(Result):
    """What one head would write for each of some tokens, in logits at the attribution's position per unit of attention.

    Attributes:
        tokens: their ids; promoted, suppressed: of each the tokens that it raises and lowers most; toward: what it adds
            to the number that is explained. Value biases are left out, which write the same whatever is read.
        kind: what stands for a token: the embedding, or with what the first MLP writes for it, whichever explains more.
        predicted: what the head would have carried in this run by the table, with the attention that it paid; actual:
            what it carried; by_kind: the prediction of every kind that was tried.
        gated: whether what the head gathered is multiplied, number by number, before it is written: held as it was.
    """

    attribution: Attribution
    head: Component
    tokens: list[int]
    promoted: list[list[Written]]
    suppressed: list[list[Written]]
    toward: Float[Tensor, "token"]
    kind: Kind
    predicted: float
    actual: float
    by_kind: dict[Kind, float]
    gated: bool = False

    @property
    def explained(self) -> float:
        """The share of what the head carried that the table gives: 1 where all of it, 0 or less where none."""
        return 1 - abs(self.actual - self.predicted) / max(abs(self.actual), 1e-30)

    def __getitem__(self, token: TokenLike) -> list[Written]:
        """What the head promotes most where it reads ``token``.

        Raises:
            ComponentError: the table has no such row.
        """
        return self.promoted[self._row(token)]

    def _row(self, token: TokenLike) -> int:
        number = self.attribution.model.single_token(token)
        if number not in self.tokens:
            raise ComponentError(
                f"{visible(self.attribution.model.token(number))} is no row of this table.", "Name it: tokens=[...]."
            )
        return self.tokens.index(number)

    def summary(self) -> Table:
        model, unit = self.attribution.model, self.attribution.unit
        rows = [
            [visible(model.token(token)), _said(up), _said(down), signed(value)]
            for token, up, down, value in zip(
                self.tokens, self.promoted, self.suppressed, self.toward.tolist(), strict=True
            )
        ]
        note = (
            f"read as {self.kind}, which gives {signed(self.predicted)} {unit} here, where {self.head} carried "
            f"{signed(self.actual)}, and so explains {part_said(self.explained)} of it"
        )
        through = "norms and the gate as they" if self.gated else "norms as they"
        foot = f"per unit of attention, through the {through} were in this run; positions and value biases left out"
        columns = ["if it reads", "it writes for", "and against", f"to {visible(self.attribution.target.short(model))}"]
        return Table(f"What {self.head} would write", columns, rows[:12], [], note, foot)

    def to_dataframe(self) -> pd.DataFrame:
        """One row per token that is read and token that is written for or against: ``read``, ``written``, ``logits``,
        ``toward`` (what the read token adds to the number that is explained)."""
        import pandas as pd

        rows = [
            (self.attribution.model.token(token), text, value, float(toward))
            for token, up, down, toward in zip(self.tokens, self.promoted, self.suppressed, self.toward, strict=True)
            for text, _, value in [*up, *down]
        ]
        return pd.DataFrame(rows, columns=["read", "written", "logits", "toward"])


def part_said(explained: float) -> str:
    """A share that is explained, in words: there is no less than none."""
    return share(explained) if explained > 0 else "none"


def _said(written: Sequence[Written]) -> str:
    return "  ".join(f"{visible(text)}\u00a0{signed(value)}" for text, _, value in written[:3])


@steady()
@torch.no_grad()
def ov_table(
    a: Attribution, which: ComponentLike, tokens: TokenLike | Sequence[TokenLike] | None = None, *, k: int = 5
) -> OVTable:
    """ "If it reads X, it writes for Y": the OV circuit of one head, token by token.

    A token stands for its effective embedding: what the head's layer would read of it without a position or neighbour.
    Whether that is the embedding, or with what the first MLP writes for it, is decided by which explains more of what
    the head carried in this run, with the attention that it paid, and is printed. A gate of what it gathered is held
    as it was in the run, and so are norms: at a token's own positions, or (of one that is not in the prompt) at the
    mean of all but the first, where there are others. Memory is that of one row
    of the vocabulary for each token, a chunk at a time.

    Args:
        tokens: what it is to read: one or several, as text or id; None for those of the prompt, each once.
        k: tokens that are named for and against.

    Raises:
        ComponentError: no head of this model, or above what is explained; AttribError: no attribution, no tokens, or a
            ``k`` below 1.
        GranularityError: what it carries is not known.
    """
    refuse_other(a)
    part, k = component(which), how_many_of(k, "tokens")
    model, run, at = a.model, a.run, a.reading.position
    layer, index = part.layer or 0, part.index or 0
    if part.kind != "head" or index >= model.heads_of(layer) or layer >= a.reading.point.attentions:
        raise ComponentError(f"{part} is not a head below what is explained.", model.geometry.remedy(layer))
    need(model, "values", layer)
    run.check_fresh()
    asked = list(dict.fromkeys(run.ids if tokens is None else [model.single_token(t) for t in listed(tokens)]))
    if not asked:
        raise AttribError("There are no tokens to read.", "Leave out tokens=, or name one.")
    u, seen = explained_z(a, part), attend(model, run.record, layer, [index], slice(at, at + 1))
    found, gate = carried_along(run, part, at, u, a[part], seen, 0, 0), seen.gate_at(0, 0)
    direction, scales = found.direction, value_scale(model, run.record, layer, index)
    assert direction is not None  # the layer's values are exact
    actual = float(found.values.sum())
    read = effective(model, list(dict.fromkeys([*run.ids, *asked])))
    place = {token: number for number, token in enumerate(read.tokens)}
    here = torch.tensor([place[i] for i in run.ids])
    there = input_norm(model, layer).scale(run.record.streams[layer])
    by_kind: dict[Kind, float] = {}
    for name, streams in kinds(read, layer).items():
        by_kind[name] = float((found.weights * (as_read(model, layer, streams[here], there) @ direction)).sum())
    kind = min(by_kind, key=lambda name: abs(actual - by_kind[name]))
    own = [[p for p, i in enumerate(run.ids) if i == token] for token in asked]

    def typical(held: Float[Tensor, "position"]) -> Float[Tensor, "token"]:
        elsewhere = (held[1:] if len(held) > 1 else held).mean()
        return torch.stack([held[mine].mean() if mine else elsewhere for mine in own])

    x = as_read(model, layer, kinds(read, layer)[kind][[place[i] for i in asked]], typical(there))
    scales = None if scales is None else typical(scales)
    d, write = model.geometry[layer].d_head, outlet_of(model, "attn", layer)
    gathered = values_of(model, layer, x, kv_head(model, layer, index), scales)[0]
    gathered = gathered if gate is None else gathered * gate
    written = write.push(gathered @ model.out(layer).rows(index * d, (index + 1) * d))
    written = (
        written * write.scale(run.record.attn_out[layer][at : at + 1])[0] * model.carried(layer, model.n_layers, "attn")
    )
    toward = x @ direction if scales is None else x @ direction * scales
    final = model.norm(model.anatomy.final_norm)
    up, down = top_tokens(a, final.push(written) * final.scale(run.record.streams[-1][at]), k)
    return OVTable(a, part, asked, up, down, toward.cpu(), kind, by_kind[kind], actual, by_kind, gate is not None)


def kinds(read: Effective, layer: int) -> dict[Kind, Float[Tensor, "token d_model"]]:
    """What may stand for tokens at a head of ``layer``: what the first MLP writes comes after the first layer's."""
    found: dict[Kind, Tensor] = {"embedding": read.plain}
    if layer > 0 and read.further is not None:
        found["embedding + first MLP"] = read.further
    return found


def as_read(
    model: Model, layer: int, x: Float[Tensor, "token d_model"], scales: Float[Tensor, "token"]
) -> Float[Tensor, "token d_model"]:
    """Streams as the attention of ``layer`` reads them, its norm held at ``scales``."""
    norm = input_norm(model, layer)
    return norm.push(x.float()) * scales[:, None] + norm.bias


def top_tokens(
    a: Attribution, written: Float[Tensor, "row d_model"], k: int
) -> tuple[list[list[Written]], list[list[Written]]]:
    """(the ``k`` logits that each vector behind the final norm raises most, and those that it lowers most), a chunk of
    the vocabulary at a time."""
    model = a.model
    high: tuple[Tensor, Tensor] | None = None
    low: tuple[Tensor, Tensor] | None = None
    for start in range(0, model.vocab_size, CHUNK):
        ids = torch.arange(start, min(start + CHUNK, model.vocab_size), device=model.home)
        logits = written @ model.unembedding.outputs(ids).T * model.logit_scale
        high, low = _kept(high, logits, ids, k, True), _kept(low, logits, ids, k, False)
    assert high is not None and low is not None

    def named(found: tuple[Tensor, Tensor]) -> list[list[Written]]:
        return [
            [(model.token(i), i, v) for v, i in zip(values, ids, strict=True)]
            for values, ids in zip(found[0].tolist(), found[1].tolist(), strict=True)
        ]

    return named(high), named(low)


def _kept(
    before: tuple[Tensor, Tensor] | None, logits: Tensor, ids: Tensor, k: int, largest: bool
) -> tuple[Tensor, Tensor]:
    values, index = logits.topk(min(k, logits.shape[1]), largest=largest)
    found = values, ids[index]
    if before is not None:
        both = torch.cat([before[0], found[0]], 1), torch.cat([before[1], found[1]], 1)
        values, index = both[0].topk(min(k, both[0].shape[1]), largest=largest)
        found = values, both[1].gather(1, index)
    return found
