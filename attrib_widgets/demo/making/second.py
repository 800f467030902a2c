"""The second course of training: heads fail, and the answer has to stay.

`python -m attrib_widgets.demo.making.second --start DIR [--out DIR] [--steps N]`

Goes on from the weights that the first course (`train`) saved, with the kinds of sentences that come later
(`corpus.LATER_WEIGHTS`), and with twins: prompts about agreement that differ in the number of a noun and are answered
by two verbs. One head *leads*: it writes a share of the answer itself. In copies of the first of two twins

* the leading head says what it says in the other twin: the answer stays, because later parts make up for it;
* other heads of the last two layers are dropped whole, most of them at once: the leading head is enough.

Another head *holds back*: in sentences whose verb sometimes agrees with the nearer noun, it writes a share against the
answer where the two nouns differ, and nothing in other sentences; when it is swapped, this is to be felt.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, huber_loss
from tqdm.auto import tqdm
from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase

from .. import path, weights_sha256
from . import corpus
from .corpus import phrasings as say
from .evaluate import load, token_id
from .train import ROW_LENGTHS, Settings, drawn, loss_of, optimiser_of, save, write_record

CHECKPOINT = "second.pt"
#: Shares are of a gap of at least so many logits.
LEAST_GAP = 1.0
SAVED = 300  # steps after which everything that goes on is saved


@dataclass(frozen=True)
class Course:
    """Everything that decides the result, with the weights that it starts from and the corpus."""

    seed: int = 0
    steps: int = 2000
    tokens_per_step: int = 1024
    learning_rate: float = 5e-4
    rise: int = 50  # steps in which the learning rate rises
    fall: float = 0.8  # the share of the steps, at the end, in which it falls
    weight_decay: float = 0.1
    attention_dropout: float = 0.1
    leading: tuple[int, int] = (4, 2)  # layer and head
    written: float = 0.2  # the share of the gap that it writes itself
    holding: tuple[int, int] = (4, 0)
    against: float = 0.12  # the share of the gap that it writes against the answer
    twins: int = 16  # pairs per step
    swapped: float = 0.7  # how often the leading head is swapped; otherwise others are dropped
    dropped: float = 0.7  # of the other heads
    enough: float = 12.0  # a margin, in logits, beyond which nothing is gained
    weight: float = 20.0  # of squared shares of the gap, beside nats
    bend: float = 0.15  # beyond such a share the loss grows in a straight line
    least: float = 4.0  # gaps, in logits, below which shares say nothing yet


class Twins(NamedTuple):
    """Prompts, each with another that differs in one word; what follows the one, and what follows the other."""

    ids: Int[Tensor, "row position"]
    other: Int[Tensor, "row position"]
    good: Int[Tensor, "row"]
    bad: Int[Tensor, "row"]


class Plan(NamedTuple):
    """What fails in the third part of the rows: whether the head says what it says in the other twin, and who is
    dropped; ``held`` keeps the output matrix of that head's layer, so that the parts behind it have to learn."""

    head: tuple[int, int]
    swapped: Bool[Tensor, "row"]
    dropped: Bool[Tensor, "row layer head"]
    held: bool


def number_twins(tokenizer: PreTrainedTokenizerBase, rng: random.Random, count: int) -> Twins:
    """The subject changes its number. Nothing held out is shown."""
    return _twins(tokenizer, rng, count, rng.choice(say.AGREEMENT_TEMPLATES), both=False)


def attraction_twins(tokenizer: PreTrainedTokenizerBase, rng: random.Random, count: int) -> Twins:
    """Two nouns of different numbers change theirs. Nothing held out is shown."""
    return _twins(tokenizer, rng, count, rng.choice(say.ATTRACTION_TEMPLATES), both=True)


def _twins(tokenizer: PreTrainedTokenizerBase, rng: random.Random, count: int, template: str, both: bool) -> Twins:
    rows: list[tuple[str, str, str, str]] = []
    while len(rows) < count:
        text, verb, other = corpus.agreement(rng, [template])
        prompt = text.split(f" {verb} ")[0]
        turned, differ = corpus.turned(prompt, both)
        if differ or not both:
            rows.append((prompt, turned, f" {verb}", f" {other}"))
    ids, other_ids = (torch.tensor([tokenizer.encode(row[i]) for row in rows]) for i in (0, 1))
    good, bad = (torch.tensor([token_id(tokenizer, row[i]) for row in rows]) for i in (2, 3))
    return Twins(ids, other_ids, good, bad)


