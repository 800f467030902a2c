"""OpenAI's sparse autoencoders of GPT-2 (Gao et al. 2024): ``resid_post_mlp_v5_32k/autoencoders/6.pt``.

``acts = act((seen - pre_bias) @ encoder.weight.T + latent_bias)``, ``out = acts @ decoder.weight.T + pre_bias``. The
file says its activation; where that is TopK activations are layer-normed first and that is undone, which nothing in it
says. The folders' names say the place, the file's own the layer.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...words.errors import AttribError
from ...words.places import Place
from ..sae import SAE
from .files import Glance, checkpoint, floating, needed, number, unread, unscaled

HOLDS = "6.pt, the number of the layer"
_FILE = re.compile(r"(\d+)\.pt")
_LOCATION = re.compile(r"(resid_post_mlp|resid_post_attn|resid_delta_mlp|resid_delta_attn|mlp_post_act)(_.+)?")
_SITES = {"resid_post_mlp": "post", "resid_post_attn": "mid", "resid_delta_mlp": "mlp", "resid_delta_attn": "attn_out"}
_TENSORS = {"pre_bias", "latent_bias", "encoder.weight"}
#: What training kept beside the weights, and what the activation is made of.
_BESIDE = {"stats_last_nonzero", "latents_activation_frequency", "latents_mean_square"}
_ACTIVATION = {"activation", "activation_state_dict", "activation.k", "activation.postact_fn"}
_DECODERS = ("decoder.weight", "decoder.linear.weight")  # the second is the encoder's own, for a tied one


def reads(file: Path) -> bool:
    """Whether a file is named after a layer."""
    return bool(_FILE.fullmatch(file.name)) and file.is_file()


def glance(file: Path) -> Glance:
    """The names of folder and file say the place.

    Raises:
        AttribError: a place that is not read here.
    """
    return Glance(_place(file))


def read(file: Path, site: Place | None = None, scale: float | None = None) -> SAE:
    """Read an autoencoder of OpenAI; ``site`` where the folders' names say less.

    Raises:
        AttribError: a broken file, or an activation or a place that is not read here.
    """
    unscaled(file, scale)
    place = site or _place(file)
    if place is None:
        raise AttribError(
            f"{file} does not say where the dictionary reads: the name of a folder around it does.",
            f'Keep it ("resid_post_mlp_v5_32k"), or say the place: aw.read_sae(file, site="L{file.stem}.post").',
        )
    t = checkpoint(file)
    name = t.get("activation", "ReLU")
    if name not in ("ReLU", "TopK"):
        raise unread(file, "activation", name, "Read are ReLU and TopK.")
    decoder = next((key for key in _DECODERS if key in t), _DECODERS[0])
    needed(t, _TENSORS | {decoder}, file, _BESIDE | _ACTIVATION)
    named = ("encoder.weight", "latent_bias", decoder, "pre_bias")
    weights = list(floating({key: t[key] for key in named}, file).values())
    k, signed = _top(t, file) if name == "TopK" else (None, False)
    return SAE(
        place,
        "standard" if k is None else "topk",
        weights[0].T,
        weights[1],
        weights[2] if decoder == _DECODERS[1] else weights[2].T,
        weights[3],
        k=k,
        metadata={"model_name": "gpt2"},
        norm="none" if k is None else "layer_norm",
        signed=signed,
    )


def _top(t: dict[str, Any], file: Path) -> tuple[int, bool]:
    """(how many are kept, whether their sign is).

    Raises:
        AttribError: it does not say, says two numbers, or another function of what is kept.
    """
    state = t.get("activation_state_dict")
    state = dict(state) if isinstance(state, dict) else {}
    said = [v for v in (state.get("k"), t.get("activation.k")) if v is not None]
    k = number(said[0]) if said else None
    if k is None or any(number(v) != k for v in said):
        raise AttribError(f"{file} says TopK and k = {said}.", "A TopK has one k, a whole number.")
    after = [v for v in (state.get("postact_fn"), t.get("activation.postact_fn")) if v is not None] or ["ReLU"]
    if after[0] not in ("ReLU", "Identity") or any(v != after[0] for v in after):
        raise unread(file, "postact_fn", sorted(map(str, after)), "Read is one of ReLU and Identity.")
    return k, after[0] == "Identity"


def _place(file: Path) -> Place | None:
    """Where it reads, by the name of a folder and of the file.

    Raises:
        AttribError: neurons, which no dictionary reads here.
    """
    parts = file.resolve().parent.parts + file.parent.parts
    location = next((found for part in reversed(parts) if (found := _LOCATION.fullmatch(part))), None)
    if location is None:
        return None
    if location[1] not in _SITES:
        raise AttribError(
            f"A dictionary of {location[1]!r} cannot be read here.", "Read are streams and what is added."
        )
    return Place(_SITES[location[1]], int(file.stem))
