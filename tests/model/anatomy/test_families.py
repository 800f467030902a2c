"""Differences between families are data: the order of a fused projection, what an attention is given, and how it reads.

Every family runs through the tests of all families; here is what these cannot tell apart.
"""

from __future__ import annotations

import pytest
import torch
import transformers as tf

import attrib_widgets as aw
from attrib_widgets.model.anatomy.anatomy import LAYOUTS, Layout
from attrib_widgets.model.parts.attention import attend
from attrib_widgets.model.selfcheck import specimen as made
from attrib_widgets.model.selfcheck.specimen import LAYERS, randomize, small_tokenizer, specimen
from fixtures import families


def loaded(config, **options):
    hf = tf.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    randomize(hf)
    return aw.load(hf, tokenizer=small_tokenizer(), **options)


def test_quarters_hold_several_heads_each():
    """With eight heads each quarter of the projection holds two: no other order explains them."""
    config = tf.CodeGenConfig(vocab_size=101, n_embd=64, n_layer=2, n_head=8, n_positions=64, n_ctx=64, rotary_dim=4)
    model = loaded(config)
    assert model.check.ok and model.check.mlp_ok and model.anatomy.qkv.layout == "quarters"
    for layout in LAYOUTS.keys() - {"quarters"}:
        assert not loaded(config, anatomy={"qkv.layout": layout}).check.ok


def test_a_layout_is_one_row(monkeypatch):
    """A projection in an order of its own needs a row of the table and nothing else."""
    hf = families.build("gpt_neox")
    hidden = families.HEADS
    with torch.no_grad():  # the same model, its keys before its queries
        for layer in hf.gpt_neox.layers:
            dense = layer.attention.query_key_value
            dense.weight.copy_(dense.weight.view(hidden, 3, -1, dense.weight.shape[1]).flatten(0, 2))
    monkeypatch.setitem(LAYOUTS, "by_head", Layout("heads", "qkv"))
    model = aw.load(hf, tokenizer=families.tokenizer("gpt_neox"), anatomy={"qkv.layout": "by_head"})
    assert model.check.ok
    with pytest.raises(aw.AnatomyError, match="unknown qkv layout"):
        aw.load(hf, tokenizer=families.tokenizer("gpt_neox"), anatomy={"qkv.layout": "by_chance"})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_several_prompts_share_one_position_penalty(family_model, dtype):
    """The penalty of one family has no row per prompt: each prompt is given all of it."""
    for name in ("mpt", "bloom"):
        model = family_model(name, getattr(torch, dtype))
        texts = [families.PROMPT, families.PROMPT.replace("France", "Japan")] * 2  # as many prompts as heads
        runs = model.run_many(texts)
        assert len(runs) == model.n_heads and len({r.n_positions for r in runs}) == 1
        for run, text in zip(runs, texts, strict=True):
            alone = model.run(text)
            name_of_it = model.anatomy.qkv.penalty
            assert torch.equal(run.record.attn_inputs[0][name_of_it], alone.record.attn_inputs[0][name_of_it])
            together, one = attend(model, run.record, 1).pattern, attend(model, alone.record, 1).pattern
            assert torch.allclose(together, one, atol=2e-2)


def test_what_is_cut_off_is_refused():
    config = tf.MptConfig(
        vocab_size=101, d_model=32, n_layers=2, n_heads=4, max_seq_len=64, attn_config={"clip_qkv": 9.0}
    )
    model = loaded(config)
    assert model.check.ok
    config.attn_config.clip_qkv = 0.2
    clipped = loaded(config)
    assert not clipped.check.ok and "cuts it off" in clipped.check.reason


def test_a_specimen_that_keeps_its_own_depth_is_refused(monkeypatch):
    assert len(specimen("mpt").transformer.blocks) == LAYERS
    monkeypatch.delitem(made._SIZES, "n_layers")
    with pytest.raises(aw.AttribError, match="24 layers of its own"):
        specimen("mpt")
