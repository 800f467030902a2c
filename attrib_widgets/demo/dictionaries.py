"""Train the dictionaries of the embedded model, judge them, and find out what their features fire on.

`python -m attrib_widgets.demo.dictionaries [--folder DIR] [--steps N] [--sites SITE ...]`

Writes `saes/<site>/` beside the weights (a SAELens folder in eight-bit floats, and the cards of its features) and
`saes/evaluation.json`. A site that is there already is kept. A dictionary takes three to nine minutes of one processor.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from tqdm.auto import tqdm

from .. import load
from ..components import Component
from ..model.capture import record_neurons
from ..model.hooks import Activation, collect
from ..model.model import Model
from ..saes import judge
from ..saes.cards import make_cards
from ..saes.readers import read_sae, write_sae
from ..saes.sae import SAE
from ..saes.train import SAESettings, settings_of, train_sae
from . import concepts, corpus, path

#: Contexts of 64 tokens: for training, and held out for judging and for the cards.
TRAINED_ON, HELD_OUT = 20_000, 2000
KS = (1, 2, 4, 8, 16, 32)


def settings_for(site: Component, steps: int) -> SAESettings:
    """How the dictionary of a site is trained: a stream carries the most, what an MLP adds the least."""
    features = {"layer": 4096, "attn": 2048, "mlp": 1024}[site.kind]
    return SAESettings(features=features, steps=steps)


def tokens_of(model: Model, texts: Sequence[str]) -> Int[Tensor, "row position"]:
    """The first 64 tokens of every text, the beginning of the sequence included."""
    return torch.tensor([model.encode(text)[: concepts.SIZE] for text in texts])


def training_text(number: int) -> str:
    """A context to train on; the numbers of the cards' contexts draw others."""
    return corpus.context(random.Random(f"dictionaries {number}"), concepts.SIZE)


def activations(model: Model, ids: Int[Tensor, "row position"], sites: list[Component]) -> dict[Component, Activation]:
    """Activations of all sites, in half precision to save room."""
    parts: dict[Component, list[Tensor]] = {site: [] for site in sites}
    for rows in tqdm(ids.split(64), desc="activations", mininterval=5):
        for site, x in collect(model, rows, sites).items():
            parts[site].append(x.half())
    return {site: torch.cat(parts.pop(site)) for site in sites}


def truths(model: Model, ids: Int[Tensor, "row position"]) -> dict[str, Bool[Tensor, "sample"]]:
    """Concept to where it holds, over all positions but the first and the last."""
    said = [concepts.truths([model.token(i) for i in row])[1:-1] for row in ids.tolist()]
    flat = [names for rows in said for names in rows]
    found: dict[str, Tensor] = {}
    for sample, names in enumerate(flat):
        for name in names:
            found.setdefault(name, torch.zeros(len(flat), dtype=torch.bool))[sample] = True
    # What is met a few times only cannot be judged.
    return {name: mask for name, mask in sorted(found.items()) if int(mask.sum()) >= 10}


def family(concept: str) -> str:
    """What a concept is one of."""
    if concept.startswith("names a country of"):
        return "countries of a continent"
    first = concept.split()[0]
    families = {"names": "a country named", "means": "a country meant", "asks": "a country asked about"}
    return families.get(first, concept)


def summary(found: list[judge.Detector]) -> dict[str, Any]:
    """Detectors by family of concepts: how many are clean, and the mean precision and recall."""
    families: dict[str, list[judge.Detector]] = {}
    for one in found:
        families.setdefault(family(one.concept), []).append(one)
    return {
        name: {
            "concepts": len(rows),
            "clean": sum(row.clean for row in rows),
            "precision": round(sum(row.precision for row in rows) / len(rows), 3),
            "recall": round(sum(row.recall for row in rows) / len(rows), 3),
        }
        for name, rows in families.items()
    }


