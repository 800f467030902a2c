"""What circuits are written with: a tokenizer of a few words, a GPT-2 of zeros, and one head at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers as tf
from jaxtyping import Float
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

#: The last word of every vocabulary: what stands for a word that is not in it.
UNKNOWN = "<unk>"


def word_tokenizer(words: Sequence[str]) -> tf.PreTrainedTokenizerFast:
    """One token per word, ids in the order given, with their leading spaces; no BOS. The last is the unknown word's."""
    pieces = {word.replace(" ", "\u0120"): number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(pieces, unk_token=words[-1]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=words[-1],
        eos_token=words[-1],
        clean_up_tokenization_spaces=False,
    )


def centred(n: int) -> Float[Tensor, "n n"]:
    """One-hot rows with their mean removed."""
    return torch.eye(n) - 1 / n


def blank(
    layers: int,
    heads: int,
    *,
    width: int,
    vocab: int,
    positions: int,
    epsilon: float,
    activation: str = "gelu_new",
) -> Any:
    """A float32 ``GPT2LMHeadModel`` in eval mode whose norms have a gain of 1, and whose other weights are all 0."""
    config = tf.GPT2Config(
        vocab_size=vocab,
        n_positions=positions,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        n_inner=8,
        activation_function=activation,
        tie_word_embeddings=False,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        layer_norm_epsilon=epsilon,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = tf.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "ln_" in name and name.endswith("weight") else 0.0)
    return model.eval()


def empty_head(
    model: Any,
) -> tuple[
    Float[Tensor, "d_model d_head"],
    Float[Tensor, "d_model d_head"],
    Float[Tensor, "d_model d_head"],
    Float[Tensor, "d_head d_model"],
]:
    """Zeros of the shapes of a head's query, key, value and output matrices."""
    width = model.config.n_embd
    size = width // model.config.n_head
    return torch.zeros(width, size), torch.zeros(width, size), torch.zeros(width, size), torch.zeros(size, width)


@torch.no_grad()
def write_head(
    model: Any,
    layer: int,
    head: int,
    q: Float[Tensor, "d_model d_head"],
    k: Float[Tensor, "d_model d_head"],
    v: Float[Tensor, "d_model d_head"],
    o: Float[Tensor, "d_head d_model"],
) -> None:
    """Write the four matrices of one head."""
    block, (width, size) = model.transformer.h[layer].attn, q.shape
    for i, part in enumerate((q, k, v)):
        start = i * width + head * size
        block.c_attn.weight[:, start : start + size] = part
    block.c_proj.weight[head * size : (head + 1) * size] = o
