"""Two audits of a drawn view: axe-core for accessibility, and our own for what only a layout engine knows."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator

AXE = Path(__file__).resolve().parents[2] / "js" / "node_modules" / "axe-core" / "axe.min.js"

RUN_AXE = """async root => {
  const found = await axe.run(root, {
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
    resultTypes: ['violations', 'incomplete'],
  });
  const short = list => list.map(v => `${v.id} (${v.impact}): ${v.help}: ` +
    v.nodes.slice(0, 3).map(n => `${n.html.slice(0, 160)} ${n.any.concat(n.all).map(c => c.message)[0] ?? ''}`).join(' | '));
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
    place.page.evaluate(f"if (!window.axe) {{ {_axe()} }}")
    return dict(place.evaluate(RUN_AXE))


# Every piece of text that can be seen, as a box about as tall as its letters; then what is wrong with any of them.
LAYOUT = """root => {
  const wrong = [];
  const frame = root.getBoundingClientRect();
  const seen = e => e.checkVisibility({opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true});
  const describe = leaf => JSON.stringify(leaf.text.slice(0, 30));
  const scrolls = s => ['auto', 'scroll'].includes(s);
  const leaves = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const parent = node.parentElement;
    if (!node.data.trim() || !seen(parent)) continue;
    const style = getComputedStyle(parent);
    const size = parseFloat(style.fontSize);
    const upright = style.writingMode !== 'horizontal-tb';
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const r of range.getClientRects()) {
      if (r.width < 1 || r.height < 1) continue;
      // The box of a line is taller than its letters: keep the letters.
      const box = upright
        ? {left: r.left + r.width / 2 - 0.36 * size, right: r.left + r.width / 2 + 0.36 * size, top: r.top + 1, bottom: r.bottom - 1}
        : {left: r.left + 0.5, right: r.right - 0.5, top: r.top + r.height / 2 - 0.36 * size, bottom: r.top + r.height / 2 + 0.36 * size};
      const leaf = {...box, node, parent, text: node.data.trim(), whole: true};
      let inScroll = false;
      for (let e = parent; e && root.contains(e); e = e.parentElement) {
        const s = getComputedStyle(e);
        if (s.overflowX === 'visible' && s.overflowY === 'visible') continue;
        const c = e.getBoundingClientRect();
        const clip = {left: c.left + e.clientLeft, top: c.top + e.clientTop};
        clip.right = clip.left + e.clientWidth; clip.bottom = clip.top + e.clientHeight;
        const out = {
          x: leaf.left < clip.left - 1 || leaf.right > clip.right + 1,
          y: leaf.top < clip.top - 1 || leaf.bottom > clip.bottom + 1,
        };
        const allowed = {x: scrolls(s.overflowX), y: scrolls(s.overflowY)};
        // Cut with dots, with the whole in a tooltip, is a choice; cut in silence is not.
        const dotted = s.textOverflow === 'ellipsis' && e.closest('[title]');
        if ((out.x && !allowed.x && !dotted) || (out.y && !allowed.y)) wrong.push(`clipped: ${describe(leaf)} by .${e.className}`);
        if (out.x || out.y) {
          inScroll = true;
          leaf.left = Math.max(leaf.left, clip.left); leaf.right = Math.min(leaf.right, clip.right);
          leaf.top = Math.max(leaf.top, clip.top); leaf.bottom = Math.min(leaf.bottom, clip.bottom);
        }
      }
      if (leaf.right - leaf.left < 1 || leaf.bottom - leaf.top < 1) continue;  // scrolled out of sight
      if (!inScroll && (leaf.left < frame.left - 1 || leaf.right > frame.right + 1 || leaf.bottom > frame.bottom + 1))
        wrong.push(`outside the view: ${describe(leaf)}`);
      leaves.push(leaf);
    }
  }
  for (let i = 0; i < leaves.length; i++) {
    for (let j = i + 1; j < leaves.length; j++) {
      const a = leaves[i], b = leaves[j];
      if (a.node === b.node) continue;
      const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (x > 1.5 && y > 1.5) wrong.push(`overlap: ${describe(a)} and ${describe(b)} by ${x.toFixed(0)} x ${y.toFixed(0)} px`);
    }
  }
  if (root.scrollWidth > root.clientWidth + 1) wrong.push(`the view is ${root.scrollWidth - root.clientWidth} px too wide`);
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) wrong.push(`the page scrolls sideways by ${page.scrollWidth - page.clientWidth} px`);
  for (const e of root.querySelectorAll('button, [role=option], [role=tab], input')) {
    const r = e.getBoundingClientRect();
    if (seen(e) && (r.width < 10 || r.height < 16)) wrong.push(`too small to hit: ${e.textContent.slice(0, 30)} ${r.width.toFixed(0)} x ${r.height.toFixed(0)}`);
  }
  return {wrong: [...new Set(wrong)], leaves: leaves.length};
}"""

# Bars sit in the middle of their rows, and every one starts where the one before ended.
WATERFALL = """root => {
  const wrong = [];
  const rows = [...root.querySelectorAll('[data-part=waterfall] .aw-row')];
  const middle = e => { const r = e.getBoundingClientRect(); return (r.top + r.bottom) / 2; };
  let end = null;
  for (const row of rows) {
    const name = row.querySelector('.aw-name'), bar = row.querySelector('.aw-bar'), value = row.querySelector('.aw-val');
    const label = name.textContent;
    if (Math.abs(middle(bar) - middle(value)) > 2.5) wrong.push(`${label}: bar and number are ${middle(bar) - middle(value)} px apart`);
    if (Math.abs(middle(name) - middle(value)) > 3.5) wrong.push(`${label}: name and number are ${middle(name) - middle(value)} px apart`);
    const b = bar.getBoundingClientRect(), track = bar.parentElement.getBoundingClientRect();
    if (b.left < track.left - 2 || b.right > track.right + 2) wrong.push(`${label}: the bar leaves its track`);
    const negative = bar.classList.contains('aw-neg');
    const [from, to] = negative ? [b.right, b.left] : [b.left, b.right];
    if (end !== null && Math.abs(from - end) > 2.5) wrong.push(`${label}: starts ${(from - end).toFixed(1)} px off the bar before`);
    end = to;
  }
  const sum = root.querySelector('[data-part=sum]'), whole = sum.querySelector('.aw-bar').getBoundingClientRect();
  const zero = root.querySelector('[data-part=waterfall] .aw-zero')?.getBoundingClientRect();
  if (zero && Math.abs((zero.left + zero.right) / 2 - whole.left) > 2.5 && Math.abs((zero.left + zero.right) / 2 - whole.right) > 2.5)
    wrong.push('the sum does not start at zero');
  if (end !== null && Math.min(Math.abs(end - whole.right), Math.abs(end - whole.left)) > 2.5) wrong.push('the last bar does not end at the sum');
  return {wrong, rows: rows.length};
}"""


def layout(place: Locator) -> list[str]:
    """What overlaps, is cut, sticks out or is too small; an empty view is a fault too."""
    found = place.evaluate(LAYOUT)
    return list(found["wrong"]) if found["leaves"] > 20 else [f"only {found['leaves']} pieces of text are visible"]


def waterfall(place: Locator) -> list[str]:
    """Which bars are not where they belong."""
    found = place.evaluate(WATERFALL)
    return list(found["wrong"]) if found["rows"] > 5 else ["no bars"]
