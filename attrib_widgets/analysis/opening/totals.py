"""What each token of the prompt put into a number, whatever the way: the walk back with nothing left out.

With attention patterns, the scales of norms and the gates of MLPs held as they were, the network is linear, and the
number is the sum of what every position's embedding put into it, plus what biases put in. One forward pass records the
gates, and one backward pass, layer by layer, gives all totals: they are the limit of :mod:`.trace` when no row is
pruned. The map is the one that Golden 2025 (arXiv 2505.24293, "Large Language Models Are Locally Linear Mappings")
calls the detached Jacobian. How patterns and gates came about is not part of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.anatomy.rounding import refuse_above
from ...model.identity.steady import during, steady
from ...model.parts.closing import stream_error
from ...model.parts.mlp import mlp_norm
from ...model.parts.projections import input_norm, qkv_projection
from ...result import Sum, Table, shown
from ...words.components import Component, ComponentLike, component, whole
from ...words.errors import AttribError, ComponentError
from ...words.text import digits_of, number, signed, visible
from ..reading.features import Inside
from ..reading.neurons import mlp_point
from .heads import stream_direction
from .step import RecordedMLP, held_heads, held_mlps, held_z, recorded_mlps

if TYPE_CHECKING:
    import pandas as pd

    from ...model.anatomy.norms import FrozenNorm
    from ...model.parts.attention import Attended
    from ..attribution.attribution import Attribution

MLPs = Literal["stop", "frozen"]
#: What is held, and what becomes of MLPs.
HELD: Mapping[MLPs, str] = {
    "stop": "attention and norms held, MLPs whole where they wrote",
    "frozen": "attention, norms and the gates of MLPs held",
}
#: Recorded MLPs by layer, and why others are not opened.
Opened: TypeAlias = tuple[dict[int, RecordedMLP], dict[int, str]]


@dataclass(eq=False, repr=False)
class TokenTotals(Sum):
    """Exact totals of a held network. Made by :meth:`Attribution.token_totals`.

    Attributes:
        attribution: what was walked back from.
        parts: where the walk ends: ``embed``, ``pos`` (learned positions), and what is not opened on the way (MLPs that
            stop, mixtures of experts, whole layers).
        values: what each of them put into the number, by the position where it wrote.
        constants: what nothing in the prompt wrote: biases, corrections, and the measured rounding.
        mlps: ``"frozen"`` or ``"stop"``; notes: remarks for the reader.
    """

    attribution: Attribution
    parts: list[Component]
    values: Float[Tensor, "position part"]
    constants: list[tuple[Component, float]]
    mlps: MLPs
    notes: list[str] = field(default_factory=list)

    @property
    def unit(self) -> str:
        """Unit of the target."""
        return self.attribution.unit

    @property
    def explained(self) -> float:
        """The model's own number."""
        return self.attribution.actual

    @property
    def positions(self) -> Float[Tensor, "position"]:
        """The total of every position."""
        return self.values.double().sum(-1).float()

    def terms(self) -> Float[Tensor, "term"]:
        """Everything that is summed: all values and all constants."""
        fixed = torch.tensor([v for _, v in self.constants], dtype=torch.float64)
        return torch.cat([self.values.double().flatten(), fixed])

    def __getitem__(self, which: int | ComponentLike) -> float:
        """The total of a position (an int), or of a part at all positions, or a constant by its name."""
        if isinstance(which, int) or whole(which) is not None:
            return float(self.positions[self.attribution.run.position(which)])  # type: ignore[arg-type]
        wanted, fixed = component(which), dict(self.constants)
        if wanted in self.parts:
            return float(self.values[:, self.parts.index(wanted)].double().sum())
        if wanted not in fixed:
            names = ", ".join(map(str, [*self.parts, *fixed]))
            raise ComponentError(f"{wanted} is opened here, or not part of it.", f"Ends are {names}.")
        return fixed[wanted]

    @property
    def opened(self) -> bool:
        """Whether the walk ends at the tokens alone, so that a total is of its token; what a part that is not opened
        wrote counts at the position where it wrote it."""
        return all(c.is_embedding for c in self.parts)

    def leading(self) -> int:
        """The position with the largest total by size."""
        return int(self.positions.abs().argmax())

    def title(self) -> str:
        """The finding in one line: the token that carries most, and of what."""
        a, most = self.attribution, self.leading()
        token, value = visible(a.run.tokens[most]), signed(float(self.positions[most]))
        who = f"{token} carries {value}" if self.opened else f"What was written at {token} holds {value}"
        of = " ".join([number(a.actual), *([a.unit] if a.unit in ("logits", "nats") else [])])
        return f"{who} of {of}, the {a.target.words(a.model, a.run)}"

    def closing(self) -> str:
        """What positions and constants sum to, what was held, and what was not opened."""
        digits, fixed = digits_of(self.positions.tolist()), sum(v for _, v in self.constants)
        words = signed(float(self.positions.double().sum()), digits)
        unit = f", in {self.unit}" if self.unit in ("logits", "nats") else ""
        sums = (
            f"Observed{unit}, with {HELD[self.mlps]}: what was put in at these positions ({words}) and constants "
            f"({signed(fixed, digits)}: biases, rounding) sum to {number(self.total, digits)}; "
            f"the model’s own number is {number(self.explained, digits)}."
        )
        return " ".join([sums, *(f"{note.rstrip('.')}." for note in self.notes)])

    def summary(self) -> Table:
        total, tokens = self.positions, self.attribution.run.tokens
        order = sorted(shown(total, 10))
        digits = digits_of(total.tolist())
        rows = [[str(p), visible(tokens[p]), signed(float(total[p]), digits)] for p in order]
        bars: list[float | None] = [float(total[p]) for p in order]
        rest = sum(float(v) for p, v in enumerate(total) if p not in order)
        if len(order) < len(total):
            rows.append(["", f"{len(total) - len(order)} other tokens", signed(rest, digits)])
            bars.append(rest)
        fixed = sum(v for _, v in self.constants)
        rows.append(["", "constants: biases, rounding", signed(fixed, digits)])
        bars.append(fixed)
        note = [*self.notes, f"By all paths, {HELD[self.mlps]}: exact for this prompt, observed, not yet tested."]
        columns = ["position", "token", self.unit]
        return Table(self.title(), columns, rows, bars, "\n".join(note), "   ".join(self.checks()))

    def to_dataframe(self) -> pd.DataFrame:
        """One row per position and part, then one per constant: ``position``, ``token``, ``component``, ``value``."""
        import pandas as pd

        rows: list[tuple[int | None, str | None, str, float]] = []
        for p, token in enumerate(self.attribution.run.tokens):
            rows += [(p, token, str(c), float(v)) for c, v in zip(self.parts, self.values[p], strict=True)]
        rows += [(None, None, str(c), v) for c, v in self.constants]
        frame = pd.DataFrame(rows, columns=["position", "token", "component", "value"])
        return frame.astype({"position": "Int64"})


