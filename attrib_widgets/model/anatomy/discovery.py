"""Which anatomies are worth checking on a model: its family's, one read off its module names, its relatives'.

Nothing found here is trusted: the self-check decides. The last candidate knows whole layers only, so that a model
whose inside is not understood is still shown coarsely, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ...words.errors import AnatomyError
from .anatomy import QKV, AltUp, Anatomy, Beside, Experts, with_changes
from .families import FAMILIES, LLAMA
from .lookup import find, missing, text_config
from .weights import widths

# What the parts are called in transformers. The first name that exists is taken.
_ATTN = "self_attn|attn.attention|attn|attention|self_attention|temporal_block|mixer"
_OUT = "o_proj|out_proj|c_proj|dense|wo|out"
_MLP = "mlp|feed_forward|block_sparse_moe|shared_mlp|ffn|fc2|ff|mlp_block"
_DOWN = "down_proj|c_proj|dense_4h_to_h|fc2|fc_out|w2|wo"
_IN = "gate_proj|gate_up_proj|up_proj|c_fc|dense_h_to_4h|fc1|fc_in|w1|wi"
_MUL = "up_proj|w3"
_FUSED = ("qkv_proj", "query_key_value", "c_attn", "Wqkv", "qkv")
_ATTN_NORM = (
    "input_layernorm|ln_1|norm_1|self_attn_layer_norm|attention_norm|operator_norm|attention_layernorm|"
    "temporal_pre_norm"
)
_MLP_NORM = (
    "pre_feedforward_layernorm|pre_mlp_layernorm|post_attention_layernorm|ln_2|norm_2|final_layer_norm|ffn_norm|"
    "feedforward_layernorm|pre_ff_layernorm|channel_pre_norm|input_layernorm"
)
_ATTN_POST = "post_operator_norm|post_self_attn_layernorm|post_attention_layernorm|post_attention_norm"
_MLP_POST = "post_ffn_norm|post_mlp_layernorm|post_feedforward_layernorm|post_feedforward_norm"
_BIASES = ("expert_bias", "e_score_correction_bias")  # given to the router beside what it reads
_SWITCHES = ("use_rope", "is_sliding", "is_local_attention", "sliding_window|force_rope")
_POS = "embed_positions|wpe|position_embeddings"


def candidates(model: nn.Module, override: Anatomy | Mapping[str, Any] | None) -> list[Anatomy]:
    """The anatomies worth checking on ``model``, the most likely first.

    Raises:
        AnatomyError: the model's stream, read-out or layers cannot even be named, or its family is refused.
    """
    config, own = getattr(model, "config", None), own_family(model)
    for anatomy in own:
        for name, value, reason in anatomy.refused:
            if getattr(config, name, None) == value:
                raise AnatomyError(f"{type(model).__name__} with {name}={value} cannot be taken apart: {reason}.")
    if isinstance(override, Anatomy):
        known = [override]
    elif override is not None:
        base = next((a for a in [*own, *discovered(model), LLAMA] if not missing(a, model)), LLAMA)
        known = [with_changes(base, override)]
    else:
        relatives = [a for family in FAMILIES.values() for a in family]
        known = [*own, *discovered(model), *relatives]
        coarse = whole_layers(model)
        known += [coarse] if coarse is not None else []
    usable = [a for a in dict.fromkeys(known) if not missing(a, model)]
    if usable:
        return usable
    nearest = min(known, key=lambda a: len(missing(a, model)))
    raise AnatomyError(
        f"{type(model).__name__} is laid out like no family this library knows: the nearest one expects "
        f"{', '.join(missing(nearest, model))}.",
        "Pass aw.load(model, anatomy=aw.Anatomy(...)) with the paths of this model's parts.",
    )


def own_family(model: nn.Module) -> list[Anatomy]:
    """The anatomies that are written down for the model's own family."""
    return list(FAMILIES.get(str(getattr(getattr(model, "config", None), "model_type", "")), ()))


def whole_layers(model: nn.Module) -> Anatomy | None:
    """An anatomy that knows the embedding, the layers and the read-out; None where even these are not found."""
    names = {id(module): name for name, module in model.named_modules()}
    embed, unembed = _given(model, "get_input_embeddings"), _given(model, "get_output_embeddings")
    stacks = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m)]
    stacks = [(n, m) for n, m in stacks if not any(n.startswith(f"{other}.") for other, _ in stacks)]
    beside_embed = names.get(id(embed), "").rpartition(".")[0]  # not the layers of a vision tower
    stacks = [s for s in stacks if s[0].rpartition(".")[0] == beside_embed] or stacks
    if id(embed) not in names or id(unembed) not in names or not stacks:
        return None
    layers = max(stacks, key=lambda s: sum(p.numel() for p in s[1].parameters()))[0]
    home, _, _ = layers.rpartition(".")
    first = next(iter(dict(stacks)[layers]))
    beside = find(model, home) if home else model
    norms = [n for n, m in (beside or model).named_children() if "norm" in f"{n} {type(m).__name__}".lower()]
    norms += [n for n, _ in (beside or model).named_children() if n in ("ln_f",)]
    final = [n for n in norms if "embed" not in n and "per_layer" not in n] or norms
    if not final:
        return None
    dot = f"{home}." if home else ""
    return Anatomy(layers, dot + final[-1], names[id(unembed)], names[id(embed)], **_scales(model, first))


