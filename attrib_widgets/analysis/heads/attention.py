"""What heads attended to, and what one unit of their attention carries.

Weightings: ``probability`` (the pattern), ``value`` (times the norm of what is written, Kobayashi et al. 2020,
"Attention is Not Only a Weight"), ``contribution`` (times its contribution to a target).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.anatomy.rounding import refuse_above
from ...model.parts.attention import patterns
from ...model.parts.outlet import outlet_of
from ...model.parts.projections import qkv_projection, value_factor
from ...model.selfcheck.levels import need, reasons_of
from ...result import Result, Table, strongest
from ...words.components import Component, ComponentLike, component, head
from ...words.errors import ComponentError, TargetError
from ...words.several import named
from ...words.text import number, percent, placed, visible
from ..attribution.attribute import attribute
from ..inputs import as_run
from ..opening.heads import attention_direction, explained_z
from ..reading.features import Inside
from .held import held

if TYPE_CHECKING:
    import pandas as pd

    from ...model.model import Model, Prompt
    from ...model.run import Run
    from ...words.targets import TargetLike
    from ..attribution.attribution import Attribution

Weighting = Literal["probability", "value", "contribution"]
UNITS = {"probability": "probability", "value": "norm", "contribution": "logits"}


@dataclass(eq=False, repr=False)
class Attention(Result):
    """Attention of some heads on one prompt.

    Attributes:
        patterns: rows are destinations, columns sources; zero above the diagonal unless the model looks ahead; rows are
            never renormalised.
        sink: the share of each row that a learned sink took; None where the model has none.
        weighting: ``"probability"``, ``"value"`` or ``"contribution"``.
        returned: where pattern times values is not known to be what the heads wrote, why: the patterns are then those
            that the model's own softmax gives (and returns, asked for its attentions).
    """

    run: Run
    heads: list[Component]
    patterns: Float[Tensor, "head destination source"]
    sink: Float[Tensor, "head destination"] | None
    weighting: str = "probability"
    unit: str = "probability"
    returned: str = ""

    def __getitem__(self, which: ComponentLike) -> Float[Tensor, "destination source"]:
        wanted = component(which)
        if wanted not in self.heads:
            raise ComponentError(
                f"{wanted} is not among these heads.", f"They are {self.heads[0]} to {self.heads[-1]}."
            )
        return self.patterns[self.heads.index(wanted)]

    def weighted(self, weighting: Weighting, target: TargetLike | None = None) -> Attention:
        """The same heads under another weighting.

        Args:
            target: for ``"contribution"``: what the contributions are to, read at every destination (None: the
                model's top prediction at the last position).
        """
        if weighting not in UNITS:
            raise TargetError(f"{weighting!r} is not a weighting.", f"Use one of {', '.join(UNITS)}.")
        if weighting == "probability":
            return attention(self.run, self.heads)
        a = attribute(self.run, target)
        plain = attention(self.run, self.heads)
        table = {layer: unit_writes(a, layer) for layer in {h.layer or 0 for h in self.heads}}
        factor = []
        for h in self.heads:
            unit = table[h.layer or 0]
            if weighting == "value":
                factor.append(unit.norms[h.index or 0][None, :] * unit.post[:, None])
            else:
                factor.append(unit.carry[h.index or 0][None, :] * unit.dest[:, None])
        unit_name = a.unit if weighting == "contribution" else UNITS[weighting]
        return Attention(self.run, self.heads, plain.patterns * torch.stack(factor), plain.sink, weighting, unit_name)

    @property
    def title(self) -> str:
        """What is shown, in words."""
        whose = str(self.heads[0]) if len(self.heads) == 1 else f"{len(self.heads)} heads"
        weights = {"value": ", weighted by the norm of what is written", "contribution": ", weighted by contribution"}
        return f"Attention of {whose}{weights.get(self.weighting, '')}"

    @property
    def note(self) -> str:
        """How to read it."""
        return f"Each row is a reader, each column what it reads ({self.unit}). {self.returned_as}".strip()

    @property
    def returned_as(self) -> str:
        """A sentence that says so, where the patterns are those that the model returns and no more is known."""
        if not self.returned:
            return ""
        return f"Patterns as the model returns them; what was carried is not known: {self.returned}."

    def summary(self) -> Table:
        rows, tokens = [], placed(self.run.tokens)
        for i, h in enumerate(self.heads[:10]):
            row = self.patterns[i, -1]
            order = strongest(row, 3)
            told = percent if self.weighting == "probability" else number
            read = ", ".join(f"{tokens[s]} {told(float(row[s]))}" for s in order)
            sink = f"  (sink {float(self.sink[i, -1]):.2f})" if self.sink is not None else ""
            rows.append([str(h), read + sink])
        more = f"and {len(self.heads) - 10} more heads" if len(self.heads) > 10 else ""
        last = visible(self.run.tokens[-1])
        title = f"What {last} attends to ({self.unit})"
        return Table(title, ["head", "reads most from"], rows, note=self.returned_as, footer=more)

    @property
    def ahead(self) -> bool:
        """Whether a head reads tokens that stand after the reader: the pattern is then no triangle."""
        return bool(self.patterns.triu(1).any())

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``head``, ``destination``, ``source``, ``value``: all cells where a head looks ahead, else
        the lower triangle."""
        import pandas as pd

        n = self.run.n_positions
        t, s = torch.ones(n, n).nonzero().T if self.ahead else torch.tril_indices(n, n)
        parts = [
            pd.DataFrame(
                {"head": str(h), "destination": t.numpy(), "source": s.numpy(), "value": self.patterns[i, t, s].numpy()}
            )
            for i, h in enumerate(self.heads)
        ]
        return pd.concat(parts, ignore_index=True)


@torch.no_grad()
def attention(
    run: Run | Prompt, heads: ComponentLike | Sequence[ComponentLike] | None = None, *, model: Model | str | None = None
) -> Attention:
    """The attention patterns of one head, several, or (None) all of them.

    Recomputed from the recorded stream, whatever attention implementation the model was loaded with. Where heads are
    exact and only what they carried is not, the patterns are those that the model itself returns (``returned``).

    Args:
        run: a Run, or a prompt together with ``model``. None for the heads leaves out layers whose heads are not exact.

    Raises:
        GranularityError: heads were not shown to be exact on this model, or in that layer.
        ComponentError: no such head.
    """
    run = as_run(run, model)
    model = run.model
    need(model, "heads")
    if heads is None:
        wanted = [head(layer, h) for layer in range(model.n_layers) for h in range(model.heads_of(layer))]
    else:
        wanted = [component(h) for h in named(heads)]
        if not wanted:
            raise ComponentError("There are no heads.", "Name one or several, or leave them out: all.")
    for h in wanted:
        if h.kind == "head":
            need(model, "heads", h.layer)
        if h.kind != "head" or (h.index or 0) >= model.heads_of(h.layer or 0):
            raise ComponentError(f"{h} is not a head of {model.name}.", model.geometry.remedy(h.layer or 0))
    kept: dict[Component, tuple[Tensor, Tensor | None]] = {}
    reasons: dict[int, str] = {}
    for layer in dict.fromkeys(h.layer or 0 for h in wanted):
        own = [h for h in dict.fromkeys(wanted) if h.layer == layer]
        numbers = [h.index or 0 for h in own]
        every = numbers == list(range(model.heads_of(layer)))
        found, reasons[layer] = patterns(model, run.record, layer, None if every else numbers)
        for i, h in enumerate(own):
            kept[h] = found.pattern[i].cpu(), None if found.sink is None else found.sink[i].cpu()
    sinks = [sink for _, sink in (kept[h] for h in wanted) if sink is not None]
    shown = [kept[h][0] for h in wanted]
    both = torch.stack(shown), torch.stack(sinks) if len(sinks) == len(wanted) else None
    return Attention(run, wanted, *both, returned=reasons_of(reasons, len(reasons)))


@dataclass
class UnitWrites:
    """What one unit of attention to each source writes, for all heads of a layer.

    ``carry``: its contribution to the target at the attribution's position, the value bias left out; ``dest``: the
    frozen scales of every destination relative to that position (NaN but for that position in a layer that gates what
    its heads gathered: other destinations have other gates); ``norms``: the length of what is written there, and
    ``post`` the scale of a post-norm at every destination relative to that position (1 without one). ``value_bias`` and
    ``rounding`` (of pattern times values) complete the head's bar. ``row`` is the pattern's at that position, ``sink``
    what a learned sink took of every row.
    """

    carry: Float[Tensor, "head source"]
    dest: Float[Tensor, "destination"]
    norms: Float[Tensor, "head source"]
    post: Float[Tensor, "destination"]
    value_bias: Float[Tensor, "head"]
    rounding: Float[Tensor, "head"]
    row: Float[Tensor, "head source"]
    sink: Float[Tensor, "head destination"] | None
    pattern: Float[Tensor, "head destination source"] | None = None


def _alone(scales: Float[Tensor, "destination"], at: int) -> Float[Tensor, "destination"]:
    """``scales`` at ``at``, NaN elsewhere."""
    out = torch.full_like(scales, torch.nan)
    out[at] = scales[at]
    return out


@torch.no_grad()
def unit_writes(a: Attribution, layer: int, patterns: bool = False) -> UnitWrites:
    """See :class:`UnitWrites`; with the whole ``pattern`` where ``patterns`` are asked for.

    Raises:
        ComponentError: the layer writes after the explained number was read.
    """
    if layer >= a.reading.point.attentions:
        raise ComponentError(
            f"Layer {layer} writes after the {a.target.words(a.model)} was read.",
            f"Its heads are in layers below {a.reading.point.attentions}.",
        )
    model, rec, at = a.model, a.run.record, a.reading.position
    geo = model.geometry[layer]
    reading = a.reading
    inside = reading if isinstance(reading, Inside) else None
    if inside is None:
        u = attention_direction(a, layer)  # first of all: refuses a stale run
        through = torch.stack([rows @ u for rows in model.out(layer).by_head(geo.n_heads)])  # a head at a time
    else:
        through = torch.stack([explained_z(a, head(layer, h)) for h in range(geo.n_heads)])
    known, pattern = held(a.run, layer, at, patterns)
    row, write = known.rows[at], outlet_of(model, "attn", layer)
    z = rec.z[layer][at].float().view(geo.n_heads, geo.d_head)
    gathered = torch.einsum("hs,hsd->hd", row, known.v)
    gate = known.gates.get(at)
    if gate is not None:
        gathered = gathered * gate
    whole_out, through = through, through if gate is None else through * gate
    bias = qkv_projection(model, layer, "v").bias if model.level(layer).values else None
    if bias is None:
        constant = through.new_zeros(geo.n_heads)
    else:
        own = bias.view(-1, geo.d_head).repeat_interleave(geo.group, 0) * value_factor(model, layer)
        constant = (own * through).sum(-1)
    carry = (known.v @ through[..., None])[..., 0] - constant[:, None]
    dest = torch.ones(len(rec.attn_out[layer]), device=through.device)
    if inside is None:
        dest = reading.norm.scale(reading.point.stream(rec))
    post = torch.ones_like(dest) if inside is not None and inside.z is not None else write.scale(rec.attn_out[layer])
    dest = dest * post
    norms = known.norms_at(at) * post[at]
    value_bias = constant * row.sum(-1)
    relative = post / post[at]
    written = dict(zip(a.components, a.values.tolist(), strict=True))
    bars = torch.tensor([written[head(layer, h)] for h in range(geo.n_heads)])
    slack = 1e-4 * (z.norm(dim=-1) * whole_out.norm(dim=-1)) + 1e-12
    missed = bars - (z * whole_out).sum(-1).cpu()
    refuse_above(missed, slack.cpu(), f"the heads of layer {layer} no longer write what their bars say")
    rounding = ((z - gathered) * whole_out).sum(-1).cpu()
    if gate is not None:  # what a read is worth elsewhere depends on the gates there
        dest, relative = _alone(dest, at), _alone(relative, at)
    dest, sink = (dest / dest[at]).cpu(), None if known.sink is None else known.sink.cpu()
    whole = None if pattern is None else pattern.cpu()
    return UnitWrites(
        carry.cpu(), dest, norms.cpu(), relative.cpu(), value_bias.cpu(), rounding, row.cpu(), sink, whole
    )
