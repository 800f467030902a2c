"""Reading and replacing activations of many rows at once, with plain torch hooks.

For training and judging dictionaries, where thousands of contexts pass through and nothing is attributed.
What an attribution reads is recorded in :mod:`.record`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...words.components import Component
from ...words.errors import ComponentError

if TYPE_CHECKING:
    from ..model import Model

Activation = Float[Tensor, "row position width"]


def place(model: Model, site: Component) -> tuple[nn.Module, bool]:
    """(module, whether it is its input) where the activations of ``site`` are.

    A layer's site is the stream behind it, an MLP's what it adds to the stream, an attention's the outputs of its
    heads side by side, before the output projection.

    Raises:
        ComponentError: no such site.
    """
    anatomy, layer = model.anatomy, site.layer
    if layer is None or not 0 <= layer < model.n_layers or site.kind not in ("layer", "mlp", "attn"):
        raise ComponentError(
            f"{site} is no place for a dictionary in this model.",
            f'Use the stream "L0" to "L{model.n_layers - 1}", "L0.mlp" or "L0.attn", and so on.',
        )
    if site.kind == "layer":
        return model.layer(layer), False
    if site.kind == "attn":
        return model.module(anatomy.attn_out, layer), True
    return model.module(anatomy.mlp_post_norm or anatomy.mlp_output or anatomy.mlp, layer), False


def _tensor(value: Any) -> Tensor:
    found: Tensor = value[0] if isinstance(value, tuple) else value
    return found


@contextmanager
def replaced(model: Model, site: Component, change: Callable[[Activation], Activation]) -> Iterator[None]:
    """Inside the block every forward pass goes on with ``change`` of the activations at ``site``."""
    module, reads = place(model, site)

    def before(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (change(inputs[0]), *inputs[1:])

    def after(_: nn.Module, __: Any, output: Any) -> Any:
        changed = change(_tensor(output))
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = module.register_forward_pre_hook(before) if reads else module.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def collect(model: Model, ids: Int[Tensor, "row position"], sites: Sequence[Component]) -> dict[Component, Activation]:
    """Activations of all ``sites`` in one forward pass, in the model's dtype."""
    found: dict[Component, Activation] = {}

    def keep(site: Component) -> Callable[[Activation], Activation]:
        def change(x: Activation) -> Activation:
            found[site] = x.detach().clone()
            return x

        return change

    with model.quiet(), ExitStack() as stack:
        for site in sites:
            stack.enter_context(replaced(model, site, keep(site)))
        model.hf(ids.to(model.device), use_cache=False)
    return found


@torch.no_grad()
def losses(model: Model, ids: Int[Tensor, "row position"]) -> Float[Tensor, "row position"]:
    """Nats of every next token but the first (position 0 has no history, and its activations are unlike others)."""
    with model.quiet():
        logits: Tensor = model.hf(ids.to(model.device), use_cache=False).logits
    logs = logits[:, 1:-1].float().log_softmax(-1)
    return -logs.gather(-1, ids[:, 2:, None].to(logs.device))[..., 0]
