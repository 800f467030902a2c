"""The SAELens folder: ``cfg.json`` and ``sae_weights.safetensors``, of versions 1 to 6, read. Its object too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ....words.errors import AttribError
from ....words.places import Place
from ...sae import SAE, unknown_encoder
from ..files import Glance, agreeing, needed, settings, tensors, whole
from ..folding import by_decoder_norm, by_scale, gated
from . import pursuit
from .config import Said, said_of
from .scaler import unwhitened
from .writing import CONFIG, NORMALIZE
from .writing import WEIGHTS as WEIGHTS
from .writing import hook_name as hook_name
from .writing import write_sae as write_sae

HOLDS = f"{CONFIG} and {WEIGHTS}"

_TENSORS = {"W_enc", "b_enc", "W_dec", "b_dec"}

# Tensors that a file may hold besides the four that every dictionary has; the factor has two names.
_FACTORS = ("finetuning_scaling_factor", "scaling_factor")


def reads(folder: Path) -> bool:
    """Whether a folder holds the two files."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def glance(folder: Path) -> Glance:
    """As far as the config says.

    Raises:
        AttribError: an architecture, a place or a setting that is not read here.
    """
    said = said_of(settings(folder / CONFIG), folder)
    place = None if said.spot is None else said.spot.place
    return Glance(place, *(whole(said.settings, key, folder / CONFIG) for key in ("d_sae", "d_in")))


def read(folder: Path, site: Place | None = None, scale: float | None = None) -> SAE:
    """Read a dictionary that SAELens 1 to 6, or :func:`write_sae`, has written; ``site`` where the config says less.

    ``scale`` is the number that the activations were multiplied by in training, where the config says that they were
    (``normalize_activations = expected_average_only_in``): SAELens keeps it beside the checkpoints of a run alone, and
    there it is found.
    Weights in half precision are computed with in float32, the inputs unrounded; SAELens computes in the type of the
    file, which moves its activations by that rounding.

    Raises:
        AttribError: no such folder, files that are broken or contradict each other, or an architecture, a scaling, a
            place or any other setting that is not read here.
    """
    said = said_of(settings(folder / CONFIG), folder, site, scale)
    if said.spot is None:
        raise AttribError(
            f"{folder / CONFIG} does not say where the dictionary reads.",
            'It needs metadata.hook_name; or say it: aw.read_sae(folder, site="L8.mlp").',
        )
    return _assembled(said, tensors(folder / WEIGHTS), folder)


def of_object(
    config: dict[str, Any], found: dict[str, torch.Tensor], site: Place | None, name: Path, scale: float | None
) -> SAE:
    """The dictionary of a loaded ``sae_lens.SAE``, by its settings and its tensors.

    Raises:
        AttribError: as for files.
    """
    said = said_of(config, name, site, scale)
    if said.spot is None:
        raise AttribError(f"{name} does not say where it reads.", 'Say it: aw.read_sae(sae, site="L8.mlp").')
    return _assembled(said, found, name)


def _assembled(said: Said, found: dict[str, torch.Tensor], folder: Path) -> SAE:
    """The dictionary of a config and its tensors."""
    config, place = said.settings, said.spot
    assert place is not None
    weights = _weights(found, said, folder)
    threshold = weights.get("threshold")
    subtract = said.writes is None and config.get("apply_b_dec_to_input") is not False
    encode = None
    if said.kind == "given":
        # What is not taken off before is not added behind, either.
        weights = weights | {"b_dec": weights["b_dec"] * subtract}
        encode = pursuit.encoder(weights["W_dec"], weights["b_dec"], pursuit.stop_of(config, folder / CONFIG))
        w_enc, b_enc = unknown_encoder(*weights["W_dec"].shape)
    elif said.architecture == "gated":
        w_enc, b_enc, threshold = gated(*(weights[key] for key in ("W_enc", "r_mag", "b_gate", "b_mag")))
    else:
        w_enc, b_enc = weights["W_enc"], weights["b_enc"]
    sae = SAE(
        place.place,
        said.kind,
        w_enc,
        b_enc,
        weights["W_dec"],
        weights["b_dec"],
        k=said.k,
        threshold=threshold,
        subtract=subtract and encode is None,
        metadata=said.metadata,
        writes=said.writes,
        norm=next(
            (ours for ours, theirs in NORMALIZE.items() if theirs == config.get("normalize_activations")), "none"
        ),
        w_skip=weights["W_skip"].T if "W_skip" in weights else None,
        coordinates=place.coordinates,
        encoder=encode,
    )
    for key, size in (("d_in", sae.d_in), ("d_sae", sae.n_features), ("d_out", sae.d_out)):
        where = f"{'W_dec' if key == 'd_out' or encode else 'W_enc'} in {WEIGHTS}"
        agreeing(folder / CONFIG, where, {key: (whole(config, key, folder / CONFIG), size)})
    if (factor := _factor(config, weights, sae.n_features, folder)) is not None:
        sae = replace(sae, w_dec=sae.w_dec * factor[:, None])
    rescaled, scale = bool(config.get("rescale_acts_by_decoder_norm")), said.scale
    if scale is not None:
        sae = by_scale(sae, scale)
        if rescaled and sae.threshold is not None:  # which is held against pre-activations times lengths of rows
            sae = replace(sae, threshold=sae.threshold / scale)
    if rescaled:
        sae = by_decoder_norm(sae)
    if config.get("normalize_activations") == "covariance_whitening":
        sae = unwhitened(sae, folder)
    return sae


def _factor(
    config: dict[str, Any], weights: dict[str, torch.Tensor], features: int, folder: Path
) -> torch.Tensor | None:
    """The factor per feature, of what it writes, that some older dictionaries were finetuned with."""
    found = [weights[key] for key in _FACTORS if key in weights]
    if not config.get("finetuning_scaling_factor"):
        if any(bool((factor != 1).any()) for factor in found):
            raise AttribError(
                f"{folder / WEIGHTS} has a scaling factor, and {CONFIG} does not say that it is used.",
                'Say "finetuning_scaling_factor": true or false there, and remove the tensor for false.',
            )
        return None
    if len(found) != 1 or found[0].shape != (features,):
        raise AttribError(
            f"{folder} has finetuning_scaling_factor = True, and {WEIGHTS} has no such factor per feature.",
            "Take both files from one dictionary.",
        )
    return found[0]


def _weights(found: dict[str, torch.Tensor], said: Said, folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of a dictionary: all that this architecture needs, and none without a use."""
    file, name, names = folder / WEIGHTS, said.architecture, set(_TENSORS)
    if name == pursuit.NAME:
        names = {"W_dec", "b_dec"}
    elif name == "gated":
        names = names - {"b_enc"} | {"b_gate", "b_mag", "r_mag"}
    elif name.endswith("batchtopk"):
        if "topk_threshold" not in found:
            raise AttribError(
                f"{file} lacks topk_threshold.", "Save it for inference, as SAELens does when it has trained."
            )
        found = {**found, "threshold": found["topk_threshold"]}
        del found["topk_threshold"]
    if "log_threshold" in found and "threshold" not in found:
        found = {**found, "threshold": found["log_threshold"].exp()}
        del found["log_threshold"]
    if said.kind == "jumprelu" and name != "gated":
        names.add("threshold")
    if "skip" in name:
        names.add("W_skip")
    needed(found, names, file, set(_FACTORS))
    return found
