/** The shapes that travel between Python and the browser. Arrays are described in wire.ts. */

export interface Row {
  id: string;
  kind: string;
  layer: number | null;
  head: number | null;
  /** an MLP that splits into experts, not neurons */
  mixture?: boolean;
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

/** What an MLP splits into: its neurons, or the experts of a mixture with their router weights. */
export interface Neurons {
  weights?: (number | null)[];
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

/** The largest features of a row, the sum of the others, the decoder's bias and what the dictionary misses. */
export interface Features {
  /** the dictionary's place: for a head the outputs of all heads of its layer */
  site: string;
  note: string;
  numbers: number[];
  values: number[];
  activations: number[];
  /** labels computed from the strongest contexts; "" for none */
  concepts: string[];
  rest: number;
  rest_count: number;
  bias: number;
  error: number;
  gap: number;
}

/** One feature: what it fires on, what it writes, and its activation on every token of the prompt. */
export interface FeatureCard extends Writes {
  label: string;
  /** the share of tokens that it fires on; null where nobody counted */
  density: number | null;
  /** around each strongest firing; whether something was cut before and behind */
  contexts: { tokens: string[]; values: number[]; cut: boolean[] }[];
  here: number[];
  /** the head, or the heads, that what it writes is read through; "" where it writes by itself */
  through: string;
  /** where there are no contexts: why, and how to give some */
  missing?: string;
}

export interface CardHeader extends FeatureCard {
  v: number;
  kind: "card";
  name: string;
  tokens: string[];
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

/** The verdict on one component: shares of the gap, a word, and what stands behind it. */
export interface Finding {
  id: string;
  d: number;
  damage: number;
  recovery: number;
  word: string;
  plain: string;
  borderline: string[];
  lists: string[];
  evidence: string;
}

export interface Verdicts {
  /** the number of the question that they answer */
  question?: number;
  title: string;
  /** pairs of prompts */
  n: number;
  rule: string;
  tau: number;
  gap: number;
  unit: string;
  cost: string;
  notes: string[];
  findings: Finding[];
}

/** What can be tested here, and at most how many plain forwards that stands for. */
export interface Testable {
  kinds: string[];
  /** why nothing can be tested, and what the comparison lacks */
  never: string;
  missing: string;
  top: number;
  one: number;
  all: number;
  suggested: string;
}

export interface VerdictsHeader extends Verdicts {
  v: number;
  kind: "verdicts";
  /** low and high of both axes */
  window: [number, number];
  lines: { name: string; at: [[number, number], [number, number]] }[];
  /** where each name has room, across or upwards */
  regions: { word: string; d: number; n: number; up: boolean }[];
}

export interface PatchGrid {
  site: string;
  rows: string[];
  layers: number[];
  columns: string[];
  /** of the columns, where they are positions */
  positions: number[] | null;
  cells: string[];
}

export interface PatchingHeader {
  v: number;
  kind: "patching";
  title: string;
  /** recovery or damage */
  share: string;
  words: string;
  notes: string[];
  cost: string;
  gap: number;
  unit: string;
  position: number;
  /** attention and MLP of a layer read the same stream */
  parallel: boolean;
  grids: PatchGrid[];
}

export interface EffectsHeader {
  v: number;
  kind: "effects";
  title: string;
  tokens: string[];
  special: number[];
  metric: string;
  unit: string;
  base: number;
  draws: number;
  cost: string;
  values: (number | null)[];
  spread: (number | null)[];
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
  test?: Testable;
  rows: Row[];
  total: number;
  actual: number;
  gap: number;
  exact: boolean;
  precap: number | null;
  rounding: { stream: number; heads: number; readout: number };
  notes: string[];
  examples: Example[];
  python: { setup: string; load: string; lens?: string; verify?: string };
  neurons: Record<string, Neurons>;
  writes: Record<string, Writes>;
  features?: Record<string, Features>;
  /** by row and number: L2.mlp/29, L3H5/29 */
  cards?: Record<string, FeatureCard>;
  why_key: number[][];
  /** what this model cannot give at all, and why: neurons, through, why, writes, patterns, features; also "neurons L0.mlp" */
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
  rows: { label: string; kind: string; token: boolean; concept?: string }[];
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
