"""The folder of dictionary_learning (Marks et al.): ``config.json`` and ``ae.pt``; the class says the arithmetic.

``AutoEncoder``, ``GatedAutoEncoder`` and the three of top-k subtract their bias, ``AutoEncoderNew`` and
``JumpReluAutoEncoder`` do not. ``AutoEncoderTopK`` keeps k and has no use for the threshold beside it; ``BatchTopKSAE``
and ``MatryoshkaBatchTopKSAE`` are used with their threshold, and not with k. Weights are taken as they were saved:
loading an ``AutoEncoder`` with that package scales its rows to length 1, and activations with them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from ...words.errors import AttribError
from ...words.places import Place, dictionary_place
from ..sae import SAE
from .files import (
    APART,
    Glance,
    agreeing,
    checkpoint,
    floating,
    needed,
    number,
    settings,
    trained_on,
    understood,
    unread,
    unscaled,
    whole,
)
from .folding import gated
from .hooks import Spot

CONFIG, WEIGHTS = "config.json", "ae.pt"
HOLDS = f"{CONFIG} and {WEIGHTS}"

_LINEAR = {"encoder.weight", "encoder.bias", "decoder.weight"}
_MATRICES = {"W_enc", "b_enc", "W_dec", "b_dec", "threshold"}
#: The tensors of every class, and what may be there beside them.
_CLASSES: dict[str, tuple[set[str], set[str]]] = {
    "AutoEncoder": (_LINEAR | {"bias"}, set()),
    "AutoEncoderNew": (_LINEAR | {"decoder.bias"}, set()),
    "GatedAutoEncoder": (_LINEAR - {"encoder.bias"} | {"decoder_bias", "r_mag", "gate_bias", "mag_bias"}, set()),
    "AutoEncoderTopK": (_LINEAR | {"b_dec", "k"}, {"threshold"}),
    "BatchTopKSAE": (_LINEAR | {"b_dec", "threshold"}, {"k"}),
    "MatryoshkaBatchTopKSAE": (_MATRICES, {"k", "group_sizes"}),
    "JumpReluAutoEncoder": (_MATRICES, set()),
}
_APPLIED = ("dict_class", "activation_dim", "dict_size", "k", "layer", "submodule_name", "lm_name")
_IDLE = frozenset(
    """
    activation_queue_length anneal_end anneal_start auxk_alpha bandwidth decay_start device group_fractions
    group_sizes group_weights k_anneal_steps l1_penalty lr n_sparsity_updates norm_factor p_end p_start resample_steps
    seed sparsity_function sparsity_penalty sparsity_queue_length sparsity_warmup_steps steps target_l0 threshold_beta
    threshold_start_step top_k_aux trainer_class wandb_name warmup_steps
    """.split()
)
# Their tensors have the same names, or may have.
_MADE = {
    "TopKTrainer": "AutoEncoderTopK",
    "BatchTopKTrainer": "BatchTopKSAE",
    "MatryoshkaBatchTopKTrainer": "MatryoshkaBatchTopKSAE",
}
_SUBMODULE = re.compile(r"(resid|resid_post|resid_out|mlp|mlp_out|attn|attn_out|attention_out)(?:_layer)?_?(\d+)")
_SITES = {"resid": "post", "mlp": "mlp", "attn": "attn_out", "attention": "attn_out"}


def reads(folder: Path) -> bool:
    """Whether a folder holds the two files."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def glance(folder: Path) -> Glance:
    """As far as the config says.

    Raises:
        AttribError: a class, a place or a setting that is not read here.
    """
    trainer, config = _config(folder)
    spot = _spot(trainer, config, folder)
    sizes = (whole(trainer, key, folder / CONFIG) for key in ("dict_size", "activation_dim"))
    return Glance(None if spot is None else spot.place, *sizes)


