"""The vocabulary: every part of a model that can write to a prediction, with one spelling each.

Labels follow the field: ``L7H4`` is head 4 of layer 7, ``L8.mlp`` the MLP of layer 8, ``L11N611`` a neuron.
Layers, heads and neurons count from 0.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import TypeAlias

from .errors import ComponentError
from .kinds import Kinds

ComponentLike: TypeAlias = "Component | str | tuple[int, int]"

# kind -> how its label is written; the kinds without fields are their own label.
_FORMS: dict[str, str] = {
    "head": "L{layer}H{index}",
    "neuron": "L{layer}N{index}",
    "mlp": "L{layer}.mlp",
    "attn": "L{layer}.attn",
    "laurel": "L{layer}.laurel",
    "beside": "L{layer}.beside",
    "layer": "L{layer}",
    "attn.bias": "L{layer}.attn.bias",
    "mlp.bias": "L{layer}.mlp.bias",
    "expert": "L{layer}.mlp/E{index}",
    "feature": "{site}/{index}",
    "error": "{site}/error",
}
#: What a layer may write beside its attention and its MLP.
BESIDES = ("laurel", "beside")
SINGLE_KINDS = (
    "embed",  # token embedding (all of the layer-0 input where positions are not learned)
    "pos",  # learned position embedding
    "norm.bias",  # bias of the norm at the read point
    "neuron.bias",  # bias of the projection in front of a neuron, in its pre-activation
    "encoder.bias",  # what a dictionary adds before a feature's threshold, in its pre-activation
    "value.bias",  # value projection bias, in what a head carried
    "query.bias",  # query projection bias, in a score
    "key.bias",  # key projection bias, in a score
    "alibi",  # position penalty added to a score
    "unembed.bias",
    "rounding",
    "softcap",
    "entropy",
)


@dataclass(frozen=True)
class Component:
    """One part of the model, or one named correction row of an attribution.

    ``kind`` is one of the names above; ``layer`` and ``index`` (head, neuron, expert or feature number) count
    from 0; ``site`` names the dictionary's place for SAE features (``"L8.mlp"``). ``str()`` gives the label.
    """

    kind: str
    layer: int | None = None
    index: int | None = None
    site: str | None = None

    def __str__(self) -> str:
        form = _FORMS.get(self.kind)
        return form.format(layer=self.layer, index=self.index, site=self.site) if form else self.kind

    @property
    def label(self) -> str:
        """The printed name, for example ``"L7H4"``."""
        return str(self)

    @property
    def writes(self) -> bool:
        """Whether it writes to the stream; the other rows correct the sum (a norm's bias, the entropy, rounding)."""
        return self.is_embedding or self.is_attention or self.kind in ("mlp", *BESIDES, "layer", "neuron")

    @property
    def is_embedding(self) -> bool:
        """The embedding of tokens or of learned positions: what is there before the first layer."""
        return self.kind in ("embed", "pos")

    @property
    def is_attention(self) -> bool:
        """An attention layer or a part of one."""
        return self.kind in ("head", "attn", "attn.bias")

    @property
    def is_vector(self) -> bool:
        """Whether it is a direction in the stream, or behind its norm: its row is a dot product."""
        return self.writes or self.kind in ("norm.bias", "expert")

    @property
    def is_replaceable(self) -> bool:
        """A head, a sublayer, or a layer that is not split: what an experiment can take out by itself."""
        return self.kind in ("head", "mlp", "attn", *BESIDES, "layer")


_OF_A_HEAD_ROW = re.compile(r"L(\d+)H\d+")
#: What a kind is, after its name; ``{layer}``, ``{index}`` and ``{site}`` as in its label.
_MEANINGS: dict[str, str] = {
    "head": "head {index} of layer {layer}, the chapter\u2019s Head {layer}.{index}; counting from 0",
    "neuron": "neuron {index} of the MLP of layer {layer}; counting from 0",
    "mlp": "the MLP of layer {layer}, the chapter\u2019s MLP {layer}; counting from 0",
    "attn": "all heads of layer {layer} together; counting from 0",
    "laurel": "the learned residual (LAuReL) of layer {layer}, added with its attention; counting from 0",
    "beside": "what layer {layer} adds beside its attention and its MLP; counting from 0",
    "layer": "layer {layer} as a whole, attention and MLP; counting from 0",
    "attn.bias": "the constant that the attention of layer {layer} adds whatever it reads; counting from 0",
    "mlp.bias": "the constant that the MLP of layer {layer} adds whatever it reads; counting from 0",
    "expert": "expert {index} of the mixture in layer {layer}; counting from 0",
    "feature": "feature {index} of the dictionary of {site}",
    "error": "what the dictionary of {site} misses",
    "embed": "the embedding of the token that is read last, before any layer",
    "pos": "the embedding of its position",
    "norm.bias": "the constant that the norm in front of what is explained adds",
    "neuron.bias": "the constant in front of a neuron",
    "encoder.bias": "the constant in front of a feature",
    "value.bias": "the constant that a head carries wherever it looks",
    "query.bias": "the constant of a head\u2019s queries",
    "key.bias": "the constant of a head\u2019s keys",
    "alibi": "what distance takes from a score",
    "unembed.bias": "the constant of this token in the unembedding",
    "rounding": "what the model\u2019s arithmetic rounded, measured",
    "softcap": "what the soft cap takes",
    "entropy": "what turns logits into the log-probability",
}


def described(label: str, kinds: Kinds | None = None) -> str:
    """A name that explains itself: ``L3H1: head 1 of layer 3, the chapter's Head 3.1; counting from 0``.

    ``kinds`` are those of the model (``model.part_kinds``), whose mixers are no attention. ``described`` in names.ts
    says the same on the page. "" of what names no part.
    """
    if kinds and label in kinds:
        return f"{label}: {kinds[label].words}"
    try:
        part = component(label)
    except ComponentError:
        return ""
    if (of := _OF_A_HEAD_ROW.fullmatch(part.site or "")) is not None:
        said = _MEANINGS[part.kind].format(index=part.index, site=f"L{of[1]}.z")
        return f"{part}: {said}, read through {part.site}"
    return f"{part}: {_MEANINGS[part.kind].format(layer=part.layer, index=part.index, site=part.site)}"


def whole(value: object) -> int | None:
    """``value`` as an int: Python, numpy and torch integers are; True, 1.0 and the rest are None."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        return None


def pair(value: object) -> tuple[int, int] | None:
    """``value`` as (layer, head): two whole numbers in an order (a tuple, a list, an array); anything else is None."""
    if isinstance(value, (str, bytes, Set, Mapping)) or not (hasattr(value, "__len__") and hasattr(value, "__iter__")):
        return None
    try:
        numbers = [whole(n) for n in value] if len(value) == 2 else []
    except TypeError:  # a tensor without a dimension has a length and none
        return None
    first, second = numbers if len(numbers) == 2 else (None, None)
    return None if first is None or second is None else (first, second)


def head(layer: int, index: int) -> Component:
    """Attention head ``index`` of ``layer``."""
    return Component("head", layer, index)


def mlp(layer: int) -> Component:
    """The MLP of ``layer``, its output bias included."""
    return Component("mlp", layer)


_LAYERED = r"mlp|attn|" + "|".join(BESIDES) + r"|attn\.bias|mlp\.bias"
_HEAD = Callable[[re.Match[str]], Component]


def _numbers(kind: str) -> _HEAD:
    return lambda m: Component(kind, int(m[1]), int(m[2]))


_PATTERNS: tuple[tuple[str, _HEAD], ...] = (
    (r"l(\d+)\.?h(\d+)(?:\.z)?", _numbers("head")),
    (r"a(\d+)\.h(\d+)", _numbers("head")),
    (r"(\d+)\.(\d+)", _numbers("head")),
    (r"l(\d+)\.?n(\d+)", _numbers("neuron")),
    (rf"l(\d+)[. ]({_LAYERED})", lambda m: Component(m[2], int(m[1]))),
    (r"m(\d+)", lambda m: Component("mlp", int(m[1]))),
    (r"l(\d+)", lambda m: Component("layer", int(m[1]))),
    (r"l(\d+)\.mlp/e(\d+)", _numbers("expert")),
)
_FEATURE = re.compile(r"(.+)/(\d+|error)")
_BELOW = re.compile(r"l\d.*/-\d+")
# Places that are read (places.py knows them all), and what takes them.
_READ: tuple[tuple[str, str], ...] = (
    (
        r"l\d+\.(stream|pre|mid|post)",
        'A stream is patched: sites="stream". A layer writes "L8.attn" and "L8.mlp".',
    ),
    (r"l\d+\.?(?:h|kv)\d+\.(q|k|v)", 'It is patched, sites="{}", and it receives: aw.path_patch(..., receivers=...).'),
    (r"l\d+\.?h\d+\.(pattern)", 'It is patched: sites="{}".'),
    (r"l\d+\.(q|k|v|z|pattern)", 'It is patched: sites="{}", heads="all".'),
    (r"l\d+\.(attn_in|mlp_in)", 'What reads there receives: aw.path_patch(..., receivers=["L5.mlp", "L9H9.q"]).'),
    (r"(logits)", 'They receive: aw.path_patch(..., receivers="logits").'),
)


def component(spec: ComponentLike) -> Component:
    """Read a component from any usual spelling.

    ``"L7H4"``, ``"7.4"``, ``"a7.h4"`` and ``(7, 4)`` are the same head; ``"L8.mlp"``, ``"L8 MLP"`` and ``"m8"``
    the same MLP; ``"L11N611"`` a neuron; ``"L8.mlp/1234"`` a feature.

    Raises:
        ComponentError: the text is none of these; the message lists the spellings.
    """
    if isinstance(spec, Component):
        return spec
    if isinstance(part := getattr(spec, "component", None), Component):  # a place where it writes, a finding on it
        return part
    if isinstance(label := getattr(spec, "label", None), str):
        spec = label
    if (numbers := pair(spec)) is not None and min(numbers) >= 0:
        return head(*numbers)
    if numbers is not None or isinstance(spec, (tuple, list)):
        raise ComponentError(f"{spec!r} does not name a head.", "Write (layer, head), for example (7, 4).")
    if not isinstance(spec, str):
        raise ComponentError(f"{spec!r} does not name a component.", 'Write for example "L7H4" or "L8.mlp".')
    text = spec.strip().lower()
    if text in SINGLE_KINDS:
        return Component(text)
    for pattern, build in _PATTERNS:
        match = re.fullmatch(pattern, text)
        if match:
            return build(match)
    match = _FEATURE.fullmatch(spec.strip())
    if match:
        site = _site(match[1])
        if match[2] == "error":
            return Component("error", site=site)
        return Component("feature", index=int(match[2]), site=site)
    if _BELOW.fullmatch(text):
        raise ComponentError(f"{spec.strip()} is no feature: they count from 0.", 'Write for example "L8.mlp/12".')
    for pattern, taken in _READ:
        if match := re.fullmatch(pattern, text):
            raise ComponentError(
                f"{spec.strip()} is a place that is read, not a part that writes.", taken.format(match[1])
            )
    raise ComponentError(
        f"{spec!r} does not name a component.",
        'Write a head as "L7H4", "7.4" or (7, 4), an MLP as "L8.mlp", a neuron as "L11N611", '
        "or one of: " + ", ".join(SINGLE_KINDS) + ".",
    )


# How the place before a "/" is printed: a layer's is the stream behind it, an attention's what its heads hand on.
_SITES = {"": "post", "attn": "z", "stream": "pre"}
_WITHOUT_A_LAYER = {"logits": "logits", "embed": "L0.pre"}
_OF_A_LAYER = re.compile(r"l(\d+)(?:\.(stream|pre|mid|post|attn|attn_out|z|q|k|v|pattern|attn_in|mlp_in))?")
_OF_A_HEAD = re.compile(r"l(\d+)\.?(?:(h)(\d+)\.(q|k|v|pattern)|(kv)(\d+)\.([kv]))")


def _site(text: str) -> str:
    """The place before a "/" as ``places.place`` reads it, which stands above this module (a test holds the two
    together): beside what writes, what is read."""
    text = text.strip().lower()
    if match := _OF_A_LAYER.fullmatch(text):
        return f"L{int(match[1])}.{_SITES.get(match[2] or '', match[2])}"
    if match := _OF_A_HEAD.fullmatch(text):
        layer, which, number, side = (group for group in match.groups() if group is not None)
        return f"L{int(layer)}{which.upper()}{int(number)}.{side}"
    return _WITHOUT_A_LAYER.get(text) or str(component(text))
