"""Cost of patching sweeps, in forward passes of the same model in the same process.

    python tests/benchmarks/patching.py [--repeats 5] [--threads 2] [--only packed rows cells gradient]

A random GPT-2 small (12 layers x 12 heads, width 768, 50,257 tokens). One *fwd* is the transformers model called with
use_cache=False and full logits; the ratio against logits_to_keep=1 stands beside it. Runs are interleaved and the
median is quoted with its range, because machines drift. Both recordings and the comparison at first use are not
counted (they are made once); the keys and values of the recorded prompt are: the run is a new one every time. Peak
memory is the growth of the resident set over what the loaded model holds, in a child process of its own, in MB.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from attribution import build, memory, prompt, timed

import attrib_widgets as aw

TARGET = 5


def pair(model: aw.Model, tokens: int, differ: int) -> tuple[aw.Run, aw.Run]:
    """(corrupted, clean): two recorded prompts that first differ at position ``differ``."""
    clean = prompt(tokens)
    corrupted = list(clean)
    corrupted[differ] = (corrupted[differ] + 1) % 50_257
    return model.run(corrupted), model.run(clean)


def cases(model: aw.Model, only: list[str]) -> dict[str, tuple[int, int, dict[str, object]]]:
    """name -> (tokens, first position that differs, options of aw.patch)."""
    every: dict[str, tuple[int, int, dict[str, object]]] = {}
    if "packed" in only:
        for tokens in (16, 128, 512):
            every[f"144 heads, last position, {tokens} tokens"] = (tokens, 3, {"positions": [-1]})
    if "rows" in only:
        for differ in (3, 10):
            every[f"144 heads, all positions, 16 tokens, differ at {differ}"] = (16, differ, {})
    if "cells" in only:
        every["144 heads x 16 positions (2,304 cells)"] = (16, 0, {"positions": "each"})
    if "gradient" in only:
        for method in ("atp", "eap-ig", "partway", "relp"):
            every[f"attribution patching ({method}), 144 heads, 16 tokens"] = (16, 3, {"method": method})
        every["edges (eap-ig), 16 tokens"] = (16, 3, {"method": "eap-ig", "edges": True})
    return every


def work(runs: tuple[aw.Run, aw.Run], options: dict[str, object]) -> Callable[[], object]:
    corrupted, clean = runs
    model = clean.model
    rest = {k: v for k, v in options.items() if k != "edges"}
    if options.get("edges"):
        return lambda: aw.edge_patch(model, clean, corrupted, TARGET, **rest)
    if "method" in options:
        return lambda: aw.attribution_patch(model, clean, corrupted, TARGET, **rest)
    return lambda: aw.patch(model, clean, corrupted, TARGET, sites="z", **rest)


def measure(name: str, tokens: int, differ: int, options: dict[str, object], repeats: int) -> None:
    hf, model = build()
    ids = torch.tensor([prompt(tokens)])

    def forward(**rest: object) -> object:
        with torch.no_grad():
            return hf(ids, use_cache=False, **rest)

    work(pair(model, tokens, differ), options)()  # the comparison at first use
    times: dict[str, list[float]] = {"fwd": [], "short": [], "ours": []}
    for repeat in range(repeats + 1):  # the first round warms up
        runs = pair(model, tokens, differ)
        found = {
            "fwd": timed(forward),
            "short": timed(lambda: forward(logits_to_keep=1)),
            "ours": timed(work(runs, options)),
        }
        if repeat:
            for key, seconds in found.items():
                times[key].append(seconds)
    fwd, short, ours = (statistics.median(times[k]) for k in ("fwd", "short", "ours"))
    ratios = [a / b for a, b in zip(times["ours"], times["fwd"], strict=True)]
    peak = [peak_megabytes(kind, name) for kind in ("fwd", "ours")]
    print(
        f"| {name} | {fwd:.3f} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
        f"| {ours / short:.2f} | {peak[0]:.0f} / {peak[1]:.0f} |",
        flush=True,
    )


def peak_megabytes(kind: str, name: str) -> float:
    out = subprocess.run(
        [sys.executable, os.path.abspath(__file__), "--child", kind, "--case", name],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(out.stdout.split()[-1])


def child(kind: str, name: str) -> None:
    torch.set_num_threads(1)
    hf, model = build()
    tokens, differ, options = cases(model, ["packed", "rows", "cells", "gradient"])[name]
    runs = pair(model, tokens, differ)
    job = work(runs, options)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
    before = memory("VmRSS")
    if kind == "fwd":
        with torch.no_grad():
            hf(torch.tensor([runs[0].ids]), use_cache=False)
    else:
        job()
    print((memory("VmHWM") - before) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=["packed", "rows", "cells", "gradient"])
    parser.add_argument("--child", choices=["fwd", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.case)
        return
    torch.set_num_threads(args.threads)
    print("| sweep | fwd, s | fwd of the same run (range) | against last logits only | peak MB fwd / ours |")
    print("| --- | --- | --- | --- | --- |")
    for name, (tokens, differ, options) in cases(build()[1], args.only).items():
        measure(name, tokens, differ, options, args.repeats)


if __name__ == "__main__":
    main()
