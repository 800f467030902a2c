"""Whether a dictionary can be one of a model: its place, its width, and whose it says it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..words.errors import AttribError, ComponentError
from ..words.places import Place
from .reading import source
from .sae import SAE

if TYPE_CHECKING:
    from ..model.model import Model


def misfit(model: Model, place: Place, width: int | None) -> str:
    """What keeps a dictionary of ``width`` numbers (None: not known) from a place, as "The dictionary ..."; else ""."""
    layer = place.layer or 0
    if layer >= model.n_layers:
        return f"is for {place}, and {model.name} has no layer {layer} (they are 0 to {model.n_layers - 1})"
    own = model.d_model
    if place.site == "mid" and model.parallel:
        return f"is for {place}, and in {model.name} attention and MLP read the same stream"
    if place.is_stream and model.n_streams > 1:
        return f"is for {place}, and {model.name} carries {model.n_streams} streams beside each other there"
    if place.site in ("z", "attn_out"):
        try:
            wide = model.out(layer).d_in
        except AttribError:
            return f"is for {place}, and layer {layer} of {model.name} has no heads"
        own = wide if place.site == "z" else own
    return "" if width in (None, own) else f"reads {width} numbers, and {place} of {model.name} has {own}"


def fit(model: Model, sae: SAE, digest: Callable[[], str | None] = lambda: None) -> None:
    """Let pass a dictionary that fits; ``digest`` is the SHA-256 of the model's weights, where that is known.

    Raises:
        ComponentError: the model has no such place, another width there, or the dictionary is another model's.
    """
    if reason := misfit(model, sae.site, sae.d_in):
        raise ComponentError(f"The dictionary {reason}.", "Use a dictionary that was trained on this model.")
    source(model, sae)  # refuses coordinates that the model does not have
    if sae.writes is not None and (reason := misfit(model, sae.writes, sae.d_out)):
        raise ComponentError(
            f"The transcoder {reason.replace('reads', 'writes', 1)}.", "Use one that was trained on this model."
        )
    after = {"mlp": model.anatomy.mlp_post_norm, "attn_out": model.anatomy.attn_post_norm}.get(sae.target.site)
    if "module" in sae.metadata and after:
        what = "MLP" if sae.target.site == "mlp" else "attention"
        raise ComponentError(
            f"{sae!r} reads the {what}'s module, and {model.name} norms what that returns before it adds it.",
            f"Use a dictionary of {sae.target} behind that norm.",
        )
    if sae.site.site == "pre" and "module" in sae.metadata and model.anatomy.pos:
        raise ComponentError(
            f"{sae!r} reads the embedding of tokens, and {model.name} adds its positions before layer 0.",
            "Use a dictionary of a stream.",
        )
    if whose := another(model, sae.metadata, digest):
        raise ComponentError(
            f"{sae!r} was trained on {whose}, and this is {model.name}.",
            "If it fits all the same, say so: dataclasses.replace(sae, metadata={}).",
        )


def another(model: Model, metadata: Mapping[str, Any], digest: Callable[[], str | None]) -> str:
    """Whose a dictionary or a lens is by its ``metadata``, where that is known to be another model; "" where it is this
    one's, or not known."""
    made_from, name = metadata.get("weights_sha256"), metadata.get("model_name")
    if made_from and (own := digest()):
        return "" if made_from == own else f"other weights of {name or 'a model'}"
    hub = str(getattr(model.hf, "name_or_path", "") or "")
    if model.folder is not None or not hub or not isinstance(name, str) or not name:
        return ""
    # What was tuned from a model may well be read with its dictionaries.
    one, other = _short(name), _short(hub)
    return "" if one.startswith(other) or other.startswith(one) else name


def whose(model: Model, sae: SAE, digest: Callable[[], str | None] = lambda: None) -> str:
    """A sentence where a dictionary that fits says that it was trained on a model of another name; else ""."""
    made_from, name = sae.metadata.get("weights_sha256"), sae.metadata.get("model_name")
    if not isinstance(name, str) or not name or same_name(name, model.name):
        return ""
    if made_from and made_from == digest():
        return ""
    return f"It says that it was trained on {name}, and this is {model.name}."


def same_name(one: str, other: str) -> bool:
    """Whether two names are those of one model, without its owner and however it is spelled."""
    return _short(one) == _short(other)


def _short(name: str) -> str:
    """A model's name without its owner and spelling: "gpt2-small" is "openai-community/gpt2"."""
    found = re.sub(r"[^a-z0-9]|^meta-", "", name.rstrip("/").rsplit("/", 1)[-1].lower())
    return "gpt2" if found == "gpt2small" else found
