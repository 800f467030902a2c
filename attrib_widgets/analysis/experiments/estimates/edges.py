"""Attribution patching of edges: how much of a part's effect goes to each reader.

Edge attribution patching (Syed et al. 2023, arXiv 2310.10348): effect of sender u on reader r = (what u writes in the
donor run - what it writes here) . gradient of the metric with respect to what r alone reads. Readers are the queries,
keys and values of every head, every MLP, and the logits; all norms are differentiated, none frozen. The edges of a
sender sum to its node's estimate. With gradients integrated along the inputs (EAP-IG, Hanna et al. 2024, arXiv
2403.17806) every edge is the mean of what it is at the points of the way; under relevance patching (arXiv 2508.21258)
norms keep their scale, and queries and keys read nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ....model.anatomy.norms import FrozenNorm
from ....model.identity.steady import steady
from ....model.parts.mlp import mlp_norm
from ....model.parts.outlet import Sublayer, outlet_of
from ....model.parts.projections import input_norm, qkv_projection
from ....model.parts.streams import one_stream
from ....model.selfcheck.levels import need
from ....model.tracing.gradient import Gradients
from ....result import Result, Table, strongest
from ....words.components import Component, ComponentLike, component, head
from ....words.errors import ComponentError, GranularityError, TargetError
from ....words.places import Place, PlaceLike, place
from ....words.targets import TokenSet, rather_than
from ....words.text import gap_said, others_label, power, share, signed
from ..cells.donors import RunDonor
from ..measuring.metrics import MetricLike
from ..measuring.pairs import Cost, Direction, as_pair, questions, settled
from .slopes import BETWEEN, Method, Points, Way, completeness, reason, slopes, way_of

if TYPE_CHECKING:
    import pandas as pd

    from ....model.model import Model

#: Readers' gradients against the stream's, relative; the rounding of a coarser dtype is allowed, where it is more.
SUM_LIMIT = 1e-3


@dataclass(eq=False, repr=False)
class EdgeEstimate(Result):
    """Estimated share of the gap along every edge. ``values[sender, reader]`` (0 where the reader comes earlier, NaN
    where there is no gap).

    Readers are ``L1H2.q``, ``L1H2.k``, ``L1H2.v``, ``L5.mlp`` and ``logits``; where several heads share their keys and
    values, these are read by the head that holds them, ``L1KV0.k``.
    """

    senders: list[Component]
    readers: list[Place]
    values: Float[Tensor, "sender reader"]
    gap: float
    unit: str
    direction: Direction
    notes: list[str] = field(default_factory=list)
    way: Way = field(default_factory=lambda: Way("atp"))
    why: str = ""

    @property
    def error(self) -> float:
        """Completeness error: what the edges out of the inputs sum to, less the whole gap, as a share of it; NaN where
        there is no gap."""
        return float(self.values[self.senders.index(Component("embed"))].double().sum()) - 1

    @property
    def nodes(self) -> Float[Tensor, "sender"]:
        """Sum over readers: the estimate of attribution patching for the sender."""
        return self.values.double().sum(-1).float()

    def __getitem__(self, which: tuple[ComponentLike, PlaceLike]) -> float:
        if not isinstance(which, tuple) or len(which) != 2:
            raise ComponentError(f"{which!r} is no edge.", 'Write sender and reader: ["L0H1", "L3H2.q"].')
        sender, reader = component(which[0]), place(which[1])
        if reader.site == "mlp_in":
            reader = replace(reader, site="mlp")
        if sender not in self.senders or reader not in self.readers:
            shown = ", ".join(map(str, self.readers[:4]))
            raise ComponentError(f"There is no edge {which!r}.", f"Readers are {shown} … logits.")
        return float(self.values[self.senders.index(sender), self.readers.index(reader)])

    def top(self, k: int = 10) -> list[tuple[Component, Place, float]]:
        """The ``k`` largest edges by magnitude."""
        order = strongest(self.values.flatten(), k)
        width = len(self.readers)
        return [(self.senders[i // width], self.readers[i % width], float(self.values.flatten()[i])) for i in order]

    def title(self) -> str:
        """The finding in one line."""
        if not self.gap:
            return "Clean and corrupted answer alike: there is no gap to explain"
        sender, reader, value = self.top(1)[0]
        between = f", {BETWEEN}" if self.way.between else ""
        return f"{sender} to {reader} carries most{between}: {share(value)} of {gap_said(self.gap, self.unit)}"

    def summary(self) -> Table:
        shown = self.top(10) if self.gap else []
        rows = [[str(s), str(r), signed(v)] for s, r, v in shown]
        moved = [completeness((1 + self.error) * self.gap, self.gap, self.error, self.why)] if self.gap else []
        note = "\n".join([f"estimated by gradients, not patched: {self.way.words()}", *moved, *self.notes])
        footer = f"{others_label(int((self.values != 0).sum()) - len(shown))} smaller" if shown else ""
        return Table(self.title(), ["from", "to", "share"], rows, [v for *_, v in shown], note, footer)

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``sender``, ``reader``, ``value``; edges that cannot be are left out."""
        import pandas as pd

        index = self.values.nonzero().tolist()
        return pd.DataFrame(
            {
                "sender": [str(self.senders[i]) for i, _ in index],
                "reader": [str(self.readers[j]) for _, j in index],
                "value": [float(self.values[i, j]) for i, j in index],
            }
        )


