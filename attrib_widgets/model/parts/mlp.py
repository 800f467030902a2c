"""What the neurons of an MLP read: the projection in front of the activation function, and the stream it reads.

Gated MLPs have two such projections: ``"gate"``, which the activation function is applied to, and ``"up"``, whose
output multiplies the activation. Where one module holds both, its first half is the gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from ...words.errors import GranularityError
from ..anatomy.linear import Projection
from ..anatomy.lookup import find, path_of
from ..anatomy.norms import FrozenNorm, no_norm
from ..anatomy.rounding import refuse_above
from ..anatomy.weights import widths

if TYPE_CHECKING:
    from ..network import Network


@dataclass(frozen=True)
class InputProjection:
    """One side of an MLP's input projection: its module's path in the layer, its outputs there, what it does."""

    path: str
    columns: slice
    linear: Projection


def gated(model: Network) -> bool:
    """Whether a second projection multiplies the activations."""
    return model.anatomy.mlp_mul is not None


def input_projection(model: Network, layer: int, side: str = "gate") -> InputProjection:
    """The projection whose outputs are the neurons' pre-activations (``"gate"``) or their multipliers (``"up"``).

    Raises:
        GranularityError: a mixture of experts, an MLP that is not gated, or no such projection.
    """
    anatomy, block = model.anatomy, model.layer(layer)
    if model.has_experts(layer):
        raise GranularityError(
            f"The MLP of layer {layer} is a mixture of experts: it has no neurons of its own.",
            f"a.experts({layer}) splits it by expert.",
        )
    name = anatomy.mlp_in if side == "gate" else anatomy.mlp_mul
    if name is None and side == "up":
        raise GranularityError(f"The MLPs of {model.name} are not gated.", 'Leave out side="up".')
    module = find(block, name)
    sizes = widths(module)
    if sizes is None:
        raise GranularityError(
            f"The MLP of layer {layer} has no input projection {name!r}.",
            "Pass anatomy={'mlp_in': ...} with the projection in front of its activation function.",
        )
    count = model.down(layer).d_in
    fused = anatomy.mlp_mul == anatomy.mlp_in
    if sizes != (model.d_model, count * (1 + fused)):
        raise GranularityError(
            f"{name} of layer {layer} is not a projection of the stream to {count} neurons.",
            "Pass anatomy={'mlp_in': ..., 'mlp_mul': ...} with the projections in front of its activation function.",
        )
    columns = slice(count, None) if fused and side == "up" else slice(0, count)
    return InputProjection(path_of(block, name or ""), columns, model.projection(name, layer).select(columns))


def mlp_norm(model: Network, layer: int) -> FrozenNorm:
    """The norm that the MLP of ``layer`` reads through."""
    path = model.anatomy.mlp_norm
    return no_norm(model.d_model, model.home) if path is None else model.norm(path, layer)


def check_projection(
    model: Network, layer: int, found: InputProjection, x: Float[Tensor, "position d_model"], out: Tensor
) -> None:
    """The recorded outputs ``out`` of a projection are its weight and bias times what the MLP reads.

    Raises:
        GranularityError: they are not (an adapter, or an anatomy that names the wrong norm or projection).
    """
    missed, bound = found.linear.called(x, out)
    refuse_above(missed, bound, f"{found.path} of layer {layer} is not the linear map of what its MLP reads")
