"""Train the embedded model.

`python -m attrib_widgets.demo.making.train [--out DIR] [--seed N] [--steps N] [--quick]`

Writes a folder that transformers loads by itself: a byte-level tokenizer that knows the words of the corpus, a
small GPT-2 in float16, and `evaluation.json` with what the rounded weights can do and what made them. With the
same seed on the same machine the result is the same. What was interrupted goes on where it was last saved when
the same command is given again; with fewer `--steps` it then finishes sooner. This is the first course: `second` goes
on from its weights. What the weights do inside, their figures, dictionaries and card come from `phenomena`, `figures`,
`dictionaries` and `card`, in this order.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from tqdm.auto import tqdm
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ...model.text.known import words_in, write_words
from .. import path, weights_sha256
from . import corpus
from .cases import two_hop_baselines
from .evaluate import evaluate, load, table_text, token_id

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
CHECKPOINT = "training.pt"

# How often a row has how many tokens: at first, then, and at last. One sentence at a time comes first: with a
# single subject to look back at, attention finds it within two thousand steps, in long rows much later.
ROW_LENGTHS: tuple[dict[int, float], ...] = (
    {16: 1.0},
    {16: 0.2, 32: 0.8},
    {16: 0.1, 32: 0.2, 64: 0.5, 128: 0.13, 256: 0.07},
)
# The learning rate rises over the first steps, stays, and falls in a straight line over the last share of them.
WARM_UP, DECAY = 200, 0.29
# The share of the steps, at the end, that is computed in float32 when the rest was computed in bfloat16.
EXACT = 0.04


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result, with the seed and the corpus."""

    seed: int = 0
    steps: int = 8_500
    stages: tuple[int, int] = (2400, 5000)  # at which steps rows grow longer
    layers: int = 5
    heads: int = 8
    width: int = 128
    positions: int = 256
    pieces: int = 600
    tokenizer_contexts: int = 20_000
    tokens_per_step: int = 1024
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    attention_dropout: float = 0.1
    low_precision: bool = True
    evaluation_cases: int = 1000

    @staticmethod
    def quick(seed: int) -> Settings:
        """A few minutes: a smaller model that knows most of the facts."""
        return Settings(
            seed=seed, steps=3000, stages=(900, 1700), layers=3, width=96, tokenizer_contexts=3000,
            attention_dropout=0.0, evaluation_cases=100,
        )  # fmt: skip


def contexts(settings: Settings) -> list[str]:
    """The texts that the tokenizer learns from: no made-up words in them."""
    return list(islice(corpus.contexts(settings.seed, letters=False, later=False), settings.tokenizer_contexts))


def words(settings: Settings) -> set[str]:
    """Every word that training shows, made-up ones apart."""
    return words_in([*contexts(settings), *corpus.words()])


