"""How well the embedded model does what it was taught, counted on prompts from `corpus`.

`python -m attrib_widgets.demo.making.evaluate [DIR]` prints the table again from the files on disk.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, GPT2LMHeadModel, PreTrainedTokenizerBase

from .. import path
from . import cases as ask
from . import corpus
from .cases import Case
from .corpus import phrasings as say

Row = dict[str, Any]


def load(folder: Path) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerBase]:
    """The model (float32, eval mode) and the tokenizer of a folder."""
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model.train(False)
    return model, tokenizer


def token_id(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    """The id of a text that is one token; ValueError where it is several."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) != 1:
        pieces = tokenizer.convert_ids_to_tokens(ids)
        raise ValueError(f"{text!r} should be one token but is {len(ids)}: {pieces}")
    return ids[0]


@torch.no_grad()
def answers(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase, cases: Sequence[Case], batch: int = 256
) -> tuple[torch.Tensor, torch.Tensor]:
    """Per case: is the target the likeliest token (Bool["case"]), and its probability (Float["case"])."""
    texts = {case.target for case in cases}
    targets = {text: token_id(tokenizer, text) for text in texts}
    encoded: list[list[int]] = [tokenizer.encode(case.prompt) for case in cases]
    right = torch.zeros(len(cases), dtype=torch.bool)
    probability = torch.zeros(len(cases))
    # Similar lengths together: padding stands behind the prompt, where a causal model cannot see it.
    order = sorted(range(len(cases)), key=lambda index: len(encoded[index]))
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        width = max(len(encoded[row]) for row in rows)
        ids = torch.tensor([encoded[row] + [0] * (width - len(encoded[row])) for row in rows])
        last = torch.tensor([len(encoded[row]) - 1 for row in rows])
        states = model.transformer(ids.to(model.device), use_cache=False).last_hidden_state
        logits = model.lm_head(states[torch.arange(len(rows)), last]).float().cpu()
        wanted = torch.tensor([targets[cases[row].target] for row in rows])
        right[rows] = logits.argmax(-1) == wanted
        probability[rows] = logits.softmax(-1)[torch.arange(len(rows)), wanted]
    return right, probability


