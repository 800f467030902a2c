"""Roles in the task of two names: name movers and S-inhibition heads (Wang et al. 2022, arXiv 2211.00593).

They are roles in a task, so they are measured only where the model does it, and by experiment: path patching between a
prompt and the same with the other name repeated.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...model.parts.attention import patterns
from ...words.components import head as head_of
from ...words.errors import AttribError
from ...words.places import place
from ..experiments.patching.paths import path_patch
from .definitions import INHIBITION, MOVER
from .patterns import Score, best, unmeasured

if TYPE_CHECKING:
    from ...model.model import Model
    from ...model.run import Run
    from ...model.running.worker import Job

NAMES = (
    *("Mary", "John", "Tom", "James", "Martin", "Amy", "Susan", "Lucy", "Anna", "Peter", "Paul", "Sarah", "David"),
    *("Alice", "Emma", "Jack", "Laura", "Mark", "Kate", "Simon"),
)
PLACES, THINGS = ("shop", "park", "garden", "school"), ("bag", "ball", "book", "letter")
#: The task, with the first, the second and the repeated name.
TEMPLATE = "When{} and{} went to the {place},{} gave the {thing} to"
#: Pairs of prompts, and the share of them that must be answered rightly.
PAIRS, RIGHT = 12, 0.75


@dataclass(frozen=True)
class Task:
    """Pairs of prompts of the task of two names: ``clean`` is answered by ``answer``, ``corrupted`` by ``rival``."""

    clean: list[str]
    corrupted: list[str]
    answer: list[str]
    rival: list[str]


def two_names(model: Model, seed: int = 0) -> Task | str:
    """Prompts of the task in names that are one token each; or why there are none."""
    known = model.known_words

    def usable(words: tuple[str, ...]) -> list[str]:
        return [w for w in words if known is None or w in known]

    names = [f" {n}" for n in usable(NAMES) if len(model.token_ids(f" {n}")) == 1 and _one(model, f" {n}")]
    places, things = usable(PLACES), usable(THINGS)
    if len(names) < 4 or not places or not things:
        return "too few names are one token each"
    draw, task = random.Random(seed), Task([], [], [], [])
    for number in range(PAIRS):
        first, second = draw.sample(names, 2)
        where = {"place": draw.choice(places), "thing": draw.choice(things)}
        said, other = (second, first) if number % 2 else (first, second)
        task.clean.append(TEMPLATE.format(first, second, said, **where))
        task.corrupted.append(TEMPLATE.format(first, second, other, **where))
        task.answer.append(other)
        task.rival.append(said)
    return task


def _one(model: Model, text: str) -> bool:
    return model.reads(model.token_ids(text), text)


def task_scores(
    model: Model, draws: int, seed: int, generator: torch.Generator, job: Job | None = None
) -> tuple[dict[str, Score], str]:
    """(the measures of both roles, what they were measured on)."""
    direct, reads, through = (m.key for role in (MOVER, INHIBITION) for m in role.measures)

    def none(why: str) -> tuple[dict[str, Score], str]:
        return {key: unmeasured(model, why) for key in (direct, reads, through)}, ""

    task = two_names(model, seed)
    if isinstance(task, str):
        return none(f"{task}, so the task of two names cannot be asked")
    try:
        whole = next((i for i in range(model.n_layers) if not model.level(i).experiments), None)
        if whole is not None:
            return none(f"paths cannot be patched in L{whole}: {model.level(whole).experiments.reason}")
        runs, others = model.run_many(task.clean), model.run_many(task.corrupted)
        right = [_prefers(run, a, r) for run, a, r in zip(runs, task.answer, task.rival, strict=True)]
        right += [_prefers(run, r, a) for run, a, r in zip(others, task.answer, task.rival, strict=True)]
        if sum(right) < RIGHT * len(right):
            return none(f"the model does not do the task of two names: {sum(right)} of {len(right)} prompts are right")
        found = {
            direct: _paths(model, task, runs, others, "logits", draws, generator, job),
            reads: _reads(model, runs, task.answer, draws, generator),
        }
        movers = [
            f"{head_of(layer, head)}.q"
            for layer, head in sorted(
                _above(found[direct], MOVER.measures[0].threshold) & _above(found[reads], MOVER.measures[1].threshold)
            )
        ]
        if movers:
            found[through] = _paths(model, task, runs, others, movers, draws, generator, job)
        else:
            found[through] = unmeasured(model, "no name mover was found that it could turn away")
    except AttribError as reason:
        return none(reason.message.rstrip("."))
    return found, f"{len(right)} prompts with two names, {sum(right)} of them answered rightly"


def _prefers(run: Run, answer: str, rival: str) -> bool:
    logits, token = run.logits(), run.model.single_token
    return bool(logits[token(answer)] > logits[token(rival)])


def _above(score: Score, threshold: float) -> set[tuple[int, int]]:
    hits = (score.values > max(threshold, score.level)).nonzero().tolist()
    return {(layer, head) for layer, head in hits}


def _paths(
    model: Model,
    task: Task,
    runs: list[Run],
    others: list[Run],
    receivers: str | list[str],
    draws: int,
    generator: torch.Generator,
    job: Job | None,
) -> Score:
    """Shares of the gap that every head is worth through the receivers; its null draws the sign of every pair."""
    layers = model.n_layers
    if isinstance(receivers, list):  # what comes before the last of them
        layers = max(place(r).layer or 0 for r in receivers)
    senders = [str(head_of(layer, head)) for layer in range(layers) for head in range(model.heads_of(layer))]
    out = unmeasured(model, "")
    if not senders:
        return unmeasured(model, "no head comes before the name movers")
    found = path_patch(
        model,
        runs,
        others,
        task.answer,
        against=task.rival,
        receivers=receivers,
        senders=senders,
        job=job,
    )
    effects = (found.changes / found.gap.mean()).float()
    signs = torch.randint(0, 2, (draws, effects.shape[0]), generator=generator).float() * 2 - 1
    null = torch.full((draws, model.n_layers, model.n_heads), torch.nan)
    mean, spread, chance = effects.mean(0), effects.std(0, unbiased=False), signs @ effects / len(effects)
    number = 0
    for layer in range(layers):
        for head in range(model.heads_of(layer)):
            out.values[layer, head], out.spread[layer, head] = mean[number], spread[number]
            null[:, layer, head] = chance[:, number]
            number += 1
    out.null = best(null)
    return out


def _reads(model: Model, runs: list[Run], answers: list[str], draws: int, generator: torch.Generator) -> Score:
    """How much of its attention every head gives, from the last token, to the name that answers."""
    found = torch.full((len(runs), model.n_layers, model.n_heads), torch.nan)
    null = torch.full((draws, model.n_layers, model.n_heads), torch.nan)
    last = torch.tensor([run.n_positions - 1 for run in runs])
    drawn = (torch.rand(draws, len(runs), generator=generator) * last).long()
    for layer in range(model.n_layers):
        if not (heads := model.heads_of(layer)):
            continue
        null[:, layer, :heads] = 0
        for number, (run, answer) in enumerate(zip(runs, answers, strict=True)):
            row = patterns(model, run.record, layer)[0].pattern[:, -1].float().cpu()
            found[number, layer, :heads] = row[:, run.ids.index(model.single_token(answer))]
            null[:, layer, :heads] += row[:, drawn[:, number]].T / len(runs)
    return Score(found.mean(0), found.std(0, unbiased=False), best(null))
