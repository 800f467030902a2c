"""Train the dictionaries of the embedded model, judge them, and find out what their features fire on.

`python -m attrib_widgets.demo.making.dictionaries [--folder DIR] [--start DIR] [--steps N] [--sites ...] [--judge]`

Writes `saes/<site>/` beside the weights (a SAELens folder in eight-bit floats, and the cards of its features),
`saes/contexts.json` (the texts that the cards point into) and `saes/evaluation.json`. What is there already, made from
these weights with these settings, is kept; `--judge` judges and labels it again. One takes 3 to 60 minutes of a core,
by processor and place; where `--start` names the dictionaries of the weights from which the second course went on, they
are gone on from in a quarter of that.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from ... import load
from ...model.model import Model
from ...model.tracing.hooks import Activation, collect
from ...model.tracing.record import record_neurons
from ...saes import judge
from ...saes.cards.making import cards_from
from ...saes.folders import TEXTS, name_of
from ...saes.formats import format_of, read_sae
from ...saes.formats.saelens import write_sae
from ...saes.sae import SAE
from ...saes.train import SAESettings, train_sae
from ...words.places import Place, dictionary_place
from .. import path, weights_sha256
from . import concepts, corpus

#: Contexts of 64 tokens: for training, and drawn anew for judging and for the cards.
TRAINED_ON, HELD_OUT = 20_000, 2000
#: Every so many-th training context serves for means and principal directions.
FEW = 8
KS = (1, 2, 4, 8, 16, 32)
#: What goes on from a dictionary of nearby weights takes one step of so many.
SHORTER = 4


def settings_for(site: Place, layers: int, steps: int) -> SAESettings:
    """How the dictionary of a site is trained: a stream carries the most, what an MLP adds the least.

    The last two streams are mostly what comes next, which fewer features tell (of the very last, most were silent).
    Of the streams before, the first and the middle one take longer, and the middle one, which has both what was read
    and what comes next, gets more features.
    """
    features = {"post": 4096, "z": 1536, "mlp": 1024}[site.site]
    if site.layer == layers - 1 and site.site != "z":
        return SAESettings(features={"post": 1024, "mlp": 512}[site.site], steps=steps // 2)
    if site.site != "post" or site.layer == layers - 2:
        return SAESettings(features=features, steps=steps)
    if site.layer == layers // 2:
        return SAESettings(features=6656, steps=9 * steps // 4, narrow_weight=0.125)
    return SAESettings(features=features, steps=steps if site.layer else 3 * steps // 2, narrow_weight=0.25)


class Held(NamedTuple):
    """The contexts that dictionaries are judged on, and what can be said of their tokens.

    ``truths`` says where each concept holds, ``judged`` which of these samples a detector is judged on, by whole
    contexts; the others choose it. Samples are all positions but the first and the last of a context.
    """

    ids: Int[Tensor, "row position"]
    properties: list[list[list[str]]]
    truths: dict[str, Bool[Tensor, "sample"]]
    judged: Bool[Tensor, "sample"]


def held_out(model: Model, count: int) -> Held:
    """The first contexts of the cards; every second one judges."""
    ids = tokens_of(model, [concepts.context(i) for i in range(count)])
    properties = [concepts.properties([model.token(i) for i in row]) for row in ids.tolist()]
    judged = (torch.arange(count) % 2 == 1).repeat_interleave(ids.shape[1] - 2)
    return Held(ids, properties, truths(model, ids), judged)


def tokens_of(model: Model, texts: Sequence[str]) -> Int[Tensor, "row position"]:
    """The first 64 tokens of every text, the beginning of the sequence included."""
    return torch.tensor([model.encode(text)[: concepts.SIZE] for text in texts])


def training_text(number: int) -> str:
    """A context to train on; the numbers of the cards' contexts draw others."""
    return corpus.context(random.Random(f"dictionaries {number}"), concepts.SIZE)


