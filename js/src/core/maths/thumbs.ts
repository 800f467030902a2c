/** Patterns as small pictures. Pure functions of numbers: no DOM here. */
import { SQUARES, Triangle } from "../host/wire";
import { type Palette, type RGB, sequential, sign } from "./colour";

/** A pattern: entries (t, s) with s <= t row by row, or all where tokens look ahead; bytes are 255 times a square root. */
export interface Weights {
  n: number;
  data: Float32Array | Uint8Array;
  ahead: boolean;
}

/** What each read is worth: `carry` of the source, times `dest` of the reader. */
export interface Worth {
  carry: ArrayLike<number>;
  dest: ArrayLike<number>;
}

/** Where the rows of a pattern start. */
export const start = ({ n, ahead }: Omit<Weights, "data">, t: number) => (ahead ? t * n : (t * (t + 1)) / 2);

/** The row of one reader. */
export function rowOf(of: Weights, t: number): Float32Array {
  const row = of.data.subarray(start(of, t), start(of, t) + (of.ahead ? of.n : t + 1));
  return row instanceof Uint8Array ? Float32Array.from(row, (b) => SQUARES[b] as number) : row;
}

/**
 * The strongest pair of each block, [size, size]: a thin stripe does not vanish. `from` leaves out what is read before
 * it.
 */
export function pooled(of: Weights, size: number, worth?: Worth, from = 0): Float32Array {
  const { n, data, ahead } = of;
  const m = Math.min(n, size);
  const out = new Float32Array(m * m);
  /** where the columns of a block start: source s is in block s * m / n, rounded down */
  const edges = Array.from({ length: m + 1 }, (_, x) => Math.ceil((x * n) / m));
  const bytes = data instanceof Uint8Array;
  for (let t = 0; t < n; t++) {
    const line = (((t * m) / n) | 0) * m;
    const base = start(of, t);
    const end = ahead ? n : t + 1;
    const dest = worth ? (worth.dest[t] ?? 1) : 1;
    for (let x = 0, s = from; s < end; x++) {
      const stop = Math.min(end, edges[x + 1] as number);
      let best = out[line + x] as number;
      for (; s < stop; s++) {
        let v = data[base + s] as number;
        if (worth) v = (bytes ? (SQUARES[v] as number) : v) * (worth.carry[s] as number) * dest;
        if (Math.abs(v) > Math.abs(best)) best = v;
      }
      out[line + x] = best;
    }
  }
  return bytes && !worth ? Float32Array.from(out, (b) => SQUARES[b] as number) : out;
}

/** The mean of patterns, each times what its reads are worth; `from` leaves out what is read before it. */
export function meanOf(patterns: Triangle[], worths: (Worth | undefined)[], from = 0): Triangle {
  const [first] = patterns as [Triangle];
  if (patterns.length === 1 && !worths[0] && !from) return first;
  const data = new Float32Array(first.data.length);
  patterns.forEach((one, i) => {
    const worth = worths[i];
    for (let t = 0, at = 0; t < one.n; t++) {
      for (let s = 0; s < (one.ahead ? one.n : t + 1); s++, at++) {
        if (s >= from) data[at] = (data[at] as number) + ((one.data[at] as number) * (worth ? (worth.carry[s] as number) * (worth.dest[t] ?? 1) : 1)) / patterns.length;
      }
    }
  });
  return new Triangle(first.n, data);
}

/** The same of one row, [size], among n tokens. */
export function pooledRow(row: ArrayLike<number>, n: number, size: number, from = 0): Float32Array {
  const m = Math.min(n, size);
  const out = new Float32Array(m);
  for (let s = from; s < row.length; s++) {
    const at = Math.floor((s * m) / n);
    const v = row[s] as number;
    if (Math.abs(v) > Math.abs(out[at] as number)) out[at] = v;
  }
  return out;
}

export type Scale = "probability" | "magnitude" | "signed";

export function colourOf(palette: Palette, scale: Scale, value: number, most: number): RGB {
  if (scale === "signed") return sign(palette, value, most);
  return sequential(palette, scale === "probability" ? value : most > 0 ? Math.max(0, value) / most : 0);
}

const RAMPS = new WeakMap<Palette, Partial<Record<Scale, Uint32Array[]>>>();

/** The colours of a scale as pixels, mixed once: 256 steps of a square root, so that small values keep their colour. */
export function ramp(palette: Palette, scale: Scale, most: number): (value: number) => number {
  const mixed = RAMPS.get(palette) ?? {};
  RAMPS.set(palette, mixed);
  const tables = (mixed[scale] ??= (scale === "signed" ? [1, -1] : [1]).map((sign) =>
    Uint32Array.from({ length: 256 }, (_, i) => {
      const [r, g, b] = colourOf(palette, scale, sign * (i / 255) ** 2, 1).map(Math.round) as unknown as RGB;
      return (255 << 24) | (b << 16) | (g << 8) | r;
    }),
  ));
  const [plus, minus = plus] = tables;
  const top = scale === "probability" ? 1 : most || 1;
  return (value) => ((value < 0 ? minus : plus) as Uint32Array)[(255 * Math.sqrt(Math.min(1, Math.abs(value) / top)) + 0.5) | 0] as number;
}
