"""Cost of the logit lens over all layers and positions, against the matrix products that it cannot do without.

    python tests/benchmarks/lens.py [--tokens 128] [--repeats 7] [--threads 1]

A random GPT-2 small. The products are every recorded stream times the unembedding, in chunks of the same size; runs are
interleaved, processor time is counted, and the median ratio is quoted with its range.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from attribution import build, prompt

import attrib_widgets as aw
from attrib_widgets.analysis.lens.rows import CHUNK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    hf, model = build()
    run = model.run(prompt(args.tokens))
    weight = hf.lm_head.weight.detach().T
    rows = torch.cat(run.record.streams)

    def products() -> None:
        for part in rows.split(CHUNK // weight.shape[1]):
            part @ weight

    cases: dict[str, Callable[[], object]] = {"products": products, "lens": lambda: aw.logit_lens(run, 5)}
    times: dict[str, list[float]] = {name: [] for name in cases}
    for repeat in range(args.repeats + 1):  # the first round warms up
        for name, work in cases.items():
            start = time.process_time()
            work()
            if repeat:
                times[name].append(time.process_time() - start)
    ratios = [a / b for a, b in zip(times["lens"], times["products"], strict=True)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"{args.tokens} tokens: the lens is {statistics.median(ratios):.2f} ({spread}) of its matrix products")


if __name__ == "__main__":
    main()
