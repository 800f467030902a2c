"""The families whose anatomy is written down, by transformers' ``model_type``; several where a config switch decides.

To add one, write what differs from its nearest relative and run
``python -m attrib_widgets.model.selfcheck.supported NAME``, which loads a small random model of the family
and says which of its sums do not close.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .anatomy import QKV, Anatomy, Experts

_SPLIT = QKV("q_proj", "k_proj", "v_proj", q_norm="q_norm|q_layernorm", k_norm="k_norm|k_layernorm")


def _qkv(base: Anatomy, **changes: Any) -> QKV:
    """The projections of ``base`` with some fields changed."""
    assert base.qkv is not None
    return replace(base.qkv, **changes)


LLAMA = Anatomy(
    layers="model.layers",
    final_norm="model.norm",
    unembed="lm_head",
    embed="model.embed_tokens",
    attn="self_attn",
    attn_out="self_attn.o_proj",
    attn_norm="input_layernorm",
    mlp="mlp",
    mlp_norm="post_attention_layernorm",
    mlp_in="mlp.gate_proj",
    mlp_mul="mlp.up_proj",
    mlp_down="mlp.down_proj",
    qkv=replace(_SPLIT, window="sliding_window"),
)
_GEMMA2 = replace(
    LLAMA,
    attn_post_norm="post_attention_layernorm",
    mlp_norm="pre_feedforward_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
    qkv=_qkv(LLAMA, softcap="attn_logit_softcapping"),
    softcap="final_logit_softcapping",
)
_OLMO2 = replace(
    LLAMA,
    attn_norm=None,
    attn_post_norm="post_attention_layernorm",
    mlp_norm=None,
    mlp_post_norm="post_feedforward_layernorm",
)
_MOE = replace(LLAMA, mlp="mlp|block_sparse_moe", experts=Experts("mlp.gate", "mlp.experts"))

_FUSED = "query_key_value"
_NEOX = Anatomy(
    layers="gpt_neox.layers",
    final_norm="gpt_neox.final_layer_norm",
    unembed="lm_head|embed_out",
    embed="gpt_neox.embed_in",
    attn="attention",
    attn_out="attention.dense",
    attn_norm="input_layernorm",
    mlp="mlp",
    mlp_norm="post_attention_layernorm",
    mlp_in="mlp.dense_h_to_4h",
    mlp_down="mlp.dense_4h_to_h",
    qkv=QKV(_FUSED, _FUSED, _FUSED, layout="per_head"),
    parallel="use_parallel_residual",
    n_kv_heads=None,
)
_BLOOM = replace(
    _NEOX,
    layers="transformer.h",
    final_norm="transformer.ln_f",
    embed="transformer.word_embeddings",
    attn="self_attention",
    attn_out="self_attention.dense",
    mlp_output="mlp.dense_4h_to_h",  # the MLP module's own output already holds the stream
    qkv=_qkv(_NEOX, scaling="inv_norm_factor"),
    parallel=False,
    n_heads="n_head",
)
_FALCON = replace(
    _BLOOM,
    attn_norm="ln_attn|input_layernorm",
    mlp_norm="ln_mlp|post_attention_layernorm|input_layernorm",
    mlp_output=None,
    qkv=_qkv(_BLOOM, layout="thirds", alibi="scaled"),
    parallel="parallel_attn",
    n_heads="num_attention_heads",
    n_kv_heads=1,
)
_GPT2 = Anatomy(
    layers="transformer.h",
    final_norm="transformer.ln_f",
    unembed="lm_head",
    embed="transformer.wte",
    pos="transformer.wpe",
    attn="attn",
    attn_out="attn.c_proj",
    attn_norm="ln_1",
    mlp="mlp",
    mlp_norm="ln_2",
    mlp_in="mlp.c_fc",
    mlp_down="mlp.c_proj",
    qkv=QKV("c_attn", "c_attn", "c_attn", layout="thirds"),
    n_kv_heads=None,
)
_GPTJ = replace(
    _GPT2,
    pos=None,
    attn_out="attn.out_proj",
    mlp_norm="ln_1",
    mlp_in="mlp.fc_in",
    mlp_down="mlp.fc_out",
    qkv=replace(_SPLIT, scaling="/scale_attn", rotary="interleaved", rotary_table="embed_positions", float_scores=True),
    parallel=True,
)
_CTRL = replace(
    _GPT2,
    final_norm="transformer.layernorm",
    embed="transformer.w",
    pos=None,
    attn="multi_head_attention",
    attn_out="multi_head_attention.dense",
    attn_norm="layernorm1",
    mlp="ffn",
    mlp_norm="layernorm2",
    mlp_in="ffn.0",
    mlp_down="ffn.2",
    qkv=replace(_SPLIT, q="Wq", k="Wk", v="Wv"),
)
_CODEGEN = replace(
    _GPTJ, qkv=_qkv(_GPTJ, q="qkv_proj", k="qkv_proj", v="qkv_proj", layout="quarters", float_rotary="kept")
)
_MPT = Anatomy(
    layers="transformer.blocks",
    final_norm="transformer.norm_f",
    unembed="lm_head",
    embed="transformer.wte",
    attn="attn",
    attn_out="attn.out_proj",
    attn_norm="norm_1",
    mlp="ffn",
    mlp_norm="norm_2",
    mlp_in="ffn.up_proj",
    mlp_down="ffn.down_proj",
    mlp_output="ffn.down_proj",  # the MLP module's own output already holds the stream
    qkv=QKV(
        "Wqkv",
        "Wqkv",
        "Wqkv",
        layout="thirds",
        scaling="softmax_scale",
        clip="attn_config.clip_qkv",
        mask_true="hidden",
        penalty="position_bias",
        penalty_of="all",
    ),
    n_kv_heads=None,
)
_OPT = Anatomy(
    layers="model.decoder.layers",
    final_norm="model.decoder.final_layer_norm",
    unembed="lm_head",
    embed="model.decoder.project_in|model.decoder.embed_tokens",
    pos="model.decoder.embed_positions",
    attn="self_attn",
    attn_out="self_attn.out_proj",
    attn_norm="self_attn_layer_norm",
    mlp="fc2",
    mlp_norm="final_layer_norm",
    mlp_in="fc1",
    mlp_down="fc2",
    qkv=replace(_SPLIT, early_scaling=True),
    n_kv_heads=None,
    refused=(
        (
            "do_layer_norm_before",
            False,
            "it normalises the stream after every addition, so what a part wrote is rescaled by every later layer",
        ),
    ),
)
_COHERE = replace(
    LLAMA,
    mlp_norm="input_layernorm",
    qkv=_qkv(LLAMA, rotary="interleaved", rotary_table="interleaved", float_rotary=True),
    parallel=True,
    logit_scale="logit_scale",
)
_PHI3 = replace(
    LLAMA,
    qkv=QKV("qkv_proj", "qkv_proj", "qkv_proj", layout="thirds", window="config.sliding_window"),
    mlp_in="mlp.gate_up_proj",
    mlp_mul="mlp.gate_up_proj",
)
_GLM = replace(_PHI3, qkv=_qkv(LLAMA, rotary="interleaved"))
_PERI = replace(LLAMA, multiplier="residual_multiplier", logit_scale="logits_scaling")

FAMILIES: Mapping[str, tuple[Anatomy, ...]] = {
    "llama": (LLAMA,),
    "mistral": (replace(LLAMA, qkv=_qkv(LLAMA, window="config.sliding_window")),),
    "qwen2": (LLAMA,),
    "qwen3": (LLAMA,),
    "smollm3": (replace(LLAMA, qkv=_qkv(LLAMA, rotary_if="use_rope")),),
    "olmo": (LLAMA,),
    "olmo2": (_OLMO2,),
    "gemma": (LLAMA,),
    "gemma2": (_GEMMA2,),
    "gemma3_text": (_GEMMA2,),
    "vaultgemma": (replace(_GEMMA2, attn_post_norm=None, mlp_post_norm=None),),
    "granite": (replace(LLAMA, multiplier="residual_multiplier", logit_scale="/logits_scaling"),),
    "stablelm": (
        replace(LLAMA, mlp_norm="post_attention_layernorm|input_layernorm", parallel="use_parallel_residual"),
    ),
    "cohere": (_COHERE,),
    "cohere2": (replace(_COHERE, qkv=_qkv(_COHERE, rotary_if="sliding_window")),),
    "phi": (
        replace(
            LLAMA,
            final_norm="model.final_layernorm",
            attn_out="self_attn.dense",
            mlp_norm="input_layernorm",
            mlp_in="mlp.fc1",
            mlp_mul=None,
            mlp_down="mlp.fc2",
            parallel=True,
        ),
    ),
    "phi3": (_PHI3,),
    "glm": (_GLM,),
    "glm4": (replace(_GLM, attn_post_norm="post_self_attn_layernorm", mlp_post_norm="post_mlp_layernorm"),),
    "starcoder2": (replace(LLAMA, mlp_in="mlp.c_fc", mlp_mul=None, mlp_down="mlp.c_proj"),),
    "mixtral": (_MOE,),
    "qwen3_moe": (_MOE,),
    "qwen2_moe": (
        replace(
            _MOE,
            experts=Experts(
                "mlp.gate", "mlp.experts", shared="mlp.shared_expert", shared_gate="mlp.shared_expert_gate"
            ),
        ),
    ),
    "olmoe": (_MOE,),
    "gpt_oss": (
        replace(
            _MOE,
            experts=Experts("mlp.router", "mlp.experts"),
            qkv=_qkv(LLAMA, rotary_table="single", sinks="sinks"),
        ),
    ),
    "gpt2": (_GPT2,),
    "gpt_bigcode": (
        replace(_GPT2, n_kv_heads=1),
        replace(_GPT2, qkv=_qkv(_GPT2, layout="per_head")),
    ),
    "gpt_neo": (
        replace(
            _GPT2,
            attn="attn.attention",
            attn_out="attn.attention.out_proj",
            qkv=replace(_SPLIT, scaling=1.0, causal="bias", float_scores=True),
        ),
    ),
    "gptj": (
        _GPTJ,
        replace(_GPTJ, qkv=_qkv(_GPTJ, scaling="scaling", rotary_table="sines_first")),  # since transformers 5.24
    ),
    "codegen": (
        _CODEGEN,
        replace(  # since transformers 5.24
            _CODEGEN, qkv=_qkv(_CODEGEN, scaling="scaling", rotary_table="sines_first", float_rotary=True)
        ),
    ),
    "ctrl": (_CTRL,),
    "mpt": (_MPT,),
    "hyperclovax": (
        replace(_PERI, attn_post_norm="post_norm1", mlp_post_norm="post_norm2"),
        _PERI,
    ),
    "opt": (_OPT,),
    "gpt_neox": (_NEOX,),
    "bloom": (_BLOOM,),
    "falcon": (
        _FALCON,
        replace(_FALCON, qkv=_qkv(_FALCON, layout="grouped"), parallel=True, n_kv_heads="num_kv_heads"),
        replace(_FALCON, qkv=_qkv(_FALCON, layout="per_head"), n_kv_heads=None),
    ),
}
