/** All heads at once: the rows of an attribution as a grid of layers by heads, the MLPs beside them. */
import { binned, fitting, type Having, having, MOST } from "../maths/heads";
import { largest, sumOf } from "../maths/geometry";
import { pooled, pooledRow } from "../maths/thumbs";
import type { Effect } from "./effects";
import type { Stored } from "../host/wire";
import type { Row } from "../types";
import type { Reading } from "./reading";
import type { HeadsForm } from "./screen";

/** A cell: a part, or where too many are there, several of them. */
export interface Spot {
  name: string;
  parts: Row[];
  head: boolean;
  /** their contributions, added */
  value: number;
  /** the largest of their effects, where it is known */
  effect: Effect | undefined;
  /** neither a bar nor an effect */
  pale: boolean;
}

export interface Grid {
  /** of heads; the wider columns beside them have other names */
  heads: string[];
  others: string[];
  /** a mixer stands in the columns of all heads, once and again */
  layers: { name: string; spots: (Spot | undefined)[] }[];
  /** whether some cell holds several parts */
  binned: boolean;
}

const WIDE: Record<string, string> = { attn: "attn", laurel: "laurel", beside: "beside", mlp: "MLP", layer: "layer" };

/** The largest contribution of one head. */
const mostOf = ({ header, values }: Reading) => largest(header.rows.map(({ kind }, i) => (kind === "head" ? (values[i] as number) : 0)));

/** The heads that have this, the largest bars first. */
export function headsWith(what: Having, reading: Reading, effects: (i: number) => Effect | undefined): string[] {
  const most = mostOf(reading);
  const { rows } = reading.header;
  return reading.order.flatMap((i) => (rows[i]?.kind === "head" && having(reading.values[i] as number, most, effects(i)?.[0]) === what ? [rows[i].id] : []));
}

export function gridOf(reading: Reading, effects: (i: number) => Effect | undefined, from: HeadsForm["from"], width: number): Grid {
  const { rows } = reading.header;
  const cells = new Map<string, number>();
  const [layers, heads, kinds] = [new Set<number>(), new Set<number>(), new Set<string>()];
  rows.forEach(({ kind, layer, head }, i) => {
    const column = kind === "head" ? head : WIDE[kind];
    if (layer === null || column === undefined || column === null) return;
    layers.add(layer);
    if (typeof column === "number") heads.add(column);
    else kinds.add(column);
    cells.set(`${layer} ${column}`, i);
  });
  const some = (all: Set<number>, most: number, first: number | undefined) => {
    const sorted = [...all].sort((a, b) => a - b);
    if (first === undefined) return binned(sorted.length, most).map((run) => run.map((i) => sorted[i] ?? 0));
    const start = Math.max(0, Math.min(sorted.indexOf(first), sorted.length - most));
    return sorted.slice(start, start + most).map((i) => [i]);
  };
  const ranges = some(heads, fitting(width, kinds.size), from?.[1]);
  const most = mostOf(reading);
  const between = (letter: string, run: number[]) => `${letter}${run[0]}${run.length > 1 ? `–${run.at(-1)}` : ""}`;
  const spot = (run: number[], columns: (number | string)[]): Spot | undefined => {
    const found = run.flatMap((layer) => columns.map((c) => cells.get(`${layer} ${c}`))).filter((i) => i !== undefined);
    if (!found.length) return undefined;
    const parts = found.map((i) => rows[i] as Row);
    const head = parts[0]?.kind === "head";
    const values = found.map((i) => reading.values[i] as number);
    const known = found.map(effects).filter((e) => e !== undefined);
    return {
      name: found.length > 1 ? `${between("L", run)} ${typeof columns[0] === "number" ? between("H", columns as number[]) : columns[0]}` : (parts[0]?.id ?? ""),
      parts,
      head,
      value: sumOf(values),
      effect: known.length ? known.reduce((a, b) => (Math.abs(b[0]) > Math.abs(a[0]) ? b : a)) : undefined,
      pale: head && found.every((i, at) => having(values[at] as number, most, effects(i)?.[0]) === "neither"),
    };
  };
  // layers upwards, as in the lens and in every grid
  const runs = some(layers, MOST, from?.[0]).reverse();
  const made = runs.map((run) => {
    const [found, all] = [ranges.map((columns) => spot(run, columns)), spot(run, ["attn"])];
    // beside heads only where cells hold layers of both kinds
    return found.some(Boolean) || !found.length ? { found, all } : { found: found.fill(all), all: undefined };
  });
  const others = Object.values(WIDE).filter((name) => (name === "attn" ? made.some(({ all }) => all) : kinds.has(name)));
  return {
    heads: ranges.map((run) => between("H", run)),
    others,
    layers: runs.map((run, r) => ({ name: between("L", run), spots: [...(made[r]?.found ?? []), ...others.map((c) => (c === "attn" ? made[r]?.all : spot(run, [c])))] })),
    binned: [...ranges, ...runs].some((run) => run.length > 1),
  };
}

/** The word whose row is shown. */
export const readerOf = (reading: Reading, { reader }: HeadsForm) => (reader >= 0 && reader < reading.tokens.length ? reader : reading.position);

/**
 * What the small picture of a cell shows, [size, size] or [size] where it is the row of one word; of several heads the
 * strongest of each place. undefined where that did not travel. `small`: pictures that stand in for the patterns.
 */
export function pictured(reading: Reading, { parts }: Spot, form: HeadsForm, size: number, small?: Stored): Float32Array | undefined {
  const n = reading.tokens.length;
  const from = form.first ? 0 : 1;
  const worth = form.weighting === "contribution";
  let found: Float32Array | undefined;
  for (const row of parts) {
    const weights = form.strip ? undefined : reading.weights(row, small);
    const weighed = worth ? reading.worth(row) : undefined;
    const t = readerOf(reading, form);
    const line = form.strip ? (worth ? reading.carried(row, t) : reading.reads(row, t)) : undefined;
    const one = line ? pooledRow(line, n, size, from) : weights && (weighed || !worth) ? pooled(weights, size, weighed, from) : undefined;
    if (!one) continue;
    const before: Float32Array | undefined = found;
    found = before ? one.map((v, i) => (Math.abs(v) > Math.abs(before[i] as number) ? v : (before[i] as number))) : one;
  }
  return found;
}
