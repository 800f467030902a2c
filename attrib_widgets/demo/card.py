"""The model card of the embedded model, written from its measured tables.

`python -m attrib_widgets.demo.card [--folder DIR]` writes `README.md` beside the weights from `evaluation.json`,
`phenomena.json` and, where there are dictionaries, `saes/evaluation.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import path

#: What is measured, and what has to be reached.
GATES = {
    "trained facts": 0.98,
    "held-out phrasings": 0.90,
    "two names, held-out pairs": 0.97,
    "copying in repeats": 0.95,
}


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _signed(found: Mapping[str, float]) -> str:
    return ", ".join(f"{label} {value:+.2f}" for label, value in found.items())


def abilities(record: Mapping[str, Any]) -> str:
    """The table of abilities, with the baselines of the row that has some."""
    rows = []
    for name, line in record["abilities"].items():
        gate = f"{_percent(GATES[name])}" if name in GATES else ""
        rows.append([name, _percent(line["accuracy"]), line["cases"], f"{line['mean_probability']:.3f}", gate])
    text = _table(["ability", "accuracy", "cases", "mean probability", "at least"], rows)
    hop = "landmarks, two steps, held out"
    baselines, reached = record["baselines"][hop], record["abilities"][hop]["accuracy"]
    beside = ", ".join(f"{name} {_percent(share)}" for name, share in baselines.items())
    verdict = (
        "It composes the two facts far more often than either baseline is right"
        if reached > 2 * max(baselines.values())
        else "It stays near the baselines: the two facts are not composed"
    )
    calm = record["abilities"]["next token of new contexts"]
    return (
        f"{text}\n\nTwo steps, held out: both facts are trained, the composed question never is. Baselines on the "
        f"same questions: {beside}. {verdict}.\n\nCalibration: on new contexts the expected calibration error "
        f"(15 bins) is {calm['calibration_error']:.3f}, the loss {calm['loss']:.3f} nats per token; most tokens of "
        "the corpus are drawn at random and cannot be known."
    )


def phenomena(found: Mapping[str, Any]) -> str:
    """Which heads and layers do what, per task."""
    parts = [
        "Attention from a token to the one before it (mean on corpus contexts): "
        + _signed(found["previous-token attention"])
        + ".\n\nAttention, in repeated lists, to what followed the token the first time: "
        + _signed(found["induction attention"])
        + "."
    ]
    for name in ("two names", "capitals", "induction"):
        task = found[name]
        rows = [
            ["write most to the margin", _signed(task["writes most"])],
            ["write most against it", _signed(task["suppresses most"])],
            ["largest damage when corrupted", _signed(task["damage"])],
            [
                "mediators: damage, with a direct share under 5 %",
                ", ".join(f"{h} {e['damage']:+.2f} (direct {e['direct']:+.2f})" for h, e in task["mediators"].items()),
            ],
        ]
        backed = [
            [
                e["head"],
                *(f"{e[name]:+.2f}" for name in ("direct", "lost", "ratio", "made up", "norm")),
                _signed(e["risers"]),
            ]
            for e in task["backed up"]
        ]
        lens = [[where, nats, int(rank)] for where, nats, rank in zip(_depths(task), *_lens(task), strict=True)]
        parts.append(
            f"### {name.capitalize()}\n\n{task['prompts']} prompts; margin {task['margin']:.2f} logits, gap to the "
            f"corrupted prompts {task['gap']:.2f}.\n\n{_table(['heads that', 'mean over prompts'], rows)}\n\n"
            "The strongest writers, replaced by their mean at the last position:\n\n"
            + _table(
                ["head", "direct", "margin lost", "lost / direct", "made up by others", "by the norm", "who rises"],
                backed,
            )
            + "\n\n"
            + _redundant(task["backed up"])
            + "\n\nThe logit lens on the last position:\n\n"
            + _table(["behind", "nats of the answer", "median rank"], lens)
        )
    mlp = found["capitals"]["mlp at"]
    rows = [[f"L{i}.mlp", f"{s:+.2f}", f"{e:+.2f}"] for i, (s, e) in enumerate(zip(*mlp.values(), strict=True))]
    parts.append(
        "### Where MLPs know the capital\n\nMargin lost when one MLP writes its mean at one position:\n\n"
        + _table(["MLP", "at the country", "at the last token"], rows)
    )
    return "\n\n".join(parts)


def _redundant(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which of the strongest writers are dispensable, and what makes up for them."""
    found = [row for row in rows if row["ratio"] < 0.3]
    if not found:
        return "None of them is dispensable: each costs at least 30 % of what it writes."
    backed = [row["head"] for row in found if sum(v for v in row["risers"].values() if v > 0) >= 0.3 * row["direct"]]
    named = ", ".join(row["head"] for row in found)
    by = (
        f"For {', '.join(backed)} other parts step in."
        if backed
        else "No other head or MLP steps in for them: the stream gets shorter without them, and the final norm's "
        "scale raises what the rest had written. Heads that back each other up have to be built by hand (the tests of "
        "the library have such a circuit): they did not arise here."
    )
    return f"Dispensable (less than 30 % of what they write is lost): {named}. {by}"


