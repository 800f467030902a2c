"""What Neuronpedia's export files say of features: descriptions by others, and contexts, read as text.

Nothing is fetched. A source is a folder of batches, each a gzip of one JSON object a line: ``explanations/`` (several
descriptions of one feature, and whole folders by other models, ``explanations-MODEL/``), ``features/`` and
``activations/``.
"""

from __future__ import annotations

import gzip
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from ...words.components import whole
from ...words.errors import AttribError, ComponentError
from ..fit import same_name
from ..sae import SAE
from .kept import Firing

if TYPE_CHECKING:
    from ...model.model import Model

#: Bytes that the files of a source may unpack to, and contexts of one feature that are kept.
MOST, CONTEXTS = 2**32, 20
_LAYER = re.compile(r"(\d+)-")
_FETCH = "Fetch the folder of one source, v1/MODEL/SOURCE, with explanations/batch-0.jsonl.gz and so on."


@dataclass
class Descriptions:
    """What an export says of the features of one dictionary, by feature.

    Attributes:
        source: the model and the dictionary, as Neuronpedia names them: ``gpt2-small/1-x-res``.
        said: descriptions, each with who made it and how.
        contexts: the strongest ones, the strongest first; activations are in the units of the export.
        density: the share of tokens that each fires on, by its own count.
    """

    source: str
    said: dict[int, list[tuple[str, str]]] = field(default_factory=dict)
    contexts: dict[int, list[Firing]] = field(default_factory=dict)
    density: dict[int, float] = field(default_factory=dict)

    def label(self, feature: int) -> str:
        """The first description; "" where there is none."""
        return self.said[feature][0][0] if feature in self.said else ""

    def __repr__(self) -> str:
        return f"Descriptions of {len(self.said)} features, contexts of {len(self.contexts)} ({self.source})"


def read_descriptions(folder: Path, sae: SAE, model: Model | None = None, model_id: str | None = None) -> Descriptions:
    """The export of one source for one dictionary.

    Raises:
        AttribError: no such files, lines that are none, or of several sources or another one than the dictionary.
    """
    folder = folder.expanduser()
    kinds = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    found: Descriptions | None = None
    for kind in [name for name in kinds if name.split("-")[0] in ("explanations", "features", "activations")]:
        for file in sorted((folder / kind).glob("batch-*.jsonl.gz"), key=lambda f: (len(f.name), f.name)):
            for row in _lines(file):
                source = f"{row.get('modelId')}/{row.get('layer')}"
                if found is None:
                    _check(folder, row, sae, model, model_id)
                    found = Descriptions(source)
                if source != found.source:
                    raise AttribError(
                        f"{file} is of {source}, and other files in {folder} are of {found.source}.", _FETCH
                    )
                _take(found, kind.split("-")[0], row, file, sae)
    if found is None:
        raise AttribError(f"{folder} holds no export of Neuronpedia.", _FETCH)
    for feature, firings in found.contexts.items():
        firings.sort(key=lambda f: -f.activations[f.position])
        found.contexts[feature] = firings[:CONTEXTS]
    return found


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    left = MOST
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                left -= len(line)
                if left < 0:
                    raise AttribError(f"{file} unpacks to more than {MOST:,} characters.", _FETCH)
                row = json.loads(line) if line.strip() else {}
                if not isinstance(row, dict):
                    raise AttribError(f"Line {number} of {file} is no object of JSON.", _FETCH)
                if row:
                    yield row
    except (OSError, EOFError, ValueError) as reason:
        if isinstance(reason, AttribError):
            raise
        raise AttribError(f"{file} cannot be read: {reason}.", _FETCH) from reason


def _check(folder: Path, row: dict[str, Any], sae: SAE, model: Model | None, model_id: str | None) -> None:
    """Raises ComponentError where an export is of another model, another layer or another dictionary."""
    name, source = str(row.get("modelId")), str(row.get("layer"))
    hint = f'If it is the same: model.saes.describe("{sae.site}", folder, model_id="{name}").'
    told = sae.metadata.get("neuronpedia_id")
    if isinstance(told, str) and "/" in told and told != f"{name}/{source}" and model_id is None:
        raise ComponentError(f"The export in {folder} is of {name}/{source}, and the dictionary of {told}.", hint)
    if model_id is not None and model_id != name:
        raise ComponentError(f"The export in {folder} is of {name}, not of {model_id}.", _FETCH)
    if model_id is None and model is not None:
        own = {model.name, str(sae.metadata.get("model_name") or model.name)}
        if not any(same_name(name, one) for one in own):
            raise ComponentError(f"The export in {folder} is of {name}, and this is {model.name}.", hint)
    layer, number = _LAYER.match(source), sae.site.layer or 0
    if "resid_pre" in str(sae.metadata.get("hook_name") or sae.metadata.get("hook_point")) and sae.site.site == "post":
        number += 1  # the stream behind a layer, which is called that before the next
    if layer and int(layer[1]) != number and told != f"{name}/{source}":
        raise ComponentError(
            f"The export in {folder} is of layer {layer[1]} ({source}), and the dictionary reads {sae.site}.", _FETCH
        )


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _take(found: Descriptions, kind: str, row: dict[str, Any], file: Path, sae: SAE) -> None:
    feature = whole(int(row["index"]) if str(row.get("index")).isdecimal() else None)
    if feature is None or feature >= sae.n_features:
        raise ComponentError(
            f"{file} has a feature {row.get('index')!r}, and {sae!r} has {sae.n_features}.",
            "Take the export of this dictionary.",
        )
    if kind == "explanations" and isinstance(text := row.get("description"), str) and text.strip():
        who = ", ".join(str(row[key]) for key in ("explanationModelName", "typeName") if row.get(key))
        found.said.setdefault(feature, []).append((text.strip(), who))
    elif kind == "features" and _is_number(share := row.get("frac_nonzero")):
        found.density[feature] = float(share)
    elif kind == "activations":
        tokens, values = row.get("tokens"), row.get("values")
        if not isinstance(tokens, list) or not isinstance(values, list) or len(tokens) != len(values) or not values:
            raise AttribError(f"{file} has a context of feature {feature} without a value for every token.", _FETCH)
        if not all(_is_number(v) for v in values):
            raise AttribError(f"{file} has a context of feature {feature} whose values are no numbers.", _FETCH)
        numbers = [float(v) for v in values]
        at = row.get("maxValueTokenIndex")
        at = at if type(at) is int and 0 <= at < len(values) else max(range(len(numbers)), key=numbers.__getitem__)
        found.contexts.setdefault(feature, []).append(Firing([str(t) for t in tokens], numbers, at))
