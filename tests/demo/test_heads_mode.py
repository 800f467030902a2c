"""What heads mode outlines and names by estimates, against experiments, on fresh two-name prompts of the demo."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

import attrib_widgets as aw
from attrib_widgets.analysis.verdicts.chosen import without

RULES = Path(__file__).resolve().parents[2] / "js" / "src" / "core" / "maths" / "heads.ts"
NAMES = "Mary John Anna Tom Laura Emma Adam Eva Frank Clara Peter Olga".split()
PLACES = "shop park zoo museum school market".split()
THINGS = "bag letter book key ball map".split()
PROMPTS = 20


def rule(name: str) -> float:
    """A threshold of the page."""
    found = re.search(rf"export const {name} = ([\d.]+);", RULES.read_text(encoding="utf-8"))
    assert found, name
    return float(found[1])


@pytest.fixture(scope="module")
def demo() -> Any:
    return aw.load("demo")


@pytest.fixture(scope="module")
def pairs(demo: Any) -> list[tuple[Any, ...]]:
    """(run, run of the comparison, answer, answer there) of prompts that are answered right in both."""
    draw = random.Random(11)
    found: list[tuple[Any, ...]] = []
    while len(found) < PROMPTS:
        one, two, other = draw.sample(NAMES, 3)
        where, what = draw.choice(PLACES), draw.choice(THINGS)
        prompts = [f"When {n} and {two} went to the {where}, {two} gave the {what} to" for n in (one, other)]
        runs = [demo.run(prompt) for prompt in prompts]
        if [run.top(1)[0].text for run in runs] == [f" {one}", f" {other}"]:
            found.append((*runs, f" {one}", f" {other}"))
    return found


def test_outlines_and_names_hold_in_experiments(demo: Any, pairs: Any) -> None:
    tau, outlined, none, clear = map(rule, ("TAU", "OUTLINED", "NONE", "CLEAR"))
    named = 0
    for run, corrupted, answer, rival in pairs:
        a = aw.attribute(run, answer, against=rival)
        gap = float(a.actual - aw.attribute(corrupted, answer, against=rival).actual)
        estimate = aw.estimated_effects(a, corrupted)
        heads = [c for c in a.components if c.kind == "head"]
        effect = {c: abs(estimate[c] / gap) for c in heads}
        target = aw.logit_diff(answer, rival)
        back = aw.patch(demo, run, corrupted, target, components=heads, direction="denoise").values.tolist()
        for head, share in zip(heads, back, strict=True):
            assert abs(share) < tau or effect[head] >= outlined, f"{head} works, and has no outline: {run.text}"
        most = max(abs(float(a[c])) for c in heads)
        bars = [c for c in heads if abs(float(a[c])) >= clear * most and effect[c] < none]
        if bars:
            named += 1
            assert abs(float(without(a, bars, corrupted).values[0])) < tau, f"{bars} have no effect: {run.text}"
    assert named >= PROMPTS / 2, "the rule names some"
