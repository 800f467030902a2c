"""Cross-layer transcoders: features that read at one layer and write to that and to later ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ..words.errors import AttribError, ComponentError
from .formats.circuit_tracer import CONFIG, said_of
from .formats.files import AGAIN, needed, settings, tensors, unread
from .formats.gemma_scope_2 import SKIP, jumping, model_name
from .formats.hooks import known_spot
from .sae import SAE


@dataclass(frozen=True, eq=False, repr=False)
class CrossLayer:
    """A cross-layer transcoder: of every layer a dictionary that reads there, and what its features write where.

    Attributes:
        layers: by the layers that it reads, in order; the decoder of each is what its features write to its own layer.
        decoders: of each of them [feature, target, d_out], and the number of the first target among ``layers``.
    """

    layers: tuple[SAE, ...]
    decoders: tuple[Float[Tensor, "feature target d_out"], ...]
    first: tuple[int, ...]
    metadata: dict[str, Any] = field(default_factory=dict)

    def encode(self, layer: int, x: Float[Tensor, "*shape d_in"]) -> Float[Tensor, "*shape feature"]:
        """Activations of the features that read at ``layer``.

        Raises:
            ComponentError: none does.
        """
        return self.layers[self._number(layer)].encode(x)

    def decode(
        self, layer: int, active: Sequence[Float[Tensor, "*shape feature"]], x: Float[Tensor, "*shape d_in"]
    ) -> Float[Tensor, "*shape d_out"]:
        """What all features together make of the MLP of ``layer``.

        Args:
            layer: the layer that is written to.
            active: activations of every layer that is read, in order.
            x: what is read at ``layer``, for a skip connection.

        Raises:
            ComponentError: it writes to no such layer.
        """
        to = self._number(layer)
        own = self.layers[to]
        out = own.resting(x)
        for values, decoder, first in zip(active, self.decoders, self.first, strict=True):
            if 0 <= to - first < decoder.shape[1]:
                out = out + values @ decoder[:, to - first]
        return out

    def _number(self, layer: int) -> int:
        there = [sae.target.layer for sae in self.layers]
        if layer not in there:
            raise ComponentError(f"{self!r} has no layer {layer}.", f"Its layers are {there[0]} to {there[-1]}.")
        return there.index(layer)

    def __repr__(self) -> str:
        one = self.layers[0]
        return (
            f"Cross-layer transcoder of {len(self.layers)} layers: {one.n_features} features of {one.d_in} numbers each"
        )


def read_cross_layer(folder: Path | str) -> CrossLayer:
    """Read a cross-layer transcoder of circuit-tracer or of Gemma Scope 2.

    ``a.graph([...])`` takes it. ``a.features`` does not open a row with it: a row is opened by features that write to
    that row alone, and these write to several.

    Args:
        folder: with ``W_enc_0.safetensors``, ``W_dec_0.safetensors`` and so on beside ``config.yaml``, or with
            ``params_layer_0.safetensors`` and so on.

    Raises:
        AttribError: no such files, broken ones, or a setting that is not read here.
    """
    root = Path(folder).expanduser()
    if (root / "W_enc_0.safetensors").is_file():
        return _of_circuit_tracer(root)
    if (root / "params_layer_0.safetensors").is_file():
        return _of_gemma_scope(root)
    raise AttribError(
        f"{root} holds no cross-layer transcoder.",
        f"It is W_enc_0.safetensors, W_dec_0.safetensors and so on beside {CONFIG}, or params_layer_0.safetensors and "
        "so on.",
    )


def _numbers(root: Path, form: str) -> list[int]:
    """The layers that there are files of: all from the first on.

    Raises:
        AttribError: one is missing.
    """
    pattern = re.compile(form.replace("{}", r"(\d+)"))
    found = sorted(int(match[1]) for file in root.iterdir() if (match := pattern.fullmatch(file.name)))
    if found != list(range(len(found))):
        missing = next(i for i in range(len(found) + 1) if i not in found)
        raise AttribError(f"{root} lacks {form.format(missing)}.", "Fetch all layers.")
    return found


def _of_circuit_tracer(root: Path) -> CrossLayer:
    layers, decoders = [], []
    numbers = _numbers(root, "W_enc_{}.safetensors")
    if _numbers(root, "W_dec_{}.safetensors") != numbers:
        raise AttribError(f"{root} has not as many W_dec as W_enc.", "Fetch all layers.")
    for i in numbers:
        said = said_of(root, i, "cross_layer_transcoder")
        file, other = root / f"W_enc_{i}.safetensors", root / f"W_dec_{i}.safetensors"
        t, decoder = tensors(file), tensors(other)
        needed(t, {f"W_enc_{i}", f"b_enc_{i}", f"b_dec_{i}"}, file, {f"threshold_{i}"})
        needed(decoder, {f"W_dec_{i}"}, other)
        if said.activation == "topk" or said.k is not None:
            raise unread(
                root, "activation", said.activation, "Of a cross-layer transcoder relu and thresholds are read."
            )
        w_dec, threshold = decoder[f"W_dec_{i}"], t.get(f"threshold_{i}")
        _check(w_dec, t[f"b_enc_{i}"], len(numbers) - i, other)
        layers.append(
            SAE(
                said.reads.place,
                "standard" if threshold is None else "jumprelu",
                t[f"W_enc_{i}"].T,
                t[f"b_enc_{i}"],
                w_dec[:, 0],
                t[f"b_dec_{i}"],
                threshold=None if threshold is None else threshold.reshape(-1),
                subtract=False,
                metadata=said.metadata,
                writes=said.writes,
                coordinates=said.reads.coordinates,
                signed=threshold is not None,
            )
        )
        decoders.append(w_dec)
    return CrossLayer(tuple(layers), tuple(decoders), tuple(numbers), layers[0].metadata)


def _of_gemma_scope(root: Path) -> CrossLayer:
    """Every file holds what its features write to every layer; nothing is written backwards."""
    numbers = _numbers(root, "params_layer_{}.safetensors")
    file = root / "config.json"
    config = settings(file) if file.is_file() else {}
    if config.get("type") not in (None, "clt"):
        raise unread(
            root, "type", config["type"], "Several layers are read of a clt alone: a crosscoder has one encoder."
        )
    if "crosscoder" in "/".join(root.resolve().parts[-3:]):
        raise unread(root, "type", "crosscoder", "Several layers are read of a clt alone.")
    layers, decoders = [], []
    for i in numbers:
        one = root / f"params_layer_{i}.safetensors"
        t = tensors(one)
        needed(t, {"w_enc", "b_enc", "w_dec", "b_dec", "threshold"}, one, {SKIP})
        _check(t["w_dec"], t["b_enc"], len(numbers), one)
        ends = [known_spot(f"model.layers.{i}.{norm}_feedforward_layernorm.output") for norm in ("pre", "post")]
        layers.append(jumping(t, ends[0].place, ends[1].place, t["w_dec"][:, i], config, t.get(SKIP)))
        if i and float(t["w_dec"][:, :i].abs().max()) > 0:
            raise AttribError(f"w_dec in {one} writes to layers before {i}.", AGAIN)
        decoders.append(t["w_dec"][:, i:])
    said = {"model_name": name} if (name := model_name(config.get("model_name"))) else {}
    return CrossLayer(tuple(layers), tuple(decoders), tuple(numbers), said)


def _check(w_dec: Tensor, b_enc: Tensor, targets: int, file: Path) -> None:
    """Raises AttribError where a decoder does not write to as many layers as there are."""
    if w_dec.ndim != 3 or tuple(w_dec.shape[:2]) != (len(b_enc), targets):
        raise AttribError(
            f"The decoder in {file} is {list(w_dec.shape)}, not [{len(b_enc)}, {targets}, d_out].",
            "It is [feature, layer that is written to, d_out]; take all files from one transcoder.",
        )
