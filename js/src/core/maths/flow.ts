/** A trace as a picture: its rows joined where they name one part at one word, and where everything stands. No DOM here. */
import type { Trace } from "../types";
import { largest } from "./geometry";

/** A part at a word, joined from all rows that name it; and where it was last drawn. */
export interface Node {
  label: string;
  at: number;
  rows: number[];
  value: number;
  x: number;
  y: number;
  width: number;
  /** where the next line leaves it, and where it arrives */
  out: number;
  in: number;
}

export interface Graph {
  /** by row, of parts alone; the answer is row -1 */
  nodes: Node[];
  /** the row above each row */
  up: number[];
  /** the rows at which a path ends, the largest first */
  paths: number[];
}

export function graphOf({ target = "answer", labels, kinds, at, depth, values }: Trace): Graph {
  const make = (label: string, at: number, rows: number[]) => ({ label, at, rows, value: 0 }) as Node;
  const joined: Record<string, Node> = {};
  const graph: Graph = { nodes: [], up: [], paths: [] };
  const { nodes, up, paths } = graph;
  const answer = (nodes[-1] = make(target, at[0] ?? 0, [-1]));
  const open: number[] = [];
  labels.forEach((label, i) => {
    const level = depth[i] as number;
    const value = values[i] as number;
    if (level === 1) answer.value += value;
    up[i] = open[level - 1] ?? -1;
    open[level] = i;
    if (kinds[i] !== "part") return;
    const node = (nodes[i] = joined[`${label}@${at[i]}`] ??= make(label, at[i] as number, []));
    node.rows.push(i);
    node.value += value;
    if (!((depth[i + 1] as number) > level)) paths.push(i);
  });
  paths.sort((a, b) => Math.abs(values[b] as number) - Math.abs(values[a] as number));
  return graph;
}

/** The rows from one to the answer. */
export const pathOf = (graph: Graph, row: number): number[] => (row < 0 ? [] : [row, ...pathOf(graph, graph.up[row] as number)]);

/** The rows of all these paths: each is a line from its part to the part above it. */
export const pathsOf = (graph: Graph, rows: Iterable<number>): Set<number> => new Set([...rows].flatMap((row) => pathOf(graph, row)));

/** The rows of all paths through some rows, up to the answer (with its row) and down to where they end. */
export function through(graph: Graph, rows: readonly number[]): Set<number> {
  const below = new Set(rows);
  graph.up.forEach((up, i) => below.has(up) && below.add(i)); // parents come first
  return pathsOf(graph, below).add(-1);
}

export interface Share {
  value: number;
  /** sum of the magnitudes */
  size: number;
}

/** Everything, in three: the paths that are drawn, the constants, and the other paths with what was pruned. */
export function sharesOf({ kinds, depth, values, cancelled }: Trace, drawn: ReadonlySet<number>): Share[] {
  // what cancelled where it was pruned is not shown either
  const shares = [0, 0, cancelled ?? 0].map((size) => ({ value: 0, size }));
  values.forEach((value, i) => {
    if ((depth[i + 1] as number) > (depth[i] as number)) return;
    const share = shares[kinds[i] === "constant" ? 1 : drawn.has(i) ? 0 : 2] as Share;
    share.value += value;
    share.size += Math.abs(value);
  });
  return shares;
}

/** Rows of the picture from below: embeddings, then two for every layer, attention and what reads it. */
const levelOf = ({ label }: Node) => {
  const layer = /^L(\d+)/.exec(label)?.[1];
  return layer ? 2 * +layer + +!/H\d|attn/.test(label) : -1;
};

export interface Drawn {
  /** the magnitude of the widest line */
  most: number;
  width: number;
  height: number;
  /** level by level from above, the answer last */
  parts: Node[];
  lines: { row: number; wide: number; way: string }[];
  columns: { x: number; width: number }[];
  /** layers, and runs of them without a part */
  levels: { y: number; name: string }[];
}

/** Height of a part's box, and of the levels. */
export const BOX = 28;
const PITCH = 46;
const THIN = 18;
const GAP = 6;
const LETTER = 6.6;
/** pixels of the largest line */
const WIDEST = 13;

/** Where everything stands, the nodes too; a part has a lane of its own, in which what it wrote goes up. */
export function layoutOf({ nodes, up }: Graph, { values, layers = 0 }: Trace, drawn: ReadonlySet<number>, words: readonly string[], called = (label: string) => label): Drawn {
  const answer = nodes[-1] as Node;
  const rows = [...drawn];
  const most = largest(rows.map((i) => values[i] as number));
  const wide = (row: number) => (Math.abs(values[row] as number) * WIDEST) / most;
  const from = (row: number) => nodes[row] as Node;
  const to = (row: number) => nodes[up[row] as number] as Node;
  const parts = [...new Set(rows.map(from))].sort((a, b) => levelOf(b) - levelOf(a) || a.at - b.at);
  for (const node of parts) node.out = node.in = 0;
  // as wide as all that leave, and all that arrive, side by side
  for (const row of rows) {
    from(row).out += wide(row) + 1;
    to(row).in += wide(row) + 1;
  }
  const levels: Drawn["levels"] = [];
  let height = 0;
  let next = 0;
  let level: number | undefined;
  const rise = (high: number, name: string) => levels.push({ y: (height += high), name });
  const upTo = (layer: number) => layer > next && rise(THIN, `L${next}${layer > next + 1 ? `\u2013L${layer - 1}` : ""}: nothing shown`);
  for (const node of [...parts].reverse()) {
    const layer = levelOf(node) >> 1;
    if (levelOf(node) !== level) {
      upTo(layer);
      rise(PITCH, layer < next ? "" : `L${layer}`);
    }
    level = levelOf(node);
    next = layer + 1;
    node.y = height;
  }
  upTo(layers);
  answer.y = height += PITCH;
  let width = 0;
  const columns = words.map((text, p) => {
    let x = width + GAP;
    let last: Node | undefined;
    for (const node of parts.filter((n) => n.at === p)) {
      node.width = Math.max(38, LETTER * called(node.label).length + 8, node.out, node.in);
      // right of what stands above it: its box beside those of its level, below the others only its lines
      node.x = x - (last && levelOf(last) !== levelOf(node) ? (node.width - node.out) / 2 - GAP : 0);
      last = node;
      x = node.x + node.width + GAP;
      node.out = node.x + (node.width - node.out) / 2;
      node.in = node.x + (node.width - node.in) / 2;
    }
    const column = { x: width, width: Math.max(x - width, LETTER * Math.max(text.length, p === answer.at ? answer.label.length : 0) + 8) };
    width += column.width;
    return column;
  });
  Object.assign(answer, columns[answer.at]);
  parts.push(answer);
  for (const one of [...parts, ...levels]) one.y = height - one.y;
  const lines = rows
    .sort((a, b) => from(a).x + to(a).x - from(b).x - to(b).x)
    .map((row) => {
      const [a, b, w] = [from(row), to(row), wide(row)];
      const x = a.out + w / 2;
      // what is written to the answer goes straight up
      const end = b === answer ? x : b.in + w / 2;
      a.out += w + 1;
      b.in += w + 1;
      // up at its own word, then across to where it was read
      const y = b.y + BOX;
      const bend = Math.min(a.y, y + 40);
      return { row, wide: w, way: `M${x} ${a.y}V${bend}C${x} ${y + 4} ${end} ${bend - 4} ${end} ${y}` };
    });
  return { most, width, height, parts, lines, columns, levels };
}