def judged(
    model: Model, sae: SAE, train: Activation, held: Activation, ids: Tensor, concept: dict[str, Tensor]
) -> dict[str, Any]:
    """Everything that is reported of one dictionary, on contexts it has not seen."""
    x, before = held[:, 1:].flatten(0, 1).float(), train[:, 1:].flatten(0, 1)[::8].float()
    few = x[:: max(1, len(x) // 4000)]
    features = sae.encode(held[:, 1:-1].flatten(0, 1).float())
    return {
        "features": sae.n_features,
        "variance_explained": _rounded(judge.curve(sae, x, KS)),
        "pca": _rounded(judge.pca(before, x, KS)),
        "random_dictionary": _rounded(judge.random_dictionary(before, few, sae.n_features, KS[:4])),
        "dead": round(judge.dead_share(sae, x), 4),
        "loss_recovered": round(judge.loss_recovered(model, sae, ids[:500], before.mean(0)), 4),
        "detectors": summary(judge.detectors(features, concept)),
    }


def _rounded(found: dict[int, float]) -> dict[str, float]:
    return {str(k): round(value, 4) for k, value in found.items()}


def rivals(model: Model, layer: int, held: Activation, ids: Tensor, concept: dict[str, Tensor]) -> dict[str, Any]:
    """The same detectors sought among the neurons of a layer and the principal directions of its stream."""
    neurons = torch.cat(
        [record_neurons(model, row, [layer], range(1, len(row) - 1))[layer] for row in ids.tolist()]
    ).float()
    x = held[:, 1:-1].flatten(0, 1).float()
    directions = torch.linalg.eigh((x - x.mean(0)).T @ (x - x.mean(0)))[1]
    along = (x - x.mean(0)) @ directions
    return {
        "neurons": summary(judge.detectors(neurons, concept)),
        "pca": summary(judge.detectors(torch.cat([along, -along], 1), concept)),
    }


def trained(train: Activation, site: Component, steps: int) -> SAE:
    """The dictionary of a site, without the features that never fire on what it was trained on."""
    chosen = settings_for(site, steps)
    sae, _ = train_sae(train[:, 1:].flatten(0, 1), site, chosen)
    described = {"model_name": "demo", "context_size": concepts.SIZE, "prepend_bos": True}
    sae = replace(sae, metadata={**described, "settings": settings_of(chosen)})
    return sae.only(judge.fired(sae, train[::4, 1:].flatten(0, 1)))


def _table(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text()) if (file := out / "evaluation.json").exists() else {}
    return found


def main(arguments: list[str] | None = None) -> None:
    """Train, judge and write all dictionaries."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=path(), help="folder of the model (default: the embedded one)")
    parser.add_argument("--steps", type=int, default=SAESettings.steps, help="per dictionary")
    parser.add_argument("--sites", nargs="*", help="for example L2 L2.mlp L2.attn (default: all)")
    options = parser.parse_args(arguments)
    model = load(str(options.folder), dtype="float32")
    out = options.folder / "saes"
    out.mkdir(exist_ok=True)
    every = [Component(kind, layer) for layer in range(model.n_layers) for kind in ("attn", "mlp", "layer")]
    sites = [site for site in every if str(site) in (options.sites or map(str, every)) and str(site) not in _table(out)]
    train_ids = tokens_of(model, [training_text(i) for i in range(TRAINED_ON)])
    ids = tokens_of(model, [concepts.context(i) for i in range(HELD_OUT)])
    concept = truths(model, ids)
    properties = [concepts.properties([model.token(i) for i in row]) for row in ids.tolist()]
    for layer in range(model.n_layers):
        here = [site for site in sites if site.layer == layer]
        if not here:
            continue
        train, held = activations(model, train_ids, here), activations(model, ids, here)
        for site in here:
            sae = trained(train[site], site, options.steps)
            folder = out / str(site)
            write_sae(sae, folder, torch.float8_e4m3fn)
            sae = read_sae(folder)  # judged is what was written
            make_cards(sae, held[site].float(), [ids.shape[1]] * len(ids), properties).write(folder)
            row = judged(model, sae, train[site], held[site], ids, concept)
            if site.kind == "layer":
                fewer = ids[::2]
                row["rivals"] = rivals(model, layer, held[site][::2], fewer, truths(model, fewer))
            table = _table(out) | {str(site): row}
            table = {str(known): table[str(known)] for known in every if str(known) in table}
            (out / "evaluation.json").write_text(json.dumps(table, indent=1) + "\n")
            tqdm.write(
                f"{site!s:8} explained {row['variance_explained']['8']:.4f} (pca {row['pca']['8']:.3f}, random "
                f"{row['random_dictionary']['8']:.3f})  dead {row['dead']:.3f}  loss recovered "
                f"{row['loss_recovered']:.3f}"
            )


if __name__ == "__main__":
    main()