def _depths(task: Mapping[str, Any]) -> list[str]:
    return ["embedding", *(f"L{i}" for i in range(len(task["lens"]["nats"]) - 1))]


def _lens(task: Mapping[str, Any]) -> tuple[list[str], list[float]]:
    return [f"{v:.2f}" for v in task["lens"]["nats"]], task["lens"]["median_rank"]


def dictionaries(found: Mapping[str, Any]) -> str:
    """One line per dictionary, and the detectors of the streams beside neurons and principal directions."""
    rows = [
        [
            site,
            line["features"],
            *(f"{line['variance_explained'][k]:.3f}" for k in ("1", "2", "4", "8", "16", "32")),
            f"{line['pca']['8']:.3f}",
            f"{line['random_dictionary']['8']:.3f}",
            _percent(line["dead"]),
            f"{line['loss_recovered']:.3f}",
        ]
        for site, line in found.items()
    ]
    head = [
        "site",
        "features",
        *(f"L0 = {k}" for k in (1, 2, 4, 8, 16, 32)),
        "PCA-8",
        "random-8",
        "dead",
        "loss recovered",
    ]
    clean = []
    for site, line in found.items():
        if "rivals" not in line:
            continue
        for family, one in line["detectors"].items():
            rivals = [line["rivals"][kind].get(family, {"clean": 0})["clean"] for kind in ("neurons", "pca")]
            clean.append([site, family, one["concepts"], one["clean"], *rivals, one["precision"], one["recall"]])
    return (
        "Share of the variance explained on held-out contexts (centred, first position excluded) with the largest "
        "L0 activations kept; trained at L0 = 8. Features that never fired on the training contexts were taken out; "
        "dead are those that fire on none of the held-out ones. The aim for the streams was 0.97 at L0 = 8: "
        + _reached(found)
        + "\n\n"
        + _table(head, rows)
        + "\n\nConcepts that one column tells cleanly (precision and recall of at least 0.9 on samples it was not "
        "chosen on; a country is named by its own name, and meant by that or by a city or landmark in it), among the "
        "features of the stream, the neurons of the layer, and the principal directions of the stream:\n\n"
        + _table(["site", "concepts", "how many", "features", "neurons", "PCA", "precision", "recall"], clean)
    )


def _reached(found: Mapping[str, Any]) -> str:
    """Which streams reach what was aimed for."""
    streams = {site: line["variance_explained"]["8"] for site, line in found.items() if "." not in site}
    short = [f"{site} ({share:.3f})" for site, share in streams.items() if share < 0.97]
    if not short:
        return "all reach it."
    return f"{', '.join(s for s in streams if streams[s] >= 0.97) or 'none'} reach it, {', '.join(short)} do not."


def text(folder: Path) -> str:
    """The card as markdown, from the tables in a folder."""

    def read(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((folder / name).read_text())
        return found

    record, settings = read("evaluation.json"), read("evaluation.json")["settings"]
    trained = (folder / "saes" / "evaluation.json").exists()
    judged = dictionaries(read("saes/evaluation.json")) if trained else "None have been trained for these weights."
    return f"""# The embedded model

A GPT-2 of {settings["layers"]} layers x {settings["heads"]} heads, width {settings["width"]}, with
{record["parameters"]:,} parameters, kept in float16. Its corpus is generated (`attrib_widgets.demo.corpus`),
and it knows nothing else: countries, landmarks, people who give each other things, repeated words, agreement, pronouns,
opposites, sums. It is for learning and testing, not for use.

Made by `python -m attrib_widgets.demo.train --seed {settings["seed"]}`; final loss {record["final_loss"]:.3f} nats per
token. SHA-256 of the corpus: `{record["corpus_sha256"]}`. Every number below was measured on the files beside this
card; nothing was placed in the weights by hand.

## What it can do

{abilities(record)}

## What it does inside

{phenomena(read("phenomena.json"))}

## Its dictionaries

{judged}
"""


def main(arguments: list[str] | None = None) -> None:
    """Write the card."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=path(), help="folder of the model (default: the embedded one)")
    folder = parser.parse_args(arguments).folder
    (folder / "README.md").write_text(text(folder), encoding="utf-8")


if __name__ == "__main__":
    main()
