"""The SAELens folder: ``cfg.json`` and ``sae_weights.safetensors``, written and read.

Only numpy, torch and safetensors are needed, all of which transformers brings along.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ...words.errors import AttribError, ComponentError
from ...words.places import Place, PlaceLike, dictionary_place
from ...words.text import indefinite
from ..sae import ARCHITECTURES, SAE
from .files import Glance, module_place, settings, tensors, whole
from .folding import by_decoder_norm, by_scale

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
HOLDS = f"{CONFIG} and {WEIGHTS}"

# Names of places in the files of SAELens, which follow TransformerLens.
_HOOKS = {"post": "blocks.{}.hook_resid_post", "mlp": "blocks.{}.hook_mlp_out", "z": "blocks.{}.attn.hook_z"}
_READ = {**_HOOKS, "pre": "blocks.{}.hook_resid_pre"}

# What a config may say. Applied: shape, place and arithmetic. Heads: read where none is named. Idle: how the dictionary
# was trained, and on what; no number depends on it. Any other setting that is switched on is refused by name, since
# nobody knows what it does to the numbers.
_ACTIVATIONS = ("activation_fn", "activation_fn_str", "activation_fn_name")
_ARITHMETIC = frozenset(
    {"architecture", "d_in", "d_sae", "k", "apply_b_dec_to_input", "reshape_activations", "activation_fn_kwargs"}
    | {"finetuning_scaling_factor", "rescale_acts_by_decoder_norm", "normalize_activations", *_ACTIVATIONS}
)
_PLACES = ("hook_name", "hook_point")  # the second is the name of older files
_APPLIED = _ARITHMETIC | {*_PLACES, "hook_name_out", "model_from_pretrained_kwargs"}
_HEADS = ("hook_head_index", "hook_point_head_index")
_IDLE = frozenset(
    """
    aux_loss_coefficient b_dec_init_method context_size dataset_path dataset_trust_remote_code
    decoder_heuristic_init decoder_init_norm decoder_orthogonal_init device dtype hook_layer hook_point_layer
    init_encoder_as_decoder_transpose jumprelu_bandwidth jumprelu_init_threshold jumprelu_sparsity_loss_mode
    jumprelu_ste_to_input jumprelu_tanh_scale l0_coefficient l0_warm_up_steps l1_coefficient l1_warm_up_steps lp_norm
    model_class_name model_name mse_loss_normalization neuronpedia_id noise_scale normalize_sae_decoder
    pre_act_loss_coefficient prepend_bos sae_lens_training_version sae_lens_version
    scale_sparsity_penalty_by_decoder_norm seqpos_slice target_l0 topk_threshold_lr use_ghost_grads
    use_sparse_activations
    """.split()
)

# Tensors that a file may hold besides the four that every dictionary has; the factor has two names.
_FACTORS = ("finetuning_scaling_factor", "scaling_factor")

# Ways of loading the model that change what is read at some of the places; and those that change it at none: how it is
# held in memory, and foldings that leave every place as it was.
_PROCESSED = {
    "center_writing_weights": ("post", "mlp"),
    "fold_value_biases": ("z",),
    "refactor_factored_attn_matrices": ("z",),
}
_HELD = frozenset(
    """
    attn_implementation cache_dir center_unembed default_padding_side default_prepend_bos device device_map dtype
    fold_ln local_files_only low_cpu_mem_usage move_to_device n_ctx n_devices token torch_dtype trust_remote_code
    use_auth_token
    """.split()
)


def hook_name(site: PlaceLike) -> str:
    """The name of a place in a SAELens config.

    Raises:
        ComponentError: a place that no dictionary reads.
    """
    found = dictionary_place(site)
    return _HOOKS[found.site].format(found.layer)


def site_of(hook: str) -> Place:
    """The place of a SAELens hook name: one of TransformerLens, or a module of the model itself.

    Raises:
        AttribError: a place that is not read here.
    """
    for site, form in _READ.items():
        found = re.fullmatch(re.escape(form).replace(r"\{\}", r"(\d+)"), hook)
        if not found:
            continue
        try:
            return dictionary_place(Place(site, int(found[1])))
        except ComponentError as reason:
            raise AttribError(
                f"A dictionary of {hook!r} cannot be read here. {reason.message}", reason.hint
            ) from reason
    if found_module := module_place(hook):
        return found_module
    known = ", ".join(form.format("L") for form in _READ.values())
    raise AttribError(
        f"A dictionary of {hook!r} cannot be read here.",
        f"Read are {known}, model.layers.L and model.layers.L.mlp. If it reads the same numbers under another name: "
        'aw.read_sae(folder, site="L8.mlp").',
    )


def reads(folder: Path) -> bool:
    """Whether a folder holds the two files."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


