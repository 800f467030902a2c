"""What a SAELens config says of a dictionary, of versions 1 to 6, understood or refused by name."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, NamedTuple

from ....words.errors import AttribError
from ....words.places import Place
from ....words.text import indefinite
from ..files import flag, unread, unscaled
from ..hooks import Spot, known_spot, spot
from . import pursuit
from .idle import IDLE
from .scaler import SCALER, WHITENING, scale_beside
from .writing import CONFIG, NORMALIZE

# What becomes of the pre-activations, by architecture. Those that are trained over a batch keep a threshold for use; a
# gated one is folded into one.
_KINDS = {
    **{name: name for name in ("standard", "topk", "abstopk", "jumprelu")},
    **dict.fromkeys(("gated", "batchtopk", "matryoshka_batchtopk"), "jumprelu"),
    **dict.fromkeys(("transcoder", "skip_transcoder"), "standard"),
    **dict.fromkeys(("jumprelu_transcoder", "jumprelu_skip_transcoder"), "jumprelu"),
    pursuit.NAME: "given",
}
# What a config may say. Applied: shape, place and arithmetic. Heads: read where none is named. IDLE: how the dictionary
# was trained, and on what; no number depends on it. Any other setting that is switched on is refused by name, since
# nobody knows what it does to the numbers.
_ACTIVATIONS = ("activation_fn", "activation_fn_str", "activation_fn_name")
_ARITHMETIC = frozenset(
    {"architecture", "d_in", "d_out", "d_sae", "k", "apply_b_dec_to_input", "reshape_activations"}
    | {"finetuning_scaling_factor", "finetuning_method"}
    | {"rescale_acts_by_decoder_norm", "normalize_activations", "activation_fn_kwargs"}
    | {*_ACTIVATIONS, *pursuit.SETTINGS}
)
# The first is the module that is read, and true where the last two contradict it; the last is the name of older files.
_PLACES = ("hf_hook_name", "hook_name", "hook_point")
_WRITES = ("hf_hook_name_out", "hook_name_out")
_APPLIED = _ARITHMETIC | {*_PLACES, *_WRITES, "model_from_pretrained_kwargs"}
_HEADS = ("hook_head_index", "hook_point_head_index", "hook_head_index_out")

#: Coordinates that a way of loading may still turn into others.
_UNCHANGED = ("raw", "before RMS gain", "hook_normalized")
#: Up to which version SAELens asked for TransformerLens 2, which names places behind norms otherwise.
_LENS_2 = (6, 30)

# Ways of loading the model that change what is read: at which places, and into which coordinates (None: not read here).
# And those that change nothing anywhere: how it is held in memory, and foldings that leave every place as it was.
_ADDED = ("pre", "attn_out", "mid", "mlp", "post")
_PROCESSED: dict[str, tuple[tuple[str, ...], str | None]] = {
    "center_writing_weights": (_ADDED, "centred"),
    "fold_value_biases": (("z",), "without value bias"),
    "refactor_factored_attn_matrices": (("z",), None),
    "fold_ln": (("mlp_in",), "before gain"),
}
_HELD = frozenset(
    """
    attn_implementation cache_dir center_unembed default_padding_side default_prepend_bos device device_map dtype
    local_files_only low_cpu_mem_usage move_to_device n_ctx n_devices token torch_dtype trust_remote_code
    use_auth_token
    """.split()
)


# What is said beside the refusal of a setting.
_WHY = {
    "temporal": "What it makes of an activation depends on those of the tokens before, and a feature here is one of a "
    "single activation. ",
    "tanh-relu": "SAELens up to 5 takes the tanh of what is positive, and 6 leaves it as it is. ",
}


class Said(NamedTuple):
    """What a config says, understood: nothing in it is left that could change a number unseen."""

    settings: dict[str, Any]
    spot: Spot | None
    writes: Place | None
    architecture: str
    kind: str
    k: int | None
    metadata: dict[str, Any]
    scale: float | None


def said_of(config: dict[str, Any], folder: Path, site: Place | None = None, scale: float | None = None) -> Said:
    """A config; ``site`` whatever it says.

    Raises:
        AttribError: it contradicts itself, or has a setting that is not read here.
    """
    metadata = config.pop("metadata", None) or {}
    if not isinstance(metadata, dict):
        raise unread(folder, "metadata", metadata, "It holds settings by name.")
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
    if merged.get("finetuning_method") and merged.get("finetuning_scaling_factor") is None:
        merged["finetuning_scaling_factor"] = True  # which versions up to 2 do not say in so many words
    name, kind, k = _architecture(merged, folder)
    found = Spot(site) if site is not None else _place(merged, _PLACES, folder)
    writes = None
    if "transcoder" in name:
        there = _place(merged, _WRITES, folder)
        if there is None:
            raise AttribError(f"{folder / CONFIG} does not say where the transcoder writes.", "It has hook_name_out.")
        writes = there.place
    _check_settings(merged, found, writes, name, folder)
    if found is not None and found.coordinates == "hook_normalized" and _before_lens_3(config, metadata):
        found = found._replace(coordinates="before RMS gain")
    found = None if found is None else found._replace(coordinates=_coordinates(merged, found, writes, folder))
    scale = _scale(merged, scale, name, folder)
    if merged.get("rescale_acts_by_decoder_norm") and not (kind.endswith("topk") or name.endswith("batchtopk")):
        raise unread(folder, "rescale_acts_by_decoder_norm", True, "Only a topk dictionary asks for it.")
    dropped = _ARITHMETIC | {*_HEADS, "hook_point", *_WRITES, "hf_hook_name"}  # said once: by what is read here
    kept = {key: value for key, value in metadata.items() if key not in dropped}
    if found is not None and found.module:
        kept["module"] = found.module  # not always what is added to the stream: saes/fit.py
    for key in ("model_name", "seqpos_slice"):  # older files say them at the top
        if key in config:
            kept.setdefault(key, config[key])
    if kind == "given":
        kept["architecture"] = name
    return Said(merged, found, writes, name, kind, k, kept, scale)


def _before_lens_3(config: dict[str, Any], metadata: dict[str, Any]) -> bool:
    """Whether a file is so old that it was trained with TransformerLens 2; that is older than what says no version."""
    said = [m.get(f"sae_lens_{which}version") for which in ("training_", "") for m in (metadata, config)]
    version = next((str(v) for v in said if v), None)
    if version is None:
        return not metadata  # settings of the place stood at the top
    match = re.match(r"(\d+)\.(\d+)", version)
    return match is not None and (int(match[1]), int(match[2])) <= _LENS_2


def _place(config: dict[str, Any], keys: tuple[str, ...], folder: Path) -> Spot | None:
    """The place that a config names, by any of its keys; the first is a module of the model and decides.

    Raises:
        AttribError: a place that is not read here, or two.
    """
    named = [(key, str(config[key])) for key in keys if not _empty(config.get(key))]
    if named and named[0][0] == keys[0] and (found := spot(named[0][1])):
        return found
    named = [row for row in named if row[0] != keys[0] or len(named) == 1]
    if len({known_spot(hook)[:2] for _, hook in named}) > 1:
        raise AttribError(
            f"{folder / CONFIG} says {' and '.join(f'{key} = {hook!r}' for key, hook in named)}.",
            "Keep the one that is true.",
        )
    return known_spot(named[0][1]) if named else None


def _empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


def _architecture(config: dict[str, Any], folder: Path) -> tuple[str, str, int | None]:
    """(its name, what becomes of pre-activations, k). Up to version 5 top-k is a standard dictionary with another
    activation function."""
    name = config.get("architecture") or "standard"  # as SAELens reads the configs that are older than the setting
    if not isinstance(name, str) or name not in _KINDS:
        raise unread(folder, "architecture", name, f"{_WHY.get(str(name), '')}Read are {', '.join(_KINDS)}.")
    kwargs = config.get("activation_fn_kwargs") or {}
    asked = {key: config[key] for key in _ACTIVATIONS if config.get(key) is not None}
    top = "topk" in asked.values()
    fits = {"standard": ("topk",) if top else ("relu",), "topk": ("topk",), "jumprelu": ("relu", "jumprelu")}
    if wrong := [key for key, value in asked.items() if value not in fits.get(name, ("relu",))]:
        raise unread(
            folder,
            wrong[0],
            asked[wrong[0]],
            _WHY.get(str(asked[wrong[0]]), "")
            + f"{indefinite(name, start=True)} dictionary is read with {' or '.join(fits.get(name, ('relu',)))}.",
        )
    if top:
        name = "topk"
    kind = _KINDS[name]
    if kind == "standard" and not _empty(config.get("k")):
        raise unread(folder, "k", config["k"], "A standard dictionary has none; with one it is topk.")
    if not isinstance(kwargs, dict) or set(kwargs) - ({"k"} if name == "topk" else set()):
        raise unread(folder, "activation_fn_kwargs", kwargs, "Only the k of a topk dictionary is understood.")
    if not kind.endswith("topk"):
        return name, kind, None
    said = [value for value in (config.get("k"), kwargs.get("k")) if value is not None]
    if wrong := [value for value in said if type(value) is not int or value != said[0]]:
        raise unread(folder, "k", wrong[0], f"A topk dictionary has one k, a whole number; {CONFIG} says {said}.")
    if not said:
        raise AttribError(f"{folder / CONFIG} says topk, and not how many.", 'A topk dictionary needs its k: "k": 8.')
    return name, kind, said[0]


def _check_settings(config: dict[str, Any], found: Spot | None, writes: Place | None, name: str, folder: Path) -> None:
    """Raises AttribError where a setting that is not applied could change a number, or an applied one is unclear."""
    advice = f"Remove it from {CONFIG} if you know that it changes no activation."
    for key, value in config.items():
        if _empty(value) or value is False or value == "none":
            continue
        if key in _HEADS:
            raise unread(
                folder, key, value, "It is for one head alone, and read are those of all heads of a layer side by side."
            )
        if key in pursuit.SETTINGS and name != pursuit.NAME:
            raise unread(folder, key, value, f"It belongs to {pursuit.NAME}.")
        if key == "finetuning_scaling_factor" and name == pursuit.NAME:
            raise unread(folder, key, value, f"{pursuit.NAME} encodes with the matrix that it decodes with.")
        if key not in _APPLIED | IDLE:
            raise unread(folder, key, value, advice)
    for key in ("apply_b_dec_to_input", "rescale_acts_by_decoder_norm", "finetuning_scaling_factor"):
        flag(config, key, folder)
    if config.get("reshape_activations") not in (None, "none", "hook_z"):
        raise unread(folder, "reshape_activations", config["reshape_activations"], advice)
    if writes is not None:
        if config.get("apply_b_dec_to_input"):
            raise unread(folder, "apply_b_dec_to_input", True, f"No {name} of SAELens subtracts it.")
        return
    own = {str(config[key]) for key in _PLACES if not _empty(config.get(key))}
    for key in _WRITES:
        if _empty(out := config.get(key)) or str(out) in own:
            continue
        if found is None or (there := spot(str(out))) is None or there.place != found.place:
            raise unread(folder, key, out, "A dictionary that is no transcoder rebuilds the place that it reads.")
    if not _empty(config.get("d_out")) and config["d_out"] != config.get("d_in"):
        raise unread(folder, "d_out", config["d_out"], "A dictionary that is no transcoder returns what it reads.")


def _coordinates(config: dict[str, Any], found: Spot, writes: Place | None, folder: Path) -> str:
    """Which of the activations of a model that was loaded for training in some way are meant.

    Raises:
        AttribError: one that is not read here.
    """
    loaded = config.get("model_from_pretrained_kwargs") or {}
    if not isinstance(loaded, dict):
        raise unread(folder, "model_from_pretrained_kwargs", loaded, "It holds settings by name.")
    now = found.coordinates
    for key, value in loaded.items():
        if _empty(value) or value is False or key in _HELD:
            continue
        places, coordinates = _PROCESSED.get(key, ((), None))
        touched = [p for p in (found.place, writes) if p is not None and p.site in places]
        if key in _PROCESSED and not touched:
            continue
        if value is not True or coordinates is None or now not in _UNCHANGED or len(touched) > 1:
            what = f"which changes what {found.place} holds" if places else "and nobody here knows what that does"
            raise AttribError(
                f"{folder} was trained on a model loaded with {key} = {value!r}, {what}, and is not read here.",
                "Take a dictionary of the model as it is published."
                if places
                else f"Remove it from {CONFIG} if your model was loaded in the same way.",
            )
        if writes is not None and touched == [writes]:
            raise AttribError(
                f"{folder} was trained on a model loaded with {key} = True, which changes what it writes at {writes}, "
                "and is not read here.",
                "Take a transcoder of the model as it is published.",
            )
        now = coordinates
    return now


def _scale(config: dict[str, Any], scale: float | None, name: str, folder: Path) -> float | None:
    """What the activations that it was trained on are, times the model's; None where they are the model's own, or where
    a matrix beside the weights says it.

    Raises:
        AttribError: they cannot be had from the model's, or ``scale`` is no such number.
    """
    asked = config.get("normalize_activations")
    if _empty(asked) or asked is False or asked in NORMALIZE.values():
        unscaled(folder, scale)
        return None
    if asked == "covariance_whitening" and name != pursuit.NAME and "transcoder" not in name:
        if (folder / WHITENING).is_file():
            unscaled(folder, scale)
            return None
        raise unread(
            folder,
            "normalize_activations",
            asked,
            "It was trained on activations times a matrix, which its files do not hold. SAELens keeps it in "
            f"{WHITENING} beside a checkpoint, and folds it into the weights when training ends: put that file here, "
            "or take the finished dictionary.",
        )
    if asked is not True and asked != "expected_average_only_in":
        raise unread(
            folder,
            "normalize_activations",
            asked,
            "It was trained on activations that were changed by what the files do not hold: take a dictionary without.",
        )
    kept = scale_beside(folder)
    if scale is None and kept is None:
        raise unread(
            folder,
            "normalize_activations",
            asked,
            "It was trained on activations times one number, which its files do not say. Give it: "
            "aw.read_sae(folder, scale=...). SAELens takes sqrt(d_in) / (mean length of an activation), and keeps it "
            f"in {SCALER} beside a checkpoint.",
        )
    found = kept if scale is None else scale
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < math.inf:
        raise AttribError(
            f"A scale cannot be {scale!r}.", "Give the positive number that activations were multiplied by."
        )
    if kept is not None and not math.isclose(found, kept, rel_tol=1e-3):
        raise AttribError(
            f"You give scale = {found!r}, and the training run kept {kept!r} in {folder}.", "Leave out scale."
        )
    return float(found)