def _given(model: nn.Module, method: str) -> Any:
    try:
        return getattr(model, method)()
    except (AttributeError, NotImplementedError):  # no such method, or one that transformers leaves to the family
        return None


def _scales(model: nn.Module, layer: nn.Module) -> dict[str, Any]:
    """Multipliers and caps by the names that configs (and layers) give them."""
    config = text_config(model)
    found: dict[str, Any] = {}
    for name in ("residual_multiplier",):
        if getattr(config, name, None) not in (None, 1.0):
            found["multiplier"] = name
    if isinstance(getattr(layer, "residual_scale", None), float):
        found["multiplier"] = ".residual_scale"
    if isinstance(getattr(layer, "layer_scalar", None), Tensor):
        found["carry"] = "layer_scalar"
    names = ("logit_scale", "lm_head_multiplier", "/logits_scaling")
    for name, spelled in ((each.strip("/"), each) for each in names):
        if getattr(config, name, None) not in (None, 1.0):
            found["logit_scale"] = spelled
    for name in ("final_logit_softcapping", "logits_soft_cap"):
        if getattr(config, name, None):
            found["softcap"] = name
    return found


def discovered(model: nn.Module) -> list[Anatomy]:
    """Anatomies read off the names of the model's modules: none, or a few that differ in what names do not tell."""
    base = whole_layers(model)
    if base is None:
        return []
    layers = find(model, base.layers)
    assert isinstance(layers, nn.ModuleList)
    # Layers may differ: the first that has all of it tells what the parts are called.
    layer = next((each for each in layers if _has_parts(each)), layers[0])
    attn, mlp = _first(layer, _ATTN), _first(layer, _MLP)
    out = attn and _first(layer, _OUT, attn)
    if not (attn and out and mlp):
        return []
    home = base.layers.rpartition(".")[0]
    position = _first(model, _POS, home) if home else _first(model, _POS)
    inside = "" if mlp == "fc2" else mlp
    plain = next((each for each in layers if _first(each, _IN, inside)), layer)  # others have experts
    taken = replace(
        base,
        attn=attn,
        attn_out=out,
        attn_norm=_first(layer, _ATTN_NORM),
        attn_post_norm=_norm(layer, _ATTN_POST) if _norm(layer, _MLP_POST) else None,
        mlp=mlp,
        mlp_norm=_first(layer, _MLP_NORM),
        mlp_in=_first(plain, _IN, inside),
        mlp_mul=_first(plain, _MUL, inside) if _first(plain, "gate_proj|w1", inside) else None,
        mlp_down=_first(plain, _DOWN, inside) or f"{mlp}.down_proj",
        mlp_post_norm=_norm(layer, _MLP_POST),
        beside=_beside(layer),
        altup=_altup(layer, base.layers.rpartition(".")[0]),
        **_scaled_mlp(layer, mlp),
        attn_multiplier=".attn_out_multiplier" if hasattr(layer, "attn_out_multiplier") else None,
        attn_factor=".attention_in_multiplier" if hasattr(layer, "attention_in_multiplier") else None,
        experts=_experts(layers),
    )
    if (
        taken.attn_post_norm
        and not taken.attn_norm
        and not _first(layer, "pre_feedforward_layernorm|pre_mlp_layernorm")
    ):
        taken = replace(taken, mlp_norm=None)
    if taken.mlp_mul is None and taken.mlp_in and "gate_up" in taken.mlp_in:
        taken = replace(taken, mlp_mul=taken.mlp_in)
    return [
        replace(taken, pos=pos, qkv=qkv, parallel=parallel, n_kv_heads=kv)
        for pos in dict.fromkeys((position, None))
        for parallel in (False, True)
        for qkv, kv in _projections(find(layer, attn))
    ]


def _has_parts(layer: nn.Module) -> bool:
    attn = _first(layer, _ATTN)
    return bool(attn and _first(layer, _OUT, attn) and _first(layer, _MLP))


def _norm(layer: nn.Module, names: str) -> str | None:
    """The first of ``names`` that does something: a switched-off norm may leave its place."""
    return next((n for n in names.split("|") if not isinstance(find(layer, n), (nn.Identity, type(None)))), None)


def _first(root: nn.Module, names: str, below: str = "") -> str | None:
    """The first of ``names`` that exists in ``root`` (inside its part ``below``), as a path from ``root``."""
    dot = f"{below}." if below else ""
    return next((dot + name for name in names.split("|") if find(root, dot + name) is not None), None)


