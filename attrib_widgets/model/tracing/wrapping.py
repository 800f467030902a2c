"""A transformers model as one that nnsight can trace."""

from __future__ import annotations

import logging
from typing import Any

from nnsight import TransformersModel
from torch import nn
from transformers import PreTrainedModel
from transformers.pipelines import base

from ...words.errors import AnatomyError


def wrapped(hf: nn.Module, tokenizer: Any) -> Any:
    """``hf`` as an nnsight model.

    Raises:
        AnatomyError: it is no transformers language model.
    """
    if not isinstance(hf, PreTrainedModel):
        inner = next((name for name, part in hf.named_modules() if isinstance(part, PreTrainedModel)), None)
        raise AnatomyError(
            f"{type(hf).__name__} is not a transformers language model.",
            "Give a model made by AutoModelForCausalLM, its folder, or its hub id."
            if inner is None
            else f"Give the one inside of it: model.{inner}.",
        )
    headless, encodes = hf.get_output_embeddings() is None, getattr(hf.config, "is_encoder_decoder", False)
    if headless or encodes:
        raise AnatomyError(
            f"{type(hf).__name__} {'prints no logits of tokens' if headless else 'reads through an encoder'}: "
            "it is no model that continues a text.",
            "Give one made by AutoModelForCausalLM, its folder, or its hub id.",
        )
    logger = logging.getLogger(base.__name__)
    logger.addFilter(_told)
    try:
        return TransformersModel(hf, tokenizer=tokenizer, task="text-generation")
    finally:
        logger.removeFilter(_told)


def _told(record: logging.LogRecord) -> bool:
    """Keep back the list of all models that transformers' pipelines know, printed for a model that reads images too."""
    return "Supported models are" not in record.getMessage()