@torch.no_grad()
def copying(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase, lists: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same two numbers for each repeated token that can be known: all but the first of each repeat."""
    rights, probabilities = [], []
    for text in lists:
        ids = torch.tensor([tokenizer.encode(text)], device=model.device)
        half = ids.shape[1] // 2
        logits = model(ids, use_cache=False).logits[0, half + 1 : -1].float()
        wanted = ids[0, half + 2 :]
        rights.append((logits.argmax(-1) == wanted).cpu())
        probabilities.append(logits.softmax(-1)[torch.arange(len(wanted)), wanted].cpu())
    return torch.cat(rights), torch.cat(probabilities)


def row(right: torch.Tensor, probability: torch.Tensor) -> Row:
    """One line of the table."""
    return {
        "cases": len(right),
        "correct": int(right.sum()),
        "accuracy": round(float(right.float().mean()), 4),
        "mean_probability": round(float(probability.mean()), 4),
    }


def facts_row(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase, cases: Sequence[Case]) -> Row:
    """A line for facts, with the same numbers for each relation below it."""
    right, probability = answers(model, tokenizer, cases)
    table = row(right, probability)
    labels = [case.label for case in cases]
    table["relations"] = {}
    for label in dict.fromkeys(labels):
        mask = torch.tensor([other == label for other in labels])
        table["relations"][label] = row(right[mask], probability[mask])
    return table


@torch.no_grad()
def calibration(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase, seed: int, count: int) -> Row:
    """How far the probability of the likeliest next token is from how often it is right, on new contexts.

    The expected calibration error of Guo et al. 2017 with 15 bins of equal width; `loss` in nats per token.
    """
    stream = corpus.contexts(seed, 64)
    confidences, rights, losses = [], [], []
    for _ in range(count):
        ids = torch.tensor([tokenizer.encode(next(stream), truncation=True)], device=model.device)
        logs = model(ids, use_cache=False).logits[0, :-1].float().log_softmax(-1)
        best = logs.max(-1)
        confidences.append(best.values.exp())
        rights.append((best.indices == ids[0, 1:]).float())
        losses.append(-logs[torch.arange(len(logs)), ids[0, 1:]])
    confidence, right = torch.cat(confidences), torch.cat(rights)
    bins = (confidence * 15).long().clamp(max=14)
    gaps = [(confidence - right)[bins == b].sum().abs() for b in range(15)]
    table = row(right.bool(), confidence)
    return table | {
        "calibration_error": round(float(sum(gaps) / len(right)), 4),
        "loss": round(float(torch.cat(losses).mean()), 4),
    }


def evaluate(
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerBase,
    seed: int = 1_000_003,
    cases: int = 1000,
    share: int = 1,
) -> dict[str, Row]:
    """The table of abilities. Facts stand right behind the first token unless the row says otherwise.

    Of cases that are drawn, `cases` are drawn; of those that are listed, every `share`-th is asked.
    """
    trained = ask.fact_cases(say.TRAINED_PHRASINGS)[::share]
    drawn = {
        "two names, held-out pairs": ask.two_name_cases(seed + 1, cases, say.TWO_NAME_TEMPLATES),
        "two names, held-out pairs and templates": ask.two_name_cases(seed + 2, cases, say.HELD_OUT_TWO_NAME_TEMPLATES),
        "three names, held-out pairs": ask.three_name_cases(seed + 4, cases, say.THREE_NAME_TEMPLATES),
        "three names, held-out pairs and templates": ask.three_name_cases(
            seed + 5, cases, say.HELD_OUT_THREE_NAME_TEMPLATES
        ),
        "agreement, held-out nouns": ask.agreement_cases(seed + 6, cases, say.AGREEMENT_TEMPLATES),
        "agreement, held-out nouns and template": ask.agreement_cases(
            seed + 7, cases, say.HELD_OUT_AGREEMENT_TEMPLATES
        ),
        "agreement, a word between, held-out nouns": ask.agreement_cases(
            seed + 11, cases, say.LATER_AGREEMENT_TEMPLATES
        ),
        "attraction, held-out nouns": ask.agreement_cases(seed + 12, cases, say.ATTRACTION_TEMPLATES),
        "pronouns": ask.pronoun_cases(seed + 8, cases, say.PRONOUN_TEMPLATES),
        "pronouns, held-out template": ask.pronoun_cases(seed + 9, cases, say.HELD_OUT_PRONOUN_TEMPLATES),
    }
    listed = {
        "opposites": ask.opposite_cases(say.OPPOSITE_PHRASINGS),
        "opposites, held-out phrasing": ask.opposite_cases(say.HELD_OUT_OPPOSITE_PHRASINGS),
        "lists, the last word, held-out orders": ask.list_cases(seed + 13, min(cases, 100)),
        "sums": ask.sum_cases(False),
        "sums, held out": ask.sum_cases(True),
    }
    lists = ask.repeat_cases(seed + 3, max(20, cases // 5))
    return {
        "trained facts": facts_row(model, tokenizer, trained),
        "trained facts after other sentences": facts_row(model, tokenizer, ask.in_context(seed, trained)),
        "held-out phrasings": facts_row(model, tokenizer, ask.fact_cases(say.HELD_OUT_PHRASINGS)[::share]),
        "landmarks, one step": facts_row(model, tokenizer, ask.landmark_cases()[::share]),
        "landmarks, two steps": facts_row(model, tokenizer, ask.two_hop_cases(False)[::share]),
        "landmarks, two steps, held out": facts_row(model, tokenizer, ask.two_hop_cases(True)),
        **{name: row(*answers(model, tokenizer, questions)) for name, questions in drawn.items()},
        "copying in repeats": row(*copying(model, tokenizer, lists)),
        **{name: row(*answers(model, tokenizer, questions)) for name, questions in listed.items()},
        "next token of new contexts": calibration(model, tokenizer, seed + 10, max(20, cases // 5)),
    }


def table_text(abilities: dict[str, Row]) -> str:
    """The table as lines of text."""
    lines = [f"{'':44} {'accuracy':>8}  {'cases':>6}  {'mean probability':>16}"]
    for name, line in abilities.items():
        entries = [(name, line)] + [("  " + label, part) for label, part in line.get("relations", {}).items()]
        for label, part in entries:
            share = f"{100 * part['accuracy']:.1f} %"
            lines.append(f"{label:44} {share:>8}  {part['cases']:>6}  {part['mean_probability']:>16.3f}")
    return "\n".join(lines)


def main() -> None:
    """Print the table of a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=path())
    print(table_text(evaluate(*load(parser.parse_args().folder))))


if __name__ == "__main__":
    main()
