"""Reading checkpoints: the embedded model's, a folder's, or a hub id's; and the model inside of what was put around it.

:func:`.model.load` puts them under study.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..result import slots
from ..words.errors import AttribError, TokenizerError, clause
from ..words.files import read_text
from .built import PREFIX, Built

#: What ``"demo"`` names: the folder of the model that ships with the library.
DEMO = Path(__file__).parent.parent / "demo" / "files"

#: What holds a model as it is, by the name of its class: where it keeps it.
WRAPPERS = {
    "OptimizedModule": "_orig_mod",  # torch.compile
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "DeepSpeedEngine": "module",
    "AutoModelForCausalLMWithValueHead": "pretrained_model",
}
#: What reads the weights of a quantised checkpoint, by its ``quant_method``, where the package has another name.
PACKAGES = {
    "awq": "gptqmodel",
    "bitsandbytes": "bitsandbytes accelerate",
    "eetq": "kernels accelerate",
    "fp8": "accelerate kernels",
    "gptq": "optimum gptqmodel",
    "mxfp4": "accelerate kernels",
    "quanto": "optimum-quanto",
}


def unwrapped(source: Any) -> Any:
    """The transformers model inside of compiled, parallel and adapter wrappers; its adapters stay as they are.

    Raises:
        AttribError: the wrapper changes what the model reads, or holds pieces of its weights.
    """
    while True:
        kinds = [kind.__name__ for kind in type(source).__mro__]
        if "FullyShardedDataParallel" in kinds:
            raise AttribError(
                "FullyShardedDataParallel holds pieces of the model's weights, not the model.",
                "Give the model as it was before it was sharded, or load it again on one device.",
            )
        if "PeftModel" in kinds or "PeftMixedModel" in kinds:
            config = getattr(source, "active_peft_config", None)
            if getattr(config, "is_prompt_learning", False):
                raise AttribError(
                    f"This {kinds[0]} puts learned vectors in front of the prompt (or its keys), which are no tokens.",
                    "Give its base model, model.get_base_model(), which runs without them.",
                )
            source = source.get_base_model()
            continue
        name = next((WRAPPERS[kind] for kind in kinds if kind in WRAPPERS), None)
        if name is None or not isinstance(getattr(source, name, None), nn.Module):
            return source
        source = getattr(source, name)


def read_checkpoint(source: str, tokenizer: Any, dtype: str | torch.dtype | None) -> tuple[Any, Any, str]:
    """(transformers model, tokenizer, name) of ``"demo"``, a circuit that was built by hand, a folder, or a hub id.

    Raises:
        AttribError: nothing can be loaded from ``source``.
    """
    if source.startswith(PREFIX):
        hf, own = slots.circuits().build(source)
        return hf if dtype is None else hf.to(_dtype(dtype)), tokenizer or own, source
    from transformers import AutoConfig, AutoTokenizer
    from transformers.utils import logging

    name, folder = source, source
    if source == "demo":
        folder, dtype = str(DEMO), dtype or torch.float32
    elif Path(source).is_dir():
        name = Path(source).resolve().name
    elif source.startswith((".", "/", "~")) or "\\" in source:
        raise AttribError(f"There is no folder {source!r}.", "Give a folder written by save_pretrained, or 'demo'.")
    elif any(c.isspace() for c in source):
        raise AttribError(f"{source!r} is a text, not a model.", 'Name the model first: aw.explore("demo", "The ...").')
    options: dict[str, Any] = {}
    if dtype is not None:
        options["dtype"] = _dtype(dtype)
    bar = logging.is_progress_bar_enabled()
    try:
        if source == "demo":
            logging.disable_progress_bar()  # it is loaded before a bar could be read
        base = _adapted(folder) or folder
        config = AutoConfig.from_pretrained(base)
        if getattr(config, "attn_logit_softcapping", None):
            options["attn_implementation"] = "eager"  # torch's fused attention would leave the cap out
        hf = _reader(config).from_pretrained(folder, **options)
        own = (Path(folder) / "tokenizer_config.json").is_file()
        tokenizer = tokenizer or AutoTokenizer.from_pretrained(folder if own else base)
    except Exception as reason:  # whatever is said of files that are damaged, or of another kind
        raise AttribError(f"{source!r} could not be loaded: {clause(reason)}.", _remedy(folder, reason)) from reason
    finally:
        if bar:
            logging.enable_progress_bar()
    return hf, tokenizer, name


def check_rotation(config: Any, release: str = "") -> None:
    """That queries and keys are rotated as the config says: a release of transformers before 5 leaves aside
    ``rope_parameters``, which is all that 5 writes of it, and takes its defaults without a word
    (``findings/rotation-that-an-older-release-forgets.sh``).

    Raises:
        AttribError: the model was made with another rotation than it was saved with.
    """
    from transformers import __version__

    said, release = getattr(config, "rope_parameters", None), release or __version__
    if not isinstance(said, Mapping) or int(release.partition(".")[0]) >= 5:
        return
    by_kind = {kind: one for kind, one in said.items() if isinstance(one, Mapping)} or {"": said}
    for kind, one in by_kind.items():
        local = kind == "sliding_attention"  # whose layers 4.57 never scales, and some with a base of their own
        scaling = {} if local else dict(getattr(config, "rope_scaling", None) or {})
        made = {"rope_type": scaling.pop("type", "default")} | scaling
        theta = getattr(config, "rope_theta", 10000.0)
        made["rope_theta"] = getattr(config, "rope_local_base_freq", theta) if local else theta
        made["partial_rotary_factor"] = getattr(config, "partial_rotary_factor", 1.0)
        for entry, value in one.items():
            if entry == "type":  # an older name of rope_type, which stands beside it
                continue
            made.setdefault(entry, getattr(config, entry, None))  # some scalings are told above it
            if value is not None and made[entry] != value:
                raise AttribError(
                    f"transformers {release} does not read rope_parameters, in which this model's rotation was saved: "
                    f"{entry} is {value!r} there, and the model was made with {made[entry]!r}.",
                    "Load it with transformers 5, or write rope_theta, rope_scaling and the like into its config.json.",
                )


def _reader(config: Any) -> Any:
    """The class of transformers that loads a checkpoint: some models that read images too are known to one alone."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto import modeling_auto as known

    plain = config.model_type in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or getattr(config, "auto_map", None)
    other = config.model_type in known.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    return AutoModelForImageTextToText if other and not plain else AutoModelForCausalLM


