"""The model card of the embedded model, written from its measured tables.

`python -m attrib_widgets.demo.making.card [--folder DIR]` writes `README.md` beside the weights from `evaluation.json`,
`phenomena.json` and, where there are dictionaries, `saes/evaluation.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...analysis.verdicts.rules import Thresholds
from .. import path
from .phenomena import LARGEST_DIRECT
from .verdicts import LEAST_DIRECT

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
    text = _table(["ability", "accuracy", "cases", "mean probability", "required minimum"], rows)
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
        f"{text}\n\nAccuracy is the share of cases whose right answer is the likeliest token; the required minimum is "
        "about it. Mean probability is that of the right answer, but in the last row, where every token of a context "
        "is a case, that of the likeliest token, right or wrong: it should be as high as the accuracy.\n\n"
        "Two steps, held out: both facts are trained, the composed question never is. Baselines on the same questions: "
        f"{beside}. {verdict}.\n\nCalibration: on new contexts the expected calibration error "
        f"(15 bins) is {calm['calibration_error']:.3f}, the loss {calm['loss']:.3f} nats per token; many tokens of "
        "the corpus are drawn at random and cannot be known."
    )


def phenomena(found: Mapping[str, Any]) -> str:
    """Which heads and layers do what, per task."""
    parts = [
        "Attention from a token to the one before it (mean on corpus contexts): "
        + _signed(found["previous-token attention"])
        + ".\n\nAttention, in repeated lists, to what followed the token the first time: "
        + _signed(found["induction attention"])
        + ".\n\n"
        + _glossary()
    ]
    parts.append(verdicts(found["verdicts"]))
    for name in ("two names", "capitals", "induction", "agreement", "attraction"):
        task = found[name]
        mediators = [f"{h} {e['damage']:+.2f} (direct {e['direct']:+.2f})" for h, e in task["mediators"].items()]
        rows = [
            ["write most to the margin", "logits", _signed(task["writes most"])],
            ["write most against it", "logits", _signed(task["suppresses most"])],
            ["do the largest damage", "share of the gap", _signed(task["damage"])],
            ["are mediators: damage (direct share)", "share of the gap", ", ".join(mediators) or "none"],
        ]
        without = [
            [
                e["head"],
                *(f"{e[name]:+.2f}" for name in ("direct", "lost", "ratio", "made up", "norm")),
                _signed({part: rise for part, rise in e["risers"].items() if rise >= 0.005}) or "none",
            ]
            for e in task["without the head"]
        ]
        columns = ["head", "direct", "margin lost", "lost / direct", "made up by others", "by the norm", "who rises"]
        lens = [[where, nats, rank] for where, nats, rank in zip(_depths(task), *_lens(task), strict=True)]
        parts.append(
            f"### {name.capitalize()}\n\n{task['prompts']} prompts; margin {task['margin']:.2f} logits, gap to the "
            f"corrupted prompts {task['gap']:.2f}.\n\n{_table(['heads that', 'unit', 'which'], rows)}\n\n"
            "The strongest writers, replaced by their mean at the last position (logits, but for the ratio):\n\n"
            + _table(columns, without)
            + "\n\n"
            + _redundant(task["without the head"])
            + "\n\nThe logit lens on the last position:\n\n"
            + _table(["behind", "nats of the answer, mean", "its rank, median (1 is the top)"], lens)
        )
    mlp = found["capitals"]["mlp at"]
    rows = [[f"L{i}.mlp", f"{s:+.2f}", f"{e:+.2f}"] for i, (s, e) in enumerate(zip(*mlp.values(), strict=True))]
    parts.append(
        "### Where MLPs know the capital\n\nMargin lost, in logits, when one MLP writes its mean over the prompts at "
        "one position:\n\n" + _table(["MLP", "at the country", "at the last token"], rows)
    )
    return "\n\n".join(parts)


def _glossary() -> str:
    """What the numbers of every task are."""
    return f"""Tasks follow. Their numbers are means over the prompts:

- *margin*: the logit of the right token minus that of another, behind the last token. What a head *writes* to it is
  counted from nothing, with the final norm held as it was.
- *gap*: the margin minus that of the corrupted prompts, in which one changed token makes the other token right.
- *damage*: how much of the gap is lost when one head takes its outputs from the corrupted prompts, at all positions.
- *mediators*: heads that later parts need, and that write next to nothing to the margin themselves. Their damage is at
  least {Thresholds.tau:g} of the gap. Their direct share, which is what they write to the margin minus what they write
  on the corrupted prompts, is below {Thresholds.tau:g} of the gap and at most {LARGEST_DIRECT:g} of the damage.

