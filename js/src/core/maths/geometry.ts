/** Where things are drawn. Pure functions of numbers: no DOM here. */

export interface Span {
  /** left end and width, both as fractions of the track */
  left: number;
  width: number;
  /** where the running sum stands after this bar */
  end: number;
}

export interface Waterfall {
  spans: Span[];
  zero: number;
  /** where the total stands */
  total: number;
  low: number;
  high: number;
  place(value: number): number;
}

/** Cumulative bars: each starts where the one before ended. `reach` must stay in sight too (the model's number). */
export function waterfall(values: readonly number[], ...reach: number[]): Waterfall {
  let sum = 0;
  let low = Math.min(0, ...reach);
  let high = Math.max(0, ...reach);
  for (const v of values) {
    sum += v;
    low = Math.min(low, sum);
    high = Math.max(high, sum);
  }
  if (high - low < 1e-12) high = low + 1;
  const place = (v: number) => (v - low) / (high - low);
  let at = 0;
  const spans = values.map((v) => {
    const from = at;
    at += v;
    return { left: place(Math.min(from, at)), width: Math.abs(place(at) - place(from)), end: place(at) };
  });
  return { spans, zero: place(0), total: place(sum), low, high, place };
}

/** Bars around a common zero, on a scale that has room for `all`. */
export function diverging(values: readonly number[], all = values): { spans: Span[]; zero: number } {
  const low = Math.min(0, ...all);
  const high = Math.max(0, ...all);
  const range = high - low || 1;
  const zero = (0 - low) / range;
  return {
    zero,
    spans: values.map((v) => {
      const end = (v - low) / range;
      return { left: Math.min(zero, end), width: Math.abs(end - zero), end };
    }),
  };
}

/** Round numbers between low and high, about `count` of them: steps of 1, 2 or 5 times a power of ten. */
export function ticks(low: number, high: number, count = 4): number[] {
  const range = high - low;
  if (!(range > 0)) return [low];
  const raw = range / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * (raw / power >= 5 ? 10 : raw / power >= 2 ? 5 : raw / power >= 1 ? 2 : 1);
  const out: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) out.push(i * step || 0);
  return out;
}

/**
 * Which of n labels in a row can be shown when each needs `gap` pixels and cells are `cell` wide: the wanted ones
 * first, in the order given, then as many evenly spaced ones as fit between them.
 */
export function placeLabels(n: number, cell: number, gap: number, wanted: readonly number[]): number[] {
  const every = Math.max(1, Math.ceil(gap / cell));
  if (every === 1) return Array.from({ length: n }, (_, i) => i);
  const taken: number[] = [];
  const add = (i: number) => {
    if (i >= 0 && i < n && taken.every((j) => Math.abs(i - j) >= every)) taken.push(i);
  };
  wanted.forEach(add);
  for (let i = 0; i < n; i++) add(i);
  return taken.sort((a, b) => a - b);
}

/** The largest magnitude, 0 for none. */
export function largest(values: Iterable<number>): number {
  let most = 0;
  for (const v of values) most = Math.max(most, Math.abs(v));
  return most;
}

export function bySize(values: ArrayLike<number>): number[] {
  return Array.from({ length: values.length }, (_, i) => i).sort(
    (a, b) => Math.abs(values[b] ?? 0) - Math.abs(values[a] ?? 0) || a - b,
  );
}

export function sumOf(values: Iterable<number>): number {
  let sum = 0;
  for (const v of values) sum += v;
  return sum;
}

/** Which of n columns are drawn where `fit` have room: from `from` on, at first those that end with `current`. */
export function windowOf(n: number, fit: number, from: number, current: number): { first: number; count: number } {
  const count = Math.max(1, Math.min(n, fit));
  const wanted = Number.isFinite(from) ? from : current - count + 1;
  return { first: Math.max(0, Math.min(n - count, wanted)), count };
}
