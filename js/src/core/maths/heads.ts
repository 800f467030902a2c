/** Layers by heads on one screen: where cells stand, what is pale, who is named. Pure functions of numbers. */
import { largest } from "./geometry";

/** Most rows, and most columns of heads, that are drawn one by one. */
export const MOST = 32;
/** The narrowest cell that still shows something. */
const LEAST = 9;
const WIDEST = 64;
const SIDE = 28;

export interface Layout {
  /** of the layers' names */
  side: number;
  /** between cells */
  gap: number;
  /** width of a head's cell, and of the others (MLP, all attention) */
  cell: number;
  wide: number;
  /** between a cell's edge and its picture: the outline's place */
  pad: number;
  picture: number;
  bar: number;
  /** height of a row, and where the bar starts in it */
  row: number;
  under: number;
}

const gapOf = (heads: number) => (heads > 16 ? 1 : 4);
const wideOf = (width: number, heads: number) => Math.round(Math.max(46, Math.min(104, (heads > 16 ? 0.1 : 0.17) * width)));

/** How many columns of heads have room, beside `others` wider ones. */
export function fitting(width: number, others: number): number {
  return Math.max(1, Math.min(MOST, Math.floor((width - SIDE - others * (wideOf(width, MOST) + 1)) / (LEAST + 1))));
}

/** A strip shows the row of one word, else the cell is as high as it is wide. */
export function layout(width: number, heads: number, others: number, strip: boolean): Layout {
  const gap = gapOf(heads);
  const wide = heads ? wideOf(width, heads) : Math.min(240, Math.floor((width - SIDE) / others) - gap);
  const cell = heads ? Math.max(LEAST, Math.min(WIDEST, Math.floor((width - SIDE - others * (wide + gap)) / heads - gap))) : 0;
  const pad = cell >= 24 ? 4 : 2;
  const bar = cell < 28 && heads ? 4 : 7;
  const picture = heads && cell - 2 * pad;
  const under = pad + (heads ? (strip ? Math.max(6, Math.min(14, picture >> 1)) : picture) : 16) + 2;
  return { side: SIDE, gap, cell, wide, pad, picture, bar, under, row: under + bar + pad };
}

/** Indices 0 to n - 1 in at most `most` runs of one length. */
export function binned(n: number, most: number): number[][] {
  const size = Math.ceil(n / most) || 1;
  return Array.from({ length: Math.ceil(n / size) }, (_, i) => Array.from({ length: Math.min(size, n - i * size) }, (_, j) => i * size + j));
}

/** Pixels per logit: one scale for all bars, each about the middle of its cell. */
export function barScale({ cell, wide, pad }: Layout, heads: readonly number[], others: readonly number[]): number {
  const room = (width: number, values: readonly number[]) => (values.length ? (width / 2 - pad) / (largest(values) || 1e-12) : Infinity);
  const scale = Math.min(room(cell, heads), room(wide, others));
  return Number.isFinite(scale) ? scale : 0;
}

/** A share of the gap from which an effect is one, as in the verdicts. */
export const TAU = 0.05;
/** Shares of the gap: below the first there is no effect, from the second on it is outlined: an estimate may miss some. */
export const NONE = 0.005;
export const OUTLINED = 0.02;
/** Shares of the largest bar: below the first there is none, from the second on there clearly is one. */
export const FAINT = 0.06;
export const CLEAR = 0.25;

/** A bar without an effect, an effect without a bar, neither; "" for the others, and where the effect is not known. */
export type Having = "bar" | "effect" | "neither" | "";

export function having(value: number, most: number, effect: number | undefined): Having {
  const bar = Math.abs(value) / (most || 1);
  const works = Math.abs(effect ?? NaN);
  if (bar < FAINT) return works < OUTLINED ? "neither" : works >= TAU ? "effect" : "";
  return bar >= CLEAR && works < NONE ? "bar" : "";
}

/** Width in pixels of an outline, by the effect against the largest one; 0 for none. */
export const outline = (effect: number, most: number, { pad }: Layout) => (Math.abs(effect) < OUTLINED ? 0 : 1 + (pad - 1) * Math.min(1, Math.abs(effect) / most));
