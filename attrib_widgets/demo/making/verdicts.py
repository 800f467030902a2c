"""What `aw.verify` says of the embedded model over the pairs of a task: which heads are redundant, which suppress."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tqdm.auto import tqdm

from ... import attribute, logit_diff, verify
from ...analysis.verdicts.findings import Finding
from ...analysis.verdicts.rules import Thresholds
from ...model.model import Model
from .pairs import first_of

#: A head whose direct damage is less is not counted among the redundant ones.
LEAST_DIRECT = 0.1


def redundant(f: Finding) -> bool:
    """A head that writes much, can be spared alone, and is confirmed redundant with named others."""
    return f.component.kind == "head" and f.verdict.key == "redundant" and f.direct >= LEAST_DIRECT


def suppresses(f: Finding) -> bool:
    """A head that writes against the answer, which gains without it."""
    least = -Thresholds.tau
    return f.component.kind == "head" and f.direct <= least and f.necessity <= least


def verdicts(model: Model, task: str, count: int) -> dict[str, Any]:
    """What `aw.verify` says of the parts of every pair by itself, and of all of them in the mean over pairs.

    ``with`` names what stood in for redundant heads, and in how many pairs; ``suppress`` in which share of the pairs a
    head does, and its means (direct damage, damage).
    """
    rows, asked = [], first_of(task, count)
    for pair in tqdm(asked, desc=f"verify {task}", mininterval=5):
        a = attribute(model.run(pair.clean), logit_diff(pair.target, pair.against))
        rows.append(verify(a, pair.corrupted, top=10).findings)
    found = [[f for f in row if redundant(f)] for row in rows]
    given = [attribute(model.run(p.clean), logit_diff(p.target, p.against)) for p in asked]
    together = verify(given, [p.corrupted for p in asked], top=10, backups=False)
    against = Counter(str(f.component) for row in rows for f in row if suppresses(f))
    return {
        "pairs": len(asked),
        "gap": together.gap,
        "with a redundant head": sum(map(bool, found)),
        "redundant": Counter(str(f.component) for row in found for f in row),
        "with": Counter(f"{f.component} with {', '.join(f.measured.names['backups'])}" for row in found for f in row),
        "suppress, in pairs": against,
        "suppress, in the mean": {
            str(f.component): [f.direct, f.necessity] for f in together.findings if suppresses(f)
        },
        "words on heads": Counter(f.word for row in rows for f in row if f.component.kind == "head"),
        "words on MLPs": Counter(f.word for row in rows for f in row if f.component.kind == "mlp"),
        "largest direct damage of heads": {
            str(f.component): [f.direct, f.necessity]
            for f in sorted(together.findings, key=lambda f: -f.direct)
            if f.component.kind == "head"
        },
    }
