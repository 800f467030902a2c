"""The shape of an anatomy: where a model keeps its parts, as data. The families' own are in :mod:`.families`.

An :class:`Anatomy` is a set of module paths and a few facts. Nothing in it is trusted: the self-check
(:mod:`..selfcheck.check`) adds the parts up on the loaded model, and an anatomy whose sums do not close is not used.
To add a family, write its :class:`Anatomy`, pass it as ``aw.load(model, anatomy=...)`` and read ``model.report()``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from ...words.errors import AnatomyError


@dataclass(frozen=True)
class QKV:
    """How queries, keys and values come out of their projections. Paths are relative to the attention module.

    ``layout``: ``"split"`` three projections; ``"thirds"`` one projection [q | k | v]; ``"per_head"`` one
    projection ordered head by head, [q k v] inside each; ``"grouped"`` one ordered by key head, [its queries k v]
    inside each. ``q_norm`` and ``k_norm`` are norms applied before the rotation, over one head or over the whole
    projection (told apart by their width). ``scaling`` multiplies the scores: an attribute, ``"/name"`` for one that
    divides, or a number. ``softcap`` names the attribute that caps them, ``sinks`` a learned extra column, ``window``
    the length of a sliding window, ``causal`` a buffer [1, 1, position, position] that is true where attention may
    look.

    ``rotary``: ``"halves"`` or ``"interleaved"``, how the numbers of a head are paired; ``rotary_table`` how the
    cosines are laid out that the layer is given: ``"doubled"`` (each half holds all), ``"interleaved"`` (each one twice
    in a row), ``"single"``, ``"sines_first"`` (single, the sines before the cosines), or the name of a buffer
    [position, sines and cosines] of the attention module itself.
    ``rotary_if`` names an attribute that is false in layers that do not rotate. Three switches say where a model in
    half precision computes in float32 all the same: ``float_rotary``, ``float_scores``; ``early_scaling``: the
    queries are scaled, and rounded, before they meet the keys. ``alibi``: the position penalty is ``"added"`` to the
    scaled scores, or ``"scaled"`` with them. ``clip`` names a config entry that clamps queries, keys and values.
    """

    q: str
    k: str
    v: str
    layout: str = "split"
    q_norm: str | None = None
    k_norm: str | None = None
    scaling: str | float = "scaling"
    softcap: str | None = None
    sinks: str | None = None
    window: str | None = None
    causal: str | None = None
    rotary: str = "halves"
    rotary_table: str = "doubled"
    rotary_if: str | None = None
    float_rotary: bool = False
    float_scores: bool = False
    early_scaling: bool = False
    alibi: str = "added"
    clip: str | None = "clip_qkv"


@dataclass(frozen=True)
class Experts:
    """Where a mixture of experts keeps its parts. Paths are relative to the layer.

    ``router`` returns (scores, weights, indices); ``experts`` is called with the MLP's input, the indices and the
    weights, and is linear in the weights. ``shared`` are modules that every token passes, ``shared_gate`` the
    projection whose sigmoid multiplies them.
    """

    router: str
    experts: str
    shared: str | None = None
    shared_gate: str | None = None


@dataclass(frozen=True)
class Anatomy:
    """Module paths of one family. Alternatives are written ``"lm_head|embed_out"``: the first that exists.

    ``attn_out`` is the output projection whose input is z, ``mlp_down`` the projection whose input holds the neurons,
    ``mlp_in`` the one that the activation function is applied to and ``mlp_mul`` the one whose output multiplies the
    activation (the same path where both are halves of one projection, the gate first). A sublayer's output passes
    its post-norm, then a multiplier, and is added to the stream. ``parallel`` is True, or the name of a config switch,
    when the attention and the MLP read the same stream. An anatomy without ``attn`` knows whole layers only.

    ``n_heads`` and ``n_kv_heads`` name config entries, ``multiplier`` one that scales what every sublayer adds,
    ``logit_scale`` one that multiplies the logits (``"/name"`` divides), ``softcap`` the cap of the final logits.
    ``refused`` maps a config entry's value to the reason why a model with it is refused.
    """

    layers: str
    final_norm: str
    unembed: str
    embed: str
    attn: str | None = None
    attn_out: str | None = None
    mlp: str | None = None
    mlp_down: str | None = None
    qkv: QKV | None = None
    pos: str | None = None
    attn_norm: str | None = None
    attn_post_norm: str | None = None
    mlp_norm: str | None = None  # None where the MLP reads the raw stream
    mlp_in: str | None = None
    mlp_mul: str | None = None
    mlp_post_norm: str | None = None
    mlp_output: str | None = None  # when not the MLP module's own output
    experts: Experts | None = None
    parallel: bool | str = False
    multiplier: str | None = None
    logit_scale: str | None = None
    softcap: str | None = None
    n_heads: str | int = "num_attention_heads"
    n_kv_heads: str | int | None = "num_key_value_heads"
    refused: tuple[tuple[str, Any, str], ...] = ()


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


def resolved(anatomy: Anatomy, model: nn.Module) -> Anatomy:
    """``anatomy`` with every alternative decided on ``model``; what a layer may lack is left as it is, or None."""
    layers = find(model, anatomy.layers)
    assert isinstance(layers, nn.ModuleList)
    changes: dict[str, Any] = {
        name: path_of(model, path)
        for name in ("layers", "final_norm", "unembed", "embed", "pos")
        if (path := getattr(anatomy, name))
    }
    for name in ("attn", "attn_out", "attn_norm", "attn_post_norm", "mlp", "mlp_post_norm", "mlp_output"):
        if path := getattr(anatomy, name):
            changes[name] = path_of(layers[0], path)
    if anatomy.mlp_norm:
        changes["mlp_norm"] = path_of(layers[0], anatomy.mlp_norm) if find(layers[0], anatomy.mlp_norm) else None
    if anatomy.qkv is not None and anatomy.attn is not None:
        attention = find(layers[0], anatomy.attn)
        assert attention is not None
        norms: dict[str, Any] = {
            name: path_of(attention, path) if find(attention, path) is not None else None
            for name in ("q_norm", "k_norm")
            if (path := getattr(anatomy.qkv, name))
        }
        changes["qkv"] = dataclasses.replace(anatomy.qkv, **norms)
    return dataclasses.replace(anatomy, **changes)


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
    return absent + [p for p in inside if p and find(layers[0], p) is None]


def with_changes(base: Anatomy, changes: Mapping[str, Any]) -> Anatomy:
    """``base`` with some fields changed; ``"qkv.layout"`` and the like change one of its projections' fields.

    Raises:
        AnatomyError: no such field.
    """
    names = {f.name for f in dataclasses.fields(Anatomy)}
    inner = {f.name for f in dataclasses.fields(QKV)}
    unknown = [k for k in changes if k not in names and not (k.startswith("qkv.") and k[4:] in inner)]
    if unknown:
        raise AnatomyError(f"Anatomy has no field {unknown[0]!r}.", f"Its fields are {', '.join(sorted(names))}.")
    outer = {k: v for k, v in changes.items() if k in names}
    deep = {k[4:]: v for k, v in changes.items() if k.startswith("qkv.")}
    if deep and base.qkv is not None:
        outer = {"qkv": dataclasses.replace(base.qkv, **deep), **outer}
    return dataclasses.replace(base, **outer)


@dataclass(frozen=True)
class LayerHeads:
    """Head counts and widths of one layer; zeros where it has no heads."""

    n_heads: int = 0
    n_kv_heads: int = 0
    d_head: int = 0
    rows: dict[str, Int[Tensor, "heads d_head"]] = field(repr=False, default_factory=dict)

    @property
    def group(self) -> int:
        """Query heads per key and value head."""
        return self.n_heads // max(self.n_kv_heads, 1)


@dataclass(frozen=True)
class Geometry:
    """The width of a model and the heads of each of its layers, read from its config and the layers themselves."""

    d_model: int
    layers: tuple[LayerHeads, ...]

    def __getitem__(self, layer: int) -> LayerHeads:
        return self.layers[layer]

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return len(self.layers)

    @property
    def n_heads(self) -> int:
        """Query heads of the layer that has most."""
        return max((layer.n_heads for layer in self.layers), default=0)

    @property
    def words(self) -> str:
        """Heads per layer, in words: ``"12 heads"``, ``"4 to 12 heads"``."""
        least = min((layer.n_heads for layer in self.layers), default=0)
        return f"{self.n_heads} heads" if least == self.n_heads else f"{least} to {self.n_heads} heads"

    def remedy(self, layer: int) -> str:
        """What to ask for where ``layer`` has no such head."""
        if layer >= self.n_layers or self[layer].n_heads == self.n_heads:
            return f"It has {self.n_layers} layers of {self.words}, from 0."
        count = self[layer].n_heads
        return f"Layer {layer} has {count} heads, from 0." if count else f"Layer {layer} has no heads."


def text_config(model: nn.Module) -> Any:
    """The config of the language model, also inside a model that reads images as well."""
    config: Any = getattr(model, "config", None)
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def entry(config: Any, name: str | int | None, layer: int = 0) -> int | None:
    """A whole number of the config, by name; where the config keeps a list, that of ``layer``."""
    value = getattr(config, name, None) if isinstance(name, str) else name
    if isinstance(value, (list, tuple)):
        value = value[layer] if layer < len(value) else None
    return int(value) if value is not None else None


def geometry(anatomy: Anatomy, model: nn.Module) -> Geometry:
    """Read head counts and the order of the fused projections' rows, layer by layer.

    Raises:
        AnatomyError: the counts do not divide the output projection.
    """
    layers = find(model, anatomy.layers)
    assert isinstance(layers, nn.ModuleList)
    unembed = find(model, anatomy.unembed)
    assert unembed is not None
    stream = weight_in_out(unembed).shape[0]
    return Geometry(stream, tuple(_heads(anatomy, model, layer, i, stream) for i, layer in enumerate(layers)))


def _heads(anatomy: Anatomy, model: nn.Module, layer: nn.Module, number: int, stream: int) -> LayerHeads:
    config = text_config(model)
    n_heads = entry(config, anatomy.n_heads, number)
    if anatomy.attn_out is None or anatomy.qkv is None:
        return LayerHeads(n_heads or 0, n_heads or 0)
    out = find(layer, anatomy.attn_out)
    if out is None:
        return LayerHeads()
    width, d_model = weight_in_out(out).shape
    if d_model != stream:
        raise AnatomyError(
            f"{anatomy.attn_out} writes {d_model} numbers, but the stream that {anatomy.unembed} reads has {stream}.",
            "Pass anatomy={'attn_out': ...} with the attention's output projection.",
        )
    attention = find(layer, anatomy.attn)
    if isinstance(anatomy.n_heads, str):
        n_heads = _own_heads(anatomy.qkv, attention, width) or n_heads
    if not n_heads or width % n_heads:
        raise AnatomyError(
            f"{n_heads} heads ({anatomy.n_heads}) do not divide the {width} inputs of {anatomy.attn_out}.",
            "Pass anatomy={'n_heads': ...} with the number of query heads.",
        )
    d_head = width // n_heads
    n_kv = entry(config, anatomy.n_kv_heads, number) or n_heads
    if isinstance(anatomy.n_kv_heads, str):
        n_kv = _own_key_heads(anatomy.qkv, attention, n_heads, d_head) or n_kv
    if n_heads % n_kv:
        raise AnatomyError(f"{n_kv} key and value heads do not divide {n_heads} query heads.")
    return LayerHeads(n_heads, n_kv, d_head, _rows(anatomy.qkv.layout, n_heads, n_kv, d_head))


def _own_heads(qkv: QKV, attention: nn.Module | None, width: int) -> int | None:
    """The query heads of a layer whose module knows the width of one; the config may speak of another layer."""
    size = next((v for n in ("head_dim", "head_size") if isinstance(v := getattr(attention, n, None), int)), None)
    if not size or width % size:
        return None
    plain = qkv.layout != "split" or _outputs(qkv.q, attention) == width  # no gate beside the queries, no compression
    return width // size if plain else None


def _own_key_heads(qkv: QKV, attention: nn.Module | None, n_heads: int, d_head: int) -> int | None:
    """The key and value heads of a layer, from what its projection gives."""
    given = _outputs(qkv.k, attention)
    if given is None or given % d_head or qkv.layout == "per_head":
        return None
    count = given // d_head
    if qkv.layout == "split":
        return count if count and not n_heads % count else None
    rest = count - n_heads
    return rest // 2 if rest > 0 and not rest % 2 and not n_heads % (rest // 2) else None


def _outputs(path: str, attention: nn.Module | None) -> int | None:
    """How many numbers a projection of ``attention`` gives; None where there is none."""
    module = None if attention is None else find(attention, path)
    weight = getattr(module, "weight", None)
    if module is None or not isinstance(weight, Tensor) or weight.dim() != 2:
        return None
    return int(weight_in_out(module).shape[1])


def _rows(layout: str, n_heads: int, n_kv: int, d_head: int) -> dict[str, Int[Tensor, "heads d_head"]]:
    """Which outputs of its projection are the queries, keys and values of every head."""
    q, kv = torch.arange(n_heads * d_head).view(n_heads, d_head), torch.arange(n_kv * d_head).view(n_kv, d_head)
    if layout == "split":
        return {"q": q, "k": kv, "v": kv}
    if layout == "thirds":
        return {"q": q, "k": kv + q.numel(), "v": kv + q.numel() + kv.numel()}
    if layout == "per_head":
        block = torch.arange(3 * n_heads * d_head).view(n_heads, 3, d_head)
        return {"q": block[:, 0], "k": block[:, 1], "v": block[:, 2]}
    if layout == "grouped":
        group = torch.arange((n_heads + 2 * n_kv) * d_head).view(n_kv, n_heads // n_kv + 2, d_head)
        return {"q": group[:, :-2].reshape(n_heads, d_head), "k": group[:, -2], "v": group[:, -1]}
    raise AnatomyError(f"unknown qkv layout {layout!r}.", "Use split, thirds, per_head or grouped.")


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
