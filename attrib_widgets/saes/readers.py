"""Dictionaries on disk: the SAELens folder (``cfg.json`` and ``sae_weights.safetensors``), written and read.

Only numpy, torch and safetensors are needed, all of which transformers brings along.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ..words.components import Component, ComponentLike, component
from ..words.errors import AttribError, ComponentError
from .cards import Cards
from .sae import ARCHITECTURES, SAE

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"

# Names of places in the files of SAELens, which follow TransformerLens.
_HOOKS = {"layer": "blocks.{}.hook_resid_post", "mlp": "blocks.{}.hook_mlp_out", "attn": "blocks.{}.attn.hook_z"}

# What a config may say. Applied: shape, place and arithmetic. Plain: read where nothing is asked for, because what
# they ask for would change the activations. Idle: how the dictionary was trained, and on what; no number depends on
# it. Any other setting that is switched on is refused by name, since nobody knows what it does to the numbers.
_ACTIVATIONS = ("activation_fn", "activation_fn_str", "activation_fn_name")
_APPLIED = frozenset(
    {"architecture", "d_in", "d_sae", "k", "apply_b_dec_to_input", "hook_name", "metadata", "reshape_activations"}
    | {"activation_fn_kwargs", "finetuning_scaling_factor", "model_from_pretrained_kwargs", *_ACTIVATIONS}
)
_PLAIN = ("normalize_activations", "rescale_acts_by_decoder_norm", "hook_head_index", "hook_point_head_index")
_IDLE = frozenset(
    """
    aux_loss_coefficient b_dec_init_method context_size dataset_path dataset_trust_remote_code
    decoder_heuristic_init decoder_init_norm decoder_orthogonal_init device dtype hook_layer
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

# Ways of loading the model that change what is read at some of the places.
_PROCESSED = {
    "center_writing_weights": ("layer", "mlp"),
    "fold_value_biases": ("attn",),
    "refactor_factored_attn_matrices": ("attn",),
}


def hook_name(site: Component) -> str:
    """The name of a site in a SAELens config.

    Raises:
        AttribError: a component that no dictionary reads.
    """
    if site.kind not in _HOOKS:
        raise AttribError(
            f"No dictionary reads {site}.",
            "It is for a stream (L2), an MLP (L2.mlp) or the heads of a layer (L2.attn).",
        )
    return _HOOKS[site.kind].format(site.layer)


def site_of(hook: str) -> Component:
    """The site of a SAELens hook name.

    Raises:
        AttribError: a place that is not read here.
    """
    for kind, form in _HOOKS.items():
        found = re.fullmatch(re.escape(form).replace(r"\{\}", r"(\d+)"), hook)
        if found:
            return Component(kind, int(found[1]))
    known = ", ".join(form.format("L") for form in _HOOKS.values())
    raise AttribError(f"A dictionary of {hook!r} cannot be read here.", f"The places are {known}.")


