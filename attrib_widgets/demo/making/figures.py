"""The figures that lessons quote of the embedded model, measured anew.

`python -m attrib_widgets.demo.making.figures [--folder DIR] [--pairs N] [--out FILE]` prints them: verdicts on the
answer minus its rival over held-out pairs, which heads lead, copy, look back, and what the first lesson shows.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ... import attribute, load, logit_diff, logit_lens, patch, verify
from ...model.model import Model
from .. import CORRUPTED, PROMPT, TARGET, path
from . import cases, corpus
from .pairs import TASKS, first_of
from .phenomena import Heads, attention_between, induction_attention, named, previous_token, rounded
from .verdicts import verdicts

#: Heads that count names, in every model that was shipped; what they do together is asked of them.
COUNTING = ("L0H2", "L0H3", "L0H4")
#: A copying head puts the word that it reads among so many of the likeliest; a suppressing one among so many last.
FIRST, LAST = 5, 50


def leading(model: Model, task: str, count: int) -> dict[str, float]:
    """The heads that write most to the answer minus its rival, in the mean over pairs."""
    total = torch.zeros(model.n_layers, model.n_heads)
    for pair in (asked := first_of(task, count)):
        total += attribute(model.run(pair.clean), logit_diff(pair.target, pair.against)).heads
    return named(total / len(asked))


def counting(model: Model, count: int) -> dict[str, list[float]]:
    """Damage and recovery of the counting heads together, at the last token of the name tasks."""
    asked = first_of("two names", count)
    clean, other = [p.clean for p in asked], [p.corrupted for p in asked]
    targets, rivals = [p.target for p in asked], [p.against for p in asked]
    found = {}
    for way in ("noise", "denoise"):
        got = patch(
            model, clean, other, targets, against=rivals, components=[list(COUNTING)], positions=[-1], direction=way
        )
        found[way] = [float(got.values.flatten()[0])]
    return found


@torch.no_grad()
def copying(model: Model, count: int = 200) -> tuple[Heads, Heads]:
    """(share of random words that a head's output puts among the likeliest tokens, and among the unlikeliest).

    The head reads the word behind the beginning of the sequence, in the middle of others, and writes to the logits
    directly.
    """
    rng, shape = random.Random(82), (model.n_layers, model.n_heads)
    first, last = torch.zeros(shape), torch.zeros(shape)
    blocks: Any = getattr(model.hf, "transformer").h  # noqa: B009
    d = model.geometry[0].d_head
    for _ in range(count // 10):
        run = model.run(" ".join(rng.sample(corpus.words(), 12)))
        where = torch.arange(2, 12)
        ids = torch.tensor(run.ids)[where]
        for layer, block in enumerate(blocks):
            read = block.ln_1(run.record.streams[layer][where].float())
            value = (read @ block.attn.c_attn.weight + block.attn.c_attn.bias)[:, 2 * model.d_model :]
            for head in range(model.n_heads):
                rows = slice(head * d, (head + 1) * d)
                written = model.norm(model.anatomy.final_norm).push(value[:, rows] @ block.attn.c_proj.weight[rows])
                rank = (written @ model.unembed_weight.float()).argsort(descending=True).argsort()
                own = rank[torch.arange(len(ids)), ids]
                first[layer, head] += (own < FIRST).sum()
                last[layer, head] += (own >= rank.shape[1] - LAST).sum()
    return first / count, last / count


def duplicates(model: Model, count: int = 30) -> Heads:
    """Mean attention, in repeated lists of words, from a token to itself as it was said the first time."""
    texts = cases.repeat_cases(79, count)
    return attention_between(
        model, texts, lambda size: [(t, t - (size - 1) // 2) for t in range((size - 1) // 2 + 1, size)]
    )


def first_lesson(model: Model) -> dict[str, Any]:
    """What the first lesson shows on its prompt."""
    run = model.run(PROMPT)
    a, other = attribute(run, TARGET), attribute(run, " Berlin")
    diff = attribute(run, logit_diff(TARGET, " Berlin"))
    top, word = run.record.streams[-1][-1].float(), model.single_token(TARGET)
    lens = logit_lens(run, TARGET, positions=-1)
    return {
        "stream times the answer's column, without the norm": float(top @ model.unembed_weight[:, word].float()),
        "the logit": a.actual,
        "sums": {kind: sum(v for _, v in a.top(1000, kind)) for kind in ("mlp", "head")},
        "bars": {str(c): v for c, v in a.top(10)},
        "bars, against Berlin": {str(c): v for c, v in diff.top(10)},
        "L1.mlp for Paris, for Berlin, for the difference": [a["L1.mlp"], other["L1.mlp"], diff["L1.mlp"]],
        "the lens": [
            [layer, model.token(int(i)), float(p), float(mine)]
            for layer, i, p, mine in zip(
                lens.layers, lens.top_ids[:, 0, 0], lens.top_probabilities[:, 0, 0], lens.probability[:, 0], strict=True
            )
        ],
        "largest bar, tested": [
            (f.direct, f.necessity, f.sufficiency)
            for f in [verify(a, CORRUPTED, top=0, components=[a.top(1)[0][0]]).findings[0]]
        ],
    }


def measure(model: Model, count: int = 40, tasks: Sequence[str] = tuple(TASKS)) -> dict[str, Any]:
    """All figures as one table."""
    first, last = copying(model)
    return {
        "verdicts": {task: verdicts(model, task, count) for task in tasks},
        "leading heads": {task: leading(model, task, count) for task in tasks},
        "counting heads together, two names": counting(model, count),
        "previous token": named(previous_token(model)),
        "duplicate token": named(duplicates(model)),
        "induction": named(induction_attention(model)),
        "copy a word": named(first, 8),
        "suppress a word": named(last, 8),
        "first lesson": first_lesson(model),
    }


def main(arguments: list[str] | None = None) -> None:
    """Print the figures, and write them where asked."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--folder", type=Path, default=path(), help="folder of the model (default: the embedded one)")
    parser.add_argument("--pairs", type=int, default=40, help="of every task")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--out", type=Path, help="write them as JSON, too")
    options = parser.parse_args(arguments)
    found = measure(load(str(options.folder), dtype="float32"), options.pairs, options.tasks)
    text = json.dumps(rounded(found), indent=1, ensure_ascii=False)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
