/** An attribution graph as Python sent it: nodes, edges, and what every opened node sums to. */
import type { Container } from "../host/wire";
import type { GraphHeader, GraphNode, GraphTarget } from "../types";

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
  /** the strongest first */
  readonly edges: Edge[];
  #targets: Map<number, GraphTarget>;
  #names: Map<string, number>;

  constructor({ header, arrays }: Container<GraphHeader>) {
    this.header = header;
    const [ends, numbers] = [arrays["ends"]?.at() ?? [], arrays["edges"]?.at() ?? []];
    this.edges = Array.from({ length: ends.length / 2 }, (_, i) => ({
      source: ends[2 * i] ?? 0,
      target: ends[2 * i + 1] ?? 0,
      value: numbers[3 * i] ?? 0,
      strength: numbers[3 * i + 1] ?? 0,
      live: numbers[3 * i + 2] ?? NaN,
    })).sort((a, b) => b.strength - a.strength);
    this.#targets = new Map(header.targets.map((t) => [t.node, t]));
    this.#names = new Map(header.nodes.map(({ name, kind }, i) => [kind === "target" ? "" : name, i]));
  }

  node(i: number): GraphNode {
    return this.header.nodes[i] as GraphNode;
  }

  /** A node by its name; the explained number where there is none of that name. */
  at(name: string): number {
    return this.#names.get(name) ?? 0;
  }

  /** What an opened node sums to. */
  target(i: number): GraphTarget | undefined {
    return this.#targets.get(i);
  }

  /** Edges by what they carry, the largest first. */
  into(i: number): Edge[] {
    return bySize(this.edges.filter((e) => e.target === i));
  }

  outOf(i: number): Edge[] {
    return bySize(this.edges.filter((e) => e.source === i));
  }
}

const bySize = (edges: Edge[]) => edges.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