@steady()
def edge_patch(
    model: Model | str,
    clean: Any,
    corrupted: Any,
    target: MetricLike | None = None,
    *,
    against: TokenSet | None = None,
    direction: Direction = "denoise",
    method: Method = "atp",
    steps: int = 5,
    points: Points = "mid",
    position: int = -1,
) -> EdgeEstimate:
    """Estimate the effect of patching every edge, from one forward and one backward pass.

    Args:
        clean, corrupted, target, against: as in :func:`attrib_widgets.patch`, one pair of prompts.
        method, steps, points: as in :func:`attrib_widgets.attribution_patch`; ``"eap-ig"`` is the same for both
            directions, and ``"atp*"`` and ``"partway"``, which are of whole parts, have no edges.

    Raises:
        GranularityError: heads of some layer are not exact, or its readers' gradients do not add up to the stream's;
            ``"relp"`` on a model for which a rule is not to be had.
        TargetError: no such direction or method.
    """
    way = way_of(method, steps, points, direction)
    if method in ("atp*", "partway"):
        raise TargetError(f"{method!r} is of whole parts: it has no edges.", 'Use "atp", "eap-ig" or "relp".')
    pair = as_pair(model, clean, corrupted, position)
    found = pair[0].model
    one_stream(found, "what one part puts into what another reads depends on both and on the position")
    need(found, "scores", everywhere=True)  # every reader has to be known
    need(found, "values", everywhere=True)
    targets, remarks = settled([pair], [rather_than(target, against, found.single_token)], position)
    (asked,) = questions([pair], targets, position)
    (base, source), metric = asked.between(direction), asked.metric
    gap = float(asked.ends[0] - asked.ends[1])
    places = [(site, i) for i in range(found.n_layers) for site in ("pre", "q", "k", "v", "mlp_in")]
    places.append(("pre", found.n_layers))
    donor = RunDonor(base, source)
    gradients = slopes(donor, metric, places, position, way, Cost(), keep=_kept(found))
    each = []
    for row in range(len(gradients.at["pre", 0])):
        here = _Row(found, gradients, row, held=method == "relp")
        readers, reads = _reads(here)
        _close(here, readers, reads)
        senders, of_row = _edges(donor, here, readers, reads)
        each.append(of_row)
    values = torch.stack(each).mean(0)
    sign = 1.0 if direction == "denoise" else -1.0
    shares = (sign * values / (gap or float("nan"))).float().cpu()
    made = EdgeEstimate(senders, readers, shares, gap, metric.unit, direction, [*remarks, *metric.notes], way)
    return replace(made, why=reason(way, made.error, base))


