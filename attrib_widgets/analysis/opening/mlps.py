"""An MLP opened: what each of its neurons contributed, or each expert of a mixture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...model.anatomy.rounding import refuse_above
from ...model.parts.experts import mixture
from ...model.parts.neurons import neurons_at
from ...model.parts.outlet import Sublayer, outlet_of
from ...words.components import Component
from ...words.errors import GranularityError
from ...words.text import signed
from ..reading.features import Inside
from .heads import direction_behind
from .results import Contributions

if TYPE_CHECKING:
    import pandas as pd

    from ...model.run import Run
    from ..attribution.attribution import Attribution


@dataclass(frozen=True)
class Pulled:
    """Directions of the stream pulled back to the output of one sublayer, each at its own position, post-norm frozen.

    ``constant`` is what that norm's bias writes along them; ``after`` the rounding between the sublayer's output and
    what was added to the stream.
    """

    directions: Float[Tensor, "row d_model"]
    constant: Float[Tensor, "row"]
    after: Float[Tensor, "row"]

    def rounding(self, missed: Float[Tensor, "row d_model"]) -> Float[Tensor, "row"]:
        """All rounding along them, ``missed`` being the outputs minus the sums of what they are split into, float64."""
        return (missed * self.directions.double()).sum(-1) + self.after


def pulled_back(run: Run, sublayer: Sublayer, layer: int, at: Sequence[int], v: Float[Tensor, "row d_model"]) -> Pulled:
    """``v``, directions of the stream at the positions ``at``, seen from the output of a sublayer of ``layer``.

    Raises:
        GranularityError: what was added to the stream is not that output, normed and scaled.
    """
    outlet, rec, index = outlet_of(run.model, sublayer, layer), run.record, list(at)
    mlp = sublayer == "mlp"
    out = (rec.mlp_out if mlp else rec.attn_out)[layer][index]
    after = torch.zeros(len(v), dtype=torch.float64, device=v.device)
    if not outlet.plain:
        missed, bound = outlet.error(out, (rec.mlp_write if mlp else rec.attn_write)[layer][index])
        name = "MLP" if mlp else "attention"
        refuse_above(missed, bound, f"what the {name} of layer {layer} adds is not what was recorded")
        after = (missed * v.double()).sum(-1)
    return Pulled(outlet.pull(v) * outlet.scale(out)[:, None], outlet.constant(v), after)


def missed_by_neurons(
    run: Run,
    layer: int,
    positions: Sequence[int],
    acts: Float[Tensor, "position neuron"],
    product: Float[Tensor, "position d_model"],
) -> Float[Tensor, "position d_model"]:
    """The recorded outputs of an MLP minus the sum over its neurons (``product``) and its bias, float64.

    Raises:
        GranularityError: more than rounding.
    """
    out = run.record.mlp_out[layer][list(positions)]
    missed, bound = run.model.down(layer).missed(acts, out, product)
    refuse_above(missed, bound, f"the neurons of layer {layer} do not add up to its MLP")
    return missed


@torch.no_grad()
def neurons(a: Attribution, layer: int) -> Contributions:
    """See :meth:`Attribution.neurons`."""
    return neurons_of(a, [layer])[layer]


@torch.no_grad()
def neurons_of(a: Attribution, layers: Sequence[int]) -> dict[int, Contributions]:
    """Neuron contributions of several MLPs.

    What was recorded is kept beside the run, at the last position that was asked for: a number a neuron, far less than
    the run's own record.
    """
    for layer in layers:
        a.model.down(layer)  # refuses an MLP without a down-projection before anything runs
    at = a.reading.position
    kept: dict[int, dict[int, Tensor]] = a.model.kept("neurons", dict, a.run)
    acts = kept.get(at, {})
    if missing := [layer for layer in layers if layer not in acts]:
        acts = {**acts, **neurons_at(a.run, missing, at)}
    found = {layer: _neurons(a, layer, acts[layer].float()) for layer in layers}
    kept.clear()
    kept[at] = acts  # they add up
    return found


@dataclass(frozen=True)
class NeuronRows:
    """What the neurons of one MLP wrote along a direction of the stream, with what closes their sum.

    ``fixed`` is what its biases wrote, None where it has none.
    """

    values: Float[Tensor, "neuron"]
    fixed: float | None
    rounding: float


def neuron_rows(
    run: Run, layer: int, at: int, v: Float[Tensor, "d_model"], acts: Float[Tensor, "neuron"]
) -> NeuronRows:
    """The neurons of ``layer``, which held ``acts`` at position ``at``, along ``v`` of what the MLP adds there.

    Raises:
        GranularityError: the MLP has no plain neurons, or they do not add up on this prompt.
    """
    model = run.model
    down = model.down(layer)
    if (down.d_in, down.d_out) != (len(acts), model.d_model):
        raise GranularityError(
            f"{model.anatomy.mlp_down} of layer {layer} is not a projection of neurons to the stream.",
            "Pass anatomy={'mlp_down': ...} with its down-projection.",
        )
    here = pulled_back(run, "mlp", layer, [at], v[None])
    product, through = down.read(acts[None], here.directions)
    missed = missed_by_neurons(run, layer, [at], acts[None], product)
    fixed = float(here.constant) + (0.0 if down.bias is None else float(here.directions @ down.bias))
    known = fixed if down.bias is not None or fixed else None
    return NeuronRows(acts * through[0], known, float(here.rounding(missed)))


def _written_along(a: Attribution, layer: int) -> Float[Tensor, "d_model"]:
    """The explained direction of what the MLP of ``layer`` adds to the stream."""
    if isinstance(a.reading, Inside) and a.reading.along is not None:
        a.run.check_fresh()
        return a.reading.along
    return direction_behind(a, layer, "mlp")


def _neurons(a: Attribution, layer: int, acts: Float[Tensor, "neuron"]) -> Contributions:
    found = neuron_rows(a.run, layer, a.reading.position, _written_along(a, layer), acts)
    values = found.values.tolist()
    labels = [str(Component("neuron", layer, n)) for n in range(len(acts))]
    kinds = ["neuron"] * len(acts)
    if found.fixed is not None:
        labels.append(str(Component("mlp.bias", layer)))
        kinds.append("bias")
        values.append(found.fixed)
    labels.append("rounding")
    kinds.append("rounding")
    values.append(found.rounding)
    part = torch.tensor(values).float()
    best = int(part[: len(acts)].abs().argmax())
    site = Component("mlp", layer)
    return Contributions(
        f"{site} by neuron: {labels[best]} leads with {signed(float(part[best]))}",
        labels,
        kinds,
        part,
        str(site),
        a[site],
        a.unit,
        axis="neuron",
    )


@dataclass(eq=False, repr=False)
class ExpertContributions(Contributions):
    """Contributions of the chosen experts; ``weights`` is the router's weight of every row (NaN for other rows)."""

    weights: Float[Tensor, "row"] = field(default_factory=lambda: torch.empty(0))

    def to_dataframe(self) -> pd.DataFrame:
        """Columns ``row``, ``label``, ``kind``, ``value``, ``weight``."""
        return super().to_dataframe().assign(weight=self.weights.numpy())


