"""What can be read or written inside a model: one type, one printer, one parser.

A :class:`Place` is a site of a layer, of one head or one unit where the site has them. Its label is the field's:
``L2.pre`` is the stream before layer 2, ``L2.mid`` between its attention and its MLP, ``L2.post`` behind it;
``L1H2.q`` what head 2 of layer 1 asks, ``L1KV0.k`` what key-value head 0 of it offers, ``L1H2`` its z (what it hands
to the output projection), ``L5.mlp`` what an MLP adds, ``L5.mlp_in`` what it reads, ``L8.mlp/1234`` a feature there.
Every label parses back to the place that printed it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from .components import BESIDES, Component, component, whole
from .errors import ComponentError

PlaceLike: TypeAlias = "Place | Component | str | tuple[int, int]"

#: The sites of a layer, in the order in which it runs them.
SITES = (
    "pre",
    "laurel",
    "attn_in",
    "q",
    "k",
    "v",
    "pattern",
    "z",
    "attn",
    "attn_out",
    "mid",
    "mlp_in",
    "neuron",
    "expert",
    "mlp",
    "beside",
    "post",
)
STREAMS = ("pre", "mid", "post")
#: What each head has of its own; of keys and values there may be fewer heads.
OF_HEADS = ("q", "k", "v", "pattern", "z")
#: What a dictionary reads, in the order in which a layer runs: the stream before layer 0, the heads' z side by side,
#: what the attention adds (its own name: in front of a "/", ``L3.attn`` is the old spelling of ``L3.z``), the stream
#: between the two sublayers, what the MLP reads, what it adds, the stream behind the layer.
OF_DICTIONARIES = ("pre", "z", "attn_out", "mid", "mlp_in", "mlp", "post")
#: What a dictionary splits a place into: a feature, what it misses, and what it writes whatever fires.
BY_DICTIONARY = ("feature", "error", "bias")
_SAID = {
    "pre": "the stream before layer {0}",
    "mid": "the stream between the attention and the MLP of layer {0}",
    "post": "the stream behind layer {0}",
    "attn_in": "what the attention of layer {0} reads",
    "z": "what the heads of layer {0} hand on, side by side",
    "attn": "what the attention of layer {0} writes",
    "attn_out": "what the attention of layer {0} adds",
    "mlp_in": "what the MLP of layer {0} reads",
    "mlp": "what the MLP of layer {0} writes",
    "laurel": "what the learned residual (LAuReL) of layer {0} writes",
    "beside": "what layer {0} writes beside its attention and its MLP",
    "layer": "what layer {0} as a whole writes",
}


@dataclass(frozen=True)
class Place:
    """A place in the model.

    Attributes:
        site: one of :data:`SITES`; ``"logits"`` (what the unembedding reads, without a layer), one of
            :data:`BY_DICTIONARY`, or ``"layer"``: what a layer that is not split writes as a whole.
        layer: counts from 0; None for the logits.
        head: of the sites in :data:`OF_HEADS`; None is all heads of the layer.
        grouped: ``head`` counts key-value heads, each of which serves several query heads.
        index: of a neuron, an expert or a feature.
        of: where the dictionary of a feature (or of what it misses) reads.
    """

    site: str
    layer: int | None = None
    head: int | None = None
    grouped: bool = False
    index: int | None = None
    of: Place | None = None

    def __str__(self) -> str:
        if self.of is not None:
            return f"{self.of}/{self.index if self.site == 'feature' else self.site}"
        if self.layer is None:
            return self.site
        if self.site == "neuron":
            return f"L{self.layer}N{self.index}"
        if self.site == "expert":
            return f"L{self.layer}.mlp/E{self.index}"
        if self.site == "layer":
            return f"L{self.layer}"
        if self.head is None:
            return f"L{self.layer}.{self.site}"
        if self.grouped:
            return f"L{self.layer}KV{self.head}.{self.site}"
        return f"L{self.layer}H{self.head}" + ("" if self.site == "z" else f".{self.site}")

    @property
    def label(self) -> str:
        """The printed name, for example ``"L2.pre"``."""
        return str(self)

    @property
    def is_stream(self) -> bool:
        """Whether it is the residual stream, at one side of a layer."""
        return self.site in STREAMS

    @property
    def stream(self) -> int:
        """The number of a recorded stream: ``L2.pre`` is stream 2, and so is ``L1.post``.

        Raises:
            ComponentError: it is no stream that a layer begins or ends with.
        """
        if self.site not in ("pre", "post") or self.layer is None:
            raise ComponentError(f"{self} is not a stream before or behind a layer.", 'Write for example "L2.pre".')
        return self.layer + (self.site == "post")

    @property
    def slot(self) -> tuple[str, int]:
        """How recordings and passes call it: ``("pre", 2)`` for ``L2.pre`` and ``L1.post``, else site and layer."""
        if self.of is not None:
            return self.site, self.of.layer or 0
        return ("pre", self.stream) if self.site in ("pre", "post") else (self.site, self.layer or 0)

    @property
    def grid(self) -> str:
        """Which table of places it belongs to: ``"stream"`` for the sides of layers, else its site."""
        return "stream" if self.site in ("pre", "post") else self.site

    @property
    def row(self) -> int:
        """Where it stands in a grid of layers: its layer, or the number of its stream."""
        return self.slot[1]

    def words(self) -> str:
        """In words, for example ``"the stream before layer 2"``."""
        return _SAID[self.site].format(self.layer) if self.site in _SAID and self.head is None else str(self)

    @property
    def component(self) -> Component | None:
        """The part that writes here; None for a stream, for what is only read, and for all heads together."""
        if self.site == "z" and self.head is not None:
            return Component("head", self.layer, self.head)
        if self.of is not None:
            return None if self.site == "bias" else Component(self.site, index=self.index, site=str(self.of))
        if self.site in ("neuron", "expert"):
            return Component(self.site, self.layer, self.index)
        return Component(self.site, self.layer) if self.site in ("mlp", "attn", *BESIDES, "layer") else None


def stream_place(number: int, n_layers: int) -> Place:
    """Recorded stream ``number`` by the side that has a layer: ``L0.pre`` and so on, the last one ``.post``."""
    return Place("pre", number) if number < n_layers else Place("post", n_layers - 1)


def _of_head(m: re.Match[str]) -> Place:
    grouped = m[2] == "kv"
    site = m[4] or "z"
    if grouped and site not in ("k", "v"):
        raise ComponentError(f"{m[0]!r} is no place.", 'Of a key-value head there are keys and values: "L1KV0.k".')
    return Place(site, int(m[1]), int(m[3]), grouped)


_HEADS = "|".join(OF_HEADS)
_LAYERED = "|".join(s for s in SITES if s not in ("neuron", "expert"))
_PATTERNS: tuple[tuple[str, Callable[[re.Match[str]], Place]], ...] = (
    (rf"l(\d+)\.?(h|kv)(\d+)(?:\.({_HEADS}))?", _of_head),
    (rf"l(\d+)\.({_LAYERED})", lambda m: Place(m[2], int(m[1]))),
    (r"l(\d+)\.stream", lambda m: Place("pre", int(m[1]))),
    (r"logits", lambda m: Place("logits")),
)
_FEATURE = re.compile(r"(.+)/(?:(\d+)|(error|bias))")


def place(spec: PlaceLike | int, *, layer_means: str | None = None) -> Place:
    """Read a place from any usual spelling.

    Args:
        spec: ``"L2.pre"``, ``"L2.stream"`` (the same), ``"L1H2.q"``, ``"L1KV0.k"``, ``"L8.mlp"``, ``"L11N611"``,
            ``"L8.mlp/12"``, ``"logits"``, or a part that writes, such as ``"7.4"`` and ``(7, 4)``.
        layer_means: the side that a bare ``"L2"`` stands for, where only one can be meant (the row of a lens and the
            place of a dictionary are streams behind a layer: ``"post"``).

    Raises:
        ComponentError: it names no place, or a layer without saying which side of it.
    """
    if isinstance(spec, Place):
        return spec
    if layer_means is not None and (number := whole(spec)) is not None and number >= 0:
        return Place(layer_means, number)
    if isinstance(spec, str):
        text = spec.strip().lower()
        for pattern, build in _PATTERNS:
            if match := re.fullmatch(pattern, text):
                return build(match)
        if match := _FEATURE.fullmatch(text):
            return _by_dictionary(match[3] or "feature", _read_by_dictionary(match[1]), match[2])
    try:
        found = component(spec)  # type: ignore[arg-type]
    except ComponentError as reason:
        raise ComponentError(
            f"{spec!r} does not name a place.",
            'Write a stream as "L2.pre", "L2.mid" or "L2.post", a head\'s query as "L1H2.q", the key of a key-value '
            'head as "L1KV0.k", or a part that writes: "L7H4", "L8.mlp".',
        ) from reason
    return place_of(found, layer_means)


def place_of(found: Component, layer_means: str | None = None) -> Place:
    """Where a component writes.

    ``embed`` writes L0.pre and is what is replaced there; with learned positions the place also holds what ``pos``
    writes, so that it is more than the row ``embed``.

    Raises:
        ComponentError: it is a whole layer (whose stream has sides), or a row that no single place holds.
    """
    if found.kind == "head":
        return Place("z", found.layer, found.index)
    if found.kind in ("mlp", "attn", *BESIDES):
        return Place(found.kind, found.layer)
    if found.kind in ("neuron", "expert"):
        return Place(found.kind, found.layer, index=found.index)
    if found.kind in ("feature", "error"):
        return _by_dictionary(found.kind, _read_by_dictionary(found.site or ""), found.index)
    if found.kind == "embed":
        return Place("pre", 0)
    if found.kind == "layer":
        if layer_means is not None:
            return Place(layer_means, found.layer)
        raise ComponentError(
            f"{found} has two readings here: the stream before the layer, or the stream behind it.",
            f'Write "{found}.pre" or "{found}.post"; what the layer itself writes is "{found}.attn" and "{found}.mlp".',
        )
    raise ComponentError(f"{found} is a row of an attribution, no place of the model.", 'Write for example "L2.pre".')


def _by_dictionary(site: str, of: Place, index: int | str | None) -> Place:
    return Place(site, index=None if index is None else int(index), of=of)


def _read_by_dictionary(spec: PlaceLike) -> Place:
    """A place before the "/": a layer is the stream behind it, its attention what the heads hand on."""
    found = place(spec, layer_means="post")
    return Place("z", found.layer) if found.site == "attn" else found


def dictionary_place(spec: PlaceLike) -> Place:
    """The place of a dictionary: ``"L2"`` is the stream behind layer 2, and so is ``"L3.pre"``; ``"L3.attn"`` is the z
    of all heads of layer 3, and ``"L3.attn_out"`` what they add together.

    Raises:
        ComponentError: it names no place, or one that no dictionary reads.
    """
    found = _read_by_dictionary(spec)
    if found.site == "pre" and found.layer:
        found = Place("post", found.stream - 1)
    if found.site not in OF_DICTIONARIES or found.head is not None:
        raise ComponentError(
            f"No dictionary reads {found}.",
            "It is for a stream (L0.pre, L2.mid, L2.post), an MLP or what it reads (L2.mlp, L2.mlp_in), the heads of a "
            "layer (L2.z) or what its attention adds (L2.attn_out).",
        )
    return found


def is_place(spec: Any) -> bool:
    """Whether ``spec`` reads as a place."""
    try:
        place(spec)
    except ComponentError:
        return False
    return True