# -- the points where gradients are taken ----------------------------------------------------------------------------
def _kept(model: Model) -> list[tuple[str, int]]:
    """What has to be known of every point: what every norm reads."""
    a, layers = model.anatomy, range(model.n_layers)
    after = [site for site, path in (("attn", a.attn_post_norm), ("mlp", a.mlp_post_norm)) if path is not None]
    sites = ["pre", *([] if model.parallel else ["mid"]), *after]
    return [(site, layer) for layer in layers for site in sites]


@dataclass(frozen=True)
class _Row:
    """Gradients at one point, what norms read there, and whether their scales are ``held``."""

    model: Model
    gradients: Gradients
    row: int
    held: bool

    def at(self, site: str, layer: int) -> Float[Tensor, "position width"]:
        """The gradient."""
        return self.gradients.at[site, layer][self.row]

    def of(self, site: str, layer: int) -> Float[Tensor, "position width"]:
        """What the site held."""
        return self.gradients.held[site, layer][self.row].float()

    def pulled(
        self, norm: FrozenNorm, x: Float[Tensor, "position d_model"], w: Float[Tensor, "k position d_model"]
    ) -> Float[Tensor, "k position d_model"]:
        """``w`` at the output of a norm as gradients at its input ``x``."""
        return norm.pull(w) * norm.scale(x)[:, None] if self.held else pulled(norm, x, w)

    def pushed(
        self, norm: FrozenNorm, x: Float[Tensor, "position d_model"], c: Float[Tensor, "k position d_model"]
    ) -> Float[Tensor, "k position d_model"]:
        """Changes ``c`` of the input ``x`` of a norm as changes of its output."""
        return norm.push(c) * norm.scale(x)[:, None] if self.held else pushed(norm, x, c)


# -- readers -------------------------------------------------------------------------------------------------------
def _reads(here: _Row) -> tuple[list[Place], Float[Tensor, "reader position d_model"]]:
    """The gradient of the metric with respect to the raw stream, through each reader alone."""
    model = here.model
    readers: list[Place] = []
    found: list[Tensor] = []
    for layer in range(model.n_layers):
        stream = here.of("pre", layer)
        directions: list[Tensor] = []
        geo = model.geometry[layer]
        for side in "qkv":
            rows = geo.rows[side].flatten().to(model.home)
            gradient = here.at(side, layer)[:, rows].float()
            count = geo.n_heads if side == "q" else geo.n_kv_heads
            by_head = gradient.view(-1, count, geo.rows[side].shape[1]).transpose(0, 1)
            directions += qkv_projection(model, layer, side).pull_heads(by_head)
            readers += [Place(side, layer, h, side != "q" and geo.group > 1) for h in range(count)]
        found.append(here.pulled(input_norm(model, layer), stream, torch.stack(directions)))
        mid = stream if model.parallel else here.of("mid", layer)
        found.append(here.pulled(mlp_norm(model, layer), mid, here.at("mlp_in", layer).float()[None]))
        readers.append(Place("mlp", layer))
    found.append(here.at("pre", model.n_layers).float()[None])
    readers.append(Place("logits"))
    return readers, torch.cat(found)


def pulled(
    norm: FrozenNorm, x: Float[Tensor, "position d_model"], w: Float[Tensor, "k position d_model"]
) -> Float[Tensor, "k position d_model"]:
    """``w`` at the output of a norm as gradients at its input ``x``: the transposed derivative, scale included."""
    with torch.enable_grad():
        given = x.detach().expand(len(w), -1, -1).clone().requires_grad_(True)
        (out,) = torch.autograd.grad(norm.module(given), given, w.to(given.dtype))
    return out


def pushed(
    norm: FrozenNorm, x: Float[Tensor, "position d_model"], c: Float[Tensor, "k position d_model"]
) -> Float[Tensor, "k position d_model"]:
    """Small changes ``c`` of the input ``x`` of a norm as changes of its output: the derivative."""
    with torch.enable_grad():
        given = x.detach().expand(len(c), -1, -1).clone().requires_grad_(True)
        weight = torch.zeros_like(given, requires_grad=True)
        (back,) = torch.autograd.grad(norm.module(given), given, weight, create_graph=True)
        (out,) = torch.autograd.grad(back, weight, c)  # linear in weight: its derivative is the forward product
    return out


