"""Tuned lenses as files: one safetensors file of this library's, and the folders that the tuned-lens package writes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ...saes.formats.files import settings, tensors, whole
from ...saes.sae import is_finite
from ...words.components import whole as whole_number
from ...words.errors import AttribError
from ...words.places import Place
from ...words.text import kind_of

#: Our file, in a folder (beside a model's weights, say), and the key of what its header says.
FILE, KEY = "tuned_lens.safetensors", "tuned_lens"
#: The two files of the tuned-lens package.
CONFIG, PARAMS = "config.json", "params.pt"
#: The only kind of translator that it has published.
LINEAR = "linear_tuned_lens"
_REMEDY = "Give what lens.save(...) wrote, or a folder with config.json and params.pt of the tuned-lens package."


class Content(NamedTuple):
    """What a tuned lens is: the ``places`` that it reads (``"embed"``, ``"L0.mid"``, ``"L0.post"``), for each a matrix
    and a vector, how many layers its model has, and whatever else is known of it."""

    places: list[str]
    weight: Float[Tensor, "place d_model d_model"]
    bias: Float[Tensor, "place d_model"]
    n_layers: int
    metadata: dict[str, Any]


def stream_names(n_layers: int, mid: bool = False) -> list[str]:
    """The rows of a lens but the last: the stream before layer 0, then behind every layer; with ``mid`` also between
    its attention and its MLP."""
    between = [[str(Place("mid", i))] if mid else [] for i in range(n_layers)]
    behind = [[str(Place("post", i))] for i in range(n_layers - 1)] + [[]]
    return ["embed", *(name for pair in zip(between, behind, strict=True) for part in pair for name in part)]


def write(content: Content, target: Path, dtype: torch.dtype) -> Path:
    """Write a lens, its numbers as ``dtype``, to a file or into a folder; where it went."""
    from safetensors.torch import save_file

    file = target if target.suffix == ".safetensors" else target / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    if not dtype.is_floating_point:
        raise AttribError(f"A lens is not kept as {str(dtype).removeprefix('torch.')}.", "Save it as float32.")
    held: dict[str, Tensor] = {}
    for name, weight, bias in zip(content.places, content.weight, content.bias, strict=True):
        held |= {f"{name}.weight": weight.to(dtype).contiguous(), f"{name}.bias": bias.to(dtype).contiguous()}
    if bad := next((key for key, value in held.items() if not is_finite(value)), None):
        raise AttribError(f"{bad} does not fit into {str(dtype).removeprefix('torch.')}.", "Save it as float32.")
    header = {"places": content.places, "n_layers": content.n_layers, **content.metadata}
    save_file(held, file, {KEY: json.dumps(header)})
    return file


def read(source: Path) -> Content:
    """The lens in a file or a folder, in float32.

    Raises:
        AttribError: there is none, or one that cannot be read as it stands.
    """
    file = source if source.is_file() else source / FILE
    if file.is_file() and file.suffix == ".safetensors":
        return _own(file)
    if (source / CONFIG).is_file() and (source / PARAMS).is_file():
        return _published(source)
    raise AttribError(f"There is no tuned lens in {source}.", _REMEDY)


def _own(file: Path) -> Content:
    from safetensors import safe_open

    held = tensors(file)
    with safe_open(file, "pt") as opened:
        said = (opened.metadata() or {}).get(KEY)
    if said is None:
        raise AttribError(f"{file} holds no tuned lens: it does not say what it reads.", _REMEDY)
    try:
        header = json.loads(said)
    except ValueError:
        header = None
    places, layers = _described(header, file)
    told = {key: value for key, value in header.items() if key not in ("places", "n_layers")}
    return Content(places, *_stacked(held, places, file), layers, told)


def _described(header: Any, file: Path) -> tuple[list[str], int]:
    """The places that a header names, and how many layers.

    Raises:
        AttribError: it does not say, or says what cannot be.
    """
    said = header if isinstance(header, dict) else {}
    places, layers = said.get("places"), whole_number(said.get("n_layers"))
    known = stream_names(layers, mid=True) if layers and layers > 0 else []
    if not isinstance(places, list) or not places or not all(place in known for place in places):
        raise AttribError(f"{file} does not say which streams of how many layers it reads.", _REMEDY)
    if len(set(places)) < len(places):
        raise AttribError(f"{file} reads a stream twice.", _REMEDY)
    for key in ("kl", "logit_lens_kl"):
        measured = said.get(key, [])
        numbers = isinstance(measured, list) and all(type(v) in (int, float) and math.isfinite(v) for v in measured)
        if not numbers or len(measured) not in (0, len(places)):
            raise AttribError(f"{key} in {file} is not one number for every stream that it reads.", _REMEDY)
    assert layers is not None
    return places, layers


def _published(folder: Path) -> Content:
    """What ``tuned_lens.TunedLens.save`` wrote: number i reads the stream before layer i, and the stream behind the
    last layer has no translator."""
    config, file = settings(folder / CONFIG), folder / PARAMS
    width, layers = (whole(config, key, folder / CONFIG) for key in ("d_model", "num_hidden_layers"))
    if width is None or layers is None:
        raise AttribError(f"{folder / CONFIG} does not say d_model and num_hidden_layers.", _REMEDY)
    if (kind := config.get("lens_type", LINEAR)) != LINEAR:
        raise AttribError(f"{folder / CONFIG} says lens_type = {kind!r}; read is {LINEAR!r} only.")
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as reason:  # whatever unpickling, zip and torch raise: all of it means the same
        raise AttribError(
            f"{file} cannot be read as weights alone: {str(reason).splitlines()[0]}", "Fetch it again."
        ) from reason
    if not isinstance(found, dict):
        raise AttribError(f"{file} holds {kind_of(found)}, not tensors by name.", _REMEDY)
    places = stream_names(layers)
    kinds = ("weight", "bias") if config.get("bias", True) else ("weight",)
    expected = {f"{i}.{part}" for i in range(layers) for part in kinds}
    if apart := sorted(expected ^ set(found)):
        said = "lacks" if apart[0] in expected else "holds"
        raise AttribError(
            f"{file} {said} {apart[0]!r}; {layers} layers have the translators 0 to {layers - 1} and no other.", _REMEDY
        )
    named: dict[str, Tensor] = {}
    for i, name in enumerate(places):
        named[f"{name}.weight"] = found[f"{i}.weight"]
        named[f"{name}.bias"] = found.get(f"{i}.bias", torch.zeros(width))
    for key, value in named.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise AttribError(f"The translator {key} in {file} is no tensor of floating point numbers.", _REMEDY)
    weight, bias = _stacked({key: value.float() for key, value in named.items()}, places, file, width)
    names = {"model_name": config.get("base_model_name_or_path"), "unembed_hash": config.get("unembed_hash")}
    return Content(places, weight, bias, layers, {**{k: v for k, v in names.items() if v}, "format": "tuned-lens"})


def _stacked(
    held: dict[str, Tensor], places: list[str], file: Path, width: int | None = None
) -> tuple[Float[Tensor, "place d_model d_model"], Float[Tensor, "place d_model"]]:
    missing = next((f"{p}.{part}" for p in places for part in ("weight", "bias") if f"{p}.{part}" not in held), None)
    if missing or not places:
        raise AttribError(f"{file} lacks {missing or 'translators'}.", _REMEDY)
    d = width or held[f"{places[0]}.bias"].numel()
    for name in places:
        for part, shape in (("weight", [d, d]), ("bias", [d])):
            if list(held[f"{name}.{part}"].shape) != shape:
                raise AttribError(f"{name}.{part} in {file} is {list(held[f'{name}.{part}'].shape)}, not {shape}.")
            if not is_finite(held[f"{name}.{part}"]):
                raise AttribError(f"{name}.{part} in {file} holds numbers that are not finite.", "Fetch it again.")
    return tuple(torch.stack([held[f"{name}.{part}"] for name in places]) for part in ("weight", "bias"))  # type: ignore[return-value]
