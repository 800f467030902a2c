"""Cost of what a person waits for, in forward passes of the same model and process.

    python tests/benchmarks/screen.py [--repeats 7] [--threads 1] [--only first rival page]

A random GPT-2 small (12 layers x 12 heads, width 768, 50,257 tokens) unless said; columns as in costs.py. *First draw*
is from the call to the message with bars, sum, candidates and headline; *first screen* is that and all heads' words,
patterns up to 300 tokens, and estimated effects beside a comparison. Both of a recorded run; with a comparison, its run
is among them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from attribution import build, prompt
from costs import TARGET, Case, forward, main, narrow, products_of

import attrib_widgets as aw
from attrib_widgets.demo import CORRUPTED, PROMPT


def first(model: aw.Model, hf: object, ids: list[int], target: object, screen: bool, corrupted: object = "") -> Case:
    given: dict[str, aw.Run] = {}

    def fresh() -> None:
        given["run"] = model.run(ids)

    def ours() -> None:
        explorer = aw.explore(model, given["run"], target, corrupted=corrupted)
        if screen:
            explorer.fill()
        explorer.close()

    return Case(forward(hf, ids), ours, products_of(ours, fresh), fresh)


def small(tokens: int, screen: bool) -> Case:
    hf, model = build()
    return first(model, hf, prompt(tokens), TARGET, screen)


def demo(tokens: int, screen: bool, compared: bool = False) -> Case:
    model = aw.load("demo")
    ids = model.encode(PROMPT if tokens <= 6 else (PROMPT + " Paris. ") * 20)[:tokens]
    return first(model, model.hf, list(ids), None, screen, CORRUPTED if compared else "")


def rival(tokens: int) -> Case:
    """Another candidate on the same run: its first draw and its screen."""
    hf, model = build()
    given: dict[str, aw.widgets.Explorer] = {}

    def fresh() -> None:
        given["explorer"] = aw.explore(model, model.run(prompt(tokens)), TARGET, corrupted="")
        given["explorer"].fill()

    def ours() -> None:
        given["explorer"].ask(target=TARGET + 1)
        given["explorer"].fill()

    return Case(forward(hf, prompt(tokens)), ours, products_of(ours, fresh), fresh)


def page(make: Callable[[], tuple[object, Callable[[], object], list[int]]]) -> Case:
    hf, explorer, ids = make()

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            shown = explorer()
            shown.to_html(Path(folder) / "page.html")
            shown.close()

    return Case(forward(hf, ids), ours)


def embedded() -> tuple[object, Callable[[], object], list[int]]:
    model = aw.load("demo")
    return model.hf, lambda: aw.explore(model), list(model.encode(PROMPT))


def long() -> tuple[object, Callable[[], object], list[int]]:
    hf, a = narrow(1000)
    return hf, lambda: aw.explore(a.model, a.run.ids, TARGET), a.run.ids


CASES: dict[str, tuple[str, Callable[[], Case]]] = {
    **{f"first draw, {n} tokens": ("first", lambda n=n: small(n, False)) for n in (6, 68, 338, 996)},
    **{f"first screen, {n} tokens": ("first", lambda n=n: small(n, True)) for n in (6, 68, 338, 996)},
    **{f"first draw, embedded model, {n} tokens": ("first", lambda n=n: demo(n, False)) for n in (6, 136)},
    **{f"first screen, embedded model, {n} tokens": ("first", lambda n=n: demo(n, True)) for n in (6, 136)},
    "first draw, embedded model, 6 tokens, with its comparison": ("first", lambda: demo(6, False, True)),
    "first screen, the same": ("first", lambda: demo(6, True, True)),
    **{f"another candidate, {n} tokens": ("rival", lambda n=n: rival(n)) for n in (6, 68)},
    "explore and page, embedded model's example": ("page", lambda: page(embedded)),
    "explore and page, 1,000 tokens, 6 layers x 8 heads, width 256": ("page", lambda: page(long)),
}

if __name__ == "__main__":
    main(CASES, __file__, __doc__)
