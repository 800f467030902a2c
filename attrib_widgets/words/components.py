"""The vocabulary: every part of a model that can write to a prediction, with one spelling each.

Labels follow the field: ``L7H4`` is head 4 of layer 7, ``L8.mlp`` the MLP of layer 8, ``L11N611`` a neuron.
Layers, heads and neurons count from 0.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from .errors import ComponentError

ComponentLike: TypeAlias = "Component | str | tuple[int, int]"

# kind -> how its label is written; the kinds without fields are their own label.
_FORMS: dict[str, str] = {
    "head": "L{layer}H{index}",
    "neuron": "L{layer}N{index}",
    "mlp": "L{layer}.mlp",
    "attn": "L{layer}.attn",
    "layer": "L{layer}",
    "attn.bias": "L{layer}.attn.bias",
    "mlp.bias": "L{layer}.mlp.bias",
    "expert": "L{layer}.mlp/E{index}",
    "feature": "{site}/{index}",
    "error": "{site}/error",
}
SINGLE_KINDS = (
    "embed",  # token embedding (all of the layer-0 input where positions are not learned)
    "pos",  # learned position embedding
    "norm.bias",  # bias of the norm at the read point
    "neuron.bias",  # bias of the projection in front of a neuron, in its pre-activation
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


def listed(given: Any) -> list[Any]:
    """One component, or several, as a list: a name, a Component and a pair such as ``(7, 4)`` are one."""
    pair = isinstance(given, tuple) and len(given) == 2 and all(whole(n) is not None for n in given)
    return [given] if isinstance(given, (str, Component)) or pair else list(given)


def whole(value: object) -> int | None:
    """``value`` as an int: Python, numpy and torch integers are; True, 1.0 and the rest are None."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        return None


def head(layer: int, index: int) -> Component:
    """Attention head ``index`` of ``layer``."""
    return Component("head", layer, index)


def mlp(layer: int) -> Component:
    """The MLP of ``layer``, its output bias included."""
    return Component("mlp", layer)


_LAYERED = {"mlp": "mlp", "attn": "attn", "attn.bias": "attn.bias", "mlp.bias": "mlp.bias"}
_HEAD = Callable[[re.Match[str]], Component]


def _numbers(kind: str) -> _HEAD:
    return lambda m: Component(kind, int(m[1]), int(m[2]))


_PATTERNS: tuple[tuple[str, _HEAD], ...] = (
    (r"l(\d+)\.?h(\d+)", _numbers("head")),
    (r"a(\d+)\.h(\d+)", _numbers("head")),
    (r"(\d+)\.(\d+)", _numbers("head")),
    (r"l(\d+)\.?n(\d+)", _numbers("neuron")),
    (r"l(\d+)[. ](mlp|attn|attn\.bias|mlp\.bias)", lambda m: Component(_LAYERED[m[2]], int(m[1]))),
    (r"m(\d+)", lambda m: Component("mlp", int(m[1]))),
    (r"l(\d+)", lambda m: Component("layer", int(m[1]))),
    (r"l(\d+)\.mlp/e(\d+)", _numbers("expert")),
)
_FEATURE = re.compile(r"(.+)/(\d+|error)")


def component(spec: ComponentLike) -> Component:
    """Read a component from any usual spelling.

    ``"L7H4"``, ``"7.4"``, ``"a7.h4"`` and ``(7, 4)`` are the same head; ``"L8.mlp"``, ``"L8 MLP"`` and ``"m8"``
    the same MLP; ``"L11N611"`` a neuron; ``"L8.mlp/1234"`` a feature.

    Raises:
        ComponentError: the text is none of these; the message lists the spellings.
    """
    if isinstance(spec, Component):
        return spec
    if isinstance(spec, (tuple, list)):
        numbers = [whole(n) for n in spec]
        if len(numbers) == 2 and all(n is not None and n >= 0 for n in numbers):
            return head(numbers[0] or 0, numbers[1] or 0)
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
        site = str(component(match[1]))
        if match[2] == "error":
            return Component("error", site=site)
        return Component("feature", index=int(match[2]), site=site)
    raise ComponentError(
        f"{spec!r} does not name a component.",
        'Write a head as "L7H4", "7.4" or (7, 4), an MLP as "L8.mlp", a neuron as "L11N611", '
        "or one of: " + ", ".join(SINGLE_KINDS) + ".",
    )
