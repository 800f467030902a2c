/** The numbers of one explorer state, asked for by name. */
import { renamed } from "../host/legacy";
import { type Container, decode, type Stored, Triangle } from "../host/wire";
import { digitsFor, plain, signed } from "../maths/format";
import { bySize, largest, sumOf } from "../maths/geometry";
import { rowOf, type Weights, type Worth } from "../maths/thumbs";
import type { Coming, ExplorerArray, ExplorerHeader, FurtherHeader, PhraseHeader, Row } from "../types";
import type { Why } from "./answers";
import type { Weighting } from "./screen";

export interface Sources {
  /** what each source token contributed through the head, up to the position explained */
  tokens: Float32Array;
  bias: number;
  rounding: number;
  sum: number;
  /** digits after the point: those of the screen, more where a small head would read 0.00 */
  digits: number;
}

/** What came after a first draw; nothing where there is nothing yet. */
function further(bytes: unknown): Container<FurtherHeader> | undefined {
  const size = (bytes as { byteLength?: number } | undefined)?.byteLength ?? 0;
  return size ? decode<FurtherHeader>(bytes) : undefined;
}

export class Reading {
  readonly header: ExplorerHeader;
  readonly arrays: Partial<Record<ExplorerArray, Stored>>;
  readonly values: Float32Array;
  /** what every row writes for the rival alone; undefined where nothing is held against the target, and in states of 0.1 */
  readonly rival: Float32Array | undefined;
  readonly tokens: string[];
  /** the words that follow the prompt, as the view of a phrase has them */
  readonly phrase: Container<PhraseHeader> | undefined;
  readonly position: number;
  readonly order: number[];
  /** digits after the point on this screen, from its largest bar */
  readonly digits: number;
  #index = new Map<string, number>();
  #patterns = new Map<string, Triangle>();