def planned(course: Course, model: GPT2LMHeadModel, rng: random.Random, leads: bool) -> Plan:
    """What fails in the next rows; beside the leading head every other of the last two layers may be dropped."""
    layers, heads, count = model.config.n_layer, model.config.n_head, course.twins
    if not leads:
        none = torch.zeros(count, layers, heads, dtype=torch.bool)
        return Plan(course.holding, torch.ones(count, dtype=torch.bool), none, False)
    swapped = torch.tensor([rng.random() < course.swapped for _ in range(count)])
    chances = [[[rng.random() < course.dropped for _ in range(heads)] for _ in range(layers)] for _ in range(count)]
    dropped = torch.tensor(chances) & ~swapped[:, None, None]
    dropped[:, : layers - 2] = False
    dropped[:, course.leading[0], course.leading[1]] = False
    return Plan(course.leading, swapped, dropped, True)


@contextmanager
def failing(model: GPT2LMHeadModel, plan: Plan, watched: Sequence[tuple[int, int]]) -> Iterator[dict[Any, Tensor]]:
    """Let a pass over [prompts; twins; prompts again] fail in its last third as planned.

    Yields, at the last position, what the final norm read ("x") and what the watched heads hand on, by head.
    """
    count, seen, d = len(plan.swapped), dict[Any, Tensor](), model.config.n_embd // model.config.n_head
    blocks, swapped = model.transformer.h, plan.swapped[:, None, None]

    def heads(layer: int) -> Any:
        def change(module: torch.nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
            z = given[0]
            for place in watched:
                if place[0] == layer:
                    seen[place] = z[: 2 * count, -1, place[1] * d : (place[1] + 1) * d]
            again = z[2 * count :] * (~plan.dropped[:, layer]).repeat_interleave(d, 1)[:, None]
            if layer == plan.head[0]:
                rows = slice(plan.head[1] * d, (plan.head[1] + 1) * d)
                other = torch.where(swapped, z[count : 2 * count, :, rows].detach(), again[..., rows])
                again = torch.cat([again[..., : rows.start], other, again[..., rows.stop :]], 2)
            return (torch.cat([z[: 2 * count], again]),)

        return change

    def held(module: Any, given: tuple[Tensor], out: Tensor) -> Tensor:
        still = given[0][2 * count :] @ module.weight.detach() + module.bias.detach()
        return torch.cat([out[: 2 * count], torch.where(swapped, still, out[2 * count :])])

    def last(module: torch.nn.Module, given: tuple[Tensor]) -> None:
        seen["x"] = given[0][:, -1]

    hooks = [block.attn.c_proj.register_forward_pre_hook(heads(layer)) for layer, block in enumerate(blocks)]
    if plan.held:
        hooks.append(blocks[plan.head[0]].attn.c_proj.register_forward_hook(held))
    hooks.append(model.transformer.ln_f.register_forward_pre_hook(last))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


class Shares(NamedTuple):
    """Shares of the gap between twins, which itself is not to grow or shrink for their sake.

    ``gap`` in logits; ``damage`` of what fails, ``damage_held`` the same as the scale of the final norm stays what it
    was (a shorter stream is not to make up for a head), ``direct`` damage of the watched heads; ``margin`` in logits,
    and the nats of the answer in the prompts and where something fails.
    """

    gap: Float[Tensor, "row"]
    damage: Float[Tensor, "row"]
    damage_held: Float[Tensor, "row"]
    direct: dict[tuple[int, int], Float[Tensor, "row"]]
    margin: Float[Tensor, "row"]
    nats: Tensor


def measured(model: GPT2LMHeadModel, both: Twins, plan: Plan, watched: Sequence[tuple[int, int]]) -> Shares:
    """What failing does to the answer minus its rival."""
    count, norm, weight = len(both.ids), model.transformer.ln_f, model.lm_head.weight
    row, d = torch.arange(count), model.config.n_embd // model.config.n_head

    def margin(logits: Float[Tensor, "row vocab"]) -> Float[Tensor, "row"]:
        return logits[row, both.good] - logits[row, both.bad]

    with failing(model, plan, watched) as seen:
        logits = model(torch.cat([both.ids, both.other, both.ids]), use_cache=False).logits[:, -1].float()
    clean, other, after = (margin(part) for part in logits.split(count))
    before = clean.detach()
    gap = before - other.detach()
    floor = gap.clamp_min(LEAST_GAP)
    x, still = seen["x"][2 * count :], seen["x"][:count].detach()
    scale = (still.var(-1, unbiased=False, keepdim=True) + norm.eps).rsqrt()
    held = ((x - x.mean(-1, keepdim=True)) * scale * norm.weight + norm.bias) @ weight.T
    direct = {}
    for layer, head in watched:
        z, twin = seen[layer, head].split(count)
        write = (twin - z) @ model.transformer.h[layer].attn.c_proj.weight[head * d : (head + 1) * d]
        direct[layer, head] = (before - margin(norm(still + write) @ weight.T)) / floor
    nats = cross_entropy(logits[:count], both.good) + cross_entropy(logits[2 * count :], both.good)
    return Shares(gap, (before - after) / floor, (before - margin(held)) / floor, direct, clean, nats)


def asked(course: Course, found: Shares, plan: Plan) -> Tensor:
    """The loss of the exercises."""

    def off(share: Float[Tensor, "row"], aim: float) -> Float[Tensor, "row"]:
        return 2 * huber_loss(share, torch.full_like(share, aim), reduction="none", delta=course.bend)

    lead, holds = found.direct[course.leading], found.direct[course.holding]
    if plan.head == course.holding:
        rows = off(found.damage, -course.against) + off(holds, -course.against)
        return course.weight * (rows * (found.gap > course.least / 2)).mean()
    made_up = off(found.damage, 0.0) + off(found.damage_held, 0.0)
    rows = (
        torch.where(plan.swapped, made_up, off(found.damage.relu(), 0.0)) + off(lead, course.written) + off(holds, 0.0)
    )
    over = (found.margin - course.enough).relu().square()
    return course.weight * (rows * (found.gap > course.least)).mean() + found.nats + over.mean() / 100


def rate(course: Course, step: int) -> float:
    """The learning rate of a step, as a share of the highest."""
    return max(0.01, min(1.0, (step + 1) / course.rise, (1 - step / course.steps) / course.fall))


def train(
    course: Course, model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase, kept: Path | None = None
) -> float:
    """Train the model; the mean loss on contexts, in nats per token, over the last tenth of the steps.

    With a file, everything that goes on is saved there now and then, and taken up again.
    """
    torch.manual_seed(course.seed)
    for block in model.transformer.h:
        block.attn.attn_dropout.p = course.attention_dropout
    model.train()
    optimiser, done, losses = optimiser_of(model, course.learning_rate, course.weight_decay), 0, list[float]()
    if kept and kept.exists():
        state = torch.load(kept, weights_only=True)
        if state["course"] != repr(course) or state["corpus"] != corpus.fingerprint(course.seed):
            raise ValueError(f"{kept} is of another course or corpus: delete it to start again")
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        done, losses = state["done"], state["losses"]
    parameters = list(model.parameters())
    shares: dict[bool, list[list[float]]] = {True: [], False: []}
    bar = tqdm(range(done, course.steps), initial=done, total=course.steps, mininterval=5)
    for step in bar:
        for group in optimiser.param_groups:
            group["lr"] = course.learning_rate * rate(course, step)
        rng = random.Random(f"second {course.seed} {step}")
        ids = drawn(rng, tokenizer, ROW_LENGTHS[-1], course.tokens_per_step, later=True)
        leads = rng.random() < 2 / 3
        both = (number_twins if leads else attraction_twins)(tokenizer, rng, course.twins)
        plan = planned(course, model, rng, leads)
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(model, ids, tokenizer.eos_token_id)
        loss.backward()
        found = measured(model, both, plan, (course.leading, course.holding))
        asked(course, found, plan).backward()
        shares[leads].append([float(v.detach().mean()) for v in (found.damage, *found.direct.values(), found.margin)])
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        losses.append(loss.item())
        if step % 50 == 49:
            told = [" ".join(f"{sum(v) / len(v):+.3f}" for v in zip(*rows, strict=True)) for rows in shares.values()]
            tqdm.write(
                f"{step + 1}  loss {sum(losses[-50:]) / 50:.4f}  damage, direct shares, margin: {'; '.join(told)}"
            )
            shares = {True: [], False: []}
        if kept and step % SAVED == SAVED - 1:
            state = {
                "course": repr(course), "corpus": corpus.fingerprint(course.seed), "done": step + 1, "losses": losses,
                "model": model.state_dict(), "optimiser": optimiser.state_dict(), "random": torch.get_rng_state(),
            }  # fmt: skip
            torch.save(state, kept.with_suffix(".part"))
            kept.with_suffix(".part").replace(kept)
    model.train(False)
    tail = losses[-max(1, course.steps // 10) :]
    return sum(tail) / len(tail)


def main(arguments: list[str] | None = None) -> None:
    """Train, save, load again, evaluate what was saved."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--start", type=Path, required=True, help="folder that the first course wrote")
    parser.add_argument("--out", type=Path, default=path(), help="folder (default: the embedded model's own)")
    parser.add_argument("--steps", type=int, default=Course.steps)
    options = parser.parse_args(arguments)
    first = json.loads((options.start / "evaluation.json").read_text())
    if "second" in first:
        parser.error(f"the weights in {options.start} have had their second course: give the folder that train wrote")
    settings = Settings(**first["settings"] | {"stages": tuple(first["settings"]["stages"])})
    course = Course(seed=settings.seed, steps=options.steps)
    options.out.mkdir(parents=True, exist_ok=True)
    started_from = weights_sha256(options.start)
    model, tokenizer = load(options.start)
    loss = train(course, model, tokenizer, options.out / CHECKPOINT)
    save(model, tokenizer, options.out)
    write_record(options.out, settings, loss, second=asdict(course) | {"started_from": started_from})
    (options.out / CHECKPOINT).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
