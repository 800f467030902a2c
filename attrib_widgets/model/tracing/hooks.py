"""Reading and replacing activations of many rows at once, with plain torch hooks.

For training and judging dictionaries, where thousands of contexts pass through and nothing is attributed.
What an attribution reads is recorded in :mod:`.record`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...words.components import Component
from ...words.errors import ComponentError
from ...words.places import Place
from ..parts.streams import one_stream
from .ports import Port, port

if TYPE_CHECKING:
    from ..model import Model

Activation = Float[Tensor, "row position width"]
#: Where activations are read: a place, or the part that writes there (a layer is the stream behind it).
Site: TypeAlias = Component | Place
AnySite = TypeVar("AnySite", Component, Place, Site)


class _Enough(Exception):
    """Everything that was asked for has passed: the rest of the model need not run."""


# The port of a dictionary, by its place or by the component whose name the place has.
_PORTS = {
    "pre": "pre",
    "z": "z",
    "attn": "z",
    "attn_out": "attn_added",
    "mid": "mid",
    "mlp_in": "mlp_in",
    "mlp": "mlp_added",
    "post": "post",
    "layer": "post",
}


def place(model: Model, site: Site) -> tuple[nn.Module, Port]:
    """(layer, its port) where the activations of ``site`` are.

    A layer's site is the stream behind it, an MLP's what it adds to the stream, an attention's the outputs of its
    heads side by side, before the output projection.

    Raises:
        ComponentError: no such site.
        GranularityError: a stream, of a model that carries several.
    """
    layer = site.layer
    kind = site.kind if isinstance(site, Component) else site.site
    whole = isinstance(site, Component) or (site.head is None and site.site != "attn")
    if layer is None or not 0 <= layer < model.n_layers or kind not in _PORTS or not whole:
        raise ComponentError(
            f"{site} is no place for a dictionary in this model.",
            f'Use the stream "L0.post" to "L{model.n_layers - 1}.post", "L0.mlp" or "L0.z", and so on.',
        )
    if _PORTS[kind] in ("pre", "mid", "post"):
        one_stream(model, "a dictionary of streams reads one")
    return model.layer(layer), port(model, _PORTS[kind])


@contextmanager
def replaced(model: Model, site: Site, change: Callable[[Activation], Activation]) -> Iterator[None]:
    """Inside the block every forward pass goes on with ``change`` of the activations at ``site``."""
    layer, found = place(model, site)
    handle = found.hook(layer, change)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def collect(model: Model, ids: Int[Tensor, "row position"], sites: Sequence[AnySite]) -> dict[AnySite, Activation]:
    """Activations of all ``sites`` in one forward pass, in the model's dtype; the pass ends behind the last of them."""
    found: dict[AnySite, Activation] = {}

    def keep(site: AnySite) -> Callable[[Activation], Activation]:
        def change(x: Activation) -> Activation:
            found[site] = x.detach().clone()
            if len(found) == len(set(sites)):
                raise _Enough
            return x

        return change

    with model.quiet(), model.passing(), ExitStack() as stack:
        for site in sites:
            stack.enter_context(replaced(model, site, keep(site)))
        with suppress(_Enough):
            model.hf(ids.to(model.device), use_cache=False)
    return found


@torch.no_grad()
def losses(model: Model, ids: Int[Tensor, "row position"]) -> Float[Tensor, "row position"]:
    """Nats of every next token but the first (position 0 has no history, and its activations are unlike others)."""
    with model.quiet(), model.passing():
        logits: Tensor = model.hf(ids.to(model.device), use_cache=False).logits
    logs = logits[:, 1:-1].float().log_softmax(-1)
    return -logs.gather(-1, ids[:, 2:, None].to(logs.device))[..., 0]
