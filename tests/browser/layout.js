// Every piece of text that can be seen, as a box about as tall as its letters; then what is wrong with any of them.
(root) => {
  const wrong = [];
  const leaves = texts(root, wrong);
  overlaps(leaves, wrong);

  if (root.scrollWidth > root.clientWidth + 1) wrong.push(`the view is ${root.scrollWidth - root.clientWidth} px too wide`);
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) wrong.push(`the page scrolls sideways by ${page.scrollWidth - page.clientWidth} px`);

  for (const e of root.querySelectorAll("button, [role=option], [role=tab], input")) {
    const { width, height } = e.getBoundingClientRect();
    if (seen(e) && (width < 10 || height < 16)) {
      wrong.push(`too small to hit: ${e.textContent.slice(0, 30)}, ${width.toFixed(0)} x ${height.toFixed(0)} px`);
    }
  }
  return { wrong: [...new Set(wrong)], leaves: leaves.length };

  function seen(e) {
    return e.checkVisibility({ opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true });
  }

  function texts(root, wrong) {
    const leaves = [];
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode()); ) {
      if (!node.data.trim() || !seen(node.parentElement)) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      for (const line of range.getClientRects()) {
        if (line.width < 1 || line.height < 1) continue;
        const leaf = { ...letters(line, node.parentElement), node, text: JSON.stringify(node.data.trim().slice(0, 30)) };
        if (under(leaf)) continue;
        if (clipped(leaf, root, wrong)) leaves.push(leaf);
      }
    }
    return leaves;
  }

  // The box of a line is taller than its letters.
  function letters(line, parent) {
    const style = getComputedStyle(parent);
    const half = 0.36 * parseFloat(style.fontSize);
    const x = line.left + line.width / 2;
    const y = line.top + line.height / 2;
    return style.writingMode === "horizontal-tb"
      ? { left: line.left + 0.5, right: line.right - 0.5, top: y - half, bottom: y + half }
      : { left: x - half, right: x + half, top: line.top + 0.5, bottom: line.bottom - 0.5 };
  }

  // Whether a read-out that stays in sight covers it, all or in part: it scrolls there.
  function under({ left, right, top, bottom, node }) {
    return [...root.querySelectorAll(".aw-stuck")].some((cover) => {
      const box = cover.getBoundingClientRect();
      const meets = left < box.right && right > box.left && top < box.bottom && bottom > box.top;
      return meets && !cover.contains(node) && !node.parentElement.closest(".aw-stuck");
    });
  }

  // Cuts a leaf to what its ancestors let through, and reports what is cut without being meant to. False: not in sight.
  function clipped(leaf, root, wrong) {
    let scrolled = false;
    for (let e = leaf.node.parentElement; e && root.contains(e); e = e.parentElement) {
      const style = getComputedStyle(e);
      if (style.overflowX === "visible" && style.overflowY === "visible") continue;
      if (e.clientWidth <= 1 && e.clientHeight <= 1) return false; // there for screen readers
      const frame = e.getBoundingClientRect();
      const left = frame.left + e.clientLeft;
      const top = frame.top + e.clientTop;
      const right = left + e.clientWidth;
      const bottom = top + e.clientHeight;
      const x = leaf.left < left - 1 || leaf.right > right + 1;
      const y = leaf.top < top - 1 || leaf.bottom > bottom + 1;
      const scrolls = (overflow) => overflow === "auto" || overflow === "scroll";
      // Cut with dots, the whole in a tooltip, is a choice; cut in silence is not.
      const dotted = style.textOverflow === "ellipsis" && e.closest("[title]");
      if ((x && !scrolls(style.overflowX) && !dotted) || (y && !scrolls(style.overflowY))) {
        wrong.push(`clipped: ${leaf.text} by .${e.className}`);
      }
      scrolled ||= x || y;
      leaf.left = Math.max(leaf.left, left);
      leaf.right = Math.min(leaf.right, right);
      leaf.top = Math.max(leaf.top, top);
      leaf.bottom = Math.min(leaf.bottom, bottom);
    }
    if (leaf.right - leaf.left < 1 || leaf.bottom - leaf.top < 1) return false;
    const frame = root.getBoundingClientRect();
    if (!scrolled && (leaf.left < frame.left - 1 || leaf.right > frame.right + 1 || leaf.bottom > frame.bottom + 1)) {
      wrong.push(`outside the view: ${leaf.text}`);
    }
    return true;
  }

  // A read-out that sticks to the window hides what scrolls under it, as the edge of a scroll box does.
  function covers(node) {
    const e = node.parentElement.closest(".aw-stuck");
    return e !== null && !/transparent|, 0\)/.test(getComputedStyle(e).backgroundColor);
  }

  function overlaps(leaves, wrong) {
    for (let i = 0; i < leaves.length; i++) {
      for (let j = i + 1; j < leaves.length; j++) {
        const [a, b] = [leaves[i], leaves[j]];
        if (a.node === b.node || covers(a.node) !== covers(b.node)) continue;
        const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (x > 1.5 && y > 1.5) wrong.push(`overlap: ${a.text} and ${b.text} by ${x.toFixed(0)} x ${y.toFixed(0)} px`);
      }
    }
  }
}
