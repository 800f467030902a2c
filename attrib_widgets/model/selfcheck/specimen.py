"""A small random model of any family that transformers ships: what the table of supported families is made from.

Every parameter is random, and every buffer that a checkpoint holds, norm gains and biases included, so that nothing
cancels by chance. No network is used.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from ...words.errors import AttribError

WIDTH, LAYERS, HEADS, KV_HEADS, HEAD_DIM, VOCABULARY, POSITIONS = 32, 3, 4, 2, 8, 101, 64
LARGEST = 2_000_000

# Sizes by the names that configs give them; a name that a config lacks is skipped.
_SIZES: dict[str, Any] = dict(
    vocab_size=VOCABULARY,
    unpadded_vocab_size=VOCABULARY,
    hidden_size=WIDTH,
    n_embd=WIDTH,
    d_model=WIDTH,
    word_embed_proj_dim=WIDTH,
    intermediate_size=48,
    ffn_dim=48,
    ffn_hidden_size=48,
    n_inner=48,
    num_hidden_layers=LAYERS,
    n_layer=LAYERS,
    n_layers=LAYERS,
    num_layers=LAYERS,
    encoder_layers=LAYERS,
    decoder_layers=LAYERS,
    num_encoder_layers=LAYERS,
    num_decoder_layers=LAYERS,
    num_attention_heads=HEADS,
    n_head=HEADS,
    n_heads=HEADS,
    num_heads=HEADS,
    num_key_value_heads=KV_HEADS,
    num_kv_heads=KV_HEADS,
    head_dim=HEAD_DIM,
    swa_num_attention_heads=HEADS,
    swa_num_key_value_heads=KV_HEADS,
    swa_head_dim=HEAD_DIM,
    max_position_embeddings=POSITIONS,
    n_positions=POSITIONS,
    sliding_window=8,
    window_size=8,
    num_experts=4,
    num_local_experts=4,
    n_routed_experts=4,
    num_experts_per_tok=2,
    n_group=1,
    topk_group=1,
    moe_intermediate_size=16,
    shared_expert_intermediate_size=16,
    rotary_dim=4,
    kv_lora_rank=8,
    q_lora_rank=8,
    qk_rope_head_dim=8,
    qk_nope_head_dim=8,
    v_head_dim=8,
    first_k_dense_replace=1,
    attention_types=[[["global", "local", "global"], 1]],
    bos_token_id=0,
    eos_token_id=1,
    pad_token_id=None,
)
_HYBRID = ["linear_attention", "full_attention", "linear_attention"]
_MAMBA: dict[str, Any] = dict(mamba_n_heads=4, mamba_d_head=16, mamba_d_state=8, mamba_n_groups=1, mamba_expand=2)
_LATENT: dict[str, Any] = dict(  # latent attention beside a linear one
    num_key_value_heads=HEADS,
    num_expert_group=1,
    num_experts_per_token=2,
    linear_head_dim=8,
    linear_num_heads=HEADS,
    qk_rope_head_dim=8,
)
_SHARED: dict[str, Any] = dict(
    vocab_size_per_layer_input=VOCABULARY,
    hidden_size_per_layer_input=8,
    num_kv_shared_layers=1,
    layer_types=["sliding_attention", "full_attention", "full_attention"],
)
#: What some families need beside the sizes: entries that have to fit one another, and the kinds of their layers.
_ENTRIES: dict[str, dict[str, Any]] = {
    "bamba": {**_MAMBA, "attn_layer_indices": [1], "attn_rotary_emb": 4},
    "bailing_hybrid": {**_LATENT, "layer_types": _HYBRID, "mlp_layer_types": ["dense", "sparse", "sparse"]},
    "cohere_compass_text": dict(
        rope_parameters={k: dict(rope_type="default", rope_theta=1e4) for k in ("sliding_attention", "full_attention")}
    ),
    "dbrx": dict(
        attn_config=dict(kv_n_heads=KV_HEADS, clip_qkv=8.0, rope_theta=1e4),
        ffn_config=dict(ffn_hidden_size=16, moe_num_experts=4, moe_top_k=2),
    ),
    "falcon_h1": {**_MAMBA, "mamba_d_ssm": 64},
    "gemma3n_text": {**_SHARED, "activation_sparsity_pattern": [0.8, 0.0, 0.4], "laurel_rank": 4},
    "gemma4_text": {**_SHARED, "global_head_dim": HEAD_DIM},
    "gemma4_unified_text": {**_SHARED, "global_head_dim": HEAD_DIM},
    "granitemoehybrid": {**_MAMBA, "layer_types": _HYBRID, "shared_intermediate_size": 32},
    "jamba": dict(attn_layer_period=2, attn_layer_offset=1, mamba_d_state=4, mamba_dt_rank=4),
    "lfm2": dict(layer_types=["conv", "full_attention", "conv"], block_auto_adjust_ff_dim=False),
    "lfm2_moe": dict(layer_types=["conv", "full_attention", "conv"], num_dense_layers=1),
    "mamba2": dict(num_heads=4, head_dim=16, state_size=8, n_groups=1, expand=2),
    "dots1": dict(n_shared_experts=1),
    "kimi_linear": {**_LATENT, "layer_types": _HYBRID, "mlp_layer_types": ["dense", "sparse", "sparse"]},
    "longcat_flash": dict(ffn_hidden_size=48, expert_ffn_hidden_size=16, num_layers=2, zero_expert_num=1, moe_topk=2),
    "minimax": dict(layer_types=_HYBRID),
    "qwen3_5_moe_text": dict(layer_types=_HYBRID),
    "qwen3_5_text": dict(layer_types=_HYBRID),
    "qwen3_next": dict(layer_types=_HYBRID),
    "recurrent_gemma": dict(block_types=["recurrent", "attention"], lru_width=WIDTH),
    "zaya": dict(num_experts_per_tok=1),
    "zamba2": dict(n_mamba_heads=4, mamba_d_state=8, layers_block_type=["mamba", "hybrid", "mamba"], adapter_rank=4),
}
_EYES = dict(
    hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
)


def specimen(family: str, **changes: Any) -> Any:
    """A small random float32 model of a family, in eval mode.

    Args:
        family: its ``model_type`` in transformers, such as ``"llama"``.
        changes: config entries to set, beside the sizes.

    Raises:
        AttribError: transformers has no such causal language model, or it cannot be built this small.
    """
    if family not in families():
        raise AttribError(
            f"transformers has no causal language model of type {family!r}.",
            "The types are those of transformers' AutoModelForCausalLM, for example llama or gpt_neox.",
        )
    reasons = []
    multi_head = {"num_key_value_heads": HEADS}  # where every head has a key of its own
    tries: list[tuple[tuple[str, ...], dict[str, Any]]] = [((), {}), (("head_dim",), {}), ((), multi_head)]
    tries += [(("pad_token_id",), {}), (("layer_types",), {})]  # what some families set themselves
    for without, instead in tries:
        try:
            model = _built(family, without, {**instead, **_ENTRIES.get(family, {}), **changes})
            model(torch.arange(1, 7)[None], use_cache=False)
            return model
        except Exception as reason:  # configs refuse sizes in many ways
            reasons.append((str(reason).strip().splitlines() or [type(reason).__name__])[0])
    raise AttribError(f"No small {family} model could be built: {reasons[0]}", "Pass config entries that fit it.")


@torch.no_grad()
def _built(family: str, without: tuple[str, ...], changes: dict[str, Any]) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    kind = type(AutoConfig.for_model(family))
    default = kind()
    known = {**vars(default), **inspect.signature(kind.__init__).parameters}
    mapped = getattr(kind, "attribute_map", {})
    sizes = {k: v for k, v in _SIZES.items() if k in known and k not in mapped and k not in without}
    types = () if "layer_types" in without else list(dict.fromkeys(getattr(default, "layer_types", None) or ()))
    if (
        types and "layer_types" in inspect.signature(kind.__init__).parameters
    ):  # every kind of layer that the config's own default has, in turn
        sizes["layer_types"] = [types[i % len(types)] for i in range(LAYERS)]
    if "text_config" in known:  # a language model inside one that reads images as well
        own = _ENTRIES.get(f"{family}_text", {})
        sizes = {"text_config": {**sizes, **_SIZES, "head_dim": 2 * HEAD_DIM, **own}, "vision_config": _EYES}
    config = kind(**{**sizes, **changes})
    depth, usual = (getattr(getattr(c, "text_config", c), "num_hidden_layers", None) for c in (config, default))
    if isinstance(depth, int) and depth == usual and depth > 2 * LAYERS:
        raise ValueError(f"its config keeps {depth} layers of its own")
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if size > LARGEST:
        raise ValueError(f"its config keeps sizes of its own ({size:,} numbers)")
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomize(model)
    return model.eval()


@functools.cache
def families() -> tuple[str, ...]:
    """Every ``model_type`` for which transformers has a causal language model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))


@torch.no_grad()
def randomize(model: nn.Module) -> None:
    """Fill every parameter, and every buffer that is saved, from a fixed seed: gains near 1, biases near 0, matrices by
    their width."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point():
            continue
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim < 2:
            value = 0.3 * noise + (1.0 if name.endswith("weight") else 0.0)
        else:
            value = noise / parameter.shape[-1] ** 0.5
        parameter.copy_(value)
    for buffer in saved_buffers(model):
        buffer.add_(0.3 * torch.randn(buffer.shape, generator=generator))


def saved_buffers(model: nn.Module) -> list[Tensor]:
    """The buffers of floating-point numbers that a checkpoint holds; others are computed, such as rotary tables."""
    saved = model.state_dict(keep_vars=True)
    return [b for name, b in model.named_buffers() if name in saved and b.is_floating_point()]


def small_tokenizer() -> Any:
    """A tokenizer with one token per word, ``t0`` to ``t98``."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {f"t{i}": i for i in range(VOCABULARY - 2)} | {"<unk>": VOCABULARY - 2, "<eos>": VOCABULARY - 1}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>")
