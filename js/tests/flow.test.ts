/** A trace as a picture: every number of the tree is in it once, and lines stand where its parts are. */
import { describe, expect, it } from "vitest";
import { type Container, decode } from "../src/core/host/wire";
import { type Drawn, graphOf, layoutOf, type Node, pathOf, pathsOf, sharesOf, through } from "../src/core/maths/flow";
import type { Trace, TraceHeader } from "../src/core/types";
import { longPrompt, SENT, TOKENS, walk } from "./fixture";

const sent = (decode(SENT["trace"] as Uint8Array) as unknown as Container<TraceHeader>).header;
/** Two layers of four: every head of layer 1 reads every word, and what it reads there was written in layer 0. */
const dense: Trace = (() => {
  const rows: [label: string, kind: string, at: number, depth: number, value: number][] = [];
  for (let h = 0; h < 4; h++) {
    rows.push([`L1H${h}`, "part", 5, 1, 0]);
    const head = rows.length - 1;
    for (let p = 0; p < 6; p++) rows.push(["L0.mlp", "part", p, 2, (h - 1.5) * (p + 1)]);
    rows.push(["value.bias", "constant", -1, 2, 0.5], ["2 others", "pruned", -1, 2, -0.25]);
    (rows[head] as (typeof rows)[0])[4] = rows.slice(head + 1).reduce((sum, r) => sum + r[4], 0);
  }
  const column = <I extends 0 | 1 | 2 | 3 | 4>(i: I) => rows.map((r) => r[i]);
  return { title: "", balance: "", notes: [], labels: column(0), kinds: column(1), at: column(2), depth: column(3), values: column(4), layers: 9, target: "it", cancelled: 2 };
})();
const TRACES: [string, Trace, string[]][] = [["by hand", walk, TOKENS], ["from Python", sent, sent.tokens], ["dense", dense, TOKENS]];

const children = ({ depth }: Trace, row: number) => depth.flatMap((d, i) => (i > row && d === (depth[row] ?? 0) + 1 && depth.slice(row + 1, i).every((x) => x > (depth[row] ?? 0)) ? [i] : []));
const sum = (values: (number | undefined)[]) => values.reduce<number>((a, b) => a + (b ?? 0), 0);
const value = (t: Trace, rows: Iterable<number>) => sum([...rows].map((i) => t.values[i]));