def read(folder: Path, site: Place | None = None, scale: float | None = None) -> SAE:
    """Read a dictionary that dictionary_learning has written.

    Raises:
        AttribError: broken files, files that contradict each other, or a class, a place or a setting that is not read
            here.
    """
    unscaled(folder, scale)
    trainer, config = _config(folder)
    spot = Spot(site) if site is not None else _spot(trainer, config, folder)
    if spot is None:
        raise AttribError(
            f"{folder / CONFIG} does not say where the dictionary reads.",
            'It has a layer; or say the place: aw.read_sae(folder, site="L3.post").',
        )
    name, file = str(trainer["dict_class"]), folder / WEIGHTS
    t = checkpoint(file)
    names, beside = _CLASSES[name]
    needed(t, names, file, beside)
    floating({key: t[key] for key in names - {"k"}}, file)
    w_enc, w_dec = (t[matrix] if matrix in t else t[linear].T for matrix, linear in _BOTH)
    bias = next(t[key] for key in ("b_dec", "bias", "decoder_bias", "decoder.bias") if key in t)
    b_enc: Any = t.get("b_enc", t.get("encoder.bias"))
    threshold: Tensor | None = None
    kind, k = "standard", None
    if name == "GatedAutoEncoder":
        kind = "jumprelu"
        w_enc, b_enc, threshold = gated(w_enc, t["r_mag"], t["gate_bias"], t["mag_bias"])
    elif name == "AutoEncoderTopK":
        kind, k = "topk", _k(t["k"], trainer, folder)
    elif name.endswith(("TopKSAE", "JumpReluAutoEncoder")):
        kind, threshold = "jumprelu", t["threshold"]
    metadata = trained_on(trainer.get("lm_name"))
    if spot.module:
        metadata["module"] = spot.module
    subtract = name not in ("AutoEncoderNew", "JumpReluAutoEncoder")
    sae = SAE(
        spot.place, kind, w_enc, b_enc, w_dec, bias, k=k, threshold=threshold, subtract=subtract, metadata=metadata
    )
    sizes = {"activation_dim": sae.d_in, "dict_size": sae.n_features}
    said = {key: (whole(trainer, key, folder / CONFIG), size) for key, size in sizes.items()}
    agreeing(folder / CONFIG, f"the encoder in {WEIGHTS}", said)
    return sae


_BOTH = (("W_enc", "encoder.weight"), ("W_dec", "decoder.weight"))


def _k(found: Any, trainer: dict[str, Any], folder: Path) -> int:
    """How many are kept: in the weights, and once more in the config.

    Raises:
        AttribError: the two differ, or it is no whole number.
    """
    k, said = number(found), whole(trainer, "k", folder / CONFIG)
    if k is None or said not in (None, k):
        raise AttribError(
            f"{folder / CONFIG} says k = {said}, and {WEIGHTS} has {found!r}.",
            APART,
        )
    return k


def _config(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what is said of the dictionary, all that is said).

    Raises:
        AttribError: it is no config of this library, or asks for something that is not read here.
    """
    config = settings(folder / CONFIG)
    trainer = config.get("trainer")
    if not isinstance(trainer, dict):
        raise AttribError(
            f"{folder / CONFIG} has no settings by name as its trainer, but {trainer!r:.40}.",
            "Take the config that dictionary_learning wrote beside the weights.",
        )
    name = trainer.get("dict_class")
    if not isinstance(name, str) or name not in _CLASSES:
        raise unread(folder, "dict_class", name, f"Read are {', '.join(_CLASSES)}.")
    made = trainer.get("trainer_class")
    if isinstance(made, str) and name != _MADE.get(made, name):
        raise AttribError(
            f"{folder / CONFIG} says dict_class = {name!r} and trainer_class = {made!r}, which makes {_MADE[made]}.",
            "Keep the one that is true.",
        )
    understood(trainer, _IDLE.union(_APPLIED), folder, CONFIG)
    return trainer, config


def _spot(trainer: dict[str, Any], config: dict[str, Any], folder: Path) -> Spot | None:
    """Where it reads: the submodule's name says it, or the folder's, else it is the stream behind a layer.

    Raises:
        AttribError: a submodule that is no place here, another layer than the config's, or activations that go in.
    """
    layer, said = whole(trainer, "layer", folder / CONFIG), trainer.get("submodule_name")
    buffer = config.get("buffer")
    io = buffer.get("io", "out") if isinstance(buffer, dict) else "out"
    if io not in ("out", "in"):
        raise unread(folder, "io", io, "Read are dictionaries of one place.")
    near = [part for part in folder.resolve().parts[-3:] if _SUBMODULE.fullmatch(part)]
    named = str(said) if said else next(reversed(near), None)
    if named is None:
        spot = None if layer is None else Spot(Place("post", layer))
    elif (match := _SUBMODULE.fullmatch(named)) is None:
        raise AttribError(
            f"A dictionary of {named!r} cannot be read here.",
            'If it reads a place under another name: aw.read_sae(folder, site="L8.mlp").',
        )
    else:
        if layer not in (None, int(match[2])):
            raise AttribError(f"{folder / CONFIG} says layer = {layer}, and {named!r}.", "Keep the one that is true.")
        site = _SITES[match[1].partition("_")[0]]
        spot = Spot(Place(site, int(match[2])), module=named if site in ("mlp", "attn_out") else "")
    if spot is None or io == "out":
        return spot
    if spot.place.site != "post":
        raise unread(folder, "io", io, "What goes in is read of whole layers alone.")
    return Spot(dictionary_place(Place("pre", spot.place.layer)))
