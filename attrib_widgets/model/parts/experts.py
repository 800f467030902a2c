"""A mixture of experts taken apart: what the router chose and what each expert wrote, by the model's own modules."""

from __future__ import annotations

import inspect
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...words.errors import GranularityError
from ..anatomy.anatomy import Experts
from ..anatomy.lookup import find
from ..anatomy.rounding import accumulation, half_ulp
from ..anatomy.weights import device_of

if TYPE_CHECKING:
    from ..network import Network
    from ..tracing.recording import Recording


@dataclass(frozen=True)
class Mixture:
    """The mixture of one layer at some positions.

    ``parts`` are router weight times expert output, in the model's dtype; ``shared`` what the experts add that every
    token passes, or None. ``parts.sum(1) + shared`` is the MLP's output up to the rounding of that sum.
    """

    indices: Int[Tensor, "position slot"]
    weights: Float[Tensor, "position slot"]
    parts: Float[Tensor, "position slot d_model"]
    shared: Float[Tensor, "position d_model"] | None

    def error(self, out: Float[Tensor, "position d_model"]) -> tuple[Tensor, Tensor]:
        """(recorded MLP output - parts - shared, its rounding bound), in float64."""
        parts = self.parts.double()
        total, size = parts.sum(1), parts.abs().sum(1)
        if self.shared is not None:
            total, size = total + self.shared.double(), size + self.shared.double().abs()
        # Every partial sum rounds once; experts may be computed together, in another order of their products.
        count = self.parts.shape[1] + 2
        spread = size.amax(-1, keepdim=True)
        bound = count * half_ulp(size, out.dtype) + accumulation(self.parts.shape[-1]) * spread
        return out.double() - total, bound


def mlp_input(model: Network, rec: Recording, layer: int) -> Float[Tensor, "position d_model"]:
    """What the MLP of ``layer`` reads, in the model's dtype: its norm of the stream, or the stream itself."""
    stream = rec.streams[layer] if model.parallel else rec.mid(layer)
    if model.anatomy.mlp_norm is None:
        return stream
    with model.quiet():
        return model.call(model.module(model.anatomy.mlp_norm, layer), stream[None])[0]


@torch.no_grad()
def mixture(model: Network, rec: Recording, layer: int, positions: Any = slice(None)) -> Mixture:
    """Call the router of ``layer`` on what its MLP read, then each chosen expert alone.

    Raises:
        GranularityError: the layer has no experts, or ones that cannot be called one at a time.
    """
    where = model.anatomy.experts
    if where is None or not model.has_experts(layer):
        raise GranularityError(f"The MLP of layer {layer} is no mixture of experts.", f"a.neurons({layer}) splits it.")
    x = mlp_input(model, rec, layer)[positions]
    router, experts = model.module(where.router, layer), model.module(where.experts, layer)
    device = device_of(experts) or model.home
    with model.quiet():
        x = x.to(device)
        try:
            chosen = _routed(model, where, layer, router, x)
            if isinstance(chosen, tuple) and len(chosen) == 2 and chosen[0].shape == chosen[1].shape:
                return _dense(model, where, layer, experts, chosen[0], x)
            if not (isinstance(chosen, tuple) and len(chosen) == 3):
                raise GranularityError(
                    f"The router of layer {layer} does not return scores, weights and indices.",
                    "Experts can be told apart with transformers 5.15 or newer.",
                )
            first, weights, last = chosen  # scores and indices change places between releases
            indices = first if last.is_floating_point() else last
            picked = [(indices[:, i : i + 1], weights[:, i : i + 1]) for i in range(indices.shape[1])]
            slots = [experts(x, index, weight).reshape(len(x), -1) for index, weight in picked]
            shared = _shared(model, where, layer, x)
        except (TypeError, IndexError, ValueError) as reason:  # they want to be given more, or otherwise
            raise GranularityError(
                f"The router and the experts of layer {layer} cannot be called with what its MLP reads alone.",
                f"The MLP as a whole is exact: L{layer}.mlp.",
            ) from reason
    home = model.home
    parts = torch.stack(slots, 1).to(home)
    return Mixture(indices.to(home), weights.to(home).float(), parts, None if shared is None else shared.to(home))


def _routed(model: Network, where: Experts, layer: int, router: Any, x: Tensor) -> Any:
    """What the router says, one row a position; where it gives scores alone, what its MLP chooses by them."""
    if where.bias is None:
        found = router(x)
        choose = getattr(find(model.layer(layer), model.anatomy.mlp), "route_tokens_to_experts", None)
        if not isinstance(found, Tensor) or choose is None:
            return found
        given = (found,) if len(inspect.signature(choose).parameters) == 1 else (x, found)
        weights, indices = sorted(choose(*given), key=lambda t: not t.is_floating_point())
        return found, weights, indices
    bias = operator.attrgetter(where.bias)(model.layer(layer))
    try:
        return router(x, bias)
    except ValueError:  # it wants prompts of positions
        return router(x[None], bias)


def _dense(model: Network, where: Experts, layer: int, experts: Any, scores: Tensor, x: Tensor) -> Mixture:
    """A mixture all of whose experts run on inputs multiplied by ``scores`` [position, expert], most of them 0."""
    count = int((scores != 0).sum(-1).max())
    indices = scores.topk(count, -1).indices
    parts = []
    for slot in indices.unbind(-1):
        alone = torch.zeros_like(scores).scatter(1, slot[:, None], scores.gather(1, slot[:, None]))
        read = (alone.T[..., None] * x[None]).flatten(0, 1)  # expert by expert
        parts.append(experts(read).reshape(scores.shape[1], len(x), -1).sum(0))
    shared, home = _shared(model, where, layer, x), model.home
    found = None if shared is None else shared.to(home)
    weights = scores.gather(1, indices).to(home).float()
    return Mixture(indices.to(home), weights, torch.stack(parts, 1).to(home), found)


def _shared(model: Network, where: Experts, layer: int, x: Tensor) -> Tensor | None:
    module = find(model.layer(layer), where.shared)
    if module is None:
        return None
    out: Tensor = module(x)
    gate = find(model.layer(layer), where.shared_gate)
    return out if gate is None else torch.sigmoid(gate(x)) * out
