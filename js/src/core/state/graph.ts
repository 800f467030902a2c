/** An attribution graph as Python sent it: nodes, edges, what every opened node sums to; and nodes taken as one. */
import type { Container } from "../host/wire";
import { sumOf } from "../maths/geometry";
import type { Node } from "../maths/layers";
import type { GraphHeader, GraphTarget, NodeGroup } from "../types";

export interface Edge {
  source: number;
  target: number;
  value: number;
  /** share of the influence that goes along it */
  strength: number;
  /** what the target had less without the source; NaN where that was not tested */
  live: number;
}

export class Graph {
  readonly header: GraphHeader;
  readonly nodes: readonly Node[];
  /** the strongest first */
  readonly edges: readonly Edge[];
  #targets: Map<number, GraphTarget>;
  #names: Map<string, number>;

  constructor(header: GraphHeader, nodes: readonly Node[], edges: readonly Edge[], targets: readonly GraphTarget[]) {
    this.header = header;
    this.nodes = nodes;
    this.edges = [...edges].sort((a, b) => b.strength - a.strength);
    this.#targets = new Map(targets.map((t) => [t.node, t]));
    this.#names = new Map(nodes.map(({ name, kind }, i) => [kind === "target" ? "" : name, i]));
  }

  static read({ header, arrays }: Container<GraphHeader>): Graph {
    const [ends, numbers] = [arrays["ends"]?.at() ?? [], arrays["edges"]?.at() ?? []];
    const edges = Array.from({ length: ends.length / 2 }, (_, i) => ({
      source: ends[2 * i] ?? 0,
      target: ends[2 * i + 1] ?? 0,
      value: numbers[3 * i] ?? 0,
      strength: numbers[3 * i + 1] ?? 0,
      live: numbers[3 * i + 2] ?? NaN,
    }));
    return new Graph(header, header.nodes, edges, header.targets);
  }

  node(i: number): Node {
    return this.nodes[i] as Node;
  }

  /** A node by its name, "" for the explained number; -1 where there is none of that name. */
  at(name: string): number {
    return this.#names.get(name) ?? -1;
  }

  /** The name by which a node is selected. */
  key(i: number): string {
    return i ? this.node(i).name : "";
  }

  /** What an opened node sums to. */
  target(i: number): GraphTarget | undefined {
    return this.#targets.get(i);
  }

  /** Whether the heads along an edge can be asked about: between single nodes, of what is written into the stream. */
  opens({ source, target }: Edge): boolean {
    return !/part|group/.test(this.node(source).kind + this.node(target).kind);
  }

  /** Edges by what they carry, the largest first; what members of a group put into one another goes nowhere. */
  into(i: number): Edge[] {
    return bySize(this.edges.filter((e) => e.target === i && e.source !== i));
  }

  outOf(i: number): Edge[] {
    return bySize(this.edges.filter((e) => e.source === i && e.target !== i));
  }

  /** What the members of a group put into one another. */
  inside(i: number): number {
    return sumOf(this.edges.filter((e) => e.source === i && e.target === i).map((e) => e.value));
  }

  /**
   * The same with groups as nodes of their own: their edges are the signed sums of their members' edges. Members keep
   * their numbers, and have no edges any more.
   */
  grouped(groups: readonly NodeGroup[]): Graph {
    const nodes = [...this.nodes];
    const targets = [...this.#targets.values()];
    const stands = new Map<number, number>();
    for (const { name, members } of groups) {
      // a member that is not among the nodes that were sent is known to Python alone
      const own = members.map((member) => this.at(member)).filter((i) => i > 0);
      const [best] = [...own].sort((a, b) => this.node(b).influence - this.node(a).influence);
      if (best === undefined) continue;
      const node = nodes.length;
      for (const i of own) stands.set(i, node);
      nodes.push({ ...this.node(best), kind: "group", name, label: "", value: null, members: own });
      const opened = own.flatMap((i) => this.target(i) ?? []);
      const sum = (of: (t: GraphTarget) => number) => sumOf(opened.map(of));
      if (opened.length) targets.push({ node, total: sum((t) => t.total), left: sum((t) => t.left), constants: this.header.constants.map((_, c) => sum((t) => t.constants[c] ?? 0)) });
    }
    const edges = new Map<string, Edge>();
    for (const e of this.edges) {
      const source = stands.get(e.source) ?? e.source;
      const target = stands.get(e.target) ?? e.target;
      const key = `${source} ${target}`;
      const before = edges.get(key);
      const apart = source === e.source && target === e.target;
      edges.set(key, { source, target, value: e.value + (before?.value ?? 0), strength: e.strength + (before?.strength ?? 0), live: apart ? e.live : NaN });
    }
    return new Graph(this.header, nodes, [...edges.values()], targets);
  }
}

const bySize = (edges: Edge[]) => edges.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));

/** These groups with one more; nodes that are in another leave it, and a group that is chosen goes into the new one. */
export function joined(groups: readonly NodeGroup[], name: string, chosen: readonly string[]): NodeGroup[] {
  const members = chosen.flatMap((one) => groups.find((g) => g.name === one)?.members ?? [one]);
  const left = groups.map((g) => ({ ...g, members: g.members.filter((m) => !members.includes(m)) })).filter((g) => g.members.length);
  return [...left, { name, members: [...new Set(members)] }];
}
