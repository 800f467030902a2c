"""How well the embedded model does what it was taught, counted on prompts from `corpus`.

`python -m attrib_widgets.demo.evaluate [DIR]` prints the table again from the files on disk.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, GPT2LMHeadModel, PreTrainedTokenizerBase

from . import corpus, path
from .corpus import Case

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


def evaluate(
    model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase, seed: int = 1_000_003, cases: int = 1000
) -> dict[str, Row]:
    """The table of abilities. Facts stand right behind the first token unless the row says otherwise."""
    trained = corpus.fact_cases(corpus.TRAINED_PHRASINGS)
    held_out = corpus.fact_cases(corpus.HELD_OUT_PHRASINGS)
    same, new = corpus.TWO_NAME_TEMPLATES, corpus.HELD_OUT_TWO_NAME_TEMPLATES
    few = max(20, cases // 5)
    return {
        "trained facts": facts_row(model, tokenizer, trained),
        "trained facts after other sentences": facts_row(model, tokenizer, corpus.in_context(seed, trained)),
        "held-out phrasings": facts_row(model, tokenizer, held_out),
        "two names, held-out pairs": row(*answers(model, tokenizer, corpus.two_name_cases(seed + 1, cases, same))),
        "two names, held-out pairs and templates": row(
            *answers(model, tokenizer, corpus.two_name_cases(seed + 2, cases, new))
        ),
        "copying in repeats": row(*copying(model, tokenizer, corpus.repeat_cases(seed + 3, few))),
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
