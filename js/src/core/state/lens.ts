/** The numbers of a logit lens, by layer (row 0 is the embedding) and column. */
import type { Container } from "../host/wire";
import { percent, tokenText } from "../maths/format";
import { largest } from "../maths/geometry";
import type { LensHeader } from "../types";

export type Show = "top" | "probability" | "rank" | "entropy" | "kl";
/** the order in which Python stores the numbers of the target */
const STORED: Show[] = ["probability", "rank", "entropy", "kl"];

export class Lens {
  readonly header: LensHeader;
  readonly columns: number;
  /** how many predictions every cell keeps */
  readonly k: number;
  #ids: Float32Array;
  #p: Float32Array;
  #numbers: Float32Array[];
  readonly title: string;
  /** whether it was read through a tuned lens */
  readonly tuned: boolean;
  /** the same read through the other lens */
  readonly other: Lens | undefined;

  constructor({ header, arrays }: Container<LensHeader>, first?: Lens) {
    const [ids, probabilities, numbers] = ["ids", "probabilities", "numbers"].map((name) => arrays[first ? `other_${name}` : name]);
    this.header = header;
    this.title = (first && header.other) || header.title;
    this.tuned = !!header.tuned !== !!first;
    this.other = first ?? (header.other ? new Lens({ header, arrays }, this) : undefined);
    this.columns = header.tokens.length;
    this.#ids = ids?.at() ?? new Float32Array();
    this.#p = probabilities?.at() ?? new Float32Array();
    this.#numbers = STORED.map((_, i) => (numbers && i < (numbers.shape[0] ?? 0) ? numbers.at(i) : new Float32Array()));
    this.k = this.#ids.length / (header.layers.length * this.columns);
  }

  top(row: number, column: number, i: number): { id: number; p: number } {
    const at = (row * this.columns + column) * this.k + i;
    return { id: this.#ids[at] ?? 0, p: this.#p[at] ?? 0 };
  }

  text(id: number): string {
    return this.header.words[id] ?? "";
  }

  value(show: Show, row: number, column: number): number {
    if (show === "top") return this.top(row, column, 0).p;
    return this.#numbers[STORED.indexOf(show)]?.[row * this.columns + column] ?? 0;
  }

  /** Whether this was computed: entropy and KL can be left out. */
  has(show: Show): boolean {
    return show === "top" || !!this.#numbers[STORED.indexOf(show)]?.length;
  }

  /** What has the full colour: the same in both lenses. */
  most(show: Show, alone = false): number {
    if (show !== "entropy" && show !== "kl") return 1;
    return Math.max(largest(this.#numbers[STORED.indexOf(show)] ?? []), alone ? 0 : (this.other?.most(show, true) ?? 0));
  }

  /** Mean KL to the output of a row, on texts held out; by the other lens second. */
  heldOut(row: number): [number, number] | undefined {
    const [plain, tuned] = this.header.held_out?.[row] ?? [];
    return plain === undefined || tuned === undefined ? undefined : this.tuned ? [tuned, plain] : [plain, tuned];
  }

  /** A value as a share of the scale: a rank counts as one over itself, so that 1 has the full colour. */
  shade(show: Show, value: number): number {
    return show === "rank" ? 1 / Math.max(1, value) : value / (this.most(show) || 1);
  }

  /** What a screen reader says of a cell. */
  tell(row: number, column: number): string {
    const { layers, tokens, target } = this.header;
    const { id, p } = this.top(row, column, 0);
    const own = `${tokenText(target.text)} ${percent(this.value("probability", row, column))}, rank ${this.value("rank", row, column)}`;
    return `${layers[row]} after ${tokenText(tokens[column] ?? "")}: ${tokenText(this.text(id))} ${percent(p)}; ${own}`;
  }
}
