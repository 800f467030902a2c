"""Where each family keeps its parts, as data.

An :class:`Anatomy` is a set of module paths and a few facts. Nothing here is trusted: the self-check
(:mod:`.selfcheck`) adds the parts up on the loaded model, and an anatomy whose sums do not close is not used.
To add a family, write its :class:`Anatomy`, pass it as ``aw.load(model, anatomy=...)`` and read ``model.check``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from ..errors import AnatomyError


@dataclass(frozen=True)
class QKV:
    """How queries, keys and values come out of their projections. Paths are relative to the attention module.

    ``layout``: ``"split"`` three projections; ``"thirds"`` one projection [q | k | v]; ``"per_head"`` one
    projection ordered head by head, [q k v] inside each. ``q_norm`` and ``k_norm`` are norms applied before the
    rotation, over one head or over the whole projection (told apart by their width). ``scaling`` names the
    attribute that multiplies the scores; ``softcap`` the one that caps them; ``sinks`` a learned extra column.
    """

    q: str
    k: str
    v: str
    layout: str = "split"
    q_norm: str | None = None
    k_norm: str | None = None
    scaling: str = "scaling"
    softcap: str | None = None
    sinks: str | None = None
    window: str | None = None


@dataclass(frozen=True)
class Anatomy:
    """Module paths of one family. Alternatives are written ``"lm_head|embed_out"``: the first that exists.

    ``attn_write`` and ``mlp_write`` are the modules whose outputs are added to the stream (the post-norm in
    families that have one); ``attn_out`` is the output projection whose input is z, and ``mlp_down`` the
    projection whose input holds the neurons. ``parallel`` is True, or the name of a config switch, when the
    attention and the MLP read the same stream. ``n_heads`` and ``n_kv_heads`` name config entries.
    """

    layers: str
    final_norm: str
    unembed: str
    embed: str
    attn: str
    attn_out: str
    mlp: str
    mlp_down: str
    qkv: QKV
    pos: str | None = None
    attn_norm: str | None = None
    attn_post_norm: str | None = None
    mlp_norm: str | None = None  # the norm that the MLP reads through; None where it reads the raw stream
    mlp_in: str | None = None  # projection that the activation function is applied to
    mlp_mul: str | None = None  # gated MLPs: projection whose output multiplies the activation
    mlp_post_norm: str | None = None
    mlp_output: str | None = None  # when not the MLP module's own output
    parallel: bool | str = False
    softcap: str | None = None  # config entry with the cap of the final logits
    n_heads: str | int = "num_attention_heads"
    n_kv_heads: str | int | None = "num_key_value_heads"


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
    qkv=QKV("q_proj", "k_proj", "v_proj", window="sliding_window"),
)
_SANDWICH = {
    "mlp_norm": "pre_feedforward_layernorm",
    "attn_post_norm": "post_attention_layernorm",
    "mlp_post_norm": "post_feedforward_layernorm",
}
_QK_NORM = {"q_norm": "q_norm", "k_norm": "k_norm"}
_FUSED = "query_key_value"

FAMILIES: Mapping[str, Anatomy] = {
    "gpt2": Anatomy(
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
    ),
    "llama": LLAMA,
    "qwen3": dataclasses.replace(LLAMA, qkv=dataclasses.replace(LLAMA.qkv, **_QK_NORM)),
    "gemma2": dataclasses.replace(
        LLAMA,
        **_SANDWICH,
        qkv=dataclasses.replace(LLAMA.qkv, softcap="attn_logit_softcapping"),
        softcap="final_logit_softcapping",
    ),
    "gemma3_text": dataclasses.replace(
        LLAMA,
        **_SANDWICH,
        qkv=dataclasses.replace(LLAMA.qkv, **_QK_NORM),
        softcap="final_logit_softcapping",
    ),
    "olmo2": dataclasses.replace(
        LLAMA,
        **{**_SANDWICH, "attn_norm": None, "mlp_norm": None},
        qkv=dataclasses.replace(LLAMA.qkv, **_QK_NORM),
    ),
    "gpt_neox": Anatomy(
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
    ),
    "bloom": Anatomy(
        layers="transformer.h",
        final_norm="transformer.ln_f",
        unembed="lm_head",
        embed="transformer.word_embeddings",
        attn="self_attention",
        attn_out="self_attention.dense",
        attn_norm="input_layernorm",
        mlp="mlp",
        mlp_norm="post_attention_layernorm",
        mlp_in="mlp.dense_h_to_4h",
        mlp_down="mlp.dense_4h_to_h",
        mlp_output="mlp.dense_4h_to_h",  # the MLP module's own output already holds the stream
        qkv=QKV(_FUSED, _FUSED, _FUSED, layout="per_head", scaling="inv_norm_factor"),
        n_heads="n_head",
        n_kv_heads=None,
    ),
}


def find(root: nn.Module, path: str | None) -> nn.Module | None:
    """The module at the first existing alternative of ``path``, or None."""
    for option in (path or "").split("|"):
        module: Any = root
        for name in filter(None, option.split(".")):
            module = getattr(module, name, None)
        if option and isinstance(module, nn.Module):
            return module
    return None


def path_of(root: nn.Module, path: str) -> str:
    """The first alternative of ``path`` that exists below ``root``.

    Raises:
        AnatomyError: none exists.
    """
    for option in path.split("|"):
        if find(root, option) is not None:
            return option
    raise AnatomyError(f"{type(root).__name__} has no module {path!r}.", "Pass anatomy= with its true name.")


def missing(anatomy: Anatomy, model: nn.Module) -> list[str]:
    """The paths of ``anatomy`` that ``model`` does not have: empty when the anatomy can be tried."""
    absent = [
        p
        for p in (anatomy.layers, anatomy.final_norm, anatomy.unembed, anatomy.embed, anatomy.pos)
        if p and find(model, p) is None
    ]
    layers = find(model, anatomy.layers)
    if not isinstance(layers, nn.ModuleList) or not len(layers):
        return absent or [anatomy.layers]
    inside = [
        anatomy.attn,
        anatomy.attn_out,
        anatomy.attn_norm,
        anatomy.attn_post_norm,
        anatomy.mlp,
        anatomy.mlp_post_norm,
        anatomy.mlp_output,
    ]
    absent += [p for p in inside if p and find(layers[0], p) is None]
    return absent


def candidates(model: nn.Module, override: Anatomy | Mapping[str, Any] | None) -> list[Anatomy]:
    """The anatomies worth checking on ``model``, the most likely first.

    Raises:
        AnatomyError: none has all its modules; the message names the nearest one and what it lacks.
    """
    kind = str(getattr(getattr(model, "config", None), "model_type", ""))
    known = [FAMILIES[kind]] if kind in FAMILIES else []
    known += [a for name, a in FAMILIES.items() if name != kind]
    if isinstance(override, Anatomy):
        known = [override]
    elif override is not None:
        known = [_replaced(known[0], override)]
    usable = [a for a in known if not missing(a, model)]
    if usable:
        return usable
    nearest = min(known, key=lambda a: len(missing(a, model)))
    raise AnatomyError(
        f"{type(model).__name__} is laid out like no family this library knows: the nearest one expects "
        f"{', '.join(missing(nearest, model))}.",
        "Pass aw.load(model, anatomy=aw.Anatomy(...)) with the paths of this model's parts.",
    )


def _replaced(base: Anatomy, changes: Mapping[str, Any]) -> Anatomy:
    names = {f.name for f in dataclasses.fields(Anatomy)}
    inner = {f.name for f in dataclasses.fields(QKV)}
    unknown = [k for k in changes if k not in names and not (k.startswith("qkv.") and k[4:] in inner)]
    if unknown:
        raise AnatomyError(f"Anatomy has no field {unknown[0]!r}.", f"Its fields are {', '.join(sorted(names))}.")
    outer = {k: v for k, v in changes.items() if k in names}
    qkv = dataclasses.replace(base.qkv, **{k[4:]: v for k, v in changes.items() if k.startswith("qkv.")})
    return dataclasses.replace(base, **{"qkv": qkv, **outer})


@dataclass(frozen=True)
class Geometry:
    """Head counts and widths of a model, read from its config and its output projection."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_model: int
    rows: dict[str, Int[Tensor, "heads d_head"]] = field(repr=False, default_factory=dict)

    @property
    def group(self) -> int:
        """Query heads per key and value head."""
        return self.n_heads // self.n_kv_heads