class _Said(NamedTuple):
    """What a folder's config says, understood: nothing in it is left that could change a number unseen."""

    settings: dict[str, Any]
    site: Place | None
    architecture: str
    k: int | None
    metadata: dict[str, Any]


def glance(folder: Path) -> Glance:
    """As far as the config says.

    Raises:
        AttribError: an architecture, a place or a setting that is not read here.
    """
    said = _said(folder)
    return Glance(said.site, *(whole(said.settings, key, folder / CONFIG) for key in ("d_sae", "d_in")))


def _said(folder: Path, site: Place | None = None, scale: float | None = None) -> _Said:
    """The config of a folder; ``site`` whatever it says.

    Raises:
        AttribError: it contradicts itself, or has a setting that is not read here.
    """
    config = settings(folder / CONFIG)
    metadata = config.pop("metadata", None) or {}
    if not isinstance(metadata, dict):
        raise _unread(folder, "metadata", metadata, "It holds settings by name.")
    merged = dict(config)
    # Which of the two says a thing differs between the versions, so what matters is looked for in both.
    for key in sorted(_APPLIED | set(_HEADS)):
        one, other = config.get(key), metadata.get(key)
        if _empty(other):
            continue
        if not _empty(one) and one != other and not (site is not None and key in _PLACES):
            raise AttribError(
                f"{folder / CONFIG} says {key} = {one!r}, and its metadata {key} = {other!r}.",
                "Keep the one that is true.",
            )
        merged[key] = other
    name, k = _architecture(merged, folder)
    hooks = []
    if site is None:
        hooks = [str(merged[key]) for key in _PLACES if not _empty(merged.get(key))]
        if len(sites := {site_of(hook) for hook in hooks}) > 1:
            raise AttribError(
                f"{folder / CONFIG} says hook_name = {hooks[0]!r} and hook_point = {hooks[1]!r}.",
                "Keep the one that is true.",
            )
        site = next(iter(sites), None)
    _check_settings(merged, site, folder)
    _check_scale(merged, scale, folder)
    if merged.get("rescale_acts_by_decoder_norm") and name != "topk":
        raise _unread(folder, "rescale_acts_by_decoder_norm", True, "Only a topk dictionary asks for it.")
    dropped = _ARITHMETIC | {*_HEADS, "hook_point", "hook_name_out"}  # said once: by what is read here
    kept = {key: value for key, value in metadata.items() if key not in dropped}
    if (module := next(iter(hooks), "")) and module_place(module):
        kept["module"] = module  # not always what is added to the stream: saes/fit.py
    for key in ("model_name", "seqpos_slice"):  # older files say them at the top
        if key in config:
            kept.setdefault(key, config[key])
    return _Said(merged, site, name, k, kept)


def _empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


