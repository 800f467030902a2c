"""Seconds that `aw.load("demo")` takes once torch and transformers are imported.

    python tests/benchmarks/loading.py [--repeats 5] [--threads 2]

The aim is 1.5 s. Every repeat is a process of its own, because the second load of a process finds everything warm.
What the library imports on its own account counts, and so does its self-check of the model.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

CHILD = """
import sys, time, torch, transformers
from transformers import AutoTokenizer, GPT2LMHeadModel
torch.set_num_threads(int(sys.argv[1]))
start = time.perf_counter()
import attrib_widgets as aw
aw.load("demo")
print(time.perf_counter() - start)
"""


def seconds(threads: int) -> float:
    """One load, in a new process."""
    command = [sys.executable, "-c", CHILD, str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    times = [seconds(args.threads) for _ in range(args.repeats)]
    print(f"aw.load('demo'): {statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})")


if __name__ == "__main__":
    main()
