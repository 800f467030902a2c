"""Where models come from: the embedded one, a folder, a hub id, or an object that is already loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..words.errors import AnatomyError, AttribError
from .anatomy.anatomy import Anatomy

if TYPE_CHECKING:
    from .model import Model


def load(
    source: Any,
    tokenizer: Any = None,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    anatomy: Anatomy | Mapping[str, Any] | None = None,
) -> Model:
    """Put a model under study.

    Args:
        source: ``"demo"`` (the small model that ships with this library), a hub id such as ``"gpt2"``, a local
            folder written by ``save_pretrained``, a transformers model, an nnsight model, or a Model.
        tokenizer: needed with a transformers model; otherwise the source's own. It is copied, never changed.
        dtype: for example ``"float32"`` or ``torch.bfloat16``; None keeps the checkpoint's.
        device: for example ``"cuda"``; None leaves the model where it is.
        anatomy: paths of the model's parts, where the library does not know its family.

    Raises:
        AttribError: nothing can be loaded from ``source``.
        TokenizerError: no tokenizer.
        AnatomyError: the model is not understood well enough to explain one logit.
    """
    from .model import Model

    if isinstance(source, Model):
        return source
    name = source if isinstance(source, str) else None
    embedded = name == "demo"
    if isinstance(source, (str, Path)):
        source, tokenizer, name = _from_pretrained(str(source), tokenizer, dtype)
    elif dtype is not None:
        raise AttribError("dtype= only applies while loading.", "Convert the model yourself: model.to(dtype).")
    elif device is not None:
        raise AttribError("device= only applies while loading.", "Move the model yourself: model.to(device).")
    if device is not None:
        _move(source, device)
    return Model(source, tokenizer, name=name, anatomy=anatomy, embedded=embedded)


def _from_pretrained(source: str, tokenizer: Any, dtype: str | torch.dtype | None) -> tuple[Any, Any, str]:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    name, folder = source, source
    if source == "demo":
        from .. import demo

        folder, dtype = str(demo.path()), dtype or torch.float32
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
        if getattr(AutoConfig.from_pretrained(folder), "attn_logit_softcapping", None):
            options["attn_implementation"] = "eager"  # torch's fused attention would leave the cap out
        hf = AutoModelForCausalLM.from_pretrained(folder, **options)
        tokenizer = tokenizer or AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as reason:
        first = (str(reason).strip().splitlines() or [type(reason).__name__])[0]
        raise AttribError(
            f"{source!r} could not be loaded: {first}",
            "Give a folder written by save_pretrained, a hub id that this machine can reach, or 'demo'.",
        ) from reason
    finally:
        if bar:
            logging.enable_progress_bar()
    return hf, tokenizer, name


def _dtype(name: str | torch.dtype) -> torch.dtype:
    found = getattr(torch, name, None) if isinstance(name, str) else name
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise AttribError(f"{name!r} is no floating-point dtype.", "Use float32, bfloat16 or float16.")
    return found


def _move(hf: nn.Module, device: str | torch.device) -> None:
    try:
        hf.to(device)
    except (RuntimeError, AssertionError) as reason:
        first = str(reason).strip().splitlines()[0]
        raise AttribError(f"The model could not be moved to {device!r}: {first}", "Leave device out.") from reason


class ModelCard(str):
    """The text of a model card (markdown), formatted where a notebook shows it."""

    def _repr_markdown_(self) -> str:
        # The front matter is for the hub.
        return self.split("---", 2)[2] if self.startswith("---") and self.count("---") > 1 else str(self)


def read_card(folder: str, name: str) -> ModelCard:
    """The ``README.md`` of a model's folder.

    Raises:
        AttribError: there is none.
    """
    file = Path(folder) / "README.md"
    if not folder or not file.is_file():
        raise AttribError(f"{name} has no model card.", "A card is the README.md in the folder it is loaded from.")
    return ModelCard(file.read_text(encoding="utf-8"))


def wrapped(hf: nn.Module, tokenizer: Any) -> Any:
    """``hf`` as an nnsight model.

    Raises:
        AnatomyError: it is no transformers language model.
    """
    from nnsight import TransformersModel
    from transformers import PreTrainedModel

    if not isinstance(hf, PreTrainedModel):
        raise AnatomyError(
            f"{type(hf).__name__} is not a transformers language model.",
            "Give a model made by AutoModelForCausalLM, its folder, or its hub id.",
        )
    return TransformersModel(hf, tokenizer=tokenizer, task="text-generation")
