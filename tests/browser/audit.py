"""Two audits of a drawn view: axe-core for accessibility, and our own for what only a layout engine knows."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator

HERE = Path(__file__).parent
AXE = HERE.parents[1] / "js" / "node_modules" / "axe-core" / "axe.min.js"

RUN_AXE = """async root => {
  const found = await axe.run(root, {
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
    resultTypes: ['violations', 'incomplete'],
  });
  // What is half scrolled out of sight cannot be judged, and need not be. (Of one character axe says only that.)
  const cut = n => {
    const element = document.querySelector(n.target[0]), box = element?.closest('.aw-scroll')?.getBoundingClientRect();
    const own = element?.getBoundingClientRect();
    return box && (own.top < box.top || own.bottom > box.bottom);
  };
  for (const v of found.incomplete)
    v.nodes = v.nodes.filter(n => !/obscured|outside/.test(JSON.stringify(n.any)) && !cut(n));
  found.incomplete = found.incomplete.filter(v => v.nodes.length);
  const said = n => `  ${n.html.slice(0, 160)} ${[...n.any, ...n.all, ...n.none].map(c => c.message)[0] ?? ''}`;
  const short = list => list.map(v => [`${v.id}: ${v.help}`, ...v.nodes.slice(0, 4).map(said)].join('\\n'));
  return {violations: short(found.violations), incomplete: short(found.incomplete), passes: found.passes.length};
}"""


@cache
def _axe() -> str:
    if AXE.is_file():
        return AXE.read_text(encoding="utf-8")
    missing = "axe-core is not installed: npm ci in js/"
    if os.environ.get("REQUIRE_BROWSER") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


def accessibility(place: Locator) -> dict[str, Any]:
    """What axe says of an element: ``violations``, what it could not judge (``incomplete``), how many rules passed."""
    if place.page.evaluate("!window.axe"):
        place.page.evaluate(_axe())
    return dict(place.evaluate(RUN_AXE))


def layout(place: Locator) -> list[str]:
    """What overlaps, is cut, sticks out or is too small to hit; a view without text is a fault too."""
    found = place.evaluate((HERE / "layout.js").read_text())
    return list(found["wrong"]) if found["leaves"] > 20 else [f"only {found['leaves']} pieces of text are visible"]


def waterfall(place: Locator) -> list[str]:
    """Which bars are not where they belong."""
    found = place.evaluate((HERE / "waterfall.js").read_text())
    return list(found["wrong"]) if found["rows"] > 5 else ["there are no bars"]
