"""Cost of attributing one prediction to all heads, in forward passes of the same model in the same process.

    python tests/benchmarks/attribution.py [--tokens 16 128 1024] [--repeats 7] [--threads 2]

A random GPT-2 small (12 layers x 12 heads, width 768, 50,257 tokens). One *fwd* is the transformers model called with
use_cache=False and full logits; the ratio against logits_to_keep=1 stands beside it. Runs are interleaved and the
median is quoted with its spread, because machines drift. Peak memory is the growth of the resident set over what the
loaded model holds, in a child process of its own, in MB, for the forward pass and for ours (Linux only).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import attrib_widgets as aw

VOCAB = 50_257


def build(config: GPT2Config | None = None) -> tuple[GPT2LMHeadModel, aw.Model]:
    """A random model, GPT-2 small unless ``config`` says otherwise, and the same under study."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = {f"t{i}": i for i in range(VOCAB)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="t0")), unk_token="t0", eos_token="t1"
    )
    torch.manual_seed(0)
    hf = GPT2LMHeadModel(config or GPT2Config()).eval()
    return hf, aw.load(hf, tokenizer)


def prompt(tokens: int) -> list[int]:
    return torch.randint(0, VOCAB, (tokens,), generator=torch.Generator().manual_seed(tokens)).tolist()


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratios(hf: GPT2LMHeadModel, model: aw.Model, tokens: int, repeats: int) -> dict[str, list[float]]:
    ids = prompt(tokens)
    batch = torch.tensor([ids])

    def forward(**options: object) -> object:
        with torch.no_grad():
            return hf(batch, use_cache=False, **options)

    cases: dict[str, Callable[[], object]] = {
        "fwd": forward,
        "fwd, last logits only": lambda: forward(logits_to_keep=1),
        "run": lambda: model.run(ids),
        "run + all heads": lambda: aw.attribute(model.run(ids), 5).heads,
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for repeat in range(repeats + 1):  # the first round warms up
        for name, work in cases.items():
            seconds = timed(work)
            if repeat:
                times[name].append(seconds)
    return times


def peak_megabytes(kind: str, tokens: int) -> float:
    out = subprocess.run(
        [sys.executable, os.path.abspath(__file__), "--child", kind, "--tokens", str(tokens)],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(out.stdout.split()[-1])


def child(kind: str, tokens: int) -> None:
    torch.set_num_threads(1)
    hf, model = build()
    ids = prompt(8)
    aw.attribute(model.run(ids), 5)  # what is read once per model is not counted
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
    before = memory("VmRSS")
    ids = prompt(tokens)
    if kind == "fwd":
        with torch.no_grad():
            hf(torch.tensor([ids]), use_cache=False, logits_to_keep=1)
    else:
        aw.attribute(model.run(ids), 5)
    print((memory("VmHWM") - before) / 1024)


def memory(entry: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(entry)).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[16, 128, 1024])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", choices=["fwd", "attribute"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.tokens[0])
        return
    torch.set_num_threads(args.threads)
    hf, model = build()
    print("| tokens | fwd, s | run, fwd | all heads, fwd (range) | against last logits only | peak MB fwd / ours |")
    print("| --- | --- | --- | --- | --- | --- |")
    for tokens in args.tokens:
        times = ratios(hf, model, tokens, args.repeats)
        fwd, short = statistics.median(times["fwd"]), statistics.median(times["fwd, last logits only"])
        ours = times["run + all heads"]
        pairs = [a / b for a, b in zip(ours, times["fwd"], strict=True)]
        print(
            f"| {tokens} | {fwd:.3f} | {statistics.median(times['run']) / fwd:.2f} "
            f"| {statistics.median(pairs):.2f} ({min(pairs):.2f} to {max(pairs):.2f}) "
            f"| {statistics.median(ours) / short:.2f} "
            f"| {peak_megabytes('fwd', tokens):.0f} / {peak_megabytes('attribute', tokens):.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