def write_sae(sae: SAE, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a dictionary in the format of SAELens 6, its matrices in ``dtype``, its vectors in float32.

    Eight-bit floats are storage only: the file says that it is computed with in float32, which SAELens does.
    """
    from safetensors.torch import save_file

    hook = hook_name(sae.site)
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "architecture": sae.architecture,
        "d_in": sae.d_in,
        "d_sae": sae.n_features,
        "dtype": str(dtype if dtype.itemsize > 1 else torch.float32).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": sae.subtract,
        "normalize_activations": "none",
        "reshape_activations": "hook_z" if sae.site.kind == "attn" else "none",
        "metadata": {**sae.metadata, "hook_name": hook},
    }
    if sae.architecture == "topk":
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    tensors = {"W_enc": sae.w_enc, "b_enc": sae.b_enc, "W_dec": sae.w_dec, "b_dec": sae.b_dec}
    if sae.threshold is not None:
        tensors["threshold"] = sae.threshold
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    kept = {name: t.detach().cpu().to(dtype if t.ndim > 1 else torch.float32) for name, t in tensors.items()}
    save_file({name: t.contiguous() for name, t in kept.items()}, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)


def read_sae(folder: Path | str) -> SAE:
    """Read a dictionary that SAELens 3 to 6, or :func:`write_sae`, has written.

    Raises:
        AttribError: no such folder, files that are broken or contradict each other, or an architecture, a scaling, a
            place or any other setting that is not read here.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise AttribError(f"{folder} is not a SAELens folder.", f"It holds {CONFIG} and {WEIGHTS}.")
    config = _config(folder)
    name, k = _architecture(config, folder)
    metadata = dict(config.get("metadata") or {})
    # Older files say it at the top.
    hook = metadata.get("hook_name") or config.get("hook_name")
    if not hook:
        raise AttribError(f"{folder / CONFIG} does not say where the dictionary reads.", "It needs metadata.hook_name.")
    site = site_of(str(hook))
    _check_settings(config, metadata, site, folder)
    weights = _weights(folder, name)
    sae = SAE(
        site,
        name,
        weights["W_enc"],
        weights["b_enc"],
        _finetuned(config, weights, folder),
        weights["b_dec"],
        k=k,
        threshold=weights.get("threshold"),
        subtract=bool(config.get("apply_b_dec_to_input", True)),
        metadata=metadata,
    )
    for key, size in (("d_in", sae.d_in), ("d_sae", sae.n_features)):
        if config.get(key, size) != size:
            raise AttribError(
                f"{folder / CONFIG} says {key} = {config[key]}, and W_enc in {WEIGHTS} has {size}.",
                "The two files do not belong together: take both from one dictionary.",
            )
    return sae


def _architecture(config: dict[str, Any], folder: Path) -> tuple[str, int | None]:
    """(architecture, k). Up to version 5 top-k is a standard dictionary with another activation function."""
    name = config.get("architecture")
    if name not in ARCHITECTURES:
        raise AttribError(f"{folder} has architecture {name!r}, which is not read here.", f"Read are {ARCHITECTURES}.")
    kwargs = config.get("activation_fn_kwargs") or {}
    asked = {key: config[key] for key in _ACTIVATIONS if config.get(key) is not None}
    top = "topk" in asked.values()
    fits = {"standard": ("topk",) if top else ("relu",), "topk": ("topk",), "jumprelu": ("relu", "jumprelu")}[name]
    if wrong := [key for key, value in asked.items() if value not in fits]:
        raise _unread(folder, wrong[0], asked[wrong[0]], f"A {name} dictionary is read with {' or '.join(fits)}.")
    if top:
        name = "topk"
    if not isinstance(kwargs, dict) or set(kwargs) - ({"k"} if name == "topk" else set()):
        raise _unread(folder, "activation_fn_kwargs", kwargs, "Only the k of a topk dictionary is understood.")
    said = {value for value in (config.get("k"), kwargs.get("k")) if value is not None} if name == "topk" else {None}
    if len(said) > 1 or any(isinstance(value, bool | float | str) for value in said):
        raise _unread(folder, "k", sorted(map(str, said)), "A topk dictionary has one k, a whole number.")
    return name, next(iter(said), None)


def _check_settings(config: dict[str, Any], metadata: dict[str, Any], site: Component, folder: Path) -> None:
    """Raises AttribError where a setting that is not applied could change a number."""
    advice = f"Remove it from {CONFIG} if you know that it changes no activation."
    for key, value in {**config, **{key: metadata[key] for key in (*_PLAIN, *_ACTIVATIONS) if key in metadata}}.items():
        if value is None or value is False or value in ("none", "", [], {}):
            continue
        if key in _PLAIN:
            single = "No dictionary reads one head alone: it is for all heads of a layer."
            raise _unread(
                folder,
                key,
                value,
                single if "head" in key else "Fold the scaling into the weights first, as SAELens can.",
            )
        if key not in _APPLIED | _IDLE:
            raise _unread(folder, key, value, advice)
    if not isinstance(config.get("apply_b_dec_to_input", True), bool):
        raise _unread(folder, "apply_b_dec_to_input", config["apply_b_dec_to_input"], "It is true or false.")
    if config.get("reshape_activations") not in (None, "none", "hook_z"):
        raise _unread(folder, "reshape_activations", config["reshape_activations"], advice)
    out = metadata.get("hook_name_out") or config.get("hook_name_out")
    if out and out != (metadata.get("hook_name") or config.get("hook_name")):
        raise _unread(folder, "hook_name_out", out, "A dictionary reads and rebuilds the same place.")
    loaded = {**(config.get("model_from_pretrained_kwargs") or {})}
    loaded |= metadata.get("model_from_pretrained_kwargs") or {}
    for key, kinds in _PROCESSED.items():
        if loaded.get(key) and site.kind in kinds:
            raise AttribError(
                f"{folder} was trained on a model loaded with {key} = {loaded[key]!r}, which changes what {site} "
                "holds, and is not read here.",
                "Take a dictionary of the model as it is published.",
            )


def _unread(folder: Path, key: str, value: Any, hint: str) -> AttribError:
    return AttribError(f"{folder} has {key} = {value!r}, which is not read here.", hint)


def _finetuned(config: dict[str, Any], weights: dict[str, torch.Tensor], folder: Path) -> torch.Tensor:
    """The decoder, with the factor per feature that some older dictionaries were finetuned with."""
    found = [weights[key] for key in _FACTORS if key in weights]
    rows = weights["W_dec"]
    if not config.get("finetuning_scaling_factor"):
        if any(bool((factor != 1).any()) for factor in found):
            raise AttribError(
                f"{folder / WEIGHTS} has a scaling factor, and {CONFIG} does not say that it is used.",
                'Say "finetuning_scaling_factor": true or false there, and remove the tensor for false.',
            )
        return rows
    if len(found) != 1 or found[0].shape != rows.shape[:1]:
        raise AttribError(
            f"{folder} has finetuning_scaling_factor = True, and {WEIGHTS} has no such factor per feature.",
            "Take both files from one dictionary.",
        )
    return rows * found[0][:, None]


def _config(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as reason:
        raise AttribError(f"{folder / CONFIG} is no JSON: {reason}.", "Write or fetch it again.") from reason
    if not isinstance(found, dict):
        raise AttribError(f"{folder / CONFIG} holds a {type(found).__name__}, not settings by name.")
    return found


def _weights(folder: Path, architecture: str) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = {key: value.float() for key, value in load_file(folder / WEIGHTS).items()}
    except SafetensorError as reason:
        raise AttribError(f"{folder / WEIGHTS} cannot be read: {reason}.", "Write or fetch it again.") from reason
    needed = {"W_enc", "b_enc", "W_dec", "b_dec"} | ({"threshold"} if architecture == "jumprelu" else set())
    if missing := sorted(needed - set(found)):
        raise AttribError(f"{folder / WEIGHTS} lacks {', '.join(missing)}.", f"It has {', '.join(sorted(found))}.")
    if extra := sorted(set(found) - needed - set(_FACTORS)):
        raise AttribError(
            f"{folder / WEIGHTS} holds {', '.join(extra)}, which a {architecture} dictionary has no use for here.",
            f"Read are {', '.join(sorted(needed))}.",
        )
    return found


class Dictionaries(Mapping[str, SAE]):
    """The dictionaries of a folder, one sub-folder per site (``"L2.mlp"``), each read when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, SAE] = {}
        self._cards: dict[str, Cards | None] = {}

    def __getitem__(self, site: ComponentLike) -> SAE:
        try:
            name = str(component(site))
        except ComponentError:
            name = str(site)
        if name not in self._read:
            if name not in list(self):
                raise KeyError(f"No dictionary for {name}; there are {', '.join(self) or 'none'}.")
            self._read[name] = read_sae(self.folder / name)
        return self._read[name]

    def cards(self, site: ComponentLike) -> Cards | None:
        """What the features of a dictionary fire on, where that was computed; kept."""
        name = str(component(site))
        if name not in self._cards:
            self._cards[name] = Cards.read(self.folder / name)
        return self._cards[name]

    def __iter__(self) -> Iterator[str]:
        entries = self.folder.iterdir() if self.folder.is_dir() else ()
        found = [_named(entry.name) for entry in entries if (entry / CONFIG).is_file()]
        order = list(reversed(_HOOKS))
        sites = sorted((site for site in found if site), key=lambda site: (site.layer, order.index(site.kind)))
        return iter([str(site) for site in sites])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Dictionaries for {', '.join(self)}"


def _named(folder: str) -> Component | None:
    """The site that a folder is named after; None for any other folder."""
    try:
        found = component(folder)
    except ComponentError:
        return None
    return found if found.kind in _HOOKS and str(found) == folder else None
