"""The words of ``aw.verify`` on two tasks of the embedded model, counted, and what hides behind the small ones.

    python tests/benchmarks/verdict_words.py [--capitals 14] [--names 40] [--threads 1]

Every pair is verified by itself, by the question that ``verify`` asks on its own. All parts of a pair that are called
spared or without effect (*can be spared alone*, *little alone*, *not tested here*) are then patched together, outside
of the verification. Where that does more than their own damages add up to, by tau of the gap or more, a row of the
table that holds them must say at least as much; a pair where none does is listed, and the script ends with 1.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass

import torch

import attrib_widgets as aw

QUIET = ("can be spared alone", "little alone", "not tested here")


@dataclass(frozen=True)
class Quiet:
    """What the parts with a small word do: together, in the sum of their damages, and in the rows that hold them."""

    prompt: str
    count: int
    together: float
    alone: float
    printed: float
    tau: float

    @property
    def more(self) -> bool:
        """Whether they do more together than one by one."""
        return self.together - self.alone >= self.tau

    @property
    def hidden(self) -> bool:
        """Whether they do, and no row of the table says so."""
        return self.more and self.printed < self.together - self.tau


def quiet(v: aw.Verification) -> Quiet:
    """Of one verified pair."""
    found = [f for f in v.findings if f.word in QUIET]
    parts = [f.component for f in found]
    clean, corrupted = v.effects["noise"].pairs[0]
    target = v.attributions[0].target
    joint = aw.patch(clean.model, clean, corrupted, target, components=[parts], direction="noise") if parts else None
    rows = [g.necessity for g in v.groups if set(parts) & set(g.parts)]
    return Quiet(
        clean.text,
        len(parts),
        0.0 if joint is None else float(joint.values[0]),
        sum(max(f.necessity, 0.0) for f in found),
        max(rows, default=0.0),
        v.thresholds.tau,
    )


def counted(model: aw.Model, name: str, count: int) -> tuple[Counter[str], list[Quiet]]:
    """(how often each word is said, what hides behind the small ones) over the first pairs of a task."""
    words: Counter[str] = Counter()
    found = []
    for clean, target, _, corrupted in zip(*aw.demo.pairs(name, count), strict=True):
        v = aw.verify(aw.attribute(model.run(clean), target), corrupted)
        words.update(f.word for f in v.findings)
        words["(borderline)"] += sum(f.borderline for f in v.findings)
        found.append(quiet(v))
    return words, found


def main() -> int:
    """Print the tables. Returns how many tasks hide something."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--capitals", type=int, default=14)
    options.add_argument("--names", type=int, default=40)
    options.add_argument("--threads", type=int, default=1)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    model, hidden = aw.load("demo"), 0
    for name, count in (("capitals", args.capitals), ("two names", args.names)):
        words, pairs = counted(model, name, count)
        print(f"{name}: {count} pairs, {words.total() - words['(borderline)']} words")
        for word, n in words.most_common():
            print(f"  {n:5d}  {word}")
        most = max(pairs, key=lambda q: q.together)
        more = [q for q in pairs if q.more]
        secret = [q for q in pairs if q.hidden]
        print(f"  {', '.join(QUIET)}, patched together, {sum(q.count for q in pairs) / count:.1f} parts a pair:")
        print(f"    mean {sum(q.together for q in pairs) / count:.2f} of the gap, alone they add up to ", end="")
        print(f"{sum(q.alone for q in pairs) / count:.2f}; most {most.together:.2f} ({most.prompt})")
        print(f"    more together by tau or more: {len(more)} pairs, of which {len(secret)} with no row that says so")
        for q in secret:
            print(f"      {q.prompt}: {q.count} parts {q.together:.2f}, alone {q.alone:.2f}, printed {q.printed:.2f}")
        hidden += bool(secret)
    return hidden


if __name__ == "__main__":
    sys.exit(main())
