"""The width of a model and the heads of each of its layers: read from its config and from the layers themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor, nn

from ...words.errors import AnatomyError
from .anatomy import LAYOUTS, QKV, Anatomy
from .lookup import below, entry, find, text_config
from .weights import widths


@dataclass(frozen=True)
class LayerHeads:
    """Head counts and widths of one layer; zeros where it has no heads, or ``trouble`` says why they are not known.

    ``d_head`` is the width of a head's values, ``rows`` the outputs of its projection that are each head's queries,
    keys and values: those of queries and keys may be of another width.
    """

    n_heads: int = 0
    n_kv_heads: int = 0
    d_head: int = 0
    rows: dict[str, Int[Tensor, "heads d_head"]] = field(repr=False, default_factory=dict)
    trouble: str = ""

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


def geometry(anatomy: Anatomy, model: nn.Module) -> Geometry:
    """Read head counts and the order of the fused projections' rows, layer by layer.

    Raises:
        AnatomyError: the counts do not divide the output projection of any layer.
    """
    layers = find(model, anatomy.layers)
    assert isinstance(layers, nn.ModuleList)
    unembed = find(model, anatomy.unembed)
    assert unembed is not None
    stream = _widths(unembed, anatomy.unembed)[0]
    found, refused = [], []
    for number, layer in enumerate(layers):
        try:
            found.append(_heads(anatomy, model, layer, number, stream))
        except AnatomyError as reason:
            refused.append(reason)
            found.append(LayerHeads(trouble=reason.message.rstrip(".")))
    if refused and not any(layer.n_heads for layer in found):
        raise refused[0]
    return Geometry(stream, tuple(found))


def _heads(anatomy: Anatomy, model: nn.Module, layer: nn.Module, number: int, stream: int) -> LayerHeads:
    config = text_config(model)
    n_heads = entry(config, anatomy.n_heads, number)
    if anatomy.attn_out is None or anatomy.qkv is None:
        return LayerHeads(n_heads or 0, n_heads or 0)
    out = find(layer, anatomy.attn_out)
    if out is None:
        return LayerHeads()
    width, d_model = _widths(out, anatomy.attn_out)
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
    given = _outputs(anatomy.qkv.q, attention) if anatomy.qkv.apart else None
    each = n_heads * (2 if anatomy.qkv.layout == "gated" else 1)
    d_key = given // each if given is not None and not given % each else d_head
    return LayerHeads(n_heads, n_kv, d_head, _rows(anatomy.qkv.layout, n_heads, n_kv, d_head, d_key))


def _own_heads(qkv: QKV, attention: nn.Module | None, width: int) -> int | None:
    """The query heads of a layer whose module knows the width of one; the config may speak of another layer."""
    size = next((v for n in ("head_dim", "head_size") if isinstance(v := getattr(attention, n, None), int)), None)
    if not size or width % size:
        return None
    given = width * (2 if qkv.layout == "gated" else 1)
    plain = not qkv.apart or _outputs(qkv.q, attention) == given  # no other gate beside the queries, no compression
    return width // size if plain else None


def _own_key_heads(qkv: QKV, attention: nn.Module | None, n_heads: int, d_head: int) -> int | None:
    """The key and value heads of a layer, from what its projection gives."""
    given = _outputs(qkv.v if qkv.apart else qkv.k, attention)
    if given is None or given % d_head or qkv.layout == "per_head":
        return None
    count = given // d_head
    if qkv.apart:
        return count if count and not n_heads % count else None
    rest = count - n_heads
    return rest // 2 if rest > 0 and not rest % 2 and not n_heads % (rest // 2) else None


def _outputs(path: str, attention: nn.Module | None) -> int | None:
    """How many numbers a projection of ``attention`` gives; None where there is none."""
    found = widths(None if attention is None else find(attention, path))
    return None if found is None else found[1]


def projections(anatomy: Anatomy, model: nn.Module) -> Iterator[nn.Module]:
    """The projections that ``anatomy`` names and ``model`` has."""
    a, layers = anatomy, find(model, anatomy.layers)
    inside = [a.attn_out, a.mlp_in, a.mlp_mul, a.mlp_down]
    inside += [below(a.attn, path) for path in (a.qkv.q, a.qkv.k, a.qkv.v)] if a.qkv is not None and a.attn else []
    found = [find(model, a.unembed)]
    if isinstance(layers, nn.ModuleList):
        found += [find(layer, path) for layer in layers for path in dict.fromkeys(inside)]
    yield from dict.fromkeys(module for module in found if module is not None)


def _widths(module: nn.Module, path: str) -> tuple[int, int]:
    found = widths(module)
    if found is None:
        raise AnatomyError(f"{path} ({type(module).__name__}) does not say how many numbers it reads and gives.")
    return found


def _rows(layout: str, n_heads: int, n_kv: int, d_head: int, d_key: int) -> dict[str, Int[Tensor, "heads d_head"]]:
    """Which outputs of its projection are the queries, keys and values of every head."""
    kv = torch.arange(n_kv * d_head).view(n_kv, d_head)
    if layout in ("split", "gated"):
        wide = torch.arange(n_heads * d_key * (2 if layout == "gated" else 1)).view(n_heads, -1, d_key)[:, 0]
        return {"q": wide, "k": torch.arange(n_kv * d_key).view(n_kv, d_key), "v": kv}
    if layout not in LAYOUTS:
        raise AnatomyError(f"unknown qkv layout {layout!r}.", f"Use split, gated, {', '.join(LAYOUTS)}.")
    blocks, order = LAYOUTS[layout]
    count = blocks if isinstance(blocks, int) else {"heads": n_heads, "key heads": n_kv}[blocks]
    each = {"q": n_heads // count * d_head, "k": max(1, n_kv // count) * d_head}
    if n_heads % count or (n_kv > count and n_kv % count):
        raise AnatomyError(
            f"{n_heads} query and {n_kv} key heads do not fit a {layout!r} projection of {count} blocks."
        )
    widths = [each.get(which, each["k"]) for which in order]
    table = torch.arange(count * sum(widths)).view(count, -1).split(widths, 1)
    return {which: part.reshape(-1, d_head) for which, part in zip(order, table, strict=True)}
