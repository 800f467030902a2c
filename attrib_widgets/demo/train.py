"""Train the embedded model.

`python -m attrib_widgets.demo.train [--out DIR] [--seed N] [--steps N] [--quick]`

Writes a folder that transformers loads by itself: a byte-level BPE tokenizer trained on the corpus, a small
GPT-2 in float16, and `evaluation.json` with what the rounded weights can do and what made them. With the same
seed on the same machine the result is the same.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from . import corpus, path
from .evaluate import evaluate, load, table_text, token_id

BOS, EOS, PAD = "<s>", "</s>", "<pad>"

# Up to which share of the steps, how often a row has how many tokens. One sentence at a time comes first: with
# a single subject to look back at, attention finds it within a few hundred steps, in long rows much later.
ROW_LENGTHS: tuple[tuple[float, dict[int, float]], ...] = (
    (0.15, {16: 1.0}),
    (0.40, {16: 0.2, 32: 0.8}),
    (1.00, {16: 0.1, 32: 0.2, 64: 0.5, 128: 0.13, 256: 0.07}),
)


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result, with the seed and the corpus."""

    seed: int = 0
    steps: int = 8000
    layers: int = 4
    heads: int = 8
    width: int = 128
    positions: int = 256
    vocabulary: int = 3000
    tokenizer_contexts: int = 20_000
    tokens_per_step: int = 1024
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    dropout: float = 0.0
    evaluation_cases: int = 1000

    @staticmethod
    def quick(seed: int) -> Settings:
        """Seconds instead of minutes: shows that everything runs, and learns next to nothing."""
        return Settings(
            seed=seed, steps=8, layers=2, heads=2, width=16, tokenizer_contexts=500,
            tokens_per_step=512, evaluation_cases=20,
        )  # fmt: skip


def train_tokenizer(settings: Settings) -> PreTrainedTokenizerFast:
    """A byte-level BPE that knows every word of the corpus and can spell anything else."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary,
        min_frequency=2,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # The word list makes sure that rare words become whole tokens too, at a start and after a space.
    listed = [form for word in corpus.words() for form in (word, " " + word)] * 3
    sample = islice(corpus.contexts(settings.seed, letters=False), settings.tokenizer_contexts)
    tokenizer.train_from_iterator([*listed, *sample], trainer)
    bos = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B:1", special_tokens=[(BOS, bos)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=settings.positions,
        clean_up_tokenization_spaces=False,
    )
    for word in corpus.words():
        token_id(fast, " " + word)
    return fast


def batches(settings: Settings, tokenizer: PreTrainedTokenizerFast) -> Iterator[torch.Tensor]:
    """Int["row position"], one batch per step; a context that ends early is filled up with ends."""
    streams: dict[int, Iterator[str]] = {}
    generator = torch.Generator().manual_seed(settings.seed)
    for step in range(settings.steps):
        shares = next(shares for until, shares in ROW_LENGTHS if step < until * settings.steps)
        pick = int(torch.multinomial(torch.tensor(list(shares.values())), 1, generator=generator))
        length = list(shares)[pick]
        stream = streams.setdefault(length, corpus.contexts(settings.seed * 1000 + length, length))
        encoded = tokenizer(list(islice(stream, settings.tokens_per_step // length)), verbose=False)["input_ids"]
        rows = [[*ids, tokenizer.eos_token_id][:length] for ids in encoded]
        yield torch.tensor([ids + [tokenizer.eos_token_id] * (length - len(ids)) for ids in rows])


def new_model(settings: Settings, tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    """A stock GPT-2 with random weights."""
    torch.manual_seed(settings.seed)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=settings.positions,
        n_embd=settings.width,
        n_layer=settings.layers,
        n_head=settings.heads,
        # GPT-2's 0.02 suits its width; a narrow model starts faster a little wider.
        initializer_range=0.06,
        resid_pdrop=settings.dropout,
        embd_pdrop=settings.dropout,
        attn_pdrop=settings.dropout,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return GPT2LMHeadModel(config)


def train(settings: Settings, tokenizer: PreTrainedTokenizerFast) -> tuple[GPT2LMHeadModel, float]:
    """The trained model and the mean loss, in nats per token, over the last tenth of the steps."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = new_model(settings, tokenizer).to(device).train()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))
    warm_up = min(200, settings.steps // 10 + 1)

    def rate(step: int) -> float:
        rise = min(1.0, (step + 1) / warm_up)
        return rise * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / settings.steps)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    started, recent = time.monotonic(), []
    for step, rows in enumerate(batches(settings, tokenizer), start=1):
        ids = rows.to(device)
        logits = model(ids, use_cache=False).logits[:, :-1]
        # Nothing is to be learned from what follows an end.
        wanted = ids[:, 1:].masked_fill(ids[:, :-1] == tokenizer.eos_token_id, -100)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        recent.append(loss.item())
        if step % max(1, settings.steps // 100) == 0 or step == settings.steps:
            window = recent[-max(1, settings.steps // 100) :]
            left = (time.monotonic() - started) / step * (settings.steps - step)
            mean = sum(window) / len(window)
            print(f"step {step}/{settings.steps}  loss {mean:.3f}  {left / 60:.1f} min left", flush=True)
    tail = recent[-max(1, settings.steps // 10) :]
    return model, sum(tail) / len(tail)


def save(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the folder: weights in float16, a config that asks for float32, the tokenizer."""
    model.to("cpu", torch.float16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    # The file is half the size in float16, but arithmetic in float16 would round every sum; the config's
    # dtype is what transformers computes in when nobody says otherwise.
    edit_json(out / "config.json", dtype="float32")
    # The name of the generic class that every version of transformers knows.
    edit_json(out / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    # safetensors lets only the owner read what it writes; an installed package is read by others too.
    (out / "model.safetensors").chmod(0o644)


def edit_json(file: Path, **entries: str) -> None:
    """Set entries of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | entries, indent=2, sort_keys=True) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Train, save, load again, evaluate what was saved."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=path(), help="folder (default: the embedded model's own)")
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--steps", type=int, default=None, help=f"training steps (default {Settings.steps})")
    parser.add_argument("--quick", action="store_true", help="a tiny model in seconds, to see that it runs")
    options = parser.parse_args(arguments)
    if options.quick and options.out == path():
        parser.error("--quick would replace the embedded model with a toy: give --out a folder")
    chosen = asdict(Settings.quick(options.seed) if options.quick else Settings(seed=options.seed))
    settings = Settings(**(chosen | ({"steps": options.steps} if options.steps else {})))

    options.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    tokenizer = train_tokenizer(settings)
    print(f"tokenizer: {len(tokenizer)} tokens", flush=True)
    model, loss = train(settings, tokenizer)
    save(model, tokenizer, options.out)

    abilities = evaluate(*load(options.out), cases=settings.evaluation_cases)
    record = {
        "abilities": abilities,
        "settings": asdict(settings),
        "corpus_sha256": corpus.fingerprint(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "final_loss": round(loss, 4),
        "minutes": round((time.monotonic() - started) / 60, 1),
    }
    (options.out / "evaluation.json").write_text(json.dumps(record, indent=1) + "\n")
    print(table_text(abilities))


if __name__ == "__main__":
    main()
