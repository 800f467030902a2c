/** The shapes that travel between Python and the browser. Arrays are described in wire.ts. */

export interface Row {
  id: string;
  kind: string;
  layer: number | null;
  head: number | null;
}

/** A token, or a set of them one by one. */
export interface Named {
  text: string;
  texts?: string[];
}

export interface Target extends Named {
  kind: "logit" | "logit_diff" | "log_prob" | "score" | "neuron";
  id: number | null;
  against: Named | null;
  unit: string;
  phrase: string;
}

export interface Candidate {
  text: string;
  id: number;
  prob: number;
  logit: number;
}

export interface Compare {
  text: string;
  tokens: string[];
  differs: number[];
  aligned: boolean;
  value: number;
  gap: number;
  special: number[];
}

export interface Neurons {
  labels: string[];
  values: number[];
  rest: number;
  rest_count: number;
  bias: number;
  rounding: number | null;
}

export interface Writes {
  up: [string, number][];
  down: [string, number][];
}

/** Rows of a tree, parents first, each with its depth from 1. */
export interface Trace {
  title: string;
  balance: string;
  notes: string[];
  labels: string[];
  /** part, constant or pruned */
  kinds: string[];
  /** where the part wrote; -1 for none */
  at: number[];
  depth: number[];
  values: number[];
}

export interface TraceHeader extends Trace {
  v: number;
  kind: "trace";
  tokens: string[];
  unit: string;
}

export interface Example {
  label: string;
  prompt: string;
  target: string;
  corrupted: string | null;
}

export interface ExplorerHeader {
  v: number;
  kind: string;
  version: number;
  /** the number of the question, by which Python goes back to it */
  question: number;
  /** who leads, and with how much of what */
  finding: { names: string[]; text: string };
  model: {
    name: string;
    family: string;
    layers: number;
    heads: number;
    granularity: string;
    reason: string;
    dtype: string;
    params: number;
    max_positions: number | null;
  };
  prompt: { text: string; tokens: string[]; special: number[]; position: number };
  candidates: Candidate[];
  target: Target;
  /** the questions through which this one was opened, the first one first */
  origin?: { question: number; target: Target }[];
  /** by how MLPs are treated: stop, frozen */
  trace?: Record<string, Trace>;
  compare: Compare | null;
  rows: Row[];
  total: number;
  actual: number;
  gap: number;
  exact: boolean;
  precap: number | null;
  rounding: { stream: number; heads: number; readout: number };
  notes: string[];
  examples: Example[];
  python: { setup: string; load: string; lens?: string };
  neurons: Record<string, Neurons>;
  writes: Record<string, Writes>;
  why_key: number[][];
  /** what this model cannot give at all, and why: neurons, through, why, writes, patterns */
  absent?: Record<string, string>;
}

export interface AttentionHeader {
  v: number;
  kind: "attention";
  title: string;
  note: string;
  tokens: string[];
  special: number[];
  heads: string[];
  weighting: "probability" | "value" | "contribution";
  unit: string;
}

export interface LensHeader {
  v: number;
  kind: "lens";
  title: string;
  /** the tokens that were read, and their positions in the prompt */
  tokens: string[];
  positions: number[];
  /** "embed", then every layer */
  layers: string[];
  target: { text: string; id: number };
  /** texts of the predicted ids */
  words: Record<number, string>;
  notes: string[];
}

export interface BarsHeader {
  v: number;
  kind: "bars";
  title: string;
  note: string;
  unit: string;
  rows: { label: string; kind: string; token: boolean }[];
  total: number;
  parent: string;
  parent_value: number;
  gap: number;
}

export interface PhraseHeader {
  v: number;
  kind: "phrase";
  title: string;
  note: string;
  unit: string;
  /** position of the first token */
  start: number;
  labels: string[];
  tokens: { text: string; prob: number; entropy: number; likeliest: [string, number][]; actual: number; gap: number }[];
  actual: number;
  gap: number;
}

export interface Options {
  hidden: string[];
  height?: number;
  static?: boolean;
}

/** What `explain` takes. null keeps what is there; "" means none. */
export interface ExplainArgs {
  prompt: string | null;
  /** exact text, or an id */
  target: string | number | null;
  against: string | null;
  position: number | null;
  compare: string | null;
  /** a neuron to explain at this place */
  neuron?: string;
  /** the number of an earlier question, instead of all these */
  restore?: number;
}

/** The part of anywidget's model that the views use; anywidget 0.9 to 0.11 and the offline host give it. */
export interface Model {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  send(content: unknown, callbacks?: unknown, buffers?: ArrayBuffer[]): void;
  on(name: string, handler: (...args: never[]) => void): void;
  off(name: string, handler: (...args: never[]) => void): void;
  widget_manager?: unknown;
}