Then the strongest writers are taken out: each is replaced, at the last position, by its mean over the prompts and the
corrupted ones.

- *direct*: what the head wrote to the margin above that mean. It differs from what it writes counted from nothing.
- *margin lost*: how much smaller the model's own margin is without the head.
- *made up by others*: what all other heads and MLPs write more to the margin than before; negative where they write
  less. *Who rises* are the three that rise most, where they rise at all.
- *by the norm*: what the new scale of the final norm adds to what is left.

Margin lost is direct, minus made up by others, minus by the norm. Only these few heads were tried, on these tasks."""


def verdicts(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Which heads are redundant and which suppress, by `aw.verify`."""
    rows = []
    for task, line in found.items():
        redundant = [f"{which} in {count}" for which, count in sorted(line["with"].items(), key=lambda e: -e[1])]
        mean = [f"{head} {d:+.2f} / {n:+.2f}" for head, (d, n) in line["suppress, in the mean"].items()]
        rows.append(
            [
                task,
                line["pairs"],
                line["with a redundant head"],
                ", ".join(redundant) or "none",
                ", ".join(mean) or "none",
                ", ".join(f"{head} in {count}" for head, count in line["suppress, in pairs"].items()) or "none",
            ]
        )
    columns = ["task", "pairs", "with a redundant head", "which, with what, in how many", "suppress in the mean"]
    return (
        "### Redundancy and suppression\n\nWhat `aw.verify` says of held-out pairs of prompts, on the answer minus its "
        f"rival. Redundant: a head whose own write is worth at least {_percent(LEAST_DIRECT)} of the gap, which can be "
        "spared alone, and which is confirmed redundant with the parts that are named. Suppress: heads whose direct "
        f"damage and damage are both at most {-Thresholds.tau:g} of the gap (in the mean over the pairs: direct damage "
        "/ damage), because the answer gains without them.\n\n"
        + _table([*columns, "suppress, in how many pairs"], rows)
        + "\n\nIn the other tasks no head was trained to be redundant, and none is promised to be."
    )


