"""One view of attention beside CircuitsVis's, of the same arrays: bytes of the page, and time to its first paint.

    python tests/benchmarks/beside_circuitsvis.py [--folder WHERE_IT_IS_INSTALLED] [--repeats 7]

CircuitsVis is no dependency of the tests: install it (1.43.3, `--no-deps --target FOLDER`) and name the folder. Both
pages hold their script, so neither asks the network; they are opened alternately in one browser, and the first paint is
what the browser itself reports (first contentful paint), the drawing done when every head has been drawn.

Measured with CircuitsVis 1.43.3, 8 heads on 30 tokens: our page has nine hundredths of their bytes, and its first paint
came after about three quarters of their time (median of seven alternating pairs, on a busy machine).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

HEADS, TOKENS = 8, 30
PAINT = """() => new Promise(done => {
  const seen = () => performance.getEntriesByName('first-contentful-paint')[0]?.startTime;
  if (seen()) return done(seen());
  new PerformanceObserver((list, all) => { if (seen()) { all.disconnect(); done(seen()); } })
    .observe({type: 'paint', buffered: true});
})"""


def arrays(heads: int, tokens: int) -> tuple[list[str], np.ndarray]:
    """Words and random causal patterns."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(heads, tokens, tokens)) * 2
    scores[:, ~np.tri(tokens, dtype=bool)] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return [f" word{i}" for i in range(tokens)], (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


def pages(folder: Path, words: list[str], weights: np.ndarray, theirs: Any) -> dict[str, Path]:
    """The two pages on the disk."""
    import attrib_widgets as aw

    made = {"ours": folder / "ours.html", "theirs": folder / "theirs.html"}
    aw.show.attention(words, weights).view().to_html(made["ours"])
    shown = theirs.attention.attention_heads(attention=weights, tokens=words)
    made["theirs"].write_text(f"<!doctype html><meta charset=utf-8><title>CircuitsVis</title>{shown.local_src}")
    return made


def first_paint(browser: Any, path: Path) -> float:
    """Milliseconds until something of the view stands on the page."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(path.as_uri())
    time = float(page.evaluate(PAINT))
    context.close()
    return time


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default="", help="where CircuitsVis is installed, if not beside this package")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    sys.path += [args.folder] if args.folder else []
    try:
        import circuitsvis
    except ImportError as missing:
        print(f"skipped: CircuitsVis is not here ({missing}); install it into a folder and name it with --folder")
        return 0
    from playwright.sync_api import sync_playwright

    from browser import chromium

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        made = pages(Path(name), *arrays(HEADS, TOKENS), circuitsvis)
        size = {who: path.stat().st_size for who, path in made.items()}
        print(f"{HEADS} heads on {TOKENS} tokens, CircuitsVis {circuitsvis.__version__}")
        print(f"bytes: ours {size['ours']:,}, theirs {size['theirs']:,}, ratio {size['ours'] / size['theirs']:.3f}")
        browser = playwright.chromium.launch(executable_path=chromium.program(), args=chromium.FLAGS.split())
        times: dict[str, list[float]] = {who: [] for who in made}
        for _ in range(args.repeats):
            for who, path in made.items():
                times[who].append(first_paint(browser, path))
        browser.close()
        ratios = [a / b for a, b in zip(times["ours"], times["theirs"], strict=True)]
        print(f"first paint: ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        return int(size["ours"] > 0.1 * size["theirs"] or statistics.median(ratios) > 1)


if __name__ == "__main__":
    sys.exit(main())
