"""Llama Scope and its successors (OpenMOSS): ``config.json`` and ``sae_weights.safetensors``, or of the first release
``hyperparams.json`` and ``checkpoints/final.safetensors``.

Activations are divided by their average norm over a data set, or each by its own; what comes out is scaled back. A
threshold is kept as its logarithm and may be meant for pre-activations times the length of their decoder row. A
dictionary with another place to write is a transcoder. Nothing is subtracted. A second matrix, ``glu``, may let
pre-activations through by ``sigmoid(x @ W_E_glu + b_E_glu)``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...words.errors import AttribError
from ...words.places import Place
from ..sae import SAE, unknown_encoder
from .files import (
    AGAIN,
    APART,
    Glance,
    agreeing,
    flag,
    needed,
    positive,
    settings,
    tensors,
    trained_on,
    understood,
    unread,
    unscaled,
    whole,
)
from .folding import by_decoder_norm
from .hooks import Spot, known_spot

CONFIG, WEIGHTS = "config.json", "sae_weights.safetensors"
FIRST, FIRST_WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
HOLDS = f"{CONFIG} and {WEIGHTS}, or {FIRST} and {FIRST_WEIGHTS}"

_APPLIED = frozenset(
    """
    act_fn d_model d_sae dataset_average_activation_norm expansion_factor hook_point_in hook_point_out
    jump_relu_threshold model_name norm_activation sae_type sparsity_include_decoder_norm top_k use_decoder_bias
    use_glu_encoder
    """.split()
)
# How it was trained, and held in memory; no number depends on it.
_IDLE = frozenset(
    """
    apply_decoder_bias_to_pre_encoder decoder_bias_init_method decoder_exactly_fixed_norm device dtype
    init_decoder_norm init_encoder_norm init_encoder_with_decoder_transpose jumprelu_threshold_window l1_coefficient
    l1_coefficient_warmup_steps lp norm_activation_in_training pre_process_fn promote_act_fn_dtype
    sae_pretrained_name_or_path seed sparsity_threshold_for_csr sparsity_threshold_for_triton_spmm_kernel strict
    strict_loading tp_size use_ghost_grads use_triton_kernel
    """.split()
)
#: Names of the four tensors, of the first two releases (matrices [out, in]) and of the third ([in, out]).
_NAMES = (
    ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"),
    ("W_E", "b_E", "W_D", "b_D"),
)
_GLU = ("W_E_glu", "b_E_glu")
AVERAGE = "dataset_average_activation_norm."


def reads(folder: Path) -> bool:
    """Whether a folder holds the files of one of the releases."""
    return all((folder / name).is_file() for name in (CONFIG, WEIGHTS)) or all(
        (folder / name).is_file() for name in (FIRST, FIRST_WEIGHTS)
    )


def _files(folder: Path) -> tuple[Path, Path, bool]:
    """(config, weights, whether it is of the first release)."""
    first = not (folder / WEIGHTS).is_file()
    return (folder / FIRST, folder / FIRST_WEIGHTS, True) if first else (folder / CONFIG, folder / WEIGHTS, False)


def glance(folder: Path) -> Glance:
    """As far as the config says.

    Raises:
        AttribError: a place or a setting that is not read here.
    """
    file, _, first = _files(folder)
    config = _config(settings(file), file, first)
    return Glance(_ends(config, file)[0].place, _size(config, file), whole(config, "d_model", file))


def read(folder: Path, site: Place | None = None, scale: float | None = None) -> SAE:
    """Read a dictionary or a transcoder of Llama Scope.

    Raises:
        AttribError: broken files, files that contradict each other, a place or a setting that is not read here.
    """
    unscaled(folder, scale)
    file, weights, first = _files(folder)
    return _assembled(_config(settings(file), file, first), tensors(weights), file, weights, site, first)


def of_object(config: dict[str, Any], t: dict[str, Tensor], site: Place | None, name: Path) -> SAE:
    """The dictionary of a loaded ``SparseAutoEncoder``, by its settings and its tensors, average norms among them.

    Raises:
        AttribError: as for files.
    """
    return _assembled(_config(config, name, False), t, name, name, site, False)


def _assembled(
    config: dict[str, Any], t: dict[str, Tensor], file: Path, weights: Path, site: Place | None, first: bool
) -> SAE:
    """The dictionary of a config and its tensors."""
    spot, writes = _ends(config, file)
    if site is not None:
        spot = Spot(site)
    averages = {key.removeprefix(AVERAGE): t.pop(key) for key in [key for key in t if key.startswith(AVERAGE)]}
    names = next((names for names in _NAMES if names[0] in t), _NAMES[0])
    glu = _GLU if flag(config, "use_glu_encoder", file) else ()
    biased = flag(config, "use_decoder_bias", file) is not False
    logs = [key for key in t if key.rpartition(".")[2] == "log_jumprelu_threshold"]
    jumps = not first and config.get("act_fn") == "jumprelu"
    needed(t, {*names[: 4 if biased else 3], *(logs if jumps else []), *glu}, weights)
    if jumps and len(logs) != 1:
        raise AttribError(f"{weights} has no log_jumprelu_threshold, and {file.name} says jumprelu.", AGAIN)
    turned = names is _NAMES[0]
    w_enc, w_dec = (t[name].T if turned else t[name] for name in (names[0], names[2]))
    b_dec = t[names[3]] if biased else torch.zeros(w_dec.shape[-1])
    sizes = {"d_model": (whole(config, "d_model", file), len(w_enc)), "d_sae": (_size(config, file), len(w_enc.T))}
    agreeing(file, f"{names[0]} in {weights.name}", sizes)
    found = SAE(
        spot.place,
        "standard",
        w_enc,
        t[names[1]],
        w_dec,
        b_dec,
        subtract=False,
        metadata=trained_on(config.get("model_name")),
        writes=writes,
        coordinates=spot.coordinates,
    )
    if first:
        return _first(found, config, file)
    found = _chosen(found, config, t[logs[0]].exp() if jumps else None, file)
    return _scaled(_let_through(found, *(t[name] for name in glu)) if glu else found, config, averages, file)


def _first(sae: SAE, config: dict[str, Any], file: Path) -> SAE:
    """The first release: scales folded in, so that its one threshold is in the units of the activations as they are."""
    average = config.get("dataset_average_activation_norm")
    average = average if isinstance(average, dict) else {}
    into, out = (math.sqrt(sae.d_in) / positive(average, key, file) for key in ("in", "out"))
    threshold = config.get("jump_relu_threshold")
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not math.isfinite(threshold):
        raise AttribError(f"{file} says jump_relu_threshold = {threshold!r}, which is no number.", AGAIN)
    sae = replace(sae, b_enc=sae.b_enc / into, w_dec=sae.w_dec * (into / out), b_dec=sae.b_dec / out)
    if flag(config, "sparsity_include_decoder_norm", file):
        sae = by_decoder_norm(sae)
    limits = torch.full((sae.n_features,), float(threshold))
    return replace(sae, architecture="jumprelu", threshold=limits)


def _chosen(sae: SAE, config: dict[str, Any], threshold: Tensor | None, file: Path) -> SAE:
    """What of the pre-activations is kept."""
    act = config.get("act_fn")
    lengths = sae.w_dec.norm(dim=1) if flag(config, "sparsity_include_decoder_norm", file) is not False else None
    if act == "topk":
        return replace(sae, architecture="topk", k=whole(config, "top_k", file), units=lengths)
    if threshold is None:
        return sae
    # pre x length > threshold; a row of zeros never passes
    return replace(sae, architecture="jumprelu", threshold=threshold if lengths is None else _over(threshold, lengths))


def _let_through(sae: SAE, w: Float[Tensor, "d_in feature"], b: Float[Tensor, "feature"]) -> SAE:
    """A dictionary whose pre-activations are gated by a second matrix, which makes of its encoder a function."""
    if w.shape != sae.w_enc.shape or b.shape != sae.b_enc.shape:
        raise AttribError(
            f"{_GLU[0]} is {list(w.shape)} and {_GLU[1]} {list(b.shape)}, and the encoder {list(sae.w_enc.shape)}.",
            APART,
        )
    w_enc, b_enc = unknown_encoder(sae.n_features, sae.d_in)
    return replace(
        sae,
        architecture="given",
        encoder=lambda x: sae.active(sae.pre_activations(x) * (x @ w + b).sigmoid()),
        w_enc=w_enc,
        b_enc=b_enc,
        k=None,
        threshold=None,
        units=None,
        metadata=sae.metadata | {"architecture": f"{sae.architecture}, gated by a second encoder"},
    )


def _over(threshold: Tensor, lengths: Tensor) -> Tensor:
    return (threshold / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)).clamp_max(torch.finfo(lengths.dtype).max)


def _scaled(sae: SAE, config: dict[str, Any], averages: dict[str, Tensor], file: Path) -> SAE:
    """Its scaling of activations: none, each by its own norm, or all by their average one, which is folded in."""
    how = config.get("norm_activation", "dataset-wise")
    if how == "inference":
        return sae
    if how == "token-wise" and sae.writes is None:
        return replace(sae, norm="rms_norm")
    if how != "dataset-wise":
        why = {
            "batch-wise": "What it reads of an activation depends on those beside it. ",
            "token-wise": "What it writes depends on how long that is in the model. ",
        }.get(str(how), "")
        raise unread(
            file, "norm_activation", how, f"{why}Read are inference, dataset-wise, and token-wise of one place."
        )
    factors = []
    for key in ("hook_point_in", "hook_point_out"):
        average = averages.get(str(config.get(key)))
        if average is None or average.numel() != 1 or float(average) <= 0:
            raise AttribError(
                f"{file} says norm_activation = 'dataset-wise', and the weights hold no average norm of "
                f"{config.get(key)}.",
                "Take a dictionary that was saved with it, or one in inference mode.",
            )
        factors.append(math.sqrt(sae.d_in) / float(average))
    into, out = factors
    sae = replace(sae, w_dec=sae.w_dec / out, b_dec=sae.b_dec / out)
    if (encoder := sae.encoder) is not None:
        return replace(sae, encoder=lambda x: encoder(x * into))
    return replace(sae, w_enc=sae.w_enc * into)


def _size(config: dict[str, Any], file: Path) -> int | None:
    """How many features the config says that there are."""
    if (said := whole(config, "d_sae", file)) is not None:
        return said
    if config.get("expansion_factor") is None or (width := whole(config, "d_model", file)) is None:
        return None
    return int(width * positive(config, "expansion_factor", file))


def _config(config: dict[str, Any], file: Path, first: bool) -> dict[str, Any]:
    """What the config says, looked through.

    Raises:
        AttribError: a setting that is not read here.
    """
    understood(config, _APPLIED | _IDLE, file, file.name)
    if flag(config, "apply_decoder_bias_to_pre_encoder", file):
        raise unread(file, "apply_decoder_bias_to_pre_encoder", True, "Read are encoders that subtract nothing.")
    if first and flag(config, "use_glu_encoder", file):
        raise unread(file, "use_glu_encoder", True, "Of the first release encoders of one matrix are read.")
    if config.get("sae_type") not in ((None,) if first else ()) + ("sae",):
        raise unread(file, "sae_type", config.get("sae_type"), "Read is sae: one encoder and one decoder.")
    known = (None, "jumprelu") if first else ("relu", "jumprelu", "topk")
    if config.get("act_fn", None if first else "relu") not in known:
        why = "What batchtopk keeps of an activation depends on those beside it, and no threshold is kept. "
        why = why if config.get("act_fn") == "batchtopk" else ""
        raise unread(file, "act_fn", config.get("act_fn"), f"{why}Read are relu, jumprelu and topk.")
    return config


def _ends(config: dict[str, Any], file: Path) -> tuple[Spot, Place | None]:
    """(where it reads, where a transcoder writes).

    Raises:
        AttribError: a place that is not read here, or none.
    """
    if not isinstance(hook := config.get("hook_point_in"), str):
        raise AttribError(f"{file} says hook_point_in = {hook!r}, which is no name of a place.", AGAIN)
    spot = known_spot(hook)
    out = config.get("hook_point_out") or hook
    writes = known_spot(str(out)).place
    return spot, None if writes == spot.place else writes