def train_tokenizer(settings: Settings) -> PreTrainedTokenizerFast:
    """Byte-level: every word of the corpus is one token, anything else is spelled with pieces learned from it."""
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    sample = contexts(settings)
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = split
    trainer = trainers.BpeTrainer(
        vocab_size=settings.pieces,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator(sample, trainer)
    learned = json.loads(learner.to_str())["model"]
    vocabulary: dict[str, int] = learned["vocab"]
    # Each word as it stands at a start and after a space, and whatever else the sentences consist of.
    listed = {form for word in corpus.words() for form in (word, " " + word)}
    met = {piece for text in (*sample, *sorted(listed)) for piece, _ in split.pre_tokenize_str(text)}
    for piece in sorted(met - set(vocabulary)):
        vocabulary[piece] = len(vocabulary)
    merges = [tuple(merge) for merge in learned["merges"]]
    # Words are looked up before pieces are merged.
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([BOS, EOS, PAD])
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


def batch(settings: Settings, tokenizer: PreTrainedTokenizerFast, step: int) -> torch.Tensor:
    """Int["row position"] of one step of the first course."""
    rng = random.Random(f"{settings.seed} {step}")
    shares = ROW_LENGTHS[sum(step >= stage for stage in settings.stages)]
    return drawn(rng, tokenizer, shares, settings.tokens_per_step, later=False)


def drawn(
    rng: random.Random, tokenizer: PreTrainedTokenizerBase, shares: dict[int, float], tokens: int, later: bool
) -> torch.Tensor:
    """Int["row position"]: contexts of one length, about so many tokens; one that ends early is filled up with ends."""
    length = rng.choices(list(shares), list(shares.values()))[0]
    stream = corpus.contexts(rng.getrandbits(64), length, later=later)
    encoded = tokenizer(list(islice(stream, max(1, tokens // length))), verbose=False)["input_ids"]
    rows = [[*ids, tokenizer.eos_token_id][:length] for ids in encoded]
    return torch.tensor([ids + [tokenizer.eos_token_id] * (length - len(ids)) for ids in rows])


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
        # The same function as gelu_new, in one kernel.
        activation_function="gelu_pytorch_tanh",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=settings.attention_dropout,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="eager",
    )
    return GPT2LMHeadModel(config)


def rate(settings: Settings, step: int) -> float:
    """The learning rate of a step, as a share of the highest."""
    rise = min(1.0, (step + 1) / min(WARM_UP, settings.steps // 10 + 1))
    fall = (1 - step / settings.steps) / DECAY
    return min(rise, max(0.01, min(1.0, fall)))


def optimiser_of(model: GPT2LMHeadModel, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW that lets only matrices decay."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), fused=True)


def loss_of(model: GPT2LMHeadModel, ids: torch.Tensor, end: int) -> torch.Tensor:
    """Nats per token; nothing is to be learned from what follows an end."""
    logits = model(ids, use_cache=False).logits[:, :-1].float()
    wanted = ids[:, 1:].masked_fill(ids[:, :-1] == end, -100)
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())


class Training:
    """A model on its way: what has to be kept to go on after an interruption."""

    def __init__(self, settings: Settings, tokenizer: PreTrainedTokenizerFast) -> None:
        self.settings, self.tokenizer = settings, tokenizer
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = new_model(settings, tokenizer).to(self.device).train()
        self.optimiser = optimiser_of(self.model, settings.learning_rate, settings.weight_decay)
        # The same model in bfloat16, which computes the gradients; sums are kept in float32.
        self.rough = copy.deepcopy(self.model).to(torch.bfloat16)
        self.done, self.losses = 0, list[float]()

    def step(self) -> float:
        """One step; the loss in nats per token."""
        settings, model = self.settings, self.model
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate * rate(settings, self.done)
        ids = batch(settings, self.tokenizer, self.done).to(self.device)
        rough = settings.low_precision and self.done < (1 - EXACT) * settings.steps
        working = self.rough if rough else model
        exact, other = list(model.parameters()), list(working.parameters())
        with torch.no_grad():
            if rough:
                torch._foreach_copy_(other, exact)
        working.zero_grad(set_to_none=True)
        loss = loss_of(working, ids, self.tokenizer.eos_token_id)
        loss.backward()
        if rough:
            for parameter, twin in zip(exact, other, strict=True):
                parameter.grad = None if twin.grad is None else twin.grad.float()
        torch.nn.utils.clip_grad_norm_(exact, 1.0)
        self.optimiser.step()
        self.done += 1
        self.losses.append(loss.item())
        return self.losses[-1]

    def save(self, file: Path) -> None:
        """Everything that goes on, at once, so that a crash leaves the old file."""
        state = {
            "settings": asdict(self.settings),
            "corpus": corpus.fingerprint(self.settings.seed),
            "done": self.done,
            "losses": self.losses,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
        }
        torch.save(state, file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)

    def resume(self, file: Path) -> None:
        """Go on from a file of `save`; it has to be of this corpus and, but for the steps, of these settings."""
        state: dict[str, Any] = torch.load(file, map_location=self.device, weights_only=True)
        same = asdict(self.settings) == state["settings"] | {"steps": self.settings.steps}
        if state["corpus"] != corpus.fingerprint(self.settings.seed) or not same:
            raise ValueError(f"{file} was trained with other settings or another corpus: delete it to start again")
        self.done, self.losses = state["done"], state["losses"]
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"].cpu())


def train(
    settings: Settings, tokenizer: PreTrainedTokenizerFast, out: Path | None = None, every: int = 1000
) -> tuple[GPT2LMHeadModel, float]:
    """The trained model and the mean loss, in nats per token, over the last tenth of the steps.

    With a folder, every so many steps what was reached is saved there, and measured on a few cases.
    """
    training = Training(settings, tokenizer)
    if out and (out / CHECKPOINT).exists():
        training.resume(out / CHECKPOINT)
    with tqdm(total=settings.steps, initial=training.done, mininterval=5, smoothing=0.05) as bar:
        while training.done < settings.steps:
            training.step()
            recent = training.losses[-100:]
            bar.set_postfix(loss=f"{sum(recent) / len(recent):.3f}", refresh=False)
            bar.update()
            if out and training.done % every == 0 and training.done < settings.steps:
                training.save(out / CHECKPOINT)
                training.model.eval()
                table = evaluate(training.model, tokenizer, cases=200, share=6)
                training.model.train()
                short = "  ".join(f"{name} {line['accuracy']:.2f}" for name, line in table.items())
                tqdm.write(f"step {training.done}  loss {sum(recent) / len(recent):.3f}  {short}")
    tail = training.losses[-max(1, settings.steps // 10) :]
    return training.model, sum(tail) / len(tail)


def save(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
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
    parser.add_argument("--quick", action="store_true", help="a smaller model in a few minutes")
    options = parser.parse_args(arguments)
    if options.quick and options.out == path():
        parser.error("--quick would replace the embedded model with a smaller one: give --out a folder")
    chosen = asdict(Settings.quick(options.seed) if options.quick else Settings(seed=options.seed))
    settings = Settings(**(chosen | ({"steps": options.steps} if options.steps else {})))

    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(settings)
    print(f"tokenizer: {len(tokenizer)} tokens", flush=True)
    model, loss = train(settings, tokenizer, options.out)
    save(model, tokenizer, options.out)
    write_words(options.out, words(settings))

    write_record(options.out, settings, loss)
    (options.out / CHECKPOINT).unlink(missing_ok=True)


def write_record(out: Path, settings: Settings, loss: float, **more: Any) -> None:
    """Measure what the saved weights can do, and write and print it, with what made them."""
    model, tokenizer = load(out)
    abilities = evaluate(model, tokenizer, cases=settings.evaluation_cases)
    record = {
        "abilities": abilities,
        "baselines": {"landmarks, two steps, held out": two_hop_baselines()},
        "settings": asdict(settings),
        **more,
        "corpus_sha256": corpus.fingerprint(settings.seed),
        "weights_sha256": weights_sha256(out),
        "parameters": sum(p.numel() for p in model.parameters()),
        "final_loss": round(loss, 4),
    }
    (out / "evaluation.json").write_text(json.dumps(record, indent=1) + "\n")
    print(table_text(abilities))


if __name__ == "__main__":
    main()
