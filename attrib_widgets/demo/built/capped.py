"""One path under a soft cap, in a Gemma 2."""

from __future__ import annotations

from typing import Any

import torch
import transformers as tf

from .copying import ANSWER, OTHER, OUTPUT, SIZE, TOKEN, VOCAB, WIDTH, WORDS


def capped(cap: float = 30.0, height: float = 7.0) -> Any:
    """One head that writes the mean of the tokens it sees to the output of a Gemma 2; one layer, nothing else."""
    config = tf.Gemma2Config(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=SIZE,
        final_logit_softcapping=cap,
        attn_logit_softcapping=None,
        tie_word_embeddings=False,
        layer_types=["full_attention"],
        attn_implementation="eager",
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=0,
    )
    model = tf.AutoModelForCausalLM.from_config(config)
    block = model.model.layers[0]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.model.embed_tokens.weight[:, TOKEN] = torch.eye(VOCAB)
        block.self_attn.v_proj.weight[:VOCAB, TOKEN] = torch.eye(VOCAB)
        block.self_attn.o_proj.weight[OUTPUT, :VOCAB] = torch.eye(VOCAB)
        # half of the words are always there: they write the answer a little, the word that changes writes it in full
        block.self_attn.o_proj.weight[OUTPUT.start + WORDS.index(ANSWER), WORDS.index(" once")] = 0.5
        block.self_attn.o_proj.weight[OUTPUT.start + WORDS.index(OTHER), WORDS.index(OTHER)] = 1.5
        model.lm_head.weight[:, OUTPUT] = height * torch.eye(VOCAB)
    return model.eval()