describe.each(TRACES)("%s", (_, trace, tokens) => {
  const graph = graphOf(trace);
  const every = graph.paths.length;
  const drawn = (k: number): Drawn => layoutOf(graph, trace, pathsOf(graph, graph.paths.slice(0, k)), tokens);

  it("joins rows of one part at one word, and loses none", () => {
    const nodes = new Set(Object.values(graph.nodes).filter((n) => n !== graph.nodes[-1]));
    const rows = [...nodes].flatMap((n) => n.rows).sort((a, b) => a - b);
    expect(rows).toEqual(trace.kinds.flatMap((kind, i) => (kind === "part" ? [i] : [])));
    for (const n of nodes) {
      expect(n.rows.every((i) => trace.labels[i] === n.label && trace.at[i] === n.at)).toBe(true);
      expect(n.value).toBeCloseTo(value(trace, n.rows), 6);
    }
    expect(new Set([...nodes].map((n) => `${n.label}@${n.at}`)).size).toBe(nodes.size);
    expect(graph.nodes[-1]?.value).toBeCloseTo(sum(trace.values.filter((_, i) => trace.depth[i] === 1)), 6);
  });

  it("draws the tree's numbers: what arrives, is constant, pruned or not followed is what the part wrote", () => {
    const { lines, most } = drawn(every);
    const scale = Math.max(...lines.map((l) => l.wide)) / most;
    for (const node of new Set(Object.values(graph.nodes))) {
      const into = lines.filter((l) => graph.nodes[graph.up[l.row] as number] === node);
      for (const line of into) expect(line.wide).toBeCloseTo(Math.abs(trace.values[line.row] as number) * scale, 9);
      const below = node.rows[0] === -1 ? trace.depth.flatMap((d, i) => (d === 1 ? [i] : [])) : node.rows.flatMap((row) => children(trace, row));
      const others = below.filter((i) => trace.kinds[i] !== "part");
      const ends = node.rows.filter((row) => row >= 0 && !children(trace, row).length);
      expect(into.map((l) => l.row).sort((a, b) => a - b)).toEqual(below.filter((i) => trace.kinds[i] === "part").sort((a, b) => a - b));
      expect(value(trace, into.map((l) => l.row)) + value(trace, others) + value(trace, ends)).toBeCloseTo(node.value, 4);
    }
  });

  it("shows the largest paths, and with what is not shown and constants everything", () => {
    const leaves = trace.values.map((_, i) => i).filter((i) => !children(trace, i).length);
    for (let k = 0; k <= every; k++) {
      const rows = pathsOf(graph, graph.paths.slice(0, k));
      const [shown, constants, hidden] = sharesOf(trace, rows) as [{ value: number; size: number }, { value: number; size: number }, { value: number; size: number }];
      expect(shown.value + constants.value + hidden.value).toBeCloseTo(graph.nodes[-1]?.value as number, 4);
      expect(shown.size + constants.size + hidden.size).toBeCloseTo(sum(leaves.map((i) => Math.abs(trace.values[i] as number))) + (trace.cancelled ?? 0), 6);
      expect(shown.value).toBeCloseTo(value(trace, graph.paths.slice(0, k)), 6);
      expect(constants.value).toBeCloseTo(value(trace, leaves.filter((i) => trace.kinds[i] === "constant")), 6);
      const sizes = graph.paths.map((i) => Math.abs(trace.values[i] as number));
      expect(Math.min(Infinity, ...sizes.slice(0, k))).toBeGreaterThanOrEqual(Math.max(0, ...sizes.slice(k)));
    }
  });

  it.runIf(trace === sent)("says the same in all as Python", () => {
    const [kept, constants, lost, size] = /leaves (\S+) · constants (\S+) · pruned (\S+).* of (\S+)\)/.exec(trace.balance)?.slice(1).map((text) => Number(text.replace("\u2212", "-"))) as number[];
    const shares = sharesOf(trace, pathsOf(graph, graph.paths));
    shares.forEach((s, i) => expect(s.value).toBeCloseTo([kept, constants, lost][i] as number, 3));
    expect(sum(shares.map((s) => s.size))).toBeCloseTo(size as number, 1);
  });

  it("lights paths whole: up to the answer, down to where they end", () => {
    for (const node of new Set(graph.nodes)) {
      if (!node) continue;
      const lit = through(graph, node.rows);
      for (const end of graph.paths) {
        const path = pathOf(graph, end);
        if (path.some((row) => node.rows.includes(row))) expect(path.every((row) => lit.has(row))).toBe(true);
      }
      expect(lit.delete(-1), "the answer").toBe(true);
      for (const row of lit) expect(pathOf(graph, row).some((i) => node.rows.includes(i)) || node.rows.some((i) => pathOf(graph, i).includes(row))).toBe(true);
    }
  });

  it.each([1, 2, 12, Infinity])("stands each part over its word, apart from the others: %s paths", (k) => {
    const { parts, columns, levels, lines, width, height } = drawn(k);
    const answer = parts[parts.length - 1] as Node;
    expect(answer).toBe(graph.nodes[-1]);
    columns.forEach((c, p) => expect(c.x).toBeCloseTo(sum(columns.slice(0, p).map((b) => b.width)), 6));
    expect(width).toBeCloseTo(sum(columns.map((c) => c.width)), 6);
    tokens.forEach((text, p) => expect(columns[p]?.width).toBeGreaterThan(6.6 * text.length));
    for (const [i, n] of parts.entries()) {
      const column = columns[n.at] as { x: number; width: number };
      expect(n.x).toBeGreaterThanOrEqual(column.x);
      expect(n.x + n.width).toBeLessThanOrEqual(column.x + column.width + 1e-9);
      expect(n.y).toBeGreaterThanOrEqual(0);
      expect(n.y + 28).toBeLessThanOrEqual(height);
      if (n !== answer) expect(n.y).toBeGreaterThan(answer.y + 28);
      for (const m of parts.slice(i + 1)) expect(n.x + n.width <= m.x || m.x + m.width <= n.x || n.y + 28 <= m.y || m.y + 28 <= n.y, `${n.label} at ${n.at} and ${m.label} at ${m.at}`).toBe(true);
    }
    for (const { row, way } of lines) {
      const [from, to] = [graph.nodes[row] as Node, graph.nodes[graph.up[row] as number] as Node];
      const [x, y, ...rest] = (way.match(/-?[\d.]+(e-?\d+)?/g) ?? []).map(Number) as [number, number, ...number[]];
      const [end, last] = rest.slice(-2) as [number, number];
      expect(y).toBe(from.y);
      expect(last).toBe(to.y + 28);
      for (const [at, box] of [[x, from], [end, to]] as const) {
        expect(at).toBeGreaterThan(box.x - 1e-9);
        expect(at).toBeLessThan(box.x + box.width + 1e-9);
      }
      if (to === answer) expect(end).toBe(x);
    }
    // every layer of the model is there once, alone or in a run without a part
    const named = levels.flatMap(({ name }) => {
      const [, from, to] = /^L(\d+)(?:\u2013L(\d+))?/.exec(name) ?? [];
      return from === undefined ? [] : Array.from({ length: Number(to ?? from) - Number(from) + 1 }, (_, i) => Number(from) + i);
    });
    const last = Math.max(trace.layers ?? 0, 1 + Math.max(-1, ...parts.map((n) => Number(/^L(\d+)/.exec(n === answer ? "" : n.label)?.[1] ?? -1))));
    expect(named).toEqual(Array.from({ length: last }, (_, i) => i));
  });
});

it("keeps the columns of a long prompt as wide as their words, and runs of layers in one line", () => {
  const tokens = longPrompt(40);
  const trace: Trace = { ...dense, at: dense.at.map((p) => (p < 0 ? p : p === 5 ? 39 : p)), layers: 32 };
  const graph = graphOf(trace);
  const { columns, levels } = layoutOf(graph, trace, pathsOf(graph, graph.paths.slice(0, 12)), tokens);
  expect(Math.min(...columns.map((c, p) => c.width - 6.6 * (tokens[p] ?? "").length))).toBeGreaterThanOrEqual(8 - 1e-9);
  expect(levels.map((l) => l.name)).toEqual(["L0", "L1", "L2\u2013L31: nothing shown"]);
});

it("draws nothing of nothing", () => {
  const none: Trace = { ...walk, labels: [], kinds: [], at: [], depth: [], values: [] };
  const graph = graphOf(none);
  expect(sharesOf(none, new Set()).map((s) => s.size)).toEqual([0, 0, 0]);
  expect(layoutOf(graph, none, new Set(), TOKENS).parts).toEqual([graph.nodes[-1]]);
});