  /** The state, and what came later: the first screen, then what a click is likely to ask for. */
  constructor(bytes: unknown, screen?: unknown, rest?: unknown) {
    const { header: read, arrays: drawn } = decode<ExplorerHeader>(bytes);
    let header = renamed(read);
    let arrays: Partial<Record<ExplorerArray, Stored>> = drawn;
    for (const [i, more] of [screen, rest].entries()) {
      const came = further(more);
      if (came?.header.version !== header.version) continue;
      const { version: _, kind: __, absent, ...told } = came.header;
      header = { ...header, ...told, absent: { ...header.absent, ...absent } };
      arrays = { ...arrays, ...came.arrays };
      if (i === 0) delete header.coming;
    }
    this.header = header;
    this.arrays = arrays;
    this.values = arrays["values"]?.at() ?? new Float32Array(header.rows.length);
    this.rival = arrays["rival"]?.at();
    this.tokens = header.prompt.tokens;
    const words = arrays["phrase"];
    this.phrase = words && decode<PhraseHeader>(words.bytes);
    this.position = header.prompt.position;
    this.order = bySize(this.values);
    this.digits = digitsFor(largest(this.values));
    header.rows.forEach((row, i) => this.#index.set(row.id, i));
  }

  /** Whether the first screen, on its way, brings this. */
  awaits(what: Coming): boolean {
    return this.header.coming?.includes(what) ?? false;
  }

  row(id: string): Row | undefined {
    return this.header.rows[this.#index.get(id) ?? -1];
  }

  value(id: string): number {
    return this.values[this.#index.get(id) ?? -1] ?? 0;
  }

  rivalOf(id: string): number | undefined {
    return this.rival?.[this.#index.get(id) ?? -1];
  }

  has(id: string): boolean {
    return this.#index.has(id);
  }

  /** What contributions are measured in, as the end of a phrase. */
  get unit(): string {
    const { kind, unit } = this.header.target;
    return this.inner ? ` to the ${kind === "score" ? kind : unit}` : `, in ${unit}`;
  }

  /** Whether a number inside the model is explained, not a prediction. */
  get inner(): boolean {
    return this.header.target.id === null;
  }

  signed(value: number): string {
    return signed(value, this.digits);
  }

  plain(value: number): string {
    return plain(value, this.digits);
  }

  /** The component whose detail opens by itself: the largest head, else the largest row. */
  get lead(): string {
    const heads = this.order.filter((i) => {
      const row = this.header.rows[i];
      return row?.kind === "head" && this.carries(row);
    });
    return this.header.rows[heads[0] ?? this.order[0] ?? -1]?.id ?? "";
  }

  /** Why a row is not split further; empty where it is split as far as can be. */
  reason(row: Row): string {
    const { levels, reason } = this.header.model;
    return levels && row.layer !== null ? (levels[row.layer]?.reason ?? "") : reason;
  }

  /** Whether heads are split by what they carried, here or in what comes. */
  get splits(): boolean {
    return Boolean(this.arrays["carry"]) || this.awaits("heads");
  }

  /** Whether whole patterns travel, here or in what comes. */
  get whole(): boolean {
    return Boolean(this.arrays["patterns"]) || this.awaits("patterns");
  }

  /** Whether what a head carried from each token is known. */
  carries(row: Row): boolean {
    return this.splits && !(this.header.model.levels && this.reason(row));
  }

  special(position: number): boolean {
    return this.header.prompt.special.includes(position);
  }

  /** The embedded pattern of a head; undefined when it was not embedded. */
  pattern(id: string): Triangle | undefined {
    const known = this.#patterns.get(id);
    const stored = this.arrays["patterns"];
    const row = this.row(id);
    if (known || !stored || row?.layer == null || row.head == null) return known;
    const fresh = new Triangle(this.tokens.length, stored.at(row.layer, row.head));
    this.#patterns.set(id, fresh);
    return fresh;
  }

  /** The same as it travelled. */
  weights(row: Row, stored = this.arrays["patterns"]): Weights | undefined {
    if (!stored || row.layer === null || row.head === null || row.layer >= (stored.shape[0] ?? 0)) return undefined;
    const n = stored.shape.at(-1) ?? 0;
    const data = stored.roots(row.layer, row.head) ?? this.pattern(row.id)?.data;
    return data && { n, data, ahead: !stored.tril && n > 1 };
  }

  /** What a head reads at position t; where patterns did not travel it is known at the position that is explained. */
  reads(row: Row, t: number): Float32Array | undefined {
    const weights = this.weights(row);
    if (weights) return rowOf(weights, t);
    const exact = t === this.position ? this.#at("tokens", row) : undefined;
    const carry = this.#at("carry", row);
    return exact && carry && exact.map((v, s) => (carry[s] ? v / carry[s] : 0));
  }

  /** What is carried to position t through a head, from every source. */
  carried(row: Row, t: number): Float32Array | undefined {
    const exact = t === this.position && this.carries(row) ? this.#at("tokens", row) : undefined;
    return exact ?? this.contribution(row, this.reads(row, t), t);
  }

  /** What multiplies a pattern: for contributions, or for the norms of what is written; undefined where nothing does. */
  worth(row: Row, weighting: Weighting = "contribution"): Worth | undefined {
    const names = ({ contribution: ["carry", "dest"], value: ["norms", "post"] } as const)[weighting as "value"];
    const carry = names && this.carries(row) ? this.#at(names[0], row) : undefined;
    return carry && row.layer !== null ? { carry, dest: this.arrays[names[1]]?.at(row.layer) ?? [] } : undefined;
  }

  #at(name: ExplorerArray, row: Row, ...more: number[]): Float32Array | undefined {
    const stored = this.arrays[name];
    return stored && row.layer !== null && row.head !== null ? stored.at(row.layer, row.head, ...more) : undefined;
  }

  #scalar(name: ExplorerArray, row: Row): number {
    return this.arrays[name] && row.layer !== null ? (this.arrays[name].at(row.layer)[row.head ?? 0] ?? 0) : 0;
  }

  /** What each token contributed through a head: pattern x carry x scale. Needs the head's pattern. */
  sources(id: string, pattern: Triangle | undefined): Sources | undefined {
    const row = this.row(id);
    if (!row || !this.carries(row)) return undefined;
    const exact = this.#at("tokens", row);
    // Later tokens carry nothing, unless the model looks ahead.
    const later = exact?.subarray(this.position + 1).some((v) => v !== 0);
    const tokens = exact ? exact.slice(0, later ? exact.length : this.position + 1) : pattern && this.contribution(row, pattern.row(this.position), this.position);
    if (!tokens) return undefined;
    const bias = this.#scalar("value_bias", row);
    const rounding = this.#scalar("head_rounding", row);
    return { tokens, bias, rounding, sum: sumOf(tokens) + bias + rounding, digits: Math.max(this.digits, Math.min(4, digitsFor(largest(tokens)))) };
  }

  /** Contribution of every source to the target, as seen from destination t, whose row of the pattern is `reads`. */
  contribution(row: Row, reads: Float32Array | undefined, t: number): Float32Array | undefined {
    const { carry, dest } = this.worth(row) ?? {};
    // 0 where what a read is worth is not known: another position has other gates.
    return carry && dest?.[t] !== 0 ? reads?.map((p, s) => p * (carry[s] ?? 0) * (dest?.[t] ?? 1)) : undefined;
  }

  /** The explained number before layer 0 and after every layer: the bars summed up to there. */
  buildup(): number[] | undefined {
    const { model, target, rows } = this.header;
    if (target.id === null) return undefined;
    const sums = new Array<number>(model.layers + 1).fill(0);
    rows.forEach(({ kind, layer }, i) => {
      const step = layer ?? (kind === "embed" || kind === "pos" ? -1 : null);
      if (step !== null) sums[step + 1] = (sums[step + 1] ?? 0) + (this.values[i] ?? 0);
    });
    let sum = 0;
    return sums.map((v) => (sum += v));
  }

  sink(id: string): Float32Array | undefined {
    const row = this.row(id);
    return row && this.#at("sink", row);
  }

  through(id: string, source: number): Float32Array | undefined {
    const row = this.row(id);
    return row && this.carries(row) ? this.#at("through", row, source) : undefined;
  }

  whyKey(id: string): number {
    const row = this.row(id);
    return row?.layer == null || row.head == null ? -1 : (this.header.why_key?.[row.layer]?.[row.head] ?? -1);
  }

  why(id: string): Omit<Why, "query" | "key"> | undefined {
    const row = this.row(id);
    if (row?.layer != null && this.header.model.levels?.[row.layer]?.unscored) return undefined;
    const query = row && this.#at("why", row, 0);
    const key = row && this.#at("why", row, 1);
    if (!row || !query || !key) return undefined;
    const bias = this.#at("why_bias", row) ?? new Float32Array(2);
    const score = this.arrays["why_score"] ? this.#scalar("why_score", row) : sumOf(query) + (bias[0] ?? 0);
    const values = this.#at("why_choice", row);
    const rival = values ? this.#scalar("why_rival", row) : -1;
    const choice = values && rival >= 0 ? { rival, score: this.#scalar("why_rival_score", row), values, bias: this.#scalar("why_choice_bias", row) } : undefined;
    return { values: [query, key], bias, score, choice };
  }

  /** The source that tells most about a head: the largest contribution in the head's own direction. */
  leadSource(sources: Sources, value: number): number {
    return this.sourcesBySize(sources, value)[0] ?? -1;
  }

  /** All sources, those that tell most first. */
  sourcesBySize(sources: Sources, value: number): number[] {
    return bySize(sources.tokens.map((v) => (Math.sign(v) === Math.sign(value) ? v : v / 1e3)));
  }
}