def _close(here: _Row, readers: list[Place], reads: Tensor) -> None:
    """Everything that reads from a layer on is all there is: the readers' gradients sum to the stream's."""
    model = here.model
    for layer in range(model.n_layers):
        later = [i for i, r in enumerate(readers) if r.layer is None or r.layer >= layer]
        arriving = _arriving(model, readers, reads, layer, "pre")[later]
        total, stream = arriving.double().sum(0), here.at("pre", layer).double()
        missed = float((total - stream).norm() / stream.norm().clamp_min(1e-30))
        if not missed <= max(SUM_LIMIT, torch.finfo(model.precision).eps) and float(stream.norm()) > 0:
            raise GranularityError(
                f"The readers of {model.name} from layer {layer} on are not all that reads the stream "
                f"(they miss {power(missed)} of its gradient).",
                "Edges are not shown for this family; attribution_patch and patch are.",
            )


# -- senders -------------------------------------------------------------------------------------------------------
def _edges(
    donor: RunDonor, here: _Row, readers: list[Place], reads: Float[Tensor, "reader position d_model"]
) -> tuple[list[Component], Float[Tensor, "sender reader"]]:
    model, own, other = donor.model, donor.base.record, donor.source.record
    moved = other.streams[0].double() - own.streams[0].double()
    senders, rows = [Component("embed")], [_read(moved, _arriving(model, readers, reads, 0, "pre"))]
    for layer in range(model.n_layers):
        heads = model.heads_of(layer)
        change = (other.z[layer].float() - own.z[layer].float()).view(donor.base.n_positions, heads, -1)
        by_head = zip(change.unbind(1), model.out(layer).by_head(heads), strict=True)
        written = torch.stack([z @ rows for z, rows in by_head])
        written = _after(here, "attn", layer, written)
        after_attention = torch.tensor(
            [_after_attention(r, layer) and (r.layer != layer or not model.parallel) for r in readers]
        )
        arriving = _arriving(model, readers, reads, layer, "attn")
        for h in range(heads):
            senders.append(head(layer, h))
            rows.append(_read(written[h], arriving) * after_attention.to(reads.device))
        change = (other.mlp_out[layer].float() - own.mlp_out[layer].float())[None]
        written = _after(here, "mlp", layer, change)
        senders.append(Component("mlp", layer))
        later = torch.tensor([r.layer is None or r.layer > layer for r in readers], device=reads.device)
        rows.append(_read(written[0], _arriving(model, readers, reads, layer, "mlp")) * later)
    return senders, torch.stack(rows)


def _after_attention(reader: Place, layer: int) -> bool:
    """Whether it reads behind the attention of ``layer``."""
    return reader.layer is None or reader.layer > layer or (reader.layer == layer and reader.site == "mlp")


def _after(here: _Row, site: Sublayer, layer: int, change: Tensor) -> Tensor:
    """A change of what a sublayer gives, as a change of the stream."""
    outlet = outlet_of(here.model, site, layer)
    written = change if outlet.norm is None else here.pushed(outlet.norm, here.of(site, layer), change)
    return outlet.scaled(written)


def _arriving(
    model: Model, readers: list[Place], reads: Float[Tensor, "reader position d_model"], layer: int, part: str
) -> Float[Tensor, "reader position d_model"]:
    """``reads`` as gradients of what a part of ``layer`` adds, by way of what the stream is multiplied by until it is
    read; of readers in front of it they mean nothing."""
    if model.anatomy.carry is None and not model.joining:
        return reads
    at = [(model.n_layers if r.layer is None else r.layer, r.site == "mlp" and not model.parallel) for r in readers]
    ways = {place: model.carried(layer, place[0], part, place[1]) for place in dict.fromkeys(at)}
    return torch.stack([x * ways[place] for x, place in zip(reads, at, strict=True)])


def _read(change: Float[Tensor, "position d_model"], reads: Tensor) -> Float[Tensor, "reader"]:
    return torch.einsum("pm,rpm->r", change.double(), reads.double())