def activations(model: Model, ids: Int[Tensor, "row position"], sites: list[Place]) -> dict[Place, Activation]:
    """Activations of all sites, in half precision to save room."""
    parts: dict[Place, list[Tensor]] = {site: [] for site in sites}
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
    """Detectors by family of concepts: how many are clean, and the mean precision, recall and F1."""
    families: dict[str, list[judge.Detector]] = {}
    for one in found:
        families.setdefault(family(one.concept), []).append(one)
    return {
        name: {
            "concepts": len(rows),
            "clean": sum(row.clean for row in rows),
            **{
                what: round(sum(getattr(row, what) for row in rows) / len(rows), 3)
                for what in ("precision", "recall", "f1")
            },
        }
        for name, rows in families.items()
    }


def judged(model: Model, sae: SAE, few: Activation, x: Activation, held: Held) -> dict[str, Any]:
    """Everything that is reported of one dictionary.

    ``few`` are activations of some of the contexts that it was trained on, ``x`` those of the contexts in ``held``.
    """
    before, after = few[:, 1:].flatten(0, 1).float(), x[:, 1:].flatten(0, 1).float()
    sample = after[:: max(1, len(after) // 4000)]
    line = {
        "trained": sae.metadata["settings"]["features"],
        "features": sae.n_features,
        "variance_explained": _rounded(judge.curve(sae, after, KS)),
        "pca": _rounded(judge.pca(before, after, KS)),
        "random_dictionary": _rounded(judge.random_dictionary(before, sample, sae.n_features, KS[:4])),
        "dead": round(judge.dead_share(sae, after), 4),
        "loss_recovered": round(judge.loss_recovered(model, sae, held.ids[:500], before.mean(0)), 4),
        "detectors": detected(sae.encode(x[:, 1:-1].flatten(0, 1).float()), held),
    }
    if sae.site.site == "post":
        line["rivals"] = rivals(model, sae.site.layer or 0, before, x, held)
    return line


def detected(scores: Float[Tensor, "sample column"], held: Held) -> dict[str, Any]:
    """How well single columns tell the concepts."""
    return summary(judge.detectors(scores, held.truths, held.judged))


def _rounded(found: dict[int, float]) -> dict[str, float]:
    return {str(k): round(value, 4) for k, value in found.items()}


def rivals(model: Model, layer: int, before: judge.Samples, x: Activation, held: Held) -> dict[str, Any]:
    """The same detectors sought among the neurons of a layer and the principal directions of its stream."""
    rows = [record_neurons(model, row, [layer], range(1, len(row) - 1))[layer] for row in held.ids.tolist()]
    mean = before.mean(0)
    directions = torch.linalg.eigh((before - mean).T @ (before - mean))[1]
    along = (x[:, 1:-1].flatten(0, 1).float() - mean) @ directions
    return {
        "neurons": detected(torch.cat(rows).float(), held),
        "pca": detected(torch.cat([along, -along], 1), held),
    }


def recipe(folder: Path, site: Place, layers: int, steps: int) -> dict[str, Any]:
    """What a dictionary is made from: the weights by their hash, and the settings. Of one that goes on from another,
    :func:`going_on` says it."""
    return {
        "model_name": "demo",
        "context_size": concepts.SIZE,
        "prepend_bos": True,
        "seqpos_slice": [1, None],
        "weights_sha256": weights_sha256(folder),
        "settings": asdict(settings_for(site, layers, steps)),
    }


def going_on(made_from: dict[str, Any], began_with: str | None) -> dict[str, Any]:
    """What a dictionary is made from that goes on from one of other weights: those by their hash, and fewer steps."""
    if began_with is None:
        return made_from
    settings = made_from["settings"]
    fewer = {"steps": settings["steps"] // SHORTER, "learning_rate": settings["learning_rate"] / 2}
    return {**made_from, "settings": {**settings, **fewer}, "began_with_weights_sha256": began_with}


def trained(train: Activation, site: Place, made_from: dict[str, Any], start: SAE | None) -> SAE:
    """The dictionary of a site, without the features that fire on none of every fourth context of its training."""
    sae = train_sae(train[:, 1:].flatten(0, 1), site, SAESettings(**made_from["settings"]), start)
    return replace(sae, metadata=made_from).only(judge.fired(sae, train[::4, 1:].flatten(0, 1)))


def is_there(folder: Path, made_from: dict[str, Any]) -> bool:
    """Whether a folder has the dictionary of this recipe, begun anew or gone on from another."""
    if format_of(folder) is None:
        return False
    found = read_sae(folder).metadata
    return found.items() >= going_on(made_from, found.get("began_with_weights_sha256")).items()


def _table(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text()) if (file := out / "evaluation.json").exists() else {}
    return found


def main(arguments: list[str] | None = None) -> None:
    """Train, judge and write all dictionaries."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=path(), help="folder of the model (default: the embedded one)")
    parser.add_argument("--start", type=Path, help="folder of the model before, whose dictionaries are gone on from")
    parser.add_argument(
        "--steps", type=int, default=SAESettings.steps, help="per dictionary; early streams take up to twice as many"
    )
    parser.add_argument("--sites", nargs="*", help="for example L2 L2.mlp L2.attn (default: all)")
    parser.add_argument("--judge", action="store_true", help="judge and label again what is there already")
    options = parser.parse_args(arguments)
    model = load(str(options.folder), dtype="float32")
    out = options.folder / "saes"
    out.mkdir(exist_ok=True)
    every = [Place(site, layer) for layer in range(model.n_layers) for site in ("z", "mlp", "post")]
    asked = {dictionary_place(site) for site in options.sites} if options.sites else set(every)
    if unknown := asked - set(every):
        parser.error(f"no place {', '.join(sorted(map(str, unknown)))}: the places are {', '.join(map(str, every))}")
    made_from = {site: recipe(options.folder, site, model.n_layers, options.steps) for site in every}
    missing = {site for site in every if site in asked and not is_there(out / name_of(site), made_from[site])}
    todo = [s for s in every if s in asked and (options.judge or s in missing or name_of(s) not in _table(out))]
    if not todo:
        print("All of them are there already.")
        return
    contexts = [concepts.context(i) for i in range(HELD_OUT)]
    (out / TEXTS).write_text(json.dumps(contexts, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    texts = [training_text(i) for i in range(0, TRAINED_ON, 1 if missing else FEW)]
    train_ids, held = tokens_of(model, texts), held_out(model, HELD_OUT)
    few_ids = train_ids[::FEW] if missing else train_ids
    for layer in range(model.n_layers):
        here = [site for site in todo if site.layer == layer]
        if not here:
            continue
        if fresh := [site for site in here if site in missing]:
            train = activations(model, train_ids, fresh)
            for site in fresh:
                start = None if options.start is None else read_sae(options.start / "saes" / name_of(site))
                began_with = None if start is None else start.metadata["weights_sha256"]
                sae = trained(train.pop(site), site, going_on(made_from[site], began_with), start)
                write_sae(sae, out / name_of(site), torch.float8_e4m3fn)
        few = activations(model, few_ids, here)
        after = activations(model, held.ids, here)
        for site in here:
            folder = out / name_of(site)
            sae = read_sae(folder)  # judged is what was written
            cards_from(sae, after[site].float(), [held.ids.shape[1]] * len(held.ids), held.properties).write(folder)
            table = _table(out) | {name_of(site): judged(model, sae, few[site], after[site], held)}
            table = {name: table[name] for name in map(name_of, every) if name in table}
            (out / "evaluation.json").write_text(json.dumps(table, indent=1) + "\n")
            tqdm.write(_line(site, table[name_of(site)]))


def _line(site: Place, row: dict[str, Any]) -> str:
    others = ", ".join(f"{name} {row[key]['8']:.3f}" for name, key in (("pca", "pca"), ("random", "random_dictionary")))
    return (
        f"{site!s:8} explained {row['variance_explained']['8']:.4f} ({others})  dead {row['dead']:.3f}  loss "
        f"recovered {row['loss_recovered']:.3f}"
    )


if __name__ == "__main__":
    main()