def built(hf: Any) -> Built | None:
    """The story of a model that was built by hand; None of any other."""
    source = str(getattr(hf, "name_or_path", "") or "")
    found: Built | None = slots.circuits().find(source) if source.startswith(PREFIX) else None
    return found


def _adapted(folder: str) -> str:
    """The model that a folder's adapter was made for; "" where it holds a model of its own."""
    file = Path(folder) / "adapter_config.json"
    if not file.is_file() or (Path(folder) / "config.json").is_file():
        return ""
    if find_spec("peft") is None:
        raise ImportError("it is an adapter, and peft is not installed", name="peft")
    return str(json.loads(read_text(file)).get("base_model_name_or_path") or "")


def _remedy(folder: str, reason: Exception) -> str:
    """What to do about a checkpoint that could not be loaded."""
    from transformers import PretrainedConfig, __version__

    if type(reason).__name__.startswith("StrictDataclass"):  # the kind of every entry is checked since 5.0
        return (
            f"Give a folder whose config.json transformers {__version__} reads: another release may have written this."
        )
    try:
        method = str(PretrainedConfig.get_config_dict(folder)[0]["quantization_config"]["quant_method"])
    except Exception:  # no config, a damaged one, or one of weights that are not quantised
        method = ""
    if isinstance(reason, ImportError):
        told = re.search(r"requires the (\S+) library", str(reason))  # as transformers says it, of a vision tower, say
        package = PACKAGES.get(method, method) or getattr(reason, "name", "") or (told[1] if told else "")
        package += " accelerate" if "accelerate" in str(reason).lower() and "accelerate" not in package else ""
        what = f"Its weights are quantised ({method}): " if method else ""
        again = f"{what}pip install {package}, and load it again." if package else "Install it, and load it again."
        return again + _text_alone(folder)
    if method:
        return f"Its weights are quantised ({method}): load a checkpoint that is not, or use the device it asks for."
    return "Give a folder written by save_pretrained, a hub id that this machine can reach, or 'demo'."


def _text_alone(folder: str) -> str:
    """How the language model of a checkpoint that reads more than text is loaded by itself; "" of any other."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    try:
        kind = str(AutoConfig.from_pretrained(folder).text_config.model_type)
    except Exception:  # no config, or one of a text alone
        return ""
    name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind, "")
    text = (
        f" Or its text alone: aw.load(transformers.{name}.from_pretrained({folder!r}), AutoTokenizer.from_pretrained("
    )
    return f"{text}{folder!r}))." if name else ""


def read_tokenizer(source: str) -> Any:
    """The tokenizer of ``"demo"``, of a folder, or of a hub id.

    Raises:
        TokenizerError: there is none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(DEMO) if source == "demo" else source)
    except Exception as reason:  # whatever is said of files that are damaged, or of another kind
        raise TokenizerError(
            f"The tokenizer {source!r} could not be loaded: {clause(reason)}.",
            "Give one that is loaded, its folder, or a hub id that this machine can reach.",
        ) from reason


def _dtype(name: str | torch.dtype) -> torch.dtype:
    found = getattr(torch, name, None) if isinstance(name, str) else name
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise AttribError(f"{name!r} is no floating-point dtype.", "Use float32, bfloat16 or float16.")
    return found


def move(hf: nn.Module, device: str | torch.device) -> None:
    """Move a model to ``device``.

    Raises:
        AttribError: it cannot be.
    """
    try:
        hf.to(device)
    except (RuntimeError, AssertionError) as reason:
        raise AttribError(
            f"The model could not be moved to {device!r}: {clause(reason)}.", "Leave device out."
        ) from reason


class ModelCard(str):
    """The text of a model card (markdown), formatted where a notebook shows it."""

    def _repr_markdown_(self) -> str:
        # The front matter is for the hub.
        return self.split("---", 2)[2] if self.startswith("---") and self.count("---") > 1 else str(self)


def read_card(folder: str, name: str) -> ModelCard:
    """The ``README.md`` of a model's folder.

    Raises:
        AttribError: there is none, or it is no text in UTF-8.
    """
    file = Path(folder) / "README.md"
    if not folder or not file.is_file():
        raise AttribError(f"{name} has no model card.", "A card is the README.md in the folder it is loaded from.")
    return ModelCard(read_text(file))
