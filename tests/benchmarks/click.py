"""How long a click on a head keeps the page busy: a prompt of many tokens against one of six, in one browser.

    python tests/benchmarks/click.py [--tokens 6 996] [--repeats 9]

A random model of six layers of eight heads, offline pages that hold every pattern. *Busy* is what Chromium counts as
tasks of the main thread (script, style, layout, paint) from the click to the end of the frame that follows it; another
head every time, the two pages in turn, and the median of the ratios is quoted with its range.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from costs import narrow

CLICK = """id => new Promise(done => {
  document.querySelector(`.aw [data-part="waterfall"] [data-id="${id}"]`).click();
  requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 0)));
})"""


def made(folder: Path, tokens: int) -> Path:
    """The page of an explorer."""
    from attrib_widgets.widgets.explorer.explorer import Explorer
    from attrib_widgets.widgets.questions.question import Explanation, Question
    from attrib_widgets.widgets.shapes import budget

    budget.PATTERN_TOKENS, budget.BUDGET = 2048, 10**9  # as if the kernel had answered already
    _, a = narrow(tokens)
    explorer = Explorer(Explanation(Question(a.run, a.target, a.position), a))
    path = explorer.to_html(folder / f"{tokens}.html")
    explorer.close()
    return path


def busy(session: Any) -> float:
    """Seconds of tasks on the main thread so far."""
    found = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    return float(found["TaskDuration"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[6, 996])
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    from browser import chromium

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium.program(), args=chromium.FLAGS.split())
        pages, heads = {}, {}
        for tokens in args.tokens:
            page = browser.new_page(viewport={"width": 1100, "height": 900})
            page.goto(made(Path(name), tokens).as_uri())
            page.wait_for_selector('.aw[data-ready="1"]')
            session = page.context.new_cdp_session(page)
            session.send("Performance.enable")
            rows = page.locator('.aw [data-part="waterfall"] [data-id*="H"]')
            heads[tokens] = rows.evaluate_all("rows => rows.map(r => r.dataset.id)")
            pages[tokens] = page, session
        times: dict[int, list[float]] = {tokens: [] for tokens in args.tokens}
        for repeat in range(args.repeats + 1):
            for tokens, (page, session) in pages.items():
                known = heads[tokens]
                before = busy(session)
                page.evaluate(CLICK, known[repeat % len(known)])
                if repeat:  # the first one warms up
                    times[tokens].append(busy(session) - before)
        browser.close()
    base = times[args.tokens[0]]
    for tokens, found in times.items():
        ratios = [a / b for a, b in zip(found, base, strict=True)]
        told = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        print(f"{tokens} tokens: {1000 * statistics.median(found):.0f} ms busy, {told} times that of {args.tokens[0]}")


if __name__ == "__main__":
    main()
