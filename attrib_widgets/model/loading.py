"""Reading checkpoints: the embedded model's, a folder's, or a hub id's. (:func:`.model.load` puts them under study.)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..words.errors import AttribError

#: What ``"demo"`` names: the folder of the model that ships with the library.
DEMO = Path(__file__).parent.parent / "demo" / "files"


def read_checkpoint(source: str, tokenizer: Any, dtype: str | torch.dtype | None) -> tuple[Any, Any, str]:
    """(transformers model, tokenizer, name) of ``"demo"``, a folder, or a hub id.

    Raises:
        AttribError: nothing can be loaded from ``source``.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
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


def move(hf: nn.Module, device: str | torch.device) -> None:
    """Move a model to ``device``.

    Raises:
        AttribError: it cannot be.
    """
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
