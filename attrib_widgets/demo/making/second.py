"""The second course of training: heads fail, and the answer has to stay.

`python -m attrib_widgets.demo.making.second [--start DIR] [--out DIR] [--steps N]`

Goes on from the weights that the first course (`train`) saved, with the kinds of sentences that come later
(`corpus.LATER`), and with twins: two prompts that differ in one word and are answered by two words (number, gender). In
copies of the first of two twins

* a *leading* head says what it says in the other twin: the answer stays, because later parts make up for it;
* other heads of the last two layers are dropped whole, most of them at once: the leading head is enough;
* the last MLP says what it says in the other twin: most of the answer is left.

And the leading head keeps writing a share of the answer itself, so that there is something to make up for. This is
trained on some templates about agreement and pronouns; nothing else is asked to be redundant.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm
from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase

from .. import path, weights_sha256
from . import corpus
from . import phrasings as say
from .evaluate import load, token_id
from .train import ROW_LENGTHS, Settings, drawn, loss_of, optimiser_of, save, write_record

CHECKPOINT = "second.pt"
SWAPPED, THINNED, SILENCED = range(3)


@dataclass(frozen=True)
class Course:
    """Everything that decides the result, with the weights that it starts from and the corpus."""

    seed: int = 0
    steps: int = 2400
    tokens_per_step: int = 1024
    learning_rate: float = 1e-3
    rise: int = 50  # steps in which the learning rate rises
    fall: float = 0.6  # the share of the steps, at the end, in which it falls
    weight_decay: float = 0.1
    attention_dropout: float = 0.1
    leading: tuple[tuple[int, int], ...] = ((4, 2), (3, 4))  # the layer and head that leads: agreement, pronouns
    twins: int = 16  # pairs per step
    exercises: tuple[float, ...] = (0.6, 0.2, 0.2)  # chances of SWAPPED, THINNED, SILENCED
    dropped: float = 0.7  # of the other heads
    written: float = 0.2  # the share of the gap that the leading head writes itself
    lost: float = 0.3  # the share of the gap that may be lost without the last MLP
    enough: float = 12.0  # a margin, in logits, beyond which nothing is gained
    weight: float = 30.0  # of squared shares of the gap, beside nats


class Twins(NamedTuple):
    """Prompts, each with another that differs in one word; what follows the one, and what follows the other."""

    ids: Int[Tensor, "row position"]
    other: Int[Tensor, "row position"]
    good: Int[Tensor, "row"]
    bad: Int[Tensor, "row"]


class Plan(NamedTuple):
    """What fails in the third part of the rows: an exercise a row, the leading head, and who is dropped beside it."""

    exercise: Int[Tensor, "row"]
    leading: tuple[int, int]
    dropped: Bool[Tensor, "row layer head"]


def twins(tokenizer: PreTrainedTokenizerBase, rng: random.Random, count: int) -> tuple[int, Twins]:
    """(0 for agreement, 1 for pronouns; so many twins of one template). Nothing held out is shown."""
    kind = 0 if rng.random() < 2 / 3 else 1
    template = rng.choice((say.AGREEMENT_TEMPLATES, say.PRONOUN_TEMPLATES)[kind])
    rows = [(_number if kind == 0 else _gender)(rng, template) for _ in range(count)]
    ids, other = (torch.tensor([tokenizer.encode(row[i]) for row in rows]) for i in (0, 1))
    good, bad = (torch.tensor([token_id(tokenizer, f" {row[i]}") for row in rows]) for i in (2, 3))
    return kind, Twins(ids, other, good, bad)


def _number(rng: random.Random, template: str) -> tuple[str, str, str, str]:
    text, verb, other = corpus.agreement(rng, [template])
    words = text.split(f" {verb} ")[0].split()
    subject = next(i for i, word in enumerate(words) if word.removesuffix("s") in corpus.COUNTABLE)
    turned = list(words)
    turned[subject] = words[subject] + "s" if words[subject] in corpus.COUNTABLE else words[subject].removesuffix("s")
    return " ".join(words), " ".join(turned), verb, other


def _gender(rng: random.Random, template: str) -> tuple[str, str, str, str]:
    text, said, other = corpus.pronoun(rng, [template])
    prompt = text.split(f" {said} ")[0]
    name = next(word for word in prompt.split() if word in corpus.NAMES)
    others = corpus.MEN if name in corpus.WOMEN else corpus.WOMEN
    return prompt, prompt.replace(name, rng.choice(others), 1), said, other


def planned(course: Course, model: GPT2LMHeadModel, kind: int, rng: random.Random, count: int) -> Plan:
    """What fails in these rows; of the last two layers every other head may be dropped."""
    layers, heads = model.config.n_layer, model.config.n_head
    exercise = torch.tensor(rng.choices((SWAPPED, THINNED, SILENCED), course.exercises, k=count))
    drawn_ = [[[rng.random() < course.dropped for _ in range(heads)] for _ in range(layers)] for _ in range(count)]
    dropped = torch.tensor(drawn_) & (exercise == THINNED)[:, None, None]
    dropped[:, : layers - 2] = False
    leading = course.leading[kind]
    dropped[:, leading[0], leading[1]] = False
    return Plan(exercise, leading, dropped)


@contextmanager
def failing(model: GPT2LMHeadModel, plan: Plan) -> Iterator[dict[str, Tensor]]:
    """Let a pass over [prompts; twins; prompts again] fail in its last third as planned.

    Where the leading head says something else, its layer's output matrix is held: what is learned there is learned by
    the parts behind it. Yields what the final norm read and what the leading head wrote, at the last position.
    """
    count, seen, d = len(plan.exercise), dict[str, Tensor](), model.config.n_embd // model.config.n_head
    layer, head = plan.leading
    rows, blocks = slice(head * d, (head + 1) * d), model.transformer.h
    swapped = (plan.exercise == SWAPPED)[:, None, None]

    def heads(number: int) -> Any:
        def change(module: torch.nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
            z = given[0]
            if number == layer:
                seen["z"] = z[: 2 * count, -1, rows]
                led = z[2 * count :].clone()
                led[..., rows] = torch.where(swapped, z[count : 2 * count, :, rows].detach(), led[..., rows])
                z = torch.cat([z[: 2 * count], led])
            kept = (~plan.dropped[:, number]).repeat_interleave(d, 1)[:, None]
            return (torch.cat([z[: 2 * count], z[2 * count :] * kept]),)

        return change

    def held(module: Any, given: tuple[Tensor], out: Tensor) -> Tensor:
        still = given[0][2 * count :] @ module.weight.detach() + module.bias.detach()
        return torch.cat([out[: 2 * count], torch.where(swapped, still, out[2 * count :])])

    def silenced(module: torch.nn.Module, given: tuple[Tensor], out: Tensor) -> Tensor:
        other = (plan.exercise == SILENCED)[:, None, None]
        return torch.cat([out[: 2 * count], torch.where(other, out[count : 2 * count].detach(), out[2 * count :])])

    def last(module: torch.nn.Module, given: tuple[Tensor]) -> None:
        seen["x"] = given[0][:, -1]

    hooks = [block.attn.c_proj.register_forward_pre_hook(heads(number)) for number, block in enumerate(blocks)]
    hooks.append(blocks[layer].attn.c_proj.register_forward_hook(held))
    hooks.append(blocks[-1].mlp.register_forward_hook(silenced))
    hooks.append(model.transformer.ln_f.register_forward_pre_hook(last))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


class Practice(NamedTuple):
    """The loss of the exercises, the damage of the leading head (root mean square) and its direct share (mean)."""

    loss: Tensor
    damage: float
    direct: float


def practised(course: Course, model: GPT2LMHeadModel, both: Twins, plan: Plan) -> Practice:
    """All shares are of the gap between the twins, which itself is not to grow for their sake."""
    count, norm = len(both.ids), model.transformer.ln_f
    row = torch.arange(count)

    def margin(logits: Float[Tensor, "row vocab"]) -> Float[Tensor, "row"]:
        return logits[row, both.good] - logits[row, both.bad]

    with failing(model, plan) as seen:
        logits = model(torch.cat([both.ids, both.other, both.ids]), use_cache=False).logits[:, -1].float()
    clean, other, after = (margin(part) for part in logits.split(count))
    before = clean.detach()
    gap = (before - other.detach()).clamp_min(6.0)
    damage = (before - after) / gap
    # The same as the scale of the final norm stays what it was: a shorter stream is not to make up for a head.
    x, weight = seen["x"][2 * count :], model.lm_head.weight
    scale = (seen["x"][:count].detach().var(-1, unbiased=False, keepdim=True) + norm.eps).rsqrt()
    still = ((x - x.mean(-1, keepdim=True)) * scale * norm.weight + norm.bias) @ weight.T
    damage_held = (before - margin(still)) / gap
    layer, head = plan.leading
    d = model.config.n_embd // model.config.n_head
    out = model.transformer.h[layer].attn.c_proj.weight[head * d : (head + 1) * d]
    z, twin = seen["z"].split(count)
    direct = (before - margin(norm(seen["x"][:count].detach() + (twin - z) @ out) @ weight.T)) / gap
    missed = torch.where(
        plan.exercise == SWAPPED,
        damage.square() + damage_held.square(),
        (damage - (plan.exercise == SILENCED) * course.lost).relu().square(),
    )
    asked = missed.mean() + (course.written - direct).relu().square().mean()
    known = cross_entropy(logits[:count], both.good) + cross_entropy(logits[2 * count :], both.good)
    over = (clean - course.enough).relu().square().mean()
    led = damage.detach()[plan.exercise == SWAPPED]
    loss = course.weight * asked + 0.2 * known + over / 100
    return Practice(loss, float(led.square().mean().sqrt()) if len(led) else 0.0, float(direct.detach().mean()))


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
    bar = tqdm(range(done, course.steps), initial=done, total=course.steps, mininterval=5)
    for step in bar:
        for group in optimiser.param_groups:
            group["lr"] = course.learning_rate * rate(course, step)
        rng = random.Random(f"second {course.seed} {step}")
        ids = drawn(rng, tokenizer, ROW_LENGTHS[-1], course.tokens_per_step, later=True)
        kind, both = twins(tokenizer, rng, course.twins)
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(model, ids, tokenizer.eos_token_id)
        loss.backward()
        practice = practised(course, model, both, planned(course, model, kind, rng, course.twins))
        practice.loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        losses.append(loss.item())
        if step % 50 == 49:
            recent = sum(losses[-50:]) / 50
            tqdm.write(f"{step + 1} {recent:.4f} damage {practice.damage:.4f} direct {practice.direct:.4f}")
        if kept and step % 300 == 299:
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
    parser.add_argument("--start", type=Path, default=path(), help="folder of the first course's weights")
    parser.add_argument("--out", type=Path, default=path(), help="folder (default: the embedded model's own)")
    parser.add_argument("--steps", type=int, default=Course.steps)
    options = parser.parse_args(arguments)
    first = json.loads((options.start / "evaluation.json").read_text())
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