def _redundant(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which of the strongest writers are dispensable, and what makes up for them."""
    share, least = Thresholds.spared, _percent(Thresholds.spared)
    found = [row for row in rows if row["ratio"] < share]
    if not found:
        return f"None of these {len(rows)} is dispensable: without it at least {least} of direct is lost."
    risen = [row for row in found if sum(v for v in row["risers"].values() if v > 0) >= share * row["direct"]]
    backed = [row for row in risen if row["made up"] >= share * row["direct"]]
    fallen = [row for row in risen if row not in backed]
    others = [row for row in found if row not in risen]
    text = f"Dispensable (less than {least} of direct is lost): {_heads(found)}."
    if backed:
        text += f" Other heads or MLPs back up {_heads(backed)}."
    if fallen:
        text += (
            f" For {_heads(fallen)} the three that rise most give back at least {least} of direct, but other parts "
            f"fall, and less than {least} is made up by all of them together."
        )
    if others:
        norm = min(row["norm"] / row["direct"] for row in others)
        text += (
            f" No other head or MLP backs up {_heads(others)}: the three that rise most give back less than {least} of "
            f"direct. The final norm gives back at least {_percent(norm)} of it: the stream is shorter without the "
            "head, so what is left counts for more."
        )
    return text


def _heads(rows: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(row["head"] for row in rows)


def _depths(task: Mapping[str, Any]) -> list[str]:
    return ["embedding", *(f"L{i}" for i in range(len(task["lens"]["nats"]) - 1))]


def _lens(task: Mapping[str, Any]) -> tuple[list[str], list[float]]:
    return [f"{v:.2f}" for v in task["lens"]["nats"]], task["lens"]["median_rank"]


def dictionaries(found: Mapping[str, Any]) -> str:
    """One line per dictionary, and the detectors of the streams beside neurons and principal directions."""
    lines = list(found.items())
    numbers = list(lines[0][1]["variance_explained"])
    rows = [
        [
            site,
            line["trained"],
            line["features"],
            *(f"{line['variance_explained'][k]:.3f}" for k in numbers),
            f"{line['pca']['8']:.3f}",
            f"{line['random_dictionary']['8']:.3f}",
            _percent(line["dead"]),
            f"{line['loss_recovered']:.3f}",
        ]
        for site, line in lines
    ]
    head = ["site", "trained", "kept", *(f"{k} active" for k in numbers), "PCA-8", "random-8", "dead", "loss recovered"]
    told = [
        [
            site,
            family,
            one["concepts"],
            *_told(one),
            *_told(line["rivals"]["neurons"][family]),
            *_told(line["rivals"]["pca"][family]),
        ]
        for site, line in lines
        if "rivals" in line
        for family, one in line["detectors"].items()
    ]
    columns = ["features", "P / R", "neurons", "P / R", "PCA", "P / R"]
    return (
        "One for each stream (`L2`), for what each MLP adds (`L2.mlp`) and for the outputs of the heads of each "
        "layer, side by side (`L2.attn`). Share of the variance explained (centred, first position excluded) with "
        "so many of the largest activations kept (the L0 of the field). They were trained to rebuild from their "
        "strongest 1, 8 and 16 features: between and beyond these the curve may fall. Judged on newly drawn "
        "contexts; the corpus has few sentences, so most of them occur in training too, in other surroundings. "
        "Features that were silent on a quarter of the training contexts were taken out (trained minus kept); dead "
        "are those of the rest that are silent on the new contexts. Loss recovered: 1 where the model does as well "
        "with the reconstruction in place, 0 where it does as badly as with the mean. The aim for the streams was "
        "0.97 with 8: "
        + _reached(found)
        + "\n\n"
        + _table(head, rows)
        + "\n\nConcepts that one column tells, among the features of the stream, the neurons of the layer and the "
        "principal directions of the stream: how many it tells cleanly (precision and recall of at least 0.9), and the "
        "mean precision P and recall R. Column and threshold are chosen on half of the contexts, judged on the others. "
        "A country is named by its own name, meant by that or by a city or landmark in it, and asked about where an "
        "answer about it comes next:\n\n" + _table(["site", "concepts", "how many", *columns], told)
    )


def _told(one: Mapping[str, Any]) -> tuple[str, str]:
    return str(one["clean"]), f"{one['precision']:.2f} / {one['recall']:.2f}"


def _reached(found: Mapping[str, Any]) -> str:
    """Which streams reach what was aimed for."""
    streams = {site: line["variance_explained"]["8"] for site, line in found.items() if "." not in site}
    short = [f"{site} ({share:.3f})" for site, share in streams.items() if share < 0.97]
    if not short:
        return "all reach it."
    return f"{', '.join(s for s in streams if streams[s] >= 0.97) or 'none'} reach it, {', '.join(short)} do not."


def _second(record: Mapping[str, Any]) -> str:
    """What the second course did, where there was one."""
    if (course := record.get("second")) is None:
        return ""
    leading, holding = (f"L{layer}H{head}" for layer, head in (course["leading"], course["holding"]))
    return f""" and then
`python -m attrib_widgets.demo.making.second`, a second course of {course["steps"]:,} steps from weights with SHA-256
`{course["started_from"]}`.
The second course adds lists without repetition and sentences whose verb sometimes agrees with the nearer noun, and it
asks for redundancy and suppression in agreement: {leading} is to write {_percent(course["written"])} of the gap between
two prompts that differ in the subject's number, and yet the answer is to stay when it says what it says in the other
prompt, or when most other heads of the last two layers are dropped; {holding} is to write
{_percent(course["against"])} against the answer where the nearer noun may win, and nothing elsewhere. Which heads these
are was chosen; what makes up for the one, and what the other reads, was left to training"""


def text(folder: Path) -> str:
    """The card as markdown, from the tables in a folder."""

    def read(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((folder / name).read_text())
        return found

    record = read("evaluation.json")
    settings = record["settings"]
    trained = (folder / "saes" / "evaluation.json").exists()
    judged = dictionaries(read("saes/evaluation.json")) if trained else "None have been trained for these weights."
    return f"""# The embedded model

A GPT-2 of {settings["layers"]} layers x {settings["heads"]} heads, width {settings["width"]}, with
{record["parameters"]:,} parameters, kept in float16. Its corpus is generated (`attrib_widgets.demo.making.corpus`),
and it knows nothing else: countries, landmarks, people who give each other things, repeated words, agreement, pronouns,
opposites, sums, lists. It is for learning and testing, not for use.

Made by `python -m attrib_widgets.demo.making.train --seed {settings["seed"]}`{_second(record)}; final loss
{record["final_loss"]:.3f} nats per token. SHA-256 of the corpus:
`{record["corpus_sha256"]}`. Every number below was measured on the files beside this
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