def way(mlps: Any) -> MLPs:
    """``mlps`` as a way to treat MLPs.

    Raises:
        AttribError: it is none.
    """
    if mlps not in get_args(MLPs):
        raise AttribError(f"{mlps!r} is not a way to treat MLPs.", 'Use mlps="stop" or mlps="frozen".')
    found: MLPs = mlps
    return found


def opened_mlps(a: Attribution, mlps: MLPs) -> Opened:
    """The MLPs below the read point that are opened, and why others are not. ``"frozen"`` costs one forward pass."""
    below = range(a.reading.point.mlps) if mlps == "frozen" else ()
    return recorded_mlps(a.run, [layer for layer in below if a.model.level(layer).sublayers])


@steady()
@torch.no_grad()
def token_totals(a: Attribution, mlps: MLPs = "frozen", opened: Opened | None = None) -> TokenTotals:
    """See :meth:`Attribution.token_totals`; ``opened`` is what :func:`opened_mlps` gave, if at hand."""

    def walked() -> TokenTotals:
        return _Walk(a, way(mlps), opened or opened_mlps(a, mlps)).back()

    return during(a, ("token totals", mlps), walked)


class _Walk:
    """The backward pass: ``at`` is the direction of the stream that each position is read along, layer by layer."""

    def __init__(self, a: Attribution, mlps: MLPs, opened: Opened) -> None:
        self.opened = opened
        self.a, self.mlps, self.run, self.model, self.rec = a, mlps, a.run, a.model, a.run.record
        self.point, self.everywhere = a.reading.point, list(range(a.run.n_positions))
        self.inside = a.reading if isinstance(a.reading, Inside) else None
        u = stream_direction(a) if self.inside is None else self.inside.along
        self.at = torch.zeros(a.run.n_positions, a.model.d_model, device=a.model.home)
        if u is not None:
            self.at[a.position] = u
        self.constants: dict[Component, float] = defaultdict(float)
        self.ends: list[tuple[Component, Tensor]] = []
        rows = list(zip(a.components, a.values.double().tolist(), strict=True))
        # What is inside a sublayer is walked through with it, its biases too.
        for c, v in rows if self.inside is None else self.inside.constants:
            if not c.writes:
                self.constants[c] += v
        # The roundings of the stream and the heads are measured on the way.
        self.constants[Component("rounding")] = a.rounding["readout"]

    def back(self) -> TokenTotals:
        """From the read point to the embedding."""
        recorded, missing = self.opened
        if self.inside is not None:
            self._inside(self.inside, recorded.get(self.inside.layer))
        for layer in reversed(range(self.point.attentions if self.inside is None else self.inside.layer)):
            if not self.model.level(layer).sublayers:
                self._stop(Component("layer", layer), self.rec.wrote(layer))
            else:
                self._layer(layer, recorded.get(layer))
        self._embedding()
        notes = list(dict.fromkeys(f"Not opened: {reason}" for reason in missing.values()))
        self.ends.reverse()
        values = torch.stack([v for _, v in self.ends], -1).float().cpu()
        fixed = [(c, v) for c, v in self.constants.items() if v or c.kind == "rounding"]
        return TokenTotals(self.a, [c for c, _ in self.ends], values, fixed, self.mlps, notes)

    # -- bookkeeping: everything along the directions of all positions, in float64 ----------------------------------
    def _along(self, tensor: Tensor, directions: Tensor) -> Float[Tensor, "position"]:
        return (tensor.double() * directions.double()).sum(-1)

    def _stop(self, part: Component, written: Tensor) -> None:
        self.ends.append((part, self._along(written, self.at)))

    def _fixed(self, name: str | Component, value: Tensor | float) -> None:
        self.constants[name if isinstance(name, Component) else Component(name)] += float(value)

    def _rounded(self, missed: Tensor, directions: Tensor) -> None:
        self._fixed("rounding", self._along(missed, directions).sum())

    # -- one layer ---------------------------------------------------------------------------------------------------
    def _layer(self, layer: int, opened: RecordedMLP | None) -> None:
        rec, model = self.rec, self.model
        has_mlp, through_mlp = layer < self.point.mlps, torch.zeros_like(self.at)
        if has_mlp:
            how = rec.streams[layer].dtype, model.parallel, slice(None), model.carry(layer)
            missed, bound = stream_error(rec, layer, *how)
            refuse_above(missed, bound, f"the sublayers of layer {layer} do not add up to what it writes")
            self._rounded(missed, self.at)
            self.at = self.at * model.carry(layer)
            if model.anatomy.beside and not rec.beside_first:
                self._stop(Component("beside", layer), rec.beside_write[layer])
            if opened is None:
                self._stop(Component("mlp", layer), rec.mlp_write[layer])
            else:
                through_mlp = self._mlp(layer, opened)
        self._before(layer, self.at, through_mlp, has_mlp)

    def _before(self, layer: int, beside: Tensor, through_mlp: Tensor, has_mlp: bool) -> None:
        """Past the attention: along ``beside``, what the MLP is added to, and ``through_mlp``, what that reads."""
        rec, model = self.rec, self.model
        joins = rec.joins.get(layer) if has_mlp else None
        passed = (beside if joins is None else joins[1].kept(beside)) + through_mlp
        if has_mlp and model.parallel:
            written = beside
        else:
            written = passed
            # What is read between attention and MLP is the sum of two recorded tensors, as the model rounds it.
            before = rec.passed(layer, rec.streams[layer].double())
            missed = rec.mid(layer).double() - before - rec.attn_write[layer].double()
            missed = missed - rec.beside_write[layer].double() if rec.beside_first else missed
            self._rounded(missed, through_mlp if has_mlp else beside)
        self.at = written
        if rec.beside_first:
            self._stop(Component("beside", layer), rec.beside_write[layer])
        passed = rec.passed(layer, passed)
        if model.level(layer).values:
            passed = passed + self._attention(layer)
        else:
            self._stop(Component("attn", layer), rec.attn_write[layer])
        self.at = passed

    def _normed(self, norm: FrozenNorm, x: Tensor, directions: Tensor, read: Tensor) -> Tensor:
        """Directions of a normed stream as directions of ``x``; ``read`` is what was read along them, less biases."""
        back = norm.pull(directions) * norm.scale(x)[:, None]
        biased = (directions @ norm.bias).double()
        self._fixed("norm.bias", biased.sum())
        self._fixed("rounding", (read.double() - self._along(x, back) - biased).sum())
        return back

    def _mlp(self, layer: int, made: RecordedMLP) -> Float[Tensor, "position d_model"]:
        held = held_mlps(self.run, layer, self.everywhere, self.at, made)
        self._fixed("neuron.bias", held.neuron_bias.sum())
        self._fixed(Component("mlp.bias", layer), held.mlp_bias.sum())
        self._fixed("rounding", held.rounding.sum())
        x = mlp_point(self.model, layer).stream(self.rec)
        return self._normed(mlp_norm(self.model, layer), x, held.directions, held.read)

    def _inside(self, reading: Inside, opened: RecordedMLP | None) -> None:
        """From inside a sublayer to the stream that its layer reads, nothing passing beside it."""
        layer, nothing = reading.layer, torch.zeros_like(self.at)
        if reading.sublayer == "mlp":
            if opened is None:
                self._stop(Component("mlp", layer), self.rec.mlp_write[layer])
                self.at = nothing
                return
            self._before(layer, nothing, self._mlp(layer, opened), True)
            return
        z = None
        if reading.z is not None:
            z = torch.zeros_like(self.rec.z[layer], dtype=torch.float32)
            z[reading.position] = reading.z
        if self.model.level(layer).values:
            self.at = self._attention(layer) if z is None else self._values(layer, z, *held_z(self.run, layer, z))
            return
        written = self._along(*((self.rec.attn_write[layer], self.at) if z is None else (self.rec.z[layer], z)))
        self.ends.append((Component("attn", layer), written))
        self.at = nothing

    def _attention(self, layer: int) -> Float[Tensor, "position d_model"]:
        rec, model, projection = self.rec, self.model, self.model.out(layer)
        held = held_heads(self.run, layer, self.at)
        here = held.here
        out, fixed = here.directions, here.constant.double().sum()
        missed, bound = projection.missed(
            rec.z[layer].float(), rec.attn_out[layer], held.product, model.out_lengths(layer)
        )
        refuse_above(missed, bound, f"the heads of layer {layer} do not add up to their output projection")
        self._fixed("rounding", here.rounding(missed).sum())
        own = fixed + (0.0 if projection.bias is None else (out @ projection.bias).double().sum())
        self._fixed(Component("attn.bias", layer), own)
        return self._values(layer, held.z, held.carried, held.values, held.attended)

    def _values(
        self,
        layer: int,
        z: Float[Tensor, "position heads_times_d_head"],
        carried: Float[Tensor, "head position d_head"],
        shared: Float[Tensor, "position key_heads_times_d_head"],
        found: Attended,
    ) -> Float[Tensor, "position d_model"]:
        """From what the heads hand on, along ``z``, to the stream that their values read (see :func:`held_z`)."""
        rec, model = self.rec, self.model
        recorded, through = (
            x.view(len(z), model.heads_of(layer), -1).transpose(0, 1) for x in (rec.z[layer].float(), z)
        )
        self._rounded(recorded - found.z, through)
        read = self._along(found.v, carried).sum(0)
        values = qkv_projection(model, layer, "v")
        if values.bias is not None:
            given = (shared @ values.bias).double()
            self._fixed("value.bias", given.sum())
            read = read - given
        return self._normed(input_norm(model, layer), rec.streams[layer], values.pull(shared), read)

    def _embedding(self) -> None:
        rec = self.rec
        if not self.model.anatomy.pos:
            self._stop(Component("embed"), rec.streams[0])
            return
        assert rec.embed is not None and rec.pos is not None
        self._stop(Component("pos"), rec.pos.expand_as(rec.embed))
        self._stop(Component("embed"), rec.embed)
        self._rounded(rec.streams[0].double() - rec.embed.double() - rec.pos.double(), self.at)
