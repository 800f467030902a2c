// Bars sit in the middle of their rows; every one starts where the one before ended; the last ends where the sum does.
(root) => {
  const wrong = [];
  const box = (e) => e.getBoundingClientRect();
  const middle = (e) => (box(e).top + box(e).bottom) / 2;
  const far = (a, b) => Math.abs(a - b) > 2.5;
  const rows = [...root.querySelectorAll("[data-part=waterfall] .aw-row")];
  let end = null;
  for (const row of rows) {
    const [name, bar, value] = [".aw-name", ".aw-bar", ".aw-val"].map((part) => row.querySelector(part));
    const label = name.textContent;
    if (far(middle(bar), middle(value))) wrong.push(`${label}: bar and number are ${middle(bar) - middle(value)} px apart`);
    if (far(middle(name), middle(value))) wrong.push(`${label}: name and number are ${middle(name) - middle(value)} px apart`);
    const { left, right } = box(bar);
    const track = box(bar.parentElement);
    if (left < track.left - 2 || right > track.right + 2) wrong.push(`${label}: the bar leaves its track`);
    const [from, to] = bar.classList.contains("aw-neg") ? [right, left] : [left, right];
    if (end !== null && far(from, end)) wrong.push(`${label}: starts ${(from - end).toFixed(1)} px off the bar before`);
    end = to;
  }
  const whole = box(root.querySelector("[data-part=sum] .aw-bar"));
  const line = box(root.querySelector("[data-part=waterfall] .aw-zero"));
  const zero = (line.left + line.right) / 2;
  if (far(zero, whole.left) && far(zero, whole.right)) wrong.push("the sum does not start at zero");
  if (far(end, whole.left) && far(end, whole.right)) wrong.push("the last bar does not end at the sum");
  return { wrong, rows: rows.length };
}
