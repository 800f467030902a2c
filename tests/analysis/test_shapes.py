"""Unusual sizes: one layer, one head, odd head counts, heads wider or narrower than the stream, tied and untied."""

from __future__ import annotations

import random

import pytest
import torch
import transformers as tf

import attrib_widgets as aw
from fixtures import families


def draw(seed):
    """A small random configuration of a random family."""
    rng = random.Random(seed)
    heads = rng.choice([1, 2, 3, 5, 6])
    kv = rng.choice([k for k in range(1, heads + 1) if heads % k == 0])
    size = rng.choice([2, 4, 6, 10])
    sizes = dict(
        vocab_size=families.vocab_size(),
        num_hidden_layers=rng.choice([1, 2, 4]),
        num_attention_heads=heads,
        intermediate_size=rng.choice([2, 14, 30]),
        max_position_embeddings=32,
        tie_word_embeddings=rng.random() < 0.5,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=None,
    )
    wide = dict(sizes, hidden_size=2 * heads * rng.randint(2, 5), num_key_value_heads=kv, head_dim=size)
    exact = dict(sizes, hidden_size=heads * size)
    kind = rng.choice(["gpt2", "llama", "gemma2", "gemma3", "olmo2", "qwen3", "gpt_neox", "bloom"])
    gemma = dict(wide, query_pre_attn_scalar=rng.choice([3, 16, 100]), sliding_window=rng.choice([2, 3]))
    made = {
        "gpt2": lambda: tf.GPT2Config(
            vocab_size=families.vocab_size(),
            n_embd=heads * size,
            n_layer=sizes["num_hidden_layers"],
            n_head=heads,
            n_positions=32,
            n_inner=sizes["intermediate_size"],
            tie_word_embeddings=sizes["tie_word_embeddings"],
        ),
        "llama": lambda: tf.LlamaConfig(**wide, attention_bias=rng.random() < 0.5, mlp_bias=rng.random() < 0.5),
        "gemma2": lambda: tf.Gemma2Config(**gemma, final_logit_softcapping=rng.choice([None, 2.0])),
        "gemma3": lambda: tf.Gemma3TextConfig(**gemma),
        "olmo2": lambda: tf.Olmo2Config(**exact, num_key_value_heads=kv, attention_bias=rng.random() < 0.5),
        "qwen3": lambda: tf.Qwen3Config(**wide, attention_bias=rng.random() < 0.5),
        "gpt_neox": lambda: tf.GPTNeoXConfig(**exact, use_parallel_residual=rng.random() < 0.5, rotary_pct=1.0),
        "bloom": lambda: tf.BloomConfig(
            vocab_size=families.vocab_size(),
            hidden_size=heads * size,
            n_layer=sizes["num_hidden_layers"],
            n_head=heads,
            pad_token_id=None,
        ),
    }[kind]()
    return kind, made


@pytest.mark.parametrize("seed", range(40))
def test_any_size_adds_up(seed):
    kind, config = draw(seed)
    hf = tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    families.randomize(hf, seed)
    hf.eval()
    ids = torch.randint(2, families.vocab_size(), (11,), generator=torch.Generator().manual_seed(seed)).tolist()
    with torch.no_grad():
        direct = hf(torch.tensor([ids]), use_cache=False, output_attentions=True)
    model = aw.load(hf, tokenizer=families.byte_tokenizer())
    where = f"{kind}, {model.n_layers} layers x {model.n_heads} heads, width {model.d_model}, seed {seed}"
    assert model.check.ok, f"{where}: {model.check}"
    run = model.run(ids)
    a = aw.attribute(run, 17)
    assert a.exact, f"{where}: gap {a.mismatch:.1e}"
    assert a.actual == pytest.approx(float(direct.logits[0, -1, 17]), abs=2e-5), where
    patterns = aw.attention(run).patterns.view(model.n_layers, model.n_heads, 11, 11)
    expected = torch.cat(direct.attentions)
    assert float((patterns - expected).abs().max()) <= 1e-5, f"{where}: patterns"
    last = (model.n_layers - 1, model.n_heads - 1)
    for opened in (a.sources(last), a.through(last), a.neurons(model.n_layers - 1)):
        assert abs(opened.mismatch) <= 1e-5 * (1 + float(opened.values.abs().sum())), where
    for side in ("query", "key"):
        score = aw.attribute(run, aw.score(last, query=-1, key=-1, side=side))
        assert score.exact, f"{where}: score gap {score.mismatch:.1e}"
        assert abs(score["rounding"]) <= 1e-5 * (1 + float(score.values.abs().sum())), f"{where}: {side} side"
