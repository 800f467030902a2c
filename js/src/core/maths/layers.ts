/** Where the nodes of a graph stand: layers upwards, positions across. Pure functions of numbers: no DOM here. */
import type { GraphNode } from "../types";

/** A node, or a group of them, which stands where its strongest member does. */
export interface Node extends Omit<GraphNode, "kind"> {
  kind: GraphNode["kind"] | "group";
  /** of a group: the numbers of its members */
  members?: number[];
}

/** The places of one layer from below, by what stands behind the point of their names. */
const WITHIN = ["pre", "z", "attn", "mid", "mlp", "post"];
const STEP = 24; // px between nodes beside each other, at least
const WIDE = 44; // and at most
const LINE = 26; // px between lines of nodes
const LEAST = 40; // px of a column
const BESIDE = 5; // nodes in a line, at most
const APART = 8; // px between lanes
export const [SMALL, LARGE] = [3.5, 11] as const; // px, radius of no influence and of all

/** How far up a node stands; equal heights share a lane. */
export function heightOf({ kind, layer, place }: Node): number {
  if (kind === "target") return Infinity;
  if (kind === "token") return -1;
  const site = place.split(".")[1] ?? "z"; // a head
  return layer + Math.max(0, WITHIN.findIndex((name) => site.startsWith(name))) / WITHIN.length;
}

export interface Lane {
  /** what stands in it, the same for screen readers */
  name: string;
  top: number;
  height: number;
  /** numbers of nodes from left to right, line after line */
  nodes: number[];
}

export interface Place {
  x: number;
  y: number;
  r: number;
}

export interface Layers {
  /** from the top */
  lanes: Lane[];
  /** by number; none of what is hidden */
  places: Map<number, Place>;
  /** middle and width of every position */
  columns: { x: number; width: number }[];
  width: number;
  height: number;
}

/** Lays out the nodes that are `shown` over `count` positions, in at least `width` px. */
export function layers(nodes: readonly Node[], shown: readonly number[], count: number, width: number): Layers {
  const lanes = new Map<number, Map<number, number[]>>();
  for (const i of shown) {
    const node = nodes[i] as Node;
    const lane = lanes.get(heightOf(node)) ?? new Map<number, number[]>();
    lanes.set(heightOf(node), lane.set(node.position, [...(lane.get(node.position) ?? []), i]));
  }
  const most = Array.from({ length: count }, (_, p) => Math.max(1, ...[...lanes.values()].map((lane) => lane.get(p)?.length ?? 0)));
  const beside = most.map((n) => Math.min(n, BESIDE));
  const needed = beside.map((n) => Math.max(LEAST, n * STEP + 10));
  const all = needed.reduce((a, b) => a + b, 0);
  const wider = Math.max(1, width / Math.max(1, all));
  let left = 0;
  const columns = needed.map((own) => {
    const column = { x: left + (own * wider) / 2, width: own * wider };
    left += column.width;
    return column;
  });
  const places = new Map<number, Place>();
  let top = 0;
  const found = [...lanes].sort(([a], [b]) => b - a).map(([, lane]): Lane => {
    const lines = Math.max(...[...lane].map(([p, own]) => Math.ceil(own.length / (beside[p] ?? 1))));
    const height = lines * LINE + APART;
    for (const [p, own] of lane) {
      const fit = beside[p] ?? 1;
      const apart = Math.min(WIDE, Math.max(STEP, ((columns[p]?.width ?? 0) - 10) / fit));
      // the one with most influence comes first; the name settles a tie
      const order = [...own].sort((a, b) => (nodes[b]?.influence ?? 0) - (nodes[a]?.influence ?? 0) || a - b);
      const used = Math.ceil(order.length / fit);
      order.forEach((i, n) => {
        const line = Math.floor(n / fit);
        const inLine = Math.min(fit, order.length - line * fit);
        places.set(i, {
          x: (columns[p]?.x ?? 0) + apart * ((n % fit) - (inLine - 1) / 2),
          y: top + height / 2 + LINE * (line - (used - 1) / 2),
          r: SMALL + (LARGE - SMALL) * Math.sqrt(Math.min(1, nodes[i]?.influence ?? 0)),
        });
      });
    }
    const inside = [...lane.values()].flat();
    const at = (i: number) => places.get(i) as Place;
    inside.sort((a, b) => at(a).x - at(b).x || at(a).y - at(b).y);
    const kinds = [...new Set(inside.map((i) => laneOf(nodes[i] as Node)))];
    const made = { name: kinds.sort().join(" "), top, height, nodes: inside };
    top += height;
    return made;
  });
  return { lanes: found, places, columns, width: left, height: top };
}

const laneOf = ({ kind, place, layer }: Node) => (kind === "target" ? "answer" : kind === "token" ? "words" : place.includes(".") ? place : `L${layer}`);

/** An edge as a curve from below to above; what stands above each other is bowed, by `side`, so that lines part. */
export function curve(from: Place, to: Place, side = 1): string {
  const n = (v: number) => v.toFixed(1);
  const bow = Math.abs(from.x - to.x) < STEP ? side * Math.min(70, 0.22 * Math.abs(from.y - to.y)) : 0;
  const middle = (from.y + to.y) / 2;
  return `M${n(from.x)} ${n(from.y)}C${n(from.x + bow)} ${n(middle)} ${n(to.x + bow)} ${n(middle)} ${n(to.x)} ${n(to.y)}`;
}

/** Where a key leads from a node: along its lane, or to the nearest of the next one; undefined where it is no move. */
export function walked(key: string, from: number, { lanes, places }: Layers): number | undefined {
  const row = lanes.findIndex(({ nodes }) => nodes.includes(from));
  const own = lanes[row]?.nodes ?? [];
  const at = own.indexOf(from);
  const along = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: own.length - 1 }[key];
  if (along !== undefined) return own[Math.max(0, Math.min(own.length - 1, along))];
  const by = { ArrowUp: -1, ArrowDown: 1 }[key];
  if (!by) return undefined;
  const x = places.get(from)?.x ?? 0;
  const far = (i: number) => Math.abs((places.get(i)?.x ?? 0) - x);
  return [...(lanes[row + by]?.nodes ?? [from])].sort((a, b) => far(a) - far(b))[0];
}