@torch.no_grad()
def experts(a: Attribution, layer: int) -> ExpertContributions:
    """See :meth:`Attribution.experts`."""
    model, rec, at = a.model, a.run.record, a.reading.position
    found = mixture(model, rec, layer, slice(at, at + 1))
    out = rec.mlp_out[layer][at : at + 1]
    missed, bound = found.error(out)
    refuse_above(missed, bound, f"the experts of layer {layer} do not add up to its MLP")
    here = pulled_back(a.run, "mlp", layer, [at], _written_along(a, layer)[None])
    u = here.directions[0]

    site = str(Component("mlp", layer))
    indices, weights = found.indices[0].tolist(), found.weights[0].tolist()
    rows = [(str(Component("expert", layer, i)), "component", w) for i, w in zip(indices, weights, strict=True)]
    values = (found.parts[0].float() @ u).tolist()
    if found.shared is not None:
        rows.append((f"{site}/shared", "component", float("nan")))
        values.append(float(found.shared[0].float() @ u))
    if outlet_of(model, "mlp", layer).bias is not None:
        rows.append((str(Component("mlp.bias", layer)), "bias", float("nan")))
        values.append(float(here.constant))
    rows.append(("rounding", "rounding", float("nan")))
    values.append(float(here.rounding(missed)))

    part = torch.tensor(values).float()
    best = int(part[: len(indices)].abs().argmax())
    chosen = ", ".join(f"E{i} {w:.2f}" for i, w in zip(indices, weights, strict=True))
    return ExpertContributions(
        f"{site} by expert: E{indices[best]} leads with {signed(float(part[best]))}",
        [label for label, _, _ in rows],
        [kind for _, kind, _ in rows],
        part,
        site,
        a[Component("mlp", layer)],
        a.unit,
        note=f"The router chose {chosen} (its weights).",
        weights=torch.tensor([weight for _, _, weight in rows]),
    )
