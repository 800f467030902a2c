"""A transformers model as one that nnsight can trace."""

from __future__ import annotations

from typing import Any

from nnsight import TransformersModel
from torch import nn
from transformers import PreTrainedModel

from ...words.errors import AnatomyError


def wrapped(hf: nn.Module, tokenizer: Any) -> Any:
    """``hf`` as an nnsight model.

    Raises:
        AnatomyError: it is no transformers language model.
    """
    if not isinstance(hf, PreTrainedModel):
        raise AnatomyError(
            f"{type(hf).__name__} is not a transformers language model.",
            "Give a model made by AutoModelForCausalLM, its folder, or its hub id.",
        )
    return TransformersModel(hf, tokenizer=tokenizer, task="text-generation")