def _entry(config: Any, name: str | int | None) -> int | None:
    value = getattr(config, name, None) if isinstance(name, str) else name
    return int(value) if value is not None else None


def geometry(anatomy: Anatomy, model: nn.Module) -> Geometry:
    """Read head counts and the order of the fused projection's rows.

    Raises:
        AnatomyError: the counts do not divide the output projection.
    """
    layers = find(model, anatomy.layers)
    assert isinstance(layers, nn.ModuleList)
    out = find(layers[0], anatomy.attn_out)
    unembed = find(model, anatomy.unembed)
    assert out is not None and unembed is not None
    width, d_model = weight_in_out(out).shape
    stream = weight_in_out(unembed).shape[0]
    if d_model != stream:
        raise AnatomyError(
            f"{anatomy.attn_out} writes {d_model} numbers, but the stream that {anatomy.unembed} reads has {stream}.",
            "Pass anatomy={'attn_out': ...} with the attention's output projection.",
        )
    config = getattr(model, "config", None)
    n_heads = _entry(config, anatomy.n_heads)
    if not n_heads or width % n_heads:
        raise AnatomyError(
            f"{n_heads} heads ({anatomy.n_heads}) do not divide the {width} inputs of {anatomy.attn_out}.",
            "Pass anatomy={'n_heads': ...} with the number of query heads.",
        )
    d_head = width // n_heads
    n_kv = _entry(config, anatomy.n_kv_heads) or n_heads
    if n_heads % n_kv:
        raise AnatomyError(f"{n_kv} key and value heads do not divide {n_heads} query heads.")
    q, kv = torch.arange(n_heads * d_head).view(n_heads, d_head), torch.arange(n_kv * d_head).view(n_kv, d_head)
    if anatomy.qkv.layout == "split":
        rows = {"q": q, "k": kv, "v": kv}
    elif anatomy.qkv.layout == "thirds":
        rows = {"q": q, "k": kv + q.numel(), "v": kv + q.numel() + kv.numel()}
    elif anatomy.qkv.layout == "per_head":
        block = torch.arange(3 * n_heads * d_head).view(n_heads, 3, d_head)
        rows = {"q": block[:, 0], "k": block[:, 1], "v": block[:, 2]}
    else:
        raise AnatomyError(f"unknown qkv layout {anatomy.qkv.layout!r}.", "Use split, thirds or per_head.")
    return Geometry(len(layers), n_heads, n_kv, d_head, d_model, rows)


def weight_in_out(module: nn.Module) -> Tensor:
    """The weight of a projection as [in, out]: Conv1D keeps it so, Linear the other way round."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    weight = weight.detach()
    return weight if type(module).__name__ == "Conv1D" else weight.T


def bias_of(module: nn.Module) -> Tensor | None:
    """The bias of a projection, or None."""
    bias = getattr(module, "bias", None)
    return bias.detach() if isinstance(bias, Tensor) else None
