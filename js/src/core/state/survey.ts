/** A survey as Python sent it: what was measured, and what every part writes to every prompt. */
import { bytesOf, type Container, decode } from "../host/wire";
import { digitsFor, plain, share, signed } from "../maths/format";
import { largest, sumOf } from "../maths/geometry";
import type { PartTested, SurveyedGroup, SurveyHeader, SurveyTestsHeader } from "../types";

/** By its contribution: the largest, one at every tenth of the way, the smallest. As `examples` in Python has it. */
export type Which = "largest" | "deciles" | "smallest";

const TENTHS = Array.from({ length: 11 }, (_, i) => i);
export const SHOWN = 10;

/** Numbers of prompts by their values. */
export function examples(values: ArrayLike<number>, prompts: readonly number[], which: Which, k = SHOWN): number[] {
  // stable, as Python sorts: of equal ones the earlier is the smaller
  const order = prompts.map((p, i) => [p, values[p] ?? 0, i] as const).sort((a, b) => a[1] - b[1] || a[2] - b[2]).map(([p]) => p);
  if (which === "deciles") return [...new Set(TENTHS.map((tenth) => order[Math.floor(((order.length - 1) * tenth) / 10 + 0.5)] as number))];
  return which === "smallest" ? order.slice(0, k) : order.reverse().slice(0, k);
}

/** Experiments on the prompts: every part that was replaced, in the order of the groups. */
export class Tests {
  #found = new Map<string, (PartTested & { effects: Float32Array })[]>();

  constructor(of: Container<SurveyTestsHeader> | null) {
    of?.header.tests.forEach((test, row) => {
      const before = this.#found.get(test.part) ?? [];
      const effects = of.arrays["effects"]?.at(row) ?? new Float32Array();
      this.#found.set(test.part, [...before, { ...test, effects }].sort((a, b) => a.group - b.group));
    });
  }

  of(part: string) {
    return this.#found.get(part) ?? [];
  }

  /** Its effect on every prompt, NaN where it was not tested; nothing where it was tested nowhere. */
  effects(part: string): Float32Array | undefined {
    const found = this.of(part);
    return found.length ? found[0]?.effects.map((v, i) => found.map((t) => t.effects[i] ?? NaN).find((e) => !Number.isNaN(e)) ?? v) : undefined;
  }

  /** The mean over the prompts of a group that were tested; NaN where none was. */
  mean(part: string, group: number): number {
    const found = this.of(part).find((t) => t.group === group);
    return found?.n ? sumOf([...found.effects].filter((v) => !Number.isNaN(v))) / found.n : NaN;
  }
}

/** What the trait holds; empty where nothing was tested. */
export function testsOf(bytes: unknown): Tests {
  return new Tests(bytes && bytesOf(bytes).length ? decode<SurveyTestsHeader>(bytes) : null);
}

export class Survey {
  readonly header: SurveyHeader;
  /** digits for the means of all groups, which share one scale */
  readonly digits: number;
  /** the largest mean, of all groups */
  readonly most: number;
  /** the part with the largest mean */
  readonly lead: number;
  readonly layers: number;
  #arrays: Container<SurveyHeader>["arrays"];
  #places: Map<string, number>;
  #measures: Map<string, number>;

  constructor({ header, arrays }: Container<SurveyHeader>) {
    this.header = header;
    this.#arrays = arrays;
    this.#places = new Map(header.parts.map(({ id }, i) => [id, i]));
    this.#measures = new Map(header.measures.map(({ name }, i) => [name, i]));
    const means = header.groups.map((_, g) => this.measure(g, "mean"));
    this.most = largest(means.flatMap((m) => [...m]));
    this.digits = digitsFor(this.most);
    this.lead = Math.max(0, means.map((m) => m.findIndex((v) => Math.abs(v) === this.most)).find((i) => i >= 0) ?? 0);
    this.layers = 1 + Math.max(...header.parts.map(({ layer }) => layer), 0);
  }

  /** The place of a part by its name; -1 for none. */
  at(id: string): number {
    return this.#places.get(id) ?? -1;
  }

  /** One number for every part; NaN where it was not asked. */
  measure(group: number, name: string): Float32Array {
    return this.#arrays["measures"]?.at(group, this.#measures.get(name) ?? 0) ?? new Float32Array();
  }

  /** What a part writes to every prompt, where that travelled. */
  values(part: number): Float32Array | undefined {
    return this.#arrays["values"]?.at(part);
  }

  /** What a group's title says of a part, in its mean. */
  meanOf(group: SurveyedGroup, values: ArrayLike<number>): number {
    return sumOf(group.prompts.map((p) => values[p] ?? 0)) / group.prompts.length;
  }

  /** The share of prompts in which a part has the sign of its mean: counted, so that it prints as Python's. */
  sameSign(group: number, part: number): number {
    const n = this.header.groups[group]?.prompts.length ?? 1;
    return Math.round((this.measure(group, "same_sign")[part] ?? 0) * n) / n;
  }

  /** A part in a group, in one sentence. */
  told(group: number, part: number, tests?: Tests, name = this.header.parts[part]?.id): string {
    const of = this.header.groups[group] as SurveyedGroup;
    const value = (name: string) => this.measure(group, name)[part] ?? NaN;
    const permuted = value("same_sign_permuted");
    const p = value("p_specific");
    const where = this.header.groups.length > 1 ? ` in ${of.name}` : "";
    const said = [
      `${name}${where}: mean ${signed(value("mean"), this.digits)} ${this.header.unit}, spread ${plain(value("spread"), this.digits)}`,
      `same sign in ${share(this.sameSign(group, part))} of ${of.prompts.length} prompts${Number.isNaN(permuted) ? "" : ` (answers permuted: ${share(permuted)})`}`,
    ];
    if (!Number.isNaN(p)) said.push(`p ${plain(p, 3)}${of.specific.includes(part) ? ", specific" : ""}`);
    const effect = tests?.mean(this.header.parts[part]?.id ?? "", group) ?? NaN;
    if (!Number.isNaN(effect)) said.push(`tested: effect ${signed(effect, this.digits)} in the mean`);
    return said.join("; ");
  }
}