def write_sae(sae: SAE, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a dictionary in the format of SAELens 6, its matrices in ``dtype``, its vectors in float32.

    Eight-bit floats are storage only: the file says that it is computed with in float32, which SAELens does.

    Raises:
        AttribError: numbers that ``dtype`` cannot hold.
    """
    from safetensors.torch import save_file

    hook = hook_name(sae.site)
    config: dict[str, Any] = {
        "architecture": sae.architecture,
        "d_in": sae.d_in,
        "d_sae": sae.n_features,
        "dtype": str(dtype if dtype.itemsize > 1 else torch.float32).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": sae.subtract,
        "normalize_activations": "none",
        "reshape_activations": "hook_z" if sae.site.site == "z" else "none",
        "metadata": {**sae.metadata, "hook_name": hook},
    }
    if sae.architecture == "topk":
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    written = {"W_enc": sae.w_enc, "b_enc": sae.b_enc, "W_dec": sae.w_dec, "b_dec": sae.b_dec}
    if sae.threshold is not None:
        written["threshold"] = sae.threshold
    kept = {name: t.detach().cpu().to(dtype if t.ndim > 1 else torch.float32) for name, t in written.items()}
    if beyond := [name for name, t in written.items() if t.abs().max() > torch.finfo(kept[name].dtype).max]:
        raise AttribError(
            f"{beyond[0]} of the dictionary for {sae.site} has numbers beyond what {dtype} holds.",
            "Write it in torch.float32 or torch.bfloat16.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    save_file({name: t.contiguous() for name, t in kept.items()}, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)


def read(folder: Path, site: Place | None = None, scale: float | None = None) -> SAE:
    """Read a dictionary that SAELens 2 to 6, or :func:`write_sae`, has written; ``site`` where the config says less.

    ``scale`` is the number that the activations were multiplied by in training, where the config says that they were
    (``normalize_activations = expected_average_only_in``): SAELens does not keep it.
    Weights in half precision are computed with in float32, the inputs unrounded; SAELens computes in the type of the
    file, which moves its activations by that rounding.

    Raises:
        AttribError: no such folder, files that are broken or contradict each other, or an architecture, a scaling, a
            place or any other setting that is not read here.
    """
    said = _said(folder, site, scale)
    config = said.settings
    if said.site is None:
        raise AttribError(
            f"{folder / CONFIG} does not say where the dictionary reads.",
            'It needs metadata.hook_name; or say it: aw.read_sae(folder, site="L8.mlp").',
        )
    weights = _weights(folder, said.architecture)
    sae = SAE(
        said.site,
        said.architecture,
        weights["W_enc"],
        weights["b_enc"],
        weights["W_dec"],
        weights["b_dec"],
        k=said.k,
        threshold=weights.get("threshold"),
        subtract=config.get("apply_b_dec_to_input") is not False,
        metadata=said.metadata,
    )
    for key, size in (("d_in", sae.d_in), ("d_sae", sae.n_features)):
        if whole(config, key, folder / CONFIG) not in (None, size):
            raise AttribError(
                f"{folder / CONFIG} says {key} = {config[key]}, and W_enc in {WEIGHTS} has {size}.",
                "The two files do not belong together: take both from one dictionary.",
            )
    if (factor := _factor(config, weights, sae.n_features, folder)) is not None:
        sae = replace(sae, w_dec=sae.w_dec * factor[:, None])
    if config.get("rescale_acts_by_decoder_norm"):
        sae = by_decoder_norm(sae)
    return sae if scale is None else by_scale(sae, float(scale))


def _architecture(config: dict[str, Any], folder: Path) -> tuple[str, int | None]:
    """(architecture, k). Up to version 5 top-k is a standard dictionary with another activation function."""
    name = config.get("architecture") or "standard"  # as SAELens reads the configs that are older than the setting
    if name not in ARCHITECTURES:
        raise _unread(folder, "architecture", name, f"Read are {', '.join(ARCHITECTURES)}.")
    kwargs = config.get("activation_fn_kwargs") or {}
    asked = {key: config[key] for key in _ACTIVATIONS if config.get(key) is not None}
    top = "topk" in asked.values()
    fits = {"standard": ("topk",) if top else ("relu",), "topk": ("topk",), "jumprelu": ("relu", "jumprelu")}[name]
    if wrong := [key for key, value in asked.items() if value not in fits]:
        raise _unread(
            folder,
            wrong[0],
            asked[wrong[0]],
            f"{indefinite(name, start=True)} dictionary is read with {' or '.join(fits)}.",
        )
    if top:
        name = "topk"
    if name == "standard" and not _empty(config.get("k")):
        raise _unread(folder, "k", config["k"], "A standard dictionary has none; with one it is topk.")
    if not isinstance(kwargs, dict) or set(kwargs) - ({"k"} if name == "topk" else set()):
        raise _unread(folder, "activation_fn_kwargs", kwargs, "Only the k of a topk dictionary is understood.")
    if name != "topk":
        return name, None
    said = [value for value in (config.get("k"), kwargs.get("k")) if value is not None]
    if wrong := [value for value in said if type(value) is not int or value != said[0]]:
        raise _unread(folder, "k", wrong[0], f"A topk dictionary has one k, a whole number; {CONFIG} says {said}.")
    if not said:
        raise AttribError(f"{folder / CONFIG} says topk, and not how many.", 'A topk dictionary needs its k: "k": 8.')
    return name, said[0]


def _check_settings(config: dict[str, Any], site: Place | None, folder: Path) -> None:
    """Raises AttribError where a setting that is not applied could change a number, or an applied one is unclear."""
    advice = f"Remove it from {CONFIG} if you know that it changes no activation."
    for key, value in config.items():
        if _empty(value) or value is False or value == "none":
            continue
        if key in _HEADS:
            raise _unread(folder, key, value, "No dictionary reads one head alone: it is for all heads of a layer.")
        if key not in _APPLIED | _IDLE:
            raise _unread(folder, key, value, advice)
    for key in ("apply_b_dec_to_input", "rescale_acts_by_decoder_norm", "finetuning_scaling_factor"):
        if not isinstance(config.get(key), bool | None):
            raise _unread(folder, key, config[key], "It is true or false, without quotation marks.")
    if config.get("reshape_activations") not in (None, "none", "hook_z"):
        raise _unread(folder, "reshape_activations", config["reshape_activations"], advice)
    out = config.get("hook_name_out")
    if out and out not in [config.get(key) for key in _PLACES]:
        raise _unread(folder, "hook_name_out", out, "A dictionary reads and rebuilds the same place.")
    loaded = config.get("model_from_pretrained_kwargs") or {}
    if not isinstance(loaded, dict):
        raise _unread(folder, "model_from_pretrained_kwargs", loaded, "It holds settings by name.")
    for key, value in loaded.items():
        places = _PROCESSED.get(key)
        if _empty(value) or value is False or key in _HELD or (places and site is not None and site.site not in places):
            continue
        what = f"which changes what {site or 'some places'} holds" if places else "and nobody here knows what that does"
        raise AttribError(
            f"{folder} was trained on a model loaded with {key} = {value!r}, {what}, and is not read here.",
            "Take a dictionary of the model as it is published."
            if places
            else f"Remove it from {CONFIG} if your model was loaded in the same way.",
        )


def _unread(folder: Path, key: str, value: Any, hint: str) -> AttribError:
    return AttribError(f"{folder} has {key} = {value!r}, which is not read here.", hint)


def _check_scale(config: dict[str, Any], scale: float | None, folder: Path) -> None:
    """Raises AttribError where the activations that it was trained on cannot be had from the model's."""
    asked = config.get("normalize_activations")
    if _empty(asked) or asked is False or asked == "none":
        if scale is None:
            return
        raise AttribError(f"{folder} was trained on activations as they are.", f"Leave out scale = {scale!r}.")
    if asked is not True and asked != "expected_average_only_in":
        raise _unread(
            folder,
            "normalize_activations",
            asked,
            "It norms each activation by itself, or by what the files do not say: take a dictionary without.",
        )
    if scale is None:
        raise _unread(
            folder,
            "normalize_activations",
            asked,
            "It was trained on activations times one number, which its files do not say. Give it: "
            "aw.read_sae(folder, scale=...). SAELens takes sqrt(d_in) / (mean length of an activation).",
        )
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < math.inf:
        raise AttribError(
            f"A scale cannot be {scale!r}.", "Give the positive number that activations were multiplied by."
        )


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


def _weights(folder: Path, architecture: str) -> dict[str, torch.Tensor]:
    """The tensors of a dictionary: all that this architecture needs, and none without a use."""
    found = tensors(folder / WEIGHTS)
    needed = {"W_enc", "b_enc", "W_dec", "b_dec"} | ({"threshold"} if architecture == "jumprelu" else set())
    if missing := sorted(needed - set(found)):
        raise AttribError(f"{folder / WEIGHTS} lacks {', '.join(missing)}.", f"It has {', '.join(sorted(found))}.")
    if extra := sorted(set(found) - needed - set(_FACTORS)):
        raise AttribError(
            f"{folder / WEIGHTS} holds {', '.join(extra)}, "
            f"which {indefinite(architecture)} dictionary has no use for here.",
            f"Read are {', '.join(sorted(needed))}.",
        )
    return found