def _projections(attention: nn.Module | None) -> Iterator[tuple[QKV, str | int | None]]:
    """(projections, key heads): what the attention module's names leave open."""
    assert attention is not None
    fused = next((name for name in _FUSED if find(attention, name) is not None), None)
    assert LLAMA.qkv is not None
    split = replace(LLAMA.qkv, sinks="sinks", q_norm="q_norm|q_layernorm|query_layernorm|q_ln|qk_norm")
    split = replace(split, v_norm="v_norm", v="v_proj|k_proj" if _first(attention, "v_norm") else split.v)
    split = replace(split, k_norm="k_norm|k_layernorm|key_layernorm|k_ln|qk_norm")
    split = replace(split, softcap="attn_logit_softcapping")
    if isinstance(getattr(attention, "key_multiplier", None), float):
        split = replace(split, k_factor="key_multiplier")
    if isinstance(getattr(attention, "v_scale", None), float):
        split = replace(split, v_factor="v_scale")
    if hasattr(attention, "attn_temperature_tuning"):
        split = replace(split, temperature="attn_temperature_tuning")
    bases: list[tuple[QKV, str | int | None]] = [(split, "num_key_value_heads")]
    if _twice(attention):
        bases = [(replace(split, layout="gated"), "num_key_value_heads")]
    if fused:
        one = replace(split, q=fused, k=fused, v=fused)
        bases = [
            (replace(one, layout="thirds"), "num_key_value_heads"),
            (replace(one, layout="grouped"), "num_key_value_heads"),
            (replace(one, layout="per_head"), None),
            (replace(one, layout="thirds"), 1),
        ]
    for qkv, kv in bases:
        for rotary, table, first, back in (
            ("halves", "doubled", False, False),
            ("interleaved", "doubled", False, False),
            ("interleaved", "interleaved", False, False),
            ("halves", "doubled", True, False),
            ("halves", "doubled", True, True),
            ("interleaved", "doubled", True, False),
        ):
            for switch in (*(name for name in _SWITCHES if hasattr(attention, name.split("|")[-1])), None):
                yield (
                    replace(
                        qkv, rotary=rotary, rotary_table=table, rotary_if=switch, rotary_first=first, rotary_back=back
                    ),
                    kv,
                )


def _scaled_mlp(layer: nn.Module, mlp: str) -> dict[str, Any]:
    """What the MLP writes where that is not what its module gives, or gives unscaled."""
    if _first(layer, "post_feedforward_layernorm_1"):  # a mixture beside it, before the norm of both
        return {"mlp_output": "<post_feedforward_layernorm"}
    if isinstance(getattr(find(layer, mlp), "down_multiplier", None), float):
        return {"mlp_output": f"{mlp}.down_proj", "multiplier": f".{mlp}.down_multiplier"}
    return {}


def _beside(layer: nn.Module) -> Beside | None:
    """What a layer has beside its attention and its MLP, by its name."""
    if find(layer, "post_per_layer_input_norm") is not None:
        return Beside("post_per_layer_input_norm", "a per-layer embedding", tag="per layer")
    if find(layer, "mamba") is not None and find(layer, "self_attn") is not None:
        return Beside("mamba", "a Mamba mixer", first=True, state=True, multiplier=".ssm_out_multiplier", tag="Mamba")
    if find(layer, "block_sparse_moe") is not None and find(layer, "shared_mlp") is not None:
        return Beside("shared_mlp", "a shared MLP", multiplier="residual_multiplier")
    return None


def _altup(layer: nn.Module, home: str) -> AltUp | None:
    """How the layers of a model mix several streams, by their names; None where there is one."""
    if find(layer, "altup.prediction_coefs") is None or find(layer, "laurel") is None:
        return None
    laurel = Beside("laurel", "a learned residual", first=True, tag="LAuReL")
    merge = f"{home}.altup_unembed_projections".removeprefix(".")
    return AltUp("altup.prediction_coefs", "altup.correction_coefs", merge, laurel)


def _twice(attention: nn.Module) -> bool:
    """Whether the projection of the queries gives twice what the output projection reads: a gate beside them."""
    queries = widths(find(attention, "q_proj"))
    read = next((found for name in _OUT.split("|") if (found := widths(find(attention, name)))), None)
    keys, values = (widths(find(attention, name)) for name in ("k_proj", "v_proj"))
    alike = keys is None or values is None or keys[1] == values[1]  # else queries and keys are wider than values
    return queries is not None and read is not None and queries[1] == 2 * read[0] and alike


def _experts(layers: nn.ModuleList) -> Experts | None:
    """The experts of the first layer that has some."""
    for layer in layers:
        for mlp in _MLP.split("|"):
            experts, router = _first(layer, "experts", mlp), _first(layer, "gate|router", mlp)
            if experts and router:
                shared = _first(layer, "shared_experts|shared_expert|shared_mlp", mlp)
                bias = next((n for n in _BIASES if isinstance(getattr(find(layer, mlp), n, None), Tensor)), None)
                gate = _first(layer, "shared_expert_gate", mlp)
                return Experts(router, experts, shared, gate, None if bias is None else f"{mlp}.{bias}")
    return None
